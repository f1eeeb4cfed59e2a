"""Columns of several tables of vectors side by side, which say from which table each comes."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


def joined_columns(sizes: Mapping[str, int]) -> list[str]:
    """Return the names of columns of joined tables: ``"go:0"``, ``"go:1"``, ``"network:0"``, ..."""
    return [f"{name}:{i}" for name, size in sizes.items() for i in range(size)]


def sources_of(columns: Iterable[object]) -> dict[str, int]:
    """Return the number of columns of each joined table; empty where columns are of one table."""
    names = [str(column) for column in columns]
    sizes: dict[str, int] = {}
    for name in names:
        source = name.rpartition(":")[0]
        sizes[source] = sizes.get(source, 0) + 1
    return sizes if len(sizes) > 1 and joined_columns(sizes) == names else {}
