"""The judge of all models on one split with one seed: real cells and controls are measured once for all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .._contenders import COPY, POSITIVE
from ..core._screen import resolve
from ..evaluation._predictions import of_layer
from ..evaluation._scores import Marks
from ..evaluation._task import set_exam
from ..metrics._suite import SUITE
from ..tl._evaluate import chosen_metrics, controls_of, seed_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

    from .._typing import Floats


class Judge:
    """Sets the exam of :func:`shoal.tl.evaluate` and marks one prediction after another.

    Parameters
    ----------
    adata
        Screen with a test set.
    seed
        Of the halves and controls, as ``rng`` of `tl.evaluate`.
    metrics, real_layer, n_comps, min_cells
        As there. The definitions are those of the preset ``"calibrated"``: others have no controls to measure skill with.
    """

    def __init__(
        self,
        adata: AnnData,
        *,
        seed: int,
        metrics: Sequence[str] | None = None,
        real_layer: str | None = None,
        n_comps: int = 50,
        min_cells: int = 20,
    ) -> None:
        suite, drawn = chosen_metrics(metrics, SUITE), seed_of(seed)
        self.real_layer = real_layer
        self._exam = set_exam(
            adata,
            resolve(adata),
            layer=real_layer,
            split="test",
            halves=True,
            n_comps=n_comps,
            min_cells=min_cells,
            seed=drawn,
        )
        self._marks = Marks(self._exam, suite, seed=drawn)
        for name, make in controls_of(self._exam, None, copy=True).items():
            self._marks.add(name, make())

    def judge(self, adata: AnnData, label: str, layer: str) -> dict[str, Any]:
        """Return ``metrics``, ``conditions`` and ``losses`` of a row, for the twins in a layer."""
        marks, truth = self._marks, self._exam.truth
        marks.add(label, of_layer(self._exam, adata, layer))
        records, losses = {}, {}
        for name, metric in marks.suite.items():
            range_fraction, order = marks.range_of(name)
            who = {
                "value": label,
                "positive": POSITIVE,
                "negative": marks.negative_of(name),
                "copy": COPY,
            }
            records[name] = {
                "family": metric.family,
                "direction": metric.direction,
                "perfect": metric.perfect,
                "per": metric.per,
                "drf": _number(range_fraction),
                "bds": _number(order),
                "discriminates": marks.tells(name),
                **{kind: _mean(marks.scored[one][name].values) for kind, one in who.items()},
            }
            losses[name] = {
                kind: [_number(x) for x in marks.loss(one, name)] for kind, one in who.items()
            }
        del marks.scored[label]
        perturbations = self._exam.conditions["perturbation"].astype(str)
        return {
            "metrics": records,
            "losses": losses,
            "conditions": dict(zip(truth.names, perturbations, strict=True)),
        }


def _mean(values: Floats) -> float | None:
    kept = values[np.isfinite(values)]
    return float(kept.mean()) if kept.size else None


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
