"""tl.evaluate from end to end: what it writes, that it survives files, and what the numbers say of known answers."""

from __future__ import annotations

import anndata as ad
import mudata as md
import numpy as np
import pandas as pd
import pytest

import shoal as sh
from shoal.metrics._suite import SUITE

from ..helpers import dense
from .tasks import FEW, TWINS, evaluated, give, held_out, screen

SUMMARY = [
    "family", "direction", "perfect", "value", "positive", "negative", "negative_control", "ceiling", "drf", "bds", "discriminates", "reference",
    "reference_value", "best_baseline", "best_value", "skill", "skill_low", "skill_high", "n", "n_missing",
]  # fmt: skip
ALWAYS = [name for name, metric in SUITE.items() if not metric.on_request]
CONTROLS = ["prediction", "positive control", "negative control", "control copy"]


@pytest.fixture(scope="module")
def whole():
    """A screen with everything written: all metrics, all baselines."""
    adata = screen()
    sh.tl.evaluate(adata, prediction=TWINS, n_comps=8, n_draws=2)
    return adata


@pytest.fixture
def entry(whole):
    return whole.uns["evaluation"]


# -- what is written -------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_nothing_but_one_slot_is_written(whole):
    before = screen()
    for slot in ("obs", "var", "layers", "obsm", "varm"):
        assert set(getattr(whole, slot)) == set(getattr(before, slot))
    assert set(whole.uns) == set(before.uns) | {"evaluation"}
    np.testing.assert_array_equal(dense(whole.X), dense(before.X))
    np.testing.assert_array_equal(dense(whole.layers[TWINS]), dense(before.layers[TWINS]))


def test_the_entry_has_its_parts(entry):
    tables = {"table", "conditions", "summary", "contenders", "scores", "strata", "missing"}
    assert set(entry) == tables | {"params", "schema", "version"}
    assert entry["schema"] == "evaluation/1"
    assert entry["version"] == sh.__version__


def test_table_and_conditions(entry, whole):
    names = sorted(whole.obs.loc[held_out(whole), "perturbation"].unique())
    table, conditions = entry["table"], entry["conditions"]
    assert sorted(table.index) == names
    assert list(table.columns) == [name for name in ALWAYS if SUITE[name].per == "condition"]
    assert (table.dtypes == np.float64).all()
    assert list(conditions.index) == list(table.index)
    assert set(conditions["effect_stratum"]) == {"weak", "medium", "strong"}
    assert set(conditions["coherence_stratum"]) == {"low", "medium", "high"}
    assert (conditions["n_real"] == 20).all()
    assert (conditions["n_predicted"] == 20).all()
    assert conditions["n_de"].between(1, whole.n_vars).all()
    mean = conditions.groupby("effect_stratum")["real_energy"].mean()
    assert mean["weak"] < mean["medium"] < mean["strong"]


def test_summary(entry):
    summary = entry["summary"]
    assert list(summary.index) == ALWAYS
    assert list(summary.columns) == SUMMARY
    assert summary["discriminates"].dtype == bool
    has = summary["n"] > 0
    assert summary.loc[has, ["value", "positive", "drf", "bds", "skill"]].notna().all(axis=None)
    assert summary.loc[has, "bds"].between(0, 1).all()
    correlations = [name for name in ALWAYS if SUITE[name].correlation]
    known = summary.loc[correlations].dropna(subset="ceiling")
    assert summary["ceiling"].drop(correlations).isna().all()
    assert "pearson_delta" in known.index
    assert (known["ceiling"] >= known["positive"] - 1e-12).all()  # more cells correlate better
    assert summary["skill"].dropna().between(-1, 1).all()
    several = summary["skill_low"].notna()
    assert (summary.loc[several, "skill_low"] <= summary.loc[several, "skill_high"]).all()
    per_condition = [SUITE[name].per == "condition" for name in summary.index]
    assert (
        summary.loc[per_condition, ["n", "n_missing"]].sum(axis=1) == len(entry["conditions"])
    ).all()


