"""Named recipes of a model, with changes."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, TypeVar

from ..._validate import one_of

if TYPE_CHECKING:
    from collections.abc import Mapping

Config = TypeVar("Config")


def configured(
    presets: Mapping[str, Config],
    preset: str,
    changes: Mapping[str, Any],
    *,
    model: str,
    beside: str,
) -> Config:
    """Return a preset with some changes.

    Raises
    ------
    ValueError
        If the preset or the value of a setting is not known.
    TypeError
        If there is no such setting; the message names the `model`, what it takes `beside` its settings, and these.
    """
    one_of(preset, presets, name="preset")
    known = [f.name for f in fields(presets[preset])]  # type: ignore[arg-type]
    odd = [name for name in changes if name not in known]
    if odd:
        msg = f"{model} has no setting {odd[0]!r}; beside {beside} it takes {', '.join(known)}"
        raise TypeError(msg)
    return replace(presets[preset], **changes)  # type: ignore[type-var]
