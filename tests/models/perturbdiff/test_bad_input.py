"""What can be wrong with a screen or a setting of PerturbDiff: it is said clearly, or it does no harm."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import shoal as sh

torch = pytest.importorskip("torch", reason="networks need the extra 'models'")
pytest.importorskip("scvi", reason="networks need the extra 'models'")

from shoal.models.base._config import changed  # noqa: E402
from shoal.models.base._sets import conditions_of  # noqa: E402
from shoal.models.perturbdiff import _module as _perturbdiff_module  # noqa: E402
from shoal.models.perturbdiff._config import (  # noqa: E402
    PRESETS,
    DiffusionConfig,
    PerturbDiffConfig,
    PerturbDiffSamplingConfig,
)
from shoal.training import SetSampler  # noqa: E402

from ...helpers import dense  # noqa: E402

SHORT = {"max_steps": 3}
STEPS = {"one_pass": False}
each_preset = pytest.mark.parametrize("preset", PRESETS)


# -- perturbations, sets, contexts -----------------------------------------------------------------------------------


@each_preset
def test_one_hot_vectors_say_nothing_about_an_unseen_perturbation(
    screen, fit_perturbdiff, caplog, preset
):
    sh.pp.split(screen, by="perturbation", test=["P2"])
    model = fit_perturbdiff(screen, preset=preset, **SHORT)
    assert "1 perturbations have no vector (one-hot) and cannot be predicted: 'P2'" in caplog.text
    before = set(screen.layers), set(screen.obs)
    calls = (
        lambda: model.predict(["P1", "P2"]),
        lambda: model.predict("P1+P2"),
        lambda: model.mmd(),
        lambda: sh.tl.predict(screen, model, subset="test"),
    )
    for call in calls:
        with pytest.raises(
            KeyError,
            match=r"'P2',? (which )?did not occur in training, .*sh\.pp\.embed\(adata, .*embedding=",
        ):
            call()
    assert (set(screen.layers), set(screen.obs)) == before


def test_training_and_request_name_what_an_embedding_lacks(screen, fit_perturbdiff):
    table = pd.DataFrame(np.eye(5, 3), index=["P1", "P2", "P3", "P4", "P5"])
    with pytest.raises(
        KeyError, match="perturbations of training have no vector in the embedding 'table': P5"
    ):
        fit_perturbdiff(screen, embedding=table.drop(index="P5"))
    model = fit_perturbdiff(screen, embedding=table, **SHORT)
    with pytest.raises(KeyError, match="'P7' did not occur in the screen"):
        model.predict("P7")


@each_preset
def test_sets_larger_than_any_population(screen, fit_perturbdiff, caplog, preset):
    model = fit_perturbdiff(screen, preset=preset, set_size=150, **SHORT)
    assert (
        "14 of 14 conditions have fewer than set_size=150 cells, which are repeated with weight 0"
        in caplog.text
    )
    assert np.isfinite(dense(model.predict("P1", n_cells=200, n_steps=1).X)).all()


@pytest.mark.parametrize("fusion", ["input", "features", "tokens"])
def test_cells_that_fill_a_set_do_not_change_the_loss(screen, fit_perturbdiff, monkeypatch, fusion):
    """All 20 cells of the only condition and all 20 controls are in every set, some of them three times in the larger."""
    here = (screen.obs["context"] == "context1").to_numpy()
    chosen = [
        np.flatnonzero(here & (screen.obs["perturbation"] == name))[:20]
        for name in ("P1", "control")
    ]
    one = screen[np.concatenate(chosen)].copy()
    one.obs["batch"] = "b"
    model = fit_perturbdiff(one, config={"condition_dropout": 0.0, "fusion": fusion})
    conditions = conditions_of(model.cells, model.cells.train, model.vocabulary)
    samplers = [SetSampler(conditions, set_size=size, batch_conditions=1) for size in (20, 60)]
    batches = [model._training_store(sampler, "resident").batch(0) for sampler in samplers]
    assert [(len(b.weight[0]), b.weight.sum(), b.source_weight.sum()) for b in batches] == [
        (20, 20, 20),
        (60, 20, 20),
    ]
    monkeypatch.setattr(
        _perturbdiff_module, "normal_like", lambda like, generator: torch.zeros_like(like)
    )
    losses = [
        model.module.loss(b, torch.Generator().manual_seed(0))["loss"].item() for b in batches
    ]
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
    counted = [replace(b, weight=b.weight * 0 + 1, source_weight=b.weight * 0 + 1) for b in batches]
    losses = [
        model.module.loss(b, torch.Generator().manual_seed(0))["loss"].item() for b in counted
    ]
    assert losses[1] != pytest.approx(losses[0], rel=1e-2)


@each_preset
def test_a_context_without_controls(screen, fit_perturbdiff, caplog, preset):
    gone = (screen.obs["perturbation"] == "control") & (screen.obs["context"] == "context2")
    screen = screen[~gone].copy()
    model = fit_perturbdiff(screen, preset=preset, **SHORT)
    assert (
        "conditions have cells with fewer than 10 controls of their own context and batch"
        in caplog.text
    )
    with pytest.raises(
        ValueError, match="'context2' has no control cell to start from; these have some: context1"
    ):
        model.predict("P1", context="context2")
    sh.tl.predict(screen, model, n_steps=1)
    assert (
        "context 'context2' has too few control cells; twins start from same batch" in caplog.text
    )
    twins = screen.obs["predicted_predicted"].to_numpy()
    assert set(screen.obs["context"][screen.obs["predicted_source"][twins]]) == {"context1"}
    assert np.isfinite(dense(screen.layers["predicted"])[twins]).all()


# -- values ----------------------------------------------------------------------------------------------------------


@each_preset
@pytest.mark.parametrize("size", [1.0, 1e4])
def test_signed_features_are_learned_and_predicted_below_0(screen, fit_perturbdiff, preset, size):
    screen.X = (dense(screen.X) - dense(screen.X).mean(0)) * size
    model = fit_perturbdiff(screen, preset=preset, **SHORT)
    assert not model.vocabulary.nonnegative
    made = dense(model.predict("P1", n_cells=60, n_steps=1, guidance=1.0).X)
    assert np.isfinite(made).all()
    unit = size if preset == "shoal" else 1  # the published one divides by 10, whatever comes
    assert (made < -0.01 * unit).mean() > 0.2


def test_a_representation(screen, fit_perturbdiff):
    model = fit_perturbdiff(screen, use_rep="X_pca", **SHORT)
    made = model.predict("P1", n_cells=30)
    assert made.shape == (30, 8)
    assert made.X.min() < 0
    assert model.module.axes.shape == (8, 8)  # as many components as there are


@each_preset
@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (
            lambda x: np.round(np.expm1(x) * 1e4),
            r"whole numbers \(0 to .*raw counts.*sh\.pp\.prepare\(adata, normalize='log1p'",
        ),
        (lambda x: x * 1e4, "normalised, but not logged"),
        (
            lambda x: np.where(np.arange(60) == 3, np.nan, x),
            "X holds NaN or infinite values in 360 of 360 cells",
        ),
        (
            lambda x: np.where(np.arange(60) == 3, np.inf, x),
            "X holds NaN or infinite values in 360 of 360 cells",
        ),
        (lambda x: 0 * x + 1.5, "training cells do not vary in any of the 60 features"),
    ],
    ids=["counts", "not logged", "missing", "infinite", "constant"],
)
def test_values_that_cannot_be_learned_from(screen, fit_perturbdiff, preset, spoil, words):
    screen.X = spoil(dense(screen.X))
    keys = set(screen.uns)
    with pytest.raises(ValueError, match=words):
        fit_perturbdiff(screen, preset=preset)
    assert set(screen.uns) == keys


# -- settings --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"fusion": "cells"},
            "fusion='cells' is not known; choose one of 'input', 'features', 'tokens'",
        ),
        (
            {"pooling": "max"},
            "pooling='max' is not known; choose one of 'mean', 'sum', 'attention'",
        ),
        ({"sampler": "ddpm"}, "sampler='ddpm' is not known; choose one of 'strided', 'truncated'"),
        ({"heads": 3}, "heads=3 is not known; choose one of 1, 2"),
        *(
            ({name: 0}, f"{name} must be (above 0|a whole number of at least 1), not 0")
            for name in (
                "divide_by",
                "chain_length",
                "n_noise",
                "n_components",
                "width",
                "depth",
                "n_heads",
                "n_steps",
            )
        ),
        *(
            ({name: value}, f"{name} is a share, from 0 to 1, not {value}")
            for name in ("self_conditioning", "condition_dropout", "cross_context", "unseen_weight")
            for value in (-0.1, 2)
        ),
        (
            {"energy": 0.0, "energy_components": 0},
            r"weights, none below 0 and not all 0, not \(0.0, 0.0, 0\)",
        ),
        ({"energy": -1.0}, r"weights, none below 0 and not all 0, not \(0.0, -1.0, 1.0\)"),
        (
            {"mse": 1.0},
            "one_pass=True sees pure noise, of which no cell is the counterpart: mse must be 0",
        ),
        (
            {"self_conditioning": 0.5},
            "one_pass=True has no earlier prediction to show: self_conditioning must be 0",
        ),
        (
            {"sampler": "truncated"},
            "one_pass=True has no last steps to walk: sampler must be 'strided'",
        ),
        (
            {"n_steps": 5},
            "one_pass=True generates in 1 step, not 5; .* is trained with one_pass=False",
        ),
        (
            {"per_covariate": False},
            "unseen_weight=0.25 leaves out the perturbation alone, which takes per_covariate=True",
        ),
        ({"heads": 2}, "heads=2 belongs to two streams: choose fusion from features, tokens"),
        (
            {**STEPS, "n_steps": 1001},
            "1001 steps cannot be taken of a chain of 1000: choose 1 to 1000",
        ),
        (
            {**STEPS, "sampler": "truncated", "chain_length": 9, "n_steps": 10},
            "a chain of 9 steps has no last 10",
        ),
    ],
    ids=str,
)
def test_config_names_what_does_not_fit(changes, words):
    with pytest.raises(ValueError, match=words):
        changed(PerturbDiffConfig(), changes)


@pytest.mark.parametrize(
    ("setting", "error", "words"),
    [
        ({"width": 16.5}, TypeError, "width is a whole number, not 16.5"),
        ({"n_steps": 1.0}, TypeError, "n_steps is a whole number, not 1.0"),
        ({"guidance": float("nan")}, ValueError, "guidance=nan must be finite"),
        ({"floor": -1.0}, ValueError, "floor=-1.0 must be at least 0 or None"),
    ],
)
def test_numbers_that_make_no_sense(setting, error, words):
    with pytest.raises(error, match=words):
        changed(PerturbDiffConfig(), setting)


def test_guidance_is_a_number_or_weights_by_name():
    for wrong in (None, "2", {"perturbation": "2"}):
        with pytest.raises(TypeError, match="guidance is one number for all covariates, or a map"):
            PerturbDiffSamplingConfig(guidance=wrong)
    assert PerturbDiffSamplingConfig(guidance=np.float32(0.5)).guidance == 0.5
    assert PerturbDiffSamplingConfig(guidance={"dose": 2}).guidance == {"dose": 2}


def test_a_schedule_may_come_as_a_name_or_a_list():
    assert DiffusionConfig(beta="cosine").beta == ("cosine",)
    assert changed(PerturbDiffConfig(), {"beta": ["linear", 1e-4, 0.02]}) == PRESETS["shoal"]


def test_presets_are_frozen():
    with pytest.raises(AttributeError):
        PRESETS["shoal"].network.width = 3
    with pytest.raises(TypeError):
        PRESETS["shoal"] = replace(PRESETS["published"])


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        (
            {"preset": "paper"},
            ValueError,
            "preset='paper' is not known; choose one of 'shoal', 'published'",
        ),
        (
            {"config": {"widht": 8}},
            TypeError,
            "no setting 'widht'; beside preset and embedding it takes output: divide_by, .* floor",
        ),
        (
            {"config": {"n_heads": 5}},
            ValueError,
            "n_heads=5 must divide the width of the attention, 16",
        ),
        (
            {"config": {"beta": ("sigmoid",)}},
            ValueError,
            "beta='sigmoid' is not known; choose one of 'linear', 'cosine'",
        ),
        ({"config": {"beta": ("linear", 0.1)}}, ValueError, r"is not \('linear', first, last\)"),
        (
            {"embedding": "go"},
            KeyError,
            r"'go' is not in adata.uns\['perturbation_embeddings'\].*sh\.pp\.embed",
        ),
        ({"learning_rate": 1}, TypeError, "no setting 'learning_rate'; .* takes lr, weight_decay"),
    ],
)
def test_what_is_not_known_is_named_with_what_is(screen, fit_perturbdiff, arguments, error, words):
    keys = set(screen.uns)
    with pytest.raises(error, match=words):
        fit_perturbdiff(screen, **arguments)
    assert set(screen.uns) == keys


@pytest.mark.parametrize(
    ("preset", "options", "error", "words"),
    [
        (
            "shoal",
            {"sampler": "ddpm"},
            TypeError,
            "no option 'sampler' for predictions; it takes: n_steps, guidance, cross_context",
        ),
        ("shoal", {"n_steps": 5}, ValueError, "one_pass=True generates in 1 step, not 5"),
        ("shoal", {"guidance": {"colour": 2.0}}, ValueError, "guidance='colour' is not known"),
        (
            "published",
            {"guidance": {"context": 2.0}},
            ValueError,
            "leaves out all covariates together: guidance must be one number",
        ),
        ("published", {"n_steps": 0}, ValueError, "n_steps must be a whole number"),
        ("published", {"n_steps": 1001}, ValueError, "a chain of 1000 steps has no last 1001"),
    ],
)
def test_options_of_prediction_are_checked(screen, fit_perturbdiff, preset, options, error, words):
    model = fit_perturbdiff(screen, preset=preset, max_steps=1)
    with pytest.raises(error, match=words):
        model.predict("P1", n_cells=3, **options)
