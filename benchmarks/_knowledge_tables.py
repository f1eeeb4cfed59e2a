"""Tables of benchmarks/knowledge.py."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from shoal.metrics import paired_difference

if TYPE_CHECKING:
    import pandas as pd

OURS = "knowledge"
RIVALS = [
    "mean_shift",
    "own_shift",
    "other_contexts",
    "nearest_context",
    "context_weighted",
    "cell_knn_shift",
    "scaled_sources",
]
ABLATIONS = ["permuted graph", "permuted lines", "no graph", "no line vector"]


def number(estimate: Any) -> str:
    return f"{estimate.value:+.3f} [{estimate.low:+.3f}, {estimate.high:+.3f}]"


def against(rows: pd.DataFrame, key: str, owner: list[str], other: str) -> str:
    """Return the paired difference of a contender from ours; above 0 it is worse by `error`, better by the others."""
    table = rows.pivot_table(index=owner, columns="contender", values=key, aggfunc="mean")
    if other not in table or OURS not in table:
        return ""
    both = table[[other, OURS]].dropna()
    if len(both) < 2 or other == OURS:
        return ""
    units = np.unique(both.index.get_level_values(0).astype(str), return_inverse=True)[1]
    return number(paired_difference(both[other], both[OURS], owner=units))


def page(
    title: str, rows: pd.DataFrame, values: list[str], owner: list[str], compare: str
) -> list[str]:
    """Return a table of means over `owner`, with the paired difference from ours."""
    order = [OURS, *ABLATIONS, *RIVALS]
    means = rows.groupby("contender")[values].mean()
    means = means.loc[
        [c for c in order if c in means.index] + [c for c in means.index if c not in order]
    ]
    head = ["contender", *values, f"{compare}, less that of {OURS}"]
    lines = [f"\n## {title}\n", f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for name, row in means.iterrows():
        cells = ["" if np.isnan(v) else f"{v:.3f}" for v in row]
        lines.append(
            f"| {name} | {' | '.join(cells)} | {against(rows, compare, owner, str(name))} |"
        )
    return lines


def tables_of_simulated(rows: pd.DataFrame, seeds: str) -> list[str]:
    rows["unit"] = rows["seed"].astype(str) + rows["perturbation"]
    values, lines = ["error", "top1", "top5", "mAP"], []
    for (planted, shots, screened), own in rows.groupby(
        ["planted", "shots", "screened"], sort=False
    ):
        graph = "block graph" if planted else "random graph"
        what = "screened in other lines" if screened else "never screened"
        title = f"Simulated, {graph}, {shots} wells of the new line known, perturbations {what} ({seeds})"
        lines += page(title, own, values, ["unit"], "error")
    return lines


def tables_of_density(rows: pd.DataFrame, seeds: str) -> list[str]:
    keys = ["line", "perturbation"]
    title = f"Twelve lines, each held out: responses ({seeds})"
    own = rows[rows["part"] == "response"]
    lines = page(title, own, ["error", "r"], [*keys, "plate", "seed"], "error")
    title = f"Twelve lines, each held out: retrieval ({seeds})"
    own = rows[rows["part"] == "retrieval"]
    return lines + page(title, own, ["top1", "mAP"], [*keys, "seed"], "top1")


def tables_of_cellhealth(rows: pd.DataFrame, seeds: str) -> list[str]:
    lines, values = [], ["top1", "top5", "mAP", "error"]
    for null, own in rows.groupby("null"):
        what = "non-targeting guides, which do nothing" if null else "targeting guides"
        title = f"Cell Health, {what} ({seeds})"
        lines += page(title, own, values, ["guide", "line", "seed"], "top1")
    lines += [
        "",
        "## Cell Health: targeting guides less non-targeting ones",
        "",
        "| contender | top1 | mAP |",
        "|---|---|---|",
    ]
    for name in (OURS, "raw profiles"):
        own = rows[rows["contender"] == name]
        lines.append(f"| {name} | {beyond(own, 'top1')} | {beyond(own, 'mAP')} |")
    return [*lines, "", "Intervals (95 %) are of guides drawn again."]


def beyond(rows: pd.DataFrame, key: str) -> str:
    """Return how much larger a score is of targeting guides than of non-targeting ones."""
    mean = rows.groupby(["null", "guide"])[key].mean()
    rng, parts = np.random.default_rng(0), [mean[False].to_numpy(), mean[True].to_numpy()]
    again = [rng.choice(own, size=(4000, len(own))).mean(axis=1) for own in parts]
    low, high = np.quantile(again[0] - again[1], [0.025, 0.975])
    return f"{parts[0].mean() - parts[1].mean():+.3f} [{low:+.3f}, {high:+.3f}]"
