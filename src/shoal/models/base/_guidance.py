"""What the networks of several models share: guidance, means of sets, evaluation mode."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from torch import Tensor, nn


def mean_of(cells: Tensor, weight: Tensor | None) -> Tensor:
    """Return the means (K, d) of sets of cells (K, S, d), of the slots that count where there is a weight (K, S)."""
    weight = cells.new_ones(cells.shape[:2]) if weight is None else weight
    return (cells * weight[..., None]).sum(1) / weight.sum(1, keepdim=True)


def common_share(condition: Mapping[str, Tensor], unseen_weight: float) -> Tensor | None:
    """Return how much of each prediction is what perturbations do on average, (K, 1, 1), or None where that is nothing.

    A perturbation that is not ``familiar`` is followed as far as `unseen_weight` says.
    """
    if unseen_weight == 1 or "familiar" not in condition or condition["familiar"].all():
        return None
    return ((1 - unseen_weight) * ~condition["familiar"])[:, None, None]


@contextmanager
def resting(module: nn.Module) -> Iterator[None]:
    """Put a module in evaluation mode, and back into the mode it was in."""
    training = module.training
    module.eval()
    try:
        yield
    finally:
        module.train(training)
