"""One training or two: which cells each of them sees, and that either can be resumed."""

from __future__ import annotations

import logging

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import shoal as sh

torch = pytest.importorskip("torch", reason="networks need the extra 'models'")
pytest.importorskip("scvi", reason="networks need the extra 'models'")

from lightning.pytorch.callbacks import Callback  # noqa: E402

from shoal.core._population import population  # noqa: E402
from shoal.core._screen import resolve  # noqa: E402
from shoal.models.base._inner import with_inner  # noqa: E402
from shoal.models.base._learning import learn_vocabulary  # noqa: E402

from ...helpers import dense  # noqa: E402


class Stop(Callback):
    """Does what Ctrl-C does, before a step of the training of that number."""

    def __init__(self, training, step):
        self.training, self.step, self.number = training, step, 0

    def on_train_start(self, *_):
        self.number += 1

    def on_train_batch_start(self, trainer, *_):
        if self.number == self.training and trainer.global_step == self.step:
            raise KeyboardInterrupt


@pytest.fixture
def contexts(screen):
    """Return the screen with some perturbations of contexts held out for the test, and none for validation."""
    sh.pp.annotate(screen, "perturbation", control="control", context_key="context")
    sh.pp.split(screen, by="perturbation_context", test=0.2, rng=0)
    return screen


@pytest.fixture
def seen(monkeypatch):
    """Collects the names of the conditions that each training draws from."""
    names, made = [], sh.models.Flow._training_store

    def store(self, sampler, kind):
        names.append(set(sampler.conditions.names))
        return made(self, sampler, kind)

    monkeypatch.setattr(sh.models.Flow, "_training_store", store)
    return names


def weights(model):
    return {name: value.clone() for name, value in model.module.state_dict().items()}


def assert_same(one, two):
    """Both models have the same weights, past and share, to the bit."""
    first, second = weights(one), weights(two)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert (one.response_share, one.refitted) == (two.response_share, two.refitted)
    assert one.history.keys() == two.history.keys()
    for name, table in one.history.items():
        pd.testing.assert_frame_equal(table, two.history[name], check_exact=True)


def test_a_refit_takes_in_what_was_validated_on_and_no_test_cell(divided, fit_flow, seen, caplog):
    with caplog.at_level(logging.INFO, logger="shoal"):
        model = fit_flow(divided)
    held = {name for name in seen[1] if name.startswith(("P1+P4", "P4+P5"))}
    assert len(seen) == 2
    assert seen[1] - seen[0] == held
    assert {name.split(" | ")[0] for name in held} == {"P1+P4"}
    assert "a score on val is no longer one of unseen conditions" in caplog.text
    steps = model.fit_result.best_step
    assert model.history["refit_train_loss"].index.max() <= steps <= 30
    assert model.history["train_loss"].index.max() == 30
    assert "refit_val_energy" not in model.history
    taken = divided.obs["perturbation"][model.trained_cells].astype(str)
    assert "P1+P4" in set(taken)
    assert "P4+P5" not in set(taken)
    assert (model.cells.split == 1).any()  # the screen is as it was


def test_without_a_refit_it_is_said_what_was_left_out(divided, fit_flow, seen, caplog):
    with caplog.at_level(logging.INFO, logger="shoal"):
        model = fit_flow(divided, refit=False)
    assert len(seen) == 1
    assert "conditions of val were left out of training: 'P1+P4 | context" in caplog.text
    assert not model.refitted
    assert not any(name.startswith("refit") for name in model.history)


def test_test_cells_do_not_matter(divided, fit_flow):
    divided.X = dense(divided.X)
    garbage = divided.copy()
    test = (garbage.obs["split"] == "test").to_numpy()
    garbage.X[test] = garbage.X[test][:, ::-1] + 1
    assert_same(fit_flow(garbage), fit_flow(divided))


