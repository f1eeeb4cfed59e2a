"""An evaluation whose numbers agree with one another: contenders of known quality, losses that fall with it."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd

from shoal.metrics._calibration import bds, best_baseline, discriminates, drf, loss
from shoal.metrics._skill import skill

from ..report.conftest import BASELINES, CONTENDERS, REFERENCE, UNFIT, write_evaluation

KINDS = {"effect": ("weak", "medium", "strong"), "coherence": ("low", "medium", "high")}
QUALITY = dict(
    zip(CONTENDERS, (0.6, 1.0, 0.0, *np.linspace(-0.1, 0.5, len(BASELINES))), strict=True)
)


def consistent(n: int = 40, *, contexts: tuple[str, ...] = ("",), seed: int = 0) -> ad.AnnData:
    """Return an AnnData with the evaluation of `n` perturbations; effects grow with their number."""
    rng = np.random.default_rng(seed)
    adata = ad.AnnData(np.zeros((2, 2)))
    write_evaluation(adata, [f"GENE{i:02d}" for i in range(n)], contexts=contexts)
    entry = adata.uns["evaluation"]
    summary, conditions, scores = entry["summary"], entry["conditions"], entry["scores"]
    strength = np.linspace(0.1, 1, len(conditions))
    conditions["effect_stratum"] = np.repeat(KINDS["effect"], -(-len(conditions) // 3))[
        : len(conditions)
    ]
    conditions["coherence_stratum"] = rng.permutation(
        conditions["effect_stratum"].map(dict(zip(*KINDS.values(), strict=True)))
    )
    reach = pd.Series(
        np.where(summary.index.isin(UNFIT), 0.01, rng.uniform(0.3, 0.8, len(summary))),
        summary.index,
    )

    quality = scores["contender"].map(QUALITY).to_numpy(float)
    size = (
        scores["condition"].map(dict(zip(conditions.index, strength, strict=True))).to_numpy(float)
    )
    lost = (
        1
        - scores["metric"].map(reach).to_numpy(float) * quality * size
        + rng.normal(0, 0.04, len(scores))
    )
    scores["value"] = _values(np.clip(lost, 0.01, 0.99), summary.loc[scores["metric"]])
    contenders = scores.pivot_table(index="contender", columns="metric", values="value").reindex(
        index=list(CONTENDERS), columns=summary.index
    )
    for metric in summary.index[summary["family"] == "screen"]:
        rows = summary.loc[[metric] * len(CONTENDERS)]
        contenders[metric] = _values(
            1 - reach[metric] * np.array([QUALITY[c] for c in CONTENDERS]), rows
        )
        whole = {
            "contender": CONTENDERS,
            "condition": "(screen)",
            "metric": metric,
            "value": contenders[metric],
        }
        scores = pd.concat([scores, pd.DataFrame(whole)], ignore_index=True)
    entry["scores"] = scores
    entry["contenders"] = contenders
    mine = scores[scores["contender"] == "prediction"].pivot(
        index="condition", columns="metric", values="value"
    )
    entry["table"] = mine.reindex(index=conditions.index, columns=entry["table"].columns)
    _summarise(summary, scores, contenders)
    quality = np.array([QUALITY[c] for c in CONTENDERS])
    standing = {
        "score": quality - 0.5,
        "score_low": quality - 0.6,
        "score_high": quality - 0.4,
        "achieved": quality,
        "harm": np.maximum(-quality, 0),
    }
    for at, (name, own) in enumerate(standing.items()):
        contenders.insert(at, name, own)
    entry["strata"] = _strata(scores, conditions)
    return adata


def _values(lost: np.ndarray, rows: pd.DataFrame) -> np.ndarray:
    """Turn losses into values: the inverse of shoal.metrics._calibration.loss."""
    perfect, direction = rows["perfect"].to_numpy(float), rows["direction"].to_numpy(str)
    ratio = perfect * (1 - lost) / (1 + lost)
    return np.select(
        [direction == "higher", direction == "lower"], [perfect - lost, perfect + lost], ratio
    )


def _summarise(summary: pd.DataFrame, scores: pd.DataFrame, contenders: pd.DataFrame) -> None:
    """Fill in what tl.evaluate computes from the scores."""
    for metric, row in summary.iterrows():
        mine = scores[scores["metric"] == metric]
        wide = mine.pivot(index="condition", columns="contender", values="value")
        lost = {
            c: loss(wide[c].to_numpy(), row["direction"], perfect=row["perfect"])
            for c in CONTENDERS
        }
        good, bad = lost["positive control"], lost["negative control"]
        best = BASELINES[best_baseline(np.stack([lost[b] for b in BASELINES]))]
        found = skill(lost["prediction"], lost[REFERENCE], positive_control=good, n_boot=100)
        range_fraction, score = drf(good, bad), bds(good, bad)
        summary.loc[metric, "best_baseline"] = best
        summary.loc[metric, "discriminates"] = discriminates(range_fraction, score)
        summary.loc[metric, ["drf", "bds", "skill", "skill_low", "skill_high"]] = [
            range_fraction, score, found.value, found.low, found.high,
        ]  # fmt: skip
        for column, who in {
            "value": "prediction",
            "positive": "positive control",
            "best_value": best,
            "reference_value": REFERENCE,
        }.items():
            summary.loc[metric, column] = contenders.loc[who, metric]
        summary.loc[metric, "negative"] = contenders.loc["negative control", metric]


def _strata(scores: pd.DataFrame, conditions: pd.DataFrame) -> pd.DataFrame:
    parts = []
    for kind in KINDS:
        level = scores["condition"].map(conditions[f"{kind}_stratum"])
        grouped = scores.assign(stratum=f"{kind} " + level.astype(str)).groupby(
            ["stratum", "metric", "contender"]
        )
        parts.append(grouped["value"].agg(value="mean", n="count").reset_index())
    return pd.concat(parts, ignore_index=True)
