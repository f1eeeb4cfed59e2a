"""What every model and the main tables gave before the house was rebuilt, as short digests.

``python tests/pinned/make_pins.py --write`` makes ``pins.json`` anew; do so only where numbers are meant to change, and say
why in the CHANGELOG. ``--full FILE.npz`` keeps the whole predictions too, to compare two versions bit by bit.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anndata as ad
import numpy as np
import pandas as pd
from scipy import sparse

import shoal as sh

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).parent
PINS = HERE / "pins.json"
DATA = Path(os.environ.get("SHOAL_DATA_DIR", HERE.parents[2] / "shared" / "data"))
RENGE = DATA / "renge23_hipsc_ko.h5ad"
STEPS = 6  # of a network: rounding is not blown up by them
PRESETS = {
    "flow": ("flow", "rectified", "otcfm", "stochastic", "sbcfm", "noise2data", "cellflux"),
    "perturbdiff": ("shoal", "published"),
    "conditional_monge": ("shoal", "published"),
    "knowledge": ("shoal",),
    "unlasting": ("shoal",),
}
SMALL = {
    "flow": {"width": 32, "depth": 2},
    "perturbdiff": {"width": 32, "depth": 2, "n_heads": 2},
    "conditional_monge": {"width": 32},
    "knowledge": {"width": 32, "n_latent": 10, "n_representation": 16},
    "unlasting": {"width": 32, "decoder": 32},
}


def simulated() -> ad.AnnData:
    """A screen of 8 perturbations (2 of them combinations) in 2 contexts and 2 batches, a fifth of perturbation x context held out."""
    adata = sh.ds.simulate(
        n_perturbations=6, n_cells=40, n_genes=80, contexts=2, n_combinations=2, rng=0
    )
    sh.pp.annotate(
        adata, "perturbation", control="control", context_key="context", batch_key="batch"
    )
    sh.pp.split(adata, by="perturbation_context", test=0.2, val=0.1, rng=0)
    sh.pp.prepare(adata, normalize="log1p", n_comps=10, fit_on="train")
    vectors = pd.DataFrame(
        np.random.default_rng(1).normal(size=(6, 5)), index=[f"P{i}" for i in range(1, 7)]
    )
    adata.uns["perturbation_embeddings"] = {"random": vectors}
    return adata


def renge() -> ad.AnnData:
    """Every fourth cell of RENGE, perturbation x day held out."""
    adata = ad.read_h5ad(RENGE)[::4].copy()
    sh.pp.annotate(adata, "perturbation", control="control", context_key="day")
    sh.pp.split(adata, by="perturbation_context", test=0.2, val=0.1, rng=0)
    sh.pp.prepare(adata, normalize="log1p", n_comps=20, fit_on="train")
    return adata


def digest(values: Any) -> list[float]:
    """Return mean, mean square and six fixed projections of an array; NaN counts as -1."""
    dense = values.toarray() if sparse.issparse(values) else np.asarray(values)
    flat = np.nan_to_num(dense.astype(np.float64).ravel(), nan=-1.0)
    if not flat.size:
        return []
    at = np.arange(flat.size)
    waves = [np.cos(at * (0.7 + 0.31 * k) + k) for k in range(6)]
    return [
        float(flat.mean()),
        float((flat**2).mean()),
        *(float(flat @ wave / np.sqrt(flat.size)) for wave in waves),
    ]


def numbers(table: pd.DataFrame) -> np.ndarray:
    """Return the numeric columns of a table, rows and columns in order of their names."""
    frame = table.select_dtypes(include=["number", "bool"]).astype(np.float64)
    return frame.sort_index(axis=0).sort_index(axis=1).to_numpy()


def of_models(adata: ad.AnnData, *, embedding: str | None) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the twins of the held-out cells by every model and preset."""
    for name in sh.models.available().index:
        for preset in PRESETS.get(name, (None,)):
            network = name in PRESETS  # cellflux refuses a screen without images
            asked = {"preset": preset, "config": SMALL[name], "max_steps": STEPS} if network else {}
            if network or name in ("kernel_ridge", "latent_linear", "nearest"):
                asked["embedding"] = embedding
            try:
                model = sh.tl.fit(adata, name, rng=3, **asked)
                _, twins, source = model.twins(
                    adata, subset=(adata.obs["split"] == "test").to_numpy(), rng=4
                )
            except (
                ValueError
            ) as err:  # a baseline that this screen cannot have says so, then as now
                yield f"{name}/{preset}", np.frombuffer(type(err).__name__.encode(), dtype=np.uint8)
                continue
            yield f"{name}/{preset}", twins.toarray() if sparse.issparse(twins) else twins
            yield f"{name}/{preset}/source", source


