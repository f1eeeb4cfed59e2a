"""The space of the latent images of a small convolutional autoencoder."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import torch
from torch import nn

from ..._logging import logger
from ..._validate import whole
from ._fit_cells import at_most

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from ..._typing import Ints
    from ...core._matrix import Rows

    Images = NDArray[np.float32]

FACTOR = 4  # by which a latent image is less high and wide
WIDTH = 32
LEAST = 20  # training cells, of which a tenth is held back
AT_ONCE = 256  # images


class ImageAutoencoder(nn.Module):
    """Convolutions to latent images a quarter as high and wide, and back.

    Parameters
    ----------
    channels
        Channels of an image.
    latent
        Channels of a latent image.
    """

    def __init__(self, channels: int, latent: int) -> None:
        super().__init__()
        self.encode = nn.Sequential(
            nn.Conv2d(channels, WIDTH, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(WIDTH, WIDTH, 4, stride=2, padding=1),
            nn.SiLU(),
            nn.Conv2d(WIDTH, 2 * WIDTH, 4, stride=2, padding=1),
            nn.SiLU(),
            nn.Conv2d(2 * WIDTH, latent, 3, padding=1),
        )
        self.decode = nn.Sequential(
            nn.Conv2d(latent, 2 * WIDTH, 3, padding=1),
            nn.SiLU(),
            nn.Upsample(scale_factor=2),
            nn.Conv2d(2 * WIDTH, WIDTH, 3, padding=1),
            nn.SiLU(),
            nn.Upsample(scale_factor=2),
            nn.Conv2d(WIDTH, WIDTH, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(WIDTH, channels, 3, padding=1),
        )


@dataclass(frozen=True)
class ImageAutoencoderSpace:
    r"""Latent images, in one unit.

    An image x is encoded as :math:`z = (e(x) - c) / s`, with the encoder e, the mean c of each
    latent channel, and one scale s. With the decoder d, a predicted latent image z becomes
    :math:`d(s z + c)`. If details are kept, what the autoencoder leaves out of the image that the
    prediction starts from is added to it: an image that is not moved then comes back unchanged.

    Attributes
    ----------
    shape
        Shape (k, h, w) of a latent image.
    centre
        (k,) mean c.
    scale
        Root mean square s of the latent values about c.
    network
        The autoencoder, on the processor.
    keeps_details
        Whether details of the start are kept. It makes sense only if predictions carry images, and
        do not begin at noise.
    explained
        Share of the variance of the pixels of held-back training cells that the autoencoder
        explains.
    """

    kind: ClassVar[str] = "image_autoencoder"
    axes: ClassVar[None] = None  # the dimensions are no principal components
    shape: tuple[int, int, int]
    centre: Images
    scale: float
    network: ImageAutoencoder
    keeps_details: bool
    explained: float

    @property
    def n_dims(self) -> int:
        """Number of values of a latent image."""
        return int(np.prod(self.shape))

    @property
    def description(self) -> str:
        """Shape of a latent image, in words."""
        return f"latent images of shape {' x '.join(map(str, self.shape))}"

    def encode(self, block: Images) -> Images:
        """Turn images (n, C, H, W) into latent images (n, k, h, w)."""
        z = _through(self.network.encode, block, self.shape)
        return (z - self.centre[:, None, None]) / np.float32(self.scale)

    def decode(self, z: Images, start: Images) -> Images:
        """Turn latent images (n, k, h, w) into images that start from `start` (n, C, H, W)."""
        made = self._images(z, start.shape[1:])
        if not self.keeps_details:
            return made
        return made + start - self._images(self.encode(start), start.shape[1:])

    def _images(self, z: Images, shape: tuple[int, ...]) -> Images:
        latent = z * np.float32(self.scale) + self.centre[:, None, None]
        return _through(self.network.decode, latent, shape)

    def to_dict(self) -> dict[str, Any]:
        """Return the numbers, and the weights of the network as ``"state"``."""
        names = ("shape", "centre", "scale", "keeps_details", "explained")
        state = {name: value.numpy() for name, value in self.network.state_dict().items()}
        own = {name: getattr(self, name) for name in names}
        return {"kind": self.kind} | own | {"state": state}

    @classmethod
    def from_dict(cls, entry: Mapping[str, Any]) -> Self:
        """Read what `to_dict` returned; its arrays may have become tensors."""
        given = {name: value for name, value in entry.items() if name not in ("kind", "state")}
        state = {name: torch.as_tensor(value) for name, value in entry["state"].items()}
        with torch.random.fork_rng(devices=[]):
            network = ImageAutoencoder(state["encode.0.weight"].shape[1], len(given["centre"]))
        network.load_state_dict(state)
        given |= {"centre": np.asarray(given["centre"]), "shape": tuple(given["shape"])}
        return cls(network=network, **given)


def fit_image_autoencoder(
    rows: Rows,
    fit: Ints,
    *,
    n_channels: int,
    n_steps: int,
    rng: np.random.Generator,
    keeps_details: bool = True,
    batch_size: int = 64,
    lr: float = 3e-3,
) -> ImageAutoencoderSpace:
    """Train an autoencoder on the images of training cells; a tenth of them is held back.

    A message at the level ``info`` says which share of the variance of the held-back pixels it
    explains, about the mean image of the training cells.

    Parameters
    ----------
    rows
        (n_obs, C, H, W) images on the scale of the network.
    fit
        Positions of the training cells, sorted. No other cell is read.
    n_channels
        Channels of a latent image.
    n_steps
        Steps of training.
    rng
        Chooses the cells, holds some back, and draws the weights and the batches.
    keeps_details
        As of :class:`ImageAutoencoderSpace`.
    batch_size, lr
        Images of a step, and highest learning rate.

    Raises
    ------
    ValueError
        If images cannot be halved twice, the training cells are fewer than 20, or a number is not
        positive.
    """
    for name, value in {"latent_channels": n_channels, "latent_steps": n_steps}.items():
        whole(value, name=name)
    channels, height, width = rows.cell_shape
    if height % FACTOR or width % FACTOR:
        msg = (
            f"images of {height} x {width} pixels cannot be halved twice: crop or pad them to "
            f"multiples of {FACTOR}, or use latent='pixels'"
        )
        raise ValueError(msg)
    if len(fit) < LEAST:
        msg = (
            f"an autoencoder takes at least {LEAST} training cells and there are {len(fit)}; use "
            "latent='pixels'"
        )
        raise ValueError(msg)
    fit = at_most(fit, rng)
    order = rng.permutation(len(fit))
    held, learn = fit[np.sort(order[: len(fit) // 10])], fit[order[len(fit) // 10 :]]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(rng.integers(2**31)))
        network = ImageAutoencoder(channels, n_channels)
    _train(network, rows, learn, n_steps=n_steps, batch_size=batch_size, lr=lr, rng=rng)
    shape = (n_channels, height // FACTOR, width // FACTOR)
    raw = np.zeros(n_channels, dtype=np.float32)
    space = ImageAutoencoderSpace(
        shape, raw, 1.0, network, keeps_details=False, explained=float("nan")
    )
    some = rows.take(np.sort(learn[:2048])).astype(np.float32)
    z = space.encode(some).astype(np.float64)
    centre = z.mean(axis=(0, 2, 3))
    scale = float(np.sqrt(((z - centre[:, None, None]) ** 2).mean()))
    seen = rows.take(held).astype(np.float32)
    error = ((space.decode(space.encode(seen), seen) - seen) ** 2).mean()
    explained = float(1 - error / ((seen - some.mean(axis=0)) ** 2).mean())
    logger.info(
        "the autoencoder explains %.1f %% of the variance of the pixels of %d held-back training "
        "cells",
        100 * explained,
        len(held),
    )
    about = {"scale": scale, "keeps_details": keeps_details, "explained": explained}
    return replace(space, centre=centre.astype(np.float32), **about)


def _train(
    network: ImageAutoencoder,
    rows: Rows,
    learn: Ints,
    *,
    n_steps: int,
    batch_size: int,
    lr: float,
    rng: np.random.Generator,
) -> None:
    """Train on random batches by the mean squared error, and leave the network at rest."""
    optimizer = torch.optim.AdamW(network.parameters(), lr=lr)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=n_steps)
    for _ in range(n_steps):
        size = min(batch_size, len(learn))
        images = torch.from_numpy(
            rows.take(np.sort(rng.choice(learn, size, replace=False))).astype(np.float32)
        )
        loss = (network.decode(network.encode(images)) - images).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    network.eval()
    for parameter in network.parameters():
        parameter.requires_grad_(requires_grad=False)


def _through(network: nn.Module, images: Images, shape: tuple[int, ...]) -> Images:
    """Put images through a network, some at a time, and return images of a shape."""
    made = np.empty((len(images), *shape), dtype=np.float32)
    with torch.no_grad():
        for at in _slices(len(images)):
            made[at] = network(torch.from_numpy(np.ascontiguousarray(images[at]))).numpy()
    return made


def _slices(n: int) -> Iterator[slice]:
    return (slice(start, start + AT_ONCE) for start in range(0, n, AT_ONCE))
