"""What training on a screen teaches a model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..._keys import SPLIT
from ...core._gene_names import gene_names
from ...core._population import Population, check_scale
from ...core._remembered import packed
from ...core._seen import conditions_of_cells
from ._context_embedding import context_vectors_of
from ._embedding import embedding_of
from ._vocabulary import Vocabulary

if TYPE_CHECKING:
    import pandas as pd

    from ..._typing import Floats, Ints

NAMES_OF_TRAINING = (  # fields of a vocabulary that depend on which cells are training cells
    "trained",
    "perturbed_contexts",
    "control_contexts",
    "perturbed_batches",
    "control_batches",
)


def learn_vocabulary(
    cells: Population,
    *,
    layer: str | None,
    use_rep: str | None,
    embedding: str | pd.DataFrame | None,
    context_embedding: str | pd.DataFrame | None = None,
) -> Vocabulary:
    """Return the names that training on `cells` teaches.

    Raises
    ------
    ValueError
        If there is nothing to learn from, or the values are raw counts, not logged, missing or all
        zero.
    KeyError
        If a perturbation or a context of training has no vector.
    """
    _check_cells(cells)
    check_scale(cells, layer=layer, use_rep=use_rep)
    seen = names_of_training(cells)
    singles = list(seen["trained"])
    name, perturbations, vectors, transductive, sources = embedding_of(
        cells.adata, embedding, singles
    )
    placed = context_vectors_of(cells, context_embedding, seen["perturbed_contexts"])
    dose = cells.dose[cells.train]
    dose = dose[dose > 0]
    log = np.log10(dose)
    return Vocabulary(
        screen=cells.screen.having(cells.screen.names.knowing(perturbations)),
        layer=layer,
        use_rep=use_rep,
        features=cells.features,
        cell_shape=cells.rows.cell_shape,
        perturbations=perturbations,
        vectors=vectors,
        named=tuple(sorted({part for own in cells.names for part in cells.screen.parts(own)})),
        embedding=name,
        doses=(float(dose.min()), float(dose.max())) if len(dose) else (),
        dose_centre=float(log.mean()) if len(log) else 0.0,
        dose_scale=float(log.std())
        if len(np.unique(dose)) > 1
        else 1.0,  # of equal numbers it is not quite 0
        nonnegative=len(cells.rows.cell_shape) == 1 and cells.training.lowest >= 0,
        transductive=transductive,
        symbols=_symbols(cells, use_rep),
        level=_level(cells, use_rep),
        context_vectors=placed,
        sources=tuple(sources),
        source_sizes=tuple(sources.values()),
        conditions=packed(conditions_of_cells(cells, cells.train)),
        **seen,
    )


def names_of_training(cells: Population) -> dict[str, tuple[str, ...]]:
    """Return the names that training cells have, as the fields of a `Vocabulary` that hold them.

    They change if a model is trained on other cells of the same screen. All other fields stay.
    """
    seen = {cells.names[code] for code in np.unique(cells.labels.code[cells.train])}
    contexts = _perturbed_first(cells, cells.contexts, cells.context)
    batches = _perturbed_first(cells, cells.batches, cells.batch)
    trained = tuple(sorted({part for name in seen for part in cells.screen.parts(name)}))
    return dict(zip(NAMES_OF_TRAINING, (trained, *contexts, *batches), strict=True))


def _check_cells(cells: Population) -> None:
    n_control, n_train = int(cells.train_control.sum()), int(cells.train.sum())
    where = "with obs['split'] == 'train'" if SPLIT in cells.adata.obs else "in the screen"
    if n_train == 0:
        msg = (
            f"there is no perturbed cell {where}: nothing to learn from. Call "
            "sh.pp.split(adata, test=...) with less"
        )
        raise ValueError(msg)
    if n_control == 0:
        msg = (
            f"there is no control cell {where}; control cells are what predictions start from, and "
            "sh.pp.split leaves all of them in 'train'"
        )
        raise ValueError(msg)


def _symbols(cells: Population, use_rep: str | None) -> tuple[str, ...]:
    """Return the symbols of the genes, where these are not the names of the features."""
    if use_rep not in (None, "X"):
        return ()
    genes = gene_names(cells.adata, cells.screen)
    return () if genes.key is None else genes.symbols


def _level(cells: Population, use_rep: str | None) -> Floats:
    """Return the mean training cell, of genes with no value below 0; else nothing."""
    own = cells.training
    return own.sums / own.n if use_rep in (None, "X") and own.lowest >= 0 else np.empty(0)


def _perturbed_first(
    cells: Population, names: tuple[str, ...], codes: Ints
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the names that perturbed cells of training have, and those of its controls alone."""
    perturbed, control = (
        np.unique(codes[some & (codes >= 0)]) for some in (cells.train, cells.train_control)
    )
    alone = np.setdiff1d(control, perturbed)
    return tuple(names[i] for i in perturbed), tuple(names[i] for i in alone)
