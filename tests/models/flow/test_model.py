"""Flow as its user sees it: what goes in, what comes out, and what nothing is learned from."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import shoal as sh

from ...helpers import dense

torch = pytest.importorskip("torch", reason="networks need the extra 'models'")
pytest.importorskip("scvi", reason="networks need the extra 'models'")

PRESETS = ("cellflux", "flow", "noise2data", "otcfm", "rectified", "sbcfm", "stochastic")


def same(one, two):
    """Whether two networks have the same weights, to the bit."""
    pairs = zip(one.module.state_dict().items(), two.module.state_dict().items(), strict=True)
    return all(a[0] == b[0] and torch.equal(a[1], b[1]) for a, b in pairs)


# -- from the screen to a model --------------------------------------------------------------------------------------


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_trains_and_predicts(screen, fit_flow, preset):
    model = fit_flow(screen, preset=preset, max_steps=3)
    made = model.predict(["P1", "P2+P3"], context="context1", n_cells=10, n_steps=4)
    assert made.shape == (20, 60)
    assert np.isfinite(dense(made.X)).all()
    assert dense(made.X).min() >= 0
    assert list(made.var_names) == list(screen.var_names)
    assert set(made.obs["context"]) == {"context1"}


def test_all_presets_are_tried_here():
    from shoal.models.flow._config import PRESETS as known

    assert set(PRESETS) <= set(known)


def test_history_is_a_table_of_each_figure(divided, fit_flow):
    model = fit_flow(divided)
    assert {"train_loss", "train_velocity", "grad_norm", "val_energy"} <= set(model.history)
    for name, table in model.history.items():
        assert isinstance(table, pd.DataFrame)
        assert (table.index.name, list(table)) == ("step", [name])
        assert np.isfinite(table[name]).all()
    assert model.history["val_energy"].index.tolist() == [10, 20, 30]
    assert model.history["train_loss"].index.tolist() == [1, 10, 20, 30]
    assert model.is_trained
    assert model.fit_result.val_energy == pytest.approx(
        model.history["val_energy"]["val_energy"].min()
    )


def test_it_stops_when_held_out_conditions_get_no_better(divided, fit_flow):
    model = fit_flow(divided, max_steps=100, patience=2, lr=1e-12, ema=None)
    assert model.fit_result.stopped_early
    assert model.history["val_energy"].index.tolist() == [10, 20, 30]


@pytest.mark.slow
def test_learning_beats_the_control_cells(screen, fit_flow):
    from shoal.metrics import energy_distance

    made = fit_flow(screen, max_steps=400, lr=5e-3, config={"width": 32}).predict(
        context="context1", rng=1
    )
    here = screen[screen.obs["context"] == "context1"]
    basis = screen.varm["PCs"]
    control = dense(here[here.obs["perturbation"] == "control"].X) @ basis
    ratio = []
    for name in ("P1", "P2", "P3", "P4", "P5"):
        real = dense(here[here.obs["perturbation"] == name].X) @ basis
        predicted = dense(made[made.obs["perturbation"] == name].X) @ basis
        ratio.append(energy_distance(predicted, real) / energy_distance(control, real))
    assert np.median(ratio) < 0.8, ratio


def test_a_seed_decides_all(screen, fit_flow):
    first, again, other = (fit_flow(screen, max_steps=5, rng=seed) for seed in (1, 1, 2))
    assert same(first, again)
    assert not same(first, other)
    one, two, three = (first.predict("P1", n_cells=9, rng=seed).X for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, two)
    assert not np.array_equal(one, three)


def test_batches_contexts_and_doses_reach_the_network(fit_flow):
    adata = sh.ds.simulate(
        n_perturbations=2,
        n_cells=40,
        n_genes=60,
        doses=[0.1, 10.0],
        contexts=2,
        n_control=80,
        rng=0,
    )
    sh.pp.prepare(adata, normalize="log1p", n_comps=8)
    model = fit_flow(adata, max_steps=60, lr=5e-3)
    assert set(model.module.condition.covariates) == {"perturbation", "dose", "context", "batch"}
    assert model.vocabulary.batches == ("batch1", "batch2")
    assert (model.vocabulary.dose_centre, model.vocabulary.dose_scale) == pytest.approx((0, 1))
    low, high, between = (
        dense(model.predict("P1", dose=dose, n_cells=40).X) for dose in (0.1, 10.0, 1.0)
    )
    assert np.abs(low - high).max() > 1e-3
    assert np.abs(between - low).max() > 1e-4
    del adata.uns["shoal"]
    sh.pp.annotate(adata, "perturbation", control="control")
    assert set(fit_flow(adata, max_steps=1).module.condition.covariates) == {"perturbation", "dose"}


def test_names_of_any_kind(screen, fit_flow):
    number = {"control": 0, "P1": 1, "P2": 2, "P3": 3, "P4": 4, "P5": 5, "P1+P4": 6, "P4+P5": 7}
    screen.obs["guide_number"] = screen.obs["perturbation"].astype(str).map(number).astype(int)
    model = fit_flow(screen, perturbation_key="guide_number", control=0, max_steps=2)
    assert model.vocabulary.perturbations == ("1", "2", "3", "4", "5", "6", "7")
    assert model.predict([3], n_cells=4).obs["guide_number"].tolist() == ["3"] * 4
    names = screen.obs["perturbation"].astype(str).replace({"P1": "A/B", "P1+P4": "P4+A/B"})
    screen.obs["perturbation"] = names.to_numpy()
    model = fit_flow(screen, max_steps=2)
    assert model.vocabulary.perturbations == ("A/B", "P2", "P3", "P4", "P5")
    made = model.predict(["P4+A/B"], n_cells=4)
    np.testing.assert_array_equal(made.X, model.predict("A/B+P4", n_cells=4).X)
    assert made.obs["perturbation"].tolist() == ["P4+A/B"] * 4


def test_a_perturbation_without_cells_is_predicted_from_its_vector(divided, fit_flow):
    table = pd.DataFrame(np.eye(6, 3) + 0.5, index=["P1", "P2", "P3", "P4", "P5", "NEW"])
    model = fit_flow(divided, embedding=table, max_steps=3)
    made = model.predict(["NEW", "NEW+P1"], n_cells=5)
    assert made.obs["perturbation"].tolist() == ["NEW"] * 5 + ["NEW+P1"] * 5
    assert np.isfinite(dense(made.X)).all()


def test_cells_of_ones_own_are_carried(screen, fit_flow):
    model = fit_flow(screen, max_steps=3)
    cells = screen[screen.obs["perturbation"] == "control"][:7].copy()
    made = model.transport(cells, "P1")
    assert made.obs["source"].tolist() == cells.obs_names.tolist()
    assert np.abs(dense(made.X) - dense(cells.X)).max() > 0


# -- the same values in another form ---------------------------------------------------------------------------------


def test_sparse_and_dense_values_teach_the_same(screen, fit_flow):
    other = screen.copy()
    other.X = dense(screen.X) if sparse.issparse(screen.X) else sparse.csr_matrix(screen.X)
    one, two = (fit_flow(each, max_steps=10) for each in (screen, other))
    np.testing.assert_allclose(dense(one.predict("P1").X), dense(two.predict("P1").X), atol=1e-3)


def test_twins_do_not_depend_on_the_order_of_the_rows(screen, fit_flow, rng):
    model, order = fit_flow(screen, max_steps=5, preset="stochastic"), rng.permutation(screen.n_obs)
    rows, twins, source = model.twins(rng=4, n_steps=5)
    shuffled = screen[order].copy()
    rows2, twins2, source2 = model.twins(shuffled, rng=4, n_steps=5)
    one = pd.DataFrame(dense(twins), index=screen.obs_names[rows])
    two = pd.DataFrame(dense(twins2), index=shuffled.obs_names[rows2])
    pd.testing.assert_frame_equal(one, two.loc[one.index], check_exact=True)
    starts = dict(zip(shuffled.obs_names[rows2], shuffled.obs_names[source2], strict=True))
    assert [starts[name] for name in one.index] == screen.obs_names[source].tolist()


# -- the test set teaches nothing ------------------------------------------------------------------------------------


@pytest.mark.parametrize("spoil", ["values", "absence", "name"])
def test_nothing_is_learned_from_test_cells(divided, fit_flow, rng, spoil):
    test = (divided.obs["split"] == "test").to_numpy()
    other = divided.copy()
    if spoil == "values":
        values = dense(other.X).copy()
        values[test] = rng.normal(size=(test.sum(), other.n_vars)) * 30
        other.X = sparse.csr_matrix(values) if sparse.issparse(divided.X) else values
    elif spoil == "absence":
        other = other[~test].copy()
    else:
        other.obs["perturbation"] = np.where(test, "Q", other.obs["perturbation"].astype(str))
    one, two = fit_flow(divided), fit_flow(other)
    assert same(one, two)
    for name in ("mean", "axes", "scale"):
        np.testing.assert_array_equal(getattr(one.space, name), getattr(two.space, name))
    first, second = one.vocabulary.to_dict(), two.vocabulary.to_dict()
    np.testing.assert_array_equal(dense(first.pop("vectors")), dense(second.pop("vectors")))
    assert first.pop("screen").keys() == second.pop("screen").keys()
    assert (first.pop("named") == second.pop("named")) == (spoil != "name")  # names alone
    for entry in (first, second):
        entry.pop(
            "level"
        )  # of the first cells, by which another scale is noticed; nothing is fitted
    assert first == second
    assert one.vocabulary.nonnegative
    asked = {"n_cells": 12, "rng": 3}
    np.testing.assert_array_equal(
        dense(one.predict("P1", **asked).X), dense(two.predict("P1", **asked).X)
    )
    for name, table in one.history.items():
        pd.testing.assert_frame_equal(table, two.history[name], check_exact=True)


def test_training_cells_below_zero_are_followed_by_predictions_below_zero(screen, fit_flow):
    screen.X = dense(screen.X) - 1
    model = fit_flow(screen, max_steps=3)
    assert not model.vocabulary.nonnegative
    assert dense(model.predict("P1").X).min() < 0


# -- manners ---------------------------------------------------------------------------------------------------------


def test_training_is_silent_and_leaves_no_files(divided, fit_flow, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    model = fit_flow(divided, enable_progress_bar=False)
    model.predict("P1", n_cells=5)
    assert list(tmp_path.iterdir()) == []
    assert "".join(capfd.readouterr()) == ""


def test_a_bar_is_shown_where_it_is_asked_for(screen, fit_flow, capfd):
    fit_flow(screen, max_steps=10, enable_progress_bar=True)
    shown = capfd.readouterr()
    assert "training: 100%" in shown.err
    assert "10/10" in shown.err


def test_a_class_of_scvi_tools_and_its_words(screen, capsys):
    cls = sh.models.Flow
    cls.setup_anndata(screen)
    model = cls(screen, n_latent=4, width=16, depth=1)
    assert not model.is_trained
    with pytest.raises(ValueError, match=r"this Flow is not trained; call model.train\(\) first"):
        model.predict("P1")
    model.train(2, batch_conditions=2, set_size=8, accelerator="cpu")
    assert model.adata is screen
    repr(model)
    assert "Flow of 5 perturbations (one-hot), 4 components" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        (
            {"preset": "flwo"},
            ValueError,
            "preset='flwo' is not known; choose one of 'flow', 'rectified'",
        ),
        (
            {"config": {"widht": 8}},
            TypeError,
            "no setting 'widht'; beside preset, .* it takes interpolant: path, gamma.* width, depth",
        ),
        (
            {"config": {"coupling": "best"}},
            ValueError,
            "coupling='best' is not known; choose one of 'exact'",
        ),
        ({"config": {"width": 0}}, ValueError, "width must be above 0, not 0"),
        ({"config": {"n_latent": 0}}, ValueError, "n_latent must be a whole number"),
        ({"learning_rate": 1}, TypeError, "no setting 'learning_rate'; .* takes lr, weight_decay"),
        ({"seed": 1}, TypeError, "no setting 'seed'"),
        ({"lr": -1}, ValueError, "lr must be above 0, not -1"),
        ({"set_size": 0}, ValueError, "set_size must be a whole number"),
        ({"max_steps": 0}, ValueError, "max_steps must be a whole number"),
        (
            {"store": "disk"},
            ValueError,
            "store='disk' is not known; choose one of 'auto', 'resident', 'streamed'",
        ),
        ({"weighting": "odd"}, ValueError, "weighting='odd' is not known"),
        (
            {"embedding": "go"},
            KeyError,
            r"'go' is not in adata.uns\['perturbation_embeddings'\].*sh\.pp\.embed",
        ),
    ],
)
def test_what_is_not_known_is_named_with_what_is(screen, fit_flow, arguments, error, words):
    keys = set(screen.uns)
    with pytest.raises(error, match=words):
        fit_flow(screen, **arguments)
    assert set(screen.uns) == keys


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        (
            {"n_step": 3},
            TypeError,
            "Flow has no option 'n_step' for predictions; it takes: n_steps, sampler, guidance",
        ),
        ({"n_steps": 0}, ValueError, "n_steps must be a whole number"),
        ({"sampler": "magic"}, ValueError, "sampler='magic' is not known"),
        (
            {"guidance": {"colour": 2.0}},
            ValueError,
            "guidance='colour' is not known; choose one of 'perturbation'",
        ),
    ],
)
def test_options_of_prediction_are_checked(screen, fit_flow, options, error, words):
    model = fit_flow(screen, max_steps=1)
    with pytest.raises(error, match=words):
        model.predict("P1", n_cells=3, **options)
