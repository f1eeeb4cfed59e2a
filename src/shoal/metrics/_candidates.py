"""Profiles that a query ranks: which of them match it, and how far away they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ._arguments import require_finite
from ._mean_ranks import DISTANCES
from ._pairs import BLOCK_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from .._typing import Bools, Floats, Ints


class Rules:
    """Which profiles a query ranks, and which of them match."""

    def __init__(
        self,
        profiles: Floats,
        label: Ints,
        *,
        apart: Ints | None,
        within: Ints | None,
        negative: Bools | None,
    ) -> None:
        given = {"label": label, "apart": apart, "within": within, "negative": negative}
        check_lengths(profiles, given, "profiles")
        if negative is not None and negative.dtype != bool:
            msg = f"negative must hold booleans, True or False, not {negative.dtype}"
            raise ValueError(msg)
        self.label, self.negative = label, negative
        self.apart = np.arange(len(profiles)) if apart is None else apart
        self.within = within

    def candidates(self, rows: Ints) -> tuple[Bools, Bools]:
        """Return (b, n) which profiles match each of some queries, and which others it ranks."""
        same = self.label[rows][:, None] == self.label[None, :]
        other = ~same
        if self.within is not None:
            other &= self.within[rows][:, None] == self.within[None, :]
        if self.negative is not None:
            other &= self.negative[None, :]
        same &= self.apart[rows][:, None] != self.apart[None, :]
        same[np.arange(len(rows)), rows] = False
        return same, other


def check_lengths(profiles: Floats, given: Mapping[str, Any], name: str) -> None:
    """Raise ``ValueError`` unless there is one entry for each profile, all finite."""
    if profiles.ndim != 2 or not profiles.size:
        msg = (
            f"{name} must be a table with a row for each profile and at least one feature, not of "
            f"shape {profiles.shape}"
        )
        raise ValueError(msg)
    for key, values in given.items():
        if values is not None and values.shape != (len(profiles),):
            msg = f"{key} has the shape {values.shape}; there are {len(profiles)} {name}"
            raise ValueError(msg)
    require_finite({name: profiles})


def same_kind(one: Ints, other: Ints, names: tuple[str, str]) -> None:
    """Raise ``ValueError`` if one holds text and the other does not: none would be equal."""
    if (one.dtype.kind in "OSU") != (other.dtype.kind in "OSU"):
        text, numbers = names if one.dtype.kind in "OSU" else names[::-1]
        msg = (
            f"{text} holds names and {numbers} numbers, so that none of them are equal: give both "
            f"as text, such as {numbers} = [str(one) for one in {numbers}]"
        )
        raise ValueError(msg)


def same_width(query: Floats, reference: Floats) -> None:
    """Raise ``ValueError`` unless queries and references have the same features."""
    if query.shape[1] != reference.shape[1]:
        msg = (
            f"query has {query.shape[1]} features and reference {reference.shape[1]}; "
            "give both the same features, in one order"
        )
        raise ValueError(msg)


def blocks(query: Floats, reference: Floats, metric: str) -> Iterator[tuple[Ints, Floats, Floats]]:
    """Yield some rows of the queries, their distances to all references, and rounding errors."""
    query, reference = query.astype(np.float64), reference.astype(np.float64)
    step = max(1, BLOCK_BYTES // (32 * max(reference.shape)))
    for start in range(0, len(query), step):
        rows = np.arange(start, min(start + step, len(query)))
        distance, rounding = DISTANCES[metric](query[rows], reference, None)
        yield rows, distance, np.broadcast_to(rounding, distance.shape)
