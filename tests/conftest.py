from __future__ import annotations

import os
from pathlib import Path

import anndata as ad
import numpy as np
import pytest

SHARED = Path(__file__).parents[2] / "shared" / "data"


def real_path(name: str) -> Path:
    """Return the path of a real file, or skip loudly."""
    folder = Path(os.environ.get("SHOAL_DATA_DIR", SHARED))
    path = folder / name
    if not path.exists():
        pytest.skip(
            f"real data absent: {path} (set SHOAL_DATA_DIR to the folder that holds {name})"
        )
    return path


def real(name: str) -> ad.AnnData:
    """Read a real data set, or skip loudly."""
    return ad.read_h5ad(real_path(name))


@pytest.fixture(scope="session")
def read_real():
    """Return the reader of real data sets: `read_real("papalexi21_sceptre_lowmoi.h5ad")`."""
    return real


@pytest.fixture(scope="session")
def find_real():
    """Return the finder of other real files: `find_real("networks/collectri_human.csv")`."""
    return real_path


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def screen_adata(rng):
    """A small screen in 12 dimensions with known shifts: 60 controls, A (big), B (small), C+D (none), two batches."""
    sizes = {"control": 60, "A": 40, "B": 30, "C+D": 25}
    label = np.repeat(list(sizes), list(sizes.values()))
    x = rng.normal(size=(len(label), 12))
    x[label == "A", 0] += 3
    x[label == "B", 1] += 1
    adata = ad.AnnData(x)
    adata.obs_names = [f"cell{i}" for i in range(len(label))]
    adata.var_names = [f"gene{i}" for i in range(12)]
    adata.obs["perturbation"] = label
    adata.obs["batch"] = np.where(np.arange(len(label)) % 2 == 0, "b0", "b1")
    return adata
