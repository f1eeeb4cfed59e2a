"""What training on a screen teaches a model, and how a trained model reads another screen."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from ..._keys import SPLIT
from ...core._gene_names import gene_names
from ...core._matrix import Rows
from ...core._population import Population, check_scale, population
from ...metrics._scale_match import other_logarithm
from ._embedding import embedding_of
from ._vocabulary import Vocabulary

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

    from ..._typing import Floats, Ints


def learn_vocabulary(
    cells: Population,
    *,
    layer: str | None,
    use_rep: str | None,
    embedding: str | pd.DataFrame | None,
) -> Vocabulary:
    """Return the names that training on `cells` teaches.

    Raises
    ------
    ValueError
        If there is nothing to learn from, or the values are raw counts, not logged, missing or all
        zero.
    KeyError
        If a perturbation of training has no vector.
    """
    _check_cells(cells)
    check_scale(cells, layer=layer, use_rep=use_rep)
    train = cells.train | cells.train_control
    seen = sorted({cells.names[code] for code in np.unique(cells.labels.code[cells.train])})
    singles = sorted({part for name in seen for part in cells.screen.parts(name)})
    name, perturbations, vectors, transductive = embedding_of(cells.adata, embedding, singles)
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
        trained=tuple(singles),
        named=tuple(sorted({part for own in cells.names for part in cells.screen.parts(own)})),
        embedding=name,
        contexts=_used(cells.contexts, cells.context[train]),
        batches=_used(cells.batches, cells.batch[train]),
        doses=(float(dose.min()), float(dose.max())) if len(dose) else (),
        dose_centre=float(log.mean()) if len(log) else 0.0,
        dose_scale=float(log.std())
        if len(np.unique(dose)) > 1
        else 1.0,  # of equal numbers it is not quite 0
        nonnegative=len(cells.rows.cell_shape) == 1 and cells.nonnegative,
        transductive=transductive,
        symbols=_symbols(cells, use_rep),
        level=_level(cells, use_rep),
    )


def known_population(
    adata: AnnData, vocabulary: Vocabulary, *, before: Population | None = None
) -> Population:
    """Read a screen as a trained model does.

    It has the columns, the slot and the features of training, in their order.

    Parameters
    ----------
    adata
        The screen.
    vocabulary
        What the model has learned.
    before
        Cells that the model was made with. If their values are in the same file, or the same dask
        array, the scale of these is not looked at again.

    Raises
    ------
    KeyError
        If a column, slot or feature of training does not exist.
    ValueError
        As `population`, or if the values are raw counts, not logged, missing or all zero, or below
        0 where the model has learned from log-normalised values, or on another logarithm.
    """
    v = vocabulary
    slots = {"layer": v.layer, "use_rep": v.use_rep}
    cells = aligned(population(adata, v.screen, **slots, images=v.of_images), v)
    is_same = before is not None and before.rows.is_same_file(cells.rows)
    if before is not None and is_same:
        cells = replace(cells, known_scale=before.scale)
    check_scale(cells, **slots, only_logged=v.nonnegative)
    if len(v.level) and not is_same:
        _check_level(cells, v)
    return cells


def aligned(cells: Population, vocabulary: Vocabulary) -> Population:
    """Return `cells` with the features in the order of training.

    Raises
    ------
    KeyError
        If features of training are missing.
    ValueError
        If cells are images of another shape than those of training.
    """
    if cells.features == vocabulary.features:
        return cells
    if vocabulary.of_images:
        msg = (
            f"{cells.rows.slot} holds cells of shape {cells.rows.cell_shape}, and the model was "
            f"trained on cells of shape {vocabulary.cell_shape}: bring images of that size"
        )
        raise ValueError(msg)
    position = {name: i for i, name in enumerate(cells.features)}
    missing = [name for name in vocabulary.features if name not in position]
    if missing:
        msg = (
            f"{len(missing)} of the {len(vocabulary.features)} features that the model was trained "
            f"on are not in this AnnData: {', '.join(missing[:8])}"
            f"{' ...' if len(missing) > 8 else ''}"
        )
        raise KeyError(msg)
    order = np.array([position[name] for name in vocabulary.features])
    return replace(cells, rows=Rows(cells.rows.matrix, order), features=vocabulary.features)


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


def _level(cells: Population, use_rep: str | None) -> Floats:
    """Return the mean of the first cells, of genes with no value below 0; else nothing."""
    if use_rep not in (None, "X") or cells.scale.minimum < 0:
        return np.empty(0)
    return cells.scale.level


def _check_level(cells: Population, vocabulary: Vocabulary) -> None:
    """Raise ``ValueError`` if values are on another logarithm than those of training."""
    now = _level(cells, vocabulary.use_rep)
    said = other_logarithm(vocabulary.level, now) if len(now) else ""
    if said:
        msg = (
            f"{cells.rows.slot or 'X'} is not on the scale that the model was trained on: its "
            f"values are {said}. Normalise these cells as those of training were"
        )
        raise ValueError(msg)


def _symbols(cells: Population, use_rep: str | None) -> tuple[str, ...]:
    """Return the symbols of the genes, where these are not the names of the features."""
    if use_rep not in (None, "X"):
        return ()
    genes = gene_names(cells.adata, cells.screen)
    return () if genes.key is None else genes.symbols


def _used(names: tuple[str, ...], codes: Ints) -> tuple[str, ...]:
    return tuple(names[i] for i in np.unique(codes[codes >= 0]))
