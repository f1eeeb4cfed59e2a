"""Training further on the first profiles of a new line."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..._logging import logger
from ..._validate import some
from ...core._population import SPLITS
from ..base._sets import conditions_of
from ..base._training import cell_store, train_from

if TYPE_CHECKING:
    from anndata import AnnData

    from ..._random import RNGLike
    from ...training import SetSampler, Store

TEST = SPLITS.index("test")


def transfer(
    self: Any,
    adata: AnnData,
    *,
    context: str | None = None,
    max_steps: int = 200,
    lr: float = 5e-4,
    rng: RNGLike = 0,
    **settings: Any,
) -> None:
    """Train further on a few profiles of a new line, one or more of some perturbations.

    All weights are trained, from where they are, on the labelled profiles of the line alone. It is
    the second half of the published method: pretrain on some lines, then fine-tune on a few
    profiles of a new one. Where the new line is in the screen from the start, leave it among the
    training cells of ``tl.fit`` instead, and the model learns from all lines together.

    Profiles of ``obs["split"] == "test"`` are not used, where there is that column.

    Parameters
    ----------
    adata
        Profiles of the new line, control profiles among them, on the scale of training.
    context
        The line, if `adata` holds several.
    max_steps
        Steps of the optimizer.
    lr
        Learning rate.
    rng
        Seed or generator of the batches.
    **settings
        Passed to shoal.models.PerturbationModel.train: ``set_size`` and ``weight_decay``, say.

    Raises
    ------
    KeyError
        If columns, features, or vectors of perturbations or of the context are missing.
    ValueError
        If the model is not trained, there are several lines and none is named, the line is not
        there, or nothing is left to train on.
    TypeError
        If a setting is not known.
    """
    self._check_trained()
    cells = self._population(adata)
    chosen = cells.perturbed & (cells.split != TEST)
    if context is not None:
        if context not in cells.contexts:
            msg = f"context={context!r} is not in adata, which has {some(cells.contexts)}"
            raise ValueError(msg)
        chosen &= cells.context == cells.contexts.index(context)
    lines = np.unique(cells.context[chosen])
    if len(lines) > 1:
        named = [cells.contexts[i] for i in lines]
        msg = f"adata holds profiles of several lines, {some(named)}: name one with context="
        raise ValueError(msg)
    if not len(lines):
        msg = (
            "there is no perturbed profile to train on: label some of the new line, and keep them "
            "out of obs['split'] == 'test'"
        )
        raise ValueError(msg)
    here = cells.context == lines[0]
    controls = cells.labels.is_control & here & (cells.split != TEST)
    if not controls.any():
        msg = (
            f"there is no control profile of {cells.contexts[lines[0]]!r}: a profile is seen "
            "relative to the controls of its line"
        )
        raise ValueError(msg)
    conditions = replace(
        conditions_of(cells, chosen, self.vocabulary),
        control=np.flatnonzero(controls),
        cell_context=cells.context,  # controls are matched by the codes of these cells
        cell_batch=cells.batch,
        n_batches=None,
    )
    logger.info(
        "transfer to %r: %d profiles of %d perturbations, %d controls",
        cells.contexts[lines[0]],
        int(chosen.sum()),
        len(conditions),
        int(controls.sum()),
    )
    before, history = self.fit_result, self.history_

    def make_store(sampler: SetSampler, store: str) -> Store:
        return cell_store(cells, self.space, sampler.over(conditions), store)

    train_from(
        self,
        max_steps,
        make_store=make_store,
        validation=lambda: None,
        rng=rng,
        **{"lr": lr, **settings},
    )
    self.history_ = {
        **(history or {}),
        **{f"transfer_{name}": table for name, table in self.history_.items()},
    }
    self.fit_result = before
