"""Doses: which ones are the same, how they are written, and those of the cells of a screen."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from anndata import AnnData

    from .._typing import Floats
    from ._screen import Labels, Screen


def dose_text(dose: float) -> str:
    """Return a dose in six digits, as ``"0.3"``, ``"10"`` or ``"1e+06"``; empty for none."""
    return "" if np.isnan(dose) else f"{dose:g}"


def same_dose(dose: float) -> float:
    """Return a dose to six digits: doses that differ by rounding are one.

    So are ``0.3`` in single precision, ``0.1 + 0.2`` and ``0.3``.
    """
    return float(f"{dose:.6g}")


def doses_of(adata: AnnData, screen: Screen, labelled: Labels) -> Floats:
    """Return the (n_obs,) dose of every cell, see `same_dose`; NaN where there is none.

    Raises
    ------
    ValueError
        If a value is no number, or that of a perturbed cell is not finite and above 0.
    """
    if screen.dose_key is None:
        return np.full(adata.n_obs, np.nan)
    column = adata.obs[screen.dose_key]
    values = pd.to_numeric(column.astype(object), errors="coerce").to_numpy(dtype=np.float64)
    bad = column[np.isnan(values) & column.notna().to_numpy()]
    if len(bad):
        msg = (
            f"adata.obs[{screen.dose_key!r}] holds {bad.iloc[0]!r}, which is no number; give doses "
            "as numbers (one unit "
            "for the whole column), or annotate the screen without dose_key"
        )
        raise ValueError(msg)
    wrong = (
        (labelled.code >= 0)
        & ~labelled.is_control
        & ~np.isnan(values)
        & ~((values > 0) & np.isfinite(values))
    )
    if wrong.any():
        msg = (
            f"{wrong.sum()} perturbed cells have dose {values[wrong][0]:g} in "
            f"adata.obs[{screen.dose_key!r}], such as some of "
            f"{labelled.names[labelled.code[wrong][0]]!r}; doses are read on a logarithmic scale: "
            "label untreated cells as controls, or set a dose that is not known to NaN"
        )
        raise ValueError(msg)
    several, code = np.unique(values, return_inverse=True)
    return np.array([same_dose(value) for value in several], dtype=np.float64)[code]
