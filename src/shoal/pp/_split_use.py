"""The audit of a split by those who use it: whoever wrote it, and by its labels alone."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from .._keys import SPLIT
from .._logging import logger
from .._validate import listed, one_of
from ..core._population import sides_of
from ._audit import CHECKS, facts_of, refuse, run_checks
from ._split_checks import SIDES, TRAIN, on_several_sides
from ._split_record import is_recorded

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

    from ..core._screen import Screen
    from ._split_checks import Facts

SEEN = ("same_condition", "same_molecule", "held_out_part")  # trained on
OTHER = ("parts_seen", "unseen_perturbation")  # another question than the one that was asked


def check_split(
    adata: AnnData,
    screen: Screen,
    *,
    call: str,
    accept: str | Sequence[str] = (),
    held_out: str = "test",
) -> str:
    """Refuse a split whose held-out conditions are trained on, unless that is accepted.

    ``obs["split"]`` may have been written by :func:`shoal.pp.split`, by hand or by another package.
    Only labels are read. Validation conditions count as trained on, since they choose the weights.

    What is held out as a whole is what `pp.split` recorded; else it is perturbation x context x
    dose. Where the column was written or edited since then, a leak has to be one either way.

    Parameters
    ----------
    adata
        The screen. Without ``obs["split"]`` there is nothing to check.
    screen
        Its columns and control labels.
    call
        Function that the user has called, for messages.
    accept
        Names of leaks to accept, beside those that `pp.split` has recorded as accepted.
    held_out
        Value of ``obs["split"]`` that is scored.

    Returns
    -------
    The accepted leaks in words; empty if there is none.

    Raises
    ------
    ValueError
        If there is a leak that is not accepted, if a name in `accept` is no check, or if the column
        holds other values than train, val, test and missing ones.
    """
    accepted = listed(accept, name="accept")
    for one in accepted:
        one_of(one, tuple(CHECKS), name="accept")
    if SPLIT not in adata.obs:
        return ""
    side, held = sides_of(adata), SIDES.index(held_out)
    facts, recorded = facts_of(adata, screen, side, SPLIT)
    edited = facts.by is not None and not is_recorded(facts, SPLIT)
    _tell_shared_validation(facts)
    scored = np.where(side == held, held, np.where(side < held, np.minimum(side, TRAIN), -1))
    facts = replace(facts, side=scored)
    if not (facts.perturbed & facts.held).any():
        return ""
    table = run_checks(facts, (*accepted, *recorded), of=(*SEEN, *OTHER))
    asked = table.loc[list(OTHER)]
    for name, row in asked[asked["status"] == "leak"].iterrows():
        logger.warning("obs['split']: %s: %s", CHECKS[str(name)].what, row["detail"])
    table = table.loc[list(SEEN)]
    if edited:  # the record may be of another split: what it objects to is judged without it
        plain = run_checks(replace(facts, by=None), (*accepted, *recorded), of=SEEN)
        table = table.where(table["status"] == "ok", plain)
    refuse(table, slot=f"obs[{SPLIT!r}]", call=call)
    found = table[table["status"] == "accepted"]
    words = "; ".join(f"{name}: {row['detail']}" for name, row in found.iterrows())
    return f"accepted leaks of obs[{SPLIT!r}]: {words}" if words else ""


def _tell_shared_validation(facts: Facts) -> None:
    """Log where the conditions of validation are trained on."""
    some = facts.side <= SIDES.index("val")
    both = on_several_sides(facts.unit, facts.side, facts.perturbed & some)
    if len(both):
        logger.warning(
            "obs['split']: %d conditions have cells in 'train' and in 'val', so validation does "
            "not tell how a model does on conditions that it has not seen; sh.pp.split(adata, "
            "val=...) holds out whole conditions",
            len(both),
        )
