"""Results of a benchmark as files: each is written whole, and is not computed twice."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from .._digest import as_plain, digest_of
from .._logging import logger
from .._staging import staged
from ..evaluation._rows import Row

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from ..evaluation._models import Contender
    from ._spec import Data, Spec, Split

FORMAT = "benchmark-row/3"
FOLDER = "rows"  # folder of the results
MANIFEST = "benchmark.json"  # file that says which of them belong to the last spec

# What a row holds: exactly these keys, with values of these types.
NUMBER = (int, float, type(None))
LOSSES = ("value", "positive", "negative", "copy", "reference")
RECORD = {
    **dict.fromkeys(("family", "direction", "per"), (str,)),
    **dict.fromkeys(("perfect", "drf", "bds", *LOSSES), NUMBER),
    "discriminates": (bool,),
}
WORDS = {"direction": ("higher", "lower", "target"), "per": ("condition", "screen")}
KINDS = {
    **dict.fromkeys(("data", "split", "model", "kind", "note", "settings"), (str,)),
    **dict.fromkeys(("file", "reference", "chosen"), (str,)),
    **dict.fromkeys(("seconds_fit", "seconds_predict", "seconds_evaluate", "peak_mb"), NUMBER),
    **dict.fromkeys(("versions", "metrics", "conditions", "losses", "draws", "tried"), (dict,)),
    "seed": (int,),
    **dict.fromkeys(("transductive", "responds"), (bool,)),
    **dict.fromkeys(("silent", "fingerprint"), (list,)),
}


def stem(row: Row) -> str:
    """Return the name of a result's file, without the ending."""
    return "__".join((row.data, row.split, row.model, str(row.seed))).replace(" ", "_")


def write_row(row: Row, folder: Path) -> None:
    """Write a result into the folder of a benchmark, whole or not at all.

    A folder in the place of its file is moved aside, to a name that ends in ``.unreadable``.
    """
    text = json.dumps({"format": FORMAT, **asdict(row)}, allow_nan=False)
    path = folder / FOLDER / f"{stem(row)}.json"
    if path.is_dir() and not path.is_symlink():
        aside = Path(tempfile.mkdtemp(prefix=path.name, suffix=".unreadable", dir=path.parent))
        path.rename(aside / path.name)
        logger.warning("%s is a folder; it is now in %s", path, aside)
    with staged(folder / FOLDER) as stage:
        (stage / f"{stem(row)}.json").write_text(text, encoding="utf-8")


def read_row(folder: Path, name: str, *, tell: bool = False) -> Row | None:
    """Return a row, ``None`` where there is none.

    What cannot be read, for whatever reason, counts as none. With `tell`, a warning says why.
    """
    path = folder / FOLDER / f"{name}.json"
    if not os.path.lexists(path):
        return None
    try:
        row = row_from(path)
        if stem(row) != name:
            fault(f"it is the result {stem(row)}")
    except (OSError, ValueError, TypeError, RecursionError) as err:
        if tell:
            logger.warning("%s cannot be read and is computed again: %s", path, err)
        return None
    return row