def of_methods(adata: ad.AnnData) -> Iterator[tuple[str, np.ndarray]]:
    """Yield what the methods of the models make beside twins."""
    asked = {"embedding": "random", "rng": 3, "max_steps": STEPS}
    flow = sh.tl.fit(adata, "flow", config=SMALL["flow"], **asked)
    yield "flow/predict", flow.predict(["P1+P2", "P5"], n_cells=20, rng=5).X
    yield (
        "flow/reflow",
        flow.reflow(4, n_pairs=16, n_steps=8, rng=5).predict("P5", n_cells=20, rng=5).X,
    )
    few = adata[:30].copy()
    yield "flow/counterfactual", flow.counterfactual(adata[-20:].copy(), "P1", n_steps=4).X
    monge = sh.tl.fit(adata, "conditional_monge", config=SMALL["conditional_monge"], **asked)
    yield "monge/transport", monge.transport(few, "P2", rng=5).X
    yield "monge/interpolate", monge.interpolate(few, "P2", times=(0.0, 0.5), rng=5).X
    yield "monge/diagnose", numbers(monge.diagnose(max_cells=30, rng=5).reset_index(drop=True))
    model = sh.models.PerturbDiff(adata, embedding="random", rng=3, **SMALL["perturbdiff"])
    model.pretrain(3, rng=5)
    model.train(3, rng=5)
    yield "perturbdiff/pretrained", model.predict("P3", n_cells=20, context="context1", rng=5).X


def everything(folder: Path) -> Iterator[tuple[str, np.ndarray]]:
    """Yield all that is pinned, by name; `folder` is scratch."""
    screens = {"simulated": (simulated, "random")} | (
        {"renge": (renge, None)} if RENGE.exists() else {}
    )
    for screen, (make, embedding) in screens.items():
        adata = make()
        for name, values in of_models(adata, embedding=embedding):
            yield f"{screen}/{name}", values
        if screen == "simulated":
            for name, values in of_methods(adata):
                yield f"{screen}/{name}", values.toarray() if sparse.issparse(values) else values
        sh.tl.coherence(adata, rng=0)
        yield f"{screen}/coherence", numbers(adata.uns["coherence"]["table"])
        sh.tl.predict(
            adata, sh.tl.fit(adata, "own_shift", rng=0), key_added="p", subset="test", rng=0
        )
        baselines = ["mean_shift", "own_shift", "other_contexts", "quantile_shift"]
        sh.tl.evaluate(adata, prediction="p", baselines=baselines, n_comps=10, min_cells=8, rng=0)
        found = adata.uns["evaluation"]
        yield f"{screen}/evaluate/table", numbers(found["table"])
        yield f"{screen}/evaluate/summary", numbers(found["summary"])
        yield f"{screen}/evaluate/contenders", numbers(found["contenders"])
    yield "benchmark/rows", benchmark_rows(folder)


def benchmark_rows(folder: Path) -> np.ndarray:
    """Return the numbers of a benchmark of two baselines, but for time and memory."""
    path = folder / "screen.h5ad"
    adata = sh.ds.simulate(
        n_perturbations=12, n_cells=40, n_control=150, n_genes=60, effect_size=8.0, rng=0
    )
    del adata.uns["shoal"], adata.uns["truth"]
    adata.write_h5ad(path)
    prepare = {"normalize": "log1p", "n_comps": 8}
    screen = {
        "path": str(path),
        "perturbation_key": "perturbation",
        "control": "control",
        "prepare": prepare,
    }
    spec = {
        "data": {"small": screen},
        "splits": {"unseen_weight": {"by": "perturbation", "test": 0.5}},
        "models": ["perturbed_mean", "mean_shift"],
        "evaluate": {
            "metrics": ["pearson_delta", "energy", "rmse", "collapse_index"],
            "n_comps": 8,
        },
    }
    rows = sh.benchmark.run(spec, folder=folder / "results")
    rows = rows.drop(columns=[c for c in rows if c.startswith("seconds_") or c == "peak_mb"])
    return numbers(rows.set_index(["model", "metric"]))


def machine() -> str:
    """Return what decides how the processor rounds."""
    import torch

    return f"torch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}"


def one_thread() -> Any:
    """Return a context in which BLAS and torch use one thread: sums of several come in another order."""
    import torch
    from threadpoolctl import threadpool_limits

    torch.set_num_threads(1)
    return threadpool_limits(1)


def main() -> None:
    """Write or compare."""
    import tempfile

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--full", type=Path)
    parser.add_argument("--against", type=Path, help="a file of --full from before")
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    with one_thread(), tempfile.TemporaryDirectory() as folder:
        full = dict(everything(Path(folder)))
    if asked.full:
        np.savez_compressed(asked.full, **{k.replace("/", "|"): v for k, v in full.items()})
    if asked.write:
        pins = {
            name: {"shape": list(values.shape), "digest": digest(values)}
            for name, values in full.items()
        }
        pins = {"machine": machine(), **pins}
        lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(pin)}" for name, pin in pins.items())
        PINS.write_text(f"{{\n{lines}\n}}\n")
    if asked.against:
        with np.load(asked.against) as before:
            for key in before.files:
                name = key.replace("|", "/")
                if name not in full or before[key].shape != full[name].shape:
                    sys.stdout.write(f"{name}: gone, or another shape\n")
                    continue
                one, other = (
                    np.nan_to_num(before[key].astype(float)),
                    np.nan_to_num(full[name].astype(float)),
                )
                gap = float(
                    np.abs(one - other).max(initial=0) / max(np.abs(one).max(initial=0), 1e-12)
                )
                if gap:
                    sys.stdout.write(f"{name}: differs by {gap:.1e}\n")
        sys.stdout.write("compared\n")


if __name__ == "__main__":
    main()
