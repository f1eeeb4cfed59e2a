"""Which form a file has, and which of its columns holds the perturbations."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pandas as pd

from .._validate import some
from ..core._combinations import as_text, pieces
from ..core._control_labels import CONTROLS, is_usual, looks_like_control
from ..core._screen import as_labels, raw_counts
from ..core._screen_checks import check_columns
from ._describe import call, shown, what_is_there
from ._forms import FORMS, NAMES, PLAIN, Form

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

TRUE, FALSE = frozenset({"1", "1.0", "true"}), frozenset({"0", "0.0", "false"})
SEPARATORS = ("_", "+", ";", "|", ",", "&", ":", "/")
MOST_LABELS = 20_000  # a column with more is no column of perturbations


@dataclass(frozen=True)
class Found:
    """What of a form a file holds.

    Attributes
    ----------
    form
        The form.
    key
        Column of ``obs`` with the perturbations; ``""`` if there is none.
    control
        Labels of its control cells.
    signed
        Whether all signs of the form are there.
    """

    form: Form
    key: str
    control: tuple[str, ...]
    signed: bool

    @property
    def is_whole(self) -> bool:
        """Whether the file has the form."""
        return bool(self.signed and self.key and self.control)

    @property
    def is_usual(self) -> bool:
        """Whether the controls are those of the form, or one usual label."""
        own = all(label.casefold() in self.form.control for label in self.control)
        return len(self.control) == 1 or bool(self.form.marks) or (own and self.form is not PLAIN)

    @property
    def is_half(self) -> bool:
        """Whether the file has something of the form that others do not have."""
        own = self.signed if self.form.signs else bool(self.key)
        return own and not self.is_whole

    def gives_way(self, other: Found) -> bool:
        """Whether a plain column counts for more than this part of a form.

        That is so if the form is known by the name of one column alone, if that column is no usual
        one, as of guides, or if it is the same.
        """
        return not self.form.signs or self.key not in {*NAMES} - {other.key}


def recognise(
    adata: AnnData,
    name: str,
    key: str | None = None,
    control: str | Sequence[str] | None = None,
) -> Found:
    """Return the form of a file, with its column of perturbations and its control labels.

    What is given counts for more than what the form says. No control label is guessed, unless it is
    one of the form or one of the usual ones.

    Parameters
    ----------
    adata
        Cells of the file.
    name
        Name of the file, for messages.
    key, control
        Column of the perturbations and control labels, where the user named them.

    Raises
    ------
    KeyError
        If `key` is no column, or a given control label does not occur in it.
    ValueError
        If the file has no known form, if several columns could hold the perturbations, or if no
        label is a usual one of controls, or several are.
    """
    named = None if control is None else as_labels(control)
    if key is not None:
        check_columns(adata, [("perturbation_key", key)])
        return _of_column(adata, name, key, named)
    found = [find(adata, form, named) for form in FORMS]
    whole = [one for one in found if one.is_whole]
    plain = _plain(adata, named)
    if not whole:
        half = next((one for one in found if one.is_half), None)
        if half is not None and not (plain and half.gives_way(plain[0])):
            raise ValueError(_half(adata, name, half))
        if not plain:
            raise ValueError(_controls_alone(adata, name) or what_is_there(adata, name, named))
        same = half is not None and half.signed and half.key == plain[0].key
        whole = (
            [replace(half, control=plain[0].control)] if half is not None and same else plain[:1]
        )
    chosen = whole[0]
    for other in (*whole[1:], *plain):
        if _says_more(adata, other.key, chosen.key):
            raise ValueError(_rivals(name, chosen, other))
    if named is None and not chosen.is_usual:
        raise ValueError(_which_control(adata, name, chosen.key, chosen.control))
    return chosen


def find(
    adata: AnnData, form: Form, control: tuple[str, ...] | None = None, key: str = ""
) -> Found:
    """Return what of a form is in a file.

    Parameters
    ----------
    adata, form
        Cells of the file, and the form.
    control, key
        Control labels and column of the perturbations, where the user named them.
    """
    key = key or next((one for one in form.perturbation if one in adata.obs.columns), "")
    signed = all(any(_has(adata, slot) for slot in group) for group in form.signs)
    return Found(form, key, _controls(adata, key, form, control) if key else (), signed)


def labels_of(adata: AnnData, key: str) -> list[str]:
    """Return the labels of a column of ``obs`` as text, each once, without blank ones."""
    if adata.obs[key].nunique() > MOST_LABELS:
        return []
    return [text for text in dict.fromkeys(map(as_text, raw_counts(adata.obs[key]))) if text]


def _of_column(adata: AnnData, name: str, key: str, control: tuple[str, ...] | None) -> Found:
    """Return the form whose column the user named; a plain one if none has it."""
    found = [find(adata, form, control, key) for form in FORMS if key in form.perturbation]
    known = next((one for one in found if one.is_whole), None)
    if known is not None:
        return known
    usual = control or _usual(labels_of(adata, key), CONTROLS)
    if control is None and len(usual) != 1:
        raise ValueError(_which_control(adata, name, key, usual))
    form = next((one.form for one in found if one.signed), PLAIN)
    return Found(form, key, usual, signed=True)


def _plain(adata: AnnData, control: tuple[str, ...] | None) -> list[Found]:
    """Return the columns of a usual name that hold control labels."""
    found = []
    for key in (one for one in NAMES if one in adata.obs.columns):
        labels = _controls(adata, key, PLAIN, control)
        if labels and len(labels_of(adata, key)) > len(labels):
            found.append(Found(PLAIN, key, labels, signed=True))
    return found


def _controls(
    adata: AnnData, key: str, form: Form, control: tuple[str, ...] | None
) -> tuple[str, ...]:
    """Return the control labels of a column: those named, those of marked cells, or usual ones."""
    labels = labels_of(adata, key)
    if control is not None:
        parts = {part for label in labels for sep in SEPARATORS for part in pieces(label, sep)}
        return control if set(control) <= parts else ()
    marked = _marked(adata, form, key)
    return marked or _usual(labels, form.control)


def _usual(labels: Sequence[str], control: Sequence[str]) -> tuple[str, ...]:
    return tuple(sorted(label for label in labels if label.casefold() in control))


def _marked(adata: AnnData, form: Form, key: str) -> tuple[str, ...]:
    """Return the labels of the cells that a column marks as controls; none if it marks no cell.

    Raises
    ------
    ValueError
        If a label is marked in some of its cells only.
    """
    if form.marks not in adata.obs.columns:
        return ()
    texts = adata.obs[form.marks].astype(str).str.strip().str.casefold()
    if not set(texts) <= TRUE | FALSE:
        return ()
    marked = texts.isin(TRUE).to_numpy()
    labels = adata.obs[key]
    inside, outside = (set(labels[rows].dropna().map(as_text)) for rows in (marked, ~marked))
    if inside & outside:
        msg = (
            f"obs[{form.marks!r}] marks only some of the cells with the label "
            f"{min(inside & outside)!r} of obs[{key!r}] as controls: say which labels are "
            "controls, with control="
        )
        raise ValueError(msg)
    return tuple(sorted(inside))


def _has(adata: AnnData, slot: str) -> bool:
    where, _, name = slot.partition("/")
    return name in getattr(adata, where)


def _says_more(adata: AnnData, key: str, chosen: str) -> bool:
    """Return whether cells of one perturbation differ in another column, missing values apart."""
    if key == chosen:
        return False
    pairs = adata.obs[[chosen, key]].dropna().astype(str)
    return bool((pairs.groupby(chosen, observed=True)[key].nunique() > 1).any())


def _half(adata: AnnData, name: str, half: Found) -> str:
    """Return the message for a file that has a part of a form."""
    form = half.form
    if half.key:
        labels = sorted(labels_of(adata, half.key))
        return (
            f"{name} looks like {form.title}, since obs has {half.key!r}, but no cell has a "
            f"control label of that form ({some(form.control)}). The column holds "
            f"{some(labels, 8)}. Say which labels are controls: {call(name, half.key)}"
        )
    return (
        f"{name} looks like {form.title}, but obs has no column {some(form.perturbation)}. "
        + what_is_there(adata, name)
    )


def _rivals(name: str, one: Found, other: Found) -> str:
    calls = " or ".join(call(name, found.key, found.control) for found in (one, other))
    return (
        f"{name}: both obs[{one.key!r}] (controls {some(one.control)}) and obs[{other.key!r}] "
        f"(controls {some(other.control)}) could hold the perturbations, and cells of one "
        f"{one.key!r} differ in {other.key!r}. Say which: {calls}. If the other is a context, such "
        "as a stimulation, add context_key="
    )


def _controls_alone(adata: AnnData, name: str) -> str:
    """Return the message for a column of perturbations that holds nothing else than controls."""
    for key in (one for one in NAMES if one in adata.obs.columns):
        found = labels_of(adata, key)
        if found and all(map(is_usual, found)):
            return (
                f"{name}: all cells are controls ({some(found)}) by obs[{key!r}], and there is no "
                "perturbed cell to compare them with. If another column holds the perturbations, "
                f"name it: {call(name, 'column of obs', found)}"
            )
    return ""


def _which_control(adata: AnnData, name: str, key: str, usual: Sequence[str]) -> str:
    labels = shown(adata.obs[key])
    several = f"{some(usual)} are usual labels of controls; " if usual else ""
    alike = usual or [one for one in labels_of(adata, key) if looks_like_control(one)]
    return (
        f"{name}: which labels of obs[{key!r}] are controls? {several}no other label is guessed. "
        f"The column holds {labels}. Say so: {call(name, key, alike)}"
    )


def parts_join(adata: AnnData, found: Found) -> str | None:
    """Return the separator of combinations that the numbers of their parts show.

    Returns
    -------
    The separator of the form if it has no such numbers, or no cell has several perturbations;
    ``None`` if no separator, or more than one, agrees with them.
    """
    form, obs = found.form, adata.obs
    if not form.n_parts or form.n_parts not in obs.columns:
        return form.sep
    table = pd.DataFrame(
        {
            "label": obs[found.key].astype(object),
            "n": pd.to_numeric(obs[form.n_parts].astype(object), errors="coerce"),
        }
    ).dropna()
    numbers = table.drop_duplicates()
    numbers = numbers[~numbers["label"].map(as_text).isin(found.control)]
    if not (numbers["n"] > 1).any():
        return form.sep
    if numbers["label"].duplicated().any():
        return None
    agree = [
        sep
        for sep in SEPARATORS
        if all(
            len([p for p in pieces(as_text(label), sep) if p not in found.control]) == n
            for label, n in numbers.itertuples(index=False)
        )
    ]
    return agree[0] if len(agree) == 1 else None
