"""A reflowed flow is a flow of its own, and goes straight."""

from __future__ import annotations

import anndata
import numpy as np
import pytest

import shoal as sh
from shoal.metrics import energy_distance

torch = pytest.importorskip("torch", reason="networks need the extra 'models'")
pytest.importorskip("scvi", reason="networks need the extra 'models'")
from lightning.pytorch.callbacks import Callback  # noqa: E402

from ...helpers import dense  # noqa: E402

SHORT = {
    "max_steps": 10,
    "val_every": 10,
    "batch_conditions": 4,
    "set_size": 16,
    "accelerator": "cpu",
    "n_steps": 4,
}


def weights(model):
    return {name: value.clone() for name, value in model.module.state_dict().items()}


def same(one, two):
    return all(torch.equal(one[name], two[name]) for name in one)


@pytest.fixture
def first(divided, fit_flow):
    return fit_flow(divided)


@pytest.mark.slow
def test_few_steps_are_as_good_as_many_of_the_first(one_thread):
    """A bent flow: independent pairs of two clusters far apart, that one perturbation moves to two others."""
    rng = np.random.default_rng(0)
    side = rng.choice([-1.0, 1.0], 1200)[:, None]
    x = side * [[0.0, 3.0]] + 0.3 * rng.normal(size=(1200, 2))
    x[600:] = (
        rng.choice([-1.0, 1.0], 600)[:, None] * [[3.0, 3.0]]
        + [[6.0, 0.0]]
        + 0.3 * rng.normal(size=(600, 2))
    )
    adata = anndata.AnnData(x.astype(np.float32), obs={"p": ["c"] * 600 + ["A"] * 600})
    adata.obs_names = [f"cell{i}" for i in range(1200)]
    sh.pp.annotate(adata, "p", control="c")
    config = {"n_latent": None, "width": 64, "n_visible": None, "dropout": 0.0}
    slow = {"set_size": 128, "accelerator": "cpu", "rng": 0}
    model = sh.tl.fit(adata, "flow", preset="rectified", max_steps=400, config=config, **slow)
    second = model.reflow(300, n_pairs=600, **slow)

    def energy(of, **options):
        return energy_distance(of.predict("A", n_cells=600, **options).X, x[600:])

    def bend(of):
        one, many = (of.predict("A", n_cells=600, n_steps=n, sampler="euler").X for n in (1, 100))
        return np.square(one - many).mean()

    assert bend(second) < 0.3 * bend(model)
    assert energy(second, n_steps=1, sampler="euler") < 0.5 * energy(
        model, n_steps=1, sampler="euler"
    )
    many = energy(model, n_steps=50, sampler="heun")
    assert energy(second) < many + 0.05 * energy_distance(x[:600], x[600:])


def test_it_is_a_new_model_and_the_first_stays(divided, first):
    before, history = weights(first), first.history
    second = first.reflow(**SHORT | {"max_steps": 5}, n_pairs=20)
    assert isinstance(second, sh.models.Flow)
    assert same(weights(first), before)
    assert first.history is history
    assert not same(weights(second), before)
    assert second.is_trained
    assert second.fit_result.steps == 5
    assert (second.vocabulary, second.space, second.cells) == (
        first.vocabulary,
        first.space,
        first.cells,
    )
    config = second.module.config
    assert (config.loss.coupling, config.sampling.n_steps, config.sampling.guidance) == (
        "none",
        4,
        1.0,
    )
    assert first.module.config.sampling.n_steps == 20
    assert first.module.guidance


def test_saved_loaded_and_reflowed_again(divided, first, tmp_path):
    second = first.reflow(**SHORT, n_pairs=20)
    second.save(tmp_path / "model")
    loaded = sh.models.Flow.load(tmp_path / "model", divided)
    one, two = (model.predict(["P1", "P4+P5"], n_cells=20, rng=0) for model in (second, loaded))
    np.testing.assert_array_equal(dense(one.X), dense(two.X))
    assert loaded.module.config == second.module.config
    third = loaded.reflow(**SHORT, n_pairs=20)
    assert not same(weights(third), weights(second))
    assert np.isfinite(dense(third.predict("P1", n_cells=5).X)).all()
    sh.tl.predict(divided, third, key_added="third", subset="test")
    assert divided.obs["third_predicted"].sum() == (divided.obs["split"] == "test").sum()
    back = third.counterfactual(divided, "control")
    assert back.n_obs == (divided.obs["perturbation"] != "control").sum()


class Interrupt(Callback):
    """Does what Ctrl-C does, before the seventh step."""

    def on_train_batch_start(self, trainer, *_):
        if trainer.global_step == 6:
            raise KeyboardInterrupt


