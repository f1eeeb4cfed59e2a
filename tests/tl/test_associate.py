"""tl.associate on AnnData: scores, the three methods, what is excluded and said, calibration from cells to p-value."""

from __future__ import annotations

import os
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from mudata import MuData
from scipy import sparse

import shoal as sh
from shoal.core._gene_sets import read_gene_sets
from shoal.core._results import write_table
from shoal.metrics import partial_association
from shoal.metrics._association import raw_partial

FAST = {"method": "spline", "n_perms": 99, "rng": 0}


@pytest.fixture
def screen(rng):
    """30 perturbations of 20 cells and 60 controls in two batches, 12 genes, and a coherence result made by hand."""
    names = [f"P{i:02d}" for i in range(28)] + ["g0", "g1+g2"]
    label = np.array(["control"] * 60 + names * 20)
    batch = rng.choice(["b0", "b1"], len(label))
    x = rng.gamma(2, 0.4, (len(label), 12)) + (batch == "b1")[:, None]
    adata = ad.AnnData(sparse.csr_matrix(x * (rng.random(x.shape) < 0.5)))
    adata.var_names = [f"g{i}" for i in range(12)]
    adata.obs_names = [f"c{i}" for i in range(len(label))]
    adata.obs = pd.DataFrame(
        {"perturbation": label, "batch": batch, "stress": rng.normal(size=len(label))},
        adata.obs_names,
    )
    sh.pp.annotate(adata, "perturbation", control="control", batch_key="batch")
    adata.var["highly_variable"] = np.arange(12) >= 4
    table = pd.DataFrame({"n_cells": 20, "magnitude": rng.normal(1, 0.5, 30)}, index=sorted(names))
    table["residual_z"], table["coherence_plugin"] = rng.normal(size=(2, 30))
    table["magnitude_plugin"] = table["magnitude"] ** 2 + 0.1
    record(adata, table)
    return adata


def record(adata, table, **params):
    given = {
        "perturbation_key": "perturbation",
        "control": "control",
        "use_rep": "X_pca",
        "strata": "batch",
    }
    write_table(
        adata, "coherence", table, schema="coherence/1", params=given | {"min_cells": 20} | params
    )


def by_hand(adata, values):
    """Mean per perturbation of values centred at the controls of each batch."""
    frame = adata.obs.assign(v=values)
    control = frame[frame["perturbation"] == "control"].groupby("batch")["v"].mean()
    frame["v"] -= frame["batch"].map(control).astype(float)
    return frame[frame["perturbation"] != "control"].groupby("perturbation")["v"].mean()


def result(adata, key="association"):
    return adata.uns[key]["table"]


def shifts(adata, score):
    scores = adata.uns["association"]["scores"]
    return scores.loc[scores["score"] == score, "shift"]


def test_columns_are_held_against_the_controls_of_their_batch(screen):
    screen.obs["stress"] += 5.0 * (screen.obs["batch"] == "b1")
    sh.tl.associate(screen, "stress", **FAST)
    expected = by_hand(screen, screen.obs["stress"])
    pd.testing.assert_series_equal(
        shifts(screen, "stress"), expected, check_names=False, check_index_type=False
    )


def test_equals_the_pure_functions(screen):
    table = screen.uns["coherence"]["table"]
    screen.obs["depth"] = np.arange(screen.n_obs)
    sh.tl.associate(screen, "stress", covariates="depth", **FAST)
    stress, depth = (
        by_hand(screen, screen.obs[k]).to_numpy()[:, None] for k in ("stress", "depth")
    )
    found = partial_association(
        table["residual_z"].to_numpy(),
        stress,
        magnitude=table["magnitude"].to_numpy(),
        covariates=depth,
        n_perms=99,
        rng=np.random.default_rng(0).spawn(2)[1],
    )
    row = result(screen).loc["stress"]
    for name in ("association", "se", "ci_low", "ci_high", "pvalue"):
        assert row[name] == pytest.approx(getattr(found, name)[0])
    sh.tl.associate(screen, "stress", method="raw_partial")
    raw = raw_partial(
        table["coherence_plugin"].to_numpy(), stress, magnitude=table["magnitude_plugin"].to_numpy()
    )
    assert result(screen).loc["stress", "association"] == pytest.approx(raw.association[0])
    assert screen.uns["association"]["params"]["n_perms"] == 0


