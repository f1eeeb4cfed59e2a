"""Speed and memory of tl.coherence, as ratios measured in one run.

    python benchmarks/coherence.py [--only shesha,growth,sparse,disk,import] [--quick]

Times are CPU seconds (time.process_time, minimum of repeats after a warm-up); memory is resident memory of a fresh
process. Machines differ and are noisy: read the ratios.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import psutil
from scipy import sparse

import shoal as sh
from shoal.core._design import make_plan
from shoal.core._matrix import as_rows
from shoal.core._screen import labels, resolve
from shoal.tl._explain import explain
from shoal.tl._measure import measure

if TYPE_CHECKING:
    from collections.abc import Callable

MB = 2**20


def cpu(call: Callable[[], object], repeats: int = 3) -> float:
    """Return the least CPU seconds of some calls after a warm-up."""
    call()
    best = np.inf
    for _ in range(repeats):
        start = time.process_time()
        call()
        best = min(best, time.process_time() - start)
    return best


def show(title: str, rows: list[dict]) -> None:
    print(f"\n### {title}\n")
    frame = pd.DataFrame(rows)
    print("| " + " | ".join(frame.columns) + " |\n|" + "---|" * frame.shape[1])
    for row in frame.itertuples(index=False):
        print("| " + " | ".join(f"{v:.3g}" if isinstance(v, float) else str(v) for v in row) + " |")


def gaussian(
    n_obs: int, n_perturbations: int, responders: float = 0.5, effect: str = "shift"
) -> ad.AnnData:
    """A tenth controls, equal groups; a share of the perturbations has an effect."""
    size = max(1, int(0.9 * n_obs / n_perturbations))
    magnitude = np.where(np.arange(n_perturbations) < responders * n_perturbations, 0.4, 0.0)
    adata = sh.ds.simulate_gaussian(
        n_perturbations=n_perturbations,
        n_cells=size,
        n_control=n_obs // 10,
        effects=effect,
        magnitude=magnitude,
    )
    return adata[np.random.default_rng(0).permutation(adata.n_obs)].copy()


def shesha(quick: bool) -> None:
    """Beside the original, and beside the least work that any implementation must do."""
    n, g = (20_000, 400) if quick else (100_000, 2000)
    rows, versus = [], {}
    for effect, share in (("shift", 0.0), ("shift", 0.5), ("shift", 1.0), ("penetrance", 0.5)):
        adata = gaussian(n, g, share, effect)
        row, done = time_parts(adata, g)
        rows.append({"effect": effect, "perturbations with one": f"{share:.0%}"} | row)
        if (effect, share) == ("shift", 0.5):
            versus = beside(adata, done, row)
    show(f"{n:,} cells x 50 dimensions x {g:,} perturbations", rows)
    show("shesha-geometry, coherence and magnitude alone (shift, 50 %)", [versus])


def time_parts(adata: ad.AnnData, g: int) -> tuple[dict, pd.DataFrame]:
    """Time the least possible work, the numbers, the causes, and the call."""
    x, plan = adata.X, make_plan(adata, labels(adata, resolve(adata)), strata=(), depth_key=None)
    indicator = sparse.csr_matrix(
        (np.ones(len(x)), (plan.group, np.arange(len(x)))), shape=(g + 1, len(x))
    )
    wide, v = x.astype(np.float64), np.ones(x.shape[1])
    floor = cpu(lambda: (indicator @ wide, indicator @ wide, wide @ v), 7)
    done = measure(as_rows(x), plan, min_cells=20, cross={})
    numbers = cpu(lambda: measure(as_rows(x), plan, min_cells=20, cross={}), 5)
    cause = cpu(lambda: explain(as_rows(x), plan, done))
    whole = cpu(lambda: sh.tl.coherence(adata, strata=None), 5)
    return {
        "two grouped sums + X @ v, s": floor,
        "numbers, s": numbers,
        "/ sums": numbers / floor,
        "causes, s": cause,
        "tl.coherence, s": whole,
        "tl.coherence / sums": whole / floor,
    }, adata.uns["coherence"]["table"]


def beside(adata: ad.AnnData, table: pd.DataFrame, ours: dict) -> dict:
    """Time the original on the same object and compare the numbers."""
    from shesha.bio import compute_coherence, compute_magnitude

    args = (adata, "perturbation", resolve(adata).control[0])
    start = time.process_time()
    s, m = (
        pd.Series(compute_coherence(*args, max_samples=None)),
        pd.Series(compute_magnitude(*args)),
    )
    theirs = time.process_time() - start
    return {
        "S + M, s": theirs,
        "/ numbers": theirs / ours["numbers, s"],
        "/ tl.coherence": theirs / ours["tl.coherence, s"],
        "largest difference in S": float((s[table.index] - table["coherence_plugin"]).abs().max()),
        "in M": float((m[table.index] - table["magnitude_plugin"]).abs().max()),
    }


def growth(quick: bool) -> None:
    """CPU time against the number of cells and of perturbations."""
    sizes = (10_000, 30_000, 100_000) if quick else (10_000, 30_000, 100_000, 300_000, 1_000_000)
    times = []
    for n in sizes:
        adata = gaussian(n, 100, 0.0)
        times.append(cpu(lambda adata=adata: sh.tl.coherence(adata, strata=None), 2))
    slope = float(np.polyfit(np.log(sizes[1:]), np.log(times[1:]), 1)[0])
    show(
        "cells (100 perturbations)",
        [
            {"cells": f"{n:,}", "CPU s": t, "us a cell": t / n * 1e6}
            for n, t in zip(sizes, times, strict=True)
        ],
    )
    print(f"\nexponent in cells, from {sizes[1]:,} on: {slope:.2f}")
    counts = (100, 300, 1000) if quick else (100, 300, 1000, 3000, 10_000)
    n = 50_000 if quick else 200_000
    rows = []
    for g in counts:
        adata = gaussian(n, g, 0.0)
        rows.append(
            {
                "perturbations": f"{g:,}",
                "CPU s": cpu(
                    lambda adata=adata: sh.tl.coherence(adata, strata=None, min_cells=5), 2
                ),
            }
        )
    show(
        f"perturbations ({n:,} cells)",
        [r | {"/ first": r["CPU s"] / rows[0]["CPU s"]} for r in rows],
    )


# -- memory: each case in a process of its own ----------------------------------------------------------------------


def sparse_file(path: Path, n: int, d: int, density: float, n_perturbations: int) -> int:
    """Write a sparse screen chunk by chunk; return the bytes of its matrix."""
    rng = np.random.default_rng(0)
    label = np.array(["control"] + [f"P{i}" for i in range(n_perturbations)])
    group = np.where(rng.random(n) < 0.1, 0, rng.integers(1, n_perturbations + 1, n))
    empty = ad.AnnData(
        sparse.csr_matrix((n, d), dtype=np.float32),
        obs=pd.DataFrame({"perturbation": label[group]}, index=np.arange(n).astype(str)),
    )
    empty.write_h5ad(path)
    with h5py.File(path, "r+") as file:
        for name in ("data", "indices", "indptr"):
            del file["X"][name]
        data = file["X"].create_dataset("data", (0,), maxshape=(None,), dtype="f4", chunks=(2**20,))
        indices = file["X"].create_dataset(
            "indices", (0,), maxshape=(None,), dtype="i4", chunks=(2**20,)
        )
        indptr = [0]
        per_row = int(density * d)
        for start in range(0, n, 20_000):
            k = min(20_000, n - start)
            columns = np.sort(
                (rng.integers(0, d // per_row, (k, per_row)) + np.arange(per_row) * (d // per_row)),
                axis=1,
            )
            values = rng.gamma(2.0, 0.5, (k, per_row)).astype(np.float32)
            values += (
                0.3
                * ((columns + group[start : start + k, None]) % 50 == 0)
                * (group[start : start + k, None] % 2)
            )
            for dataset, block in ((data, values), (indices, columns)):
                dataset.resize(dataset.shape[0] + block.size, axis=0)
                dataset[-block.size :] = block.ravel()
            indptr += list(indptr[-1] + per_row * np.arange(1, k + 1))
        file["X"].create_dataset("indptr", data=np.array(indptr, dtype=np.int64))
        return int(data.size * 8)


def child(kind: str, path: str) -> None:
    """Measure one file in this process and print memory and results as JSON."""
    if kind == "memory":
        adata = ad.read_h5ad(path)
        adata.X.indptr = adata.X.indptr.astype(np.int32)
    elif kind == "backed":
        adata = ad.read_h5ad(path, backed="r")
    else:
        import zarr

        group = zarr.open(path, mode="r")
        adata = ad.AnnData(ad.io.sparse_dataset(group["X"]), obs=ad.io.read_elem(group["obs"]))
    sh.tl.coherence(gaussian(500, 5))  # the libraries themselves are not what is measured
    before = psutil.Process().memory_info().rss
    start = time.process_time()
    sh.tl.coherence(adata, "perturbation", control="control", use_rep="X")
    seconds = time.process_time() - start
    peak = peak_memory()
    table = adata.uns["coherence"]["table"].select_dtypes("number")
    print(
        json.dumps(
            {"before": before, "peak": peak, "cpu": seconds, "table": table.to_numpy().tolist()}
        )
    )


def peak_memory() -> int:
    """Return the most resident bytes of this process; Linux counts its parent's in ru_maxrss, but not in VmHWM."""
    status = Path("/proc/self/status")
    if status.exists():
        return (
            int(
                next(
                    line for line in status.read_text().splitlines() if line.startswith("VmHWM")
                ).split()[1]
            )
            * 1024
        )
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (
        1 if sys.platform == "darwin" else 1024
    )


