"""The suite `vcc2026` through `tl.evaluate`: cells, layers, files, contexts, and what it refuses."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import shoal as sh
from shoal.metrics._external_vcc2026 import RULES

KEY, CONTROL = "perturbation", "control"


def table_of(x, labels, genes, **columns):
    obs = pd.DataFrame({KEY: pd.Categorical(labels), **columns})
    obs.index = [f"c{i}" for i in range(len(obs))]
    return ad.AnnData(
        sparse.csr_matrix(x, dtype=np.float32), obs=obs, var=pd.DataFrame(index=genes)
    )


def made(n_targets=4, contexts=("",), seed=0):
    """A screen of counts with strong effects, and a prediction of half of each."""
    rng, n_genes, parts = np.random.default_rng(seed), 60, []
    genes = np.array([f"g{i:02}" for i in range(n_genes)])
    for context in contexts:
        label = rng.permutation(np.repeat(np.arange(n_targets + 1), [30] * n_targets + [90]))
        fold = np.where(
            rng.random((n_targets + 1, n_genes)) < 0.5,
            rng.lognormal(0, 1, (n_targets + 1, n_genes)),
            1,
        )
        fold[-1], fold[np.arange(n_targets), np.arange(n_targets)] = 1, 0.1
        level, depth = rng.gamma(2, 15, n_genes), rng.gamma(8, 0.125, (len(label), 1))
        names = np.append(genes[:n_targets], CONTROL)[label]
        parts.append([(level * fold[label] ** p * depth, names, context) for p in (1, 0.5)])
    screens = []
    for which in (0, 1):
        rates, names, contexts_ = zip(*(part[which] for part in parts), strict=True)
        column = np.repeat(contexts_, [len(own) for own in names])
        x = rng.poisson(np.concatenate(rates))
        screens.append(table_of(x, np.concatenate(names), genes, context=column))
    several = {"context_key": "context"} if len(contexts) > 1 else {}
    sh.pp.annotate(screens[0], KEY, control=CONTROL, **several)
    return screens


@pytest.fixture(scope="module")
def pair():
    return made()


def judged(adata, prediction, **options):
    """Return the result for a copy of the screen."""
    adata = adata.copy()
    sh.tl.evaluate(adata, prediction=prediction, suite="vcc2026", **options)
    return adata.uns["evaluation"]


def test_tables_of_the_common_form_that_survive_a_file(pair, tmp_path):
    adata, pred = pair[0].copy(), pair[1]
    sh.tl.evaluate(adata, prediction=pred, suite="vcc2026")
    adata.write_h5ad(tmp_path / "x.h5ad")
    entry = ad.read_h5ad(tmp_path / "x.h5ad").uns["evaluation"]
    assert list(entry["summary"].index) == list(RULES)
    assert list(entry["contenders"].index) == ["prediction", "mean response", "replicate"]
    score = entry["contenders"]["score"].to_numpy()
    assert score[1:].tolist() == [0, 1]
    assert score[0] == entry["params"]["score"] == pytest.approx(entry["summary"]["skill"].mean())
    assert 0 < score[0] < 1
    assert f"score {score[0]:.3f}" in entry["params"]["verdict"]
    assert entry["conditions"]["target_gene"].tolist() == ["g00", "g01", "g02", "g03"]
    assert (entry["conditions"]["n_real"] == 30).all()
    means = entry["table"].mean()
    for name in set(RULES) & set(means.index):
        assert means[name] == pytest.approx(entry["summary"].loc[name, "value"])
    assert set(entry["scores"]["contender"]) == {"prediction", "mean response"}


def test_a_layer_a_table_and_a_file_are_the_same_prediction(pair, tmp_path):
    adata, pred = pair[0].copy(), pair[1]
    adata.layers["made"] = pred.X.copy()
    pred.write_h5ad(tmp_path / "pred.h5ad")
    layer, table, file = (judged(adata, one) for one in ("made", pred, tmp_path / "pred.h5ad"))
    for other in (table, file):
        pd.testing.assert_frame_equal(layer["table"], other["table"])
        pd.testing.assert_frame_equal(layer["summary"], other["summary"])
    adata.layers["counts"], adata.X = adata.X.copy(), np.log1p(adata.X)
    again = judged(adata, pred, layer="counts")
    pd.testing.assert_frame_equal(again["summary"], layer["summary"])


def test_genes_in_another_order_are_taken_by_name(pair, caplog):
    adata, pred = pair
    order = np.random.default_rng(0).permutation(pred.n_vars)
    with caplog.at_level("INFO"):
        found = judged(adata, pred[:, order].copy())
    assert "genes of the prediction are in another order" in caplog.text
    pd.testing.assert_frame_equal(found["table"], judged(adata, pred)["table"])


def test_a_prediction_without_controls_is_told_of_and_scores_the_same(pair, caplog):
    adata, pred = pair
    with_controls = judged(adata, pred)
    assert "no control cells" not in caplog.text
    found = judged(adata, pred[pred.obs[KEY] != CONTROL].copy())
    assert "the prediction has no control cells" in caplog.text
    pd.testing.assert_frame_equal(found["summary"], with_controls["summary"])


def test_each_context_is_a_panel_of_its_own():
    adata, pred = made(3, ("x", "y"))
    entry = judged(adata, pred)
    rows = entry["contexts"].set_index(["context", "metric"])
    for context in ("x", "y"):
        alone, own = (
            one[(one.obs["context"] == context).to_numpy()].copy() for one in (adata, pred)
        )
        found = judged(alone, own)["contexts"].set_index("metric")
        for name in ("value", "mean_response", "replicate", "scaled"):
            np.testing.assert_allclose(rows.loc[context, name], found[name], rtol=1e-12)
    assert entry["params"]["score"] == pytest.approx(entry["contexts"]["scaled"].mean())
    assert entry["contenders"].loc["replicate", "score"] == 1


def test_held_out_targets_are_the_panel_where_there_is_a_split(pair):
    adata, pred = pair[0].copy(), pair[1]
    adata.obs["split"] = np.where(adata.obs[KEY].isin(["g00", "g01"]), "train", "test")
    found = judged(adata, pred)
    kept = ~adata.obs[KEY].isin(["g00", "g01"]).to_numpy()
    adata.obs["all"] = "test"
    alone = judged(adata[kept].copy(), pred[kept].copy(), split=None)
    assert list(found["table"].index) == ["g02", "g03"]
    pd.testing.assert_frame_equal(found["summary"], alone["summary"])
    assert len(judged(adata, pred, split=None)["table"]) == 4


def test_some_metrics_alone(pair):
    entry = judged(*pair, metrics=["pds_cosine"])
    assert list(entry["table"]) == ["pds_cosine"]
    assert np.isnan(entry["params"]["score"])
    with pytest.raises(KeyError, match=r"suite='vcc2026'.*pds_cosine"):
        judged(*pair, metrics=["pds"])
    with pytest.raises(ValueError, match="metrics is empty"):
        judged(*pair, metrics=[])


def test_dense_and_integer_counts_give_the_same(pair):
    adata, pred = pair[0].copy(), pair[1].copy()
    expected = judged(adata, pred)
    adata.X, pred.X = adata.X.toarray(), pred.X.astype(np.int64)
    found = judged(adata, pred)
    pd.testing.assert_frame_equal(found["table"], expected["table"])
    pd.testing.assert_frame_equal(found["summary"], expected["summary"])


# -- what is refused, and what is told of ------------------------------------------------------------


def changed(pred, change):
    out = pred.copy()
    dense = out.X.toarray()
    out.X = change(dense)
    return out


def first(values, value):
    values[0, 0] = value
    return values


REFUSED = {
    "logs": (
        lambda v: np.log1p(v),
        "log-normalised values.*suite='vcc2026' takes raw counts: predict counts",
    ),
    "fractions": (lambda v: first(v, 0.5), "suite='vcc2026' takes raw counts: predict counts"),
    "negative": (
        lambda v: first(v, -1),
        "below 0.*suite='vcc2026' takes raw counts: predict counts",
    ),
    "missing": (lambda v: first(v, np.nan), "NaN"),
    "too many": (lambda v: first(v, 2e6), "counts in.*at most 1,000,000"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_predicted_values_that_are_no_counts(pair, case):
    adata, pred = pair
    change, message = REFUSED[case]
    adata = adata.copy()
    rows = np.argsort((pred.obs[KEY] == CONTROL).to_numpy(), kind="stable")  # controls come last
    bad = changed(pred[rows].copy(), change)
    before = dict(adata.uns)
    with pytest.raises(ValueError, match=message):
        sh.tl.evaluate(adata, prediction=bad, suite="vcc2026")
    assert adata.uns.keys() == before.keys()


def test_real_values_on_another_scale(pair):
    adata, pred = pair[0].copy(), pair[1]
    adata.X = np.log1p(adata.X)
    with pytest.raises(ValueError, match=r"takes raw counts: name the layer of measured counts"):
        judged(adata, pred)


def test_targets_without_a_prediction_and_labels_that_the_screen_lacks(pair, caplog):
    adata, pred = pair
    with pytest.raises(ValueError, match=r"1 targets have no prediction: 'g02'"):
        judged(adata, pred[pred.obs[KEY] != "g02"].copy())
    more = adata[adata.obs[KEY] != "g03"].copy()
    expected = judged(more, pred[pred.obs[KEY] != "g03"].copy())
    found = judged(more, pred)
    assert "1 labels of the prediction that the screen lacks: 'g03'" in caplog.text
    pd.testing.assert_frame_equal(found["summary"], expected["summary"])


def test_other_genes(pair):
    adata, pred = pair
    with pytest.raises(KeyError, match="5 of 60 genes are not in"):
        judged(adata, pred[:, 5:].copy())
    with pytest.raises(ValueError, match="the prediction has 5 genes that the screen lacks"):
        judged(adata[:, 5:].copy(), pred)


def test_targets_that_are_no_genes(pair, caplog):
    adata, pred = (one.copy() for one in pair)
    for one in (adata, pred):
        one.obs[KEY] = one.obs[KEY].cat.rename_categories({"g03": "drug"})
    found = judged(adata, pred)
    assert (
        "1 targets are no gene of the screen, and no gene is left out for them: 'drug'"
        in caplog.text
    )
    assert found["conditions"].loc["drug", "target_gene"] == ""
    for one in (adata, pred):
        one.obs[KEY] = one.obs[KEY].cat.rename_categories({f"g0{i}": f"drug{i}" for i in range(3)})
    caplog.clear()
    found = judged(adata, pred)
    assert "no target gene is left out" in caplog.text
    assert "gene_key" in caplog.text
    assert np.isfinite(found["params"]["score"])


def test_symbols_name_the_targets_of_ensembl_genes(pair):
    adata, pred = (one.copy() for one in pair)
    expected = judged(adata, pred)
    for one in (adata, pred):
        one.var["gene_symbol"] = one.var_names.to_numpy()
        one.var_names = [f"ENSG{i:011}" for i in range(one.n_vars)]
    found = judged(adata, pred)
    pd.testing.assert_frame_equal(found["summary"], expected["summary"])


def test_a_panel_of_one_has_values_and_no_score(caplog):
    adata, pred = made(1)
    entry = judged(adata, pred)
    assert "a panel of one target has no mean response" in caplog.text
    assert np.isnan(entry["params"]["score"])
    assert "no score" in entry["params"]["verdict"]
    assert np.isnan(entry["summary"].loc["pds_cosine", "value"])
    assert entry["summary"].loc["expr_mse_unbiased_capped_norm", "value"] > 0
    assert "a panel of one target" in entry["missing"]["reason"].iloc[0]
    assert not entry["summary"]["discriminates"].any()


def test_a_screen_without_effects_has_no_squared_error(pair):
    adata, pred = pair[0].copy(), pair[1]
    rng = np.random.default_rng(0)
    labels = adata.obs[KEY].to_numpy().copy()
    adata.obs[KEY] = pd.Categorical(rng.permutation(labels))
    control = adata[adata.obs[KEY] == CONTROL].X.mean(axis=0)
    adata.X = sparse.csr_matrix(rng.poisson(np.tile(control, (adata.n_obs, 1))), dtype=np.float32)
    entry = judged(adata, pred)
    missing = entry["missing"].set_index("metric")["reason"]
    name = "expr_mse_unbiased_capped_norm"
    assert np.isnan(entry["summary"].loc[name, "value"])
    assert "no effect that its noise does not explain" in missing[name]
    assert np.isnan(entry["params"]["score"])


@pytest.mark.parametrize("n", [1, 3])
def test_halves_with_fewer_than_two_cells(pair, n):
    adata, pred = pair
    keep = np.ones(adata.n_obs, dtype=bool)
    keep[np.flatnonzero(adata.obs[KEY] == "g01")[n:]] = False
    with pytest.raises(ValueError, match=rf"fewer than 4 real cells: 'g01 \({n}\)'.*halves"):
        judged(adata[keep].copy(), pred)


def test_a_screen_without_controls(pair):
    adata, pred = pair
    few = np.flatnonzero(adata.obs[KEY] == CONTROL)[2:]
    keep = np.setdiff1d(np.arange(adata.n_obs), few)
    with pytest.raises(ValueError, match="2 control cells, from which all effects are measured"):
        judged(adata[keep].copy(), pred)


def test_baselines_are_not_fitted_here(pair):
    with pytest.raises(ValueError, match=r"takes whole counts. Predict each baseline by itself"):
        judged(*pair, baselines=["mean_shift"])
    with pytest.raises(ValueError, match="suite='vcc2027' is not known"):
        sh.tl.evaluate(pair[0].copy(), prediction=pair[1], suite="vcc2027")