def test_the_seed_decides_also_after_an_interruption(first, tmp_path):
    often = SHORT | {"val_every": 5, "n_pairs": 20}
    whole, other = first.reflow(**often, rng=3), first.reflow(**often, rng=4)
    with pytest.raises(KeyboardInterrupt, match="last.ckpt"):
        first.reflow(**often, rng=3, checkpoint_dir=tmp_path, callbacks=[Interrupt()])
    resumed = first.reflow(**often, rng=3, checkpoint_dir=tmp_path, resume=True)
    assert same(weights(whole), weights(resumed))
    assert not same(weights(whole), weights(other))


def test_pairs_are_where_the_flow_takes_controls_of_the_condition(divided, fit_flow, monkeypatch):
    first = fit_flow(divided, config={"cross_context": 0.0})
    from shoal.models.flow import _reflow

    kept = []
    monkeypatch.setattr(
        _reflow,
        "train_from",
        lambda *_, make_store, **__: kept.append(make_store(sampler, "auto")),
    )
    from shoal.models.base._sets import conditions_of
    from shoal.training import SetSampler

    conditions = conditions_of(first.cells, first.trained_cells, first.vocabulary)
    sampler = SetSampler(conditions, set_size=8, batch_conditions=len(conditions))
    first.reflow(n_pairs=12)
    (store,) = kept
    batch = store.batch(0)
    assert set(batch.index.tolist()) == set(range(len(conditions)))
    control = divided.obs["perturbation"] == "control"
    codes = {name: i for i, name in enumerate(first.vocabulary.contexts)}
    for k in range(len(batch)):
        context = int(batch.condition["context"][k])
        mine = divided[
            (control & (divided.obs["context"].astype(str).map(codes) == context)).to_numpy()
        ]
        encoded = first.space.encode(mine.X)
        np.testing.assert_allclose(batch.condition["centre"][k], encoded.mean(0), atol=1e-5)
        distance = np.abs(batch.source[k].numpy()[:, None] - encoded[None]).max(2)
        assert distance.min(1).max() < 1e-4
        batches = mine.obs["batch"].astype(str).to_numpy()[distance.argmin(1)]
        assert [
            first.vocabulary.batches[i] for i in batch.batch_index[k].tolist()
        ] == batches.tolist()
    expected = first.module.sample(
        batch.source, batch.condition, batch.batch_index, generator=torch.Generator(), n_steps=100
    )
    torch.testing.assert_close(batch.target, expected, atol=1e-4, rtol=1e-4)


def test_validation_is_on_real_cells(divided, fit_flow):
    first = fit_flow(divided, refit=False)
    second = first.reflow(**SHORT | {"lr": 1e-12, "ema": None}, n_pairs=20)
    (energy,) = second.history["val_energy"]["val_energy"]
    assert energy == pytest.approx(first.fit_result.val_energy, rel=0.3)


def test_streamed_screens_reflow_too(first):
    assert first.reflow(**SHORT, n_pairs=20, store="streamed").is_trained


@pytest.mark.parametrize("preset", ["cellflux", "noise2data"])
def test_flows_from_noise(divided, fit_flow, preset):
    second = fit_flow(divided, preset=preset, max_steps=3).reflow(**SHORT, n_pairs=20)
    assert np.isfinite(dense(second.predict("P1", n_cells=5).X)).all()


def test_errors_name_what_is_wrong(screen, fit_flow):
    with pytest.raises(
        ValueError,
        match="straightens the paths of a flow without noise; this one has gamma='quadratic'",
    ):
        fit_flow(screen, preset="stochastic", max_steps=3).reflow()
    model = fit_flow(screen, max_steps=3)
    with pytest.raises(ValueError, match="n_pairs must be a whole number"):
        model.reflow(n_pairs=0)
    with pytest.raises(TypeError, match="training has no setting 'pairs'"):
        model.reflow(**SHORT, n_pairs=5, pairs=3)
    second = model.reflow(**SHORT, n_pairs=20)
    with pytest.raises(ValueError, match="guidance is built into the pairs of a reflowed flow"):
        second.predict("P1", guidance={"perturbation": 2.0})
    with pytest.raises(ValueError, match="trains on pairs made earlier, and there are none"):
        second.train(5)
    with pytest.raises(ValueError, match="trains on pairs made earlier, and there are none"):
        fit_flow(screen, config={"coupling": "none"})
    model = sh.models.Flow(screen, n_latent=4)
    with pytest.raises(ValueError, match="this Flow is not trained"):
        model.reflow()