def run_child(kind: str, path: Path) -> dict:
    out = subprocess.run(
        [sys.executable, __file__, "--child", kind, str(path)],
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(out.stdout.splitlines()[-1])


def gap(a: dict, b: dict) -> float:
    return float(np.nanmax(np.abs(np.array(a["table"], float) - np.array(b["table"], float))))


def sparse_memory(quick: bool) -> None:
    """Genes used directly: what is needed beyond the matrix itself."""
    n = 40_000 if quick else 200_000
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.h5ad"
        size = sparse_file(path, n, 2000, 0.1, 200)
        found = run_child("memory", path)
    extra = found["peak"] - found["before"]
    show(
        f"{n:,} cells x 2,000 genes in memory (CSR, 10 % non-zero), 200 perturbations",
        [
            {
                "matrix, MB": size / MB,
                "extra, MB": extra / MB,
                "extra / matrix": extra / size,
                "dense would be, MB": n * 2000 * 8 / MB,
                "CPU s": found["cpu"],
            }
        ],
    )


def disk(quick: bool) -> None:
    """A file that is never loaded."""
    n = 50_000 if quick else 1_000_000
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.h5ad"
        size = sparse_file(path, n, 2000, 0.05, 200)
        backed = run_child("backed", path)
        memory = run_child("memory", path)
        store = Path(folder) / "x.zarr"
        small = Path(folder) / "small.h5ad"
        sparse_file(small, min(n, 100_000), 2000, 0.05, 200)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ad.read_h5ad(small).write_zarr(store, chunks=None)
        zarr_found, small_found = run_child("zarr", store), run_child("memory", small)
    rows = [
        {"file": "h5ad, backed", "cells": f"{n:,}", "values, MB": size / MB, "peak memory, MB": backed["peak"] / MB, "CPU s": backed["cpu"], "largest difference to in memory": gap(backed, memory)},
        {"file": "the same in memory", "cells": f"{n:,}", "values, MB": size / MB, "peak memory, MB": memory["peak"] / MB, "CPU s": memory["cpu"], "largest difference to in memory": 0.0},
        {"file": "zarr", "cells": f"{min(n, 100_000):,}", "values, MB": size / MB * min(n, 100_000) / n, "peak memory, MB": zarr_found["peak"] / MB, "CPU s": zarr_found["cpu"], "largest difference to in memory": gap(zarr_found, small_found)},
    ]  # fmt: skip
    show(
        "A file of cells x 2,000 genes (sparse, 5 % non-zero), 200 perturbations, read by blocks",
        rows,
    )


def imports(quick: bool) -> None:
    """`import shoal` beside `import anndata`, in turns."""
    code = "import time; a = time.process_time(); import {}; print(time.process_time() - a)"
    times: dict[str, list[float]] = {"anndata": [], "shoal": []}
    for _ in range(3 if quick else 9):
        for name, found in times.items():
            out = subprocess.run(
                [sys.executable, "-c", code.format(name)],
                capture_output=True,
                text=True,
                check=True,
            )
            found.append(float(out.stdout))
    a, s = float(np.median(times["anndata"])), float(np.median(times["shoal"]))
    show("import", [{"anndata, CPU s": a, "shoal, CPU s": s, "ratio": s / a}])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parts = {
        "shesha": shesha,
        "growth": growth,
        "sparse": sparse_memory,
        "disk": disk,
        "import": imports,
    }
    parser.add_argument("--only", default=",".join(parts))
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--child", nargs=2, metavar=("KIND", "FILE"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        child(*args.child)
        return
    for name in args.only.split(","):
        parts[name](args.quick)


if __name__ == "__main__":
    main()
