"""What training cells say about zeros and totals: closed forms, and where they say nothing."""

from __future__ import annotations

import numpy as np
import pytest
from anndata import AnnData

import shoal as sh
from shoal.core._population import population
from shoal.core._screen import resolve
from shoal.models.base._expression import SAME_TOTAL, Expression


def screen(x, **slots):
    adata = AnnData(x, obs={"perturbation": np.where(np.arange(len(x)) % 3, "A", "control")})
    for name, values in slots.items():
        adata.obsm[name] = values
    sh.pp.annotate(adata, "perturbation", control="control")
    return adata


def learned(adata, **slots):
    return Expression.of_training(population(adata, resolve(adata), **slots))


def normalised(counts, total=100.0):
    size = np.maximum(counts.sum(axis=1, keepdims=True), 1)
    return np.log1p(counts / size * total)


def test_poisson_counts_have_the_slope_of_their_law(rng):
    """Values that are counts times a unit: p = exp(-rate) and mean = unit * rate, so 1 / unit."""
    unit, rate = 0.4, np.array([0.05, 0.5, 2.0])
    x = unit * rng.poisson(rate, (60_000, 3))
    np.testing.assert_allclose(learned(screen(x)).zero_slope, 1 / unit, rtol=0.05)


def test_perturbed_cells_and_controls_of_training_count_and_no_others(rng):
    x = rng.poisson(0.5, (300, 4)) * 0.7
    x[:, 1] = 0
    adata = screen(x)
    held = rng.random(300) < 0.3
    x[held, 1] = 1.0
    adata.X = x
    adata.obs["split"] = np.where(held, "test", "train")
    found = learned(adata)
    np.testing.assert_array_equal(found.off, [False, True, False, False])
    assert found.zero_slope[1] == 0
    train = x[~held][:, [0, 2, 3]]
    share = ((train <= 0).sum(0) + 0.5) / (len(train) + 0.5)
    np.testing.assert_allclose(found.zero_slope[[0, 2, 3]], -np.log(share) / train.mean(0))


def test_the_total_is_that_of_cells_that_were_normalised_to_one(rng):
    counts = rng.poisson(1.0, (90, 40)).astype(float)
    counts[4] = 0  # no counts: left aside
    x = normalised(counts)
    assert learned(screen(x)).total == pytest.approx(100)
    assert np.isnan(learned(screen(x[:, :30])).total)  # a part of the genes
    assert np.isnan(learned(screen(x / np.log(2))).total)  # another logarithm
    near = np.log1p(np.expm1(x) * np.where(np.arange(90) % 2, 1, 1 + SAME_TOTAL / 2)[:, None])
    assert learned(screen(near)).total == pytest.approx(100, rel=SAME_TOTAL)


def test_features_that_are_no_genes_say_nothing(rng):
    x = normalised(rng.poisson(1.0, (90, 40)).astype(float))
    adata = screen(x, shares=x[:, :5] + 0.0)
    nothing = learned(adata, use_rep="shares")
    signed = learned(screen(x - 1))
    for found in (nothing, signed):
        assert not found.zero_slope.any()
        assert not found.off.any()
        assert np.isnan(found.total)
    assert learned(adata, use_rep="X").total == pytest.approx(100)


def test_a_saved_model_knows_it(tmp_path):
    adata = sh.ds.simulate(n_perturbations=3, n_cells=30, n_genes=40, rng=0)
    sh.pp.annotate(adata, "perturbation", control="control")
    sh.pp.prepare(adata, normalize="log1p", n_comps=5)
    model = sh.tl.fit(adata, "own_shift")
    model.save(tmp_path / "m")
    again = sh.models.load(tmp_path / "m").expression
    for name in ("zero_slope", "off", "total", "totals"):
        np.testing.assert_array_equal(getattr(again, name), getattr(model.expression, name))
    assert again.total == pytest.approx(float(np.expm1(adata.X[0]).sum()), rel=1e-3)


def test_a_screen_of_many_totals_is_told_once(rng, caplog):
    caplog.set_level("INFO")
    counts = rng.poisson(1.0, (90, 40)).astype(float)
    one, other = screen(normalised(counts)), screen(normalised(counts)[:, :31])
    for adata in (one, other, other):
        sh.tl.fit(adata, "own_shift")
    told = [r for r in caplog.records if "library sizes" in r.getMessage()]
    assert len(told) == 1
    assert "not normalised to one total" in told[0].getMessage()
