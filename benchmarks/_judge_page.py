"""The page that `judge.py` writes: what the scores mean, who leads on every screen and split, and which metrics can tell there."""

from __future__ import annotations

from textwrap import shorten
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from shoal._contenders import COPY, NEGATIVE, POSITIVE
from shoal.metrics._suite import SUITE

if TYPE_CHECKING:
    from collections.abc import Sequence

REFUSED = ("ValueError", "KeyError")  # what a model raises that cannot predict what is held out
REAL = {
    POSITIVE: "a second experiment",
    NEGATIVE: "cells of other perturbations",
    COPY: "unchanged controls",
}
ABOUT = """# Who predicts held-out responses best

`python benchmarks/judge.py` (`--models flow perturbdiff conditional_monge kernel_ridge:tuned` and so on adds networks and
contenders whose settings are chosen), version {version}, seeds {seeds}. The screens are subsets of genes and cells, so these figures are no figures of whole screens. The same results can be sorted and filtered
on the page "Leaderboard" of the docs.

- **Score.** 0 is as good as the *reference*, a simple baseline that was fixed beforehand by what is held out: `additive` for
  combinations, `own_shift` for contexts, doses and guides, `mean_shift` for perturbations that were never seen. 1 is as good as a
  *second experiment*: other real cells of the same perturbation. Below 0 the reference would have done better.
- **Interval.** 95 %, from perturbations and halves of cells that are drawn again. A perturbation is drawn with all its conditions in
  all seeds, since seeds are no new perturbations. No interval: one perturbation alone.
- **Beside the reference.** *better* or *worse* where the interval leaves out 0. The reference itself is trained once more with other
  random draws, so its score is near 0 and not 0.
- **Harm.** What is taken off for being worse than unchanged controls. Where nothing responds, unchanged controls score 0 and every
  invention less. Perturbations in which a test sees no response count by themselves too.
- **Achieved.** The way from knowing nothing (0) to a second experiment (1), before reference and harm are taken off. It stands in for
  the score where the reference leaves too little to gain.
- **Against the best.** The score with 0 at the baseline that turned out best, which nobody knows beforehand.
- **Energy.** Unbiased energy distance to the real cells. That of *a second experiment* is what a second experiment has.

What was chosen on what. The reference goes by the kind of split. Baselines and networks have their default settings, but for *(tuned)*:
these are chosen on three inner folds of training, of the same kind of split, among the `GRIDS` of the script. And but for
*(published, small)* and *(published_v2, small)*, a published recipe at the size of a processor: width 256, one layer a part, 1,000 steps (300 on Kang) at the
paper's learning rate, and no share of cells that stay as they are (`SMALL` of the script). Its authors train 10,000 and more steps of
a larger network, so this is no figure of theirs. Steps of training
and the share of cells that responds are chosen within the training cells, by a trial that leaves conditions out. Test cells took part in
no choice here. The default settings themselves were found earlier on these screens, with seeds 0 to 2. Other seeds divide the same
screens in another way: many held-out conditions were held out with an earlier seed too, so that these splits are fresh and the
screens are not. Genes that are off in every training cell are left out.
"""

GLANCE = """Scores, means over seeds. **Bold**: better than the reference, beyond the interval; *slanted*: worse. In brackets: what is achieved,
less the harm, where the reference leaves too little room for a score. Contenders are in the order of the mean of that. "better, worse":
on how many screens and splits, of those with an interval. °: fewer seeds than the others, so compare with "by seed" below."""


def page(boards: pd.DataFrame, metrics: pd.DataFrame, *, seeds: Sequence[int]) -> str:
    """Return the page.

    Parameters
    ----------
    boards
        A row for each screen, split and contender.
    metrics
        A row for each screen, split and metric: DRF, BDS, and the share of seeds in which it can tell.
    seeds
        The seeds of the results.
    """
    version = ", ".join(dict.fromkeys(boards["version"]))
    places = boards.groupby(["data", "split"], sort=False)
    return "\n".join(
        [
            ABOUT.format(version=version, seeds=", ".join(map(str, seeds))),
            f"## At a glance\n\n{GLANCE}\n",
            markdown(glance(boards)),
            *(f"\n## {data}, {split}\n\n{place(own)}" for (data, split), own in places),
            "\n## Which metrics can tell\n\nDRF, BDS: means over seeds; bold where the metric tells a second experiment from knowing "
            "nothing in most of them. Others count nothing there, except that harm is seen by `energy` and `de_wrong`.\n",
            markdown(telling(metrics)),
            "",
        ]
    )


def glance(boards: pd.DataFrame) -> pd.DataFrame:
    """Return contenders x places: scores. Contenders that predict the same cells have a row each."""
    most = boards.groupby(["data", "split"])["results"].transform("max")
    boards = boards.assign(most=most)
    said = boards.assign(
        place=boards["data"] + ", " + boards["split"],
        text=[_at_a_glance(row) for _, row in boards.iterrows()],
        net=boards["achieved"] - boards["harm"],
        called=[_names(row) for _, row in boards.iterrows()],
    )
    said = said.explode("called").drop_duplicates(["place", "called"]).rename_axis(None)
    places = list(dict.fromkeys(said["place"]))
    grid = said.pivot(index="called", columns="place", values="text")[places].fillna("–")
    each = said.groupby("called")
    counts = [
        each["beside"].agg(lambda own, word=word: (own == word).sum())
        for word in ("better", "worse")
    ]
    grid.insert(0, "better, worse", counts[0].astype(str) + ", " + counts[1].astype(str))
    order = each["net"].agg(["count", "mean"]).sort_values(["count", "mean"], ascending=False)
    return grid.reindex(order.index).rename(index=_shown).rename_axis("contender")