def test_means_agree_between_tables(entry):
    summary, contenders, table, scores = (
        entry[k] for k in ("summary", "contenders", "table", "scores")
    )
    for name in table:
        assert summary.loc[name, "value"] == pytest.approx(table[name].mean(), nan_ok=True)
    long = scores.groupby(["contender", "metric"])["value"].mean()
    for who in contenders.index:
        for name in ALWAYS:
            assert contenders.loc[who, name] == pytest.approx(long[who, name], nan_ok=True)
        own = contenders.loc[who, summary.index[summary["discriminates"]]]
        assert own.notna().any()
    assert entry["params"]["score"] == contenders.loc["prediction", "score"]
    assert (contenders["harm"] >= 0).all()
    row = summary.loc["energy"]
    assert row["positive"] == contenders.loc["positive control", "energy"]
    assert row["negative"] == contenders.loc["negative control", "energy"]
    assert row["best_value"] == contenders.loc[row["best_baseline"], "energy"]


def test_contenders_are_the_prediction_the_controls_and_the_baselines(entry):
    names = list(entry["contenders"].index)
    assert names[:4] == CONTROLS
    further = ", ".join(entry["contenders"]["same_as"]).split(", ")
    tried = entry["params"]["baselines"].split(",")
    assert names[4:] == [name for name in tried if name not in further]
    assert set(tried) == {*names[4:], *filter(None, further)}
    assert "mean_shift" in names
    best, reference = (entry["params"][name] for name in ("best_baseline", "reference"))
    assert entry["contenders"].loc[best, "score_best"] == 0
    assert (entry["contenders"].loc[[*names[3:]], "score_best"] <= 0).all()
    assert reference == "mean_shift"  # whole perturbations are held out
    assert entry["contenders"].loc[reference, ["score", "score_low", "score_high"]].eq(0).all()
    assert (entry["summary"]["reference"] == reference).all()


def test_the_same_model_fitted_again_is_a_contender_of_about_the_same_values(entry):
    """The twins are those of mean_shift, which is among the baselines; the controls they start from are drawn anew."""
    ours, theirs = entry["contenders"].loc["prediction"], entry["contenders"].loc["mean_shift"]
    assert ours["pearson_delta"] == pytest.approx(theirs["pearson_delta"], abs=0.1)
    assert ours["energy"] == pytest.approx(theirs["energy"], rel=0.2)


def test_strata_are_means_over_their_conditions(entry):
    strata, conditions, table = entry["strata"], entry["conditions"], entry["table"]
    own = strata[(strata["contender"] == "prediction") & (strata["metric"] == "energy")].set_index(
        "stratum"
    )
    for kind, column in (("effect", "effect_stratum"), ("coherence", "coherence_stratum")):
        for level, part in table["energy"].groupby(conditions[column]):
            assert own.loc[f"{kind} {level}", "value"] == pytest.approx(part.mean())
            assert own.loc[f"{kind} {level}", "n"] == len(part)


def test_every_missing_value_has_a_reason(entry):
    scores, missing = entry["scores"], entry["missing"]
    absent = scores[scores["value"].isna()][["contender", "condition", "metric"]]
    listed = missing[(missing["condition"] != "(all)")][["contender", "condition", "metric"]]
    assert len(absent) > 0
    assert set(map(tuple, absent.to_numpy())) == set(map(tuple, listed.to_numpy()))
    assert (missing["reason"].str.len() > 0).all()
    refused = missing[missing["metric"] == "(all)"]
    assert "additive" in set(refused["contender"])  # there are no combinations


@pytest.mark.slow
def test_survives_h5ad_and_zarr(whole, tmp_path):
    whole.write_h5ad(tmp_path / "a.h5ad")
    whole.write_zarr(tmp_path / "a.zarr")
    for back in (ad.read_h5ad(tmp_path / "a.h5ad"), ad.read_zarr(tmp_path / "a.zarr")):
        entry = back.uns["evaluation"]
        for name, table in whole.uns["evaluation"].items():
            if isinstance(table, pd.DataFrame):
                pd.testing.assert_frame_equal(
                    entry[name].astype(table.dtypes),
                    table,
                    check_index_type=False,
                    check_names=False,
                )
        assert entry["params"] == whole.uns["evaluation"]["params"]


