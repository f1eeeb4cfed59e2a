"""Responses of several contexts, averaged and scaled by one amplitude."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..._logging import logger
from ._context_agreement import normalised
from ._context_shift import ContextShift

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..._typing import Floats, Ints
    from ._context_agreement import Agreement
    from ._context_places import Places


class ScaledSources(ContextShift):
    r"""Control cells plus the weighted mean response of the training contexts, times an amplitude.

    The contexts in which a perturbation was measured are its sources. In a context in which it was
    not measured, its response is

    .. math:: a \, \sum_s w_s \delta_s \Big/ \sum_s w_s.

    Both are fitted by least squares to training contexts that are left out in turn:

    - the weight w of a source is the factor by which its responses alone predict those of the other
      contexts, and at least 0. Noisy sources, strong ones and ones unlike the others count less.
    - the amplitude a is the factor by which the weighted mean of the others predicts the context
      that is left out, and at least 0. It is small where the responses of contexts differ.

    With one source, or where no perturbation was measured in two contexts, nothing can be left out:
    the weights are equal and the amplitude is 1.

    - Where the perturbation was measured in the wanted context, its response there is taken, and
      not scaled.
    - A perturbation (single or combination) that was not measured as such gets the mean response.

    A screen without contexts is refused.

    Parameters
    ----------
    adata
        Screen.
    shrink
        Whether responses are shrunk by their noise, towards the mean response.

    Examples
    --------
    >>> import shoal as sh
    >>> from shoal.models import ScaledSources
    >>> adata = sh.ds.simulate(n_perturbations=4, n_genes=60, contexts=3, rng=0)
    >>> sh.pp.annotate(adata, "perturbation", control="control", context_key="context")
    >>> sh.pp.prepare(adata, normalize="log1p")
    >>> model = ScaledSources(adata)
    >>> model.train()
    >>> 0 < model.amplitude < 1
    True
    """

    @property
    def amplitude(self) -> float:
        """Factor of the weighted mean response."""
        return float(self.arrays["amplitude"])

    @property
    def source_weights(self) -> dict[str, float]:
        """Weight of each training context among the sources; they sum to 1."""
        return dict(zip(self.vocabulary.contexts, self.arrays["weight"].tolist(), strict=True))

    def _learn(self, agreement: Agreement, places: Places) -> dict[str, NDArray[Any]]:
        n = agreement.n[:, None, :] * agreement.others
        slopes = agreement.slopes()
        along, size = agreement.products(_sources(slopes, n))
        if not size > 0:
            logger.info(
                "scaled_sources: no perturbation was measured in two contexts of training, so that "
                "no amplitude can be fitted; it is 1"
            )
        amplitude = max(along / size, 0.0) if size > 0 else 1.0
        weight = slopes if slopes.any() else np.ones(len(slopes))
        return {"amplitude": np.array(amplitude), "weight": weight / weight.sum()}

    def _counts(self, n: Ints, distance: Floats) -> Floats:
        return self.amplitude * _sources(self.arrays["weight"], n)


def _sources(weight: Floats, n: Ints) -> Floats:
    """Return weights of the measured contexts that sum to 1; equal ones where all would be 0."""
    measured = n > 0
    counts = weight * measured
    return normalised(np.where(counts.any(axis=-1, keepdims=True), counts, measured * 1.0))
