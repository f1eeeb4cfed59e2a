"""A network in one line."""

from __future__ import annotations

from typing import Any


def summary_of(model: Any) -> str:
    """Return what a model knows and how large it is, in one line."""
    n = sum(p.numel() for p in model.module.parameters())
    v = model.vocabulary
    known = f"{len(v.perturbations)} perturbations ({v.embedding})"
    if v.context_vectors is not None:
        known += f", contexts by their vectors ({v.context_vectors.name})"
    share = "" if model.response_share == 1 else f", {model.response_share:.0%} of cells respond"
    what = f"{model.space.description}, {n:,} parameters{share}"
    return f"{type(model).__name__} of {known}, {what}"
