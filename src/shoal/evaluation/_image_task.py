"""Which images are scored, and the images that stand beside them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..core._codes import members
from ..core._controls import Controls, shuffled
from ..core._image_reading import Crops, crops
from ..core._population import population
from ..core._predictions import PREDICTED
from ._conditions import condition_names, conditions_of, hold_out, rows_by_name, scored_cells
from ._predictions import Beside, unpredicted

if TYPE_CHECKING:
    from anndata import AnnData

    from .._typing import Ints
    from ..core._population import Population
    from ..core._screen import Screen
    from ._conditions import HeldOut

MOST_REFERENCE = 2_000  # training cells, and training controls, that are read


@dataclass(frozen=True, eq=False)
class ImageTask:
    """Images that are scored, and those they are compared with.

    Attributes
    ----------
    cells
        The screen.
    real, predicted
        Its crops, and the predicted ones beside them.
    rows
        (n,) rows that are scored, in the order of their names.
    owner
        (n,) condition of each, a position in `names`.
    names
        (P,) names of the conditions.
    perturbation
        (P,) codes of their perturbations.
    draws
        Halves of the conditions, drawn several times.
    skipped
        Conditions that are not scored, and why.
    copies
        (n,) a control of the same context and plate for each row.
    elsewhere
        (n,) a control of another plate for each row; empty if there is one plate.
    train, train_control
        Training cells, perturbed and control.
    """

    cells: Population
    real: Crops
    predicted: Crops
    rows: Ints
    owner: Ints
    names: tuple[str, ...]
    perturbation: Ints
    draws: tuple[HeldOut, ...]
    skipped: dict[str, str]
    copies: Ints
    elsewhere: Ints
    train: Ints
    train_control: Ints

    def halves(self, draw: HeldOut) -> tuple[Ints, Ints]:
        """Return the places in `rows` of the two halves of all conditions, in the order of names.

        What is drawn from them later does not depend on the order of the rows in a file.
        """
        place = np.full(len(self.cells.context), -1, dtype=np.int64)
        place[self.rows] = np.arange(len(self.rows))
        first, second = (np.sort(place[np.concatenate(s)]) for s in (draw.predicted, draw.real))
        return first, second


def image_task(
    adata: AnnData,
    screen: Screen,
    *,
    use_rep: str,
    prediction: str,
    split: str | None,
    min_cells: int,
    max_cells: int,
    n_draws: int,
    seed: int,
) -> ImageTask:
    """Choose the images that are scored.

    Raises
    ------
    KeyError
        If crops or predicted crops do not exist.
    ValueError
        If nothing can be scored, or some cells of a condition have no predicted image.
    """
    cells = population(adata, screen, use_rep=use_rep, images=True)
    real = crops(adata, use_rep)
    predicted = crops(adata, use_rep, prediction=prediction)
    if predicted.rows.slot == real.rows.slot:
        msg = f"prediction={prediction!r} names the real crops themselves, {real.rows.slot}"
        raise ValueError(msg)
    scored, by_name = scored_cells(cells, split), rows_by_name(cells)
    condition, keys = conditions_of(cells)
    names = condition_names(cells, keys)
    beside = Beside(prediction, predicted.rows.slot, predicted.rows, transductive=False)
    without = unpredicted(cells, beside, split=split)
    candidates = _some_of_each(by_name[scored[by_name]], condition, max_cells, seed)
    draws = tuple(
        hold_out(
            condition,
            names,
            candidates=candidates,
            min_cells=min_cells,
            halves=True,
            rng=np.random.default_rng([seed, 0, draw]),
            without=without,
        )
        for draw in range(n_draws)
    )
    codes = draws[0].codes
    rows = by_name[np.isin(by_name, np.concatenate([*draws[0].predicted, *draws[0].real]))]
    _check_twins(cells, prediction, predicted.rows.slot, rows)
    plates = real.plates
    pool = cells.controls.cells
    controls = Controls(pool, cells.context[pool], plates[pool])
    rng = np.random.default_rng([seed, 1])
    trained = cells.train & ~scored if split in ("val", "test") else np.zeros_like(scored)
    return ImageTask(
        cells=cells,
        real=real,
        predicted=predicted,
        rows=rows,
        owner=np.searchsorted(codes, condition[rows]),
        names=tuple(names[code] for code in codes),
        perturbation=keys["perturbation"].to_numpy()[codes],
        draws=draws,
        skipped=draws[0].skipped,
        copies=controls.draw(cells.context[rows], plates[rows], rng)[0],
        elsewhere=_of_other_plates(controls, plates[rows], cells.context[rows], rng),
        train=_some(by_name[trained[by_name]], MOST_REFERENCE, rng),
        train_control=_training_controls(cells, by_name, rng),
    )


def _some_of_each(rows: Ints, condition: Ints, most: int, seed: int) -> Ints:
    """Return at most so many rows of each condition, drawn at random, in the order given."""
    rng = np.random.default_rng([seed, 2])
    kept = [np.sort(rng.permutation(at)[:most]) for at in members(condition[rows])]
    return rows[np.sort(np.concatenate(kept))]


def _some(rows: Ints, most: int, rng: np.random.Generator) -> Ints:
    return rows if len(rows) <= most else np.sort(rng.choice(rows, most, replace=False))


def _training_controls(cells: Population, by_name: Ints, rng: np.random.Generator) -> Ints:
    """Return control cells of training; all controls where training has none."""
    own = cells.train_control if cells.train_control.any() else cells.labels.is_control
    return _some(by_name[own[by_name]], MOST_REFERENCE, rng)


def _check_twins(cells: Population, prediction: str, slot: str, rows: Ints) -> None:
    """Raise ``ValueError`` if some cells of a condition were predicted and others were not."""
    done = cells.adata.obs.get(prediction + PREDICTED)
    lacking = 0 if done is None else int((~np.asarray(done, dtype=bool)[rows]).sum())
    if lacking:
        msg = (
            f"{lacking} of {len(rows)} cells that are scored have no twin in {slot}, and others of "
            "their conditions have one: predict them all, with "
            f"sh.tl.predict(adata, model, key_added={prediction!r}, subset=...)"
        )
        raise ValueError(msg)


def _of_other_plates(
    controls: Controls, plate: Ints, context: Ints, rng: np.random.Generator
) -> Ints:
    """Draw a control of another plate for each row, of its context if there are any."""
    drawn = np.empty(len(plate), dtype=np.int64)
    for at in members(plate * (context.max(initial=0) + 2) + context + 1):
        other = controls.batch != plate[at[0]]
        near = other & (controls.context == context[at[0]])
        pool = controls.cells[near if near.any() else other]
        if not len(pool):
            return np.empty(0, dtype=np.int64)
        drawn[at] = shuffled(pool, len(at), rng)[0]
    return drawn
