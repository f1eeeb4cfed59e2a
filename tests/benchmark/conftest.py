from __future__ import annotations

import numpy as np
import pytest

import shoal as sh
from shoal.evaluation._rows import Row

METRICS = ["pearson_delta", "energy", "rmse", "collapse_index"]


class Breaks(sh.models.MeanShift):
    """A baseline that cannot be trained."""

    name = "breaks"

    def _fit(self, cells):
        msg = "the loss is\n not finite"
        raise RuntimeError(msg)


class Stranger(sh.models.MeanShift):
    """A baseline under its own name."""

    name = "stranger"


@pytest.fixture(scope="session")
def counts(tmp_path_factory):
    """A small screen of counts with strong effects, as a file."""
    path = tmp_path_factory.mktemp("benchmark") / "small.h5ad"
    adata = sh.ds.simulate(
        n_perturbations=12, n_cells=40, n_control=150, n_genes=60, effect_size=8.0, rng=0
    )
    del adata.uns["shoal"], adata.uns["truth"]
    adata.write_h5ad(path)
    return path


@pytest.fixture
def spec(counts):
    """Two baselines, one split, one seed, four metrics."""
    return {
        "data": {
            "small": {
                "path": str(counts),
                "perturbation_key": "perturbation",
                "control": "control",
                "prepare": {"normalize": "log1p", "n_comps": 8},
            }
        },
        "splits": {"unseen": {"by": "perturbation", "test": 0.5}},
        "models": ["perturbed_mean", "mean_shift"],
        "evaluate": {"metrics": METRICS, "n_comps": 8, "n_draws": 1},
    }


@pytest.fixture
def screen(counts):
    """The same screen in memory, ready for models."""
    import anndata as ad

    adata = ad.read_h5ad(counts)
    sh.pp.annotate(adata, "perturbation", control="control")
    sh.pp.split(adata, by="perturbation", test=0.5)
    sh.pp.prepare(adata, normalize="log1p", fit_on="train", n_comps=8)
    return adata


def made_row(
    model,
    losses,
    *,
    kind="model",
    data="d",
    seed=0,
    positive=0.2,
    tells=True,
    note="",
    owners=None,
    reference=None,
    responds=True,
):
    """A row of one metric "m", or of several, with given losses; all conditions have the same positive control.

    The reference has a loss of .9, or what is given.
    """
    several = losses if isinstance(losses, dict) else {"m": losses}
    n = len(next(iter(several.values())))
    owners = owners or [f"P{i}" for i in range(n)]

    base = np.full(n, 0.9) if reference is None else reference

    def plain(values):
        return [None if np.isnan(v) else float(v) for v in values]

    kinds = ("value", "positive", "negative", "copy", "reference")

    return Row(
        data,
        "s",
        model,
        seed,
        kind,
        note=note,
        seconds_fit=2.0,
        seconds_predict=1.0,
        peak_mb=100.0,
        metrics={}
        if note
        else {
            name: {
                "family": "response",
                "direction": "lower",
                "perfect": 0.0,
                "per": "condition",
                "discriminates": tells,
                "value": float(np.nanmean(values)),
                "positive": positive,
                "negative": 1.0,
                "copy": 1.5,
                "reference": float(base.mean()),
            }
            for name, values in several.items()
        },
        conditions={f"c{i}": owner for i, owner in enumerate(owners)},
        losses={
            name: {
                "value": plain(values),
                "positive": [positive] * n,
                "negative": [1.0] * n,
                "copy": [1.5] * n,
                "reference": plain(base),
            }
            for name, values in several.items()
        },
        draws={name: {kind: [0.0] for kind in kinds} for name in several},
        reference="base",
        responds=responds,
    )
