"""Images on their way: where cells are at some times of the flow."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch

from ..._keys import PREDICTIONS
from ..._random import RNGLike, as_generator
from ..._validate import get_adata
from ...core._order import stable_order
from ...core._predictions import known_predictions, prediction_entry
from ...core._slots import free_name
from ...metrics._maps import check_times
from ..base._requests import request_given, requested_dose, requested_name, warn_of_dose
from ..base._sets import run_in_sets

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from torch import Tensor

    from ..base._config import Guidance
    from ..base._preset_model import PresetModel
    from ..base._sets import RequestedSets


def states(
    model: PresetModel,
    adata: AnnData,
    perturbation: str,
    *,
    times: Sequence[float] = (0.0, 0.25, 0.5, 0.75, 1.0),
    dose: float | None = None,
    n_steps: int | None = None,
    sampler: str | None = None,
    guidance: Guidance | None = None,
    rng: RNGLike = 0,
) -> AnnData:
    """Show cells on the way of the flow: from control images, through others, to perturbed ones.

    At time 0 there is the start of the flow, which is the image itself unless noise is added to it.
    The times between are no measured times. They show by which images the network gets from the
    start to the end, and no cell was seen on that way.

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
    n_steps, sampler, guidance
        As in `predict`.
    rng
        Seed or generator.

    Returns
    -------
    AnnData
        All cells at the first time, in their order, then all at the second, and so on. The images
        are in the slot of training, in its type and range. ``obs["time"]`` is the time and
        ``obs["source"]`` the name of the cell. Where the screen has a column of such a name, ours
        is called ``time_2`` or ``source_2``.

    Raises
    ------
    KeyError
        If the perturbation is not known or has no vector.
    ValueError
        If the model is not trained, a time is not within 0 and 1 or comes twice, or a screen with
        doses is given none.
    """
    from anndata import concat

    adata, rng = get_adata(adata, None), as_generator(rng)
    model._check_trained()
    times = check_times(times)
    options = {"n_steps": n_steps, "sampler": sampler, "guidance": guidance}
    model._check_options({name: value for name, value in options.items() if value is not None})
    cells = model._population(adata)
    name = requested_name(perturbation, model.cells, model.vocabulary)
    model._refuse([name])
    number = requested_dose(dose, model.cells)
    warn_of_dose(number, model.vocabulary)
    request = request_given(name, cells, number)
    order = stable_order(cells.adata)
    order = order[np.lexsort((request.batch[order], request.context[order]))]
    part, back = request.take(order), np.argsort(order, kind="stable")
    generator = torch.Generator(device="cpu").manual_seed(int(rng.integers(2**62)))
    increasing = sorted(times)

    def network(x: Tensor, sets: RequestedSets) -> tuple[Tensor, ...]:
        where = (sets.condition, sets.batch_index)
        return model.module.states(x, *where, times=increasing, generator=generator, **options)

    start = cells.values(part.source)
    made = run_in_sets(network, model.space.encode(start), model._sets(part, cells))
    parts = []
    for time in times:
        z = made[increasing.index(time)].numpy()
        values = model.space.decode(z, start)[back]
        parts.append(model._as_adata(model._as_given(values, request, cells), request, cells))
    column = free_name("time", parts[0].obs)
    for own, time in zip(parts, times, strict=True):
        own.obs[column] = time
        own.obs_names = pd.Index([f"{cell}-t{time}" for cell in own.obs_names])
    together = concat(parts)
    about = known_predictions(parts[0]).loc["X"].to_dict() | {"time": column}
    together.uns[PREDICTIONS] = prediction_entry(together, "X", **about)
    return together
