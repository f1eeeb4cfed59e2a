"""Small screens to evaluate predictions on, with twins of a baseline in a layer."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np

import shoal as sh

from ..helpers import dense

if TYPE_CHECKING:
    import anndata as ad

FEW = [
    "pearson_delta",
    "pds_l2",
    "de_auprc",
    "energy",
    "variance_ratio",
    "collapse_index",
]  # one of most families
TWINS = "twins"


@cache
def _screen(by: str, contexts: int, sizes: tuple[int, ...]) -> ad.AnnData:
    adata = sh.ds.simulate(
        n_perturbations=len(sizes),
        n_cells=list(sizes),
        n_control=160,
        n_genes=60,
        effects="shift",
        effect_size=4.0,
        contexts=contexts,
        rng=0,
    )
    keys = {"context_key": "context"} if contexts > 1 else {}
    sh.pp.annotate(adata, "perturbation", control="control", **keys)
    sh.pp.split(adata, by=by, test=0.5, rng=0)
    sh.pp.prepare(adata, normalize="log1p", fit_on="train", n_comps=8)
    sh.tl.predict(adata, sh.tl.fit(adata, "mean_shift"), key_added=TWINS, subset="test")
    return adata


def screen(
    *, by: str = "perturbation", contexts: int = 1, sizes: tuple[int, ...] = (40,) * 12
) -> ad.AnnData:
    """Return a screen of log-normalised values; half of it is held out and has twins by `mean_shift`."""
    return _screen(by, contexts, sizes).copy()


def held_out(adata: ad.AnnData) -> np.ndarray:
    """Return which cells are asked for."""
    return (adata.obs["split"] == "test").to_numpy()


def give(adata: ad.AnnData, values: np.ndarray) -> None:
    """Make (n_obs, n_vars) values the prediction of all held-out cells."""
    twins = np.where(held_out(adata)[:, None], values, dense(adata.layers[TWINS]))
    adata.layers[TWINS] = twins.astype(np.float32)


def evaluated(adata: ad.AnnData, **options) -> dict:
    """Return what an evaluation of the twins writes; few metrics and no baselines unless asked for."""
    given = {"prediction": TWINS, "metrics": FEW, "baselines": None, "n_comps": 8, "n_draws": 1}
    given |= options
    sh.tl.evaluate(adata, **given)
    return adata.uns["evaluation"]
