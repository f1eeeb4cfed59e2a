"""What of a screen is held out to be predicted, if nobody says so."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

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
    units = adata.uns[SPLIT]["units"]
    tested = units[units["split"] == "test"]
    columns = tested.drop(columns=["split", "n_cells"]).astype(str)
    names = some([" | ".join(row) for row in columns.to_numpy()], 4)
    return f"held out: {len(tested)} conditions, {int(tested['n_cells'].sum()):,} cells ({names})"


def check_held_out(adata: AnnData, min_cells: int) -> None:
    """Raise ``ValueError`` if no held-out condition has enough cells to be judged."""
    units = adata.uns[SPLIT]["units"]
    tested = units[units["split"] == "test"]
    if (tested["n_cells"] < min_cells).all():
        msg = (
            f"none of the {len(tested)} conditions that are held out has {min_cells} cells, so "
            f"none could be judged (the largest has {tested['n_cells'].max()}): lower min_cells="
            f"{min_cells}, or hold out something else with by= (one of {', '.join(BY)})"
        )
        raise ValueError(msg)
