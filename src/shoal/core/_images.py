"""Images of cells: the names of their channels, and the scale on which networks see them.

Crops are ``obsm[use_rep]``, (n, C, H, W). They are never rewritten. ``uns["images"][use_rep]`` says
what the channels are, and between which intensities the controls of each plate lie.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .._validate import some
from ._image_entries import CALL, crops_of, entry_of, plates_of

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import ArrayLike, DTypeLike, NDArray

    from .._random import RNGLike
    from .._typing import Floats, Ints


@dataclass(frozen=True)
class ImageScale:
    """The intensities of crops, and how they become values around [-1, 1].

    An intensity of `low` becomes -1 and one of `high` becomes 1. These are percentiles of the
    controls of a plate, so that a plate that is brighter than another looks the same. A pixel that
    is brighter than the controls becomes more than 1; nothing is cut off.

    Attributes
    ----------
    use_rep
        Key of ``obsm`` with the crops.
    channels
        Names of the channels, in the order of the array.
    size
        Height and width of a crop, in pixels.
    dtype
        Type of the crops, such as ``"uint8"``.
    value_range
        Least and largest intensity that a pixel can have.
    plate_key
        Column of ``obs`` with the plates; ``None`` if all cells are of one.
    plates
        Names of the plates.
    low, high
        (n_plates, n_channels) intensities that become -1 and 1.
    """

    use_rep: str
    channels: tuple[str, ...]
    size: tuple[int, int]
    dtype: str
    value_range: tuple[float, float]
    plate_key: str | None
    plates: tuple[str, ...]
    low: Floats
    high: Floats

    @classmethod
    def read(cls, adata: AnnData, use_rep: str) -> ImageScale:
        """Return the scale that :func:`shoal.pp.prepare_images` wrote.

        Raises
        ------
        KeyError
            If there are no such crops, or they were not prepared.
        ValueError
            If the crops are not those that were prepared: other channels, size or type.
        """
        crops = crops_of(adata, use_rep)
        entry = entry_of(adata, use_rep)
        if entry is None or "table" not in entry:
            msg = f"the intensities of obsm[{use_rep!r}] have no scale yet: call {CALL}"
            raise KeyError(msg.format(use_rep))
        table, plate_key = entry["table"], str(entry["plate_key"])
        channels = tuple(map(str, np.atleast_1d(entry["channels"])))
        plates = tuple(pd.unique(table["plate"].astype(str)))
        shape = (len(plates), len(channels))
        scale = cls(
            use_rep=use_rep,
            channels=channels,
            size=(int(entry["height"]), int(entry["width"])),
            dtype=str(entry["dtype"]),
            value_range=(float(entry["least"]), float(entry["largest"])),
            plate_key=plate_key or None,
            plates=plates,
            low=table["low"].to_numpy(dtype=np.float64).reshape(shape),
            high=table["high"].to_numpy(dtype=np.float64).reshape(shape),
        )
        found = (crops.cell_shape, np.dtype(crops.matrix.dtype).name)
        if found != ((len(channels), *scale.size), scale.dtype):
            msg = (
                f"obsm[{use_rep!r}] holds {found[1]} crops of shape {found[0]}, and {scale.dtype} "
                f"crops of shape {(len(channels), *scale.size)} were prepared: call {CALL} again"
            )
            raise ValueError(msg.format(use_rep))
        return scale

    def plates_of(self, adata: AnnData) -> Ints:
        """Return the (n_obs,) position in `plates` of every cell.

        Raises
        ------
        KeyError
            If there is no such column.
        ValueError
            If the plate of a cell is missing, or was not prepared.
        """
        if self.plate_key is None:
            return np.zeros(adata.n_obs, dtype=np.int64)
        known = plates_of(adata, self.plate_key)
        code = pd.Index(self.plates).get_indexer(pd.Index(known))
        if (code < 0).any():
            new = some(sorted(set(known[code < 0])), 5)
            msg = (
                f"the plates {new} of obs[{self.plate_key!r}] were not there when the images were "
                f"prepared: call {CALL} again"
            )
            raise ValueError(msg.format(self.use_rep))
        return np.asarray(code, dtype=np.int64)

    def ends(self, plates: ArrayLike) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return the intensities that become -1 and 1, each (..., C, 1, 1), for plates (...,)."""
        at = np.asarray(plates, dtype=np.int64)
        low, high = (ends[at][..., None, None].astype(np.float32) for ends in (self.low, self.high))
        return low, high

    def to_unit(
        self, crops: ArrayLike, plates: ArrayLike, *, rng: RNGLike | np.random.Generator = None
    ) -> NDArray[np.float32]:
        """Return crops as float32 on the scale where the controls lie between -1 and 1.

        A whole number v stands for intensities from v to v + 1. Without `rng` it is read as
        v + 1/2, and with `rng` as v + u, u drawn evenly from [0, 1) for every pixel, so that values
        are continuous. Floats are taken as they are.

        Parameters
        ----------
        crops
            (..., C, H, W) intensities.
        plates
            (...,) positions in `plates`, as `plates_of` gives them.
        rng
            Source of the noise within a whole number.
        """
        values = np.asarray(crops)
        low, high = self.ends(plates)
        unit = values.astype(np.float32)
        if self.whole:
            if rng is None:
                unit += np.float32(0.5)
            else:
                from .._random import as_generator

                unit += as_generator(rng).random(unit.shape, dtype=np.float32)
        return 2 * (unit - low) / (high - low) - 1

    def from_unit(
        self, values: ArrayLike, plates: ArrayLike, *, dtype: DTypeLike | None = None
    ) -> NDArray[Any]:
        """Return intensities: the inverse of `to_unit`.

        Parameters
        ----------
        values
            (..., C, H, W) values on the scale of the controls.
        plates
            (...,) positions in `plates`.
        dtype
            Type of the result, that of the crops by default. Whole numbers are rounded down, as v
            stands for v to v + 1. Intensities are cut to `value_range`.
        """
        low, high = self.ends(plates)
        kind = np.dtype(self.dtype if dtype is None else dtype)
        intensity = low + (np.asarray(values, dtype=np.float32) + 1) / 2 * (high - low)
        if self.whole:
            intensity = np.floor(intensity) if kind.kind in "ui" else intensity - np.float32(0.5)
        return np.clip(intensity, *self.value_range).astype(kind)

    @property
    def whole(self) -> bool:
        """Whether intensities are whole numbers."""
        return np.dtype(self.dtype).kind in "ui"

    def require_like(self, trained: ImageScale) -> None:
        """Raise ``ValueError`` unless these crops are of the kind that a model was trained on."""
        where = f"obsm[{self.use_rep!r}]"
        if self.channels != trained.channels:
            same = sorted(self.channels) == sorted(trained.channels)
            order = [self.channels.index(name) for name in trained.channels] if same else []
            fix = (
                f"bring them into that order, adata.obsm[{self.use_rep!r}][:, {order}], and call "
                f"{CALL.format(self.use_rep)} again"
                if same
                else "bring images of these channels, or train on the channels that both have"
            )
            msg = f"{where} has the channels {self.channels}, and the model was trained on "
            msg += f"{trained.channels}: {fix}"
            raise ValueError(msg)
        if self.size != trained.size:
            (h, w), (th, tw) = self.size, trained.size
            fix = (
                f"crop them to the middle, [..., {(h - th) // 2}:{(h - th) // 2 + th}, "
                f"{(w - tw) // 2}:{(w - tw) // 2 + tw}], if a pixel is as large in both, or resize "
                "them (skimage.transform.resize) if not"
                if h >= th and w >= tw
                else "cut larger crops from the fields (sh.ds.read_crops(size=)), or resize them "
                "(skimage.transform.resize) if a pixel is larger than in training"
            )
            msg = f"{where} holds crops of {h} x {w} pixels, and the model was trained on "
            msg += f"{th} x {tw}: {fix}"
            raise ValueError(msg)
        if (self.dtype, self.value_range) != (trained.dtype, trained.value_range):
            msg = (
                f"{where} holds {self.dtype} from {self.value_range[0]:g} to "
                f"{self.value_range[1]:g}, and the model was trained on {trained.dtype} from "
                f"{trained.value_range[0]:g} to {trained.value_range[1]:g}: export the images at "
                "one depth, or convert one of them"
            )
            raise ValueError(msg)
