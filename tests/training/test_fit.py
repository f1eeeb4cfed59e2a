from __future__ import annotations

import logging
import re
import warnings

import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import Logger

from shoal import settings as session
from shoal._logging import Lines
from shoal.metrics import energy_distance
from shoal.training._ema import Ema
from shoal.training._fit import fit
from shoal.training._plan import Plan
from shoal.training._settings import FitSettings

FAST = {"accelerator": "cpu", "max_steps": 60, "val_every": 20, "lr": 0.1, "log_every": 5}


@pytest.fixture
def start(make_screen, make_module, make_store):
    """Return a function that trains, and gives the module with the result."""
    conditions, x = make_screen()

    def make(*, validate=True, options=None, **arguments):
        settings = FitSettings(**FAST | (options or {}))
        module, store = make_module(conditions), make_store(conditions, x)
        held_out = conditions if validate else None
        return module, fit(module, store, validation=held_out, settings=settings, **arguments)

    return make


def test_it_learns_the_shifts(start, make_screen):
    module, result = start(options={"max_steps": 300})
    conditions, x = make_screen()
    shift = (module.shift.weight.T + module.shift.bias).detach().numpy()
    truth = [x[cells].mean(0) - x[conditions.control].mean(0) for cells in conditions.cells]
    np.testing.assert_allclose(shift, truth, atol=0.3)
    history = result.history
    assert {"train_loss", "train_error", "grad_norm", "val_energy"} <= set(history.columns)
    assert history["val_energy"].dropna().index.tolist() == list(range(20, 301, 20))
    assert history["train_loss"].dropna().index.tolist() == [1, *range(5, 301, 5)]
    assert history["val_energy"].iloc[-1] < 0.1 * history["val_energy"].loc[20]
    assert (result.steps, result.stopped_early, result.best, result.last) == (
        300,
        False,
        None,
        None,
    )
    assert not module.training


def test_validation_is_the_energy_distance_to_the_real_cells(start, make_screen):
    module, result = start(options={"max_steps": 20, "ema": None})
    conditions, x = make_screen()
    made = [
        x[conditions.control] + (module.shift.weight[:, c] + module.shift.bias).detach().numpy()
        for c in range(4)
    ]
    expected = np.mean(
        [energy_distance(m, x[cells]) for m, cells in zip(made, conditions.cells, strict=True)]
    )
    assert result.val_energy == pytest.approx(expected, rel=0.2)  # 60 of the 80 controls


def test_the_last_stretch_may_be_short(start):
    _, result = start(options={"max_steps": 47})
    assert result.steps == 47
    assert result.history["val_energy"].dropna().index.tolist() == [20, 40, 47]


def test_without_validation_the_last_weights_are_kept(start, tmp_path):
    module, result = start(validate=False, checkpoint_dir=tmp_path, options={"ema": None})
    last = torch.load(result.last, weights_only=True)["state_dict"]
    assert torch.equal(last["module.shift.weight"], module.shift.weight)
    assert "val_energy" not in result.history
    assert result.best is None
    assert result.val_energy == float("inf")


def test_the_best_weights_are_kept_not_the_last(start, tmp_path):
    class Spoil(Callback):
        def on_train_epoch_start(self, trainer, pl_module):
            if trainer.current_epoch == 2:
                torch.nn.init.constant_(pl_module.module.shift.bias, 50.0)

    module, result = start(checkpoint_dir=tmp_path, callbacks=[Spoil()], options={"ema": None})
    energy = result.history["val_energy"].dropna()
    assert energy.idxmin() == 40
    assert result.val_energy == energy.min() < energy.loc[60]
    assert module.shift.bias.abs().max() < 10
    best = torch.load(result.best, weights_only=True)
    assert best["global_step"] == 40
    assert torch.equal(best["state_dict"]["module.shift.bias"], module.shift.bias)


def test_it_stops_early_when_nothing_gets_better(start):
    class Spoil(Callback):
        def on_validation_start(self, trainer, pl_module):
            if trainer.current_epoch:
                torch.nn.init.constant_(pl_module.module.shift.bias, 50.0)

    _, result = start(callbacks=[Spoil()], options={"max_steps": 400, "patience": 2, "ema": None})
    assert result.stopped_early
    assert result.steps == 60


def test_the_average_is_validated_and_kept(start, tmp_path):
    raw = {}

    class Peek(Callback):
        def on_train_batch_end(self, trainer, pl_module, *_):
            raw[trainer.global_step] = pl_module.module.shift.weight.detach().clone()

    module, _ = start(validate=False, callbacks=[Peek()], options={"ema": 0.9, "max_steps": 30})
    average = raw[1]
    for step in range(2, 31):
        decay = min(0.9, step / (9 + step))  # (1 + n) / (10 + n) after n = step - 1 steps
        average = decay * average + (1 - decay) * raw[step]
    torch.testing.assert_close(module.shift.weight.detach(), average)
    assert not torch.allclose(average, raw[30])


