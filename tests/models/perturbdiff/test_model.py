"""PerturbDiff as its user sees it: what goes in, what comes out, how far it is from the cells, and what stays on disk."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

import shoal as sh

torch = pytest.importorskip("torch", reason="networks need the extra 'models'")
pytest.importorskip("scvi", reason="networks need the extra 'models'")
from lightning.pytorch.callbacks import Callback  # noqa: E402

from shoal.models import PerturbDiff  # noqa: E402
from shoal.models.perturbdiff._config import PRESETS, TRAINING  # noqa: E402

from ...helpers import dense  # noqa: E402

each_preset = pytest.mark.parametrize("preset", PRESETS)
STILL = {"max_steps": 1, "lr": 1e-12, "ema": None}  # a step that changes nothing


class Interrupt(Callback):
    """Does what Ctrl-C does, before a step."""

    def on_train_batch_start(self, trainer, *_):
        if trainer.global_step == 13:
            raise KeyboardInterrupt


def assert_same(one, two):
    """Both models have the same weights and the same past, to the bit."""
    for (name, a), (_, b) in zip(
        one.module.state_dict().items(), two.module.state_dict().items(), strict=True
    ):
        assert torch.equal(a, b), name
    for name, table in one.history.items():
        pd.testing.assert_frame_equal(table, two.history[name], check_exact=True)


# -- from the screen to cells ----------------------------------------------------------------------------------------


@each_preset
def test_a_preset_trains_and_predicts(divided, fit_perturbdiff, preset):
    model = fit_perturbdiff(divided, preset=preset, max_steps=10)
    made = model.predict(["P1", "P2+P3"], context="context1", n_cells=10)
    assert made.shape == (20, 60)
    assert np.isfinite(dense(made.X)).all()
    assert dense(made.X).min() >= 0
    assert list(made.var_names) == list(divided.var_names)
    assert (
        made.obs["perturbation"].tolist() == ["P1"] * 10 + ["P2+P3"] * 10
    )  # a pair that nobody has measured
    terms = {
        "shoal": {"train_energy", "train_energy_components"},
        "published": {"train_energy", "train_mse"},
    }[preset]
    assert {name for name in model.history if name.startswith("train_")} == {"train_loss", *terms}
    assert model.history["val_energy"].index.tolist() == [10]


def test_the_default_is_shoal_with_its_settings_of_training(screen):
    PerturbDiff.setup_anndata(screen)
    model = PerturbDiff(screen)
    assert model.module.config == PRESETS["shoal"]
    assert model.defaults == TRAINING["shoal"]
    with pytest.raises(
        ValueError, match=r"this PerturbDiff is not trained; call model.train\(\) first"
    ):
        model.predict("P1")
    published = PerturbDiff(screen, preset="published", width=32)
    assert published.defaults == TRAINING["published"]
    assert (published.module.config.network.width, published.module.config.network.depth) == (32, 3)


def test_at_first_it_returns_the_cells_it_begins_with(screen, fit_perturbdiff):
    """To the zero: what is 0 stays 0, in the way to the network's units and back."""
    screen.X = np.maximum(dense(screen.X) - np.median(dense(screen.X)), 0)
    model = fit_perturbdiff(screen, **STILL)
    made = model.predict(["P1", "P2"], n_cells=100, cross_context=False)
    start = screen[made.obs["source"]].X
    np.testing.assert_allclose(dense(made.X), start, atol=1e-5)
    np.testing.assert_array_equal(dense(made.X) == 0, start == 0)
    assert 0.3 < (start == 0).mean() < 0.7
    moved = model.predict("P1", context="context1", n_cells=20)  # of the cells of the other context
    mean = {
        (p, c): screen[(screen.obs["perturbation"] == p) & (screen.obs["context"] == c)].X.mean(0)
        for p in ("P1", "control")
        for c in ("context1", "context2")
    }
    there = mean["P1", "context2"] + mean["control", "context1"] - mean["control", "context2"]
    np.testing.assert_allclose(dense(moved.X).mean(0), np.maximum(there, 0), atol=0.2)
    assert np.abs(there - mean["control", "context1"]).max() > 1


def test_a_layer_of_twins(screen, fit_perturbdiff):
    model = fit_perturbdiff(screen, preset="published", max_steps=3)
    sh.tl.predict(screen, model, key_added="twin", n_steps=5)
    control = (screen.obs["perturbation"] == "control").to_numpy()
    twin = dense(screen.layers["twin"])
    np.testing.assert_array_equal(twin[control], dense(screen.X)[control])
    assert screen.obs["twin_predicted"].to_numpy().tolist() == (~control).tolist()
    assert np.isfinite(twin).all()
    again = dense(model.twins(n_steps=5)[1])
    np.testing.assert_allclose(twin[~control], again, atol=1e-6)


