"""Crops cut out of one field after another."""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import field as dataclass_field
from typing import TYPE_CHECKING, Any

import numpy as np

from .._logging import progress
from .._validate import key_in
from ..core._codes import members
from ._field_files import reading
from ._fields import open_field

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import pandas as pd

    from .._typing import Ints
    from ._fields import Field


@dataclass
class Cutter:
    """Cuts crops out of one field after another, and remembers what the first one was like."""

    cells: pd.Index
    corner: np.ndarray  # (n, 2) first row and column of each crop
    size: int
    border: str
    wanted: list[str] | None
    names: tuple[str, ...] = ()
    like: tuple[Any, ...] = ()
    rows: list[Ints] = dataclass_field(default_factory=list)

    def each(self, sites: Sequence[Mapping[str, str]], site: Ints) -> Iterator[np.ndarray]:
        """Yield the crops of every field that has cells; their rows go to `rows`."""
        groups = {int(site[at[0]]): at for at in members(site)}
        for i, paths in enumerate(progress(sites, total=len(sites), desc="fields")):
            if i in groups:
                field = open_field(paths)
                self._check(field)
                at, values = self._cut(field, groups[i])
                if len(at):
                    self.rows.append(at)
                    yield values

    def _check(self, field: Field) -> None:
        """Raise ``ValueError`` unless a field has the channels and the type of the first one."""
        told = field.names if self.wanted is None or field.names is not None else None
        found = (field.shape[0], told, field.dtype.name)
        if not self.like:
            self.names = _names(field, self.wanted)
            self.like = found
        if found != self.like:
            n, names, dtype = self.like
            msg = (
                f"{field.where} holds {field.shape[0]} channels {told or ''} of {field.dtype}, and "
                f"the first field {n} channels {names or ''} of {dtype}: read fields of one kind, "
                "and export all at one depth"
            )
            raise ValueError(msg)

    def _cut(self, field: Field, at: Ints) -> tuple[Ints, np.ndarray]:
        """Return the rows that are kept of one field, and their crops."""
        _, height, width = field.shape
        corner, size = self.corner[at], self.size
        centre = corner + size // 2
        off = (centre < 0).any(axis=1) | (centre >= [height, width]).any(axis=1)
        if off.any():
            y, x = centre[off][0]
            msg = (
                f"{off.sum()} cells have their centre outside of {field.where} ({height} x {width} "
                f"pixels), such as {self.cells[at[off][0]]!r} at y={y}, x={x}: y is the row and x "
                "the column; are they exchanged, or in micrometres?"
            )
            raise ValueError(msg)
        inside = (corner >= 0).all(axis=1) & (corner + size <= [height, width]).all(axis=1)
        if self.border == "raise" and not inside.all():
            msg = (
                f"{(~inside).sum()} crops of {size} pixels reach over the edge of {field.where}, "
                f"such as that of {self.cells[at[~inside][0]]!r}: border='drop' leaves them out, "
                "and border='pad' repeats the pixels at the edge"
            )
            raise ValueError(msg)
        if self.border == "drop":
            at, corner = at[inside], corner[inside]
        chosen = _chosen(field, self.wanted)
        values = np.empty((len(at), len(chosen), size, size), dtype=field.dtype)
        with reading(field.where):
            for crop, (y, x) in zip(values, corner, strict=True):
                top, left = max(y, 0), max(x, 0)
                bottom, right = min(y + size, height), min(x + size, width)
                part = field.window(slice(top, bottom), slice(left, right))[chosen]
                over = ((0, 0), (top - y, y + size - bottom), (left - x, x + size - right))
                crop[...] = np.pad(part, over, mode="edge")
        return at, values


def _names(field: Field, wanted: list[str] | None) -> tuple[str, ...]:
    """Return the names of the channels of the crops.

    Raises
    ------
    KeyError
        If one that is wanted is not there.
    ValueError
        If they have no names, or not as many as there are.
    """
    if field.names is not None:
        for name in wanted or ():
            key_in(name, field.names, where=f"the channels of {field.where}")
        return tuple(wanted or field.names)
    if wanted is None or len(wanted) != field.shape[0]:
        given = "have no names" if wanted is None else f"are not {len(wanted)}"
        msg = (
            f"the {field.shape[0]} channels of {field.where} {given}: give channels= in the order "
            "of the file"
        )
        raise ValueError(msg)
    return tuple(wanted)


def _chosen(field: Field, wanted: list[str] | None) -> list[int]:
    """Return the positions of the channels that are wanted."""
    if field.names is None or wanted is None:
        return list(range(field.shape[0]))
    return [field.names.index(name) for name in wanted]
