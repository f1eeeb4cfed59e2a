"""Fields of view: the images of one site, read from TIFF files or from OME-Zarr."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .._validate import some
from ._field_files import open_file

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True)
class Field:
    """The images of one site, of which parts are read.

    Attributes
    ----------
    planes
        Arrays (C, H, W), in memory or in zarr, one after another along the channels.
    names
        Names of the channels, where the files tell them.
    where
        Its files, for messages.
    """

    planes: Sequence[Any]
    names: tuple[str, ...] | None
    where: str

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of channels, height and width."""
        n = sum(int(plane.shape[0]) for plane in self.planes)
        return (n, int(self.planes[0].shape[1]), int(self.planes[0].shape[2]))

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the pixels."""
        return np.dtype(self.planes[0].dtype)

    def window(self, y: slice, x: slice) -> np.ndarray:
        """Return the pixels of a window of all channels, (C, h, w)."""
        return np.concatenate([plane[:, y, x] for plane in self.planes])


def open_field(paths: Mapping[str, str | Path]) -> Field:
    """Open the files of one site.

    Parameters
    ----------
    paths
        Channel -> file with that channel; or ``""`` -> the one file with all channels.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If a file is damaged or of another kind, has several time points or depths, or the channels
        differ in size or type.
    ImportError
        If a library of the extra ``images`` is not installed.
    """
    opened = [open_file(Path(path)) for path in paths.values()]
    where = some([str(path) for path in paths.values()], 2)
    for (planes, _), path in zip(opened, paths.values(), strict=True):
        if "" not in paths and planes.shape[0] != 1:
            msg = (
                f"{str(path)!r} holds {planes.shape[0]} channels, and the table of fields names "
                "one channel for it: leave the column 'channel' out if a file holds all channels"
            )
            raise ValueError(msg)
    several = {(tuple(p.shape[1:]), np.dtype(p.dtype).name) for p, _ in opened}
    if len(several) > 1:
        msg = (
            f"the channels of one site differ in size or type: {some(sorted(several), 3)} ({where})"
        )
        raise ValueError(msg)
    names = opened[0][1] if "" in paths else tuple(paths)
    return Field([planes for planes, _ in opened], names, where)
