"""The ensemble: exact where the answer is known, a copy where nothing responds, and as it was on disk."""

from __future__ import annotations

import logging
import shutil
from dataclasses import replace

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from tests.models.ensemble.screens import D, N, made, pairs

import shoal as sh
from shoal.metrics._cells import densify
from shoal.models.base import _registry
from shoal.models.ensemble._members import Member


def weights_of(model, kind):
    own = model.weights[model.weights["kind"] == kind]
    return own.set_index("member")


# -- what it learns --------------------------------------------------------------------------------


def test_the_weights_of_pairs_that_are_less_than_the_sum_of_their_parts(trained):
    own = weights_of(trained, "combination of measured parts")
    sums, means = own.loc["additive", "weight"], own.loc["matching_mean", "weight"]
    assert sums + means / 2 == pytest.approx(0.6, abs=0.04)
    assert own.loc["all members", "error"] < 0.1 < own.loc["additive", "error"]
    assert own.loc["all members", "n_units"] > 20


def test_it_beats_rule_and_mean_shift_on_pairs_it_never_saw(trained, subadditive):
    """Rule 12: the rival is the mean shift, and here also the sum of the parts."""
    adata = subadditive
    held = adata.obs["perturbation"][adata.obs["split"] == "test"].astype(str).unique()
    control = adata[adata.obs["perturbation"] == "control"].X.mean(axis=0)
    models = {"auto": trained} | {n: sh.tl.fit(adata, n) for n in ("additive", "mean_shift")}
    error = dict.fromkeys(models, 0.0)
    for name in held:
        real = adata[adata.obs["perturbation"] == name].X.mean(axis=0) - control
        for key, model in models.items():
            cells = model.predict(name, n_cells=200, rng=0)
            shift = cells.X.mean(axis=0) - adata[cells.obs["source"].to_numpy()].X.mean(axis=0)
            error[key] += ((shift - real) ** 2).sum()
    assert error["auto"] < 0.3 * min(error["additive"], error["mean_shift"])


def test_where_nothing_responds_the_controls_are_copied(rng):
    adata = made({f"P{i}": np.zeros(D) for i in range(20)}, rng, n_control=4000)
    sh.pp.split(adata, by="perturbation", test=0.2, val=0, rng=0)
    model = sh.tl.fit(adata, "auto", rng=0)
    own = weights_of(model, "not measured")
    assert own["weight"].sum() == 0
    assert own["note"].iloc[0].startswith("copy: gain")
    held = adata.obs["perturbation"][adata.obs["split"] == "test"].iloc[0]
    cells = model.predict(held, n_cells=20)
    np.testing.assert_array_equal(cells.X, adata[cells.obs["source"].to_numpy()].X)
    assert "the controls are copied" in model.explain(held)


def test_one_response_of_all_is_the_mean_shift(rng):
    common = rng.normal(size=D)
    adata = made({f"P{i}": common + 0.2 * rng.normal(size=D) for i in range(20)}, rng)
    sh.pp.split(adata, by="perturbation", test=0.2, val=0, rng=0)
    own = weights_of(sh.tl.fit(adata, "auto", rng=0), "not measured")
    assert own.loc["all members", "weight"] > 0.9
    assert own.loc["all members", "error"] < 0.35


def test_the_order_of_rows_does_not_matter(subadditive, trained):
    shuffled = subadditive[np.random.default_rng(1).permutation(subadditive.n_obs)].copy()
    again = sh.tl.fit(shuffled, "auto", rng=0)
    pd.testing.assert_frame_equal(again.weights, trained.weights, atol=1e-6)


def test_the_screen_stays_as_it_was(subadditive):
    adata = subadditive.copy()
    sh.tl.fit(adata, "auto", rng=0)
    assert list(adata.uns) == list(subadditive.uns)
    pd.testing.assert_frame_equal(adata.obs, subadditive.obs)
    np.testing.assert_array_equal(adata.X, subadditive.X)


