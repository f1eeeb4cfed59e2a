"""What a network that carries control cells does to them: the way it takes, what it costs, and whether it is needed."""

from __future__ import annotations

from copy import copy, deepcopy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..._logging import logger, progress
from ..._random import RNGLike, as_generator, spawn
from ..._validate import get_adata, positive
from ...core._codes import grouped, members
from ...core._population import SPLITS
from ...metrics import energy_distance
from ...metrics._maps import check_times, costs, displacement, excess, swaps
from ._arrays import stacked
from ._predictor import Predictor, Wanted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from numpy.typing import NDArray

    from ..._typing import Ints, Matrix
    from ...core._population import Population

    Singles = NDArray[np.float32]


class MapMixin(Predictor):
    """Diagnostics of a map from control to perturbed cells; a `PerturbationModel` adds the map.

    Populations are unpaired: no measurement says where a single cell went. These methods show what the model assumes.
    """

    space: Any
    module: Any

    def interpolate(
        self,
        adata: AnnData,
        perturbation: str,
        *,
        times: Sequence[float] = (0.0, 0.25, 0.5, 0.75, 1.0),
        dose: float | None = None,
        rng: RNGLike = 0,
        **options: Any,
    ) -> AnnData:
        """Put every cell on the straight way from where it is to where the model takes it (displacement interpolation).

        The way is straight in the space of the model, and what that space leaves out of a cell stays as it was measured. At
        time 0 there is the cell itself, at time 1 what `transport` returns for the same seed. The times between are no
        measured time: they are what lies between under the assumption that cells move straight and at constant speed.

        Parameters
        ----------
        adata
            Cells to start from, as for `transport`.
        perturbation
            Name; a combination joins single ones.
        times
            Different times from 0 to 1.
        dose
            Dose, in the unit of the screen's dose column; a screen with doses needs one.
        rng
            Seed or generator.
        **options
            Passed to the sampler of the model.

        Returns
        -------
        AnnData
            All cells at the first time, in their order, then all at the second, and so on. ``obs["time"]`` is the time and
            ``obs["source"]`` the name of the cell; the other columns are those of `transport`.

        Raises
        ------
        KeyError
            If the perturbation has no vector, or features of training are missing.
        ValueError
            If a time is not within 0 and 1, or comes twice; if the model begins at noise and carries no cell; if a screen
            with doses is asked without one.
        """
        from anndata import AnnData

        adata = get_adata(adata, None)
        times = check_times(times)
        self._check_carries()
        rng = as_generator(rng)
        draws = [
            *(deepcopy(rng) for _ in times[1:]),
            rng,
        ]  # the same cells, and the same noise, at every time
        parts = [self._until(t).transport(adata, perturbation, dose=dose, rng=r, **options) for t, r in
                 zip(times, draws, strict=True)]  # fmt: skip
        obs = pd.concat([part.obs.assign(time=t) for part, t in zip(parts, times, strict=True)])
        obs.index = [f"{name}-t{t}" for name, t in zip(obs.index, obs["time"], strict=True)]
        return AnnData(stacked([part.X for part in parts]), obs=obs, var=parts[0].var)

    def diagnose(
        self,
        adata: AnnData | None = None,
        *,
        max_cells: int = 500,
        power: int = 2,
        rng: RNGLike = 0,
        **options: Any,
    ) -> pd.DataFrame:
        """Map control cells to every condition of a screen, and say what the map costs, whether it crosses, and what it gains.

        For each condition controls of its context and batches are drawn, as many as it has cells, none twice, and carried
        from where they are. All lengths are in the space of the model, where the mean square of a coordinate of training
        cells is 1, and cells that come out of the model are encoded again.

        Parameters
        ----------
        adata
            Screen; the one the model was made with if ``None``.
        max_cells
            Most cells of a condition to look at. `excess` takes the cube of it.
        power
            Ground cost of `excess` and `swaps`: 1 for distances, 2 for squared distances.
        rng
            Seed or generator of the choice of cells, and of the sampler.
        **options
            Passed to the sampler of the model.

        Returns
        -------
        DataFrame
            One row per condition, by perturbation (the index), ``context`` and ``dose`` (columns where the screen has
            them), and ``split`` of its cells (``"train"`` for all of a screen without one). Conditions that the model has
            no vector for are left out, and named in a warning.

            ``n``
                int, control cells that were mapped.
            ``cost``, ``cost_sd``
                float, mean distance that a cell is carried, and its standard deviation over cells (NaN for one cell).
            ``excess``
                float, mean cost over that of the best assignment of the same cells, minus 1: 0 for an optimal map.
            ``swaps``
                float, share of pairs of cells that would gain by swapping their images: 0 for an optimal map, 1/2 where the
                images do not depend on the cell.
            ``energy``, ``energy_control``
                float, unbiased energy distance to the real cells of the mapped controls, and of the same controls left
                alone (NaN below two cells). A map that is worth its cost has the first near 0 and well below the second.

        Raises
        ------
        KeyError
            If features of training are missing.
        ValueError
            If there is no condition to map to or no control cell, the model is not trained, or it begins at noise and
            carries no cell.
        """
        positive(max_cells, name="max_cells")
        self._check_options(options)
        self._check_carries()
        cells = self._population(adata)
        if "cross_context" in self.options:
            options = {
                **options,
                "cross_context": False,
            }  # from controls, also where relatives were measured elsewhere
        able = np.array(
            [not self.vocabulary.without_vector([name]) for name in cells.names], dtype=bool
        )
        rank = np.argsort(
            np.argsort(cells.adata.obs_names.to_numpy().astype(str), kind="stable"), kind="stable"
        )
        rows = np.flatnonzero(cells.perturbed)
        self._tell_left_out(
            [cells.names[i] for i in np.unique(cells.labels.code[rows]) if not able[i]]
        )
        rows = rows[able[cells.labels.code[rows]]]
        if not len(rows):
            msg = "no cell of this screen has a perturbation that the model has a vector for; there is nothing to map to"
            raise ValueError(msg)
        rows = rows[
            np.argsort(rank[rows])
        ]  # whatever the order of the rows, the same cells are drawn
        code, keys = grouped(
            perturbation=cells.labels.code[rows],
            context=cells.context[rows],
            dose=cells.dose[rows],
            split=cells.split[rows],
        )
        each = zip(members(code), spawn(rng, len(keys)), strict=True)
        found = [
            self._diagnosed(rows[own], cells, rank, int(max_cells), power, generator, options)
            for own, generator in progress(each, total=len(keys), desc="diagnosing the map")
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
        return pd.concat([pd.DataFrame(columns), pd.DataFrame(found)], axis=1).set_index(index)

    def _diagnosed(
        self,
        rows: Ints,
        cells: Population,
        rank: Ints,
        max_cells: int,
        power: int,
        rng: np.random.Generator,
        options: dict[str, Any],
    ) -> dict[str, float]:
        """Return the figures of one condition, by its cells in the order of their names."""
        chosen = rows if len(rows) <= max_cells else rng.choice(rows, max_cells, replace=False)
        drawn, again = cells.controls.draw(cells.context[chosen], cells.batch[chosen], rng)
        source = np.unique(drawn[~again])
        source = source[np.argsort(rank[source])]
        n, first = len(source), rows[:1]
        wanted = Wanted(
            names=tuple(cells.names),
            perturbation=np.repeat(cells.labels.code[first], n),
            context=np.repeat(cells.context[first], n),
            batch=cells.batch[source],
            dose=np.repeat(cells.dose[first], n),
            source=source,
        )
        made = self._generate(wanted, cells, rng, **options)
        x, y, real = (
            self.space.encode(block) for block in (cells.values(source), made, cells.values(chosen))
        )
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

    def _until(self, time: float) -> MapMixin:
        """Return the same model, which stops on the straight way at this time."""
        model = copy(self)
        model.space = Partway(self.space, time)
        return model

    def _check_carries(self) -> None:
        if getattr(self.module.config, "source", "control") == "noise":
            msg = (
                "this model begins at noise and carries no cell, so it is no map from control to perturbed cells; train one "
                "with config={'source': 'control'}"
            )
            raise ValueError(msg)

    def _tell_left_out(self, names: list[str]) -> None:
        if names:
            some = ", ".join(names[:8]) + (" ..." if len(names) > 8 else "")
            logger.warning("%d perturbations have no vector and are left out: %s", len(names), some)


@dataclass(frozen=True)
class Partway:
    """A space whose cells come back before they have arrived."""

    space: Any
    time: float

    def encode(self, block: Matrix) -> Singles:
        return self.space.encode(block)

    def decode(self, z: Singles, start: Singles) -> Singles:
        """Turn (n, k) into (n, d) values of cells that are on their way from `start` (n, d) to z."""
        return self.space.decode(displacement(self.space.encode(start), z, [self.time])[0], start)
