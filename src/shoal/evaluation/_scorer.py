"""Scores of many models on one split with one seed: they share one task and its controls."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from .._contenders import COPY, POSITIVE
from .._logging import logger
from .._validate import some
from ..core._population import population
from ..core._predictions import refuse_counts
from ..core._screen import resolve
from ..metrics._suite import SUITE
from ._baseline_predictions import baseline_predictions
from ._checks import checked
from ._evaluate import REAL, add_calibrating, chosen_metrics, seed_of
from ._paths import names_at, paths_of
from ._predictions import holds_real_values, opened, populations_of, unpredicted
from ._reference import (
    AUTO,
    check_reference,
    reference_name,
    reference_taken,
    with_reference,
)
from ._rows import COLUMN_OF, OWN, REFERENCE
from ._same_cells import fingerprint, same
from ._scores import Scores, by_condition_and_draw
from ._task import evaluation_tasks

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import pandas as pd
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
    metrics, layer, n_comps, min_cells, n_draws, reference
        As for :func:`shoal.tl.evaluate`.
    embedding
        Vectors of the perturbations, if the reference uses them.
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
        n_draws: int = 5,
        reference: str = AUTO,
        embedding: str | pd.DataFrame | None = None,
    ) -> None:
        check_reference(reference)
        chosen, drawn = chosen_metrics(metrics, SUITE), seed_of(seed)
        cells = population(adata, resolve(adata), layer=layer)
        fixed = reference_name(cells, reference, split="test", embedding=embedding, seed=drawn)
        baselines = with_reference((), fixed)
        self.layer = layer
        self._tasks = evaluation_tasks(
            cells,
            split="test",
            halves=True,
            n_comps=n_comps,
            min_cells=min_cells,
            seed=drawn,
            n_draws=n_draws,
            baselines=baselines,
        )
        self._known: list[dict[str, Any]] = []
        self._scores = Scores(self._tasks, chosen, seed=drawn)
        add_calibrating(self._scores)
        for found in baseline_predictions(
            self._tasks, baselines, embedding=embedding, reference=fixed
        ):
            self._scores.enter(found)
        rows, refused = self._scores.row_of(), self._scores.refused
        self._scores.reference, why = reference_taken(fixed, rows, refused)
        if why:
            logger.warning("%s", why)

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
        ``metrics``, ``conditions``, ``losses``, ``draws``, ``reference``, ``responds``, ``silent``
        and ``fingerprint`` of a row of results. A model that predicts the same cells as one before
        it has its numbers; nothing is computed twice.

        Raises
        ------
        ValueError
            If the model predicts something else than the genes of the screen, a value is NaN, or
            the scale is another.
        """
        return self._numbers(self._populations(vocabulary, predicted))

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
        task = self._tasks[0]
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
            made = populations_of(self._tasks, given)
            if holds_real_values(task, made[0]):
                msg = f"{REAL}: nothing was predicted"
                raise ValueError(msg)
            several = [checked(one, given.slot) for one in made]
            return self._numbers(several), given.transductive

    def _numbers(self, made: Sequence[Populations]) -> dict[str, Any]:
        """Return the numbers of a row of results."""
        scores = self._scores
        first = made[0]
        cells = [*first.cells, *(() if isinstance(first.paths, str) else first.paths[0])]
        own = fingerprint(cells).tolist()
        for known in self._known:
            if same(known["fingerprint"], own):
                return known
        scores.add(OWN, made)
        records: dict[str, Any] = {}
        losses: dict[str, Any] = {}
        draws: dict[str, Any] = {}
        for metric, record in scores.metrics.items():
            range_fraction, discrimination = scores.range_of(metric)
            names = {
                COLUMN_OF[OWN]: OWN,
                COLUMN_OF[POSITIVE]: POSITIVE,
                "negative": scores.negative_of(metric),
                COLUMN_OF[COPY]: COPY,
                COLUMN_OF[REFERENCE]: scores.reference,
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
            parts = {
                kind: by_condition_and_draw(scores.losses(one, metric))
                for kind, one in names.items()
            }
            losses[metric] = {kind: [_number(x) for x in own] for kind, (own, _) in parts.items()}
            draws[metric] = {kind: own.tolist() for kind, (_, own) in parts.items()}
        del scores.scored[OWN]
        task = self._tasks[0]
        perturbations = task.conditions["perturbation"].astype(str)
        numbers = {
            "metrics": records,
            "losses": losses,
            "draws": draws,
            "reference": scores.reference,
            "responds": scores.responses.anything,
            "silent": [
                name
                for name, silent in zip(task.truth.names, scores.responses.silent, strict=True)
                if silent
            ],
            "conditions": dict(zip(task.truth.names, perturbations, strict=True)),
            "fingerprint": own,
        }
        self._known.append(numbers)
        return numbers

    def _populations(
        self, vocabulary: Vocabulary, predicted: tuple[Ints, Matrix, Ints]
    ) -> list[Populations]:
        rows, values, start = predicted
        features = self._tasks[0].cells.features
        if tuple(vocabulary.features) != features:
            msg = (
                f"the model predicts {len(vocabulary.features)} features of "
                f"{vocabulary.use_rep or 'X'}, which are not the {len(features)} "
                "genes that predictions are scored in"
            )
            raise ValueError(msg)
        names = self._tasks[0].cells.adata.obs_names.to_series().iloc[start]
        several = []
        for task in self._tasks:
            places = [np.searchsorted(rows, own) for own in task.predicted]
            made = checked(task.populations(rows, values), "the prediction")
            several.append(replace(made, paths=paths_of(task, names_at(names, places))))
        return several


def _number(value: float) -> float | None:
    """Return a number as JSON can hold it: ``None`` in place of NaN."""
    return float(value) if np.isfinite(value) else None
