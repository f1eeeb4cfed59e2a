r"""Composable guidance: how strongly to follow each covariate.

.. math:: b = b_\varnothing + \sum_k w_k\,(b_k - b_\varnothing)

b_∅ is the field without a condition, and b_k the field under covariate k. With one covariate, w = 1
is plain conditional generation, w = 0 ignores the condition, and w > 1 overstates it. Several
covariates compose conditions that were never seen together, as far as their effects add up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from .._validate import key_in

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from ._tensors import Field

T = TypeVar("T")


def combine(
    null: Tensor, conditional: Mapping[str, Tensor], weights: Mapping[str, float]
) -> Tensor:
    """Return the guided field from the values of the fields at one place.

    Parameters
    ----------
    null
        (..., D) value without a condition.
    conditional
        Values of the same shape under each covariate.
    weights
        How strongly to follow each covariate. A covariate without an entry has weight 1.

    Returns
    -------
    (..., D) value.

    Raises
    ------
    KeyError
        If there is a weight for an unknown covariate.

    References
    ----------
    ho2022classifier, liu2022compositional
    """
    return _weighted([(share, value) for share, value in _shares(null, conditional, weights)])


def guided(null: Field, conditional: Mapping[str, Field], weights: Mapping[str, float]) -> Field:
    """Return the guided field; a field whose share is 0 is not evaluated.

    Parameters
    ----------
    null
        The field without a condition.
    conditional
        The fields under each covariate. A field that gives several heads stacks them on the first
        axis.
    weights
        How strongly to follow each covariate. A covariate without an entry has weight 1.

    Returns
    -------
    A field.

    Raises
    ------
    KeyError
        If there is a weight for an unknown covariate.

    Examples
    --------
    >>> import torch
    >>> field = guided(lambda t, x: 0 * x, {"dose": lambda t, x: x}, {"dose": 1.5})
    >>> field(torch.tensor(0.0), torch.ones(2))
    tensor([1.5000, 1.5000])
    """
    used = [(share, field) for share, field in _shares(null, conditional, weights) if share]
    return lambda *at: _weighted([(share, field(*at)) for share, field in used])


def _shares(
    null: T, conditional: Mapping[str, T], weights: Mapping[str, float]
) -> list[tuple[float, T]]:
    """Return each term with its factor: w_k for a covariate, and what is left to 1 for null."""
    for name in weights:
        key_in(name, list(conditional), where="the conditions")
    shares = [weights.get(name, 1.0) for name in conditional]
    return [(1 - sum(shares), null), *zip(shares, conditional.values(), strict=True)]


def _weighted(terms: list[tuple[float, Tensor]]) -> Tensor:
    """Return the sum of the terms whose share is not 0. A term of share 1 is not multiplied.

    At least one term has a share, because the shares sum to 1.
    """
    first, *rest = [value if share == 1 else share * value for share, value in terms if share]
    for value in rest:
        first = first + value
    return first
