"""A prediction remembers what its model was trained on: scored conditions among these are told of, whatever the split says now."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pytest

import shoal as sh
from shoal.core._remembered import packed, remembered, unpacked

SAID = "the model was trained on"


@pytest.fixture(scope="module")
def screen():
    adata = sh.ds.simulate(
        n_genes=30,
        n_perturbations=6,
        n_cells=60,
        n_control=120,
        contexts=["x", "y"],
        n_guides=3,
        rng=0,
    )
    del adata.uns["truth"]
    design = {"control": "control", "context_key": "context", "guide_key": "guide"}
    sh.pp.annotate(adata, "perturbation", **design, overwrite=True)
    sh.pp.prepare(adata, normalize="log1p", n_comps=5)
    return adata


def fitted(adata, **options):
    sh.pp.split(adata, **options)
    model = sh.tl.fit(adata, "own_shift")
    sh.tl.predict(adata, model, key_added="made")
    return model


def caution(adata, prediction="made", **options):
    few = {"metrics": ["rmse", "energy"], "baselines": None, "n_draws": 1, "n_comps": 5}
    sh.tl.evaluate(adata, prediction=prediction, min_cells=5, overwrite=True, **few, **options)
    return adata.uns["evaluation"]["params"]["caution"]


def by_hand(adata):
    adata.obs["split"] = np.where(adata.obs["perturbation"] == "P3", "test", "train")


CHANGES = {
    "another split": lambda adata: sh.pp.split(adata, test=["P3"]),
    "edited by hand": by_hand,
    "another question": lambda adata: sh.pp.split(
        adata, by="perturbation_context", test=["P3 | x", "P4 | y"]
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_split_that_came_after_the_model(screen, change, caplog):
    adata = screen.copy()
    fitted(adata, test=["P1", "P2"])
    assert caution(adata) == ""
    CHANGES[change](adata)
    assert caution(adata).startswith(f"{SAID} 2 of 2 conditions that are scored ('P3 | x', 'P")
    assert SAID in caplog.text


def test_no_split_when_the_model_was_fitted(screen):
    adata = screen.copy()
    sh.tl.predict(adata, sh.tl.fit(adata, "own_shift"), key_added="made")
    sh.pp.split(adata, test=["P1"])
    assert f"{SAID} 2 of 2" in caution(adata)
    assert SAID not in caution(adata, split=None)  # says so already: conditions of training


def test_a_model_of_another_object_that_was_saved(screen, tmp_path):
    whole, part = screen.copy(), screen.copy()
    sh.tl.fit(whole, "mean_shift").save(tmp_path / "model")
    sh.pp.split(part, test=["P1", "P2"])
    model = sh.models.load(tmp_path / "model")
    sh.tl.predict(part, model, key_added="made", subset="test")
    assert f"{SAID} 4 of 4" in caution(part)


@pytest.mark.parametrize("kind", ["h5ad", "zarr"])
def test_it_lasts_in_a_file(screen, tmp_path, kind):
    adata = screen.copy()
    fitted(adata, test=["P1", "P2"])
    sh.pp.split(adata, test=["P2", "P3"])
    path = tmp_path / f"a.{kind}"
    getattr(adata, f"write_{kind}")(path)
    assert f"{SAID} 2 of 4" in caution(getattr(ad, f"read_{kind}")(path))


def test_predicted_cells_of_their_own(screen):
    adata = screen.copy()
    model = fitted(adata, test=["P1"])
    sh.pp.split(adata, by="perturbation_context", test=["P3 | x"])
    assert f"{SAID} 1 of 1" in caution(adata, model.predict("P3", context="x", n_cells=40))


def test_guides_that_are_held_out_are_told_apart(screen):
    adata = screen.copy()
    guides = sorted(set(adata.obs["guide"].astype(str)[adata.obs["perturbation"] == "P1"]))
    fitted(adata, by="guide", test=[f"P1 | {guides[0]}"])
    assert caution(adata) == ""
    sh.pp.split(adata, by="guide", test=[f"P1 | {guides[1]}"])
    assert f"{SAID} 2 of 2" in caution(adata)


@pytest.mark.parametrize("plates", [["b1"], ["b1", "b2"]])
def test_conditions_that_are_held_out_on_one_plate(screen, plates):
    """They are trained on elsewhere on purpose: what counts is whether this plate was."""
    adata = screen.copy()
    adata.obs["plate"] = np.resize(["b1", "b2", "b3"], adata.n_obs)
    sh.pp.annotate(
        adata, "perturbation", control="control", context_key="context", batch_key="plate",
        overwrite=True,
    )  # fmt: skip
    treated = (adata.obs["perturbation"] == "P1").to_numpy()

    def held_out(plates):
        return np.where(treated & adata.obs["plate"].isin(plates).to_numpy(), "test", "train")

    adata.obs["split"] = held_out(plates)
    meant = {"accept": ["same_condition"]}
    model = sh.tl.fit(adata, "mean_shift", **meant)
    sh.tl.predict(adata, model, key_added="made")
    assert SAID not in caution(adata, **meant)
    adata.obs["split"] = held_out(["b2"])
    assert (f"{SAID} 2 of 2 conditions" in caution(adata, **meant)) == (plates == ["b1"])


def test_two_predictions_are_remembered_apart(screen):
    adata = screen.copy()
    fitted(adata, test=["P1"])
    sh.pp.split(adata, test=["P2"])
    sh.tl.predict(adata, sh.tl.fit(adata, "own_shift"), key_added="later")
    assert caution(adata, "later") == ""
    assert f"{SAID} 2 of 2" in caution(adata)
    assert set(remembered(adata, "made")["perturbation"]) == {f"P{i}" for i in range(2, 7)}


def test_what_is_packed_is_unpacked(screen):
    adata = screen.copy()
    conditions = unpacked(fitted(adata, test=["P1"]).vocabulary.conditions)
    assert len(conditions) == 5 * 2 * 3
    assert packed(conditions) == packed(unpacked(packed(conditions)))
    assert len(unpacked(())) == 0


@pytest.mark.parametrize(("by", "test"), [("perturbation", "P1"), ("combination", "P1+P2")])
def test_a_perturbation_that_was_trained_on_in_a_combination_alone(screen, by, test):
    adata = screen.copy()
    names = adata.obs["perturbation"].astype(str).replace("P6", "P1+P2")
    adata.obs["pair"] = names
    sh.pp.annotate(adata, "pair", control="control", overwrite=True)
    old = {"split": np.where(names == "P1", "test", "train")}
    early = ad.AnnData(adata.X, adata.obs.assign(**old), adata.var, uns=adata.uns)
    model = sh.tl.fit(early, "matching_mean", accept=["held_out_part"])
    sh.pp.split(adata, by=by, test=[test])
    sh.tl.predict(adata, model, key_added="made", subset="test")
    said = caution(adata)
    assert f"{SAID} 1 of {2 if by == 'perturbation' else 1} conditions that are scored" in said
    assert ("and on combinations with perturbations that are scored ('P1')" in said) == (
        by == "perturbation"
    )
