"""What feeding the training costs, and what memory streaming takes, as ratios measured in one run.

    python benchmarks/training.py [--only cost,memory] [--quick]

Costs are CPU seconds of all threads (time.process_time), so that reading ahead in another thread counts in full. Memory
is the largest resident memory of a fresh process. Machines differ and are noisy: read the ratios.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import anndata as ad
import numpy as np
import torch
from scipy import sparse

from shoal.core._matrix import as_rows
from shoal.training import Conditions, ResidentStore, SetSampler, StreamedStore

N_GENES, FILLED = 2000, 100  # genes, and how many of them a cell expresses
N_CONDITIONS, N_BATCHES = 100, 4
MODELS: dict[str, dict[str, int]] = {
    "flow": {},
    "perturbdiff": {"width": 128, "depth": 4},
}  # what is streamed, and its size


def write(n_obs: int, path: Path) -> None:
    """Write a random sparse screen."""
    rng = np.random.default_rng(0)
    width = N_GENES // FILLED
    indices = (np.arange(FILLED) * width + rng.integers(width, size=(n_obs, FILLED))).astype(
        np.int32
    )
    data = rng.exponential(size=n_obs * FILLED).astype(np.float32)
    indptr = np.arange(n_obs + 1, dtype=np.int64) * FILLED
    ad.AnnData(
        sparse.csr_matrix((data, indices.ravel(), indptr), shape=(n_obs, N_GENES))
    ).write_h5ad(path)


def conditions_of(n_obs: int) -> Conditions:
    """A tenth controls, equal groups in random order of the file."""
    rng = np.random.default_rng(0)
    order = rng.permutation(n_obs)
    control, perturbed = np.sort(order[: n_obs // 10]), order[n_obs // 10 :]
    return Conditions(
        names=tuple(f"P{i}" for i in range(N_CONDITIONS)),
        parts=np.arange(N_CONDITIONS)[:, None],
        context=np.zeros(N_CONDITIONS, dtype=np.int64),
        dose=np.full(N_CONDITIONS, np.nan),
        cells=tuple(np.sort(own) for own in np.array_split(perturbed, N_CONDITIONS)),
        control=control,
        cell_context=np.zeros(n_obs, dtype=np.int64),
        cell_batch=rng.integers(N_BATCHES, size=n_obs),
        vectors=np.eye(N_CONDITIONS, dtype=np.float32),
    )


def module_of(d: int) -> torch.nn.Module:
    from shoal.models.flow._module import FlowModule

    torch.manual_seed(0)
    return FlowModule(d, N_CONDITIONS, 1, N_BATCHES)


def reader(path: Path, axes: np.ndarray | None):
    """Return what reads cells from a file: all genes, or their projection."""
    rows = as_rows(ad.read_h5ad(path, backed="r").X)

    def read(cells):
        values = rows.take(cells)
        return values.toarray() if axes is None else values @ axes

    return read


def cpu(call, steps: int) -> float:
    """Return CPU milliseconds of one of `steps` calls, after a first one."""
    call(0)
    start = time.process_time()
    for step in range(1, steps + 1):
        call(step)
    return (time.process_time() - start) / steps * 1e3


def cost(quick: bool) -> None:
    """A batch of 16 conditions x 64 cells beside the step that is taken on it."""
    n_obs, steps = (20_000, 20) if quick else (100_000, 60)
    conditions = conditions_of(n_obs)
    print("\n### cost of a batch, CPU ms\n")
    print(
        "| cells are | step | resident batch | / step | streamed batch | / step |\n|---|---|---|---|---|---|"
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "screen.h5ad"
        write(n_obs, path)
        axes50 = np.random.default_rng(1).normal(size=(N_GENES, 50)).astype(np.float32) / 45
        for name, axes in (("50 components", axes50), (f"{N_GENES} genes", None)):
            sampler, read = SetSampler(conditions), reader(path, axes)
            values = np.concatenate(
                [read(np.arange(i, min(i + 5000, n_obs))) for i in range(0, n_obs, 5000)]
            )
            resident, streamed = ResidentStore(values, sampler), StreamedStore(read, sampler)
            module = module_of(values.shape[1])
            optimizer = torch.optim.AdamW(module.parameters())
            batch, generator = resident.batch(0), torch.Generator()

            def step(number, module=module, optimizer=optimizer, batch=batch, generator=generator):
                loss = module.loss(batch, generator.manual_seed(number))["loss"]
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()

            train = cpu(step, steps)
            near = cpu(resident.batch, 4 * steps)
            windows = 2 if quick else 4
            start = time.process_time()
            for number in range(windows * streamed.refresh):
                streamed.batch(number)
            streamed.close()  # the windows and, in full or in part, the one after
            far = (time.process_time() - start) / (windows * streamed.refresh) * 1e3
            print(
                f"| {name} | {train:.1f} | {near:.2f} | {near / train:.1%} | {far:.2f} | {far / train:.1%} |"
            )


def peak_memory() -> float:
    """Return the most resident MB of this process; Linux counts its parent's in ru_maxrss, but not in VmHWM."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (
        2**20 if sys.platform == "darwin" else 2**10
    )


def memory(quick: bool) -> None:
    """Peak memory of streamed training on files of different sizes: set up, trained through several windows, as a user does."""
    sizes = (10_000, 20_000) if quick else (50_000, 200_000, 400_000)
    print(f"\n### peak memory of streamed training, {N_GENES} genes, two contexts\n")
    print(
        "| model | cells | dense matrix, MB | file open, MB | peak, MB | / smallest |\n|---|---|---|---|---|---|"
    )
    first: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        for n_obs in sizes:
            path = Path(folder) / f"{n_obs}.h5ad"
            write(n_obs, path)
            for name in MODELS:
                command = [sys.executable, __file__, "--train", name, str(path)]
                out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
                before, peak = json.loads(out.splitlines()[-1])
                first.setdefault(name, peak)
                dense = n_obs * N_GENES * 4 / 2**20
                row = f"| {name} | {n_obs:,} | {dense:.0f} | {before:.0f} | {peak:.0f} | {peak / first[name]:.2f} |"
                print(row, flush=True)
            path.unlink()


def train_child(name: str, path: Path) -> None:
    """Train a model on a file and print the memory before and at most, MB."""
    import shoal as sh
    from shoal.models.base import _registry

    adata = ad.read_h5ad(path, backed="r")
    conditions = conditions_of(adata.n_obs)
    label = np.full(adata.n_obs, "control", dtype=object)
    for called, cells in zip(conditions.names, conditions.cells, strict=True):
        label[cells] = called
    adata.obs["perturbation"] = label
    adata.obs["context"] = np.where(np.arange(adata.n_obs) % 2, "a", "b")
    sh.pp.annotate(adata, "perturbation", control="control", context_key="context")
    before = peak_memory()
    kind = _registry.model_class(name)
    kind.setup_anndata(adata)
    kind(adata, rng=0, **MODELS[name]).train(store="streamed", max_steps=60)
    print(json.dumps([before, peak_memory()]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="cost,memory")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--train", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.train:
        train_child(args.train[0], Path(args.train[1]))
        return
    for name in args.only.split(","):
        {"cost": cost, "memory": memory}[name](args.quick)


if __name__ == "__main__":
    main()
