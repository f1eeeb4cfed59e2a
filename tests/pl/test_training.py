from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt

import shoal as sh


@pytest.fixture
def history(rng):
    step = np.arange(1, 1001, 5)
    curves = {"train_loss": 1 + rng.normal(0, 0.1, len(step)), "grad_norm": np.ones(len(step))}
    tables = {name: pd.DataFrame({name: values}, index=step) for name, values in curves.items()}
    val = pd.DataFrame({"val_energy": [90.0, 2.0, 1.0, 1.5]}, index=[250, 500, 750, 1000])
    return tables | {"val_energy": val}


def test_loss_and_validation_over_the_same_steps(history):
    loss, energy = sh.pl.training(history)
    raw, smooth = loss.lines
    np.testing.assert_array_equal(raw.get_ydata(), history["train_loss"]["train_loss"])
    assert np.std(smooth.get_ydata()) < np.std(raw.get_ydata()) / 2
    assert loss.get_xlim() == energy.get_xlim()
    assert energy.get_title(loc="right") == "best 1 at step 750"
    assert energy.lines[1].get_xdata()[0] == 750
    assert (loss.get_yscale(), energy.get_yscale()) == ("linear", "log")


def test_a_model_and_named_curves(history):
    model = SimpleNamespace(history=history)
    (only,) = sh.pl.training(model, curves=["grad_norm"])
    assert only.get_ylabel() == "grad norm"
    no_validation = {
        "train_loss": history["train_loss"],
        "val_energy": pd.DataFrame({"val_energy": []}),
    }
    assert len(sh.pl.training(no_validation)) == 1
    with pytest.raises(KeyError, match="Did you mean 'val_energy'"):
        sh.pl.training(model, curves=["val_enrgy"])


def test_nothing_to_draw():
    adata = sh.ds.simulate(n_perturbations=3, n_cells=20, n_control=40, n_genes=30, rng=0)
    sh.pp.annotate(adata, "perturbation", control="control")
    sh.pp.prepare(adata, normalize="log1p", n_comps=5)
    for data in (sh.tl.fit(adata, "mean_shift"), SimpleNamespace(history=None)):
        with pytest.raises(ValueError, match="a baseline has no training curve"):
            sh.pl.training(data)
    with pytest.raises(TypeError, match="not AnnData"):
        sh.pl.training(adata)
    assert not plt.get_fignums()


def test_a_curve_of_one_point_is_seen():
    one = {name: pd.DataFrame({"x": [2.0]}, index=[5]) for name in ("train_loss", "val_energy")}
    for ax in sh.pl.training(one):
        seen = [
            line
            for line in ax.lines
            if line.get_marker() not in ("", "None") and line.get_alpha() != 0
        ]
        assert next(line.get_data()[0].tolist() for line in seen) == [5]
        low, high = ax.get_xlim()
        assert low < 5 < high
