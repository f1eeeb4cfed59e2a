"""Digests of settings and values, by which two runs are found to be of the same."""

from __future__ import annotations

import hashlib
import inspect
import json
from typing import Any

import numpy as np
import pandas as pd


def digest_of(value: Any) -> str:
    """Return 16 characters that are those of any other value with the same content."""
    text = json.dumps(as_plain(value), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def as_plain(value: Any) -> Any:
    """Return a value as JSON can hold it; of a function or class, its name and origin text."""
    if hasattr(value, "__dataclass_fields__"):
        return {name: as_plain(getattr(value, name)) for name in value.__dataclass_fields__}
    if isinstance(value, dict) or hasattr(value, "items"):
        return {str(k): as_plain(v) for k, v in value.items()}
    if isinstance(value, (set, frozenset)):
        return sorted((as_plain(v) for v in value), key=repr)
    if isinstance(value, (list, tuple)):
        return [as_plain(v) for v in value]
    if isinstance(value, (pd.DataFrame, np.ndarray)):
        return hashlib.sha256(pd.DataFrame(value).to_csv().encode()).hexdigest()
    if callable(value):
        try:
            text = inspect.getsource(value)
        except (OSError, TypeError):
            text = ""
        return (
            f"{value.__module__}.{value.__qualname__} {hashlib.sha256(text.encode()).hexdigest()}"
        )
    return value if isinstance(value, (str, int, float, bool, type(None))) else repr(value)
