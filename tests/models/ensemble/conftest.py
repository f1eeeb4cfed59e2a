"""Pairs that are less than the sum of their parts, and the ensemble that learns it."""

from __future__ import annotations

import numpy as np
import pytest
from tests.models.ensemble.screens import pairs

import shoal as sh


@pytest.fixture(scope="package")
def subadditive():
    adata = pairs(np.random.default_rng(0), 0.6)
    sh.pp.split(adata, by="combination", test=0.2, val=0, parts_seen=2, rng=0)
    return adata


@pytest.fixture(scope="package")
def trained(subadditive):
    return sh.tl.fit(subadditive, "auto", rng=0)
