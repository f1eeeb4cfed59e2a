"""One number for a contender: its losses on several metrics, each in units of what the metric can tell on these data.

Skills (:mod:`shoal.metrics._skill`) say how a prediction does on one metric, against the best baseline of that metric. Their mean
is no score: where that baseline is nearly as good as a second experiment the gap between the two is noise, and so is the skill.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ._calibration import paired

if TYPE_CHECKING:
    from .._typing import Floats

WORST = 2.0  # shortfall at which a metric stops counting: as far beyond the negative control as that is from the positive


def shortfall(losses: Floats, *, positive_control: Floats, negative_control: Floats) -> float:
    r"""How far a contender stays behind a second experiment on one metric, in units of the range between the controls.

    .. math:: \ell = \frac{L - L^+}{L^- - L^+}, \text{ within 0 and 2}

    with the mean losses L over the conditions that all three have. 0: as good as a second experiment, or better. 1: as
    bad as the negative control. It ends at 2, so that no single metric decides.

    Parameters
    ----------
    losses, positive_control, negative_control
        (P,) losses, 0 being perfect (:func:`shoal.metrics._calibration.loss`), of the contender and of the two controls.

    Returns
    -------
    Shortfall, 0 to 2; NaN if no condition is shared, or the negative control is not behind the positive one.

    Raises
    ------
    ValueError
        If the arrays differ in length.

    Examples
    --------
    >>> from shoal.metrics._score import shortfall
    >>> shortfall([0.3, 0.5], positive_control=[0.1, 0.1], negative_control=[0.7, 0.7])
    0.5
    """
    own, good, bad = paired(losses, positive_control, negative_control)
    if not own.size or not bad.mean() > good.mean():
        return float("nan")
    return float(np.clip((own.mean() - good.mean()) / (bad.mean() - good.mean()), 0, WORST))


def overall(contender: Floats, reference: Floats) -> float:
    r"""Score of a contender beside a reference, from their shortfalls on M metrics.

    .. math:: s = \frac{\bar\ell_\mathrm{ref} - \bar\ell}{\max(\bar\ell_\mathrm{ref}, \bar\ell)}

    with the means over the metrics that both have. 1: as good as a second experiment on all of them. 0: as good as the
    reference. Below 0 the reference is as much better as the contender would be at the opposite value; −1 is the
    bound. As for :func:`shoal.metrics._skill.skill` it is a ratio of means: a metric on which there is little to gain weighs
    little.

    Parameters
    ----------
    contender, reference
        (M,) shortfalls (:func:`shortfall`), NaN where missing.

    Returns
    -------
    Score, −1 to 1; NaN if no metric is shared.

    Raises
    ------
    ValueError
        If the arrays differ in length.

    Examples
    --------
    >>> from shoal.metrics._score import overall
    >>> (
    ...     overall([0.2, 0.2], [0.5, 0.3]),
    ...     overall([0.5, 0.3], [0.2, 0.2]),
    ...     overall([0.0, 0.0], [0.5, 0.3]),
    ... )
    (0.5, -0.5, 1.0)
    """
    own, of_reference = paired(contender, reference)
    if not own.size:
        return float("nan")
    most = max(own.mean(), of_reference.mean())
    return float((of_reference.mean() - own.mean()) / most) if most > 0 else 0.0
