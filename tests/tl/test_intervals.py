"""Intervals of any model: what they cover, what is written, and where there can be none."""

from __future__ import annotations

import copy
import logging
from dataclasses import replace

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import shoal as sh
from shoal.evaluation._intervals import judged, reliability, share_interval, summarised
from shoal.models.base._calibration import Errors
from shoal.models.ensemble._members import Member

D, N = 30, 25


def screen(rng, n=60, *, share=0.5, noise=1.0):
    """Return n perturbations whose responses have a common part, of different sizes; a third does not respond."""
    common = rng.normal(size=D)
    size = np.where(np.arange(n) % 3 == 0, 0.0, rng.gamma(4, 0.25, n))
    shift = size[:, None] * (share * common + (1 - share) * rng.normal(size=(n, D)))
    names = [f"P{i:02d}" for i in range(n)]
    labels = ["control"] * 400 + [name for name in names for _ in range(N)]
    x = rng.normal(scale=noise, size=(len(labels), D))
    x[400:] += np.repeat(shift, N, axis=0)
    obs = pd.DataFrame({"perturbation": labels}, index=[f"cell{i}" for i in range(len(labels))])
    adata = ad.AnnData(x.astype(np.float32), obs=obs)
    adata.var_names = [f"g{i}" for i in range(D)]
    sh.pp.annotate(adata, "perturbation", control="control")
    return adata


@pytest.fixture(scope="module")
def split():
    adata = screen(np.random.default_rng(0))
    sh.pp.split(adata, by="perturbation", test=0.4, val=0, rng=0)
    return adata


@pytest.fixture(scope="module")
def mean_shift(split):
    return sh.tl.fit(split, "mean_shift", calibrate=True, rng=0)


@pytest.fixture
def adata(split):
    return split.copy()


@pytest.fixture
def predicted(adata, mean_shift):
    sh.tl.predict(adata, mean_shift, subset="test", interval=0.9)
    return adata


# -- what is covered -------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_level_is_kept_over_screens():
    """Of 24 conditions that were never seen, in each of 12 screens; their errors go together within one."""
    found = []
    for seed in range(12):
        adata = screen(np.random.default_rng(seed))
        sh.pp.split(adata, by="perturbation", test=0.4, val=0, rng=seed)
        model = sh.tl.fit(adata, "mean_shift", calibrate=True, rng=seed)
        for pooled in (False, True):
            sh.tl.predict(adata, model, subset="test", interval=0.8, pooled=pooled)
            sh.tl.evaluate_intervals(adata, prediction="predicted")
            own = adata.uns["interval_evaluation"]["summary"].loc["all"]
            found.append((pooled, own["features" if pooled else "coverage"], own["within"]))
    pooled, covered, within = np.array(found).T
    for own in (covered[pooled == 0], covered[pooled == 1], within):
        assert 0.74 < own.mean() < 0.87


def test_what_is_covered_is_said(adata, mean_shift):
    for pooled, of in ((False, "of a condition, in 80% of conditions"), (True, "together")):
        sh.tl.predict(adata, mean_shift, subset="test", interval=0.8, pooled=pooled)
        entry = adata.uns["predicted_intervals"]
        said = entry["params"]["coverage"]
        assert said.startswith("Intervals are made for 80% of the features of ")
        for part in (of, "holds on average", "36 conditions of 36 units", "with a weaker response"):
            assert part in said
        assert entry["kinds"].loc["not measured", "n_units"] == 36


def test_pooled_intervals_are_narrower_and_larger_levels_wider(adata, mean_shift):
    widths = {}
    for level, pooled in ((0.5, False), (0.9, False), (0.9, True)):
        sh.tl.predict(adata, mean_shift, subset="test", interval=level, pooled=pooled)
        entry = adata.uns["predicted_intervals"]
        widths[level, pooled] = (entry["high"] - entry["low"]).mean()
    assert widths[0.5, False] < widths[0.9, False]
    assert widths[0.9, True] < widths[0.9, False]


