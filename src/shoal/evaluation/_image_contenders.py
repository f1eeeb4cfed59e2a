"""What images are predicted by simple means, and the features by which all are judged.

Every contender is one row of features for each image that is scored, in the same order. So any half
of a condition has the images of a contender that stand for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial import distance

from .._logging import logger
from ..core._codes import members
from ..metrics._image_features import OF_CHANNEL, feature_names, image_features

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from .._typing import Floats, Ints
    from ._image_task import ImageTask

    Features = Callable[[NDArray[np.float32]], Floats]

SECOND, COPY = "second_experiment", "control_copy"
OTHER, NEAREST, INTENSITY = "other_batch_control", "nearest_training", "mean_intensity"
FAR = 30.0  # times as bright or as dark as real images: another scale
CLOSE = 1e-3  # in standard deviations: a predicted image that is the real one


@dataclass(frozen=True, eq=False)
class Measured:
    """Features of all contenders.

    Attributes
    ----------
    named
        Contender -> (n, d) features that can be named, each in standard deviations of the controls
        from their mean.
    network
        Contender -> (n, k) features of the network that was given; `named` if none was.
    names
        (d,) names of the features.
    centre, spread
        (d,) mean and standard deviation of the controls.
    """

    named: Mapping[str, Floats]
    network: Mapping[str, Floats]
    names: tuple[str, ...]
    centre: Floats
    spread: Floats


def measure_contenders(
    task: ImageTask, prediction: str, *, nucleus: str | None, features: Features | None
) -> Measured:
    """Measure the prediction, real images and simple predictions.

    Parameters
    ----------
    task
        Images that are scored.
    prediction
        Name of the prediction among the contenders.
    nucleus
        Channel of the nuclei.
    features
        Turns (k, C, H, W) float32 images, about -1 to 1, into (k, d) features.

    Raises
    ------
    TypeError, ValueError
        If `features` does not return (k, d) finite numbers, if predicted images are on another
        scale than real ones, or are the real ones.
    """
    channels = task.real.scale.channels
    at = None if nucleus is None else channels.index(nucleus)
    measure = partial(_both, nucleus=at, features=features)
    real, predicted = (crops.each(task.rows, measure) for crops in (task.real, task.predicted))
    copies = task.real.each(task.copies, measure)
    reference = task.real.each(task.train_control, measure)
    found = {prediction: predicted, SECOND: real, COPY: copies}
    if len(task.elsewhere):
        found[OTHER] = task.real.each(task.elsewhere, measure)
    names = tuple(feature_names(channels, nucleus))
    d = len(names)
    centre, spread = reference[:, :d].mean(axis=0), reference[:, :d].std(axis=0)
    spread = np.where(spread > 1e-9, spread, 1.0)
    if len(task.train):
        train = task.real.each(task.train, measure)
        apart = distance.cdist(*((v[:, :d] - centre) / spread for v in (predicted, train)))
        found[NEAREST] = train[apart.argmin(axis=1)]
        gain = _gains(task, train, reference, len(channels))
        found[INTENSITY] = _brightened(task, gain, measure)
    _check_scale(predicted, real, channels, task.predicted.rows.slot)
    named = {name: (values[:, :d] - centre) / spread for name, values in found.items()}
    if np.median(np.abs(named[prediction] - named[SECOND]).max(axis=1)) < CLOSE:
        msg = (
            f"{task.predicted.rows.slot} holds the real images of the cells that are scored: they "
            "would be judged by themselves"
        )
        raise ValueError(msg)
    network = {k: v[:, d:] for k, v in found.items()} if features is not None else named
    return Measured(named, network, names, centre, spread)


def _both(
    intensities: NDArray[np.float32], *, nucleus: int | None, features: Features | None
) -> Floats:
    """Return features that can be named, then those of a network."""
    own = image_features(intensities, nucleus=nucleus)
    if features is None:
        return own
    given = np.asarray(features(2 * intensities - 1))
    if given.ndim != 2 or len(given) != len(own) or given.dtype.kind not in "fiu":
        msg = (
            f"features must turn (n, C, H, W) images into (n, d) numbers, and of {len(own)} images "
            f"it made an array of shape {given.shape} of {given.dtype}"
        )
        raise ValueError(msg)
    if not np.isfinite(given).all():
        msg = "features makes NaN or infinite numbers of some images"
        raise ValueError(msg)
    return np.hstack([own, given.astype(np.float64)])


def _gains(task: ImageTask, train: Floats, control: Floats, n_channels: int) -> Floats:
    """Return (P, C): how much brighter the training cells of each condition are than controls.

    A perturbation that is not in training has the mean of all perturbed training cells.
    """
    at = [len(OF_CHANNEL) * c for c in range(n_channels)]  # the mean of each channel
    own = task.cells.labels.code[task.train]
    dark = np.maximum(control[:, at].mean(axis=0), 1e-6)
    gains = []
    for code in task.perturbation:
        known = own == code
        mean = train[known if known.any() else slice(None)][:, at].mean(axis=0)
        gains.append(np.clip(mean / dark, 0.05, 20.0))
    return np.array(gains)


def _brightened(
    task: ImageTask, gain: Floats, measure: Callable[[NDArray[np.float32]], Floats]
) -> Floats:
    """Return the features of the control copies with the brightness of the perturbation."""
    parts: list[tuple[Ints, Floats]] = []
    for at in members(task.owner):
        own = gain[task.owner[at[0]]][:, None, None].astype(np.float32)

        def brighter(images: NDArray[np.float32], own: NDArray[np.float32] = own) -> Floats:
            return measure(images * own)

        parts.append((at, task.real.each(task.copies[at], brighter)))
    made = np.empty((len(task.rows), parts[0][1].shape[1]))
    for at, values in parts:
        made[at] = values
    return made


def _check_scale(predicted: Floats, real: Floats, channels: tuple[str, ...], slot: str) -> None:
    """Raise ``ValueError`` if predicted images are far brighter or darker than real ones."""
    at = [len(OF_CHANNEL) * c + OF_CHANNEL.index("bright") for c in range(len(channels))]
    one, two = (np.median(np.abs(values[:, at]), axis=0) for values in (predicted, real))
    ratio = one / np.maximum(two, 1e-9)
    if (ratio < 1 / FAR).all() or (ratio > FAR).all():
        msg = (
            f"{slot} is on another scale than the crops: its bright pixels are {ratio.min():.2g} "
            f"to {ratio.max():.2g} times as far above the background. Predictions must hold the "
            "intensities of the crops (0 to 255 for 8 bits), as sh.tl.predict writes them, not "
            "values around -1 to 1"
        )
        raise ValueError(msg)
    dim = [c for c, r in zip(channels, ratio, strict=True) if r < 1 / FAR]
    if dim:
        logger.warning("%s is nearly dark in the channels %s", slot, ", ".join(dim))