def test_perturbations_without_cells_come_from_their_vectors(divided, fit_perturbdiff):
    table = pd.DataFrame(np.eye(6, 3) + 0.5, index=["P1", "P2", "P3", "P4", "P5", "NEW"])
    model = fit_perturbdiff(divided, embedding=table)
    ask = {"context": "context1", "n_cells": 8, "cross_context": False}
    made = model.predict(["NEW", "NEW+P1", "P3"], **ask)
    assert made.obs["perturbation"].tolist() == ["NEW"] * 8 + ["NEW+P1"] * 8 + ["P3"] * 8
    assert np.isfinite(dense(made.X)).all()
    other = fit_perturbdiff(divided, embedding=table, config={"unseen_weight": 1.0})
    assert_same(model, other)  # it is a setting of the sampler
    further = other.predict(["NEW", "NEW+P1", "P3"], **ask)
    differs = np.abs(dense(further.X) - dense(made.X)).max(1) > 1e-6
    assert differs.reshape(3, 8).all(1).tolist() == [True, True, False]


def test_contexts_that_were_not_in_training(screen, fit_perturbdiff):
    first = screen[screen.obs["context"] == "context1"].copy()
    for preset in PRESETS:
        model = fit_perturbdiff(first, preset=preset, **STILL)
        made = model.predict("P1", adata=screen, context="context2", n_cells=6)
        assert set(made.obs["context"]) == {"context2"}
        assert set(screen.obs["context"][made.obs["source"]]) == {"context2"}
        if preset == "shoal":
            np.testing.assert_allclose(
                dense(made.X), dense(screen[made.obs["source"]].X), atol=1e-5
            )
        else:
            assert np.isfinite(dense(made.X)).all()


@each_preset
def test_what_the_network_is_told(fit_perturbdiff, preset):
    adata = sh.ds.simulate(
        n_perturbations=2,
        n_cells=40,
        n_genes=30,
        doses=[0.1, 10.0],
        contexts=2,
        n_control=80,
        rng=0,
    )
    sh.pp.prepare(adata, normalize="log1p", n_comps=8)
    model = fit_perturbdiff(adata, preset=preset)
    assert set(model.module.condition.covariates) == {"perturbation", "dose", "context", "batch"}
    low, high = (
        dense(model.predict("P1", dose=dose, n_cells=40, cross_context=False).X)
        for dose in (0.1, 10.0)
    )
    assert np.abs(low - high).max() > 1e-4
    blind = fit_perturbdiff(adata, preset=preset, config={"use_batch": False}, **STILL)
    assert set(blind.module.condition.covariates) == {"perturbation", "dose", "context"}


def test_nothing_is_learned_from_test_cells(divided, fit_perturbdiff, rng):
    test = (divided.obs["split"] == "test").to_numpy()
    other, values = divided.copy(), dense(divided.X).copy()
    values[test] = rng.normal(size=(test.sum(), other.n_vars)) * 30
    other.X = values
    divided.X = dense(divided.X)
    one, two = fit_perturbdiff(divided, max_steps=10), fit_perturbdiff(other, max_steps=10)
    assert_same(one, two)  # its axes are among the weights
    assert one.module.axes.any()


def test_fewer_cells_than_components(screen, fit_perturbdiff):
    chosen = [
        np.flatnonzero(screen.obs["perturbation"] == name)[:n]
        for name, n in (("P1", 6), ("control", 12))
    ]
    few = screen[np.concatenate(chosen)].copy()
    model = fit_perturbdiff(few, max_steps=2)
    assert model.module.axes.shape == (60, 30)
    assert (model.module.axes.norm(dim=0) > 0.5).tolist() == [True] * 17 + [False] * 13
    assert np.isfinite(dense(model.predict(n_cells=5).X)).all()


# -- how far from the cells ------------------------------------------------------------------------------------------


def test_mmd_is_the_metric_between_twins_controls_and_cells(divided, fit_perturbdiff):
    there = divided.obs["context"] == "context2"
    few = [
        np.flatnonzero(there & (divided.obs["perturbation"] == name))[n:]
        for name, n in (("P2", 1), ("P5", 2))
    ]
    screen = divided[np.setdiff1d(np.arange(divided.n_obs), np.concatenate(few))].copy()
    model = fit_perturbdiff(screen, max_steps=3)
    table = model.mmd(rng=2)
    assert list(table) == ["split", "n", "predicted", "control"]
    assert "P2 | context1" in table.index
    assert "P2 | context2" not in table.index  # one cell has no distance to others
    assert table["n"]["P5 | context2"] == 2
    assert table["split"][["P1 | context1", "P1+P4 | context1", "P4+P5 | context2"]].tolist() == [
        "train",
        "val",
        "test",
    ]
    rows, made, source = model.twins(rng=2)
    chosen = (
        (screen.obs["perturbation"] == "P3") & (screen.obs["context"] == "context2")
    ).to_numpy()[rows]
    start, first = np.unique(source[chosen], return_index=True)
    real, control = dense(screen.X)[rows[chosen]], dense(screen.X)[start]
    found = table.loc["P3 | context2"]
    assert found["n"] == chosen.sum() == 20
    assert found["predicted"] == pytest.approx(
        sh.metrics.mmd(dense(made)[chosen][first], real), abs=1e-6
    )
    assert found["control"] == pytest.approx(sh.metrics.mmd(control, real), abs=1e-6)
    pd.testing.assert_frame_equal(model.mmd(screen.copy(), rng=2), table)