def test_gene_sets_without_the_target_itself(screen):
    with pytest.warns(UserWarning, match="are among the features"):
        sh.tl.associate(screen, gene_set={"s/1": ["g0", "g1", "g5"], "t": ["g2", "nope"]}, **FAST)
    dense = screen.X.toarray()
    found, expected = shifts(screen, "s/1"), by_hand(screen, dense[:, [0, 1, 5]].mean(axis=1))
    others = [n for n in expected.index if n.startswith("P")]
    np.testing.assert_allclose(found[others], expected[others])
    assert found["g0"] == pytest.approx(by_hand(screen, dense[:, [1, 5]].mean(axis=1))["g0"])
    assert found["g1+g2"] == pytest.approx(by_hand(screen, dense[:, [0, 5]].mean(axis=1))["g1+g2"])
    assert np.isnan(shifts(screen, "t")["g1+g2"]), "no gene of the set is left"
    assert result(screen)["n"].to_dict() == {"s/1": 30, "t": 29}
    assert result(screen)["n_genes_used"].to_dict() == {"s/1": 3, "t": 1}
    assert result(screen)["overlap"].to_dict() == {"s/1": 1, "t": 0}


@pytest.mark.parametrize("kind", ["csc", "dense", "dask", "backed"])
def test_every_kind_of_matrix_gives_the_same(screen, kind, tmp_path):
    genes = ["g0", "g3"]
    sh.tl.associate(screen, gene_set=genes, **FAST)
    first = screen.uns.pop("association")["table"]
    if kind == "backed":
        screen.write_h5ad(tmp_path / "x.h5ad")
        screen = ad.read_h5ad(tmp_path / "x.h5ad", backed="r")
    elif kind == "dask":
        import dask.array as da

        screen.X = da.from_array(screen.X.toarray(), chunks=(100, 5))
    else:
        screen.X = screen.X.tocsc() if kind == "csc" else screen.X.toarray()
    sh.tl.associate(screen, gene_set=genes, **FAST)
    pd.testing.assert_frame_equal(result(screen), first)


def test_genes_that_are_not_there(screen, caplog):
    with caplog.at_level("INFO", logger="shoal"):
        sh.tl.associate(screen, gene_set={"a": ["g0", "HSPA5"], "b": ["ATF4"]}, **FAST)
    assert "a: 1 of 2 genes are not in adata.var_names: HSPA5" in caplog.text
    assert "b is left out: none of its 1 genes is in adata.var_names" in caplog.text
    assert list(result(screen).index) == ["a"]
    with pytest.raises(
        ValueError, match=r"no gene of 1 gene set\(s\) is in adata.var_names.*'b' holds ATF4"
    ):
        sh.tl.associate(screen, gene_set={"b": ["ATF4"]}, **FAST)


def test_circularity_is_told_with_the_call_that_mends_it(screen):
    table = screen.uns["coherence"]["table"]
    with pytest.warns(
        UserWarning, match=r"gene_set \(2 of 3\) .*sh\.pp\.prepare\(adata, exclude=genes\)"
    ):
        sh.tl.associate(screen, gene_set=["g3", "g4", "g5"], **FAST)
    screen.varm["PCs"] = np.eye(12)[:, :4]
    sh.tl.associate(screen, gene_set=["g4", "g5"], **FAST)
    assert result(screen)["overlap"].to_list() == [0], "the loadings say which genes the PCA used"
    record(screen, table, use_rep="X", exclude=["g4", "g5"])
    sh.tl.associate(screen, gene_set=["g4", "g5"], **FAST)
    with pytest.warns(UserWarning, match=r"sh\.tl\.coherence\(adata, use_rep='X', exclude=genes\)"):
        sh.tl.associate(screen, gene_set=["g3", "g5"], **FAST)
    record(screen, table, use_rep="X_scVI")
    sh.tl.associate(screen, "stress", gene_set=["g3"], **FAST)
    assert result(screen)["overlap"].isna().all()


def test_untested_perturbations_are_left_out(screen, caplog):
    table = screen.uns["coherence"]["table"]
    table.loc["P00", "n_cells"] = 19
    table.loc["P01", "residual_z"] = np.nan
    table = table.drop(index="P02")
    record(screen, table)
    with caplog.at_level("INFO", logger="shoal"):
        sh.tl.associate(screen, "stress", **FAST)
    assert result(screen).loc["stress", "n"] == 27
    assert "3 of 30 perturbations were not tested" in caplog.text
    table["residual_z"] = np.nan
    record(screen, table)
    with pytest.raises(ValueError, match=r"call sh\.tl\.coherence\(adata\) again"):
        sh.tl.associate(screen, "stress", **FAST)


def test_combinations_that_share_a_part_are_told(screen, caplog):
    screen.obs["perturbation"] = screen.obs["perturbation"].replace({"P00": "g1"})
    table = screen.uns["coherence"]["table"].rename(index={"P00": "g1"})
    record(screen, table)
    sh.tl.associate(screen, "stress", **FAST)
    assert "1 combinations share a part with another perturbation" in caplog.text


