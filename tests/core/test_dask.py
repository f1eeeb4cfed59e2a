"""Statistics on a cluster: two workers compute, each chunk at most twice, and the client never holds a block."""

from __future__ import annotations

import os
import tracemalloc
import uuid
from pathlib import Path

import anndata as ad
import dask.array as da
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import shoal as sh

N_BLOCKS, ROWS, GENES = 4, 6000, 300
BLOCK_BYTES = ROWS * GENES * 8


@pytest.fixture(scope="module")
def client():
    """A cluster of two worker processes with one thread each."""
    distributed = pytest.importorskip(
        "distributed", reason="statistics on a cluster are not tested: pip install 'shoal[big]'"
    )
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0"
        ) as cluster,
        distributed.Client(cluster) as found,
    ):
        yield found


@pytest.fixture(scope="module")
def screen():
    """24,000 cells of 300 genes, log-normalised: 40 perturbations with some response, two batches."""
    rng = np.random.default_rng(0)
    n = N_BLOCKS * ROWS
    code = np.where(rng.random(n) < 0.3, 0, rng.integers(1, 41, n))
    names = np.array(["control", *(f"P{i}" for i in range(40))])
    batch = rng.integers(0, 2, n)
    rate = rng.gamma(0.5, 1.0, GENES) * rng.gamma(5, 0.2, (n, 1)) * (1 + 0.3 * batch[:, None])
    rate[:, :30] *= 1 + 0.05 * code[:, None] * (rng.random(n) < 0.6)[:, None]
    counts = rng.poisson(rate)
    x = np.log1p(counts * (300 / counts.sum(axis=1, keepdims=True)))
    obs = pd.DataFrame({"perturbation": names[code], "batch": batch.astype(str)})
    obs.index = obs.index.astype(str)
    adata = ad.AnnData(x, obs=obs, layers={"raw": counts.astype(np.float64)})
    sh.pp.annotate(adata, "perturbation", control="control", batch_key="batch")
    return adata


def read(block, folder, kind, block_info=None):
    """Read a chunk from the file, and leave a note that says which process did."""
    at = "-".join(map(str, block_info[None]["chunk-location"]))
    (Path(folder) / f"{at} {os.getpid()} {uuid.uuid4().hex}.note").touch()
    where = tuple(slice(*ends) for ends in block_info[None]["array-location"])
    values = np.array(np.load(Path(folder) / "x.npy", mmap_mode="r")[where])
    return sparse.csr_matrix(values) if kind == "csr" else values


def lazy(x, kind, folder):
    """Return a matrix as a dask array whose chunks are read by the workers, and counted."""
    np.save(folder / "x.npy", x)
    width = GENES // 2 if kind == "columns" else GENES
    meta = sparse.csr_matrix((0, 0)) if kind == "csr" else np.empty((0, 0))
    array = da.empty(x.shape, chunks=(ROWS, width))
    return array.map_blocks(read, str(folder), kind, dtype=x.dtype, meta=meta)


def called(screen, x, call):
    """Call a function on the screen with this matrix; return it, and the peak of memory in this process."""
    adata = ad.AnnData(x, obs=screen.obs.copy(), uns={"shoal": screen.uns["shoal"]})
    da.ones((2, 2)).sum().compute()  # what is imported at first use is not the screen's
    tracemalloc.start()
    try:
        call(adata)
        return adata, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def counts(folder):
    """Return how often each chunk was computed, and by how many processes other than this one."""
    chunks, processes = zip(*(path.name.split()[:2] for path in folder.glob("*.note")), strict=True)
    assert str(os.getpid()) not in processes
    return pd.Series(chunks).value_counts(), set(processes)


CALLS = {
    "coherence": lambda adata: sh.tl.coherence(adata, use_rep="X"),
    "distance": lambda adata: sh.tl.distance(adata, strata="batch"),
    "prepare": lambda adata: sh.pp.prepare(adata, n_top_genes=100, n_comps=10),
    "prepare all": lambda adata: sh.pp.prepare(adata, n_top_genes=None, fit_on="all", n_comps=10),
    "normalise": lambda adata: sh.pp.prepare(adata, normalize="log1p", n_top_genes=100, n_comps=10),
}
CASES = [
    ("coherence", "dense"),
    ("coherence", "columns"),
    ("coherence", "csr"),
    ("distance", "dense"),
    ("distance", "csr"),
    ("prepare", "columns"),
    ("prepare", "csr"),
    ("prepare all", "dense"),
    ("normalise", "csr"),
]


def results(adata):
    """Return every number that a call has written."""
    tables = {
        name: adata.uns[name]["table"].select_dtypes("number").to_numpy(dtype=float)
        for name in ("coherence", "distance")
        if name in adata.uns
    }
    return tables | {
        key: np.asarray(v) for slot in (adata.obsm, adata.varm) for key, v in slot.items()
    }


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_two_workers_compute_and_the_client_holds_no_block(client, screen, name, kind, tmp_path):
    x = screen.layers["raw"] if name == "normalise" else screen.X
    here, _ = called(screen, sparse.csr_matrix(x) if kind == "csr" else x.copy(), CALLS[name])
    there, peak = called(screen, lazy(x, kind, tmp_path), CALLS[name])
    expected, found = results(here), results(there)
    assert set(expected) == set(found) != set()
    for key, value in expected.items():
        tolerance = 1e-10 if value.dtype == np.float64 else 1e-6  # scores are float32
        np.testing.assert_allclose(found[key], value, rtol=tolerance, atol=tolerance, err_msg=key)
    times, processes = counts(tmp_path)
    assert len(times) == N_BLOCKS * (2 if kind == "columns" else 1)
    assert times.max() <= 2
    assert len(processes) == 2
    assert peak < BLOCK_BYTES
