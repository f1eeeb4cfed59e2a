"""Panels of counts: what the suite of the 2026 challenge is computed from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from .._logging import logger
from .._validate import some
from ..core._codes import members
from ..core._counts import counts_of
from ..core._gene_names import GeneNames, gene_names, tell_symbols
from ..core._targets import no_target
from ..metrics._external_vcc2026_ends import panel_of
from ..metrics._external_vcc2026_profiles import Counts
from ._conditions import condition_names, conditions_of, described, scored_cells, sides_in_words
from ._predictions import Beside, in_columns_of, rows_of_conditions, unpredicted

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from scipy.sparse import csr_matrix

    from .._typing import Ints
    from ..core._population import Population
    from ..metrics._external_vcc2026_ends import Panel
    from ._predictions import Apart

MOST = 1_000_000  # counts of a cell
LEAST = 4  # real cells of a target: both halves of a replicate have 2
WHAT = "suite='vcc2026'"
NAME_COUNTS = "name the layer of measured counts with layer="
MAKE_COUNTS = "predict counts, with sh.tl.predict(adata, model, counts=True)"


@dataclass(frozen=True, eq=False)
class Judged:
    """The targets of one context, as they are and as they are predicted.

    Attributes
    ----------
    context
        Name of the context; empty without one.
    at
        Rows of its conditions in the table of conditions.
    panel
        The real cells.
    predicted
        (n, G) counts of the predicted cells.
    members
        Rows of `predicted` of each target.
    """

    context: str
    at: Ints
    panel: Panel
    predicted: csr_matrix
    members: tuple[Ints, ...]


@dataclass(frozen=True, eq=False)
class Asked:
    """What is scored of a screen.

    Attributes
    ----------
    cells
        The screen.
    conditions
        Index condition; columns perturbation, context, dose, split, n_real, n_predicted,
        target_gene.
    codes
        (P,) context of each condition.
    real
        Rows of each condition.
    controls
        Rows of the control cells of each context, by its code.
    predicted
        The predicted cells.
    predictions
        Rows of each condition among them.
    target
        (P,) column of the gene of each condition; -1 where it is no gene.
    """

    cells: Population
    conditions: pd.DataFrame
    codes: Ints
    real: list[Ints]
    controls: dict[int, Ints]
    predicted: Population
    predictions: list[Ints]
    target: Ints


def asked(cells: Population, given: Beside | Apart, *, split: str | None) -> Asked:
    """Find the targets of a screen and their predicted cells, by labels alone.

    Raises
    ------
    KeyError
        If the prediction lacks a column or a gene.
    ValueError
        If a target has no prediction or too few real cells, a context has no control cells, or the
        prediction has other genes.
    """
    without = unpredicted(cells, given, split=split)
    if without:
        name = next(iter(without))
        msg = (
            f"{len(without)} targets have no prediction: {name!r}, for one, {without[name]}. "
            f"{WHAT} scores all targets of a panel: predict them too, or leave them out of the "
            "screen"
        )
        raise ValueError(msg)
    condition, keys = conditions_of(cells)
    scored = np.flatnonzero(scored_cells(cells, split))
    real = [scored[at] for at in members(condition[scored])]
    at = np.array([condition[own[0]] for own in real])
    names = condition_names(cells, keys)
    about = described(cells, keys).iloc[at].set_axis([names[code] for code in at])
    few = [f"{name} ({len(own)})" for name, own in zip(about.index, real, strict=True)]
    few = [text for text, own in zip(few, real, strict=True) if len(own) < LEAST]
    if few:
        msg = (
            f"{len(few)} targets have fewer than {LEAST} real cells: {some(few)}. A replicate is "
            "made of two halves of the cells of a target, with 2 cells each at least: leave these "
            "targets out of the screen and the prediction"
        )
        raise ValueError(msg)
    codes = keys["context"].to_numpy()[at]
    controls = _controls(cells, codes)
    if isinstance(given, Beside):
        predicted, predictions = replace(cells, rows=given.rows), real
    else:
        predicted = in_columns_of(cells.screen, given.adata)
        predicted = replace(predicted, rows=replace(predicted.rows, slot=given.slot))
        found = rows_of_conditions(cells.screen, about.assign(n=0), predicted)
        predictions = [np.sort(own) for own in found]
        _check_apart(cells, predicted)
    target = _targets(cells, about["perturbation"])
    about = about.assign(
        split=sides_in_words(cells, condition, at),
        n_real=[len(own) for own in real],
        n_predicted=[len(own) for own in predictions],
        target_gene=np.array([*cells.features, ""], dtype=object)[target],
    ).rename_axis("condition")
    return Asked(cells, about, codes, real, controls, predicted, predictions, target)


def panels(task: Asked) -> Iterator[Judged]:
    """Read the counts of one context after the other.

    Raises
    ------
    ValueError
        If a value is no count, or a cell has more than a million.
    """
    cells, genes = task.cells, task.cells.features
    rank = _label_rank(cells)
    for code, control in task.controls.items():
        at = np.flatnonzero(task.codes == code)
        real = [task.real[i] for i in at]
        labels = [(rank[own].min(), i) for i, own in enumerate([*real, control])]
        order = [i if i < len(real) else -1 for _, i in sorted(labels)]
        counts, places = _read(cells, [*real, control], genes, fix=NAME_COUNTS)
        column = cells.adata.obs[cells.screen.perturbation_key]
        doses = task.conditions["dose"].iloc[at]
        panel = panel_of(
            Counts(counts),
            places[:-1],
            places[-1],
            target=task.target[at],
            names=[f"{column.iloc[own[0]]}{dose}" for own, dose in zip(real, doses, strict=True)],
            labels=order,
            genes=genes,
        )
        predictions = [task.predictions[i] for i in at]
        predicted, own = _read(task.predicted, predictions, genes, fix=MAKE_COUNTS)
        name = cells.contexts[code] if code >= 0 else ""
        yield Judged(name, at, panel, predicted, tuple(own))


def _read(
    cells: Population, several: Sequence[Ints], genes: Sequence[str], *, fix: str
) -> tuple[csr_matrix, list[Ints]]:
    """Return the counts of populations, and the rows of each."""
    rows = np.sort(np.concatenate(several))
    counts = counts_of(cells, rows, genes, most=MOST, fix=fix, what=WHAT)
    return counts, [np.searchsorted(rows, own) for own in several]


def _controls(cells: Population, codes: Ints) -> dict[int, Ints]:
    """Return the rows of the control cells of each context."""
    found = {
        int(code): np.flatnonzero(cells.labels.is_control & (cells.context == code))
        for code in np.unique(codes)
    }
    for code, rows in found.items():
        if len(rows) < LEAST:
            known = f" of context {cells.contexts[code]!r}" if code >= 0 else " without a context"
            where = known if cells.screen.context_key else ""
            msg = (
                f"the screen has {len(rows)} control cells{where}, from which all effects are "
                f"measured, and {WHAT} needs {LEAST} at least"
            )
            raise ValueError(msg)
    return found


def _check_apart(cells: Population, predicted: Population) -> None:
    """Refuse predicted cells with more genes, and say what else is not as the challenge has it."""
    more = sorted(set(predicted.features) - set(cells.features))
    if more:
        msg = (
            f"the prediction has {len(more)} genes that the screen lacks: {some(more)}. Counts per "
            "million would not compare: score the same genes, as in "
            "prediction[:, adata.var_names].copy()"
        )
        raise ValueError(msg)
    if set(predicted.features) == set(cells.features) and predicted.features != cells.features:
        logger.info("the genes of the prediction are in another order: taken by their names")
    if not predicted.labels.is_control.any():
        logger.warning(
            "the prediction has no control cells, and the challenge wants some in a submission; "
            "here the real ones are taken, from which all effects are measured anyway"
        )
    strange = sorted(set(predicted.names) - set(cells.names) - set(cells.screen.control))
    if strange:
        logger.warning(
            "left out: %d labels of the prediction that the screen lacks: %s",
            *(len(strange), some(strange)),
        )


def _targets(cells: Population, perturbations: pd.Series) -> Ints:
    """Return (P,) the column of the gene that each perturbation is named after; -1 for none.

    A combination has none, as there.
    """
    genes: GeneNames = gene_names(cells.adata, cells.screen)
    column = {name: i for i, name in enumerate(cells.features)}
    found = np.full(len(perturbations), -1)
    for i, name in enumerate(perturbations):
        parts = cells.screen.parts(name)
        called = genes.of(parts) if len(parts) == 1 else []
        if called:
            found[i] = column[called[0]]
    lost = sorted(set(perturbations[found < 0]))
    if len(lost) == perturbations.nunique():
        logger.warning("no target gene is left out: %s", no_target(genes, lost))
    elif lost:
        logger.warning(
            "%d targets are no gene of the screen, and no gene is left out for them: %s",
            *(len(lost), some(lost)),
        )
    tell_symbols(genes)
    return found


def _label_rank(cells: Population) -> Ints:
    """Return (n_obs,) the place of the label of each cell among all: of categories, their order."""
    column = cells.adata.obs[cells.screen.perturbation_key]
    if isinstance(column.dtype, pd.CategoricalDtype):
        return np.asarray(column.cat.codes, dtype=np.int64)
    return np.unique(column.to_numpy().astype(str), return_inverse=True)[1]
