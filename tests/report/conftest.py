from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import shoal as sh
from shoal.core._results import write_table

FAMILIES = {
    "delta": "pearson_delta pearson_delta_perturbed cosine_delta weighted_mse weighted_r2 mae rmse",
    "discrimination": "pds_l1 pds_l2 pds_cosine nir centroid_accuracy",
    "de": "de_auprc de_overlap_n de_overlap_k de_lfc_spearman de_direction de_recall de_count_error",
    "population": "energy mmd sliced_wasserstein sinkhorn wasserstein_gene variance_ratio zero_fraction_error",
    "structure": "similarity_structure magnitude_error coherence_error",
    "screen": "collapse_index magnitude_spearman hits_recall_budget hits_recall_fdr",
}
LOWER = ("mse", "mae", "rmse", "energy", "mmd", "wasserstein", "sinkhorn", "error", "collapse")
UNFIT = ("weighted_r2", "pds_cosine", "zero_fraction_error", "collapse_index")
BASELINES = (
    "control copy", "perturbed mean", "mean shift", "own shift", "context mean", "matching mean", "additive",
    "nearest", "kernel ridge", "latent linear", "quantile shift",
)  # fmt: skip
CONTENDERS = ("prediction", "positive control", "negative control", *BASELINES)
REFERENCE = "mean shift"
VERDICT = "flow wins on 9, loses on 4 and ties on 16 of 29 metrics against mean shift; score -0.27"
NASTY = (
    '<img src=x onerror="window.hacked=1">',
    "A/B & <b>bold</b>",
    "</script><script>window.hacked=1</script>",
)


def summary(rng) -> pd.DataFrame:
    """A row for each metric, with skills between -4 and 1, four metrics that do not discriminate."""
    rows = [(name, family) for family, names in FAMILIES.items() for name in names.split()]
    frame = pd.DataFrame(rows, columns=["metric", "family"]).set_index("metric")
    names = frame.index.to_series()
    lower = names.str.contains("|".join(LOWER))
    frame["direction"] = np.where(
        names == "variance_ratio", "target", np.where(lower, "lower", "higher")
    )
    frame["perfect"] = np.where(lower, 0.0, 1.0)
    for column in ("value", "positive", "negative", "drf", "bds", "best_value", "reference_value"):
        frame[column] = rng.uniform(0, 1, len(frame))
    frame["discriminates"] = ~names.isin(UNFIT)
    frame["reference"] = REFERENCE
    frame["best_baseline"] = rng.choice(BASELINES, len(frame))
    frame["skill"] = np.append(rng.normal(0.2, 0.4, len(frame) - 2), [-4.0, np.nan])
    frame["skill_low"], frame["skill_high"] = frame["skill"] - 0.2, frame["skill"] + 0.3
    frame["n"], frame["n_missing"] = 40, 0
    return frame


