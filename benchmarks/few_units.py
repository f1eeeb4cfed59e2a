"""Intervals from few conditions: those of the largest error, and those that are widened, on real screens.

    python benchmarks/few_units.py [--only papalexi:guide renge:perturbation] [--seed 10] [--draws 25] [--level 0.9]

Inner folds of the ensemble leave out conditions of screens that have many. 2 to 8 units of a kind are drawn, intervals are made from
their errors, and compared with the conditions of the other units. Weights are those of all units. First, how errors scatter: the
standard deviation of the logarithms of scores between units, and within.

cover    share of conditions of which 90 % of the genes are covered: mean over kinds of question, and the least of them
bound    share of conditions whose true response is within the bound: likewise
largest  with the largest score of the units; widened: as `shoal.metrics._conformal.ranked` does where units are few
wider    by which factor
"""

from __future__ import annotations

import argparse
import logging
from typing import Any

import numpy as np
import pandas as pd
from _ensemble_screens import trial_of

from shoal.core._population import population
from shoal.core._screen import resolve
from shoal.metrics._conformal import GRID, radius
from shoal.models.base._calibration import Errors
from shoal.models.ensemble._evidence import evidence_of, folds_of
from shoal.models.ensemble._files import Finished
from shoal.models.ensemble._members import read_members
from shoal.models.ensemble._weights import Question

TASKS = [
    "papalexi:perturbation",
    "papalexi:guide",
    "renge:perturbation_context",
    "renge:perturbation",
    "norman:perturbation",
    "density:context",
    "nelisa:perturbation",
]
LEAST = 9  # units of a kind, so that some are left to judge by
UNITS = (2, 3, 4, 6, 8)
MOST = 40  # conditions that are judged in a draw


def answers(task: str, seed: int) -> dict[str, dict[str, Any]]:
    """Return, for each kind of question, what was predicted and measured of conditions that inner folds left out."""
    one = trial_of(task, seed)
    cells = population(one.adata, resolve(one.adata))
    members = read_members(None, cells, embedding=one.embedding, preset="fast")
    folds, _ = folds_of(cells, kind=None, n_folds=None, seed=seed)
    nothing = Finished(None, resume=False, cells=cells, folds=folds, seed=seed)
    options = {"embedding": one.embedding, "seed": seed, "finished": nothing}
    found = evidence_of(cells, members, folds, **options)
    kinds = {}
    for kind in dict.fromkeys(found.kind):
        own = np.flatnonzero(np.array(found.kind) == kind)
        question = Question(found, own, found.members, kind, ())
        each = question.answer()[1]
        lost = (each * ~question.there).sum(axis=1)
        each = each * question.there + lost[:, None] * question.rule
        kinds[f"{task}, {kind}"] = {
            "predicted": np.einsum("ck,ckd->cd", each, np.nan_to_num(found.genes[own])),
            "measured": found.measured[own].astype(np.float64),
            "unit": np.array(found.unit)[own],
            "n": found.n[own],
            "control": found.control[own],
            "p_value": found.p_value[own],
            "cell": found.cell,
        }
    return kinds


def errors_of(known: dict[str, Any], at: Any) -> Errors:
    """Return the errors of some conditions."""
    return Errors.of(**{k: v if k == "cell" else v[at] for k, v in known.items()})


def scatter(known: dict[str, Any], level: float) -> list[str]:
    """Return the standard deviations of logarithms of scores, of intervals and of bounds: between units, and within."""
    own = errors_of(known, np.arange(len(known["unit"])))
    genes = np.array([np.interp(level, GRID, one) for one in own.grid])
    bounds = np.sqrt(np.maximum(own.distance, 0) / own._growth(own.size))
    found = []
    for score in (genes, bounds):
        logs = np.log(np.maximum(score, 0.25 * score.mean()))
        n = np.bincount(own.unit)
        mean = np.bincount(own.unit, logs) / n
        within = np.bincount(own.unit, (logs - mean[own.unit]) ** 2) / n
        found.append(f"{mean.std(ddof=1):.2f}, {np.sqrt(within.mean()):.2f}")
    return found


def draw(known: dict[str, Any], n: int, level: float, rng: np.random.Generator) -> list[float]:
    """Return what intervals from `n` units cover of the other conditions."""
    drawn = np.isin(known["unit"], rng.choice(np.unique(known["unit"]), n, replace=False))
    rest = np.flatnonzero(~drawn)
    rest = rest if len(rest) <= MOST else rng.choice(rest, MOST, replace=False)
    own = errors_of(known, drawn)
    predicted, measured, cell = known["predicted"][rest], known["measured"][rest], known["cell"]
    size, gap = (predicted**2).sum(axis=1), np.abs(measured - predicted)
    half = own.half_widths(size, cell, level, n_cells=known["n"][rest])
    varies = (half > 0).all(axis=0)
    largest = max(float(np.interp(level, GRID, one)) for one in own.grid)
    wider = radius(own.grid, own.unit, level) / largest
    inside = [((gap <= w)[:, varies].mean(axis=1) >= level).mean() for w in (half / wider, half)]
    noise = (1 / known["n"][rest] + known["control"][rest]) * cell.sum()
    distance = np.sqrt(np.maximum((gap**2).sum(axis=1) - noise, 0))
    score = np.sqrt(np.maximum(own.distance, 0) / own._growth(own.size)).max()
    bound = own.bounds(size, level)
    least = score * np.sqrt(own._growth(size))
    covered = [(distance <= one).mean() for one in (least, bound)]
    return [*inside, wider, *covered, float(np.median(bound / np.maximum(least, 1e-12)))]


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", default=TASKS)
    parser.add_argument("--seed", type=int, default=10)
    parser.add_argument("--draws", type=int, default=25)
    parser.add_argument("--level", type=float, default=0.9)
    given = parser.parse_args()
    logging.getLogger("shoal").setLevel(logging.ERROR)
    several: dict[str, dict[str, Any]] = {}
    for task in given.only:
        several |= answers(task, given.seed)
    several = {k: v for k, v in several.items() if len(np.unique(v["unit"])) >= LEAST}
    lines = [
        {
            "screen, split, kind": name,
            "units": len(np.unique(known["unit"])),
            "intervals": scatter(known, given.level)[0],
            "bounds": scatter(known, given.level)[1],
        }
        for name, known in several.items()
    ]
    print(pd.DataFrame(lines).to_markdown(index=False, disable_numparse=True), "\n")
    rng, rows = np.random.default_rng(given.seed), []
    for n in UNITS:
        own = [known for known in several.values() if len(np.unique(known["unit"])) >= n + 3]
        draws = np.array(
            [
                np.mean([draw(known, n, given.level, rng) for _ in range(given.draws)], axis=0)
                for known in own
            ]
        )
        mean, least = draws.mean(axis=0), draws.min(axis=0)
        rows.append(
            {
                "units": n,
                "cover, largest": f"{mean[0]:.2f} ({least[0]:.2f})",
                "widened": f"{mean[1]:.2f} ({least[1]:.2f})",
                "wider": f"{mean[2]:.2f}",
                "bound, largest": f"{mean[3]:.2f} ({least[3]:.2f})",
                "bound, widened": f"{mean[4]:.2f} ({least[4]:.2f})",
                "bound, wider": f"{np.median(draws[:, 5]):.2f}",
            }
        )
    print(pd.DataFrame(rows).to_markdown(index=False, disable_numparse=True))


if __name__ == "__main__":
    main()
