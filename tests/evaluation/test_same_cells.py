"""Predictions that are the same cells: found by a few numbers, scored and shown once, with all names."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

import shoal as sh
from shoal._contenders import COPY
from shoal.core._population import population
from shoal.core._screen import resolve
from shoal.evaluation import _baseline_predictions
from shoal.evaluation._baseline_predictions import baseline_predictions
from shoal.evaluation._same_cells import fingerprint, same
from shoal.evaluation._task import evaluation_tasks

ALIKE = ["mean_shift", "own_shift", "additive", "kernel_ridge", "matching_mean", "nearest"]
FEW = {"metrics": ["energy", "pearson_delta", "rmse"], "n_comps": 5, "n_draws": 1}
G = 400


@pytest.fixture
def cells(rng):
    return [rng.gamma(1.0, size=(n, G)).astype(np.float32) for n in (60, 25)]


def screen(n: int):
    """Return a screen of four contexts with `n` perturbations each, one context held out."""
    adata = sh.ds.simulate(
        n_perturbations=n,
        n_cells=120,
        n_control=160,
        n_genes=40,
        contexts=4,
        effects="shift",
        effect_size=3.0,
        rng=0,
    )
    sh.pp.annotate(adata, "perturbation", control="control", context_key="context")
    sh.pp.split(adata, by="context", test=0.25, rng=0)
    sh.pp.prepare(adata, normalize="log1p", fit_on="train", n_comps=5)
    sh.tl.predict(adata, sh.tl.fit(adata, "other_contexts"), key_added="p", subset="test")
    return adata


@pytest.fixture(scope="module")
def one_perturbation():
    return screen(1)


def judged(adata, **options):
    sh.tl.evaluate(adata, prediction="p", **FEW, **options, overwrite=True)
    return adata.uns["evaluation"]


# -- the numbers -----------------------------------------------------------------------------------


def test_cells_that_differ_by_rounding_are_the_same(cells, rng):
    step = rng.normal(size=G).astype(np.float32)
    other = [((own + step).astype(np.float32) - step).astype(np.float32) for own in cells]
    assert any((one != two).any() for one, two in zip(cells, other, strict=True))
    assert same(fingerprint(cells), fingerprint(other))
    assert same(fingerprint(cells), fingerprint([sparse.csr_matrix(own) for own in cells]))


@pytest.mark.parametrize(
    "change",
    {
        "one gene of all cells": (slice(None), 7, 1e-3),
        "one cell": (11, slice(None), 1e-2),
        "all, by a ten-thousandth": (slice(None), slice(None), 1e-4),
    }.values(),
    ids=str,
)
def test_a_difference_in_one_condition_is_seen(cells, change):
    row, column, by = change
    other = [own.copy() for own in cells]
    other[1][row, column] += by
    assert not same(fingerprint(cells), fingerprint(other))


def test_the_order_of_cells_counts_and_no_prediction_is_like_none(cells):
    assert not same(fingerprint(cells), fingerprint([own[::-1] for own in cells]))
    assert not same(fingerprint(cells), fingerprint(cells[:1]))
    assert not same(np.zeros((0, 5)), np.zeros((0, 5)))


def test_sums_have_the_spread_of_the_difference(rng):
    """Null of two predictions: differences of the sums are normal, as large as the root mean square."""
    gaps = []
    for _ in range(200):
        x = rng.normal(size=(20, G))
        gaps.append(
            fingerprint([x])[0, 1:] - fingerprint([x + 0.1 * rng.normal(size=x.shape)])[0, 1:]
        )
    assert np.std(gaps) == pytest.approx(0.1, rel=0.15)


# -- evaluations -----------------------------------------------------------------------------------


def test_where_there_is_one_perturbation_six_baselines_are_one_row(one_perturbation, caplog):
    with caplog.at_level("INFO", logger="shoal"):
        entry = judged(one_perturbation)
    others = entry["contenders"].loc["mean_shift", "same_as"].split(", ")
    assert set(ALIKE[1:]) <= set(others)
    assert not set(ALIKE[1:]) & set(entry["contenders"].index)
    assert (entry["contenders"]["same_as"] != "").sum() == 1
    assert not set(ALIKE[1:]) & set(entry["scores"]["contender"])
    assert set(ALIKE) <= set(entry["params"]["baselines"].split(","))
    assert f"scored once: mean_shift = {' = '.join(others)}" in caplog.text


def test_scores_are_those_of_scoring_each(one_perturbation, monkeypatch):
    once = judged(one_perturbation)
    monkeypatch.setattr(_baseline_predictions, "same", lambda *_: False)
    each = judged(one_perturbation)
    assert set(ALIKE) <= set(each["contenders"].index)
    own = each["contenders"].drop(columns="same_as")
    for name in ALIKE[1:]:  # they were the same row, to rounding
        np.testing.assert_allclose(
            own.loc[name].astype(float), own.loc["mean_shift"].astype(float), rtol=1e-4, atol=1e-5
        )
    kept = once["contenders"].drop(columns="same_as")
    np.testing.assert_allclose(kept.astype(float), own.loc[kept.index].astype(float), atol=1e-12)
    assert once["params"]["score"] == pytest.approx(each["params"]["score"], abs=1e-12, nan_ok=True)
    columns = ["skill", "skill_low", "skill_high", "best_value"]
    np.testing.assert_allclose(once["summary"][columns], each["summary"][columns], rtol=1e-4)


def test_baselines_asked_for_by_name_are_both_there(one_perturbation):
    entry = judged(one_perturbation, baselines=["nearest", "mean_shift"])
    assert entry["contenders"].loc["nearest", "same_as"] == "mean_shift, own_shift"
    assert entry["params"]["baselines"] == "nearest,mean_shift,own_shift"  # the last: reference
    assert entry["params"]["reference"] == "nearest"  # whose cells are the same
    ax = sh.pl.scatter_baseline(one_perturbation, "energy", against="mean_shift")
    assert ax.get_xlabel() == "mean_shift (= nearest)"
    ax = sh.pl.strata(one_perturbation, "energy", contenders=["nearest", "mean_shift"])
    shown = [text.get_text() for text in ax.get_legend().get_texts()]
    assert shown == ["nearest (= 2 others)", "mean_shift (= nearest)"]


def test_baselines_that_differ_have_a_row_each():
    adata = screen(5)
    names = ["mean_shift", "own_shift", "other_contexts", "perturbed_mean"]
    entry = judged(adata, baselines=names)
    assert list(entry["contenders"].index[4:]) == names
    assert (entry["contenders"]["same_as"] == "").all()


def test_a_baseline_that_moves_no_cell_is_the_control_copy(one_perturbation):
    tasks = evaluation_tasks(
        population(one_perturbation, resolve(one_perturbation)),
        split="test",
        halves=True,
        n_comps=5,
        min_cells=20,
        seed=0,
        baselines=["control", "mean_shift"],
    )
    found = list(baseline_predictions(tasks, ["control", "mean_shift"], embedding=None))
    assert [one.same_as for one in found] == [COPY, ""]


# -- leaderboards ----------------------------------------------------------------------------------


def test_a_benchmark_with_two_seeds_shows_the_same_cells_once(one_perturbation, monkeypatch):
    from shoal.evaluation import _scores
    from shoal.evaluation._rows import OWN

    scored = []
    real = _scores.Scores.add
    monkeypatch.setattr(
        _scores.Scores,
        "add",
        lambda self, name, *args, **kw: (scored.append(name), real(self, name, *args, **kw))[1],
    )
    models = ["own_shift", "mean_shift", "other_contexts", "additive"]
    sh.tl.benchmark(one_perturbation, models, seeds=[0, 1], **FEW, overwrite=True)
    board, rows = (one_perturbation.uns["leaderboard"][name] for name in ("table", "rows"))
    assert board.loc["own_shift", "same_as"] == "mean_shift, additive"
    assert not {"mean_shift", "additive"} & set(board.index)
    assert [name for name in scored if name in (*models, OWN)] == ["own_shift", OWN, OWN] * 2
    assert sorted(set(rows["model"])) == sorted(models)  # every result stays
    per_model = rows[rows["metric"] == "rmse"].pivot(index="seed", columns="model", values="value")
    assert (per_model["additive"] == per_model["own_shift"]).all()
    assert len(set(per_model["own_shift"])) == 2
