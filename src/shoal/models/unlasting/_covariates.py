"""Conditions of which some covariates are unknown."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

Told = tuple[dict[str, Tensor], Tensor]


def with_genes(condition: Mapping[str, Tensor], genes: Tensor, own: Tensor) -> dict[str, Tensor]:
    """Return a condition with the genes and the learned vectors of its parts.

    Parameters
    ----------
    condition
        K conditions, as of a SetBatch.
    genes, own
        (V,) of each perturbation, as of the module.
    """
    code = condition["code"]
    there, row = code >= 0, code.clamp(min=0)
    of_parts = {"genes": torch.where(there, genes[row], -1), "own": torch.where(there, own[row], 0)}
    return {**condition, **of_parts}


def left_out(
    condition: Mapping[str, Tensor],
    batch_index: Tensor,
    names: Collection[str],
    *,
    where: Tensor | None = None,
) -> Told:
    """Return a condition and batches of which some covariates are unknown.

    Parameters
    ----------
    condition
        K conditions, as of a SetBatch.
    batch_index
        (K, S) batch codes.
    names
        Covariates that are left out: ``"perturbation"``, ``"context"``, ``"dose"``, ``"batch"``.
    where
        (K,) bool, which conditions; all if ``None``.
    """
    told = dict(condition)
    where = torch.ones_like(told["context"], dtype=torch.bool) if where is None else where
    if "perturbation" in names:
        told["left_out"] = where & told["present"].any(-1)
    if "context" in names:
        told["context"] = told["context"].masked_fill(where, -1)
        if "context_vector" in told:
            told["context_vector"] = told["context_vector"].masked_fill(where[:, None], 0)
    if "dose" in names:
        told["dose"] = told["dose"].masked_fill(where[:, None], 0)
    if "batch" in names:
        batch_index = batch_index.masked_fill(where[:, None], -1)
    return told, batch_index


def dropped(
    condition: Mapping[str, Tensor],
    batch_index: Tensor,
    names: Collection[str],
    share: float,
    generator: torch.Generator,
) -> Told:
    """Leave each covariate of each condition out with probability `share`, as in training."""
    told = dict(condition)
    for name in names if share else ():
        chance = torch.rand(len(batch_index), generator=generator, device=generator.device)
        where = (chance < share).to(batch_index.device)
        told, batch_index = left_out(told, batch_index, (name,), where=where)
    return told, batch_index
