"""What a call of pp.embed_contexts asks for, and the vectors that it gets."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .._logging import logger

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .._typing import Floats
    from ..core._population import Population

FEATURE = "feature"


@dataclass(frozen=True)
class ContextRequest:
    """What is to be embedded, and with what.

    Attributes
    ----------
    cells
        The screen.
    keys
        Contexts to embed: those of the screen and further ones.
    trained
        Contexts with perturbed cells of training; the vectors are standardised over these.
    source
        A table, an AnnData of profiles, or ``"controls"``.
    aliases
        Context -> its name in the source.
    """

    cells: Population
    keys: Sequence[str]
    trained: Sequence[str]
    source: Any
    aliases: Mapping[str, str]


@dataclass(frozen=True)
class Profiles:
    """What a source says of contexts, before it is standardised.

    Attributes
    ----------
    values
        (n, D) floats, index = context.
    absent
        Context -> why the source says nothing of it.
    called
        Context -> its name in the source, where that is another.
    reduced
        Whether the columns are many genes or features, of which principal components are taken.
    n_fit
        Cells of the screen that were read.
    """

    values: pd.DataFrame
    absent: Mapping[str, str]
    called: Mapping[str, str] = field(default_factory=dict)
    reduced: bool = True
    n_fit: int = 0


def fitted(profiles: Profiles, trained: Sequence[str], n_comps: int) -> pd.DataFrame:
    """Return how profiles become vectors, learned from the training contexts.

    A profile x becomes ``((x - centre) / scale) @ axes``. Without axes that is a z-score of each
    column. With axes it is principal components, all divided by one length, so that their mean
    variance over training contexts is 1. Components after the first are mostly noise where there
    are few contexts, and each divided by its own length would be as long as the first.

    Returns
    -------
    DataFrame
        Index feature; columns ``centre``, ``scale`` and, with axes, ``"0"``, ``"1"``, ...

    Raises
    ------
    ValueError
        If the training contexts are the same in every column.
    """
    own = profiles.values.loc[list(trained)].to_numpy(dtype=np.float64)
    centre, spread = own.mean(axis=0), own.std(axis=0)
    varies = spread > 1e-9 * max(1.0, float(np.abs(own).max()))
    if not varies.any():
        msg = (
            f"the {len(trained)} contexts of training have the same values in all "
            f"{own.shape[1]} columns of the source, which tells none of them apart"
        )
        raise ValueError(msg)
    features = pd.Index(profiles.values.columns.astype(str), dtype=object, name=FEATURE)
    if not profiles.reduced:
        if not varies.all():
            logger.info(
                "%d of %d columns do not vary between the contexts of training and are dropped",
                int((~varies).sum()),
                len(varies),
            )
        kept = pd.DataFrame({"centre": centre, "scale": spread}, index=features)
        return kept[varies]
    _, sizes, axes = np.linalg.svd(own - centre, full_matrices=False)
    rank = int((sizes > 1e-6 * sizes[0]).sum())
    axes = axes[: min(n_comps, rank)]
    axes *= np.sign(axes[np.arange(len(axes)), np.abs(axes).argmax(axis=1)])[:, None]
    scores = (own - centre) @ axes.T
    table = pd.DataFrame({"centre": centre, "scale": np.ones(len(centre))}, index=features)
    unit = float(np.sqrt((scores**2).mean()))
    return table.join(pd.DataFrame((axes / unit).T, index=features, columns=_numbers(len(axes))))


def vectors_by(fit: pd.DataFrame, profiles: Profiles) -> pd.DataFrame:
    """Return the vectors of all contexts of the profiles, float32, columns ``"0"``, ``"1"``, ...

    Raises
    ------
    ValueError
        If the profiles lack columns that the fit was made from.
    """
    values = profiles.values.set_axis(profiles.values.columns.astype(str), axis=1)
    lost = fit.index.difference(values.columns)
    if len(lost):
        msg = (
            f"the source lacks {len(lost)} of the {len(fit)} columns that the vectors of `like` "
            f"were made from, such as {lost[0]!r}: give one with the same columns"
        )
        raise ValueError(msg)
    own = values[fit.index].to_numpy(dtype=np.float64)
    own = (own - fit["centre"].to_numpy()) / fit["scale"].to_numpy()
    axes: Floats = fit.drop(columns=["centre", "scale"]).to_numpy(dtype=np.float64)
    made = (own @ axes if axes.shape[1] else own).astype(np.float32)
    index = pd.Index(values.index.astype(str), dtype=object, name="context")
    return pd.DataFrame(made, index=index, columns=_numbers(made.shape[1]))


def _numbers(n: int) -> pd.Index:
    return pd.Index([str(i) for i in range(n)], dtype=object)
