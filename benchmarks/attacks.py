"""Predictions that are bad on purpose: which metric of the default suite falls for which, and whether the score does.

    python benchmarks/attacks.py [--data simulated renge] [--seeds 0 1 2] [--folder DIR]

Every attack starts from an honest baseline, `own_shift` (the shift that a perturbation has in other contexts), and spoils it, or
puts something cheaper in its place. A metric *falls for* an attack if it gives it a larger skill than the honest prediction,
and is *blind* to it if it gives it the same. One markdown table per screen, means over seeds, goes to the terminal and to
`benchmarks/results/attacks.md`; the command fails if the score of any attack reaches that of the honest prediction.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from predict import FOLDER, RESULTS, Task
from predict import prepare as read
from scipy import sparse
from threadpoolctl import threadpool_limits

import shoal as sh
from shoal.core._screen import resolve

if TYPE_CHECKING:
    from collections.abc import Callable

    import anndata as ad

HONEST = "own_shift"
LAYER = "prediction"
ALIKE = 1e-3  # difference of skill below which a metric is blind
SPREAD, SCALE = 2.0, 3.0
WORDS = {
    "spread": f"cells of the honest prediction, {SPREAD:g} times as far from their mean",
    "overshoot": f"cells of the honest prediction, their mean shift {SCALE:g} times as large",
    "noise": "cells of the honest prediction with independent noise, as large as the genes vary in training cells",
    "own mean": "mean of the honest prediction, for every cell",
    "one cell": "one cell of the honest prediction, for every cell",
    "perturbed mean": "mean of the training cells of the context, for every cell",
    "train cells": "perturbed training cells of the context, of whatever perturbation",
    "another": "real cells of one other perturbation of the context",
    "wrong labels": "the real held-out cells, each condition with those of the next",
    "copy": "control cells",
}


class Screen:
    """A screen, an honest prediction of its held-out cells, and attacks on it: each returns (n_obs, n_genes) values."""

    def __init__(self, adata: ad.AnnData, seed: int) -> None:
        self.adata, self.rng = adata, np.random.default_rng(seed)
        obs, screen = adata.obs, resolve(adata)
        self.x = dense(adata.X)
        self.label = obs[screen.perturbation_key].astype(str).to_numpy()
        self.context = obs[screen.context_key].astype(str).to_numpy()
        self.test = (obs["split"] == "test").to_numpy()
        self.control = np.isin(self.label, screen.control)
        self.train = (obs["split"] == "train").to_numpy() & ~self.control
        self.honest = self.twins(HONEST, seed)

    def twins(self, name: str, seed: int) -> np.ndarray:
        sh.tl.predict(
            self.adata,
            sh.tl.fit(self.adata, name, rng=seed),
            key_added=LAYER,
            subset="test",
            rng=seed,
        )
        return dense(self.adata.layers[LAYER])

    def each(self, change: Callable[[np.ndarray, str, str], np.ndarray]) -> np.ndarray:
        """Apply a change to the rows of every held-out condition."""
        values = self.honest.copy()
        for where, name in sorted(
            set(zip(self.context[self.test], self.label[self.test], strict=True))
        ):
            rows = np.flatnonzero(self.test & (self.context == where) & (self.label == name))
            values[rows] = change(rows, name, where)
        return values

    def drawn(self, pool: np.ndarray, n: int) -> np.ndarray:
        return self.x[self.rng.choice(np.flatnonzero(pool), n, replace=n > pool.sum())]

    def mean(self, rows: np.ndarray) -> np.ndarray:
        return self.honest[rows].mean(axis=0)

    def following(self, name: str, where: str, among: np.ndarray) -> np.ndarray:
        """Return the cells of the perturbation after this one, in a context."""
        here = among & (self.context == where)
        names = sorted(set(self.label[here]) - {name})
        after = next((other for other in names if other > name), names[0])
        return here & (self.label == after)

    def attacks(self, seed: int) -> dict[str, np.ndarray]:
        sd = self.x[self.train].std(axis=0)
        base = {
            c: self.x[self.control & (self.context == c)].mean(axis=0) for c in set(self.context)
        }
        known = {c: self.train & (self.context == c) for c in base}
        held_out = {c: self.test & (self.context == c) for c in base}

        def next_of(rows: np.ndarray, name: str, where: str) -> np.ndarray:
            several = len(set(self.label[held_out[where]])) > 1
            return self.drawn(
                self.following(name, where, self.test if several else self.train), len(rows)
            )

        return {
            "spread": self.each(
                lambda r, _, c: self.mean(r) + SPREAD * (self.honest[r] - self.mean(r))
            ),
            "overshoot": self.each(
                lambda r, _, c: self.honest[r] + (SCALE - 1) * (self.mean(r) - base[c])
            ),
            "noise": self.honest + sd * self.rng.normal(size=self.honest.shape),
            "own mean": self.each(lambda r, _, c: self.mean(r)),
            "one cell": self.each(lambda r, _, c: self.honest[r[:1]]),
            "perturbed mean": self.each(lambda r, _, c: self.x[known[c]].mean(axis=0)),
            "train cells": self.each(lambda r, _, c: self.drawn(known[c], len(r))),
            "another": self.each(
                lambda r, n, c: self.drawn(self.following(n, c, self.train), len(r))
            ),
            "wrong labels": self.each(next_of),
            "copy": self.twins("control", seed),
        }

    def judged(self, values: np.ndarray, seed: int) -> pd.Series:
        """Return the skill on every metric, and the score."""
        self.adata.layers[LAYER] = values.astype(np.float32)
        sh.tl.evaluate(self.adata, prediction=LAYER, rng=seed)
        entry = self.adata.uns["evaluation"]
        skill = entry["summary"]["skill"].where(entry["summary"]["discriminates"])
        return pd.concat([skill, pd.Series({"score": entry["params"]["score"]})])


def screen_of(name: str, seed: int, folder: Path) -> ad.AnnData:
    """Return a screen whose conditions are held out in some contexts and trained on in others."""
    if name != "simulated":
        return read(Task(name, "perturbation_context", seed, (), None, folder))
    adata = sh.ds.simulate(
        n_perturbations=25, n_cells=160, n_control=800, n_genes=150, contexts=2, rng=seed
    )
    sh.pp.annotate(adata, "perturbation", control="control", context_key="context")
    sh.pp.split(adata, by="perturbation_context", test=0.3, rng=seed)
    sh.pp.prepare(adata, normalize="log1p", fit_on="train", cross_fit=0)
    return adata


def edited_controls(screen: Screen, seed: int) -> float:
    """Return the largest change of a score from predicted controls that were edited; none is allowed."""
    adata, tables = screen.adata, []
    adata.layers[LAYER] = screen.honest.astype(np.float32)
    pred = adata[screen.test | screen.control].copy()
    pred.X = dense(pred.layers[LAYER])
    for shift in (0.0, 2.0):
        own = np.isin(pred.obs_names, adata.obs_names[screen.control])
        pred.X[own] += np.float32(shift)
        sh.tl.evaluate(adata, prediction=pred, baselines=None, rng=seed)
        tables.append(adata.uns["evaluation"]["table"].to_numpy())
    return float(np.nanmax(np.abs(tables[1] - tables[0])))


def results(name: str, seeds: list[int], folder: Path) -> tuple[pd.DataFrame, float]:
    """Return skills (metrics and score x honest prediction and attacks), means over seeds, and the effect of edited controls."""
    runs, edited = [], 0.0
    for seed in seeds:
        screen = Screen(screen_of(name, seed, folder), seed)
        given = {"honest": screen.honest, **screen.attacks(seed)}
        runs.append(
            pd.DataFrame({who: screen.judged(values, seed) for who, values in given.items()})
        )
        edited = max(edited, edited_controls(screen, seed))
        print(name, seed, runs[-1].loc["score"].round(3).to_dict(), flush=True)
    return pd.concat(runs).groupby(level=0, sort=False).mean(), edited


def table(found: pd.DataFrame) -> str:
    """Return the skills as markdown; metrics that fall for an attack are bold, those that are blind to it have an = sign."""
    lines = [f"| metric | {' | '.join(found.columns)} |", "|" + "---|" * (found.shape[1] + 1)]
    for metric, row in found.dropna().iterrows():
        lines.append(
            f"| {metric} | {' | '.join(_cell(row[who], row['honest'], who) for who in found.columns)} |"
        )
    attacks = found.dropna().drop(index="score").drop(columns="honest")
    honest = found.loc[attacks.index, "honest"]
    fell = (attacks.sub(honest, axis=0) > ALIKE).sum()
    lines.append(f"| *fall for it* | | {' | '.join(f'{n} of {len(attacks)}' for n in fell)} |")
    return "\n".join(lines)


def _cell(skill: float, honest: float, who: str) -> str:
    if who == "honest":
        return f"{skill:.2f}"
    if abs(skill - honest) <= ALIKE:
        return "="
    return f"**{skill:.2f}**" if skill > honest else f"{skill:.2f}"


def dense(values: object) -> np.ndarray:
    return np.asarray(values.toarray() if sparse.issparse(values) else values, dtype=np.float64)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data", nargs="+", choices=["simulated", "renge"], default=["simulated", "renge"]
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--folder", type=Path, default=FOLDER)
    given = parser.parse_args()
    text = ["# Attacks", *(f"- `{name}`: {words}" for name, words in WORDS.items())]
    text.append(
        "\nSkill: 0 as the best baseline, 1 as a second experiment. Bold: better than the honest prediction; =: the same."
    )
    won = []
    for name in given.data:
        found, edited = results(name, given.seeds, given.folder)
        text.append(f"\n## {name}, seeds {' '.join(map(str, given.seeds))}\n\n{table(found)}")
        text.append(
            f"\nLargest change of any value after the control cells of `pred` were edited: {edited:g}."
        )
        score = found.loc["score"]
        won += [f"{name}: {who}" for who in WORDS if score[who] >= score["honest"]]
        won += [f"{name}: edited controls"] if edited else []
    given_text = "\n".join(text) + "\n"
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "attacks.md").write_text(given_text, encoding="utf-8")
    print(given_text)
    if won:
        sys.exit(f"the score falls for {', '.join(won)}")


if __name__ == "__main__":
    with threadpool_limits(1):
        main()
