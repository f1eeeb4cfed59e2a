"""How time and memory grow with the number of perturbations.

    OMP_NUM_THREADS=1 python benchmarks/scaling.py [--sizes 1000 10000] [--only split,fit,evaluate,pairs,embed,network]

Every perturbation has 4 cells in each of two contexts, with 500 genes, beside 2,000 control cells.
A fifth of perturbation x context is held out. The values are a sparse random matrix, log-normalised;
a perturbation changes half a percent of them. Every group of steps runs in a fresh process, whose
largest resident memory is printed. Times are CPU seconds of the process, of short steps the least of
three repeats.
"""

from __future__ import annotations

import argparse
import itertools
import json
import logging
import resource
import subprocess
import sys
import time
import warnings
from typing import TYPE_CHECKING

import anndata as ad
import numpy as np
import pandas as pd
from scipy import sparse

import shoal as sh

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

N_GENES, FILLED = 500, 100  # genes, and how many of them a cell expresses
N_CELLS, N_CONTROLS = 4, 2000  # cells of a perturbation in a context; controls
REPEATS, SHORT = 3, 2.0  # the least of these counts of a step of fewer seconds
REPEATED = ("split", "fit", "pairs", "embed")  # groups whose steps can be repeated
WITH_VECTORS = ("kernel_ridge", "latent_linear", "nearest")
NETWORKS = ("conditional_monge", "flow", "perturbdiff")
BASELINES = [name for name in sh.models.available() if name not in NETWORKS]


def screen(n: int, *, with_split: bool = True) -> ad.AnnData:
    """Return a screen of n perturbations in two contexts."""
    rng = np.random.default_rng(0)
    label = np.concatenate([np.repeat(np.arange(n), 2 * N_CELLS), np.full(N_CONTROLS, n)])
    n_obs = len(label)
    step = N_GENES // FILLED
    genes = np.arange(FILLED) * step + rng.integers(step, size=(n_obs, FILLED))
    values = np.log1p(rng.exponential(2.0, size=(n_obs, FILLED)))
    changed = (genes * 31 + label[:, None] * 17) % 200 == 0  # half a percent
    values[changed & (label < n)[:, None]] *= 1.5
    ends = np.arange(n_obs + 1) * FILLED
    matrix = sparse.csr_matrix(
        (values.ravel().astype(np.float32), genes.ravel(), ends), shape=(n_obs, N_GENES)
    )
    names = np.array([*(f"P{i}" for i in range(n)), "control"], dtype=object)
    obs = pd.DataFrame(
        {
            "perturbation": pd.Categorical(names[label]),
            "context": pd.Categorical(np.where(np.arange(n_obs) % 2, "c1", "c2")),
        },
        index=pd.RangeIndex(n_obs).astype(str),
    )
    adata = ad.AnnData(matrix, obs=obs)
    sh.pp.annotate(adata, "perturbation", control="control", context_key="context")
    vectors = pd.DataFrame(rng.normal(size=(n, 16)), index=names[:-1])
    adata.uns["perturbation_embeddings"] = {"random": vectors.set_axis(map(str, range(16)), axis=1)}
    if with_split:
        sh.pp.split(adata, by="perturbation_context", test=0.2, rng=0)
    return adata


def of_split(n: int) -> Iterator[tuple[str, Callable[[], object]]]:
    """Yield the steps of a split."""
    adata = screen(n, with_split=False)
    for by in ("perturbation", "perturbation_context"):
        yield f"split by={by}", lambda by=by: sh.pp.split(adata, by=by, test=0.2, rng=0)
    yield "5 folds", lambda: sh.pp.split(adata, by="perturbation", n_folds=5, fold=0, rng=0)


def of_fit(n: int) -> Iterator[tuple[str, Callable[[], object]]]:
    """Yield fitting and prediction of the held-out cells, by every baseline."""
    adata, made = screen(n), {}
    for name in BASELINES:
        for vectors in ("random", None) if name in WITH_VECTORS else (None,):
            known = f"{name}, 16 dimensions" if vectors else name
            given = {"embedding": vectors} if vectors else {}

            def fit(name: str = name, given: dict[str, str] = given) -> None:
                made.clear()
                made["model"] = sh.tl.fit(adata, name, **given)

            yield f"fit {known}", fit
            yield (
                f"predict {known}",
                lambda: sh.tl.predict(adata, made["model"], key_added="p", subset="test"),
            )


