"""Try the score of `tl.evaluate` where the right answer is known beforehand.

    python benchmarks/score_trials.py [--only null ladder coverage spread narrow near_null] [--screens ...] [--draws 20] [--apart]

Every draw has a seed of its own: for the cells and genes of the screen, the split, the predictions and the evaluation. What is
right is written down here, before anything is computed:

- `null`: nothing responds. The control copy scores most (`copy first`: of all; `of inventions`: of these alone), every invention
  scores less than it, and the evaluation says that nothing responds.
- `ladder`: an oracle, cells of the same conditions that were put aside, is spoiled step by step, and every step scores less than
  the one before (`_trial_predictions.CHAINS`). In simulation, control cells times fold-changes of known error are in the order of
  their errors. The oracle is above every baseline, and the control copy below the oracle. Where the reference leaves no room for
  a score, the order is that of `achieved` less `harm`.
- `coverage`: the score of the oracle has 1 in its interval, the reference trained on its own and given as a prediction has 0.
- `spread`: on one screen and prediction, the SD over seeds of the evaluation is at most a third of the smallest difference between two
  predictions whose intervals do not overlap.
- `narrow`: a prediction comes much nearer to the real cells than the reference and is better on most metrics, but worse in the
  errors of correlation and bimodality. It scores more. (Draws count where it is so: energy distance below .6 of the
  reference's, better on more than 1.5 times as many metrics as it is worse on.)
- `near_null`: one of 20 perturbations responds. The prediction that knows it and leaves the others alone scores more than the
  control copy. With responses invented in the others it scores less.

One markdown table for each trial is printed.
"""

from __future__ import annotations

import argparse
import inspect
import logging
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from _trial_predictions import (
    AGAIN,
    CHAINS,
    INVENTIONS,
    KNOWN,
    inventions,
    ladder,
    large_shifts,
    mixed,
    of_known_error,
)
from _trial_screens import EFFECTS, NEAR_NULL, NULL
from threadpoolctl import threadpool_limits

import shoal as sh
from shoal.metrics._suite import SUITE

if TYPE_CHECKING:
    from collections.abc import Callable

    from _trial_fields import Field

COPY = "control copy"
SLOW = ("sinkhorn",)  # a quarter of the time, and one of five distances between populations
METRICS = [name for name in SUITE if name not in SLOW]
HARM = [
    "pearson_delta",
    "pds_l2",
    "de_wrong",
    "energy",
]  # where nothing responds, the last two decide


def null(name: str, seeds: range, *, apart: bool) -> dict[str, Any]:
    """Return in how many draws a screen without effects is judged rightly."""
    setup = NULL[name]
    baselines = setup.baselines
    scores, says = [], []
    for seed in seeds:
        field = setup.field(seed, spare=False)
        table, params = field.judged(
            inventions(field, source=setup.invented),
            baselines=baselines,
            metrics=HARM,
            rng=seed,
            apart=apart,
        )
        scores.append(table["score"])
        says.append(not params.get("responds", True))
    table = pd.DataFrame(scores).reset_index(drop=True)
    below = table[list(INVENTIONS)].lt(table[COPY], axis=0)
    honest = table[[one for one in baselines if one in table]]
    first = ~(honest.gt(table[COPY], axis=0).any(axis=1)) & below.all(axis=1)
    return {
        "screen": name,
        "draws": len(table),
        "says so": sum(says),
        "copy first": int(first.sum()),
        "of inventions": int(below.all(axis=1).sum()),
        **{one: f"{int(below[one].sum())} ({table[one].median():.2f})" for one in INVENTIONS},
        AGAIN: f"{table[AGAIN].median():.2f}",
        "baselines": " ".join(f"{honest[one].median():.2f}" for one in honest),
    }


def standing(table: pd.DataFrame) -> pd.Series:
    """Return the scores; what is achieved, less the harm, where the reference leaves no room for a score."""
    if table["score"].notna().any() or "achieved" not in table:
        return table["score"]
    return table["achieved"] - table["harm"]


def ladders(name: str, seeds: range, *, apart: bool) -> dict[str, Any]:
    """Return in how many draws the steps of every ladder are in order."""
    setup = EFFECTS[name]
    baselines = setup.baselines
    scores, given = [], 0
    for seed in seeds:
        field = setup.field(seed)
        made = ladder(field)
        if "truth" in field.adata.uns:
            made |= of_known_error(field)
        table, _ = field.judged(made, baselines=baselines, metrics=METRICS, rng=seed, apart=apart)
        scores.append(standing(table))
        given += int(table["score"].notna().any())
    table = pd.DataFrame(scores).reset_index(drop=True)
    chains = CHAINS | ({"known error": KNOWN} if KNOWN[0] in table else {})
    found: dict[str, Any] = {"screen": name, "draws": len(table), "with a score": given}
    right = pd.Series(True, index=table.index)
    for chain, steps in chains.items():
        own = table[steps].to_numpy()
        ordered = (own[:, :-1] > own[:, 1:]).all(axis=1)
        right &= ordered
        found[chain] = f"{ordered.sum()} ({' '.join(f'{v:.2f}' for v in np.median(own, axis=0))})"
    honest = table[[one for one in (*baselines, COPY) if one in table]]
    above = honest.lt(table["oracle"], axis=0).all(axis=1)
    found["oracle above baselines"] = (
        f"{int(above.sum())} ({' '.join(f'{honest[one].median():.2f}' for one in honest)})"
    )
    return found | {"all": int((right & above).sum())}


