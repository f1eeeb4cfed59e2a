"""An evaluation as text and as tables in a folder, for the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._keys import EVALUATION
from .core._results import read_result

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

COLUMNS = {  # of the summary -> heading
    "value": "value",
    "best_value": "baseline",
    "positive": "replicate",
    "skill": "scaled",
    "n": "n",
}
WRITTEN_BY = "sh.tl.evaluate(adata, prediction=...)"


def in_words(adata: AnnData) -> str:
    """Return the values of an evaluation, context by context where there are several.

    Columns without any value are left out.
    """
    result = read_result(adata, EVALUATION, kind="evaluation", written_by=WRITTEN_BY)
    params, summary = result["params"], result["summary"]
    shown = summary[list(COLUMNS)].rename(columns=COLUMNS).dropna(axis=1, how="all")
    parts = [_table(shown)]
    contexts = result.get("contexts")
    if contexts is not None and contexts["context"].nunique() > 1:
        wide = contexts.pivot(index="metric", columns="context", values="scaled")
        parts.append(f"scaled, by context\n{_table(wide.loc[summary.index])}")
    said = str(params.get("verdict", "")) or f"score {float(params['score']):.3f}"
    parts.append(f"{params['suite']}, {params['n_conditions']} conditions: {said}")
    return "\n\n".join(parts)


def tables(adata: AnnData) -> dict[str, pd.DataFrame]:
    """Return the tables of an evaluation by name."""
    result = read_result(adata, EVALUATION, kind="evaluation", written_by=WRITTEN_BY)
    return {name: table for name, table in result.items() if hasattr(table, "to_csv")}


def _table(table: pd.DataFrame) -> str:
    return str(table.to_string(float_format=lambda value: f"{value:.4f}", na_rep="–"))
