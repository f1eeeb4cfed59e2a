"""Where the predictions in a screen come from: the model, its embedding, and whether that has seen held-out cells."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from .._keys import PREDICTIONS
from ._results import write_table

if TYPE_CHECKING:
    from anndata import AnnData


def record(adata: AnnData, key: str, *, model: str, embedding: str, transductive: bool) -> None:
    """Write a line on the prediction `key` into ``uns["perturbation_predictions"]``; lines of predictions that are gone go too."""
    known: pd.DataFrame = adata.uns.get(PREDICTIONS, {}).get("table", pd.DataFrame())
    rows = {
        k: row
        for k, row in known.to_dict("index").items()
        if k in adata.layers or f"X_{k}" in adata.obsm
    }
    rows[key] = {"model": model, "embedding": embedding, "transductive": transductive}
    table = pd.DataFrame.from_dict(rows, orient="index").rename_axis("prediction")
    write_table(adata, PREDICTIONS, table, schema="perturbation_predictions/1", params={})


def is_transductive(adata: AnnData, key: str) -> bool:
    """Whether a prediction is recorded as one of a model whose embedding has seen held-out cells."""
    known: pd.DataFrame = adata.uns.get(PREDICTIONS, {}).get("table", pd.DataFrame())
    return key in known.index and bool(known.loc[key, "transductive"])
