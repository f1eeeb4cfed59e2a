"""Prediction requests: which cells a model is to generate, and the control cell that each has."""

from __future__ import annotations

from dataclasses import dataclass, replace
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np

from ..._logging import logger
from ..._validate import whole
from ...core._codes import grouped, members
from ...core._controls import LEVELS
from ...core._doses import same_dose
from ...core._named_context import named_context

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ..._typing import Floats, Ints
    from ...core._population import Population
    from ...core._screen import Screen
    from ._vocabulary import Vocabulary

SHOWN = 12  # names in a message


@dataclass(frozen=True)
class PredictionRequest:
    """Cells to generate, one row each.

    Attributes
    ----------
    names
        Canonical names of the requested perturbations.
    perturbation
        (n,) codes into `names`.
    context, batch
        (n,) codes into the contexts and batches of the population, -1 where missing.
    dose
        (n,) dose, NaN where there is none.
    source
        (n,) row of the control cell that stands for each generated cell.
    from_source
        Whether each cell must start at its `source`, as when given cells are carried. Otherwise a
        model may start at cells of other contexts.
    """

    names: tuple[str, ...]
    perturbation: Ints
    context: Ints
    batch: Ints
    dose: Floats
    source: Ints
    from_source: bool = False

    def __len__(self) -> int:
        return len(self.source)

    def populations(self) -> Ints:
        """Return (n,) the population of every row: perturbation, context and dose."""
        return grouped(perturbation=self.perturbation, context=self.context, dose=self.dose)[0]

    def take(self, index: Any) -> PredictionRequest:
        """Return some of the rows."""
        columns = ("perturbation", "context", "batch", "dose", "source")
        return replace(self, **{name: getattr(self, name)[index] for name in columns})


def request_new(
    names: Sequence[str],
    cells: Population,
    *,
    context: int | None,
    dose: float,
    n_cells: int,
    rng: np.random.Generator,
) -> PredictionRequest:
    """Request new cells of every perturbation.

    Control cells are drawn of the context, or of all contexts where it is ``None``. Each generated
    cell has the context and batch of its control cell. Rows are sorted by perturbation, context and
    batch.
    """
    unknown = np.full(n_cells, -1)
    contexts = unknown if context is None else np.full(n_cells, context)
    source = np.concatenate([cells.controls.draw(contexts, unknown, rng)[0] for _ in names])
    request = PredictionRequest(
        names=tuple(names),
        perturbation=np.repeat(np.arange(len(names)), n_cells),
        context=cells.context[source],
        batch=cells.batch[source],
        dose=np.full(len(source), dose),
        source=source,
    )
    place = np.argsort(cells.controls.cells)  # in the order of names, not of rows
    by_name = place[np.searchsorted(cells.controls.cells, source, sorter=place)]
    keys = (by_name, request.batch, request.context, request.perturbation)
    return request.take(np.lexsort(keys))


def request_like(cells: Population, rows: Ints, source: Ints) -> PredictionRequest:
    """Request one cell like each of some measured ones: same perturbation, context, batch and dose.

    Parameters
    ----------
    cells
        Population of the measured cells and of the control cells.
    rows
        (n,) rows of the measured cells.
    source
        (n,) rows of the cells that the generated ones start from.
    """
    return PredictionRequest(
        names=tuple(cells.names),
        perturbation=cells.labels.code[rows],
        context=cells.context[rows],
        batch=cells.batch[rows],
        dose=cells.dose[rows],
        source=source,
    )


def request_given(name: str, cells: Population, dose: float) -> PredictionRequest:
    """Request that all cells of a population get a perturbation: each starts at itself."""
    n = cells.rows.shape[0]
    return PredictionRequest(
        names=(name,),
        perturbation=np.zeros(n, dtype=np.int64),
        context=cells.context,
        batch=cells.batch,
        dose=np.full(n, dose),
        source=np.arange(n),
        from_source=True,
    )


