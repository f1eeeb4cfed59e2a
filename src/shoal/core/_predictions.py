"""Where predictions come from: the model, and whether its embedding saw held-out cells."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from .._keys import PREDICTIONS
from .._validate import key_in
from ._results import write_table

if TYPE_CHECKING:
    from anndata import AnnData

PREDICTED = "_predicted"  # obs: after the name of a prediction, which rows were predicted
SOURCE = "_source"  # obs: after the name of a prediction, the cell that each row starts from


def prediction_slot(adata: AnnData, key: str) -> tuple[str, str]:
    """Return where a prediction is: ``"layers"`` or ``"obsm"``, and its key there.

    The name `key` stands for the layer `key`, or for ``obsm[key]``, or for ``obsm["X_" + key]`` as
    `tl.predict` writes predictions of a representation.

    Raises
    ------
    KeyError
        If there is none.
    ValueError
        If there are several: none of them goes before the others.
    """
    places = [("layers", key), ("obsm", key), ("obsm", f"X_{key}")]
    known = [place for place in places if place[1] in getattr(adata, place[0])]
    if not known:
        layers = [name for name in adata.layers if name is not None]
        hint = f"sh.tl.predict(adata, model, key_added={key!r}) writes it."
        key_in(key, layers, where="adata.layers", hint=hint)
    if len(known) > 1:
        several = " and ".join(f"{where}[{name!r}]" for where, name in known)
        msg = f"prediction={key!r} could be {several}; rename or delete one of them"
        raise ValueError(msg)
    return known[0]


def record(
    adata: AnnData,
    key: str,
    *,
    model: str,
    embedding: str,
    transductive: bool,
    skipped: str = "",
) -> None:
    """Write a line on a prediction into ``uns["perturbation_predictions"]``.

    Lines of predictions that are gone are deleted.

    Parameters
    ----------
    adata
        AnnData that holds the prediction.
    key
        Name of the prediction.
    model
        Class of the model.
    embedding
        Name of its embedding.
    transductive
        Whether that embedding has seen held-out cells.
    skipped
        What the model could not predict, and why.
    """
    known: pd.DataFrame = adata.uns.get(PREDICTIONS, {}).get("table", pd.DataFrame())
    rows = {
        k: row
        for k, row in known.to_dict("index").items()
        if k in adata.layers or f"X_{k}" in adata.obsm
    }
    rows[key] = {
        "model": model,
        "embedding": embedding,
        "transductive": transductive,
        "skipped": skipped,
    }
    table = pd.DataFrame.from_dict(rows, orient="index").rename_axis("prediction")
    params = {"skipped": skipped}
    write_table(adata, PREDICTIONS, table, schema="perturbation_predictions/1", params=params)


def skipped_by(adata: AnnData, key: str) -> str:
    """Return what the model of a prediction could not predict, and why; empty if unknown."""
    known: pd.DataFrame = adata.uns.get(PREDICTIONS, {}).get("table", pd.DataFrame())
    return str(known.loc[key, "skipped"]) if key in known.index and "skipped" in known else ""


def is_transductive(adata: AnnData, key: str) -> bool:
    """Return whether the embedding of a prediction's model is known to have seen held-out cells."""
    known: pd.DataFrame = adata.uns.get(PREDICTIONS, {}).get("table", pd.DataFrame())
    return key in known.index and bool(known.loc[key, "transductive"])