def test_the_probability_of_a_response_is_that_of_training(predicted):
    """All predictions are alike, so it is the share of the conditions that were left out."""
    entry = predicted.uns["predicted_intervals"]
    share, n = entry["kinds"].loc["not measured", ["responds", "n_conditions"]]
    expected = (share * n + 1) / (n + 2)
    np.testing.assert_allclose(entry["table"]["probability"], expected, atol=0.02)
    assert 0.5 < share < 0.8  # of two thirds that respond


@pytest.mark.slow
def test_where_predictions_tell_who_responds_the_probability_is_calibrated():
    """Measured elsewhere: other contexts say who responds."""
    rng = np.random.default_rng(1)
    one, two = (screen(np.random.default_rng(2), noise=1.0) for _ in range(2))
    two.X = two.X + rng.normal(scale=0.5, size=two.shape).astype(np.float32)
    for name, part in (("x", one), ("y", two)):
        part.obs["context"] = name
        part.obs_names = [f"{name}{i}" for i in range(part.n_obs)]
    both = ad.concat([one, two])
    sh.pp.annotate(both, "perturbation", control="control", context_key="context")
    sh.pp.split(both, by="perturbation_context", test=0.3, val=0, rng=0)
    model = sh.tl.fit(both, "auto", rng=0)
    sh.tl.predict(both, model, subset="test", interval=0.9)
    sh.tl.evaluate_intervals(both, prediction="predicted")
    result = both.uns["interval_evaluation"]
    assert result["params"]["brier"] < 0.6 * result["params"]["brier_share"]
    curve = result["reliability"]
    assert ((curve["low"] <= curve["probability"]) & (curve["probability"] <= curve["high"])).all()


# -- what is written -------------------------------------------------------------------------------


def test_the_tables(predicted, mean_shift):
    entry = predicted.uns["predicted_intervals"]
    assert set(entry["table"]["perturbation"]) == set(
        predicted.obs["perturbation"][predicted.obs["split"] == "test"].astype(str)
    )
    assert (entry["table"]["kind"] == "not measured").all()
    assert (entry["table"]["n_cells"] == N).all()
    for name in ("response", "low", "high"):
        assert entry[name].shape == (24, D)
        assert entry[name].dtype == np.float32
    np.testing.assert_allclose(entry["response"], (entry["low"] + entry["high"]) / 2, atol=1e-6)
    assert list(entry["features"].index) == list(predicted.var_names)
    size = np.sqrt((entry["response"].astype(float) ** 2).sum(axis=1))
    np.testing.assert_allclose(entry["table"]["size"], size, rtol=1e-5)
    name = entry["table"].index[0]
    alone = mean_shift.intervals(name, n_cells=N)
    np.testing.assert_allclose(alone["low"], entry["low"][0], atol=1e-5)
    assert alone["bound"].iloc[0] == pytest.approx(entry["table"]["bound"].iloc[0])


def test_twins_are_those_without_intervals(adata, mean_shift, predicted):
    other = adata.copy()
    sh.tl.predict(other, mean_shift, subset="test")
    np.testing.assert_array_equal(other.layers["predicted"], predicted.layers["predicted"])


def test_they_survive_a_file(predicted, tmp_path):
    predicted.write_h5ad(tmp_path / "screen.h5ad")
    back = ad.read_h5ad(tmp_path / "screen.h5ad")
    np.testing.assert_array_equal(
        back.uns["predicted_intervals"]["low"], predicted.uns["predicted_intervals"]["low"]
    )
    sh.tl.evaluate_intervals(back, prediction="predicted")
    sh.tl.evaluate_intervals(predicted, prediction="predicted")
    tables = [a.uns["interval_evaluation"]["table"] for a in (back, predicted)]
    pd.testing.assert_frame_equal(*tables, check_dtype=False)


def test_a_later_prediction_without_intervals_removes_them(predicted, mean_shift):
    sh.tl.predict(predicted, mean_shift, subset="test")
    assert "predicted_intervals" not in predicted.uns


