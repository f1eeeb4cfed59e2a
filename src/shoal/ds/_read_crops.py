"""Crops of cells, cut from fields of view around given centres."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import anndata as ad
import numpy as np

from .._compat import require
from .._keys import IMAGES
from .._logging import logger
from .._staging import staged
from .._validate import listed, one_of, whole
from ..core._image_entries import with_entry
from ._cutter import Cutter
from ._field_tables import PLACE, check_tables, obs_of, sites_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pandas as pd


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
        If `fields` or `centres` is no table, or `out` no path.
    ValueError
        If

        - a file is damaged, cut off, or has several time points or depths;
        - fields differ in their channels or in the type of their pixels;
        - a cell has no field, or two; no centre, or one outside of its field (y and x exchanged?);
        - the channels have no names, or not as many as there are.

    Examples
    --------
    >>> import numpy as np, pandas as pd, zarr, shoal as sh
    >>> group = zarr.create_group("A01.zarr")
    >>> image = group.create_array("0", data=np.zeros((2, 200, 200), np.uint16))
    >>> about = {"axes": ["c", "y", "x"], "datasets": [{"path": "0"}]}
    >>> group.attrs["ome"] = {"multiscales": [about]}
    >>> fields = pd.DataFrame({"path": ["A01.zarr"], "well": ["A01"]})
    >>> centres = pd.DataFrame({"well": ["A01"], "y": [80.0], "x": [120.0]})
    >>> adata = sh.ds.read_crops(fields, centres, size=48, channels=["DNA", "actin"])
    >>> adata.obsm["crops"].shape
    (1, 2, 48, 48)
    """
    size = whole(size, name="size", least=2)
    one_of(border, ("drop", "pad", "raise"), name="border")
    check_tables(fields, centres)
    if out is not None and (not isinstance(out, str | os.PathLike) or not str(out)):
        msg = f"out must be the path of a folder, such as 'crops.zarr', not {out!r}"
        raise TypeError(msg)
    if out is not None and Path(out).exists():
        msg = f"out={str(out)!r} exists; name another folder, or remove it first"
        raise FileExistsError(msg)
    sites, site = sites_of(fields, centres)
    wanted = None if channels is None else listed(channels, name="channels")
    corner = np.floor(centres[list(PLACE)].to_numpy(dtype=np.float64) + 0.5).astype(np.int64)
    cutter = Cutter(centres.index, corner - size // 2, size, border, wanted)
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
