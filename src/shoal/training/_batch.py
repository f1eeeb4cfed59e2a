"""SetBatch: what every model trains on, populations of cells rather than cells."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from ._conditions import Conditions
    from ._sampler import Draw


@dataclass(frozen=True)
class SetBatch:
    """K conditions, S cells of each, and S matched control cells.

    Attributes
    ----------
    source
        (K, S, D) control cells, each of the context and batch of its target cell where there are such controls.
    target
        (K, S, D) perturbed cells.
    weight
        (K, S) 0 for a target slot that repeats a cell of its set, else 1.
    source_weight
        (K, S) the same for the source slots.
    batch_index
        (K, S) int64 batch code of the target cell.
    index
        (K,) int64 number of the condition.
    condition
        What the network is told, with leading axis K: ``"parts"`` (K, P, E) vectors of the single perturbations, zero
        where absent; ``"present"`` (K, P) bool; ``"context"`` (K,) int64, -1 where unknown; ``"dose"`` (K, 2), the
        standardised dose or 0, and 1 if there is one.
    """

    source: Tensor
    target: Tensor
    weight: Tensor
    source_weight: Tensor
    batch_index: Tensor
    index: Tensor
    condition: Mapping[str, Tensor]

    def __len__(self) -> int:
        return len(self.index)

    def to(self, device: torch.device | str) -> SetBatch:
        """Return the batch on a device."""
        moved = {
            f.name: getattr(self, f.name).to(device) for f in fields(self) if f.name != "condition"
        }
        return SetBatch(
            **moved, condition={name: value.to(device) for name, value in self.condition.items()}
        )


def assemble(conditions: Conditions, draw: Draw, values: Tensor) -> SetBatch:
    """Build the batch of a draw from its cells.

    Parameters
    ----------
    conditions
        Conditions that ``draw.index`` counts.
    draw
        What was drawn.
    values
        (2, K, S, D) the source and the target cells, on the device that the batch is wanted on.
    """
    device = values.device
    return SetBatch(
        source=values[0],
        target=values[1],
        weight=torch.from_numpy(draw.weight).float().to(device),
        source_weight=torch.from_numpy(draw.source_weight).float().to(device),
        batch_index=torch.from_numpy(draw.batch_index).long().to(device),
        index=torch.from_numpy(draw.index).to(device),
        condition=conditions.tensors(draw.index, device),
    )