def write_evaluation(adata, perturbations, *, contexts=("",), seed=1) -> None:
    """Write an evaluation of made-up values, in the layout "evaluation/1"."""
    rng = np.random.default_rng(seed)
    pairs = [(p, c) for p in perturbations for c in contexts]
    index = pd.Index([f"{p} | {c}" if c else p for p, c in pairs], name="condition")
    metrics = summary(rng)
    per_condition = list(metrics.index[metrics["family"] != "screen"])
    values = rng.uniform(0, 1, (len(CONTENDERS), len(index), len(per_condition)))
    values[0, 0, 1] = np.nan
    long = pd.MultiIndex.from_product(
        [CONTENDERS, index, per_condition], names=["contender", "condition", "metric"]
    )
    conditions = pd.DataFrame(pairs, columns=["perturbation", "context"], index=index)
    conditions["dose"] = ""
    conditions["n_real"], conditions["n_predicted"] = rng.integers(30, 300, (2, len(index)))
    conditions["real_energy"], conditions["real_coherence"] = rng.uniform(0, 1, (2, len(index)))
    conditions["n_de"] = rng.integers(0, 400, len(index))
    conditions["effect_stratum"] = rng.choice(["weak", "medium", "strong"], len(index))
    conditions["coherence_stratum"] = rng.choice(["low", "medium", "high"], len(index))
    strata = pd.DataFrame(
        [
            {"stratum": s, "metric": m, "contender": c, "value": rng.uniform(), "n": 13}
            for s in ("effect weak", "effect strong")
            for m in per_condition
            for c in CONTENDERS[:4]
        ]
    )
    missing = pd.DataFrame(
        {
            "contender": ["prediction"],
            "condition": index[:1],
            "metric": per_condition[1:2],
            "reason": ["no variance"],
        }
    )
    contenders = pd.DataFrame(
        rng.uniform(0, 1, (len(CONTENDERS), len(metrics))), CONTENDERS, metrics.index
    )
    standing = {"score": 0.2, "score_low": 0.1, "score_high": 0.3, "achieved": 0.6, "harm": 0.0}
    for at, (name, value) in enumerate({**standing, "score_best": -0.1}.items()):
        contenders.insert(at, name, value)
    write_table(
        adata,
        "evaluation",
        pd.DataFrame(values[0], index=index, columns=per_condition),
        schema="evaluation/1",
        params={
            "score": -0.27,
            "score_low": -0.4,
            "score_high": -0.1,
            "reference": REFERENCE,
            "responds": True,
            "verdict": VERDICT,
            "n_draws": 5,
            "prediction": "flow",
            "suite": "calibrated",
            "n_conditions": len(index),
            "seed": 0,
        },
        conditions=conditions,
        summary=metrics,
        contenders=contenders,
        scores=pd.DataFrame({"value": values.ravel()}, index=long).reset_index(),
        strata=strata,
        missing=missing,
    )


def big(n: int) -> ad.AnnData:
    """A screen of `n` perturbations with made-up results."""
    rng = np.random.default_rng(0)
    names = pd.Index([f"GENE{i:04d}" for i in range(n)])
    numbers = ("magnitude", "coherence", "ci_low", "ci_high", "qvalue", "residual", "residual_qvalue", "residual_z",
               *(f"more_{i}" for i in range(15)))  # fmt: skip
    table = pd.DataFrame(rng.uniform(size=(n, len(numbers))), names, list(numbers))
    table["n_cells"], table["cause"] = 100, "none"
    adata = ad.AnnData(np.zeros((2, 2)))
    write_table(adata, "coherence", table, schema="coherence/1", params={"control_trace": 20.0})
    write_evaluation(adata, names)
    return adata


def leaderboard() -> pd.DataFrame:
    return pd.DataFrame(
        {"mean skill": [0.41, 0.27, 0.0], "seconds": [812.0, 95.5, 0.2], "models": ["a", "b", "c"]},
        index=pd.Index(["perturbdiff", "flow", "mean shift"], name="contender"),
    )


@pytest.fixture(scope="session")
def measured():
    """A screen of 40 perturbations, three of them with names that are markup, with its coherence."""
    adata = sh.ds.simulate(
        n_perturbations=40, n_cells=40, n_control=300, n_genes=150, effect_size=5.0, rng=0
    )
    label = adata.obs["perturbation"].astype(str)
    names = sorted(set(label) - {"control"})
    adata.obs["perturbation"] = label.replace(dict(zip(names, NASTY, strict=False)))
    adata.obs["split"] = np.where(adata.obs["perturbation"].isin(names[30:]), "test", "train")
    del adata.uns["truth"]
    sh.pp.annotate(adata, "perturbation", control="control", batch_key="batch")
    sh.pp.prepare(adata, normalize="log1p", n_comps=20)
    sh.tl.coherence(adata)
    return adata


@pytest.fixture(scope="session")
def judged(measured):
    """The same with an evaluation in two contexts and a leaderboard."""
    adata = measured.copy()
    write_evaluation(
        adata, adata.uns["coherence"]["table"].index[:20], contexts=("day 1", "day <7>")
    )
    write_table(adata, "leaderboard", leaderboard(), schema="leaderboard/1", params={"seeds": 3})
    return adata
