"""Checks of a call of pp.embed_contexts: names, contexts of training, and missing vectors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from .._logging import logger
from .._validate import some, text
from ._context_sources import CONTROLS
from ._embed_keys import same_values

if TYPE_CHECKING:
    from ..core._population import Population
    from ._context_request import ContextRequest, Profiles


def checked_aliases(aliases: Mapping[str, str] | None) -> dict[str, str]:
    """Return the names of contexts in the source.

    Raises
    ------
    TypeError
        If they are no mapping of texts to texts.
    """
    if aliases is None:
        return {}
    if not isinstance(aliases, Mapping):
        msg = f"aliases must map contexts to their names in the source, not {aliases!r}"
        raise TypeError(msg)
    for value in aliases.values():
        text(value, name="aliases")
    return {str(key): value for key, value in aliases.items()}


def trained_contexts(cells: Population) -> list[str]:
    """Return the contexts with perturbed cells in training.

    Raises
    ------
    ValueError
        If there are fewer than two.
    """
    codes = np.unique(cells.context[cells.train & (cells.context >= 0)])
    found = [cells.contexts[i] for i in codes]
    if len(found) < 2:
        what = f"only {some(found)} has" if found else "no context has"
        msg = (
            f"{what} perturbed cells in training: from fewer than two contexts nothing can be "
            "learned about how responses depend on them, so vectors of contexts say nothing. "
            "Leave out context_embedding=, or keep more contexts in training"
        )
        raise ValueError(msg)
    return found


def tell_identical(table: pd.DataFrame) -> None:
    """Say which contexts have the same vector, and so are one to a model."""
    rows = pd.Series([row.tobytes() for row in table.to_numpy()], index=table.index)
    same = same_values(rows)
    if same:
        logger.warning(
            "contexts with the same vector cannot be told apart by a model: %s",
            "; ".join(" = ".join(map(repr, names)) for names in same[:6]),
        )


def refuse_missing(request: ContextRequest, profiles: Profiles, *, kind: str, drop: bool) -> None:
    """Raise ``ValueError`` with the contexts that have no vector; if `drop`, log them."""
    lost = profiles.absent
    if not lost:
        return
    reasons: dict[str, list[str]] = {}
    for name, why in lost.items():
        reasons.setdefault(why, []).append(name)
    shown = "; ".join(f"{why}: {some(which, 60)}" for why, which in sorted(reasons.items()))
    said = f"{len(lost)} of {len(request.keys)} contexts have no vector; {shown}"
    untold = [name for name in request.trained if name in lost]
    left = len(profiles.values)
    if drop and left and not (request.trained and len(request.trained) - len(untold) < 2):
        logger.warning("%s. They are left out", said)
        return
    fixes = ["leave them out with missing='drop'"] if not drop else []
    if kind != CONTROLS:
        fixes.insert(0, "say with aliases= what they are called in the source")
        fixes.append("take the screen's own control cells, source='controls'")
    if drop:
        said += f". Only {left} are left, and two contexts of training are needed"
    msg = f"{said}. To mend it, {', or '.join(fixes)}" if fixes else said
    raise ValueError(msg)
