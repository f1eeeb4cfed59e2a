"""A verdict in plain words: what responds, what was predicted, and whether that beats a rule."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .._contenders import CONTROLS, COPY, PREDICTION, score_in_words, with_minus
from .._responses import responses
from ._ranked import ranked

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pandas as pd

ALPHA = 0.05
MOST = 5  # names in a sentence


@dataclass(frozen=True)
class Verdict:
    """What came out, for a reader who reads nothing else.

    Attributes
    ----------
    headline
        One or two sentences.
    lines
        What they rest on, a sentence each, the measurement first.
    """

    headline: str
    lines: list[str]

    def __str__(self) -> str:
        return "\n".join([self.headline, *(f"- {line}" for line in self.lines)])


def in_words(
    coherence: dict[str, Any] | None,
    evaluation: dict[str, Any] | None,
    images: dict[str, Any] | None = None,
    board: dict[str, Any] | None = None,
) -> Verdict:
    """Return the verdict on a screen and on a prediction of it.

    A prediction is called better or worse than its reference only where the 95 % interval of its
    score, or of its skill on a metric, leaves out 0.

    Parameters
    ----------
    coherence, evaluation, images, board
        Results of :func:`shoal.tl.coherence`, :func:`shoal.tl.evaluate`,
        :func:`shoal.tl.evaluate_images` and :func:`shoal.tl.benchmark`; None where there is none.
    """
    heads, lines = [], []
    if coherence is not None:
        heads.append(_measured(coherence))
        lines += _details_of_responses(coherence)
    if evaluation is not None:
        heads.append(_predicted(evaluation))
        lines += _details_of_prediction(evaluation)
    if images is not None:
        said, caution = (str(images["params"].get(name, "")) for name in ("verdict", "caution"))
        heads += [f"Images: {said}."] if said else []
        lines += [f"Beware of the images: {caution}."] if caution else []
    if evaluation is None and images is None:
        (lines if heads else heads).append("No prediction was evaluated.")
    if board is not None:
        lines += _of_benchmark(board["table"])
    return Verdict(" ".join(heads), lines)


def _measured(coherence: dict[str, Any]) -> str:
    """Say how many perturbations respond."""
    table = coherence["table"]
    found = responses(table, coherence["params"], ALPHA)
    n, by_cells = int(found.all.sum()), int((found.by_cells | found.untested).sum())
    how = f"(q < {ALPHA}{found.suffix})" + (f", {by_cells} more by cells alone" if by_cells else "")
    if len(table) == 1:
        how = how.replace("1 more by cells alone", "but it does by cells alone")
        return f"{table.index[0]} {'responds' if n else 'does not respond'} {how}."
    return f"{n or 'None'} of {len(table)} perturbations respond{'s' if n < 2 else ''} {how}."


def _details_of_responses(coherence: dict[str, Any]) -> list[str]:
    table = coherence["table"]
    found = responses(table, coherence["params"], ALPHA)
    lines = []
    strongest = table[found.all].sort_values("magnitude", ascending=False, kind="stable").index
    if len(strongest) > 1:
        lines.append(f"Strongest responses: {_names(strongest[:MOST])}.")
    odd = found.all & ((table["residual_qvalue"] < ALPHA) & (table["residual"] < 0)).to_numpy()
    if odd.any():
        lines.append(
            f"Cells do not respond alike in {odd.sum()} (less coherent than a shift of that size): "
            f"{_names(table.index[odd])}."
        )
    for rows, why in (
        (found.by_cells, f"by cells, but not beyond what {found.unit} differs by without them"),
        (found.untested, f"by cells, and there are too few of {found.unit} to test it"),
    ):
        if rows.any():
            lines.append(f"A response {why}: {_names(table.index[rows])}.")
    untested = table["qvalue"].isna()
    if untested.any():
        lines.append(f"Not tested, for too few cells: {_names(table.index[untested])}.")
    return lines


def _predicted(evaluation: dict[str, Any]) -> str:
    """Say whether the prediction beats its reference, as far as the interval of the score goes."""
    params = evaluation["params"]
    called, said = repr(str(params["prediction"])), str(params.get("verdict", ""))
    if not said:
        return f"The suite {params['suite']} has no reference, so there is no verdict on {called}."
    if not bool(params.get("responds", True)):
        return f"{_conditions(evaluation).capitalize()}: {said}."
    score, low, high = (float(params[name]) for name in ("score", "score_low", "score_high"))
    if not np.isfinite(score):
        return f"There is no verdict on {called}, because no score could be made."
    reference = _reference(params)
    if not (np.isfinite(low) and np.isfinite(high)):
        alone = evaluation["conditions"]["perturbation"].nunique() == 1
        why = "with one perturbation" if alone else f"in the suite {params['suite']}"
        return (
            f"There is no verdict on {called} against {reference}: {why} scores have no interval."
        )
    over = _conditions(evaluation)
    if low > 0:
        said = f"{called} predicts {over} better than {reference}"
    elif high < 0:
        said = f"{called} predicts {over} worse than {reference}"
    else:
        said = f"{called} cannot be told from {reference} on {over}"
    contenders = evaluation["contenders"]
    if COPY in contenders.index and str(params["reference"]) != COPY:
        copy = float(contenders.loc[COPY, "score"])
        if copy > score:
            said += f", and unchanged controls score higher ({copy:.2f} against {score:.2f})"
    return f"{said}."


def _details_of_prediction(evaluation: dict[str, Any]) -> list[str]:
    params = evaluation["params"]
    said, lines = with_minus(str(params.get("verdict", ""))), []
    if said and bool(params.get("responds", True)):
        lines.append(f"{said[0].upper()}{said[1:]}.")
    if not said and np.isfinite(float(params.get("score", np.nan))):
        lines.append(f"Score of the suite {params['suite']}: {float(params['score']):.3f}.")
    if said:
        lines += _by_metric(evaluation["summary"])
    lines += _by_condition(evaluation)
    lines += _with_hindsight(evaluation)
    if str(params.get("skipped", "")):
        lines.append(f"Not predicted, and therefore not scored: {params['skipped']}.")
    if str(params.get("caution", "")):
        lines.append(f"Beware: {params['caution']}.")
    return lines


def _by_metric(summary: pd.DataFrame) -> list[str]:
    """Name the metrics on which the interval of the skill leaves out 0."""
    fit = summary[summary["discriminates"].astype(bool)]
    kinds = {
        "Better on": fit["skill_low"] > 0,
        "Worse on": fit["skill_high"] < 0,
    }
    return [
        f"{kind} {rows.sum()} metrics: {_names(fit.index[rows], most=12)}."
        if rows.sum() > 1
        else f"{kind} one metric: {fit.index[rows][0]}."
        for kind, rows in kinds.items()
        if rows.any()
    ]


def _by_condition(evaluation: dict[str, Any]) -> list[str]:
    """Count the conditions in which the prediction is nearer to the real cells, and the silent."""
    about, params, lines = evaluation["conditions"], evaluation["params"], []
    table = ranked(evaluation)
    if table is not None and len(table) > 1:
        both = table.dropna(subset=["reference"])
        if len(both):
            nearer = int((both["prediction"] < both["reference"]).sum())
            lines.append(
                f"Nearer to the real cells than {_reference(params)} in {nearer} of {len(both)} "
                "conditions that respond (energy distance; single conditions have no interval)."
            )
        off = table.index[table["prediction"] > table["copy"]]
        if len(off):
            lines.append(f"Further from the real cells than unchanged controls: {_names(off)}.")
    if "silent" in about and bool(params.get("responds", True)):
        silent = about.index[about["silent"].astype(bool)]
        if len(silent):
            lines.append(
                f"Nothing is seen to respond, so there is nothing to say: {_names(silent)}."
            )
    return lines


def _with_hindsight(evaluation: dict[str, Any]) -> list[str]:
    """Name the baseline that turned out best, if it has a higher score than the prediction."""
    contenders, best = evaluation["contenders"], str(evaluation["params"].get("best_baseline", ""))
    if "score" not in contenders or best not in contenders.index:
        return []
    own, other = (float(contenders.loc[name, "score"]) for name in (PREDICTION, best))
    said = (COPY, str(evaluation["params"].get("reference", "")))  # in the headline already
    if best in said or not other > own:
        return []
    return [f"With hindsight, the baseline {best} scores higher: {other:.2f}."]


def _of_benchmark(board: pd.DataFrame) -> list[str]:
    """Name the model or baseline with the highest score of a benchmark."""
    if "score" not in board:
        return []
    rivals = board[~board.index.isin(CONTROLS) & board["score"].notna().to_numpy()]
    if rivals.empty:
        return []
    best = rivals.sort_values("score", ascending=False, kind="stable").iloc[0]
    ends = (float(best.get(name, np.nan)) for name in ("score", "score_low", "score_high"))
    score = score_in_words(*ends)
    return [f"Highest score in the benchmark, of {len(rivals)}: {best.name}, {score}."]


def _reference(params: dict[str, Any]) -> str:
    name = str(params.get("reference", ""))
    return "a copy of the controls" if name == COPY else f"the baseline {name}"


def _conditions(evaluation: dict[str, Any]) -> str:
    n = len(evaluation["conditions"])
    held_out = "held-out " if str(evaluation["params"].get("split", "")) in ("val", "test") else ""
    return f"{n} {held_out}condition{'s' if n != 1 else ''}"


def _names(names: Iterable[str], most: int = MOST) -> str:
    """Return names with commas, the first of many and how many more there are.

    A name that holds a comma is quoted.
    """
    several = [repr(str(name)) if "," in str(name) else str(name) for name in names]
    more = f" and {len(several) - most} more" if len(several) > most else ""
    return ", ".join(several[:most]) + more
