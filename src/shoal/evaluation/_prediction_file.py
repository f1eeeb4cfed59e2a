"""Predictions of other programs as contenders of a benchmark: each is the path of an h5ad file."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from string import Formatter
from typing import TYPE_CHECKING, Any, ClassVar

from .._validate import one_of, some

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ._rows import Row

PLACES = ("data", "split", "seed")  # what the path of a prediction may name
EXAMPLE = "{label: GEARS, contender: {file: 'gears_{data}_{split}.h5ad'}}"


@dataclass(frozen=True)
class PredictionFile:
    """Cells that another program predicted, in an h5ad file.

    Attributes
    ----------
    label
        Its name on the leaderboard.
    file
        Path of the file. ``{data}``, ``{split}`` and ``{seed}`` in it stand for the names of the
        data set and the split, and for the seed.
    """

    label: str
    file: str

    kind: ClassVar[str] = "file"
    tune: ClassVar[None] = None  # nothing to choose

    def of(self, row: Row) -> Path:
        """Return the path of the file for a result."""
        return Path(self.file.format(data=row.data, split=row.split, seed=row.seed))

    def digest(self, row: Row) -> str:
        """Return a digest of the content of the file for a result; ``""`` if there is none."""
        path = self.of(row)
        if not path.is_file():
            return ""
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def checked_path(file: Any, where: str) -> str:
    """Return the path of a prediction, once what it names in braces is known.

    Parameters
    ----------
    file
        The path.
    where
        What it is called in messages.

    Raises
    ------
    TypeError
        If it is no path.
    ValueError
        If a brace has no partner, or names something else than `PLACES`.
    """
    if not isinstance(file, (str, Path)) or not str(file):
        msg = f"{where}: file must be the path of an h5ad file, as in {EXAMPLE}, not {file!r}"
        raise TypeError(msg)
    try:
        names = [name for _, name, _, _ in Formatter().parse(str(file)) if name is not None]
    except ValueError as err:
        msg = f"{where}: file={str(file)!r}: {err}; write a brace of the name itself twice"
        raise ValueError(msg) from err
    for name in names:
        one_of(name, PLACES, name=f"{where}: the name in braces")
    return str(file)


def refuse_files(several: Iterable[tuple[Row, object]]) -> None:
    """Raise an error if a prediction has no file, or one file for several splits.

    A file that is missing for some results only is no error here: those results fail, and say so.

    Parameters
    ----------
    several
        Results without numbers, and the contender of each.

    Raises
    ------
    FileNotFoundError
        If a prediction has no file at all.
    ValueError
        If it has the same file for several splits or data sets.
    """
    owners: dict[PredictionFile, dict[Path, list[Row]]] = {}
    for row, given in several:
        if isinstance(given, PredictionFile):
            owners.setdefault(given, {}).setdefault(given.of(row), []).append(row)
    for given, rows in owners.items():
        if not any(path.is_file() for path in rows):
            msg = (
                f"contender {given.label!r}: no such file: {some([str(path) for path in rows], 3)}"
            )
            raise FileNotFoundError(msg)
        for path, own in rows.items():
            places = list(dict.fromkeys(f"{row.data!r}, {row.split!r}" for row in own))
            if len(places) > 1:
                msg = (
                    f"contender {given.label!r}: {path} would be judged on {len(places)} splits "
                    f"({some(places, 3)}). What is held out in one may be trained on in the other: "
                    "give each split a file of its own, and name it by {data} and {split} in the "
                    f"path, as in {EXAMPLE}. Several seeds may share a file"
                )
                raise ValueError(msg)
