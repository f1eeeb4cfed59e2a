"""Scores of many models on one split with one seed: they share one task and its controls."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from .._contenders import COPY, POSITIVE
from .._validate import some
from ..core._population import population
from ..core._predictions import refuse_counts
from ..core._screen import resolve
from ..metrics._suite import SUITE
from ._checks import checked
from ._evaluate import REAL, add_calibrating, chosen_metrics, seed_of
from ._paths import names_at, paths_of
from ._predictions import holds_real_values, opened, populations_of, unpredicted
from ._same_cells import fingerprint, same
from ._scores import Scores
from ._task import evaluation_task

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from anndata import AnnData

    from .._typing import Ints, Matrix
    from ..metrics._comparison import Populations
    from ..models.base._vocabulary import Vocabulary


class Scorer:
    """Scores one prediction after another as :func:`shoal.tl.evaluate` does.

    The suite is the calibrated one: others have no controls to measure skill with.

    Parameters
    ----------
    adata
        Screen with a test set.
    seed
        Seed of the halves and controls.
    metrics, layer, n_comps, min_cells
        As for :func:`shoal.tl.evaluate`.
    """

    def __init__(
        self,
        adata: AnnData,
        *,
        seed: int,
        metrics: Sequence[str] | None = None,
        layer: str | None = None,
        n_comps: int = 50,
        min_cells: int = 20,
    ) -> None:
        chosen, drawn = chosen_metrics(metrics, SUITE), seed_of(seed)
        self.layer = layer
        self._task = evaluation_task(
            population(adata, resolve(adata), layer=layer),
            split="test",
            halves=True,
            n_comps=n_comps,
            min_cells=min_cells,
            seed=drawn,
        )
        self._known: list[dict[str, Any]] = []
        self._scores = Scores(self._task, chosen, seed=drawn)
        add_calibrating(self._scores)

    def score(
        self, name: str, vocabulary: Vocabulary, predicted: tuple[Ints, Matrix, Ints]
    ) -> dict[str, Any]:
        """Score the predicted test cells of a model.

        Parameters
        ----------
        name
            Name of the model.
        vocabulary
            What it has learned the names of.
        predicted
            Rows, values and rows of the start cells, as its ``twins`` returns them.

        Returns
        -------
        ``metrics``, ``conditions``, ``losses`` and ``fingerprint`` of a row of results. A model
        that predicts the same cells as one before it has its numbers; nothing is computed twice.

        Raises
        ------
        ValueError
            If the model predicts something else than the genes of the screen, a value is NaN, or
            the scale is another.
        """
        return self._numbers(name, self._populations(vocabulary, predicted))

    def score_file(self, name: str, path: Path) -> tuple[dict[str, Any], bool]:
        """Score the prediction of another program.

        Parameters
        ----------
        name
            Name of the contender.
        path
            An h5ad file of predicted cells, with all test conditions.

        Returns
        -------
        What `score` returns, and whether the embedding of the model has seen held-out cells.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        KeyError
            If a gene of the screen, or a column that conditions are made of, is missing.
        ValueError
            If a condition has no prediction, values are counts, NaN or on another scale, or the
            predicted cells are copies of the real ones.
        """
        task = self._task
        with opened(task.cells.adata, path, layer=self.layer) as given:
            refuse_counts(*given.recorded_in(task.cells.adata), what="a benchmark")
            without = unpredicted(task.cells, given, split="test")
            lacking = [condition for condition in task.truth.names if condition in without]
            if lacking:
                msg = (
                    f"{len(lacking)} of {len(task.truth.names)} held-out conditions have no "
                    f"prediction: {some(lacking)}; {lacking[0]!r} {without[lacking[0]]}. A "
                    "contender predicts all of them"
                )
                raise ValueError(msg)
            made = populations_of(task, given)
            if holds_real_values(task, made):
                msg = f"{REAL}: nothing was predicted"
                raise ValueError(msg)
            return self._numbers(name, checked(made, given.slot)), given.transductive

    def _numbers(self, name: str, made: Populations) -> dict[str, Any]:
        """Return the numbers of a row of results."""
        scores = self._scores
        cells = [*made.cells, *(() if isinstance(made.paths, str) else made.paths[0])]
        own = fingerprint(cells).tolist()
        for known in self._known:
            if same(known["fingerprint"], own):
                return known
        scores.add(name, made)
        records, losses = {}, {}
        for metric, record in scores.metrics.items():
            range_fraction, discrimination = scores.range_of(metric)
            names = {
                "value": name,
                "positive": POSITIVE,
                "negative": scores.negative_of(metric),
                "copy": COPY,
            }
            means = {kind: _number(scores.mean(one, metric)) for kind, one in names.items()}
            records[metric] = {
                "family": record.family,
                "direction": record.direction,
                "perfect": record.perfect,
                "per": record.per,
                "drf": _number(range_fraction),
                "bds": _number(discrimination),
                "discriminates": scores.tells(metric),
                **means,
            }
            losses[metric] = {
                kind: [_number(x) for x in scores.loss(one, metric)] for kind, one in names.items()
            }
        del scores.scored[name]
        perturbations = self._task.conditions["perturbation"].astype(str)
        numbers = {
            "metrics": records,
            "losses": losses,
            "conditions": dict(zip(self._task.truth.names, perturbations, strict=True)),
            "fingerprint": own,
        }
        self._known.append(numbers)
        return numbers

    def _populations(
        self, vocabulary: Vocabulary, predicted: tuple[Ints, Matrix, Ints]
    ) -> Populations:
        rows, values, start = predicted
        if tuple(vocabulary.features) != self._task.cells.features:
            msg = (
                f"the model predicts {len(vocabulary.features)} features of "
                f"{vocabulary.use_rep or 'X'}, which are not the {len(self._task.cells.features)} "
                "genes that predictions are scored in"
            )
            raise ValueError(msg)
        names = self._task.cells.adata.obs_names.to_series().iloc[start]
        places = [np.searchsorted(rows, own) for own in self._task.predicted]
        made = checked(self._task.populations(rows, values), "the prediction")
        return replace(made, paths=paths_of(self._task, names_at(names, places)))


def _number(value: float) -> float | None:
    """Return a number as JSON can hold it: ``None`` in place of NaN."""
    return float(value) if np.isfinite(value) else None
