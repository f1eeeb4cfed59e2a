from __future__ import annotations

import logging

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse, stats

from shoal.metrics._fdr import benjamini_hochberg
from shoal.metrics._fold_change import log_fold_change
from shoal.metrics._ranksum import RankSum, RankSums, sums_against

FORMS = {
    "dense": np.asarray,
    "fortran": np.asfortranarray,
    "float32": lambda x: x.astype(np.float32),
    "csr_matrix": sparse.csr_matrix,
    "csr_array": sparse.csr_array,
    "csc_matrix": sparse.csc_matrix,
}
N_GROUPS = 4
KINDS = ("counts", "logged", "signed", "continuous")


@pytest.fixture
def screen(rng):
    """Groups of 40, 30, 3 and 1 cells, 50 controls and 5 cells of no use, in random order."""
    code = rng.permutation(np.repeat([0, 1, 2, 3, -1, -2], [40, 30, 3, 1, 50, 5]))
    return np.where(code >= 0, code, -1), code == -1


def values(kind, n, rng, genes=30):
    """Matrices of values that float32 holds exactly: many ties and zeros, few, negative values, none tied."""
    if kind == "continuous":
        return rng.permuted(np.tile(np.arange(1.0, n + 1), (genes, 1)), axis=1).T
    counts = rng.poisson(rng.gamma(1, 1, genes), (n, genes)).astype(float)
    if kind == "logged":
        return (
            np.log1p(counts * 1e3 / rng.integers(800, 1000, (n, 1)))
            .astype(np.float32)
            .astype(float)
        )
    return counts - rng.integers(0, 3, (n, genes)) if kind == "signed" else counts


def sums(x, group, n_groups, control, where=None) -> RankSums:
    """Compare groups 0 to n - 1 with the controls of their own context."""
    where = np.zeros(len(group), dtype=int) if where is None else where
    contexts = np.unique(where)
    own = [where[group == g][0] if (group == g).any() else contexts[0] for g in range(n_groups)]
    cells = [x[np.flatnonzero(group == g)] for g in range(n_groups)]
    controls = [x[np.flatnonzero(control & (where == level))] for level in contexts]
    return sums_against(cells, controls, np.searchsorted(contexts, own))


def rank_sum(*given, continuity=False) -> RankSum:
    return sums(*given).standardised(continuity=continuity)


def scanpys(x, group, control):
    import scanpy as sc

    logging.getLogger("scanpy").setLevel(logging.ERROR)
    names = np.where(control, "control", np.char.add("g", group.astype(str)))
    cells = [f"cell{i}" for i in range(len(x))]
    adata = ad.AnnData(
        sparse.csr_matrix(x), obs=pd.DataFrame({"label": pd.Categorical(names)}, index=cells)
    )
    kept = adata[control | (group >= 0)].copy()
    groups = [g for g in kept.obs["label"].cat.categories if g != "control"]
    sc.tl.rank_genes_groups(
        kept,
        "label",
        groups=groups,
        reference="control",
        method="wilcoxon",
        tie_correct=True,
    )
    tables = [
        sc.get.rank_genes_groups_df(kept, g).set_index("names").loc[kept.var_names] for g in groups
    ]
    return {name: np.array([table[name] for table in tables]) for name in tables[0].columns}