def test_what_is_no_interval_is_not_overwritten(adata, mean_shift):
    adata.uns["predicted_intervals"] = "mine"
    with pytest.raises(ValueError, match="predicted_intervals.*not written by an earlier call"):
        sh.tl.predict(adata, mean_shift, subset="test", interval=0.9)
    assert "predicted" not in adata.layers
    sh.tl.predict(adata, mean_shift, subset="test")  # without intervals it is not touched
    assert adata.uns["predicted_intervals"] == "mine"


def test_genes_in_another_order(adata, mean_shift, predicted):
    turned = adata[:, ::-1].copy()
    sh.tl.predict(turned, mean_shift, subset="test", interval=0.9)
    one, two = (a.uns["predicted_intervals"] for a in (predicted, turned))
    assert list(two["features"].index) == list(turned.var_names)
    np.testing.assert_allclose(one["low"], two["low"][:, ::-1], atol=1e-5)
    sh.tl.evaluate_intervals(turned, prediction="predicted")
    sh.tl.evaluate_intervals(predicted, prediction="predicted")
    pd.testing.assert_series_equal(
        *(a.uns["interval_evaluation"]["table"]["covered"] for a in (predicted, turned))
    )


def test_the_order_of_rows_does_not_matter(adata, predicted):
    turned = adata[np.random.default_rng(3).permutation(adata.n_obs)].copy()
    model = sh.tl.fit(turned, "mean_shift", calibrate=True, rng=0)
    sh.tl.predict(turned, model, subset="test", interval=0.9)
    one, two = (a.uns["predicted_intervals"] for a in (predicted, turned))
    np.testing.assert_allclose(one["low"], two["low"], atol=1e-5)


def test_cells_of_the_test_have_no_part_in_them(adata, predicted):
    other = adata.copy()
    other.X[(other.obs["split"] == "test").to_numpy()] = 77
    model = sh.tl.fit(other, "mean_shift", calibrate=True, rng=0)
    sh.tl.predict(other, model, subset="test", interval=0.9)
    one, two = (a.uns["predicted_intervals"] for a in (predicted, other))
    for name in ("low", "high"):
        np.testing.assert_array_equal(one[name], two[name])
    pd.testing.assert_frame_equal(one["table"], two["table"])


def test_a_saved_model_knows_its_errors(mean_shift, split, tmp_path):
    mean_shift.save(tmp_path / "model")
    again = sh.models.load(tmp_path / "model", split)
    name = split.obs["perturbation"][split.obs["split"] == "test"].iloc[0]
    pd.testing.assert_frame_equal(again.intervals(name), mean_shift.intervals(name))


def test_of_a_representation(adata, rng):
    adata.obsm["X_few"] = np.asarray(adata.X)[:, :5].copy()
    model = sh.tl.fit(adata, "mean_shift", use_rep="X_few", calibrate=True)
    sh.tl.predict(adata, model, subset="test", interval=0.8)
    entry = adata.uns["predicted_intervals"]
    assert entry["low"].shape == (24, 5)
    assert entry["features"].index[0] == "X_few_0"
    sh.tl.evaluate_intervals(adata, prediction="predicted")
    assert adata.uns["interval_evaluation"]["summary"].loc["all", "coverage"] > 0.6


# -- where there are none --------------------------------------------------------------------------


def test_a_model_that_was_not_calibrated_is_refused_at_once(adata, monkeypatch):
    model = sh.tl.fit(adata, "mean_shift")
    before = (set(adata.uns), set(adata.layers))
    monkeypatch.setattr(Member, "fit", None)  # nothing is trained behind the user's back
    with pytest.raises(ValueError, match=r"far off .* MeanShift .*sh.tl.fit\(.*calibrate=True\)"):
        sh.tl.predict(adata, model, interval=0.9)
    assert (set(adata.uns), set(adata.layers)) == before
    with pytest.raises(ValueError, match="calibrate=True"):
        model.intervals("P01")


