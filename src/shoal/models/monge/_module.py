"""The network of ConditionalMonge: one map for every condition, fitted between populations."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ..._logging import logger
from ...generative import (
    couple,
    energy_distance,
    monge_gap,
    normal_like,
    sinkhorn_divergence,
    take,
    weighted_mean,
)
from ...nn import ConcatenatedNet, ConditionEncoder, VelocityNet
from ..base._guidance import common_share, mean_of, resting
from ._config import ConditionalMongeConfig

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ...training._batch import SetBatch

ITERATIONS, TOLERANCE = (
    500,
    0.01,
)  # of the solver, in a step of training: share of the mass that may be out of place


class MongeModule(nn.Module):
    """``T(x, c) = x + net(x, c)``: where a control cell goes under a condition.

    Parameters
    ----------
    d
        Number of coordinates of a cell.
    n_vector, n_contexts, n_batches
        Length of a perturbation's vector, and numbers of contexts and of batches; 0 for none.
    config
        What the map is made of.
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
        config: ConditionalMongeConfig | None = None,
        n_context_vector: int = 0,
    ) -> None:
        super().__init__()
        self.config = config = ConditionalMongeConfig() if config is None else config
        self.register_buffer("n_trained", torch.zeros((), dtype=torch.int64))
        self._warned = False
        size = {
            "width": config.network.width,
            "depth": config.network.depth,
            "n_beside": config.network.n_noise,
        }
        if config.network.architecture == "concatenated":
            self.condition = None
            self.net: nn.Module = ConcatenatedNet(
                d, n_vector, pooling=config.conditioning.pooling, **size
            )
            return
        self.condition = ConditionEncoder(
            n_vector,
            n_contexts if config.conditioning.use_context else 0,
            width=config.network.width,
            n_batches=n_batches if config.conditioning.use_batch else 0,
            pooling=config.conditioning.pooling,
            dropout=config.conditioning.condition_dropout,
            n_context_vector=n_context_vector,
        )
        n_visible = None if config.network.n_visible == "auto" else config.network.n_visible
        self.net = VelocityNet(
            d, heads=1, n_visible=n_visible, d_condition=config.network.width, **size
        )

    # -- training ----------------------------------------------------------------------------------

    def loss(self, batch: SetBatch, generator: torch.Generator) -> dict[str, Tensor]:
        """Return the Sinkhorn divergence to the perturbed cells, the Monge gap, and the loss.

        Slots of weight 0 do not count.
        """
        config, control = self.config, batch.source
        self.n_trained += 1
        centre = self._centre(batch.condition, control, batch.source_weight)
        made = self._moved(control, batch.condition, batch.batch_index, centre, generator)
        if int(self.n_trained) <= config.loss.warm_steps:
            pairs = couple(control, batch.target, stratum=batch.batch_index, generator=generator)
            error = (take(made, pairs) - batch.target).square().mean(-1)
            paired = weighted_mean(error, batch.weight)
            return {"loss": paired, "paired": paired}
        limits = {
            "n_iterations": ITERATIONS,
            "tolerance": TOLERANCE,
            "unsolved": self._warn_unsolved,
        }
        shared = {
            "power": config.loss.power,
            "epsilon_relative": config.loss.epsilon_relative,
            **limits,
        }
        weights = {"x_weight": batch.source_weight, "y_weight": batch.weight}
        fit = {
            "epsilon": config.loss.epsilon,
            "biased": config.loss.with_itself,
            **weights,
            **shared,
        }
        terms = {"divergence": sinkhorn_divergence(made, batch.target, **fit).mean()}
        loss = terms["divergence"]
        if config.loss.gap:
            gap = monge_gap(
                control, made, epsilon=config.loss.gap_epsilon, weight=batch.source_weight, **shared
            )
            terms["gap"] = gap.mean()
            loss = loss + config.loss.gap * terms["gap"]
        if config.loss.energy:
            terms["energy"] = energy_distance(made, batch.target, **weights).mean()
            loss = loss + config.loss.energy * terms["energy"]
        return {"loss": loss, **terms}

    def _warn_unsolved(self, error: Tensor) -> None:
        """Say once that ε is too small for the solver."""
        if not self._warned:
            self._warned = True
            logger.warning(
                "epsilon is too small for %d iterations: the plans of transport miss their "
                "marginals by up to %.2g of the mass; gradients are less accurate. Take a larger "
                "epsilon or gap_epsilon",
                ITERATIONS,
                float(error.max()),
            )

    # -- generation --------------------------------------------------------------------------------

    @torch.no_grad()
    def sample(
        self,
        source: Tensor,
        condition: Mapping[str, Tensor],
        batch_index: Tensor,
        *,
        generator: torch.Generator,
    ) -> Tensor:
        """Return what becomes of control cells.

        Parameters
        ----------
        source
            (K, S, d) control cells.
        condition
            K conditions, as in a ``SetBatch``.
        batch_index
            (K, S) batch codes, -1 = unknown.
        generator
            Of the noise, where there is some.

        Returns
        -------
        (K, S, d) cells, slot by slot.
        """
        centre = self._centre(condition, source, None)
        with resting(self):
            return self._moved(source, condition, batch_index, centre, generator)

    # -- inside ------------------------------------------------------------------------------------

    def _moved(
        self,
        x: Tensor,
        condition: Mapping[str, Tensor],
        batch_index: Tensor,
        centre: Tensor | float,
        generator: torch.Generator,
    ) -> Tensor:
        n = self.config.network.n_noise
        beside = normal_like(x[..., :1].expand(*x.shape[:-1], n), generator) if n else None
        seen = x - centre
        if self.condition is None:
            return x + self.net(seen, condition, beside)
        encoded = self.condition(condition, batch_index, generator=generator)
        change = self.net(seen, encoded, beside)
        share = (
            None
            if self.training
            else common_share(condition, self.config.conditioning.unseen_weight)
        )
        if share is None:
            return x + change
        common = self.net(
            seen, self.condition(condition, batch_index, drop=("perturbation",)), beside
        )
        return x + torch.lerp(change, common, share.to(x))

    def _centre(
        self, condition: Mapping[str, Tensor], control: Tensor, weight: Tensor | None
    ) -> Tensor | float:
        """Return the mean of the controls (K, 1, d) if cells are seen relative to it, else 0."""
        if not self.config.conditioning.relative_to_control:
            return 0.0
        return (condition["centre"] if "centre" in condition else mean_of(control, weight))[:, None]
