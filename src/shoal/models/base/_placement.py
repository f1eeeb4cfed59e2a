"""Where vectors of contexts lie among those of training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from ..._typing import Floats

ROUNDING = 1e-6  # of the largest singular value


@dataclass(frozen=True)
class Placement:
    """Where vectors of contexts lie among those of training.

    A network learns how responses depend on the directions in which training contexts differ, and
    on no other. What a vector has outside of them is left out. Of n training contexts there are at
    most n - 1 such directions, and a linear function of all of them can be any n numbers: the
    contexts would be learned by heart. So the leading half of them is kept, at least one.

    A context that lies farther from the centre than all training contexts is moved to the distance
    of the farthest.

    Attributes
    ----------
    centre
        (D,) mean vector of the training contexts.
    axes
        (D, k) orthonormal directions in which they differ most, divided by one length, so that the
        mean square of a coordinate is 1 over training contexts; k is at most (n - 1) / 2, or 1.
    reach
        Largest distance of a training context from the centre.
    """

    centre: Floats
    axes: Floats
    reach: float

    @classmethod
    def of(cls, vectors: Floats) -> Placement:
        """Return the placement of (n, D) vectors of training contexts."""
        centre = vectors.mean(axis=0)
        _, sizes, axes = np.linalg.svd(vectors - centre, full_matrices=False)
        rank = int((sizes > ROUNDING * max(float(sizes.max(initial=0)), 1e-12)).sum())
        axes = axes[: min(rank, max(1, (len(vectors) - 1) // 2))].T
        places = (vectors - centre) @ axes
        unit = float(np.sqrt((places**2).mean())) if places.size else 1.0
        reach = float(np.linalg.norm(places, axis=1).max(initial=0)) / unit
        return cls(centre, axes / unit, reach)

    @property
    def n(self) -> int:
        """Number of directions."""
        return int(self.axes.shape[1])

    def __call__(self, vectors: Floats) -> Floats:
        """Return the (n, k) coordinates of (n, D) vectors."""
        places = (vectors - self.centre) @ self.axes
        size = np.linalg.norm(places, axis=1, keepdims=True)
        return places * np.minimum(1.0, self.reach / np.maximum(size, 1e-12))
