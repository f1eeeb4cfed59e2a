"""The side of every item, from a request: shares, names and folds for each kind of split."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sized
from dataclasses import dataclass, field
from math import ceil
from numbers import Real
from typing import TYPE_CHECKING, Any

from .._logging import logger
from .._validate import whole
from ._split_draw import Keep, Parts, deal, draw, take_named
from ._split_units import BETWEEN, BY, find_units

if TYPE_CHECKING:
    import numpy as np

    from ..core._screen import Screen
    from ._split_draw import Taker
    from ._split_units import Items

ASIDE = "aside"  # neither trained on nor predicted
TEST = 0.2  # default share of the units that are held out
LEAST = 0.5  # of a unit: what a share has to come to


@dataclass(frozen=True)
class Request:
    """Arguments of :func:`shoal.pp.split`, checked.

    Raises
    ------
    ValueError
        If the arguments exclude each other, if a share is not between 0 and 1, or if shares leave
        nothing to train on.
    """

    by: str
    test: Any
    val: Any
    n_folds: int | None
    fold: int | None
    parts_seen: int | None

    def __post_init__(self) -> None:
        for name, least in {"n_folds": 2, "fold": 0, "parts_seen": 0}.items():
            value = getattr(self, name)
            if value is not None:
                whole(value, name=name, least=least)
        if self.parts_seen is not None and self.by != "combination":
            msg = (
                f"parts_seen={self.parts_seen} is about held-out combinations; "
                "it needs by='combination'"
            )
            raise ValueError(msg)
        _check_share(self.test, "test", least_is_none=False)
        _check_share(self.val, "val", least_is_none=True)
        self._check_sum()
        if (self.n_folds is None) != (self.fold is None):
            msg = (
                f"n_folds={self.n_folds} and fold={self.fold} go together: "
                "into how many folds, and which is the test"
            )
            raise ValueError(msg)
        if self.n_folds is None or self.fold is None:
            return
        if self.test is not None:
            msg = f"with n_folds the test set is fold {self.fold}; leave out test={self.test!r}"
            raise ValueError(msg)
        if self.fold >= self.n_folds:
            msg = f"fold must be one of 0 to {self.n_folds - 1}, not {self.fold}"
            raise ValueError(msg)

    def _check_sum(self) -> None:
        """Raise if two shares leave nothing to train on."""
        test = TEST if self.test is None else self.test
        test = 1 / self.n_folds if self.n_folds and self.n_folds > 1 else test
        both = isinstance(test, Real) and isinstance(self.val, Real)
        if both and test + self.val >= 1:
            msg = (
                f"test={test:g} and val={self.val:g} are shares of all units: together they leave "
                "nothing to train on; make their sum less than 1"
            )
            raise ValueError(msg)

    def params(self) -> dict[str, Any]:
        """Return what ``uns`` records of the request."""
        test = TEST if self.test is None and self.n_folds is None else self.test
        return {
            "by": self.by,
            "test": _words(test),
            "val": _words(self.val),
            "n_folds": self.n_folds,
            "fold": self.fold,
            "parts_seen": self.parts_seen,
        }


def allot(items: Items, screen: Screen, request: Request, rng: np.random.Generator) -> list[str]:
    """Return the side of every item: ``"train"``, ``"val"``, ``"test"`` or ``"aside"``.

    Raises
    ------
    ValueError
        If nothing can be held out, or if nothing is left to train on.
    KeyError
        If a name is not in the screen.
    """
    taker = _taker(items, request)
    able = [unit for unit in items.units if taker.can(unit)]
    if not able:
        msg = (
            f"by={request.by!r} can hold out none of {len(items.units)} units: "
            f"{_reason(items, taker)}. Something else may be held out (by= one of {', '.join(BY)})"
        )
        raise ValueError(msg)
    draft = _Draft(items, screen, request, able, taker, rng)
    if request.n_folds is not None and request.fold is not None:
        draft.take_fold(request.n_folds, request.fold)
    else:
        draft.take("test", TEST if request.test is None else request.test)
    draft.take("val", request.val)
    sides = draft.sides()
    for side in ("train", "test"):
        if side not in sides:
            msg = (
                f"by={request.by!r} leaves no perturbed cells in {side}; hold out less, "
                f"or something else (by= one of {', '.join(BY)})"
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
        takers = [_taker(self.items, self.request) for _ in range(n_folds)]
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
                side == "train" and set(p) & self.taker.hidden
                for p, side in zip(items.parts, sides, strict=True)
            ]
        else:  # predicting a perturbation that is nowhere in training is another task
            trained = {
                p for p, side in zip(items.perturbation, sides, strict=True) if side == "train"
            }
            out = [p not in trained for p in items.perturbation]
        return [ASIDE if away else side for away, side in zip(out, sides, strict=True)]


def _taker(items: Items, request: Request) -> Taker:
    """Return a new account of what must stay in training."""
    if request.by == "combination":
        return Parts(dict(zip(items.perturbation, items.parts, strict=True)), request.parts_seen)
    units = items.units
    if request.by in ("perturbation", "context"):
        return Keep(dict.fromkeys(units, (f"any {request.by}",)))
    rows = [(f"the perturbation {p!r}",) for p in items.perturbation]
    if request.by == "perturbation_context":
        rows = [(*row, f"the context {c!r}") for row, c in zip(rows, items.level, strict=True)]
    return Keep(dict(zip(units, rows, strict=True)))


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


def _words(value: Any) -> Any:
    """Return a share as it is, names as text."""
    if value is None or isinstance(value, (Real, str)):
        return value
    return [BETWEEN.join(map(str, v)) if isinstance(v, (tuple, list)) else str(v) for v in value]


def _check_share(value: Any, name: str, *, least_is_none: bool) -> None:
    """Raise unless a share is between 0 and 1, or names are given."""
    if value is None and not least_is_none:
        return
    if isinstance(value, Real) and not isinstance(value, bool):
        if 0 < value < 1 or (least_is_none and value == 0):
            return
        msg = (
            f"{name}={value!r} is no share between 0 and 1; "
            f"to name a dose or another number give a list, {name}=[{value}]"
        )
        raise ValueError(msg)
    if value is None or not isinstance(value, Sized):
        msg = f"{name}={value!r} is neither a share between 0 and 1 nor a name or a list of names"
        raise ValueError(msg)
    if len(value) == 0:
        msg = f"{name} is empty; give a share between 0 and 1, or names"
        raise ValueError(msg)