def reference_twin(field: Field, name: str, seed: int) -> np.ndarray:
    """Return what the reference predicts when it is trained and started anew."""
    model = sh.tl.fit(field.adata, name, rng=seed + 1000)
    sh.tl.predict(
        field.adata, model, key_added="twin", subset="test", rng=seed + 1000, overwrite=True
    )
    values = field.adata.layers["twin"]
    values = values.toarray() if hasattr(values, "toarray") else np.asarray(values)
    return np.nan_to_num(values)


def coverage(name: str, seeds: range, *, apart: bool) -> dict[str, Any]:
    """Return how often the intervals of a second experiment and of the reference hold what they are."""
    setup = EFFECTS[name]
    baselines = setup.baselines
    rows = []
    for seed in seeds:
        field = setup.field(seed)
        made = {
            "oracle": field.filled(field.further()),
            "reference again": reference_twin(field, baselines[0], seed),
        }
        table, _ = field.judged(made, baselines=baselines, metrics=METRICS, rng=seed, apart=apart)
        row: dict[str, float] = {}
        for who, value in (("oracle", 1.0), ("reference again", 0.0)):
            low, high = (table.loc[who].get(f"score_{end}", np.nan) for end in ("low", "high"))
            row |= {
                who: table.loc[who, "score"],
                f"{who}, held": low <= value <= high,
                f"{who}, width": high - low,
            }
        rows.append(row)
    table = pd.DataFrame(rows)
    given = int(table["oracle"].notna().sum())
    found: dict[str, Any] = {"screen": name, "draws": len(table), "with a score": given}
    for who in ("oracle", "reference again"):
        found |= {
            who: f"{table[who].mean():.2f} ± {table[who].std():.2f}",
            f"{who}, in its interval": int(table[f"{who}, held"].sum()),
            f"{who}, median width": f"{table[f'{who}, width'].median():.2f}",
        }
    return found


def spread(name: str, seeds: range, *, apart: bool) -> dict[str, Any]:
    """Return the SD over seeds of evaluate, beside the smallest difference that is called better."""
    setup = EFFECTS[name]
    baselines = setup.baselines
    field = setup.field(0)
    cells, controls = field.further(), field.controls()
    made = {
        "oracle": field.filled(cells),
        "75%": mixed(field, cells, controls, 0.75),
        "50%": mixed(field, cells, controls, 0.5),
        "25%": mixed(field, cells, controls, 0.25),
    }
    scores, lows, highs = [], [], []
    for seed in seeds:
        table, _ = field.judged(made, baselines=baselines, metrics=METRICS, rng=seed, apart=apart)
        scores.append(table["score"])
        lows.append(table.get("score_low", table["score"] * np.nan))
        highs.append(table.get("score_high", table["score"] * np.nan))
    score, low, high = (pd.DataFrame(one).reset_index(drop=True) for one in (scores, lows, highs))
    who = [*made, *(one for one in (*baselines, COPY) if one in score)]
    worst, gap = 0.0, np.nan
    for a in who:
        for b in who:
            difference = score[a] - score[b]
            if (low[a] > high[b]).mean() > 0.5 and difference.std() > worst * difference.mean():
                worst, gap = difference.std() / difference.mean(), difference.mean()
    return {
        "screen": name,
        "seeds": len(score),
        **{one: f"{score[one].mean():.2f} ± {score[one].std():.3f}" for one in [*made, COPY]},
        "SD / difference called better, worst": f"{worst:.2f} (of {gap:.2f})",
    }


def narrow(name: str, seeds: range, *, apart: bool) -> dict[str, Any]:
    """Return how often a prediction that is better on most metrics, and worse on two, comes out ahead."""
    setup = EFFECTS[name]
    baselines = setup.baselines
    rows = []
    for seed in seeds:
        field = setup.field(seed)
        base = reference_twin(field, baselines[0], seed)
        table, _ = field.judged(
            {"better": _nearer(field, base), "base": base},
            baselines=baselines,
            metrics=METRICS,
            rng=seed,
            apart=apart,
        )
        table["score"] = standing(table)
        one, other = table.loc["better"], table.loc["base"]
        better, worse = _compared(field.adata.uns["evaluation"]["summary"], one, other)
        rows.append(
            {
                "it is better": better > 1.5 * worse and one["energy"] < 0.6 * other["energy"],
                "ahead": one["score"] > other["score"],
                "score": one["score"],
                "of the reference": other["score"],
                "metrics better": better,
                "worse": worse,
                **{f"{m}, ratio": one[m] / other[m] for m in ("energy", *NARROW)},
            }
        )
    table = pd.DataFrame(rows)
    so = table["it is better"]
    middle = table[so].drop(columns=["it is better", "ahead"]).median().map("{:.2f}".format)
    ahead = int(table["ahead"][so].sum())
    return {"screen": name, "it is better": int(so.sum()), "ahead": ahead, **middle}


