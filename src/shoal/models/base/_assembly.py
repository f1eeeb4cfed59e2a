"""Assembly of an AnnData from generated values and the request that they answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ..._keys import PREDICTIONS
from ...core._predictions import prediction_entry
from ...core._slots import free_name

if TYPE_CHECKING:
    from anndata import AnnData

    from ..._typing import Matrix
    from ...core._population import Population
    from ._requests import PredictionRequest
    from ._vocabulary import Vocabulary

SOURCE = "source"  # column of obs: name of the control cell that stands for each predicted cell


def predicted_adata(
    values: Matrix,
    request: PredictionRequest,
    cells: Population,
    vocabulary: Vocabulary,
    *,
    model: str,
    skipped: str = "",
    counts: bool = False,
) -> AnnData:
    """Return generated cells as an AnnData.

    Parameters
    ----------
    values
        (n, n_features) generated values, or (n, C, H, W) images.
    request
        The request that they answer.
    cells
        Population whose codes the request uses.
    vocabulary
        Names that the model knows.
    model
        Name of the model's class, which is recorded with the prediction.
    skipped
        What the model could not predict, and why.
    counts
        Whether the values are counts.

    Returns
    -------
    AnnData of n cells. ``obs`` has the perturbation, context, batch and dose columns of the screen,
    and ``source``, the name of each cell's control cell (``source_2`` where the screen has a column
    ``source`` of its own). Images are in the slot of ``obsm`` that the model was trained on, and
    there are no variables.
    """
    from anndata import AnnData

    screen = cells.screen
    names = np.array(request.names, dtype=object)[request.perturbation]
    obs = {screen.perturbation_key: pd.Categorical(names, categories=list(request.names))}
    for key, codes, known in (
        (screen.context_key, request.context, cells.contexts),
        (screen.batch_key, request.batch, cells.batches),
    ):
        if key is not None:
            obs[key] = pd.Categorical.from_codes(codes, categories=list(known))
    if screen.dose_key is not None:
        obs[screen.dose_key] = request.dose
    source = free_name(SOURCE, obs)
    obs[source] = cells.adata.obs_names.to_numpy()[request.source]
    first = np.searchsorted(request.perturbation, request.perturbation)
    number = np.arange(len(request)) - first
    index = pd.Index([f"{name}-{i}" for name, i in zip(names, number, strict=True)])
    table, features = pd.DataFrame(obs, index=index), list(vocabulary.features)
    if vocabulary.of_images:
        made = AnnData(obs=table, obsm={vocabulary.use_rep: values})
    else:
        in_genes = vocabulary.in_genes
        var = cells.adata.var.reindex(features) if in_genes else pd.DataFrame(index=features)
        made = AnnData(values, obs=table, var=var)
    made.uns[PREDICTIONS] = prediction_entry(
        made,
        "X",
        model=model,
        embedding=vocabulary.embedding,
        context_embedding=vocabulary.context_embedding,
        transductive=vocabulary.transductive,
        skipped=skipped,
        counts=counts,
        slot="X",
        source=source,
        conditions=vocabulary.conditions,
    )
    return made
