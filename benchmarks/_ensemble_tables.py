"""Tables of benchmarks/ensemble.py, from the errors of all contenders on all screens and splits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from shoal.metrics import paired_difference

WITHOUT = "auto, no network"
CARRIED = "auto, control cells"
METRICS = ("pearson_delta", "pearson_delta_perturbed", "wasserstein_gene", "de_wrong")


@dataclass(frozen=True)
class Trial:
    """What came out of one screen, split and seed.

    Attributes
    ----------
    errors
        Index condition; columns ``contender``, ``energy`` and ``square`` (of the prediction), ``copy`` and ``square copy``.
    about
        ``by``, CPU ``seconds`` of the fit, ``members`` seconds of training each once, names of ``networks``, and what ``--judge`` adds.
    """

    errors: pd.DataFrame
    about: dict[str, Any]


def energies(trials: list[Trial]) -> pd.DataFrame:
    """Return a row for each condition and seed, a column for each contender that predicted all of them; the unit is in the index.

    A unit is a perturbation, or a context where contexts are held out.
    """
    parts = []
    several = any(CARRIED in set(one.errors["contender"]) for one in trials)
    for seed, one in enumerate(trials):
        wide = one.errors.pivot(columns="contender", values="energy")
        if several and CARRIED not in wide:
            wide[CARRIED] = wide["auto"]
        wide["copy"] = one.errors[one.errors["contender"] == "auto"]["copy"]
        at = 1 if one.about["by"] == "context" else 0
        wide["unit"] = wide.index.str.split(" | ", regex=False).str[at]
        parts.append(wide.assign(seed=seed).set_index(["unit", "seed"], append=True))
    return pd.concat(parts).dropna(axis=1)


def difference(table: pd.DataFrame, other: str) -> Any:
    """Return the difference of auto and another contender, with its 95 % interval over units."""
    owner = np.unique(table.index.get_level_values("unit"), return_inverse=True)[1]
    return paired_difference(table["auto"].to_numpy(), table[other].to_numpy(), owner=owner)


def told(estimate: Any) -> str:
    """Return a difference with its interval."""
    if not np.isfinite(estimate.low):
        return f"{estimate.value:+.4f}"
    return f"{estimate.value:+.4f} ({estimate.low:+.4f} to {estimate.high:+.4f})"


def row(task: str, trials: list[Trial]) -> dict[str, object]:
    """Return the line of a screen and split."""
    data, _, split = task.partition(":")
    table = energies(trials)
    mean = table.mean()
    alone = mean.drop(["auto", "rule", "copy", WITHOUT, CARRIED], errors="ignore")
    both = pd.concat([one.errors for one in trials]).groupby("contender")
    square = both["square"].sum() / both["square copy"].sum()
    seconds = [pd.Series([one.about[n] for one in trials]).mean() for n in ("seconds", "members")]
    networks = {
        name: f"{mean[name]:.4f}" for name in trials[0].about.get("networks", []) if name in mean
    }
    if WITHOUT in table:
        networks |= {WITHOUT: f"{mean[WITHOUT]:.4f}", "auto - it": told(difference(table, WITHOUT))}
    carried = {
        "carried": f"{mean[CARRIED]:.4f}, {told(difference(table, CARRIED))}"
        if CARRIED in table
        else ""
    }
    return {
        "screen": data,
        "split": split,
        "copy": f"{mean['copy']:.4f}",
        "rule": f"{mean['rule']:.4f}",
        "auto": f"{mean['auto']:.4f}",
        "auto - rule": told(difference(table, "rule")),
        **networks,
        **carried,
        "best": f"{alone.idxmin()} {alone.min():.4f}",
        "rank": f"{(alone < mean['auto']).sum() + 1} of {len(alone) + 1}",
        "sq rule": f"{square['rule']:.3f}",
        "sq auto": f"{square['auto']:.3f}",
        "CPU s": ", ".join("-" if s != s else f"{s:.1f}" for s in seconds),
    }


def against(several: dict[str, list[Trial]]) -> pd.DataFrame:
    """Return how auto stands beside every contender, over screens and splits."""
    tables = {task: energies(trials) for task, trials in several.items()}
    ranks = pd.DataFrame(
        {
            task: table.drop(columns=["rule", WITHOUT, CARRIED], errors="ignore").mean().rank()
            for task, table in tables.items()
        }
    )
    others = [
        name for name in (WITHOUT, CARRIED, "rule") if any(name in one for one in tables.values())
    ]
    rows = []
    for name in [*ranks.index.drop("auto"), *others]:
        own = [table for table in tables.values() if name in table]
        found = [difference(table, name) for table in own]
        both = ranks.loc[:, [name in table for table in tables.values()]]
        rows.append(
            {
                "contender": name,
                "tasks": len(own),
                "its mean rank": "" if name in others else f"{both.loc[name].mean():.1f}",
                "of auto there": f"{both.loc['auto'].mean():.1f}",
                "auto better": sum(one.high < 0 for one in found),
                "worse": sum(one.low > 0 for one in found),
                "neither": sum(not (one.high < 0 or one.low > 0) for one in found),
            }
        )
    return pd.DataFrame(rows)


def scored(score: float, low: float, high: float) -> str:
    """Return a score with its interval; a dash where auto is the rule."""
    if not np.isfinite(score):
        return "-"
    return f"{score:+.2f} ({low:+.2f} to {high:+.2f})" if np.isfinite(low) else f"{score:+.2f}"


def judged(task: str, trials: list[Trial]) -> dict[str, object]:
    """Return what `tl.evaluate` says of auto beside the rule, means over seeds."""
    table = pd.DataFrame([one.about["judged"] for one in trials])
    mean = table.mean(numeric_only=True)
    line: dict[str, object] = {"screen, split": task}
    each = zip(table["score"], table["score_low"], table["score_high"], strict=True)
    line["score of each seed"] = ", ".join(scored(*one) for one in each)
    for name in METRICS:
        line[f"{name}: rule, auto"] = f"{mean[f'{name} rule']:.3f}, {mean[name]:.3f}"
    return line
