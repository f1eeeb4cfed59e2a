"""The baseline that scores are measured from, fixed beforehand by the kind of split."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from .._contenders import COPY
from .._keys import SPLIT
from .._validate import one_of
from ..core._slots import params_of
from ..models.base._registry import names
from ._baselines import CONTROL, baseline_names
from ._inner_reference import reference_on_validation

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd

    from ..core._population import Population

AUTO, VALIDATION = "auto", "validation"
REFERENCES: Mapping[str, str] = MappingProxyType(
    {
        "combination": "additive",
        "context": "own_shift",
        "dose": "own_shift",
        "guide": "own_shift",
        "perturbation_context": "own_shift",
        "cells": "own_shift",
        "perturbation": "mean_shift",
    }
)
"""Kind of split -> the plainest baseline that knows what such a split tells."""

NEXT: Mapping[str, str] = MappingProxyType(
    {"additive": "mean_shift", "own_shift": "mean_shift", "mean_shift": COPY}
)
"""Reference -> the one that is taken if it cannot be made."""


def check_reference(reference: str) -> None:
    """Raise ``ValueError`` unless a reference is a rule or the name of a baseline."""
    one_of(reference, (AUTO, VALIDATION, *names("baseline")), name="reference")


def reference_name(
    cells: Population,
    reference: str,
    *,
    split: str | None,
    embedding: str | pd.DataFrame | None = None,
    context_embedding: str | pd.DataFrame | None = None,
    seed: int = 0,
) -> str:
    """Return the baseline that is to be the reference, before any is scored.

    Parameters
    ----------
    cells
        The screen.
    reference
        Name of a baseline; ``"auto"`` for that of the kind of split; ``"validation"`` for the one
        that predicts conditions of ``"val"`` best, or conditions left out of training where there
        are none, or these are scored.
    split
        Value of ``obs["split"]`` that is scored.
    embedding, context_embedding
        Vectors of the perturbations and of the contexts, for the baselines that use them.
    seed
        Seed of the choice on validation conditions.

    Returns
    -------
    Name of a baseline, or of the control copy.

    Raises
    ------
    ValueError
        If the reference is to be chosen on validation conditions, and all cells or those of
        training are scored, or there are too few conditions to leave out.
    """
    if reference == VALIDATION:
        if split not in ("val", "test"):
            msg = (
                f"reference='validation' is chosen on conditions that are not scored, and "
                f"split={split!r} scores those of training: score split='test', or name a baseline"
            )
            raise ValueError(msg)
        several = [CONTROL, *baseline_names(cells.adata, AUTO)]
        reference = reference_on_validation(
            cells,
            several,
            embedding=embedding,
            context_embedding=context_embedding,
            within=split == "val",
            seed=seed,
        ).name
    if reference != AUTO:
        return COPY if reference == CONTROL else reference
    if SPLIT not in cells.adata.obs:
        return COPY
    return REFERENCES[kind_of_split(cells, split=split)]


def kind_of_split(cells: Population, *, split: str | None) -> str:
    """Return what was held out: what ``uns["split"]`` says, else what the labels show.

    Without a record it is ``"combination"`` if the scored perturbations are combinations of parts
    that training has, ``"cells"`` if training has all of them, and ``"perturbation"`` otherwise.
    """
    params = params_of(cells.adata, SPLIT)
    by = str(params.get("by", ""))
    if by in REFERENCES:
        return by
    sides = {"train": 0, "val": 1, "test": 2}
    scored = cells.perturbed if split is None else cells.perturbed & (cells.split == sides[split])
    code = cells.labels.code
    trained = {cells.names[i] for i in np.unique(code[cells.train])}
    asked = [cells.names[i] for i in np.unique(code[scored])]
    if set(asked) <= trained:
        return "cells"
    parts = [cells.screen.parts(name) for name in asked]
    single = {part for name in trained for part in cells.screen.parts(name)}
    if all(len(own) > 1 and set(own) <= single for own in parts):
        return "combination"
    return "perturbation"


def with_reference(baselines: Sequence[str], reference: str) -> list[str]:
    """Return the baselines to fit: those that were asked for, and the reference."""
    return [*baselines, *([reference] if reference not in (*baselines, COPY) else [])]


def reference_taken(
    reference: str, rows: Mapping[str, str], refused: Mapping[str, str]
) -> tuple[str, str]:
    """Return the row that is the reference in the end, and why it is another than the fixed one.

    Parameters
    ----------
    reference
        Name of the reference that was fixed.
    rows
        Name of a baseline or of the control copy -> row of the table in which its cells are scored.
    refused
        Baselines that do not exist, and why.

    Returns
    -------
    The row, and the reason; ``""`` if it is the fixed reference.
    """
    name = reference
    while name not in rows and name in NEXT:
        name = NEXT[name]
    name = name if name in rows else COPY
    if name == reference:
        return rows[name], ""
    if name not in rows:
        return "", f"{reference} cannot be made: {refused.get(reference, 'it was not asked for')}"
    why = refused.get(reference, "no baselines were fitted")
    return rows[name], f"the reference is {name}, since {reference} cannot be made: {why}"
