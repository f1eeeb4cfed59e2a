"""Pictures of predicted images for the report."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .._logging import logger
from ..core._image_pictures import shown_cells, strips
from ..core._image_reading import crops
from ..core._population import SPLITS, sides_of
from ..core._screen import labels, resolve
from ..report._images import ImageContent

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anndata import AnnData
    from numpy.typing import NDArray

MOST = 8  # perturbations with a picture
CELLS = 8  # of a line


def image_content(adata: AnnData, entry: Mapping[str, Any]) -> ImageContent:
    """Return what a report shows of an evaluation of images; the first perturbations have pictures.

    Parameters
    ----------
    adata
        Screen.
    entry
        What :func:`shoal.tl.evaluate_images` wrote.
    """
    params = entry["params"]
    try:
        shown = _pictures(adata, params)
    except (KeyError, ValueError) as err:
        logger.warning("the report has no pictures of the images: %s", err.args[0])
        shown = {}
    return ImageContent(
        verdict=str(params["verdict"]),
        caution=str(params["caution"]),
        contenders=entry["contenders"],
        features=entry["features"],
        pictures=shown,
    )


def _pictures(adata: AnnData, params: Mapping[str, Any]) -> dict[str, NDArray[np.uint8]]:
    """Return a picture of each of the first perturbations that were scored.

    Raises
    ------
    KeyError, ValueError
        If the crops or the predictions are no longer there, or were changed.
    """
    use_rep, prediction, split = (str(params[k]) for k in ("use_rep", "prediction", "split"))
    real = crops(adata, use_rep)
    predicted = crops(adata, use_rep, prediction=prediction)
    labelled = labels(adata, resolve(adata, tell=False))
    scored = np.ones(adata.n_obs, dtype=bool)
    if split in SPLITS:
        scored = sides_of(adata) == SPLITS.index(split)
    control = np.flatnonzero(labelled.is_control)
    rng, shown = np.random.default_rng(0), {}
    for code, name in enumerate(labelled.names):
        treated = np.flatnonzero((labelled.code == code) & scored)
        start, rows = shown_cells(
            adata,
            real,
            treated=treated,
            control=control,
            prediction=prediction,
            n_cells=CELLS,
            rng=rng,
        )
        if len(rows) and len(shown) < MOST:
            kinds = (real.intensities(start), predicted.intensities(rows), real.intensities(rows))
            shown[str(name)] = strips(kinds, real.scale.channels)
    return shown
