"""The space of cells as they are: for images, whose network reads pixels."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray


@dataclass(frozen=True)
class IdentitySpace:
    """Cells as they are, of any shape.

    Values are not rescaled: images of bytes reach the network as numbers from 0 to 255.

    Attributes
    ----------
    shape
        Shape of a cell: (C, H, W) of images.
    """

    kind: ClassVar[str] = "identity"
    axes: ClassVar[None] = None  # the dimensions are no principal components
    shape: tuple[int, ...]

    @property
    def n_dims(self) -> int:
        """Number of values of a cell."""
        return prod(self.shape)

    @property
    def description(self) -> str:
        """Shape of a cell, in words."""
        return f"cells of shape {' x '.join(map(str, self.shape))}"

    def encode(self, block: NDArray[Any]) -> NDArray[Any]:
        """Return the cells (n, *shape): uint8 as uint8, all other values as float32."""
        return np.asarray(block, dtype=np.uint8 if block.dtype == np.uint8 else np.float32)

    def decode(self, z: NDArray[np.float32], start: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the predicted cells `z` (n, *shape); what they start from adds nothing."""
        return z

    def to_dict(self) -> dict[str, Any]:
        """Return the shape of a cell."""
        return {"kind": self.kind, "shape": list(self.shape)}

    @classmethod
    def from_dict(cls, entry: Mapping[str, Any]) -> Self:
        """Read what `to_dict` returned."""
        return cls(tuple(int(size) for size in entry["shape"]))
