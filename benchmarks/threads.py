"""Default threads against one thread, over the public statistics: wall and CPU time.

    python benchmarks/threads.py [--only coherence,energy] [--repeats 5]

Every statistic runs in two fresh processes. One has no environment variable that sets a number of threads, as users have it;
in the other OMP_NUM_THREADS, OPENBLAS_NUM_THREADS, MKL_NUM_THREADS and NUMBA_NUM_THREADS are 1. The two take turns, after a
warm-up, and the least of the repeats counts. A ratio of wall times above 1 says that the default is slower than one
thread; a ratio of CPU times above 1 says what the other cores spent without making it faster.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
import warnings
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
KEYS = {"perturbation_key": "perturbation", "control": "control"}


def gaussian(n_obs: int, n_perturbations: int, n_dims: int):
    """Return a screen after PCA: a tenth are controls, half of the perturbations respond."""
    import numpy as np

    import shoal as sh

    respond = np.arange(n_perturbations) < n_perturbations / 2
    return sh.ds.simulate_gaussian(
        n_perturbations=n_perturbations,
        n_cells=int(0.9 * n_obs / n_perturbations),
        n_control=n_obs // 10,
        n_dims=n_dims,
        effects="shift",
        magnitude=np.where(respond, 0.4, 0.0),
    )


def counts(n_perturbations: int, n_cells: int, n_control: int, n_genes: int):
    """Return a screen of counts in two contexts."""
    import shoal as sh

    return sh.ds.simulate(
        n_perturbations=n_perturbations,
        n_cells=n_cells,
        n_control=n_control,
        n_genes=n_genes,
        contexts=2,
        rng=0,
    )


def on_gaussian(call: str, n_obs: int, n_perturbations: int, n_dims: int, **options):
    """Return a call of a function of tl on a screen after PCA."""
    import shoal as sh

    adata = gaussian(n_obs, n_perturbations, n_dims)
    return lambda: getattr(sh.tl, call)(adata, **KEYS, **options)


def associate():
    import numpy as np

    import shoal as sh

    adata = gaussian(40_000, 400, 50)
    adata.obs["score"] = np.random.default_rng(0).normal(size=adata.n_obs)
    sh.tl.coherence(adata, **KEYS)
    return lambda: sh.tl.associate(adata, "score", n_splits=2, n_perms=1000)


def coherence_genes():
    import numpy as np

    import shoal as sh

    adata = gaussian(10_000, 100, 1000)
    adata.X = np.where(np.abs(adata.X) > 1, adata.X, 0)
    return lambda: sh.tl.coherence(adata, **KEYS, use_rep="X")


def prepare(**options):
    import shoal as sh

    adata = counts(20, 250, 3000, 2500)
    raw = adata.X.copy()

    def call() -> None:
        adata.X = raw.copy()
        sh.pp.prepare(adata, **KEYS, normalize="log1p", **options)

    return call


def embed(method: str):
    import shoal as sh

    adata = counts(100, 40, 2000, 1500)
    sh.pp.annotate(adata, **KEYS, context_key="context")
    sh.pp.prepare(adata, normalize="log1p", n_top_genes=None, n_comps=30)
    adata.obs["target"] = adata.obs["perturbation"]
    return lambda: sh.pp.embed(adata, method=method, missing="drop")


def evaluate():
    import shoal as sh

    adata = counts(30, 40, 600, 800)
    sh.pp.annotate(adata, **KEYS, context_key="context")
    sh.pp.split(adata, by="perturbation_context", test=0.3, rng=0)
    sh.pp.prepare(adata, normalize="log1p", fit_on="train", n_comps=30)
    model = sh.tl.fit(adata, "mean_shift", rng=0)
    sh.tl.predict(adata, model, key_added="guess", rng=0)
    return lambda: sh.tl.evaluate(adata, prediction="guess")


def metric(name: str, n: int, d: int, repeats: int = 1, **options):
    """Return calls of a metric of two populations of n cells."""
    import numpy as np

    import shoal as sh

    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(n, d)), rng.normal(size=(n, d)) + 0.1
    function = getattr(sh.metrics, name)
    return lambda: [function(x, y, **options) for _ in range(repeats)]


STATISTICS: dict[str, Callable[[], Callable[[], object]]] = {
    "tl.coherence, 100,000 x 50, 2,000 perturbations": lambda: on_gaussian(
        "coherence", 100_000, 2000, 50
    ),
    "tl.coherence, 10,000 x 1,000 genes, 100": coherence_genes,
    "tl.coherence, permutation, 5,000 x 50, 50": lambda: on_gaussian(
        "coherence", 5_000, 50, 50, null="permutation", n_perms=500
    ),
    "tl.coherence_null, 100 draws": lambda: on_gaussian(
        "coherence_null", 5_000, 20, 50, n_cells=[50], n_draws=100
    ),
    "tl.distance, edistance, 500 permutations": lambda: on_gaussian(
        "distance", 20_000, 100, 50, n_perms=500, alpha=0.5
    ),
    "tl.distance, energy": lambda: on_gaussian("distance", 20_000, 200, 50, metric="energy"),
    "tl.distance, energy, 200 permutations": lambda: on_gaussian(
        "distance", 6_000, 50, 50, metric="energy", n_perms=200, alpha=0.5
    ),
    "tl.distance, mmd": lambda: on_gaussian("distance", 10_000, 100, 50, metric="mmd"),
    "tl.distance, energy, pairwise": lambda: on_gaussian(
        "distance", 12_000, 100, 50, metric="energy", pairwise=True
    ),
    "tl.associate, 40,000 x 50, 400": associate,
    "tl.evaluate, 30 perturbations, 800 genes": evaluate,
    "pp.prepare, 13,000 x 2,500": lambda: prepare(n_top_genes=1000),
    "pp.prepare, fit_on='all'": lambda: prepare(n_top_genes=1000, fit_on="all"),
    "pp.embed, effects": lambda: embed("effects"),
    "pp.embed, mds": lambda: embed("mds"),
    "metrics.energy_distance, 100 x 50, 300 calls": lambda: metric("energy_distance", 100, 50, 300),
    "metrics.energy_distance, 5,000 x 50": lambda: metric("energy_distance", 5000, 50),
    "metrics.mmd, 2,000 x 50": lambda: metric("mmd", 2000, 50),
    "metrics.edistance, 100 x 50, 1,000 calls": lambda: metric("edistance", 100, 50, 1000),
    "metrics.coherence, 100 x 50, 3,000 calls": lambda: metric("coherence", 100, 50, 3000),
    "metrics.sinkhorn, 200 x 50": lambda: metric("sinkhorn", 200, 50, 30),
    "metrics.sliced_wasserstein, 2,000 x 50": lambda: metric("sliced_wasserstein", 2000, 50, 20),
    "metrics.correlation_error, 500 x 500": lambda: metric("correlation_error", 500, 500, 5),
    "metrics.discrimination_score, 300 x 2,000": lambda: metric(
        "discrimination_score", 300, 2000, 20, metric="l2"
    ),
}


def work(name: str) -> None:
    """Set one statistic up and time a call for every line of the standard input."""
    warnings.simplefilter("ignore")
    call = STATISTICS[name]()
    call()
    print("ready", flush=True)
    for _ in sys.stdin:
        wall, cpu = time.perf_counter(), time.process_time()
        call()
        times = time.perf_counter() - wall, time.process_time() - cpu
        print(json.dumps(times), flush=True)


def start(name: str, *, one: bool) -> subprocess.Popen[str]:
    environment = {key: value for key, value in os.environ.items() if key not in VARIABLES}
    environment["MPLBACKEND"] = "agg"
    if one:
        environment |= dict.fromkeys(VARIABLES, "1")
    return subprocess.Popen(
        [sys.executable, __file__, "--work", name],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def compare(name: str, repeats: int) -> tuple[float, float, float, float]:
    """Return the least wall and CPU seconds with default threads, and with one."""
    processes = [start(name, one=one) for one in (False, True)]
    for process in processes:
        if process.stdout.readline().strip() != "ready":
            raise SystemExit(f"{name} failed: python {__file__} --work '{name}' shows why")
    times: list[list[list[float]]] = [[], []]
    for _ in range(repeats):
        for process, found in zip(processes, times, strict=True):
            process.stdin.write("go\n")
            process.stdin.flush()
            found.append(json.loads(process.stdout.readline()))
    for process in processes:
        process.communicate()
    (wall, cpu), (wall_one, cpu_one) = ([min(v) for v in zip(*t, strict=True)] for t in times)
    return wall, cpu, wall_one, cpu_one


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", default="", help="statistics whose name holds one of these words")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--work", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.work:
        work(arguments.work)
        return
    words = [word for word in arguments.only.split(",") if word]
    print(f"{os.cpu_count()} cores; seconds, least of {arguments.repeats}\n")
    print("| statistic | wall, default | wall, one | ratio | CPU, default | CPU, one | ratio |")
    print("|---|---|---|---|---|---|---|")
    worst = 0.0
    for name in STATISTICS:
        if words and not any(word in name for word in words):
            continue
        wall, cpu, wall_one, cpu_one = compare(name, arguments.repeats)
        worst = max(worst, wall / wall_one)
        cells = [f"{wall:.3f}", f"{wall_one:.3f}", f"{wall / wall_one:.2f}"]
        cells += [f"{cpu:.3f}", f"{cpu_one:.3f}", f"{cpu / cpu_one:.2f}"]
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)
    print(f"\nlargest ratio of wall times: {worst:.2f}")


if __name__ == "__main__":
    main()
