"""The network of Knowledge: profiles and perturbations in one space, and the way back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ...nn import ConditionEncoder
from ...nn._blocks import zeroed
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

    - E(r, v) is the representation of a profile. It should point to M u, where the matrix M is
      learned. Without it, vectors that tell perturbations apart would be worse at saying what
      these do.
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
        self.meeting = nn.Linear(n, n, bias=False)
        told = conditioning.use_context
        size = {
            "width": network.width,
            "depth": network.depth,
            "n_contexts": n_contexts if told else 0,
            "n_context_vector": n_context_vector if told else 0,
        }
        self.encoder = Coder(d, n, **size)
        self.decoder = Coder(n, d, **size)

    # -- training ----------------------------------------------------------------------------------

    def loss(self, batch: SetBatch, generator: torch.Generator) -> dict[str, Tensor]:
        """Return the terms of the loss, and their weighted sum, ``"loss"``.

        Slots of weight 0 do not count.
        """
        own = self.config.loss
        profiles = batch.target - matched_centre(batch)
        told = batch.condition
        known, common = self.vectors(told), self.vectors(told, drop=True)
        label = same_label(told)
        terms: dict[str, Tensor] = {}
        if own.classify or own.contrast:
            views = [
                self.encoder(self._view(profiles, generator), told)
                for _ in range(2 if own.contrast else 1)
            ]
            if own.classify:
                terms["classify"] = alignment(
                    views[0], self.meeting(known), label, batch.weight, temperature=own.temperature
                )
            if own.contrast:
                terms["contrast"] = contrast(
                    views, label, batch.weight, temperature=own.temperature
                )
        if not own.decoder_shapes:
            known, common = known.detach(), common.detach()
        if own.reconstruct:
            shown = self.encoder(profiles, told)
            shown = shown if own.decoder_shapes else shown.detach()
            terms["reconstruct"] = _error(self.decoder(shown, told), profiles, batch.weight)
        left_out = self.config.conditioning.condition_dropout
        terms["predict"] = (1 - left_out) * _error(
            self.decoder(known, told), profiles, batch.weight
        )
        if left_out:
            terms["predict"] = terms["predict"] + left_out * _error(
                self.decoder(common, told), profiles, batch.weight
            )
        gains = [g for g in (self.encoder.gains(told), self.decoder.gains(told)) if g is not None]
        if gains and own.shrink_lines:
            terms["shrink_lines"] = torch.stack([g.square().mean() for g in gains]).sum()
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
            response = self.decoder(self.vectors(condition), condition)
            share = common_share(condition, self.config.conditioning.unseen_weight)
            if share is not None:
                common = self.decoder(self.vectors(condition, drop=True), condition)
                response = torch.lerp(response, common, share.to(source))
            return source + response

    @torch.no_grad()
    def represent(self, profiles: Tensor, condition: Mapping[str, Tensor]) -> Tensor:
        """Return representations (K, S, n) of profiles (K, S, d) relative to their controls."""
        with resting(self):
            return self.encoder(profiles, condition)

    # -- inside ------------------------------------------------------------------------------------

    def vectors(self, condition: Mapping[str, Tensor], *, drop: bool = False) -> Tensor:
        """Return the vectors (K, 1, n) of the perturbations, or of the mean one with `drop`."""
        return self.condition(condition, drop=("perturbation",) if drop else ())


class Coder(nn.Module):
    """A linear map through hidden units, each of which a context makes stronger or weaker.

    A hidden unit is multiplied by 1 + g(v). With a vector of the context, g is a linear function of
    it; with a name, it is learned for each context. So a response is a linear function of the
    vector of the context, at a given perturbation. `depth` residual layers may follow, which start
    at 0.

    Parameters
    ----------
    d_in, d_out
        Numbers of coordinates.
    width, depth
        Hidden units, and residual layers after them.
    n_contexts, n_context_vector
        Number of contexts, or of coordinates of a context, which are then read instead; 0 for none.
    """

    def __init__(
        self,
        d_in: int,
        d_out: int,
        *,
        width: int,
        depth: int,
        n_contexts: int = 0,
        n_context_vector: int = 0,
    ) -> None:
        super().__init__()
        self.enter = nn.Linear(d_in, width, bias=False)
        self.gain: CodeEncoder | PlaceEncoder | None = None
        if n_context_vector:
            self.gain = PlaceEncoder(n_context_vector, width, dropped=False)
        elif n_contexts:
            self.gain = CodeEncoder(n_contexts, width, dropped=False)
        self.layers = nn.ModuleList(
            nn.Sequential(
                nn.SiLU(), nn.Linear(width, width), nn.SiLU(), zeroed(nn.Linear(width, width))
            )
            for _ in range(depth)
        )
        self.leave = nn.Linear(width, d_out, bias=False)

    def forward(self, x: Tensor, condition: Mapping[str, Tensor]) -> Tensor:
        """Return (K, S, d_out) of x (K, S, d_in)."""
        gain = self.gains(condition)
        h = self.enter(x)
        h = h if gain is None else h * (1 + gain)
        for layer in self.layers:
            h = h + layer(h)
        return self.leave(h)

    def gains(self, condition: Mapping[str, Tensor]) -> Tensor | None:
        """Return what contexts add to the strength of the hidden units, (K, 1, width)."""
        if self.gain is None:
            return None
        return self.gain(condition[getattr(self.gain, "reads", "context")])[:, None]


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