# -- the rule --------------------------------------------------------------------------------------


def same_as(model, other, name):
    one, two = (m.predict(name, n_cells=30, rng=0) for m in (model, other))
    np.testing.assert_allclose(densify(one.X), densify(two.X), atol=1e-5)


def test_without_a_split_the_rule_answers_and_that_is_said(rng, caplog):
    adata = pairs(rng, 0.6, n=4)
    with caplog.at_level(logging.WARNING, "shoal"):
        model = sh.tl.fit(adata, "auto")
    assert "auto answers by rule" in caplog.text
    assert "call sh.pp.split(adata, by=...) first" in caplog.text
    for name, rule in {"P0+P1": "own_shift", "P0+P1+P2": "additive", "P1": "own_shift"}.items():
        same_as(model, sh.tl.fit(adata, rule), name)
    assert "the rule answers, own_shift" in model.explain("P1")


def test_by_says_what_is_left_out_where_there_is_no_split(rng):
    adata = pairs(rng, 0.6, n=6)
    model = sh.tl.fit(adata, "auto", config={"by": "combination"})
    own = weights_of(model, "combination of measured parts")
    assert own.loc["all members", "n_conditions"] > 8
    assert own.loc["additive", "weight"] < 0.9
    assert "were left out of training in turn" in model.explain("P0+P1+P2")


def test_fewer_than_four_conditions_take_the_rule(rng, caplog):
    adata = made({name: rng.normal(size=D) for name in ("A", "B", "C", "D")}, rng)
    sh.pp.split(adata, by="perturbation", test=["D"], val=0)
    with caplog.at_level(logging.WARNING, "shoal"):
        model = sh.tl.fit(adata, "auto")
    assert "training has 3 conditions, and inner folds take 4" in caplog.text
    same_as(model, sh.tl.fit(adata, "mean_shift"), "D")


def test_conditions_of_few_cells_take_the_rule(rng, caplog):
    """Profiles of wells, say: two of each perturbation tell no response."""
    adata = made({f"P{i}": rng.normal(size=D) for i in range(8)}, rng)
    control = (adata.obs["perturbation"] == "control").to_numpy()
    few = adata.obs.groupby("perturbation", observed=True).cumcount().to_numpy() < 2
    adata = adata[control | few].copy()
    sh.pp.split(adata, by="perturbation", test=["P7"], val=0)
    with caplog.at_level(logging.WARNING, "shoal"):
        model = sh.tl.fit(adata, "auto")
    assert "auto answers by rule" in caplog.text
    assert "hardly any condition that training could leave out has 3 cells" in caplog.text
    same_as(model, sh.tl.fit(adata, "mean_shift"), "P7")
    with pytest.raises(ValueError, match="hardly any condition"):
        sh.tl.fit(adata, "auto", config={"n_folds": 3})


def test_folds_that_cannot_be_made(rng, caplog):
    single = {f"P{i}": rng.normal(size=D) for i in range(5)}
    adata = made(single | {"P0+P1": single["P0"] + single["P1"]}, rng)
    with caplog.at_level(logging.WARNING, "shoal"):
        model = sh.tl.fit(adata, "auto", config={"by": "combination"})
    assert "too few units of by='combination'" in caplog.text
    same_as(model, sh.tl.fit(adata, "additive"), "P2+P3")
    with pytest.raises(ValueError, match="inner=7 folds need as many units of by='perturbation'"):
        sh.tl.fit(adata, "auto", config={"by": "perturbation", "n_folds": 7})


