"""The names of perturbations: labels as they are written, and what other spellings mean."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

from ._combinations import PLUS, all_plain, as_text, pieces, single_names, strict_pieces

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


@dataclass(frozen=True)
class Names:
    """How the labels of a screen are read.

    A perturbation has one name, under which tables and pictures show it: the label that the user
    wrote. ``canonical`` maps every other spelling to it, and ``parts`` gives its single
    perturbations.

    Attributes
    ----------
    control
        Labels of unperturbed cells; they are pooled under the first.
    sep
        Text between the parts of a combination; ``""`` if there are none. ``"auto"`` is ``"+"``,
        but only where the parts are known as single perturbations.
    singles
        Single perturbations, which a combination may be made of. Names that hold a ``+`` are among
        them. Only of ``sep="auto"``.
    written
        The names of combinations, as the labels write them.
    """

    control: tuple[str, ...]
    sep: str = "auto"
    singles: tuple[str, ...] = ()
    written: tuple[str, ...] = ()

    def canonical(self, label: str) -> str:
        """Return the name of the perturbation that a label means.

        - The order of parts, repeats and control parts do not matter: ``"B+A"`` and ``"A+B"``, or
          ``"A+control"`` and ``"A"``, are one perturbation.
        - Its name is the label that the screen holds. Of a combination that the screen does not
          hold, parts are sorted.
        - All control labels have the name of the first.
        """
        sorted_name = self.sorted_name(label)
        return self._name_of.get(sorted_name, sorted_name)

    def as_asked(self, label: str) -> str:
        """Return the name of a perturbation as `canonical` does; of a new one, as it is asked."""
        label = as_text(label)
        sorted_name = self.sorted_name(label)
        is_new = sorted_name not in self._name_of and len(self.parts(label)) > 1
        return label if is_new else self.canonical(label)

    def sorted_name(self, label: str) -> str:
        """Return the parts of a label, sorted and joined; the first control label if it has none.

        A label that is no combination is its only part. Perturbations are in the order of these
        names, which does not depend on how they are written.
        """
        label = as_text(label)
        if label in self._controls:
            return self.control[0]
        several = self._split(label)
        if len(several) == 1:
            return label
        parts = sorted(set(several) - self._no_effect)
        return self.separator.join(parts) if parts else self.control[0]

    def parts(self, name: str) -> tuple[str, ...]:
        """Return the single perturbations of a perturbation, sorted; the control has none."""
        name = as_text(name)
        if name in self._controls:
            return ()
        return tuple(sorted(set(self._split(name)) - self._no_effect))

    def alone(self, name: str) -> tuple[str, ...]:
        """Return the names that the parts of a perturbation have where they are alone.

        That is the part itself, unless the screen writes it otherwise, as in ``"A+control"``.
        """
        return tuple(map(self.canonical, self.parts(name)))

    def knowing(self, names: Iterable[str]) -> Names:
        """Return the names with further single perturbations, such as those with a vector."""
        return self if self.sep != "auto" else self._with_singles(names)

    def reading(self, counts: Mapping[str, int]) -> Names:
        """Return the names with what the labels of a screen tell.

        Parameters
        ----------
        counts
            Label -> number of its cells. A perturbation that is written in several ways has the
            name that most cells have; a single one has its plain name, if any cell has it.
        """
        read = self
        if self.sep == "auto":
            read = self._with_singles(counts)
        if not self.separator:
            return read
        groups: dict[str, list[str]] = {}
        for label in counts:
            groups.setdefault(read.sorted_name(label), []).append(label)
        groups.pop(self.control[0], None)
        names = dict(read._name_of)
        for name, labels in groups.items():
            joins = read._joins(name)
            if name not in names and (joins or labels != [name]):
                names[name] = min(
                    labels, key=lambda text: _rank(text, name, counts[text], joins=joins)
                )
        return replace(read, written=tuple(sorted(names.values())))

    def _with_singles(self, labels: Iterable[str]) -> Names:
        found = single_names(labels, self._known) - self._no_effect
        return replace(self, singles=tuple(sorted(found)))

    @property
    def separator(self) -> str:
        """Text between the parts of a combination; ``""`` if there are none."""
        return PLUS if self.sep == "auto" else self.sep

    @cached_property
    def _controls(self) -> frozenset[str]:
        return frozenset(self.control)

    @cached_property
    def _no_effect(self) -> frozenset[str]:
        """Parts that mean no perturbation: control labels; ``"ctrl"`` if ``"ctrl+ctrl"`` is one."""
        several = [pieces(label, self.separator) for label in self.control]
        doubled = {parts[0] for parts in several if len(set(parts)) == 1}
        return self._controls | doubled

    @cached_property
    def _known(self) -> frozenset[str]:
        return self._no_effect.union(self.singles)

    @cached_property
    def _name_of(self) -> dict[str, str]:
        """Sorted name -> name, of the combinations that the screen holds."""
        return {self.sorted_name(label): label for label in self.written}

    def _joins(self, label: str) -> bool:
        """Return whether a label is a combination of several parts."""
        return len(self._split(label)) > 1

    def _split(self, label: str) -> list[str]:
        """Return the parts of a label, or the label alone if it is no combination."""
        if not self.separator or self.separator not in label:
            return [label]
        if self.sep != "auto":
            return pieces(label, self.separator)
        parts = strict_pieces(label, PLUS)
        known = self._known
        if label in known or known.isdisjoint(parts) or not all_plain(parts, known):
            return [label]
        return parts


def _rank(
    label: str, sorted_name: str, n_cells: int, *, joins: bool
) -> tuple[bool, int, bool, str]:
    """Return the place of a label among those of one perturbation; the first is its name."""
    other = label != sorted_name
    return other and not joins, -n_cells, other, label
