"""What tests of several folders share and what is no fixture."""

from __future__ import annotations

import numpy as np
from scipy import sparse


def dense(values) -> np.ndarray:
    """Return a matrix, also one of dask, as a dense array."""
    values = values.compute() if hasattr(values, "compute") else values
    return values.toarray() if sparse.issparse(values) else np.asarray(values)
