"""The intervals of a prediction, as they are written into a screen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .._random import RNGLike, as_generator
from ..core._codes import members
from ..core._intervals import SCHEMA
from ..core._results import entry_of
from ..evaluation._conditions import condition_names, conditions_of, described
from ..evaluation._intervals import control_squares
from ..models.base._intervals import intervals_of
from ..models.base._requests import by_condition, request_like

if TYPE_CHECKING:
    from .._typing import Ints
    from ..core._population import Population
    from ..models.base._calibration import Calibration
    from ..models.base._intervals import Intervals


def interval_entry(
    model: Any,
    cells: Population,
    rows: Ints,
    *,
    key: str,
    level: float,
    pooled: bool,
    rng: RNGLike,
) -> dict[str, Any]:
    """Return what ``uns`` holds of the intervals of a prediction, see :func:`shoal.tl.predict`.

    Parameters
    ----------
    model
        A model that was calibrated.
    cells
        Population of the cells.
    rows
        Cells that get a twin.
    key
        Name of the prediction.
    level, pooled
        As `interval` and `pooled` of ``tl.predict``.
    rng
        Seed or generator.

    Raises
    ------
    ValueError
        If the model was not calibrated, or no question of these kinds was tried.
    """
    rng = as_generator(rng)
    order = by_condition(cells, rows)
    source, _ = cells.controls.draw(cells.context[order], cells.batch[order], rng)
    request = request_like(cells, order, source)
    population = request.populations()
    several = members(population)
    n = np.array([len(own) for own in several])
    found = intervals_of(
        model,
        request,
        cells,
        population,
        level=level,
        n_cells=n,
        pooled=pooled,
        seed=int(rng.integers(2**31)),
    )
    condition, keys = conditions_of(cells)
    codes = condition[order[[own[0] for own in several]]]
    table = described(cells, keys).iloc[codes]
    table.index = pd.Index([condition_names(cells, keys)[i] for i in codes], name="condition")
    table = table.assign(
        kind=list(found.kind),
        n_cells=n,
        size=found.size,
        bound=found.bound,
        probability=found.probability,
    )
    kinds = kinds_of(found, model.calibration, level=level, pooled=pooled)
    features = list(cells.features)
    back = slice(None) if cells.rows.columns is None else np.argsort(cells.rows.columns)
    arrays = {
        "response": found.response,
        "low": found.response - found.half,
        "high": found.response + found.half,
    }
    return entry_of(
        table,
        SCHEMA,
        {
            "prediction": key,
            "model": type(model).__name__,
            "layer": cells.layer,
            "use_rep": cells.use_rep,
            "level": level,
            "pooled": pooled,
            "coverage": in_words(kinds, level, pooled=pooled),
        },
        kinds=kinds,
        features=pd.DataFrame(
            {"control_square": control_squares(cells)}, index=pd.Index(features, name="feature")
        ).iloc[back],
        **{name: values[:, back].astype(np.float32) for name, values in arrays.items()},
    )


def kinds_of(found: Intervals, known: Calibration, *, level: float, pooled: bool) -> pd.DataFrame:
    """Return what the intervals of each kind of question go by.

    Returns
    -------
    Index kind; columns ``n_conditions`` and ``n_units`` that were left out of training, ``reached``
    (the highest level that so many vouch for, at most `level`), ``weaker`` and ``stronger``
    (coverage of these within training, by halves of their measured response) and ``responds``
    (share of them that respond).
    """
    rows = {}
    for kind in dict.fromkeys(found.kind):
        own = known.kinds.get(kind)
        if own is None:
            rows[kind] = (0, 0, np.nan, np.nan, np.nan, np.nan)
            continue
        weaker, stronger = own.covered(level, pooled=pooled)
        reached = level if pooled else min(level, own.reached)
        sizes = (len(own.unit), own.n_units)
        rows[kind] = (*sizes, reached, weaker, stronger, float(own.responds.mean()))
    columns = ["n_conditions", "n_units", "reached", "weaker", "stronger", "responds"]
    table = pd.DataFrame.from_dict(rows, orient="index", columns=columns)
    return table.rename_axis("kind").astype({"n_conditions": int, "n_units": int})


def in_words(kinds: pd.DataFrame, level: float, *, pooled: bool) -> str:
    """Return what is covered, and what is not, in words."""
    what = (
        f"{level:.0%} of the features of all conditions together"
        if pooled
        else f"{level:.0%} of the features of a condition, in {level:.0%} of conditions"
    )
    parts = [
        f"Intervals are made for {what}. That holds on average over conditions like those that "
        "were left out of training"
    ]
    of = "features" if pooled else "conditions"
    for kind, row in kinds.iterrows():
        if not row["n_units"]:
            parts.append(f"{kind!r}: no such question was left out of training, so no intervals")
            continue
        said = (
            f"{kind!r}: {row['n_conditions']:.0f} conditions of {row['n_units']:.0f} units were "
            f"left out; covered were {row['weaker']:.0%} of the {of} with a weaker response and "
            f"{row['stronger']:.0%} of those with a stronger one"
        )
        short = row["reached"] < level
        parts.append(said + (f"; {_few(row)}" if short else ""))
    return ". ".join(parts)


def _few(row: pd.Series) -> str:
    """Return on what intervals rest where there are too few units for the level."""
    return (
        f"so few vouch for a level of {row['reached']:.2f}, and beyond it intervals rest on errors "
        "being distributed like those of other screens"
    )
