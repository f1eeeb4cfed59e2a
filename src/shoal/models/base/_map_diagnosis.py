"""What a model that carries control cells does to them: their way, its cost, and its gain.

Populations are unpaired: no measurement says where a single cell went. These functions show what a
model assumes. A model offers them as methods by naming them in its class.
"""

from __future__ import annotations

from copy import copy, deepcopy
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..._keys import PREDICTIONS
from ..._logging import logger, progress
from ..._random import RNGLike, as_generator, spawn
from ..._validate import get_adata, some, whole
from ...core._codes import grouped, members
from ...core._population import SPLITS
from ...core._predictions import known_predictions, prediction_entry
from ...core._slots import free_name
from ...metrics import energy_distance
from ...metrics._maps import check_times, costs, displacement, excess, swaps
from ._arrays import stacked
from ._requests import request_like

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from numpy.typing import NDArray

    from ..._typing import Ints, Matrix
    from ...core._population import Population
    from ._model import PerturbationModel

    Singles = NDArray[np.float32]


def interpolate(
    model: PerturbationModel,
    adata: AnnData,
    perturbation: str,
    *,
    times: Sequence[float] = (0.0, 0.25, 0.5, 0.75, 1.0),
    dose: float | None = None,
    rng: RNGLike = 0,
    **options: Any,
) -> AnnData:
    """Put cells on the straight way from where they are to where the model takes them.

    This is displacement interpolation. The way is straight in the space of the model. What that
    space leaves out of a cell stays as it was measured. At time 0 there is the cell itself, at time
    1 what `transport` returns for the same seed. The times between are no measured times: they
    assume that cells move straight and at constant speed. Zeros and library sizes are set anew at
    every time, which bends the way a little; `match_zeros` and `renew_library` turn that off.

    Parameters
    ----------
    adata
        Cells to start from, as for `transport`.
    perturbation
        Name. A combination joins single ones.
    times
        Different times from 0 to 1.
    dose
        Dose, in the unit of the screen's dose column. A screen with doses needs one.
    rng
        Seed or generator.
    **options
        Options of the model.

    Returns
    -------
    AnnData
        All cells at the first time, in their order, then all at the second, and so on.
        ``obs["time"]`` is the time and ``obs["source"]`` the name of the cell. The other columns
        are those of `transport`. Where the screen has a column of such a name, ours is called
        ``time_2`` or ``source_2``.

    Raises
    ------
    KeyError
        If the perturbation has no vector, or features of training are missing.
    ValueError
        If a time is not within 0 and 1, or comes twice; if the model begins at noise and carries no
        cell; if a screen with doses is given none.
    """
    from anndata import AnnData

    adata = get_adata(adata, None)
    times = check_times(times)
    _check_carries(model)
    rng = as_generator(rng)
    draws = [*(deepcopy(rng) for _ in times[1:]), rng]  # the same noise at every time
    parts = [
        _until(model, t).transport(adata, perturbation, dose=dose, rng=draw, **options)
        for t, draw in zip(times, draws, strict=True)
    ]
    time = free_name("time", parts[0].obs)
    pairs = list(zip(parts, times, strict=True))
    obs = pd.concat([part.obs.assign(**{time: t}) for part, t in pairs])
    obs.index = [f"{name}-t{t}" for name, t in zip(obs.index, obs[time], strict=True)]
    made = AnnData(stacked([part.X for part in parts]), obs=obs, var=parts[0].var)
    about = known_predictions(parts[0]).loc["X"].to_dict() | {"time": time}
    made.uns[PREDICTIONS] = prediction_entry(made, "X", **about)
    return made


