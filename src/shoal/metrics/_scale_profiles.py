"""Mean profiles of predicted and real cells, which tell whether they are on one scale."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ._cells import densify, each_of

if TYPE_CHECKING:
    from .._typing import Floats, Ints, Matrix
    from ._comparison import Populations

GENES = 200  # genes of the profile: those with the largest real means
SHARE = 0.8  # no more genes than make up this share of all real means: others are noise
FEWEST_GENES = 8  # below this a factor fits by chance
CONDITIONS, CELLS = 64, 512  # most conditions, and real cells of all of them, that are looked at


@dataclass(frozen=True)
class Profiles:
    """Mean profiles of the predicted cells and of a sample of the real ones, in strong genes.

    Attributes
    ----------
    predicted, own
        (g,) mean over conditions of the predicted mean cells, and of the real ones.
    real
        (n, g) some of the real cells.
    weight
        (n,) weights of the real cells, so that each condition counts once; their sum is 1.
    others
        Two more profiles on the scale of the real cells: of the controls, and of the perturbed
        cells of other conditions. A strong response can move all genes, and a prediction that
        knows nothing of it is like one of these.
    ratio
        Mean size of all predicted means, over that of the real ones.
    """

    predicted: Floats
    own: Floats
    real: Floats
    weight: Floats
    others: tuple[Floats, ...]
    ratio: float

    @property
    def least_error(self) -> float:
        """Least difference from a profile that is on the scale of the real cells."""
        return min(self.error(profile) for profile in (self.own, *self.others))

    def error(self, other: Floats) -> float:
        """Return how far a profile is from the predicted one: 0 if equal, 1 at most.

        It is the median of the differences of single genes, each as a share of the larger value.
        Some genes may differ as much as they like. Genes weigh by the root of their real mean.
        """
        larger = np.maximum(np.abs(self.predicted), np.abs(other))
        if not larger.any():
            return 0.0
        share = np.abs(self.predicted - other) / np.maximum(larger, 1e-300)
        order = np.argsort(share, kind="stable")
        reached = np.cumsum(np.sqrt(np.abs(self.own[order])) + 1e-300)
        return float(share[order][np.searchsorted(reached, reached[-1] / 2)])

    def mean(self, values: Floats) -> Floats:
        """Return the mean profile of the real cells, some of which were brought to a scale.

        What these differ from all real cells by is corrected for.
        """
        some = self.weight @ self.real
        ratio = np.divide(self.own, some, out=np.ones_like(some), where=some > 0)
        return np.asarray(self.weight @ values) * ratio


def profiles(made: Populations) -> Profiles:
    """Return the profiles of predicted and real cells, in the genes with the largest real means."""
    truth = made.truth
    chosen = _spread(len(truth.names), CONDITIONS)
    size = np.abs(truth.real.means[chosen]).mean(axis=0)
    genes = np.argsort(-size, kind="stable")
    share = np.cumsum(size[genes]) / max(size.sum(), 1e-300)
    genes = genes[: min(GENES, max(FEWEST_GENES, int(np.searchsorted(share, SHARE)) + 1))]
    each = max(CELLS // len(chosen), 1)
    parts = each_of(truth.cells)
    cells = [
        densify(values[rows[_spread(len(rows), each)]])[:, genes]
        for values, rows in (parts[i] for i in chosen)
    ]
    weight = [np.full(len(own), 1 / (len(own) * len(cells))) for own in cells]
    return Profiles(
        predicted=made.means[chosen][:, genes].mean(axis=0),
        own=truth.real.means[chosen][:, genes].mean(axis=0),
        real=np.concatenate(cells).astype(np.float64),
        weight=np.concatenate(weight),
        others=tuple(
            means[chosen][:, genes].mean(axis=0) for means in (truth.control, truth.reference)
        ),
        ratio=float(np.abs(made.means).mean() / max(np.abs(truth.real.means).mean(), 1e-300)),
    )


def profiles_of(predicted: Matrix, real: Matrix, control: Matrix) -> Profiles:
    """Return the profiles of three populations of cells, (n, d) each, of one perturbation."""
    means = [
        np.asarray(cells.mean(axis=0, dtype=np.float64)).ravel()
        for cells in (predicted, real, control)
    ]
    genes = np.argsort(-np.abs(means[1]), kind="stable")[:GENES]
    some = densify(real[_spread(real.shape[0], CELLS)])[:, genes].astype(np.float64)
    of_predicted, own, of_control = (mean[genes] for mean in means)
    ratio = float(np.abs(means[0]).mean() / max(np.abs(means[1]).mean(), 1e-300))
    weight = np.full(len(some), 1 / max(len(some), 1))
    return Profiles(of_predicted, own, some, weight, (of_control,), ratio)


def _spread(n: int, most: int) -> Ints:
    """Return up to `most` positions of n, evenly spaced."""
    return np.unique(np.linspace(0, n - 1, min(n, most)).astype(np.int64))
