"""Cells as a plain matrix: given without an AnnData, kept while generated, and handed back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import sparse

from ...core._named_context import named_context
from ...metrics._cells import densify
from ._given_cells import known_population

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..._typing import Matrix
    from ...core._population import Population
    from ._vocabulary import Vocabulary


def cells_of(
    cells: Any, vocabulary: Vocabulary, contexts: Sequence[str], *, context: str | None
) -> Population:
    """Read the cells that a user gives: an AnnData, or an array or sparse matrix of control cells.

    Parameters
    ----------
    cells
        AnnData, or (n, n_features) values in the columns of ``vocabulary.features``; for a model of
        images (n, C, H, W).
    vocabulary
        What the model knows.
    contexts
        Names that `context` may be.
    context
        Context of all rows of a matrix; unknown if ``None``. Their batch is unknown.

    Raises
    ------
    KeyError
        If there is no such context, or an AnnData lacks features or columns.
    TypeError
        If it is neither an AnnData nor a matrix of numbers.
    ValueError
        If a matrix has no rows, the wrong number of columns, or values that the model does not read
        (NaN, raw counts); if a context is given beside an AnnData, or to a model without contexts.
    """
    if not is_matrix(cells):
        if not hasattr(cells, "obs_names"):
            msg = (
                "expected an AnnData, or a NumPy array or sparse matrix with the columns of "
                f"model.vocabulary.features, not {type(cells).__name__}"
            )
            raise TypeError(msg)
        if context is not None:
            msg = (
                f"context={context!r} is for a plain array; of an AnnData the context column of "
                "obs is read"
            )
            raise ValueError(msg)
        return known_population(cells, vocabulary)
    _check_shape(cells, vocabulary)
    screen, n = vocabulary.screen, cells.shape[0]
    if context is not None:
        context = named_context(context, contexts, screen)
    missing = [key for key in (screen.batch_key, screen.dose_key) if key is not None]
    columns = {key: np.full(n, np.nan) for key in missing} | {
        screen.perturbation_key: screen.control[0]
    }
    if screen.context_key is not None:
        columns[screen.context_key] = np.nan if context is None else context
    try:
        return known_population(_screen(cells, columns, vocabulary), vocabulary)
    except ValueError as err:
        msg = f"these values are no cells for this model: {err}"
        raise ValueError(msg) from err


def is_matrix(cells: Any) -> bool:
    """Return whether cells come as a plain matrix."""
    return isinstance(cells, np.ndarray) or bool(sparse.issparse(cells))


def compact(values: Matrix) -> Matrix:
    """Return float32 values, as CSR where more than half of them are zero."""
    if sparse.issparse(values):
        return values.tocsr().astype(np.float32)
    values = np.asarray(values, dtype=np.float32)
    mostly_zero = values.ndim == 2 and values.size and (values == 0).mean() > 0.5
    return sparse.csr_matrix(values) if mostly_zero else values


def stacked(parts: Sequence[Matrix]) -> Matrix:
    """Put blocks of rows on one another: CSR where all of them are."""
    if all(sparse.issparse(part) for part in parts):
        return sparse.vstack(parts, format="csr")
    return np.concatenate([in_kind_of(np.empty(0), part) for part in parts])


def in_kind_of(given: Matrix, values: Matrix) -> Matrix:
    """Return values as a dense array or as CSR, as `given` is."""
    if sparse.issparse(given):
        return sparse.csr_matrix(values)
    return densify(values)


def _check_shape(cells: Matrix, vocabulary: Vocabulary) -> None:
    if cells.dtype.kind not in "buif":
        msg = f"cells are a matrix of numbers, not of {cells.dtype}"
        raise TypeError(msg)
    shape = vocabulary.cell_shape
    if tuple(cells.shape[1:]) != shape or not cells.shape[0]:
        some = ", ".join(vocabulary.features[:3])
        some += ", ..." if len(vocabulary.features) > 3 else ""
        msg = (
            f"cells have shape {cells.shape}; they must be (n, {', '.join(map(str, shape))}), "
            f"the columns of model.vocabulary.features: {some}"
        )
        raise ValueError(msg)


def _screen(values: Matrix, columns: dict[str, Any], vocabulary: Vocabulary) -> Any:
    """Return an AnnData with the values in the slot that the model reads."""
    from anndata import AnnData

    v, n = vocabulary, values.shape[0]
    obs = pd.DataFrame(columns, index=pd.RangeIndex(n).astype(str))
    if not v.in_genes:
        return AnnData(obs=obs, obsm={v.use_rep: values})
    var = pd.DataFrame(index=list(v.features))
    return (
        AnnData(values, obs=obs, var=var)
        if v.layer is None
        else AnnData(obs=obs, var=var, layers={v.layer: values})
    )
