"""The noise of control cells, found once and used for all perturbations of a prediction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ...core._codes import recode

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..._typing import Ints
    from ...core._population import Population
    from ..base._requests import PredictionRequest

CELLS = 1024  # cells that are inverted together


class Latents:
    """The noise of the control cells of a prediction.

    N perturbations that start at the same n cells take n inversions and not N n. With as many
    network calls for a way there as for a way back, the cost is (1 + N) / (2 N) of that of an
    inversion for every cell.

    Parameters
    ----------
    model
        The model.
    cells
        Population of the control cells.
    options
        Options of the prediction: ``n_steps`` and ``inversion``.
    """

    def __init__(self, model: Any, cells: Population, options: Mapping[str, Any]) -> None:
        self.model, self.cells, self.options = model, cells, dict(options)
        self._place: dict[tuple[int, int, int], int] = {}
        self._kept: list[torch.Tensor] = []
        method = model.settings.sampling.inversion
        self.inverts = options.get("inversion", method) is not None

    def of(self, request: PredictionRequest) -> torch.Tensor | None:
        """Return the noise (n, ...) of the cells that a request starts from, on the processor."""
        if not self.inverts:
            return None
        columns = (request.source, request.context, request.batch)
        keys = list(zip(*(column.tolist() for column in columns), strict=True))
        new = [key for key in dict.fromkeys(keys) if key not in self._place]
        for start in range(0, len(new), CELLS):
            some = new[start : start + CELLS]
            self._kept.append(self._inverted(np.array(some)))
            self._place.update({key: len(self._place) + i for i, key in enumerate(some)})
        if len(self._kept) > 1:
            self._kept = [torch.cat(self._kept)]
        return self._kept[0][[self._place[key] for key in keys]]

    def _inverted(self, keys: Ints) -> torch.Tensor:
        model, cells, v = self.model, self.cells, self.model.vocabulary
        source, context, batch = keys.T
        device = next(model.module.parameters()).device
        x = torch.from_numpy(model.space.encode(cells.values(source)))[:, None]
        batch = recode(batch, cells.batches, v.perturbed_batches)
        code = recode(context, cells.contexts, v.perturbed_contexts)
        condition = {"context": torch.from_numpy(code).to(device)}
        placed = v.placed(cells.contexts)
        if placed is not None:
            condition["context_vector"] = torch.from_numpy(placed[context]).to(device)
        batch_index = torch.from_numpy(batch)[:, None].to(device)
        found = model.module.latents(x.to(device), condition, batch_index, **self.options)
        return found[:, 0].cpu()
