"""The probability that genes are on under a perturbation, as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch

from ..base._requests import (
    PredictionRequest,
    requested_context,
    requested_dose,
    requested_names,
    warn_of_dose,
)
from ..base._sets import encoded_conditions
from ._config import LEARNED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData


def mask(
    model: Any,
    perturbations: str | Sequence[str] | None = None,
    *,
    context: str | None = None,
    dose: float | None = None,
    adata: AnnData | None = None,
) -> pd.DataFrame:
    """Return how likely each gene is on under perturbations, in a context and at a dose.

    It is the probability that the zeros of predicted cells are drawn with.

    Parameters
    ----------
    perturbations
        Names, which may be combinations or have never been run; all of the screen if ``None``.
    context
        Context. All contexts with control cells if ``None``.
    dose
        Dose, in the unit of the screen's dose column. A screen with doses needs one.
    adata
        Screen whose control cells say which genes are on without a perturbation; that of training
        if ``None``.

    Returns
    -------
    DataFrame
        A row for each perturbation and column for each gene. Where the screen has contexts, the
        index is perturbation and context.

    Raises
    ------
    KeyError
        If a perturbation is not known or has no vector, or there is no such context.
    ValueError
        If the model has no network of its own for the mask, or a screen with doses is given none.
    """
    model._check_trained()
    kind = model.settings.masking.mask
    if kind not in LEARNED:
        msg = (
            f"this model has mask={kind!r}, and no network that predicts which genes are on; train "
            f"one with config={{'mask': 'bernoulli'}} (or {', '.join(map(repr, LEARNED[1:]))})"
        )
        raise ValueError(msg)
    cells = model._population(adata)
    names = requested_names(perturbations, cells, model.vocabulary)
    if perturbations is None:
        lost = model.cannot_predict(names, adata=cells)
        names = [name for name in names if name not in lost]
    model._refuse(names, cells)
    code, number = requested_context(context, cells), requested_dose(dose, cells)
    warn_of_dose(number, model.vocabulary)
    controls = model._with_controls(cells)
    seen = np.unique(controls.context[controls.labels.is_control])
    there = [controls.contexts[i] if i >= 0 else "" for i in seen]
    codes = [i for i, name in enumerate(cells.contexts) if name in there] or [-1]
    codes = codes if code is None else [code]
    n = len(names) * len(codes)
    request = PredictionRequest(
        names=tuple(names),
        perturbation=np.repeat(np.arange(len(names)), len(codes)),
        context=np.tile(codes, len(names)),
        batch=np.full(n, -1),
        dose=np.full(n, number),
        source=np.zeros(n, dtype=np.int64),
    )
    device = next(model.module.parameters()).device
    rows = np.arange(n)
    condition = encoded_conditions(request, rows, cells, model.vocabulary, device=device)
    table = model._moments(controls, cells.contexts)
    condition["moments"] = torch.from_numpy(table[request.context]).to(device)
    chance = model.module.probability(condition)[:, 0].cpu().numpy()
    index = pd.Index([names[i] for i in request.perturbation], name="perturbation")
    if cells.screen.context_key is not None:
        places = [cells.contexts[i] if i >= 0 else "" for i in request.context]
        index = pd.MultiIndex.from_arrays([index, places], names=["perturbation", "context"])
    return pd.DataFrame(chance, index=index, columns=list(model.vocabulary.features))
