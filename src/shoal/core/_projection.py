"""Control, real and predicted cells of a perturbation, projected on one basis."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..metrics._cells import densify
from ._predicted_cells import finite, on_one_scale
from ._predictions import prediction_slot

if TYPE_CHECKING:
    from .._typing import Floats, Ints
    from ._predicted_cells import Prediction


class Projected(NamedTuple):
    """A perturbation, and its (n, k) cells of three kinds in the basis."""

    name: str
    control: Floats
    real: Floats
    predicted: Floats


def check_dimensions(shown: Prediction, basis: str) -> None:
    """Raise ``ValueError`` if a prediction in a representation is not of the basis."""
    if shown.in_genes:
        return
    _, slot = prediction_slot(shown.adata, shown.name)
    found, expected = (shown.adata.obsm[key].shape[1] for key in (slot, basis))
    if found != expected:
        msg = f"adata.obsm[{slot!r}] has {found} dimensions and {basis!r} {expected}; pass basis="
        raise ValueError(msg)


def projected(
    shown: Prediction, axes: Floats | None, name: str, rows: Ints, controls: Ints, basis: str
) -> Projected:
    """Return the control, real and predicted cells of a perturbation in the basis.

    Parameters
    ----------
    shown
        The prediction.
    axes
        (n_vars, k) axes of the basis, as :func:`axes_of` returns them; None if cells are in it.
    name, rows, controls
        Name of the perturbation, rows of its predicted cells, and rows of control cells.
    basis
        Key of ``obsm``.

    Raises
    ------
    ValueError
        If a value is NaN or infinite, or the prediction is not on the scale of the real cells.
    """
    scores = shown.adata.obsm[basis]
    slot = f"adata.obsm[{basis!r}]"
    real, control = (
        finite(np.asarray(scores[own], dtype=np.float64), slot) for own in (rows, controls)
    )
    predicted = densify(shown.predicted(rows)).astype(np.float64)
    if not np.isfinite(predicted).all():
        msg = f"{shown.name!r} holds NaN for cells of {name!r}; predict them with sh.tl.predict"
        raise ValueError(msg)
    if axes is not None:  # the PCA's centre is what real cells lose from genes to scores
        genes = shown.real(rows)
        on_one_scale(predicted, genes, shown.real(controls), shown.name)
        predicted = predicted @ axes - (genes @ axes - real).mean(axis=0)
    return Projected(name, control, real, predicted)
