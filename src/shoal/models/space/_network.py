"""The space of a network as an autoencoder learns it from training cells, and the way back to genes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import sqrt
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch

from ..._logging import logger
from ..._validate import positive
from ...metrics._cells import densify
from ._autoencoder import Autoencoder, in_blocks, reconstruction_error, train_autoencoder
from ._linear import Space, fit_space, some

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from ..._typing import Ints, Matrix
    from ...core._matrix import Rows
    from ._linear import Singles

LEAST = 20  # training cells, of which a tenth is held back


@dataclass(frozen=True)
class NetworkSpace:
    r"""An autoencoder's map into the space of a network, and back; used as a :class:`Space` is.

    A cell x is encoded as :math:`z = (e((x - m) / u) - c) / s`. Back in genes, a cell that starts from the control cell
    :math:`x_c` becomes :math:`x_c + u\,(d(s z + c) - d(s z_c + c))`: what the autoencoder leaves out of the control cell
    stays as it was measured, so that predictions keep the variance of real cells, and a control cell that does not move
    comes back as it was.

    Attributes
    ----------
    mean
        (d,) mean of the cells that were learned from.
    unit
        Root mean square of their features about it: one number, so that no feature counts for more than it varies.
    centre
        (k,) mean of the latent coordinates e of the training cells.
    scale
        Root mean square of these about it; that of the coordinates z is 1.
    network
        The autoencoder (e, d), on the processor.
    explained, explained_by_components
        Share of the variance of the held-back training cells that the autoencoder and as many principal components explain.
    """

    mean: Singles
    unit: float
    centre: Singles
    scale: float
    network: Autoencoder
    explained: float
    explained_by_components: float
    axes: ClassVar[None] = None  # none: the map is not linear

    @property
    def n_dims(self) -> int:
        """Dimensions that the network sees."""
        return len(self.centre)

    @property
    def description(self) -> str:
        """What these are, in words."""
        return f"{self.n_dims} latent dimensions"

    def encode(self, block: Matrix) -> Singles:
        """Turn (n, d) values, dense or CSR, into (n, k)."""
        z = np.empty((block.shape[0], self.n_dims), dtype=np.float32)
        with torch.no_grad():
            for at in in_blocks(len(z)):
                latent = self.network.encode(_scaled(block[at], self.mean, self.unit))
                z[at] = ((latent - torch.from_numpy(self.centre)) / self.scale).numpy()
        return z

    def decode(self, z: Singles, start: Singles) -> Singles:
        """Turn (n, k) into (n, d) values of cells that start from the control cells `start` (n, d)."""
        values, begin = np.array(start, dtype=np.float32), self.encode(start)
        with torch.no_grad():
            for at in in_blocks(len(z)):
                values[at] += (
                    (self._features(z[at]) - self._features(begin[at])) * self.unit
                ).numpy()
        return values

    def _features(self, z: Singles) -> Tensor:
        return self.network.decode(torch.from_numpy(z) * self.scale + torch.from_numpy(self.centre))

    def to_dict(self) -> dict[str, Any]:
        """Return all of it as arrays and numbers."""
        numbers = ("mean", "unit", "centre", "scale", "explained", "explained_by_components")
        state = {name: value.numpy() for name, value in self.network.state_dict().items()}
        return (
            {"kind": "network"} | {name: getattr(self, name) for name in numbers} | {"state": state}
        )

    @classmethod
    def from_dict(cls, entry: Mapping[str, Any]) -> NetworkSpace:
        """Read what `to_dict` returned; its arrays may have become tensors."""
        given = {name: value for name, value in entry.items() if name not in ("kind", "state")}
        given |= {name: np.asarray(given[name]) for name in ("mean", "centre")}
        state = {name: torch.as_tensor(value) for name, value in entry["state"].items()}
        hidden, n_features = state["encoder.0.weight"].shape
        with torch.random.fork_rng(devices=[]):
            network = Autoencoder(
                n_features, len(given["centre"]), hidden=hidden, axes=state.get("axes")
            )
        network.load_state_dict(state)
        return cls(network=network, **given)


def space_from_dict(entry: Mapping[str, Any]) -> Space | NetworkSpace:
    """Return the space whose ``to_dict`` gave the entry; the oldest entries do not tell their kind and are linear."""
    kind = NetworkSpace if entry.get("kind") == "network" else Space
    return kind.from_dict(entry)


def fit_network_space(
    rows: Rows,
    fit: Ints,
    *,
    n_latent: int,
    rng: np.random.Generator,
    hidden: int = 512,
    components: bool = True,
    max_epochs: int = 100,
    patience: int = 10,
    lr: float = 5e-4,
) -> NetworkSpace:
    """Train an autoencoder on the rows `fit` (a seeded choice of them, where they are very many).

    A tenth of these cells is held back. An epoch is a pass over the others; the weights that reconstruct the held-back
    cells best are kept. What they explain is told at the level ``info``, beside what as many principal components of the
    same cells explain, and as a warning where it is less.

    Parameters
    ----------
    rows
        (n_obs, d) values.
    fit
        Positions of the training cells, sorted; nothing else is looked at.
    n_latent
        Latent coordinates, d at most.
    rng
        Chooses among the cells, holds some back, draws the weights and the batches.
    hidden
        Units of a layer.
    components
        Whether the networks add to the principal components, which they then cannot fall behind, or have to find all by
        themselves, which takes many cells.
    max_epochs
        Passes at most; the rate of learning falls to 0 over so many.
    patience
        Passes without an improvement after which training stops.
    lr
        Highest rate of learning.

    Raises
    ------
    FloatingPointError
        If the error of the held-back cells is not finite.
    ValueError
        If a number is not positive, or the training cells are fewer than 20 or do not vary.
    """
    numbers = {
        "n_latent": n_latent,
        "hidden": hidden,
        "max_epochs": max_epochs,
        "patience": patience,
        "lr": lr,
    }
    for name, value in numbers.items():
        positive(value, name=name)
    if len(fit) < LEAST:
        msg = f"an autoencoder takes at least {LEAST} training cells and there are {len(fit)}; use principal components"
        raise ValueError(msg)
    fit = some(fit, rng)
    order = rng.permutation(len(fit))
    held, learn = np.sort(order[: len(fit) // 10]), np.sort(order[len(fit) // 10 :])
    pca = fit_space(rows, fit[learn], n_latent=n_latent, rng=rng)
    block = rows.take(fit).astype(np.float32)
    unit = sqrt(
        reconstruction_error(torch.zeros_like, lambda at: _scaled(block[at], pca.mean, 1.0), learn)
    )

    def cells(at: Ints) -> Tensor:
        return _scaled(block[at], pca.mean, unit)

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(rng.integers(2**31)))
        shape = {"n_features": block.shape[1], "n_latent": pca.n_dims, "hidden": hidden}
        linear = Autoencoder(**shape, axes=torch.from_numpy(pca.axes) * (unit / pca.scale))
        network = linear if components else Autoencoder(**shape)
    whole, rest = (reconstruction_error(f, cells, held) for f in (torch.zeros_like, linear))
    settings = {"max_epochs": max_epochs, "patience": patience, "lr": lr, "rng": rng}
    error = train_autoencoder(network, cells, learn=learn, held=held, **settings)
    explained, explained_by_components = (
        1 - e / whole if whole else float("nan") for e in (error, rest)
    )
    _tell(explained, explained_by_components, len(held))
    raw = np.zeros(pca.n_dims, dtype=np.float32)
    space = NetworkSpace(pca.mean, unit, raw, 1.0, network, explained, explained_by_components)
    z = space.encode(block).astype(np.float64)
    centre = z.mean(axis=0)
    return replace(
        space, centre=centre.astype(np.float32), scale=float(np.sqrt(((z - centre) ** 2).mean()))
    )


def _scaled(block: Matrix, mean: Singles, unit: float) -> Tensor:
    """Return a block of cells, dense or CSR, as the autoencoder sees them."""
    return (
        torch.from_numpy(np.asarray(densify(block), dtype=np.float32)) - torch.from_numpy(mean)
    ) / unit


def _tell(explained: float, by_components: float, n_held: int) -> None:
    """Say how well the autoencoder reconstructs cells that it has not learned from."""
    text = "the autoencoder explains %.1f %% of the variance of %d held-back training cells, as many principal components %.1f %%"
    figures = (100 * explained, n_held, 100 * by_components)
    if explained < by_components:
        logger.warning(
            f"{text}: let it begin with them (components=True), or use them instead", *figures
        )
    else:
        logger.info(text, *figures)
