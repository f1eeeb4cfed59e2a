"""Features that were learned from crops: the labelled cells of training, and what is recorded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .._keys import IMAGES, SPLIT
from ..core._order import stable_order
from ..core._screen import perturbed_labels
from ._split_fits import train_key

if TYPE_CHECKING:
    from anndata import AnnData

    from .._typing import Ints
    from ..core._screen import Screen

ENCODERS = "encoders"  # in an entry of uns["images"]


def training_labels(adata: AnnData, screen: Screen, use_rep: str) -> tuple[Ints, Ints]:
    """Return training cells in the order of their names, and their labels from 0.

    Raises
    ------
    ValueError
        If they have fewer than two labels.
    """
    labelled = perturbed_labels(adata, screen)
    used = (labelled.code >= 0) | labelled.is_control
    used &= (adata.obs[SPLIT] == "train").to_numpy(dtype=bool)
    order = stable_order(adata)
    cells = order[used[order]]  # what is drawn does not depend on the order of rows
    names = np.where(labelled.is_control, -1, labelled.code)[cells]
    label = np.unique(names, return_inverse=True)[1].astype(np.int64)
    if label.max(initial=0) < 1:
        msg = (
            "training cells have fewer than two labels, and an encoder learns to tell labels "
            "apart: keep more perturbations, or the controls, in training, or take "
            f"sh.pp.measure_images(adata, use_rep={use_rep!r})"
        )
        raise ValueError(msg)
    return cells, label


def encoders_of(entry: Mapping[str, Any]) -> pd.DataFrame:
    """Return slot -> method and key of training cells, of an entry of ``uns["images"]``."""
    return entry.get(ENCODERS, pd.DataFrame(columns=["method", "train"]))


def with_encoder(
    entry: Mapping[str, Any], slot: str, method: str, adata: AnnData
) -> dict[str, Any]:
    """Return an entry of ``uns["images"]`` that says how the features in a slot were learned."""
    train = (adata.obs[SPLIT] == "train").to_numpy(dtype=bool)
    row = pd.DataFrame([{"method": method, "train": train_key(adata, train)}], index=[slot])
    others = encoders_of(entry).drop(index=slot, errors="ignore")
    return {**entry, ENCODERS: pd.concat([others, row])}


def encoder_keys(adata: AnnData) -> dict[str, str]:
    """Return slot -> key of the training cells of its encoder, for features learned from crops."""
    stored = adata.uns.get(IMAGES)
    entries = stored.values() if isinstance(stored, Mapping) else ()
    tables = [
        entry[ENCODERS] for entry in entries if isinstance(entry, Mapping) and ENCODERS in entry
    ]
    return {
        str(slot): str(key)
        for table in tables
        for slot, key in table["train"].items()
        if slot in adata.obsm
    }
