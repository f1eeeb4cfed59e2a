"""Crops in ``obsm``, and what ``uns["images"]`` says of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .._keys import IMAGES
from .._validate import key_in, listed, some
from ._choose import choose
from ._combinations import as_text
from ._matrix import Rows, as_rows

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

SCHEMA = "images/1"
SLOT = f"uns/{IMAGES}"
CALL = "sh.pp.prepare_images(adata, use_rep={!r})"


def crops_of(adata: AnnData, use_rep: str) -> Rows:
    """Return the crops of ``obsm[use_rep]``, to be read by blocks.

    Raises
    ------
    KeyError
        If there is no such slot.
    ValueError
        If it does not hold images, (n_obs, C, H, W), of numbers.
    """
    matrix, slot = choose(adata, use_rep=use_rep, images=True)
    if len(matrix.shape) != 4 or min(matrix.shape[1:]) == 0:
        msg = (
            f"{slot} has the shape {tuple(matrix.shape)}; crops are (n_obs, channels, height, "
            "width). One channel has an axis of its own too: crops[:, None]"
        )
        raise ValueError(msg)
    if matrix.dtype.kind == "b":
        msg = f"{slot} holds True and False, which is a mask; bring the intensities of pixels"
        raise ValueError(msg)
    return as_rows(matrix, slot=slot)


def channels_of(adata: AnnData, use_rep: str, channels: object = None) -> tuple[str, ...]:
    """Return the names of the channels of crops: those that are given, else those in ``uns``.

    Raises
    ------
    ValueError
        If there are none, or not as many as the array has channels, or two are the same.
    """
    shape = crops_of(adata, use_rep).cell_shape
    if channels is None:
        entry = entry_of(adata, use_rep)
        if entry is None:
            msg = (
                f"the {shape[0]} channels of obsm[{use_rep!r}] have no names: give channels= in "
                "the order of the array, such as channels=['DNA', 'actin']"
            )
            raise ValueError(msg)
        channels = list(np.atleast_1d(entry["channels"]))
    names = listed(channels, name="channels")
    if len(names) != shape[0]:
        last = len(names) == shape[-1] or shape[-1] <= 4 < shape[0]
        msg = f"channels={names} are {len(names)}, and obsm[{use_rep!r}] has {shape[0]} channels"
        msg += f" (a crop has the shape {shape}): "
        msg += (
            f"they seem to be on the last axis, np.moveaxis(adata.obsm[{use_rep!r}], -1, 1)"
            if last
            else "name each of them, in the order of the array"
        )
        raise ValueError(msg)
    if len(set(names)) < len(names) or not all(name.strip() for name in names):
        msg = f"channels={names}: every channel needs a name of its own"
        raise ValueError(msg)
    return tuple(names)


def plates_of(adata: AnnData, plate_key: str) -> NDArray[np.object_]:
    """Return the (n_obs,) plate of every cell as text.

    Raises
    ------
    KeyError
        If there is no such column.
    ValueError
        If it is missing for a cell.
    """
    key_in(plate_key, adata.obs.columns, where="adata.obs")
    column = adata.obs[plate_key]
    missing = column.isna().to_numpy()
    if missing.any():
        msg = (
            f"{missing.sum()} cells have no plate in obs[{plate_key!r}], such as "
            f"{some(adata.obs_names[missing], 3)}: fill it in, or leave these cells out"
        )
        raise ValueError(msg)
    code, values = pd.factorize(column)
    return np.array([as_text(value) for value in values], dtype=object)[code]


def entry_of(adata: AnnData, use_rep: str) -> Mapping[str, Any] | None:
    """Return what ``uns["images"]`` says of a slot; ``None`` if nothing."""
    stored = adata.uns.get(IMAGES)
    entry = stored.get(use_rep) if isinstance(stored, Mapping) else None
    return entry if isinstance(entry, Mapping) and "channels" in entry else None


def with_entry(adata: AnnData, use_rep: str, entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``uns["images"]`` with what is to be said of a slot."""
    from .. import __version__

    stored = adata.uns.get(IMAGES)
    others = dict(stored) if isinstance(stored, Mapping) else {}
    channels = np.array(list(entry["channels"]), dtype=object)
    own = {**entry, "channels": channels, "schema": SCHEMA, "version": __version__}
    return {**others, "schema": SCHEMA, use_rep: own}