def test_the_average_leaves_the_initial_weights_quickly():
    ema = Ema(0.999)
    average, current = torch.zeros(1), torch.ones(1)
    for ema._latest_update_step in range(1, 100):
        ema._average([average], [current], None)
    assert average > 0.999


def test_rate_rises_and_falls_and_only_matrices_decay(make_screen, make_module):
    plan = Plan(
        make_module(make_screen()[0]), FitSettings(max_steps=100, warmup=0.1, lr=1.0), ("P0",)
    )
    found = plan.configure_optimizers()
    rate = found["lr_scheduler"]["scheduler"].lr_lambdas[0]
    np.testing.assert_allclose([rate(0), rate(4), rate(9)], [0.1, 0.5, 1.0])
    np.testing.assert_allclose([rate(10), rate(55), rate(100)], [1.0, 0.5, 0.0], atol=1e-12)
    shapes = {
        group["weight_decay"]: [p.ndim for p in group["params"]]
        for group in found["optimizer"].param_groups
    }
    assert shapes == {0.01: [2], 0.0: [1]}


def test_the_gradient_is_clipped(start):
    steps = []

    class Norm(Callback):
        def on_before_zero_grad(self, trainer, pl_module, optimizer):
            grads = [p.grad for p in pl_module.parameters() if p.grad is not None]
            steps.append(float(torch.sqrt(sum((g**2).sum() for g in grads))) if grads else 0.0)

    _, result = start(options={"gradient_clip": 0.01}, callbacks=[Norm()])
    assert 0 < max(steps) < 0.0101
    assert result.history["grad_norm"].max() > 0.1


class Notes(Logger):
    """A logger of a user's."""

    name, version = "notes", 0

    def __init__(self):
        super().__init__()
        self.seen = []

    def log_metrics(self, metrics, step):
        self.seen.append((step, dict(metrics)))

    def log_hyperparams(self, *_):
        pass


def test_a_logger_gets_all_entries(start):
    notes = Notes()
    start(logger=notes)
    names = set().union(*(metrics for _, metrics in notes.seen))
    assert {"train_loss", "train_error", "val_energy"} <= names


@pytest.mark.parametrize(
    ("wish", "setting", "shown"), [(True, False, True), (None, True, True), (None, None, False)]
)
def test_the_bar_is_shown_on_demand(start, wish, setting, shown, capsys, monkeypatch):
    monkeypatch.setattr(session, "progress", setting)
    start(enable_progress_bar=wish, options={"max_steps": 20})
    out, err = capsys.readouterr()
    assert ("training" in err and "val_energy" in err) == shown
    assert not out
    assert shown or not err


def test_lightning_is_quiet_and_left_as_it_was(start, caplog):
    chatty = logging.getLogger("lightning.pytorch")
    before, filters = chatty.level, list(warnings.filters)
    with caplog.at_level(logging.INFO):
        start(options={"max_steps": 20})
    assert not [record for record in caplog.records if record.name.startswith("lightning")]
    assert chatty.level == before
    assert warnings.filters == filters


def test_small_conditions_are_said_and_trained_on(make_screen, make_module, make_store, caplog):
    conditions, x = make_screen((60, 5, 1))
    module = make_module(conditions)
    result = fit(
        module, make_store(conditions, x), validation=conditions, settings=FitSettings(**FAST)
    )
    assert "2 of 3 conditions have fewer than set_size=16 cells" in caplog.text
    assert np.isfinite(result.val_energy)
    with pytest.raises(ValueError, match="no held-out condition has two cells"):
        fit(module, make_store(conditions, x), validation=conditions.subset(np.array([2])))


@pytest.mark.parametrize(
    "bad",
    [
        {"max_steps": 0},
        {"lr": -1},
        {"ema": 1.0},
        {"warmup": 1.0},
        {"val_cells": 1},
        {"seed": -1},
        {"patience": 0},
    ],
)
def test_settings_that_make_no_sense_are_refused(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        FitSettings(**bad)


def test_training_says_where_it_is_outside_a_terminal(start, capsys, monkeypatch):
    monkeypatch.setattr(Lines, "EVERY", 0.0)
    monkeypatch.setattr(Lines, "SHARE", 0.0)
    start(options={"max_steps": 20})
    told = capsys.readouterr().err.splitlines()
    assert re.match(r"training: 1 of 20 steps, about .* left", told[0])
    assert "loss" in told[-2]
    assert re.match(r"training: 20 steps in .*, val_energy", told[-1])
    start(options={"max_steps": 20}, enable_progress_bar=False)
    assert capsys.readouterr().err == ""
