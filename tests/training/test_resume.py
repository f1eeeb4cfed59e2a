"""A run that is broken off and resumed ends where an uninterrupted one does, to the bit."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pandas as pd
import pytest
import torch
from lightning.pytorch.callbacks import Callback

from shoal.training._fit import fit
from shoal.training._sampler import SetSampler
from shoal.training._settings import FitSettings
from shoal.training._streamed import StreamedStore

FAST = {"accelerator": "cpu", "max_steps": 100, "val_every": 20, "lr": 0.05, "log_every": 5}


class Break(Callback):
    def __init__(self, step, error):
        self.step, self.error = step, error

    def on_train_batch_start(self, trainer, *_):
        if trainer.global_step == self.step:
            raise self.error


class Worsen(Callback):
    """Makes every validation but the first a bad one."""

    def on_validation_epoch_start(self, trainer, pl_module):
        if trainer.current_epoch:
            torch.nn.init.constant_(pl_module.module.shift.bias, 50.0)


@pytest.fixture
def start(make_screen, make_module, make_store):
    """Return a function that trains a new module, and gives it with the result."""
    conditions, x = make_screen((40,) * 8)

    def make(folder=None, *, store="resident", validate=True, callbacks=(), resume=None, **options):
        if store == "resident":
            cells = make_store(conditions, x)
        else:
            sampler = SetSampler(conditions, set_size=16, batch_conditions=2)
            cells = StreamedStore(lambda at: x[at], sampler, pool_cells=128, refresh=7)
        module = make_module(conditions)
        result = fit(
            module,
            cells,
            validation=conditions if validate else None,
            settings=FitSettings(**FAST | options),
            checkpoint_dir=folder,
            resume=resume,
            callbacks=callbacks,
        )
        return module, result

    return make


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"store": "streamed"},
        {"ema": None},
        {"validate": False},
        {"patience": 3, "callbacks": [Worsen()]},
    ],
    ids=["resident", "streamed", "no average", "no validation", "early stopping"],
)
def test_a_resumed_run_is_the_uninterrupted_one(start, tmp_path, options):
    whole, expected = start(tmp_path / "a", **options)
    broken = [*options.get("callbacks", ()), Break(53, RuntimeError("pulled the plug"))]
    with pytest.raises(RuntimeError, match="pulled the plug"):
        start(tmp_path / "b", **options | {"callbacks": broken})
    module, result = start(resume=tmp_path / "b" / "last.ckpt", **options)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, module.state_dict()[name]), name
    pd.testing.assert_frame_equal(result.history, expected.history, check_exact=True)
    assert (result.steps, result.val_energy) == (expected.steps, expected.val_energy)
    assert result.stopped_early == expected.stopped_early == ("patience" in options)
    assert result.steps == (80 if "patience" in options else 100)
    assert result.last == tmp_path / "b" / "last.ckpt"
    assert not list(tmp_path.rglob("*.part"))


def test_training_can_be_prolonged(start, tmp_path):
    start(tmp_path, max_steps=50)
    _, result = start(resume=tmp_path / "last.ckpt", max_steps=90)
    assert result.steps == 90
    assert result.history["val_energy"].dropna().index.tolist() == [20, 40, 50, 70, 90]


def test_a_finished_run_is_only_read(start, tmp_path):
    module, result = start(tmp_path)
    again, read = start(resume=tmp_path / "last.ckpt")
    assert torch.equal(module.shift.weight, again.shift.weight)
    assert (read.steps, read.val_energy) == (result.steps, result.val_energy)


def test_what_cannot_be_resumed_is_refused(start, tmp_path):
    with pytest.raises(FileNotFoundError, match="no such file"):
        start(resume=tmp_path / "last.ckpt")
    (tmp_path / "broken.ckpt").write_bytes(b"half a checkpoint")
    with pytest.raises(ValueError, match="not the state of a training run"):
        start(resume=tmp_path / "broken.ckpt")
    _, result = start(tmp_path, max_steps=20)
    with pytest.raises(ValueError, match="not the state of a training run"):
        start(resume=result.best)
    with pytest.raises(ValueError, match="made with seed=0, not 1; val_every=20, not 10"):
        start(resume=result.last, seed=1, val_every=10)


@pytest.mark.slow
def test_a_killed_process_is_resumed(start, tmp_path):
    """Nothing is tidied up: the process gets SIGKILL between two checkpoints."""
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent(f"""
        import os, signal, sys
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        import torch
        from conftest import ResidentStore, SetSampler, Shift, screen
        from lightning.pytorch.callbacks import Callback
        from shoal.training._fit import fit
        from shoal.training._settings import FitSettings

        class Kill(Callback):
            def on_train_batch_start(self, trainer, *_):
                if trainer.global_step == 55:
                    os.kill(os.getpid(), signal.SIGKILL)

        conditions, x = screen((40,) * 8)
        torch.manual_seed(0)
        store = ResidentStore(x, SetSampler(conditions, set_size=16, batch_conditions=2))
        fit(Shift(8), store, validation=conditions, settings=FitSettings(**{FAST!r}),
            checkpoint_dir={str(tmp_path / "killed")!r}, callbacks=[Kill()])
        """)
    )
    done = subprocess.run(
        [sys.executable, script], env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False
    )
    assert done.returncode == -signal.SIGKILL
    whole, expected = start()
    module, result = start(resume=tmp_path / "killed" / "last.ckpt")
    torch.testing.assert_close(module.state_dict(), whole.state_dict())
    pd.testing.assert_frame_equal(result.history, expected.history)
