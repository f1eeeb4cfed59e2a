"""Zeros of predicted populations: the law of thinning, the means that are kept, and what is left as it is."""

from __future__ import annotations

import numpy as np
import pytest

import shoal as sh
from shoal.models.post._zero_fraction import (
    TRAINING_WEIGHT,
    expected_zero_fraction,
    match_zero_fraction,
)

from ...helpers import dense


def one_code(x):
    return np.zeros(len(x), dtype=int)


@pytest.mark.parametrize("ratio", [0.5, 1.0, 2.0, 3.0])
def test_counts_with_a_rate_times_r_have_the_share_of_zeros_to_the_power_of_r(rng, ratio):
    """Poisson and, with the number of bursts multiplied, negative binomial: but for sampling."""
    n, rate, size = 40_000, 0.4, 0.3
    draws = (
        lambda r: rng.poisson(r * rate, (n, 1)),
        lambda r: rng.negative_binomial(r * size, 0.5, (n, 1)),
    )
    for draw in draws:
        before, after = (draw(r).astype(float) for r in (1.0, ratio))
        expected = expected_zero_fraction(after.mean(axis=0), before, np.zeros(1))
        assert expected[0] == pytest.approx((after == 0).mean(), abs=0.012)


@pytest.mark.parametrize("mean", [0.05, 0.2, 0.8])
def test_a_gene_that_no_start_cell_has_follows_the_slope_of_training(mean):
    """Poisson counts with the mean m: a share exp(-m) is off, whatever the number of start cells."""
    for n in (1, 20, 500):
        share = expected_zero_fraction(np.array([mean]), np.zeros((n, 1)), np.ones(1))
        assert share[0] == pytest.approx(np.exp(-mean))


def test_a_gene_that_all_start_cells_have_is_off_in_some_when_its_mean_falls(rng):
    """Twenty cells all on, rate 4: at a rate of 1 a third is off, and none where nothing falls."""
    start = np.full((20, 1), 4.0)
    share = [expected_zero_fraction(np.array([m]), start, np.ones(1))[0] for m in (4.0, 2.0, 1.0)]
    assert round(20 * share[0]) == 0
    assert share[0] < share[1] < share[2]
    assert share[2] == pytest.approx(np.exp(-1), abs=0.1)


def test_the_slope_of_training_counts_as_some_cells_that_have_the_gene():
    start = np.repeat([[0.0], [2.0]], [30, 10], axis=0)
    own = -np.log(30.5 / 40.5) / 0.5
    steep = (10 * own + TRAINING_WEIGHT * 3.0) / (10 + TRAINING_WEIGHT)
    share = expected_zero_fraction(np.array([0.7]), start, np.full(1, 3.0))
    assert share[0] == pytest.approx(0.75 * np.exp(-0.2 * steep))


def test_a_dense_shift_becomes_one_of_few_cells(rng):
    start = rng.poisson(0.3, (2000, 1)).astype(np.float32)
    shifted = start + rng.normal(0.15, 0.02, start.shape).astype(np.float32)
    made = match_zero_fraction(shifted.copy(), start, one_code(start), np.ones(1), rng)
    assert (shifted > 0).all()
    assert (made == 0).mean() == pytest.approx((start == 0).mean() ** 1.5, abs=0.01)
    assert made.mean() == pytest.approx(shifted.mean(), rel=1e-5)
    had = start[:, 0] > 0
    assert (made[had, 0] > 0).all()  # those that held none come first
    order = np.argsort(shifted[had, 0], kind="stable")
    assert (np.diff(made[had][order, 0]) >= 0).all()
    assert made.dtype == np.float32


def test_cells_that_are_moved_least_are_not_off_in_all_genes(rng):
    """Each cell is moved by one amount in all genes: which of them are on must not go together."""
    start, amount = np.zeros((2000, 50)), rng.uniform(0.1, 0.3, (2000, 1))
    made = match_zero_fraction(start + amount, start, one_code(start), np.ones(50), rng)
    r = np.corrcoef(made.T)[np.triu_indices(50, 1)]
    assert abs(r.mean()) < 0.01


