"""Which further columns of a file are its contexts, batches, doses and guides."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from .._validate import some
from ..core._label_notices import crossed_guides
from ..core._screen import Screen, labels
from ._describe import call
from ._forms import PLAIN

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anndata import AnnData

    from .._typing import Bools
    from ._recognise import Found

AUTO = "auto"
MOST_DOSES = 100  # a column with more values is some other measure of a cell
ROLES = ("context", "batch", "dose", "guide")
STRATA = ("context", "batch")  # cells are compared with the controls of the same one


@dataclass(frozen=True)
class Roles:
    """The columns that are recorded, and those of a form that are not.

    Attributes
    ----------
    keys
        Role, as ``"batch_key"``, and its column.
    left
        Column, and why it is left alone.
    warned
        Columns among `left` whose loss the user should know of, and their roles.
    """

    keys: Mapping[str, str]
    left: Mapping[str, str]
    warned: Mapping[str, str]


def roles_of(
    adata: AnnData,
    found: Found,
    screen: Screen,
    given: Mapping[str, str | None],
    name: str,
    *,
    named: bool,
) -> Roles:
    """Return the columns of the context, batch, dose and guide of every cell.

    A column of a form is recorded if it has several values, and

    - of a context or batch: if every cell with a label has a value, and every value control cells;
    - of a dose: if it holds numbers of at least 0, in one unit;
    - of a guide: if most of its guides occur with one perturbation alone.

    Parameters
    ----------
    adata
        Cells of the file.
    found
        Form of the file.
    screen
        How its perturbations are read.
    given
        Role, as ``"batch_key"``, and the column that the user named; ``None`` for none, ``"auto"``
        for that of the form.
    name
        Name of the file, for messages.
    named
        Whether the user named the column of perturbations.

    Raises
    ------
    ValueError
        If several columns could be the context, or if guides say that the column of perturbations,
        which nobody named, is another one.
    """
    form = found.form
    left = {key: why for key, why in form.left.items() if key in adata.obs.columns}
    keys = {role: key for role, key in given.items() if key not in (None, AUTO)}
    taken = {found.key, *keys.values()}
    warned: dict[str, str] = {}
    cells = labels(adata, screen)
    code = cells.code[cells.code >= 0]
    obs, is_control = adata.obs[cells.code >= 0], cells.is_control[cells.code >= 0]
    for role in (one for one in ROLES if given[f"{one}_key"] == AUTO):
        fits = []
        for key in getattr(form, role):
            if key not in adata.obs.columns or key in taken:
                continue
            if role == "dose" and key in form.left and _ones_alone(obs[key]):
                continue  # it counts
            left.pop(key, None)
            why = _unfit(obs, key, role, is_control, form.dose_unit)
            if role == "guide" and not why:
                why = crossed_guides(obs[key], code)
                if why and form is PLAIN and not named:
                    raise ValueError(_which_perturbation(name, found.key, found.control, key))
            if why:
                left[key] = why
                warned |= {key: role} if obs[key].nunique() > 1 else {}
            else:
                fits.append(key)
        if role == "context" and (rival := _rival(obs, fits)):
            raise ValueError(_which_context(name, fits[0], rival))
        if fits:
            keys[f"{role}_key"] = fits[0]
            taken.add(fits[0])
    return Roles(keys, left, warned)


def _unfit(obs: pd.DataFrame, key: str, role: str, is_control: Bools, unit: str) -> str:
    """Return why a column is not recorded, from the cells with a label; empty if it is."""
    column = obs[key]
    values = column.dropna()
    if values.nunique() < 2:
        return "it has one value" if len(values) else "it is empty"
    if role == "dose":
        perturbed = column[~is_control].dropna()
        return _unfit_dose(values, perturbed, obs[unit] if unit in obs.columns else values[:0])
    if role not in STRATA:
        return ""
    if len(values) < len(column):
        return f"{len(column) - len(values)} cells have none"
    without = sorted(set(values.astype(str)) - set(column[is_control].astype(str)))
    return f"no control cell has {some(without, 3)}" if without else ""


def _unfit_dose(values: pd.Series, perturbed: pd.Series, units: pd.Series) -> str:
    numbers = pd.to_numeric(values.astype(object), errors="coerce").astype(float)
    if not ((numbers >= 0) & (numbers < np.inf)).all():
        return "not all of its values are numbers of at least 0"
    if (perturbed.astype(object).astype(float) == 0).any():
        return "perturbed cells have the dose 0"
    if values.nunique() > MOST_DOSES:
        return f"it has {values.nunique()} values, too many for doses"
    several = sorted(set(units.dropna().astype(str)))
    return f"doses are in several units, {some(several, 3)}" if len(several) > 1 else ""


def _ones_alone(column: pd.Series) -> bool:
    """Return whether a column counts: every value is ones, joined by ``+``, as ``"1+1"``."""
    texts = column.dropna().astype(str).unique()
    parts = pd.Series([part for text in texts for part in text.split("+")], dtype=object)
    return bool((pd.to_numeric(parts, errors="coerce") == 1).all())


def _rival(obs: pd.DataFrame, keys: list[str]) -> str:
    """Return a column in which cells with one value of the first differ; empty if there is none."""
    for other in keys[1:]:
        pairs = obs[[keys[0], other]].dropna().astype(str)
        if (pairs.groupby(keys[0])[other].nunique() > 1).any():
            return other
    return ""


def _which_perturbation(name: str, key: str, control: tuple[str, ...], guide: str) -> str:
    return (
        f"{name}: obs[{key!r}] holds {some(control)}, and could hold the perturbations; but cells "
        f"of one guide (obs[{guide!r}]) differ in it, as where it is a stimulation. "
        f"Say which column holds the perturbations: {call(name, 'column of targets')} with "
        f"context_key={key!r}, or {call(name, key, control)}"
    )


def _which_context(name: str, one: str, other: str) -> str:
    return (
        f"{name}: both obs[{one!r}] and obs[{other!r}] could be the context of a cell, and neither "
        f"says it all. Name one, as in sh.io.read({name!r}, context_key={one!r}), or a column that "
        "joins both; context_key=None compares cells of all contexts"
    )
