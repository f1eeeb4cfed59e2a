"""Discrimination: whether a prediction can be told from those of other perturbations.

Each mean looks for its counterpart among the means of all conditions, by distance. The score is the
rank of the counterpart.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from .._threads import one_thread
from ._arguments import arrays
from ._mean_ranks import rank_among
from ._means import tables
from ._texts import documented

if TYPE_CHECKING:
    from .._typing import Bools, Floats, Ints

Metric = Literal["l1", "l2", "cosine"]


@arrays
@one_thread()
@documented
def discrimination_score(
    predicted: Floats,
    real: Floats,
    *,
    metric: Metric = "l1",
    mask: Bools | None = None,
    group: Ints | None = None,
    ties: Literal["average", "order"] = "average",
    scale: Literal["pds", "unit"] = "pds",
) -> Floats:
    r"""Perturbation discrimination score (PDS): how early a prediction finds its real mean.

    The distances d from the prediction of a condition to all N real means are ranked:

    .. math:: \mathrm{PDS}_p = 1 - \frac{\mathrm{rank}_p}{N}, \qquad
              \mathrm{rank}_p = \#\{j \ne p : d(\hat y_p, \bar x_j) < d(\hat y_p, \bar x_p)\}

    Higher is better and 1 is perfect. Chance is 0.5 + 1/(2N), which is also the value of a
    prediction that is the same for all conditions. With ``scale="unit"`` chance is 0.5 for every N.

    It has three blind spots. It does not see the size of an error. With l1 and l2, a scale of the
    shift that suits the neighbours is rewarded. And it saturates where responses are strong and
    different.

    Parameters
    ----------
    predicted
        {predicted_means}
        For the cosine: shifts from the mean of the real controls.
    real
        (P, G) real means, or shifts, of the same conditions.
    metric
        Distance: ``"l1"`` (sum of absolute differences), ``"l2"`` (Euclidean) or ``"cosine"`` (1 -
        cosine). The cosine with a shift of length 0 counts as 0.
    mask
        (P, G) booleans: the genes that count when the prediction of row p is compared with all real
        means. All by default. Leave out the targets of all conditions, in all rows, and not only
        each condition's own: otherwise what is predicted for the targets of others wins ranks.
    group
        {group}
    ties
        ``"average"``: a tie counts as half. ``"order"``: the earlier row wins, as in cell-eval.
        There, a prediction that cannot tell two conditions apart is right about the first one.
    scale
        ``"pds"`` divides the rank by N, the number of conditions of the context, as published.
        ``"unit"`` divides it by N - 1, so that the worst score is 0.

    Returns
    -------
    (P,) scores, float64; NaN for a condition that is alone in its context.

    Raises
    ------
    ValueError
        If the shapes differ, a value is not finite, or an option is not known.

    References
    ----------
    cell-eval 0.8 (``discrimination_score_l1``, ``_l2``, ``_cosine``) with ``ties="order"``; Virtual
    Cell Challenge 2025.

    Examples
    --------
    >>> import numpy as np, shoal as sh
    >>> real = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 4.0]])
    >>> sh.metrics.discrimination_score(real + 0.1, real)
    array([1., 1., 1.])
    """
    predicted, truth = tables(predicted=predicted, real=real)
    return 1 - rank_among(predicted, truth, metric, mask=mask, group=group, ties=ties, scale=scale)


@arrays
@one_thread()
@documented
def retrieval_rank(
    predicted: Floats,
    real: Floats,
    *,
    metric: Metric = "l2",
    mask: Bools | None = None,
    group: Ints | None = None,
) -> Floats:
    r"""Normalised inverse rank (NIR): how early a real mean finds its own prediction.

    The distances from the real mean of a condition to all N predictions are ranked:

    .. math:: \mathrm{NIR}_p = 1 -
              \frac{\#\{j \ne p : d(\hat y_j, \bar x_p) < d(\hat y_p, \bar x_p)\}}{N - 1}

    Higher is better: 1 is perfect and 0.5 is chance. A tie counts as half, so predictions that are
    all the same get 0.5.

    It is the opposite direction of :func:`shoal.metrics.discrimination_score`. It punishes a model
    that predicts one condition close to everything, for instance a small shift among large ones:
    that prediction takes the first place from the others.

    Parameters
    ----------
    predicted
        {predicted_means}
        For the cosine: shifts from the mean of the real controls.
    real
        (P, G) real means, or shifts, of the same conditions.
    metric
        Distance: ``"l1"``, ``"l2"`` or ``"cosine"``, as for
        :func:`shoal.metrics.discrimination_score`.
    mask
        (P, G) booleans: the genes that count when the real mean of row p is compared with all
        predictions. All by default. Leave out the targets of all conditions, as for
        :func:`shoal.metrics.discrimination_score`.
    group
        {group}

    Returns
    -------
    (P,) scores from 0 to 1, float64; NaN for a condition that is alone in its context.

    Raises
    ------
    ValueError
        If the shapes differ, a value is not finite, or `metric` is not known.

    References
    ----------
    Equal to 1 - ``rank`` of scPertEval 0.2. The ``nir`` of scPertEval ranks the real means for each
    prediction, which is :func:`shoal.metrics.centroid_accuracy`. Miller et al. (2025).

    Examples
    --------
    >>> import numpy as np, shoal as sh
    >>> real = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 4.0]])
    >>> sh.metrics.retrieval_rank(np.ones_like(real), real)
    array([0.5, 0.5, 0.5])
    """
    predicted, truth = tables(predicted=predicted, real=real)
    return 1 - rank_among(truth, predicted, metric, mask=mask, group=group, scale="unit")


@arrays
@one_thread()
@documented
def centroid_accuracy(
    predicted: Floats, real: Floats, *, mask: Bools | None = None, group: Ints | None = None
) -> Floats:
    """Share of the other real means that are farther from a prediction than its own real mean.

    Distances are Euclidean. Higher is better: 1 is perfect and 0.5 is chance; a tie counts as half.
    It is :func:`shoal.metrics.discrimination_score` with l2 and ``scale="unit"``, and has the same
    blind spots.

    Parameters
    ----------
    predicted
        {predicted_means}
    real
        {real_means}
    mask
        (P, G) booleans: the genes that count when the prediction of row p is compared. All by
        default. Leave out the targets of all conditions, as for
        :func:`shoal.metrics.discrimination_score`.
    group
        {group}

    Returns
    -------
    (P,) shares from 0 to 1, float64; NaN for a condition that is alone in its context.

    Raises
    ------
    ValueError
        If the shapes differ or a value is not finite.

    References
    ----------
    Viñas Torné et al. (2025), Nat. Biotechnol., "Systema"; ``nir`` of scPertEval 0.2.

    Examples
    --------
    >>> import numpy as np, shoal as sh
    >>> real = np.array([[0.0], [1.0], [4.0]])
    >>> sh.metrics.centroid_accuracy(np.array([[0.2], [0.2], [0.2]]), real)
    array([1. , 0.5, 0. ])
    """
    return discrimination_score(predicted, real, metric="l2", mask=mask, group=group, scale="unit")


@arrays
@one_thread()
@documented
def rank_score(
    predicted: Floats,
    real: Floats,
    *,
    metric: Metric = "l2",
    mask: Bools | None = None,
    group: Ints | None = None,
) -> Floats:
    """Rank of a condition's own prediction among all predictions, divided by their number.

    Predictions are ranked by their distance to the real mean, as in
    :func:`shoal.metrics.retrieval_rank`. Lower is better: 0 is perfect and 0.5 - 1/(2N) is chance.

    Parameters
    ----------
    predicted
        {predicted_means}
        For the cosine: shifts, or log fold changes.
    real
        (P, G) real means, or shifts, of the same conditions.
    metric
        Distance: ``"l1"``, ``"l2"`` or ``"cosine"``, as for
        :func:`shoal.metrics.discrimination_score`. l2 gives the ranks of the RMSE.
    mask
        (P, G) booleans: the genes that count when the real mean of row p is compared. All by
        default.
    group
        {group}

    Returns
    -------
    (P,) ranks from 0 to below 1, float64; NaN for a condition that is alone in its context.

    Raises
    ------
    ValueError
        If the shapes differ, a value is not finite, or `metric` is not known.

    References
    ----------
    Wu et al. (2024), "PerturBench". It breaks ties at random; the ranks here are the mean of its
    ranks.

    Examples
    --------
    >>> import numpy as np, shoal as sh
    >>> real = np.array([[0.0], [1.0], [4.0], [9.0]])
    >>> sh.metrics.rank_score(real[[1, 0, 2, 3]], real)
    array([0.25, 0.25, 0.  , 0.  ])
    """
    predicted, truth = tables(predicted=predicted, real=real)
    return rank_among(truth, predicted, metric, mask=mask, group=group)
