"""Which labels are combinations of perturbations: what the text of all labels tells."""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

PLUS = "+"  # the separator of sep="auto"
OTHERS = ("_", ",", ";", "|", "&", ":", "/", "-", " ")  # what combinations may be joined by
MANY = 5  # combinations that show what a screen means by a separator
BRACKETS = {")": "(", "]": "[", "}": "{"}
JOINERS = "_-.:|/,;&\\"  # a name neither begins nor ends with one of these


def as_text(value: object) -> str:
    """Return a label as text, without blanks at its ends; bytes are decoded."""
    text = value.decode(errors="replace") if isinstance(value, bytes) else str(value)
    return text.strip()


def pieces(label: str, sep: str) -> list[str]:
    """Return the parts of a label that is joined by `sep`, or the label alone.

    A repeated separator counts once, as in ``"A__B"``. A label that begins or ends with the
    separator, such as ``"CD4+"``, has no parts.
    """
    parts = [part.strip() for part in label.split(sep)] if sep else [label]
    return [part for part in parts if part] if parts[0] and parts[-1] else [label]


def strict_pieces(label: str, sep: str) -> list[str]:
    """Return the parts of a label as `pieces` does, or the label alone where it may be a name.

    - A separator within brackets joins nothing, as in ``"(+)-JQ1"``.
    - The label has no parts if one would be empty, or if a blank stands on exactly one side of a
      separator, as in ``"CD14+ Monocytes"``.
    """
    if sep not in label:
        return [label]
    parts = _outside_brackets(label, sep)
    lopsided = any(a[-1:].isspace() != b[:1].isspace() for a, b in pairwise(parts))
    if lopsided or not all(part.strip() for part in parts):
        return [label]
    return [part.strip() for part in parts]


def single_names(labels: Iterable[str], known: Collection[str], sep: str = PLUS) -> frozenset[str]:
    """Return the single perturbations of a screen whose labels may hold `sep` within a name.

    A label that holds `sep` is a combination only where its parts occur elsewhere:

    - one of its parts is a label of the screen, or is a part of such a combination; or
    - each of its parts is also a part of another label; or
    - at least four in five of the labels that could be combinations are, and at least `MANY`: then
      all of them are.

    All other labels are names as a whole. A part that is no label itself must read like a name:
    its brackets close, it neither begins nor ends with a joining character such as ``_``, and it is
    not a number beside text (``"10+5 uM"``).

    Parameters
    ----------
    labels
        Labels of the screen.
    known
        Names that are known to be single perturbations or controls.
    sep
        Text between the parts of a combination.

    Returns
    -------
    The labels that are names as a whole, the parts of the others, and `known`.
    """
    labels, known = set(labels), frozenset(known)
    joined = {name: strict_pieces(name, sep) for name in labels - known if sep in name}
    whole = known.union(name for name in labels if len(joined.get(name, "")) < 2)
    able = {
        name: parts for name, parts in joined.items() if len(parts) > 1 and all_plain(parts, whole)
    }
    owners: dict[str, list[str]] = defaultdict(list)
    for name, parts in able.items():
        for part in set(parts):
            owners[part].append(name)
    taken: set[str] = set()
    _spread([part for part in owners if part in whole], owners, able, taken)
    recurring = [
        name
        for name, parts in able.items()
        if name not in taken and all(len(owners[part]) > 1 for part in parts)
    ]
    taken.update(recurring)
    _spread([part for name in recurring for part in able[name]], owners, able, taken)
    if len(taken) >= max(MANY, 0.8 * len(able)):
        taken.update(able)
    return whole.union(labels - taken, *(able[name] for name in taken))


def joined_by_others(labels: Collection[str], control: Collection[str]) -> dict[str, list[str]]:
    """Return the labels that look like combinations by a separator other than ``+``.

    A label looks like one if

    - most of its parts, and at least two, are labels of the screen or controls; or
    - one of its parts is a control, and so it is for another label; or
    - each of its parts is a part of another such label, and some part stands first in one label and
      last in another. (Guides named ``gene_guide`` are not like that.)

    Returns
    -------
    Separator -> labels, sorted; only separators with such labels, the one with most labels first.
    """
    names, control = frozenset(labels) - {*control}, frozenset(control)
    found = {}
    for sep in OTHERS:
        split = {name: pieces(name, sep) for name in names if sep in name}
        split = {name: parts for name, parts in split.items() if len(parts) > 1}
        both = names | control
        chosen = {
            name
            for name, parts in split.items()
            if (n := sum(part in both for part in parts)) > 1 and 2 * n > len(parts)
        }
        beside = {name for name, parts in split.items() if not control.isdisjoint(parts)}
        chosen |= beside if len(beside) > 1 and sep != " " else set()
        chosen |= _recurring(split)
        if chosen:
            found[sep] = sorted(chosen)
    return dict(sorted(found.items(), key=lambda item: -len(item[1])))


def _recurring(split: Mapping[str, Sequence[str]]) -> set[str]:
    """Return the labels all of whose parts recur, if some part stands first here and last there."""
    able = {name: parts for name, parts in split.items() if all_plain(parts, frozenset())}
    if {parts[0] for parts in able.values()}.isdisjoint(parts[-1] for parts in able.values()):
        return set()
    count: dict[str, int] = defaultdict(int)
    for parts in able.values():
        for part in set(parts):
            count[part] += 1
    return {name for name, parts in able.items() if all(count[part] > 1 for part in parts)}


def _spread(
    start: list[str],
    owners: Mapping[str, list[str]],
    able: Mapping[str, Sequence[str]],
    taken: set[str],
) -> None:
    """Add to `taken` the labels that have a known part, and those that these make known."""
    seen, queue = set(start), list(start)
    while queue:
        for name in owners[queue.pop()]:
            if name not in taken:
                taken.add(name)
                new = [part for part in set(able[name]) if part not in seen]
                seen.update(new)
                queue += new


def all_plain(parts: Sequence[str], known: Collection[str]) -> bool:
    """Return whether every part is known, or reads like a name (see `single_names`)."""
    numbers = [_is_number(part) for part in parts]
    mixed = any(numbers) and not all(numbers)
    return all(
        part in known or (_reads_like_a_name(part) and not (mixed and is_number))
        for part, is_number in zip(parts, numbers, strict=True)
    )


def _outside_brackets(label: str, sep: str) -> list[str]:
    """Return the pieces between the separators of a label that no bracket encloses."""
    if not any(bracket in label for bracket in "([{"):
        return label.split(sep)
    parts, opened = [""], 0
    for piece in label.split(sep):
        parts[-1] += piece
        opened += sum(map(piece.count, "([{")) - sum(map(piece.count, ")]}"))
        if opened > 0:
            parts[-1] += sep
        else:
            parts.append("")
    if opened > 0:  # a bracket that never closes encloses nothing
        return label.split(sep)
    return parts[:-1]


def _is_number(part: str) -> bool:
    return part.replace(".", "", 1).isdigit()


def _reads_like_a_name(part: str) -> bool:
    """Return whether brackets close, and no joining character stands at an end."""
    if not part or part[0] in JOINERS or part[-1] in JOINERS:
        return False
    opened: list[str] = []
    for letter in part:
        if letter in BRACKETS.values():
            opened.append(letter)
        elif letter in BRACKETS and (not opened or opened.pop() != BRACKETS[letter]):
            return False
    return not opened