@pytest.mark.filterwarnings("ignore::RuntimeWarning", "ignore::pandas.errors.PerformanceWarning")
@pytest.mark.parametrize("kind", ["counts", "logged"])
def test_equals_scanpy(kind, rng):
    group = np.repeat([0, 1, 2, -1], [40, 30, 20, 50])
    control = group == -1
    x = values(kind, 140, rng)
    found = rank_sum(x, group, 3, control)
    expected = scanpys(x, group, control)
    np.testing.assert_allclose(
        found.z, expected["scores"], rtol=1e-6, atol=1e-6
    )  # stored by scanpy in float32
    np.testing.assert_allclose(found.pvalue, expected["pvals"], rtol=1e-9)
    np.testing.assert_allclose(benjamini_hochberg(found.pvalue), expected["pvals_adj"], rtol=1e-9)
    means = np.array([x[group == g].mean(axis=0) for g in range(3)])
    fold = log_fold_change(means, x[control].mean(axis=0))
    np.testing.assert_allclose(fold, expected["logfoldchanges"], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("kind", "continuity"), [*((kind, True) for kind in KINDS), ("counts", False)]
)
def test_equals_scipy(kind, continuity, screen, rng):
    group, control = screen
    x = values(kind, len(group), rng)
    given = sums(x, group, N_GROUPS, control)
    found = given.standardised(continuity=continuity)
    for g in range(N_GROUPS):
        own = group == g
        expected = stats.mannwhitneyu(
            x[own], x[control], use_continuity=continuity, method="asymptotic"
        )
        np.testing.assert_allclose(given.u[g], expected.statistic, rtol=1e-12)
        pvalue = np.where(
            np.isnan(expected.pvalue), 1.0, expected.pvalue
        )  # of a gene without variance
        np.testing.assert_allclose(found.pvalue[g], pvalue, rtol=1e-9)
        assert (given.n[g], given.m[g]) == (own.sum(), control.sum())
        higher = given.u[g] > own.sum() * control.sum() / 2
        np.testing.assert_array_equal(found.z[g][found.z[g] != 0] > 0, higher[found.z[g] != 0])


@pytest.mark.parametrize(
    ("form", "kind"), [*((form, "counts") for form in FORMS), ("csr_matrix", "signed")]
)
def test_every_form_of_matrix_gives_the_same(form, kind, screen, rng):
    group, control = screen
    x = values(kind, len(group), rng, genes=70)  # more than one block of columns
    expected = rank_sum(x, group, N_GROUPS, control)
    found = rank_sum(FORMS[form](x), group, N_GROUPS, control)
    np.testing.assert_array_equal(found.z, expected.z)


def test_stored_zeros_and_entries_stored_twice_are_read_right_and_left_alone(screen, rng):
    group, control = screen
    x = values("counts", len(group), rng)
    n, d = x.shape
    once = sparse.csr_matrix((x.ravel(), np.tile(np.arange(d), n), np.arange(n + 1) * d), x.shape)
    twice = sparse.csr_matrix(
        (np.repeat(x.ravel() / 2, 2), np.repeat(once.indices, 2), np.arange(n + 1) * 2 * d), x.shape
    )
    for stored, entries in ((once, n * d), (twice, 2 * n * d), (once.tocsc(), n * d)):
        assert stored.nnz == entries
        data = stored.data.copy()
        found = rank_sum(stored, group, N_GROUPS, control)
        np.testing.assert_array_equal(found.z, rank_sum(x, group, N_GROUPS, control).z)
        np.testing.assert_array_equal(stored.data, data)


@pytest.mark.parametrize("form", ["dense", "csr_matrix"])
def test_a_context_is_a_screen_of_its_own(form, rng):
    """Groups 0, 3 in context 7 and 1, 2 in context -1; the contexts lie mixed."""
    group = rng.permutation(np.repeat([0, 3, 1, 2, -1], [20, 15, 12, 18, 60]))
    where = np.where(np.isin(group, [0, 3]), 7, -1)
    where[group == -1] = rng.choice([7, -1], (group == -1).sum())
    x = values("counts", len(group), rng)
    given = sums(FORMS[form](x), group, 4, group == -1, where)
    found = given.standardised()
    for level, members in ((7, [0, 3]), (-1, [1, 2])):
        rows = where == level
        own = sums(x[rows], group[rows], 4, group[rows] == -1)
        np.testing.assert_array_equal(found.z[members], own.standardised().z[members])
        np.testing.assert_array_equal(given.m[members], own.m[members])


def test_only_order_counts_and_sides_mirror(screen, rng):
    group, control = screen
    x = values("signed", len(group), rng)
    found = rank_sum(x, group, N_GROUPS, control)
    np.testing.assert_allclose(
        rank_sum(np.exp(x), group, N_GROUPS, control).z, found.z, rtol=1e-12, atol=1e-12
    )
    np.testing.assert_allclose(
        rank_sum(-x, group, N_GROUPS, control).z, -found.z, rtol=1e-12, atol=1e-12
    )
    order = rng.permutation(len(x))
    np.testing.assert_array_equal(
        rank_sum(x[order], group[order], N_GROUPS, control[order]).z, found.z
    )
    swapped = rank_sum(x, np.where(control, 0, -1), 1, group == 0)
    np.testing.assert_allclose(swapped.z[0], -found.z[0], rtol=1e-12, atol=1e-12)


