"""What can be wrong with a screen, a query or a machine: it is said clearly, and nothing is lost."""

from __future__ import annotations

import logging

import numpy as np
import pandas as pd
import pytest

import shoal as sh

torch = pytest.importorskip("torch", reason="networks need the extra 'models'")
pytest.importorskip("scvi", reason="networks need the extra 'models'")
from lightning.pytorch.callbacks import Callback  # noqa: E402

from ...helpers import dense  # noqa: E402

SHORT = {"max_steps": 3}


class Raise(Callback):
    """Breaks training off before a step."""

    def __init__(self, step, error):
        self.step, self.error = step, error

    def on_train_batch_start(self, trainer, *_):
        if trainer.global_step == self.step:
            raise self.error


# -- perturbations without vectors -----------------------------------------------------------------------------------


def test_test_perturbations_without_a_vector_are_told_of_before_and_refused_after(
    screen, fit_flow, caplog
):
    sh.pp.split(screen, by="perturbation", test=["P2"])
    model = fit_flow(screen, **SHORT)
    assert "1 perturbations have no vector (one-hot) and cannot be predicted: 'P2'" in caplog.text
    before = screen.copy()
    with pytest.raises(KeyError, match=r"'P2' did not occur in training.*sh\.pp\.embed"):
        sh.tl.predict(screen, model, subset="test")
    assert (list(screen.obs), list(screen.layers)) == (list(before.obs), list(before.layers))
    sh.tl.predict(screen, model, subset="train")
    assert screen.obs["predicted_predicted"].sum() == (before.obs["split"] == "train").sum() - 80


def test_an_embedding_that_lacks_some(screen, fit_flow, caplog):
    sh.pp.split(screen, by="perturbation", test=["P2"])
    table = pd.DataFrame(np.eye(5, 3), index=["P1", "P3", "P4", "P5", "P9"])
    model = fit_flow(screen, embedding=table, **SHORT)
    assert "1 perturbations have no vector (table) and cannot be predicted: 'P2'" in caplog.text
    with pytest.raises(
        KeyError, match=r"'P2\+P1' holds 'P2', which got no vector in the embedding 'table'"
    ):
        model.predict("P2+P1")
    with pytest.raises(
        KeyError, match="perturbations of training have no vector in the embedding 'table': P5"
    ):
        fit_flow(screen, embedding=table.drop(index="P5"), **SHORT)


def test_validation_is_on_the_perturbations_that_have_a_vector(screen, fit_flow):
    sh.pp.split(screen, by="perturbation", test=["P2"], val=["P3", "P5"])
    table = pd.DataFrame(np.eye(4, 3), index=["P1", "P3", "P4", "P5"])
    with pytest.raises(
        KeyError,
        match=r"no perturbation with obs\['split'\] == 'val' has a vector \(one-hot\).*val=0",
    ):
        fit_flow(screen)
    model = fit_flow(screen, embedding=table.drop(index="P5"))
    assert len(model.history["val_energy"]) == 3
    with_both = fit_flow(screen, embedding=table)
    assert not with_both.history["val_energy"].equals(model.history["val_energy"])


# -- splits and conditions -------------------------------------------------------------------------------------------


def test_a_split_without_training_cells(screen, fit_flow):
    for split in (np.nan, "test"):
        screen.obs["split"] = pd.Categorical(
            [split] * screen.n_obs, categories=["train", "val", "test"]
        )
        with pytest.raises(
            ValueError,
            match=r"no perturbed cell with obs\['split'\] == 'train': nothing to learn from",
        ):
            fit_flow(screen)
    perturbed = (screen.obs["perturbation"] != "control").to_numpy()
    screen.obs["split"] = np.where(perturbed, "train", "test")
    with pytest.raises(ValueError, match=r"no control cell with obs\['split'\] == 'train'"):
        fit_flow(screen)


def test_a_part_of_the_split_that_is_empty(divided, fit_flow):
    model = fit_flow(divided, **SHORT)
    divided.obs["split"] = divided.obs["split"].cat.remove_categories("test")
    with pytest.raises(
        KeyError, match=r"'test' is not in adata\.obs\['split'\], which holds 'train', 'val'"
    ):
        sh.tl.predict(divided, model, subset="test")
    with pytest.raises(ValueError, match="no perturbed cell is in subset"):
        sh.tl.predict(divided, model, subset=np.zeros(divided.n_obs, dtype=bool))
    assert "predicted" not in divided.layers


def test_a_single_condition(screen, fit_flow):
    one = screen[
        screen.obs["perturbation"].isin(["control", "P1"]) & (screen.obs["context"] == "context1")
    ].copy()
    model = fit_flow(one, **SHORT)
    assert model.predict(n_cells=5).obs["perturbation"].tolist() == ["P1"] * 5


def test_conditions_smaller_than_a_set(screen, fit_flow, caplog):
    few = np.flatnonzero(screen.obs["perturbation"] == "P1")[3:]
    small = screen[np.setdiff1d(np.arange(screen.n_obs), few)].copy()
    model = fit_flow(small, **SHORT)
    assert (
        "have fewer than set_size=16 cells, which are repeated with weight 0: 'P1 | context"
        in caplog.text
    )
    assert np.isfinite(dense(model.predict("P1", n_cells=100).X)).all()


