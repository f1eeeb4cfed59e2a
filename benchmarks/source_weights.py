"""How to weigh the kernels of two sources of vectors: equally, by the smallest error, or by one standard error. Print tables.

    python benchmarks/source_weights.py [--data FOLDER]

Each perturbation is left out in turn. Weights and ridge of kernel ridge regression (Gaussian kernels) are chosen on the
others, and the left-out mean shift is predicted. Values are mean squared errors as a share of those of the mean response
of the others. "equal": the same weight for both; "least": the weights of the smallest leave-one-out error; "within 1 SE":
those of `kernel_ridge`. "first", "second": a source alone.

Real screens: all pairs of the sources of `benchmarks/embeddings.py` that have vectors of at least 10 measured
perturbations; pairs of one screen share perturbations, so their rows are no independent repeats. Simulated: 15 or 40
perturbations with 20 features of noise of variance 1, to which responses linear in 5-dimensional vectors are added, of
the first source, of both, or of none; means over 6 draws.
"""

from __future__ import annotations

import argparse
import logging
import os
import warnings
from collections.abc import Callable
from itertools import combinations, product
from pathlib import Path

import numpy as np
from embeddings import CASES, DATA, methods, prepared, shifts

import shoal as sh
from shoal.metrics._kernel_ridge import (
    RIDGES,
    ROUNDING,
    CentredRidge,
    chosen_ridge,
    kernel_weights,
    weight_grid,
)
from shoal.pp._embed_check import _kernel

Rule = Callable[[list[np.ndarray], np.ndarray], np.ndarray]


def equal(kernels: list[np.ndarray], gram: np.ndarray) -> np.ndarray:
    return np.full(len(kernels), 1 / len(kernels))


def least(kernels: list[np.ndarray], gram: np.ndarray) -> np.ndarray:
    grid = weight_grid(len(kernels))
    errors = np.array(
        [
            CentredRidge(np.tensordot(w, kernels, 1)).left_out(gram, RIDGES).mean(axis=1).min()
            for w in grid
        ]
    )
    return grid[np.flatnonzero(errors <= errors.min() * (1 + ROUNDING))[0]]


RULES: dict[str, Rule] = {"equal": equal, "least": least, "within 1 SE": kernel_weights}


def nested(kernels: list[np.ndarray], y: np.ndarray, rule: Rule) -> float:
    """Return the error of perturbations that no choice has seen, as a share of that of the mean."""
    errors, of_mean = [], []
    for i in range(len(y)):
        rest = np.delete(np.arange(len(y)), i)
        gram = y[rest] @ y[rest].T
        weights = rule([kernel[np.ix_(rest, rest)] for kernel in kernels], gram)
        kernel = np.tensordot(weights, kernels, 1)
        among = kernel[np.ix_(rest, rest)]
        fit = CentredRidge(among)
        ridge = chosen_ridge(RIDGES, fit.left_out(gram, RIDGES).mean(axis=1))
        near = kernel[i, rest] - among.mean(axis=0)
        guess = y[rest].mean(axis=0) + (near - near.mean()) @ fit.inverse(ridge) @ y[rest]
        errors.append(((y[i] - guess) ** 2).sum())
        of_mean.append(((y[i] - y[rest].mean(axis=0)) ** 2).sum())
    return float(np.mean(errors) / np.mean(of_mean))


def all_rules(kernels: list[np.ndarray], y: np.ndarray) -> list[float]:
    both = [nested(kernels, y, rule) for rule in RULES.values()]
    return [*both, *(nested([kernel], y, equal) for kernel in kernels)]


def table(title: str, rows: dict[str, list[float]]) -> None:
    heads = [*RULES, "first", "second"]
    print(f"\n## {title}\n\n| | {' | '.join(heads)} |\n|---|{'---|' * len(heads)}")
    for name, values in rows.items():
        print(f"| {name} | {' | '.join(f'{value:.3f}' for value in values)} |")


def real(data: Path) -> None:
    every = []
    for title, case in CASES.items():
        if not (data / case.file).exists():
            print(f"\n## {title}: skipped, there is no {case.file} in the data folder (--data)")
            continue
        adata, rows = prepared(data / case.file, case), {}
        for name, options in methods(data).items():
            if options["method"] != "joined":
                try:
                    sh.pp.embed(adata, **options, missing="drop", key_added=name)
                except ValueError:
                    continue
        held = adata.uns["perturbation_embeddings"]
        measured = shifts(adata, np.ones(adata.n_obs, dtype=bool))
        for one, two in combinations(held, 2):
            names = measured.index.intersection(held[one].index).intersection(held[two].index)
            if len(names) >= 10 and one.partition(",")[0] != two.partition(",")[0]:
                kernels = [_kernel(held[k].loc[names].to_numpy(float), "rbf") for k in (one, two)]
                found = all_rules(kernels, measured.loc[names].to_numpy())
                rows[f"{one}; {two} ({len(names)})"] = found
        every += list(rows.values())
        table(title, rows)
    if every:
        table(f"Mean over {len(every)} pairs", {"mean": np.mean(every, axis=0).tolist()})


def simulated() -> None:
    rows = {}
    for n, strength, kind in product((15, 40), (0.5, 1.0), ("first", "both", "none")):
        found = []
        for seed in range(6):
            rng = np.random.default_rng(seed)
            x, z = rng.normal(size=(2, n, 5))
            y = rng.normal(size=(n, 20))
            for vectors in {"first": [x], "both": [x, z], "none": []}[kind]:
                y += strength * vectors @ rng.normal(size=(5, 20)) / np.sqrt(5)
            found.append(all_rules([_kernel(x, "rbf"), _kernel(z, "rbf")], y))
        rows[f"{n} perturbations, strength {strength}, {kind}"] = np.mean(found, axis=0).tolist()
    table("Simulated", rows)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("SHOAL_DATA_DIR", DATA)))
    args = parser.parse_args()
    logging.getLogger("shoal").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", message="perturbations with the same vector")
    real(args.data)
    simulated()


if __name__ == "__main__":
    main()
