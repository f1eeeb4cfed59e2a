"""Conditions: the cells of each perturbation, context and dose, as positions and codes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any
from zlib import crc32

import numpy as np
from scipy import sparse

from ..core._controls import LEVELS, Controls

if TYPE_CHECKING:
    from .._typing import Floats, Ints, Matrix


@dataclass(frozen=True)
class Conditions:
    """The conditions of a screen (perturbation x context x dose) and the positions of their cells.

    Attributes
    ----------
    names
        Names of the C conditions, for messages.
    parts
        (C, P) rows of `vectors`: the single perturbations of each condition, -1 where a condition
        has fewer than P.
    context
        (C,) context code, -1 where it is unknown or there is none.
    dose
        (C,) standardised dose, NaN where there is none.
    cells
        For each condition the positions of its cells, sorted.
    control
        Positions of the control cells, sorted.
    cell_context, cell_batch
        (n_obs,) codes of every cell, 0 where the screen has no such column.
    vectors
        (V, E) float32 vector of every single perturbation, dense or CSR.
    n_contexts, n_batches
        How many codes of contexts and of batches a network is told. Codes from there on are those
        of control cells alone. They say which controls belong to a cell, and a network is told -1,
        unknown. ``None`` if it is told all.
    placed
        (number of context codes + 1, k + 1) what a network is told of each context instead of its
        code: k coordinates, and 1 if there are any. The last row is that of an unknown context.
        ``None`` if it is told codes.

    Raises
    ------
    ValueError
        If the lengths do not agree, a condition has no cells, there are no controls, or a position
        is out of range.
    """

    names: tuple[str, ...]
    parts: Ints
    context: Ints
    dose: Floats
    cells: tuple[Ints, ...]
    control: Ints
    cell_context: Ints
    cell_batch: Ints
    vectors: Matrix
    n_contexts: int | None = None
    n_batches: int | None = None
    placed: Floats | None = None

    def __post_init__(self) -> None:
        lengths = {
            name: len(getattr(self, name))
            for name in ("names", "parts", "context", "dose", "cells")
        }
        if len(set(lengths.values())) > 1 or not self.names:
            msg = f"there must be as many of each, and at least one condition, not {lengths}"
            raise ValueError(msg)
        empty = [name for name, cells in zip(self.names, self.cells, strict=True) if not len(cells)]
        if empty:
            msg = f"conditions without cells: {listed(empty)}; leave them out"
            raise ValueError(msg)
        if not len(self.control):
            msg = (
                "there are no control cells to start from; keep the controls among the training "
                "cells"
            )
            raise ValueError(msg)
        if len(self.cell_context) != len(self.cell_batch):
            msg = (
                f"cell_context has {len(self.cell_context)} cells and cell_batch "
                f"{len(self.cell_batch)}"
            )
            raise ValueError(msg)
        last = max(int(cells[-1]) for cells in (*self.cells, self.control))
        if last >= self.n_obs or self.parts.max(initial=-1) >= self.vectors.shape[0]:
            msg = (
                f"a position ({last}) or a part is beyond the {self.n_obs} cells or "
                f"{self.vectors.shape[0]} vectors"
            )
            raise ValueError(msg)

    def __len__(self) -> int:
        return len(self.names)

    @cached_property
    def _width(self) -> int:
        """How many batch codes there can be, -1 among them."""
        return int(self.cell_batch.max(initial=0)) + 2

    @cached_property
    def told_batch(self) -> Ints:
        """(n_obs,) batch of every cell as a network is told it, -1 = unknown."""
        return _told(self.cell_batch, self.n_batches)

    @property
    def n_obs(self) -> int:
        """Cells of the store, in conditions or not."""
        return len(self.cell_context)

    @property
    def sizes(self) -> Ints:
        """(C,) cells of each condition."""
        return np.array([len(cells) for cells in self.cells])

    @property
    def fingerprint(self) -> int:
        """A number that tells the names of conditions, and the numbers of their cells, apart."""
        return crc32(repr((self.names, self.sizes.tolist())).encode())

    @property
    def controls(self) -> Controls:
        """The control cells, to be looked up by context and batch."""
        return Controls(
            self.control, self.cell_context[self.control], self.cell_batch[self.control]
        )

    def strata(self, cells: Ints) -> tuple[list[tuple[int, int]], Ints]:
        """Return the pairs (context, batch) among some cells, and which of them each cell has."""
        width = self._width
        code = (self.cell_context[cells] + 1) * np.int64(width) + self.cell_batch[cells] + 1
        pairs, own = np.unique(code, return_inverse=True)
        return [(int(pair // width) - 1, int(pair % width) - 1) for pair in pairs], own

    def subset(self, index: Ints) -> Conditions:
        """Return the conditions `index`, over the same cells."""
        return replace(
            self,
            names=tuple(self.names[i] for i in index),
            parts=self.parts[index],
            context=self.context[index],
            dose=self.dose[index],
            cells=tuple(self.cells[i] for i in index),
        )

    def tensors(self, index: Ints, device: Any = None) -> dict[str, Any]:
        """Return the covariates of the conditions `index`, as ``condition`` of a SetBatch."""
        context = _told(self.context[index], self.n_contexts)
        return encoded_condition(
            self.vectors,
            self.parts[index],
            context,
            self.dose[index],
            placed=self.placed,
            place=self.context[index],
            device=device,
        )

    def notes(self, set_size: int) -> list[str]:
        """Return warnings of conditions with few cells, or with few controls of their own."""
        notes = []
        small = [name for name, n in zip(self.names, self.sizes, strict=True) if n < set_size]
        if small:
            notes.append(
                f"{len(small)} of {len(self)} conditions have fewer than set_size={set_size} "
                f"cells, which are repeated with weight 0: {listed(small)}"
            )
        controls, worst = self.controls, np.zeros(len(self), dtype=int)
        for c, cells in enumerate(self.cells):
            worst[c] = max(controls.pool(*pair)[1] for pair in self.strata(cells)[0])
        for level in range(1, len(LEVELS)):
            fallen = [self.names[c] for c in np.flatnonzero(worst == level)]
            if fallen:
                notes.append(
                    f"{len(fallen)} of {len(self)} conditions have cells with fewer than "
                    f"{controls.least} controls of their own context and batch; the controls that "
                    f"stand in are of the next level, {LEVELS[level]!r}: {listed(fallen)}"
                )
        return notes


def encoded_condition(
    vectors: Matrix,
    parts: Ints,
    context: Ints,
    dose: Floats,
    *,
    placed: Floats | None = None,
    place: Ints | None = None,
    device: Any = None,
) -> dict[str, Any]:
    """Return the condition mapping of a SetBatch.

    Parameters
    ----------
    vectors
        (V, E) vectors of the single perturbations, dense or CSR. Of CSR only the rows that are
        needed are made dense.
    parts
        (K, P) rows of `vectors`, -1 where a condition has fewer than P parts.
    context
        (K,) context codes.
    dose
        (K,) standardised doses, NaN where there is none.
    placed, place
        What is told of each context instead of its code, as of `Conditions`, and the (K,) rows of
        it; -1 where the context is unknown.
    device
        Where the tensors are put.
    """
    import torch

    present, has_dose = parts >= 0, ~np.isnan(dose)
    rows = vectors[parts.ravel()]
    rows = (rows.toarray() if sparse.issparse(rows) else rows).reshape(*parts.shape, -1)
    values = {
        "parts": np.where(present[..., None], rows, np.float32(0)),
        "present": present,
        "code": parts.astype(np.int64),
        "context": context.astype(np.int64),
        "dose": np.stack([np.where(has_dose, dose, 0.0), has_dose], axis=1).astype(np.float32),
    }
    if placed is not None:
        values["context_vector"] = placed[place]
    return {name: torch.from_numpy(value).to(device) for name, value in values.items()}


def _told(codes: Ints, n: int | None) -> Ints:
    """Return the codes below `n`, and -1 in place of the others."""
    return codes if n is None else np.where(codes < n, codes, -1)


def listed(names: list[str], most: int = 8) -> str:
    """Return the first names, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(repr(name) for name in names[:most]) + more
