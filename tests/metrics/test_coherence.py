"""Coherence: the estimand, closed forms, the null, the jackknife, and the published statistic."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import special, stats

import shoal as sh
from shoal.core._matrix import as_rows
from shoal.core._plan import Plan
from shoal.metrics import _coherence as coh
from shoal.metrics import _null
from shoal.tl._measure import measure


def one_group(cells, control):
    """Measure one population against its controls."""
    x = np.vstack([cells, control])
    group = np.r_[np.zeros(len(cells), int), np.ones(len(control), int)]
    plan = Plan(group, 1, np.zeros(len(x), int), 1, np.ones((len(x), 1)))
    return measure(as_rows(x), plan, min_cells=2, cross={})


def units(x, centre):
    s = x - centre
    return s / np.linalg.norm(s, axis=1, keepdims=True)


def isotropic(d: int, a: float) -> float:
    """Population coherence of an isotropic Gaussian translated by a standard deviations."""
    front = a / np.sqrt(2) * np.exp(special.gammaln((d + 1) / 2) - special.gammaln(d / 2 + 1))
    return float(front * special.hyp1f1(0.5, d / 2 + 1, -(a**2) / 2))


def test_kappa_is_its_definition(rng):
    cells, control = rng.normal(0.4, 1, (30, 6)), rng.normal(size=(50, 6))
    u, v = units(cells, control.mean(0)), units(control, control.mean(0))
    delta = u.mean(0) - v.mean(0)
    expected = delta @ delta - (1 - u.mean(0) @ u.mean(0)) / 29 - (1 - v.mean(0) @ v.mean(0)) / 49
    assert one_group(cells, control).columns["kappa"][0] == pytest.approx(expected, abs=1e-12)
    assert sh.metrics.coherence(cells, control) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("n", "a"), [(5, 0.0), (5, 2.0), (20, 1.0), (100, 0.0), (100, 3.0)])
def test_unbiased_at_every_cell_number_and_equal_to_the_closed_form(n, a):
    """Mean over independent draws within 4 standard errors of the exact population value, down to 5 cells."""
    rng, d = np.random.default_rng(n), 20
    draws = []
    for _ in range(400):
        cells = rng.normal(size=(n, d))
        cells[:, 0] += a
        draws.append(sh.metrics.coherence(cells, rng.normal(size=(600, d))))
    error = np.mean(draws) - isotropic(d, a) ** 2
    assert abs(error) < 4 * np.std(draws) / np.sqrt(len(draws)) + 2e-3 * (
        a > 0
    )  # 600 controls place c with an error


def test_plug_in_has_the_bias_we_say_it_has(rng):
    """Without an effect: sqrt(1/n + 1/m), whatever d; ours is 0."""
    n, m = 25, 400
    plug, ours = [], []
    for _ in range(200):
        columns = one_group(rng.normal(size=(n, 50)), rng.normal(size=(m, 50))).columns
        plug.append(columns["coherence_plugin"][0])
        ours.append(columns["kappa"][0])
    assert np.mean(plug) == pytest.approx(np.sqrt(1 / n + 1 / m), abs=0.006)
    assert abs(np.mean(ours)) < 4 * np.std(ours) / np.sqrt(200)


def test_rotation_and_scale_change_nothing(rng):
    cells, control = rng.normal(0.3, 1, (40, 7)), rng.normal(size=(80, 7))
    turn = np.linalg.qr(rng.normal(size=(7, 7)))[0]
    a, b = (
        one_group(cells, control).columns,
        one_group(3 * cells @ turn + 5, 3 * control @ turn + 5).columns,
    )
    for name in ("kappa", "coherence_loo", "coherence_plugin", "dispersion"):
        assert a[name][0] == pytest.approx(b[name][0], abs=1e-9), name
    for name in ("ci_low", "pvalue"):  # single precision inside
        assert a[name][0] == pytest.approx(b[name][0], abs=1e-5), name
    assert b["magnitude"][0] == pytest.approx(3 * a["magnitude"][0])
    assert a["residual_z"][0] == pytest.approx(
        b["residual_z"][0], abs=1e-3
    )  # single precision inside


def test_jackknife_equals_deletion(rng):
    """Over perturbed cells exactly, with the centroid kept; over controls up to 1/m."""
    cells, control = rng.normal(0.3, 1, (25, 6)), rng.normal(size=(60, 6))
    u, v = units(cells, control.mean(0)), units(control, control.mean(0))

    def kappa(u, v):
        du = u.mean(0) - v.mean(0)
        return (
            du @ du
            - (1 - u.mean(0) @ u.mean(0)) / (len(u) - 1)
            - (1 - v.mean(0) @ v.mean(0)) / (len(v) - 1)
        )

    w = u - v.mean(0)
    values = 2 * (w @ w.sum(0) - (w**2).sum(1))
    drop_cell = np.array([kappa(np.delete(u, i, 0), v) for i in range(25)])
    assert coh.jackknife(values, np.zeros(25, int), np.array([25]))[0] == pytest.approx(
        24 / 25 * 25 * drop_cell.var()
    )
    drop_control = np.array([kappa(u, np.delete(v, j, 0)) for j in range(60)])
    closed = 4 / 60 * np.var(v @ (u.mean(0) - v.mean(0)), ddof=1)
    assert closed == pytest.approx(59 / 60 * 60 * drop_control.var(), rel=0.06)


def test_leave_one_out_is_the_mean_cosine_with_the_others(rng):
    cells, control = rng.normal(0.4, 1, (12, 5)), rng.normal(size=(40, 5))
    measured = one_group(cells, control)
    w = units(cells, control.mean(0)) - units(control, control.mean(0)).mean(0)
    for i in range(12):
        other = np.delete(w, i, 0).sum(0)
        assert measured.cell[i] == pytest.approx(
            w[i] @ other / np.linalg.norm(w[i]) / np.linalg.norm(other)
        )
    assert np.isnan(measured.cell[12:]).all()
    assert measured.columns["coherence_loo"][0] == pytest.approx(measured.cell[:12].mean())


@pytest.mark.parametrize("tails", ["normal", "t5"])
@pytest.mark.parametrize("n", [20, 100, 400])
def test_type_one_error(n, tails):
    """A decaying spectrum, controls drawn anew: rejections at 0.05 and 0.01 within binomial error."""
    rng = np.random.default_rng(7 * n)
    scale = 1 / np.sqrt(np.arange(1, 31))
    pvalues = []
    for _ in range(8):
        draw = rng.normal if tails == "normal" else (lambda size: rng.standard_t(5, size=size))
        x = draw(size=(50 * n + 1000, 30)) * scale
        group = np.r_[np.repeat(np.arange(50), n), np.full(1000, 50)]
        plan = Plan(group, 50, np.zeros(len(x), int), 1, np.ones((len(x), 1)))
        pvalues.append(measure(as_rows(x), plan, min_cells=2, cross={}).columns["pvalue"])
    rejected = np.mean(np.concatenate(pvalues) < 0.05)
    assert 0.02 < rejected < 0.085
    assert np.mean(np.concatenate(pvalues) < 0.01) < 0.03


def test_null_variance_is_the_formula(rng):
    """The sd of kappa without an effect is that of the analytic null, within its own error."""
    n, m, d = 30, 200, 20
    found = np.array(
        [sh.metrics.coherence(rng.normal(size=(n, d)), rng.normal(size=(m, d))) for _ in range(600)]
    )
    alpha = 1 / m
    sd = np.sqrt(
        2 / d * (1 / (n * (n - 1)) + 2 * alpha / n + alpha**2)
    )  # tr C^2 = 1/d on the sphere
    assert found.std() == pytest.approx(sd, rel=0.12)


def test_spectrum_moments_are_unbiased(rng):
    """tr C^2 and tr C^3 from few cells: the naive ones are far too large."""
    d, free = 40, 60
    spectrum = 1 / np.arange(1, d + 1)
    spectrum /= spectrum.sum()
    naive, ours = [], []
    for _ in range(200):
        s = np.cov((rng.normal(size=(free + 1, d)) * np.sqrt(spectrum)).T)
        naive.append(np.sum(s**2))
        ours.append(_null.spectrum_moments(s, free))
    truth = (np.sum(spectrum**2), np.sum(spectrum**3))
    assert np.mean(naive) > 1.1 * truth[0]
    assert np.mean([o[0] for o in ours]) == pytest.approx(truth[0], rel=0.04)
    assert np.mean([o[1] for o in ours]) == pytest.approx(truth[1], rel=0.08)


def test_qvalues_leave_nan_out():
    q = _null.adjust(np.array([0.01, np.nan, 0.04]))
    np.testing.assert_allclose(q[[0, 2]], stats.false_discovery_control([0.01, 0.04]))
    assert np.isnan(q[1])


def test_bad_arrays_are_refused(rng):
    with pytest.raises(ValueError, match="equal columns"):
        sh.metrics.coherence(rng.normal(size=(5, 3)), rng.normal(size=(5, 4)))
    with pytest.raises(ValueError, match="needs at least 2 columns, not 1"):
        sh.metrics.coherence(rng.normal(size=(20, 1)), rng.normal(size=(20, 1)))
    with pytest.raises(ValueError, match="at least 2 cells"):
        sh.metrics.coherence(rng.normal(size=(1, 3)), rng.normal(size=(5, 3)))
