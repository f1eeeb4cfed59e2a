"""The score where the right order is known beforehand; `benchmarks/score_trials.py` tries it at length."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

import shoal as sh

COPY = "control copy"
METRICS = ["pearson_delta", "pds_l2", "de_auprc", "de_wrong", "energy", "variance_ratio", "rmse"]


@cache
def _screen(sizes: tuple[float, ...], held_out: tuple[str, ...] | float) -> tuple:
    """Return a screen, the rows of its held-out perturbations, and as many further cells of each."""
    adata = sh.ds.simulate(
        n_perturbations=len(sizes),
        n_cells=80,
        n_control=300,
        n_genes=80,
        n_batches=1,
        effects="shift",
        effect_size=list(sizes),
        rng=3,
    )
    sh.pp.annotate(adata, "perturbation", control="control")
    test = list(held_out) if isinstance(held_out, tuple) else held_out
    sh.pp.split(adata, by="perturbation", test=test, rng=3)
    sh.pp.prepare(adata, normalize="log1p", fit_on="train", cross_fit=0, n_comps=10)
    label = adata.obs["perturbation"].astype(str).to_numpy()
    own = adata.obs.groupby("perturbation", observed=True).cumcount().to_numpy()
    aside = ((adata.obs["split"] == "test") & (label != "control")).to_numpy() & (own % 2 == 1)
    further = {name: adata.X[aside & (label == name)].toarray() for name in np.unique(label[aside])}
    return adata[~aside].copy(), further


class Trial:
    """A screen with predictions of it; each is (n, n_genes) cells of every held-out perturbation."""

    def __init__(self, sizes, held_out=0.5):
        adata, self.further = _screen(tuple(sizes), held_out)
        self.adata, self.rng = adata.copy(), np.random.default_rng(0)
        self.label = adata.obs["perturbation"].astype(str).to_numpy()
        self.x = adata.X.toarray()

    def controls(self):
        """Control cells, drawn anew."""
        pool = np.flatnonzero(self.label == "control")
        return {
            name: self.x[self.rng.choice(pool, len(cells), replace=False)]
            for name, cells in self.further.items()
        }

    def plus(self, shift, but=()):
        """Control cells plus a shift, and further cells of some perturbations."""
        made = {name: cells + shift() for name, cells in self.controls().items()}
        return made | {name: self.further[name] for name in but}

    def mixed(self, share):
        """Further real cells, some of them replaced by control cells."""
        return {
            name: np.where(np.arange(len(cells))[:, None] < share * len(cells), cells, other)
            for (name, cells), other in zip(
                self.further.items(), self.controls().values(), strict=True
            )
        }

    def judged(self, made, rng=0):
        """Return parameters and contenders of an evaluation."""
        values = np.zeros(self.x.shape, dtype=np.float32)
        for name, cells in made.items():
            rows = np.flatnonzero(self.label == name)
            values[rows] = self.rng.permutation(np.maximum(cells, 0))
        self.adata.layers["made"] = values
        sh.tl.evaluate(
            self.adata,
            prediction="made",
            metrics=METRICS,
            baselines=["mean_shift"],
            n_comps=10,
            rng=rng,
            overwrite=True,
        )
        entry = self.adata.uns["evaluation"]
        return entry["params"], entry["contenders"]

    def in_some_genes(self):
        """1 in a quarter of the genes."""
        return 1.0 * (self.rng.permutation(self.x.shape[1]) < self.x.shape[1] // 4)

    def in_few_directions(self):
        """A response of rank 2, in all genes."""
        axes = np.random.default_rng(1).normal(size=(2, self.x.shape[1]))
        return 0.25 * self.rng.normal(size=2) @ axes


@pytest.fixture
def nothing():
    return Trial([0.0] * 16)


@pytest.mark.parametrize("shift", ["in_some_genes", "in_few_directions"])
def test_where_nothing_responds_the_copy_is_first_and_inventions_are_below(nothing, shift):
    params, contenders = nothing.judged(nothing.plus(getattr(nothing, shift)))
    assert not params["responds"]
    assert params["verdict"].startswith("nothing to predict here")
    honest = contenders["score"].drop(["positive control", "negative control"])
    assert honest.idxmax() == COPY or honest[COPY] == honest.max()
    assert params["score"] < honest[COPY]


def test_other_control_cells_lose_less_than_an_invention(nothing):
    again = nothing.judged(nothing.controls())[0]["score"]
    invented = nothing.judged(nothing.plus(nothing.in_few_directions))[0]["score"]
    assert invented < 2 * again - 0.1 <= 0


def test_an_oracle_mixed_with_controls_falls_step_by_step():
    trial = Trial([4.0] * 16)
    scores, holds = [], []
    for share in (1, 0.75, 0.5, 0.25):
        params, contenders = trial.judged(trial.mixed(share))
        scores.append(params["score"])
        holds.append((params["score_low"], params["score_high"]))
        assert params["responds"]
        assert contenders.loc["mean_shift", "score"] == 0
    assert np.all(np.diff([*scores, contenders.loc[COPY, "score"]]) < 0)
    assert holds[0][0] < 1 < holds[0][1]  # a second experiment


def test_of_one_response_among_many_the_right_one_wins_and_inventions_lose():
    names = tuple(f"P{i:02d}" for i in range(1, 9))
    trial = Trial([5.0] + [0.0] * 15, names)
    own = trial.further[names[0]].mean(axis=0) - trial.x[trial.label == "control"].mean(axis=0)
    right, contenders = trial.judged(trial.plus(lambda: 0.0, but=names[:1]))
    invents, beside = trial.judged(trial.plus(lambda: own, but=names[:1]))
    assert right["responds"]
    assert right["score"] > contenders.loc[COPY, "score"]
    assert invents["score"] < beside.loc[COPY, "score"]
