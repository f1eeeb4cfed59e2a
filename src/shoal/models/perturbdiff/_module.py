"""The network of PerturbDiff in training and in generation."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ...generative import GaussianDiffusion, ddim, guided_denoiser
from ...generative._divergences import energy_distance
from ...generative._losses import weighted_mean
from ...generative._tensors import normal_like
from ...nn import (
    ConditionEncoder,
    CovariateEncoder,
    CrossTransformer,
    SetTransformer,
    StepEmbedding,
)
from ..base._guidance import common_share, resting

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from ...generative import Denoiser
    from ...training import SetBatch
    from ._config import PerturbDiffConfig

PRIOR = 2.0  # log odds, at first, that a gene is on where the cell that is begun with has it on, and off where it is off


class PerturbDiffModule(nn.Module):
    """Predicts sets of clean cells from noise, or from noisy cells, beside the control cells of the set.

    Parameters
    ----------
    d
        Genes.
    n_vector
        Length of a perturbation's vector.
    n_contexts, n_batches
        Numbers of contexts and of batches that there are; 0 for none.
    config
        What it is made of.
    mean, scale
        (d,) and a number: a cell as it comes in, times `scale` plus `mean`, is a cell in values.
    nonnegative
        Whether values cannot be below 0.
    axes
        (d, n_components) principal axes of the training cells, for ``energy_components``.

    Notes
    -----
    Cells go in and come out as (K, S, d), K populations of S slots. Conditions and strata are those of a ``SetBatch``.
    """

    def __init__(
        self,
        d: int,
        n_vector: int,
        n_contexts: int,
        n_batches: int = 0,
        *,
        config: PerturbDiffConfig,
        mean: Tensor | None = None,
        scale: float = 1.0,
        nonnegative: bool = True,
        axes: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.config, self.nonnegative = config, nonnegative
        self.chain = GaussianDiffusion(config.n_steps, config.beta)
        self.register_buffer(
            "mean", torch.zeros(d) if mean is None else torch.as_tensor(mean).float()
        )
        self.register_buffer("scale", torch.tensor(float(scale)))
        self.register_buffer("axes", torch.zeros(d, 0) if axes is None else axes.float())
        asked = {"n_batches": n_batches if config.told_batch else 0, "width": config.width}
        asked["dropout"] = config.condition_dropout
        self.condition = (
            ConditionEncoder(n_vector, n_contexts, pooling=config.pooling, **asked)
            if config.per_covariate
            else CovariateEncoder(n_vector, n_contexts, hidden=d, dose=True, **asked)
        )
        self.time = StepEmbedding(config.width)
        self.net = network(d, config)
        self.prior = nn.Parameter(torch.full((d,), PRIOR)) if config.hurdle else None

    # -- training ----------------------------------------------------------------------------------------------------

    def loss(self, batch: SetBatch, generator: torch.Generator) -> dict[str, Tensor]:
        """Return the terms of the loss, means over the sets, and their weighted sum under ``"loss"``.

        Slots of weight 0 do not count, but for the ``biased`` terms that were published.
        """
        config = self.config
        x0, control = self._in(batch.target), self._in(batch.source)
        x, t, weight = self._noisy(x0, batch, generator)
        weight = None if config.biased else weight
        counts = {
            "weight": weight,
            "control_weight": None if config.biased else batch.source_weight,
        }
        told = self._told(batch.condition, batch.batch_index, generator=generator)
        guess = None
        if (
            float(torch.rand(1, generator=generator, device=generator.device))
            < config.self_conditioning
        ):
            with torch.no_grad():
                guess = self._predict(x, t, guess, control, told, generator, **counts)
        made = self._predict(x, t, guess, control, told, generator, **counts)
        terms: dict[str, Tensor] = {}
        if config.mse:
            terms["mse"] = weighted_mean(
                nn.functional.mse_loss(made, x0, reduction="none").mean(-1), weight
            )
        if config.energy:
            terms["energy"] = self._energy(made, x0, weight, batch.weight)
        if config.energy_components:
            terms["energy_components"] = self._energy(
                made @ self.axes, x0 @ self.axes, weight, batch.weight
            )
        return {
            "loss": sum(getattr(config, name) * value for name, value in terms.items()),
            **terms,
        }

    def _noisy(
        self, x0: Tensor, batch: SetBatch, generator: torch.Generator
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return noise or noisy cells, the steps (K,) that they are at, and the weights (K, S) of what comes of them."""
        if self.config.one_pass:
            return *self._pure(x0, generator), batch.source_weight
        t = self.chain.draw(len(x0), generator=generator).to(x0.device)
        return self.chain.noise(x0, t, generator=generator), t, batch.weight

    def _energy(
        self, made: Tensor, real: Tensor, made_weight: Tensor | None, weight: Tensor
    ) -> Tensor:
        if self.config.biased:
            return energy_distance(made, real, biased=True).mean() / 2
        return energy_distance(made, real, x_weight=made_weight, y_weight=weight).mean()

    def _told(
        self,
        condition: Mapping[str, Tensor],
        batch_index: Tensor,
        *,
        generator: torch.Generator | None = None,
        drop: Collection[str] = (),
    ) -> tuple[Tensor, Tensor | None]:
        """Return what is asked for, (K, B, width), and which of it each slot takes (K, S, B), or None if that goes without saying.

        Batches are encoded once for each that there is, not for each slot, unless each slot is left out by itself.
        """
        if self.config.per_covariate or "batch" not in self.condition.covariates:
            return self.condition(condition, batch_index, generator=generator, drop=drop), None
        strata, which = batch_index.unique(return_inverse=True)
        if len(strata) >= batch_index.shape[1]:
            return self.condition(condition, batch_index, generator=generator, drop=drop), None
        vectors = self.condition(
            condition, strata.expand(len(batch_index), -1), generator=generator, drop=drop
        )
        return vectors, None if vectors.shape[1] == 1 else nn.functional.one_hot(which, len(strata))

    # -- one pass ----------------------------------------------------------------------------------------------------

    def _predict(
        self,
        x: Tensor,
        t: Tensor,
        guess: Tensor | None,
        control: Tensor,
        told: tuple[Tensor, Tensor | None],
        generator: torch.Generator,
        *,
        weight: Tensor | None = None,
        control_weight: Tensor | None = None,
    ) -> Tensor:
        """Return clean cells (K, S, d), in the units of the network."""
        condition, slots = told
        condition = condition + self.time(t)[:, None]
        guessed = (
            [] if guess is None or self.config.one_pass else [guess]
        )  # 0 if there is none, and left out
        if self.config.fusion == "input":
            out = self.net(
                torch.cat([control, x, *guessed], -1), condition, slots=slots, weight=weight
            )
        else:
            seen = torch.cat([x, *guessed], -1) if guessed else x
            counts = {"weight": weight, "control_weight": control_weight}
            out = self.net(seen, control, condition, slots=slots, **counts)
        out, logits = (out, None) if self.prior is None else out.chunk(2, dim=-1)
        zero = (
            -self.mean / self.scale
            if self.config.divide_by is None
            else torch.zeros_like(self.mean)
        )
        made = control + out if self.config.residual else out
        if self.nonnegative:
            made = torch.maximum(made, zero) if self.config.divide_by is None else made.relu()
        return (
            made
            if logits is None
            else zero + self._gate(logits, control - zero, generator) * (made - zero)
        )

    def _gate(self, logits: Tensor, value: Tensor, generator: torch.Generator) -> Tensor:
        """Draw which genes of which cells are on, 1, or 0; the gradient is that of the chance (straight through)."""
        chance = torch.sigmoid(logits + self.prior * (2 * (value.abs() > 1e-4).to(logits) - 1))
        drawn = (
            torch.rand(chance.shape, generator=generator, device=generator.device).to(chance)
            < chance
        )
        return drawn.to(chance) + chance - chance.detach()

    # -- generation --------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def sample(
        self,
        source: Tensor,
        condition: Mapping[str, Tensor],
        batch_index: Tensor,
        *,
        generator: torch.Generator,
        n_steps: int | None = None,
        guidance: float | None = None,
    ) -> Tensor:
        """Generate cells.

        Parameters
        ----------
        source
            (K, S, d) control cells, or cells of other contexts.
        condition
            K conditions, as in a ``SetBatch``; perturbations that are not ``familiar`` are followed as far as `unseen_weight` says, and
            slots that are not ``real`` (K, S) are read by no other, as in training.
        batch_index
            (K, S) batch codes, -1 = unknown.
        generator
            The source of randomness.
        n_steps, guidance
            Steps of the sampler and the weight w of guidance; those of the config where None.

        Returns
        -------
        (K, S, d) cells.

        Raises
        ------
        ValueError
            For a number of steps that the chain does not have.
        TypeError
            If `guidance` is not one number.
        """
        asked = {"n_sampling_steps": n_steps, "guidance": guidance}
        config = replace(
            self.config, **{name: value for name, value in asked.items() if value is not None}
        )
        control = self._in(source)
        real = None if config.biased or "real" not in condition else condition["real"].to(control)

        def denoiser(drop: Collection[str] = ()) -> Denoiser:
            told = self._told(condition, batch_index, drop=drop)
            counts = {"weight": real, "control_weight": real}
            return lambda x, t, guess: self._predict(
                x, t, guess, control, told, generator, **counts
            )

        with resting(self):
            denoise = denoiser()
            if config.guidance:
                denoise = guided_denoiser(
                    denoise, denoiser(self.condition.covariates), config.guidance
                )
            share = common_share(condition, config.unseen_weight)
            if share is not None:
                denoise = _partly(denoise, denoiser(("perturbation",)), share)
            x, t = self._pure(control, generator)
            if config.one_pass:
                return self._out(denoise(x, t, torch.zeros_like(control)))
            steps, passes_on = config.steps(config.n_sampling_steps), config.self_conditioning > 0
            floor = config.floor if self.nonnegative else None
            made = ddim(
                denoise,
                x,
                diffusion=self.chain,
                steps=steps,
                self_conditioning=passes_on,
                floor=floor,
            )
        return self._out(made)

    # -- units -------------------------------------------------------------------------------------------------------

    @property
    def nothing(self) -> Tensor:
        """(d,) what comes in where there is no control cell: the mean cell, or, as published, zeros."""
        return (
            torch.zeros_like(self.mean)
            if self.config.divide_by is None
            else -self.mean / self.scale
        )

    def _pure(self, like: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return pure noise for cells (K, S, d), and the step (K,) that it is at."""
        slim = self.config.one_pass and self.config.fusion == "input"
        shape = (*like.shape[:-1], self.config.n_noise if slim else like.shape[-1])
        last = torch.full(like.shape[:1], self.config.n_steps - 1, device=like.device)
        return normal_like(like.new_empty(shape), generator), last

    def _in(self, x: Tensor) -> Tensor:
        by = self.config.divide_by
        return x if by is None else torch.addcmul(self.mean / by, x, self.scale / by)

    def _out(self, x: Tensor) -> Tensor:
        return (
            x
            if self.config.divide_by is None
            else (x * self.config.divide_by - self.mean) / self.scale
        )


def network(d: int, config: PerturbDiffConfig) -> nn.Module:
    """Return the transformer of a config for cells of d genes."""
    size = {"width": config.width, "depth": config.depth, "n_heads": config.n_heads}
    d_out = 2 * d if config.hurdle else d
    if config.fusion == "input":
        return SetTransformer(d + (config.n_noise if config.one_pass else 2 * d), d_out, **size)
    d_control = 2 * d if config.heads == 2 else d
    return CrossTransformer(
        d, fusion=config.fusion, heads=config.heads, d_control=d_control, n_out=d_out, **size
    )


def _partly(one: Denoiser, other: Denoiser, share: Tensor) -> Denoiser:
    """Return the first denoiser with a share (K, 1, 1) of the other."""
    return lambda x, t, guess: torch.lerp(one(x, t, guess), other(x, t, guess), share.to(x))
