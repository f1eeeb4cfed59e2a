"""The space in which a network works: principal components of the training cells, and the way back to genes.

An autoencoder can take their place: `_space_network.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from ..._validate import positive
from ...metrics._cells import densify

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from ..._typing import Ints, Matrix
    from ...core._matrix import Rows
    from ._network import NetworkSpace

    Singles = NDArray[np.float32]

FIT_CELLS = 50_000  # most cells that a PCA is fitted on
EXACT = 2_000  # most features whose covariance is decomposed exactly


@dataclass(frozen=True)
class Space:
    r"""A linear map into the space of a network, and back.

    A cell x is encoded as :math:`z = (x - m) A / s`. Back in genes, a cell that starts from the control cell
    :math:`x_c` becomes :math:`x_c + s (z - z_c) A^\top`: what the components leave out of the control cell stays as it
    was measured, so that predictions keep the variance of real cells. The one number s, for all components alike, keeps
    distances as they are.

    Attributes
    ----------
    mean
        (d,) mean of the training cells.
    axes
        (d, k) orthonormal principal axes, or ``None`` where the features are used as they are.
    scale
        Root mean square of the components of the training cells.
    """

    mean: Singles
    axes: Singles | None
    scale: float

    @property
    def n_dims(self) -> int:
        """Dimensions that the network sees."""
        return len(self.mean) if self.axes is None else self.axes.shape[1]

    @property
    def description(self) -> str:
        """What these are, in words."""
        return f"{self.n_dims} {'features' if self.axes is None else 'components'}"

    def encode(self, block: Matrix) -> Singles:
        """Turn (n, d) values, dense or CSR, into (n, k)."""
        if self.axes is None:
            return ((densify(block) - self.mean) / self.scale).astype(np.float32)
        return ((block @ self.axes - self.mean @ self.axes) / self.scale).astype(np.float32)

    def decode(self, z: Singles, start: Singles) -> Singles:
        """Turn (n, k) into (n, d) values of cells that start from the control cells `start` (n, d)."""
        if self.axes is None:
            return z * np.float32(self.scale) + self.mean
        return start + ((z - self.encode(start)) * np.float32(self.scale)) @ self.axes.T

    def to_dict(self) -> dict[str, Any]:
        """Return all of it as arrays and numbers."""
        return {"kind": "linear", "mean": self.mean, "axes": self.axes, "scale": self.scale}

    @classmethod
    def from_dict(cls, entry: Mapping[str, Any]) -> Space:
        """Read what `to_dict` returned; its arrays may have become tensors."""
        axes = None if entry["axes"] is None else np.asarray(entry["axes"])
        return cls(np.asarray(entry["mean"]), axes, entry["scale"])


def fit_space(rows: Rows, fit: Ints, *, n_latent: int | None, rng: np.random.Generator) -> Space:
    """Fit on the rows `fit` (a seeded choice of them, where they are very many).

    Parameters
    ----------
    rows
        (n_obs, d) values.
    fit
        Positions of the training cells, sorted; nothing else is looked at.
    n_latent
        Principal components, d at most; ``None`` uses the features themselves.
    rng
        Chooses among the cells, and starts the iteration of very wide matrices.

    Raises
    ------
    ValueError
        If `n_latent` is not positive, or the training cells do not vary.
    """
    if n_latent is not None:
        positive(n_latent, name="n_latent")
    fit = some(fit, rng)
    block = rows.take(fit)
    d = block.shape[1]
    if not (block.max(axis=0) - block.min(axis=0)).max() > 0:
        msg = f"the {len(fit)} training cells do not vary in any of the {d} features; there is nothing to learn"
        raise ValueError(msg)
    mean = np.asarray(block.mean(axis=0), dtype=np.float64).ravel()
    axes = None if n_latent is None else _axes(block, min(n_latent, d, len(fit) - 1), rng)
    space = Space(mean.astype(np.float32), axes, 1.0)
    scale = float(np.sqrt((space.encode(block).astype(np.float64) ** 2).mean()))
    return Space(space.mean, axes, scale)


def some(fit: Ints, rng: np.random.Generator) -> Ints:
    """Return the positions of at most `FIT_CELLS` cells, sorted."""
    return fit if len(fit) <= FIT_CELLS else np.sort(rng.choice(fit, FIT_CELLS, replace=False))


def encoded(rows: Rows, space: Space | NetworkSpace) -> Singles:
    """Return all rows in a space, (n_obs, k).

    Raises
    ------
    MemoryError
        If there is too little memory for them.
    """
    shape = (rows.shape[0], space.n_dims)
    try:
        values = np.empty(shape, dtype=np.float32)
    except MemoryError as err:
        n_bytes = 4 * shape[0] * shape[1]
        msg = f"the cells take {n_bytes / 2**30:.1f} GB of memory, which is not there; train with store='streamed'"
        raise MemoryError(msg) from err
    for at, block in rows.blocks():
        values[at] = space.encode(block)
    return values


def _axes(block: Matrix, n_latent: int, rng: np.random.Generator) -> Singles:
    from sklearn.decomposition import PCA

    wide = "arpack" if sparse.issparse(block) else "randomized"
    solver = "covariance_eigh" if block.shape[1] <= EXACT else wide
    pca = PCA(n_latent, svd_solver=solver, random_state=int(rng.integers(2**31))).fit(block)
    return np.ascontiguousarray(pca.components_.T, dtype=np.float32)
