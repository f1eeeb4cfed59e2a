"""One of several candidates, chosen by its error on conditions left out of training."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .._logging import logger, progress, quiet, reason
from .._validate import whole
from ._inner_error import InnerError, relative

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

EQUAL = 1e-9  # relative difference of energies that rounding makes: the first one is chosen


@dataclass(frozen=True, eq=False)
class Choice:
    """What was chosen within training, and why.

    Attributes
    ----------
    name
        The candidate that was chosen.
    options
        Its arguments of ``fit_model``; empty for a baseline of reference.
    table
        Index candidate; columns ``error``, ``energy``, ``fold_1`` and so on, ``n_conditions``,
        ``chosen`` and ``note``, see :func:`shoal.tl.fit`.
    """

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    table: pd.DataFrame = field(default_factory=pd.DataFrame)

    @property
    def errors(self) -> dict[str, float | None]:
        """The error of each candidate, as JSON can hold it."""
        return {
            str(name): float(error) if np.isfinite(error) else None
            for name, error in self.table["error"].items()
        }


def check_inner(inner: int | None) -> None:
    """Raise unless a number of folds is a whole number from 1 on, or ``None``."""
    if inner is not None:
        whole(inner, name="inner")


def measured(
    measure: InnerError, names: Sequence[str], fit: Callable[[int, int], Any], *, desc: str
) -> pd.DataFrame:
    """Train and measure all candidates on all folds.

    Parameters
    ----------
    measure
        What is left out, and the measure of error.
    names
        Names of the candidates.
    fit
        Trains a candidate on a fold, both by number.
    desc
        What the progress bar says.
    """
    n = len(measure.folds)
    found: list[list[pd.DataFrame]] = [[] for _ in names]
    notes = [""] * len(names)
    tasks = [(number, fold) for number in range(len(names)) for fold in range(n)]
    for number, fold in progress(tasks, total=len(tasks), desc=desc):
        if notes[number]:
            continue
        try:
            with quiet():
                found[number].append(measure.of(fit(number, fold), fold))
        except Exception as err:  # noqa: BLE001 (others go on, and the table says what it was)
            notes[number] = reason(err)
            logger.info("%s: %r cannot be chosen: %s", desc, names[number], reason(err))
    rows = []
    for parts, note in zip(found, notes, strict=True):
        together = pd.DataFrame() if note else pd.concat(parts)
        folds = {f"fold_{i + 1}": np.nan if note else relative(parts[i]) for i in range(n)}
        rows.append(
            {
                "error": np.nan if note else relative(together),
                "energy": np.nan if note else float(together["energy"].mean()),
                **folds,
                "n_conditions": len(together),
                "note": note,
            }
        )
    table = pd.DataFrame(rows, index=pd.Index(list(names), name="candidate"))
    energy, least = table["energy"].to_numpy(), float(table["energy"].min())
    first = np.flatnonzero(energy - least <= EQUAL * max(abs(least), 1e-6))[:1]
    table.insert(table.shape[1] - 1, "chosen", np.isin(np.arange(len(table)), first))
    return table


def best(table: pd.DataFrame, message: str) -> int:
    """Return the number of the chosen candidate; the first one of equals."""
    if not table["chosen"].any():
        name, note = table.index[0], table["note"].iloc[0]
        msg = f"{message} within training; {name!r}: {note}"
        raise ValueError(msg)
    return int(np.flatnonzero(table["chosen"])[0])
