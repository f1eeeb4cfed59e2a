"""What of a screen is held out to be predicted, if nobody says so."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ._keys import SPLIT
from ._logging import quiet
from ._random import as_generator
from ._validate import one_of, some
from .core._screen import perturbed_labels, resolve
from .core._split_plan import able_units, allot
from .core._split_request import Request
from .core._split_units import BY, make_items

if TYPE_CHECKING:
    from anndata import AnnData

KINDS = {  # what may be held out, in the order of trial, and what that asks
    "combination": "combinations, whose parts are measured alone",
    "perturbation_context": "perturbations in a context, measured in others",
    "dose": "doses of perturbations, measured at other doses",
    "perturbation": "perturbations that training never sees",
    "context": "contexts, known by their controls",
}
KEPT = "the split of the file"
ENOUGH = 10  # units of a kind, so that some can be held out and the others learned from


def units_of(adata: AnnData) -> dict[str, int]:
    """Return how many units of each of `KINDS` can be held out, of those with more than one."""
    screen = resolve(adata, tell=False)
    labelled = perturbed_labels(adata, screen)
    found: dict[str, int] = {}
    for by in KINDS:
        level = BY[by]
        if level is None or getattr(screen, f"{level}_key") is not None:
            request = Request(by, test=None, val=0, n_folds=None, fold=None, parts_seen=None)
            n = len(able_units(make_items(adata, screen, labelled, by), request))
            found |= {by: n} if n > 1 else {}
    return found


def kind_of(adata: AnnData) -> tuple[str, str]:
    """Return what of a screen to hold out, and why: the first of `KINDS` with enough units.

    If there are enough of none, it is the one with most.

    Raises
    ------
    ValueError
        If nothing can be held out.
    """
    found = units_of(adata)
    for by, n in found.items():
        if n >= ENOUGH:
            return by, f"{n} can be held out"
    if not found:
        msg = (
            f"obs[{resolve(adata, tell=False).perturbation_key!r}] holds one perturbation, and "
            "there is no context or dose to hold out, so nothing can be predicted and judged; "
            "sh.tl.coherence(adata) measures it"
        )
        raise ValueError(msg)
    by = max(found, key=lambda one: found[one])
    return by, f"{found[by]} can be held out, which is few"


def check_request(adata: AnnData, by: str, test: Any, seed: int) -> None:
    """Raise the error of :func:`shoal.pp.split` if nothing can be held out so, before any work.

    Raises
    ------
    ValueError, KeyError
        As :func:`shoal.pp.split`, but for its audit.
    """
    one_of(by, tuple(BY), name="by")
    screen = resolve(adata, tell=False)
    items = make_items(adata, screen, perturbed_labels(adata, screen), by)
    request = Request(by, test=test, val=0, n_folds=None, fold=None, parts_seen=None)
    with quiet():
        allot(items, screen, request, as_generator(seed))


def in_words(adata: AnnData) -> str:
    """Say what a split holds out."""
    n_cells = tested(adata)
    names = some(list(n_cells.index), 4)
    return f"held out: {len(n_cells)} conditions, {int(n_cells.sum()):,} cells ({names})"


def check_held_out(adata: AnnData, min_cells: int) -> None:
    """Raise ``ValueError`` if no held-out condition has enough cells to be judged."""
    n_cells = tested(adata)
    if not len(n_cells):
        msg = f"obs[{SPLIT!r}] of the screen holds no 'test': hold something out, with by="
        raise ValueError(msg)
    if (n_cells < min_cells).all():
        msg = (
            f"none of the {len(n_cells)} conditions that are held out has {min_cells} cells, so "
            f"none could be judged (the largest has {n_cells.max()}): lower min_cells={min_cells}, "
            f"or hold out something else with by= (one of {', '.join(BY)})"
        )
        raise ValueError(msg)


def tested(adata: AnnData) -> pd.Series:
    """Return the conditions of the test and their cells; perturbations, if no split says more."""
    record = adata.uns.get(SPLIT)
    if isinstance(record, Mapping) and "units" in record:
        units = record["units"][record["units"]["split"] == "test"]
        names = units.drop(columns=["split", "n_cells"]).astype(str).agg(" | ".join, axis=1)
        return units["n_cells"].set_axis(names if len(units) else [])
    labelled = perturbed_labels(adata, resolve(adata, tell=False))
    rows = (adata.obs[SPLIT].astype(object) == "test").to_numpy() & (labelled.code >= 0)
    return pd.Series(np.asarray(labelled.names)[labelled.code[rows]], dtype=object).value_counts()
