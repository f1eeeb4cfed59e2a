"""One order of the cells that does not depend on the order of the rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from anndata import AnnData

    from .._typing import Ints


def stable_order(adata: AnnData) -> Ints:
    """Return (n_obs,) the rows in the order of ``obs_names``.

    Whatever draws cells at random draws positions in this order. A shuffled copy of an AnnData then
    gives the same cells. Rows of one name stay in the order of the file: names that repeat make
    draws depend on it.
    """
    names = adata.obs_names.astype(str).to_numpy(dtype=object)
    return np.argsort(names, kind="stable")
