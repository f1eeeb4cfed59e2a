"""Pretraining on cells without labels: what is drawn, what it is told, and what it leaves behind."""

from __future__ import annotations

import numpy as np
import pytest

import shoal as sh

torch = pytest.importorskip("torch", reason="networks need the extra 'models'")
pytest.importorskip("scvi", reason="networks need the extra 'models'")

from shoal.models import PerturbDiff  # noqa: E402
from shoal.models.perturbdiff._pretraining import MarginalStore, marginals, unlabelled  # noqa: E402
from shoal.training import ResidentStore, SetSampler  # noqa: E402

FAST = {"set_size": 16, "batch_conditions": 4, "accelerator": "cpu"}


@pytest.fixture
def model(divided, one_thread):
    PerturbDiff.setup_anndata(divided)
    return PerturbDiff(divided, width=16, depth=1)


def weights(model):
    return torch.cat([p.detach().ravel() for p in model.module.parameters()])


def test_marginals_are_the_contexts_and_no_cell_that_is_held_out(model):
    cells = model.cells
    told = marginals(cells, cells.train | cells.train_control, model.vocabulary)
    assert told.names == ("context1", "context2")
    assert (told.parts == -1).all()
    drawn = np.concatenate(told.cells)
    assert len(np.unique(drawn)) == len(drawn)
    assert set(drawn) == set(np.flatnonzero(cells.split == 0))
    for code, own in enumerate(told.cells):
        assert {cells.contexts[c] for c in cells.context[own]} == {told.names[code]}


def test_contexts_repeat_so_that_a_step_holds_several_sets(model):
    cells = model.cells
    told = marginals(cells, cells.train, model.vocabulary, least=5)
    assert told.names == ("context1", "context2") * 3
    assert SetSampler(told, batch_conditions=5).batch_conditions == 5


def test_sets_are_told_neither_a_control_nor_a_perturbation(model):
    cells = model.cells
    told = marginals(cells, cells.train, model.vocabulary)
    values = model.space.encode(cells.rows.take(np.arange(len(cells.split))))
    nothing = torch.full((values.shape[1],), 7.0)
    batch = MarginalStore(ResidentStore(values, SetSampler(told, set_size=16)), nothing).batch(0)
    assert (batch.source == 7).all()
    assert not batch.condition["present"].any()
    assert batch.condition["context"].tolist() == told.context[batch.index].tolist()
    places = {row.tobytes() for row in values[np.concatenate(told.cells)]}
    assert all(row.tobytes() in places for row in batch.target.reshape(-1, values.shape[1]).numpy())


def test_what_stands_in_for_a_control_is_the_mean_cell_or_as_published_zeros(divided, model):
    PerturbDiff.setup_anndata(divided)
    published = PerturbDiff(divided, preset="published", width=16, depth=1)
    assert (model.module.nothing == 0).all()
    assert model.module._in(model.module.nothing).abs().max() == 0
    torch.testing.assert_close(
        published.module._in(published.module.nothing),
        torch.zeros(divided.n_vars),
        atol=1e-6,
        rtol=0,
    )


def test_pretraining_changes_weights_and_training_goes_on_from_them(model):
    start = weights(model)
    model.pretrain(20, rng=0, **FAST)
    after = weights(model)
    assert not torch.equal(start, after)
    loss = model.history["train_loss"]["train_loss"]
    assert loss.iloc[-1] < loss.iloc[0]
    assert not model.is_trained
    with pytest.raises(ValueError, match="is not trained"):
        model.predict(["P1"])
    model.train(1, rng=0, lr=1e-9, ema=None, **FAST)
    torch.testing.assert_close(weights(model), after, atol=1e-6, rtol=0)
    assert model.is_trained


def test_the_same_seed_gives_the_same_weights(divided, one_thread):
    found = []
    for _ in range(2):
        PerturbDiff.setup_anndata(divided)
        model = PerturbDiff(divided, width=16, depth=1)
        model.pretrain(5, rng=3, **FAST)
        found.append(weights(model))
    assert torch.equal(*found)


def test_other_cells_need_no_labels_and_no_contexts(model, divided):
    other = divided[: divided.n_obs // 2, ::-1].copy()
    bare = other.copy()
    bare.obs = bare.obs[[]]
    bare.uns.clear()
    cells = unlabelled(bare, model.vocabulary)
    np.testing.assert_allclose(cells.values(np.arange(5)), divided.X[:5].toarray(), rtol=1e-6)
    assert marginals(cells, np.ones(bare.n_obs, dtype=bool), model.vocabulary).names == (
        "unknown context",
    )
    told = marginals(
        unlabelled(other, model.vocabulary), np.ones(other.n_obs, dtype=bool), model.vocabulary
    )
    assert set(told.names) == {"context1", "context2"}
    before = weights(model)
    model.pretrain(3, adata=bare, **FAST)
    assert not torch.equal(before, weights(model))


def test_cells_without_the_genes_or_in_another_scale_are_refused(model, divided):
    with pytest.raises(KeyError, match="features that the model was trained on are not in this"):
        model.pretrain(1, adata=divided[:, :30].copy(), **FAST)
    counts = divided.copy()
    counts.X = np.round(np.expm1(counts.X.toarray()) * 5)
    with pytest.raises(ValueError, match="a model takes log-normalised values"):
        model.pretrain(1, adata=counts, **FAST)
    assert not model.is_trained
    sh.tl.fit(
        divided, "perturbdiff", max_steps=1, config={"width": 16, "depth": 1}, **FAST
    )  # nothing is left behind


def test_an_interrupted_pretraining_goes_on_where_it_was(divided, one_thread, tmp_path):
    from lightning.pytorch import Callback

    class Stop(Callback):
        def on_train_batch_end(self, trainer, module, outputs, batch, index):
            if trainer.global_step == 7:
                raise KeyboardInterrupt

    def made():
        PerturbDiff.setup_anndata(divided)
        return PerturbDiff(divided, width=16, depth=1)

    options = {"rng": 1, "checkpoint_dir": tmp_path, "val_every": 4, **FAST}
    whole, broken = made(), made()
    whole.pretrain(12, **{**options, "checkpoint_dir": tmp_path / "whole"})
    with pytest.raises(KeyboardInterrupt):
        broken.pretrain(12, callbacks=[Stop()], **options)
    assert not broken.is_trained
    broken.pretrain(12, resume=True, **options)
    assert torch.equal(weights(whole), weights(broken))
