"""Sets of options that are tried: lists of values, of which all combinations are made, or sets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import product
from typing import Any

import numpy as np

EXAMPLE = 'tune={"lr": [1e-3, 3e-4], "config": {"width": [64, 128]}}'
SETS = 'tune=[{"preset": "small"}, {"preset": "default", "max_steps": 2000}]'
NEVER = ("rng", "layer", "use_rep", "perturbation_key", "control", "checkpoint_dir", "resume")


def read_grid(tune: Any) -> tuple[dict[str, Any], ...]:
    """Return the sets of options that are tried, in order.

    Parameters
    ----------
    tune
        Mapping from options to lists of values, all combinations of which are tried; options of
        ``config`` are lists within it. Or a list of sets, each a mapping from options to values.

    Raises
    ------
    TypeError
        If it is something else, or an option has no list of values.
    ValueError
        If a list is empty, or an option is no setting of a model.
    """
    if isinstance(tune, Mapping):
        lists = {name: _values(name, values) for name, values in tune.items()}
        sets = [dict(zip(lists, chosen, strict=True)) for chosen in product(*lists.values())]
    elif isinstance(tune, (list, tuple)) and all(isinstance(one, Mapping) for one in tune):
        sets = [dict(one) for one in tune]
    else:
        msg = (
            "tune must be a mapping from options to lists of values, as in "
            f"{EXAMPLE}, or a list of sets of options, as in {SETS}; not {tune!r}"
        )
        raise TypeError(msg)
    if not tune:
        msg = f"tune is empty: name at least one option with its values, as in {EXAMPLE}"
        raise ValueError(msg)
    for one in sets:
        fixed = [name for name in one if name in NEVER]
        if fixed:
            msg = f"tune holds {fixed[0]!r}, which is no setting of a model: pass it to tl.fit"
            raise ValueError(msg)
        if not isinstance(one.get("config", {}), Mapping):
            msg = f"tune: config must be a mapping from settings to values, not {one['config']!r}"
            raise TypeError(msg)
    return tuple(sets)


def in_words(sets: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return each set of options in one line, ``"lr=0.001, width=64"``; no two are the same."""
    words: list[str] = []
    for one in map(_line, sets):
        n = sum(word == one or word.startswith(f"{one} (") for word in words)
        words.append(f"{one} ({n + 1})" if n else one)
    return words


def _line(options: Mapping[str, Any]) -> str:
    flat = [
        (name, value)
        for key, entry in options.items()
        for name, value in (entry.items() if key == "config" else [(key, entry)])
    ]
    return ", ".join(f"{name}={_word(value)}" for name, value in flat) or "as given"


def merged(given: Mapping[str, Any], one: Mapping[str, Any]) -> dict[str, Any]:
    """Return given options with a set of those that are tried.

    Raises
    ------
    ValueError
        If an option is both given and tried.
    """
    config, own = dict(given.get("config") or {}), dict(one.get("config") or {})
    twice = [n for n in one if n != "config" and given.get(n) is not None] + [
        name for name in own if name in config
    ]
    if twice:
        msg = f"{twice[0]!r} is given and in tune= too; leave out one of them"
        raise ValueError(msg)
    both = {"config": config | own} if config or own else {}
    return {**given, **one, **both}


def _values(name: str, values: Any) -> list[Any]:
    """Return the values of an option that are tried."""
    if name == "config" and isinstance(values, Mapping):
        lists = {key: _values(f"config: {key}", each) for key, each in values.items()}
        return [dict(zip(lists, chosen, strict=True)) for chosen in product(*lists.values())]
    if isinstance(values, (str, bytes, Mapping)) or not isinstance(values, Iterable):
        msg = (
            f"tune: {name} needs a list of values, as in {EXAMPLE}, not {values!r}; with one value "
            f"write [{values!r}]"
        )
        raise TypeError(msg)
    several = values.tolist() if isinstance(values, np.ndarray) else list(values)
    if not several:
        msg = f"tune: {name} has an empty list of values; give at least one, as in {EXAMPLE}"
        raise ValueError(msg)
    return several


def _word(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 40 and "\n" not in text else type(value).__name__
