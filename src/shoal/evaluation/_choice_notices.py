"""What users are told of a choice within training."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from .._keys import EMBEDDINGS_INFO
from .._logging import logger

if TYPE_CHECKING:
    from anndata import AnnData


def tell(table: pd.DataFrame, of: str, n_folds: int) -> None:
    """Say what was chosen."""
    own = table[table["chosen"]].iloc[0]
    logger.info(
        "%s, %r was chosen on %d conditions left out of training in %d %s: its energy "
        "distance to the real cells is %.2f of that of the controls",
        of,
        table.index[table["chosen"]][0],
        own["n_conditions"],
        n_folds,
        "fold" if n_folds == 1 else "folds",
        own["error"],
    )
    if not own["error"] < 1 and own.name != "control":
        logger.warning(
            "%s, none predicts the conditions left out of training better than unchanged controls",
            of,
        )


def tell_of_embedding(adata: AnnData, embedding: Any) -> None:
    """Warn of vectors that know the conditions which inner folds leave out."""
    record = adata.uns.get(EMBEDDINGS_INFO, {}).get("table", pd.DataFrame())
    if not isinstance(embedding, str) or "fitted_on" not in record:
        return
    on = str(record["fitted_on"].get(embedding, "none"))
    if on in ("train", "all"):
        logger.warning(
            "the embedding %r was fitted on cells of %r, those that inner folds leave out among "
            "them: models that use it look better there than they are. Vectors from outside the "
            "screen have no such trouble",
            embedding,
            on,
        )