def row_from(path: Path) -> Row:
    """Return the row that `write_row` wrote to a file.

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        If it is of another format, or a part of it is missing or of another kind.
    """
    if not path.is_file():  # a folder or a pipe
        fault("it is no file")
    text = path.read_text(encoding="utf-8")
    entry = json.loads(text, parse_constant=lambda name: fault(f"it holds {name}"))
    if not isinstance(entry, dict) or entry.pop("format", None) != FORMAT:
        fault(f"it is not of the format {FORMAT}")
    entry.setdefault("silent", [])  # older rows do not say: harm counts in all together
    _checked(entry, KINDS, "the result")
    for metric, record in entry["metrics"].items():
        _checked(record, RECORD, metric)
    if any(type(value) is not str for value in entry["conditions"].values()):
        fault("a perturbation is no text")
    if not all(name in entry["conditions"] for name in entry["silent"]):
        fault("a silent condition is none of its conditions")
    if not all(_is(error, NUMBER) for error in entry["tried"].values()):
        fault("an error within training is no number")
    prints = entry["fingerprint"]
    if any(type(own) is not list or not all(_is(x, (float,)) for x in own) for own in prints):
        fault("fingerprint is no table of numbers")
    if len({len(own) for own in prints}) > 1:
        fault("fingerprint has rows of several lengths")
    if set(entry["losses"]) != set(entry["metrics"]) or not (entry["note"] or entry["metrics"]):
        fault("it has neither complete numbers nor a reason why not")
    if set(entry["draws"]) != set(entry["metrics"]):
        fault("draws are not those of the metrics")
    for metric, draws in entry["draws"].items():
        _checked(draws, dict.fromkeys(LOSSES, (list,)), f"draws of {metric}")
        if len({len(own) for own in draws.values()}) != 1 or not all(
            _is(value, (float, int)) for own in draws.values() for value in own
        ):
            fault(f"draws of {metric} are not numbers of equal lengths")
    for metric, losses in entry["losses"].items():
        _checked(losses, dict.fromkeys(LOSSES, (list,)), f"losses of {metric}")
        whole = entry["metrics"][metric]["per"] != "condition"
        n = 1 if whole else len(entry["conditions"])
        for values in losses.values():
            if len(values) != n or not all(_is(value, NUMBER) for value in values):
                fault(f"losses of {metric} are not {n} numbers")
    return Row(**entry)


def fault(message: str) -> NoReturn:
    """Raise ``ValueError``."""
    raise ValueError(message)


def _checked(entry: Any, kinds: Mapping[str, Collection[type]], name: str) -> None:
    """Raise ``ValueError`` unless a part of a row has exactly these keys and kinds of values."""
    if type(entry) is not dict or set(entry) != set(kinds):
        fault(f"{name} has other parts than {', '.join(kinds)}")
    for key, value in entry.items():
        if not _is(value, kinds[key]) or value not in WORDS.get(key, (value,)):
            fault(f"{key} of {name} is {str(value)[:40]!r}")


def _is(value: Any, kinds: Collection[type]) -> bool:
    """Return whether a value is of these types (``True`` is no number) and not infinite."""
    return type(value) in kinds and not (
        isinstance(value, (int, float)) and abs(value) > sys.float_info.max
    )


def digest(
    spec: Spec,
    data: Data,
    split: Split,
    model: Contender,
    row: Row,
    *,
    content: str,
    inner: int | None = None,
) -> str:
    """Return a fingerprint of all that a result depends on.

    Parameters
    ----------
    spec, data, split, model
        The benchmark, and which part of it.
    row
        Which result it is. Of a prediction of another program, the content of its file counts, not
        its name.
    content
        What identifies the cells of the data set, see `content_of`.
    inner
        Inner folds on which the settings of a model are chosen.
    """
    from .. import __version__

    parts = (
        content,
        data.annotate,
        data.prepare,
        data.embed,
        split.options,
        row.file if row.kind == "file" else model,
        row.seed,
        spec.evaluate,
        None if model.tune is None else inner,
        __version__,
    )
    return digest_of(parts)


def content_of(data: Data) -> str:
    """Return what identifies the cells of a data set.

    It is a digest of the content of its file, or the name of the function that loads it.
    """
    kind, origin = data.origin
    if kind != "path":
        return f"{kind}:{as_plain(origin)}"
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
    ValueError
        If the file that lists its results cannot be read.
    """
    path = folder / MANIFEST
    if not path.is_file():
        msg = f"there is no {MANIFEST} in {folder}; sh.benchmark.run(spec, folder=...) writes it"
        raise FileNotFoundError(msg)
    try:
        wanted = json.loads(path.read_text(encoding="utf-8"))
        names = dict(wanted).items()
    except (ValueError, TypeError) as err:
        msg = f"{path} cannot be read ({err}); sh.benchmark.run(spec, folder=...) writes it anew"
        raise ValueError(msg) from err
    found = [(read_row(folder, name), settings) for name, settings in names]
    return [row for row, settings in found if row is not None and row.settings == settings]
