"""What a space is, and which one a model gets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ._features import FeatureSpace, fit_features
from ._identity import IdentitySpace
from ._pca import PCASpace, fit_pca
from ._unit import UnitSpace

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from ..._typing import Ints, Matrix
    from ...core._matrix import Rows

KINDS = (FeatureSpace, IdentitySpace, PCASpace, UnitSpace)


class Space(Protocol):
    """The map from the values of cells into the space of a network, and back.

    Values of cells have the shape (n, d), or (n, C, H, W) for images. Cells in the space have the
    shape (n, *shape).
    """

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of a cell as the network sees it."""

    @property
    def n_dims(self) -> int:
        """Number of values of a cell as the network sees it: the product of `shape`."""

    @property
    def axes(self) -> NDArray[np.float32] | None:
        """(d, k) principal axes, largest variance first; ``None`` if the dimensions are no such."""

    @property
    def description(self) -> str:
        """Number and kind of the dimensions, in words."""

    def encode(self, block: Matrix) -> NDArray[Any]:
        """Return cells in the space, from their values (dense, or CSR)."""

    def decode(self, z: NDArray[np.float32], start: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the values of predicted cells.

        Parameters
        ----------
        z
            (n, *shape) predicted cells in the space.
        start
            Values of the cells that the predictions start from, one for each.
        """

    def to_dict(self) -> dict[str, Any]:
        """Return the space as arrays and numbers, and its ``"kind"``; see `space_from_dict`."""


def fit_space(rows: Rows, fit: Ints, *, n_latent: int | None, rng: np.random.Generator) -> Space:
    """Return the space of a network, fitted on training cells.

    Parameters
    ----------
    rows
        (n_obs, d) values, or (n_obs, C, H, W) images.
    fit
        Positions of the training cells, sorted. No other cell is read.
    n_latent
        Number of principal components, d at most. ``None`` gives the features, in one unit, or
        images as they are.
    rng
        Chooses the cells to fit on where there are very many, and starts iterative solvers.

    Raises
    ------
    ValueError
        If `n_latent` is not positive, the training cells do not vary, or principal components of
        images are asked for.
    """
    if n_latent is not None:
        return fit_pca(rows, fit, n_latent=n_latent, rng=rng)
    if len(rows.cell_shape) > 1:
        return IdentitySpace(rows.cell_shape)
    return fit_features(rows, fit, rng=rng)


def space_from_dict(entry: Mapping[str, Any]) -> Space:
    """Return the space whose ``to_dict`` gave the entry; its arrays may have become tensors."""
    kinds: dict[str, Any] = {kind.kind: kind for kind in KINDS}
    if entry["kind"] not in kinds:  # the spaces that need torch
        from ._autoencoder import AutoencoderSpace
        from ._image_autoencoder import ImageAutoencoderSpace

        kinds |= {kind.kind: kind for kind in (AutoencoderSpace, ImageAutoencoderSpace)}
    return kinds[entry["kind"]].from_dict(entry)


def encoded(rows: Rows, space: Space) -> NDArray[Any]:
    """Return all cells in a space, (n_obs, *shape).

    Raises
    ------
    MemoryError
        If there is too little memory for them.
    """
    values = np.empty((0, *space.shape), dtype=np.float32)
    for at, block in rows.blocks():
        z = space.encode(block)
        if at.start == 0:
            values = _empty((rows.shape[0], *space.shape), z.dtype)
        values[at] = z
    return values


def _empty(shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return an array without values, or say what to do where memory does not suffice."""
    try:
        return np.empty(shape, dtype=dtype)
    except MemoryError as err:
        n_bytes = dtype.itemsize * np.prod(shape, dtype=np.float64)
        msg = (
            f"the cells take {n_bytes / 2**30:.1f} GB of memory, which is not there; train with "
            "store='streamed'"
        )
        raise MemoryError(msg) from err