def test_where_training_cannot_ask_the_like_the_rule_answers(rng):
    """All are known on two days and asked for on the third: from one day is another question."""
    single = {f"P{i:02d}": rng.normal(size=D) for i in range(10)}
    parts = [made({p: day * one for p, one in single.items()}, rng, n=12) for day in (1, 2, 3)]
    adata = ad.concat(parts, index_unique="-", keys=["1", "2", "3"], label="day")
    sh.pp.annotate(adata, "perturbation", control="control", context_key="day")
    test = [(name, 3) for name in list(single)[1:]]
    sh.pp.split(adata, by="perturbation_context", test=test)
    model = sh.tl.fit(adata, "auto", rng=0)
    own = weights_of(model, "measured in other contexts")
    assert own["note"].str.startswith("rule: the test asks beyond the levels").all()
    assert own.loc["context_weighted", "weight"] == 1
    assert (own["n_units"] == 9).all()
    assert "by rule (the test asks beyond" in model.explain("P01", context="3")
    sh.tl.predict(adata, model, subset="test", interval=0.9)  # errors are known all the same
    assert np.isfinite(adata.uns["predicted_intervals"]["low"]).all()


def test_cells_of_val_are_not_trained_on_and_that_is_said(rng, caplog):
    adata = made({f"P{i:02d}": rng.normal(size=D) for i in range(12)}, rng)
    sh.pp.split(adata, by="perturbation", test=["P01"], val=["P02", "P03"])
    with caplog.at_level(logging.WARNING, "shoal"):
        model = sh.tl.fit(adata, "auto", rng=0)
    assert f"auto does not train on the {2 * N} cells of split 'val'" in caplog.text
    assert model.kind_of("P02") == "not measured"


# -- members ---------------------------------------------------------------------------------------


@pytest.fixture
def registered(monkeypatch):
    """Register classes for one test."""
    for name in ("_ENTRIES", "_CLASSES"):
        monkeypatch.setattr(_registry, name, dict(getattr(_registry, name)))
    return sh.models.register


class Missing(sh.models.MeanShift):
    """Control cells plus NaN."""

    def _shifts(self, names, context, dose):
        return super()._shifts(names, context, dose) * np.nan


class Broken(sh.models.MeanShift):
    """A model that cannot be trained."""

    def _fit(self, cells):
        msg = "no luck"
        raise RuntimeError(msg)


def test_members_that_refuse_are_left_out_and_named(subadditive, registered, caplog):
    registered("missing", Missing)
    registered("broken", Broken)
    config = {"members": ["missing", "broken", "latent_linear"]}
    with caplog.at_level(logging.WARNING, "shoal"):
        model = sh.tl.fit(subadditive, "auto", config=config, rng=0)
    said = [record.getMessage() for record in caplog.records]
    for name, why in model.refused.items():
        assert said.count(f"'{name}' is left out: {why}") == 1
    assert set(model.refused) == {"missing", "broken", "latent_linear"}
    assert "predicts NaN or infinite values for 'P" in model.refused["missing"]
    assert "no luck" in model.refused["broken"]
    assert "named after" in model.refused["latent_linear"]
    assert not set(model.refused) & set(model.weights["member"])
    assert model.predict("P0+P1", n_cells=5).n_obs == 5


def test_a_class_of_a_users_is_trained_without_what_a_fold_leaves_out(subadditive, registered):
    trained_on = []

    class Spy(sh.models.MeanShift):
        """Notes what it is trained on."""

        def _fit(self, cells):
            trained_on.append({cells.names[code] for code in cells.labels.code[cells.train]})
            return super()._fit(cells)

    registered("spy", Spy)
    model = sh.tl.fit(subadditive, "auto", config={"members": ["spy"]}, rng=0)
    assert not model.refused
    n_left = model.weights.set_index(["kind", "member"]).loc[
        ("combination of measured parts", "spy"), "n_conditions"
    ]
    whole = set.union(*trained_on)
    assert sum(len(whole - own) for own in trained_on[:4]) == n_left


@pytest.mark.parametrize(("n_named", "called"), [(0, False), (1, False), (2, True)])
def test_auto_calls_for_genes_where_perturbations_are_named_after_some(
    subadditive, trained, n_named, called
):
    adata = subadditive.copy()
    adata.var_names = [f"P{i}" if i < n_named else f"g{i}" for i in range(D)]
    members = [member.name for member in sh.models.Ensemble(adata)._candidates]
    assert ("latent_linear" in members) == called
    assert trained.refused == {}