def test_an_ensemble_by_rule_says_why_it_has_none(rng):
    adata = screen(rng, n=6)
    model = sh.tl.fit(adata, "auto")
    with pytest.raises(ValueError, match=r"nothing says what questions .* call sh.pp.split"):
        sh.tl.predict(adata, model, interval=0.9)


def test_too_few_conditions_for_the_level_are_said(rng, caplog):
    adata = screen(rng, n=8)
    sh.pp.split(adata, by="perturbation", test=["P01", "P02"], val=0)
    model = sh.tl.fit(adata, "mean_shift", calibrate=True)
    with caplog.at_level(logging.WARNING, "shoal"):
        sh.tl.predict(adata, model, subset="test", interval=0.9)
    assert "takes 9 units left out of training, and there were 6" in caplog.text
    entry = adata.uns["predicted_intervals"]
    assert np.isfinite(entry["high"]).all()
    assert entry["kinds"]["reached"].iloc[0] == pytest.approx(6 / 7)
    assert "so few vouch for a level of 0.86" in entry["params"]["coverage"]


def test_kinds_of_question_that_were_not_tried_are_empty_and_said(adata, mean_shift, caplog):
    with caplog.at_level(logging.WARNING, "shoal"):
        sh.tl.predict(adata, mean_shift, interval=0.9)
    assert "36 perturbations have no intervals" in caplog.text
    entry = adata.uns["predicted_intervals"]
    measured = (entry["table"]["kind"] == "measured").to_numpy()
    np.testing.assert_array_equal(np.isnan(entry["low"]).all(axis=1), measured)
    assert "'measured': no such question was left out" in entry["params"]["coverage"]
    with pytest.raises(ValueError, match="is a question of the kind 'measured'"):
        sh.tl.predict(adata, mean_shift, subset="train", interval=0.9)
    sh.tl.evaluate_intervals(adata, prediction="predicted")
    assert len(adata.uns["interval_evaluation"]["table"]) == 24


class Knows(sh.models.MeanShift):
    """A model that refuses what it was not trained on."""

    def cannot_predict(self, perturbations, *, adata=None):
        names = set(perturbations) - {
            self.cells.names[i] for i in self.cells.labels.code[self.cells.train]
        }
        return dict.fromkeys(names, "was not measured")


def test_what_cannot_be_calibrated(rng, adata):
    bare = screen(rng, n=8)
    with pytest.raises(ValueError, match="calibrate=True leaves conditions out.*sh.pp.split"):
        sh.tl.fit(bare, "mean_shift", calibrate=True)
    with pytest.raises(ValueError, match="Knows can predict none of them, such as 'P"):
        sh.tl.fit(adata, Knows, calibrate=True)
    with pytest.raises(TypeError, match="calibrate must be True or False"):
        sh.tl.fit(adata, "mean_shift", calibrate=4)
    with pytest.raises(ValueError, match="interval must be a number between 0 and 1"):
        sh.tl.predict(adata, sh.tl.fit(adata, "mean_shift"), interval=90)


def test_a_model_that_fails_on_a_fold_is_named(adata, monkeypatch):
    def fail(self, cells, **options):
        msg = "no luck"
        raise RuntimeError(msg)

    monkeypatch.setattr(Member, "fit", fail)
    with pytest.raises(ValueError, match="calibrate=True trains the model on inner folds.*no luck"):
        sh.tl.fit(adata, "mean_shift", calibrate=True)


@pytest.mark.slow
def test_settings_that_were_chosen_and_a_class_of_ones_own(adata):
    tuned = sh.tl.fit(
        adata, "matching_mean", tune={"config": {"shrink": [True, False]}}, calibrate=True
    )
    assert tuned.tuning is not None
    assert tuned.calibration.kinds["not measured"].n_units == 36

    class Mine(sh.models.MeanShift):
        pass

    assert sh.tl.fit(adata, Mine, calibrate=True).calibration is not None


