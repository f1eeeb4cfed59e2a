"""Control cells plus the responses of the parts of a combination, averaged or summed."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from ._shift import ShiftBaseline

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scipy import sparse

    from ..._typing import Floats


class MatchingMean(ShiftBaseline):
    """Control cells plus the average of the responses of a combination's parts.

    This is the matching mean of Systema.

    A part that was not measured alone counts with the mean response. A single perturbation is its
    own only part.

    Parameters
    ----------
    adata
        Screen.
    shrink
        Whether measured responses are shrunk by their noise, towards the mean response.

    References
    ----------
    Viñas Torné et al. (2025), Nat. Biotechnol., "Systema".

    Examples
    --------
    >>> import shoal as sh
    >>> from shoal.models import MatchingMean
    >>> adata = sh.ds.simulate_gaussian(n_perturbations=4, n_dims=5, rng=0)
    >>> model = MatchingMean(adata)
    >>> model.train()
    >>> model.predict("P1+P2", n_cells=20).shape
    (20, 5)
    """

    def _weights(self, names: Sequence[str]) -> tuple[sparse.csr_matrix, Floats]:
        several = [self._alone(name) for name in names]
        return self._own_weights(several, each=[1 / len(parts) for parts in several])


class Additive(ShiftBaseline):
    """Control cells plus the sum of the responses of a combination's parts.

    A combination that was measured itself gets the sum of its parts too. A single perturbation is
    its own only part.

    Parameters
    ----------
    adata
        Screen.
    shrink
        Whether measured responses are shrunk by their noise, towards the mean response.

    References
    ----------
    Ahlmann-Eltze et al. (2025), Nat. Methods.

    Examples
    --------
    >>> import shoal as sh
    >>> from shoal.models import Additive
    >>> adata = sh.ds.simulate_gaussian(n_perturbations=4, n_dims=5, rng=0)
    >>> model = Additive(adata)
    >>> model.train()
    >>> model.predict("P1+P2", n_cells=20).shape
    (20, 5)
    """

    refusal: ClassVar[str] = (
        "the parts of each must have training cells of their own; 'own_shift' and "
        "'matching_mean' put the mean response in the place of what was not measured"
    )

    def _unknown(self, names: Sequence[str]) -> list[str]:
        return [name for name in names if not self._row.keys() >= set(self._alone(name))]

    def _weights(self, names: Sequence[str]) -> tuple[sparse.csr_matrix, Floats]:
        return self._own_weights([self._alone(name) for name in names], each=[1.0] * len(names))