@pytest.mark.slow
def test_several_processes_answer_as_one(subadditive, trained, registered, tmp_path):
    given = {"rng": 0, "n_jobs": 2, "checkpoint_dir": tmp_path}
    model = sh.tl.fit(subadditive, "auto", **given)
    pd.testing.assert_frame_equal(model.weights, trained.weights, check_exact=True)
    errors = (one.calibration.kinds["combination of measured parts"] for one in (model, trained))
    np.testing.assert_array_equal(*(one.grid for one in errors))
    for path in list(tmp_path.iterdir())[:3]:
        shutil.rmtree(path)
    again = sh.tl.fit(subadditive, "auto", resume=True, **given)
    pd.testing.assert_frame_equal(again.weights, trained.weights, check_exact=True)
    registered("broken", Broken)  # a class that other processes do not know
    config = {"members": ["broken"]}
    one, two = (sh.tl.fit(subadditive, "auto", config=config, n_jobs=n, rng=0) for n in (1, 2))
    assert one.refused == two.refused == {"broken": "RuntimeError: no luck"}


def test_where_all_members_fail_all_are_named(subadditive, monkeypatch):
    def fail(self, cells, *, embedding, seed):
        msg = f"{self.name} is ill"
        raise RuntimeError(msg)

    monkeypatch.setattr(Member, "fit", fail)
    with pytest.raises(ValueError, match="none of the members of auto can be used.*is ill"):
        sh.tl.fit(subadditive, "auto")


def test_all_members_that_predict_nan_are_an_error(subadditive, monkeypatch):
    from shoal.models.base import _mean_responses

    monkeypatch.setattr(_mean_responses, "densify", lambda values: np.asarray(values) * np.nan)
    with pytest.raises(ValueError, match="none of the members.*predicts NaN or infinite values"):
        sh.tl.fit(subadditive, "auto")


def test_members_that_answer_nothing_are_an_error(counts, monkeypatch):
    """All fail but one, which can be trained and knows no perturbation that is held out."""
    fit = Member.fit

    def fail(self, cells, **options):
        if self.name != "latent_linear":
            msg = "is ill"
            raise RuntimeError(msg)
        return fit(replace(self, name="mean_shift"), cells, **options)

    monkeypatch.setattr(Member, "fit", fail)
    monkeypatch.setattr(
        sh.models.MeanShift, "_reasons", lambda self, names: dict.fromkeys(names, "")
    )
    with pytest.raises(ValueError, match="'latent_linear' can answer none of what folds leave out"):
        sh.tl.fit(counts[0], "auto", rng=0, config={"members": ["latent_linear"]})


def test_what_no_member_can_answer_is_refused_in_words(subadditive, trained, monkeypatch):
    held = subadditive.obs["perturbation"][subadditive.obs["split"] == "test"].iloc[0]
    monkeypatch.setattr(trained, "members", {"additive": trained.members["additive"]})
    monkeypatch.setattr(
        trained.members["additive"], "_reasons", lambda names: dict.fromkeys(names, "")
    )
    with pytest.raises(ValueError, match="no member can answer.*'mean_shift', which answers any"):
        trained.predict(held, n_cells=5)


