"""Crops of cells, cut from fields of view around given centres."""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import field as dataclass_field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import anndata as ad
import numpy as np

from .._compat import require
from .._keys import IMAGES
from .._logging import logger, progress
from .._staging import staged
from .._validate import key_in, listed, one_of, whole
from ..core._codes import members
from ..core._images import with_entry
from ._field_tables import PLACE, check_tables, obs_of, sites_of
from ._fields import open_field, reading

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Mapping, Sequence

    import pandas as pd

    from .._typing import Ints
    from ._fields import Field

CHUNK = 64  # crops of a chunk of a zarr array


def read_crops(
    fields: pd.DataFrame,
    centres: pd.DataFrame,
    *,
    size: int = 64,
    channels: Sequence[str] | None = None,
    border: Literal["drop", "pad", "raise"] = "drop",
    out: str | os.PathLike[str] | None = None,
) -> ad.AnnData:
    """Cut crops around the centres of cells out of fields of view.

    Cells are found upstream, by CellProfiler or another program of segmentation. Illumination and
    background are corrected there too. Fields are read one after another.

    Parameters
    ----------
    fields
        One row a file: ``path`` of a TIFF file or of the folder of an image in OME-Zarr, and
        columns such as ``plate``, ``well`` and ``site`` that say what it shows. With a column
        ``channel`` a file holds that channel alone; without it, all channels.
    centres
        One row a cell: ``y`` (row) and ``x`` (column) of its centre in pixels, and the columns that
        say which field it is in, under the same names as in `fields`. Its index names the cells.
        Further columns of both tables go into ``obs``.
    size
        Height and width of a crop, in pixels.
    channels
        Names of the channels, in the order of the files; with a column ``channel``, those to keep,
        in the order wanted. ``None`` takes the names that the column or OME-Zarr has.
    border
        What to do with cells whose crop reaches over the edge of the field.

        ``"drop"``
            Leave them out, and log how many.
        ``"pad"``
            Repeat the pixels at the edge.
        ``"raise"``
            An error.
    out
        Folder for a zarr array with the crops, for sets that do not fit into memory. It must not
        exist yet. ``None`` keeps them in memory.

    Returns
    -------
    AnnData without ``X``, field by field in the order of `fields`:

    ``obsm["crops"]``
        (n, C, size, size) in the type of the files, in memory or in zarr.
    ``obs``
        The columns of `centres` and those of `fields` but ``path`` and ``channel``.
    ``uns["images"]``
        Names of the channels.

    Raises
    ------
    FileNotFoundError
        If a file does not exist.
    FileExistsError
        If `out` exists.
    ImportError
        If tifffile or zarr (the extra ``images``) is needed and not installed.
    KeyError
        If a column or a channel is missing.
    TypeError
        If `fields` or `centres` is no table.
    ValueError
        If

        - a file is damaged, cut off, or has several time points or depths;
        - fields differ in their channels or in the type of their pixels;
        - a cell has no field, or two; no centre, or one outside of its field (y and x exchanged?);
        - the channels have no names, or not as many as there are.

    Examples
    --------
    >>> import numpy as np, pandas as pd, tifffile, shoal as sh  # doctest: +SKIP
    >>> tifffile.imwrite("A01.tif", np.zeros((2, 200, 200), np.uint16), metadata={"axes": "CYX"})
    >>> fields = pd.DataFrame({"path": ["A01.tif"], "well": ["A01"]})
    >>> centres = pd.DataFrame({"well": ["A01"], "y": [80.0], "x": [120.0]})
    >>> adata = sh.ds.read_crops(fields, centres, size=48, channels=["DNA", "actin"])
    """
    whole(size, name="size", least=2)
    one_of(border, ("drop", "pad", "raise"), name="border")
    size = int(size)
    check_tables(fields, centres)
    if out is not None and Path(out).exists():
        msg = f"out={str(out)!r} exists; name another folder, or remove it first"
        raise FileExistsError(msg)
    sites, site = sites_of(fields, centres)
    wanted = None if channels is None else listed(channels, name="channels")
    corner = np.floor(centres[list(PLACE)].to_numpy(dtype=np.float64) + 0.5).astype(np.int64)
    cutter = _Cutter(centres.index, corner - size // 2, size, border, wanted)
    if out is None:
        parts = list(cutter.each(sites, site))
        crops: Any = np.concatenate(parts) if parts else None
    else:
        crops = _into_zarr(cutter.each(sites, site), Path(out), len(centres))
    rows = np.concatenate(cutter.rows) if cutter.rows else np.zeros(0, dtype=np.int64)
    if not len(rows):
        msg = (
            f"no cell is left: all {len(centres)} crops of {size} pixels reach over the edge of "
            "their field; choose a smaller size=, or border='pad'"
        )
        raise ValueError(msg)
    if len(rows) < len(centres):
        logger.warning(
            "%d of %d cells are left out, because their crops of %d pixels reach over the edge of "
            "the field",
            len(centres) - len(rows),
            len(centres),
            size,
        )
    adata = ad.AnnData(obs=obs_of(fields, centres, site).iloc[rows], obsm={"crops": crops})
    adata.uns[IMAGES] = with_entry(adata, "crops", {"channels": cutter.names})
    return adata


@dataclass
class _Cutter:
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


def _into_zarr(several: Iterator[np.ndarray], out: Path, most: int) -> Any:
    """Write crops into a zarr array, whole or not at all, and return it."""
    zarr = require("zarr", extra="images")
    with staged(out.parent) as folder:
        array, done = None, 0
        for values in several:
            if array is None:
                array = zarr.create_array(
                    store=str(folder / out.name),
                    shape=(most, *values.shape[1:]),
                    chunks=(CHUNK, *values.shape[1:]),
                    dtype=values.dtype,
                )
            array[done : done + len(values)] = values
            done += len(values)
        if array is None:
            return None
        array.resize((done, *array.shape[1:]))
    return zarr.open_array(str(out), mode="r")


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
