"""Files of fields of view: TIFF and OME-Zarr, as arrays of channels, rows and columns."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .._compat import require

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ENDINGS = (".tif", ".tiff")
PLANE = ("Y", "X")
CHANNEL = ("C", "S", "I", "Q")  # axes that can be channels: samples of a colour, pages of a file


@contextlib.contextmanager
def reading(what: str) -> Iterator[None]:
    """Turn what readers of files raise about damaged ones into a ``ValueError`` that names them."""
    try:
        yield
    except (ImportError, MemoryError):
        raise
    except Exception as err:
        if isinstance(err, ValueError) and str(err).startswith(what):
            raise
        msg = f"{what} cannot be read: {type(err).__name__}: {err}. Copy or export it again"
        raise ValueError(msg) from err


def open_file(path: Path) -> tuple[Any, tuple[str, ...] | None]:
    """Return the (C, H, W) array of a file, and the names of its channels if it tells them."""
    if not path.exists():
        msg = f"there is no file or folder {str(path)!r}"
        raise FileNotFoundError(msg)
    if path.is_dir():
        return _open_zarr(path)
    if path.name.lower().endswith(ENDINGS):
        return _open_tiff(path), None
    msg = (
        f"{str(path)!r} is neither a TIFF file ({', '.join(ENDINGS)}) nor a folder of OME-Zarr: "
        "export the images as one of these"
    )
    raise ValueError(msg)


def _open_tiff(path: Path) -> np.ndarray:
    tifffile = require("tifffile", extra="images")
    with reading(repr(str(path))), tifffile.TiffFile(path) as file:
        if not file.series:
            msg = f"{str(path)!r} holds no image"
            raise ValueError(msg)
        series = file.series[0]
        size = path.stat().st_size
        ends = [
            start + n
            for page in series.pages
            if page is not None
            for start, n in zip(page.dataoffsets, page.databytecounts, strict=True)
        ]
        if max(ends, default=0) > size:
            msg = (
                f"{str(path)!r} is cut off: it has {size:,} bytes, and its images end at "
                f"{max(ends):,}. Copy it again"
            )
            raise ValueError(msg)
        values, axes = series.asarray(), str(series.axes)
    return _as_planes(values, axes, path)


def _open_zarr(path: Path) -> tuple[Any, tuple[str, ...] | None]:
    zarr = require("zarr", extra="images")
    with reading(repr(str(path))):
        group = zarr.open_group(str(path), mode="r")
        about = dict(group.attrs)
        about = about.get("ome", about)
        if not about.get("multiscales"):
            msg = (
                f"{str(path)!r} is no image of OME-Zarr: its attributes have no 'multiscales'. "
                "Name the folder of the image itself, such as 'plate.zarr/A/1/0' of a plate"
            )
            raise ValueError(msg)
        scales = about["multiscales"][0]
        array = group[scales["datasets"][0]["path"]]
        listed = scales.get("axes", ["t", "c", "z", "y", "x"][-array.ndim :])
        axes = "".join((a["name"] if isinstance(a, dict) else a)[0].upper() for a in listed)
        labels = [c.get("label") for c in about.get("omero", {}).get("channels", [])]
    names = tuple(map(str, labels)) if labels and all(labels) else None
    return _Planes(array, *_places(array.shape, axes, path)), names


@dataclass(frozen=True)
class _Planes:
    """An array in a file, seen as (C, H, W)."""

    array: Any
    channel: int | None
    y: int
    x: int

    @property
    def shape(self) -> tuple[int, int, int]:
        n = 1 if self.channel is None else int(self.array.shape[self.channel])
        return (n, int(self.array.shape[self.y]), int(self.array.shape[self.x]))

    @property
    def dtype(self) -> Any:
        return self.array.dtype

    def __getitem__(self, key: tuple[slice, slice, slice]) -> np.ndarray:
        own = {self.channel: key[0], self.y: key[1], self.x: key[2]}
        index = tuple(own.get(axis, 0) for axis in range(self.array.ndim))
        values = np.asarray(self.array[index])
        if self.channel is None:
            return values[None]
        return np.moveaxis(values, -1, 0) if self.channel > self.x else values


def _as_planes(values: np.ndarray, axes: str, path: Path) -> np.ndarray:
    channel, y, x = _places(values.shape, axes, path)
    whole = slice(None)
    return _Planes(values, channel, y, x)[whole, whole, whole]


def _places(shape: tuple[int, ...], axes: str, path: Path) -> tuple[int | None, int, int]:
    """Return which axes are the channel, y and x.

    Raises
    ------
    ValueError
        If there are several time points or depths, or no plane.
    """
    if not (set(PLANE) <= set(axes)) or len(axes) != len(shape):
        msg = f"{str(path)!r} has the axes {axes} of sizes {tuple(shape)}, and no plane of y and x"
        raise ValueError(msg)
    several = [a for a, n in zip(axes, shape, strict=True) if a not in PLANE and n > 1]
    channel = next((a for a in CHANNEL if a in several), None)
    rest = [a for a in several if a != channel]
    if rest:
        msg = (
            f"{str(path)!r} has the axes {axes} of sizes {tuple(shape)}: crops are of one time "
            "point and depth. Project or choose them first"
        )
        raise ValueError(msg)
    order = axes.index(channel) if channel is not None else None
    if order is None:
        order = next((axes.index(a) for a in CHANNEL if a in axes), None)
    y, x = axes.index("Y"), axes.index("X")
    in_order = y < x and (order is None or order < y or (axes[order] == "S" and order > x))
    if not in_order:
        msg = f"{str(path)!r} has the axes {axes}; channels, y and x must come in that order"
        raise ValueError(msg)
    return order, y, x