def test_what_is_known_by_its_vector_alone_gets_the_answer_of_any_unmeasured_one(rng):
    """Members that go by no vectors have never heard of it, and answer all the same."""
    names = [f"P{i}" for i in range(8)]
    adata = made({name: rng.normal(size=D) + 1 for name in names}, rng, noise=0.3)
    sh.pp.split(adata, by="perturbation", test=["P7"], val=0)
    vectors = pd.DataFrame(rng.normal(size=(9, 3)), index=[*names, "new"])
    config = {"members": ["quantile_shift"], "n_folds": 2}
    model = sh.tl.fit(adata, "auto", embedding=vectors, config=config, rng=0)
    assert "not measured" in model.explain("new")
    control = adata[adata.obs["perturbation"] == "control"].copy()
    for one, two in (("new", "P7"), ("new+P1", "P7+P1")):
        cells = [model.predict(name, n_cells=50, rng=0) for name in (one, two)]
        np.testing.assert_allclose(cells[0].X, cells[1].X)
        shift = cells[0].X - adata[cells[0].obs["source"].to_numpy()].X
        assert np.abs(shift.mean(axis=0)).sum() > 5
        moved = [model.transport(control, name, rng=0).X for name in (one, two)]
        np.testing.assert_allclose(*moved)
    means = [model.intervals(name, rng=0, pooled=True)["response"] for name in ("new", "P7")]
    np.testing.assert_allclose(*means)


def test_what_nobody_answers_is_never_a_silent_part_of_the_sum(subadditive, trained, monkeypatch):
    held = subadditive.obs["perturbation"][subadditive.obs["split"] == "test"].iloc[0]
    for member in trained.members.values():
        monkeypatch.setattr(member, "_reasons", lambda names: dict.fromkeys(names, ""))
    with pytest.raises(ValueError, match="no member can answer questions of the kind: combination"):
        trained.predict(held, n_cells=5)


@pytest.mark.parametrize("n_jobs", [0, -2, 1.5])
def test_a_number_of_processes_that_makes_no_sense(subadditive, n_jobs):
    with pytest.raises((TypeError, ValueError), match="n_jobs must be a whole number"):
        sh.tl.fit(subadditive, "auto", n_jobs=n_jobs)


# -- a model like any other ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def counts(logged):
    adata = logged.copy()
    sh.pp.split(adata, by="perturbation", test=["P5"], val=0, rng=0)
    return adata, sh.tl.fit(adata, "auto", rng=0)


def test_it_predicts_transports_and_counts(counts):
    adata, model = counts
    rows, twins, _ = model.twins(adata, rng=0)
    assert twins.shape == (len(rows), adata.n_vars)
    control = adata[adata.obs["perturbation"] == "control"].copy()
    moved = model.transport(control, "P5", rng=0)
    assert moved.n_obs == control.n_obs
    assert list(moved.obs["source"]) == list(control.obs_names)
    whole = model.predict(["P1", "P4+P5"], n_cells=10, counts=True)
    assert whole.X.dtype == np.int32
    sh.tl.predict(adata, model, subset="test", key_added="made", rng=0)
    assert "made" in adata.layers
    with pytest.raises(KeyError, match="did not occur in the screen"):
        model.predict("nobody")
    with pytest.raises(TypeError, match="Ensemble has no option 'guidance'"):
        model.predict("P1", guidance=1)


def test_it_is_the_same_after_save_and_load(counts, tmp_path):
    adata, model = counts
    model.save(tmp_path / "model")
    again = sh.models.load(tmp_path / "model", adata)
    pd.testing.assert_frame_equal(again.weights, model.weights)
    one, two = (m.predict(["P1", "P5"], n_cells=12, rng=3).X for m in (model, again))
    np.testing.assert_array_equal(densify(one), densify(two))
    alone = sh.models.load(tmp_path / "model")
    assert alone.predict("P5", adata=adata, n_cells=5).n_obs == 5
    assert alone.explain("P5") == model.explain("P5")


def test_it_must_be_trained(subadditive):
    model = sh.models.Ensemble(subadditive)
    assert "not trained" in repr(model)
    with pytest.raises(ValueError, match="this Ensemble is not trained; call"):
        model.predict("P1")


