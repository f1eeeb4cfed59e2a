"""The network of a flow between images: a U-Net, and images augmented in training."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from ...generative import integrate, time_grid
from ...nn import ConditionEncoder, ImageTime, ImageVelocity, LinearCondition, TimeEmbedding, UNet
from ..base._guidance import resting
from ..flow._module import FlowModule
from ..flow._parts import FlowParts

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from ...training._batch import SetBatch
    from ..base._config import Guidance
    from ._config import CellFluxConfig


def image_parts(
    shape: tuple[int, int, int],
    n_vector: int,
    n_contexts: int,
    n_batches: int,
    *,
    config: CellFluxConfig,
    n_context_vector: int = 0,
) -> FlowParts:
    """Return the networks of a flow between images of a shape (C, H, W)."""
    network, given = config.network, config.conditioning
    width, (channels, *size) = 4 * network.width, shape
    heads = 1 if config.interpolant.gamma == "zero" else 2
    unet = UNet(
        channels,
        tuple(size),
        d_condition=width,
        width=network.width,
        multipliers=network.multipliers,
        n_blocks=network.n_blocks,
        attention=network.attention,
        n_heads=network.n_heads,
        dropout=network.dropout,
        out=heads * channels,
    )
    velocity = ImageVelocity(unet, shape)
    if given.covariates == "perturbation":
        options = {"dropout": given.condition_dropout, "coin": given.condition_coin}
        condition = LinearCondition(n_vector, width, **options)
        return FlowParts(ImageTime(width), condition, velocity)
    condition = ConditionEncoder(
        n_vector,
        n_contexts,
        width=width,
        n_batches=n_batches,
        pooling=given.pooling,
        dropout=given.condition_dropout,
        n_context_vector=n_context_vector,
    )
    return FlowParts(TimeEmbedding(width), condition, velocity)


class CellFluxModule(FlowModule):
    """A flow between images (C, H, W), which are augmented in training.

    Parameters
    ----------
    shape
        Shape of an image.
    n_vector, n_contexts, n_batches
        As of :class:`FlowModule`.
    config
        What the flow is made of.
    quantum
        (C,) length of one whole number of intensity in each channel; 0 where intensities are no
        whole numbers.
    n_context_vector
        Number of coordinates of a context, which are then read instead of its code.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        n_vector: int,
        n_contexts: int,
        n_batches: int = 0,
        *,
        config: CellFluxConfig,
        quantum: Sequence[float] | None = None,
        n_context_vector: int = 0,
    ) -> None:
        sizes = (n_vector, n_contexts, n_batches)
        parts = image_parts(shape, *sizes, config=config, n_context_vector=n_context_vector)
        super().__init__(shape, n_vector, n_contexts, n_batches, config=config, parts=parts)
        quantum = [0.0] * shape[0] if quantum is None else quantum
        self.register_buffer("quantum", torch.tensor(quantum)[:, None, None], persistent=False)

    def loss(self, batch: SetBatch, generator: torch.Generator) -> dict[str, Tensor]:
        """Return the losses of a flow, on augmented images.

        The pairs of a reflow are left as they are: what is done to one end of a path would not be
        done to the other.
        """
        if self.config.loss.coupling != "none":
            source, target = (self._augmented(x, generator) for x in (batch.source, batch.target))
            batch = replace(batch, source=source, target=target)
        return super().loss(batch, generator)

    def _augmented(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Return images (K, S, C, H, W), flipped by chance and with noise within a whole number."""
        how = self.config.augmentation
        if how.dequantize and self.quantum.any():
            noise = torch.rand(images.shape, generator=generator, device=generator.device)
            images = images + (noise.to(images) - 0.5) * self.quantum
        for axis in (-2, -1) if how.flip else ():
            chance = torch.rand(images.shape[:2], generator=generator, device=generator.device)
            flipped = (chance < how.flip).to(images.device)[..., None, None, None]
            images = torch.where(flipped, images.flip(axis), images)
        return images

    @torch.no_grad()
    def states(
        self,
        source: Tensor,
        condition: Mapping[str, Tensor],
        batch_index: Tensor,
        *,
        times: Sequence[float],
        generator: torch.Generator,
        n_steps: int | None = None,
        sampler: str | None = None,
        guidance: Guidance | None = None,
    ) -> tuple[Tensor, ...]:
        """Return where cells (K, S, *shape) are at some times of the flow, one result a time.

        Parameters
        ----------
        source, condition, batch_index, generator
            As of :meth:`sample`.
        times
            Increasing times from 0 to 1.
        n_steps
            Steps of the whole way; a part of it is given its share, and one at least.
        sampler, guidance
            As of :meth:`sample`; the sampler follows the flow and is not ``"sde"``.
        """
        settings = self.config.sampling
        control, sampler = self._in(source), self._deterministic(sampler)
        chance = float(self.config.interpolant.noise_at_sampling)
        x = self._start(control, generator, chance=chance)
        n_steps = settings.n_steps if n_steps is None else n_steps
        grid = time_grid(settings.grid, n_steps, like=x)
        guidance = self.guidance if guidance is None else guidance
        made, now = [], 0.0
        with resting(self):
            drift = self._drift(self._field(condition, batch_index, guidance))
            for time in times:
                if time > now:
                    between = grid[(grid > now) & (grid < time)]
                    part = torch.cat([grid.new_tensor([now]), between, grid.new_tensor([time])])
                    x, now = integrate(drift, x, method=sampler, grid=part), time
                made.append(self._out(x))
        return tuple(made)