def test_names_with_slashes_contexts_and_doses_survive(tmp_path):
    adata = screen(contexts=2)
    adata.obs["perturbation"] = (
        adata.obs["perturbation"].astype(str).replace({"P01": "C/D", "P02": "E:F|G"})
    )
    adata.obs["dose"] = np.where(adata.obs["perturbation"] == "control", 0.0, 0.1)
    sh.pp.annotate(adata, "perturbation", control="control", context_key="context", dose_key="dose")
    adata.obs["split"] = np.where(adata.obs["perturbation"].isin(["C/D", "E:F|G"]), "test", "train")
    adata.obs[TWINS + "_predicted"] = True
    adata.layers[TWINS] = adata.X.copy()
    entry = evaluated(adata, split="test", baselines=["mean_shift"], metrics=["energy", "pds_l2"])
    assert sorted(entry["table"].index) == [
        "C/D | context1 | 0.1", "C/D | context2 | 0.1", "E:F|G | context1 | 0.1", "E:F|G | context2 | 0.1",
    ]  # fmt: skip
    adata.write_h5ad(tmp_path / "a.h5ad")
    back = ad.read_h5ad(tmp_path / "a.h5ad").uns["evaluation"]
    assert list(back["table"].index) == list(entry["table"].index)
    assert set(back["conditions"]["context"]) == {"context1", "context2"}
    assert set(back["conditions"]["dose"]) == {"0.1"}


def test_a_modality_of_a_mudata(whole):
    mdata = md.MuData({"rna": screen(), "adt": ad.AnnData(np.zeros((3, 1)))})
    sh.tl.evaluate(
        mdata,
        prediction=TWINS,
        metrics=FEW,
        baselines=None,
        n_comps=8,
        n_draws=1,
        mod="rna",
        key_added="second",
    )
    alone = evaluated(screen())
    pd.testing.assert_frame_equal(mdata["rna"].uns["second"]["table"], alone["table"])
    assert "evaluation" not in mdata["rna"].uns
    with pytest.raises(ValueError, match="say which modality"):
        sh.tl.evaluate(mdata, prediction=TWINS)


# -- what the numbers say of known answers -----------------------------------------------------------------------------


def test_the_real_cells_as_prediction_score_as_the_positive_control():
    """The twins of the first half are then the first half itself: a second experiment."""
    adata = screen()
    give(adata, dense(adata.X))
    entry = evaluated(adata, metrics=None, baselines=["mean_shift"])
    both = entry["contenders"].loc[["prediction", "positive control"]]
    pd.testing.assert_series_equal(both.iloc[0], both.iloc[1], check_names=False)
    summary = entry["summary"]
    assert entry["params"]["score"] == pytest.approx(1)
    assert summary.loc[summary["discriminates"], "skill"].median() == 1


def test_fresh_cells_of_the_truth_have_skill_near_one():
    """Half of the cells are kept aside as the prediction of the others: no cell is in both."""
    adata = screen(sizes=(80,) * 10)
    own = adata.obs.groupby("perturbation", observed=True).cumcount().to_numpy()
    second = held_out(adata) & (own % 2 == 1)
    pred, rest = adata[second].copy(), adata[~second].copy()
    sh.tl.evaluate(rest, prediction=pred, metrics=FEW, baselines=["mean_shift"], n_comps=8)
    params = rest.uns["evaluation"]["params"]
    assert params["score"] == pytest.approx(1, abs=0.1)
    assert params["score_low"] < 1 < params["score_high"]
    assert rest.uns["evaluation"]["params"]["prediction"] == "AnnData"


