"""The networks of Unlasting in training and in generation."""

from __future__ import annotations

from math import pi
from typing import TYPE_CHECKING, TypeAlias

import torch
from torch import Tensor, nn

from ...generative import (
    GaussianDiffusion,
    energy_distance,
    generate,
    invert,
    masked_error,
    normal_like,
    perturbed_input,
)
from ...nn import BridgeNet, StratumNet, mlp, waves, with_loops
from ..base._config import changed
from ..base._guidance import common_share, guided_network, known_guidance, resting
from ._control_input import control_cells, predicted_from
from ._covariates import dropped, left_out, with_genes
from ._masks import MaskNetwork, coupled, drawn, is_on
from ._treatment import Treatment

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ...training import SetBatch
    from ..base._config import Guidance
    from ._config import UnlastingConfig
    from ._reference import References

Seen: TypeAlias = tuple[Tensor | None, Tensor | None]  # (K, S, width) and (K, S, d)
TIME = 512  # waves of the number of a step
PERIOD = 10_000.0


class UnlastingModule(nn.Module):
    """Predicts clean cells from noisy ones, and which of their genes are on.

    Parameters
    ----------
    d
        Genes.
    n_vector
        Length of a perturbation's vector; 0 if vectors are not read.
    n_contexts, n_batches
        Numbers of contexts and of batches that there are; 0 for none.
    config
        What it is made of.
    genes
        (V,) the gene that each perturbation is, -1 where it is none.
    own
        (V,) the learned vector that each perturbation has, 1, 2 and so on; 0 for none.
    silent
        (d,) bool, genes that are off in all training cells, and are never turned on.
    nodes, edges
        (d, F) features of the genes in the graph, and (2, E) its edges; ``None`` for no graph.
    doses
        Whether there are doses.
    nonnegative
        Whether values cannot be below 0.
    references
        Zeros of training cells, for ``mask="reference"``.
    n_context_vector
        Number of coordinates of a context; above 0 they are read instead of its code.

    Notes
    -----
    Cells go in and come out as (K, S, d), K populations of S slots. Conditions and batches are
    those of a ``SetBatch``. Conditions also hold ``"moments"`` (K, 3, d): mean, standard deviation
    and share of cells that are on, of the control cells of their context.
    """

    def __init__(
        self,
        d: int,
        n_vector: int,
        n_contexts: int,
        n_batches: int = 0,
        *,
        config: UnlastingConfig,
        genes: Tensor,
        own: Tensor | None = None,
        silent: Tensor | None = None,
        nodes: Tensor | None = None,
        edges: Tensor | None = None,
        doses: bool = False,
        nonnegative: bool = True,
        references: References | None = None,
        n_context_vector: int = 0,
    ) -> None:
        super().__init__()
        self.config, self.nonnegative, self.references = config, nonnegative, references
        self.chain = GaussianDiffusion(config.bridge.chain_length, config.bridge.beta)
        self.clamps = doses if config.bridge.clamp == "doses" else bool(config.bridge.clamp)
        network, n_node = config.network, 0 if nodes is None else nodes.shape[1]
        width = d if network.width is None else network.width
        looped = with_loops(torch.zeros(2, 0, dtype=torch.long) if edges is None else edges, d)
        self.register_buffer("grid", torch.tensor(config.grid), persistent=False)
        lengths = {"longest": 2 * pi * PERIOD ** (1 - 1 / TIME), "shortest": 2 * pi}
        self.register_buffer("waves", waves(self.grid.float(), TIME, **lengths), persistent=False)
        self.register_buffer("genes", genes, persistent=False)
        own = torch.zeros_like(genes) if own is None else own
        self.register_buffer("own", own, persistent=False)
        audible = torch.ones(d) if silent is None else 1 - silent.float()
        self.register_buffer("audible", audible, persistent=False)
        self.register_buffer("nodes", nodes, persistent=False)
        self.register_buffer("edges", looped, persistent=False)
        dropout = network.dropout
        self.time = mlp(2 * TIME, width, width, dropout=dropout)
        placed = {"n_context_vector": n_context_vector}
        self.place = StratumNet(n_contexts, n_batches, width, dropout=dropout, **placed)
        told = {"doses": doses, "n_heads": network.graph_heads, "dropout": dropout, **placed}
        told["n_own"], inside = int(own.max()), n_contexts
        if not config.conditioning.context_effects:
            told["n_context_vector"] = inside = 0
        self.treatment = Treatment(d, n_vector, n_node, inside, width, config=config, **told)
        self.beside = nn.Linear(d, width) if config.bridge.sees_control else None
        self.gain = nn.Parameter(torch.zeros(d)) if config.bridge.sees_control else None
        self.control = nn.Parameter(torch.randn(width) * 0.02) if config.inverts else None
        self.net = BridgeNet(
            d,
            width=width,
            decoder=network.decoder,
            depth=network.depth,
            n_out=2 * d if config.masking.mask == "hurdle" else d,
            controls=config.inverts,
            norm=network.norm,
            dropout=dropout,
        )
        self.mask = (
            MaskNetwork(d, n_vector, n_node, inside, config=config, **told)
            if config.learns_mask
            else None
        )
        several = {
            "context": n_contexts > 1 or n_context_vector,
            "dose": doses,
            "batch": n_batches > 1,
        }
        self.covariates = ("perturbation", *(name for name, there in several.items() if there))

    # -- training ----------------------------------------------------------------------------------

    def loss(self, batch: SetBatch, generator: torch.Generator) -> dict[str, Tensor]:
        """Return the terms of the loss and their weighted sum, ``"loss"``.

        ``error`` is the mean squared error of values that count, over control cells and perturbed
        ones alike. ``mask`` is the cross entropy of genes that are on; the network that it trains
        shares no weight with the others. Slots of weight 0 do not count.
        """
        config, kind, x0 = self.config, self.config.bridge.control_input, batch.target
        condition, codes = with_genes(batch.condition, self.genes, self.own), batch.batch_index
        share = config.conditioning.condition_dropout
        condition, codes = dropped(condition, codes, self.covariates, share, generator)
        if share and self.nodes is not None:  # learn from the node alone, as of an unseen gene
            condition["own"] = (
                condition["own"]
                * drawn(
                    torch.full_like(condition["own"], 1 - share, dtype=torch.float), x0, generator
                ).long()
            )
        told = condition["present"].any(-1)  # else cells that were perturbed at their start
        on, weight = is_on(x0), batch.weight.to(x0)[..., None]
        everywhere = ~told if config.loss.on_values else torch.ones_like(told)
        counts = torch.lerp(weight * everywhere[:, None, None], weight, on)
        given = control_cells(kind, batch.source, condition, generator)
        seen = self._seen(given)
        # All terms of a step are given the same noise, since drawing it costs as much as half a
        # layer of genes; the gradient is the same on average.
        noise = normal_like(x0, generator)
        t, x = self._noisy(x0, noise, generator)
        place, times = self.place(condition, codes), self._times()
        vector = self.treatment(condition, self.nodes, self.edges)
        made, logits = self._treated(x, nn.functional.embedding(t, times), place, vector, seen)
        error, n = masked_error(made, x0, counts)
        if self.control is not None:
            more, n_more = self._control_error(batch, noise, times, place, told, generator)
            error, n = error + more, n + n_more
        terms = {"error": error / n.clamp(min=1)}
        total, odds = terms["error"], None
        if self.mask is not None:
            terms["mask"], odds = self.mask.loss(
                condition, self.nodes, self.edges, on, batch.weight * told[:, None]
            )
            total = total + terms["mask"]
        elif logits is not None:
            bce = nn.functional.binary_cross_entropy_with_logits
            wide = batch.weight[..., None].expand_as(x0)
            terms["mask"] = bce(logits, on, wide, reduction="sum") / wide.sum()
            total = total + terms["mask"]
        if config.loss.energy:
            beside = predicted_from(kind, batch.source, condition, generator)
            seen = seen if beside is given else self._seen(beside)
            made, logits = self._treated(noise, times[-1], place, vector, seen)
            with torch.no_grad():
                odds = logits if odds is None else odds
                shown = self._on(made, odds, batch.source, condition, generator)
            made = made if shown is None else made * shown
            pair = {"x_weight": batch.source_weight, "y_weight": batch.weight}
            terms["energy"] = energy_distance(made, batch.target, **pair).mean()
            total = total + config.loss.energy * terms["energy"]
        return {"loss": total, **terms}

    def _control_error(
        self,
        batch: SetBatch,
        noise: Tensor,
        times: Tensor,
        place: Tensor,
        told: Tensor,
        generator: torch.Generator,
    ) -> tuple[Tensor, Tensor]:
        """Return the sum of squared errors of control cells, and the number of values."""
        cells = batch.source
        counts = (batch.source_weight * told[:, None])[..., None]
        counts = counts * is_on(cells) if self.config.loss.on_values else counts.expand_as(cells)
        t, x = self._noisy(cells, noise, generator)
        own = (nn.functional.embedding(t, times), place, self.control)
        made = self.net(x, *own, treated=False)
        return masked_error(made, cells, counts)

    def _noisy(
        self, x0: Tensor, noise: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Return a step (K, S) of the grid for each cell, by its place there, and noisy cells."""
        shape, n = x0.shape[:2], len(self.grid)
        at = torch.randint(n, shape, generator=generator, device=generator.device).to(x0.device)
        x = perturbed_input(
            x0.flatten(0, 1)[:, None],
            self.grid[at.flatten()],
            diffusion=self.chain,
            share=self.config.bridge.input_perturbation,
            noise=noise.flatten(0, 1)[:, None],
        )
        return at, x.view_as(x0)

    @property
    def learned_singles(self) -> Callable[[Tensor, Tensor], Tensor] | None:
        """What makes the learned vectors of single perturbations, for a graph of them."""
        return self.treatment.singles(self.genes, self.own, self.nodes, self.edges)

    # -- the network -------------------------------------------------------------------------------

    def _times(self) -> Tensor:
        """Return the vectors (steps, width) of the steps of the grid."""
        return self.time(self.waves)

    def _seen(self, given: Tensor | None) -> Seen:
        """Return what is read of control cells, and what of them is added to the result."""
        if given is None:
            return None, None
        read = None if self.beside is None else self.beside(given)
        residual = self.config.bridge.residual
        if self.gain is None:
            return read, given if residual else None
        return read, (float(residual) + self.gain) * given

    def _treated(
        self, x: Tensor, time: Tensor, place: Tensor, vector: Tensor, seen: Seen
    ) -> tuple[Tensor, Tensor | None]:
        """Return clean perturbed cells, and the log odds that genes are on with a hurdle."""
        read, left = seen
        place = place if read is None else place + read
        out, logits = self.net(x, time, place, vector, treated=True), None
        if self.config.masking.mask == "hurdle":
            out, logits = out.chunk(2, dim=-1)
        return (out if left is None else out + left), logits

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
        inversion: str | None = "config",
    ) -> Tensor:
        """Generate cells.

        Parameters
        ----------
        source
            (K, S, d) control cells, or cells of other contexts.
        condition
            K conditions, as in a ``SetBatch``, with ``"moments"``. Where ``"latent"`` is there, it
            is the noise of the control cells, (K, S, d) or (K, S, 2, d), which is not computed.
            Perturbations that are not ``"familiar"`` (K,) are followed as far as `unseen_weight`
            says.
        batch_index
            (K, S) batch codes, -1 = unknown.
        generator
            The source of randomness.
        n_steps, guidance, inversion
            As of the config, which says what they are by default.

        Returns
        -------
        (K, S, d) cells.

        Raises
        ------
        ValueError
            For a number of steps that the grid does not have, a covariate that is not known, or an
            inversion by a model that has no network of control cells.
        """
        config = self._changed(n_steps=n_steps, guidance=guidance, inversion=inversion)
        sampling = config.sampling
        condition, codes = with_genes(condition, self.genes, self.own), batch_index
        weights = known_guidance(sampling.guidance, self.covariates)
        starts = condition["present"].any(-1)[:, None, None]  # the others are perturbed already
        with resting(self):
            kind = config.bridge.control_input
            seen = self._seen(predicted_from(kind, source, condition, generator))
            method = sampling.inversion or "ddim"
            if sampling.inversion is None or not starts.any():
                latent, method = normal_like(source, generator), "ddim"
            elif "latent" in condition:
                latent = condition["latent"]
                latent = latent.movedim(-2, 0) if method == "exact" else latent
            else:
                latent = self._noise(source, condition, codes, config)
            last: list[Tensor | None] = [None]

            def clean(x: Tensor, t: int) -> Tensor:
                made, last[0] = self._clean(x, t, condition, codes, seen, weights)
                return made.clamp(-1, 1) if self.clamps else made

            way = {"diffusion": self.chain, "grid": self._walked(config)}
            made = generate(clean, latent, **way, method=method, gamma=sampling.gamma)
            if self.nonnegative:
                made = made.relu()
            logits = last[0] if self.mask is None else self._logits(condition, weights)
            on = self._on(made, logits, source, condition, generator)
        return torch.where(starts, made * on, made) if on is not None else made

    @torch.no_grad()
    def latents(
        self,
        cells: Tensor,
        condition: Mapping[str, Tensor],
        batch_index: Tensor,
        *,
        n_steps: int | None = None,
        inversion: str | None = "config",
    ) -> Tensor:
        """Return the noise of control cells, for all perturbations alike.

        Parameters
        ----------
        cells
            (K, S, d) control cells.
        condition
            Their contexts, as of shoal.nn.StratumNet.
        batch_index
            (K, S) batch codes, -1 = unknown.
        n_steps, inversion
            As of :meth:`sample`.

        Returns
        -------
        (K, S, d), or (K, S, 2, d) of the exact inversion.
        """
        config = self._changed(n_steps=n_steps, inversion=inversion)
        with resting(self):
            noise = self._noise(cells, condition, batch_index, config)
        return noise.movedim(0, -2) if config.sampling.inversion == "exact" else noise

    def _changed(self, **given: object) -> UnlastingConfig:
        """Return the config with options of a prediction."""
        if given.get("inversion") == "config":
            del given["inversion"]
        options = {k: v for k, v in given.items() if v is not None or k == "inversion"}
        config = changed(self.config, options)
        if config.inverts and self.control is None:
            msg = (
                "this Unlasting was trained without a network of control cells, so that "
                f"inversion={config.sampling.inversion!r} cannot be had: train it with "
                "config={'inversion': 'ddim'}"
            )
            raise ValueError(msg)
        return config

    def _walked(self, config: UnlastingConfig) -> tuple[int, ...]:
        """Return the steps that are walked, upwards; some at least."""
        steps, kept = config.steps(config.sampling.n_steps), self.chain.alpha_bar
        least = config.sampling.inversion_from**2
        return tuple(t for t in steps if float(1 - kept[t]) >= least) or steps[-1:]

    def _noise(
        self,
        cells: Tensor,
        condition: Mapping[str, Tensor],
        batch_index: Tensor,
        config: UnlastingConfig,
    ) -> Tensor:
        """Return the noise of control cells, as of shoal.generative.invert."""
        place, sampling = self.place(condition, batch_index), config.sampling
        times = self._times()

        def clean(x: Tensor, t: int) -> Tensor:
            time = times[self.config.grid.index(t)]
            made = self.net(x, time, place, self.control, treated=False)
            made = made.clamp(-1, 1) if self.clamps else made
            return made * (cells != 0) if sampling.inversion_masked else made

        way = {"diffusion": self.chain, "grid": self._walked(config)}
        how = {"method": str(sampling.inversion), "gamma": sampling.gamma}
        return invert(clean, cells, **way, **how)

    def _clean(
        self,
        x: Tensor,
        t: int,
        condition: Mapping[str, Tensor],
        batch_index: Tensor,
        seen: Seen,
        guidance: Guidance,
    ) -> tuple[Tensor, Tensor | None]:
        """Return clean perturbed cells, guided, and with a hurdle the log odds of genes."""
        time = self._times()[self.config.grid.index(t)]

        def without(*names: str) -> Callable[[], Tensor]:
            told, codes = left_out(condition, batch_index, names)
            place = self.place(told, codes)
            vector = self.treatment(told, self.nodes, self.edges)
            made, logits = self._treated(x, time, place, vector, seen)
            both = made if logits is None else torch.cat([made, logits], dim=-1)
            return lambda: both

        both = self._followed(without, condition, guidance)
        return both.chunk(2, dim=-1) if self.config.masking.mask == "hurdle" else (both, None)

    def _followed(
        self,
        without: Callable[..., Callable[[], Tensor]],
        condition: Mapping[str, Tensor],
        guidance: Guidance,
    ) -> Tensor:
        """Return an output that follows covariates as far as guidance and `unseen_weight` say."""
        made = guided_network(without, guidance, self.covariates)()
        share = common_share(condition, self.config.conditioning.unseen_weight, guidance)
        if share is None:
            return made
        return torch.lerp(made, without("perturbation")(), share.to(made))

    # -- which genes are on ------------------------------------------------------------------------

    @torch.no_grad()
    def probability(
        self, condition: Mapping[str, Tensor], guidance: Guidance | None = None
    ) -> Tensor:
        """Return the probability (K, 1, d) that genes of each condition are on."""
        weights = self.config.sampling.guidance if guidance is None else guidance
        weights = known_guidance(weights, self.covariates)
        condition = with_genes(condition, self.genes, self.own)
        with resting(self):
            return torch.sigmoid(self._logits(condition, weights)) * self.audible

    def _logits(self, condition: Mapping[str, Tensor], guidance: Guidance) -> Tensor:
        """Return the log odds (K, 1, d) that genes are on, guided."""
        nothing = condition["context"][:, None]

        def without(*names: str) -> Callable[[], Tensor]:
            told, _ = left_out(condition, nothing, names)
            logits = self.mask(told, self.nodes, self.edges)
            return lambda: logits

        return self._followed(without, condition, guidance)

    def _on(
        self,
        made: Tensor,
        logits: Tensor | None,
        source: Tensor,
        condition: Mapping[str, Tensor],
        generator: torch.Generator,
    ) -> Tensor | None:
        """Return which genes of which cells (K, S, d) are on, 1 or 0; ``None`` without a mask.

        `logits` are log odds that they are, of each cell (K, S, d) or of all of a condition.
        """
        kind = self.config.masking.mask
        if logits is None:
            return None
        chance = torch.sigmoid(logits) * self.audible
        if kind == "reference":
            return self.references.draw(chance[:, 0], made, generator)
        if kind == "coupled":
            chance = coupled(chance, condition["moments"][:, 2:], is_on(source))
        return drawn(chance.expand_as(made), made, generator)
