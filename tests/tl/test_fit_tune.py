"""tl.fit(tune=): settings are chosen on inner folds of training, and the test has no part in it."""

from __future__ import annotations

import logging

import numpy as np
import pandas as pd
import pytest

import shoal as sh

from ..helpers import contents, dense


@pytest.fixture(scope="module")
def prepared():
    adata = sh.ds.simulate(
        n_perturbations=10, n_cells=40, n_control=120, n_genes=60, contexts=2, rng=0
    )
    del adata.uns["truth"]
    sh.pp.annotate(adata, "perturbation", control="control", context_key="context")
    sh.pp.split(adata, by="perturbation_context", test=0.2, rng=0)
    sh.pp.prepare(adata, normalize="log1p", fit_on="train", n_comps=8)
    return adata


@pytest.fixture
def adata(prepared):
    return prepared.copy()


def bytes_of(model):
    rows, values, source = model.twins(rng=1)
    return [rows.tobytes(), dense(values).tobytes(), source.tobytes()]


def test_the_best_set_is_trained_on_all_of_training(adata, caplog):
    before = contents(adata)
    with caplog.at_level(logging.INFO, logger="shoal"):
        model = sh.tl.fit(adata, "nearest", tune={"config": {"k": [1, 3], "shrink": [True, False]}})
    assert contents(adata) == before
    table = model.tuning
    assert list(table.index) == [f"k={k}, shrink={s}" for k in (1, 3) for s in (True, False)]
    assert table["chosen"].sum() == 1
    assert table["energy"].idxmin() == table.index[table["chosen"]][0]
    assert (table["n_conditions"] == table["n_conditions"].iloc[0]).all()
    chosen = table.index[table["chosen"]][0]
    assert f"{chosen!r} was chosen" in caplog.text
    config = {"k": int(chosen[2]), "shrink": chosen.endswith("True")}
    assert bytes_of(model) == bytes_of(sh.tl.fit(adata, "nearest", config=config))


def test_an_honest_set_wins_against_a_broken_one(adata):
    """With five cells of each side, a response is mostly noise."""
    model = sh.tl.fit(adata, "perturbed_mean", tune={"config": {"max_cells": [2, 1000]}}, inner=2)
    assert model.tuning.index[model.tuning["chosen"]][0] == "max_cells=1000"
    assert {"fold_1", "fold_2"} <= set(model.tuning)
    assert "fold_3" not in model.tuning


def test_sets_may_be_listed_and_one_may_be_as_given(adata):
    model = sh.tl.fit(adata, "nearest", tune=[{}, {"config": {"k": 1}}], inner=1)
    assert list(model.tuning.index) == ["as given", "k=1"]


def test_the_table_is_saved_with_the_model(adata, tmp_path):
    model = sh.tl.fit(adata, "nearest", tune={"config": {"k": [1, 3]}}, inner=2)
    model.save(tmp_path / "model")
    again = sh.models.load(tmp_path / "model", adata)
    pd.testing.assert_frame_equal(again.tuning, model.tuning)
    assert sh.tl.fit(adata, "nearest").tuning is None


def test_a_set_that_fails_is_noted_and_the_others_go_on(adata):
    model = sh.tl.fit(adata, "nearest", tune={"config": {"k": [0, 3]}}, inner=2)
    assert "k must be a whole number" in model.tuning.loc["k=0", "note"]
    assert np.isnan(model.tuning.loc["k=0", "error"])
    assert model.tuning.loc["k=3", "chosen"]


@pytest.mark.parametrize(
    ("tune", "inner", "error", "told"),
    [
        ({}, None, ValueError, "tune is empty"),
        ([], None, ValueError, "tune is empty"),
        ({"config": {"k": []}}, None, ValueError, "config: k has an empty list"),
        ({"config": {"k": 3}}, None, TypeError, "config: k needs a list of values"),
        ({"preset": "small"}, None, TypeError, "preset needs a list of values"),
        ("lr", None, TypeError, "tune must be a mapping"),
        ([{"config": 3}], None, TypeError, "config must be a mapping"),
        ({"rng": [0, 1]}, None, ValueError, "'rng', which is no setting"),
        ({"config": {"kk": [3]}}, None, TypeError, "no 'kk'.*takes.*k, metric, shrink"),
        ({"lr": [0.1]}, None, TypeError, "no 'lr': training takes no arguments"),
        ({"config": {"k": [3]}}, 0, ValueError, "inner must be a whole number of at least 1"),
        ({"config": {"k": [3]}}, 1.5, ValueError, "inner must be a whole number"),
        ({"config": {"k": [3]}}, 50, ValueError, "inner=50 folds need as many units.*ask for"),
        ({"config": {"k": [0]}}, 2, ValueError, "no set of options in tune= could be used.*k=0"),
        (None, 3, ValueError, "pass tune= with them"),
    ],
)
def test_what_makes_no_sense_is_refused(adata, tune, inner, error, told):
    before = contents(adata)
    with pytest.raises(error, match=f"(?s){told}"):
        sh.tl.fit(adata, "nearest", tune=tune, inner=inner)
    assert contents(adata) == before


def test_an_option_that_is_given_is_not_tried_too(adata):
    with pytest.raises(ValueError, match="'k' is given and in tune= too"):
        sh.tl.fit(adata, "nearest", config={"k": 3}, tune={"config": {"k": [1]}})


def test_a_split_of_unknown_kind_cannot_be_folded(adata):
    del adata.uns["split"]
    with pytest.raises(ValueError, match=r"was not written by sh\.pp\.split"):
        sh.tl.fit(adata, "nearest", tune={"config": {"k": [1, 3]}})


def test_vectors_that_know_what_is_left_out_are_told_of(adata, caplog):
    sh.pp.embed(adata, method="effects")
    name = next(iter(adata.uns["perturbation_embeddings"]))
    with caplog.at_level(logging.WARNING, logger="shoal"):
        sh.tl.fit(adata, "nearest", embedding=name, tune={"config": {"k": [1, 3]}}, inner=2)
    assert caplog.text.count("look better there than they are") == 1


def test_where_nothing_beats_the_controls_it_is_said(adata, caplog):
    rng = np.random.default_rng(0)
    adata.X = rng.gamma(2.0, 1.0, adata.shape)
    with caplog.at_level(logging.WARNING, logger="shoal"):
        model = sh.tl.fit(adata, "perturbed_mean", tune={"config": {"max_cells": [2, 3]}}, inner=2)
    error = model.tuning["error"]
    assert (error.isna() | (error > 1)).all()
    assert "better than unchanged controls" in caplog.text


@pytest.fixture
def one_thread():
    torch = pytest.importorskip("torch", reason="networks need the extra 'models'")
    pytest.importorskip("scvi", reason="networks need the extra 'models'")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
def test_settings_of_a_network(adata):
    fast = {"val_every": 3, "batch_conditions": 4, "set_size": 16, "accelerator": "cpu"}
    tiny = {"n_latent": 8, "width": 16, "depth": 1}
    tune = {"lr": [1e-3, 1e-2], "max_steps": [3, 6]}
    model = sh.tl.fit(adata, "flow", config=tiny, tune=tune, inner=2, **fast)
    assert model.tuning.index[0] == "lr=0.001, max_steps=3"
    for tune, told in (
        ({"lrr": [1]}, "no 'lrr'.*lr"),
        ({"config": {"widht": [1]}}, "no setting 'widht'.*width"),
    ):
        with pytest.raises(TypeError, match=f"(?s){told}"):
            sh.tl.fit(adata, "flow", config=tiny, tune=tune, **fast)
