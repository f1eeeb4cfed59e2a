"""What goes wrong is said, and nothing is lost."""

from __future__ import annotations

import errno
import io
import re
import signal
import tempfile
from pathlib import Path

import pytest
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities.exceptions import SIGTERMException

from shoal.training._fit import fit
from shoal.training._settings import FitSettings
from shoal.training._trouble import is_out_of_memory

FAST = {"accelerator": "cpu", "max_steps": 60, "val_every": 20, "lr": 0.05}


class Raise(Callback):
    def __init__(self, step, error, hook="on_train_batch_start"):
        self.step, self.error = step, error
        setattr(self, hook, self.go)

    def go(self, trainer, *_):
        if trainer.global_step == self.step:
            raise self.error


@pytest.fixture
def start(make_screen, make_module, make_store):
    conditions, x = make_screen()

    def make(module=None, callbacks=(), **arguments):
        module = module or make_module(conditions)
        store, settings = make_store(conditions, x), FitSettings(**FAST)
        return fit(
            module,
            store,
            validation=conditions,
            settings=settings,
            callbacks=callbacks,
            **arguments,
        )

    make.conditions, make.module = conditions, lambda **options: make_module(conditions, **options)
    return make


@pytest.mark.parametrize("broken", ["loss", "gradient"])
def test_a_loss_that_is_not_finite_stops_and_is_named(
    start, broken, tmp_path, make_store, make_screen
):
    module = start.module(bad_step=33, broken=broken)
    with pytest.raises(FloatingPointError, match="at step 33, on the conditions 'P") as caught:
        start(module, checkpoint_dir=tmp_path)
    index = make_store(*make_screen()).batch(33).index
    assert all(repr(f"P{i}") in str(caught.value) for i in index.tolist())
    assert ("loss is nan" in str(caught.value)) == (broken == "loss")
    assert f"resume={str(tmp_path / 'last.ckpt')!r}" in str(caught.value)
    assert all(value.isfinite().all() for value in module.state_dict().values())
    assert torch.load(tmp_path / "last.ckpt", weights_only=True)["global_step"] == 20
    assert start(resume=tmp_path / "last.ckpt").steps == 60


@pytest.mark.parametrize("hook", ["on_train_batch_start", "on_validation_batch_start"])
def test_an_interruption_is_told_and_the_weights_are_kept(start, hook, tmp_path):
    handler = signal.getsignal(signal.SIGINT)
    module, seen = start.module(), {}

    class Peek(Callback):
        def on_validation_start(self, trainer, pl_module):
            seen["average"] = trainer.callbacks[0].weights(pl_module)["module.shift.weight"].clone()

    step = 40 if hook == "on_validation_batch_start" else 45
    with pytest.raises(
        KeyboardInterrupt, match="interrupted; the model keeps its weights. The last good"
    ) as caught:
        start(
            module,
            callbacks=[Peek(), Raise(step, KeyboardInterrupt(), hook)],
            checkpoint_dir=tmp_path,
        )
    assert signal.getsignal(signal.SIGINT) is handler
    if step == 40:  # within a validation the average is in the model, and stays
        torch.testing.assert_close(module.shift.weight.detach(), seen["average"])
    assert module.shift.weight.abs().sum() > 0
    path = re.search("resume='(.*?)'", str(caught.value))[1]
    assert start(resume=path).steps == 60


def test_a_terminated_run_says_where_it_can_go_on(start, tmp_path, caplog):
    with pytest.raises(SystemExit) as caught:
        start(callbacks=[Raise(45, SIGTERMException())], checkpoint_dir=tmp_path)
    assert caught.value.code == 143
    path = re.search("training was terminated. .*resume='(.*?)'", caplog.text)[1]
    assert start(resume=path).steps == 60


