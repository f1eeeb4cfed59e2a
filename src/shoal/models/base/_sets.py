"""From cells to sets: the conditions of a screen for training, and requests packed into sets for sampling."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ...core._codes import grouped, recode
from ...training import Conditions, encoded_condition

if TYPE_CHECKING:
    from torch import Tensor

    from ..._typing import Bools, Floats, Ints
    from ...core._population import Population
    from ._predictor import Wanted
    from ._vocabulary import Vocabulary


@dataclass(frozen=True)
class Packed:
    """Rows arranged as sets of one condition each.

    Attributes
    ----------
    rows
        (K, S) row of every slot; sets of a condition are of equal size, give or take a cell, and filled up with repeats.
    real
        (K, S) False for these repeats.
    """

    rows: Ints
    real: Bools


def pack(wanted: Wanted, set_size: int) -> Packed:
    """Arrange wanted cells (sorted by condition) into sets of at most `set_size` cells of one condition."""
    code, _ = grouped(perturbation=wanted.perturbation, context=wanted.context, dose=wanted.dose)
    start = np.flatnonzero(np.diff(code, prepend=-1))
    length = np.diff(np.r_[start, len(wanted)])
    rows, real = [], []
    for first, n in zip(start, length, strict=True):
        for own in np.array_split(np.arange(first, first + n), -(-n // set_size)):
            rows.append(own[np.arange(set_size) % len(own)])
            real.append(np.arange(set_size) < len(own))
    return Packed(rows=np.stack(rows), real=np.stack(real))


def conditions_of(cells: Population, chosen: Bools, vocabulary: Vocabulary) -> Conditions:
    """Return the populations (perturbation x context x dose) of the chosen cells, as index tables.

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
    )


def held_out(cells: Population, vocabulary: Vocabulary) -> Conditions | None:
    """Return the conditions of ``"val"`` that the model has vectors for, or ``None`` where there is no validation.

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
            f"no perturbation with obs['split'] == 'val' has a vector ({vocabulary.embedding}), so none can be generated "
            "to validate on: train with an embedding= that has them, or split with val=0"
        )
        raise KeyError(msg)
    return conditions_of(cells, np.isin(np.arange(len(cells.val)), val[able]), vocabulary)


def asked(
    wanted: Wanted, rows: Ints, cells: Population, vocabulary: Vocabulary, *, device: Any
) -> dict[str, Tensor]:
    """Return what a network is told of the conditions of some rows: the condition mapping of a SetBatch, and ``familiar``.

    ``familiar`` (K,) says whether the perturbation was in training.
    """
    used, name = np.unique(wanted.perturbation[rows], return_inverse=True)
    names = [wanted.names[i] for i in used]
    condition = encoded_condition(
        vocabulary.scaled_vectors,
        vocabulary.parts(names)[name],
        recode(wanted.context[rows], cells.contexts, vocabulary.contexts),
        vocabulary.standard_dose(wanted.dose[rows]),
        device=device,
    )
    return {**condition, "familiar": torch.from_numpy(vocabulary.familiar(names)[name]).to(device)}


def _name(names: tuple[str, ...], code: int) -> str:
    return names[code] if code >= 0 else ""


def _display(perturbation: str, context: str, dose: Floats) -> str:
    """Return what a message calls a condition: ``"KLF1 | day 2 | dose 0.1"``."""
    parts = [perturbation, context, "" if np.isnan(dose) else f"dose {dose:g}"]
    return " | ".join(part for part in parts if part)
