"""An embedding that has seen held-out cells marks every model that was given it, in every table of scores."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import shoal as sh
from shoal.core._predictions import prediction_entry

ACCEPT = {"test": ["P01", "P02", "P03", "P04"], "accept": "embedding_fit"}
FEW = ["pearson_delta", "energy"]


@pytest.fixture(scope="module")
def made():
    """Effects of all cells, one-hot vectors and a split that accepts the former."""
    adata = sh.ds.simulate(
        n_perturbations=10, n_cells=40, n_control=120, n_genes=50, effect_size=6.0, rng=0
    )
    sh.pp.annotate(adata, "perturbation", control="control")
    sh.pp.prepare(adata, normalize="log1p", n_comps=6)
    sh.pp.embed(adata, method="effects", n_comps=4)
    sh.pp.embed(adata, method="one_hot")
    sh.pp.split(adata, **ACCEPT)
    return adata


@pytest.fixture
def adata(made):
    return made.copy()


def marks(adata):
    return adata.uns["perturbation_embeddings_info"]["table"]["transductive"].to_dict()


def test_the_split_refuses_it_and_marks_what_it_accepts(adata):
    with pytest.raises(ValueError, match="embedding 'effects': fitted on all cells"):
        sh.pp.split(adata, test=ACCEPT["test"])
    assert marks(adata) == {"effects": True, "one_hot": False}
    sh.pp.embed(adata, method="effects", missing="drop")
    assert marks(adata)["effects"] is False  # of the training cells alone
    sh.pp.split(adata, test=["P05"])
    assert marks(adata)["effects"] is True  # which are others now
    sh.pp.split(adata, test=ACCEPT["test"])
    assert marks(adata)["effects"] is False
    sh.pp.split(adata, test=["P05"], key_added="other")  # no model reads that one
    assert marks(adata)["effects"] is False


@pytest.mark.parametrize("name", ["nearest", "kernel_ridge", "latent_linear"])
def test_a_model_knows_it_and_so_does_its_file(adata, name, tmp_path):
    assert not sh.tl.fit(adata, name, embedding="one_hot").vocabulary.transductive
    model = sh.tl.fit(adata, name, embedding="effects")
    assert model.vocabulary.transductive
    table = adata.uns["perturbation_embeddings"]["effects"].copy()
    assert sh.tl.fit(adata, name, embedding=table).vocabulary.transductive  # the same by value
    assert not sh.tl.fit(adata, name, embedding=table * 2).vocabulary.transductive
    model.save(tmp_path / "m")
    assert type(model).load(tmp_path / "m").vocabulary.transductive


def test_a_prediction_says_where_it_comes_from(adata, tmp_path):
    sh.tl.predict(
        adata, sh.tl.fit(adata, "nearest", embedding="effects"), key_added="a+b", subset="test"
    )
    sh.tl.predict(adata, sh.tl.fit(adata, "mean_shift"), key_added="plain", subset="test")
    about = ["model", "embedding", "transductive"]
    recorded = adata.uns["perturbation_predictions"]["table"]
    assert recorded["slot"].to_dict() == {"a+b": "layers/a+b", "plain": "layers/plain"}
    assert recorded[about].to_dict("index") == {
        "a+b": {"model": "Nearest", "embedding": "effects", "transductive": True},
        "plain": {"model": "MeanShift", "embedding": "one-hot", "transductive": False},
    }
    del adata.layers["a+b"], adata.obs["a+b_predicted"], adata.obs["a+b_source"]
    sh.tl.predict(
        adata, sh.tl.fit(adata, "nearest", embedding="effects"), key_added="plain", subset="test"
    )
    adata.write_h5ad(tmp_path / "x.h5ad")
    table = ad.read_h5ad(tmp_path / "x.h5ad").uns["perturbation_predictions"]["table"]
    assert table[about].to_dict("index") == {
        "plain": {"model": "Nearest", "embedding": "effects", "transductive": True}
    }


@pytest.mark.parametrize("embedding", ["effects", "one_hot"])
def test_an_evaluation_marks_the_prediction_and_the_baselines(adata, embedding):
    seen = embedding == "effects"
    sh.tl.predict(
        adata,
        sh.tl.fit(adata, "kernel_ridge", embedding=embedding),
        key_added="ridge",
        subset="test",
    )
    rivals = ["nearest", "mean_shift"]
    sh.tl.evaluate(
        adata,
        prediction="ridge",
        metrics=FEW,
        baselines=rivals,
        embedding="effects",
        n_comps=5,
        n_draws=1,
    )
    entry = adata.uns["evaluation"]
    assert entry["params"]["transductive"] is seen
    column = entry["contenders"]["transductive"]
    assert column.dtype == bool
    assert set(column.index[column]) == {"nearest"} | ({"prediction"} if seen else set())
    assert list(entry["contenders"].columns[-2 - len(FEW) :]) == ["transductive", "same_as", *FEW]


def test_predicted_cells_of_another_anndata(adata):
    pred = sh.tl.fit(adata, "mean_shift").predict(ACCEPT["test"], n_cells=30)
    about = {"model": "Mine", "embedding": "effects", "transductive": True}
    entry = prediction_entry(pred, "X", **about, slot="X", source="source")
    pred.uns["perturbation_predictions"] = entry
    sh.tl.evaluate(adata, prediction=pred, metrics=FEW, baselines=None, n_comps=5, n_draws=1)
    assert adata.uns["evaluation"]["contenders"].loc["prediction", "transductive"]


def test_the_leaderboard_of_a_benchmark(adata):
    adata.uns["perturbation_predictions"] = {"table": pd.DataFrame(), "params": {}}
    models = [
        "mean_shift",
        {"name": "nearest", "label": "seen", "options": {"embedding": "effects"}},
    ]
    sh.tl.benchmark(adata, models, metrics=FEW, n_comps=5, n_boot=20, n_draws=1)
    entry = adata.uns["leaderboard"]
    assert entry["table"]["transductive"].dtype == bool
    assert entry["table"].index[entry["table"]["transductive"]].tolist() == ["seen"]
    rows = entry["rows"]
    assert set(rows.loc[rows["transductive"].astype(bool), "model"]) == {"seen"}
    assert "| True |" in sh.benchmark.markdown(entry["table"])


def test_a_table_of_ones_own_and_no_record(adata):
    del adata.uns["perturbation_embeddings_info"]
    assert not sh.tl.fit(adata, "nearest", embedding="effects").vocabulary.transductive
    vectors = pd.DataFrame(np.eye(10), index=adata.uns["perturbation_embeddings"]["effects"].index)
    assert not sh.tl.fit(adata, "nearest", embedding=vectors).vocabulary.transductive
