"""Whether anything responds: uniform without a response, certain with one, within strata."""

from __future__ import annotations

import numpy as np
import pytest

from shoal.metrics._responds import (
    SILENT,
    _standardised,
    condition_pvalues,
    response_pvalue,
    share_silent,
)


def screen(rng, *, shift=0.0, batch=0.0, n=6, size=30, genes=12):
    """Cells of `n` conditions and controls in two batches, uneven in both; the first one responds in 2 genes."""
    code = np.concatenate([np.repeat(np.arange(n), size), np.full(120, -1)])
    stratum = (rng.random(len(code)) < np.where(code < 0, 0.3, 0.7)).astype(int)
    x = rng.gamma(1.0, 1.0, (len(code), genes)) + batch * stratum[:, None]
    x[code == 0, :2] += shift
    return x, code, stratum


def pvalue(rng, x, code, stratum, **options):
    mask = np.ones((code.max() + 1, x.shape[1]), dtype=bool)
    return response_pvalue(x, code, stratum, mask=mask, n_perms=99, rng=rng, **options)


def test_shifts_are_standardised():
    """Two strata by hand: 2 and 1 cells of a condition, 2 controls each."""
    x = np.array([[1.0], [3.0], [5.0], [0.0], [2.0], [3.0], [5.0]])
    code, stratum = np.array([0, 0, 0, -1, -1, -1, -1]), np.array([0, 0, 1, 0, 0, 1, 1])
    shift = (2 * (2 - 1) + 1 * (5 - 4)) / 3
    variance = 1 / 3 + (4 / 2 + 1 / 2) / 9
    np.testing.assert_allclose(_standardised(x, code, stratum, 1), shift / np.sqrt(variance))


def test_the_level_is_kept_though_batches_differ(rng):
    p = np.array([pvalue(rng, *screen(rng, batch=2.0)) for _ in range(120)])
    assert (p <= 0.05).mean() <= 0.11
    assert 0.4 < p.mean() < 0.6


def test_a_few_genes_of_one_condition_are_found(rng):
    assert pvalue(rng, *screen(rng, shift=1.5)) == pytest.approx(0.01)


def test_genes_that_do_not_count_tell_nothing(rng):
    x, code, stratum = screen(rng, shift=20.0)
    mask = np.ones((6, x.shape[1]), dtype=bool)
    mask[0, :2] = False
    p = response_pvalue(x, code, stratum, mask=mask, n_perms=99, rng=rng)
    assert p > 0.01


def test_without_controls_in_any_stratum_there_is_no_p(rng):
    x, code, _ = screen(rng)
    assert np.isnan(pvalue(rng, x, code, (code >= 0).astype(int)))


# -- each condition by itself ----------------------------------------------------------------------


def of_each(rng, x, code, stratum):
    mask = np.ones((code.max() + 1, x.shape[1]), dtype=bool)
    return condition_pvalues(x, code, stratum, mask=mask, n_perms=99, rng=rng)


def test_conditions_beside_one_that_responds_are_uniform(rng):
    """Batches differ, and a huge response of one condition neither hides nor makes one in the others."""
    found = np.array([of_each(rng, *screen(rng, shift=8.0, batch=2.0)) for _ in range(60)])
    assert (found[:, 0] == 0.01).all()
    others = found[:, 1:]
    assert 0.43 < others.mean() < 0.57
    assert (others <= 0.05).mean() <= 0.09
    silent = np.array([share_silent(own > SILENT) for own in others])
    assert 0.9 < silent.mean() <= 1


def test_the_statistic_of_a_condition_is_that_of_its_standardised_shifts(rng):
    """Of 3 cells in two strata, all 6 x 3 exchanges by hand."""
    x = np.array([[9.0], [7.0], [0.0], [1.0], [5.0], [0.5], [0.25]])
    code, stratum = np.array([0, 0, -1, -1, 0, -1, -1]), np.array([0, 0, 0, 0, 1, 1, 1])
    mask = np.ones((1, 1), dtype=bool)
    observed = _standardised(x, code, stratum, 1)[0, 0] ** 4
    reached = []
    for i in range(4):
        for j in range(i):
            for k in range(3):
                chosen = np.full(7, -1)
                chosen[[i, j, 4 + k]] = 0
                reached.append(_standardised(x, chosen, stratum, 1)[0, 0] ** 4 >= observed - 1e-9)
    p = condition_pvalues(x, code, stratum, mask=mask, n_perms=9999, rng=rng)[0]
    assert p == pytest.approx(np.mean(reached), abs=0.015)


def test_a_condition_without_controls_in_its_strata_has_no_p(rng):
    x, code, stratum = screen(rng)
    found = of_each(rng, x, code, np.where(code == 2, 5, stratum))
    assert np.isnan(found[2])
    assert np.isfinite(np.delete(found, 2)).all()
