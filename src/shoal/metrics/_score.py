"""The overall score of a prediction, from its losses on several metrics.

Each loss is measured in units of what its metric can tell on these data. The mean of skills
(:mod:`shoal.metrics._skill`) would be no score. A skill compares with the best baseline of a
metric. Where that baseline is nearly as good as a second experiment, the gap between the two is
noise, and so is the skill.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ._calibration import paired

if TYPE_CHECKING:
    from .._typing import Floats

# largest shortfall: as far beyond the negative control as that is from the positive control
WORST = 2.0


def shortfall(losses: Floats, *, positive_control: Floats, negative_control: Floats) -> float:
    r"""How far a prediction stays behind a second experiment, on one metric.

    .. math:: \ell = \frac{L - L^+}{L^- - L^+}, \text{ cut off at 0 and 2}

    L is the mean loss of the prediction, L⁺ that of the positive control (a second experiment) and
    L⁻ that of the negative control, over the conditions that all three have.

    - 0: as good as a second experiment, or better.
    - 1: as bad as the negative control.
    - 2: the end, so that no single metric decides.

    Parameters
    ----------
    losses
        (P,) losses of the prediction (:func:`shoal.metrics._calibration.loss`); 0 is perfect.
    positive_control, negative_control
        (P,) losses of the two controls.

    Returns
    -------
    Shortfall, 0 to 2. NaN if no condition is shared, or the negative control is not worse than the
    positive one.

    Raises
    ------
    ValueError
        If the arrays differ in length.

    Examples
    --------
    >>> from shoal.metrics._score import shortfall
    >>> round(shortfall([0.3, 0.5], positive_control=[0.1, 0.1], negative_control=[0.7, 0.7]), 6)
    0.5
    """
    of_prediction, good, bad = paired(losses, positive_control, negative_control)
    if not of_prediction.size or not bad.mean() > good.mean():
        return float("nan")
    return float(
        np.clip((of_prediction.mean() - good.mean()) / (bad.mean() - good.mean()), 0, WORST)
    )


def overall(prediction: Floats, reference: Floats) -> float:
    r"""Overall score of a prediction beside a reference, from their shortfalls on M metrics.

    .. math:: s = \frac{\bar\ell_\mathrm{ref} - \bar\ell}{\max(\bar\ell_\mathrm{ref}, \bar\ell)}

    The means are over the metrics that both have. It is a ratio of means, as is
    :func:`shoal.metrics.skill`, so a metric on which there is little to gain weighs little.

    - 1: as good as a second experiment on all metrics.
    - 0: as good as the reference.
    - Below 0: the reference is better, by as much as the prediction would be at the opposite value.
      The bound is −1.

    Parameters
    ----------
    prediction, reference
        (M,) shortfalls (:func:`shortfall`); NaN where missing.

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
    of_prediction, of_reference = paired(prediction, reference)
    if not of_prediction.size:
        return float("nan")
    most = max(of_prediction.mean(), of_reference.mean())
    return float((of_reference.mean() - of_prediction.mean()) / most) if most > 0 else 0.0
