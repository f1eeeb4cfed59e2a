"""Zeros of predicted populations: the law of thinning, the means that are kept, and what is left as it is."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

import shoal as sh
from shoal.core._population import population
from shoal.models.post._zero_fraction import (
    CONTROL_WEIGHT,
    expected_zero_fraction,
    match_zero_fraction,
)

NEVER = np.zeros(1), np.ones(1)  # of a gene that no control of the screen has


def no_control(d):
    return np.zeros(d), np.ones(d)


@pytest.mark.parametrize("ratio", [0.5, 1.0, 2.0, 3.0])
def test_counts_with_a_rate_times_r_have_the_share_of_zeros_to_the_power_of_r(rng, ratio):
    """Poisson and, with the number of bursts multiplied, negative binomial: exact but for sampling."""
    n, rate, size = 40_000, 0.4, 0.3
    draws = (
        lambda r: rng.poisson(r * rate, (n, 1)),
        lambda r: rng.negative_binomial(r * size, 0.5, (n, 1)),
    )
    for draw in draws:
        before, after = (draw(r).astype(float) for r in (1.0, ratio))
        expected = expected_zero_fraction(after.mean(axis=0), before, NEVER)
        assert expected[0] == pytest.approx((after == 0).mean(), abs=0.012)


def test_a_dense_shift_becomes_one_of_few_cells(rng):
    start = rng.poisson(0.3, (2000, 1)).astype(np.float32)
    shifted = start + rng.normal(0.15, 0.02, start.shape).astype(np.float32)
    made = match_zero_fraction(shifted.copy(), start, np.zeros(2000, dtype=int), NEVER)
    assert (shifted > 0).all()
    assert (made == 0).mean() == pytest.approx((start == 0).mean() ** 1.5, abs=0.01)
    assert made.mean() == pytest.approx(shifted.mean(), rel=1e-5)
    order = np.argsort(shifted[:, 0], kind="stable")
    assert (np.diff(made[order, 0]) >= 0).all()
    assert made.dtype == np.float32


def test_each_population_and_feature_by_itself(rng):
    start = rng.poisson([0.2, 0.5, 5.0], (300, 3)).astype(float)
    values, code = start + 0.1, np.arange(300) % 3
    control = no_control(3)
    made = match_zero_fraction(values.copy(), start, code, control)
    for k in range(3):
        own = match_zero_fraction(
            values[code == k].copy(), start[code == k], np.zeros(100, dtype=int), control
        )
        np.testing.assert_array_equal(made[code == k], own)
    one = match_zero_fraction(values[:, :1].copy(), start[:, :1], code, no_control(1))
    np.testing.assert_allclose(made[:, :1], one)


def test_cells_that_did_not_move_stay_as_they_are(rng):
    start = rng.poisson([0.1, 0.5, 3.0], (40, 3)).astype(float)
    control = np.array([0.4, 0.1, 2.0]), np.array([0.5, 0.95, 0.2])
    np.testing.assert_array_equal(
        match_zero_fraction(start.copy(), start, np.zeros(40, dtype=int), control), start
    )


def test_what_it_leaves_as_it_is():
    full, empty = np.ones((50, 1)), np.zeros((50, 1))
    half = np.repeat([[0.0], [1.0]], 25, axis=0)
    code = np.zeros(50, dtype=int)
    for values, start in (
        (np.full((50, 1), 0.3), full),  # no zeros to begin with, but for those that are usual
        (np.full((50, 1), 0.3), empty),  # off everywhere: nothing says in how many cells it is on
        (half * 2, half),  # zeros enough already
    ):
        control = (np.ones(1), np.zeros(1)) if start is full else NEVER
        np.testing.assert_array_equal(
            match_zero_fraction(values.copy(), start, code, control), values
        )
    alone = match_zero_fraction(
        np.array([[0.1]]), np.array([[0.0]]), np.zeros(1, dtype=int), (np.ones(1), np.full(1, 0.5))
    )
    assert alone[0, 0] == 0.1  # a cell that would be off in all: its mean would be lost


def test_a_gene_that_is_off_where_cells_began_is_off_as_usual():
    """0 of 20 cells beside 5 of the screen with a mean of .5 and half of them on: a mean of .1, 90 % of zeros."""
    share = expected_zero_fraction(
        np.array([0.2]), np.zeros((20, 1)), (np.array([0.5]), np.array([0.5]))
    )
    assert CONTROL_WEIGHT == 5
    assert share[0] == pytest.approx(0.9**2)


def test_the_controls_of_the_screen_say_what_is_usual():
    adata = sh.ds.simulate(n_perturbations=2, n_cells=30, n_genes=40, rng=0)
    sh.pp.annotate(adata, "perturbation", control="control")
    sh.pp.prepare(adata, normalize="log1p", n_comps=5)
    controls = adata[adata.obs["perturbation"] == "control"].X
    controls = controls.toarray() if sparse.issparse(controls) else controls
    mean, zeros = population(adata, sh.core._screen.resolve(adata)).control_zeros
    np.testing.assert_allclose(mean, controls.mean(0), rtol=1e-5)
    np.testing.assert_allclose(zeros, (controls == 0).mean(0))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["flow", "conditional_monge"])
def test_predictions_are_as_sparse_as_measured_cells(name):
    pytest.importorskip("torch", reason="networks need the extra `models`")
    adata = sh.ds.simulate(
        n_perturbations=4, n_cells=150, n_genes=120, contexts=2, library_size=300, rng=0
    )
    sh.pp.annotate(adata, "perturbation", control="control", context_key="context")
    sh.pp.prepare(adata, normalize="log1p", n_comps=10)
    off = {}
    for zeros in (True, False):
        config = {"n_latent": 10, "width": 32, "match_zero_fraction": zeros}
        model = sh.tl.fit(adata, name, max_steps=150, rng=0, config=config)
        for transfer in (True, False):
            options = {"context": adata.obs["context"].iloc[0], "cross_context": transfer}
            made = model.predict("P1", n_cells=150, rng=0, **options).X
            made = made.toarray() if sparse.issparse(made) else made
            off[zeros, transfer] = (made == 0).mean()
    real = adata[
        (adata.obs["perturbation"] == "P1") & (adata.obs["context"] == adata.obs["context"].iloc[0])
    ].X
    real = ((real.toarray() if sparse.issparse(real) else real) == 0).mean()
    for transfer in (True, False):
        assert abs(off[True, transfer] - real) < 0.5 * abs(off[False, transfer] - real)
        assert abs(off[True, transfer] - real) < 0.1
