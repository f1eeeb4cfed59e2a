"""Who takes an exam: the prediction, the controls that calibrate, and the baselines."""

from __future__ import annotations

from dataclasses import replace
from inspect import signature
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from .._logging import progress
from .._validate import key_in
from ..core._matrix import Rows, as_rows
from ..core._population import population
from ..metrics._cells import sizes_of, stored
from ..metrics._comparison import Populations
from ..models.base._assembly import SOURCE as OF_CELL
from ..models.base._registry import model_class
from ..tl._paths import paths_of
from ..tl._predict import PREDICTED, SOURCE
from ._task import take

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pandas as pd
    from anndata import AnnData

    from .._typing import Bools, Ints, Matrix
    from ._task import Exam

PREDICTION = "prediction"
POSITIVE, NEGATIVE, COPY = "positive control", "negative control", "control copy"
SCALE = 3.0  # factor between the mean values of predicted and real cells beyond which the scales cannot be the same


def of_layer(exam: Exam, adata: AnnData, layer: str) -> Populations:
    """Return the twins of a layer.

    Raises
    ------
    ValueError
        If a condition has no twin, a twin holds NaN, or the scale is not that of the real cells.
    """
    rows = np.sort(np.concatenate(exam.asked))
    made = adata.obs.get(layer + PREDICTED)
    if made is not None and not np.asarray(made, dtype=bool)[rows].all():
        n = int((~np.asarray(made, dtype=bool)[rows]).sum())
        msg = (
            f"{n} of {len(rows)} cells that are scored have no twin in layers[{layer!r}]: predict them all, with "
            f"sh.tl.predict(adata, model, key_added={layer!r}, subset='test')"
        )
        raise ValueError(msg)
    found = checked(exam, take(as_rows(adata.layers[layer]), exam.asked), f"layers[{layer!r}]")
    source = adata.obs.get(layer + SOURCE)
    return replace(
        found, paths=paths_of(exam, source if source is None else _names(source, exam.asked))
    )


def of_cells(exam: Exam, pred: AnnData) -> Populations:
    """Return the predicted cells of another AnnData, as many of each condition as are asked (all, without halves), or all.

    Raises
    ------
    KeyError
        If a column or gene is missing.
    ValueError
        If a condition has no cells, a value is NaN, or the scale is not that of the real cells.
    """
    screen, features = exam.cells.screen, list(exam.cells.features)
    missing = [gene for gene in features if gene not in pred.var_names]
    if missing:
        msg = (
            f"pred lacks {len(missing)} of the {len(features)} genes of the screen: {', '.join(missing[:8])}"
            f"{' ...' if len(missing) > 8 else ''}; score the genes that both have: adata[:, pred.var_names].copy()"
        )
        raise KeyError(msg)
    for key in (screen.perturbation_key, screen.context_key, screen.dose_key):
        if key is not None:
            key_in(key, pred.obs.columns, where="pred.obs")
    own = population(pred, replace(screen, batch_key=None, guide_key=None))
    order = np.argsort(pred.obs_names.to_numpy().astype(str), kind="stable")
    perturbation = np.where(own.labels.is_control, -1, own.labels.code)[order]
    context, dose = own.context[order], own.dose[order]
    rng = np.random.default_rng([exam.seed, 4])
    chosen, lacking = [], []
    for name, row in exam.conditions.iterrows():
        here = perturbation == _code(own.names, row["perturbation"])
        if own.screen.context_key is not None:
            here &= context == _code(own.contexts, row["context"])
        if screen.dose_key is not None and row["dose"]:
            here &= np.isclose(dose, float(row["dose"]), rtol=1e-4)
        chosen.append(
            np.sort(rng.permutation(order[here])[: row["n_predicted"] if exam.halves else None])
        )
        if len(chosen[-1]) < 2:
            lacking.append(str(name))
    if lacking:
        msg = (
            f"pred has fewer than 2 cells of {len(lacking)} conditions that are scored: {', '.join(lacking[:8])}"
            f"{' ...' if len(lacking) > 8 else ''}. Predict them, or score fewer: split= and min_cells= choose"
        )
        raise ValueError(msg)
    found = checked(exam, take(in_order(own.rows, pred, features), chosen), "pred.X")
    source = pred.obs.get(OF_CELL)
    return replace(
        found, paths=paths_of(exam, source if source is None else _names(source, chosen))
    )


