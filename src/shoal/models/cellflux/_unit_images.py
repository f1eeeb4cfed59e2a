"""Crops as a network of images sees them: on the scale of the controls of their plate."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ...core._images import ImageScale

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from ..._typing import Ints
    from ...core._matrix import Rows

    Images = NDArray[np.float32]


@dataclass(frozen=True)
class UnitImages:
    """Crops that are read by blocks, each block on the scale of the controls.

    Attributes
    ----------
    rows
        Crops as they are stored.
    scale
        Scale of their intensities.
    plates
        (n_obs,) positions in ``scale.plates``.
    """

    rows: Rows
    scale: ImageScale
    plates: Ints
    columns: ClassVar[None] = None  # which images do not have

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of cells, then the shape (C, H, W) of one."""
        return self.rows.shape

    @property
    def cell_shape(self) -> tuple[int, ...]:
        """Shape (C, H, W) of a cell."""
        return self.rows.cell_shape

    @property
    def slot(self) -> str:
        """Name of the slot that the crops come from."""
        return self.rows.slot

    def blocks(self) -> Iterator[tuple[slice, Images]]:
        """Yield (rows, block) in order; a block is float32, (n, C, H, W)."""
        for at, block in self.rows.blocks():
            yield at, self.scale.to_unit(block, self.plates[at])

    def take(self, index: Ints) -> Images:
        """Return the crops at the (sorted, unique) positions `index`."""
        return self.scale.to_unit(self.rows.take(index), self.plates[index])

    def keeping(self, index: Ints) -> UnitImages:
        """Return the same crops, of which those at the positions are read now, and not again."""
        return replace(self, rows=self.rows.keeping(index))

    def given(self, values: Images, index: Ints) -> NDArray[Any]:
        """Return predicted images as intensities, in the type and range of the crops.

        Parameters
        ----------
        values
            (n, C, H, W) images on the scale of the controls.
        index
            (n,) positions of the cells whose plates the images belong to.
        """
        return self.scale.from_unit(values, self.plates[index])

    def is_same_file(self, other: Rows) -> bool:
        """Return whether other crops are the same array of a file, or the same dask array."""
        return self.rows.is_same_file(other)


def about(scale: ImageScale) -> dict[str, Any]:
    """Return what a model keeps of the images that it is trained on, as plain values.

    Returns
    -------
    ``channels``, ``size``, ``dtype`` and ``value_range`` of the crops, and ``quantum``: the length
    of one whole number of intensity in each channel, on the scale of the controls, for the median
    plate; 0 where intensities are no whole numbers.
    """
    span = np.median(scale.high - scale.low, axis=0)
    quantum = 2 / span if scale.whole else np.zeros_like(span)
    kept = ("channels", "size", "dtype", "value_range")
    return {name: getattr(scale, name) for name in kept} | {"quantum": quantum.tolist()}


def scale_like(trained: Mapping[str, Any]) -> ImageScale:
    """Return a scale with the channels, size, type and range that a model was trained on."""
    kept = {name: trained[name] for name in ("channels", "size", "dtype", "value_range")}
    ends = np.zeros((0, len(trained["channels"])))
    return ImageScale(use_rep="", plate_key=None, plates=(), low=ends, high=ends, **kept)
