"""The leaderboard of a benchmark, and how it is written."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from ..evaluation._leaderboard import leaderboard
from ._files import read_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .._random import RNGLike
    from ..evaluation._rows import Row


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

    The *score* of a contender is that of :func:`shoal.tl.evaluate`: 0 is as good as the reference,
    a baseline that is fixed by the kind of split, and 1 as good as a second experiment. It is
    averaged over seeds, then over splits and data sets. Each of these counts the same.

    The *verdict* on two contenders comes from the difference of their scores. Perturbations are
    resampled, in the same way for both, and the interval of the difference is taken. Seeds are
    averaged before, since they are no replicates of the experiment. These are held fixed while
    perturbations are resampled: the metrics that discriminate, their weights, and metrics that
    are one number for a screen.

    Parameters
    ----------
    results
        Folder of a benchmark that :func:`run` wrote, finished or not.
    against
        Contender that all others are compared with. ``None``: the model or baseline with the best
        score.
    metrics
        Metrics that the score is made of, and that are shown; all if ``None``.
    show
        What the columns of the metrics hold. ``"skill"``: mean skills, which can be averaged over
        data sets; missing where a metric discriminates on none. ``"value"``: mean values.
    level
        Level of each interval.
    n_boot
        Bootstrap draws.
    rng
        Seed of the draws.

    Returns
    -------
    Table, index contender. First those with results on all splits of all data sets, by score (by
    ``achieved`` less ``harm`` where the reference leaves no room for one); then the others; then
    the controls. Columns:

    - ``kind``: ``"model"``, ``"baseline"``, ``"file"`` (the prediction of another program) or
      ``"control"``;
    - ``score``, and its interval ``score_low`` to ``score_high`` over perturbations and draws;
    - ``achieved``, ``harm`` and ``score_best``, as in :func:`shoal.tl.evaluate`;
    - ``reference``: names of the references;
    - ``difference`` to `against`, where both have results, and its interval ``low`` to ``high``: of
      scores, or of ``achieved`` less ``harm`` where the reference leaves no room for these;
    - ``verdict``: ``"better"``, ``"no different"``, ``"worse"``, ``"reference"``, or ``""`` where
      there is no interval;
    - ``transductive`` (bool): whether its embedding has seen held-out cells, which makes its task
      easier;
    - ``same_as``: further models of the same kind that predict the same cells, up to rounding, on
      all splits with all seeds. They are shown in this row alone. All results stay in the
      comparison, and `against` may name any of them;
    - ``sets`` (int): splits of data sets;
    - ``results`` and ``failed`` (int): data sets x splits x seeds;
    - ``seconds``: mean of training and prediction, missing for files, and ``peak_mb``: the largest;
    - one column for each metric.

    Raises
    ------
    ValueError
        If there is no result yet, all have failed, or an option is not known; if results of one
        split and seed were scored on different held-out cells.
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
    return leaderboard(
        rows,
        against=against,
        metrics=metrics,
        show=show,
        level=level,
        n_boot=n_boot,
        rng=rng,
    )


def by_split(rows: Sequence[Row]) -> pd.DataFrame:
    """Return the leaderboard of every split of every data set, one below the other.

    Columns are ``data``, ``split``, ``version`` (of shoal), ``contender``, those of `table` with
    the values of the metrics, and ``note`` (why a contender failed). Splits on which all failed
    are left out.
    """
    boards = []
    for data, split in dict.fromkeys((row.data, row.split) for row in rows if not row.note):
        own = [row for row in rows if (row.data, row.split) == (data, split)]
        board = table(own, show="value").reset_index()
        notes = {row.model: row.note for row in own if row.note}
        versions = ", ".join(dict.fromkeys(row.versions.get("shoal", "") for row in own))
        for at, (name, values) in enumerate(
            {"data": data, "split": split, "version": versions}.items()
        ):
            board.insert(at, name, values)
        boards.append(board.assign(note=[notes.get(name, "") for name in board["contender"]]))
    return pd.concat(boards, ignore_index=True)


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
