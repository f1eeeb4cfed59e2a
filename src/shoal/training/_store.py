"""The resident store: the cells live on the training device and batches are assembled there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch

from ._batch import assemble

if TYPE_CHECKING:
    from torch import Tensor

    from ._batch import SetBatch
    from ._conditions import Conditions
    from ._sampler import Draw, SetSampler


class Store(Protocol):
    """Where the cells come from.

    A batch depends on the seed of the sampler, the step and the rank alone.
    """

    sampler: SetSampler

    def batch(self, step: int, rank: int = 0, world: int = 1) -> SetBatch:
        """Return what process `rank` of `world` trains on at a step."""

    def gather(self, conditions: Conditions, draw: Draw) -> SetBatch:
        """Return the cells of a draw from any conditions over the same cells, or held-out ones."""

    def to(self, device: torch.device | str) -> None:
        """Get ready to train on a device."""

    def close(self) -> None:
        """Free the memory that training needed; the store can be used again."""


class ResidentStore:
    """Keeps all cells in memory, and on the training device while training lasts.

    Parameters
    ----------
    values
        (n_obs, *F) cells. Images of uint8 are kept as uint8, which is a quarter of the memory. All
        other values are kept as float32, and not copied if they are float32 already. Batches are
        float32 in both cases.
    sampler
        Draws the batches.

    Raises
    ------
    ValueError
        If there are not as many rows as cells, or values are not finite.
    """

    def __init__(self, values: np.ndarray | Tensor, sampler: SetSampler) -> None:
        if not isinstance(values, torch.Tensor):
            values = torch.from_numpy(np.require(values, kept_dtype(values), "CW"))
        if values.ndim < 2 or len(values) != sampler.conditions.n_obs:
            n_obs = sampler.conditions.n_obs
            msg = f"values must be (n_obs, *F) with n_obs = {n_obs}, not {tuple(values.shape)}"
            raise ValueError(msg)
        check_finite(values, np.arange(len(values)))
        self.sampler = sampler
        self._values = values if values.dtype == torch.uint8 else values.float()
        self._here = self._values

    def batch(self, step: int, rank: int = 0, world: int = 1) -> SetBatch:
        """Return what process `rank` of `world` trains on at a step."""
        return self.gather(self.sampler.conditions, self.sampler.draw(step, rank, world))

    def gather(self, conditions: Conditions, draw: Draw) -> SetBatch:
        """Return the cells of a draw, on the device of the store."""
        return assemble(conditions, draw, take(self._here, np.stack([draw.source, draw.target])))

    def to(self, device: torch.device | str) -> None:
        """Copy the cells to a device."""
        self._here = self._values.to(device)

    def close(self) -> None:
        """Free the copy on the device."""
        self._here = self._values


def kept_dtype(values: np.ndarray) -> type[np.generic]:
    """Return the dtype that cells are kept in: uint8 if they have it, else float32."""
    return np.uint8 if values.dtype == np.uint8 else np.float32


def take(values: Tensor, index: np.ndarray) -> Tensor:
    """Return ``values[index]`` as float32, for positions of any shape."""
    at = torch.from_numpy(index.ravel()).to(values.device)
    return values.index_select(0, at).view(*index.shape, *values.shape[1:]).float()


def check_finite(values: Tensor, positions: np.ndarray) -> None:
    """Raise ``ValueError`` that names the cells with values that are not finite."""
    if not values.sum().isfinite():  # cheap; the rows are looked at only if something is wrong
        bad = (~values.isfinite().flatten(1).all(dim=1)).numpy()
        if bad.any():
            msg = (
                f"{int(bad.sum())} of {len(values)} cells hold NaN or infinite values, the first "
                f"at position {int(positions[bad][0])}; drop or mend them before training"
            )
            raise ValueError(msg)