NARROW = ("correlation_error", "bimodality_error")


def _compared(summary: pd.DataFrame, one: pd.Series, other: pd.Series) -> tuple[int, int]:
    """Return on how many metrics that discriminate the first is better than the second, and worse."""
    known = summary[summary["discriminates"].astype(bool)]
    sign = known["direction"].map({"higher": -1.0, "lower": 1.0, "target": 1.0})
    centre = known["perfect"].where(known["direction"] == "target", 0.0)
    losses = [who[known.index].astype(float) - centre for who in (one, other)]
    losses = [gap.abs().where(known["direction"] == "target", gap) * sign for gap in losses]
    return int((losses[0] < losses[1]).sum()), int((losses[0] > losses[1]).sum())


def _nearer(field: Field, base: np.ndarray) -> np.ndarray:
    """Return cells on the way from a prediction to the real mean.

    In half of the genes the values are shuffled over the cells, and a tenth of the values of all genes are zeros, which the
    others make good: correlation and bimodality suffer, and the means do not.
    """
    values, rng = base.copy(), field.rng
    for key, rows in field.conditions.items():
        own = base[rows] + 0.6 * (field.spare[key].mean(axis=0) - base[rows].mean(axis=0))
        for gene in rng.choice(own.shape[1], own.shape[1] // 2, replace=False):
            own[:, gene] = rng.permutation(own[:, gene])
        own = np.where(rng.random(own.shape) < LOST, 0, own / (1 - LOST))
        values[rows] = np.maximum(own, 0)
    return values


LOST = 0.1


def near_null(name: str, seeds: range, *, apart: bool) -> dict[str, Any]:
    """Return how often the one response that there is counts, and inventions beside it."""
    rows = []
    for seed in seeds:
        field, only = NEAR_NULL[name](seed)
        cells, shifts = field.controls(), large_shifts(field, only)
        right = {
            key: (field.further()[key] if key[0] == only else own) for key, own in cells.items()
        }
        made = {"right": field.filled(right)}
        for invention, shift in shifts.items():
            made[invention] = field.filled(
                {key: own if key[0] == only else own + shift(*key) for key, own in right.items()}
            )
        table, params = field.judged(
            made, baselines=("mean_shift",), metrics=METRICS, rng=seed, apart=apart
        )
        rows.append({"responds": params.get("responds", np.nan), **table["score"]})
    table = pd.DataFrame(rows)
    found: dict[str, Any] = {
        "screen": name,
        "draws": len(table),
        "responds": int(table["responds"].sum()),
        "right above copy": f"{int((table['right'] > table[COPY]).sum())} "
        f"({table['right'].median():.2f}, copy {table[COPY].median():.2f})",
    }
    for one in shifts:
        found[f"with {one}, below copy"] = (
            f"{int((table[one] < table[COPY]).sum())} ({table[one].median():.2f})"
        )
    return found


TRIALS: dict[str, tuple[Callable[..., dict[str, Any]], list[str]]] = {
    "null": (null, list(NULL)),
    "ladder": (ladders, list(EFFECTS)),
    "coverage": (coverage, list(EFFECTS)),
    "spread": (spread, ["simulated", "RENGE", "Papalexi", "Kang"]),
    "narrow": (narrow, ["RENGE", "Papalexi", "Kang"]),
    "near_null": (near_null, list(NEAR_NULL)),
}


def markdown(rows: list[dict[str, Any]]) -> str:
    head = list(dict.fromkeys(name for row in rows for name in row))
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    return "\n".join(
        [*lines, *(f"| {' | '.join(str(row.get(n, '')) for n in head)} |" for row in rows)]
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=list(TRIALS), default=list(TRIALS))
    parser.add_argument("--screens", nargs="+", help="of these trials; all by default")
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--first", type=int, default=0, help="seed of the first draw")
    parser.add_argument("--apart", action="store_true", help="an evaluation for every prediction")
    given = parser.parse_args()
    logging.getLogger("shoal").setLevel(logging.ERROR)
    for trial in given.only:
        run, screens = TRIALS[trial]
        rows = []
        for name in screens:
            if given.screens and name not in given.screens:
                continue
            start = time.process_time()
            seeds = range(given.first, given.first + given.draws)
            rows.append(run(name, seeds, apart=given.apart))
            print(rows[-1], f"{time.process_time() - start:.0f} s", flush=True)
        print(f"\n## {trial}\n\n{inspect.getdoc(run)}\n\n{markdown(rows)}\n", flush=True)


if __name__ == "__main__":
    with threadpool_limits(1):
        main()
