"""The metrics of the 2026 challenge: closed forms, nulls, and the ends of their scale."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import sparse

from shoal.metrics._external_vcc2026 import (
    DISTANCE,
    ERROR,
    FIDELITY,
    JACCARD,
    MSE,
    NMAE,
    PDS,
    REACH,
    RULES,
    panel_value,
    target_values,
)
from shoal.metrics._external_vcc2026_ends import halves, mean_response, panel_of, replicate
from shoal.metrics._external_vcc2026_profiles import DEPTH, Counts, profiles_of
from shoal.metrics._external_vcc2026_sides import Side, side_of

NONE = np.array([-1, -1, -1])


def drawn(n_cells, n_genes, *, seed=0, level=3.0):
    rng = np.random.default_rng(seed)
    x = rng.poisson(rng.gamma(0.7, level, n_genes) * rng.gamma(4, 0.25, (n_cells, 1)))
    return sparse.csr_matrix(x, dtype=np.float64)


def jackknife(x):
    """The noise of a pseudobulk by its definition."""
    v = []
    for i in range(len(x)):
        left = np.delete(x, i, axis=0).sum(axis=0)
        v.append(np.log1p(DEPTH * left / max(left.sum(), 1)))
    v = np.array(v)
    return (len(x) - 1) / len(x) * ((v - v.mean(axis=0)) ** 2).sum()


@pytest.mark.parametrize("n_cells", [2, 3, 12, 80])
def test_pseudobulk_and_its_noise_by_definition(n_cells):
    x = drawn(n_cells, 30)
    found = profiles_of(Counts(x), [np.arange(n_cells)])
    dense = x.toarray()
    total = dense.sum(axis=0)
    assert_allclose(found.bulk[0], np.log1p(DEPTH * total / total.sum()), rtol=1e-12)
    assert_allclose(found.noise[0], jackknife(dense), rtol=1e-9)
    cpm = 1e6 * dense / np.maximum(dense.sum(axis=1, keepdims=True), 1)
    assert_allclose(found.cpm[0], cpm.mean(axis=0), rtol=1e-12)


def test_noise_where_cells_are_empty_hold_everything_or_are_alone():
    x = np.zeros((4, 5))
    x[1] = [3, 0, 7, 0, 1]
    groups = [np.array([0, 1]), np.array([1]), np.array([2, 3])]
    found = profiles_of(Counts(sparse.csr_matrix(x)), groups)
    assert_allclose(found.noise[0], jackknife(x[:2]), rtol=1e-9)
    assert found.noise[1] == found.noise[2] == 0
    assert (found.bulk[2] == 0).all()


def test_one_heavy_cell_among_many_has_its_noise_by_definition():
    x = drawn(40, 25).toarray()
    x[7] *= 60
    found = profiles_of(Counts(sparse.csr_matrix(x)), [np.arange(40)])
    assert_allclose(found.noise[0], jackknife(x), rtol=1e-9)


def made(lfc, fdr, *, bulk=None, noise=0.0):
    """A side with given fold changes and false discovery rates, (P, G)."""
    lfc, fdr = np.asarray(lfc, dtype=float), np.asarray(fdr, dtype=float)
    bulk = lfc if bulk is None else np.asarray(bulk, dtype=float)
    return Side(
        bulk=bulk,
        noise=np.full(len(bulk), noise),
        control=np.zeros(bulk.shape[1]),
        control_noise=noise,
        fdr=fdr,
        pvalue=fdr,
        lfc=lfc,
    )


def test_values_by_hand():
    real = made([[1, -1, 1, 1]], [[0.01, 0.01, 0.01, 0.9]])
    pred = made([[2, 1, 0, 1]], [[0.01, 0.02, 0.03, 0.04]])
    found = {name: own[0] for name, own in target_values(pred, real, target=NONE[:1]).items()}
    assert found[FIDELITY] == 2 / 4  # of four calls two have the right sign
    assert found[JACCARD] == 3 / 4
    assert found[REACH] == 1 / 3  # + - -: nine in ten are right after the first gene only
    assert np.isnan(found[NMAE])  # three hits
    assert found[ERROR] == (1 + 4 + 1 + 0) / 4
    assert found[DISTANCE] == 1
    assert np.isnan(found[PDS])  # a panel of one


def test_reach_counts_a_prefix_that_recovers_and_the_order_of_names_breaks_ties():
    n = 10
    real = made(np.ones((1, n)), np.full((1, n), 0.01))
    lfc = np.ones((1, n))
    lfc[0, 0] = -1  # first by name, and nine right ones after it
    pred = made(lfc, np.full((1, n), 0.01))
    assert target_values(pred, real, target=NONE[:1])[REACH][0] == 1
    behind = np.roll(np.arange(n), -1)  # another order of names: the wrong one comes last
    assert target_values(pred, real, target=NONE[:1], names=behind)[REACH][0] == 1
    two = lfc.copy()
    two[0, 1] = -1
    assert target_values(made(two, pred.fdr), real, target=NONE[:1])[REACH][0] == 0


def test_an_unchanged_prediction_and_nothing_to_find():
    hits = np.full((3, 12), 0.01)
    real = made(np.ones((3, 12)), hits)
    flat = made(np.zeros((3, 12)), np.ones((3, 12)))
    found = target_values(flat, real, target=NONE)
    assert (found[PDS] == 0.5).all()
    assert (found[NMAE] == 1).all()
    assert (found[FIDELITY] == 0).all()
    assert (found[REACH] == 0).all()
    assert (found[JACCARD] == 0).all()
    assert panel_value(MSE, found) == 1
    nothing = target_values(flat, flat, target=NONE)
    assert (nothing[JACCARD] == 1).all()
    for name in (FIDELITY, REACH, NMAE):
        assert np.isnan(nothing[name]).all()
    assert np.isnan(panel_value(MSE, nothing))  # no size of effects to compare with
    invented = target_values(made(np.ones((3, 12)), hits), flat, target=NONE)
    assert np.isnan(invented[FIDELITY]).all()  # the reference has no direction anywhere
    assert (invented[JACCARD] == 0).all()


def test_own_targets_are_left_out_and_all_of_them_from_ranks():
    rng = np.random.default_rng(0)
    lfc, fdr = rng.normal(size=(3, 20)), np.full((3, 20), 0.01)
    real, target = made(lfc, fdr), np.array([0, 1, 2])
    changed = lfc.copy()
    changed[np.arange(3), target] += 100
    own = target_values(made(changed, fdr), real, target=target)
    same = target_values(real, real, target=target)
    for name in RULES:
        assert panel_value(name, own) == panel_value(name, same)
    changed = lfc.copy()
    changed[:, :3] = 100  # the genes of the others: they count in the errors, not in the ranks
    spiked = target_values(made(changed, fdr), real, target=target)
    assert (spiked[PDS] == 1).all()
    assert panel_value(MSE, spiked) > 1
    with pytest.raises(ValueError, match="all 2 genes are targets"):
        target_values(
            made(lfc[:2, :2], fdr[:2, :2]), made(lfc[:2, :2], fdr[:2, :2]), target=np.array([0, 1])
        )


def test_noise_of_a_prediction_earns_no_more_than_it_separates_targets():
    rng = np.random.default_rng(1)
    effect = rng.normal(size=(4, 30))
    ones = np.ones((4, 30))
    real = made(effect, ones, noise=2.0)
    other = np.tile(effect.mean(axis=0), (4, 1))
    flat, honest = made(other, ones, noise=2.0), made(effect, ones, noise=50.0)
    target = np.full(4, -1)
    same = ((other - effect) ** 2).sum(axis=1)
    assert_allclose(target_values(flat, real, target=target)[ERROR], (same - 2) / 30)
    # what separates the targets may claim noise, up to that of the real cells
    assert_allclose(target_values(honest, real, target=target)[ERROR], (0 - 2 - 2) / 30)


def test_scaled_values_and_their_bounds():
    assert RULES[PDS].scaled(0.5, 0.5, 0.9) == 0
    assert RULES[PDS].scaled(0.9, 0.5, 0.9) == 1
    assert RULES[PDS].scaled(1.3, 0.5, 0.9) == pytest.approx(2)
    assert RULES[PDS].scaled(np.nan, 0.5, 0.9) == pytest.approx(-1.25)  # as if it were 0
    assert RULES[MSE].scaled(5, 1, 0.1) == 0
    assert RULES[MSE].scaled(-1, 1, 0.1) == 1
    assert RULES[MSE].scaled(np.nan, 1, 0.1) == 0
    assert RULES[NMAE].scaled(100, 1, 0.4) == RULES[NMAE].scaled(np.nan, 1, 0.4) == -6
    assert RULES[NMAE].scaled(0, 1, 0.4) == pytest.approx(1 / 0.6)
    for ends in ((0.9, 0.5), (0.5, 0.5), (np.nan, 0.5), (0.5, np.nan)):
        assert np.isnan(RULES[PDS].scaled(0.7, *ends))
    assert np.isnan(RULES[MSE].scaled(0.1, -0.2, -0.5))  # a baseline without any error


@pytest.fixture(scope="module")
def panel():
    """Three targets of 40, 41 and 60 cells, and 80 controls, one gene of each knocked down."""
    sizes = [40, 41, 60, 80]
    x = drawn(sum(sizes), 50, level=20.0).toarray()
    rows = np.split(np.arange(len(x)), np.cumsum(sizes)[:-1])
    for gene, own in enumerate(rows[:3]):
        x[own, gene] *= 0.1
        x[np.ix_(own, range(10 * gene + 5, 10 * gene + 15))] *= 3
    counts = Counts(sparse.csr_matrix(np.round(x)))
    names = {"target": np.arange(3), "names": ["b", "a", "c"], "labels": (1, 0, 2, -1)}
    return panel_of(counts, rows[:3], rows[3], **names, genes=[f"g{i:02}" for i in range(50)])


def test_halves_are_disjoint_and_of_one_size(panel):
    several = list(halves(panel))
    assert len(several) == 5
    for first, second, control, other in several:
        for one, two, own in zip(
            (*first, control), (*second, other), (*panel.members, panel.control), strict=True
        ):
            assert len(one) == len(two) == len(own) // 2
            assert not set(one) & set(two)
            assert set(one) | set(two) <= set(own)
    assert (several[0][2] != several[1][2]).any()


def test_the_mean_response_leaves_out_the_own_target_of_a_gene(panel):
    cells, rows = mean_response(panel)
    assert [len(own) for own in rows] == [40, 41, 60]
    x = panel.counts.values.toarray()
    means = np.array([x[own].mean(axis=0) for own in panel.members])
    expected = means.mean(axis=0)
    expected[:3] = (means.sum(axis=0)[:3] - np.diag(means[:, :3])) / 2
    found = cells.values.toarray().mean(axis=0)
    on = expected > 5
    assert_allclose(found[on], expected[on], rtol=0.35)  # drawn cells
    scale = expected / x[panel.control].mean(axis=0)
    unscaled = cells.values.toarray() / np.where(scale > 0, scale, 1)
    assert_allclose(unscaled, np.round(unscaled), atol=1e-4)  # scaled control cells


def test_a_replicate_is_better_than_the_mean_response(panel):
    counts, control = panel.counts, panel.control
    real = side_of(counts, panel.members, counts, control)
    second = replicate(panel, real)
    cells, rows = mean_response(panel)
    base = target_values(side_of(cells, rows, counts, control), real, target=panel.target)
    for name in (PDS, MSE, FIDELITY, NMAE):
        rule = RULES[name]
        better = second[name].mean() - panel_value(name, base)
        assert better * (1 if rule.direction == "higher" else -1) > 0, name


def test_a_panel_of_one_or_of_one_gene_has_no_mean_response(panel):
    one = replace(
        panel, members=panel.members[:1], target=panel.target[:1], by_name=panel.by_name[:1] * 0
    )
    with pytest.raises(ValueError, match="a panel of one target has no mean response"):
        mean_response(one)
    with pytest.raises(ValueError, match="all targets of the panel have the same gene"):
        mean_response(replace(panel, target=np.zeros(3, dtype=int)))


def test_storage_and_precision_make_no_difference(panel):
    counts, control = panel.counts, panel.control
    expected = side_of(counts, panel.members, counts, control)
    for dtype in (np.int32, np.float32):
        other = Counts(counts.values.astype(dtype))
        found = side_of(other, panel.members, other, control)
        for name in ("bulk", "noise", "fdr", "lfc"):
            np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
