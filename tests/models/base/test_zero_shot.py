"""A context of which only controls are given: every model goes from fit to predict to evaluate."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import pandas as pd
import pytest

import shoal as sh
from shoal.metrics._cells import densify
from shoal.models.base._registry import names

NAMES = names(images=False) if find_spec("scvi") else names("baseline")
SMALL = {
    "flow": {"n_latent": 6, "width": 16, "depth": 1},
    "conditional_monge": {"n_latent": 6, "width": 16, "depth": 1},
    "knowledge": {"n_latent": 6, "n_representation": 8, "width": 16},
    "perturbdiff": {"width": 16, "depth": 1},
    "unlasting": {"width": 16, "decoder": 16, "depth": 1},
}
FEW = {
    "max_steps": 4,
    "val_every": 2,
    "batch_conditions": 3,
    "set_size": 16,
    "accelerator": "cpu",
}
# nothing was measured in the context, which is all that this one goes by
REFUSES = {"context_mean"}


@pytest.fixture(scope="module")
def screen():
    """Return 4 perturbations in 3 contexts, of which context3 is the test, and "bare" with controls alone."""
    adata = sh.ds.simulate(
        n_perturbations=4, n_cells=90, n_control=160, n_genes=40, contexts=4, rng=0
    )
    context = adata.obs["context"].astype(str).replace({"context4": "bare"})
    adata.obs["context"] = context
    adata = adata[(context != "bare") | (adata.obs["perturbation"] == "control")].copy()
    sh.pp.annotate(adata, "perturbation", control="control", context_key="context")
    sh.pp.split(adata, by="context", zero_shot=True, test=["context3", "bare"], val=0.2)
    sh.pp.prepare(adata, normalize="log1p", fit_on="train", n_comps=6)
    return adata


@pytest.mark.parametrize("name", NAMES)
def test_every_model_predicts_it_and_is_scored(screen, name, one_thread):
    adata = screen.copy()
    options = {"config": SMALL[name], **FEW} if name in SMALL else {}
    if name == "latent_linear":  # the names of these perturbations are no genes
        options["embedding"] = pd.DataFrame(np.eye(4), index=["P1", "P2", "P3", "P4"])
    model = sh.tl.fit(adata, name, rng=0, **options)
    if name in REFUSES:
        with pytest.raises(ValueError, match="context 'bare' .*no perturbed cell in training"):
            model.predict(["P1"], context="bare", n_cells=15)
        return
    made = model.predict(["P1", "P2"], context="bare", n_cells=15, rng=0)
    assert made.shape == (30, adata.n_vars)
    assert set(made.obs["context"]) == {"bare"}
    assert np.isfinite(densify(made.X)).all()
    sh.tl.predict(adata, model, subset="test", key_added="made", rng=0)
    sh.tl.evaluate(adata, prediction="made", baselines=None, n_draws=1, rng=0)
    conditions = adata.uns["evaluation"]["conditions"]
    assert set(conditions["context"]) == {"context3"}


def test_a_test_without_cells_is_told_of(screen):
    adata = screen[screen.obs["context"] != "context3"].copy()
    model = sh.tl.fit(adata, "mean_shift")
    assert model.predict("P1", context="bare", n_cells=5).n_obs == 5
    adata.layers["made"] = adata.X.copy()
    with pytest.raises(ValueError, match="'test'.*sh.pp.split"):
        sh.tl.evaluate(adata, prediction="made", baselines=None)