def _names(row: pd.Series) -> list[str]:
    further = row["same_as"] if isinstance(row["same_as"], str) else ""
    return [row["contender"], *filter(None, further.split(", "))]


def _shown(name: str) -> str:
    return f"*{REAL[name]}*" if name in REAL else name


def _at_a_glance(row: pd.Series) -> str:
    if np.isnan(row["achieved"]):
        return "–"
    mark = {"better": "**", "worse": "*"}.get(row["beside"], "")
    scored = np.isfinite(row["score"])
    text = _number(row["score"]) if scored else f"({_number(row['achieved'] - row['harm'])})"
    return f"{mark}{text}{mark}{'°' if row['results'] < row['most'] else ''}"


def place(board: pd.DataFrame) -> str:
    """Return what is said of one screen and split."""
    made = board[board["achieved"].notna()]
    seeds = int(made["results"].max())
    of_seeds = f"{seeds} seed{'s' if seeds > 1 else ''}"
    lines = [f"Reference: `{made['reference'].iloc[0]}`, {of_seeds}."]
    responds = float(made["responds"].iloc[0])
    if responds < 1:
        part = "" if responds == 0 else f" with {(1 - responds) * seeds:.0f} of {seeds} seeds"
        lines = [f"{of_seeds[0].upper()}{of_seeds[1:]}."] if responds == 0 else lines
        lines.append(f"**Nothing responds here{part}: unchanged controls are the right answer.**")
    reasons = dict.fromkeys(made["verdict"].dropna().loc[lambda said: said != ""])
    lines += [
        f"{reason[0].upper()}{reason[1:]}; the order is that of what they achieve, less the harm."
        for reason in reasons
    ]
    table = pd.DataFrame(
        {
            "contender": [_named(row, seeds) for _, row in made.iterrows()],
            "score": made["score"].map(_number).to_numpy(),
            "interval": [
                _interval(row["score_low"], row["score_high"]) for _, row in made.iterrows()
            ],
            "by seed": [_seeds(text) for text in made["by_seed"]],
            "beside the reference": made["beside"].fillna("").to_numpy(),
            "harm": made["harm"].map(_number).to_numpy(),
            "achieved": made["achieved"].map(_number).to_numpy(),
            "against the best": made["score_best"].map(_number).to_numpy(),
            "energy": made["energy"].map("{:.3f}".format).to_numpy(),
            "s": made["seconds"]
            .map(lambda v: "" if np.isnan(v) else f"{v:.2g}" if v < 10 else f"{v:.0f}")
            .to_numpy(),
        }
    ).set_index("contender")
    idle = ["by seed"] * (seeds == 1) + ["beside the reference"] * (responds == 0)
    table = table.drop(columns=idle)
    return "\n".join([" ".join(lines), "", markdown(table), *_silent(board)])


def _silent(board: pd.DataFrame) -> list[str]:
    """Return who predicts nothing: who says that it cannot, and who failed in another way."""
    failed = board[board["achieved"].isna() & board["note"].notna()]
    refused = failed["note"].str.startswith(REFUSED)
    said = (
        [f"Cannot predict this: {', '.join(failed['contender'][refused])}."]
        if refused.any()
        else []
    )
    said += [
        f"{row['contender']} failed: {shorten(row['note'], 160, placeholder=' ...')}"
        for _, row in failed[~refused].iterrows()
    ]
    return [line for one in said for line in ("", one)]


def _named(row: pd.Series, seeds: int) -> str:
    first, *further = map(_shown, _names(row))
    lacking = f", {row['results']:.0f} of {seeds} seeds" if row["results"] < seeds else ""
    return (f"{first} (= {', '.join(further)})" if further else first) + lacking


def _number(value: float) -> str:
    return "–" if np.isnan(value) else f"{value:.2f}".replace("-0.00", "0.00")


def _interval(low: float, high: float) -> str:
    return f"{_number(low)} to {_number(high)}" if np.isfinite([low, high]).all() else "none"


def _seeds(text: str) -> str:
    return " ".join(own.split(": ")[1] for own in text.split(", "))


def telling(metrics: pd.DataFrame) -> pd.DataFrame:
    """Return metrics x places: DRF and BDS."""
    text = metrics["drf"].map("{:.2f}".format) + ", " + metrics["bds"].map("{:.2f}".format)
    text = text.where(metrics["discriminates"] < 0.5, "**" + text + "**").where(
        metrics["drf"].notna(), "–"
    )
    where = metrics["data"] + ", " + metrics["split"]
    grid = metrics.assign(text=text, where=where).pivot(
        index="metric", columns="where", values="text"
    )
    return grid.reindex([name for name in SUITE if name in grid.index])[
        list(dict.fromkeys(where))
    ].fillna("–")


def markdown(frame: pd.DataFrame) -> str:
    """Return a table of texts."""
    head = [frame.index.name, *frame.columns]
    body = [f"| {' | '.join(map(str, row))} |" for row in frame.reset_index().to_numpy()]
    return "\n".join([f"| {' | '.join(map(str, head))} |", "|" + "---|" * len(head), *body])