def diagnose(
    model: PerturbationModel,
    adata: AnnData | None = None,
    *,
    max_cells: int = 500,
    power: int = 2,
    rng: RNGLike = 0,
    **options: Any,
) -> pd.DataFrame:
    """Map control cells to every condition of a screen, and return what that costs and gains.

    For each condition control cells of its context and batches are drawn, as many as it has cells
    and none twice. They are carried from where they are. All lengths are in the space of the model,
    where the mean square of a coordinate of training cells is 1.

    Parameters
    ----------
    adata
        Screen; that of training if ``None``.
    max_cells
        Most cells of a condition to look at. `excess` takes the cube of it in time.
    power
        Ground cost of `excess` and `swaps`: 1 for distances, 2 for squared distances.
    rng
        Seed or generator of the choice of cells, and of the sampler.
    **options
        Options of the model.

    Returns
    -------
    DataFrame
        One row per condition. The index is the perturbation; ``context`` and ``dose`` are columns
        where the screen has them; ``split`` is that of the cells (``"train"`` where there is none).
        Conditions without a vector are left out, and named in a warning.

        ``n``
            int, control cells that were mapped.
        ``cost``, ``cost_sd``
            float, mean distance that a cell is carried, and its standard deviation over cells (NaN
            for one cell).
        ``excess``
            float, mean cost over that of the best assignment of the same cells, minus 1. It is 0
            for an optimal map.
        ``swaps``
            float, share of pairs of cells that would gain by swapping their images. It is 0 for an
            optimal map, and 1/2 where the images do not depend on the cell.
        ``energy``, ``energy_control``
            float, unbiased energy distance to the real cells, of the mapped controls and of the
            same controls left alone (NaN below two cells). A map that is worth its cost has the
            first near 0 and well below the second.

    Raises
    ------
    KeyError
        If features of training are missing.
    ValueError
        If there is no condition to map to or no control cell, the model is not trained, or it
        begins at noise and carries no cell.
    """
    max_cells = whole(max_cells, name="max_cells")
    model._check_options(options)
    _check_carries(model)
    cells = model._population(adata)
    missing = model.vocabulary.without_vector
    able = np.array([not missing([name]) for name in cells.names], dtype=bool)
    names = cells.adata.obs_names.to_numpy().astype(str)
    rank = np.argsort(np.argsort(names, kind="stable"), kind="stable")
    rows = np.flatnonzero(cells.perturbed)
    _warn_left_out([cells.names[i] for i in np.unique(cells.labels.code[rows]) if not able[i]])
    rows = rows[able[cells.labels.code[rows]]]
    if not len(rows):
        msg = (
            "no cell of this screen has a perturbation that the model has a vector for; there is "
            "nothing to map to"
        )
        raise ValueError(msg)
    rows = rows[np.argsort(rank[rows])]  # the draws do not depend on the order of the rows
    code, keys = grouped(
        perturbation=cells.labels.code[rows],
        context=cells.context[rows],
        dose=cells.dose[rows],
        split=cells.split[rows],
    )
    each = zip(members(code), spawn(rng, len(keys)), strict=True)
    figures = [
        _of_condition(
            model,
            rows[some],
            cells,
            rank,
            max_cells=max_cells,
            power=power,
            rng=one,
            **options,
        )
        for some, one in progress(each, total=len(keys), desc="diagnosing the map")
    ]
    where = {
        "context": [cells.contexts[c] if c >= 0 else "" for c in keys["context"]],
        "dose": keys["dose"].to_numpy(),
    }
    screen = cells.screen
    kept = {"context": screen.context_key is not None, "dose": screen.dose_key is not None}
    split = np.array([*SPLITS, ""])[keys["split"]]
    index = pd.Index([cells.names[i] for i in keys["perturbation"]], name="perturbation")
    columns = {name: where[name] for name in kept if kept[name]} | {"split": split}
    return pd.concat([pd.DataFrame(columns), pd.DataFrame(figures)], axis=1).set_index(index)


def _of_condition(
    model: PerturbationModel,
    rows: Ints,
    cells: Population,
    rank: Ints,
    *,
    max_cells: int,
    power: int,
    rng: np.random.Generator,
    **options: Any,
) -> dict[str, float]:
    """Return the figures of one condition, given its cells in the order of their names."""
    chosen = rows if len(rows) <= max_cells else rng.choice(rows, max_cells, replace=False)
    drawn, again = cells.controls.draw(cells.context[chosen], cells.batch[chosen], rng)
    source = np.unique(drawn[~again])
    source = source[np.argsort(rank[source])]
    n = len(source)
    like = request_like(cells, np.repeat(rows[:1], n), source)
    request = replace(like, batch=cells.batch[source], from_source=True)
    made = model._finished(request, cells, rng, options)
    encode = model.space.encode
    x, y, real = encode(cells.values(source)), encode(made), encode(cells.values(chosen))
    cost = costs(x, y)
    enough = min(n, len(real)) > 1
    return {
        "n": n,
        "cost": cost.mean(),
        "cost_sd": cost.std(ddof=1) if n > 1 else np.nan,
        "excess": excess(x, y, power=power),
        "swaps": swaps(x, y, power=power),
        "energy": energy_distance(y, real) if enough else np.nan,
        "energy_control": energy_distance(x, real) if enough else np.nan,
    }


def _until(model: PerturbationModel, time: float) -> PerturbationModel:
    """Return the same model, whose cells stop on the straight way at a time."""
    stopped = copy(model)
    stopped.space = Partway(model.space, time)
    return stopped


def _check_carries(model: PerturbationModel) -> None:
    if not model.carries_cells:
        msg = (
            "this model begins at noise and carries no cell, so it is no map from control to "
            "perturbed cells; train one with config={'source': 'control'}"
        )
        raise ValueError(msg)


def _warn_left_out(names: list[str]) -> None:
    if names:
        said = "%d perturbations have no vector and are left out: %s"
        logger.warning(said, len(names), some(names, 8))


@dataclass(frozen=True)
class Partway:
    """A space from which cells come back before they have arrived: they stop at a time."""

    space: Any
    time: float

    def encode(self, block: Matrix) -> Singles:
        """Return (n, k) cells, as the space itself does."""
        return self.space.encode(block)

    def decode(self, z: Singles, start: Singles) -> Singles:
        """Return (n, d) values of cells on their way from `start` (n, d) to z (n, k)."""
        return self.space.decode(displacement(self.space.encode(start), z, [self.time])[0], start)
