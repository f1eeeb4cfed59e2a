"""The leaderboard: models in the order of their scores, and whether differences are chance."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from .._contenders import CONTROLS, SAME
from .._validate import key_in, one_of
from ._compare import Comparison
from ._rows import COLUMN_OF
from ._same_cells import same

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .._random import RNGLike
    from ..metrics._skill import Estimate
    from ._rows import Row

ABOUT = (
    "kind",
    "score",
    "score_low",
    "score_high",
    "achieved",
    "harm",
    "score_best",
    "reference",
    "difference",
    "low",
    "high",
    "verdict",
    "transductive",
    SAME,
    "sets",
    "results",
    "failed",
    "seconds",
    "peak_mb",
)


def leaderboard(
    rows: Sequence[Row],
    *,
    against: str | None = None,
    metrics: Sequence[str] | None = None,
    show: Literal["skill", "value"] = "skill",
    level: float = 0.95,
    n_boot: int = 2000,
    rng: RNGLike = 0,
) -> pd.DataFrame:
    """Rank the models of some results; :func:`shoal.benchmark.table` describes arguments and table.

    Raises
    ------
    ValueError
        If there is no result, all have failed, or an option is not known.
    KeyError
        If `against` or a metric is not among the results.
    """
    one_of(show, ("skill", "value"), name="show")
    done = [row for row in rows if not row.note]
    if not done:
        why = rows[0].note if rows else "nothing is computed yet"
        msg = f"none of {len(rows)} results is there to compare: {why}"
        raise ValueError(msg)
    known = dict.fromkeys(metric for row in done for metric in row.metrics)
    shown = list(known) if metrics is None else list(metrics)
    for metric in shown:
        key_in(metric, known, where="the metrics of this benchmark")
    comparison = Comparison(rows, metrics=shown, n_boot=n_boot, rng=rng)
    order = _order(comparison)
    reference = order[0] if against is None else against
    key_in(reference, order, where="the contenders of this benchmark")
    row_of = _rows_of_same_cells(comparison.contenders, rows)
    reference, order = row_of[reference], [name for name in order if row_of[name] == name]
    further = {
        name: [other for other in row_of if other != name and row_of[other] == name]
        for name in order
    }
    lines = {
        name: _line(
            name,
            comparison,
            rows,
            comparison.difference(name, reference, level=level),
            level=level,
            further=further[name],
            is_it=name == reference,
        )
        for name in order
    }
    board = pd.DataFrame.from_dict(lines, orient="index", columns=list(ABOUT)).rename_axis(
        "contender"
    )
    values = {
        metric: [_shown(comparison, name, metric, show) for name in order] for metric in shown
    }
    return board.join(pd.DataFrame(values, index=board.index, dtype=np.float64))


def _order(comparison: Comparison) -> list[str]:
    """Return the contenders in the order of the leaderboard.

    Those with results on all splits of all data sets come first, by score. Where the reference
    leaves no room for a score, by what they achieve less the harm. Controls come last.
    """
    places = {key[:2] for key in comparison.results}
    ranked = []
    for at, name in enumerate(comparison.contenders):
        score = comparison.score(name)
        if not np.isfinite(score):
            score = comparison.number(name, "achieved") - comparison.number(name, "harm")
        lacking = len(places) - len({key[:2] for key in comparison.keys(name)})
        ranked.append(
            (name in CONTROLS, lacking, -score if np.isfinite(score) else np.inf, at, name)
        )
    return [name for *_, name in sorted(ranked)]


def _rows_of_same_cells(names: Sequence[str], rows: Sequence[Row]) -> dict[str, str]:
    """Return contender -> the contender in whose row it is shown, itself or one before it.

    Two are shown once if they are of one kind and predict the same cells on all splits, with all
    seeds. The scores of the others do not change by that: all results count in the comparison.
    """
    results: dict[str, dict[tuple[str, str, int], Row]] = {name: {} for name in names}
    for row in rows:
        results[row.model][row.data, row.split, row.seed] = row
    found: dict[str, str] = {}
    for name, own in results.items():
        like = (one for one in dict.fromkeys(found.values()) if _same_cells(results[one], own))
        found[name] = next(like, name)
    return found


def _same_cells(one: Mapping[Any, Row], other: Mapping[Any, Row]) -> bool:
    """Return whether two models predict the same cells wherever one of them was tried."""
    return (
        bool(one)
        and one.keys() == other.keys()
        and all(
            row.kind == other[key].kind
            and row.transductive == other[key].transductive
            and same(np.array(row.fingerprint), np.array(other[key].fingerprint))
            for key, row in one.items()
        )
    )


def _line(
    name: str,
    comparison: Comparison,
    rows: Sequence[Row],
    gap: Estimate,
    *,
    level: float,
    further: Sequence[str],
    is_it: bool,
) -> tuple[object, ...]:
    """Return the columns `ABOUT` of a contender."""
    own = [row for row in rows if row.model == name]
    done = [row for row in own if not row.note]
    seconds = [(row.seconds_fit or 0.0) + (row.seconds_predict or 0.0) for row in done]
    peaks = [row.peak_mb for row in done if row.peak_mb is not None]
    kind = "control" if name in CONTROLS else own[0].kind
    if is_it:
        verdict = "reference"
    elif not np.isfinite(gap.low):
        verdict = ""
    else:
        verdict = "better" if gap.low > 0 else "worse" if gap.high < 0 else "no different"
    found = comparison.estimate(name, level=level)
    known = dict.fromkeys(one.any_row.reference for one in comparison.results.values())
    return (
        kind,
        found.value,
        found.low,
        found.high,
        *(comparison.number(name, column) for column in ("achieved", "harm", "score_best")),
        ", ".join(filter(None, known)),
        gap.value,
        gap.low,
        gap.high,
        verdict,
        any(row.transductive for row in own),
        ", ".join(further),
        len({key[:2] for key in comparison.keys(name)}),
        len(comparison.results) if name in CONTROLS else len(done),
        len(own) - len(done),
        float(np.mean(seconds)) if seconds else np.nan,
        max(peaks, default=np.nan),
    )


def _shown(comparison: Comparison, name: str, metric: str, show: str) -> float:
    """Return the mean of a metric, or of its skill, over seeds and then over splits."""
    by_place: dict[tuple[str, str], list[float]] = {}
    for key, one in comparison.results.items():
        if name not in one.names:
            continue
        if show == "skill":
            table = comparison.skill[key]
            value = float(table[metric].loc[name]) if metric in table else np.nan
        else:
            row = one.any_row if name in CONTROLS else one.rows[name]
            stored = row.metrics.get(metric, {}).get(COLUMN_OF.get(name, "value"))
            value = np.nan if stored is None else float(stored)
        if np.isfinite(value):
            by_place.setdefault(key[:2], []).append(value)
    if not by_place:
        return float("nan")
    return float(np.mean([np.mean(several) for several in by_place.values()]))
