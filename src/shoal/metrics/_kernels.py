"""Loops that numba compiles at their first call, and keeps on disk where it can."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


def compiled(function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    """Return a function that numba compiles at its first call, not when shoal is imported."""

    @cache
    def build() -> Callable[..., Any]:
        import numba

        try:
            made: Callable[..., Any] = numba.njit(function, nogil=True, cache=True, **options)
        except RuntimeError:  # no writable folder: compile in every process
            made = numba.njit(function, nogil=True, **options)
        return made

    def call(*args: Any) -> Any:
        return build()(*args)

    return call
