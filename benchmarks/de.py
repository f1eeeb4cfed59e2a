"""Time `shoal.metrics._ranksum.sums_against` beside scanpy's Wilcoxon test and illico, in one run, and print a markdown table.

    OMP_NUM_THREADS=1 NUMBA_NUM_THREADS=1 python benchmarks/de.py [--cells 20000] [--genes 2000] [--perturbations 100]

Every perturbation against the controls, with correction for ties and without continuity correction. CPU seconds of one
thread (`time.process_time`) after a warm-up on a few genes, in which all compile; peak memory of one further call as
numpy reports it (`tracemalloc`), which does not see what Rust allocates. illico is run where it can be imported.
"""

from __future__ import annotations

import argparse
import logging
import time
import tracemalloc
import warnings
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import TYPE_CHECKING

import anndata as ad
import numpy as np
import pandas as pd
from scipy import sparse
from threadpoolctl import threadpool_limits

from shoal.metrics._cells import Cells
from shoal.metrics._ranksum import sums_against

if TYPE_CHECKING:
    from collections.abc import Callable

WARM_UP = 8  # genes


def simulate(
    cells: int, genes: int, perturbations: int, control_share: float, seed: int = 0
) -> ad.AnnData:
    """Return log-normalised negative binomial counts, label p0 for the controls; a tenth of the genes respond."""
    rng = np.random.default_rng(seed)
    n_controls = round(cells * control_share)
    label = np.concatenate(
        [np.zeros(n_controls, int), 1 + np.arange(cells - n_controls) % perturbations]
    )
    label = rng.permutation(label)
    responds = rng.random((perturbations + 1, genes)) < 0.1
    fold = np.where(responds, rng.lognormal(0, 0.7, responds.shape), 1.0)
    fold[0] = 1
    counts = rng.poisson(rng.gamma(0.5, 0.4, genes) * fold[label] * rng.gamma(5, 0.2, (cells, 1)))
    depth = rng.integers(2_000, 10_000, (cells, 1))
    logged = sparse.csr_matrix(np.log1p(counts * 1e4 / depth).astype(np.float32))
    names = pd.Categorical(np.char.add("p", label.astype(str)))
    return ad.AnnData(
        logged, obs=pd.DataFrame({"label": names}, index=[f"cell{i}" for i in range(cells)])
    )


def predicted(adata: ad.AnnData, seed: int = 1) -> ad.AnnData:
    """Return the same screen with noise in every entry, as a network without zeros predicts it; dense."""
    noise = np.random.default_rng(seed).normal(0, 0.2, adata.shape).astype(np.float32)
    return ad.AnnData(adata.X.toarray() + noise, obs=adata.obs)


def ours(adata: ad.AnnData) -> np.ndarray:
    group = adata.obs["label"].str[1:].astype(int).to_numpy()
    rows = [np.flatnonzero(group == g) for g in range(group.max() + 1)]
    cells, controls = Cells(adata.X, tuple(rows[1:])), Cells(adata.X, (rows[0],))
    return sums_against(cells, controls, np.zeros(len(cells), dtype=int)).standardised().z


def scanpys(adata: ad.AnnData) -> np.ndarray:
    import scanpy as sc

    sc.tl.rank_genes_groups(adata, "label", reference="p0", method="wilcoxon", tie_correct=True)
    found = adata.uns["rank_genes_groups"]
    z = np.empty((len(found["scores"].dtype.names), adata.n_vars))
    for name in found["scores"].dtype.names:
        z[int(name[1:]) - 1, adata.var_names.get_indexer(found["names"][name])] = found["scores"][
            name
        ]
    return z


def illicos(adata: ad.AnnData) -> np.ndarray:
    from illico import asymptotic_wilcoxon

    found = asymptotic_wilcoxon(
        adata, True, "label", reference="p0", use_continuity=False, tie_correct=True
    )
    wide = found["z_score"].unstack()
    return wide.loc[
        [f"p{i + 1}" for i in range(len(wide.drop(index="p0", errors="ignore")))], adata.var_names
    ].to_numpy()


def cpu(call: Callable[[], np.ndarray]) -> tuple[float, np.ndarray]:
    start = time.process_time()
    found = call()
    return time.process_time() - start, found


def peak(call: Callable[[], object]) -> float:
    """Return the most memory that a call holds at a time, in MB."""
    tracemalloc.start()
    call()
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return most / 1e6


def compare(title: str, adata: ad.AnnData, *, repeats: int) -> None:
    methods = {
        "shoal `sums_against`": ours,
        f"scanpy {version('scanpy')} `rank_genes_groups`": scanpys,
    }
    if find_spec("illico"):
        try:
            methods[f"illico {version('illico')} `asymptotic_wilcoxon`"] = illicos
        except PackageNotFoundError:
            methods["illico `asymptotic_wilcoxon`"] = illicos
    few, rows = adata[:, :WARM_UP].copy(), []
    for what, method in methods.items():
        method(few.copy())
        runs = [
            cpu(lambda method=method: method(adata))
            for _ in range(1 if method is scanpys else repeats)
        ]
        seconds, z = min(run[0] for run in runs), runs[0][1]
        memory = "" if method is scanpys else f"{peak(lambda method=method: method(adata)):.0f}"
        rows.append((what, seconds, memory, z))
    print(
        f"\n**{title}**\n\n| | CPU s | × shoal | peak MB | largest difference in z |\n|---|---|---|---|---|"
    )
    for what, seconds, memory, z in rows:
        gap = "" if z is rows[0][3] else f"{np.abs(z - rows[0][3]).max():.1e}"
        print(
            f"| {what} | {seconds:.3g} | {seconds / rows[0][1]:.3g} | {memory} | {gap} |",
            flush=True,
        )
    print(f"\nLargest |z|: {np.abs(rows[0][3]).max():.1f}; scanpy keeps z in float32.")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cells", type=int, default=20_000)
    parser.add_argument("--genes", type=int, default=2_000)
    parser.add_argument("--perturbations", type=int, default=100)
    parser.add_argument(
        "--control-share",
        type=float,
        default=0.1,
        help="the more controls, the more scanpy repeats",
    )
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    shape = f"{given.cells:,} cells × {given.genes:,} genes × {given.perturbations:,} perturbations, {given.control_share:.0%} controls"
    real = simulate(given.cells, given.genes, given.perturbations, given.control_share)
    density = real.X.nnz / np.prod(real.shape)
    compare(f"real cells: CSR, {density:.0%} not 0, {shape}", real, repeats=given.repeats)
    compare(
        f"predicted cells: dense, without zeros, {shape}", predicted(real), repeats=given.repeats
    )


if __name__ == "__main__":
    warnings.simplefilter(
        "ignore"
    )  # scanpy: fragmented frames, logarithms of predicted means below 0
    logging.getLogger("scanpy").setLevel(logging.ERROR)
    with threadpool_limits(1):
        main()
