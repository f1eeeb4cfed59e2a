"""One result of a benchmark: a model on a split of a data set with a seed. Kept as one file, so that it is made once."""

from __future__ import annotations

import hashlib
import inspect
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .._staging import staged

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ._spec import Data, Model, Spec, Split

FORMAT = "benchmark-row/1"
NUMBERS = (
    "value",
    "positive",
    "negative",
    "drf",
    "bds",
    "seconds_fit",
    "seconds_predict",
    "seconds_evaluate",
    "peak_mb",
)
FOLDER, MANIFEST = (
    "rows",
    "benchmark.json",
)  # of a benchmark: its results, and which of them belong to its last spec


@dataclass(frozen=True)
class Row:
    """A model on a split of a data set with a seed.

    Attributes
    ----------
    data, split, model, seed
        Which it is.
    kind
        ``"baseline"`` or ``"model"``.
    note
        Why it failed; empty if it did not.
    settings
        Digest of all that it depends on.
    transductive
        Whether the embedding of the model has seen held-out cells.
    seconds_fit, seconds_predict, seconds_evaluate
        Wall clock time.
    peak_mb
        Largest resident memory of the process during training and prediction, data and libraries included.
    versions
        Package -> version.
    metrics
        Metric -> its record: ``family``, ``direction``, ``perfect``, ``per`` (condition or screen), ``drf``, ``bds``,
        ``discriminates``, and the mean ``value`` of the model and of the ``positive``, ``negative`` and ``copy`` controls.
    conditions
        Name -> perturbation.
    losses
        Metric -> ``value``, ``positive``, ``negative``, ``copy`` -> the loss of each condition, ``None`` where missing; one
        number alone for a metric of the whole screen.
    """

    data: str
    split: str
    model: str
    seed: int
    kind: str
    note: str = ""
    settings: str = ""
    transductive: bool = False
    seconds_fit: float | None = None
    seconds_predict: float | None = None
    seconds_evaluate: float | None = None
    peak_mb: float | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    conditions: Mapping[str, str] = field(default_factory=dict)
    losses: Mapping[str, Mapping[str, Sequence[float | None]]] = field(default_factory=dict)

    @property
    def stem(self) -> str:
        """Name of its file, without the ending."""
        return stem(self.data, self.split, self.model, self.seed)

    def loss(self, metric: str, of: str = "value") -> pd.Series:
        """Return losses by condition: those of the model, or of the ``"positive"``, ``"negative"`` or ``"copy"`` control."""
        numbers = np.array(self.losses[metric][of], dtype=np.float64)
        return pd.Series(
            numbers,
            index=list(self.conditions) if self.metrics[metric]["per"] == "condition" else [""],
        )

    def write(self, folder: Path) -> None:
        """Write it into the rows of a benchmark, whole or not at all."""
        text = json.dumps({"format": FORMAT, **asdict(self)}, allow_nan=False)
        with staged(folder / FOLDER) as stage:
            (stage / f"{self.stem}.json").write_text(text, encoding="utf-8")


def stem(data: str, split: str, model: str, seed: int) -> str:
    """Return the name of a row's file, without the ending."""
    return "__".join((data, split, model, str(seed))).replace(" ", "_")


def read_row(folder: Path, name: str) -> Row | None:
    """Return a row, ``None`` where there is none that this version can read."""
    path = folder / FOLDER / f"{name}.json"
    if not path.is_file():
        return None
    try:
        entry = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return None
    return Row(**entry) if isinstance(entry, dict) and entry.pop("format", None) == FORMAT else None


def digest(spec: Spec, data: Data, split: Split, model: Model, seed: int, content: str) -> str:
    """Return a fingerprint of all that a row depends on; `content` is that of the data (:func:`content_of`)."""
    from .. import __version__

    parts = (
        content,
        data.annotate,
        data.prepare,
        data.embed,
        split.options,
        model,
        seed,
        spec.evaluate,
        __version__,
    )
    return hashlib.sha256(json.dumps(_plain(parts), sort_keys=True).encode()).hexdigest()[:16]


def content_of(data: Data) -> str:
    """Return what identifies the cells of a data set: the content of its file, else the name of what loads it."""
    kind, source = data.source
    if kind != "path":
        return f"{kind}:{_plain(source)}"
    with Path(source).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_manifest(folder: Path, settings: Mapping[str, str]) -> None:
    """Write which rows (stem -> digest) belong to the benchmark in this folder."""
    with staged(folder) as stage:
        (stage / MANIFEST).write_text(json.dumps(dict(settings), indent=1), encoding="utf-8")


def read_rows(folder: Path) -> list[Row]:
    """Return the rows of the last spec that was run in a folder, as far as they are done.

    Raises
    ------
    FileNotFoundError
        If no benchmark was run there.
    """
    path = folder / MANIFEST
    if not path.is_file():
        msg = f"there is no {MANIFEST} in {folder}; sh.benchmark.run(spec, folder=...) writes it"
        raise FileNotFoundError(msg)
    wanted = json.loads(path.read_text(encoding="utf-8"))
    found = [(read_row(folder, name), settings) for name, settings in wanted.items()]
    return [row for row, settings in found if row is not None and row.settings == settings]


def tidy(rows: Iterable[Row]) -> pd.DataFrame:
    """Return one line for each row and metric; a row that failed has one line, with its note."""
    lines = []
    for row in rows:
        about = {
            name: getattr(row, name)
            for name in ("data", "split", "model", "kind", "transductive", "seed")
        }
        names = ("seconds_fit", "seconds_predict", "seconds_evaluate", "peak_mb", "settings")
        cost = {name: getattr(row, name) for name in names}
        versions = " ".join(f"{name}={version}" for name, version in row.versions.items())
        for metric, record in (row.metrics or {"": {}}).items():
            known = {
                name: record.get(name) for name in ("value", "positive", "negative", "drf", "bds")
            }
            known["discriminates"] = bool(record.get("discriminates", False))
            lines.append(
                {**about, "metric": metric, **known, "note": row.note, **cost, "versions": versions}
            )
    return pd.DataFrame(lines).astype(dict.fromkeys(NUMBERS, np.float64))


def _plain(value: Any) -> Any:
    """Return a value as JSON can hold it; of a function or class, its name and source text."""
    if hasattr(value, "__dataclass_fields__"):
        return {name: _plain(getattr(value, name)) for name in value.__dataclass_fields__}
    if isinstance(value, dict) or hasattr(value, "items"):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(v) for v in value]
    if isinstance(value, (pd.DataFrame, np.ndarray)):
        return hashlib.sha256(pd.DataFrame(value).to_csv().encode()).hexdigest()
    if callable(value):
        try:
            text = inspect.getsource(value)
        except (OSError, TypeError):
            text = ""
        return (
            f"{value.__module__}.{value.__qualname__} {hashlib.sha256(text.encode()).hexdigest()}"
        )
    return value if isinstance(value, (str, int, float, bool, type(None))) else repr(value)
