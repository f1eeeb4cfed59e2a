"""Real and predicted cells of the best and the worst predicted condition, for the report."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .._keys import PCA
from .._logging import logger
from ..core._doses import dose_text, doses_of
from ..core._predicted_cells import axes_of, inside_of, read_prediction, some
from ..core._projection import check_dimensions, projected
from ..metrics._plane import agreement, plane_of
from ..report._cells import CellContent
from ..report._ranked import ranked

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd
    from anndata import AnnData

    from .._typing import Floats
from ..core._predicted_cells import Prediction

FEWEST = 2  # cells of a kind
READ = 1000  # cells of a kind that means are made of
DRAWN = 200  # cells of a kind


def cell_content(adata: AnnData, evaluation: Mapping[str, Any]) -> tuple[list[CellContent], str]:
    """Return the best and the worst predicted condition, and why there is none.

    Parameters
    ----------
    adata
        Screen with the prediction.
    evaluation
        What :func:`shoal.tl.evaluate` wrote.
    """
    table = ranked(dict(evaluation))
    if table is None:
        return [], (
            "No condition can be called best or worst predicted: the energy distance was not "
            "computed, cannot tell here, or nothing responds"
        )
    known = table[np.isfinite(table["reached"])]
    table = known if len(known) else table
    params = evaluation["params"]
    try:
        shown = read_prediction(
            adata, str(params["prediction"]), layer=str(params["layer"]) or None, context=None
        )
        axes = axes_of(adata, PCA, in_genes=shown.in_genes)
        check_dimensions(shown, PCA)
        ends = {"best": 0} | ({"worst": len(table) - 1} if len(table) > 1 else {})
        return [
            _condition(shown, axes, table.iloc[at], evaluation["conditions"], rank=rank)
            for rank, at in ends.items()
        ], ""
    except (KeyError, ValueError) as err:
        logger.info("the report draws no predicted cells: %s", err.args[0])
        return [], f"Predicted cells are not drawn: {err.args[0]}"


def _condition(
    shown: Prediction,
    axes: Floats | None,
    row: pd.Series,
    conditions: pd.DataFrame,
    *,
    rank: str,
) -> CellContent:
    """Return the cells of one condition about the mean of its controls."""
    about = conditions.loc[row.name]
    inside = np.ones(shown.adata.n_obs, dtype=bool)
    context = str(about.get("context", ""))
    if shown.screen.context_key is not None and context:
        inside = inside_of(shown.adata, shown.screen, context)
    controls = np.flatnonzero(shown.labels.is_control & inside)
    name, rows = shown.cells_of(str(row["perturbation"]))
    mine = inside[rows]
    dose = str(about.get("dose", ""))
    if dose:
        doses = doses_of(shown.adata, shown.screen, shown.labels)[rows]
        mine &= np.array([dose_text(one) == dose for one in doses])
    rows, rng = rows[mine], np.random.default_rng(0)
    if min(len(rows), len(controls)) < FEWEST:
        msg = f"{row.name!r} has {len(rows)} predicted cells and {len(controls)} controls"
        raise ValueError(msg)
    rows, controls = (some(cells, READ, rng) for cells in (rows, controls))
    cells = projected(shown, axes, name, rows, controls, PCA)
    plane = plane_of(None, *cells[1:])
    start = cells.control.mean(axis=0)
    shifts = [kind.mean(axis=0) - start for kind in (cells.real, cells.predicted)]
    drawn = [(kind[some(np.arange(len(kind)), DRAWN, rng)] - start) @ plane for kind in cells[1:]]
    return CellContent(
        title=f"{rank} predicted: {row.name}",
        about=f"{_reached(row)}; the two mean shifts: {agreement(*shifts)}",
        perturbation=str(row["perturbation"]),
        control=drawn[0],
        real=drawn[1],
        predicted=drawn[2],
        shifts=np.stack(shifts) @ plane,
    )


def _reached(row: pd.Series) -> str:
    """Say how far a prediction comes from unchanged controls to a second experiment."""
    said = f"energy distance {row['prediction']:.3g}, of unchanged controls {row['copy']:.3g}"
    share = row["reached"]
    if share >= 1:
        said += ": as near as a second experiment"
    elif share <= 0:
        said += ": no nearer than unchanged controls"
    elif np.isfinite(share):
        said += f": {100 * share:.0f} % of the way to a second experiment"
    return said.replace(" -", " −")
