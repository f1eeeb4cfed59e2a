from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import zarr

import shoal as sh

from .conftest import FAST, LEVEL, TINY, fitted, prepared

pytestmark = pytest.mark.usefixtures("one_thread")


def brightness(crops):
    """Return the mean of each channel."""
    return np.asarray(crops, dtype=float).mean(axis=(0, 2, 3))


def test_predicted_images_are_in_obsm_in_the_type_that_went_in(screen, model):
    made = model.predict("bright", n_cells=7)
    assert made.obsm["crops"].shape == (7, 2, 8, 8)
    assert made.obsm["crops"].dtype == np.uint8
    assert made.X is None
    assert set(made.obs["plate"]) <= {"p1", "p2"}


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_an_untrained_flow_gives_the_controls_back_to_the_bit(dtype):
    """The start of an untrained flow is its end: intensities go to the network's scale and back."""
    adata = prepared(dtype=dtype)
    model = sh.models.CellFlux
    model.setup_anndata(adata, use_rep="crops")
    model = model(adata, **TINY)
    model.is_trained_ = True
    controls = adata[adata.obs["drug"] == "control"].copy()
    made = model.transport(controls, "bright").obsm["crops"]
    assert made.dtype == np.dtype(dtype)
    if dtype == "float32":
        np.testing.assert_allclose(made, controls.obsm["crops"], atol=1e-6)
    else:
        np.testing.assert_array_equal(made, controls.obsm["crops"])


@pytest.mark.slow
def test_it_learns_what_a_perturbation_does_on_each_plate():
    """Beats a copy of the control and the mean shift in intensities of the other plate."""
    adata = prepared(n=60)
    model = fitted(adata, 250, {"width": 16})
    made = model.predict(list(LEVEL)[1:], n_cells=60)
    crops = adata.obsm["crops"].astype(float)
    for name in ("bright", "dark"):
        for plate in ("p1", "p2"):
            real, control = (
                brightness(crops[((adata.obs["drug"] == who) & (adata.obs["plate"] == plate))])
                for who in (name, "control")
            )
            own = ((made.obs["drug"] == name) & (made.obs["plate"] == plate)).to_numpy()
            error = np.abs(brightness(made.obsm["crops"][own]) - real).max()
            assert error < 0.25 * np.abs(control - real).max(), (name, plate)


def test_twins_are_written_in_the_type_of_the_images(screen, model):
    adata = screen.copy()
    sh.tl.predict(adata, model, key_added="made")
    values, control = adata.obsm["X_made"], (adata.obs["drug"] == "control").to_numpy()
    assert values.dtype == np.uint8
    np.testing.assert_array_equal(values[control], adata.obsm["crops"][control])
    assert (values[~control] != 0).any(axis=(1, 2, 3)).all()


def test_twins_of_a_part_are_told_of(screen, model, caplog):
    adata = screen.copy()
    few = np.arange(adata.n_obs) < 90
    with caplog.at_level("WARNING", logger="shoal"):
        sh.tl.predict(adata, model, key_added="made", subset=few)
    assert "cells have no twin, and zeros in obsm/X_made" in caplog.text
    assert adata.obs["made_predicted"].sum() == 50


def test_a_model_without_cells_takes_them_at_the_call(screen, model, tmp_path):
    model.save(tmp_path / "model")
    bare = sh.models.load(tmp_path / "model")
    made = bare.predict("dark", n_cells=6, rng=3, adata=screen)
    expected = model.predict("dark", n_cells=6, rng=3)
    np.testing.assert_array_equal(made.obsm["crops"], expected.obsm["crops"])


def test_it_reads_images_from_a_file(screen, model, tmp_path):
    other = screen.copy()
    other.obsm["crops"] = zarr.create_array(
        store=str(tmp_path / "crops.zarr"), data=screen.obsm["crops"], chunks=(50, 2, 8, 8)
    )
    for store in ("resident", "streamed"):
        again = sh.tl.fit(
            other, "cellflux", use_rep="crops", max_steps=3, config=TINY, store=store, **FAST
        )
        made = again.predict("bright", n_cells=5, rng=1).obsm["crops"]
        assert made.dtype == np.uint8
        if store == "resident":
            expected = model.predict("bright", n_cells=5, rng=1).obsm["crops"]
            np.testing.assert_array_equal(made, expected)


def test_states_are_images_on_the_way(screen, model):
    some = screen[:4].copy()
    made = model.states(some, "bright", times=[1.0, 0.0, 0.5])
    assert made.obs["time"].tolist() == [1.0] * 4 + [0.0] * 4 + [0.5] * 4
    assert made.obs["source"].tolist() == some.obs_names.tolist() * 3
    np.testing.assert_array_equal(made.obsm["crops"][4:8], some.obsm["crops"])
    np.testing.assert_array_equal(
        made.obsm["crops"][:4], model.transport(some, "bright").obsm["crops"]
    )


def test_states_of_noise_are_those_of_transport(screen):
    noisy = fitted(screen, config={"path_start": "control+noise", "noise": 0.5})
    some = screen[:4].copy()
    made = noisy.states(some, "bright", times=[0.0, 1.0], rng=5)
    assert (made.obsm["crops"][:4] != some.obsm["crops"]).any()
    np.testing.assert_array_equal(
        made.obsm["crops"][4:], noisy.transport(some, "bright", rng=5).obsm["crops"]
    )


