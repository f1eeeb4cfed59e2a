"""Which conditions of a screen are scored, and how their cells are divided."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from .._keys import SPLIT
from .._validate import some
from ..core._codes import BETWEEN, check_distinct, grouped, members
from ..core._controls import shuffled
from ..core._doses import dose_text
from ..core._population import SPLITS
from ..core._remembered import remembered
from ..core._seen import seen_in_training

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from anndata import AnnData

    from .._typing import Bools, Ints
    from ..core._population import Population

NO_SPLIT = "no held-out split: conditions may have been seen in training"


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


def conditions_of(cells: Population) -> tuple[Ints, pd.DataFrame]:
    """Return the conditions of a screen: perturbation x context x dose.

    Returns
    -------
    condition
        (n_obs,) condition of every cell, -1 for cells without a perturbation.
    keys
        Index condition; columns perturbation (code), context (code) and dose.
    """
    at = np.flatnonzero(cells.perturbed)
    code, keys = grouped(
        perturbation=cells.labels.code[at], context=cells.context[at], dose=cells.dose[at]
    )
    condition = np.full(len(cells.context), -1, dtype=np.int64)
    condition[at] = code
    return condition, keys


def described(cells: Population, keys: pd.DataFrame) -> pd.DataFrame:
    """Return perturbation, context and dose of conditions as text, empty where there is none."""
    return pd.DataFrame(
        {
            "perturbation": [cells.names[code] for code in keys["perturbation"]],
            "context": [cells.contexts[code] if code >= 0 else "" for code in keys["context"]],
            "dose": list(map(dose_text, keys["dose"])),
        },
        index=keys.index,
    )


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
        If there is no ``obs["split"]``, no such split, or no perturbed cell in it.
    """
    if split is None:
        return cells.perturbed
    if split not in SPLITS:
        valid = ", ".join(map(repr, SPLITS))
        msg = f"split must be one of {valid}, or None for all cells, not {split!r}"
        raise ValueError(msg)
    if SPLIT not in cells.adata.obs:
        msg = (
            f"split={split!r}, and there is no obs[{SPLIT!r}]: nothing says which conditions were "
            "held out of training. Call sh.pp.split(adata) before a model is trained; or say "
            "split=None aloud, which scores all conditions, those of training among them"
        )
        raise ValueError(msg)
    scored = cells.perturbed & (cells.split == SPLITS.index(split))
    if not scored.any():
        here = [one for i, one in enumerate(SPLITS) if (cells.split[cells.perturbed] == i).any()]
        msg = (
            f"no perturbed cell has obs[{SPLIT!r}] == {split!r}; they hold {some(here)}: "
            "pass one of these as split=, or hold out conditions with sh.pp.split"
        )
        raise ValueError(msg)
    return scored


def caution(cells: Population, split: str | None) -> str:
    """Return why conditions that are scored may be known to a model; empty if they are held out.

    Parameters
    ----------
    cells
        The screen.
    split
        Value of ``obs["split"]`` that is scored, or ``None`` for all perturbed cells.
    """
    if split is None and SPLIT not in cells.adata.obs:
        return NO_SPLIT
    if split in (None, "train"):
        return f"split={split!r}: conditions of training are scored, which a model has seen"
    return ""


def seen_by_model(cells: Population, split: str | None, record: tuple[AnnData, str]) -> str:
    """Say which held-out conditions that are scored the model of a prediction was trained on.

    Parameters
    ----------
    cells
        The screen.
    split
        Value of ``obs["split"]`` that is scored.
    record
        AnnData with the record of the prediction, and the name of the prediction there.
    """
    if split not in ("val", "test"):
        return ""  # `caution` says so
    return seen_in_training(cells, scored_cells(cells, split), remembered(*record))


def sides_in_words(cells: Population, condition: Ints, codes: Ints) -> list[str]:
    """Return the sides of obs["split"] that the cells of conditions are on.

    Parameters
    ----------
    cells
        The screen.
    condition
        (n_obs,) condition of every cell.
    codes
        (P,) conditions.

    Returns
    -------
    ``"test"``, say, or ``"train, test"``; ``""`` where there is no split.
    """
    if SPLIT not in cells.adata.obs:
        return [""] * len(codes)
    at = (condition >= 0) & (cells.split >= 0)
    there = np.zeros((condition.max() + 1, len(SPLITS)), dtype=bool)
    there[condition[at], cells.split[at]] = True
    return [
        ", ".join(side for side, has in zip(SPLITS, there[code], strict=True) if has)
        for code in codes
    ]


def hold_out(
    condition: Ints,
    names: Sequence[str],
    *,
    candidates: Ints,
    min_cells: int,
    halves: bool,
    rng: np.random.Generator,
    without: Mapping[str, str] = MappingProxyType({}),
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
    without
        Conditions that have no prediction, and why.

    Raises
    ------
    ValueError
        If no condition has a prediction, or none has enough cells.
    """
    codes, predicted, real, skipped = [], [], [], {}
    for places in members(condition[candidates]):
        own = rng.permutation(candidates[places])
        code = int(condition[own[0]])
        if names[code] in without:
            skipped[names[code]] = without[names[code]]
            continue
        if len(own) < min_cells:
            skipped[names[code]] = f"cells: {len(own)}, fewer than min_cells={min_cells}"
            continue
        first, second = (own[: len(own) // 2], own[len(own) // 2 :]) if halves else (own, own)
        codes.append(code)
        predicted.append(np.sort(first))
        real.append(np.sort(second))
    if not codes:
        few = [name for name in skipped if name not in without]
        msg = (
            f"none of {len(few)} conditions has {min_cells} cells; lower min_cells= or hold "
            "out larger perturbations"
        )
        if without:
            name = next(iter(without))
            said = (
                f"{len(without)} conditions have no prediction: {name!r}, for one, {without[name]}"
            )
            msg = f"{said}; {msg}" if few else said
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

    Raises
    ------
    ValueError
        If two conditions would have one name.
    """
    names, several = cells.names, []
    for perturbation, context, dose in keys.itertuples(index=False):
        code, where = int(perturbation), int(context)
        parts = [names[code] if 0 <= code < len(names) else ""]
        if cells.screen.context_key is not None and where >= 0:
            parts.append(cells.contexts[where])
        if not np.isnan(dose):
            parts.append(dose_text(dose))
        several.append(parts)
    found = list(map(BETWEEN.join, several))
    check_distinct(found, several)
    return found