@pytest.mark.slow
def test_a_network_is_calibrated_and_saved(split, tmp_path):
    pytest.importorskip("torch")
    adata = split.copy()
    vectors = pd.DataFrame(
        np.eye(60), index=[f"P{i:02d}" for i in range(60)], columns=[f"v{i}" for i in range(60)]
    )
    small = {
        "config": {"n_latent": 6, "width": 8, "depth": 1},
        "max_steps": 3,
        "set_size": 8,
        "accelerator": "cpu",
        "response_share": 1.0,
    }
    model = sh.tl.fit(adata, "flow", embedding=vectors, calibrate=True, **small)
    assert model.calibration.kinds["not measured"].n_units == 36
    model.save(tmp_path / "model")
    again = sh.models.load(tmp_path / "model", adata)
    sh.tl.predict(adata, again, subset="test", interval=0.9)
    assert np.isfinite(adata.uns["predicted_intervals"]["high"]).all()


# -- judging ---------------------------------------------------------------------------------------


def test_intervals_that_hold_everything_and_nothing(predicted):
    entry = predicted.uns["predicted_intervals"]
    for half, share in ((1e6, 1.0), (1e-5, 0.0)):
        entry["low"], entry["high"] = entry["response"] - half, entry["response"] + half
        entry["table"]["bound"] = half
        sh.tl.evaluate_intervals(predicted, prediction="predicted")
        result = predicted.uns["interval_evaluation"]
        own = result["summary"].loc["all"]
        assert own["coverage"] == own["features"] == share
        assert own["width"] == pytest.approx(2 * half, rel=0.1)
    assert result["params"]["verdict"].startswith("0 of 24 conditions have 90% of their features")


def test_what_was_measured(predicted):
    sh.tl.evaluate_intervals(predicted, prediction="predicted")
    table = predicted.uns["interval_evaluation"]["table"]
    x, label = np.asarray(predicted.X), predicted.obs["perturbation"].to_numpy()
    entry = predicted.uns["predicted_intervals"]
    for i, name in enumerate(table.index):
        real = x[label == name].mean(axis=0) - x[label == "control"].mean(axis=0)
        at = entry["table"].index.get_loc(name)
        inside = (entry["low"][at] <= real) & (real <= entry["high"][at])
        assert table["covered"].iloc[i] == pytest.approx(inside.mean())
        measured = predicted.uns["interval_evaluation"]["response"][i]
        np.testing.assert_allclose(measured, real, atol=1e-5)
    # those without a response: every third
    silent = np.array([int(name[1:]) % 3 == 0 for name in table.index])
    assert table["responds"][~silent].mean() > 0.9
    assert table["responds"][silent].mean() < 0.2


def test_the_curve_of_reliability_in_closed_form():
    probability = np.repeat([0.1, 0.3, 0.5, 0.7, 0.9], 5)
    responds = np.arange(25) % 5 < np.repeat([0, 1, 3, 4, 5], 5)
    found = reliability(probability, responds)
    np.testing.assert_allclose(found["probability"], [0.1, 0.3, 0.5, 0.7, 0.9])
    np.testing.assert_allclose(found["responds"], [0, 0.2, 0.6, 0.8, 1])
    assert len(reliability(probability[:4], responds[:4])) == 1
    assert share_interval(0, 10) == (0.0, pytest.approx(1 - 0.025**0.1))
    assert share_interval(10, 10) == (pytest.approx(0.025**0.1), 1.0)


def test_conditions_without_intervals_are_not_judged(predicted):
    from shoal.evaluation._intervals import measured_responses

    entry = predicted.uns["predicted_intervals"]
    entry["low"][0], entry["high"][0] = np.nan, np.nan
    table = judged(entry, measured_responses(predicted, entry))
    assert len(table) == 23
    assert summarised(table).loc["all", "n_conditions"] == 23


