"""Whether the brightness of a channel alone tells a perturbation from the controls."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from .._logging import logger
from ..core._codes import members

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .._typing import Floats
    from ..core._screen import Labels

FEW = 20  # control crops of a plate, or crops of a perturbation, below which little can be said
TOLD_APART = 0.8  # area under the curve beyond which brightness alone tells two groups apart


def brightness_of(unit: Floats, labelled: Labels, channels: Sequence[str]) -> pd.DataFrame:
    """Return how much brighter than controls the cells of every perturbation are, by channel."""
    controls = np.sort(unit[labelled.is_control], axis=0)
    rows = []
    perturbed = np.flatnonzero((labelled.code >= 0) & ~labelled.is_control)
    for at in members(labelled.code[perturbed]):
        own = unit[perturbed[at]]
        name = labelled.names[labelled.code[perturbed[at[0]]]]
        for c, channel in enumerate(channels):
            left, right = (np.searchsorted(controls[:, c], own[:, c], s) for s in ("left", "right"))
            ratio = own[:, c].mean() / controls[:, c].mean()
            auc = (left + right).mean() / 2 / len(controls)
            rows.append((name, channel, len(own), ratio, auc))
    table = pd.DataFrame(rows, columns=["perturbation", "channel", "n_cells", "ratio", "auc"])
    return table.set_index(table.index.astype(str))


def tell_brightness(table: pd.DataFrame) -> None:
    """Warn where brightness alone tells a perturbation from the controls."""
    apart = (table["auc"] - 0.5).abs() > TOLD_APART - 0.5
    told = table[apart & (table["n_cells"] >= FEW)]
    if not len(told):
        return
    worst = told.loc[(told["auc"] - 0.5).abs().sort_values(ascending=False).index[:4]]
    shown = [
        f"{row.perturbation!r} by {row.channel!r} ({row.ratio:.2g} times as bright, AUC "
        f"{row.auc:.2f})"
        for row in worst.itertuples()
    ]
    more = f" and {len(told) - len(worst)} more" if len(told) > len(worst) else ""
    logger.warning(
        "mean brightness alone tells perturbed cells from controls: %s%s. If that is staining (one "
        "well a perturbation, say), a model will learn it: bring a low and a high quantile of each "
        "well to the same intensities first. If it is biology, go on: mean brightness is one of "
        "the baselines of sh.tl.evaluate_images",
        ", ".join(shown),
        more,
    )
