"""Residual coherence and its cause: a pure translation leaves nothing, three departures are told apart."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from shoal.core._matrix import as_rows
from shoal.core._plan import Plan
from shoal.metrics import _excess, _residual
from shoal.metrics._pair_moments import pair_moments
from shoal.metrics._shrinkage import shrink
from shoal.metrics._strata import Composition, ControlSample
from shoal.tl._explain import explain
from shoal.tl._measure import measure


def screen(kind: str, *, n: int, size: float, rng, n_groups: int = 50, d: int = 40, m: int = 1500):
    """Perturbations of one kind about decaying noise, each in its own direction."""
    scale = np.sqrt(d / np.arange(1, d + 1) / np.sum(1 / np.arange(1, d + 1)))
    direction = rng.normal(size=(n_groups, d))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    group = np.repeat(np.arange(n_groups), n)
    noise = rng.normal(size=(len(group), d)) * scale
    if kind == "translation":
        cells = noise + size * direction[group]
    elif kind == "dispersion":
        cells = 1.3 * noise + size * direction[group]
    elif kind == "penetrance":
        cells = noise + 2 * size * direction[group] * (rng.random(len(group)) < 0.5)[:, None]
    else:
        across = rng.normal(size=(n_groups, d))
        across -= np.sum(across * direction, axis=1, keepdims=True) * direction
        across /= np.linalg.norm(across, axis=1, keepdims=True)
        side = rng.choice([-1, 1], len(group))[:, None]
        cells = noise + size * (direction[group] + side * across[group])
    x = np.vstack([cells, rng.normal(size=(m, d)) * scale])
    plan = Plan(
        np.r_[group, np.full(m, n_groups)], n_groups, np.zeros(len(x), int), 1, np.ones((len(x), 1))
    )
    return as_rows(x), plan


def sampled(*strata):
    """A sample that is far from all controls of its strata."""
    k = np.array([len(cells) for cells in strata])
    first = np.concatenate([[0], np.cumsum(k)])
    cells = np.vstack(strata).astype(np.float32)
    return ControlSample(cells, first, np.ones(len(k)), np.full(len(k), 10**9))


def made_of(*share, n=10**6):
    """One perturbation, with these shares of its cells in the strata."""
    h = np.arange(len(share))
    size = n * np.array(share)
    zeros = np.zeros(len(share))
    return Composition(0 * h, h, size, np.array(share), zeros, 1, len(share))


def translated(sample, made, shift):
    found = pair_moments(sample)
    size = np.array([shift @ shift])
    return _residual.translate(sample, found, made, shift[None], size, np.zeros((1, len(shift))))


def test_translated_controls_are_what_is_expected(rng):
    """kappa of a translation: the coherence of the very sample, moved."""
    sample = rng.normal(size=(800, 12))
    shift = np.zeros(12)
    shift[3] = 1.7
    found = translated(sampled(sample), made_of(1.0), shift)
    before = sample / np.linalg.norm(sample, axis=1, keepdims=True)
    after = sample + shift
    after /= np.linalg.norm(after, axis=1, keepdims=True)
    gap = after - before
    pairs = (np.sum(gap.sum(0) ** 2) - np.sum(gap**2)) / (800 * 799)
    assert found.kappa[0] == pytest.approx(pairs, abs=1e-5)


def test_translation_of_strata_is_that_of_their_cells_in_proportion(rng):
    """A quarter of the cells in a wide stratum, the rest in a narrow one."""
    narrow, wide = rng.normal(size=(3000, 10)), 4 * rng.normal(size=(3000, 10))
    shift = 2 * np.eye(10)[0]
    found = translated(sampled(narrow, wide), made_of(0.75, 0.25), shift)
    gap = 0.0
    for share, cells in ((0.75, narrow), (0.25, wide)):
        moved = cells + shift
        moved /= np.linalg.norm(moved, axis=1, keepdims=True)
        gap = gap + share * (moved - cells / np.linalg.norm(cells, axis=1, keepdims=True)).mean(0)
    assert found.kappa[0] == pytest.approx(gap @ gap, abs=2e-3)


@pytest.mark.parametrize("size", [0.01, 1.0, 4.0])
def test_gradient_of_the_expectation_is_its_derivative(rng, size):
    """Along the shift and across it, where the controls vary unequally."""
    scale = np.linspace(0.3, 2, 6)
    sample = sampled(rng.normal(size=(700, 6)) * scale, rng.normal(size=(700, 6)))
    made, shift = made_of(0.4, 0.6), size * np.array([0.6, 0.8, 0, 0, 0, 0])
    found = translated(sample, made, shift)

    def kappa(shift):
        gap = 0.0
        for h, share in enumerate(made.share):
            cells = sample.cells[sample.first[h] : sample.first[h + 1]].astype(np.float64)
            before = cells / np.linalg.norm(cells, axis=1, keepdims=True)
            after = (cells + shift) / np.linalg.norm(cells + shift, axis=1, keepdims=True)
            gap = gap + share * (after - before).mean(0)
        return gap @ gap

    step = 1e-4
    slopes = [(kappa(shift + step * e) - kappa(shift - step * e)) / (4 * step) for e in np.eye(6)]
    np.testing.assert_allclose(found.along[0], slopes, rtol=0.02, atol=2e-5)


def test_expectation_goes_below_zero_where_the_squared_magnitude_does(rng):
    """A squared magnitude below 0 is not clipped; clipping made weak responses look incoherent."""
    sample, made, shift = sampled(rng.normal(size=(500, 8))), made_of(1.0), np.full((1, 8), 0.1)
    found = [
        _residual.translate(sample, pair_moments(sample), made, shift, np.array([m]), shift).kappa
        for m in (0.02, -0.02)
    ]
    assert found[0] > 0 > found[1]
    assert found[0] == pytest.approx(-found[1], rel=0.15)


@pytest.mark.parametrize("size", [0.0, 1.0, 3.0])
@pytest.mark.parametrize("n", [40, 150])
def test_translations_are_rarely_called_incoherent(n, size):
    rng = np.random.default_rng(int(10 * size) + n)
    rejected = []
    for _ in range(4):
        rows, plan = screen("translation", n=n, size=size, rng=rng)
        found = measure(rows, plan, min_cells=2, cross={}).columns
        rejected.append(found["residual_pvalue"] < 0.05)
    assert np.mean(rejected) < 0.1


@pytest.mark.parametrize(
    ("kind", "cause"),
    [
        ("dispersion", "dispersion"),
        ("penetrance", "partial penetrance"),
        ("programmes", "several programmes"),
    ],
)
def test_causes_are_told_apart(kind, cause, rng):
    """More than 80 % of the perturbations are found incoherent, and more than 80 % of these get the right cause."""
    rows, plan = screen(kind, n=150, size=3.0, rng=rng)
    measured = measure(rows, plan, min_cells=2, cross={})
    found = explain(rows, plan, measured)
    called = Counter(found["cause"])
    assert called[cause] > 0.8 * plan.n_groups, called


def test_excess_of_a_mixture_has_its_closed_form(rng):
    """Half the cells shifted by a: excess variance a^2/4 along the shift and nothing elsewhere."""
    cells = rng.normal(size=(20_000, 5))
    cells[::2, 2] += 3
    found = _excess.excess(cells, _excess.Spread(np.eye(5), 1))
    assert found.along_shift == pytest.approx(1, abs=0.05)
    assert found.top_share == pytest.approx(1, abs=0.05)
    assert found.alignment > 0.99


def test_top_direction_of_many_features_is_that_of_the_matrix(rng, monkeypatch):
    cells, control = rng.normal(size=(60, 30)), _excess.Spread(rng.normal(size=(200, 30)), 199)
    cells[::2] += 2 * rng.normal(size=30)
    expected = _excess.top_direction(cells, control)
    monkeypatch.setattr(_excess, "MATRIX", 10)
    assert abs(_excess.top_direction(cells, control) @ expected) == pytest.approx(1, abs=1e-4)


def test_excess_of_few_cells_is_nan(rng):
    found = _excess.excess(rng.normal(size=(5, 3)), _excess.Spread(np.eye(3), 1))
    assert np.isnan([found.along_shift, found.top_share, found.alignment]).all()


def test_shrinkage_lowers_the_error_and_keeps_what_is_certain(rng):
    prior = rng.random(300)
    truth = 0.1 + 0.6 * prior + rng.normal(0, 0.05, 300)
    se = np.where(np.arange(300) % 2 == 0, 0.2, 1e-4)
    noisy = truth + rng.normal(size=300) * se
    found = shrink(noisy, se, prior)
    assert np.mean((found - truth) ** 2) < 0.3 * np.mean((noisy - truth) ** 2)
    np.testing.assert_allclose(found[1::2], noisy[1::2], atol=1e-3)


def test_shrinkage_of_few_or_missing_values_does_no_harm():
    estimate = np.array([0.1, np.nan, 0.3])
    np.testing.assert_array_equal(shrink(estimate, np.full(3, 0.1), estimate), estimate)
