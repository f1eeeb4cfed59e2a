"""What Knowledge says of measured profiles: representations, and perturbations they may be of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from ..._validate import positive
from ...core._claims import claim
from ...core._codes import members, recode
from ...core._population import with_controls
from ...core._view import materialize_view
from ...training import encoded_condition
from ..base._requests import require_vectors

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from numpy.typing import NDArray

    from ..._typing import Floats, Ints
    from ...core._population import Population

BLOCK = 4096  # profiles that are encoded together


def represent(
    self: Any,
    adata: AnnData | None = None,
    *,
    key_added: str = "X_knowledge",
    overwrite: bool = False,
) -> None:
    """Write the representation of every profile.

    A profile is seen relative to the mean of its matched control profiles: those of its context and
    batch, or of its context where these are fewer than 10. So a new line needs controls. Labels of
    perturbations are not read.

    Parameters
    ----------
    adata
        Screen; the one that the model was made with if ``None``.
    key_added
        Slot of ``obsm``.
    overwrite
        Whether to replace what is in the slot.

    Returns
    -------
    Nothing; writes ``obsm[key_added]``, (n_obs, n_representation) float32 of length 1 each.

    Raises
    ------
    KeyError
        If columns, features, or vectors of contexts are missing.
    ValueError
        If there are no control profiles, the model is not trained, values are on another scale than
        those of training, or the slot is taken.
    """
    self._check_trained()
    cells = self._population(adata)
    claim(cells.adata, [f"obsm/{key_added}"], overwrite=overwrite)
    found = _encoded(self, cells)
    materialize_view(cells.adata)
    cells.adata.obsm[key_added] = found


def probabilities(
    self: Any,
    adata: AnnData | None = None,
    *,
    perturbations: Sequence[str] | None = None,
    temperature: float | None = None,
) -> pd.DataFrame:
    """Say which perturbation each profile may be of.

    A profile is compared with the vectors of the perturbations by cosine. All perturbations with a
    vector are candidates, also those that were not in training.

    Parameters
    ----------
    adata
        Screen; the one that the model was made with if ``None``.
    perturbations
        Candidates; all single perturbations with a vector if ``None``.
    temperature
        What cosines are divided by; that of training if ``None``.

    Returns
    -------
    DataFrame, one row for each profile that is no control and one column for each candidate. Every
    row sums to 1. Doses are not told apart: the vector is that of a perturbation without a dose.

    Raises
    ------
    KeyError
        If a perturbation has no vector, or columns or features are missing.
    ValueError
        If the model is not trained, no perturbation is named, or `temperature` is not positive.
    """
    self._check_trained()
    vocabulary = self.vocabulary
    names = list(vocabulary.perturbations if perturbations is None else perturbations)
    if not names:
        msg = "perturbations is empty: name the candidates, or leave it out for all"
        raise ValueError(msg)
    temperature = self.settings.loss.temperature if temperature is None else temperature
    positive(temperature, name="temperature")
    cells = self._population(adata)
    rows = np.flatnonzero(~cells.labels.is_control)
    device = next(self.module.parameters()).device
    condition = encoded_condition(
        vocabulary.scaled_vectors,
        vocabulary.parts(names),
        np.full(len(names), -1),
        np.full(len(names), np.nan),
        device=device,
    )
    with torch.no_grad():
        self.module.eval()
        places = self.module.meeting(self.module.vectors(condition)[:, 0])
        vectors = nn.functional.normalize(places, dim=-1).cpu()
    logits = torch.from_numpy(_encoded(self, cells)[rows]) @ vectors.T / temperature
    return pd.DataFrame(
        logits.softmax(dim=1).numpy(), index=cells.adata.obs_names[rows], columns=names
    )


def _encoded(model: Any, cells: Population) -> NDArray[np.float32]:
    """Return (n_obs, n_representation) representations of length 1."""
    vocabulary = model.vocabulary
    require_vectors(vocabulary, cells.contexts)
    code = recode(cells.context, cells.contexts, vocabulary.perturbed_contexts)
    placed = vocabulary.placed(cells.contexts)
    centre, of = _centres(model, cells)
    device = next(model.module.parameters()).device
    found = np.empty((len(code), model.settings.network.n_representation), dtype=np.float32)
    for own in members(cells.context):
        condition = encoded_condition(
            vocabulary.scaled_vectors,
            np.full((1, 1), -1),
            code[own[:1]],
            np.full(1, np.nan),
            placed=placed,
            place=cells.context[own[:1]],
            device=device,
        )
        for rows in np.array_split(own, -(-len(own) // BLOCK)):
            profiles = model.space.encode(cells.values(rows)) - centre[of[rows]]
            shown = model.module.represent(torch.from_numpy(profiles)[None].to(device), condition)
            found[rows] = nn.functional.normalize(shown[0], dim=-1).cpu().numpy()
    return found


def _centres(model: Any, cells: Population) -> tuple[Floats, Ints]:
    """Return the matched control means, in the space of the network, and the one of each row."""
    known = with_controls(cells, model.cells) if model.cells is not None else cells
    controls = known.controls
    context = recode(cells.context, cells.contexts, known.contexts)
    batch = recode(cells.batch, cells.batches, known.batches)
    width = int(batch.max(initial=0)) + 2
    pairs, of = np.unique((context + 1) * np.int64(width) + batch + 1, return_inverse=True)
    means = []
    for pair in pairs:
        pool, _ = controls.pool(int(pair // width) - 1, int(pair % width) - 1)
        means.append(known.values(pool).mean(axis=0, dtype=np.float64))
    return model.space.encode(np.stack(means).astype(np.float32)), of