def enlarged(
    request: PredictionRequest,
    cells: Population,
    population: Ints,
    least: int,
    rng: np.random.Generator,
) -> tuple[PredictionRequest, Ints, Ints]:
    """Return a request with more rows of small populations, each with a control cell of its own.

    Parameters
    ----------
    request
        Cells, sorted by condition. Where they must start at given cells, no rows are added.
    cells
        Their population.
    population
        (n,) code of the population of every cell.
    least
        Rows that every population gets at least.
    rng
        Draws control cells.

    Returns
    -------
    The larger request, the population of its rows, and (n,) where the given rows are in it.
    """
    n = len(request)
    few = [] if request.from_source else [r for r in members(population) if len(r) < least]
    more = [np.resize(rows, least - len(rows)) for rows in few]
    index = np.concatenate([np.arange(n), *more])
    order = np.lexsort((index, request.batch[index], population[index]))
    whole = request.take(index)
    whole.source[n:] = cells.controls.draw(whole.context[n:], whole.batch[n:], rng)[0]
    return whole.take(order), population[index][order], np.argsort(order)[:n]


def by_condition(cells: Population, rows: Ints) -> Ints:
    """Return rows sorted by perturbation, context, batch and dose, and by name within these."""
    by_name = rows[np.argsort(cells.adata.obs_names.to_numpy()[rows].astype(str), kind="stable")]
    keys = (cells.dose, cells.batch, cells.context, cells.labels.code)
    return by_name[np.lexsort([key[by_name] for key in keys])]


def requested_names(
    perturbations: str | Sequence[str] | None, cells: Population, vocabulary: Vocabulary
) -> list[str]:
    """Return canonical names, each once; all perturbations of the screen for ``None``.

    Raises
    ------
    ValueError
        If no perturbation is named, or the control is.
    TypeError
        If a name is bytes.
    """
    several = cells.names if perturbations is None else perturbations
    several = [several] if isinstance(several, str) or not np.iterable(several) else list(several)
    if isinstance(perturbations, bytes) or any(isinstance(name, bytes) for name in several):
        msg = f"names of perturbations are text, not bytes: {perturbations!r}; decode them"
        raise TypeError(msg)
    read, asked = vocabulary.screen.names, {}
    for label in map(str, several):
        asked.setdefault(read.canonical(label), read.as_asked(label))
    names = list(asked.values())
    if not names or cells.screen.control[0] in names:
        label, example = cells.screen.control[0], vocabulary.perturbations[0]
        what = f"the control, {label!r}, was asked for, and its cells are measured"
        what = what if names else "no perturbation was asked for"
        msg = f"{what}; name perturbations, as in model.predict([{example!r}])"
        raise ValueError(msg)
    return names


def requested_name(perturbation: str, cells: Population, vocabulary: Vocabulary) -> str:
    """Return the canonical name of the one perturbation that a call takes.

    Raises
    ------
    TypeError
        If none or several are named.
    ValueError
        If it is the control.
    """
    several = not isinstance(perturbation, str | bytes) and np.iterable(perturbation)
    if perturbation is None or several:
        msg = (
            f"name one perturbation, such as {vocabulary.perturbations[0]!r}, not {perturbation!r}"
        )
        raise TypeError(msg)
    return requested_names(perturbation, cells, vocabulary)[0]


def requested_number(n_cells: int | None, cells: Population) -> int:
    """Return the number of cells of each perturbation; that of the median one for ``None``.

    Raises
    ------
    ValueError
        If it is not above 0.
    """
    if n_cells is not None:
        return whole(n_cells, name="n_cells")
    counts = cells.labels.counts
    some = (counts > 0).any()
    return int(np.median(counts[counts > 0])) if some else len(cells.controls.cells)


def requested_context(context: str | None, cells: Population) -> int | None:
    """Return the code of a context.

    Raises
    ------
    KeyError
        If the screen has no such context.
    ValueError
        If the screen has no contexts, or this one has no control cell.
    TypeError
        If something else than one context is named.
    """
    if context is None:
        return None
    code = cells.contexts.index(named_context(context, cells.contexts, cells.screen))
    if not (cells.controls.context == code).any():
        having = [cells.contexts[i] for i in np.unique(cells.controls.context) if i >= 0]
        msg = (
            f"context {context!r} has no control cell to start from; these have some: "
            f"{', '.join(having)}"
        )
        raise ValueError(msg)
    return code


