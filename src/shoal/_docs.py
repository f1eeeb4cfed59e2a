"""Texts that several docstrings share, written once.

A docstring names a shared text in braces, alone on a line. The decorator puts the text there, with
the indentation of that line, when the function is defined::

    fill = shared({"cells": "(n, d) cells; rows are cells, columns genes or components."})


    @fill
    def spread(cells, *, rng=None):
        ...  # a docstring with these lines:
        #   cells
        #       {cells}
        #   rng
        #       {rng}

The name and the section stay in the docstring: only what is said about an argument is shared.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, TypeVar

T = TypeVar("T", bound=Callable[..., Any])

PLACE = re.compile(r"^([ \t]*)\{([a-z_]+)\}[ \t]*$", flags=re.MULTILINE)
COMMON: Mapping[str, str] = MappingProxyType(
    {
        "mod": "Name of the modality, if `data` is a MuData.",
        "design": (
            "Column of ``obs`` with the perturbations, and label(s) of the control cells.\n"
            "``None`` takes those that :func:`shoal.pp.annotate` recorded."
        ),
        "rng": "Seed or Generator; the source of all random numbers.",
        "strata": (
            "Columns of ``obs`` within which cells are compared with controls.\n"
            '``"auto"`` means the recorded context and batch, where there are any.\n'
            "``None`` compares with all controls."
        ),
        "overwrite": (
            "Whether to replace what is in a slot of that name and was not written by an earlier\n"
            "call of this function. By default that is an error."
        ),
        "block_bytes": (
            "Upper size of the working memory, in bytes. The result does not depend on it."
        ),
    }
)
"""Texts that every folder may use."""


def shared(texts: Mapping[str, str] = COMMON) -> Callable[[T], T]:
    """Return a decorator that fills shared texts into the docstring of a function or class.

    Parameters
    ----------
    texts
        Name and text of each fragment, beside those of `COMMON`. A text may have several lines.

    Returns
    -------
    The decorator. It changes the docstring only, and nothing where there is none (``python -OO``).

    Raises
    ------
    KeyError
        When it decorates, if a docstring names a text that does not exist.
    """
    known = {**COMMON, **texts}

    def fill(function: T) -> T:
        if function.__doc__:
            function.__doc__ = PLACE.sub(lambda place: _text(place, known), function.__doc__)
        return function

    return fill


def _text(place: re.Match[str], known: Mapping[str, str]) -> str:
    """Return the text for one place, each of its lines indented as the place is."""
    indent, name = place.groups()
    if name not in known:
        msg = f"no shared text is called {name!r}; there are {', '.join(sorted(known))}"
        raise KeyError(msg)
    return "\n".join(indent + line if line else "" for line in known[name].splitlines())
