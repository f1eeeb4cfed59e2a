"""Pretraining: what cells of each context look like, whatever was done to them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ...core._choose import choose
from ...core._codes import codes_of, recode
from ...core._matrix import as_rows
from ...core._population import Population, check_scale
from ...core._screen import Labels
from ...training import Conditions
from ..base._given_cells import aligned

if TYPE_CHECKING:
    import torch
    from anndata import AnnData

    from ..._typing import Bools
    from ...training import SetBatch, Store
    from ...training._sampler import Draw
    from ..base._vocabulary import Vocabulary


def unlabelled(adata: AnnData, vocabulary: Vocabulary) -> Population:
    """Read cells without their perturbations; context and batch are read where recorded.

    Raises
    ------
    KeyError
        If the slot or features of training are missing.
    ValueError
        If values are missing, raw counts or not logged.
    """
    v, n = vocabulary, adata.n_obs
    slots = {"layer": v.layer, "use_rep": v.use_rep}
    rows = as_rows(choose(adata, **slots)[0])
    contexts, context = codes_of(adata, _present(adata, v.screen.context_key))
    batches, batch = codes_of(adata, _present(adata, v.screen.batch_key))
    cells = Population(
        adata=adata,
        screen=v.screen,
        rows=rows,
        features=tuple(map(str, adata.var_names)) if v.in_genes else v.features,
        labels=Labels(names=pd.Index([], dtype=str), code=np.full(n, -1, dtype=np.int64)),
        contexts=contexts,
        batches=batches,
        context=context,
        batch=batch,
        dose=np.full(n, np.nan),
        split=np.zeros(n, dtype=np.int64),
    )
    check_scale(cells, **slots)
    return aligned(cells, v)


def _present(adata: AnnData, key: str | None) -> str | None:
    return key if key in adata.obs else None


def marginals(
    cells: Population, chosen: Bools, vocabulary: Vocabulary, *, least: int = 1
) -> Conditions:
    """Return the chosen cells as one population a context, of no perturbation and no dose.

    Contexts come several times where there are fewer than `least`, so that a step can hold as many
    sets.
    """
    at = np.flatnonzero(chosen)
    context = recode(cells.context, cells.contexts, vocabulary.contexts)
    codes = np.unique(context[at])
    codes = np.tile(codes, -(-least // len(codes)))
    return Conditions(
        names=tuple(
            vocabulary.contexts[code] if code >= 0 else "unknown context" for code in codes
        ),
        parts=np.full((len(codes), 1), -1),
        context=codes,
        dose=np.full(len(codes), np.nan),
        cells=tuple(at[context[at] == code] for code in codes),
        control=at,  # a sampler requires controls; those that it draws are not used
        cell_context=np.zeros_like(context),  # controls of any context will do
        cell_batch=recode(cells.batch, cells.batches, vocabulary.batches),
        vectors=vocabulary.scaled_vectors,
        n_contexts=len(vocabulary.perturbed_contexts),
        n_batches=len(vocabulary.perturbed_batches),
        placed=vocabulary.placed(vocabulary.contexts),
    )


class MarginalStore:
    """Gives sets of cells of a context, with one and the same vector for every control cell.

    Parameters
    ----------
    store
        Store of the cells.
    nothing
        (D,) the vector that stands for every control cell.
    """

    def __init__(self, store: Store, nothing: torch.Tensor) -> None:
        self.store, self.sampler, self.nothing = store, store.sampler, nothing

    def batch(self, step: int, rank: int = 0, world: int = 1) -> SetBatch:
        """Return what process `rank` of `world` trains on at a step."""
        return self._without_control(self.store.batch(step, rank, world))

    def gather(self, conditions: Conditions, draw: Draw) -> SetBatch:
        """Return the cells of a draw."""
        return self._without_control(self.store.gather(conditions, draw))

    def to(self, device: torch.device | str) -> None:
        """Get ready to train on a device."""
        self.store.to(device)

    def close(self) -> None:
        """Let go of what training needed."""
        self.store.close()

    def _without_control(self, batch: SetBatch) -> SetBatch:
        nothing = self.nothing.to(batch.source).expand_as(batch.source)
        return replace(batch, source=nothing, source_weight=batch.weight)
