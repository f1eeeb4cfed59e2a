"""Time `sh.tl.distance` beside scperturb and pertpy, in one run, and print markdown tables.

    python benchmarks/distance.py [--pertpy-python PATH] [--cells 100000] [--perturbations 2000] ...

CPU seconds of one thread (`time.process_time`); peak memory of one further call as numpy reports it (`tracemalloc`).
pertpy is run by another interpreter (`--pertpy-python`), because its requirements are others; without one its rows
are left out. Figures of different runs are not comparable: compare rows of one table.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
import time
import tracemalloc
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import anndata as ad
import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

import shoal as sh
from shoal.core._grouped_cells import gather
from shoal.core._matrix import as_rows
from shoal.core._screen import labels, resolve
from shoal.tl._distance_between import Metric, to_control

if TYPE_CHECKING:
    from collections.abc import Callable

ONE_THREAD = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL", "NUMBA")}


def simulate(
    cells: int, dims: int, perturbations: int, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Return cells with a falling spectrum, a tenth of them controls (label 0), half of the perturbations shifted."""
    rng = np.random.default_rng(seed)
    scale = 5 / np.sqrt(np.arange(1, dims + 1))
    label = np.sort(
        np.concatenate(
            [np.zeros(cells // 10, int), 1 + np.arange(cells - cells // 10) % perturbations]
        )
    )
    shift = rng.normal(size=(perturbations + 1, dims)) * (rng.random((perturbations + 1, 1)) < 0.5)
    shift[0] = 0
    order = rng.permutation(cells)
    x = (rng.normal(size=(cells, dims)) + shift[label]) * scale
    return x[order].astype(np.float32), label[order]


def as_screen(x: np.ndarray, label: np.ndarray) -> ad.AnnData:
    adata = ad.AnnData(np.zeros((len(x), 1), dtype=np.float32))
    adata.obsm["X_pca"] = x
    adata.obs["label"] = pd.Categorical(label.astype(str))
    return adata


def cpu(call: Callable[[], object], repeats: int = 1) -> float:
    """Return the least CPU seconds of `repeats` calls."""
    seconds = []
    for _ in range(repeats):
        start = time.process_time()
        call()
        seconds.append(time.process_time() - start)
    return min(seconds)


def peak(call: Callable[[], object]) -> float:
    """Return the most memory that a call holds at a time, in MB."""
    tracemalloc.start()
    call()
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return most / 1e6


def ours(adata: ad.AnnData, **options: object) -> pd.DataFrame:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that 99 relabellings are few is known
        sh.tl.distance(adata, "label", control="0", use_rep="X_pca", **options)
    table = adata.uns["distance"]["table"]
    return table.loc[[str(g) for g in range(1, len(table) + 1)]]


def pertpy(
    python: str, x: np.ndarray, label: np.ndarray, **options: object
) -> dict[str, np.ndarray]:
    with tempfile.TemporaryDirectory() as folder:
        source, target = f"{folder}/in.npz", f"{folder}/out.npz"
        np.savez(source, x=x, label=label)
        script = Path(__file__).with_name("pertpy_distance.py")
        subprocess.run(
            [python, str(script), source, target, json.dumps(options)],
            check=True,
            env=os.environ | ONE_THREAD,
        )
        return dict(np.load(target))


def show(title: str, rows: list[tuple[str, float, str, str]]) -> None:
    """Print a table; the ratio is that of each row's time to the first row's."""
    print(
        f"\n**{title}**\n\n| | CPU s | × shoal | peak MB | largest difference |\n|---|---|---|---|---|"
    )
    for what, seconds, memory, difference in rows:
        print(
            f"| {what} | {seconds:.3g} | {seconds / rows[0][1]:.3g} | {memory} | {difference} |",
            flush=True,
        )


def squared(x: np.ndarray, label: np.ndarray, shape: str) -> None:
    import scperturb

    adata = as_screen(x, label)
    seconds = cpu(lambda: ours(adata), repeats=5)
    found, memory = ours(adata)["distance"], peak(lambda: ours(adata))

    def bare() -> None:
        groups = np.where(label == 0, label.max(), label - 1)
        to_control(
            gather(as_rows(x), groups, int(label.max()), np.zeros_like(label), 1, range(len(x))),
            Metric(),
        )

    def annotated() -> None:
        labels(adata, resolve(adata, "label", control="0"))

    rows = [("shoal `tl.distance`", seconds, f"{memory:.0f}", "")]
    rows += [
        ("of which the arithmetic", cpu(bare, repeats=5), "", ""),
        ("of which the labels", cpu(annotated, 5), "", ""),
    ]
    kept: list[pd.DataFrame] = []
    peer = cpu(
        lambda: kept.append(
            scperturb.edist_to_control(
                adata, obs_key="label", control="0", obsm_key="X_pca", n_jobs=1, verbose=False
            )
        )
    )
    gap = (
        np.abs(kept[0]["distance"].astype(float).loc[found.index] - found).max()
        / np.abs(found).max()
    )
    rows.append(
        (f"scperturb {version('scperturb')} `edist_to_control`", peer, "", f"{gap:.1e} (relative)")
    )
    show(f'"edistance" to control, {shape}', rows)


def energy(x: np.ndarray, label: np.ndarray, shape: str, python: str | None) -> None:
    adata = as_screen(x, label)
    rows = []
    for biased in (True, False):
        seconds = cpu(lambda biased=biased: ours(adata, metric="energy", biased=biased))
        rows.append((f"shoal `tl.distance`, {'V' if biased else 'U'}-statistic", seconds, "", ""))
    memory = peak(lambda: ours(adata, metric="energy", biased=True))
    found = ours(adata, metric="energy", biased=True)["distance"].to_numpy()
    rows[0] = (*rows[0][:2], f"{memory:.0f}", "")
    if python:
        peer = pertpy(python, x, label, task="distance")
        gap = np.abs(peer["distance"] - found).max() / np.abs(found).max()
        title = f"pertpy {peer['version']} `Distance('edistance')`, V-statistic"
        rows.append((title, float(peer["seconds"]), "", f"{gap:.1e} (relative)"))
    show(f'"energy" to control, {shape}', rows)


def test(x: np.ndarray, label: np.ndarray, shape: str, python: str | None, n_perms: int) -> None:
    adata = as_screen(x, label)
    rows, found = [], {}
    for metric in ("energy", "edistance", "mmd"):
        options = {"metric": metric, "n_perms": n_perms, "rng": 0, "biased": metric == "energy"}
        seconds = cpu(lambda options=options: ours(adata, **options), repeats=2)
        memory = peak(lambda options=options: ours(adata, **options))
        found[metric] = ours(adata, **options)["pvalue"].to_numpy()
        rows.append((f'shoal `tl.distance`, "{metric}"', seconds, f"{memory:.0f}", ""))
    if python:
        peer = pertpy(python, x, label, task="test", n_perms=n_perms)
        gap = np.abs(peer["pvalue"] - found["energy"]).max()
        title = f"pertpy {peer['version']} `DistanceTest('edistance')`"
        rows.append((title, float(peer["seconds"]), "", f"p-value: {gap:.2f} (both random)"))
    show(f"permutation test, {n_perms} relabellings, {shape}", rows)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pertpy-python", help="interpreter of an environment with pertpy 1.4")
    parser.add_argument("--cells", type=int, default=100_000)
    parser.add_argument("--dims", type=int, default=50)
    parser.add_argument("--perturbations", type=int, default=2_000)
    parser.add_argument("--test-cells", type=int, default=20_000)
    parser.add_argument("--test-perturbations", type=int, default=50)
    parser.add_argument("--perms", type=int, default=100)
    given = parser.parse_args()
    x, label = simulate(given.cells, given.dims, given.perturbations)
    shape = (
        f"{given.cells:,} cells × {given.dims} dimensions × {given.perturbations:,} perturbations"
    )
    squared(x, label, shape)
    energy(x, label, shape, given.pertpy_python)
    x, label = simulate(given.test_cells, given.dims, given.test_perturbations)
    shape = f"{given.test_cells:,} cells × {given.dims} dimensions × {given.test_perturbations:,} perturbations"
    test(x, label, shape, given.pertpy_python, given.perms)


if __name__ == "__main__":
    with threadpool_limits(1):
        main()
