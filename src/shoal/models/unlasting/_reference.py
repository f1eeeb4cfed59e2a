"""Zeros of real cells: patterns of training conditions, from which masks are drawn."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch

from ..._logging import logger
from ...metrics._cells import densify

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ...core._population import Population
    from ...training import Conditions

MOST_CELLS = 100  # of a condition
BUDGET = 100_000_000  # patterns times genes that are kept
LIKELY = 300  # genes that conditions are compared on, the most likely ones
FAR = 2.0  # a condition is far if its nearest one is so many times farther than among training


@dataclass(frozen=True, eq=False)
class References:
    """Which genes are on in cells of the training conditions.

    Attributes
    ----------
    names
        Names of the C conditions.
    share
        (C, d) share of cells in which a gene is on.
    patterns
        (N, d) uint8, 1 where a gene of a cell is on, condition after condition.
    start
        (C + 1,) where the patterns of each condition begin.
    near
        Distance of a training condition to the nearest other one, the median; NaN for a single one.
    high, low
        Probabilities from which a gene is always on, and up to which it is always off.
    """

    names: tuple[str, ...]
    share: torch.Tensor
    patterns: torch.Tensor
    start: torch.Tensor
    near: float
    high: float
    low: float
    _told: set[int] = field(default_factory=set, repr=False)

    @classmethod
    def of_training(
        cls, cells: Population, conditions: Conditions, rng: np.random.Generator
    ) -> dict[str, Any]:
        """Read the patterns of training conditions, as plain data to save."""
        d, n = cells.rows.shape[1], len(conditions)
        most = max(1, min(MOST_CELLS, BUDGET // max(n * d, 1)))
        chosen = [np.sort(rng.permutation(own)[:most]) for own in conditions.cells]
        sizes = [len(own) for own in chosen]
        shares = np.empty((n, d), dtype=np.float32)
        bits = []
        for c, own in enumerate(conditions.cells):
            on = densify(cells.rows.take(own)) != 0
            shares[c] = on.mean(0)
            bits.append(np.packbits(on[np.isin(own, chosen[c])], axis=1))
        return {
            "names": list(conditions.names),
            "share": shares,
            "bits": np.concatenate(bits),
            "start": np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
        }

    @classmethod
    def of_plain(cls, entry: Mapping[str, Any], *, high: float, low: float) -> Self:
        """Return what `of_training` read."""
        share = torch.as_tensor(np.asarray(entry["share"]))
        bits = np.asarray(entry["bits"])
        patterns = np.unpackbits(bits, axis=1, count=share.shape[1])
        start = torch.as_tensor(np.asarray(entry["start"]))
        apart = _apart(share, share).fill_diagonal_(torch.inf)
        near = float(apart.min(1).values.median()) if len(share) > 1 else float("nan")
        return cls(tuple(entry["names"]), share, torch.as_tensor(patterns), start, near, high, low)

    def nearest(self, chance: torch.Tensor) -> torch.Tensor:
        """Return the training condition (K,) whose genes are on most as with probabilities (K, d).

        They are compared on the genes that are most likely to be on.
        """
        apart = _apart(chance, self.share.to(chance))
        least, at = apart.min(1)
        for distance, c in zip(least.tolist(), at.tolist(), strict=True):
            if distance > FAR * self.near and c not in self._told:
                self._told.add(c)
                logger.warning(
                    "zeros are borrowed from the training condition %r, the nearest one, whose "
                    "genes are on in shares that differ by %.2f (root mean square); training "
                    "conditions have another one within %.2f. mask='bernoulli' borrows none",
                    self.names[c],
                    distance,
                    self.near,
                )
        return at

    def draw(
        self, chance: torch.Tensor, like: torch.Tensor, generator: torch.Generator
    ) -> torch.Tensor:
        """Return which genes of cells are on, of the shape of `like` (K, S, d)."""
        at = self.nearest(chance).cpu()
        first, n = self.start[at], self.start[at + 1] - self.start[at]
        numbers = torch.rand(like.shape[:2], generator=generator, device=generator.device).cpu()
        rows = first[:, None] + (numbers * n[:, None]).long().clamp(max=n[:, None] - 1)
        on = self.patterns[rows].to(like)
        always, never = (chance >= self.high)[:, None], (chance <= self.low)[:, None]
        return on.masked_fill(always, 1).masked_fill(never & ~always, 0)


def _apart(chance: torch.Tensor, share: torch.Tensor) -> torch.Tensor:
    """Return (K, C) root mean squared differences over the genes most likely in each row."""
    n = min(LIKELY, chance.shape[1])
    top = chance.topk(n, dim=1).indices
    rows = [
        (share[:, own] - row[own]).square().mean(1).sqrt()
        for row, own in zip(chance, top, strict=True)
    ]
    return torch.stack(rows)
