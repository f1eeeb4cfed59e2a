"""Loops that are compiled at their first call and kept on disk, where there is a place to keep them."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


def compiled(function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    """Compile a function when it is first called, and not when shoal is imported."""

    @cache
    def build() -> Callable[..., Any]:
        import numba

        try:
            made: Callable[..., Any] = numba.njit(function, nogil=True, cache=True, **options)
        except RuntimeError:  # no folder that may be written: compiled anew in every process
            made = numba.njit(function, nogil=True, **options)
        return made

    def call(*args: Any) -> Any:
        return build()(*args)

    return call