def test_mmd_is_0_on_average_where_nothing_differs(fit_perturbdiff):
    """Control cells under other names, 36 beside 12 controls in each of 40 contexts: each is begun with three times."""
    null = sh.ds.simulate(n_perturbations=1, n_cells=2, n_control=40 * 48, n_genes=20, rng=0)
    null = null[null.obs["perturbation"] == "control"].copy()
    sh.pp.prepare(null, normalize="log1p", n_comps=5)
    null.obs["context"] = np.repeat([f"c{i}" for i in range(40)], 48)
    null.obs["perturbation"] = np.where(
        np.tile(np.arange(48), 40) < 12, "control", "N" + null.obs["context"]
    )
    null.obs = null.obs[["perturbation", "context"]]
    del null.uns["shoal"]
    sh.pp.annotate(null, "perturbation", control="control", context_key="context")
    table = fit_perturbdiff(null, **STILL).mmd()
    assert len(table) == 40
    for name in ("predicted", "control"):
        error = table[name].std() / 40**0.5
        assert abs(table[name].mean()) < 4 * error < 0.02
        assert table[name].min() < 0


@pytest.mark.parametrize(("preset", "steps"), [("shoal", 100), ("published", 120)])
def test_training_brings_it_nearer(screen, fit_perturbdiff, preset, steps):
    config = {"width": 32, "cross_context": 0.0, "guidance": 1.0}
    options = {} if preset == "shoal" else {"n_steps": 20}
    before, after = (
        fit_perturbdiff(screen, preset=preset, config=config, **asked).mmd(**options)
        for asked in (STILL, {"max_steps": steps, "lr": 5e-3})
    )
    assert after["predicted"].median() < 0.7 * before["predicted"].median()
    if preset == "shoal":  # which begins as the control cells
        np.testing.assert_allclose(before["predicted"], before["control"], atol=1e-5)


# -- on disk ---------------------------------------------------------------------------------------------------------

LOAD = """
import sys
import numpy as np, torch
from scipy import sparse
from shoal.models import PerturbDiff
torch.set_num_threads(1)
for preset in sys.argv[2:]:
    model = PerturbDiff.load(sys.argv[1] + "/" + preset)
    x = model.predict(["P1", "P4+P5"], n_cells=20, rng=5).X
    np.save(sys.argv[1] + "/" + preset + ".npy", x.toarray() if sparse.issparse(x) else x)
"""


@pytest.mark.slow
def test_a_model_is_loaded_in_another_process(divided, fit_perturbdiff, tmp_path):
    models = {preset: fit_perturbdiff(divided, preset=preset, max_steps=5) for preset in PRESETS}
    for preset, model in models.items():
        model.save(tmp_path / preset, save_anndata=True)
        back = PerturbDiff.load(tmp_path / preset, divided)
        assert_same(back, model)
        assert back.module.config == model.module.config
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run(
        [sys.executable, "-c", LOAD, str(tmp_path), *models], env=environment, check=True
    )
    for preset, model in models.items():
        made = model.predict(["P1", "P4+P5"], n_cells=20, rng=5)
        np.testing.assert_array_equal(np.load(tmp_path / f"{preset}.npy"), dense(made.X))


@each_preset
def test_an_interrupted_training_goes_on_to_the_bit(divided, fit_perturbdiff, tmp_path, preset):
    asked = {"preset": preset, "max_steps": 20, "rng": 3}
    with pytest.raises(KeyboardInterrupt, match="interrupted"):
        fit_perturbdiff(divided, checkpoint_dir=tmp_path, callbacks=[Interrupt()], **asked)
    resumed = fit_perturbdiff(divided, checkpoint_dir=tmp_path, resume=True, **asked)
    whole = fit_perturbdiff(divided, **asked)
    assert_same(resumed, whole)
    assert resumed.fit_result.steps == 20
    one, two, three = (
        dense(m.predict("P1", n_cells=9, rng=r).X)
        for m, r in ((resumed, 0), (whole, 0), (whole, 1))
    )
    np.testing.assert_array_equal(one, two)
    assert not np.array_equal(two, three)
