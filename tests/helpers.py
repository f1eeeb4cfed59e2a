"""What tests of several folders share and what is no fixture."""

from __future__ import annotations

import numpy as np
from scipy import sparse


def dense(values) -> np.ndarray:
    """Return a matrix, also one of dask, as a dense array."""
    values = values.compute() if hasattr(values, "compute") else values
    return values.toarray() if sparse.issparse(values) else np.asarray(values)


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
