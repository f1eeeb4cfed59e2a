"""The space of the latent dimensions of an autoencoder, and the way back to features."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import sqrt
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import torch

from ..._logging import logger
from ..._validate import positive
from ...core._choose import refuse_images
from ...metrics._cells import densify
from ._autoencoder_module import Autoencoder, in_blocks, reconstruction_error, train_autoencoder
from ._fit_cells import at_most
from ._pca import fit_pca

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray
    from torch import Tensor

    from ..._typing import Ints, Matrix
    from ...core._matrix import Rows

    Singles = NDArray[np.float32]

LEAST = 20  # training cells, of which a tenth is held back


@dataclass(frozen=True)
class AutoencoderSpace:
    r"""Latent dimensions of a cell, in one unit.

    A cell x is encoded as :math:`z = (e((x - m) / u) - c) / s`, where e is the encoder.

    A predicted cell z that starts from the control cell :math:`x_c` is decoded as
    :math:`x_c + u\,(d(s z + c) - d(s z_c + c))`, where d is the decoder. What the autoencoder
    leaves out of the control cell stays as it was measured. Predicted cells therefore vary as much
    as real cells do, and a control cell that does not move comes back unchanged.

    Attributes
    ----------
    mean
        (d,) mean m of the cells that the autoencoder learned from.
    unit
        Root mean square u of their features about the mean. It is one number, so that every feature
        counts for as much as it varies.
    centre
        (k,) mean c of the latent coordinates of the training cells.
    scale
        Root mean square s of the latent coordinates about their mean.
    network
        The autoencoder, on the processor.
    explained
        Share of the variance of the held-back training cells that the autoencoder explains.
    explained_by_components
        Share of it that as many principal components explain.
    """

    kind: ClassVar[str] = "autoencoder"
    axes: ClassVar[None] = None  # the dimensions are no principal components
    mean: Singles
    unit: float
    centre: Singles
    scale: float
    network: Autoencoder
    explained: float
    explained_by_components: float

    @property
    def shape(self) -> tuple[int]:
        """Shape of a cell as the network sees it: (k,)."""
        return (len(self.centre),)

    @property
    def n_dims(self) -> int:
        """Number of latent dimensions."""
        return len(self.centre)

    @property
    def description(self) -> str:
        """Number of latent dimensions, in words."""
        return f"{self.n_dims} latent dimensions"

    def encode(self, block: Matrix) -> Singles:
        """Turn (n, d) values, dense or CSR, into (n, k) latent coordinates."""
        z = np.empty((block.shape[0], self.n_dims), dtype=np.float32)
        with torch.no_grad():
            for at in in_blocks(len(z)):
                latent = self.network.encode(_scaled(block[at], self.mean, self.unit))
                z[at] = ((latent - torch.from_numpy(self.centre)) / self.scale).numpy()
        return z

    def decode(self, z: Singles, start: Singles) -> Singles:
        """Turn (n, k) coordinates into (n, d) values of cells that start from `start` (n, d)."""
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
        """Return the numbers, and the weights of the network as ``"state"``."""
        numbers = ("mean", "unit", "centre", "scale", "explained", "explained_by_components")
        state = {name: value.numpy() for name, value in self.network.state_dict().items()}
        return (
            {"kind": self.kind} | {name: getattr(self, name) for name in numbers} | {"state": state}
        )

    @classmethod
    def from_dict(cls, entry: Mapping[str, Any]) -> Self:
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


def fit_autoencoder(
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
) -> AutoencoderSpace:
    """Train an autoencoder on training cells, or on a random choice of them if they are very many.

    A tenth of the cells is held back, and the autoencoder learns from the others. The weights that
    reconstruct the held-back cells best are kept. A message at the level ``info`` says which share
    of their variance the autoencoder explains, and which share as many principal components of the
    same cells explain. If the autoencoder explains less, the message is a warning.

    Parameters
    ----------
    rows
        (n_obs, d) values.
    fit
        Positions of the training cells, sorted. No other cell is read.
    n_latent
        Number of latent coordinates, d at most.
    rng
        Chooses the cells, holds some back, and draws the weights and the batches.
    hidden
        Units of a layer.
    components
        Whether the encoder and the decoder add to principal components. Such an autoencoder is
        never worse than the components on the held-back cells. One that starts without them needs
        many cells.
    max_epochs
        Most passes over the cells; the learning rate falls to 0 over as many.
    patience
        Passes without an improvement after which training stops.
    lr
        Highest learning rate.

    Raises
    ------
    FloatingPointError
        If the error of the held-back cells is not finite.
    ValueError
        If a number is not positive, the training cells are fewer than 20, do not vary, or are
        images.
    """
    refuse_images(rows.shape, rows.slot)
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
        msg = (
            f"an autoencoder takes at least {LEAST} training cells and there are {len(fit)}; use "
            "principal components"
        )
        raise ValueError(msg)
    fit = at_most(fit, rng)
    order = rng.permutation(len(fit))
    held, learn = np.sort(order[: len(fit) // 10]), np.sort(order[len(fit) // 10 :])
    pca = fit_pca(rows, fit[learn], n_latent=n_latent, rng=rng)
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
    _log_explained(explained, explained_by_components, len(held))
    raw = np.zeros(pca.n_dims, dtype=np.float32)
    space = AutoencoderSpace(pca.mean, unit, raw, 1.0, network, explained, explained_by_components)
    z = space.encode(block).astype(np.float64)
    centre = z.mean(axis=0)
    return replace(
        space, centre=centre.astype(np.float32), scale=float(np.sqrt(((z - centre) ** 2).mean()))
    )


def _scaled(block: Matrix, mean: Singles, unit: float) -> Tensor:
    """Return a block of cells, dense or CSR, as the autoencoder sees them."""
    dense = densify(block)
    return (torch.from_numpy(np.asarray(dense, dtype=np.float32)) - torch.from_numpy(mean)) / unit


def _log_explained(explained: float, by_components: float, n_held: int) -> None:
    """Log how well the autoencoder reconstructs cells that it has not learned from."""
    text = (
        "the autoencoder explains %.1f %% of the variance of %d held-back training cells, as many "
        "principal components %.1f %%"
    )
    figures = (100 * explained, n_held, 100 * by_components)
    if explained < by_components:
        logger.warning(
            f"{text}: let it begin with them (components=True), or use them instead", *figures
        )
    else:
        logger.info(text, *figures)
