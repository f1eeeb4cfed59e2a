"""Two processes on one machine share the conditions of every step and end with the same weights."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

SCRIPT = """
import sys
sys.path.insert(0, {tests!r})
import torch
from conftest import ResidentStore, SetSampler, Shift, screen
from lightning.pytorch.callbacks import Callback
from shoal.training import FitSettings, fit

class Watch(Callback):
    rank, seen = 0, []
    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.rank = trainer.global_rank
        self.seen.append(batch.index.tolist())

conditions, x = screen((40,) * 8)
torch.manual_seed(0)
module, watch = Shift(8), Watch()
store = ResidentStore(x, SetSampler(conditions, set_size=16, batch_conditions=2))
settings = FitSettings(max_steps=40, val_every=20, lr=0.05, accelerator="cpu", devices=2, strategy={strategy!r})
result = fit(module, store, validation=conditions, callbacks=[watch], settings=settings)
found = {{"weights": module.state_dict(), "seen": watch.seen, "energy": result.val_energy, "steps": result.steps}}
found["history"] = result.history["val_energy"].dropna().tolist()
torch.save(found, {folder!r} + f"/rank{{watch.rank}}.pt")
"""


def train(folder, strategy):
    """Run the script and return what each process that got to its end has found."""
    script = folder / "script.py"
    script.write_text(
        SCRIPT.format(tests=str(Path(__file__).parent), folder=str(folder), strategy=strategy)
    )
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "MASTER_ADDR": "127.0.0.1",
        "TMPDIR": str(folder),
    }
    done = subprocess.run(
        [sys.executable, script],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert not list(folder.glob("shoal-*")), "temporary checkpoints are left"
    return [torch.load(path) for path in sorted(folder.glob("rank*.pt"))]


@pytest.mark.slow
def test_two_processes_train_one_model(tmp_path):
    one, two = train(tmp_path, "ddp")
    assert (one["steps"], one["energy"], one["history"]) == (
        two["steps"],
        two["energy"],
        two["history"],
    )
    assert one["steps"] == 40
    for name, value in one["weights"].items():
        assert torch.equal(value, two["weights"][name])
    for start in range(
        0, 40, 2
    ):  # two steps of two processes and two conditions: a pass through all eight
        seen = [
            index
            for rank in (one, two)
            for step in rank["seen"][start : start + 2]
            for index in step
        ]
        assert sorted(seen) == list(range(8))


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_the_result_comes_back_from_forked_processes(tmp_path):
    (found,) = train(tmp_path, "ddp_fork")
    assert found["steps"] == 40
    assert len(found["history"]) == 2
    assert found["energy"] == min(found["history"])
    assert found["weights"]["shift.weight"].abs().sum() > 0
