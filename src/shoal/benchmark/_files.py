"""Results of a benchmark as files: each is written whole, and is not computed twice."""

from __future__ import annotations

import hashlib
import inspect
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .._staging import staged
from ..evaluation._rows import Row

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..evaluation._models import Model
    from ._spec import Data, Spec, Split

FORMAT = "benchmark-row/1"
FOLDER = "rows"  # folder of the results
MANIFEST = "benchmark.json"  # file that says which of them belong to the last spec


def stem(row: Row) -> str:
    """Return the name of a result's file, without the ending."""
    return "__".join((row.data, row.split, row.model, str(row.seed))).replace(" ", "_")


def write_row(row: Row, folder: Path) -> None:
    """Write a result into the folder of a benchmark, whole or not at all."""
    text = json.dumps({"format": FORMAT, **asdict(row)}, allow_nan=False)
    with staged(folder / FOLDER) as stage:
        (stage / f"{stem(row)}.json").write_text(text, encoding="utf-8")


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
    """Return a fingerprint of all that a result depends on.

    Parameters
    ----------
    spec, data, split, model, seed
        The benchmark, and which result it is.
    content
        What identifies the cells of the data set, see `content_of`.
    """
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
    """Return what identifies the cells of a data set.

    It is a digest of the content of its file, or the name of the function that loads it.
    """
    kind, origin = data.origin
    if kind != "path":
        return f"{kind}:{_plain(origin)}"
    with Path(origin).open("rb") as file:
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


def _plain(value: Any) -> Any:
    """Return a value as JSON can hold it; of a function or class, its name and origin text."""
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
