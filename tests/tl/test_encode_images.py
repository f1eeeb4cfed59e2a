"""Learned features of crops: what is written, what they tell, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

import shoal as sh
from shoal.core._screen import resolve
from shoal.pp._audit import audit

from ..helpers import contents

pytest.importorskip("torch")
FEW = {"use_rep": "crops", "n_features": 8, "max_steps": 3}


@pytest.fixture(scope="module")
def made():
    adata = sh.ds.simulate_images(n_perturbations=4, n_cells=30, n_control=60, size=24, rng=0)
    sh.pp.prepare_images(adata, use_rep="crops")
    sh.pp.split(adata, by="perturbation", test=0.25, rng=0)
    return adata


@pytest.fixture
def adata(made):
    return made.copy()


def test_features_are_written_in_one_unit_and_survive_a_file(adata, tmp_path):
    sh.tl.encode_images(adata, **FEW)
    found = adata.obsm["crops_encoded"]
    train = (adata.obs["split"] == "train").to_numpy()
    assert found.shape == (adata.n_obs, 8)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found[train].mean(axis=0), 0, atol=1e-5)
    assert (found[train] ** 2).mean() == pytest.approx(1, abs=1e-4)
    sh.tl.encode_images(adata, **FEW)  # its own slot is replaced
    adata.write_h5ad(tmp_path / "a.h5ad")
    adata.obsm["mine"] = np.zeros((adata.n_obs, 2))
    with pytest.raises(ValueError, match="overwrite=True"):
        sh.tl.encode_images(adata, **FEW, key_added="mine")


def test_the_order_of_rows_does_not_matter_and_held_out_cells_are_not_seen(adata):
    other = adata[::-1].copy()
    spoilt = adata.copy()
    test = (adata.obs["split"] == "test").to_numpy()
    spoilt.obsm["crops"][test] = 0
    for one in (adata, other, spoilt):
        sh.tl.encode_images(one, **FEW)
    own = adata.obsm["crops_encoded"]
    np.testing.assert_allclose(other.obsm["crops_encoded"][::-1], own, atol=1e-4)
    np.testing.assert_array_equal(spoilt.obsm["crops_encoded"][~test], own[~test])


def test_a_split_that_came_later_is_told_of(adata):
    def status():
        return audit(adata, resolve(adata)).loc["encoder_fit", "status"]

    assert status() == "not applicable"
    sh.tl.encode_images(adata, **FEW)
    assert status() == "ok"
    sh.pp.split(adata, by="perturbation", test=0.5, rng=3, overwrite=True)
    assert status() == "stale"
    sh.tl.encode_images(adata, **FEW)
    assert status() == "ok"


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        ({"method": "magic"}, ValueError, "classify"),
        ({"n_features": 0}, ValueError, "n_features"),
        ({"use_rep": "nothing"}, KeyError, "nothing"),
    ],
)
def test_bad_arguments_change_nothing(adata, change, error, said):
    before = contents(adata)
    with pytest.raises(error, match=said):
        sh.tl.encode_images(adata, **FEW | change)
    assert contents(adata) == before


def test_what_it_cannot_learn_from_is_refused(adata):
    one = adata.copy()
    del one.obs["split"]
    with pytest.raises(KeyError, match=r"sh\.pp\.split"):
        sh.tl.encode_images(one, **FEW)
    one = adata.copy()
    one.obsm["crops"] = one.obsm["crops"].astype(np.float32)
    one.obsm["crops"][:] = np.nan
    with pytest.raises(ValueError, match="crops"):
        sh.tl.encode_images(one, **FEW)
    one = adata.copy()
    perturbed = one.obs["perturbation"] != "control"
    one.obs["split"] = one.obs["split"].astype(object).where(perturbed, "train")
    one.obs.loc[perturbed, "split"] = "test"
    with pytest.raises(ValueError, match="fewer than two labels"):
        sh.tl.encode_images(one, **FEW)


@pytest.mark.slow
def test_knowledge_learns_from_crops_by_their_features():
    adata = sh.ds.simulate_images(n_perturbations=6, n_cells=80, n_control=160, size=24, rng=0)
    sh.pp.prepare_images(adata, use_rep="crops")
    held = (adata.obs["batch"] == "B2") & (adata.obs["perturbation"] != "control")
    adata.obs["split"] = np.where(held, "test", "train")
    options = {"use_rep": "crops", "accept": "same_condition"}
    sh.tl.encode_images(adata, **options, n_features=16, max_steps=150)
    model = sh.tl.fit(
        adata, "knowledge", use_rep="crops_encoded", accept="same_condition", max_steps=60
    )
    sh.tl.predict(adata, model, key_added="made", subset="test")
    assert np.isfinite(np.asarray(adata.obsm["X_made"])[held.to_numpy()]).all()
    chance = model.probabilities(adata).loc[adata.obs_names[held]]
    right = chance.idxmax(axis=1).to_numpy() == adata.obs.loc[held, "perturbation"].to_numpy(str)
    assert right.mean() > 0.4  # one in six by chance; one of six does nothing
