"""A context that a call names."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .._validate import key_in, some

if TYPE_CHECKING:
    from collections.abc import Collection

    from ._screen import Screen


def named_context(context: object, contexts: Collection[str], screen: Screen) -> str:
    """Return the context that a call names, as text.

    Parameters
    ----------
    context
        What is named: a text, or a number in a screen whose contexts are numbers.
    contexts
        The contexts of the screen.
    screen
        Its design.

    Raises
    ------
    ValueError
        If the screen has no contexts.
    TypeError
        If something else than one context is named.
    KeyError
        If the screen has no such context.
    """
    if screen.context_key is None:
        msg = (
            f"context={context!r} means nothing, because this screen was annotated without a "
            "context column: leave it out, or name the column, sh.pp.annotate(adata, "
            f"{screen.perturbation_key!r}, control=..., context_key=...)"
        )
        raise ValueError(msg)
    if not isinstance(context, (str, int, float, np.number)):
        msg = f"context must be one of {some(contexts)}, not {context!r}"
        raise TypeError(msg)
    key_in(str(context), contexts, where="the contexts of the screen")
    return str(context)
