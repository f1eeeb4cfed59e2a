"""An autoencoder of cells and its training: tensors only."""

from __future__ import annotations

from math import ceil, cos, isfinite, pi
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn.functional import mse_loss

from ..._logging import progress
from ...nn._blocks import zeroed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy as np
    from torch import Tensor

    from ..._typing import Ints

BATCH = 128  # cells of a step
BLOCK = 1024  # cells at a time where nothing is learned
WARMUP = 0.05  # share of the steps in which the rate rises
WEIGHT_DECAY = 1e-5


class Autoencoder(nn.Module):
    """An encoder and a decoder, each of two layers of GELU units and a linear layer.

    With `axes`, the encoder and the decoder add to the components of a cell along these axes. An
    untrained autoencoder is then a principal component analysis. Its latent coordinates stay near
    the components, so that distances between them keep a meaning.

    Parameters
    ----------
    n_features
        Features of a cell.
    n_latent
        Latent coordinates of a cell.
    hidden
        Units of a layer.
    axes
        (n_features, n_latent) orthogonal axes, or ``None``.
    """

    def __init__(
        self, n_features: int, n_latent: int, *, hidden: int, axes: Tensor | None = None
    ) -> None:
        super().__init__()
        self.encoder, self.decoder = (
            _mlp(n_features, hidden, n_latent),
            _mlp(n_latent, hidden, n_features),
        )
        self.register_buffer("axes", axes)
        if axes is not None:
            zeroed(self.encoder[-1])
            zeroed(self.decoder[-1])
            self.register_buffer("lengths", (axes**2).sum(dim=0), persistent=False)

    def encode(self, x: Tensor) -> Tensor:
        """Turn (n, n_features) into (n, n_latent)."""
        return self.encoder(x) if self.axes is None else x @ self.axes + self.encoder(x)

    def decode(self, z: Tensor) -> Tensor:
        """Turn (n, n_latent) into (n, n_features)."""
        return (
            self.decoder(z)
            if self.axes is None
            else (z / self.lengths) @ self.axes.T + self.decoder(z)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the reconstruction of the cells x (n, n_features)."""
        return self.decode(self.encode(x))


def _mlp(n_in: int, hidden: int, n_out: int) -> nn.Sequential:
    layers = [
        nn.Linear(n_in, hidden),
        nn.GELU(),
        nn.Linear(hidden, hidden),
        nn.GELU(),
        nn.Linear(hidden, n_out),
    ]
    return nn.Sequential(*layers)


def in_blocks(n: int) -> Iterator[slice]:
    """Yield slices of `BLOCK` that cover n rows."""
    return (slice(start, min(start + BLOCK, n)) for start in range(0, n, BLOCK))


def reconstruction_error(network: Autoencoder, cells: Callable[[Ints], Tensor], at: Ints) -> float:
    """Return the mean squared error of the cells at some positions."""
    total, n = 0.0, 0
    with torch.no_grad():
        for block in in_blocks(len(at)):
            x = cells(at[block])
            total += float(mse_loss(network(x), x, reduction="sum"))
            n += x.numel()
    return total / n


def train_autoencoder(
    network: Autoencoder,
    cells: Callable[[Ints], Tensor],
    *,
    learn: Ints,
    held: Ints,
    rng: np.random.Generator,
    max_epochs: int,
    patience: int,
    lr: float,
) -> float:
    """Train by AdamW on the mean squared error, in whole passes over the cells.

    The learning rate warms up, and then falls as a cosine.

    Parameters
    ----------
    network
        Is changed, and left with the weights that have the smallest error on the held-back cells.
    cells
        Returns the cells at positions as a (n, n_features) tensor.
    learn
        Positions of the cells to learn from.
    held
        Positions of the cells that are held back.
    rng
        Draws the batches.
    max_epochs
        Most passes over `learn`; the learning rate reaches 0 after as many.
    patience
        Passes without a smaller error after which training stops.
    lr
        Highest learning rate.

    Returns
    -------
    Mean squared error of the held-back cells.

    Raises
    ------
    FloatingPointError
        If that error is not finite.
    """
    n_steps = max_epochs * ceil(len(learn) / BATCH)
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=lr, weight_decay=WEIGHT_DECAY, fused=True
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: rate(step, n_steps))
    best, since, weights = reconstruction_error(network, cells, held), 0, _copied(network)
    for epoch in progress(range(max_epochs), total=max_epochs, desc="training the autoencoder"):
        order = rng.permutation(learn)
        for start in range(0, len(order), BATCH):
            x = cells(order[start : start + BATCH])
            optimizer.zero_grad()
            mse_loss(network(x), x).backward()
            optimizer.step()
            schedule.step()
        error = reconstruction_error(network, cells, held)
        if not isfinite(error):
            msg = (
                f"the autoencoder's error is {error} after {epoch + 1} epochs; use a smaller lr "
                f"than {lr}"
            )
            raise FloatingPointError(msg)
        since += 1
        if error < best:
            best, since, weights = error, 0, _copied(network)
        if since == patience:
            break
    network.load_state_dict(weights)
    return best


def rate(step: int, n_steps: int) -> float:
    """Return the learning rate at a step, as a share of the highest.

    It rises linearly, then falls to 0 as half a cosine.
    """
    rise = max(1, int(WARMUP * n_steps))
    if step < rise:
        return (step + 1) / rise
    return 0.5 * (1 + cos(pi * min(1.0, (step - rise) / max(1, n_steps - rise))))


def _copied(network: Autoencoder) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in network.state_dict().items()}
