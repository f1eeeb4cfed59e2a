"""Guidance, and what else the networks of several models share."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from ..._validate import one_of
from ...generative import guided
from ._config import check_guidance

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from torch import Tensor, nn

    from ._config import Guidance

COVARIATES = ("perturbation", "context", "dose", "batch")
Call = TypeVar("Call", bound="Callable[..., Any]")


def known_guidance(guidance: Guidance, covariates: Collection[str]) -> Guidance:
    """Return guidance without the covariates that a screen does not have.

    Raises
    ------
    ValueError
        If a name is of no covariate that any screen has.
    """
    if not isinstance(guidance, Mapping):
        return guidance
    for name in guidance:
        one_of(name, dict.fromkeys((*covariates, *COVARIATES)), name="guidance")
    return {name: weight for name, weight in guidance.items() if name in covariates}


def guided_network(
    without: Callable[..., Call], guidance: Guidance, covariates: Collection[str]
) -> Call:
    """Return a network that follows covariates as far as guidance says.

    With weights by name it returns ``full + Σ (w - 1) (full - without one)``. With one number w it
    returns ``w full + (1 - w) without all``, the classifier-free guidance of Ho & Salimans 2022.
    What has no share is not evaluated.

    Parameters
    ----------
    without
        ``without(*names)`` returns the network that is not given these covariates.
    guidance
        Weights by name, or one number.
    covariates
        Names of all covariates.

    Raises
    ------
    ValueError
        If a covariate is not known, or a weight is not finite.
    TypeError
        If guidance is neither a number nor a mapping to numbers.
    """
    check_guidance(guidance)
    if not isinstance(guidance, Mapping):
        if guidance == 1:
            return without()
        return guided(without(*covariates), {"all": without()}, {"all": float(guidance)})
    for name in guidance:
        one_of(name, covariates, name="guidance")
    weights = {name: 1 - weight for name, weight in guidance.items() if weight != 1}
    return guided(without(), {name: without(name) for name in weights}, weights)


def common_share(
    condition: Mapping[str, Tensor], unseen_weight: float, guidance: Guidance = 1.0
) -> Tensor | None:
    """Return how much of each prediction is what perturbations do on average.

    A perturbation that is not ``condition["familiar"]`` is followed as far as `unseen_weight` says,
    unless the guidance names a weight for the perturbation.

    Returns
    -------
    (K, 1, 1) shares, or ``None`` where all of them are 0.
    """
    if isinstance(guidance, Mapping) and "perturbation" in guidance:
        return None
    if unseen_weight == 1 or "familiar" not in condition or condition["familiar"].all():
        return None
    return ((1 - unseen_weight) * ~condition["familiar"])[:, None, None]


def mean_of(cells: Tensor, weight: Tensor | None) -> Tensor:
    """Return the means (K, d) of sets of cells (K, S, d), weighted by slot (K, S) if given."""
    weight = cells.new_ones(cells.shape[:2]) if weight is None else weight
    return (cells * weight[..., None]).sum(1) / weight.sum(1, keepdim=True)


@contextmanager
def resting(module: nn.Module) -> Iterator[None]:
    """Put a module in evaluation mode, and back into the mode it was in."""
    training = module.training
    module.eval()
    try:
        yield
    finally:
        module.train(training)
