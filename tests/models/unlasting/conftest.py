"""A small screen whose perturbations are named after genes, and what trains a small Unlasting."""

from __future__ import annotations

import pytest

import shoal as sh

from ..conftest import FAST

TINY = {"width": 16, "decoder": 16, "depth": 1, "graph_width": 8, "mask_width": 8}


@pytest.fixture
def genes(screen):
    """Return the small screen with ``P1`` to ``P5`` as the names of its first five genes."""
    names = list(screen.var_names)
    screen.var_names = [f"P{i}" for i in range(1, 6)] + names[5:]
    return screen


@pytest.fixture
def fit_unlasting(one_thread):
    """Return what trains a small Unlasting; arguments are those of ``tl.fit``."""

    def fit(adata, *, config=None, **arguments):
        return sh.tl.fit(adata, "unlasting", config=TINY | (config or {}), **FAST | arguments)

    return fit
