"""Judge the intervals of a prediction on held-out conditions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .._docs import shared
from .._keys import INTERVAL_EVALUATION
from .._logging import logger
from .._validate import get_adata, text
from ..core._claims import claim_result
from ..core._intervals import JUDGED, read_intervals
from ..core._results import write_table
from ..core._screen import resolve
from ..evaluation._intervals import (
    LEAST_CELLS,
    in_words,
    judged,
    measured_responses,
    reliability,
    summarised,
)
from ..pp._split_use import check_split

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from mudata import MuData


@shared()
def evaluate_intervals(
    data: AnnData | MuData,
    *,
    prediction: str,
    split: str | None = "test",
    accept: str | Sequence[str] = (),
    key_added: str | None = None,
    overwrite: bool = False,
    mod: str | None = None,
) -> None:
    """Say how often the intervals of a prediction cover what was measured.

    The measured response of a condition is the mean of its cells minus that of the training
    controls of the same context and batch. Conditions of fewer than five cells are left out.

    Parameters
    ----------
    data
        Screen with a prediction that :func:`shoal.tl.predict` wrote with ``interval=``.
    prediction
        Name of the prediction.
    split
        Value of ``obs["split"]`` that is looked at; ``None`` for all perturbed cells.
    accept
        Names of leaks of ``obs["split"]`` to accept, see :func:`shoal.tl.evaluate`.
    key_added
        Slot of ``uns``; ``"interval_evaluation"`` if ``None``.
    overwrite
        {overwrite}
    mod
        {mod}

    Returns
    -------
    Nothing; writes ``uns[key_added]`` with

    ``table``
        Index condition: ``perturbation``, ``context``, ``dose``, ``kind`` and ``n_cells``;
        ``covered`` (share of the features within their interval; those that are the same in all
        cells of training count if they respond in a measured condition), ``inside`` (bool: whether
        that is the level or more) and ``width`` (mean); ``strength`` (size of the measured
        response), ``distance`` (to the predicted one), both less their sampling noise; ``bound``
        and ``within`` (bool: whether the distance is at most the bound; False without a bound);
        ``probability``;
        ``pvalue`` (that the condition does not respond) and ``responds`` (bool: p < .01).
    ``summary``
        Index group (``"all"``; ``"weaker"`` and ``"stronger"``, halves by measured response; each
        kind of question): ``n_conditions``, ``coverage`` (share of conditions that are ``inside``)
        with an interval of 95 %, and means of ``covered`` (``features``), ``width`` and ``within``
        (of conditions with a bound; NaN if there are none).
    ``reliability``
        Conditions in at most five groups by their probability: mean ``probability``, share that
        ``responds`` with an interval of 95 %, ``n_conditions``.
    ``response``
        float32 (conditions of ``table``, features of the intervals): measured responses.
    ``params``
        ``level``, ``pooled``, ``prediction``, ``split``; ``brier`` (mean squared difference of
        probability and response) and ``brier_share`` (that of the share of conditions that
        respond, which knows nothing of a condition); ``verdict``, which is also logged.

    Raises
    ------
    KeyError
        If there are no intervals of that prediction, or no such split.
    ValueError
        If held-out conditions are trained on and that is not accepted, the features are not those
        of the intervals, values are on another scale than when they were predicted, or no condition
        has enough cells and intervals.

    Examples
    --------
    >>> import shoal as sh
    >>> adata = sh.ds.simulate_gaussian(n_perturbations=30, n_dims=10, rng=0)
    >>> sh.pp.split(adata, by="perturbation", test=0.3, val=0, rng=0)
    >>> sh.tl.predict(adata, sh.tl.fit(adata, "auto"), subset="test", interval=0.8)
    >>> sh.tl.evaluate_intervals(adata, prediction="predicted")
    >>> int(adata.uns["interval_evaluation"]["summary"].loc["all", "n_conditions"])
    9
    """
    adata = get_adata(data, mod)
    if split is not None:
        text(split, name="split")
    key = claim_result(
        adata,
        INTERVAL_EVALUATION if key_added is None else key_added,
        schema=JUDGED,
        overwrite=overwrite,
    )
    entry = read_intervals(adata, prediction)
    leaks = ""
    if split in ("val", "test"):
        leaks = check_split(
            adata, resolve(adata), accept=accept, held_out=split, call="sh.tl.evaluate_intervals"
        )
    real = measured_responses(adata, entry, split=split)
    table = judged(entry, real)
    if not len(table):
        msg = (
            f"no condition of split={split!r} has intervals of the prediction {prediction!r}, and "
            f"{LEAST_CELLS} cells to measure it by"
        )
        raise ValueError(msg)
    summary, responds = summarised(table), table["responds"].to_numpy(dtype=bool)
    probability = table["probability"].to_numpy(dtype=np.float64)
    verdict = in_words(table, summary, entry["params"])
    logger.info("%s", verdict)
    write_table(
        adata,
        key,
        table,
        schema=JUDGED,
        params={
            "prediction": prediction,
            "split": split,
            "level": entry["params"]["level"],
            "pooled": entry["params"]["pooled"],
            "brier": float(((probability - responds) ** 2).mean()),
            "brier_share": float(responds.mean() * (1 - responds.mean())),
            "verdict": verdict,
            "caution": leaks,
        },
        summary=summary,
        reliability=reliability(probability, responds),
        response=real.response[np.isin(entry["table"].index[real.at], table.index)].astype(
            np.float32
        ),
    )