def test_equal_values_are_switched_on_in_other_cells_for_every_gene(rng):
    """One shift on zeros: every cell holds the same value, and no cell may get all the genes."""
    start, values = np.zeros((200, 400)), np.full((200, 400), 0.1)
    on = match_zero_fraction(values, start, one_code(start), np.ones(400), rng) > 0
    np.testing.assert_array_equal(on.sum(axis=0), round(200 * (1 - np.exp(-0.1))))
    n = on.sum(axis=1)
    assert n.var() == pytest.approx(400 * 0.095 * 0.905, rel=0.4)  # binomial
    again = match_zero_fraction(
        np.full((200, 400), 0.1), start, one_code(start), np.ones(400), np.random.default_rng(0)
    )
    same = match_zero_fraction(
        np.full((200, 400), 0.1), start, one_code(start), np.ones(400), np.random.default_rng(0)
    )
    np.testing.assert_array_equal(again, same)


def test_traces_stay_in_one_cell_at_least_with_their_mean(rng):
    """A mean of .001 in 50 cells lets expect 49.95 zeros: one cell holds all of it."""
    values = np.full((50, 3), 0.001)
    made = match_zero_fraction(values, np.zeros((50, 3)), one_code(values), np.ones(3), rng)
    np.testing.assert_array_equal((made > 0).sum(axis=0), 1)
    np.testing.assert_allclose(made.mean(axis=0), 0.001)


def test_each_population_and_feature_by_itself(rng):
    start = rng.poisson([0.2, 0.5, 5.0], (300, 3)) + 1e-3  # none at 0, which are drawn at random
    values, code = start + rng.uniform(0.05, 0.15, (300, 3)), np.arange(300) % 3  # no ties
    slope = np.ones(3)
    made = match_zero_fraction(values.copy(), start, code, slope, rng)
    for k in range(3):
        rows = code == k
        own = match_zero_fraction(
            values[rows].copy(), start[rows], one_code(start[rows]), slope, rng
        )
        np.testing.assert_array_equal(made[rows], own)
    one = match_zero_fraction(values[:, :1].copy(), start[:, :1], code, slope[:1], rng)
    np.testing.assert_allclose(made[:, :1], one)


def test_cells_that_did_not_move_stay_as_they_are(rng):
    for slope in (0.0, 0.3, 1.0, 8.0):
        for n in (1, 7, 40):
            start = rng.poisson([0.02, 0.1, 0.5, 3.0, 9.0], (n, 5)).astype(float)
            made = match_zero_fraction(start.copy(), start, one_code(start), np.full(5, slope), rng)
            np.testing.assert_array_equal(made, start)


def test_what_it_leaves_as_it_is(rng):
    half = np.repeat([[0.0], [1.0]], 25, axis=0)
    made = match_zero_fraction(half * 2, half, one_code(half), np.ones(1), rng)
    np.testing.assert_array_equal(made, half * 2)  # zeros enough already
    alone = match_zero_fraction(
        np.array([[0.1]]), np.array([[0.0]]), np.zeros(1, dtype=int), np.ones(1), rng
    )
    assert alone[0, 0] == 0.1  # a cell that would be off in all: its mean would be lost


@pytest.mark.slow
@pytest.mark.parametrize("name", ["flow", "conditional_monge", "perturbdiff"])
def test_predictions_are_as_sparse_as_measured_cells(name):
    pytest.importorskip("torch", reason="networks need the extra `models`")
    adata = sh.ds.simulate(
        n_perturbations=4, n_cells=150, n_genes=120, contexts=2, library_size=300, rng=0
    )
    sh.pp.annotate(adata, "perturbation", control="control", context_key="context")
    sh.pp.prepare(adata, normalize="log1p", n_comps=10)
    config = {"width": 32} | ({} if name == "perturbdiff" else {"n_latent": 10})
    model = sh.tl.fit(adata, name, max_steps=150, rng=0, config=config)
    context = adata.obs["context"].iloc[0]
    real = adata[(adata.obs["perturbation"] == "P1") & (adata.obs["context"] == context)].X
    real = (dense(real) == 0).mean()
    for transfer in (True, False):
        off = {}
        for zeros in (None, False):
            options = {"context": context, "cross_context": transfer, "match_zeros": zeros}
            off[zeros] = (dense(model.predict("P1", n_cells=150, rng=0, **options).X) == 0).mean()
        assert abs(off[None] - real) < 0.1
        assert abs(off[None] - real) <= abs(off[False] - real)
