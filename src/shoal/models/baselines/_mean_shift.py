"""Control cells plus the mean response of training: the same for every perturbation."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from ._shift import ShiftBaseline

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from scipy import sparse

    from ..._typing import Floats
    from ...core._population import Population


class MeanShift(ShiftBaseline):
    """Control cells plus the mean response of the training perturbations, each counting once.

    The response is the same for every perturbation: the mean baseline of the field, with cells. A
    perturbation counts with its response in the wanted context, or over all contexts where it was
    not measured there. The mean of many responses has little noise, and is not shrunk.

    Parameters
    ----------
    adata
        Screen.

    Examples
    --------
    >>> import shoal as sh
    >>> from shoal.models import MeanShift
    >>> adata = sh.ds.simulate_gaussian(n_perturbations=4, n_dims=5, rng=0)
    >>> model = MeanShift(adata)
    >>> model.train()
    >>> model.predict("P1", n_cells=20).shape
    (20, 5)
    """

    estimates_noise: ClassVar[bool] = False

    def __init__(self, adata: AnnData | Population):
        self._start(adata)

    def _weights(self, names: Sequence[str]) -> tuple[sparse.csr_matrix, Floats]:
        return self._own_weights([()] * len(names), each=[0.0] * len(names))[0], np.ones(len(names))
