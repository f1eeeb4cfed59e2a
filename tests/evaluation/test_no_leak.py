"""Whatever stands in the test cells: training, choices and predictions are the same to the bit."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import pandas as pd
import pytest

import shoal as sh
from shoal.core._population import population
from shoal.core._screen import resolve
from shoal.evaluation._inner_reference import reference_on_validation
from shoal.models.base._registry import names

from ..helpers import dense
from ..models.base.test_state import plain, state

NETWORKS = [name for name in names("network", images=False) if find_spec("scvi")]
QUICK = {"max_steps": 4, "val_every": 2, "batch_conditions": 4, "set_size": 16}
SMALL = {
    "flow": {"n_latent": 8, "width": 16, "depth": 1},
    "conditional_monge": {"n_latent": 8, "width": 16, "depth": 1},
    "knowledge": {"n_latent": 6, "n_representation": 8, "width": 16},
    "perturbdiff": {"width": 16, "depth": 1},
    "unlasting": {"width": 16, "decoder": 16, "depth": 1},
}
GARBAGE = {
    "permuted": lambda values, rng: rng.permuted(values, axis=1)[rng.permutation(len(values))],
    "multiplied": lambda values, _: values * 1.7,
    "random": lambda values, rng: rng.exponential(1.0, values.shape).astype(values.dtype),
    "nothing": lambda values, _: values * 0,
}


def screen(*, by, val):
    """Return a prepared screen with vectors from outside and a split."""
    adata = sh.ds.simulate(
        n_perturbations=9, n_combinations=3, n_cells=30, n_control=90, n_genes=40, contexts=2, rng=0
    )
    del adata.uns["truth"]
    sh.pp.annotate(
        adata, "perturbation", control="control", context_key="context", batch_key="batch"
    )
    sh.pp.split(adata, by=by, test=0.2, val=val, rng=1)
    sh.pp.prepare(adata, normalize="log1p", fit_on="train", n_comps=8)
    adata.X = dense(adata.X)
    single = sorted({p for n in adata.obs["perturbation"].unique() for p in n.split("+")})
    table = np.random.default_rng(1).normal(size=(len(single), 3))
    adata.uns["perturbation_embeddings"] = {
        "mine": pd.DataFrame(table, index=single, columns=list("abc"))
    }
    return adata


def spoiled(adata, kind):
    """Return the screen with garbage in the test cells, in every slot that has their values."""
    other, rng = adata.copy(), np.random.default_rng(5)
    test = (other.obs["split"] == "test").to_numpy()
    assert test.any()
    assert not test.all()
    other.X[test] = GARBAGE[kind](other.X[test], rng)
    other.obsm["X_pca"][test] = rng.normal(size=other.obsm["X_pca"][test].shape)
    return other


def trace(adata, name, **options):
    """Return all that training leaves: state, tables, and the twins of the test cells."""
    embedding = "mine" if "embedding" in sh.models.available().loc[name, "needs"] else None
    model = sh.tl.fit(adata, name, embedding=embedding, rng=3, **options)
    cells = model._population(None)
    history = getattr(model, "history_", None)
    try:
        twins = [plain(part) for part in model.twins(subset=cells.split == 2, rng=4)]
    except (KeyError, ValueError) as err:  # what it refuses it refuses either way
        twins = [str(err)]
    return {**state(model), "history": plain(history), "twins": twins}


def assert_same(one, other):
    assert one.keys() == other.keys()
    for key, value in one.items():
        assert value == other[key], f"{key} is another with garbage in the test cells"


@pytest.fixture(scope="module", params=[("perturbation", 0.2), ("perturbation_context", 0.0)])
def divided(request):
    return screen(by=request.param[0], val=request.param[1])


@pytest.fixture
def one_thread():
    torch = pytest.importorskip("torch", reason="networks need the extra 'models'")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("kind", GARBAGE)
@pytest.mark.parametrize("name", names("baseline"))
def test_baselines(divided, name, kind):
    assert_same(trace(divided, name), trace(spoiled(divided, kind), name))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["permuted", "random"])
def test_the_ensemble(divided, kind):
    assert_same(trace(divided, "auto"), trace(spoiled(divided, kind), "auto"))


GRIDS = {
    "cell_knn_shift": {"n_neighbours": [3, 30], "n_comps": [2, 8]},
    "kernel_ridge": {"ridge": [0.01, 1.0], "kernel": ["rbf", "linear"]},
    "nearest": {"k": [1, 3], "shrink": [True, False]},
    "perturbed_mean": {"max_cells": [5, 500]},
}


@pytest.mark.parametrize("kind", ["permuted", "random"])
@pytest.mark.parametrize("name", GRIDS)
def test_settings_of_baselines(divided, name, kind):
    one, other = (
        trace(adata, name, tune={"config": GRIDS[name]}, inner=2)
        for adata in (divided, spoiled(divided, kind))
    )
    assert one["tuning"] is not None
    assert_same(one, other)


@pytest.mark.slow
def test_the_reference(divided):
    tables = [
        reference_on_validation(population(adata, resolve(adata)), names("baseline")).table
        for adata in (divided, *(spoiled(divided, kind) for kind in GARBAGE))
    ]
    for table in tables[1:]:
        pd.testing.assert_frame_equal(tables[0], table, check_exact=True)


def test_the_garbage_would_be_noticed(divided):
    """With the test cells in training all of this is another."""
    both = [divided.copy(), spoiled(divided, "permuted")]
    for adata in both:
        adata.obs["split"] = adata.obs["split"].astype(object).replace({"test": "train"})
    assert trace(both[0], "own_shift") != trace(both[1], "own_shift")


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("kind", ["permuted", "random"])
@pytest.mark.parametrize("name", NETWORKS)
def test_networks(divided, name, kind):
    """With conditions of val: early stopping, share and refit. Without: the trial."""
    options = {"config": SMALL[name], **QUICK, "accelerator": "cpu"}
    other = spoiled(divided, kind)
    assert_same(trace(divided, name, **options), trace(other, name, **options))


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("name", NETWORKS)
def test_settings_of_networks(divided, name):
    options = {"config": SMALL[name], **QUICK, "accelerator": "cpu", "inner": 2}
    one, other = (
        trace(adata, name, tune={"lr": [1e-4, 1e-2]}, **options)
        for adata in (divided, spoiled(divided, "multiplied"))
    )
    assert one["tuning"] is not None
    assert_same(one, other)


def test_rows_of_a_benchmark(divided):
    """The scores are others, what was chosen is not."""
    models = [
        {"name": "nearest", "options": {"embedding": "mine"}, "tune": {"config": {"k": [1, 3]}}}
    ]
    chosen = []
    for adata in (divided.copy(), spoiled(divided, "permuted")):
        sh.tl.benchmark(adata, models, metrics=["energy", "rmse"], n_boot=50, inner=2, min_cells=10)
        chosen.append(set(adata.uns["leaderboard"]["rows"]["chosen"]))
    assert chosen[0] == chosen[1]
    assert chosen[0] < {"k=1", "k=3"}