def test_correction_is_over_scores(screen, rng):
    keys = [f"s{i}" for i in range(4)]
    for key in keys:
        screen.obs[key] = rng.normal(size=screen.n_obs)
    sh.tl.associate(screen, keys, correction="bonferroni", key_added="other", **FAST)
    table = result(screen, "other")
    assert list(table.index) == keys
    np.testing.assert_allclose(table["qvalue"], np.minimum(table["pvalue"] * 4, 1))
    assert list(table.columns) == (
        [
            "n",
            "association",
            "se",
            "ci_low",
            "ci_high",
            "pvalue",
            "qvalue",
            "n_genes_used",
            "overlap",
        ]
    )


def test_refusals_leave_nothing(screen):
    before = set(screen.uns)
    screen.obs["words"], screen.obs["holes"], screen.obs["g"] = "x", np.nan, 1.0
    raw = screen.copy()
    raw.X = raw.X.ceil()
    for adata, kwargs, error, message in (
        (screen, {}, ValueError, "nothing to score"),
        (screen, {"score": "stres"}, KeyError, "Did you mean 'stress'"),
        (screen, {"score": "words"}, ValueError, "is not numeric"),
        (screen, {"score": "holes"}, ValueError, "missing or infinite for 660 cells"),
        (screen, {"score": "stress", "covariates": "holes"}, ValueError, "covariates: adata.obs"),
        (
            screen,
            {"score": "g", "gene_set": {"g": ["g1"]}},
            ValueError,
            "both a column of adata.obs and a gene set",
        ),
        (screen, {"score": "g", "method": "ols"}, ValueError, "method='ols' is not known"),
        (
            screen,
            {"score": "g", "correction": "none"},
            ValueError,
            "correction='none' is not known",
        ),
        (screen, {"score": "g", "n_perms": 0}, ValueError, "n_perms must be a whole number"),
        (
            screen,
            {"score": "g", "coherence_key": "x"},
            KeyError,
            r"Call sh\.tl\.coherence\(adata\) first",
        ),
        (
            screen,
            {"score": "g", "covariates": "g", "method": "raw_partial"},
            ValueError,
            "takes no covariates",
        ),
        (
            raw,
            {"gene_set": ["g1"]},
            ValueError,
            "raw counts; a gene-set score is a mean of log-normalised",
        ),
    ):
        with pytest.raises(error, match=message):
            sh.tl.associate(adata, **kwargs)
    assert set(screen.uns) == before


def test_survives_a_file_and_a_view_and_mudata(screen, tmp_path):
    view = screen[screen.obs["batch"] == "b0"]
    record_strata = {**view.uns["coherence"]["params"]}
    assert record_strata["strata"] == "batch"
    sh.tl.associate(view, "stress", **FAST)
    assert not view.is_view
    assert "association" not in screen.uns
    mdata = MuData(
        {"rna": screen, "adt": ad.AnnData(np.ones((screen.n_obs, 1)), obs=screen.obs[[]])}
    )
    sh.tl.associate(mdata, "stress", gene_set={"a/b+c": ["g1", "g3"]}, mod="rna", **FAST)
    screen.write_h5ad(tmp_path / "x.h5ad")
    again = ad.read_h5ad(tmp_path / "x.h5ad")
    pd.testing.assert_frame_equal(result(again), result(screen))
    assert again.uns["association"]["params"] == screen.uns["association"]["params"]


def gaussian(seed, tails="normal", kinds="shift", n=100):
    """Simulate a screen whose score is a convex function of true magnitude, almost without noise of its own."""
    rng = np.random.default_rng(seed)
    adata = sh.ds.simulate_gaussian(
        n_perturbations=n,
        n_cells=40,
        n_control=600,
        n_dims=20,
        effects=kinds,
        magnitude=rng.uniform(0.05, 0.9, n),
        spectrum="decay",
        tails=tails,
        rng=rng,
    )
    truth = adata.uns["truth"]["table"]
    own = truth["magnitude"] ** 2 / truth["magnitude"].mean() ** 2 + 0.05 * rng.normal(size=n)
    own += 0.7 * (truth["kind"] == "penetrance")
    cells = adata.obs["perturbation"].astype(str).map(own.to_dict()).fillna(0).to_numpy(dtype=float)
    adata.obs["stress"] = cells + 0.2 * rng.normal(size=adata.n_obs)
    sh.tl.coherence(adata)
    return adata


