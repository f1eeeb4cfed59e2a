"""The space of all features, divided by one number: a zero stays a zero."""

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
class UnitSpace:
    """The features of a cell divided by the largest of training, so that genes are from 0 to 1.

    Attributes
    ----------
    n_dims
        Number of features.
    scale
        Largest absolute value of a training cell.
    """

    kind: ClassVar[str] = "unit"
    axes: ClassVar[None] = None  # the dimensions are no principal components
    n_dims: int
    scale: float

    @property
    def shape(self) -> tuple[int]:
        """Shape of a cell as the network sees it: (d,)."""
        return (self.n_dims,)

    @property
    def description(self) -> str:
        """Number of features, in words."""
        return f"{self.n_dims} features"

    def encode(self, block: Matrix) -> Singles:
        """Turn (n, d) values, dense or CSR, into (n, d) cells in the space."""
        return (densify(block) / self.scale).astype(np.float32)

    def decode(self, z: Singles, start: Singles) -> Singles:
        """Turn (n, d) cells in the space into (n, d) values; the cells `start` add nothing."""
        return z * np.float32(self.scale)

    def to_dict(self) -> dict[str, Any]:
        """Return the number of features and the scale."""
        return {"kind": self.kind, "n_dims": self.n_dims, "scale": self.scale}

    @classmethod
    def from_dict(cls, entry: Mapping[str, Any]) -> Self:
        """Read what `to_dict` returned."""
        return cls(int(entry["n_dims"]), float(entry["scale"]))


def fit_unit(rows: Rows, fit: Ints, *, rng: np.random.Generator) -> UnitSpace:
    """Return the space with the scale of training cells.

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
    return UnitSpace(block.shape[1], float(max(block.max(), -block.min())))
