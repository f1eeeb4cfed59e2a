"""Flags of the coherence table: the test of depth."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

import shoal as sh
from shoal.core._plan import Plan
from shoal.tl._flags import depth_test

from ..everything import screen


def plan_of(group, stratum):
    n_groups, n_strata = int(group.max()), int(stratum.max()) + 1
    return Plan(group, n_groups, stratum, n_strata, np.ones((len(group), 1)))


def test_one_stratum_is_welch(rng):
    group = np.repeat([0, 1, 2], [30, 40, 100])  # 2: controls
    depth = np.exp(rng.normal(8, 0.5, 170) + 0.4 * (group == 1))
    depth[:30] = np.exp(rng.normal(8, 1.5, 30))
    shift, pvalue = depth_test(depth, plan_of(group, np.zeros(170, dtype=int)))
    log, control = np.log(depth), group == 2
    for g in (0, 1):
        welch = stats.ttest_ind(log[group == g], log[control], equal_var=False)
        assert pvalue[g] == pytest.approx(welch.pvalue, rel=1e-9)
        gap = log[group == g].mean() - log[control].mean()
        assert shift[g] == pytest.approx(gap / log[control].std(ddof=1), rel=1e-9)


def test_strata_of_different_depth_are_no_imbalance(rng):
    """No difference within strata, strata far apart and unevenly mixed: p-values are uniform."""
    n_groups, each = 400, 24
    stratum = np.r_[
        rng.random(n_groups * each) < np.repeat(rng.random(n_groups), each), np.arange(300) % 2 == 0
    ]
    group = np.r_[np.repeat(np.arange(n_groups), each), np.full(300, n_groups)]
    stratum = stratum.astype(int)
    depth = np.exp(rng.normal(8, np.where(stratum, 0.4, 0.8)) + 2 * stratum)
    shift, pvalue = depth_test(depth, plan_of(group, stratum))
    assert 0.02 < np.mean(pvalue < 0.05) < 0.09
    assert abs(np.mean(shift)) < 0.05


def test_missing_depths_and_single_cells_do_not_count(rng):
    group = np.repeat([0, 1, 2], [1, 20, 60])
    depth = np.exp(rng.normal(8, 0.5, 81))
    depth[1:4] = [np.nan, 0, -3]
    _, pvalue = depth_test(depth, plan_of(group, np.zeros(81, dtype=int)))
    assert np.isnan(pvalue[0])
    welch = stats.ttest_ind(np.log(depth[4:21]), np.log(depth[21:]), equal_var=False)
    assert pvalue[1] == pytest.approx(welch.pvalue)


def test_a_small_group_by_chance_is_not_flagged_and_a_real_difference_is(rng):
    """20 cells miss 0.2 standard deviations by chance one time in three; twice the depth is found."""
    adata = screen()
    adata.obs["umis"] = np.exp(rng.normal(8, 0.5, adata.n_obs))
    deep = (adata.obs["target"] == "g3").to_numpy()
    adata.obs.loc[adata.obs_names[deep], "umis"] *= 2
    sh.tl.coherence(adata, use_rep="X", depth_key="umis")
    table = adata.uns["coherence"]["table"]
    assert table.index[table["flags"].str.contains("depth_imbalance")].tolist() == ["g3"]
    assert (table["depth_shift"].abs() > 0.2).sum() > 1
    assert table.loc["g3", "depth_qvalue"] < 1e-3


def test_the_depth_that_prepare_scaled_by_is_looked_at(rng):
    adata = screen()
    deep = (adata.obs["target"] == "g3").to_numpy()
    adata.obs.loc[adata.obs_names[deep], "depth"] *= 3
    sh.pp.prepare(adata, layer="counts", normalize="log1p", depth_key="depth", n_comps=5)
    sh.tl.coherence(adata)
    assert "depth_imbalance" in adata.uns["coherence"]["table"].loc["g3", "flags"]


@pytest.mark.parametrize("one", ["exclude", "genes", "representation"])
@pytest.mark.parametrize("function", [sh.tl.coherence, sh.tl.coherence_null])
def test_one_feature_has_no_directions(function, one):
    adata = screen()
    options = {"use_rep": "X"}
    if one == "exclude":
        if function is sh.tl.coherence_null:
            return
        adata, options["exclude"] = adata[:, :12].copy(), "targets"
        assert sum(gene not in set(adata.obs["target"]) for gene in adata.var_names) == 1
    elif one == "genes":
        adata = adata[:, :1].copy()
    else:
        adata.obsm["one"], options["use_rep"] = adata.obsm["rep"][:, :1], "one"
    with pytest.raises(ValueError, match="1 features.*takes at least 2 features"):
        function(adata, **options)
    assert "coherence" not in adata.uns
    if one == "representation":
        sh.tl.distance(adata, use_rep="one")  # needs no direction