def requested_dose(dose: float | None, cells: Population) -> float:
    """Return the dose, NaN where the screen has none.

    Raises
    ------
    ValueError
        If a dose is given to a screen without doses, none to a screen with doses, or it is not a
        finite number above 0.
    """
    key = cells.screen.dose_key
    if key is not None and dose is None:
        measured = np.unique(cells.dose[cells.perturbed & np.isfinite(cells.dose)])
        some = ", ".join(f"{d:g}" for d in measured[:12])
        msg = f"which dose? Pass dose=...; measured are {some}"
        raise ValueError(msg)
    return float("nan") if dose is None else given_dose(dose, cells.screen)


def given_dose(dose: float, screen: Screen) -> float:
    """Return a dose as it is compared with others.

    Raises
    ------
    ValueError
        If the screen has no doses, or it is not a finite number above 0.
    """
    if screen.dose_key is None:
        msg = "the screen was annotated without a dose column, so dose= means nothing; leave it out"
        raise ValueError(msg)
    if isinstance(dose, bool) or not (isinstance(dose, Real) and 0 < dose < np.inf):
        msg = (
            f"dose must be a finite number above 0, in the unit of obs[{screen.dose_key!r}], not "
            f"{dose!r}"
        )
        raise ValueError(msg)
    return same_dose(dose)


def require_vectors(vocabulary: Vocabulary, contexts: Iterable[str]) -> None:
    """Raise ``KeyError`` if a model is told vectors of contexts, and some of these have none."""
    lost = vocabulary.contexts_without_vector(contexts)
    if lost:
        raise KeyError(in_words({f"context {name!r}": why for name, why in lost.items()}))


def in_words(reasons: Mapping[str, str], most: int | None = SHOWN) -> str:
    """Return what cannot be predicted and why in one text: names with the same reason together.

    Parameters
    ----------
    reasons
        Perturbation, condition or context -> why.
    most
        Most names of a reason to show; ``None`` for all.
    """
    together: dict[str, list[str]] = {}
    for name, why in reasons.items():
        together.setdefault(why, []).append(name if name.startswith("context ") else repr(name))
    several = []
    for why, names in together.items():
        rest = f" and {len(names) - most} more" if most is not None and len(names) > most else ""
        several.append(f"{', '.join(names[:most])}{rest} {why}")
    return "; ".join(several)


def tell_left_out(reasons: Mapping[str, str]) -> None:
    """Log what is left out of a prediction, and why."""
    logger.warning("left out, and not predicted: %s", in_words(reasons))


def warn_of_dose(dose: float, vocabulary: Vocabulary) -> None:
    """Log that a dose lies outside those of training, NaN for none."""
    if vocabulary.doses and not np.isnan(dose):
        low, high = vocabulary.doses
        if not low <= dose <= high:
            logger.warning(
                "dose %g lies outside those of training, %g to %g: baselines answer with the "
                "nearest dose, and the answer of a network is a guess",
                dose,
                low,
                high,
            )


def warn_of_fallbacks(cells: Population, rows: Ints, vocabulary: Vocabulary) -> None:
    """Log the contexts of some cells that lack control cells, or that training did not have."""
    pairs = np.unique(np.stack([cells.context[rows], cells.batch[rows]]), axis=1).T
    for context in np.unique(pairs[:, 0]):
        level = max(cells.controls.pool(c, b)[1] for c, b in pairs if c == context)
        if level > 1:
            name = cells.contexts[context] if context >= 0 else "(missing)"
            logger.warning(
                "context %r has too few control cells; twins start from %s", name, LEVELS[level]
            )
    warn_of_contexts(cells, pairs[:, 0], vocabulary)


def warn_of_contexts(cells: Population, codes: Ints, vocabulary: Vocabulary) -> None:
    """Log which of some contexts did not occur in training, or only with control cells."""
    used = {cells.contexts[c] for c in np.unique(codes) if c >= 0}
    new = used - set(vocabulary.contexts)
    controlled = {cells.contexts[c] for c in set(cells.context[cells.labels.is_control]) if c >= 0}
    if new & controlled:
        logger.warning(
            "%s did not occur in training: only their control cells tell the model about them",
            ", ".join(sorted(new & controlled)),
        )
    if new - controlled:
        logger.warning(
            "%s did not occur in training, and no control cell is there: nothing tells the model "
            "about them",
            ", ".join(sorted(new - controlled)),
        )
    bare = used & set(vocabulary.control_contexts)
    if bare:
        logger.info(
            "%s had no perturbed cell in training: a model knows them by their control cells alone",
            ", ".join(sorted(bare)),
        )
