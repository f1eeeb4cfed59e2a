"""Kernel ridge regression through landmarks, so that its cost is linear in the observations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ...metrics._kernel_ridge import chosen_ridge

if TYPE_CHECKING:
    from ..._typing import Floats


@dataclass(frozen=True)
class LandmarkRidge:
    """A ridge regression on kernels of the observations with m landmarks (Nyström's method).

    Attributes
    ----------
    features
        (m, r) what turns kernels with the landmarks into features.
    offset
        (r,) mean features of the observations.
    pull
        (n, r) how the responses of the observations act on the coefficients.
    """

    features: Floats
    offset: Floats
    pull: Floats

    def phi(self, kernel: Floats) -> Floats:
        """Return (k, r) centred features from the (k, m) kernels of observations with landmarks."""
        return np.asarray(kernel @ self.features - self.offset)


def fit_landmarks(
    among: Floats, kernel: Floats, responses: Floats, ridges: Floats
) -> LandmarkRidge:
    """Fit a centred ridge regression, with the penalty of the smallest leave-one-out error.

    Parameters
    ----------
    among
        (m, m) kernel of the landmarks.
    kernel
        (n, m) kernel of the observations with the landmarks.
    responses
        (n, d) responses.
    ridges
        Penalties to choose from, in units of the mean diagonal of the centred kernel.

    Returns
    -------
    The regression. The prediction for an observation is the mean response plus
    ``phi(kernel) @ (pull.T @ responses)``.
    """
    n = len(kernel)
    size, axes = np.linalg.eigh(among)
    kept = size > size[-1] * len(size) * np.finfo(np.float64).eps
    whiten = axes[:, kept] / np.sqrt(size[kept])
    features = kernel @ whiten
    offset = features.mean(axis=0)
    features -= offset
    size, turn = np.linalg.eigh(features.T @ features)
    size = np.maximum(size, 0.0)
    unit = size.sum() / n or 1.0
    features = features @ turn
    centred = responses - responses.mean(axis=0)
    along, squares = features.T @ centred, features**2
    errors = []
    for ridge in ridges:
        shrunk = 1.0 / (size + ridge * unit)
        left = np.maximum(1.0 - 1.0 / n - squares @ shrunk, 1e-12)
        residual = centred - features @ (shrunk[:, None] * along)
        errors.append(float((np.einsum("ij,ij->i", residual, residual) / left**2).mean()))
    best = chosen_ridge(ridges, errors)
    return LandmarkRidge(
        features=whiten @ turn, offset=offset @ turn, pull=features / (size + best * unit)
    )
