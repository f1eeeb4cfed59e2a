"""The side of every item, from a request: shares, names and folds for each kind of split."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from math import ceil
from numbers import Real
from typing import TYPE_CHECKING, Any

from .._logging import logger
from .._validate import key_in, some
from ._split_draw import Keep, Parts, deal, draw, take_named
from ._split_request import TEST
from ._split_units import BY, find_units

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from ._screen import Screen
    from ._split_draw import Taker
    from ._split_request import Request
    from ._split_units import Items

ASIDE = "aside"  # neither trained on nor predicted
LEAST = 0.5  # of a unit: what a share has to come to


def able_units(items: Items, request: Request) -> list[str]:
    """Return the units that can be held out, each by itself."""
    taker = _taker(items, parts_seen=request.parts_seen)
    able = [unit for unit in items.units if taker.can(unit)]
    return [c for c in able if c in items.control_levels] if request.zero_shot else able


def allot(
    items: Items,
    screen: Screen,
    request: Request,
    rng: np.random.Generator,
    *,
    among: list[str] | None = None,
) -> list[str]:
    """Return the side of every item: ``"train"``, ``"val"``, ``"test"`` or ``"aside"``.

    Parameters
    ----------
    items
        Conditions of a screen.
    screen
        Its names.
    request
        What is held out.
    rng
        Draws it.
    among
        Units that may be held out, in order; all that can be if ``None``.

    Raises
    ------
    ValueError
        If nothing can be held out, or if nothing is left to train on.
    KeyError
        If a name is not in the screen.
    """
    taker = _taker(items, parts_seen=request.parts_seen)
    able = able_units(items, request) if among is None else among
    test: Any = TEST if request.test is None else request.test
    bare: list[str] = []
    if request.zero_shot:
        test, bare = _of_controls_alone(items, screen, test)
    if not able and not bare:
        msg = (
            f"by={request.by!r} can hold out none of {len(items.units)} units: "
            f"{_reason(items, taker)}. Something else may be held out "
            f"({_others(screen, request.by)})"
        )
        if request.by == "combination" and not items.units:
            msg += (
                f". Labels are read with sep={screen.sep!r}: if another text joins the parts of "
                "combinations, name it with sep= in sh.pp.annotate"
            )
        raise ValueError(msg)
    draft = _Draft(items, screen, request, able, taker, rng)
    if request.n_folds is not None and request.fold is not None:
        draft.take_fold(request.n_folds, request.fold)
    else:
        draft.take("test", test)
    if request.zero_shot and request.has_val:
        draft = draft.conditions()
    draft.take("val", request.val)
    sides = draft.sides()
    for side in ("train",) if bare else ("train", "test"):
        if side not in sides:
            msg = (
                f"by={request.by!r} leaves no perturbed cells in {side}; hold out less, "
                f"or something else ({_others(screen, request.by)})"
            )
            raise ValueError(msg)
    if ASIDE in sides:
        logger.info(
            "%d conditions are set aside: neither trained on nor predicted", sides.count(ASIDE)
        )
    return sides


@dataclass
class _Draft:
    """A split that is being made: the units that are held out so far, and their sides."""

    items: Items
    screen: Screen
    request: Request
    able: list[str]
    taker: Taker
    rng: np.random.Generator
    held: dict[str, str] = field(default_factory=dict)
    aside: set[str] = field(default_factory=set)

    def take_fold(self, n_folds: int, fold: int) -> None:
        """Deal all units into folds and hold out one of them."""
        takers = [_taker(self.items, parts_seen=self.request.parts_seen) for _ in range(n_folds)]
        folds = deal(self.able, takers, self.rng)
        if not all(folds):
            msg = (
                f"{len(self.able)} units of by={self.items.by!r} do not fill n_folds={n_folds} "
                "folds; ask for fewer"
            )
            raise ValueError(msg)
        never = len(self.able) - sum(map(len, folds))
        if never:
            logger.warning(
                "%d of %d units fit in no fold; they are always in training", never, len(self.able)
            )
        self.taker, self.held = takers[fold], dict.fromkeys(folds[fold], "test")

    def conditions(self) -> _Draft:
        """Return the same split of contexts, of whose training contexts conditions can be taken.

        Every perturbation and every context keeps one in training.

        Raises
        ------
        ValueError
            If there is no condition that can be taken.
        """
        items = replace(self.items, by="perturbation_context")
        level = dict(zip(items.names, items.level, strict=True))
        held = {name: self.held[own] for name, own in level.items() if own in self.held}
        taker = _taker(items, [name for name in items.names if name not in held])
        able = [name for name in items.names if name not in held and taker.can(name)]
        if not able:
            n = len(set(items.level)) - len(self.held)
            msg = (
                f"val={self.request.val!r} is taken of the conditions (perturbation x context) of "
                f"{n} training contexts with zero_shot=True, and none can leave training: no "
                "perturbation would keep another one there. Set val=0: networks then train for a "
                "fixed number of steps"
            )
            raise ValueError(msg)
        return replace(self, items=items, able=able, taker=taker, held=held)

    def take(self, side: str, value: Any) -> None:
        """Hold out the units of one side, by share or by name."""
        if isinstance(value, Real) and value == 0:
            return
        if isinstance(value, Real):
            chosen = self._by_share(side, float(value))
        else:
            chosen = self._by_name(side, [value] if isinstance(value, str) else list(value))
        if not chosen:
            msg = (
                f"{side}={value!r} holds out nothing; "
                f"no more of {len(self.able)} units can leave training"
            )
            raise ValueError(msg)
        self.held |= dict.fromkeys(chosen, side)

    def _by_share(self, side: str, share: float) -> list[str]:
        """Take a share of the units."""
        chosen: list[str] = []
        wanted = 0
        strata = _strata(self.items, self.able)
        asked = self.request.test if side == "test" else self.request.val
        if len(strata) == 1 and asked is not None and share * len(self.able) < LEAST:
            msg = (
                f"{side}={share:g} of {len(self.able)} units is less than half of one; give at "
                f"least {ceil(1000 * LEAST / len(self.able)) / 1000:g}, or names"
            )
            raise ValueError(msg)
        for units in strata:
            n = max(1, round(share * len(units)))
            chosen += draw(
                [unit for unit in units if unit not in self.held], n, self.taker, self.rng
            )
            wanted += n
        if len(chosen) < wanted:
            logger.info(
                "%s: %d units are held out, not %d; no more can be", side, len(chosen), wanted
            )
        return chosen

    def _by_name(self, side: str, names: list[Any]) -> list[str]:
        """Take the units that names stand for."""
        found = find_units(self.items, self.screen, names, name=side)
        flat = [unit for units in found for unit in units]
        times = Counter(flat)
        again = [unit for unit in flat if unit in self.held or times[unit] > 1]
        if again:
            msg = f"{side}: {again[0]!r} is named twice, or is in test already; a unit has one side"
            raise ValueError(msg)
        chosen, left = take_named(found, self.taker, name=side)
        self.aside |= set(left)
        return chosen

    def sides(self) -> list[str]:
        """Return the side of every item, from the sides of the units."""
        items, held = self.items, self.held
        if items.by == "perturbation":
            of_parts = [{held.get(p) for p in parts} for parts in items.parts]
            return [
                "test" if "test" in own else "val" if "val" in own else "train" for own in of_parts
            ]
        keys = list(items.level) if items.by == "context" else items.names
        sides = [held.get(key, ASIDE if key in self.aside else "train") for key in keys]
        if isinstance(self.taker, Parts):
            out = [
                side == "train" and not self.taker.hidden.isdisjoint(p)
                for p, side in zip(items.parts, sides, strict=True)
            ]
        else:  # predicting a perturbation that is nowhere in training is another task
            trained = {
                p for p, side in zip(items.perturbation, sides, strict=True) if side == "train"
            }
            out = [p not in trained for p in items.perturbation]
        return [ASIDE if away else side for away, side in zip(out, sides, strict=True)]


def _taker(
    items: Items, units: Sequence[str] | None = None, *, parts_seen: int | None = None
) -> Taker:
    """Return a new account of what must stay in training, of some units; of all if ``None``."""
    if items.by == "combination":
        return Parts(dict(zip(items.perturbation, items.parts, strict=True)), parts_seen)
    units = items.units if units is None else units
    if items.by in ("perturbation", "context"):
        return Keep(dict.fromkeys(units, (f"any {items.by}",)))
    rows: list[tuple[str, ...]] = [(f"the perturbation {p!r}",) for p in items.perturbation]
    if items.by == "perturbation_context":
        rows = [(*row, f"the context {c!r}") for row, c in zip(rows, items.level, strict=True)]
    groups = dict(zip(items.names, rows, strict=True))
    return Keep({unit: groups[unit] for unit in units})


def _of_controls_alone(items: Items, screen: Screen, test: Any) -> tuple[Any, list[str]]:
    """Return what a test asks for beside contexts with control cells alone, and those of them.

    Raises
    ------
    KeyError
        If a name is no context of the screen.
    ValueError
        If a named context has no control cell.
    """
    if isinstance(test, Real):
        return test, []
    names = [test] if isinstance(test, str) else list(test)
    measured = frozenset(items.level)
    for name in map(str, names):
        if name in screen.control:
            continue  # refused with the others
        hint = "(given in test)"
        key_in(name, sorted(measured | items.control_levels), where="the contexts", hint=hint)
        if name not in items.control_levels:
            msg = (
                f"test: the context {name!r} has no control cell, and with zero_shot=True a "
                "context is known by its control cells alone. Those of "
                f"{some(sorted(items.control_levels))} are there: name one of these, or leave out "
                "zero_shot=True"
            )
            raise ValueError(msg)
    bare = [str(name) for name in names if str(name) not in measured | set(screen.control)]
    if bare:
        logger.info(
            "%s: there are control cells alone, so nothing of it can be scored; "
            "model.predict(names, context=...) predicts it",
            ", ".join(bare),
        )
    return [name for name in names if str(name) not in bare] or 0, bare


def _strata(items: Items, able: list[str]) -> list[list[str]]:
    """Return the groups of units that a share is taken of: all units, or guides by perturbation."""
    if items.by != "guide":
        return [able]
    owner = dict(zip(items.names, items.perturbation, strict=True))
    groups: dict[str, list[str]] = {}
    for unit in able:
        groups.setdefault(owner[unit], []).append(unit)
    return list(groups.values())


def _reason(items: Items, taker: Taker) -> str:
    """Say why nothing can be held out, by the example of one unit."""
    return (
        f"{items.units[0]!r}, for one: {taker.why(items.units[0])}"
        if items.units
        else "the screen has none"
    )


def _others(screen: Screen, by: str) -> str:
    """Return what else may be held out: what the screen has columns of, and how to name others."""
    has = {one: level is None or getattr(screen, f"{level}_key") for one, level in BY.items()}
    able = ", ".join(one for one in BY if has[one] and one != by)
    lacking = ", ".join(
        f"{level}_key" for one, level in BY.items() if level == one and not has[one]
    )
    more = f", and more if sh.pp.annotate names {lacking}" if lacking else ""
    return f"by= one of {able}{more}"
