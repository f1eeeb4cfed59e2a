"""Predicted against real responses: do they agree in direction and in coherence."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ._arguments import arrays
from ._coherence import coherence, signed_sqrt
from ._means import counted, tables
from ._texts import documented

if TYPE_CHECKING:
    from .._typing import Bools, Floats

ROUNDING = 1e-12  # a shift that varies by less than this share of the values is rounding


@arrays
def pearson_delta(
    predicted: Floats, real: Floats, *, reference: Floats, mask: Bools | None = None
) -> float:
    """Pearson correlation over genes of the predicted with the real shift of the mean.

    The reference decides what the number means:

    - from the *control* mean, much of a shift is common to all perturbations of a screen, and a
      prediction of that common part alone scores high;
    - from the *mean of the perturbed* cells, only what distinguishes one perturbation from another
      counts.

    Report both.

    Parameters
    ----------
    predicted
        (n_genes,) mean of the predicted cells.
    real
        (n_genes,) mean of the real cells.
    reference
        (n_genes,) mean from which both shifts are measured. Estimate it from other cells than the
        two means: noise that it shares with them counts as agreement.
    mask
        (n_genes,) booleans: the genes that count. All by default. Leave out the target of the
        perturbation, whose shift is trivial.

    Returns
    -------
    Correlation, -1 to 1; NaN where a shift is equal in all genes, as for a prediction equal to the
    reference.

    Raises
    ------
    ValueError
        If the shapes differ, a value is not finite, or fewer than 2 genes count.

    References
    ----------
    Viñas Torné et al. (2025), Nat. Biotechnol., "Systema", for the perturbed reference.

    Examples
    --------
    >>> import numpy as np, shoal as sh
    >>> control, real = np.zeros(4), np.array([2.0, 1.0, 0.0, -1.0])
    >>> round(sh.metrics.pearson_delta(3 * real, real, reference=control), 6)
    1.0
    """
    means = [np.asarray(mean, dtype=np.float64) for mean in (predicted, real, reference)]
    if means[0].ndim != 1 or len({mean.shape for mean in means}) > 1:
        shapes = ", ".join(str(mean.shape) for mean in means)
        msg = (
            "predicted, real and reference must be means over the same genes, 1-D, "
            f"not arrays of shape {shapes}"
        )
        raise ValueError(msg)
    if mask is not None:
        chosen = np.asarray(mask)
        if chosen.shape != means[0].shape or chosen.dtype != bool:
            msg = (
                f"mask must hold {len(means[0])} booleans, "
                f"not {chosen.dtype} of shape {chosen.shape}"
            )
            raise ValueError(msg)
        means = [mean[chosen] for mean in means]
    if len(means[0]) < 2:
        msg = f"{len(means[0])} genes count; a correlation over genes takes at least 2"
        raise ValueError(msg)
    bad = [
        name
        for name, mean in zip(("predicted", "real", "reference"), means, strict=True)
        if _bad(mean)
    ]
    if bad:
        msg = f"{' and '.join(bad)} hold NaN or infinite values; leave those genes out with mask="
        raise ValueError(msg)
    return float(_direction(means[0], means[2]) @ _direction(means[1], means[2]))


@documented
def pearson_rows(
    predicted: Floats,
    real: Floats,
    *,
    reference: Floats,
    mask: Bools | None = None,
    centre: bool = True,
) -> Floats:
    """Return :func:`pearson_delta` of every condition, (P,), from tables (P, n_genes) of means.

    Parameters
    ----------
    predicted
        {predicted_means}
    real
        {real_means}
    reference
        (P, G) means from which both shifts are measured.
    mask
        {mask}
    centre
        Whether to subtract the mean over genes from each shift. Without it, this is the cosine.

    Returns
    -------
    (P,) correlations; NaN where fewer than 2 genes count, or a shift is equal in all genes (for the
    cosine: is 0).

    Raises
    ------
    ValueError
        If the shapes differ or a value is not finite.
    """
    predicted, truth, origin = tables(predicted=predicted, real=real, reference=reference)
    genes = counted(mask, truth.shape)
    n = genes.sum(axis=1, keepdims=True)
    rows = []
    for means in (predicted, truth):
        shift = np.where(genes, means - origin, 0.0)
        if centre:
            shift = np.where(
                genes, shift - shift.sum(axis=1, keepdims=True) / np.maximum(n, 1), 0.0
            )
        length = np.linalg.norm(shift, axis=1, keepdims=True)
        scale = np.maximum(*(np.linalg.norm(m, axis=1, keepdims=True) for m in (means, origin)))
        rows.append(shift / np.where((length > ROUNDING * scale) & (n > 1), length, np.nan))
    return np.asarray((rows[0] * rows[1]).sum(axis=1))


@arrays
@documented
def coherence_error(predicted: Floats, real: Floats, *, control: Floats) -> float:
    """Coherence of the predicted response less that of the real response.

    Both are measured against the same control cells.

    - Above 0, the prediction is too coherent: the model moves all cells by one vector, or predicts
      a mean for every cell.
    - Below 0, it is not coherent enough: the model adds noise, or its cells move in unrelated
      directions.

    Parameters
    ----------
    predicted
        {predicted_cells}
    real
        {real_cells}
    control
        (k, d) control cells.

    Returns
    -------
    Difference of the coherences r (signed roots of :func:`shoal.metrics.coherence`); 0 is perfect.

    Raises
    ------
    ValueError
        As for :func:`shoal.metrics.coherence`.

    Examples
    --------
    >>> import numpy as np, shoal as sh
    >>> rng = np.random.default_rng(0)
    >>> control, real = rng.normal(0, 1, (90, 5)), rng.normal(1, 1, (50, 5))
    >>> collapsed = np.tile(real.mean(axis=0), (50, 1))
    >>> sh.metrics.coherence_error(collapsed, real, control=control) > 0.1
    True
    """
    kappas = np.array([coherence(cells, control) for cells in (predicted, real)])
    of_predicted, of_real = signed_sqrt(kappas)
    return float(of_predicted - of_real)


def _bad(mean: Floats) -> bool:
    return not bool(np.isfinite(mean).all())


def _direction(mean: Floats, reference: Floats) -> Floats:
    """Return the centred shift with length 1; NaN where it is equal in all genes."""
    shift = mean - reference
    shift = shift - shift.mean()
    length = np.linalg.norm(shift)
    scale = max(np.linalg.norm(mean), np.linalg.norm(reference))
    return shift / (length if length > ROUNDING * scale else np.nan)
