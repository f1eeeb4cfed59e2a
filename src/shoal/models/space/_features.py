"""The space of all features: centred, and in one unit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from ...metrics._cells import densify
from ._fit_cells import training_block

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from ..._typing import Ints, Matrix
    from ...core._matrix import Rows

    Singles = NDArray[np.float32]


@dataclass(frozen=True)
class FeatureSpace:
    """The features of a cell x as :math:`z = (x - m) / s`.

    The number s is the same for all features, so that distances between cells keep their ratios.

    Attributes
    ----------
    mean
        (d,) mean m of the training cells.
    scale
        Root mean square s of the features of the training cells about their mean.
    """

    kind: ClassVar[str] = "features"
    axes: ClassVar[None] = None  # the dimensions are no principal components
    mean: Singles
    scale: float

    @property
    def shape(self) -> tuple[int]:
        """Shape of a cell as the network sees it: (d,)."""
        return (len(self.mean),)

    @property
    def n_dims(self) -> int:
        """Number of features."""
        return len(self.mean)

    @property
    def description(self) -> str:
        """Number of features, in words."""
        return f"{self.n_dims} features"

    def encode(self, block: Matrix) -> Singles:
        """Turn (n, d) values, dense or CSR, into (n, d) cells in the space."""
        mean = self.mean.astype(np.float64)  # rounded once, at the end
        return ((densify(block) - mean) / self.scale).astype(np.float32)

    def decode(self, z: Singles, start: Singles) -> Singles:
        """Turn (n, d) cells in the space into (n, d) values; the cells `start` add nothing."""
        return z * np.float32(self.scale) + self.mean

    def to_dict(self) -> dict[str, Any]:
        """Return mean and scale."""
        return {"kind": self.kind, "mean": self.mean, "scale": self.scale}

    @classmethod
    def from_dict(cls, entry: Mapping[str, Any]) -> Self:
        """Read what `to_dict` returned; its arrays may have become tensors."""
        return cls(np.asarray(entry["mean"]), entry["scale"])


def fit_features(rows: Rows, fit: Ints, *, rng: np.random.Generator) -> FeatureSpace:
    """Return the space of the features, with the mean and the scale of training cells.

    Parameters
    ----------
    rows
        (n_obs, d) values.
    fit
        Positions of the training cells, sorted. No other cell is read.
    rng
        Chooses the cells to fit on where there are very many.

    Raises
    ------
    ValueError
        If the training cells do not vary.
    """
    block = training_block(rows, fit, rng)
    mean = np.asarray(block.mean(axis=0, dtype=np.float64)).ravel().astype(np.float32)
    centred = FeatureSpace(mean, 1.0).encode(block)
    return FeatureSpace(mean, float(np.sqrt((centred.astype(np.float64) ** 2).mean())))
