"""Compare the suite `cell_eval` with cell-eval itself, number for number, and time both; print markdown tables.

    OMP_NUM_THREADS=1 NUMBA_NUM_THREADS=1 python benchmarks/external_suites.py --cell-eval-python PATH [--norman FILE]
                                                                        [--time [--shoal-python PATH]]

The first PATH is a Python that has cell-eval 0.8, the second one that has shoal and no extras (`pip install .`), as anndata
imports dask, if it is there. Each package runs in a process of its own; CPU seconds are of the whole evaluation, after files are
read and libraries imported, and the peak is of the resident memory of the process. Each is run once before, so that what it
compiles and keeps is there. cell-eval is run on float64 copies of
the cells, where it is compared: in float32 it rounds means and distances to 7 digits. `clustering_agreement`, which depends on
the random numbers of Leiden, is skipped in the comparison and in the timing of what both have.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
from scipy import sparse

CONTROL = "control"
LABEL = "target"

THEIRS = r"""
import json, logging, re, sys, time, warnings
warnings.simplefilter("ignore"); logging.disable()
import anndata as ad
from cell_eval import MetricsEvaluator
real, pred, out, skip = sys.argv[1:5]
real, pred = ad.read_h5ad(real), ad.read_h5ad(pred)
few = real.obs["target"].cat.categories[:3].tolist() + ["control"]
small = real[real.obs["target"].isin(few)][:, :8].copy()
MetricsEvaluator(small, small.copy(), control_pert="control", pert_col="target", num_threads=1, outdir=out + "/warm")  # compile
peak = lambda: int(re.search(r"VmHWM:\s+(\d+)", open("/proc/self/status").read())[1]) / 1e3
before, start = peak(), time.process_time()
e = MetricsEvaluator(pred, real, control_pert="control", pert_col="target", num_threads=1, outdir=out)
table, _ = e.compute(profile="full", skip_metrics=skip.split(",") if skip else None, write_csv=False)
seconds = time.process_time() - start
table.write_csv(out + "/table.csv")
print(json.dumps([seconds, before, peak()]))
"""

OURS = r"""
import json, re, sys, time, warnings
import anndata as ad, numpy as np
import shoal as sh
real, pred, out, skip = sys.argv[1:5]
real, pred = ad.read_h5ad(real), ad.read_h5ad(pred)
from shoal.metrics._external_suites import EXTERNAL_SUITES
names = [n for n in EXTERNAL_SUITES["cell_eval"].metrics if n not in skip.split(",")]
sh.pp.annotate(real, "target", control="control")
few = real.obs["target"].cat.categories[:3].tolist() + ["control"]
small = real[real.obs["target"].isin(few)][:, :8].copy()
guess = small.copy()
guess.X = guess.X.toarray() if isinstance(pred.X, np.ndarray) else guess.X
sh.tl.evaluate(small, prediction=guess, suite="cell_eval", metrics=names, baselines=None, split=None, min_cells=2)  # compile
del small, guess
peak = lambda: int(re.search(r"VmHWM:\s+(\d+)", open("/proc/self/status").read())[1]) / 1e3
before, start = peak(), time.process_time()
sh.tl.evaluate(real, prediction=pred, suite="cell_eval", metrics=names, baselines=None, split=None, min_cells=2)
seconds = time.process_time() - start
real.uns["evaluation"]["table"].to_csv(out + "/table.csv", index_label="perturbation")
print(json.dumps([seconds, before, peak()]))
"""


def simulated(cells: int, genes: int, perturbations: int, seed: int = 0) -> ad.AnnData:
    """Return log-normalised negative binomial counts, a tenth controls; perturbations are called as the genes they knock down."""
    rng = np.random.default_rng(seed)
    n_controls = cells // 10
    label = rng.permutation(
        np.r_[np.full(n_controls, -1), np.arange(cells - n_controls) % perturbations]
    )
    responds = rng.random((perturbations + 1, genes)) < 0.1
    fold = np.where(responds, rng.lognormal(0, 0.7, responds.shape), 1.0)
    fold[-1] = 1
    fold[np.arange(perturbations), np.arange(perturbations)] = 0.1
    counts = rng.poisson(rng.gamma(0.5, 0.4, genes) * fold[label] * rng.gamma(5, 0.2, (cells, 1)))
    x = np.log1p(counts * 1e4 / rng.integers(2_000, 10_000, (cells, 1)))
    names = np.array([f"g{i}" for i in range(genes)])
    return _table(
        sparse.csr_matrix(x.astype(np.float32)),
        np.append(names[:perturbations], CONTROL)[label],
        names,
    )


def predicted(real: ad.AnnData, seed: int = 1) -> ad.AnnData:
    """Return a middling prediction, cells with noise and half of the response; also of the controls, as a model makes them."""
    rng, x, label = (
        np.random.default_rng(seed),
        real.X.toarray(),
        real.obs[LABEL].to_numpy().astype(str),
    )
    control = np.flatnonzero(label == CONTROL)
    made = x[rng.choice(control, len(x))]
    for name in np.unique(label[label != CONTROL]):
        made[label == name] += 0.5 * (x[label == name].mean(axis=0) - x[control].mean(axis=0))
    made = np.where(made > 0, made + rng.normal(0, 0.1, made.shape), 0)
    return _table(np.maximum(made, 0).astype(np.float32), label, real.var_names)


def _table(x: object, label: np.ndarray, genes: object) -> ad.AnnData:
    obs = pd.DataFrame(
        {LABEL: pd.Categorical(label)}, index=[f"cell{i}" for i in range(len(label))]
    )
    return ad.AnnData(x, obs=obs, var=pd.DataFrame(index=pd.Index(genes)))


def norman(path: str, least: int = 25) -> ad.AnnData:
    """Return the perturbations of Norman et al. (2019) that have some cells, singles and pairs, log-normalised."""
    found = ad.read_h5ad(path)
    label = found.obs["condition"].map(lambda name: "+".join(sorted(name.split("+")))).astype(str)
    rows = np.flatnonzero(label.map(label.value_counts()) >= least)
    x = sparse.csr_matrix(found.X[rows])
    if np.array_equal(x.data, np.round(x.data)):
        depth = found.obs["total_counts_used"].to_numpy()[rows]
        x = sparse.csr_matrix(np.log1p(x.multiply(1e4 / depth[:, None])).astype(np.float32))
    return _table(x, label.to_numpy()[rows], found.var_names)


def run(
    python: str, script: str, real: ad.AnnData, pred: ad.AnnData, skip: str
) -> tuple[pd.DataFrame, list[float]]:
    """Return the table of a package, and its CPU seconds, resident memory before, and peak."""
    with tempfile.TemporaryDirectory() as folder:
        real.write_h5ad(f"{folder}/real.h5ad")
        pred.write_h5ad(f"{folder}/pred.h5ad")
        call = [python, "-c", script, f"{folder}/real.h5ad", f"{folder}/pred.h5ad", folder, skip]
        done = subprocess.run(call, check=False, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(done.stderr[-3000:])
        table = pd.read_csv(Path(folder) / "table.csv", index_col="perturbation").sort_index()
        return table, json.loads(done.stdout.splitlines()[-1])


def compare(title: str, real: ad.AnnData, python: str) -> None:
    """Print the largest differences of all metrics."""
    pred = predicted(real)
    real.X, pred.X = (one.X.astype(np.float64) for one in (real, pred))
    theirs, _ = run(python, THEIRS, real, pred, "clustering_agreement")
    ours, _ = run(sys.executable, OURS, real, pred, "")
    shape = f"{real.n_obs:,} cells × {real.n_vars:,} genes × {len(theirs)} perturbations"
    print(
        f"\n**{title}: {shape}**\n\n| metric | cell-eval, mean | largest difference | values |\n|---|---|---|---|"
    )
    for name in theirs:
        a, b = theirs[name].astype(float), ours.loc[theirs.index, name].astype(float)
        missing = (
            ""
            if (a.isna() == b.isna()).all()
            else f", {int((a.isna() != b.isna()).sum())} missing in one"
        )
        print(
            f"| {name} | {a.mean():.4f} | {(a - b).abs().max():.1e} | {int(a.notna().sum())}{missing} |"
        )
    print(f"\nNot in the suite: {', '.join(set(theirs) - set(ours)) or 'nothing'}.", flush=True)


def time_both(real: ad.AnnData, python: str, own: str) -> None:
    """Print CPU seconds and peak memory of both, with and without the energy distances."""
    pred = predicted(real)
    few = real[: real.n_obs // 20].copy()
    for interpreter, script in ((python, THEIRS), (own, OURS)):
        run(interpreter, script, few, predicted(few), "")
    shape = f"{real.n_obs:,} cells × {real.n_vars:,} genes × {real.obs[LABEL].nunique() - 1} perturbations"
    print(f"\n**{shape}**\n\n| | CPU s | peak MB | of which before |\n|---|---|---|---|")
    for what, skip in (
        ("full profile", ""),
        ("metrics of both", "clustering_agreement"),
        ("without pearson_edistance", "clustering_agreement,pearson_edistance"),
    ):
        for who, interpreter, script in (("cell-eval", python, THEIRS), ("shoal", own, OURS)):
            if who == "shoal" and not skip:
                continue
            _, (seconds, before, peak) = run(interpreter, script, real, pred, skip)
            print(f"| {who}, {what} | {seconds:.1f} | {peak:.0f} | {before:.0f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cell-eval-python", required=True, help="a Python that has cell-eval 0.8")
    parser.add_argument("--norman", help="norman19_perturbench.h5ad, to compare on real cells too")
    parser.add_argument("--time", action="store_true", help="also time both")
    parser.add_argument(
        "--shoal-python", default=sys.executable, help="a Python that has shoal without extras"
    )
    parser.add_argument("--cells", type=int, default=20_000)
    parser.add_argument("--genes", type=int, default=2_000)
    parser.add_argument("--perturbations", type=int, default=100)
    given = parser.parse_args()
    compare("simulated", simulated(3_000, 400, 24), given.cell_eval_python)
    if given.norman:
        compare("Norman et al. 2019", norman(given.norman), given.cell_eval_python)
    if given.time:
        time_both(
            simulated(given.cells, given.genes, given.perturbations),
            given.cell_eval_python,
            given.shoal_python,
        )


if __name__ == "__main__":
    main()
