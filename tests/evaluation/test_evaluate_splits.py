"""Which conditions an evaluation scores: held-out ones, or what is said aloud; and those with a prediction."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import shoal as sh
from shoal.evaluation._conditions import NO_SPLIT

from ..helpers import dense
from .tasks import FEW, TWINS, evaluated, give, held_out, screen

ENERGY = {"metrics": ["energy"]}


def state(adata):
    """Return what an error must leave as it is."""
    slots = {name: set(getattr(adata, name)) for name in ("uns", "obs", "obsm", "layers")}
    return slots, adata.obs.copy(), {k: dense(v).copy() for k, v in adata.layers.items()}


def refused(adata, error, match, **options):
    """Evaluate with an error, after which everything is as before."""
    slots, obs, layers = state(adata)
    with pytest.raises(error, match=match):
        evaluated(adata, **options)
    assert state(adata)[0] == slots
    pd.testing.assert_frame_equal(adata.obs, obs)
    for name, values in layers.items():
        np.testing.assert_array_equal(dense(adata.layers[name]), values)


def predicted(adata=None):
    """Return a screen in which all perturbed cells have a twin."""
    adata = screen() if adata is None else adata
    sh.tl.predict(adata, sh.tl.fit(adata, "mean_shift"), key_added=TWINS)
    return adata


# -- no split, and splits that are said aloud ------------------------------------------------------


@pytest.mark.parametrize("split", ["test", "val", "train"])
def test_without_a_split_nothing_is_called_a_test(split):
    adata = predicted()
    del adata.obs["split"], adata.uns["split"]
    refused(
        adata, ValueError, r"there is no obs\['split'\].*sh\.pp\.split.*split=None", split=split
    )


def test_all_conditions_are_scored_if_that_is_said_aloud(caplog, tmp_path):
    adata = predicted()
    del adata.obs["split"]
    with caplog.at_level("INFO", logger="shoal"):
        entry = evaluated(adata, **ENERGY, baselines="auto", split=None)
    assert "no baselines" in caplog.text
    assert sum(NO_SPLIT in record.getMessage() for record in caplog.records) == 1
    assert len(entry["table"]) == 12
    assert list(entry["contenders"].index[3:]) == ["control copy"]
    adata.write_h5ad(tmp_path / "x.h5ad")
    entry = ad.read_h5ad(tmp_path / "x.h5ad").uns["evaluation"]
    assert entry["params"]["caution"].startswith(f"{NO_SPLIT}; no baseline could be scored")
    assert entry["params"]["split"] == ""
    assert set(entry["conditions"]["split"]) == {""}
    refused(adata, ValueError, "there is no obs", split=None, baselines=["mean_shift"])


@pytest.mark.parametrize("split", [None, "train"])
def test_scoring_conditions_of_training_is_warned_of(split, caplog):
    entry = evaluated(predicted(), split=split, **ENERGY)
    assert "which a model has seen" in caplog.text
    assert "which a model has seen" in entry["params"]["caution"]
    assert len(entry["table"]) == (12 if split is None else 6)
    sides = entry["conditions"]["split"].value_counts().to_dict()
    assert sides == ({"test": 6, "train": 6} if split is None else {"train": 6})


@pytest.mark.parametrize("controls", ["test", "train", None])
def test_a_screen_of_held_out_conditions_alone(controls, caplog):
    adata = screen()
    control = adata.obs["perturbation"] == "control"
    adata.obs["split"] = np.where(control, controls, adata.obs["split"].astype(object))
    adata = adata[control | held_out(adata)].copy()
    entry = evaluated(adata, **ENERGY, baselines=["mean_shift"])
    assert len(entry["table"]) == 6
    assert entry["params"]["caution"].startswith("no baseline could be scored")
    assert "no baseline could be scored" in caplog.text
    assert "mean_shift" in set(entry["missing"]["contender"])


def test_held_out_conditions_need_no_caution(caplog):
    entry = evaluated(screen(), **ENERGY)
    assert entry["params"]["caution"] == entry["params"]["skipped"] == ""
    assert "seen" not in caplog.text
    assert "not scored" not in caplog.text


# -- splits that leak ------------------------------------------------------------------------------


def test_cells_divided_at_random_are_no_test(rng, caplog):
    adata = predicted()
    adata.obs["split"] = rng.choice(["train", "test"], adata.n_obs)
    refused(
        adata,
        ValueError,
        r"same_condition: 12 of 12 held-out conditions .*sh\.pp\.split.*sh\.tl\.evaluate\(",
    )
    entry = evaluated(adata, **ENERGY, accept=["same_condition"], min_cells=4)
    assert "same_condition: 12 of 12" in entry["params"]["caution"]
    assert set(entry["conditions"]["split"]) == {"train, test"}


def test_what_validation_has_seen_counts_as_seen():
    adata = predicted()
    test = np.flatnonzero(held_out(adata))
    adata.obs["split"] = adata.obs["split"].astype(str)
    adata.obs.iloc[test[::2], adata.obs.columns.get_loc("split")] = "val"
    refused(adata, ValueError, "same_condition: 6 of 6")
    refused(adata, ValueError, "accept='same' is not known", accept="same")


@pytest.mark.parametrize(
    ("value", "fix"),
    [
        ("Test", "{'Test': 'test'}"),
        ("validation", "{'validation': 'val'}"),
        ("TRAINING", "{'TRAINING': 'train'}"),
        ("holdout", "{'holdout': 'test'}"),
        (0, "{0: 'train'}"),
        (1, "{1: 'test'}"),
        (True, "{True: 'test'}"),
        (False, "{False: 'train'}"),
        ("nan", "{'nan': None}"),
        ("", "{'': None}"),
    ],
)
def test_other_values_are_refused_with_the_call_that_renames_them(value, fix):
    adata = screen()
    column = adata.obs["split"].astype(object)
    adata.obs["split"] = column.where(column != "test", value)
    refused(adata, ValueError, "a cell is in 'train', 'val', 'test', or in none of them")
    with pytest.raises(ValueError, match="or in none") as error:
        sh.tl.fit(adata, "mean_shift")
    assert str(error.value).endswith(f".replace({fix})")


# -- conditions without a prediction ---------------------------------------------------------------


def test_a_condition_without_twins_is_left_out_for_all(caplog):
    adata = screen()
    name = adata.obs["perturbation"][held_out(adata)].iloc[0]
    vectors = pd.DataFrame(
        np.random.default_rng(0).normal(size=(12, 3)), index=[f"P{i:02d}" for i in range(1, 13)]
    ).drop(index=name)
    model = sh.tl.fit(adata, "nearest", embedding=vectors)
    sh.tl.predict(adata, model, key_added=TWINS, subset="test")
    caplog.clear()
    entry = evaluated(
        adata, metrics=FEW[:2], baselines=["nearest", "mean_shift"], embedding=vectors
    )
    said = [r.getMessage() for r in caplog.records if "not scored" in r.getMessage()]
    assert len(said) == 1
    assert said[0].startswith(f"not scored, for want of a prediction: '{name}' got no twin")
    assert "got no vector in the embedding" in entry["params"]["skipped"]
    assert len(entry["table"]) == 5
    scores = entry["scores"].query("metric == 'pearson_delta'")
    assert set(scores.groupby("contender")["condition"].agg(lambda c: tuple(sorted(c)))) == {
        tuple(sorted(entry["table"].index))
    }
    assert entry["params"]["baselines"] == "nearest,mean_shift"
    missing = entry["missing"]
    assert missing["reason"][missing["condition"] == name].str.contains("got no twin").all()


def test_a_mask_may_leave_conditions_out_but_no_part_of_one():
    adata = screen()
    names = sorted(set(adata.obs["perturbation"][held_out(adata)]))
    model, done = sh.tl.fit(adata, "mean_shift"), adata.obs["perturbation"].isin(names[:4])
    sh.tl.predict(adata, model, key_added=TWINS, subset=done.to_numpy())
    assert sorted(evaluated(adata, **ENERGY)["table"].index) == names[:4]
    part = (done & (np.arange(adata.n_obs) % 2 == 0)).to_numpy()
    sh.tl.predict(adata, model, key_added=TWINS, subset=part)
    refused(adata, ValueError, "have no twin .* others of their conditions have one", **ENERGY)
    sh.tl.predict(adata, model, key_added=TWINS, subset="train")
    refused(adata, ValueError, "6 conditions have no prediction: .* got no twin", **ENERGY)


def test_predicted_cells_that_lack_conditions(caplog):
    adata = screen()
    pred = adata[held_out(adata)].copy()
    name = pred.obs["perturbation"].iloc[0]
    lacking = pred[pred.obs["perturbation"] != name].copy()
    entry = evaluated(adata, prediction=lacking, **ENERGY)
    assert len(entry["table"]) == 5
    assert f"'{name}' got 0 predicted cells, fewer than 2" in entry["params"]["skipped"]
    small = pred.copy()
    small.obs["perturbation"] = small.obs["perturbation"].astype(str).str.lower()
    refused(
        adata,
        ValueError,
        r"got 0 predicted cells, .*; the prediction has 'p\d\d'.*, which the screen lacks",
        prediction=small,
    )


def test_labels_that_are_not_like_those_of_the_screen_are_shown():
    adata = screen()
    pred = ad.AnnData(dense(adata.X), obs=adata.obs.copy(), var=adata.var[[]].copy())
    pred.obs["perturbation"] = "GENE_1"
    refused(adata, ValueError, "the prediction has 'GENE_1', which the screen", prediction=pred)


# -- the real values themselves --------------------------------------------------------------------


def test_real_values_are_no_prediction(caplog):
    adata = screen()
    adata.layers["real"] = adata.X.copy()
    refused(adata, ValueError, "holds the real values themselves", prediction="real", layer="real")
    refused(adata, ValueError, "prediction is the screen itself", prediction=adata)
    adata.layers["same"] = adata.X
    refused(adata, ValueError, "holds the real values themselves", prediction="same")
    del adata.layers["same"]
    give(adata, dense(adata.X))
    entry = evaluated(adata, **ENERGY)
    assert "copies of the real cells" in entry["params"]["caution"]
    assert "copies of the real cells" in caplog.text


@pytest.mark.parametrize("layer", ["X", "noise"])
def test_real_values_in_an_anndata_of_their_own_are_told_of(layer):
    """In whatever order, under whatever names; new values under the names of real cells are fine."""
    adata = screen()
    pred = adata[np.random.default_rng(0).permutation(adata.n_obs)].copy()
    if layer == "noise":
        pred.X = dense(pred.X) * np.random.default_rng(1).uniform(0.99, 1.01, pred.shape)
    else:
        pred.X, pred.obs_names = dense(pred.X).astype(np.float64), "p" + pred.obs_names
    for suite in ("calibrated", "systema"):
        own = ENERGY if suite == "calibrated" else {"baselines": None, "metrics": None}
        entry = evaluated(adata, prediction=pred, suite=suite, **own)
        assert ("copies of the real cells" in entry["params"]["caution"]) == (layer == "X")


# -- the embedding of the baselines ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("embedding", "error", "match"),
    [
        ("zz", KeyError, "'zz' is not in adata.uns"),
        ([1, 2], TypeError, "embedding must be one name or table, not several: join them first"),
        (pd.DataFrame({"a": [np.nan]}, index=["P01"]), ValueError, "not finite"),
        (pd.DataFrame({"a": ["x"]}, index=["P01"]), ValueError, "no numbers"),
        (pd.DataFrame({"a": [1.0, 2]}, index=["P01", "P01"]), ValueError, "a name twice"),
    ],
)
@pytest.mark.parametrize("baselines", [None, ["mean_shift"], "auto"])
def test_an_embedding_that_is_none_is_refused_at_once(embedding, error, match, baselines):
    refused(screen(), error, match, embedding=embedding, baselines=baselines)
