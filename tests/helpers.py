"""What tests of several folders share and what is no fixture."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
from scipy import sparse

import shoal as sh


def dense(values) -> np.ndarray:
    """Return a matrix, also one of dask, as a dense array."""
    values = values.compute() if hasattr(values, "compute") else values
    return values.toarray() if sparse.issparse(values) else np.asarray(values)


def two_days(rng) -> ad.AnnData:
    """Two days, two plates; A and C/D in train, B+A in test, E in val; 120 controls; a third of the values are not 0."""
    sizes = {"control": 120, "A": 24, "B+A": 20, "C/D": 12, "E": 8}
    label = rng.permutation(np.repeat(list(sizes), list(sizes.values())))
    values = rng.random((len(label), 10)) * 3 + 0.1
    found = ad.AnnData(
        sparse.csr_matrix(np.where(rng.random(values.shape) < 0.35, values, 0).astype(np.float32))
    )
    found.obs_names = [f"cell{i}" for i in range(len(label))]
    found.var_names = [f"gene{i}" for i in range(10)]
    found.obs["perturbation"] = label
    found.obs["day"] = np.arange(len(label)) % 3 % 2 + 1
    found.obs["plate"] = np.where(np.arange(len(label)) % 2 == 0, "x", "y")
    found.obs["split"] = pd.Categorical(
        pd.Series(label).map(
            {"control": "train", "A": "train", "B+A": "test", "C/D": "train", "E": "val"}
        )
    )
    sh.pp.annotate(found, "perturbation", control="control", context_key="day", batch_key="plate")
    return found


def slots(adata) -> tuple[set[str], ...]:
    """Return the names of an AnnData's columns and slots."""
    return set(adata.obs), set(adata.layers), set(adata.obsm), set(adata.uns)


def contents(adata) -> dict[str, object]:
    """Return every slot of an AnnData with a digest of its values, to compare before and after."""
    found: dict[str, object] = {"X": _digest(adata.X)}
    for where in ("obs", "var", "obsm", "varm", "layers", "obsp", "uns"):
        place = getattr(adata, where)
        found[where] = list(place)
        found |= {f"{where}/{name}": _digest(place[name]) for name in place}
    return found


def _digest(value):
    if hasattr(value, "items") and not hasattr(value, "iloc"):
        return {str(name): _digest(part) for name, part in value.items()}
    if hasattr(value, "columns"):
        return {str(c): _digest(value[c]) for c in value.columns} | {
            "index": str(list(value.index))
        }
    if hasattr(value, "cat"):
        return str(value.astype(object).tolist())
    if sparse.issparse(value):
        return hash((value.shape, value.toarray().tobytes()))
    values = np.asarray(value)
    return str(values.tolist()) if values.dtype == object else hash(values.tobytes())
