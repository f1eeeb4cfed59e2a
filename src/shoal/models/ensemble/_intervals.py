"""Intervals of the responses that an ensemble predicts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..._logging import logger
from ..._validate import between, flag, whole
from ..base._requests import (
    request_new,
    requested_context,
    requested_dose,
    requested_names,
    warn_of_dose,
)
from ._members import MOST

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...core._population import Population


def intervals_of(
    model: Any,
    perturbations: str | Sequence[str],
    cells: Population,
    *,
    context: str | None,
    dose: float | None,
    level: float,
    n_cells: int | None,
    pooled: bool,
    rng: np.random.Generator,
) -> pd.DataFrame:
    """Return the table of `shoal.models.Ensemble.intervals`, whose arguments these are.

    Raises
    ------
    KeyError
        If a perturbation or the context is not known.
    ValueError
        If a screen with contexts is given none, or questions of the kind were not tried.
    """
    between(level, 0, 1, name="level")
    flag(pooled, name="pooled")
    if n_cells is not None:
        whole(n_cells, name="n_cells")
    names = requested_names(perturbations, cells, model.vocabulary)
    model._refuse(names, cells)
    if context is None and cells.screen.context_key is not None:
        msg = f"which context? Pass context=...; there are {', '.join(cells.contexts)}"
        raise ValueError(msg)
    code, number = requested_context(context, cells), requested_dose(dose, cells)
    warn_of_dose(number, model.vocabulary)
    where = "" if context is None else str(context)
    kinds = {name: model.kind_of(name, context=where, dose=number) for name in names}
    lost = {name: kind for name, kind in kinds.items() if kind not in model.residuals}
    if lost:
        name, kind = next(iter(lost.items()))
        tried = ", ".join(map(repr, model.residuals)) or "none"
        msg = (
            f"{name!r} is a question of the kind {kind!r}, and none such was left out of training, "
            f"so nothing says how far off the answer may be. Tried were: {tried}. Leave some out "
            "with sh.pp.split(adata, by=...), or config={'by': ...}"
        )
        raise ValueError(msg)
    request = request_new(names, cells, context=code, dose=number, n_cells=MOST, rng=rng)
    response = model._responses(request, cells, request.perturbation, int(rng.integers(2**31)))
    parts = []
    for kind in dict.fromkeys(kinds.values()):
        half, enough = model.residuals[kind].half_width(
            model.cell_variance, level, n_cells=n_cells, pooled=pooled
        )
        if not enough:
            n = len(model.residuals[kind].grid)
            logger.warning(
                "intervals of questions %r take %d conditions for level=%g, and %d were left out "
                "of training: they are those of %.2f, or pass pooled=True",
                kind,
                int(np.ceil(level / (1 - level) - 1e-9)),
                level,
                n,
                n / (n + 1),
            )
        for i, name in enumerate(names):
            if kinds[name] == kind:
                table = {"perturbation": name, "feature": list(cells.features)}
                ends = {"low": response[i] - half, "high": response[i] + half}
                parts.append(pd.DataFrame({**table, "response": response[i], **ends}))
    return pd.concat(parts, ignore_index=True)
