"""Features of images that can be named: sizes, intensities, texture, and where a dye lies."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from .._docs import shared
from .._validate import file_key, get_adata, key_in
from ..core._claims import claim
from ..core._image_entries import SLOT, entry_of, with_entry
from ..core._image_reading import crops
from ..core._slots import write_slots
from ..metrics._image_features import feature_names, image_features

if TYPE_CHECKING:
    from anndata import AnnData
    from mudata import MuData


FEATURES = "features"  # in an entry of uns: slots of obsm with features of the crops


@shared()
def measure_images(
    data: AnnData | MuData,
    *,
    use_rep: str,
    prediction: str | None = None,
    nucleus: str | None = None,
    key_added: str | None = None,
    overwrite: bool = False,
    mod: str | None = None,
) -> None:
    """Measure crops: one row of features a cell, which every function that takes rows can use.

    Intensities are those above the low percentile of the controls of a plate, in units of the
    distance to the high one, see :func:`shoal.pp.prepare_images`. Sizes are in pixels. The crops
    are read by blocks.

    Parameters
    ----------
    data
        Screen with crops, after :func:`shoal.pp.prepare_images`.
    use_rep
        Key of ``obsm`` with the crops.
    prediction
        Name of predicted crops to measure instead, as the ``key_added`` of
        :func:`shoal.tl.predict`.
    nucleus
        Channel that shows nuclei. ``None`` leaves out what needs one.
    key_added
        Slot of ``obsm`` for the features; by default the name of the crops and ``"_features"``.
    overwrite
        {overwrite}
    mod
        {mod}

    Returns
    -------
    Nothing. Writes ``obsm[key_added]``, a table (n_obs, d) of float64 with the columns

    ``"<channel> mean"``, ``"<channel> bright"``
        Mean and 99th percentile of the pixels.
    ``"<channel> area"``, ``"<channel> foreground"``
        Number of pixels above Otsu's threshold, and their mean.
    ``"<channel> texture"``
        Standard deviation of fine structure in the foreground, over its mean.
    ``"<channel> with <channel>"``
        Correlation of the pixels of two channels.
    ``"nucleus area"``, ``"nucleus eccentricity"``
        Size and shape of the nucleus nearest to the centre, with `nucleus`.
    ``"<channel> nucleus to ring"``
        log2 of the mean in the nucleus over that in a ring around it, with `nucleus`.

    Raises
    ------
    KeyError
        If there are no such crops, no such prediction or no such channel, or the crops were not
        prepared.
    ValueError
        If predicted crops are of another size, or hold NaN.

    Examples
    --------
    >>> import shoal as sh
    >>> adata = sh.ds.simulate_images(n_perturbations=2, n_cells=20, n_control=40, rng=0)
    >>> sh.pp.prepare_images(adata, use_rep="crops")
    >>> sh.pp.measure_images(adata, use_rep="crops", nucleus="DNA")
    >>> adata.obsm["crops_features"].shape
    (80, 22)
    """
    adata = get_adata(data, mod)
    read = crops(adata, use_rep, prediction=prediction)
    channels = read.scale.channels
    if nucleus is not None:
        key_in(nucleus, channels, where="the channels")
    slot = f"{prediction or use_rep}_features" if key_added is None else key_added
    file_key(slot, name="key_added")
    entry = dict(entry_of(adata, use_rep) or {})
    mine = set(map(str, np.atleast_1d(entry.get(FEATURES, []))))
    claim(adata, [f"obsm/{slot}"], owned={f"obsm/{name}" for name in mine}, overwrite=overwrite)
    measure = partial(image_features, nucleus=None if nucleus is None else channels.index(nucleus))
    values = read.each(np.arange(adata.n_obs), measure)
    names = feature_names(channels, nucleus)
    table = pd.DataFrame(values, index=adata.obs_names, columns=names)
    entry[FEATURES] = np.array(sorted({*mine, slot}), dtype=object)
    write_slots(adata, {f"obsm/{slot}": table, SLOT: with_entry(adata, use_rep, entry)})
