"""The network of the flows: flow matching between populations of cells, under a condition."""

from __future__ import annotations

from copy import deepcopy
from math import prod
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ..._validate import positive
from ...generative import (
    couple,
    diffuse,
    draw,
    drift_field,
    ends,
    integrate,
    normal_like,
    one_sided,
    path,
    regression,
    take,
    time_grid,
    two_sided,
)
from ..base._config import Guidance, changed
from ..base._guidance import common_share, guided_network, known_guidance, mean_of, resting
from ._config import FlowConfig, check_sampler
from ._parts import FlowParts, vector_parts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ...generative import Field
    from ...training._batch import SetBatch
    from ._config import FlowSettings

# How a reflowed copy differs: straight paths take few plain steps, and guidance is in the pairs.
REFLOWED = {
    "coupling": "none",
    "guidance": 1.0,
    "sampler": "euler",
    "n_steps": 4,
    "grid": "uniform",
}


class FlowModule(nn.Module):
    """Velocity of cells from control to perturbed, given their state, the time and the condition.

    Parameters
    ----------
    shape
        Number of features of a cell, or the shape of a cell that is an array, such as an image.
    n_vector, n_contexts, n_batches
        Length of a perturbation's vector, and numbers of contexts and of batches; 0 for none.
    config
        What the flow is made of.
    parts
        Networks of the flow; an MLP on d features, as the config says, if ``None``.
    location, scale
        (d,) centre of the data, and one length, about its standard deviation. The network works on
        ``(x - location) / scale``. One length for all features keeps the meaning of distances.
    n_context_vector
        Number of coordinates of a context, which are then read instead of its code.

    Notes
    -----
    Cells go in and come out as (K, S, *shape), K populations of S slots, in the data's units.
    Between, they are flat, (K, S, d). Conditions and batches are those of a ``SetBatch``.
    """

    def __init__(
        self,
        shape: int | tuple[int, ...],
        n_vector: int,
        n_contexts: int,
        n_batches: int = 0,
        *,
        config: FlowSettings | None = None,
        parts: FlowParts | None = None,
        location: Tensor | None = None,
        scale: float = 1.0,
        n_context_vector: int = 0,
    ) -> None:
        super().__init__()
        positive(scale, name="scale")
        self.config = config = FlowConfig() if config is None else config
        self.shape = (shape,) if isinstance(shape, int) else tuple(shape)
        d = prod(self.shape)
        self.path = path(
            config.interpolant.path, config.interpolant.gamma, a=config.interpolant.gamma_scale
        )
        self.register_buffer(
            "location", torch.zeros(d) if location is None else torch.as_tensor(location).float()
        )
        self.register_buffer("scale", torch.tensor(float(scale)))
        if parts is None:
            sizes = (n_vector, n_contexts, n_batches)
            parts = vector_parts(d, *sizes, config=config, n_context_vector=n_context_vector)
        self.time, self.condition, self.net = parts
        self.guidance = known_guidance(config.sampling.guidance, self.condition.covariates)

    # -- training ----------------------------------------------------------------------------------

    def loss(self, batch: SetBatch, generator: torch.Generator) -> dict[str, Tensor]:
        """Return the mean square error of each head, and their sum under ``"loss"``.

        Slots of weight 0 do not count.
        """
        control = self._in(batch.source)
        x0, x1 = self._pair(control, batch, generator)
        point = draw(self.path, x0, x1, law=self.config.loss.law, generator=generator)
        condition = self._with_control_mean(batch.condition, control, batch.source_weight)
        centre = self._centre(batch.condition, control, batch.source_weight)
        encoded = self.condition(condition, batch.batch_index, generator=generator)
        heads = self._heads(point.t, point.x - centre, encoded)
        if self.config.loss.head == "velocity+eta":
            predictions = {"velocity": heads[0], "denoiser": heads[1]}
        elif self.config.loss.head == "x1":
            predictions = {"target": ends(self.path, point.t, point.x, heads[0])[1]}
        else:
            predictions = {"velocity": heads[0]}
        return regression(self.path, point, predictions, weight=batch.weight)

    def _pair(
        self, control: Tensor, batch: SetBatch, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Return sources and targets, paired; `control` is the source in the network's units."""
        x1 = self._in(batch.target)
        if self.config.loss.coupling == "none":
            return control, x1
        x0 = self._start(control, generator, chance=self.config.interpolant.noise_probability)
        pairs = couple(
            x0,
            x1,
            stratum=batch.batch_index,
            method=self.config.loss.coupling,
            epsilon=self.config.loss.epsilon,
            generator=generator,
        )
        return take(x0, pairs), x1

    def _start(self, control: Tensor, generator: torch.Generator, *, chance: float) -> Tensor:
        """Return where paths begin; the noise of ``"control+noise"`` is added with a `chance`."""
        if self.config.interpolant.path_start == "control":
            return control
        begin = self.config.interpolant
        noise = normal_like(control, generator)
        if begin.path_start == "noise":
            return noise
        shape = control.shape[:-1] if begin.noise_coin == "sample" else (1, 1)
        chances = torch.rand(shape, generator=generator, device=generator.device)
        return control + begin.noise * noise * (chances < chance).to(control)[..., None]

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
        sampler: str | None = None,
        guidance: Guidance | None = None,
        eps0: float | None = None,
    ) -> Tensor:
        """Generate cells.

        Parameters
        ----------
        source
            (K, S, d) control cells. Where the flow begins at noise they only give the shape, and
            their mean if the network is given it.
        condition
            K conditions, as in a ``SetBatch``.
        batch_index
            (K, S) batch codes, -1 = unknown.
        generator
            The source of randomness.
        n_steps, sampler, guidance, eps0
            As in :class:`FlowConfig`, whose values are taken where None.

        Returns
        -------
        (K, S, d) cells; slot by slot what becomes of `source`.

        Raises
        ------
        ValueError
            For a sampler or a covariate that is not known, or one that does not fit the flow.
        """
        control = self._in(source)
        start = self._start(
            control, generator, chance=float(self.config.interpolant.noise_at_sampling)
        )
        condition, centre = (
            self._with_control_mean(condition, control),
            self._centre(condition, control),
        )
        return self._out(
            self._carry(
                start,
                condition,
                batch_index,
                generator,
                n_steps,
                sampler,
                guidance,
                eps0,
                centre=centre,
            )
        )

    @torch.no_grad()
    def invert(
        self,
        target: Tensor,
        condition: Mapping[str, Tensor],
        batch_index: Tensor,
        *,
        n_steps: int | None = None,
        sampler: str | None = None,
        guidance: Guidance | None = None,
    ) -> Tensor:
        """Follow the flow back, from perturbed cells (K, S, d) under `condition` to their start.

        For a flow from control cells these are the cells' control states. The sampler follows the
        flow and is not ``"sde"``; Heun's is taken where the config says ``"sde"``.

        Raises
        ------
        ValueError
            If any of the following holds:

            - the sampler is ``"sde"``;
            - the network is given the controls' mean, which is not known on the way back;
            - the network sees cells relative to that mean, and ``condition["centre"]`` (K, d) is
              not given.
        """
        if self.config.conditioning.control_mean:
            msg = (
                "this flow is given the mean of the controls (control_mean=True), which cannot be "
                "known from perturbed cells: no way back"
            )
            raise ValueError(msg)
        start, sampler, centre = (
            self._in(target),
            self._deterministic(sampler),
            self._centre(condition, None),
        )
        return self._out(
            self._carry(
                start,
                condition,
                batch_index,
                None,
                n_steps,
                sampler,
                guidance,
                None,
                centre=centre,
                reverse=True,
            )
        )

    @torch.no_grad()
    def counterfactual(
        self,
        cells: Tensor,
        condition: Mapping[str, Tensor],
        other: Mapping[str, Tensor],
        batch_index: Tensor,
        *,
        n_steps: int | None = None,
        sampler: str | None = None,
        guidance: Guidance | None = None,
    ) -> Tensor:
        """Return what cells (K, S, d) measured under `condition` would be under the `other`.

        They are carried back, and forth again.

        Raises
        ------
        ValueError
            As :meth:`invert`.
        """
        start = self.invert(
            cells, condition, batch_index, n_steps=n_steps, sampler=sampler, guidance=guidance
        )
        sampler, centre = self._deterministic(sampler), self._centre(other, None)
        return self._out(
            self._carry(
                self._in(start),
                other,
                batch_index,
                None,
                n_steps,
                sampler,
                guidance,
                None,
                centre=centre,
            )
        )

    # -- reflow ------------------------------------------------------------------------------------

    @torch.no_grad()
    def pairs(
        self,
        source: Tensor,
        condition: Mapping[str, Tensor],
        batch_index: Tensor,
        *,
        generator: torch.Generator,
        n_steps: int = 100,
    ) -> tuple[Tensor, Tensor]:
        """Return starting points and where the flow takes them by Heun's method, (K, S, d) each.

        :meth:`reflowed` trains on them.
        """
        control = self._in(source)
        start = self._start(
            control, generator, chance=float(self.config.interpolant.noise_at_sampling)
        )
        condition, centre = (
            self._with_control_mean(condition, control),
            self._centre(condition, control),
        )
        end = self._carry(
            start, condition, batch_index, generator, n_steps, "heun", None, None, centre=centre
        )
        return self._out(start), self._out(end)

    def reflowed(self) -> FlowModule:
        """Return a copy with the same weights that trains on :meth:`pairs` (rectified flow).

        Give it batches whose `source` and `target` are such pairs, slot by slot.

        Raises
        ------
        ValueError
            For a flow with noise on the way, whose pairs are not those of straight paths.
        """
        if self.path.gamma:
            msg = (
                "reflow straightens the paths of a flow without noise; this one has "
                f"gamma={self.config.interpolant.gamma!r}"
            )
            raise ValueError(msg)
        copy = deepcopy(self)
        copy.config = changed(self.config, REFLOWED)
        copy.guidance = 1.0
        return copy

    # -- inside ------------------------------------------------------------------------------------

    def _in(self, x: Tensor) -> Tensor:
        """Return cells (K, S, *shape) flat, (K, S, d), in the network's units."""
        return (x.flatten(2) - self.location) / self.scale

    def _out(self, x: Tensor) -> Tensor:
        return (x * self.scale + self.location).unflatten(2, self.shape)

    def _with_control_mean(
        self, condition: Mapping[str, Tensor], control: Tensor, weight: Tensor | None = None
    ) -> Mapping[str, Tensor]:
        """Add the mean of the controls (K, S, d) to the condition, if the network is given it."""
        return (
            {**condition, "control": mean_of(control, weight)}
            if self.config.conditioning.control_mean
            else condition
        )

    def _centre(
        self, condition: Mapping[str, Tensor], control: Tensor | None, weight: Tensor | None = None
    ) -> Tensor | float:
        """Return the mean of the controls (K, 1, d) if cells are seen relative to it, else 0.

        It is ``condition["centre"]`` (K, d), in the data's units, where that is given, and the mean
        of the set otherwise.
        """
        if not self.config.conditioning.relative_to_control:
            return 0.0
        if "centre" in condition:
            return self._in(condition["centre"][:, None])
        if control is None:
            msg = (
                "this flow sees cells relative to the mean of their controls: give it as "
                "condition['centre'], (K, d)"
            )
            raise ValueError(msg)
        return mean_of(control, weight)[:, None]

    def _heads(self, t: Tensor, x: Tensor, condition: Tensor) -> Tensor:
        """Return v, or v and η, stacked on a new first axis."""
        out = self.net(x, self.time(t) + condition)
        return torch.stack(out.chunk(2 if self.path.gamma else 1, dim=-1))

    def _deterministic(self, sampler: str | None) -> str:
        if sampler == "sde":
            msg = "sampler='sde' has no way back; choose one of the flow, for example 'heun'"
            raise ValueError(msg)
        return sampler or (
            "heun" if self.config.sampling.sampler == "sde" else self.config.sampling.sampler
        )

    def _field(
        self,
        condition: Mapping[str, Tensor],
        batch_index: Tensor,
        guidance: Guidance,
        centre: Tensor | float = 0.0,
    ) -> Field:
        """Return the heads as one function of time and state, guided.

        Perturbations that are not ``condition["familiar"]`` are followed as far as the config's
        `unseen_weight` says.
        """

        def heads(*drop: str) -> Field:
            encoded = self.condition(condition, batch_index, drop=drop)
            return lambda t, x: self._heads(t.reshape(1, 1), x - centre, encoded)

        field = guided_network(heads, guidance, self.condition.covariates)
        share = common_share(condition, self.config.conditioning.unseen_weight, guidance)
        if share is None:
            return field
        common = heads("perturbation")
        return lambda t, x: torch.lerp(field(t, x), common(t, x), share.to(x))

    def _drift(self, heads: Field) -> Field:
        """Return the drift of the flow, from the function that gives its heads."""
        return drift_field(self.path, heads) if self.path.gamma else lambda t, x: heads(t, x)[0]

    def _carry(
        self,
        x: Tensor,
        condition: Mapping[str, Tensor],
        batch_index: Tensor,
        generator: torch.Generator | None,
        n_steps: int | None,
        sampler: str | None,
        guidance: Guidance | None,
        eps0: float | None,
        *,
        centre: Tensor | float,
        reverse: bool = False,
    ) -> Tensor:
        """Carry points, in the network's units, along the flow or its diffusion."""
        config = self.config
        sampler = sampler or config.sampling.sampler
        check_sampler(config, sampler)
        if eps0 is not None and sampler != "sde":
            msg = f"eps0 is the noise of sampler='sde', and the sampler is {sampler!r}: pass both"
            raise ValueError(msg)
        grid = time_grid(
            config.sampling.grid, config.sampling.n_steps if n_steps is None else n_steps, like=x
        )
        with resting(self):
            heads = self._field(
                condition, batch_index, self.guidance if guidance is None else guidance, centre
            )
            drift = self._drift(heads)
            if sampler != "sde":
                return integrate(drift, x, method=sampler, grid=grid, reverse=reverse)
            eps0 = config.sampling.eps0 if eps0 is None else eps0
            kind = (
                two_sided(heads, self.path, eps0=eps0)
                if self.path.gamma
                else one_sided(drift, self.path, eps0=eps0)
            )
            return diffuse(kind, x, grid=grid, generator=generator)
