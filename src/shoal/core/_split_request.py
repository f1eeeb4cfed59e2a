"""What a split is asked for: the arguments of :func:`shoal.pp.split`, checked."""

from __future__ import annotations

from collections.abc import Sized
from dataclasses import dataclass
from numbers import Real
from typing import Any

from .._validate import flag, whole
from ._codes import BETWEEN

TEST = 0.2  # default share of the units that are held out


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
    zero_shot: bool = False

    def __post_init__(self) -> None:
        flag(self.zero_shot, name="zero_shot")
        if self.zero_shot and self.by != "context":
            msg = (
                "zero_shot=True holds out contexts of which only control cells are given; it needs "
                f"by='context', not by={self.by!r}"
            )
            raise ValueError(msg)
        for name, least in {"n_folds": 2, "fold": 0, "parts_seen": 0}.items():
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, whole(value, name=name, least=least))
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
        both &= not self.zero_shot  # which takes them of contexts, and of conditions of the others
        if both and test + self.val >= 1:
            msg = (
                f"test={test:g} and val={self.val:g} are shares of all units: together they leave "
                "nothing to train on; make their sum less than 1"
            )
            raise ValueError(msg)

    @property
    def has_val(self) -> bool:
        """Whether something is held out for validation."""
        return not (isinstance(self.val, Real) and self.val == 0)

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
            "zero_shot": self.zero_shot,
        }


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
        if 0 < float(value) < 1 or (least_is_none and value == 0):
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
