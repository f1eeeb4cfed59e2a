"""ConditionalMonge as its user sees it: cells in and the same cells moved out, doses, spaces, and what stays on disk."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import shoal as sh

torch = pytest.importorskip("torch", reason="networks need the extra 'models'")
pytest.importorskip("scvi", reason="networks need the extra 'models'")
from lightning.pytorch.callbacks import Callback  # noqa: E402

from shoal.metrics import energy_distance  # noqa: E402
from shoal.models import ConditionalMonge  # noqa: E402
from shoal.models.monge._config import LATENT, PRESETS, TRAINING  # noqa: E402

from ...helpers import dense  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_thread")
TINY = {"n_latent": 8, "width": 16, "depth": 1}
FAST = {
    "max_steps": 6,
    "val_every": 10,
    "batch_conditions": 4,
    "set_size": 16,
    "accelerator": "cpu",
}
STILL = {"max_steps": 1, "lr": 1e-12, "ema": None}  # a step that changes nothing
each_preset = pytest.mark.parametrize("preset", PRESETS)
each_latent = pytest.mark.parametrize("latent", LATENT)


def fit(adata, *, config=None, **arguments):
    """Train a small map; arguments are those of ``tl.fit``."""
    return sh.tl.fit(adata, "conditional_monge", config=TINY | (config or {}), **FAST | arguments)


def controls(adata):
    return adata[adata.obs["perturbation"] == "control"].copy()


def signed(adata):
    """Return a copy with values below 0 too, so that predictions are not brought back to 0."""
    other = adata.copy()
    other.X = dense(adata.X) - 1
    return other


def assert_same(one, two):
    """Both models have the same weights, spaces and past, to the bit."""
    for (name, a), (_, b) in zip(
        one.module.state_dict().items(), two.module.state_dict().items(), strict=True
    ):
        assert torch.equal(a, b), name
    assert one.history.keys() == two.history.keys()
    for name, table in one.history.items():
        pd.testing.assert_frame_equal(table, two.history[name], check_exact=True)


@pytest.fixture(scope="module")
def dosed():
    """Return two drugs at four doses, of which 10 is held out, and controls whose dose is written as 0."""
    adata = sh.ds.simulate(
        n_perturbations=2,
        n_cells=60,
        n_control=100,
        n_genes=60,
        doses=[0.1, 1.0, 10.0, 100.0],
        effect_size=8.0,
        rng=0,
    )
    sh.pp.prepare(adata, normalize="log1p", n_comps=8)
    sh.pp.split(adata, by="dose", test=[10.0])
    return adata


# -- from the screen to cells ----------------------------------------------------------------------------------------


@each_latent
@each_preset
def test_a_preset_trains_and_predicts_in_every_space(divided, preset, latent):
    model = fit(divided, preset=preset, config={"latent": latent, "warm_steps": 2}, max_steps=10)
    made = model.predict(["P1", "P2+P3"], context="context1", n_cells=10)
    assert made.shape == (20, 60)
    assert np.isfinite(dense(made.X)).all()
    assert dense(made.X).min() >= 0
    assert list(made.var_names) == list(divided.var_names)
    assert (
        made.obs["perturbation"].tolist() == ["P1"] * 10 + ["P2+P3"] * 10
    )  # a pair that nobody has measured
    assert set(made.obs["context"]) == {"context1"}
    assert (model.space.axes is None) == (latent != "pca")
    assert model.space.n_dims == 8


def test_the_default_is_shoal_with_its_settings_of_training(screen):
    ConditionalMonge.setup_anndata(screen)
    model = ConditionalMonge(screen, n_latent=8)
    assert model.defaults == TRAINING["shoal"]
    assert model.module.config == PRESETS["shoal"]
    with pytest.raises(
        ValueError, match=r"this ConditionalMonge is not trained; call model.train\(\) first"
    ):
        model.predict("P1")
    published = ConditionalMonge(screen, preset="published", n_latent=8, width=32)
    assert published.defaults == TRAINING["published"]
    assert (published.module.config.network.width, published.module.config.network.depth) == (
        32,
        PRESETS["published"].network.depth,
    )
    assert published.module.condition is None


@each_preset
def test_history_has_the_divergence_and_the_gap_above_its_floor(divided, preset):
    settings = {"warm_steps": 3, "gap": 1.0, "gap_epsilon": 0.5, "energy": 0.0}
    model = fit(divided, preset=preset, config=settings, max_steps=30, lr=2e-2, refit=False)
    shown = {name: table[name].tolist() for name, table in model.history.items()}
    terms = {
        "train_loss",
        "train_paired",
        "train_divergence",
        "train_gap",
        "grad_norm",
        "val_energy",
    }
    assert set(shown) == terms
    assert all(np.isfinite(values).all() for values in shown.values())
    assert model.history["train_paired"].index.tolist() == [1]
    assert model.history["train_gap"].index.tolist() == [10, 20, 30]
    assert min(shown["train_gap"]) > -0.02  # with the floor, -epsilon log(n), it would be far below
    loss = np.add(shown["train_divergence"], shown["train_gap"])
    np.testing.assert_allclose(shown["train_loss"][1:], loss, rtol=1e-4, atol=1e-5)
    assert model.fit_result.val_energy == pytest.approx(min(shown["val_energy"]))


@each_preset
def test_learning_beats_the_control_cells(screen, preset):
    config = {"width": 32, "warm_steps": 40, "latent": "pca"}
    model = fit(screen, preset=preset, config=config, max_steps=80, lr=1e-2, set_size=32)
    table = model.diagnose(max_cells=40)
    assert (table["energy"] / table["energy_control"]).median() < 0.7
    assert (table["cost"] > 0).all()
    assert table["swaps"].max() < 0.1  # few pairs of cells would gain by swapping their images


# -- the cells that are moved ----------------------------------------------------------------------------------------


@each_latent
@each_preset
def test_a_map_without_an_effect_leaves_every_twin_its_source(screen, preset, latent):
    model = fit(screen, preset=preset, config={"latent": latent}, **STILL)
    sh.tl.predict(screen, model, key_added="twin", cross_context=False)
    twins = screen.obs["twin_predicted"].to_numpy()
    perturbed = (screen.obs["perturbation"] != "control").to_numpy()
    np.testing.assert_array_equal(twins, perturbed)
    source = screen.obs["twin_source"].to_numpy()[twins]
    np.testing.assert_allclose(
        dense(screen.layers["twin"])[twins], dense(screen[source].X), atol=1e-5
    )
    np.testing.assert_array_equal(dense(screen.layers["twin"])[~twins], dense(screen.X)[~twins])
    for key in ("context", "batch"):
        assert (
            screen.obs[key].astype(str)[source].to_numpy()
            == screen.obs[key].astype(str)[twins].to_numpy()
        ).all()


@each_preset
def test_a_twin_is_its_source_moved(screen, preset):
    screen = signed(screen)
    model = fit(screen, preset=preset, config={"latent": "pca"}, max_steps=20, lr=1e-2)
    sh.tl.predict(screen, model, cross_context=False)
    chosen = (screen.obs["predicted_predicted"] & (screen.obs["perturbation"] == "P2")).to_numpy()
    source, cells = screen.obs["predicted_source"][chosen], controls(screen)
    carried = pd.DataFrame(dense(model.transport(cells, "P2").X), index=cells.obs_names)
    twins = dense(screen.layers["predicted"])[chosen]
    np.testing.assert_allclose(twins, carried.loc[source], atol=1e-5)
    assert np.abs(twins - dense(screen[source].X)).max() > 0.01


def test_what_the_components_leave_out_of_a_cell_stays(screen):
    screen = signed(screen)
    model = fit(screen, config={"n_latent": 4, "n_visible": 2}, max_steps=20, lr=1e-2)
    cells = controls(screen)
    moved = dense(model.transport(cells, "P1").X) - dense(cells.X)
    within = moved @ model.space.axes @ np.linalg.pinv(model.space.axes)
    np.testing.assert_allclose(moved, within, atol=1e-5)
    assert np.abs(moved).max() > 0.01
    assert model.module.config.network.n_visible == 2


@each_preset
def test_arrays_are_carried_as_the_anndata_is(screen, preset):
    del screen.uns["shoal"]
    sh.pp.annotate(screen, "perturbation", control="control", context_key="context")
    model = fit(screen, preset=preset, config={"warm_steps": 0, "use_context": True}, lr=1e-2)
    first, second = (controls(screen[screen.obs["context"] == f"context{i}"]) for i in (1, 2))
    x = dense(first.X)
    for values in (x, sparse.csr_matrix(x)):
        first.X = values
        made = model.transport(values, "P2+P3", context="context1")
        assert type(made) is type(values)
        assert made.dtype == np.float32
        whole = model.transport(first, "P2+P3")
        np.testing.assert_allclose(dense(made), dense(whole.X), rtol=1e-5)
        assert whole.obs["source"].tolist() == first.obs_names.tolist()
    there = np.abs(
        model.transport(x, "P1", context="context2") - model.transport(x, "P1", context="context1")
    )
    assert (there.max() > 0) == (preset == "shoal")  # the network as published has no place for it
    assert np.isfinite(
        dense(model.predict("P1", context="context2", adata=second, n_cells=5).X)
    ).all()


@each_preset
def test_interpolation_is_straight_and_begins_at_the_cells(screen, preset):
    screen = signed(screen)
    model, cells = fit(screen, preset=preset, config={"latent": "pca"}, lr=1e-2), controls(screen)
    made = model.interpolate(cells, "P1", times=(0.0, 0.5, 1.0))
    first, middle, last = (dense(made[made.obs["time"] == t].X) for t in (0.0, 0.5, 1.0))
    np.testing.assert_allclose(first, dense(cells.X), atol=1e-6)
    np.testing.assert_array_equal(last, dense(model.transport(cells, "P1").X))
    np.testing.assert_allclose(middle, (first + last) / 2, atol=1e-5)
    assert made.obs["source"].tolist() == 3 * cells.obs_names.tolist()


def test_noise_makes_the_images_of_a_cell_differ(screen):
    cells = controls(screen)
    for n_noise in (0, 4):
        model = fit(screen, config={"n_noise": n_noise, "warm_steps": 2}, max_steps=20, lr=1e-2)
        one, again, other = (  # zeros are drawn, too
            dense(model.transport(cells, "P1", rng=seed, match_zeros=False).X) for seed in (0, 0, 1)
        )
        np.testing.assert_array_equal(one, again)
        assert np.array_equal(one, other) == (n_noise == 0)


# -- what is asked for -----------------------------------------------------------------------------------------------


@each_preset
def test_unseen_perturbations_come_from_their_vectors(divided, preset):
    table = pd.DataFrame(np.eye(6, 3) + 0.5, index=["P1", "P2", "P3", "P4", "P5", "NEW"])
    model = fit(
        divided,
        preset=preset,
        embedding=table,
        config={"latent": "pca", "unseen_weight": 0.25},
        lr=1e-2,
    )
    ask = {"context": "context1", "n_cells": 8, "cross_context": False}
    made = model.predict(["NEW", "NEW+P1", "P3"], **ask)
    assert made.obs["perturbation"].tolist() == ["NEW"] * 8 + ["NEW+P1"] * 8 + ["P3"] * 8
    assert np.isfinite(dense(made.X)).all()
    if preset == "shoal":
        whole = fit(
            divided, embedding=table, config={"latent": "pca", "unseen_weight": 1.0}, lr=1e-2
        )
        assert_same(model, whole)  # it is a setting of the prediction
        differs = (
            np.abs(dense(whole.predict(["NEW", "NEW+P1", "P3"], **ask).X) - dense(made.X)).max(1)
            > 1e-6
        )
        assert differs.reshape(3, 8).all(1).tolist() == [True, True, False]


@each_preset
def test_attention_pools_combinations_in_any_order(divided, preset):
    model = fit(
        divided,
        preset=preset,
        config={"pooling": "attention", "latent": "pca"},
        max_steps=20,
        lr=1e-2,
    )
    cells = controls(divided)
    both, turned, one = (dense(model.transport(cells, name).X) for name in ("P1+P4", "P4+P1", "P1"))
    np.testing.assert_array_equal(both, turned)
    assert np.abs(both - one).max() > 1e-4
    assert any("score" in name for name, _ in model.module.named_parameters())


@each_preset
def test_doses_between_and_outside_those_of_training(dosed, preset):
    model = fit(
        dosed, preset=preset, config={"latent": "pca", "warm_steps": 40}, max_steps=80, lr=1e-2
    )
    v = model.vocabulary
    assert (v.dose_centre, v.dose_scale) == pytest.approx(
        (1 / 3, np.std([-1, 0, 2]))
    )  # not that of the controls
    cells = controls(dosed)
    as_moved = {"match_zeros": False, "renew_library": False}  # what the map itself does
    moved = {
        dose: dense(model.transport(cells, "P1", dose=dose, **as_moved).X)
        for dose in (0.01, 0.1, 1.0, 10.0, 100.0, 1000.0)
    }
    for (low, one), (high, two) in zip(
        list(moved.items())[:-1], list(moved.items())[1:], strict=True
    ):
        assert np.abs(one - two).max() > 1e-3, (low, high)
    assert max(values.max() for values in moved.values()) < 2 * dosed.X.max()
    real = dosed[(dosed.obs["perturbation"] == "P1") & (dosed.obs["dose"] == 10.0)]
    axes = dosed.varm["PCs"]
    far = {
        dose: energy_distance(values @ axes, dense(real.X) @ axes) for dose, values in moved.items()
    }
    assert far[10.0] < 0.7 * energy_distance(dense(cells.X) @ axes, dense(real.X) @ axes)
    assert far[10.0] < far[0.1]
    sh.tl.predict(held := dosed.copy(), model, subset="test")
    assert set(held.obs["dose"][held.obs["predicted_predicted"]]) == {10.0}


@each_preset
def test_genes_as_they_are_and_a_representation(screen, preset):
    genes = fit(screen, preset=preset, config={"n_latent": None})
    assert (genes.space.n_dims, genes.space.description, genes.module.config.network.n_visible) == (
        60,
        "60 features",
        None,
    )
    assert genes.predict("P1", n_cells=5).shape == (5, 60)
    rep = fit(screen, preset=preset, use_rep="X_pca")
    made = rep.predict("P1", n_cells=5)
    assert list(made.var_names) == [f"X_pca_{i}" for i in range(8)]
    sh.tl.predict(screen, rep)
    assert screen.obsm["X_predicted"].shape == (screen.n_obs, 8)
    assert "predicted" not in screen.layers
    assert np.isfinite(screen.obsm["X_predicted"]).all()


# -- training --------------------------------------------------------------------------------------------------------


@each_latent
def test_nothing_is_learned_from_test_cells(divided, rng, latent):
    test = (divided.obs["split"] == "test").to_numpy()
    divided.X = dense(divided.X)
    other = divided.copy()
    other.X[test] = rng.normal(size=(test.sum(), other.n_vars)) * 30
    one, two = (
        fit(each, config={"latent": latent, "warm_steps": 2}, max_steps=10)
        for each in (divided, other)
    )
    assert_same(one, two)
    cells = controls(divided)
    np.testing.assert_array_equal(
        one.space.encode(dense(cells.X)), two.space.encode(dense(cells.X))
    )
    np.testing.assert_array_equal(
        dense(one.transport(cells, "P1").X), dense(two.transport(cells, "P1").X)
    )


class Watch(Callback):
    """Keeps the weights that the optimizer leaves after every step, and interrupts where it is asked to."""

    def __init__(self, stop=None):
        self.seen, self.stop = [], stop

    def on_train_batch_start(self, trainer, pl_module, *_):
        if trainer.global_step == self.stop:
            raise KeyboardInterrupt
        self.seen.append(
            torch.nn.utils.parameters_to_vector(pl_module.parameters()).detach().clone()
        )

    def on_train_batch_end(self, trainer, pl_module, *_):
        self.last = torch.nn.utils.parameters_to_vector(pl_module.parameters()).detach().clone()


@pytest.mark.parametrize("ema", [None, 0.9])
def test_the_average_of_the_weights_is_what_remains(screen, ema):
    model = fit(
        screen,
        config={"warm_steps": 3},
        max_steps=8,
        lr=1e-2,
        ema=ema,
        callbacks=[watch := Watch()],
    )
    left = torch.nn.utils.parameters_to_vector(model.module.parameters()).detach()
    assert torch.equal(left, watch.last) == (ema is None)
    on_the_way = torch.stack([*watch.seen, watch.last])
    assert (left >= on_the_way.amin(0) - 1e-6).all()
    assert (left <= on_the_way.amax(0) + 1e-6).all()
    assert int(model.module.n_trained) == 8  # which is counted, not averaged


@pytest.mark.parametrize("stop", [3, 13])
@pytest.mark.parametrize(("preset", "ema"), [("shoal", 0.9), ("published", None)])
def test_an_interrupted_training_goes_on_to_the_bit(divided, tmp_path, preset, ema, stop):
    """Whether it broke off among the warm steps or after them."""
    asked = {"preset": preset, "max_steps": 20, "val_every": 2, "rng": 3, "ema": ema}
    asked["config"] = {"warm_steps": 8, "latent": "pca"}
    with pytest.raises(KeyboardInterrupt, match="interrupted"):
        fit(divided, checkpoint_dir=tmp_path, callbacks=[Watch(stop)], **asked)
    resumed = fit(divided, checkpoint_dir=tmp_path, resume=True, **asked)
    whole = fit(divided, **asked)
    assert_same(resumed, whole)
    assert (
        resumed.history["train_paired"].index.max()
        <= 8
        < resumed.history["train_divergence"].index.min()
    )
    assert resumed.fit_result.steps == 20


@pytest.mark.parametrize(
    ("preset", "latent", "n_noise"), [("shoal", "pca", 3), ("published", "autoencoder", 0)]
)
def test_a_model_comes_back_from_disk(divided, tmp_path, preset, latent, n_noise):
    config = {"latent": latent, "n_noise": n_noise, "warm_steps": 2, "n_visible": "auto"}
    model = fit(divided, preset=preset, config=config)
    assert isinstance(model.module.config.network.n_visible, int) == (
        latent == "pca"
    )  # decided, and not again when it is loaded
    model.save(tmp_path / "m", save_anndata=True)
    for back in (
        ConditionalMonge.load(tmp_path / "m"),
        ConditionalMonge.load(tmp_path / "m", divided),
    ):
        assert_same(back, model)
        assert back.module.config == model.module.config
        one, two = (m.predict(["P1", "P4+P5"], n_cells=9, rng=2) for m in (back, model))
        np.testing.assert_array_equal(dense(one.X), dense(two.X))
