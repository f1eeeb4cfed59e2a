"""The network of PerturbDiff in training and in generation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ...generative import GaussianDiffusion, ddim
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
from ..base._config import Guidance, changed
from ..base._guidance import common_share, guided_network, known_guidance, resting

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from ...generative import Denoiser
    from ...training import SetBatch
    from ._config import PerturbDiffConfig

# Initial log odds that a gene is on where the starting cell has it on, and off where it is off.
PRIOR = 2.0


class PerturbDiffModule(nn.Module):
    """Predicts sets of clean cells from noise or noisy cells, beside the set's control cells.

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
    n_context_vector
        Number of coordinates of a context, which are then read instead of its code.

    Notes
    -----
    Cells go in and come out as (K, S, d), K populations of S slots. Conditions and batches are
    those of a ``SetBatch``.
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
        n_context_vector: int = 0,
    ) -> None:
        super().__init__()
        self.config, self.nonnegative = config, nonnegative
        self.chain = GaussianDiffusion(config.diffusion.chain_length, config.diffusion.beta)
        self.register_buffer(
            "mean", torch.zeros(d) if mean is None else torch.as_tensor(mean).float()
        )
        self.register_buffer("scale", torch.tensor(float(scale)))
        self.register_buffer("axes", torch.zeros(d, 0) if axes is None else axes.float())
        given = {
            "n_batches": n_batches if config.conditioning.use_batch else 0,
            "width": config.network.width,
            "n_context_vector": n_context_vector,
        }
        given["dropout"] = config.conditioning.condition_dropout
        self.condition = (
            ConditionEncoder(n_vector, n_contexts, pooling=config.conditioning.pooling, **given)
            if config.conditioning.per_covariate
            else CovariateEncoder(n_vector, n_contexts, hidden=d, dose=True, **given)
        )
        self.time = StepEmbedding(config.network.width)
        self.net = network(d, config)
        self.prior = nn.Parameter(torch.full((d,), PRIOR)) if config.output.hurdle else None

    # -- training ----------------------------------------------------------------------------------

    def loss(self, batch: SetBatch, generator: torch.Generator) -> dict[str, Tensor]:
        """Return the terms of the loss, means over sets, and their weighted sum, ``"loss"``.

        Slots of weight 0 do not count, but for the ``biased`` terms that were published.
        """
        config = self.config
        x0, control = self._in(batch.target), self._in(batch.source)
        x, t, weight = self._noisy(x0, batch, generator)
        weight = None if config.loss.biased else weight
        counts = {
            "weight": weight,
            "control_weight": None if config.loss.biased else batch.source_weight,
        }
        encoded = self._encoded_condition(batch.condition, batch.batch_index, generator=generator)
        previous = None
        if (
            float(torch.rand(1, generator=generator, device=generator.device))
            < config.diffusion.self_conditioning
        ):
            with torch.no_grad():
                previous = self._predict(x, t, previous, control, encoded, generator, **counts)
        made = self._predict(x, t, previous, control, encoded, generator, **counts)
        terms: dict[str, Tensor] = {}
        if config.loss.mse:
            terms["mse"] = weighted_mean(
                nn.functional.mse_loss(made, x0, reduction="none").mean(-1), weight
            )
        if config.loss.energy:
            terms["energy"] = self._energy(made, x0, weight, batch.weight)
        if config.loss.energy_components:
            terms["energy_components"] = self._energy(
                made @ self.axes, x0 @ self.axes, weight, batch.weight
            )
        return {
            "loss": sum(getattr(config.loss, name) * value for name, value in terms.items()),
            **terms,
        }

    def _noisy(
        self, x0: Tensor, batch: SetBatch, generator: torch.Generator
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return noise or noisy cells, their steps (K,), and the weights (K, S) of the slots."""
        if self.config.diffusion.one_pass:
            return *self._pure(x0, generator), batch.source_weight
        t = self.chain.draw(len(x0), generator=generator).to(x0.device)
        return self.chain.noise(x0, t, generator=generator), t, batch.weight

    def _energy(
        self, made: Tensor, real: Tensor, made_weight: Tensor | None, weight: Tensor
    ) -> Tensor:
        if self.config.loss.biased:
            return energy_distance(made, real, biased=True).mean() / 2
        return energy_distance(made, real, x_weight=made_weight, y_weight=weight).mean()

    def _encoded_condition(
        self,
        condition: Mapping[str, Tensor],
        batch_index: Tensor,
        *,
        generator: torch.Generator | None = None,
        drop: Collection[str] = (),
    ) -> tuple[Tensor, Tensor | None]:
        """Return encoded conditions (K, B, width), and which of the B each slot takes, (K, S, B).

        The latter is ``None`` where B is 1, or B is S. Batches are encoded
        once each and not once a slot, unless covariates are left out slot by slot.
        """
        if self.config.conditioning.per_covariate or "batch" not in self.condition.covariates:
            return self.condition(condition, batch_index, generator=generator, drop=drop), None
        strata, which = batch_index.unique(return_inverse=True)
        if len(strata) >= batch_index.shape[1]:
            return self.condition(condition, batch_index, generator=generator, drop=drop), None
        vectors = self.condition(
            condition, strata.expand(len(batch_index), -1), generator=generator, drop=drop
        )
        return vectors, None if vectors.shape[1] == 1 else nn.functional.one_hot(which, len(strata))

    # -- one pass ----------------------------------------------------------------------------------

    def _predict(
        self,
        x: Tensor,
        t: Tensor,
        previous: Tensor | None,
        control: Tensor,
        encoded: tuple[Tensor, Tensor | None],
        generator: torch.Generator,
        *,
        weight: Tensor | None = None,
        control_weight: Tensor | None = None,
    ) -> Tensor:
        """Return clean cells (K, S, d), in the units of the network."""
        condition, slots = encoded
        condition = condition + self.time(t)[:, None]
        previous_input = (
            [] if previous is None or self.config.diffusion.one_pass else [previous]
        )  # 0 if there is none, and left out
        if self.config.network.fusion == "input":
            out = self.net(
                torch.cat([control, x, *previous_input], -1), condition, slots=slots, weight=weight
            )
        else:
            seen = torch.cat([x, *previous_input], -1) if previous_input else x
            counts = {"weight": weight, "control_weight": control_weight}
            out = self.net(seen, control, condition, slots=slots, **counts)
        out, logits = (out, None) if self.prior is None else out.chunk(2, dim=-1)
        zero = (
            -self.mean / self.scale
            if self.config.output.divide_by is None
            else torch.zeros_like(self.mean)
        )
        made = control + out if self.config.output.residual else out
        if self.nonnegative:
            made = (
                torch.maximum(made, zero) if self.config.output.divide_by is None else made.relu()
            )
        return (
            made
            if logits is None
            else zero + self._gate(logits, control - zero, generator) * (made - zero)
        )

    def _gate(self, logits: Tensor, value: Tensor, generator: torch.Generator) -> Tensor:
        """Draw which genes of which cells are on (1) or off (0).

        The gradient is that of the probability (straight through).
        """
        chance = torch.sigmoid(logits + self.prior * (2 * (value.abs() > 1e-4).to(logits) - 1))
        drawn = (
            torch.rand(chance.shape, generator=generator, device=generator.device).to(chance)
            < chance
        )
        return drawn.to(chance) + chance - chance.detach()

    # -- generation --------------------------------------------------------------------------------

    @torch.no_grad()
    def sample(
        self,
        source: Tensor,
        condition: Mapping[str, Tensor],
        batch_index: Tensor,
        *,
        generator: torch.Generator,
        n_steps: int | None = None,
        guidance: Guidance | None = None,
    ) -> Tensor:
        """Generate cells.

        Parameters
        ----------
        source
            (K, S, d) control cells, or cells of other contexts.
        condition
            K conditions, as in a ``SetBatch``. Perturbations that are not ``familiar`` (K,) are
            followed as far as `unseen_weight` says. Slots that are not ``real`` (K, S) are read by
            no other slot, as in training.
        batch_index
            (K, S) batch codes, -1 = unknown.
        generator
            The source of randomness.
        n_steps, guidance
            Steps of the sampler, and how far to follow covariates: one number for all together,
            or weights by name where the config says `per_covariate`; 1 is plain. Those of the
            config where None.

        Returns
        -------
        (K, S, d) cells.

        Raises
        ------
        ValueError
            For a number of steps that the chain does not have, or a covariate that is not known.
        TypeError
            If `guidance` is neither a number nor a mapping to numbers.
        """
        given = {"n_steps": n_steps, "guidance": guidance}
        config = changed(self.config, {k: v for k, v in given.items() if v is not None})
        control = self._in(source)
        real = (
            None if config.loss.biased or "real" not in condition else condition["real"].to(control)
        )

        def denoiser(*drop: str) -> Denoiser:
            encoded = self._encoded_condition(condition, batch_index, drop=drop)
            counts = {"weight": real, "control_weight": real}
            return lambda x, t, previous: self._predict(
                x, t, previous, control, encoded, generator, **counts
            )

        covariates = self.condition.covariates
        weights = guidance
        if weights is None:
            weights = known_guidance(self.config.sampling.guidance, covariates)
        with resting(self):
            denoise = guided_network(denoiser, weights, covariates)
            share = common_share(condition, config.conditioning.unseen_weight, weights)
            if share is not None:
                denoise = _partly(denoise, denoiser("perturbation"), share)
            x, t = self._pure(control, generator)
            if config.diffusion.one_pass:
                return self._out(denoise(x, t, torch.zeros_like(control)))
            steps, passes_on = (
                config.steps(config.sampling.n_steps),
                config.diffusion.self_conditioning > 0,
            )
            floor = config.sampling.floor if self.nonnegative else None
            made = ddim(
                denoise,
                x,
                diffusion=self.chain,
                steps=steps,
                self_conditioning=passes_on,
                floor=floor,
            )
        return self._out(made)

    # -- units -------------------------------------------------------------------------------------

    @property
    def nothing(self) -> Tensor:
        """(d,) stands for a control cell where there is none: the mean, or zeros as published."""
        return (
            torch.zeros_like(self.mean)
            if self.config.output.divide_by is None
            else -self.mean / self.scale
        )

    def _pure(self, like: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return pure noise for cells (K, S, d), and the step (K,) that it is at."""
        slim = self.config.diffusion.one_pass and self.config.network.fusion == "input"
        shape = (*like.shape[:-1], self.config.diffusion.n_noise if slim else like.shape[-1])
        last = torch.full(
            like.shape[:1], self.config.diffusion.chain_length - 1, device=like.device
        )
        return normal_like(like.new_empty(shape), generator), last

    def _in(self, x: Tensor) -> Tensor:
        by = self.config.output.divide_by
        return x if by is None else torch.addcmul(self.mean / by, x, self.scale / by)

    def _out(self, x: Tensor) -> Tensor:
        return (
            x
            if self.config.output.divide_by is None
            else (x * self.config.output.divide_by - self.mean) / self.scale
        )


def network(d: int, config: PerturbDiffConfig) -> nn.Module:
    """Return the transformer of a config for cells of d genes."""
    size = {
        "width": config.network.width,
        "depth": config.network.depth,
        "n_heads": config.network.n_heads,
    }
    d_out = 2 * d if config.output.hurdle else d
    if config.network.fusion == "input":
        return SetTransformer(
            d + (config.diffusion.n_noise if config.diffusion.one_pass else 2 * d), d_out, **size
        )
    d_control = 2 * d if config.network.heads == 2 else d
    return CrossTransformer(
        d,
        fusion=config.network.fusion,
        heads=config.network.heads,
        d_control=d_control,
        n_out=d_out,
        **size,
    )


def _partly(one: Denoiser, other: Denoiser, share: Tensor) -> Denoiser:
    """Return the first denoiser with a share (K, 1, 1) of the other."""
    return lambda x, t, previous: torch.lerp(
        one(x, t, previous), other(x, t, previous), share.to(x)
    )
