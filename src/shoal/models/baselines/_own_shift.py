"""Control cells plus the perturbation's own response, from other contexts where it has to be."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._shift import ShiftBaseline

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scipy import sparse

    from ..._typing import Floats


class OwnShift(ShiftBaseline):
    """Control cells plus the perturbation's own response, measured in training.

    The response is

    - that of the wanted context, where the perturbation was measured there;
    - else over all contexts: the additive model of perturbation and context, which State calls the
      perturbation mean;
    - for a perturbation (single or combination) that was not measured as such, the mean response.

    Parameters
    ----------
    adata
        Screen.
    shrink
        Whether measured responses are shrunk by their noise, towards the mean response.

    Examples
    --------
    >>> import shoal as sh
    >>> from shoal.models import OwnShift
    >>> adata = sh.ds.simulate_gaussian(n_perturbations=4, n_dims=5, rng=0)
    >>> model = OwnShift(adata)
    >>> model.train()
    >>> model.predict("P1", n_cells=20).shape
    (20, 5)
    """

    def _weights(self, names: Sequence[str]) -> tuple[sparse.csr_matrix, Floats]:
        return self._own_weights([(name,) for name in names], each=[1.0] * len(names))
