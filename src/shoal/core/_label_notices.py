"""What is worth saying about the labels of a screen, each thing once."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import pandas as pd

from .._logging import logger
from .._validate import some
from ._combinations import all_plain, as_text, joined_by_others, strict_pieces
from ._control_labels import looks_like_control

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from .._typing import Ints

FEW_CONTROLS = 5  # fewer of them tell no spread
MANY = 12  # more labels are not written out in a call
MISSING = frozenset({"nan", "none", "<na>", "na", "n/a", "null", "nat"})  # in lower case


def tell_of_labels(
    raw: Mapping[str, int],
    *,
    key: str,
    control: Sequence[str],
    sep: str,
    name_of: Callable[[str], str],
    parts_of: Callable[[str], Sequence[str]],
) -> None:
    """Log what the user may not have meant in a column of labels.

    Parameters
    ----------
    raw
        Label -> number of its cells, with the blanks that it has.
    key
        Column of the labels.
    control
        Control labels.
    sep
        Separator as the user gave it: ``"auto"``, a text, or ``""`` for none.
    name_of, parts_of
        Give the perturbation of a label, and the parts of a perturbation.
    """
    labels = {as_text(label) for label in raw} - {""}
    column, call = f"adata.obs[{key!r}]", f"sh.pp.annotate(adata, {key!r}, control=..., "
    _tell_of_blanks(raw, column, is_label="" in control)
    _tell_of_missing(labels, set(control), column, parts_of)
    _tell_of_spellings(labels, name_of, control[0])
    _tell_of_controls(labels, control, column, call, parts_of)
    _tell_of_case(dict.fromkeys([*control, *sorted(map(name_of, labels))]), column)
    if sep == "auto":
        _tell_of_plus(labels - set(control), call, parts_of)
    if sep:
        whole = {label for label in labels if [*parts_of(label)] == [label]}
        _tell_of_separators(whole, control, sep, call)


def tell_few_controls(n: int) -> None:
    """Say so if a screen has next to no control cells, from which everything is measured."""
    if n < FEW_CONTROLS:
        logger.warning(
            "the screen has %d control cells, and every response is measured and predicted from "
            "these: name all labels of unperturbed cells in control=, if there are more",
            n,
        )


def tell_of_groups(raw: Mapping[str, int], *, key: str, what: str) -> None:
    """Log which values of a column of contexts, batches or guides are groups by mistake.

    - Texts that read like missing values, as ``astype(str)`` makes them.
    - Values that differ by case, or by blanks at their ends, alone.

    Parameters
    ----------
    raw
        Value -> number of its cells, with the blanks that it has.
    key
        Column of the values.
    what
        What they are, in the plural.
    """
    column = f"adata.obs[{key!r}]"
    unsaid = MISSING | {""}
    found = sorted(
        value for value in raw if value != "none" and as_text(value).casefold() in unsaid
    )
    if found:
        logger.warning(
            "%s: %s, %d cells, read like missing values, and are taken as %s. If cells have none, "
            "say so: %s = %s.astype(object).mask(%s.isin(%s))",
            *(column, some(found), sum(raw[value] for value in found), what),
            *(column, column, column, found),
        )
    groups: dict[str, list[str]] = defaultdict(list)
    for value in sorted(raw):
        groups[as_text(value).casefold()].append(value)
    alike = [group for text, group in groups.items() if len(group) > 1 and text not in unsaid]
    if alike:
        named = {value: group[0].strip() for group in alike for value in group}
        logger.warning(
            "%s: %d %s differ from another by case or blanks alone, such as %r and %r, and are "
            "different ones. If they are one: %s = %s.astype(object).replace(%s)",
            *(column, len(named) - len(alike), what, *alike[0][:2]),
            *(column, column, {old: new for old, new in named.items() if old != new}),
        )


def crossed_guides(guides: pd.Series, code: Ints) -> str:
    """Return why a column cannot be that of guides; empty if it can.

    Parameters
    ----------
    guides
        (n,) its values.
    code
        (n,) perturbation of each cell, the control being one; -1 for none.
    """
    known = guides.notna().to_numpy() & (code >= 0)
    n = pd.Series(code[known]).groupby(guides[known].astype(str).to_numpy()).nunique()
    several = n.index[n > 1]
    if 2 * len(several) <= len(n):
        return ""
    return f"cells of one value, such as {several[0]!r}, have several perturbations"


def _tell_of_blanks(raw: Mapping[str, int], column: str, *, is_label: bool) -> None:
    n_blank = sum(n for label, n in raw.items() if not as_text(label))
    if n_blank and not is_label:
        logger.warning("%s: %d cells hold blank text, which is no label", column, n_blank)
    found = sorted(label for label in raw if as_text(label) not in ("", label))
    if found:
        logger.warning(
            "%s: %d labels begin or end with a blank, as %s; they are read without it",
            column,
            len(found),
            some(found, 3),
        )


def _tell_of_missing(
    labels: Collection[str],
    control: Collection[str],
    column: str,
    parts_of: Callable[[str], Sequence[str]],
) -> None:
    found = sorted(
        label
        for label in labels
        if label not in control and not MISSING.isdisjoint(part.lower() for part in parts_of(label))
    )
    if found:
        logger.warning(
            "%s: %d labels read like missing values, and are taken as perturbations: %s. If cells "
            "have no label, say so: %s = %s.astype(object).mask(%s.isin(%s))",
            column,
            len(found),
            some(found, 3),
            column,
            column,
            column,
            found,
        )


def _tell_of_spellings(labels: Collection[str], name_of: Callable[[str], str], none: str) -> None:
    groups: dict[str, list[str]] = defaultdict(list)
    for label in sorted(labels):
        groups[name_of(label)].append(label)
    several = [group for name, group in groups.items() if name != none and len(group) > 1]
    if several:
        logger.warning(
            "%d perturbations are written in several ways, such as %s; each is one perturbation, "
            "shown as %r",
            len(several),
            " and ".join(map(repr, several[0][:4])),
            name_of(several[0][0]),
        )


def _tell_of_case(names: Collection[str], column: str) -> None:
    groups: dict[str, list[str]] = defaultdict(list)
    for name in names:
        groups[name.casefold()].append(name)
    alike = [group for group in groups.values() if len(group) > 1]
    if alike:
        first, second = alike[0][:2]
        one = {name: group[0] for group in alike for name in group[1:]}
        logger.warning(
            "%s: %d names differ from another by case alone, such as %r and %r; they are different "
            "perturbations. If they are one: %s = %s.astype(str).replace(%s)",
            *(column, len(one), first, second, column, column, one),
        )


def _tell_of_controls(
    labels: Collection[str],
    control: Sequence[str],
    column: str,
    call: str,
    parts_of: Callable[[str], Sequence[str]],
) -> None:
    """Say which other labels, or parts of labels, are often labels of controls."""
    known = {label.casefold() for label in control}  # what differs by case is told apart from this
    found = {part: label for label in sorted(labels, reverse=True) for part in parts_of(label)}
    alike = [
        one for one in sorted(found) if looks_like_control(one) and one.casefold() not in known
    ]
    if alike:
        every = ", ".join(map(repr, [*control, *alike[:MANY]])) + ", ..." * (len(alike) > MANY)
        where = "" if alike[0] in labels else f" (as in {found[alike[0]]!r})"
        logger.warning(
            "%s holds %s%s, which is often a label of controls, and is taken as a perturbation. If "
            "these cells are controls: %s",
            *(column, some(alike), where),
            call.replace("control=..., ", f"control=[{every}])"),
        )


def _tell_of_plus(
    labels: Collection[str], call: str, parts_of: Callable[[str], Sequence[str]]
) -> None:
    """Say which labels that hold a ``+`` are combinations, and which could be."""
    split = {label: strict_pieces(label, "+") for label in sorted(labels) if "+" in label}
    joined = [label for label in split if list(parts_of(label)) != [label]]
    whole = split.keys() - set(joined)
    could = sorted(
        label for label in whole if len(split[label]) > 1 and all_plain(split[label], ())
    )
    if joined:
        logger.info("%d labels are combinations joined by '+', as %s", len(joined), some(joined, 3))
    if could:
        logger.warning(
            "%d labels hold '+', as %s, and are read as whole names, since their parts occur "
            "nowhere else. If they are combinations: %ssep='+')",
            len(could),
            some(could, 3),
            call,
        )


def _tell_of_separators(
    labels: Collection[str], control: Sequence[str], sep: str, call: str
) -> None:
    for other, found in joined_by_others(labels, control).items():
        if other != sep:
            logger.warning(
                "%d labels look like combinations joined by %r, as %s, and are read as whole "
                "names: a split may train on parts of what it holds out. If they are "
                "combinations: %ssep=%r)",
                len(found),
                other,
                some(found, 3),
                call,
                other,
            )
            return
