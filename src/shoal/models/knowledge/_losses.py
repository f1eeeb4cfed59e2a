"""What shapes a representation: to which perturbation a profile belongs, and its replicates."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def same_label(condition: Mapping[str, Tensor]) -> Tensor:
    """Return (K,) number of the perturbation, at its dose, of each condition of a batch.

    Conditions that differ by their context alone have the same number.
    """
    parts = condition["parts"].sum(dim=1)  # a combination is a set
    key = torch.cat([parts, condition["dose"]], dim=1)
    return key.unique(dim=0, return_inverse=True)[1]


def alignment(
    profiles: Tensor, vectors: Tensor, label: Tensor, weight: Tensor, *, temperature: float
) -> Tensor:
    """Return the cross-entropy of the perturbation of each profile, among those of the batch.

    Parameters
    ----------
    profiles
        (K, S, n) representations of profiles.
    vectors
        (K, 1, n) vectors of their perturbations.
    label
        (K,) number of the perturbation of each condition.
    weight
        (K, S) 0 for slots that do not count.
    temperature
        What cosines are divided by.
    """
    n_labels = int(label.max()) + 1
    first = torch.zeros(n_labels, dtype=torch.int64, device=label.device)
    first[label] = torch.arange(len(label), device=label.device)  # one of each is as good as all
    candidates = nn.functional.normalize(vectors[first, 0], dim=-1)
    logits = nn.functional.normalize(profiles, dim=-1) @ candidates.T / temperature
    loss = nn.functional.cross_entropy(
        logits.flatten(0, 1), label[:, None].expand(weight.shape).flatten(), reduction="none"
    )
    return (loss * weight.flatten()).sum() / weight.sum()


def contrast(
    views: Sequence[Tensor], label: Tensor, weight: Tensor, *, temperature: float
) -> Tensor:
    r"""Return how little replicates stand out among all profiles of a batch.

    For a view i, with P(i) the other views of its perturbation and A(i) all other views:

    .. math:: -\frac{1}{|P(i)|} \sum_{j \in P(i)} \log
              \frac{e^{z_i \cdot z_j / \tau}}{\sum_{a \in A(i)} e^{z_i \cdot z_a / \tau}}

    The view itself is left out of the sum, and not counted with a similarity of 0.

    Parameters
    ----------
    views
        Two (K, S, n) representations of the same profiles.
    label
        (K,) number of the perturbation of each condition.
    weight
        (K, S) 0 for slots that do not count.
    temperature
        What cosines are divided by.

    References
    ----------
    Khosla et al. (2020), "Supervised contrastive learning".
    """
    there = weight > 0
    z = nn.functional.normalize(torch.cat([view[there] for view in views]), dim=-1)
    own = label[:, None].expand(weight.shape)[there].repeat(len(views))
    itself = torch.eye(len(z), dtype=torch.bool, device=z.device)
    logits = (z @ z.T / temperature).masked_fill(itself, torch.finfo(z.dtype).min)
    partner = (own[:, None] == own[None, :]) & ~itself
    log_share = logits.log_softmax(dim=1).masked_fill(~partner, 0)
    return -(log_share.sum(dim=1) / partner.sum(dim=1)).mean()
