"""Results as tl.coherence and tl.coherence_null write them, made up, so that the pictures' contents are known."""

from __future__ import annotations

import anndata as ad
import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from scipy import stats

from shoal.core._results import write_table

TRACE = 9.0


@pytest.fixture(autouse=True)
def _no_window():
    mpl.use("Agg")
    yield
    from matplotlib import pyplot as plt

    plt.close("all")


def coherence_table(n: int, rng: np.random.Generator) -> pd.DataFrame:
    magnitude = np.linspace(-0.2, 6, n)
    coherence = np.sign(magnitude) * np.abs(magnitude) / np.sqrt(magnitude**2 + TRACE)
    columns = [
        "kappa",
        "coherence_se",
        "coherence_loo",
        "coherence_plugin",
        "dispersion",
        "residual",
        "residual_pvalue",
        "excess_along_shift",
        "excess_top_share",
        "excess_alignment",
    ]
    table = pd.DataFrame(rng.normal(size=(n, len(columns))), columns=columns)
    table["n_cells"] = np.arange(n) + 1000
    table["magnitude"], table["magnitude_plugin"] = magnitude, np.abs(magnitude) + 0.2
    table["coherence"], table["ci_low"], table["ci_high"] = (
        coherence,
        coherence - 0.1,
        np.minimum(coherence + 0.1, 1),
    )
    table["pvalue"] = table["qvalue"] = np.where(np.arange(n) < n // 2, 0.5, 0.001)
    table["residual_z"] = np.linspace(-5, 5, n)
    table["residual_qvalue"] = 0.5
    table["cause"] = np.where(np.arange(n) == 0, "dispersion", "none")
    table["flags"] = ""
    table.index = pd.Index(
        [f"g{i:03d}" for i in range(n - 2)] + ["A+B", "HLA/x"], name="perturbation"
    )
    return table


def with_table(adata: ad.AnnData, table: pd.DataFrame, **params: object) -> ad.AnnData:
    params = {
        "perturbation_key": "perturbation",
        "control": ("control",),
        "use_rep": None,
        "layer": None,
    } | params
    write_table(
        adata, "coherence", table, schema="coherence/1", params={"control_trace": TRACE, **params}
    )
    return adata


@pytest.fixture
def table(rng):
    return coherence_table(12, rng)


@pytest.fixture
def measured(table):
    return with_table(ad.AnnData(np.zeros((3, 2))), table)


@pytest.fixture
def tested(rng):
    """Random splits of two sizes with uniform p-values, and three guides."""
    adata = ad.AnnData(np.zeros((3, 2)))
    draws = {n: rng.random(50) for n in (30, 100)}
    rows = [
        pd.DataFrame({"held_out": "random split", "n_cells": n, "pvalue": p})
        for n, p in draws.items()
    ]
    rows.append(
        pd.DataFrame(
            {"held_out": ["g1", "g2", "g3"], "n_cells": [40, 50, 60], "pvalue": [0.5, 0.2, np.nan]}
        )
    )
    rates = []
    for n, p in draws.items():
        for alpha in (0.05, 0.01):
            k = int((p < alpha).sum())
            span = stats.binomtest(k, 50).proportion_ci()
            rates.append(("random split", n, alpha, 50, k, k / 50, span.low, span.high))
    names = ["held_out", "n_cells", "alpha", "n_draws", "n_rejected", "rate", "ci_low", "ci_high"]
    table = pd.concat(rows, ignore_index=True).assign(residual_pvalue=lambda t: t["pvalue"] ** 2)
    frame = pd.DataFrame(rates, columns=names)
    write_table(adata, "coherence_null", table, schema="coherence_null/1", params={}, rates=frame)
    return adata