def test_values_on_another_scale_are_refused(predicted):
    other = predicted.copy()
    other.X = other.X / np.log(2)
    with pytest.raises(ValueError, match="control cells have other values"):
        sh.tl.evaluate_intervals(other, prediction="predicted")
    some = predicted.obs["perturbation"].to_numpy() != "control"
    some[np.flatnonzero(~some)[::3]] = True  # a third of the controls
    fewer = predicted[some].copy()
    sh.tl.evaluate_intervals(fewer, prediction="predicted")


def test_a_gene_that_training_does_not_show_is_judged_where_it_responds():
    """Its interval is 0 to 0, and a response of 1 is outside."""
    adata = screen(np.random.default_rng(0), 12)
    sh.pp.split(adata, test=["P01", "P02", "P04"])
    adata.X[:, 3] = np.where(adata.obs["split"] == "test", 1.0, 0.0)
    adata.X[:, 4] = 0.0
    model = sh.tl.fit(adata, "mean_shift", calibrate=True)
    sh.tl.predict(adata, model, key_added="p", subset="test", interval=0.5)
    entry = adata.uns["p_intervals"]
    assert not entry["high"][:, 3:5].any()
    sh.tl.evaluate_intervals(adata, prediction="p")
    covered = adata.uns["interval_evaluation"]["table"]["covered"].to_numpy()
    real = adata.uns["interval_evaluation"]["response"]
    inside = (entry["low"] <= real) & (real <= entry["high"])
    np.testing.assert_allclose(covered, np.delete(inside, 4, axis=1).mean(axis=1))


def test_intervals_of_features_that_are_gone_are_refused(predicted):
    with pytest.raises(
        ValueError, match=r"10 of 30 features with intervals are not in this .*'g20'"
    ):
        sh.tl.evaluate_intervals(predicted[:, :20].copy(), prediction="predicted")


def test_what_cannot_be_judged(predicted, adata):
    with pytest.raises(KeyError, match=r"nobody_intervals.*interval=0.9\) first"):
        sh.tl.evaluate_intervals(predicted, prediction="nobody")
    fewer = predicted[predicted.obs["split"] != "test"].copy()
    with pytest.raises(ValueError, match="split"):
        sh.tl.evaluate_intervals(fewer, prediction="predicted")
    predicted.uns["predicted_intervals"]["features"] = pd.DataFrame(index=["a", "b"])
    with pytest.raises(ValueError, match="30 features of this AnnData have no intervals"):
        sh.tl.evaluate_intervals(predicted, prediction="predicted")


def test_errors_that_noise_hides_are_not_known_to_be_none(adata, mean_shift, caplog):
    """All were smaller than the noise of measuring: there is no bound, and it is not 0."""
    model, known = copy.copy(mean_shift), mean_shift.calibration
    errors = {
        kind: replace(own, distance=-np.abs(own.distance)) for kind, own in known.kinds.items()
    }
    model.calibration = replace(known, kinds=errors)
    with caplog.at_level(logging.WARNING, "shoal"):
        sh.tl.predict(adata, model, subset="test", interval=0.9, key_added="hidden", rng=0)
    assert "no bound tells how far the true response of a question that is 'not m" in caplog.text
    table = adata.uns["hidden_intervals"]["table"]
    assert table["bound"].isna().all()
    assert np.isfinite(adata.uns["hidden_intervals"]["low"]).all()
    sh.tl.evaluate_intervals(adata, prediction="hidden")
    judged = adata.uns["interval_evaluation"]
    assert judged["summary"]["within"].isna().all()
    assert judged["summary"]["coverage"].notna().all()
    assert "bound" not in judged["params"]["verdict"]
    assert "nan" not in judged["params"]["verdict"]


def test_exact_answers_without_noise_have_a_bound_of_0():
    zero, one = np.zeros((10, 4)), np.ones(10)
    given = {"unit": np.arange(10), "cell": np.zeros(4), "n": one, "control": one}
    errors = Errors.of(zero, zero, p_value=one, **given)
    np.testing.assert_array_equal(errors.bounds(np.zeros(3), 0.9), 0)