def test_a_trial_leaves_some_conditions_out_and_the_training_does_not(contexts, fit_flow, seen):
    model = fit_flow(contexts)
    alone = fit_flow(contexts, response_share=1)
    assert len(seen) == 3
    assert seen[0] < seen[1] == seen[2]
    assert len(seen[1]) - len(seen[0]) == 3  # a fifth would be fewer
    assert "trial_train_loss" in model.history
    first, second = weights(model), weights(alone)
    assert all(
        torch.equal(first[name], second[name]) for name in first
    )  # the trial leaves no trace
    assert model.vocabulary.trained == alone.vocabulary.trained


def test_no_trial_without_a_split_or_within_trained_conditions(screen, fit_flow, seen):
    fit_flow(screen)
    sh.pp.split(screen, by="guide", test=0.5)
    fit_flow(screen)
    assert len(seen) == 2


def test_what_is_left_out_in_a_trial_is_such_as_the_split_holds_out(contexts):
    model = sh.tl.fit(contexts, "flow", config={"width": 8, "depth": 1}, max_steps=1, refit=False)
    rng = np.random.default_rng(0)
    inner = with_inner(model.cells, model.vocabulary, rng)
    moved = inner.split != model.cells.split
    assert (model.cells.split[moved] == 0).all()
    assert (inner.split[moved] == 1).all()
    pairs = np.stack([inner.labels.code, inner.context], axis=1)
    codes, kept = (set(map(tuple, pairs[some].tolist())) for some in (moved, inner.train))
    assert not codes & kept


@pytest.mark.parametrize("n_late", [9, 11])
def test_a_trial_leaves_out_later_days_where_the_test_asks_for_them(n_late, rng):
    """Of twelve perturbations the last ones are known on days 4 and 5. One alone is too little."""
    names = [f"P{i:02d}" for i in range(12)]
    days = [2, 3, 4, 5]
    rows = [(name, day) for name in ["control", *names] for day in days for _ in range(3)]
    obs = pd.DataFrame(rows, columns=["perturbation", "day"], index=map(str, range(len(rows))))
    adata = ad.AnnData(rng.normal(size=(len(obs), 2)).astype(np.float32), obs=obs)
    sh.pp.annotate(adata, "perturbation", control="control", context_key="day")
    late = [(name, day) for name in names[:n_late] for day in (4, 5)]
    sh.pp.split(adata, by="perturbation_context", test=late, val=0)
    cells = population(adata, resolve(adata))
    known = learn_vocabulary(cells, layer=None, use_rep=None, embedding=None)
    inner = with_inner(cells, known, np.random.default_rng(0))
    out = obs[(inner.split == 1) & (obs["perturbation"] != "control")].drop_duplicates()
    if n_late == 9:
        assert set(out["perturbation"]) < set(names[9:])
        assert sorted(out["day"]) == sorted([4, 5] * out["perturbation"].nunique())
    assert len(out) >= 3
    stay = obs[inner.train & (obs["perturbation"] != "control")]
    assert set(out["perturbation"]) <= set(stay["perturbation"])


@pytest.mark.parametrize(("training", "step"), [(1, 15), (2, 5), (2, 15)])
@pytest.mark.parametrize("kind", ["divided", "contexts"])
def test_either_training_is_resumed(kind, training, step, fit_flow, tmp_path, request):
    adata = request.getfixturevalue(kind)
    whole = fit_flow(adata, checkpoint_dir=tmp_path / "whole")
    folder = tmp_path / "broken"
    with pytest.raises(KeyboardInterrupt):
        fit_flow(adata, checkpoint_dir=folder, callbacks=[Stop(training, step)])
    assert_same(fit_flow(adata, checkpoint_dir=folder, resume=True), whole)
    again = fit_flow(adata, checkpoint_dir=folder, resume=True)  # a finished one is only read
    assert_same(again, whole)


