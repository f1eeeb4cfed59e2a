"""Which baselines are scored beside a prediction, and which cells they read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .._contenders import COPY
from .._keys import SPLIT
from .._logging import logger
from .._validate import is_auto, listed, one_of
from ..models.base._registry import model_class, names, registered

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

    from .._typing import Ints
    from ..core._population import Population

CONTROL = "control"  # the baseline that is the control copy of every evaluation
PLAIN = ("mean_shift", "own_shift")  # tried first: a row of several names bears the plainest


def baseline_names(adata: AnnData, baselines: str | Sequence[str] | None) -> list[str]:
    """Return the names of the baselines to fit.

    Parameters
    ----------
    adata
        The screen. Without ``obs["split"]`` there are no training cells, and no baselines.
    baselines
        Names, ``"auto"`` for all of shoal, ``None`` for none.

    Raises
    ------
    ValueError
        If a name is not known, or baselines are named and there is no ``obs["split"]``.
    """
    if baselines is None:
        return []
    automatic = is_auto(baselines)
    if SPLIT not in adata.obs and not automatic:
        msg = (
            f"baselines={baselines!r} are fitted on training cells, and there is no obs['split'] "
            "that says which these are: call sh.pp.split(adata), or pass baselines=None"
        )
        raise ValueError(msg)
    if SPLIT not in adata.obs:
        logger.info(
            "no baselines: they are fitted on training cells, and there is no obs['split'] "
            "(sh.pp.split)"
        )
        return []
    known = names("baseline")
    if automatic:
        auto = [name for name in known if name != CONTROL and not registered(name)]
        return sorted(auto, key=lambda name: PLAIN.index(name) if name in PLAIN else len(PLAIN))
    several = listed(baselines, name="baselines")
    for name in several:
        one_of(name, known, name="baselines")
    if CONTROL in several:
        logger.warning("the baseline %r is the row %r, which every evaluation has", CONTROL, COPY)
    return [name for name in several if name != CONTROL]


def read_by_baselines(cells: Population, baselines: Sequence[str]) -> Ints:
    """Return the rows whose values baselines read, beside the sums of the conditions.

    All start from control cells. Some estimate noise from training cells, or keep them.
    """
    if not baselines:
        return np.zeros(0, dtype=np.int64)
    from ..models.baselines._means import MAX_CELLS
    from ..models.baselines._noise import noise_rows
    from ..models.baselines._pool import kept_rows

    rows, classes = [np.flatnonzero(cells.labels.is_control)], list(map(model_class, baselines))
    if any(getattr(cls, "estimates_noise", False) for cls in classes):
        rows.append(noise_rows(cells))
    if any(getattr(cls, "keeps_cells", True) for cls in classes):
        chosen = (cells.train, cells.train_control)
        rows += [kept_rows(cells, which, max_cells=MAX_CELLS) for which in chosen]
    return np.concatenate(rows)
