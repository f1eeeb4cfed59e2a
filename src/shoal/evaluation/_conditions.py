"""Which conditions of a screen are scored, and how their cells are divided."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .._keys import SPLIT
from .._logging import logger
from ..core._codes import members
from ..core._controls import shuffled
from ..core._population import SPLITS

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from .._typing import Bools, Ints
    from ..core._population import Population


@dataclass(frozen=True, eq=False)
class HeldOut:
    """The P conditions that are scored.

    Attributes
    ----------
    codes
        (P,) their numbers among all conditions of the screen.
    predicted
        Sorted rows of each condition whose predictions are scored.
    real
        Sorted rows of each condition that the predictions are compared with.
    skipped
        Conditions that are not scored, and why.
    """

    codes: Ints
    predicted: tuple[Ints, ...]
    real: tuple[Ints, ...]
    skipped: dict[str, str]


def rows_by_name(cells: Population) -> Ints:
    """Return the rows of a screen in the order of their names.

    Whatever is drawn from them does not depend on the order of the rows.
    """
    return np.argsort(cells.adata.obs_names.to_numpy().astype(str), kind="stable")


def scored_cells(cells: Population, split: str | None) -> Bools:
    """Return (n_obs,) which perturbed cells are scored.

    Parameters
    ----------
    cells
        The screen.
    split
        Value of ``obs["split"]``, or ``None`` for all perturbed cells.

    Raises
    ------
    ValueError
        If there is no such split, or no perturbed cell is in it.
    """
    if split is None:
        if (cells.split == SPLITS.index("test")).any():
            logger.warning(
                "split=None scores the cells of training too, which a model has seen; "
                "use split='test'"
            )
        return cells.perturbed
    if SPLIT not in cells.adata.obs:
        return cells.perturbed
    if split not in SPLITS:
        valid = ", ".join(map(repr, SPLITS))
        msg = f"split must be one of {valid}, or None for all cells, not {split!r}"
        raise ValueError(msg)
    if split == "train":
        logger.warning("split='train' scores cells that the model has seen")
    scored = cells.perturbed & (cells.split == SPLITS.index(split))
    if not scored.any():
        msg = (
            f"no perturbed cell has obs[{SPLIT!r}] == {split!r}; call sh.pp.split, or pass another "
            "split="
        )
        raise ValueError(msg)
    return scored


def hold_out(
    condition: Ints,
    names: Sequence[str],
    *,
    candidates: Ints,
    min_cells: int,
    halves: bool,
    rng: np.random.Generator,
) -> HeldOut:
    """Choose the conditions that are scored, and divide their cells.

    Parameters
    ----------
    condition
        (n_obs,) condition of every cell.
    names
        Name of each condition.
    candidates
        Rows that may be scored, in the order of their names.
    min_cells
        Cells below which a condition is skipped.
    halves
        Whether the cells are cut in two halves at random, one of which is predicted and one is
        real. Otherwise all cells are both.
    rng
        Divides the cells.

    Raises
    ------
    ValueError
        If no condition has enough cells.
    """
    codes, predicted, real, skipped = [], [], [], {}
    for places in members(condition[candidates]):
        own = rng.permutation(candidates[places])
        code = int(condition[own[0]])
        if len(own) < min_cells:
            skipped[names[code]] = f"cells: {len(own)}, fewer than min_cells={min_cells}"
            continue
        first, second = (own[: len(own) // 2], own[len(own) // 2 :]) if halves else (own, own)
        codes.append(code)
        predicted.append(np.sort(first))
        real.append(np.sort(second))
    if not codes:
        msg = (
            f"none of {len(skipped)} conditions has {min_cells} cells; lower min_cells= or hold "
            "out larger perturbations"
        )
        raise ValueError(msg)
    return HeldOut(np.array(codes), tuple(predicted), tuple(real), skipped)


def draw_from_others(
    cells: Population,
    by_name: Ints,
    *,
    perturbation: Ints,
    context: Ints,
    sizes: Sequence[int],
    fallback: Sequence[Ints],
    rng: np.random.Generator,
) -> tuple[Ints, ...]:
    """Draw cells of other perturbations for every condition.

    Parameters
    ----------
    cells
        The screen.
    by_name
        Its rows in the order of their names.
    perturbation, context
        (P,) codes of the conditions. Cells are drawn in the same context.
    sizes
        Number of cells to draw for each.
    fallback
        Rows to draw from where the context has no other perturbation.
    rng
        Draws.

    Returns
    -------
    Rows of each condition.
    """
    perturbed = by_name[cells.perturbed[by_name]]
    in_context = {
        int(cells.context[rows[0]]): rows
        for rows in (perturbed[at] for at in members(cells.context[perturbed]))
    }
    own = {
        (where, int(cells.labels.code[rows[at[0]]])): at
        for where, rows in in_context.items()
        for at in members(cells.labels.code[rows])
    }
    drawn, numbers = [], np.arange(len(perturbed))
    for code, where, n, others in zip(perturbation, context, sizes, fallback, strict=True):
        rows, at = in_context[int(where)], own[int(where), int(code)]
        left = len(rows) - len(at)
        if not left:
            drawn.append(shuffled(others, n, rng)[0])
            continue
        place, _ = shuffled(numbers[:left], n, rng)
        # places count the rows without the perturbation's own ones: add those that come before
        place = place + np.searchsorted(at - np.arange(len(at)), place, side="right")
        drawn.append(rows[place])
    return tuple(drawn)


def condition_names(cells: Population, keys: pd.DataFrame) -> list[str]:
    """Return the name of each condition: ``"KLF1"``, ``"KLF1 | K562"``, ``"KLF1 | K562 | 0.1"``.

    Context and dose are part of it where the screen has them.
    """
    names, several = cells.names, []
    for perturbation, context, dose in keys.itertuples(index=False):
        code, where = int(perturbation), int(context)
        parts = [names[code] if 0 <= code < len(names) else ""]
        if cells.screen.context_key is not None and where >= 0:
            parts.append(cells.contexts[where])
        if not np.isnan(dose):
            parts.append(f"{dose:g}")
        several.append(" | ".join(parts))
    return several
