"""The prediction that is evaluated: cells beside the real ones, or cells in another AnnData."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, replace
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .._damage import reading
from .._h5ad import contents
from .._logging import logger
from .._validate import key_in, near, some, unique_genes
from ..core._codes import members, places
from ..core._matrix import Rows, as_rows
from ..core._population import population
from ..core._predictions import (
    PREDICTED,
    SOURCE,
    VCC_COLUMN,
    VCC_CONTROL,
    column_of,
    is_transductive,
    prediction_slot,
)
from ..metrics._cells import Cells, densify
from ..metrics._comparison import Populations
from ._conditions import condition_names, conditions_of, described, scored_cells
from ._paths import names_at, paths_of
from ._task import rows_predicted, take

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from anndata import AnnData

    from .._typing import Ints, Matrix
    from ..core._population import Population
    from ..core._screen import Screen
    from ._task import EvaluationTask

ENDING = ".h5ad"
FEWEST = 2  # cells of a population
_MUDATA = "prediction is a MuData: pass the modality with the predicted cells, as mdata['rna']"


@dataclass(frozen=True, eq=False)
class Beside:
    """A prediction beside the real cells: row i predicts cell i.

    Attributes
    ----------
    name
        Its name, as the user gave it.
    slot
        Where it is, as ``"layers['p']"``.
    rows
        (n_obs, n_features) values.
    transductive
        Whether the embedding of its model has seen held-out cells.
    """

    name: str
    slot: str
    rows: Rows
    transductive: bool

    def recorded_in(self, screen: AnnData) -> tuple[AnnData, str]:
        """Return the AnnData with the record of the prediction, and its name there."""
        return screen, self.name


@dataclass(frozen=True, eq=False)
class Apart:
    """A prediction in an AnnData of its own, with as many cells as it likes.

    Attributes
    ----------
    name
        Its path, or ``"AnnData"``.
    adata
        The predicted cells.
    transductive
        Whether the embedding of its model has seen held-out cells.
    slot
        Where the values are.
    """

    name: str
    adata: AnnData
    transductive: bool
    slot: str = "prediction.X"

    def recorded_in(self, screen: AnnData) -> tuple[AnnData, str]:
        """Return the AnnData with the record of the prediction, and its name there."""
        return self.adata, "X"


@contextmanager
def opened(
    adata: AnnData, prediction: str | PathLike[str] | AnnData, *, layer: str | None = None
) -> Iterator[Beside | Apart]:
    """Find a prediction, and close its file at the end.

    Parameters
    ----------
    adata
        The screen.
    prediction
        One of these:

        - the name of a prediction in `adata`, see `prediction_slot`;
        - an AnnData of predicted cells;
        - the path of an h5ad file with one. A text is a path if it ends in ``.h5ad`` and names no
          prediction in `adata`. Only the cells and genes that are scored are read.
    layer
        Layer of the real values, ``None`` for ``X``.

    Raises
    ------
    KeyError
        If there is no such prediction.
    ValueError
        If a name could be several predictions, the prediction has other columns than genes or no
        X, or it is the real values themselves.
    OSError
        If there is no such file, or it is damaged.
    TypeError
        If `prediction` is something else.
    """
    if isinstance(prediction, str) and not _is_path(adata, prediction):
        yield _beside(adata, prediction, layer)
    elif isinstance(prediction, str | PathLike):
        path = Path(fspath(prediction))
        if not path.is_file():
            msg = f"prediction={str(path)!r}: there is no such file"
            raise FileNotFoundError(msg)
        if "mod" in contents(path):
            raise TypeError(_MUDATA)
        from anndata import read_h5ad

        with reading(path, "an h5ad"):
            cells = read_h5ad(path, backed="r")
        try:
            yield _apart(str(path), cells)
        finally:
            cells.file.close()
    elif prediction is adata:
        msg = (
            "prediction is the screen itself: its real values would be scored against themselves. "
            "Name a layer with predicted values, or pass an AnnData of predicted cells"
        )
        raise ValueError(msg)
    elif hasattr(prediction, "mod"):
        raise TypeError(_MUDATA)
    elif hasattr(prediction, "obs") and hasattr(prediction, "var_names"):
        yield _apart("AnnData", prediction)
    else:
        msg = (
            "prediction must be the name of a layer or of a slot of obsm, an AnnData, or the path "
            f"of an h5ad file, not {type(prediction).__name__}"
        )
        raise TypeError(msg)


def _apart(name: str, cells: AnnData) -> Apart:
    """Return predicted cells of their own.

    Raises
    ------
    ValueError
        If their X is empty.
    """
    if cells.X is None:
        others = [key for key in (*cells.layers, *cells.obsm) if key is not None]
        msg = (
            "the X of the prediction is empty, and predicted values are read there: put them in, "
            f"as in prediction.X = prediction.layers[...]; layers and obsm hold {some(others)}"
        )
        raise ValueError(msg)
    return Apart(name, cells, is_transductive(cells, "X"))


def refuse_images(adata: AnnData, prediction: object) -> None:
    """Raise ``ValueError`` if a name stands for predicted images, which are judged elsewhere."""
    slot = adata.obsm.get(f"X_{prediction}") if isinstance(prediction, str) else None
    if slot is not None and len(slot.shape) > 2:
        msg = f"adata.obsm['X_{prediction}'] holds images, which sh.tl.evaluate_images judges"
        raise ValueError(msg)


def unpredicted(
    cells: Population, prediction: Beside | Apart, *, split: str | None
) -> dict[str, str]:
    """Return the conditions that are to be scored and have no prediction, and why.

    Parameters
    ----------
    cells
        The screen.
    prediction
        The prediction.
    split
        Value of ``obs["split"]`` that is scored, ``None`` for all perturbed cells.
    """
    condition, keys = conditions_of(cells)
    scored = scored_cells(cells, split)
    groups = [np.flatnonzero(scored)[at] for at in members(condition[scored])]
    codes = [int(condition[rows[0]]) for rows in groups]
    about, names = described(cells, keys).iloc[codes], condition_names(cells, keys)
    if isinstance(prediction, Apart):
        given = in_columns_of(cells.screen, prediction.adata)
        numbers = [len(rows) for rows in rows_of_conditions(cells.screen, about, given)]
        strange = [name for name in given.names if name not in cells.names]
        why = [
            f"got {n} predicted cells, fewer than {FEWEST}"
            f"{': cells are compared, and not their mean' if n else _strange(name, strange)}"
            for name, n in zip(about["perturbation"], numbers, strict=True)
        ]
        lacking = np.array(numbers) < FEWEST
    else:
        done = cells.adata.obs.get(prediction.name + PREDICTED)
        if done is None:
            return {}
        is_done = np.asarray(done, dtype=bool)
        lacking = np.array([not is_done[rows].any() for rows in groups])
        why = [f"got no twin in {prediction.slot}"] * len(groups)
    return {names[code]: why[i] for i, code in enumerate(codes) if lacking[i]}


def holds_real_values(task: EvaluationTask, made: Populations) -> bool:
    """Return whether all predicted cells are copies of real cells of their conditions."""
    beside = take(task.cells.rows, task.predicted)
    several = zip(made.cells, beside, task.truth.cells, strict=True)
    return all(_rows_of(cells) <= _rows_of(one) | _rows_of(two) for cells, one, two in several)


def _rows_of(cells: Matrix) -> set[bytes]:
    """Return the distinct cells, in single precision."""
    return {row.tobytes() for row in densify(cells).astype(np.float32) + np.float32(0)}


def _strange(name: str, strange: Sequence[str]) -> str:
    """Return which labels that the screen lacks may mean a perturbation, or the first of them."""
    some = ", ".join(map(repr, near(name, strange) or strange[:3]))
    return f"; the prediction has {some}, which the screen lacks" if strange else ""


def in_columns_of(screen: Screen, cells: AnnData) -> Population:
    """Return predicted cells in the columns of the screen that conditions are made of.

    A file for the scorer of the Virtual Cell Challenge has a column and a control label of its own.
    """
    unique_genes(cells, name="prediction")
    if screen.perturbation_key not in cells.obs and VCC_COLUMN in cells.obs:
        screen = replace(
            screen, perturbation_key=VCC_COLUMN, control=(*screen.control, VCC_CONTROL)
        )
    for key in (screen.perturbation_key, screen.context_key, screen.dose_key):
        if key is not None:
            key_in(key, cells.obs.columns, where="prediction.obs")
    return population(cells, replace(screen, batch_key=None, guide_key=None))


def populations_of(
    tasks: Sequence[EvaluationTask], prediction: Beside | Apart
) -> tuple[Populations, ...]:
    """Return the predicted cells of the conditions in each draw, whose values are to be checked.

    A file is read once for all draws.

    Raises
    ------
    KeyError
        If a column or gene is missing.
    ValueError
        If cells of a condition were predicted and others of it not.
    """
    if isinstance(prediction, Beside):
        return _cells_beside(tasks, prediction)
    return _cells_apart(tasks, prediction.adata)


def _taken(rows: Rows, several: Sequence[Sequence[Ints]]) -> list[Sequence[Matrix]]:
    """Return the populations of each draw; what is not in memory is read once."""
    if len(several) == 1 or isinstance(take(rows, []), Cells):
        return [take(rows, own) for own in several]
    used = np.unique(np.concatenate([one for own in several for one in own]))
    values = take(rows, [used])[0]
    return [Cells(values, tuple(np.searchsorted(used, one) for one in own)) for own in several]


def in_order(rows: Rows, cells: AnnData, features: Sequence[str]) -> Rows:
    """Return the values of predicted cells with the genes of a screen, in its order."""
    columns = places(cells.var_names, features)
    same = len(columns) == cells.n_vars and np.array_equal(columns, np.arange(len(columns)))
    return rows if same else Rows(rows.matrix, columns)


def _is_path(adata: AnnData, text: str) -> bool:
    """Return whether a text is a path: it ends as one, and is no name in the AnnData."""
    known = text in adata.layers or text in adata.obsm or f"X_{text}" in adata.obsm
    return text.endswith(ENDING) and not known


# -- beside the real cells -----------------------------------------------------------------------


def _beside(adata: AnnData, name: str, layer: str | None) -> Beside:
    where, key = prediction_slot(adata, name)
    slot, values = f"{where}[{key!r}]", getattr(adata, where)[key]
    real = adata.X if layer is None else adata.layers.get(layer)
    if (where, key) == ("layers", layer) or values is real:
        msg = (
            f"prediction={name!r} holds the real values themselves "
            f"({'X' if layer is None else f'layer={layer!r}'}): they would be scored against "
            "themselves. prediction= names predicted values, and layer= the real ones"
        )
        raise ValueError(msg)
    if where == "obsm":
        values = _genes_of(adata, values, slot)
    return Beside(name, slot, as_rows(values, slot=slot), is_transductive(adata, name))


def _genes_of(adata: AnnData, values: Any, slot: str) -> Any:
    """Return the predicted genes in a slot of ``obsm``, in the order of ``var``."""
    if isinstance(values, pd.DataFrame) and set(adata.var_names) <= set(values.columns):
        return values[list(adata.var_names)].to_numpy()
    if not isinstance(values, pd.DataFrame) and values.shape[1] == adata.n_vars:
        return values
    msg = (
        f"{slot} has {values.shape[1]} columns, which are not the {adata.n_vars} genes: "
        "predictions are evaluated in genes. Predict with a model of X or of a layer, or decode "
        "the representation first"
    )
    raise ValueError(msg)


def _cells_beside(tasks: Sequence[EvaluationTask], prediction: Beside) -> tuple[Populations, ...]:
    obs, name = tasks[0].cells.adata.obs, prediction.name
    rows = rows_predicted(tasks)
    was_predicted = obs.get(name + PREDICTED)
    if was_predicted is not None:
        n_lacking = int((~np.asarray(was_predicted, dtype=bool)[rows]).sum())
        if n_lacking:
            msg = (
                f"{n_lacking} of {len(rows)} cells that are scored have no twin in "
                f"{prediction.slot}, and others of their conditions have one: predict them all, "
                f"with sh.tl.predict(adata, model, key_added={name!r}, subset=...)"
            )
            raise ValueError(msg)
    chosen = [task.predicted for task in tasks]
    return _with_paths(tasks, _taken(prediction.rows, chosen), obs.get(name + SOURCE), chosen)


def _with_paths(
    tasks: Sequence[EvaluationTask],
    taken: Sequence[Sequence[Matrix]],
    source: pd.Series | None,
    chosen: Sequence[Sequence[Ints]],
) -> tuple[Populations, ...]:
    """Return populations that know where their cells start from, if the prediction says so."""
    return tuple(
        replace(Populations(task.truth, cells), paths=paths_of(task, names_at(source, rows)))
        for task, cells, rows in zip(tasks, taken, chosen, strict=True)
    )


# -- in an AnnData of their own ------------------------------------------------------------------


def _cells_apart(tasks: Sequence[EvaluationTask], cells: AnnData) -> tuple[Populations, ...]:
    """Return predicted cells: of each condition as many as are scored, without halves all.

    Numbers of significant genes, errors of means and the bias of some distances depend on the
    number of cells, so all contenders have as many. Of more predicted cells some are drawn. Of
    fewer, each is taken several times: the prediction is a population with these cells alone.
    """
    task = tasks[0]
    screen, features = task.cells.screen, list(task.cells.features)
    missing = [gene for gene in features if gene not in cells.var_names]
    if missing:
        fix = (
            "score the genes that both have: "
            "adata[:, adata.var_names.isin(prediction.var_names)].copy()"
        )
        if len(missing) == len(features):
            fix = (
                f"its genes have other names, such as {some(list(cells.var_names), 3)}: give "
                "prediction.var_names the names that adata.var_names has"
            )
        msg = (
            f"the prediction lacks {len(missing)} of the {len(features)} genes of the screen: "
            f"{some(missing, 8)}; {fix}"
        )
        raise KeyError(msg)
    given = in_columns_of(screen, cells)
    several = list(rows_of_conditions(screen, task.conditions, given))
    if task.halves:
        _tell_few(several, task.conditions["n_predicted"])
    chosen = [_some_of(several, one) for one in tasks]
    taken = _taken(in_order(given.rows, cells, features), chosen)
    column = column_of(cells, "source", taken=screen.columns)
    return _with_paths(tasks, taken, None if column is None else cells.obs[column], chosen)


def _some_of(several: Sequence[Ints], task: EvaluationTask) -> list[Ints]:
    """Draw as many rows of each condition as are scored; all without halves."""
    rng = np.random.default_rng([task.seed, 4, *([task.draw] if task.draw else [])])
    drawn = [rng.permutation(rows) for rows in several]
    if task.halves:
        sizes = task.conditions["n_predicted"]
        drawn = [np.resize(rows, n) for rows, n in zip(drawn, sizes, strict=True)]
    return [np.sort(rows) for rows in drawn]


def _tell_few(several: Sequence[Ints], sizes: pd.Series) -> None:
    """Say which conditions have fewer predicted cells than are scored."""
    numbers = zip(sizes.index, map(len, several), sizes, strict=True)
    few = [f"{name}: {has} for {n}" for name, has, n in numbers if has < n]
    if few:
        logger.warning(
            "fewer cells are predicted than are scored in %d of %d conditions (%s): each is taken "
            "several times, which costs. Predict as many cells as the screen has of a condition",
            len(few),
            len(several),
            some(few, 3),
        )


def rows_of_conditions(
    screen: Screen, conditions: pd.DataFrame, given: Population
) -> Iterator[Ints]:
    """Yield the predicted cells of each condition, in the order of their names."""
    order = np.argsort(given.adata.obs_names.to_numpy().astype(str), kind="stable")
    order = order[given.perturbed[order] & (given.context[order] >= 0)]
    code, context, names = given.labels.code[order], given.context[order], given.names
    groups = {
        (names[code[at[0]]], int(context[at[0]])): order[at]
        for at in members(code * len(given.contexts) + context)
    }
    place = {name: i for i, name in enumerate(given.contexts)}
    columns = (conditions[name] for name in ("perturbation", "context", "dose"))
    for perturbation, context, dose in zip(*columns, strict=True):
        where = 0 if screen.context_key is None else place.get(context, -1)
        rows = groups.get((perturbation, where), np.zeros(0, dtype=np.int64))
        yield rows[np.isclose(given.dose[rows], float(dose), rtol=1e-4)] if dose else rows
