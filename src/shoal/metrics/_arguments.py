"""What the public statistics take: lists, tables and matrices of any kind become arrays of numbers.

The decorator reads from the types of a signature which arguments are arrays, so that no function
has to convert or to check them itself.
"""

from __future__ import annotations

import inspect
from functools import partial, wraps
from itertools import combinations
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import numpy as np
import pandas as pd
from scipy import sparse

from .._validate import between, flag, positive, whole
from ._as_arrays import booleans, groups, matrix, numbers, several

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

P = ParamSpec("P")
R = TypeVar("R")


def arrays(function: Callable[P, R]) -> Callable[P, R]:
    """Return the function with its array arguments converted and checked.

    ============================ ===================================================
    type in the signature        what is taken
    ============================ ===================================================
    ``Floats``                   real numbers: arrays, lists, tables, sparse matrices
    ``Floats | float``           the same, or a single number
    ``Matrix``                   the same; a sparse matrix stays sparse, as CSR
    ``Sequence[Matrix]``         several of them
    ``Bools``, ``Ints``          booleans; numbers or names of groups, none missing
    ``bool``                     ``True`` or ``False``
    ============================ ===================================================

    Whole numbers become float64, so that none of them overflows. Options that are numbers are
    checked against `OPTIONS`.

    Raises
    ------
    TypeError
        When the function is called, if an argument is no array of such values, such as text or
        complex numbers.
    ValueError
        If lists are ragged, or tables do not have the same rows and columns in the same order.
    """
    parameters = list(inspect.signature(function).parameters.values())
    names = [p.name for p in parameters]
    kinds = {p.name: kind for p in parameters if (kind := KINDS.get(_base(p.annotation)))}
    flags = {p.name for p in parameters if p.annotation == "bool"}
    same_rows = not {"X", "cells", "query"} & set(names)  # else rows are cells or profiles

    @wraps(function)
    def checked(*args: P.args, **kwargs: P.kwargs) -> R:
        given = {**dict(zip(names, args, strict=False)), **kwargs}
        tables = {n: v for n, v in given.items() if n in kinds and isinstance(v, TABLES)}
        if len(tables) > 1:
            _check_aligned(tables, same_rows=same_rows)
        for name in set(given) & set(kinds):
            if given[name] is not None or name not in optional:
                given[name] = kinds[name](given[name], name)
        for name in set(given) & set(OPTIONS):
            if given[name] is not None or name not in optional:
                found = OPTIONS[name](given[name], name=name)
                given[name] = given[name] if found is None else found  # a whole number is an int
        for name in set(given) & flags:
            flag(given[name], name=name)
        positional = [given[name] for name in names[: len(args)]] + list(args[len(names) :])
        return function(*positional, **{name: given[name] for name in kwargs})  # type: ignore[arg-type]

    optional = {p.name for p in parameters if p.default is None}
    return checked


def require_finite(given: Mapping[str, Any], *, missing: bool = False) -> None:
    """Raise ``ValueError`` if a value is infinite or, unless some may be `missing`, NaN."""
    for name, values in given.items():
        held = values.data if sparse.issparse(values) else values
        bad = int((np.isinf(held) if missing else ~np.isfinite(held)).sum())
        if bad:
            what = "infinite" if missing else "NaN or infinite"
            msg = f"{name} holds {bad} values that are {what}; drop or fix them first"
            raise ValueError(msg)


TABLES = (pd.DataFrame, pd.Series)


def _base(annotation: Any) -> str:
    return str(annotation).removesuffix(" | None")


def _check_aligned(tables: dict[str, Any], *, same_rows: bool) -> None:
    """Raise if two tables have other columns, or the same rows in another order.

    With `same_rows`, row i is the same condition in all tables. Names of rows that differ in part
    are refused too.
    """
    for (first, one), (name, other) in combinations(tables.items(), 2):
        both = isinstance(one, pd.DataFrame) and isinstance(other, pd.DataFrame)
        by_column = name == "genes" and isinstance(one, pd.DataFrame)  # a value for each column
        if by_column:
            what = "columns" if _differ(one.columns, other.index, part=True) else ""
        elif both and not one.columns.equals(other.columns):
            what = "columns"
        else:
            what = "rows" if _differ(one.index, other.index, part=same_rows) else ""
        if what:
            fix = f"reindex({first}.columns)" if by_column else f"reindex_like({first})"
            msg = (
                f"{first} and {name} are tables whose {what} differ or are in another order; bring "
                f"them into one order first, such as {name} = {name}.{fix}"
            )
            raise ValueError(msg)


def _differ(one: pd.Index, other: pd.Index, *, part: bool) -> bool:
    """Return whether as many names are the same in another order, or some of them, with `part`."""
    if len(one) != len(other) or one.equals(other):
        return False
    if part and not any(isinstance(index, pd.RangeIndex) for index in (one, other)):
        return bool(set(one) & set(other))
    return set(one) == set(other)


def _share(value: object, *, name: str) -> None:
    between(value, 0, 1, name=name, ends=True)


def _not_negative(value: object, *, name: str) -> None:
    try:
        positive(value, name=name)
    except ValueError:
        if value == 0:
            return
        msg = f"{name} must be a finite number of at least 0, not {value!r}"
        raise ValueError(msg) from None


def _of_any_shape(value: Any, name: str) -> Any:
    """Return real numbers of any shape; a single one has none."""
    single = isinstance(value, (int, float, np.number, np.ndarray)) and np.ndim(value) == 0
    return numbers(np.asarray(value)[None], name)[0] if single else numbers(value, name)


OPTIONS: dict[str, Callable[..., int | None]] = {  # numbers mean the same in every function
    "alpha": _share,
    "q": _share,
    "level": _share,
    "epsilon": positive,
    "exponent": positive,
    "floor": positive,
    "threshold": positive,
    "p": positive,
    "budget": positive,
    "tolerance": _not_negative,
    "block_bytes": whole,
    "k": whole,
    "least": partial(whole, least=0),
    "max_iter": whole,
    "most": whole,
    "n_bins": whole,
    "n_boot": whole,
    "n_directions": whole,
    "n_perms": whole,
}

KINDS: dict[str, Callable[[Any, str], Any]] = {
    "Floats | float": _of_any_shape,
    "Floats": numbers,
    "Matrix": matrix,
    "Sequence[Matrix]": several,
    "Bools": booleans,
    "Ints": groups,
}