def test_a_context_without_controls(screen, fit_flow, caplog):
    gone = (screen.obs["perturbation"] == "control") & (screen.obs["context"] == "context2")
    screen = screen[~gone].copy()
    model = fit_flow(screen, **SHORT)
    assert (
        "conditions have cells with fewer than 10 controls of their own context and batch"
        in caplog.text
    )
    with pytest.raises(
        ValueError,
        match="context 'context2' has no control cell to start from; these have some: context1",
    ):
        model.predict("P1", context="context2")
    sh.tl.predict(screen, model)
    assert (
        "context 'context2' has too few control cells; twins start from same batch" in caplog.text
    )
    starts = screen.obs["predicted_source"][screen.obs["predicted_predicted"]]
    assert set(screen.obs["context"][starts]) == {"context1"}


# -- another AnnData -------------------------------------------------------------------------------------------------


def test_a_query_with_other_genes_or_another_order(screen, fit_flow):
    model = fit_flow(screen, **SHORT)
    with pytest.raises(
        KeyError,
        match=r"3 of the 60 features that the model was trained on are not in this AnnData",
    ):
        sh.tl.predict(screen[:, :57].copy(), model)
    turned = screen[:, ::-1].copy()
    sh.tl.predict(turned, model)
    sh.tl.predict(screen, model)
    np.testing.assert_allclose(
        turned.layers["predicted"][:, ::-1], screen.layers["predicted"], atol=1e-5
    )


def test_a_query_with_more_genes_is_told_which_to_take(screen, fit_flow):
    model = fit_flow(screen[:, :50].copy(), **SHORT)
    with pytest.raises(
        ValueError, match=r"predicts 50 genes and this AnnData has 60.*model\.vocabulary\.features"
    ):
        sh.tl.predict(screen, model)
    fewer = screen[:, list(model.vocabulary.features)].copy()
    sh.tl.predict(fewer, model)
    assert fewer.layers["predicted"].shape == fewer.shape


def test_a_query_without_what_predictions_start_from(screen, fit_flow):
    model = fit_flow(screen, **SHORT)
    perturbed = screen[screen.obs["perturbation"] != "control"].copy()
    for call in (
        lambda: sh.tl.predict(perturbed, model),
        lambda: model.predict("P1", adata=perturbed),
    ):
        with pytest.raises(
            ValueError,
            match=r"no cell of this AnnData is labelled 'control' in obs\['perturbation'\]",
        ):
            call()
    control = screen[screen.obs["perturbation"] == "control"].copy()
    with pytest.raises(
        ValueError, match=r"no perturbation was asked for; name perturbations, as in .*\['P1'\]"
    ):
        model.predict(adata=control)
    assert model.predict("P1", adata=control, n_cells=4).n_obs == 4
    del screen.obs["perturbation"]
    with pytest.raises(KeyError, match=r"'perturbation' is not in adata\.obs"):
        model.predict("P1", adata=screen)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (
            lambda a: a.__setattr__("X", a.layers["counts"]),
            r"raw counts.*sh\.pp\.prepare\(adata, normalize='log1p'\)",
        ),
        (lambda a: a.__setattr__("X", a.X * 1000), "not logged"),
        (
            lambda a: a.__setattr__("X", np.where(np.arange(a.n_vars) == 3, np.nan, dense(a.X))),
            "NaN or infinite values",
        ),
        (
            lambda a: a.__setattr__("X", np.full(a.shape, 1.5)),
            "training cells do not vary in any of the 60 features",
        ),
    ],
    ids=["counts", "not logged", "missing", "constant"],
)
def test_values_that_cannot_be_learned_from(screen, fit_flow, spoil, words):
    spoil(screen)
    keys = set(screen.uns)
    with pytest.raises(ValueError, match=words):
        fit_flow(screen)
    assert set(screen.uns) == keys


# -- trouble on the way ----------------------------------------------------------------------------------------------


def test_a_loss_that_is_not_finite_names_the_step_and_the_conditions(screen, fit_flow):
    with pytest.raises(
        FloatingPointError, match=r"the loss is \w+ at step \d+, on the conditions 'P.* \| context"
    ) as told:
        fit_flow(screen, lr=1e30, warmup=0.0, ema=None)
    assert "Try a smaller lr" in str(told.value)
    assert "There is no checkpoint yet" in str(told.value)


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory"), MemoryError("Unable to allocate")]
)
def test_out_of_memory_says_what_helps(screen, fit_flow, error):
    words = r"memory ran out in training.*store='streamed'.*smaller set_size or batch_conditions"
    with pytest.raises(MemoryError, match=words):
        fit_flow(screen, callbacks=[Raise(2, error)])


def test_a_matrix_that_does_not_fit_says_what_helps(screen, fit_flow, monkeypatch):
    empty = np.empty

    def full(shape, dtype=float, **options):
        if np.array_equal(shape, (screen.n_obs, 8)):
            msg = "Unable to allocate"
            raise MemoryError(msg)
        return empty(shape, dtype, **options)

    monkeypatch.setattr(np, "empty", full)
    with pytest.raises(
        MemoryError, match=r"the cells take 0\.0 GB of memory, .* train with store='streamed'"
    ):
        fit_flow(screen, store="resident")


def test_a_full_disk_does_not_end_the_training(divided, fit_flow, tmp_path, monkeypatch, caplog):
    def fails(*_, **__):
        raise OSError(28, "No space left on device")

    expected = fit_flow(divided)
    monkeypatch.setattr(torch, "save", fails)
    with caplog.at_level(logging.WARNING):
        model = fit_flow(divided, checkpoint_dir=tmp_path)
    assert "could not be written ([Errno 28] No space left on device)" in caplog.text
    np.testing.assert_array_equal(model.predict("P1").X, expected.predict("P1").X)
