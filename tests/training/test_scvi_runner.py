"""The engine under scvi-tools' runner gives what it gives under a plain Trainer."""

from __future__ import annotations

import pandas as pd
import pytest
import torch

from shoal.training._fit import fit
from shoal.training._settings import FitSettings


class Model:
    """What scvi-tools' runner asks of a model."""

    is_trained_, history_ = False, None

    def __init__(self, module):
        self.module = module

    def to_device(self, device):
        self.module.to(device)


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # of the import
def test_scvi_runner(make_screen, make_module, make_store, tmp_path):
    from scvi.train import TrainRunner

    conditions, x = make_screen()
    settings = FitSettings(
        accelerator="cpu", max_steps=50, val_every=20, lr=0.05, log_every=5, patience=3
    )
    results, modules = [], []

    def run(plan, data, arguments, path):
        TrainRunner(
            Model(plan.module), training_plan=plan, data_splitter=data, ckpt_path=path, **arguments
        )()

    for runner, resume in ((None, None), (run, None), (run, tmp_path / "last.ckpt")):
        modules.append(make_module(conditions))
        store, folder = make_store(conditions, x), None if resume else tmp_path
        results.append(
            fit(
                modules[-1],
                store,
                validation=conditions,
                settings=settings,
                checkpoint_dir=folder,
                resume=resume,
                run=runner,
            )
        )
    for module, result in zip(modules[1:], results[1:], strict=True):
        torch.testing.assert_close(module.state_dict(), modules[0].state_dict(), rtol=0, atol=0)
        pd.testing.assert_frame_equal(result.history, results[0].history)
    assert results[1].best == tmp_path / "best.ckpt"