@pytest.mark.slow
def test_calibrated_from_cells_to_p_value():
    """Heavy-tailed translations, nothing to find: cross-fitting holds its level, shared cells do not, nor the published."""
    rejected = {"crossfit": 0, "spline": 0, "raw_partial": 0}
    for seed in range(60):
        adata = gaussian(seed, tails="t5")
        for method in rejected:
            sh.tl.associate(adata, "stress", method=method, n_splits=2, n_perms=199, rng=seed)
            rejected[method] += result(adata).loc["stress", "pvalue"] < 0.05
    assert rejected["crossfit"] <= 8, "60 tests at 5 %: more than 8 has probability 0.003"
    assert rejected["spline"] > 10
    assert rejected["raw_partial"] > 54


@pytest.mark.slow
def test_finds_what_is_there():
    """Stress where only a part of the cells responds: incoherent beyond magnitude."""
    found = []
    for seed in range(10):
        adata = gaussian(seed, kinds=["shift", "penetrance"])
        sh.tl.associate(adata, "stress", n_splits=2, n_perms=199, rng=seed)
        found.append(result(adata).loc["stress"])
    assert sum(row["pvalue"] < 0.05 for row in found) >= 8
    assert all(row["association"] < 0 for row in found)


def test_crossfit_does_not_depend_on_row_order_or_blocks(monkeypatch, rng):
    adata = gaussian(1, n=20)
    shuffled = adata[rng.permutation(adata.n_obs)].copy()
    options = {"n_splits": 2, "n_perms": 99, "rng": 4}
    sh.tl.associate(adata, "stress", **options)
    sh.tl.associate(shuffled, "stress", **options)
    pd.testing.assert_frame_equal(result(adata), result(shuffled))
    first = result(adata)
    monkeypatch.setattr(sh.settings, "block_bytes", 5000)
    sh.tl.associate(adata, "stress", **options)
    pd.testing.assert_frame_equal(result(adata), first)


def test_crossfit_measures_what_coherence_measured(monkeypatch):
    """The matrix, the genes left out, the strata and the depth of the coherence result are used again."""
    adata = sh.ds.simulate(n_perturbations=20, n_cells=30, n_control=200, n_genes=60, rng=0)
    sh.pp.prepare(adata, normalize="log1p", n_comps=5)
    seen = []
    import shoal.tl._crossfit as module

    def spy(rows, plan, **kwargs):
        seen.append(
            (rows.shape[1], plan.n_strata, plan.basis.shape[1], int((plan.group >= 0).sum()))
        )
        return real(rows, plan, **kwargs)

    real = module.measure
    monkeypatch.setattr(module, "measure", spy)
    genes = list(adata.var_names[:7])
    sh.tl.coherence(adata, use_rep="X", exclude=genes, strata="batch", depth_key="total_counts")
    sh.tl.associate(adata, gene_set=genes, n_splits=1, n_perms=9, rng=0)
    assert [s[:3] for s in seen] == [(53, 2, 4)] * 2
    assert sum(s[3] for s in seen) == adata.n_obs
    assert result(adata).loc["gene_set", "overlap"] == 0


def test_real_screen(read_real):
    adata = read_real("papalexi21_sceptre_lowmoi.h5ad")
    adata = adata[adata.obs["guide_confident"].to_numpy()].copy()
    sh.pp.annotate(adata, "perturbation", control="non-targeting", batch_key="bio_rep")
    hallmark = read_gene_sets(real_gmt())
    sets = {
        n: g
        for n in ("INTERFERON_GAMMA_RESPONSE", "P53_PATHWAY")
        for g in [hallmark[f"HALLMARK_{n}"]]
    }
    inside = [g for genes in sets.values() for g in genes]
    sh.pp.prepare(adata, normalize="log1p", exclude=inside, n_comps=20)
    sh.tl.coherence(adata)
    sh.tl.associate(adata, "total_counts", gene_set=sets, n_splits=2, n_perms=199, rng=0)
    table = result(adata)
    assert (table["n"] == 25).all()
    assert (table["overlap"].dropna() == 0).all()
    assert table["n_genes_used"].to_list() == [0, 10, 6]
    assert table["association"].between(-1, 1).all()
    response = shifts(adata, "INTERFERON_GAMMA_RESPONSE")
    assert {"IRF1", "IFNGR2"} <= set(response.nsmallest(5).index), (
        "knock-outs of the pathway lower its genes"
    )
    assert (response[["BRD4", "STAT5A", "ATF2", "CAV1"]].abs() < 0.05).all()


def real_gmt():
    shared = Path(__file__).parents[3] / "shared" / "data"
    path = Path(os.environ.get("SHOAL_DATA_DIR", shared)) / "genesets" / "h.all.v6.2.symbols.gmt"
    if not path.exists():
        pytest.skip(f"real data absent: {path} (set SHOAL_DATA_DIR to the folder that holds it)")
    return path
