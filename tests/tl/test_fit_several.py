"""Several models trained with one call: each as if it were trained alone, with what it takes."""

from __future__ import annotations

import logging

import numpy as np
import pandas as pd
import pytest

import shoal as sh


@pytest.fixture(scope="module")
def screen():
    adata = sh.ds.simulate_gaussian(n_perturbations=8, n_dims=5, n_cells=12, n_control=30, rng=0)
    names = sorted(set(adata.obs["perturbation"]) - {"control"})
    vectors = pd.DataFrame(np.random.default_rng(0).normal(size=(8, 3)), index=names)
    return adata, vectors


def test_each_is_as_if_it_were_trained_alone(screen, caplog):
    adata, vectors = screen
    caplog.set_level(logging.INFO, logger="shoal")
    models = sh.tl.fit(adata, ["kernel_ridge", "mean_shift"], embedding=vectors, rng=3)
    assert list(models) == ["kernel_ridge", "mean_shift"]
    assert "embedding= is left out for 'mean_shift'" in caplog.text
    for name, options in (("kernel_ridge", {"embedding": vectors}), ("mean_shift", {})):
        alone = sh.tl.fit(adata, name, rng=3, **options).predict("P3", n_cells=9, rng=1)
        made = models[name].predict("P3", n_cells=9, rng=1)
        np.testing.assert_array_equal(made.X, alone.X)
    assert models["kernel_ridge"].vocabulary.embedding == "table"


def test_labels_options_and_choices(screen):
    adata, vectors = screen
    adata = adata.copy()
    sh.pp.split(adata, by="perturbation", test=0.25, rng=0)
    wide = {"name": "kernel_ridge", "label": "linear", "options": {"config": {"kernel": "linear"}}}
    tuned = {"name": "matching_mean", "tune": {"config": {"shrink": [True, False]}}}
    models = sh.tl.fit(adata, ["kernel_ridge", wide, tuned], embedding=vectors, inner=2)
    assert list(models) == ["kernel_ridge", "linear", "matching_mean"]
    assert models["linear"].params["kernel"] == "linear"
    assert len(models["matching_mean"].tuning) == 2
    assert models["kernel_ridge"].tuning is None


@pytest.mark.slow
def test_a_network_among_baselines(screen):
    pytest.importorskip("torch")
    adata, vectors = screen
    options = {"max_steps": 2, "accelerator": "cpu"}
    models = sh.tl.fit(adata, ["flow", "mean_shift", "nearest"], embedding=vectors, **options)
    assert len(models["flow"].history["train_loss"]) >= 1
    assert models["flow"].vocabulary.embedding == models["nearest"].vocabulary.embedding == "table"


@pytest.mark.parametrize(
    ("models", "options", "error", "match"),
    [
        (["mean_shift"], {"embedding": "go"}, TypeError, "none of the models takes embedding="),
        (["mean_shift", "own_shift"], {"max_steps": 3}, TypeError, "none .* takes max_steps="),
        (["mean_shift", "mean_shift"], {}, ValueError, "several models are called 'mean_shift'"),
        (["mean_shift", "nix"], {}, ValueError, "nix"),
        ([], {}, TypeError, "at least one model"),
        (["mean_shift"], {"config": {"shrink": True}}, ValueError, "write them with the model"),
        (["mean_shift"], {"inner": 2}, ValueError, "no model has any"),
        (
            [{"contender": {"file": "a.h5ad"}, "label": "a"}],
            {},
            ValueError,
            "files of predictions are not trained",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(screen, models, options, error, match):
    adata, _ = screen
    before = set(adata.uns)
    with pytest.raises(error, match=match):
        sh.tl.fit(adata, models, **options)
    assert set(adata.uns) == before
