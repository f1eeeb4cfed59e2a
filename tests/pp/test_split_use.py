"""Splits that are used: tl.fit and tl.benchmark audit what obs holds, whoever wrote it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import shoal as sh


@pytest.fixture
def screen():
    """Simulated log-normalised screen: ten singles, three pairs, two contexts, guides."""
    adata = sh.ds.simulate(
        n_perturbations=10,
        n_cells=20,
        n_control=60,
        n_genes=40,
        n_combinations=3,
        contexts=2,
        rng=0,
    )
    keys = {"context_key": "context", "guide_key": "guide"}
    sh.pp.annotate(adata, "perturbation", control="control", **keys)
    sh.pp.prepare(adata, normalize="log1p", n_comps=5, n_top_genes=None)
    return adata


def fitted(adata, **options):
    return sh.tl.fit(adata, "mean_shift", **options)


def refused(adata, match, call=fitted, **options):
    """Fit with an error, after which everything is as before."""
    obs, uns = adata.obs.copy(), set(adata.uns)
    with pytest.raises(ValueError, match=match):
        call(adata, **options)
    pd.testing.assert_frame_equal(adata.obs, obs)
    assert set(adata.uns) == uns


def test_cells_divided_at_random(screen, rng):
    screen.obs["split"] = rng.choice(["train", "test"], screen.n_obs)
    said = (
        r"obs\['split'\] leaks. same_condition: 26 of 26 held-out conditions have cells on another "
        r"side too, as of .*Fix: hold out whole conditions with sh\.pp\.split.*sh\.tl\.fit\("
    )
    refused(screen, said)
    assert fitted(screen, accept="same_condition").is_trained
    refused(screen, "leaks", accept=["identical_cells"])
    refused(screen, "accept='random' is not known", accept="random")
    refused(
        screen,
        r"same_condition.*sh\.tl\.benchmark\(",
        call=lambda adata: sh.tl.benchmark(adata, ["mean_shift"], metrics=["energy"]),
    )
    sh.tl.benchmark(
        screen, ["mean_shift"], metrics=["energy"], min_cells=4, accept="same_condition"
    )
    assert "same_condition" in screen.uns["leaderboard"]["params"]["caution"]


def test_one_cell_is_enough(screen):
    screen.obs["split"] = np.where(screen.obs["perturbation"] == "P01", "test", "train")
    fitted(screen)
    screen.obs.iloc[np.flatnonzero(screen.obs["split"] == "test")[:1], -1] = "train"
    assert (screen.obs.columns[-1], (screen.obs["split"] == "test").sum()) == ("split", 19)
    refused(screen, "same_condition: 1 of 2")


def test_conditions_without_context_or_dose_count_too(screen, rng):
    screen.obs["dose"] = np.nan
    sh.pp.annotate(screen, "perturbation", control="control", dose_key="dose", missing="ignore")
    screen.obs["split"] = rng.choice(["train", "test"], screen.n_obs)
    refused(screen, "same_condition: 13 of 13")


def test_a_held_out_context_of_a_perturbation_is_no_leak(screen):
    late = screen.obs["context"] == screen.obs["context"].iloc[0]
    screen.obs["split"] = np.where(late & (screen.obs["perturbation"] == "P01"), "test", "train")
    assert fitted(screen).is_trained


def test_a_part_that_is_trained_on_in_a_combination(screen):
    pair = next(name for name in screen.obs["perturbation"].unique() if "+" in name)
    screen.obs["split"] = np.where(
        screen.obs["perturbation"] == pair.split("+")[0], "test", "train"
    )
    refused(screen, "held_out_part: trained on in combinations")
    assert fitted(screen, accept=["held_out_part"]).is_trained


def test_validation_on_conditions_of_training_is_told_of(screen, rng, caplog):
    screen.obs["split"] = rng.choice(["train", "val"], screen.n_obs)
    fitted(screen)
    assert "26 conditions have cells in 'train' and in 'val'" in caplog.text


@pytest.mark.parametrize("by", ["perturbation", "combination", "context", "guide"])
def test_what_pp_split_wrote_passes_also_of_fewer_cells(screen, by, caplog):
    sh.pp.split(screen, by=by, test=0.3)
    fitted(screen)
    fitted(screen[::2].copy())
    assert not caplog.records


@pytest.mark.parametrize("by", ["perturbation", "combination", "context", "guide"])
def test_the_record_of_an_older_split_neither_hides_nor_makes_leaks(screen, by, rng):
    sh.pp.split(screen, by=by)
    names = sorted(
        n for n in screen.obs["perturbation"].unique() if "+" not in n and n != "control"
    )
    alone = next(
        n for n in names if not any(n in p for p in screen.obs["perturbation"] if "+" in p)
    )
    screen.obs["split"] = np.where(screen.obs["perturbation"] == alone, "test", "train")
    fitted(screen)
    screen.obs["split"] = rng.choice(["train", "test"], screen.n_obs)
    refused(screen, "same_condition")
    pair = next(name for name in screen.obs["perturbation"].unique() if "+" in name)
    screen.obs["split"] = np.where(
        screen.obs["perturbation"] == pair.split("+")[0], "test", "train"
    )
    refused(screen, "held_out_part")


def test_a_guide_split_that_was_edited_is_still_one(screen):
    sh.pp.split(screen, by="guide")
    owner = screen.obs["perturbation"].iloc[-1]
    screen.obs.loc[screen.obs["perturbation"] == owner, "split"] = "test"
    assert fitted(screen).is_trained


def test_controls_may_be_on_any_side_as_long_as_some_are_trained_on(screen):
    control = np.flatnonzero(screen.obs["perturbation"] == "control")
    side = np.where(screen.obs["perturbation"] == "P01", "test", "train").astype(object)
    side[control[::2]] = "test"
    screen.obs["split"] = side
    assert fitted(screen).is_trained
    side[control] = "test"
    screen.obs["split"] = side
    refused(screen, r"no control cell with obs\['split'\] == 'train'")


def test_cells_on_no_side_are_neither_trained_on_nor_a_leak(screen):
    side = np.where(screen.obs["perturbation"] == "P01", "test", "train").astype(object)
    side[np.flatnonzero(side == "test")[::2]] = None
    screen.obs["split"] = side
    model = fitted(screen)
    assert "P01" not in model.vocabulary.trained
    assert "P01" in model.vocabulary.named


@pytest.mark.parametrize("side", ["train", "test"])
def test_one_side_alone(screen, side):
    screen.obs["split"] = side
    if side == "train":
        assert fitted(screen).is_trained
    else:
        refused(screen, "there is no perturbed cell with obs")
