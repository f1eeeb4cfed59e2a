"""Channels and intensities of images: per plate, by its controls."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from .._docs import shared
from .._keys import IMAGES
from .._logging import logger
from .._validate import between, get_adata, some
from ..core._claims import claim
from ..core._image_entries import SCHEMA, SLOT, channels_of, crops_of, plates_of, with_entry
from ..core._screen import perturbed_labels, resolve
from ..core._slots import write_slots, written
from ._image_brightness import FEW, brightness_of, tell_brightness
from ._image_checks import range_of
from ._image_levels import Levels, read_levels

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from mudata import MuData


@shared()
def prepare_images(
    data: AnnData | MuData,
    perturbation_key: str | None = None,
    *,
    use_rep: str,
    control: str | Sequence[str] | None = None,
    channels: Sequence[str] | None = None,
    plate_key: str | None = None,
    low: float = 0.1,
    high: float = 99.9,
    value_range: tuple[float, float] | None = None,
    overwrite: bool = False,
    mod: str | None = None,
) -> None:
    """Name the channels of crops, and find the intensities of the controls of every plate.

    - The scale of a plate and channel runs from a low to a high percentile of the pixels of its
      control crops. It is the same for all perturbations of the plate: a scale of each
      perturbation would remove what the perturbation does to brightness.
    - The crops stay as they are. Networks and pictures apply the scale when they read them.
    - Illumination and background are corrected upstream, on whole fields.
    - Crops are read once, by blocks, so that zarr, h5py and dask arrays can be used.
    - Where the mean brightness of a channel alone tells a perturbation from the controls, a
      warning says so. That may be biology. It may also be the staining of a well, and a model then
      learns the staining. The area under the curve and the ratio of brightness stand in ``uns``.

    Parameters
    ----------
    data
        Screen, one row per cell, with crops in ``obsm``.
    perturbation_key
        Column of ``obs`` with the perturbations. ``None`` takes the one that
        :func:`shoal.pp.annotate` recorded.
    use_rep
        Key of ``obsm`` with the crops, (n_obs, C, H, W), whole numbers or floats.
    control
        Label(s) of the control cells. ``None`` takes those that are recorded.
    channels
        Names of the C channels, in the order of the array. ``None`` takes those that are recorded,
        as :func:`shoal.ds.simulate_images` records them.
    plate_key
        Column of ``obs`` with the plate of each cell. ``None`` takes the recorded batch; without
        one, all cells count as one plate.
    low, high
        Percentiles of the pixels of control crops.
    value_range
        Least and largest intensity that a pixel can have. ``None`` takes 0 to 255 for 8-bit whole
        numbers, 0 to 65535 for others, and 0 to 1 for floats.
    overwrite
        {overwrite}
    mod
        {mod}

    Returns
    -------
    Nothing. Writes ``uns["images"][use_rep]``:

    ``channels``
        Names of the channels.
    ``table``
        One row a plate and channel: ``plate``, ``channel``, ``low``, ``high`` (intensities),
        ``n_controls``.
    ``brightness``
        One row a perturbation and channel: ``perturbation``, ``channel``, ``n_cells``, ``ratio``
        (mean intensity above ``low``, over that of controls) and ``auc`` (probability that a cell
        is brighter than a control, both scaled by their plate).
    ``plate_key``, ``dtype``, ``height``, ``width``, ``least``, ``largest``
        The column, and the kind of the crops.

    A view is turned into a copy first. After an error nothing has been written.

    Raises
    ------
    KeyError
        If a column or slot does not exist.
    TypeError
        If `value_range` is no pair of numbers.
    ValueError
        If

        - the slot holds no images, or `channels` does not fit it,
        - pixels are NaN, infinite, or outside of `value_range`,
        - a crop has the same intensity everywhere, or a channel has in all controls of a plate,
        - a plate has no controls, or a cell has no plate,
        - some plates hold 8-bit images and others 16-bit images.

    Examples
    --------
    >>> import anndata as ad, numpy as np, shoal as sh
    >>> crops = np.random.default_rng(0).integers(0, 256, (60, 2, 8, 8)).astype(np.uint8)
    >>> adata = ad.AnnData(obs={"drug": ["none", "a", "b"] * 20}, obsm={"crops": crops})
    >>> sh.pp.annotate(adata, "drug", control="none")
    >>> sh.pp.prepare_images(adata, use_rep="crops", channels=["DNA", "actin"])
    >>> adata.uns["images"]["crops"]["table"].shape
    (2, 5)
    """
    adata = get_adata(data, mod)
    between(low, 0, 100, name="low", ends=True)
    between(high, 0, 100, name="high", ends=True)
    if low >= high:
        msg = f"low={low!r} must be below high={high!r}"
        raise ValueError(msg)
    owned = written(adata, IMAGES, [SCHEMA])
    claim(adata, [SLOT], owned=owned, overwrite=overwrite, rename="rename it")
    screen = resolve(adata, perturbation_key, control=control)
    labelled = perturbed_labels(adata, screen)
    rows = crops_of(adata, use_rep)
    channels = channels_of(adata, use_rep, channels)
    plate_key = screen.batch_key if plate_key is None else plate_key
    names = np.array(["all"] * adata.n_obs) if plate_key is None else plates_of(adata, plate_key)
    plates, plate = np.unique(names.astype(str), return_inverse=True)
    plates = plates.astype(object)
    n_controls = np.bincount(plate[labelled.is_control], minlength=len(plates))
    _check_controls(plates, n_controls, plate_key)
    edges, n_levels = range_of(rows, value_range, rows.slot)
    levels = read_levels(
        rows,
        plate=plate,
        plates=tuple(plates),
        control=labelled.is_control,
        value_range=edges,
        n_levels=n_levels,
        declared=value_range is not None,
        names=adata.obs_names,
    )
    table = _table(levels, low, high, plates=plates, channels=channels, n_controls=n_controls)
    shape = (len(plates), len(channels))
    ends = [table[name].to_numpy().reshape(shape) for name in ("low", "high")]
    unit = (levels.brightness - ends[0][plate]) / (ends[1] - ends[0])[plate]
    brightness = brightness_of(unit, labelled, channels)
    entry = {
        "channels": channels,
        "table": table,
        "brightness": brightness,
        "plate_key": plate_key or "",
        "dtype": np.dtype(rows.matrix.dtype).name,
        "height": rows.cell_shape[1],
        "width": rows.cell_shape[2],
        "least": edges[0],
        "largest": edges[1],
    }
    where = "all cells as one plate" if plate_key is None else f"{len(plates)} {plate_key}s"
    logger.info(
        "the scale of %d channels runs from the %g to the %g percentile of control pixels, for %s",
        len(channels),
        low,
        high,
        where,
    )
    tell_brightness(brightness)
    write_slots(adata, {SLOT: with_entry(adata, use_rep, entry)})


def _check_controls(plates: np.ndarray, n_controls: np.ndarray, plate_key: str | None) -> None:
    """Raise ``ValueError`` for plates without controls, and warn of plates with few."""
    without = plates[n_controls == 0]
    if len(without):
        msg = (
            f"the plates {some(list(without), 5)} of obs[{plate_key!r}] have no control cells, by "
            "which intensities are scaled: leave these plates out, or give as plate_key= a column "
            "whose plates all have controls (the day of staining, or one value for all cells)"
        )
        raise ValueError(msg)
    few = plates[n_controls < FEW]
    if len(few):
        logger.warning(
            "the plates %s have fewer than %d control cells: their scale is uncertain",
            some(list(few), 5),
            FEW,
        )


def _table(
    levels: Levels,
    low: float,
    high: float,
    *,
    plates: np.ndarray,
    channels: Sequence[str],
    n_controls: np.ndarray,
) -> pd.DataFrame:
    """Return the ends of the scale of every plate and channel.

    Raises
    ------
    ValueError
        If both ends lie within one level.
    """
    ends = [levels.percentile(q) for q in (low, high)]
    flat = ends[1] - ends[0] <= levels.width
    if flat.any():
        p, c = np.argwhere(flat)[0]
        msg = (
            f"channel {channels[c]!r} has nearly one intensity ({ends[0][p, c]:g}) in the controls "
            f"of plate {plates[p]!r} ({flat.sum()} plates and channels in all): leave that channel "
            "or plate out, or raise high= if few pixels are bright"
        )
        raise ValueError(msg)
    n = len(channels)
    return pd.DataFrame(
        {
            "plate": np.repeat(plates, n),
            "channel": np.tile(np.array(channels, dtype=object), len(plates)),
            "low": ends[0].ravel(),
            "high": ends[1].ravel(),
            "n_controls": np.repeat(n_controls, n),
        },
        index=[str(i) for i in range(n * len(plates))],
    )