def test_without_a_folder_the_checkpoint_of_a_broken_run_is_kept(start, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with pytest.raises(KeyboardInterrupt, match="no checkpoint yet"):
        start(callbacks=[Raise(5, KeyboardInterrupt())])
    assert not list(tmp_path.iterdir())
    with pytest.raises(KeyboardInterrupt) as caught:
        start(callbacks=[Raise(25, KeyboardInterrupt())])
    assert Path(re.search("resume='(.*?)'", str(caught.value))[1]).exists()
    start()
    assert len(list(tmp_path.iterdir())) == 1


def test_a_program_that_exits_is_left_alone(start):
    with pytest.raises(SystemExit, match="3"):
        start(callbacks=[Raise(5, SystemExit(3))])


@pytest.mark.parametrize(
    "error",
    [
        MemoryError("Unable to allocate"),
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 1 bytes"),
        RuntimeError("MPS backend out of memory"),
    ],
)
def test_out_of_memory_says_what_helps(start, error):
    with pytest.raises(
        MemoryError, match="Stream the cells .* smaller set_size or batch_conditions"
    ):
        start(callbacks=[Raise(5, error)])


def test_a_matrix_that_is_too_large_for_the_device_says_what_helps(
    make_screen, make_module, make_store, monkeypatch
):
    conditions, x = make_screen()
    store = make_store(conditions, x)

    def full(device):
        msg = "CUDA out of memory"
        raise torch.OutOfMemoryError(msg)

    monkeypatch.setattr(store, "to", full)
    with pytest.raises(MemoryError, match="Stream the cells"):
        fit(make_module(conditions), store, settings=FitSettings(**FAST))


def test_another_error_is_not_taken_for_a_lack_of_memory(start):
    assert not is_out_of_memory(RuntimeError("shapes do not match"))
    with pytest.raises(RuntimeError, match="shapes do not match"):
        start(callbacks=[Raise(5, RuntimeError("shapes do not match"))])


def test_a_full_disk_does_not_end_the_training(start, tmp_path, monkeypatch, caplog):
    write, full = Path.write_bytes, []

    def fails_later(self, data):
        if full:
            write(self, bytes(data)[:100])
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(self, data)

    class Fill(Callback):
        def on_train_batch_end(self, trainer, *_):
            full.extend([True] * (trainer.global_step == 30))

    monkeypatch.setattr(Path, "write_bytes", fails_later)
    module = start.module()
    result = start(module, callbacks=[Fill()], checkpoint_dir=tmp_path)
    assert "No space left on device" in caplog.text
    assert "the one before is kept and training goes on" in caplog.text
    assert result.steps == 60
    assert torch.load(result.last, weights_only=True)["global_step"] == 20
    assert not list(tmp_path.glob("*.part"))
    expected = start.module()
    full.clear()
    start(expected)
    assert torch.equal(module.shift.weight, expected.shift.weight)  # the best, from memory


def test_a_disk_that_is_full_from_the_start(start, tmp_path, monkeypatch, caplog):
    def fails(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(torch, "save", fails)
    result = start(checkpoint_dir=tmp_path)
    assert "there is none before it" in caplog.text
    assert result.last is None
    assert result.best is None
    assert result.steps == 60


def test_cells_that_are_not_finite_count_as_far_away(start, caplog):
    class Wild(type(start.module())):
        def sample(self, source, condition, batch_index, *, generator):
            made = super().sample(source, condition, batch_index, generator=generator)
            return made if self.training else made * float("nan")

    module = Wild(4)
    result = start(module)
    assert result.val_energy == float("inf")
    assert "cells generated for 'P0' at step 20 are not finite" in caplog.text
    assert module.shift.weight.isfinite().all()


def test_a_checkpoint_replaces_the_last_one_as_a_whole(tmp_path):
    from shoal.training._checkpoints import SafeIO

    path = tmp_path / "deep" / "x.ckpt"
    for value in (1, 2):
        SafeIO().save_checkpoint({"value": value}, path)
        assert torch.load(io.BytesIO(path.read_bytes()), weights_only=True) == {"value": value}
    assert [p.name for p in path.parent.iterdir()] == ["x.ckpt"]
