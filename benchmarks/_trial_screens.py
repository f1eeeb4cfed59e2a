"""The screens on which the score is tried: without effects, with effects, and with a single one."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import anndata as ad
import numpy as np
from _trial_fields import CONTROL, KEY, Field, field_of, halves, real, simulated

if TYPE_CHECKING:
    from collections.abc import Callable

ACROSS = {"by": "perturbation_context", "baselines": ("own_shift", "mean_shift")}
SOME, ONE = 0.5, "IFNGR2"
T, MONO, B = "CD4 T cells", "CD14+ Monocytes", "B cells"


@dataclass(frozen=True)
class Setup:
    """A screen, what is held out of it, and what is scored beside the predictions.

    Attributes
    ----------
    counts
        Seed -> raw counts.
    by, test
        Of `pp.split`.
    baselines
        Models of shoal; the first is the reference of this kind of split.
    invented
        The real screen whose responses are invented here.
    """

    counts: Callable[[int], ad.AnnData]
    by: str = "perturbation"
    test: Any = SOME
    baselines: tuple[str, ...] = ("mean_shift",)
    invented: str = "renge"

    def field(self, seed: int, *, spare: bool = True) -> Field:
        """Return the screen of a seed, with or without cells put aside."""
        return field_of(self.counts(seed), self.by, test=self.test, seed=seed, spare=spare)


fake = partial(partial, halves)
screen = partial(partial, real)
NULL = {
    "simulated": Setup(partial(simulated, n=20, n_cells=50, effects="null")),
    "simulated, 2 contexts": Setup(
        partial(simulated, n=10, n_cells=50, contexts=2, effects="null"), **ACROSS
    ),
    "Gasperini controls": Setup(fake("gasperini", n=20, n_cells=60, n_control=600, contexts=None)),
    "Papalexi controls": Setup(fake("papalexi", n=12, n_cells=50, n_control=392, contexts=None)),
    "RENGE controls, 2 days": Setup(
        fake("renge", n=6, n_cells=40, n_control=150, contexts=("4", "5")),
        **ACROSS,
        invented="papalexi",
    ),
    "Kang controls, T cells": Setup(
        fake("kang controls", n=20, n_cells=60, n_control=600, contexts=(T,))
    ),
    "Kang controls, 3 cell types": Setup(
        fake("kang controls", n=8, n_cells=50, n_control=300, contexts=(T, MONO, B)),
        **(ACROSS | {"by": "context"}),
        test=[B],
    ),
    "Gasperini": Setup(screen("gasperini", most=80, n_control=600, contexts=None), test=0.4),
}
EFFECTS = {
    "simulated": Setup(partial(simulated, n_cells=120, effects="shift")),
    "simulated, 2 contexts": Setup(
        partial(simulated, n=8, n_cells=120, contexts=2, effects="shift"), **ACROSS
    ),
    "RENGE": Setup(
        screen("renge", most=120, n_control=300, contexts=("4", "5")), **ACROSS, test=0.2
    ),
    "Papalexi": Setup(screen("papalexi", most=160, n_control=600, contexts=None), test=0.4),
    "Norman": Setup(screen("norman", most=100, n_control=100, contexts=None), test=0.3),
    "Kang": Setup(
        screen("kang", most=160, n_control=240), **(ACROSS | {"by": "context"}), test=0.3
    ),
}


def one_simulated(seed: int) -> tuple[Field, str]:
    """Return a screen of 20 perturbations, of which one responds, and its name; it is held out with nine others."""
    counts = simulated(seed, n=20, n_cells=100, effects="shift", effect_size=[4.0] + [0.0] * 19)
    only, *rest = counts.uns["truth"]["table"].index
    return _one_of(counts, only, rest, 9, seed), only


def one_real(seed: int) -> tuple[Field, str]:
    """Return Papalexi controls dealt to 11 perturbations, and one real perturbation; it is held out with five others."""
    fakes = halves("papalexi", seed, n=11, n_cells=60, n_control=330, contexts=None)
    adata = real("papalexi", seed, most=120, n_control=1, contexts=None)
    both = ad.concat([fakes, adata[adata.obs[KEY] == ONE]])
    rest = [name for name in np.unique(both.obs[KEY].astype(str)) if name not in (CONTROL, ONE)]
    return _one_of(both, ONE, rest, 5, seed), ONE


def _one_of(counts: ad.AnnData, only: str, rest: list[str], n: int, seed: int) -> Field:
    rng = np.random.default_rng([seed, 21])
    test = [only, *map(str, rng.choice(rest, n, replace=False))]
    return field_of(counts, "perturbation", test=test, seed=seed, spare=True)


NEAR_NULL = {"simulated": one_simulated, "Papalexi controls and IFNGR2": one_real}
