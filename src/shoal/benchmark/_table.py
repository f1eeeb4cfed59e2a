"""The leaderboard: contenders in the order of their scores, and whether the differences are more than chance."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from .._validate import key_in, one_of
from ._compare import CONTROLS, Comparison
from ._rows import Row, read_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .._random import RNGLike
    from ..metrics._skill import Estimate

ABOUT = (
    "kind",
    "score",
    "difference",
    "low",
    "high",
    "verdict",
    "transductive",
    "sets",
    "results",
    "failed",
    "seconds",
    "peak_mb",
)


def table(
    results: str | Path | Sequence[Row],
    *,
    against: str | None = None,
    metrics: Sequence[str] | None = None,
    show: Literal["skill", "value"] = "skill",
    level: float = 0.95,
    n_boot: int = 2000,
    rng: RNGLike = 0,
) -> pd.DataFrame:
    """Make the leaderboard of a benchmark.

    The *score* of a contender is that of :func:`shoal.tl.evaluate`: over the metrics that discriminate on the data at hand,
    0 is as good as the best baseline and 1 as good as a second experiment. It is averaged over seeds, then over
    splits and data sets, each of which counts the same. Whether a contender differs from another is decided by the
    interval of the *difference* of their scores over resampled perturbations, drawn for both alike; seeds are averaged
    before, as they are no replicates of the experiment. Which baseline is the best and which metrics discriminate is held
    fixed in it, and so are metrics that are one number for a screen.

    Parameters
    ----------
    results
        Folder of a benchmark that :func:`run` wrote, finished or not.
    against
        Contender that all others are compared with; the model or baseline with the best score if ``None``.
    metrics
        Metrics that the score is made of, and that are shown; all if ``None``.
    show
        What the columns of the metrics hold: mean skills, which can be averaged over data sets, missing where no data
        set tells; or the mean ``"value"``.
    level
        Level of the intervals, each for itself.
    n_boot
        Bootstrap draws.
    rng
        Seed of them.

    Returns
    -------
    Table, index = contender: first those with results on all splits of all data sets, by score, then others, then the
    controls. Columns: ``kind`` (``"model"``, ``"baseline"`` or ``"control"``), ``score``; ``difference`` to `against`,
    where both have results, and its interval ``low`` to ``high``; ``verdict``: ``"better"``, ``"no different"``,
    ``"worse"``, ``"reference"``, or ``""`` where there is no interval; ``transductive`` (bool: whether its embedding has
    seen held-out cells, so that its task was easier); ``sets`` (int: splits of data sets), ``results`` and ``failed``
    (int: data sets x splits x seeds), ``seconds`` (mean of training and prediction), ``peak_mb`` (largest); and one
    column for each metric.

    Raises
    ------
    ValueError
        If there is no result yet, all have failed, or an option is not known.
    KeyError
        If `against` or a metric is not in the benchmark.
    FileNotFoundError
        If the folder holds no benchmark.

    Examples
    --------
    >>> import shoal as sh
    >>> spec = {
    ...     "data": {
    ...         "simulated": {
    ...             "call": sh.ds.simulate,
    ...             "perturbation_key": "perturbation",
    ...             "control": "control",
    ...             "prepare": {"normalize": "log1p"},
    ...         }
    ...     },
    ...     "splits": {"unseen": {"by": "perturbation", "test": 0.3}},
    ...     "models": ["perturbed_mean", "mean_shift"],
    ...     "evaluate": {"metrics": ["pearson_delta", "energy"]},
    ... }
    >>> rows = sh.benchmark.run(spec, folder="leaderboard")
    >>> board = sh.benchmark.table("leaderboard")
    >>> board["kind"].value_counts().to_dict()
    {'control': 3, 'baseline': 2}
    """
    rows = read_rows(Path(results)) if isinstance(results, (str, Path)) else list(results)
    one_of(show, ("skill", "value"), name="show")
    done = [row for row in rows if not row.note]
    if not done:
        msg = f"none of {len(rows)} results is there to compare: {rows[0].note if rows else 'nothing is computed yet'}"
        raise ValueError(msg)
    known = dict.fromkeys(metric for row in done for metric in row.metrics)
    shown = list(known) if metrics is None else list(metrics)
    for metric in shown:
        key_in(metric, known, where="the metrics of this benchmark")
    found = Comparison(rows, metrics=shown, n_boot=n_boot, rng=rng)
    order = _order(found)
    reference = order[0] if against is None else against
    key_in(reference, order, where="the contenders of this benchmark")
    lines = {
        name: _line(
            name,
            found,
            rows,
            found.difference(name, reference, level=level),
            is_it=name == reference,
        )
        for name in order
    }
    board = pd.DataFrame.from_dict(lines, orient="index", columns=list(ABOUT)).rename_axis(
        "contender"
    )
    values = {metric: [_shown(found, name, metric, show) for name in order] for metric in shown}
    return board.join(pd.DataFrame(values, index=board.index, dtype=np.float64))


def markdown(board: pd.DataFrame, *, digits: int = 3) -> str:
    """Write a leaderboard as a table of Markdown.

    Parameters
    ----------
    board
        What :func:`table` returns, or some of its columns.
    digits
        Digits after the point.

    Returns
    -------
    Text, one line for each contender, without a line end at its end.

    Examples
    --------
    >>> import pandas as pd
    >>> import shoal as sh
    >>> board = pd.DataFrame(
    ...     {"score": [0.25, None]}, index=pd.Index(["flow", "copy"], name="contender")
    ... )
    >>> print(sh.benchmark.markdown(board, digits=2))
    | contender | score |
    |---|---:|
    | flow | 0.25 |
    | copy |  |
    """
    numeric = [pd.api.types.is_numeric_dtype(dtype) for dtype in board.dtypes]

    def text(value: object) -> str:
        if isinstance(value, (float, np.floating)):
            return "" if np.isnan(value) else f"{value:.{digits}f}"
        return str(value).replace("|", "\\|")

    head = [board.index.name or "", *board.columns]
    lines = [head, ["---", *("---:" if n else "---" for n in numeric)]]
    body = [[text(name), *map(text, values)] for name, *values in board.itertuples(name=None)]
    first, rule = f"| {' | '.join(map(str, lines[0]))} |", f"|{'|'.join(lines[1])}|"
    return "\n".join([first, rule, *(f"| {' | '.join(line)} |" for line in body)])


def _order(found: Comparison) -> list[str]:
    """Return contenders: those with all splits of all data sets first, by score; controls last."""
    places = {key[:2] for key in found.rounds}
    ranked = []
    for at, name in enumerate(found.contenders):
        score = found.score(name)
        lacking = len(places) - len({key[:2] for key in found.keys(name)})
        ranked.append(
            (name in CONTROLS, lacking, -score if np.isfinite(score) else np.inf, at, name)
        )
    return [name for *_, name in sorted(ranked)]


def _line(
    name: str, found: Comparison, rows: Sequence[Row], gap: Estimate, *, is_it: bool
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
    return (
        kind,
        found.score(name),
        gap.value,
        gap.low,
        gap.high,
        verdict,
        any(row.transductive for row in own),
        len({key[:2] for key in found.keys(name)}),
        len(found.rounds) if name in CONTROLS else len(done),
        len(own) - len(done),
        float(np.mean(seconds)) if seconds else np.nan,
        max(peaks, default=np.nan),
    )


def _shown(found: Comparison, name: str, metric: str, show: str) -> float:
    """Return the mean of a metric, or of its skill, over seeds and then over splits of data sets."""
    by_place: dict[tuple[str, str], list[float]] = {}
    for key, one in found.rounds.items():
        if name not in one.contenders:
            continue
        if show == "skill":
            table = found.skill[key]
            value = table.loc[name, metric] if metric in table else np.nan
        else:
            record = (one.one if name in CONTROLS else one.rows[name]).metrics.get(metric, {})
            stored = record.get(CONTROLS.get(name, "value"))
            value = np.nan if stored is None else stored
        if np.isfinite(value):
            by_place.setdefault(key[:2], []).append(float(value))
    return (
        float(np.mean([np.mean(several) for several in by_place.values()]))
        if by_place
        else float("nan")
    )
