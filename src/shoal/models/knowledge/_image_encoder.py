"""An encoder of images, trained by the labels of their cells."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from ...core._codes import members
from ._losses import contrast

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from ..._typing import Ints

    Images = NDArray[np.float32]

WIDTH = 32
LABELS, CELLS = 16, 4  # in a step: so many labels, and cells of each
AT_ONCE = 256  # images
TEMPERATURE = 0.1
LR, WEIGHT_DECAY = 3e-3, 0.05
METHODS = ("classify", "contrast")


class ImageEncoder(nn.Module):
    """Convolutions, the mean over all places, and a linear map to features.

    Parameters
    ----------
    channels
        Channels of an image.
    n_features
        Number of features.
    n_labels
        Number of labels that the features are to tell apart.
    """

    def __init__(self, channels: int, n_features: int, n_labels: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in ((channels, WIDTH), (WIDTH, 2 * WIDTH), (2 * WIDTH, 2 * WIDTH)):
            layers += [
                nn.Conv2d(before, after, 3, stride=2, padding=1),
                nn.GroupNorm(4, after),
                nn.SiLU(),
            ]
        self.see = nn.Sequential(*layers)
        self.features = nn.Linear(2 * WIDTH, n_features)
        self.head = nn.Linear(n_features, n_labels)

    def forward(self, images: Tensor) -> Tensor:
        """Return (n, n_features) of images (n, C, H, W)."""
        return self.features(self.see(images).mean(dim=(-1, -2)))


def train_encoder(
    read: Callable[[Ints], Images],
    cells: Ints,
    label: Ints,
    *,
    method: str,
    n_features: int,
    max_steps: int,
    rng: np.random.Generator,
) -> ImageEncoder:
    """Train an encoder on labelled cells, in which each label is drawn as often as any other.

    Parameters
    ----------
    read
        Returns the (n, C, H, W) images of cells in any order.
    cells
        (n,) positions of the training cells. No other cell is read.
    label
        (n,) label of each of them, from 0.
    method
        ``"classify"``: the label, by cross-entropy (weakly supervised learning). ``"contrast"``:
        cells of a label are nearer to each other than to others (SimCLR, whose pairs are cells of a
        label), in two views of each.
    n_features, max_steps
        Features, and steps of the optimizer.
    rng
        Draws weights, cells and views.
    """
    groups = members(label)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(rng.integers(2**31)))
        network = ImageEncoder(read(cells[:1]).shape[1], n_features, len(groups))
    optimizer = torch.optim.AdamW(network.parameters(), lr=LR, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LR, total_steps=max_steps)
    for _ in range(max_steps):
        drawn = rng.choice(len(groups), min(LABELS, len(groups)), replace=False)
        own = np.concatenate([rng.choice(groups[at], CELLS) for at in drawn])
        images = torch.from_numpy(read(cells[own]))
        if method == "classify":
            logits = network.head(network(_turned(images, rng)))
            loss = nn.functional.cross_entropy(logits, torch.from_numpy(label[own]))
        else:
            views = [network(_turned(images, rng)).unflatten(0, (-1, CELLS)) for _ in range(2)]
            there = torch.ones(views[0].shape[:2])
            codes = torch.arange(len(drawn))
            loss = contrast(views, codes, there, temperature=TEMPERATURE)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return network.eval().requires_grad_(requires_grad=False)


def encode(network: ImageEncoder, images: Images) -> NDArray[np.float64]:
    """Return (n, n_features) of images (n, C, H, W), the mean over their eight turned forms.

    The features do not depend on how a cell lies. Images that are not square have four such forms.
    """
    square = images.shape[-1] == images.shape[-2]
    found: Any = 0.0
    with torch.no_grad():
        given = torch.from_numpy(np.ascontiguousarray(images))
        forms = [given, given.transpose(-1, -2)] if square else [given]
        for one in forms:
            for axes in ((), (-1,), (-2,), (-1, -2)):
                found = found + network(one.flip(axes) if axes else one).double().numpy()
    return np.asarray(found / (4 * len(forms)))


def _turned(images: Tensor, rng: np.random.Generator) -> Tensor:
    """Return images, each flipped and turned at random."""
    ways = [lambda x: x.flip(-1), lambda x: x.flip(-2)]
    if images.shape[-1] == images.shape[-2]:
        ways.append(lambda x: x.transpose(-1, -2))
    for turn in ways:
        chosen = torch.from_numpy(rng.random(len(images)) < 0.5)
        images = torch.where(chosen[:, None, None, None], turn(images), images)
    return images