def test_the_message_names_a_checkpoint_that_goes_on(divided, fit_flow):
    with pytest.raises(KeyboardInterrupt, match=r"resume='.*refit/last\.ckpt'") as told:
        fit_flow(divided, callbacks=[Stop(2, 15)])
    path = str(told.value).split("resume='")[1].split("'")[0]
    assert_same(fit_flow(divided, resume=path), fit_flow(divided))


def test_a_model_whose_refit_breaks_off_is_that_of_the_first_training(divided, one_thread):
    config = {"n_latent": 8, "width": 16, "depth": 1}
    fast = {"max_steps": 30, "val_every": 10, "batch_conditions": 4, "set_size": 16}
    models = []
    for refit, callbacks in ((False, []), (True, [Stop(2, 15)])):
        sh.models.Flow.setup_anndata(divided)
        model = sh.models.Flow(divided, **config)
        options = {"accelerator": "cpu", "refit": refit, "callbacks": callbacks}
        if refit:
            with pytest.raises(KeyboardInterrupt):
                model.train(**fast, **options)
        else:
            model.train(**fast, **options)
        models.append(model)
    assert_same(*models)
    np.testing.assert_array_equal(*(dense(m.predict("P1", n_cells=9).X) for m in models))


def test_checkpoints_of_an_earlier_run_are_not_taken_for_those_of_this_one(
    divided, fit_flow, tmp_path
):
    fit_flow(divided, checkpoint_dir=tmp_path, config={"width": 16, "dropout": 0.3})
    with pytest.raises(KeyboardInterrupt):
        fit_flow(divided, checkpoint_dir=tmp_path, callbacks=[Stop(1, 15)])
    assert_same(fit_flow(divided, checkpoint_dir=tmp_path, resume=True), fit_flow(divided))


def test_a_refitted_model_starts_at_the_cells_it_was_trained_on_also_after_loading(
    screen, fit_flow, tmp_path
):
    sh.pp.annotate(screen, "perturbation", control="control", context_key="context")
    sh.pp.split(screen, by="perturbation_context", test=0.2, val=0.2, rng=0)
    model = fit_flow(screen)
    model.save(tmp_path / "model")
    loaded = sh.models.load(tmp_path / "model", screen)
    assert loaded.refitted
    assert loaded.response_share == model.response_share
    np.testing.assert_array_equal(loaded.trained_cells, model.trained_cells)
    rows, made, _ = model.twins(rng=1)
    assert len(rows)
    np.testing.assert_array_equal(dense(loaded.twins(rng=1)[1]), dense(made))


def test_a_second_training_stops_by_validation_as_the_first(divided, fit_flow):
    model = fit_flow(divided)
    model.train(max_steps=10, val_every=10, set_size=16, batch_conditions=4, accelerator="cpu")
    assert model.history["val_energy"].index.tolist() == [10]


def test_pairs_of_a_refitted_flow_are_of_all_it_was_trained_on(divided, fit_flow):
    from shoal.models.flow._reflow import make_pairs

    pairs = make_pairs(fit_flow(divided), 4, n_steps=2, rng=np.random.default_rng(0))
    assert any(name.startswith("P1+P4") for name in pairs.conditions.names)


def test_refit_is_yes_or_no(divided, fit_flow):
    with pytest.raises(TypeError, match="refit must be True or False"):
        fit_flow(divided, refit="val")


def test_scores_on_val_of_a_refitted_model_carry_a_caution(divided, fit_flow):
    for name, refit in (("again", True), ("once", False)):
        sh.tl.predict(divided, fit_flow(divided, refit=refit), key_added=name)
    for name, split, told in (
        ("again", "val", True),
        ("once", "val", False),
        ("again", "test", False),
    ):
        options = {"split": split, "baselines": None, "min_cells": 10, "overwrite": True}
        sh.tl.evaluate(divided, prediction=name, **options)
        caution = divided.uns["evaluation"]["params"]["caution"]
        assert ("the model was trained on val too" in caution) == told
