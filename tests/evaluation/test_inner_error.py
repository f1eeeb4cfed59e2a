"""The error within training: its closed form, its null, and who is chosen by it."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import shoal as sh
from shoal.core._inner_folds import inner_folds
from shoal.core._population import population
from shoal.core._screen import resolve
from shoal.evaluation._baselines import baseline_names
from shoal.evaluation._evaluate import seed_of
from shoal.evaluation._inner_error import InnerError, relative
from shoal.evaluation._inner_reference import reference_on_validation


class Shifted:
    """Predicts the first control cells, moved by a known vector."""

    def __init__(self, by=0.0, spread=1.0):
        self.by, self.spread = by, spread

    def twins(self, cells, *, subset, rng):
        rows = np.flatnonzero(subset)
        source = cells.controls.cells[np.arange(len(rows)) % len(cells.controls.cells)]
        values = cells.values(source).astype(float)
        mean = values.mean(axis=0)
        return rows, mean + (values - mean) * self.spread + self.by, source


def screen(shift, *, n=60, n_control=300, d=8, seed=0):
    """Six perturbations that move every gene by `shift`."""
    rng = np.random.default_rng(seed)
    labels = ["control"] * n_control + [f"P{i}" for i in range(6) for _ in range(n)]
    values = rng.normal(5, 0.5, (len(labels), d))
    values[n_control:] += shift
    obs = pd.DataFrame({"perturbation": labels}, index=[f"c{i}" for i in range(len(labels))])
    adata = ad.AnnData(np.abs(values), obs=obs)
    sh.pp.annotate(adata, "perturbation", control="control")
    sh.pp.split(adata, by="perturbation", test=1 / 6, rng=0)
    return adata


def measured(adata, model, n_folds=2):
    cells = population(adata, resolve(adata))
    measure = InnerError(cells, inner_folds(cells, n_folds, seed=0), seed=0)
    return pd.concat([measure.of(model, fold) for fold in range(n_folds)])


def test_a_copy_has_error_one_and_the_right_cells_zero():
    adata = screen(1.0)
    assert relative(measured(adata, Shifted())) == pytest.approx(1, abs=1e-6)
    right = measured(adata, Shifted(1.0))
    assert abs(relative(right)) < 0.05
    assert sorted(right.index) == sorted(
        set(adata.obs["perturbation"][adata.obs["split"] == "train"]) - {"control"}
    )  # each training perturbation once


def test_half_of_a_small_response_has_a_quarter_of_the_error():
    """Energy distance is a squared distance: for small shifts it grows with their square."""
    error = relative(measured(screen(0.1, n=400, n_control=3000), Shifted(0.05)))
    assert error == pytest.approx(0.25, abs=0.1)


def test_where_nothing_responds_inventions_are_worse_than_the_copy():
    adata = screen(0.0)
    energies = [
        measured(adata, model)["energy"].mean()
        for model in (Shifted(), Shifted(0.5), Shifted(0.0, spread=2.0))
    ]
    assert energies[0] == min(energies)
    assert abs(energies[0]) < 0.02


def test_a_condition_that_hardly_responds_does_not_decide():
    """A ratio of sums: the mean of ratios would be decided by the smallest denominator."""
    distances = pd.DataFrame({"energy": [0.1, 0.01], "copy": [1.0, 0.001]}, index=["A", "B"])
    assert relative(distances) == pytest.approx(0.11 / 1.001)
    assert np.isnan(relative(-distances))


def test_the_order_of_the_rows_does_not_matter():
    adata = screen(0.5)
    other = adata[np.random.default_rng(1).permutation(adata.n_obs)].copy()
    names = ["control", "mean_shift", "perturbed_mean", "own_shift"]
    one, two = (
        reference_on_validation(population(a, resolve(a)), names, inner=2) for a in (adata, other)
    )
    assert one.name == two.name
    pd.testing.assert_frame_equal(one.table, two.table)


def test_the_reference_is_chosen_on_validation_where_there_is_some():
    adata = screen(0.5)
    sh.pp.split(adata, by="perturbation", test=0.2, val=0.4, rng=0, overwrite=True)
    cells = population(adata, resolve(adata))
    names = ["control", "mean_shift"]
    choice = reference_on_validation(cells, names)
    assert choice.name == "mean_shift"
    assert choice.table["n_conditions"].tolist() == [2, 2]
    assert list(choice.table.filter(like="fold_")) == ["fold_1"]
    within = reference_on_validation(cells, names, within=True, inner=2)
    assert within.table["n_conditions"].tolist() == [3, 3]


def test_an_evaluation_takes_the_reference_that_was_chosen():
    """Perturbed cells vary more than controls: a shift of controls is beaten by cells as measured."""
    adata = screen(0.3)
    at = (adata.obs["perturbation"] != "control").to_numpy()
    adata.X[at] = np.abs(5.3 + (adata.X[at] - 5.3) * 2.5)
    sh.tl.predict(adata, sh.tl.fit(adata, "control"), key_added="copy")
    names = ["control", *baseline_names(adata, "auto")]
    cells = population(adata, resolve(adata))
    chosen = reference_on_validation(cells, names, seed=seed_of(0)).name
    used = []
    for reference in ("auto", "validation"):
        options = {"metrics": ["energy", "rmse"], "n_draws": 2, "overwrite": True}
        sh.tl.evaluate(adata, prediction="copy", reference=reference, **options)
        used.append(adata.uns["evaluation"]["params"]["reference"])
    assert used == ["mean_shift", chosen]
    assert chosen != "mean_shift"
    with pytest.raises(ValueError, match="chosen on conditions that are not scored"):
        sh.tl.evaluate(
            adata, prediction="copy", split="train", reference="validation", overwrite=True
        )


def test_of_equals_the_first_is_chosen_whatever_rounding_says():
    """On this screen both names are one rule; their sums may be rounded in another order."""
    adata = screen(0.5)
    cells = population(adata, resolve(adata))
    for names in (["mean_shift", "own_shift"], ["own_shift", "mean_shift"]):
        choice = reference_on_validation(cells, names)
        assert choice.table["energy"].iloc[0] == pytest.approx(choice.table["energy"].iloc[1])
        assert choice.name == names[0]


def test_small_conditions_are_not_judged():
    adata = screen(0.5)
    keep = (adata.obs["perturbation"] == "control") | (
        adata.obs.groupby("perturbation", observed=True).cumcount() < 2
    )
    adata = adata[keep.to_numpy()].copy()
    cells = population(adata, resolve(adata))
    with pytest.raises(ValueError, match="no condition that inner folds leave out has 3 cells"):
        InnerError(cells, inner_folds(cells, 2, seed=0), seed=0)
