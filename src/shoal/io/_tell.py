"""What was recognised in a file and what was left alone, said once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._logging import logger
from .._validate import some
from ._calls import CALL, tell_of_several

_STRATUM = (
    "obs[%r] is not recorded as a context or batch, since %s: cells are not compared within it. "
    "Name it with context_key= or batch_key= to record it all the same"
)
LOST = {  # role -> what is said of a column that is not recorded
    "context": _STRATUM,
    "batch": _STRATUM,
    "dose": (
        "obs[%r] is not recorded as the dose, since %s: cells of all doses are one condition. "
        "Write doses as numbers of one unit into a column, and name it with dose_key="
    ),
    "guide": (
        "obs[%r] is not recorded as the guide, since %s. Name it with guide_key= to record it all "
        "the same, or the column of perturbations, if that is another one"
    ),
}

if TYPE_CHECKING:
    from anndata import AnnData

    from ..core._screen import Screen
    from ._open import Opened
    from ._recognise import Found
    from ._roles import Roles


def make_unique(adata: AnnData) -> None:
    """Number the names of cells and genes that are there twice, and say so."""
    for names, what in ((adata.obs_names, "cells"), (adata.var_names, "genes")):
        twice = names[names.duplicated()].unique()
        if not len(twice):
            continue
        if what == "cells":
            adata.obs_names_make_unique()
        else:
            adata.var_names_make_unique()
        logger.warning(
            "%d names of %s were there several times, such as %s; all but the first of each have "
            "numbers now, as %s",
            len(twice),
            what,
            repr(str(twice[0])),
            repr(f"{twice[0]}-1"),
        )


def tell(opened: Opened, found: Found, roles: Roles, name: str) -> None:
    """Log what was recognised and what was left alone; warn of what the user should know."""
    adata, form = opened.adata, found.form
    stored = adata.uns["shoal"]
    used = {found.key, *roles.keys.values()}
    kept = [f"{role.removesuffix('_key')} obs[{key!r}]" for role, key in roles.keys.items()]
    other = [str(key) for key in adata.obs.columns if key not in used and key not in roles.left]
    left = [f"obs[{key!r}] ({why})" for key, why in roles.left.items() if key not in used]
    left += [f"the columns {some(other, 8)} of obs"] if other else []
    left += [f"layers {some(layers)}"] if (layers := [k for k in adata.layers if k]) else []
    left += [f"modalities {some(list(opened.others))}"] if opened.others else []
    sep = str(stored["sep"])
    logger.info(
        "%s: read as %s. Perturbations are obs[%r], controls %s%s%s. Left alone: %s",
        name,
        form.title,
        found.key,
        some(list(found.control)),
        "" if sep == "auto" else f", combinations are joined by {sep!r}" if sep else "",
        "".join(f", {one}" for one in kept),
        "; ".join(left) or "nothing",
    )
    for key in sorted(roles.warned.keys() - used):
        logger.warning(LOST[roles.warned[key]], key, roles.left[key])
    if CALL in adata.obs.columns and found.key in (CALL, *form.perturbation):
        tell_of_several(adata)


def tell_recorded(adata: AnnData, screen: Screen, name: str) -> None:
    """Log the design that a file brings with it."""
    keys = {"perturbations": screen.perturbation_key, "context": screen.context_key}
    keys |= {"batch": screen.batch_key, "dose": screen.dose_key, "guide": screen.guide_key}
    logger.info(
        "%s: read with the design that sh.pp.annotate recorded in it: %s, controls %s",
        name,
        ", ".join(f"{what} obs[{key!r}]" for what, key in keys.items() if key is not None),
        some(list(screen.control)),
    )