def test_a_mean_shift_is_far_below_a_second_experiment(entry):
    assert entry["params"]["score"] < 0.3
    assert entry["contenders"].loc["positive control", "score"] == 1
    assert entry["contenders"].loc["negative control", "score"] < 0
    assert entry["contenders"]["score"].idxmax() == "positive control"


def test_vectors_let_more_baselines_predict_what_is_new():
    adata = sh.ds.simulate(n_perturbations=8, n_cells=40, n_control=150, n_genes=60, rng=0)
    sh.pp.annotate(adata, "perturbation", control="control")
    sh.pp.split(adata, by="perturbation", test=0.25, rng=0)
    sh.pp.prepare(adata, normalize="log1p", fit_on="train", n_comps=8)
    sh.tl.predict(adata, sh.tl.fit(adata, "mean_shift"), key_added="twins", subset="test")
    names = [name for name in adata.obs["perturbation"].cat.categories if name != "control"]
    vectors = pd.DataFrame(np.random.default_rng(0).normal(size=(8, 3)), index=names)
    asked = {
        "prediction": "twins",
        "metrics": ["energy"],
        "n_comps": 8,
        "baselines": ["mean_shift", "kernel_ridge"],
    }
    for embedding, known in ((None, "mean_shift"), (vectors, "mean_shift,kernel_ridge")):
        sh.tl.evaluate(adata, **asked, embedding=embedding)
        params = adata.uns["evaluation"]["params"]
        assert params["baselines"] == known
        assert params["embedding"] == ("" if embedding is None else "table")
        assert params["context_embedding"] == ""


@pytest.mark.slow
def test_baselines_are_told_the_vectors_of_contexts():
    """Lines look alike; their vectors alone say that the new one responds as `c` and `d` do."""
    rng = np.random.default_rng(0)
    response = {"a": 1.0, "b": 1.0, "c": -1.0, "d": -1.0, "new": -1.0}
    rows = [(n, line) for line in response for n in ("control", "P1", "P2") for _ in range(40)]
    obs = pd.DataFrame(rows, columns=["perturbation", "line"]).rename(index=str)
    shift = obs["line"].map(response).where(obs["perturbation"] != "control", 0.0)
    adata = ad.AnnData(rng.normal(size=(len(obs), 20)) + 3 * shift.to_numpy()[:, None], obs=obs)
    sh.pp.annotate(adata, "perturbation", control="control", context_key="line")
    sh.pp.split(adata, by="context", test=["new"], zero_shot=True)
    vectors = pd.DataFrame({"v": [9.0, 8.0, 1.0, 2.0, 0.0]}, index=list(response))
    told = sh.tl.fit(adata, "nearest_context", context_embedding=vectors)
    sh.tl.predict(adata, told, key_added="told", subset="test")
    asked = {"prediction": "told", "metrics": ["rmse"], "n_comps": 8, "n_draws": 1}
    asked["overwrite"] = True
    names = ["context_weighted", "nearest_context"]
    sh.tl.evaluate(adata, **asked, baselines=names, context_embedding=vectors)
    assert adata.uns["evaluation"]["params"]["context_embedding"] == "table"
    assert adata.uns["perturbation_predictions"]["table"]["context_embedding"]["told"] == "table"
    found = adata.uns["evaluation"]["contenders"]["rmse"]
    assert found["nearest_context"] == pytest.approx(found["prediction"], abs=0.05)
    assert (found[names] < 1).all()
    sh.tl.evaluate(adata, **asked, baselines=names)
    untold = adata.uns["evaluation"]["contenders"]["rmse"]
    assert untold["context_weighted"] > 2
    inner = {"baselines": ["own_shift"], "reference": "validation"}
    sh.tl.evaluate(adata, **asked, **inner, context_embedding=vectors)
    assert adata.uns["evaluation"]["params"]["reference"] in names
    with pytest.raises(KeyError, match="embed_contexts"):
        sh.tl.evaluate(adata, **asked, context_embedding="nothing")
    with pytest.raises(TypeError, match="context_embedding"):
        sh.tl.evaluate(adata, **asked, context_embedding=3)