def of_evaluate(n: int) -> Iterator[tuple[str, Callable[[], object]]]:
    """Yield an evaluation with all automatic baselines."""
    adata = screen(n)
    sh.tl.predict(adata, sh.tl.fit(adata, "own_shift"), key_added="p", subset="test")
    asked = {"min_cells": N_CELLS, "n_comps": 20, "rng": 0}
    for baselines in (None, "auto"):
        yield (
            f"evaluate, baselines={baselines!r}",
            lambda baselines=baselines: sh.tl.evaluate(
                adata, layer="p", baselines=baselines, embedding="random", **asked
            ),
        )


def of_embed(n: int) -> Iterator[tuple[str, Callable[[], object]]]:
    """Yield embeddings that read the screen."""
    adata = screen(n)
    for method in ("one_hot", "effects") if n <= 4000 else ("effects",):
        yield f"embed {method}", lambda method=method: sh.pp.embed(adata, method=method)


def of_network(n: int) -> Iterator[tuple[str, Callable[[], object]]]:
    """Yield the set-up of a flow with one-hot vectors, 10 steps of training, and a prediction."""
    adata, made = screen(n), {}
    sh.models.Flow.setup_anndata(adata)

    def start() -> None:
        made["flow"] = sh.models.Flow(adata, n_latent=20, width=64, depth=2, rng=0)

    yield "Flow, one-hot", start
    yield "10 steps", lambda: made["flow"].train(10, enable_progress_bar=False, accelerator="cpu")
    yield (
        "predict flow",
        lambda: sh.tl.predict(adata, made["flow"], key_added="p", subset="test", n_steps=2),
    )


def of_pairs(n: int) -> Iterator[tuple[str, Callable[[], object]]]:
    """Yield, for one prediction, the metrics that are defined on all pairs of held-out conditions."""
    rng = np.random.default_rng(0)
    n_test = int(0.2 * 2 * n)
    real, guess = rng.normal(size=(2, n_test, N_GENES))
    common = {"mask": np.ones((n_test, N_GENES), dtype=bool), "group": np.arange(n_test) % 2}
    for metric in ("l1", "l2", "cosine"):
        yield (
            f"discrimination_score, {metric}",
            lambda metric=metric: sh.metrics.discrimination_score(
                guess, real, metric=metric, **common
            ),
        )
    yield "retrieval_rank", lambda: sh.metrics.retrieval_rank(guess, real, **common)
    yield "centroid_accuracy", lambda: sh.metrics.centroid_accuracy(guess, real, **common)
    yield (
        "similarity_structure",
        lambda: sh.metrics.similarity_structure(guess, real, reference=0 * real, **common),
    )


GROUPS = {
    "split": of_split,
    "fit": of_fit,
    "evaluate": of_evaluate,
    "pairs": of_pairs,
    "embed": of_embed,
    "network": of_network,
}


def measure(group: str, n: int) -> None:
    """Run the steps of a group and print what they cost, as JSON."""
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    seconds = {}
    for name, step in GROUPS[group](n):
        start = time.process_time()
        try:
            step()
        except (KeyError, ValueError):
            continue  # a baseline that cannot have this screen
        seconds[name] = time.process_time() - start
        for _ in range(REPEATS - 1 if group in REPEATED and seconds[name] < SHORT else 0):
            start = time.process_time()
            step()
            seconds[name] = min(seconds[name], time.process_time() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": seconds, "peak": peak}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", nargs="+", type=int, default=[1000, 10000])
    parser.add_argument("--only", default=",".join(GROUPS))
    parser.add_argument("--measure", nargs=2, metavar=("GROUP", "N"), help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.measure:
        measure(asked.measure[0], int(asked.measure[1]))
        return
    sizes = asked.sizes
    head = [f"{n:,}, s" for n in sizes] + [
        f"{large:,} / {small:,}" for small, large in itertools.pairwise(sizes)
    ]
    for group in asked.only.split(","):
        found = [
            json.loads(
                subprocess.run(
                    [sys.executable, __file__, "--measure", group, str(n)],
                    check=True,
                    capture_output=True,
                    text=True,
                ).stdout.splitlines()[-1]
            )
            for n in sizes
        ]
        print(f"\n### {group}\n\n| step | {' | '.join(head)} |\n|---|{'---|' * len(head)}")
        for name in found[-1]["seconds"]:
            times = [one["seconds"].get(name, float("nan")) for one in found]
            ratios = [b / a for a, b in itertools.pairwise(times)]
            cells = [f"{t:.2f}" for t in times] + [f"{r:.1f}" for r in ratios]
            print(f"| {name} | {' | '.join(cells)} |")
        memory = " | ".join(f"{one['peak']:,.0f} MB" for one in found)
        print(f"| largest memory | {memory} |{' |' * (len(sizes) - 1)}", flush=True)


if __name__ == "__main__":
    main()
