"""Unlasting beside simple rows: the published recipes at the size of a processor, and a start at the best simple row.

    python benchmarks/unlasting_beside.py [--data norman renge] [--seeds 0] [--steps 300] [--long 2000] [--rows "published"]

Conditions and columns are those of `unlasting_choice.py`: inner ones, which no table of results is made of. `published` and
`published_v2` have width 256 and one layer a part, and `--long` steps; the authors train 10,000 and more of width 1,024 on a graphics
card. `starts at the sum of the parts`: the preset `shoal`, where combinations start at control cells that are moved by the mean shifts
of their parts, so that the network only learns what is left. Half of the training sets of combinations start there. It is not a
setting of the package, since it is no better: it stands here whole.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from _evaluate import exam
from _screens import DATA, settings
from threadpoolctl import threadpool_limits
from unlasting_choice import SPLITS, columns, inner

import shoal as sh
from shoal.metrics._cells import densify
from shoal.models import Unlasting
from shoal.models.start._start import StartingCells

if TYPE_CHECKING:
    from shoal.core._population import Population
    from shoal.models.base._requests import PredictionRequest
    from shoal.training import Conditions, SetBatch, Store
    from shoal.training._sampler import Draw

SIMPLE = ("additive", "own_shift", "matching_mean", "other_contexts")
SMALL = {"width": 256, "decoder": 256, "depth": 1}
SHARE = 0.5  # of the training sets of combinations


class Moves:
    """The mean shifts of perturbations that were measured alone, by their codes in the vocabulary of a model."""

    def __init__(self, model: Unlasting) -> None:
        cells, vocabulary = model.cells, model.vocabulary
        control = densify(cells.rows.take(np.flatnonzero(cells.train_control))).mean(0)
        self.known = np.zeros(len(vocabulary.perturbations), dtype=bool)
        self.shift = np.zeros((len(self.known), len(control)), dtype=np.float32)
        for code in np.unique(cells.labels.code[cells.train]):
            (parts,) = vocabulary.parts([cells.names[code]])
            if (parts >= 0).sum() == 1:
                own = np.flatnonzero(cells.train & (cells.labels.code == code))
                self.shift[parts.max()] = densify(cells.rows.take(own)).mean(0) - control
                self.known[parts.max()] = True

    def of(self, parts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return which of some conditions (n, P) are combinations of known parts, and the sums of their shifts (n, d)."""
        there, code = parts >= 0, parts.clip(min=0)
        able = (there.sum(1) > 1) & (self.known[code] | ~there).all(1)
        return able, (self.shift[code] * there[..., None]).sum(1)


class MovedStore:
    """A store some of whose combinations start at moved control cells; the network is given no perturbation for them."""

    def __init__(self, store: Store, moves: Moves, scale: float) -> None:
        self.store, self.sampler, self.moves, self.scale = store, store.sampler, moves, scale
        self.to, self.close = store.to, store.close

    def batch(self, step: int, rank: int = 0, world: int = 1) -> SetBatch:
        draw = self.sampler.draw(step, rank, world)
        rng = np.random.default_rng((self.sampler.seed, 5, step, rank))
        return self._moved(self.sampler.conditions, draw, rng.random(len(draw.index)) < SHARE)

    def gather(self, conditions: Conditions, draw: Draw) -> SetBatch:
        return self._moved(conditions, draw, np.ones(len(draw.index), dtype=bool))

    def _moved(self, conditions: Conditions, draw: Draw, chosen: np.ndarray) -> SetBatch:
        able, shift = self.moves.of(conditions.parts[draw.index])
        moved = torch.from_numpy(able & chosen)[:, None]
        batch = self.store.gather(conditions, draw)
        shift = (torch.from_numpy(shift / self.scale) * moved)[:, None].to(batch.source)
        present = batch.condition["present"] & ~moved
        return replace(
            batch,
            source=batch.source + shift,
            condition=batch.condition | {"present": present},
        )


class MovedStart:
    """Predictions of combinations start at control cells moved by the sum of the shifts of their parts."""

    def __init__(self, model: Unlasting) -> None:
        self.model, self.moves = model, Moves(model)

    def training_store(self, store: Store) -> MovedStore:
        return MovedStore(store, self.moves, self.model.space.scale)

    def elsewhere(
        self, request: PredictionRequest, cells: Population, rng: np.random.Generator
    ) -> StartingCells | None:
        parts = self.model.vocabulary.parts(list(request.names))[request.perturbation]
        able, shift = self.moves.of(parts)
        rows = np.flatnonzero(able)
        if not len(rows):
            return None
        measured = cells.values(request.source[rows])
        values = np.maximum(measured + shift[rows], 0)
        return StartingCells(rows=rows, values=values, measured=measured, perturbed=True)


ROWS: dict[str, dict[str, Any]] = {
    "shoal": {},
    "starts at the sum of the parts": {},
    "published": {"preset": "published", "config": SMALL},
    "published_v2": {"preset": "published_v2", "config": SMALL},
    "published, lr 1e-3": {"preset": "published", "config": SMALL, "lr": 1e-3},
    "published_v2, lr 1e-3": {"preset": "published_v2", "config": SMALL, "lr": 1e-3},
}


def fitted(adata: Any, row: str, data: str, seed: int, given: argparse.Namespace) -> Unlasting:
    steps = given.long if "published" in row else given.steps
    options = settings("unlasting", DATA[data].splits[SPLITS[data]].embedding, steps=steps)
    options |= ROWS[row] | {"response_share": 1.0, "accelerator": "cpu", "rng": seed}
    plain = Unlasting.make_start
    try:
        if "sum of the parts" in row:
            Unlasting.make_start = lambda model: MovedStart(model)
        return sh.tl.fit(adata, "unlasting", **options)
    finally:
        Unlasting.make_start = plain


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", nargs="+", default=["norman", "renge"], choices=list(SPLITS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--steps", type=int, default=300, help="of the preset `shoal`")
    parser.add_argument("--long", type=int, default=2000, help="steps of the published recipes")
    parser.add_argument("--genes", type=int, default=400)
    parser.add_argument("--rows", nargs="+", help="names of rows; all if left out")
    given = parser.parse_args()
    torch.set_num_threads(1)
    sh.settings.progress = False
    with threadpool_limits(1):
        for data, seed in ((data, seed) for data in given.data for seed in given.seeds):
            adata = inner(data, seed, given.genes)
            test = exam(adata, seed=seed)

            def say(row: str, found: dict[str, float], where: str = f"{data} {seed}") -> None:
                print(
                    where, row, *(f"{k} {v:.3f}" for k, v in found.items()), sep=" | ", flush=True
                )

            def judged(
                row: str, model: Any, adata: Any = adata, test: Any = test, **more: float
            ) -> None:
                sh.tl.predict(adata, model, key_added="made", rng=0, overwrite=True, subset="test")
                say(row, columns(test, adata.layers["made"]) | more)

            for row, found in (
                ("second real half", test.floor()),
                ("control copy", test.control_copy()),
            ):
                say(
                    row,
                    {
                        name: found[name]
                        for name in ("energy", "zero_error", "pearson_control", "variance_ratio")
                    },
                )
            for row in SIMPLE:
                try:
                    judged(row, sh.tl.fit(adata, row, rng=seed))
                except ValueError:
                    continue  # a baseline of contexts, on a screen without any
            for row in given.rows or ROWS:
                if "sum of the parts" in row and SPLITS[data] != "combination":
                    continue
                start = time.process_time()
                model = fitted(adata, row, data, seed, given)
                judged(row, model, **{"training, CPU s": time.process_time() - start})


if __name__ == "__main__":
    main()
