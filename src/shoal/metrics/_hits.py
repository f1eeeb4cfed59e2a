"""Hits: which perturbations respond, and whether a prediction would have chosen them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ._arguments import arrays

if TYPE_CHECKING:
    from .._typing import Bools, Floats


def strongest(strength: Floats, *, share: float = 0.1) -> Bools:
    """Mark the perturbations with the strongest responses as hits.

    Parameters
    ----------
    strength
        (P,) real strengths, such as magnitudes or numbers of significant genes.
    share
        Share of the perturbations that are hits, rounded up. Those tied with the last one are hits
        too.

    Returns
    -------
    (P,) booleans.

    Raises
    ------
    ValueError
        If a strength is not finite or `share` is not between 0 and 1.

    Examples
    --------
    >>> import numpy as np
    >>> from shoal.metrics._hits import strongest
    >>> strongest(np.array([5.0, 1, 4, 4]), share=0.5)
    array([ True, False,  True,  True])
    """
    values = _finite(strength, "strength")
    if not 0 < share < 1:
        msg = f"share must be between 0 and 1, not {share!r}"
        raise ValueError(msg)
    if not len(values):
        return np.zeros(0, dtype=bool)
    return values >= np.sort(values)[-_whole(share * len(values))]


@arrays
def hits_recall_budget(score_predicted: Floats, hit_real: Bools, *, budget: float = 0.2) -> float:
    """Share of the true hits among the perturbations with the highest predicted scores.

    The number of perturbations is the budget of a follow-up experiment. From 0 to 1; higher is
    better. The best possible value is min(1, budget / hits). A random choice gives budget /
    perturbations, and so does a constant prediction: ties at the end of the budget share the places
    left.

    Parameters
    ----------
    score_predicted
        (P,) predicted strengths.
    hit_real
        (P,) booleans: which perturbations are hits.
    budget
        Perturbations that can be measured: a whole number from 1 on, or a share below 1, rounded
        up.

    Returns
    -------
    Recall; NaN without a hit.

    Raises
    ------
    ValueError
        If the shapes differ, a score is not finite, hits are not boolean, or `budget` is not above
        0.

    References
    ----------
    PerturbHD (2026).

    Examples
    --------
    >>> import numpy as np
    >>> from shoal.metrics import hits_recall_budget
    >>> hits_recall_budget(np.array([4.0, 3, 3, 1]), np.array([True, True, False, False]), budget=2)
    0.75
    """
    score, hit = _checked(score_predicted, hit_real)
    if not budget > 0 or (budget >= 1 and budget != int(budget)):
        msg = (
            "budget must be a whole number of perturbations, or a share of them between 0 and 1, "
            f"not {budget!r}"
        )
        raise ValueError(msg)
    n = min(_whole(budget * len(score) if budget < 1 else budget), len(score))
    if not hit.any():
        return np.nan
    end = np.sort(score)[-n]
    above, tied = score > end, score == end
    return float((hit[above].sum() + hit[tied].mean() * (n - above.sum())) / hit.sum())


@arrays
def hits_recall_fdr(score_predicted: Floats, hit_real: Bools, *, q: float = 0.1) -> float:
    """Largest share of the true hits in a list from the top with few false hits.

    The list is the longest from the top of the ranking in which at most a share `q` is false. From
    0 to 1; higher is better and 1 is perfect. The end of the list is chosen with the truth known:
    this is the best that the scores allow, not what a user would get.

    - Perturbations with the same score are in the list together or not at all.
    - 0 means that no list qualifies, for instance because the top of the ranking is false.
    - With few hits the value jumps.

    Parameters
    ----------
    score_predicted
        (P,) predicted strengths.
    hit_real
        (P,) booleans: which perturbations are hits.
    q
        Largest share of false hits in the list.

    Returns
    -------
    Recall; NaN without a hit.

    Raises
    ------
    ValueError
        If the shapes differ, a score is not finite, hits are not boolean, or `q` is not between 0
        and 1.

    References
    ----------
    PerturbHD (2026).

    Examples
    --------
    >>> import numpy as np
    >>> from shoal.metrics import hits_recall_fdr
    >>> hits_recall_fdr(np.array([4.0, 3, 2, 1]), np.array([True, False, True, False]), q=0.4)
    1.0
    """
    score, hit = _checked(score_predicted, hit_real)
    if not 0 <= q < 1:
        msg = f"q must be at least 0 and below 1, not {q!r}"
        raise ValueError(msg)
    if not hit.any():
        return np.nan
    order = np.argsort(-score)
    ordered = score[order]
    last = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True))
    n_true = np.cumsum(hit[order])[last]
    allowed = (last + 1 - n_true) <= q * (last + 1)
    return float(n_true[allowed].max(initial=0) / hit.sum())


def _checked(score: Floats, hit: Bools) -> tuple[Floats, Bools]:
    """Return scores and hits as arrays of one length.

    Raises
    ------
    ValueError
        If they are not.
    """
    values, marked = _finite(score, "score_predicted"), np.asarray(hit)
    if marked.dtype != bool or marked.shape != values.shape:
        msg = (
            f"hit_real must hold {len(values)} booleans, not {marked.dtype} of shape {marked.shape}"
        )
        raise ValueError(msg)
    return values, marked


def _finite(values: Floats, name: str) -> Floats:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or not np.isfinite(array).all():
        msg = f"{name} must be 1-D and finite; leave out perturbations without a value"
        raise ValueError(msg)
    return array


def _whole(number: float) -> int:
    """Return a number of perturbations, rounded up.

    A number that is above an integer only by the rounding of a product is not rounded up.
    """
    return int(np.ceil(number - 1e-9))