def test_closed_form():
    """All 6 pairs are won, or lost: U is 3 from its mean, less 1/2 for continuity, and its variance 2 * 3 * 6 / 12 = 3."""
    x = np.array([[0.0, 4], [1, 3], [2, 2], [3, 1], [4, 0]])
    control = np.array([True, True, True, False, False])
    found = rank_sum(x, np.where(control, -1, 0), 1, control, continuity=True)
    np.testing.assert_allclose(found.z, [[2.5 / np.sqrt(3), -2.5 / np.sqrt(3)]])
    np.testing.assert_array_equal(sums(x, np.where(control, -1, 0), 1, control).u, [[6.0, 0.0]])


def test_under_the_null_p_is_uniform(rng):
    x = rng.poisson(1.0, (300, 4000)).astype(float)
    group = np.repeat([0, -1], [60, 240])
    found = rank_sum(sparse.csc_matrix(x), group, 1, group == -1)
    assert np.mean(found.pvalue < 0.05) == pytest.approx(0.05, abs=4 * np.sqrt(0.05 * 0.95 / 4000))
    assert np.var(found.z) == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("constant", [0.0, 3.0, -1.0])
def test_a_constant_gene_has_nothing_to_tell(constant, screen):
    group, control = screen
    found = rank_sum(np.full((len(group), 2), constant), group, N_GROUPS, control)
    np.testing.assert_array_equal(found.z, 0)
    np.testing.assert_array_equal(found.pvalue, 1)


def test_without_cells_or_controls_nan(rng):
    x = rng.normal(size=(30, 3))
    group = np.repeat([0, 2, -1], 10)
    found = rank_sum(x, group, 3, group == -1, np.where(group == 2, 1, 0))
    for table in (found.z, found.pvalue):  # 1 has no cells, 2 no controls
        assert np.isnan(table).all(axis=1).tolist() == [False, True, True]
    np.testing.assert_array_equal(
        np.isnan(benjamini_hochberg(found.pvalue)), np.isnan(found.pvalue)
    )


def test_adjusted_over_the_genes_that_were_tested(rng):
    p = rng.uniform(size=(3, 50))
    mask = rng.random((3, 50)) < 0.7
    found = benjamini_hochberg(p, mask=mask)
    for row in range(3):
        np.testing.assert_allclose(
            found[row, mask[row]], stats.false_discovery_control(p[row, mask[row]])
        )
    assert np.isnan(found[~mask]).all()


def test_fold_change_of_predicted_means_below_zero_is_that_of_no_expression():
    fold = log_fold_change(np.array([[-0.2, 0.0, np.log1p(4)]]), np.log1p([1.0, 1.0, 1.0]))
    assert fold[0, 0] == fold[0, 1] == pytest.approx(np.log2(1e-9), abs=1e-6)
    assert fold[0, 2] == pytest.approx(2)


def test_values_without_a_rank_are_refused():
    group = np.repeat([0, -1], 10)
    with pytest.raises(ValueError, match="NaN or infinite"):
        sums(np.full((20, 2), np.nan), group, 1, group == -1)


def test_bad_tables():
    with pytest.raises(ValueError, match="control holds negative means"):
        log_fold_change(np.ones((1, 2)), np.array([-1.0, 1]))
    with pytest.raises(ValueError, match="must be finite"):
        log_fold_change(np.array([[np.nan]]), np.ones(1))
    with pytest.raises(ValueError, match="shape of pvalue"):
        benjamini_hochberg(np.ones((2, 3)), mask=np.ones((3, 2), dtype=bool))
    with pytest.raises(ValueError, match="not between 0 and 1"):
        benjamini_hochberg(np.full((1, 3), 2.0))
