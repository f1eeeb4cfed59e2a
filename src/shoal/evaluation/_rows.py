"""One result of a benchmark: a model on a split of a data set with a seed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .._contenders import COPY, NEGATIVE, POSITIVE

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

OWN = "(own)"  # stands for the model of a row
REFERENCE = "(reference)"  # and this for its reference
COLUMN_OF = {
    OWN: "value",
    POSITIVE: "positive",
    NEGATIVE: "negative",
    COPY: "copy",
    REFERENCE: "reference",
}
"""Contender -> its key in the losses of a row."""

NUMBERS = (
    "value",
    "positive",
    "negative",
    "drf",
    "bds",
    "seconds_fit",
    "seconds_predict",
    "seconds_evaluate",
    "peak_mb",
)


@dataclass(frozen=True)
class Row:
    """A model on a split of a data set with a seed.

    Attributes
    ----------
    data, split, model, seed
        Which it is.
    kind
        ``"baseline"``, ``"model"``, or ``"file"`` for a prediction of another program.
    note
        Why it failed; empty if it did not.
    settings
        Digest of all that it depends on.
    file
        Digest of the file of a prediction of another program; empty for models.
    transductive
        Whether the embedding of the model has seen held-out cells.
    seconds_fit, seconds_predict, seconds_evaluate
        Wall clock time; ``None`` where a prediction came from a file.
    peak_mb
        Largest resident memory of the process during training and prediction. Data and libraries
        count.
    versions
        Package -> version.
    metrics
        Metric -> its record: ``family``, ``direction``, ``perfect``, ``per`` (condition or screen),
        ``drf``, ``bds``, ``discriminates``, and the mean ``value`` of the model, of the
        ``positive``, ``negative`` and ``copy`` controls and of the ``reference``.
    conditions
        Name of a condition -> its perturbation.
    losses
        Metric -> ``value``, ``positive``, ``negative``, ``copy``, ``reference`` -> the loss of each
        condition, a mean over draws, ``None`` where it is missing. A metric of the whole screen has
        one number.
    draws
        The same keys -> difference of the mean loss of each draw from that of all draws.
    reference
        Name of the reference: a baseline, or the control copy.
    responds
        Whether anything responds in the held-out conditions.
    silent
        Names of the conditions in which nothing is seen to respond.
    chosen
        Which set of options was chosen within training; empty if nothing was.
    tried
        Every set of options -> its error within training, ``None`` where it could not be used.
    fingerprint
        Five numbers for each condition that tell whether another model predicts the same cells, as
        :func:`shoal.evaluation._same_cells.fingerprint` makes them. Conditions come again for the
        cells that these started from, where that counts.
    """

    data: str
    split: str
    model: str
    seed: int
    kind: str
    note: str = ""
    settings: str = ""
    file: str = ""
    transductive: bool = False
    seconds_fit: float | None = None
    seconds_predict: float | None = None
    seconds_evaluate: float | None = None
    peak_mb: float | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    conditions: Mapping[str, str] = field(default_factory=dict)
    losses: Mapping[str, Mapping[str, Sequence[float | None]]] = field(default_factory=dict)
    draws: Mapping[str, Mapping[str, Sequence[float]]] = field(default_factory=dict)
    reference: str = ""
    responds: bool = True
    silent: Sequence[str] = ()
    chosen: str = ""
    tried: Mapping[str, float | None] = field(default_factory=dict)
    fingerprint: Sequence[Sequence[float]] = field(default_factory=list)

    def loss(self, metric: str, of: str = "value") -> pd.Series:
        """Return the losses by condition.

        Parameters
        ----------
        metric
            Name of the metric.
        of
            ``"value"`` for the model; ``"positive"``, ``"negative"`` or ``"copy"`` for a control;
            ``"reference"``.
        """
        numbers = np.array(self.losses[metric][of], dtype=np.float64)
        return pd.Series(
            numbers,
            index=list(self.conditions) if self.metrics[metric]["per"] == "condition" else [""],
        )


def tidy(rows: Iterable[Row]) -> pd.DataFrame:
    """Return one line for each row and metric; a row that failed has one line, with its note."""
    lines = []
    for row in rows:
        about = {
            name: getattr(row, name)
            for name in ("data", "split", "model", "kind", "transductive", "seed", "chosen")
        }
        names = (
            "seconds_fit",
            "seconds_predict",
            "seconds_evaluate",
            "peak_mb",
            "settings",
            "file",
        )
        cost = {name: getattr(row, name) for name in names}
        versions = " ".join(f"{name}={version}" for name, version in row.versions.items())
        for metric, record in (row.metrics or {"": {}}).items():
            known = {
                name: record.get(name) for name in ("value", "positive", "negative", "drf", "bds")
            }
            known["discriminates"] = bool(record.get("discriminates", False))
            lines.append(
                {
                    **about,
                    "metric": metric,
                    **known,
                    "reference": row.reference,
                    "responds": row.responds,
                    "note": row.note,
                    **cost,
                    "versions": versions,
                }
            )
    return pd.DataFrame(lines).astype(dict.fromkeys(NUMBERS, np.float64))
