"""Baselines that draw from training cells or move whole distributions."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pytest
from scipy import sparse, stats

import shoal as sh
from shoal.models.base._registry import names
from shoal.models.baselines._contexts import OtherContexts
from shoal.models.baselines._distribution import QuantileShift
from shoal.models.baselines._means import ContextMean, PerturbedMean
from shoal.models.baselines._quantiles import Quantiles

from ...helpers import dense


def screen(sizes, rng, *, offset, batches=1):
    """Gamma noise + an offset of context and batch; perturbation A: only half of the cells respond, by 4 in gene 0."""
    keys = [key for key, n in sizes.items() for _ in range(n)]
    x = rng.gamma(2.0, 1.0, size=(len(keys), 4))
    label, context = np.array([k[0] for k in keys]), np.array([k[1] for k in keys])
    batch = np.arange(len(keys)) % batches
    x += np.array(offset)[context, None] + 2.0 * batch[:, None]
    x[(label == "A") & (np.arange(len(keys)) // 2 % 2 == 0), 0] += 4
    adata = ad.AnnData(x - 50)  # signed: nothing is cut
    adata.obs["perturbation"], adata.obs["day"], adata.obs["plate"] = label, context, batch
    sh.pp.annotate(adata, "perturbation", control="control", context_key="day", batch_key="plate")
    return adata


def trained(cls, adata, **options):
    model = cls(adata, **options)
    model.train()
    return model


def rows_of(adata, values):
    """Return the cell of the data that each value row is."""
    place = {row.astype(np.float32).tobytes(): i for i, row in enumerate(adata.X)}
    return np.array([place[row.astype(np.float32).tobytes()] for row in values])


def test_perturbed_mean_draws_every_perturbation_equally_often(rng):
    adata = screen(
        {("control", 0): 50, ("A", 0): 200, ("B", 0): 20, ("B", 1): 20, ("control", 1): 50},
        rng,
        offset=(0, 3),
    )
    made = trained(PerturbedMean, adata).predict("A", context="0", n_cells=4000)
    drawn = adata.obs.iloc[rows_of(adata, made.X)]
    assert not (drawn["perturbation"] == "control").any()
    assert abs((drawn["perturbation"] == "A").mean() - 0.5) < 0.04  # 5 standard errors
    assert abs((drawn["day"] == 1).mean() - 0.25) < 0.035
    capped = trained(PerturbedMean, adata, max_cells=10)
    assert len(capped.pool) == 30


def test_context_mean_draws_from_the_context(rng):
    adata = screen(
        {("control", 0): 50, ("control", 1): 50, ("control", 2): 50, ("A", 0): 30, ("B", 1): 30},
        rng,
        offset=(0, 3, 6),
    )
    model = trained(ContextMean, adata)
    for context in (0, 1):
        made = model.predict(["A", "B"], context=str(context), n_cells=40)
        assert (adata.obs["day"].to_numpy()[rows_of(adata, made.X)] == context).all()
    with pytest.raises(
        ValueError, match="context '2' cannot be predicted by context_mean.*'mean_shift'"
    ):
        model.predict("A", context="2", n_cells=10)


def test_other_contexts_reproduce_a_shift_of_context(rng):
    sizes = {(name, day): 400 for name in ("control", "A") for day in range(3)}
    adata = screen(sizes, rng, offset=(0.0, 10.0, 30.0), batches=2)
    test = (adata.obs["perturbation"] == "A").to_numpy() & (adata.obs["day"] == 2).to_numpy()
    adata.obs["split"] = np.where(test, "test", "train")
    rows, values, _ = trained(OtherContexts, adata).twins(subset=test)
    real = adata.X[rows]
    for gene in range(4):
        assert stats.ks_2samp(values[:, gene], real[:, gene]).pvalue > 1e-3
    plate = adata.obs["plate"].to_numpy()[rows]
    for batch in (0, 1):
        np.testing.assert_allclose(
            values[plate == batch].mean(0), real[plate == batch].mean(0), atol=0.8
        )
    assert abs(values[plate == 1].mean() - values[plate == 0].mean() - 2) < 0.5, (
        "the shift is that of the batch too"
    )
    wrong = adata.X[(adata.obs["perturbation"] == "A") & (adata.obs["day"] == 0)]
    assert stats.ks_2samp(wrong[:, 1], real[:, 1]).pvalue < 1e-6, "the shift was needed"


def test_other_contexts_are_other_ones_where_there_are_some(rng):
    sizes = {("control", 0): 40, ("control", 1): 40, ("A", 0): 30, ("A", 1): 30, ("B", 0): 30}
    adata = screen({**sizes, ("C", 0): 30}, rng, offset=(0.0, 0.0))
    adata.obs["split"] = np.where(adata.obs["perturbation"] == "C", "test", "train")
    model = trained(OtherContexts, adata)
    day = adata.obs["day"].to_numpy()
    control = [
        adata.X[(adata.obs["perturbation"] == "control") & (day == d)].mean(axis=0) for d in (0, 1)
    ]
    made = model.predict("A", context="0", n_cells=30)
    source = adata.X[(adata.obs["perturbation"] == "A") & (day == 1)] - control[1] + control[0]
    np.testing.assert_allclose(np.sort(made.X, axis=0), np.sort(source, axis=0), atol=1e-4)
    own = model.predict("B", context="0", n_cells=30)
    assert (
        adata.obs["perturbation"].to_numpy()[rows_of(adata, own.X.astype(np.float32))] == "B"
    ).all()
    with pytest.raises(ValueError, match=r"'B\+A', 'C' cannot be predicted by other_c.*'additive'"):
        model.predict(["C", "A", "B+A"])


# -- quantile shift --------------------------------------------------------------------------------------------------


@pytest.fixture
def zeros(rng):
    """Zero-inflated genes: A has fewer zeros in gene 0, larger values in gene 1, and is not changed in gene 2."""
    label = np.repeat(["control", "A", "B"], [600, 500, 300])
    x = rng.gamma(2.0, 1.0, size=(1400, 3)) * (rng.random((1400, 3)) < 0.3)
    a = label == "A"
    x[a, 0] = rng.gamma(2.0, 1.0, size=500) * (rng.random(500) < 0.8)
    x[a, 1] *= 3
    adata = ad.AnnData(sparse.csr_matrix(x))
    adata.obs["perturbation"] = label
    sh.pp.annotate(adata, "perturbation", control="control")
    return adata


def test_quantile_shift_reproduces_every_marginal(zeros):
    made = trained(QuantileShift, zeros).predict("A", n_cells=600)
    found = dense(made.X)
    real = zeros.X[600:1100].toarray()
    for gene in range(3):
        assert (
            stats.ks_2samp(found[:, gene], real[:, gene]).statistic < 0.04
        )  # no sampling of cells: rounding of ties
    np.testing.assert_allclose((found == 0).mean(axis=0), (real == 0).mean(axis=0), atol=0.04)
    np.testing.assert_allclose(found.mean(axis=0), real.mean(axis=0), rtol=0.1)
    start = zeros[made.obs["source"].to_numpy()].X.toarray()
    both = (start[:, 1] > 0) & (found[:, 1] > 0)
    assert stats.spearmanr(start[both, 1], found[both, 1]).statistic > 0.999, "monotone"


@pytest.mark.parametrize("name", names("baseline"))
def test_given_cells_are_moved_or_refused(name, rng):
    sizes = dict.fromkeys([(p, day) for p in ("control", "A", "B") for day in (0, 1)], 50)
    adata = screen(sizes, rng, offset=(0.0, 0.0))
    adata.var_names = ["A", "B", "C", "D"]  # latent_linear knows perturbations by their genes
    model = sh.tl.fit(adata, name)
    given = adata[adata.obs["perturbation"] == "control"].copy()
    other = given.copy()
    other.X[:, 1] += 1.0
    if model.draws:
        with pytest.raises(ValueError, match=f"{name} draws .*'quantile_shift' move them"):
            model.transport(given, "A")
    else:
        before, after = (dense(model.transport(cells, "A").X) for cells in (given, other))
        assert (after - before).mean(axis=0)[1] > 0.5, "cells that are elsewhere end elsewhere"


def test_quantile_shift_of_an_unmeasured_perturbation_uses_all(zeros):
    model = trained(QuantileShift, zeros)
    found = model.predict("A+B", n_cells=600).X
    found = dense(found)
    expected = (0.8 + 0.3) / 2  # of the cells of A and of B, equally, although A has more
    assert abs((found[:, 0] > 0).mean() - expected) < 0.07


def test_quantile_shift_weighs_controls_by_context(rng):
    sizes = {("control", 0): 300, ("control", 1): 300, ("A", 0): 400, ("B", 1): 400}
    adata = screen(sizes, rng, offset=(0.0, 20.0))
    found = trained(QuantileShift, adata).predict("B", context="1", n_cells=300).X
    start = adata.X[300:600]
    assert abs(found.mean() - start.mean()) < 0.3, (
        "B does nothing: controls of the other context would show"
    )
    assert stats.ks_2samp(found[:, 0], adata.X[1000:, 0]).pvalue > 1e-3


def test_quantiles_of_a_known_map(rng):
    source, target = np.arange(1.0, 101.0)[:, None], 10 * np.arange(1.0, 101.0)[:, None]
    even = Quantiles.of(source, np.full(100, 0.01))
    mapped = even.moved(source[::-1], target, rng)
    # cumulated weights may round to the next value
    assert np.abs(mapped - 10 * source[::-1]).max() <= 10.0 + 1e-9
    outside = even.moved(np.array([[-5.0], [500.0]]), target, rng)
    np.testing.assert_array_equal(outside, [[10.0], [1000.0]])
    tied = Quantiles.of(np.zeros((5, 1)), np.full(5, 0.2))
    halves = tied.moved(np.zeros((4000, 1)), np.array([[0.0], [1.0]]), rng)
    assert abs(halves.mean() - 0.5) < 0.04  # a tie is spread over its quantiles
    uneven = Quantiles.of(np.array([[0.0], [1.0]]), np.array([0.9, 0.1]))
    assert uneven.moved(np.array([[1.0]] * 2000), target, rng).min() >= 900
