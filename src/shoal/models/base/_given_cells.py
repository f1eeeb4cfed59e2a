"""How a trained model reads cells that it is given: the slot, features and scale of training."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from ..._validate import check_adata
from ...core._matrix import Rows
from ...core._population import Population, check_scale, population
from ...core._scale import look
from ...metrics._scale_match import other_logarithm

if TYPE_CHECKING:
    from anndata import AnnData

    from ..._typing import Floats
    from ._vocabulary import Vocabulary


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
    TypeError
        If it is no AnnData.
    ValueError
        As `population`, or if there are no cells, or the values are raw counts, not logged, missing
        or all zero, or below 0 where the model has learned from log-normalised values, or on
        another logarithm.
    """
    check_adata(adata)
    if not adata.n_obs:
        msg = "the AnnData holds no cells, and predictions start from some"
        raise ValueError(msg)
    v = vocabulary
    slots = {"layer": v.layer, "use_rep": v.use_rep}
    cells = aligned(population(adata, v.screen, **slots, images=v.of_images), v)
    is_same = before is not None and before.rows.is_same_file(cells.rows)
    known = before.scale if before is not None and is_same else look(cells.rows)
    cells = replace(cells, known_scale=known)
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
            f"trained on cells of shape {vocabulary.cell_shape}: "
            f"{_fitting(cells.rows.cell_shape, vocabulary.cell_shape)}"
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


def _fitting(shape: tuple[int, ...], trained: tuple[int, ...]) -> str:
    """Return how images of a shape become images of the shape that a model was trained on."""
    if len(shape) != 3 or len(trained) != 3:
        return "bring images of that shape"
    if shape[0] != trained[0]:
        return f"bring the {trained[0]} channels of training, in the order of training"
    starts = [(side - wanted) // 2 for side, wanted in zip(shape[1:], trained[1:], strict=True)]
    if min(starts) < 0:
        return (
            "cut larger crops from the fields, or resize them (skimage.transform.resize) if a "
            "pixel is larger than in training"
        )
    pairs = zip(starts, trained[1:], strict=True)
    middle = ", ".join(f"{start}:{start + wanted}" for start, wanted in pairs)
    return (
        f"crop them to the middle, [..., {middle}], if a pixel is as large in both, or resize them "
        "(skimage.transform.resize) if not"
    )


def level_of(cells: Population, use_rep: str | None) -> Floats:
    """Return the mean of the first cells, of genes with no value below 0; else nothing."""
    if use_rep not in (None, "X") or cells.scale.minimum < 0:
        return np.empty(0)
    return cells.scale.level


def _check_level(cells: Population, vocabulary: Vocabulary) -> None:
    """Raise ``ValueError`` if values are on another logarithm than those of training."""
    now = level_of(cells, vocabulary.use_rep)
    said = other_logarithm(vocabulary.level, now) if len(now) else ""
    if said:
        msg = (
            f"{cells.rows.slot or 'X'} is not on the scale that the model was trained on: its "
            f"values are {said}. Normalise these cells as those of training were"
        )
        raise ValueError(msg)
