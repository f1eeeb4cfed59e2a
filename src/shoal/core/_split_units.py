"""What a split can hold out: conditions of a screen, called items, and their names."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .._validate import key_in
from ._codes import BETWEEN, check_distinct
from ._doses import doses_of, same_dose
from ._screen_checks import dropped

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from anndata import AnnData

    from .._typing import Bools, Ints
    from ._screen import Labels, Screen

# What is held out -> the other column of the screen, beside the perturbation.
BY: Mapping[str, str | None] = MappingProxyType(
    {
        "perturbation": None,
        "combination": None,
        "context": "context",
        "dose": "dose",
        "guide": "guide",
        "perturbation_context": "context",
    }
)


@dataclass(frozen=True)
class Items:
    """The smallest populations that a split moves as a whole.

    Attributes
    ----------
    by
        What is held out, one of `BY`.
    perturbation, level
        Canonical perturbation of each item, and its context, dose or guide as text (``""`` if `by`
        has none).
    parts
        Single perturbations of each item.
    code
        (n_obs,) item of every perturbed cell, -1 for controls and cells without a label.
    control_levels
        Contexts, doses or guides of control cells.
    """

    by: str
    perturbation: tuple[str, ...]
    level: tuple[str, ...]
    parts: tuple[tuple[str, ...], ...]
    code: Ints
    control_levels: frozenset[str] = frozenset()

    @cached_property
    def names(self) -> list[str]:
        """Names for people: ``"A+B"``, ``"A | day 5"``."""
        if BY[self.by] is None:
            return list(self.perturbation)
        several = list(zip(self.perturbation, self.level, strict=True))
        names = list(map(BETWEEN.join, several))
        check_distinct(names, several)
        return names

    @property
    def n_cells(self) -> Ints:
        """(n_items,) cells of each item."""
        return np.bincount(self.code[self.code >= 0], minlength=len(self.perturbation))

    @cached_property
    def units(self) -> list[str]:
        """What can be held out: parts, combinations, contexts or items, in order."""
        if self.by == "perturbation":
            return sorted({p for parts in self.parts for p in parts})
        if self.by == "combination":
            both = zip(self.perturbation, self.parts, strict=True)
            return [name for name, parts in both if len(parts) > 1]
        return sorted(set(self.level)) if self.by == "context" else self.names


def make_items(adata: AnnData, screen: Screen, labelled: Labels, by: str) -> Items:
    """Return the items of a screen, in an order that does not depend on the order of the cells.

    Raises
    ------
    ValueError
        If the screen has no column that `by` needs, perturbed cells have no label in it, or their
        doses are not finite numbers above 0.
    """
    perturbed = (labelled.code >= 0) & ~labelled.is_control
    if BY[by] is None:
        level, levels = np.zeros(adata.n_obs, dtype=np.int64), [""]
    else:
        level, levels = level_of(adata, screen, BY[by] or "", perturbed)
        if BY[by] == "dose":
            doses_of(adata, screen, labelled)
    flat = np.where(perturbed & (level >= 0), labelled.code * len(levels) + level, -1)
    present, code = np.unique(flat, return_inverse=True)
    code = code - int(present[0] == -1)
    present = present[present >= 0]
    perturbation = tuple(str(labelled.names[i // len(levels)]) for i in present)
    return Items(
        by=by,
        perturbation=perturbation,
        level=tuple(levels[i % len(levels)] for i in present),
        parts=tuple(screen.parts(p) for p in perturbation),
        code=code.astype(np.int64),
        control_levels=frozenset(
            levels[i] for i in np.unique(level[labelled.is_control & (level >= 0)])
        ),
    )


def level_of(
    adata: AnnData, screen: Screen, level: str, needed: Bools | None = None
) -> tuple[Ints, list[str]]:
    """Return the (n_obs,) codes of contexts, doses, guides or batches, and their names in order.

    A missing label has the code -1.

    Raises
    ------
    ValueError
        If the screen has no such column, or if `needed` cells have no label and the screen does not
        ignore that.
    """
    key = getattr(screen, f"{level}_key")
    if key is None:
        msg = (
            f"the screen has no column of {level}s: name it once with sh.pp.annotate(adata, "
            f"{screen.perturbation_key!r}, control=..., {level}_key=...)"
        )
        raise ValueError(msg)
    raw, uniques = pd.factorize(adata.obs[key], use_na_sentinel=True)
    missing = 0 if needed is None else int(((raw < 0) & needed).sum())
    if missing and screen.missing == "raise":
        msg = (
            f"{missing} perturbed cells have no label in adata.obs[{key!r}] ({level}_key): drop "
            f"them with {dropped([key])}, or leave them out of the split with "
            "sh.pp.annotate(..., missing='ignore')"
        )
        raise ValueError(msg)
    texts = [as_text(value, level) for value in uniques]
    names = sorted(set(texts), key=float if level == "dose" else None)
    position = {name: i for i, name in enumerate(names)}
    return np.array([position[t] for t in texts] + [-1], dtype=np.int64)[raw], names


def as_text(value: object, level: str) -> str:
    """Return a level as text; doses are plain decimal numbers."""
    if level != "dose":
        return str(value)
    try:
        return np.format_float_positional(same_dose(float(str(value))), trim="-")
    except ValueError:
        msg = f"{value!r} is not a dose; give a number"
        raise ValueError(msg) from None


def find_units(
    items: Items, screen: Screen, requested: Sequence[Any], *, name: str
) -> list[list[str]]:
    """Return the units that each name stands for.

    A dose or a guide alone stands for all perturbations that have it.

    Raises
    ------
    KeyError
        If a name is not in the screen.
    ValueError
        If it is a control, or if `by` does not hold out units of its kind.
    """
    units = dict.fromkeys(items.units)  # found at once, in order
    perturbations = frozenset(items.perturbation)
    return [_find(items, screen, value, name, units, perturbations) for value in requested]


def _find(
    items: Items,
    screen: Screen,
    value: Any,
    name: str,
    units: Mapping[str, None],
    perturbations: frozenset[str],
) -> list[str]:
    """Return the units that one name stands for."""
    by = items.by
    pair = isinstance(value, (tuple, list)) and len(value) == 2
    text = BETWEEN.join(map(str, value)) if pair else str(value)
    if text in screen.control:
        msg = (
            f"{name}: {text!r} is a control; control cells stay in training, "
            "since predictions start from them on both sides"
        )
        raise ValueError(msg)
    if by in ("perturbation", "combination"):
        text, parts = screen.canonical(text), screen.parts(text)
        several = len(parts) > 1
        if text in perturbations and several != (by == "combination"):
            other = "combination" if several else "perturbation"
            kind = "combination" if several else "single perturbation"
            msg = f"{name}: {text!r} is a {kind}; use by={other!r}"
            raise ValueError(msg)
        if by == "perturbation" and not several and parts:
            text = parts[0]  # of "A+control"
    elif by != "context":
        level = BY[by] or ""
        first, between, last = text.rpartition(BETWEEN)
        if between and text not in units:
            text = f"{screen.canonical(first)}{BETWEEN}{as_text(last, level)}"
        elif not between and by != "perturbation_context":
            text = as_text(text, level)
            alike = [unit for unit, own in zip(units, items.level, strict=True) if own == text]
            if alike:
                return alike
    hint = f"(given in {name})"
    if text.removesuffix("%").replace(".", "").replace(",", "").isdigit():
        hint = f"(given in {name}; a share is a number between 0 and 1, such as 0.2)"
    key_in(text, units, where=f"the units of by={by!r}", hint=hint)
    return [text]