def _code(names: Sequence[str], name: str) -> int:
    """Return the place of a name, -2 where there is none."""
    return names.index(name) if name in names else -2


def _names(source: pd.Series, several: Sequence[Ints]) -> list[list[str]]:
    """Return the names of the cells that the predicted cells of each condition start from."""
    names = source.astype(str).to_numpy()
    return [names[rows].tolist() for rows in several]


def in_order(rows: Rows, pred: AnnData, features: Sequence[str]) -> Rows:
    """Return the values of predicted cells with the genes of a screen, in its order."""
    columns = pred.var_names.get_indexer(list(features))
    same = len(columns) == pred.n_vars and np.array_equal(columns, np.arange(len(columns)))
    return rows if same else Rows(rows.source, columns)


def of_baselines(
    exam: Exam,
    adata: AnnData,
    names: Sequence[str],
    *,
    layer: str | None,
    embedding: str | pd.DataFrame | None,
    seed: int,
) -> Iterator[tuple[str, Populations | str, bool]]:
    """Fit baselines on the training cells, one at a time; yield their twins, or why they have none, and if transductive."""
    from ..tl._fit import fit

    for name in progress(list(names), desc="baselines"):
        vectors = (
            embedding if "embedding" in signature(model_class(name).__init__).parameters else None
        )
        try:
            model = fit(adata, name, layer=layer, embedding=vectors, rng=seed)
            rows, values, _ = model.twins(adata, subset=exam.rows, rng=seed)
        except (KeyError, ValueError) as err:
            yield name, str(err.args[0]), False
            continue
        yield name, exam.populations(rows, values), model.vocabulary.transductive


def checked(exam: Exam, cells: Sequence[Matrix], where: str) -> Populations:
    """Return populations, once their values are finite and of the scale of the real cells.

    Raises
    ------
    ValueError
        If they are not.
    """
    made = Populations(exam.truth, cells)
    if not np.isfinite(made.means).all():  # which says more quickly than the cells that all is well
        check_finite(cells, where)
    check_scale(made, exam, where)
    return made


def check_scale(made: Populations, exam: Exam, where: str) -> None:
    """Raise ``ValueError`` where predicted values cannot be on the scale of the real ones."""
    whole = (all(map(_whole, stored(cells))) for cells in (made.cells, exam.truth.cells))
    if next(whole) and not next(whole) and made.means.max() > 1:
        msg = f"{where} holds whole numbers and the real cells do not: counts? Log-normalise them as the real cells were"
        raise ValueError(msg)
    size, own = (float(np.abs(one.means).mean()) for one in (made, exam.truth.real))
    if own > 0 and not own / SCALE <= size <= own * SCALE:
        msg = (
            f"the mean value in {where} is {size:.3g} and that of the real cells {own:.3g}: they are not on one scale. "
            "Normalise the prediction as the real cells were (real_layer= names other real values)"
        )
        raise ValueError(msg)


def _whole(values: Matrix) -> bool:
    """Whether all values are whole numbers."""
    stored = values.data if sparse.issparse(values) else values
    return bool(np.all(stored == np.rint(stored)))


def check_finite(several: Sequence[Matrix], where: str) -> None:
    """Raise ``ValueError`` where predicted cells hold NaN or infinite values."""
    bad = sum(int((~_finite_rows(cells)).sum()) for cells in stored(several))
    if bad:
        n = sizes_of(several).sum()
        msg = f"{bad} of {n} predicted cells in {where} hold NaN or infinite values; predict them again"
        raise ValueError(msg)


def _finite_rows(values: Matrix) -> Bools:
    if sparse.issparse(values):
        good = np.ones(values.shape[0], dtype=bool)
        good[
            np.repeat(np.arange(values.shape[0]), np.diff(values.indptr))[~np.isfinite(values.data)]
        ] = False
        return good
    return np.asarray(np.isfinite(values).all(axis=1))
