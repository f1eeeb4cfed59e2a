"""From cells to sets: the conditions of a screen for training, and requests as sets of cells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ...core._codes import grouped, recode
from ...training import Conditions, encoded_condition
from ._requests import require_vectors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from numpy.typing import NDArray
    from torch import Tensor

    from ..._typing import Bools, Floats, Ints
    from ...core._population import Population
    from ._requests import PredictionRequest
    from ._vocabulary import Vocabulary

SET_SIZE = 64  # cells of a generated set
SETS_AT_ONCE = 32  # sets that are generated together


@dataclass(frozen=True)
class Packed:
    """Rows arranged as sets of one condition each.

    Attributes
    ----------
    rows
        (K, S) row of every slot. The sets of a condition are of equal size, give or take a cell,
        and are filled up with repeats.
    real
        (K, S) False for these repeats.
    """

    rows: Ints
    real: Bools


@dataclass(frozen=True)
class RequestedSets:
    """Some sets of a request as a network takes them.

    Attributes
    ----------
    rows
        (K, S) rows of the request.
    real
        (K, S) False for slots that repeat a row of their set.
    condition
        Conditions of the K sets, as in a SetBatch.
    batch_index
        (K, S) batch codes.
    """

    rows: Ints
    real: Bools
    condition: dict[str, Tensor]
    batch_index: Tensor


def pack(request: PredictionRequest, set_size: int) -> Packed:
    """Arrange the rows of a request (sorted by condition) into sets of at most `set_size` rows."""
    code = request.populations()
    start = np.flatnonzero(np.diff(code, prepend=-1))
    length = np.diff(np.r_[start, len(request)])
    rows, real = [], []
    for first, n in zip(start, length, strict=True):
        for some in np.array_split(np.arange(first, first + n), -(-n // set_size)):
            rows.append(some[np.arange(set_size) % len(some)])
            real.append(np.arange(set_size) < len(some))
    return Packed(rows=np.stack(rows), real=np.stack(real))


def sets_of(
    request: PredictionRequest,
    cells: Population,
    vocabulary: Vocabulary,
    *,
    centres: Callable[[Ints], NDArray[np.float32]],
    perturbed: bool,
    device: Any,
) -> Iterator[RequestedSets]:
    """Yield the sets of a request.

    Parameters
    ----------
    request
        Cells to generate, sorted by condition.
    cells
        Population whose codes the request uses.
    vocabulary
        Names that the model knows.
    centres
        Returns (n, n_dims) the control means of contexts in the space of the network.
    perturbed
        Whether the cells carry the perturbation already. The conditions then hold none.
    device
        Where the network is.
    """
    packed = pack(request, SET_SIZE)
    batch = torch.from_numpy(recode(request.batch, cells.batches, vocabulary.perturbed_batches))
    centre = torch.from_numpy(centres(request.context[packed.rows[:, 0]]))
    for first in range(0, len(packed.rows), SETS_AT_ONCE):
        some = slice(first, first + SETS_AT_ONCE)
        rows, real = packed.rows[some], packed.real[some]
        condition = encoded_conditions(request, rows[:, 0], cells, vocabulary, device=device)
        condition["centre"] = centre[some].to(device)
        condition["real"] = torch.from_numpy(real).to(device)
        if perturbed:
            condition["present"] = torch.zeros_like(condition["present"])
        yield RequestedSets(rows, real, condition, batch[rows].to(device))


def run_in_sets(
    network: Callable[[Tensor, RequestedSets], tuple[Tensor, ...]],
    start: NDArray[np.float32],
    sets: Iterable[RequestedSets],
) -> tuple[Tensor, ...]:
    """Put cells through a network set by set, and what comes out in the order of the request.

    Parameters
    ----------
    network
        Takes starting cells (K, S, D) and their sets, and returns one or several (K, S, D).
    start
        (n, D) starting cells, in the order of the request.
    sets
        Sets of the request.

    Returns
    -------
    As many (n, D), on the processor, as the network returns.
    """
    source = torch.from_numpy(start)
    results: tuple[Tensor, ...] = ()
    for each in sets:
        with torch.no_grad():
            made = network(source[each.rows].to(each.batch_index.device), each)
        results = results or tuple(torch.empty_like(source) for _ in made)
        for values, part in zip(results, made, strict=True):
            values[each.rows[each.real]] = part.float().cpu()[each.real]
    return results


def conditions_of(cells: Population, chosen: Bools, vocabulary: Vocabulary) -> Conditions:
    """Return the conditions (perturbation, context and dose) of the chosen cells, as index tables.

    Their sources are the control cells of training.
    """
    at = np.flatnonzero(chosen)
    member, keys = grouped(
        perturbation=cells.labels.code[at], context=cells.context[at], dose=cells.dose[at]
    )
    perturbation, context, dose = (
        keys[name].to_numpy() for name in ("perturbation", "context", "dose")
    )
    order = np.argsort(member, kind="stable")
    groups = np.split(at[order], np.cumsum(np.bincount(member, minlength=len(keys)))[:-1])
    names = [cells.names[code] for code in perturbation]
    return Conditions(
        names=tuple(map(_display, names, (_name(cells.contexts, c) for c in context), dose)),
        parts=vocabulary.parts(names),
        context=recode(context, cells.contexts, vocabulary.contexts),
        dose=vocabulary.standard_dose(dose),
        cells=tuple(groups),
        control=np.flatnonzero(cells.train_control),
        cell_context=recode(cells.context, cells.contexts, vocabulary.contexts),
        cell_batch=recode(cells.batch, cells.batches, vocabulary.batches),
        vectors=vocabulary.scaled_vectors,
        n_contexts=len(vocabulary.perturbed_contexts),
        n_batches=len(vocabulary.perturbed_batches),
        placed=vocabulary.placed(vocabulary.contexts),
    )


def held_out(cells: Population, vocabulary: Vocabulary) -> Conditions | None:
    """Return the conditions of ``"val"`` that the model has vectors for.

    It is ``None`` where there is no validation.

    Raises
    ------
    KeyError
        If there are cells of ``"val"`` and none of their perturbations has a vector.
    """
    val = np.flatnonzero(cells.val)
    if not len(val):
        return None
    able = np.array([not vocabulary.without_vector([name]) for name in cells.names])[
        cells.labels.code[val]
    ]
    if not able.any():
        msg = (
            f"no perturbation with obs['split'] == 'val' has a vector ({vocabulary.embedding}), so "
            "none can be generated to validate on: train with an embedding= that has them, or "
            "split with val=0"
        )
        raise KeyError(msg)
    return conditions_of(cells, np.isin(np.arange(len(cells.val)), val[able]), vocabulary)


def encoded_conditions(
    request: PredictionRequest,
    rows: Ints,
    cells: Population,
    vocabulary: Vocabulary,
    *,
    device: Any,
) -> dict[str, Tensor]:
    """Return the conditions of some rows as a network takes them.

    Returns
    -------
    The condition mapping of a SetBatch, and ``familiar`` (K,): whether the perturbation was in
    training. A context without a perturbed cell in training has the code -1, unknown: nothing has
    taught a network what its name means.

    Raises
    ------
    KeyError
        If the model is told vectors of contexts, and a context has none.
    """
    used_contexts = [cells.contexts[i] for i in np.unique(request.context[rows]) if i >= 0]
    require_vectors(vocabulary, used_contexts)
    used, name = np.unique(request.perturbation[rows], return_inverse=True)
    names = [request.names[i] for i in used]
    condition = encoded_condition(
        vocabulary.scaled_vectors,
        vocabulary.parts(names)[name],
        recode(request.context[rows], cells.contexts, vocabulary.perturbed_contexts),
        vocabulary.standard_dose(request.dose[rows]),
        placed=vocabulary.placed(cells.contexts),
        place=request.context[rows],
        device=device,
    )
    return {**condition, "familiar": torch.from_numpy(vocabulary.familiar(names)[name]).to(device)}


def _name(names: tuple[str, ...], code: int) -> str:
    return names[code] if code >= 0 else ""


def condition_names(request: PredictionRequest, cells: Population) -> list[str]:
    """Return (n,) what a message calls the condition of every row, as in :func:`conditions_of`."""
    return [
        _display(request.names[code], _name(cells.contexts, context), dose)
        for code, context, dose in zip(
            request.perturbation, request.context, request.dose, strict=True
        )
    ]


def _display(perturbation: str, context: str, dose: Floats) -> str:
    """Return what a message calls a condition: ``"KLF1 | day 2 | dose 0.1"``."""
    parts = [perturbation, context, "" if np.isnan(dose) else f"dose {dose:g}"]
    return " | ".join(part for part in parts if part)
