"""Which images of a perturbation are shown, and the pictures of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ._codes import places
from ._image_colours import colours_of, composite, mosaic
from ._order import stable_order
from ._predictions import PREDICTED, SOURCE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from numpy.typing import NDArray

    from .._typing import Floats, Ints
    from ._image_reading import Crops

BRIGHTEST = 99.7  # percentile of the pixels shown that is white


def shown_cells(
    adata: AnnData,
    real: Crops,
    *,
    treated: Ints,
    control: Ints,
    prediction: str | None,
    n_cells: int,
    rng: np.random.Generator,
) -> tuple[Ints, Ints]:
    """Choose cells of a perturbation, and a control beside each.

    Parameters
    ----------
    adata, real
        The screen and its crops.
    treated, control
        Rows of the perturbation and of the controls.
    prediction
        Name of the prediction: the control is the cell that the prediction starts from, where that
        is recorded. Otherwise it is drawn from the plate of the cell.
    n_cells
        Most cells.
    rng
        Draws the cells.

    Returns
    -------
    Rows of the controls, and of the cells.
    """
    done = adata.obs.get(f"{prediction}{PREDICTED}")
    if done is not None:
        treated = treated[np.asarray(done, dtype=bool)[treated]]
    by_name = stable_order(adata)
    treated, control = (by_name[np.isin(by_name, own)] for own in (treated, control))
    rows = rng.permutation(treated)[:n_cells]
    source = adata.obs.get(f"{prediction}{SOURCE}")
    if source is not None and not adata.obs_names.duplicated().any():
        at = places(adata.obs_names, source.to_numpy()[rows].astype(str))
        if (at >= 0).all():
            return np.asarray(at, dtype=np.int64), rows
    pools = {plate: control[real.plates[control] == plate] for plate in np.unique(real.plates)}
    beside = []
    for plate in real.plates[rows]:
        pool = pools[plate] if len(pools[plate]) else control
        beside.append(rng.choice(pool))
    return np.array(beside, dtype=np.int64), rows


def pictures(
    several: Sequence[Floats | NDArray[np.float32]],
    channels: Sequence[str],
    *,
    separate: Sequence[int] = (),
) -> list[NDArray[np.float32]]:
    """Return one picture of each kind of images, all on one scale of brightness.

    Parameters
    ----------
    several
        Intensities (n, C, H, W) of each kind, such as controls, predicted and real cells.
    channels
        Names of the channels.
    separate
        Positions of the channels that are shown alone too, in grey.

    Returns
    -------
    Mosaics (y, x, 3): a line a cell, with the composite and then the separate channels.
    """
    colours = colours_of(channels)
    made = []
    for light in _evenly(several, len(channels)):
        shown = [composite(light, colours)]
        shown += [composite(light[:, [c]], np.ones((1, 3))) for c in separate]
        made.append(mosaic(np.stack(shown, axis=1)))
    return made


def strips(
    several: Sequence[Floats | NDArray[np.float32]], channels: Sequence[str]
) -> NDArray[np.uint8]:
    """Return one picture (y, x, 3): a line of composites for each kind of images, one below other.

    All kinds have as many images.
    """
    colours = colours_of(channels)
    lines = [composite(light, colours) for light in _evenly(several, len(channels))]
    return np.asarray(np.rint(255 * mosaic(np.stack(lines))), dtype=np.uint8)


def _evenly(
    several: Sequence[Floats | NDArray[np.float32]], n_channels: int
) -> list[NDArray[np.float32]]:
    """Return images whose brightest pixels are about 1 in each channel, on one scale for all."""
    whole = [np.asarray(images, dtype=np.float32) for images in several]
    flat = [images.swapaxes(0, 1).reshape(n_channels, -1) for images in whole]
    every = np.concatenate(flat, axis=1)
    top = np.maximum(np.percentile(every, BRIGHTEST, axis=1), 1e-6).astype(np.float32)
    return [images / top[:, None, None] for images in whole]
