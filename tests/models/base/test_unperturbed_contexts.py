"""A context or batch without a perturbed cell in training: its label says nothing, its control cells do."""

from __future__ import annotations

import logging

import numpy as np
import pytest

import shoal as sh

pytest.importorskip("torch", reason="networks need the extra 'models'")

from shoal.metrics._cells import densify
from shoal.models.base._requests import request_like
from shoal.models.base._sets import conditions_of, encoded_conditions

FEW = {"max_steps": 4, "batch_conditions": 3, "set_size": 16, "accelerator": "cpu"}
SMALL = {"width": 16, "depth": 1}
NETWORKS = {
    "flow": ("flow", {"n_latent": 6}),
    "flow that follows the context": ("flow", {"n_latent": 6, "guidance": {"context": 2.0}}),
    "map that is told the context": ("conditional_monge", {"n_latent": 6, "use_context": True}),
    "knowledge": ("knowledge", {"n_latent": 6, "n_representation": 8}),
    "perturbdiff": ("perturbdiff", {}),
    "perturbdiff, as published": ("perturbdiff", {"preset": "published", "n_steps": 2}),
    "unlasting": ("unlasting", {}),
}


@pytest.fixture(scope="module")
def three():
    """Return 3 perturbations in 3 contexts; those of context3 are held out, and have a batch of their own."""
    adata = sh.ds.simulate(
        n_perturbations=3, n_cells=90, n_control=90, n_genes=40, contexts=3, rng=0
    )
    adata.obs["plate"] = np.where(adata.obs["context"] == "context3", "z", "a")
    sh.pp.annotate(
        adata, "perturbation", control="control", context_key="context", batch_key="plate"
    )
    sh.pp.split(adata, by="context", test=["context3"])
    sh.pp.prepare(adata, normalize="log1p", fit_on="train", n_comps=6)
    return adata


def fitted(adata, network):
    name, config = NETWORKS[network]
    return sh.tl.fit(adata, name, config=SMALL | config, rng=0, **FEW)


def renamed(adata, new):
    """Return the screen with another name for context3 and its batch."""
    other = adata.copy()
    for key, old in (("context", "context3"), ("plate", "z")):
        other.obs[key] = other.obs[key].astype(str).replace({old: new})
    return other


@pytest.mark.parametrize("network", NETWORKS)
def test_the_name_of_such_a_context_changes_no_cell(three, network, one_thread):
    made = fitted(three, network).predict(["P1"], context="context3", n_cells=20, rng=0)
    other = renamed(three, "A first one")  # before all others in the alphabet
    again = fitted(other, network).predict(["P1"], context="A first one", n_cells=20, rng=0)
    np.testing.assert_array_equal(densify(made.X), densify(again.X))
    assert set(again.obs["context"]) == {"A first one"}


@pytest.mark.parametrize("network", NETWORKS)
def test_a_network_has_no_vector_for_it_that_nothing_has_taught(three, network, one_thread):
    model = fitted(three, network)
    assert model.vocabulary.perturbed_contexts == ("context1", "context2")
    assert model.vocabulary.control_contexts == ("context3",)
    assert model.vocabulary.perturbed_batches == ("a",)
    assert model.vocabulary.control_batches == ("z",)
    assert model.vocabulary.contexts == ("context1", "context2", "context3")
    module = model.module
    encoders = module.place.tables if network == "unlasting" else module.condition.encoders
    beside = getattr(module, "decoder", None) if network == "knowledge" else None
    assert (encoders["context"] if beside is None else beside.gain).n_codes == 2
    if "batch" in encoders:
        assert encoders["batch"].n_codes == 1


def test_its_controls_are_known_though_its_label_is_not(three, one_thread):
    model = fitted(three, "flow")
    cells, known = model.cells, model.vocabulary
    trained = conditions_of(cells, cells.train, known)
    control = trained.control
    codes = {known.contexts[c] for c in trained.cell_context[control]}
    assert codes == {"context1", "context2", "context3"}  # says which controls belong to a cell
    held = conditions_of(cells, cells.perturbed & (cells.split == 2), known)
    assert {known.contexts[c] for c in held.context} == {"context3"}
    assert held.tensors(np.arange(len(held)))["context"].tolist() == [-1] * len(held)
    assert (held.told_batch[np.concatenate(held.cells)] == -1).all()
    assert (trained.tensors(np.arange(len(trained)))["context"] >= 0).all()

    rows = np.flatnonzero(cells.perturbed)[::20]
    request = request_like(cells, rows, rows)
    told = encoded_conditions(request, np.arange(len(rows)), cells, known, device="cpu")
    new = cells.adata.obs["context"].to_numpy()[rows] == "context3"
    np.testing.assert_array_equal(told["context"].numpy() == -1, new)


def test_other_controls_give_other_cells(three, one_thread):
    model = fitted(three, "flow")
    made = model.predict(["P1"], context="context3", n_cells=40, rng=0)
    other = three.copy()
    mine = (other.obs["context"] == "context3").to_numpy()
    values = densify(other.X)
    values[mine] = values[mine][:, ::-1]  # of the same totals
    other.X = values
    again = model.predict(["P1"], context="context3", n_cells=40, adata=other, rng=0)
    change = np.abs(densify(made.X).mean(axis=0) - densify(again.X).mean(axis=0))
    assert change.mean() > 0.1 * densify(made.X).mean()


def test_the_vocabulary_after_saving_and_loading(three, one_thread, tmp_path):
    model = fitted(three, "flow")
    model.save(tmp_path / "m")
    back = sh.models.Flow.load(tmp_path / "m", adata=three)
    for name in ("perturbed", "control"):
        for what in ("contexts", "batches"):
            field = f"{name}_{what}"
            assert getattr(back.vocabulary, field) == getattr(model.vocabulary, field)
    made, again = (
        each.predict(["P2"], context="context3", n_cells=10, rng=1) for each in (model, back)
    )
    np.testing.assert_array_equal(densify(made.X), densify(again.X))


def test_the_log_says_what_a_model_knows_it_by(three, one_thread, caplog):
    with caplog.at_level(logging.INFO, logger="shoal"):
        sh.tl.predict(three.copy(), fitted(three, "flow"), key_added="made", subset="test")
    assert "context3 had no perturbed cell in training: a model knows them by their control" in (
        caplog.text
    )
