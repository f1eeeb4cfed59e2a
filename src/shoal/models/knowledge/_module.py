"""The network of Knowledge: profiles and perturbations in one space, and the way back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ...nn import ConditionEncoder, ResidualMLP
from ...nn._condition import CodeEncoder, PlaceEncoder
from ..base._guidance import common_share, resting
from ._config import KnowledgeConfig
from ._losses import alignment, contrast, same_label

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ...training import SetBatch


class KnowledgeModule(nn.Module):
    """Encoder of profiles, vectors of perturbations in the same space, and a decoder of both.

    A profile is seen relative to the mean r of its matched controls. With v what is known of the
    context, E the encoder, u the vector of a perturbation and D the decoder:

    - E(r, v) is the representation of a profile. It should point where u points.
    - D(E(r, v), v) is the profile again.
    - D(u, v) is the response to the perturbation in the context, measured there or not.

    Only encoder and decoder see the context. A perturbation has one vector for all contexts.

    Parameters
    ----------
    d
        Number of coordinates of a profile.
    n_vector
        Length of a perturbation's vector.
    n_contexts, n_batches
        Numbers of contexts and of batches; 0 for none. Batches are not read: they are taken out
        with the controls.
    n_context_vector
        Number of coordinates of a context, which are then read instead of its code.
    config
        What the network is made of.

    Notes
    -----
    Profiles go in and come out as (K, S, d), K populations of S slots. Conditions and batches are
    those of a ``SetBatch``.
    """

    def __init__(
        self,
        d: int,
        n_vector: int,
        n_contexts: int,
        n_batches: int = 0,
        *,
        n_context_vector: int = 0,
        config: KnowledgeConfig | None = None,
    ) -> None:
        super().__init__()
        self.config = config = KnowledgeConfig() if config is None else config
        network, conditioning = config.network, config.conditioning
        n = network.n_representation
        self.condition = ConditionEncoder(
            n_vector, 0, width=n, pooling=conditioning.pooling, dropout=0.0
        )
        self.context: CodeEncoder | PlaceEncoder | None = None
        if n_context_vector and conditioning.use_context:
            self.context = PlaceEncoder(n_context_vector, n, dropped=False)
        elif n_contexts and conditioning.use_context:
            self.context = CodeEncoder(n_contexts, n, dropped=False)
        self.encoder = _Coder(d, n, config=config)
        self.decoder = _Coder(n, d, config=config)

    # -- training ----------------------------------------------------------------------------------

    def loss(self, batch: SetBatch, generator: torch.Generator) -> dict[str, Tensor]:
        """Return the terms of the loss, and their weighted sum, ``"loss"``.

        Slots of weight 0 do not count.
        """
        own = self.config.loss
        profiles = batch.target - matched_centre(batch)
        place = self.place(batch.condition)
        known, common = self.vectors(batch.condition), self.vectors(batch.condition, drop=True)
        label = same_label(batch.condition)
        terms: dict[str, Tensor] = {}
        if own.classify or own.contrast:
            views = [
                self.encoder(self._view(profiles, generator), place)
                for _ in range(2 if own.contrast else 1)
            ]
            if own.classify:
                terms["classify"] = alignment(
                    views[0], known, label, batch.weight, temperature=own.temperature
                )
            if own.contrast:
                terms["contrast"] = contrast(
                    views, label, batch.weight, temperature=own.temperature
                )
        if not own.decoder_shapes:
            place, known, common = place.detach(), known.detach(), common.detach()
        if own.reconstruct:
            shown = self.encoder(profiles, place)
            shown = shown if own.decoder_shapes else shown.detach()
            terms["reconstruct"] = _error(self.decoder(shown, place), profiles, batch.weight)
        left_out = self.config.conditioning.condition_dropout
        terms["predict"] = (1 - left_out) * _error(
            self.decoder(known, place), profiles, batch.weight
        )
        if left_out:
            terms["predict"] = terms["predict"] + left_out * _error(
                self.decoder(common, place), profiles, batch.weight
            )
        total = sum(getattr(own, name) * value for name, value in terms.items())
        return {"loss": total, **terms}

    def _view(self, profiles: Tensor, generator: torch.Generator) -> Tensor:
        """Return profiles in which different features are left out."""
        share = self.config.loss.mask
        if not share:
            return profiles
        chance = torch.rand(profiles.shape, generator=generator, device=generator.device)
        return profiles * (chance.to(profiles.device) >= share)

    # -- what users ask for ------------------------------------------------------------------------

    @torch.no_grad()
    def sample(
        self,
        source: Tensor,
        condition: Mapping[str, Tensor],
        batch_index: Tensor,
        *,
        generator: torch.Generator,
    ) -> Tensor:
        """Return control profiles moved by the decoded response of their condition.

        Parameters
        ----------
        source
            (K, S, d) control profiles.
        condition
            K conditions, as in a ``SetBatch``. Perturbations that are not ``familiar`` (K,) are
            followed as far as `unseen_weight` says.
        batch_index
            (K, S) batch codes. They are not read.
        generator
            Not used: the response is a function of the condition.

        Returns
        -------
        (K, S, d) profiles, slot by slot.
        """
        with resting(self):
            place = self.place(condition)
            response = self.decoder(self.vectors(condition), place)
            share = common_share(condition, self.config.conditioning.unseen_weight)
            if share is not None:
                common = self.decoder(self.vectors(condition, drop=True), place)
                response = torch.lerp(response, common, share.to(source))
            return source + response

    @torch.no_grad()
    def represent(self, profiles: Tensor, condition: Mapping[str, Tensor]) -> Tensor:
        """Return representations (K, S, n) of profiles (K, S, d) relative to their controls."""
        with resting(self):
            return self.encoder(profiles, self.place(condition))

    # -- inside ------------------------------------------------------------------------------------

    def vectors(self, condition: Mapping[str, Tensor], *, drop: bool = False) -> Tensor:
        """Return the vectors (K, 1, n) of the perturbations, or of the mean one with `drop`."""
        return self.condition(condition, drop=("perturbation",) if drop else ())

    def place(self, condition: Mapping[str, Tensor]) -> Tensor:
        """Return what encoder and decoder are told of the contexts, (K, 1, n)."""
        if self.context is None:
            n = self.config.network.n_representation
            return next(self.parameters()).new_zeros(len(condition["present"]), 1, n)
        return self.context(condition[getattr(self.context, "reads", "context")])[:, None]


class _Coder(nn.Module):
    """A linear map, and a residual network beside it that the context steers.

    The residual network starts at 0, so an untrained coder is the linear map.
    """

    def __init__(self, d_in: int, d_out: int, *, config: KnowledgeConfig) -> None:
        super().__init__()
        network = config.network
        self.linear = nn.Linear(d_in, d_out, bias=False)
        self.steered = ResidualMLP(
            d_in,
            d_out,
            width=network.width,
            depth=network.depth,
            d_condition=network.n_representation,
        )

    def forward(self, x: Tensor, place: Tensor) -> Tensor:
        """Return (K, S, d_out) of x (K, S, d_in) and what is known of the contexts (K, 1, n)."""
        return self.linear(x) + self.steered(x, place)


def matched_centre(batch: SetBatch) -> Tensor:
    """Return the mean control (K, S, d) of each slot: of the controls of its batch in the set."""
    same = batch.batch_index[:, :, None] == batch.batch_index[:, None, :]
    weight = same * batch.source_weight[:, None, :]
    # where a batch has none but repeats, all of them count
    weight = torch.where(weight.sum(-1, keepdim=True) > 0, weight, same.to(weight))
    return (weight / weight.sum(-1, keepdim=True)) @ batch.source


def _error(made: Tensor, real: Tensor, weight: Tensor) -> Tensor:
    """Return the mean squared error of profiles (K, S, d), over slots that count."""
    return ((made - real).square().mean(-1) * weight).sum() / weight.sum()
