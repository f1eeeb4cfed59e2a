"""Combinations of perturbations: what responds beyond the sum of the single responses."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .._validate import positive
from ._arguments import arrays
from ._lists import average_precision
from ._means import counted, shifts, tables
from ._texts import documented

if TYPE_CHECKING:
    from .._typing import Bools, Floats


@arrays
@documented
def additive_residual(
    predicted: Floats,
    real: Floats,
    *,
    a: Floats,
    b: Floats,
    control: Floats,
    mask: Bools | None = None,
) -> Floats:
    r"""Cosine of the predicted with the real deviation from additivity.

    .. math:: \cos(\hat y - e,\; \bar x - e), \qquad e = \bar x_a + \bar x_b - \bar c

    Here e is the additive expectation: the sum of the two single responses. Higher is better: 1 is
    perfect and 0 means no relation. A prediction equal to e has no deviation, and its value is NaN.

    Both deviations share the sampling noise of e. So a prediction of the true sum, without any
    interaction, is not at 0. Its value approaches :math:`\sqrt{v / (v + |\Delta|^2)}`, with v the
    squared noise of e and :math:`\Delta` the measured real deviation. Compare with the negative
    control, which has the same offset.

    Parameters
    ----------
    predicted
        (P, G) means of the predicted cells, one row per combination.
    real
        {real_means}
    a
        (P, G) means of the first perturbation alone, from training cells. Rows of NaN where it was
        not measured, or where the condition is no combination.
    b
        (P, G) means of the second perturbation alone, with NaN likewise.
    control
        (P, G) means of the real control cells.
    mask
        (P, G) booleans: the genes that count. All by default; leave out the targets of both
        perturbations.

    Returns
    -------
    (P,) cosines, float64; NaN where a single perturbation was not measured or a deviation is 0.

    Raises
    ------
    ValueError
        If the shapes differ, or a value is not finite outside the rows of NaN in `a` and `b`.

    References
    ----------
    norman2019manifolds, for additivity of combined perturbations.

    Examples
    --------
    >>> import numpy as np, shoal as sh
    >>> zero, a, b = np.zeros((1, 3)), np.array([[1.0, 0.0, 0.0]]), np.array([[0.0, 1.0, 0.0]])
    >>> sh.metrics.additive_residual(
    ...     a + b + [0, 0, 0.5], a + b + [0, 0, 2.0], a=a, b=b, control=zero
    ... )
    array([1.])
    """
    of_predicted, of_truth, known = _deviations(predicted, real, a, b, control, mask)
    scale = np.linalg.norm(of_predicted, axis=1) * np.linalg.norm(of_truth, axis=1)
    cosine = np.full(len(known), np.nan)
    cosine[known] = np.einsum("pg,pg->p", of_predicted, of_truth) / np.where(
        scale > 0, scale, np.nan
    )
    return cosine


@arrays
@documented
def interaction_auprc(
    predicted: Floats,
    real: Floats,
    *,
    a: Floats,
    b: Floats,
    control: Floats,
    threshold: float | None = None,
    labels: Bools | None = None,
    mask: Bools | None = None,
) -> float:
    r"""Average precision of finding interactions, over all genes of all combinations together.

    A gene interacts in a combination if its real deviation :math:`\bar x - e` from additivity
    (:func:`shoal.metrics.additive_residual`) is larger than `threshold`, or if `labels` say so.
    Genes are ranked by the size of the predicted deviation. Higher is better and 1 is perfect.
    Chance is the share of interactions among all genes, which is also the value of the additive
    prediction: report that share beside it.

    Two cautions:

    - With a threshold, most "interactions" are noise from combinations with few cells. Labels from
      a statistical test avoid this.
    - The noise of e is in both deviations, and lifts the value of any prediction above chance.

    Parameters
    ----------
    predicted
        (P, G) means of the predicted cells, one row per combination.
    real
        {real_means}
    a
        (P, G) means of the first perturbation alone. Combinations with a row of NaN are left out.
    b
        (P, G) means of the second perturbation alone, with NaN likewise.
    control
        (P, G) means of the real control cells.
    threshold
        Size of the real deviation above which a gene interacts, in the units of the means.
    labels
        (P, G) booleans: which genes interact. Give either this or `threshold`.
    mask
        (P, G) booleans: the genes that count. All by default; leave out the targets of both
        perturbations.

    Returns
    -------
    Average precision, 0 to 1; tied genes are taken together. NaN if nothing interacts or everything
    does.

    Raises
    ------
    ValueError
        If the shapes differ, a value is not finite outside the rows of NaN in `a` and `b`,
        `threshold` is not above 0, or not exactly one of `threshold` and `labels` is given.

    References
    ----------
    Ahlmann-Eltze et al. (2025), Nat. Methods.

    Examples
    --------
    >>> import numpy as np, shoal as sh
    >>> zero, real = np.zeros((1, 4)), np.array([[0.0, 3.0, 0.1, -2.0]])
    >>> sh.metrics.interaction_auprc(0.1 * real, real, a=zero, b=zero, control=zero, threshold=1.0)
    1.0
    """
    if (threshold is None) == (labels is None):
        msg = (
            "give either threshold=, a size of deviation, or labels=, "
            "a table of which genes interact"
        )
        raise ValueError(msg)
    of_predicted, of_truth, known = _deviations(predicted, real, a, b, control, mask)
    shape = (len(known), of_truth.shape[1])
    genes = counted(mask, shape)[known]
    if threshold is not None:
        positive(threshold, name="threshold")
        hits = np.abs(of_truth) > threshold
    else:
        hits = counted(labels, shape)[known]
    return average_precision(np.abs(of_predicted[genes]), hits[genes])


def _deviations(
    predicted: Floats, real: Floats, a: Floats, b: Floats, control: Floats, mask: Bools | None
) -> tuple[Floats, Floats, Bools]:
    """Return predicted and real deviations, and which combinations have both parts measured.

    The deviations have one row for each such combination, and are 0 in genes that do not count.
    """
    parts = [np.asarray(part, dtype=np.float64) for part in (a, b)]
    absent = [np.isnan(part).all(axis=-1, keepdims=True) for part in parts]
    first, second = (np.where(gone, 0.0, part) for gone, part in zip(absent, parts, strict=True))
    predicted, truth, first, second, origin = tables(
        predicted=predicted, real=real, a=first, b=second, control=control
    )
    known = ~(absent[0] | absent[1]).ravel()
    genes, additive = counted(mask, truth.shape)[known], (first + second - origin)[known]
    return shifts(predicted[known], additive, genes), shifts(truth[known], additive, genes), known
