r"""Couplings: which source each target is paired with.

Pairs are made among the slots of one set and one stratum, and never across. A coupling across
conditions or strata would tie subpopulations of the controls to conditions: the model would learn
paths from controls that it does not get when it generates.

The methods:

- *exact* solves the assignment of least total squared distance;
- *sinkhorn* draws from the plan of entropic transport;
- *independent* shuffles;
- *none* keeps slot i with slot i, for pairs made earlier (reflow).

Some slots repeat a cell; their loss has weight 0. They take part like all others, so that each
source is used once. Slots are put in random order first. Chance then decides which copy of a cell
gets which partner, so that the partner of the copy that counts is a fair draw.
"""

from __future__ import annotations

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from .._validate import one_of, positive
from ._sinkhorn import sinkhorn
from ._tensors import full, uniform

COUPLINGS = ("exact", "independent", "sinkhorn", "none")


@torch.no_grad()
def couple(
    source: Tensor,
    target: Tensor,
    *,
    stratum: Tensor | None = None,
    method: str = "exact",
    epsilon: float | None = None,
    generator: torch.Generator,
) -> Tensor:
    r"""Pair each target with a source.

    Parameters
    ----------
    source
        (K, S, D) source cells of K sets.
    target
        (K, S, D) target cells.
    stratum
        (K, S) code of the stratum of each slot, the same for its source and its target. By default
        each set is one stratum.
    method
        ``"exact"``, ``"independent"``, ``"sinkhorn"`` or ``"none"``; see the list above.
    epsilon
        Regularisation for ``"sinkhorn"``, in squared units of the columns. By default a twentieth
        of the mean cost. 2σ² gives the pairs of the Schrödinger bridge of a Brownian motion with
        variance σ²t.
    generator
        Source of all random numbers.

    Returns
    -------
    (K, S) integers: the slot of the source of each target. All methods but ``"sinkhorn"`` use each
    source once.

    Raises
    ------
    ValueError
        If there is no such method, the shapes do not fit, or `epsilon` is not above 0.

    References
    ----------
    tong2024improving, pooladian2023multisample, cuturi2013sinkhorn

    Examples
    --------
    >>> import torch
    >>> generator = torch.Generator().manual_seed(0)
    >>> source, target = torch.randn(2, 3, 16, 5)
    >>> paired = take(source, couple(source, target, generator=generator))
    """
    one_of(method, COUPLINGS, name="coupling")
    stratum = (
        torch.zeros(target.shape[:2], dtype=torch.long, device=target.device)
        if stratum is None
        else stratum
    )
    if target.ndim != 3 or source.shape != target.shape or stratum.shape != target.shape[:2]:
        shapes = f"{tuple(source.shape)}, {tuple(target.shape)} and {tuple(stratum.shape)}"
        msg = f"source, target and stratum must be (K, S, D), (K, S, D) and (K, S), not {shapes}"
        raise ValueError(msg)
    if method == "none":
        return torch.arange(target.shape[1], device=target.device).expand(target.shape[:2])
    rows, columns = (_by_stratum(stratum, generator) for _ in range(2))
    if method == "independent":
        chosen = rows
    else:
        cost = _squared_distances(take(source, rows), take(target, columns))
        ordered = stratum.gather(1, rows)
        match = (
            _assignment(cost, ordered)
            if method == "exact"
            else _drawn(cost, ordered, epsilon, generator)
        )
        chosen = rows.gather(1, match)
    return torch.empty_like(rows).scatter_(1, columns, chosen)


def take(cells: Tensor, index: Tensor) -> Tensor:
    """Return the slots `index` (K, S) of `cells` (K, S, D)."""
    return torch.take_along_dim(cells, index[..., None], dim=1)


def _by_stratum(stratum: Tensor, generator: torch.Generator) -> Tensor:
    """Return an order of the slots of each set: stratum by stratum, and random within."""
    chance = uniform(
        tuple(stratum.shape), generator, like=torch.empty(0, device=stratum.device)
    ).argsort(1)
    return chance.gather(1, stratum.gather(1, chance).argsort(dim=1, stable=True))


def _squared_distances(x: Tensor, y: Tensor) -> Tensor:
    """Return (K, S, S) squared distances, in single precision at least, also under autocast."""
    x, y = full(x), full(y)
    centre = y.mean(1, keepdim=True)
    x, y = x - centre, y - centre
    with torch.autocast(x.device.type, enabled=False):
        product = torch.bmm(x, y.transpose(1, 2))
    return (x.square().sum(2)[:, :, None] + y.square().sum(2)[:, None, :] - 2 * product).clamp_min(
        0
    )


def _assignment(cost: Tensor, stratum: Tensor) -> Tensor:
    """Return for each column the row that the assignment of least cost gives it.

    `stratum` (K, S) is sorted.
    """
    match = torch.empty(cost.shape[:2], dtype=torch.long)
    edges = (stratum.diff(dim=1) != 0).cpu()
    costs = cost.cpu().numpy()
    for k in range(len(costs)):
        inner = (edges[k].nonzero()[:, 0] + 1).tolist()
        for start, stop in zip([0, *inner], [*inner, costs.shape[1]], strict=True):
            column, row = linear_sum_assignment(costs[k, start:stop, start:stop].T)
            match[k, start + torch.from_numpy(column)] = start + torch.from_numpy(row)
    return match.to(cost.device)


def _drawn(
    cost: Tensor, stratum: Tensor, epsilon: float | None, generator: torch.Generator
) -> Tensor:
    """Return for each column a row drawn from the plan of entropic transport within strata."""
    allowed = stratum[:, :, None] == stratum[:, None, :]
    if epsilon is None:
        mean = (cost * allowed).sum((1, 2)) / allowed.sum((1, 2))
        regularisation = 0.05 * mean.clamp_min(torch.finfo(cost.dtype).tiny)
    else:
        positive(epsilon, name="epsilon")
        regularisation = torch.full_like(cost[:, 0, 0], epsilon)
    plan = sinkhorn(
        cost.masked_fill(~allowed, torch.inf), epsilon=regularisation, n_iterations=500
    ).plan
    chances = plan.transpose(1, 2).flatten(0, 1).to(generator.device)
    return torch.multinomial(chances, 1, generator=generator).view(cost.shape[:2]).to(cost.device)
