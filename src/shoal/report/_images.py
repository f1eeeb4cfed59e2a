"""Predicted images on the page: tables of their evaluation, and small pictures as PNG."""

from __future__ import annotations

import base64
import struct
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ._tables import table

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray


@dataclass(frozen=True)
class ImageContent:
    """What a report shows of predicted images.

    Attributes
    ----------
    verdict, caution
        What came out, and what to beware of; empty if nothing.
    contenders
        Scores and metrics, one row a contender.
    features
        Medians of features, one row a condition and feature.
    pictures
        Perturbation -> picture (y, x, 3) with a line of controls, of predicted and of real cells.
    """

    verdict: str
    caution: str
    contenders: pd.DataFrame
    features: pd.DataFrame
    pictures: Mapping[str, NDArray[np.uint8]]


def image_tables(images: ImageContent) -> dict[str, dict[str, Any]]:
    """Return the tables of the page."""
    moved = images.features.loc[images.features["response"].abs() > 0.5]
    order = moved["response"].abs().sort_values(ascending=False, kind="stable").index
    return {
        "image_contenders": table(images.contenders.rename_axis("contender")),
        "image_features": table(moved.loc[order].set_index("condition")),
    }


def sources(images: ImageContent) -> list[tuple[str, str, int]]:
    """Return the name, the address and the width of every picture, each within the page."""
    return [
        (
            name,
            "data:image/png;base64," + base64.b64encode(png(picture)).decode(),
            2 * picture.shape[1],
        )
        for name, picture in images.pictures.items()
    ]


def png(picture: NDArray[np.uint8]) -> bytes:
    """Return a picture (y, x, 3) of 8 bits as a PNG file."""
    height, width, _ = picture.shape
    lines = b"".join(b"\0" + line.tobytes() for line in picture)
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(lines, 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )
