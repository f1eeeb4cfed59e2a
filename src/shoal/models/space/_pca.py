"""The space of principal components, and the way back to features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from ..._validate import whole
from ...metrics._pca import axes_of_cells
from ._fit_cells import training_block

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from ..._typing import Ints, Matrix
    from ...core._matrix import Rows

    Singles = NDArray[np.float32]


@dataclass(frozen=True)
class PCASpace:
    r"""Principal components of a cell, in one unit.

    A cell x is encoded as :math:`z = (x - m) A / s`. The number s is the same for all components,
    so that distances between cells keep their ratios.

    A predicted cell z that starts from the control cell :math:`x_c` is decoded as
    :math:`x_c + s (z - z_c) A^\top`. What the components leave out of the control cell stays as it
    was measured. Predicted cells therefore vary as much as real cells do.

    Attributes
    ----------
    mean
        (d,) mean m of the training cells.
    axes
        (d, k) orthonormal principal axes A, largest variance first.
    scale
        Root mean square s of the components of the training cells.
    """

    kind: ClassVar[str] = "pca"
    mean: Singles
    axes: Singles
    scale: float

    @property
    def shape(self) -> tuple[int]:
        """Shape of a cell as the network sees it: (k,)."""
        return (self.n_dims,)

    @property
    def n_dims(self) -> int:
        """Number of components."""
        return self.axes.shape[1]

    @property
    def description(self) -> str:
        """Number of components, in words."""
        return f"{self.n_dims} components"

    def encode(self, block: Matrix) -> Singles:
        """Turn (n, d) values, dense or CSR, into (n, k) components."""
        axes = self.axes.astype(np.float64)  # the product is rounded once, at the end
        return ((block @ axes - self.mean @ axes) / self.scale).astype(np.float32)

    def decode(self, z: Singles, start: Singles) -> Singles:
        """Turn (n, k) components into (n, d) values of cells that start from `start` (n, d)."""
        return start + ((z - self.encode(start)) * np.float32(self.scale)) @ self.axes.T

    def to_dict(self) -> dict[str, Any]:
        """Return mean, axes and scale."""
        return {"kind": self.kind, "mean": self.mean, "axes": self.axes, "scale": self.scale}

    @classmethod
    def from_dict(cls, entry: Mapping[str, Any]) -> Self:
        """Read what `to_dict` returned; its arrays may have become tensors."""
        return cls(np.asarray(entry["mean"]), np.asarray(entry["axes"]), entry["scale"])


def fit_pca(rows: Rows, fit: Ints, *, n_latent: int, rng: np.random.Generator) -> PCASpace:
    """Return the space of the principal components of training cells.

    Parameters
    ----------
    rows
        (n_obs, d) values.
    fit
        Positions of the training cells, sorted. No other cell is read.
    n_latent
        Number of components. There are at most d, and fewer than training cells.
    rng
        Chooses the cells to fit on where there are very many, and starts the iteration where there
        are very many features.

    Raises
    ------
    ValueError
        If `n_latent` is not positive, the training cells do not vary, or they are images.
    """
    n_latent = whole(n_latent, name="n_latent")
    block = training_block(rows, fit, rng)
    n, d = block.shape
    mean = np.asarray(block.mean(axis=0, dtype=np.float64)).ravel().astype(np.float32)
    axes = axes_of_cells(block, min(n_latent, d, n - 1), rng=rng)
    axes = np.ascontiguousarray(axes, dtype=np.float32)
    z = PCASpace(mean, axes, 1.0).encode(block).astype(np.float64)
    return PCASpace(mean, axes, float(np.sqrt((z**2).mean())))
