"""Crops that are read by blocks, in units of the intensities of the controls of their plates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .._validate import some
from ._image_entries import crops_of
from ._images import ImageScale
from ._matrix import Rows, as_rows
from ._predictions import prediction_slot

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd
    from anndata import AnnData
    from numpy.typing import NDArray

    from .._typing import Floats, Ints

MOST = 256  # images that are measured at once


@dataclass(frozen=True)
class Crops:
    """Crops of an AnnData, real or predicted, and their scale.

    Attributes
    ----------
    rows
        (n_obs, C, H, W) crops.
    scale
        What :func:`shoal.pp.prepare_images` found.
    plates
        (n_obs,) plate of every cell, a position in ``scale.plates``.
    names
        Names of the cells, for messages.
    """

    rows: Rows
    scale: ImageScale
    plates: Ints
    names: pd.Index

    def intensities(self, cells: Ints) -> NDArray[np.float32]:
        """Return (n, C, H, W) intensities of cells in any order, repeats allowed.

        The low percentile of the controls is 0, the high one 1.

        Raises
        ------
        ValueError
            If a pixel is NaN or infinite.
        """
        unique, back = np.unique(cells, return_inverse=True)
        images = np.asarray(self.rows.take(unique))
        finite = np.isfinite(images).all(axis=(1, 2, 3))
        if not finite.all():
            msg = (
                f"{(~finite).sum()} crops of {self.rows.slot} hold NaN or infinite pixels, such as "
                f"those of {some(self.names[unique[~finite]], 3)}"
            )
            raise ValueError(msg)
        unit = self.scale.to_unit(images, self.plates[unique])
        return (unit[back] + np.float32(1)) / np.float32(2)

    def each(self, cells: Ints, measure: Callable[[NDArray[np.float32]], Floats]) -> Floats:
        """Return (n, d): what is measured on images, a block at a time.

        Parameters
        ----------
        cells
            (n,) positions in any order, repeats allowed.
        measure
            Turns (k, C, H, W) intensities into (k, d) numbers.
        """
        unique, back = np.unique(cells, return_inverse=True)
        step = min(MOST, self.rows.step)
        starts = range(0, max(len(unique), 1), step)
        parts = [measure(self.intensities(unique[start : start + step])) for start in starts]
        return np.concatenate(parts)[back]


def crops(adata: AnnData, use_rep: str, *, prediction: str | None = None) -> Crops:
    """Return prepared crops, or crops that were predicted for the same cells.

    Raises
    ------
    KeyError
        If there are none, or they were not prepared.
    ValueError
        If predicted crops are of another shape.
    """
    scale = ImageScale.read(adata, use_rep)
    rows = crops_of(adata, use_rep)
    if prediction is not None:
        where, key = prediction_slot(adata, prediction)
        rows = as_rows(getattr(adata, where)[key], slot=f"{where}/{key}")
        shape = (len(scale.channels), *scale.size)
        if rows.cell_shape != shape:
            msg = (
                f"{rows.slot} holds predictions of shape {rows.cell_shape} a cell, and the crops "
                f"obsm[{use_rep!r}] have {shape}: predict with a model that was trained on them"
            )
            raise ValueError(msg)
    return Crops(rows, scale, scale.plates_of(adata), adata.obs_names)
