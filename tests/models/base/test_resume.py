"""Training that breaks off, by whatever means, goes on from its last checkpoint and ends where it would have ended."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import shoal as sh

torch = pytest.importorskip("torch", reason="networks need the extra 'models'")
pytest.importorskip("scvi", reason="networks need the extra 'models'")
from lightning.pytorch.callbacks import Callback  # noqa: E402

CONFIG = {"n_latent": 8, "width": 16, "depth": 1}
FAST = {
    "max_steps": 30,
    "val_every": 10,
    "batch_conditions": 4,
    "set_size": 16,
    "accelerator": "cpu",
}


class Interrupt(Callback):
    """Does what Ctrl-C does, before a step."""

    def __init__(self, step):
        self.step = step

    def on_train_batch_start(self, trainer, *_):
        if trainer.global_step == self.step:
            raise KeyboardInterrupt


def assert_same(one, two):
    """Both models have the same weights and the same past, to the bit."""
    for (name, a), (_, b) in zip(
        one.module.state_dict().items(), two.module.state_dict().items(), strict=True
    ):
        assert torch.equal(a, b), name
    assert one.history.keys() == two.history.keys()
    for name, table in one.history.items():
        pd.testing.assert_frame_equal(table, two.history[name], check_exact=True)


def new(adata):
    """Return an untrained flow."""
    sh.models.Flow.setup_anndata(adata)
    return sh.models.Flow(adata, **CONFIG)


@pytest.mark.parametrize("store", ["resident", "streamed"])
def test_an_interrupted_model_can_be_used_and_goes_on(divided, one_thread, tmp_path, store):
    whole, broken = new(divided), new(divided)
    whole.train(**FAST, store=store, rng=3)
    with pytest.raises(
        KeyboardInterrupt,
        match=r"interrupted; the model keeps its weights\. .*resume='.*last\.ckpt'",
    ):
        broken.train(**FAST, store=store, rng=3, checkpoint_dir=tmp_path, callbacks=[Interrupt(25)])
    made = broken.predict("P1", n_cells=5)
    assert np.isfinite(made.X).all()
    broken.train(**FAST, store=store, checkpoint_dir=tmp_path, resume=True)
    assert_same(broken, whole)
    assert broken.fit_result.steps == 30


def test_after_a_loss_that_is_not_finite_the_model_stands_and_goes_on(
    divided, one_thread, tmp_path
):
    whole, broken = new(divided), new(divided)
    whole.train(**FAST)
    loss, calls = broken.module.loss, []

    def bad(batch, generator):
        calls.append(0)
        return {
            name: value * (float("nan") if len(calls) == 24 else 1)
            for name, value in loss(batch, generator).items()
        }

    broken.module.loss = bad
    with pytest.raises(
        FloatingPointError, match=r"the loss is nan at step 23, on the conditions 'P.* \| context"
    ) as told:
        broken.train(**FAST, checkpoint_dir=tmp_path)
    assert "No weight was changed by this step" in str(told.value)
    assert f"The last good checkpoint is {tmp_path / 'last.ckpt'}" in str(told.value)
    assert torch.load(tmp_path / "last.ckpt", weights_only=True)["global_step"] == 20
    assert all(value.isfinite().all() for value in broken.module.state_dict().values())
    del broken.module.loss
    broken.train(**FAST, checkpoint_dir=tmp_path, resume=True)
    assert_same(broken, whole)


def test_by_name_it_goes_on_too(divided, fit_flow, tmp_path):
    whole = fit_flow(divided)
    with pytest.raises(KeyboardInterrupt):
        fit_flow(divided, checkpoint_dir=tmp_path, callbacks=[Interrupt(17)])
    assert_same(fit_flow(divided, checkpoint_dir=tmp_path, resume=True), whole)
    longer = fit_flow(divided, checkpoint_dir=tmp_path, resume=True, max_steps=40)
    assert longer.fit_result.steps == 40


def test_what_cannot_be_resumed(screen, fit_flow, tmp_path):
    with pytest.raises(
        ValueError, match="resume=True goes on from the last checkpoint of checkpoint_dir="
    ):
        fit_flow(screen, resume=True)
    with pytest.raises(FileNotFoundError, match=r"there is no such file; give the last\.ckpt"):
        fit_flow(screen, resume=True, checkpoint_dir=tmp_path / "none")
    fit_flow(screen, checkpoint_dir=tmp_path, max_steps=10)
    with pytest.raises(
        ValueError,
        match=r"was made with seed=\d+, not \d+; resume with the settings of the first run",
    ):
        fit_flow(screen, resume=True, checkpoint_dir=tmp_path, rng=1)
    with pytest.raises(ValueError, match="made with val_every=10, not 5"):
        fit_flow(screen, resume=True, checkpoint_dir=tmp_path, val_every=5)


SCRIPT = """
import os, signal, sys
import anndata as ad, numpy as np, torch
import shoal as sh
from lightning.pytorch.callbacks import Callback

folder, config, fast = {folder!r}, {config!r}, {fast!r}
torch.set_num_threads(1)

class Kill(Callback):
    def on_train_batch_start(self, trainer, *_):
        if trainer.global_step == 25:
            os.kill(os.getpid(), signal.SIGKILL)

"""
KILLED = """
sh.tl.fit(ad.read_h5ad(folder + "/screen.h5ad"), "flow", config=config, **fast, checkpoint_dir=folder + "/killed",
          callbacks=[Kill()])
"""
RESUMED = """
model = sh.models.Flow.load(folder + "/model")
first = model.predict("P1", n_cells=20, rng=5).X
model.train(**dict(fast, max_steps=40), checkpoint_dir=folder + "/saved", resume=True)
np.savez(folder + "/made.npz", first=first, second=model.predict("P1", n_cells=20, rng=5).X)
"""


def run(folder, part):
    """Run a script in a new process and return its exit code."""
    script = textwrap.dedent(SCRIPT.format(folder=str(folder), config=CONFIG, fast=FAST)) + part
    Path(folder / "script.py").write_text(script)
    done = subprocess.run(
        [sys.executable, folder / "script.py"],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
    )
    return done.returncode


@pytest.mark.slow
def test_a_killed_process_is_resumed(divided, fit_flow, tmp_path):
    """Nothing is tidied up: the process gets SIGKILL between two checkpoints."""
    divided.write_h5ad(tmp_path / "screen.h5ad")
    assert run(tmp_path, KILLED) == -signal.SIGKILL
    assert sorted(path.name for path in (tmp_path / "killed").iterdir()) == [
        "best.ckpt",
        "last.ckpt",
    ]
    resumed = fit_flow(divided, checkpoint_dir=tmp_path / "killed", resume=True)
    assert_same(resumed, fit_flow(divided))


@pytest.mark.slow
def test_a_model_is_loaded_and_resumed_in_another_process(divided, fit_flow, tmp_path):
    model = fit_flow(divided, checkpoint_dir=tmp_path / "saved")
    model.save(tmp_path / "model", save_anndata=True)
    shutil.copytree(tmp_path / "saved", tmp_path / "here")
    first = model.predict("P1", n_cells=20, rng=5).X
    assert run(tmp_path, RESUMED) == 0
    model.train(**FAST | {"max_steps": 40}, checkpoint_dir=tmp_path / "here", resume=True)
    with np.load(tmp_path / "made.npz") as made:
        np.testing.assert_array_equal(made["first"], first)
        np.testing.assert_array_equal(made["second"], model.predict("P1", n_cells=20, rng=5).X)
        assert not np.array_equal(made["second"], first)
