"""Log fold changes from the means of log-normalised values."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from .._typing import Floats


PSEUDOCOUNT = 1e-9  # the default of scanpy


def log_fold_change(mean: Floats, control: Floats, *, pseudocount: float = PSEUDOCOUNT) -> Floats:
    """Log2 fold change from the means of log-normalised values, as scanpy defines it.

    Parameters
    ----------
    mean
        (n_groups, n_genes) means of log1p values (natural logarithm). A mean below 0, which only a
        model can give, counts as 0: no expression.
    control
        Means of the controls, of a shape that fits `mean`.
    pseudocount
        Added to both.

    Returns
    -------
    Array of the shape of `mean`, float64.

    Raises
    ------
    ValueError
        If a value is not finite, or a control mean is negative: such values are no log counts, and
        a difference of means says more.

    Examples
    --------
    >>> import numpy as np
    >>> from shoal.metrics._fold_change import log_fold_change
    >>> log_fold_change(np.log1p([[2.0, 8.0]]), np.log1p([1.0, 8.0])).round(6)
    array([[1., 0.]])
    """
    mean, control = np.asarray(mean, dtype=np.float64), np.asarray(control, dtype=np.float64)
    if not (np.isfinite(mean).all() and np.isfinite(control).all()):
        msg = "mean and control must be finite; NaN or infinite values have no fold change"
        raise ValueError(msg)
    if (control < 0).any():
        msg = (
            "control holds negative means, which log1p counts cannot have; "
            "use the difference of means as the effect"
        )
        raise ValueError(msg)
    above, below = np.expm1(np.maximum(mean, 0.0)) + pseudocount, np.expm1(control) + pseudocount
    return np.log2(above) - np.log2(below)
