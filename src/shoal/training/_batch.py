"""SetBatch: what every network trains on, populations of cells instead of single cells."""

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

    F is the shape of a cell: (number of features,), or (C, H, W) of images.

    Attributes
    ----------
    source
        (K, S, *F) float32 control cells. Each is of the context and batch of its target cell, where
        there are such controls.
    target
        (K, S, *F) float32 perturbed cells.
    weight
        (K, S) 0 for a target slot that repeats a cell of its set, else 1.
    source_weight
        (K, S) the same for the source slots.
    batch_index
        (K, S) int64 batch code of the target cell.
    index
        (K,) int64 number of the condition.
    condition
        Covariates of the conditions, by name:

        - ``"parts"`` (K, P, E) vectors of the single perturbations, zero where absent;
        - ``"present"`` (K, P) bool, which parts there are;
        - ``"context"`` (K,) int64 code, -1 where unknown;
        - ``"dose"`` (K, 2) the standardised dose or 0, and 1 if there is one;
        - ``"context_vector"`` (K, k + 1) coordinates of the context, and 1 if there are any, where
          contexts have vectors.
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
        Conditions that ``draw.index`` numbers.
    draw
        Positions of the cells, and their weights.
    values
        (2, K, S, *F) the source cells and the target cells, on the device of the batch.
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