@pytest.mark.slow
def test_a_network_is_a_member(counts, one_thread, tmp_path):
    adata = counts[0].copy()
    singles = [f"P{i}" for i in range(1, 6)]
    vectors = pd.DataFrame(np.eye(5), index=singles, columns=list("abcde"))
    small = {
        "config": {"n_latent": 6, "width": 8, "depth": 1},
        "max_steps": 3,
        "set_size": 8,
        "accelerator": "cpu",
        "response_share": 1.0,
    }
    model = sh.tl.fit(
        adata, "auto", config={"members": {"flow": small}, "n_folds": 2}, embedding=vectors, rng=0
    )
    assert set(model.refused) <= {"latent_linear"}
    own = weights_of(model, "not measured")
    assert own.loc["flow", "weight"] == own.loc["all members", "weight"] / 2
    for way in ("recentred", "mixed", ""):  # its cells carry the mean response, or do not
        table = model.carriers.assign(carrier="flow" if way else "control cells", way=way)
        model.carriers = table.assign(chosen=True)
        model.save(tmp_path / "model", overwrite=True)
        again = sh.models.load(tmp_path / "model", adata)
        one, two = (m.predict("P5", n_cells=12, rng=3).X for m in (model, again))
        np.testing.assert_array_equal(densify(one), densify(two))
        assert (densify(one) == 0).any()
        assert model.predict("P5", n_cells=12, counts=True).X.dtype == np.int32
        control = adata[adata.obs["perturbation"] == "control"].copy()
        assert model.transport(control, "P5").n_obs == control.n_obs
    assert any(key.startswith("flow.") for key in model.history)


# -- vectors of contexts ---------------------------------------------------------------------------


def lines():
    """Return lines that look alike, whose responses follow their vectors, and these; the last is held out."""
    rng = np.random.default_rng(0)
    value = {f"line{i}": own for i, own in enumerate([-2.0, -1.6, -1.2, 1.2, 1.6, 2.0, 1.9])}
    names = [f"P{i}" for i in range(10)]
    shape = dict(zip(names, rng.normal(size=(10, 15)), strict=True))
    rows = [(n, line) for line in value for n in ("control", *names) for _ in range(12)]
    obs = pd.DataFrame(rows, columns=["perturbation", "line"]).rename(index=str)
    mean = [np.zeros(15) if n == "control" else value[line] * shape[n] for n, line in rows]
    adata = ad.AnnData(np.array(mean) + 0.3 * rng.normal(size=(len(obs), 15)), obs=obs)
    sh.pp.annotate(adata, "perturbation", control="control", context_key="line")
    sh.pp.split(adata, by="context", test=["line6"], zero_shot=True)
    return adata, pd.DataFrame({"v": value}), 1.9 * np.stack(list(shape.values()))


def new(adata):
    """Return control cells of a line that came later."""
    later = adata[(adata.obs["perturbation"] == "control") & (adata.obs["line"] == "line0")].copy()
    later.obs["line"] = "line7"
    return later


@pytest.mark.slow
def test_members_are_told_the_vectors_of_contexts(tmp_path):
    adata, vectors, real = lines()
    errors = {}
    for told in (None, vectors):
        model = sh.tl.fit(adata, "auto", context_embedding=told, rng=0)
        made = model.predict([f"P{i}" for i in range(10)], context="line6", n_cells=20, rng=0)
        table = pd.DataFrame(np.asarray(made.X)).groupby(made.obs["perturbation"].to_numpy(str))
        errors[told is None] = ((table.mean().to_numpy() - real) ** 2).sum() / (real**2).sum()
    assert errors[False] < 0.2
    assert errors[True] > 0.5
    model.save(tmp_path / "model")
    again = sh.models.load(tmp_path / "model", adata)
    with pytest.raises(KeyError, match="add_contexts"):
        again.predict(["P1"], context="line7", adata=new(adata))
    again.add_contexts(pd.DataFrame({"v": {"line7": -1.9}}))
    made = again.predict(["P1"], context="line7", adata=new(adata), rng=0)
    assert np.isfinite(np.asarray(made.X)).all()
    with pytest.raises(KeyError, match="line0"):
        sh.tl.fit(adata, "auto", context_embedding=vectors.drop(index="line0"))
