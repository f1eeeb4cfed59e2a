"""Combinations of perturbations: what the response has beyond the sum of the responses to the parts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .._validate import positive
from ._lists import average_precision
from ._means import counted, shifts, tables

if TYPE_CHECKING:
    from .._typing import Bools, Floats


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

    Higher is better: 1 is perfect, 0 is no relation. A prediction equal to e deviates in no direction: NaN.

    Both deviations share the noise of e. A prediction that is right about the true sum and knows of no interaction is
    therefore off zero: its value approaches :math:`\sqrt{v / (v + |\Delta|^2)}`, with v the squared noise of e and
    :math:`\Delta` the real deviation as measured. Compare with the negative control, which has the same.

    Parameters
    ----------
    predicted
        (P, G) means of the predicted cells, one row a combination.
    real
        (P, G) means of the real cells.
    a
        (P, G) means of the first perturbation alone, from training cells; rows of NaN where it was not measured, or the
        condition is no combination.
    b
        (P, G) means of the second one alone, likewise.
    control
        (P, G) means of the real controls.
    mask
        (P, G) genes that count: leave out the targets of both. All by default.

    Returns
    -------
    (P,) cosines, float64; NaN where a part was not measured or a deviation is 0.

    Raises
    ------
    ValueError
        If the shapes differ, or a value is not finite other than in rows of NaN in `a` and `b`.

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
    of_guess, of_truth, known = _deviations(predicted, real, a, b, control, mask)
    scale = np.linalg.norm(of_guess, axis=1) * np.linalg.norm(of_truth, axis=1)
    found = np.full(len(known), np.nan)
    found[known] = np.einsum("pg,pg->p", of_guess, of_truth) / np.where(scale > 0, scale, np.nan)
    return found


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

    A gene interacts in a combination if the size of its real deviation :math:`\bar x - e` from additivity (see
    :func:`shoal.metrics.additive_residual`) is above `threshold`, or where `labels` say so; genes are ranked by the size of
    the predicted deviation. Higher is better, 1 is perfect. Chance, and the additive prediction itself, is the share
    of interactions among all: give that share beside it.

    With a threshold, combinations of few cells bring in most "interactions", which are noise; with labels from a test they do
    not. Noise that e shares with both deviations lifts the value of any prediction above chance.

    Parameters
    ----------
    predicted
        (P, G) means of the predicted cells, one row a combination.
    real
        (P, G) means of the real cells.
    a
        (P, G) means of the first perturbation alone; rows of NaN where not measured: those combinations are left out.
    b
        (P, G) means of the second one alone, likewise.
    control
        (P, G) means of the real controls.
    threshold
        Size of the real deviation above which a gene interacts, in the units of the means.
    labels
        (P, G) which genes interact, instead of `threshold`.
    mask
        (P, G) genes that count: leave out the targets of both. All by default.

    Returns
    -------
    Average precision, 0 to 1, with tied genes taken together; NaN if nothing interacts, or everything does.

    Raises
    ------
    ValueError
        If the shapes differ, a value is not finite other than in rows of NaN in `a` and `b`, `threshold` is not above 0,
        or not exactly one of `threshold` and `labels` is given.

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
        msg = "give either threshold=, a size of deviation, or labels=, a table of which genes interact"
        raise ValueError(msg)
    of_guess, of_truth, known = _deviations(predicted, real, a, b, control, mask)
    shape = (len(known), of_truth.shape[1])
    genes = counted(mask, shape)[known]
    if threshold is not None:
        positive(threshold, name="threshold")
        hits = np.abs(of_truth) > threshold
    else:
        hits = counted(labels, shape)[known]
    return average_precision(np.abs(of_guess[genes]), hits[genes])


def _deviations(
    predicted: Floats, real: Floats, a: Floats, b: Floats, control: Floats, mask: Bools | None
) -> tuple[Floats, Floats, Bools]:
    """Return predicted and real deviations of the combinations whose parts are known, 0 in masked genes; and which are."""
    parts = [np.asarray(part, dtype=np.float64) for part in (a, b)]
    absent = [np.isnan(part).all(axis=-1, keepdims=True) for part in parts]
    first, second = (np.where(gone, 0.0, part) for gone, part in zip(absent, parts, strict=True))
    guess, truth, first, second, origin = tables(
        predicted=predicted, real=real, a=first, b=second, control=control
    )
    known = ~(absent[0] | absent[1]).ravel()
    genes, additive = counted(mask, truth.shape)[known], (first + second - origin)[known]
    return shifts(guess[known], additive, genes), shifts(truth[known], additive, genes), known