def test_cells_are_carried_back_to_control_and_forth(screen, model):
    some = screen[[50, 51, 100, 101]].copy()  # two bright cells and two dark ones
    made = model.counterfactual(some, ["control", "dark"], n_steps=3)
    assert made.obsm["crops"].dtype == np.uint8
    assert made.obs["drug"].tolist() == ["control"] * 4 + ["dark"] * 4
    assert made.obs["source_drug"].tolist() == ["bright", "bright", "dark", "dark"] * 2


def test_a_perturbation_that_does_nothing_moves_no_image(caplog, tmp_path):
    """One drug is controls under another name: nearly all of its predicted images are controls."""
    adata = prepared(n=60)
    own = (adata.obs["drug"] == "dark").to_numpy()
    plate = adata.obs["plate"].to_numpy()
    other = prepared(n=60, seed=1)
    for name in ("p1", "p2"):
        control = ((other.obs["drug"] == "control") & (other.obs["plate"] == name)).to_numpy()
        adata.obsm["crops"][own & (plate == name)] = other.obsm["crops"][control]
    sh.pp.prepare_images(adata, use_rep="crops", channels=["DNA", "actin"])
    with caplog.at_level("INFO", logger="shoal"):
        model = fitted(adata, 60)
    assert list(model.condition_shares) == ["dark"]
    assert "can hardly be told from controls" in caplog.text
    controls = adata[adata.obs["drug"] == "control"].copy()
    for again in (model, saved(model, tmp_path, adata)):
        same = {}
        for name in ("bright", "dark"):
            made = again.transport(controls, name).obsm["crops"]
            same[name] = (made == controls.obsm["crops"]).all((1, 2, 3)).mean()
        assert same["dark"] == pytest.approx(1 - model.condition_shares["dark"], abs=0.02)
        assert same["dark"] > 0.5
        assert same["bright"] == 0
    model.response_share = 0.5  # of both, so that a quiet one is moved by the product
    for name, share in (("bright", 0.5), ("dark", 0.5 * model.condition_shares["dark"])):
        made = model.transport(controls, name).obsm["crops"]
        moved = (made != controls.obsm["crops"]).any((1, 2, 3)).mean()
        assert moved == pytest.approx(share, abs=0.02)
    assert not fitted(adata, 2, response_share=1.0).condition_shares


def saved(model, folder, adata):
    model.save(folder / "model")
    return sh.models.load(folder / "model", adata=adata)


def test_a_flow_that_begins_at_noisy_controls_says_how_to_get_back(screen):
    noisy = fitted(screen, config={"path_start": "control+noise", "noise": 0.6})
    some = screen[[50, 51]].copy()
    with pytest.raises(ValueError, match="train a flow with path_start='control'"):
        noisy.counterfactual(some, "control", n_steps=3)
    assert noisy.counterfactual(some, "dark", n_steps=3).n_obs == 2


def test_a_reflowed_model_takes_four_steps(screen, model):
    straight = model.reflow(2, n_pairs=8, n_steps=2, **FAST)
    assert straight.module.config.sampling.n_steps == 4
    assert straight.predict("dark", n_cells=3).obsm["crops"].dtype == np.uint8


@pytest.mark.parametrize(
    "config",
    [
        {"path_start": "noise", "coupling": "independent"},
        {"gamma": "sin2", "head": "velocity+eta", "coupling": "independent"},
        {"head": "x1"},
        {"coupling": "sinkhorn"},
        {"latent": "autoencoder", "latent_steps": 3, "flip": 0.0, "multipliers": (1,)},
        {"preset": "published", "network": {"width": 8, "multipliers": (1, 2), "n_blocks": 1}},
    ],
    ids=["noise", "bump", "x1", "sinkhorn", "latent", "published"],
)
def test_other_recipes_train_and_predict(screen, config):
    given = {name: value for name, value in TINY.items() if "network" not in config}
    config = {**given, **config, "n_steps": 2}
    options = {"set_size": 8, "batch_conditions": 2}
    model = sh.tl.fit(
        screen, "cellflux", use_rep="crops", max_steps=2, config=config, **options, **FAST
    )
    assert model.predict("dark", n_cells=3).obsm["crops"].dtype == np.uint8


EDGES = pd.DataFrame({"source": ["bright"], "target": ["dark"]})
PLACES = pd.DataFrame({"x": [0.0, 1.0, 2.0]}, index=["l1", "l2", "l3"])


@pytest.fixture
def lines():
    """Images of three lines, of which one is held out."""
    adata = prepared(dtype="float32")  # whole numbers would hide small differences
    adata.obs["line"] = np.array(["l1", "l2", "l3"])[np.arange(adata.n_obs) % 3]
    sh.pp.annotate(adata, "drug", control="control", batch_key="plate", context_key="line")
    sh.pp.split(adata, by="context", test=["l3"], zero_shot=True)
    return adata


def test_a_held_out_line_is_known_by_its_vector(lines, tmp_path):
    here, there = (
        fitted(lines, context_embedding=PLACES.assign(x=[0.0, 1.0, x])) for x in (2.0, 0.0)
    )
    here.save(tmp_path / "m")
    again = sh.models.load(tmp_path / "m", lines)
    made, other, loaded = (
        m.predict("bright", context="l3", n_cells=6, rng=0).obsm["crops"]
        for m in (here, there, again)
    )
    assert not np.array_equal(made, other)
    np.testing.assert_array_equal(made, loaded)
    with pytest.raises(ValueError, match="reads no contexts"):
        fitted(lines, context_embedding=PLACES, preset="published")


@pytest.mark.parametrize("preset", ["shoal", "published"])
def test_a_graph_takes_part_in_training(lines, preset):
    assert "train_graph" in fitted(lines, graph=EDGES, preset=preset).history
