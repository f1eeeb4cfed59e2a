"""The suite `vcc2026` beside cell-eval2, the scorer of the 2026 challenge: contenders on real counts, time, memory.

    python benchmarks/vcc2026.py [--data renge norman] [--models own_shift flow] [--steps 300] [--folder DIR]
    OMP_NUM_THREADS=1 NUMBA_NUM_THREADS=1 POLARS_MAX_THREADS=1 python benchmarks/vcc2026.py --time

The first call prints a row for each contender: the metrics of held-out targets, the score of shoal and that of cell-eval2,
means over contexts, and the largest difference of any metric (prediction, mean response and replicate). "real cells" are the
held-out cells themselves. cell-eval2 refuses some of these small screens; the table then says so. The second call prints CPU
seconds and peak memory of each package in a process of its own: the prediction, the mean response and five replicates.
"""

from __future__ import annotations

import argparse
import json
import logging
import subprocess
import sys
import tempfile
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
from _screens import DATA, FOLDER, Task, fitted, prepare
from counts import COPY
from scipy import sparse

import shoal as sh
from shoal.core._screen import labels, resolve
from shoal.metrics._external_vcc2026 import RULES

# how a screen is held out, and the simple contenders; days of RENGE and cell types of Kang are the contexts
SPLITS = {"renge": "context", "norman": "perturbation", "papalexi": "guide", "kang": "context"}
MODELS = {
    "renge": ("other_contexts", "perturbed_mean"),
    "norman": ("perturbed_mean",),
    "papalexi": ("own_shift", "perturbed_mean"),
    "kang": ("other_contexts",),
}
LABEL, CONTROL, REAL = "target", "non-targeting", "real cells"
SHORT = dict(zip(RULES, ("PDS", "MSE", "fidelity", "reach", "Jaccard", "NMAE"), strict=True))

# -- contenders on real counts ---------------------------------------------------------------------


def contenders(data: str, given: argparse.Namespace) -> list[dict[str, Any]]:
    """Return a row for each contender on a screen."""
    split = SPLITS[data]
    adata = prepare(Task(data, split, given.seed, (), None, given.folder))
    adata.layers[REAL] = adata.layers["counts"].copy()
    names = given.models or ("control", *MODELS[data])
    for name in names:
        model = fitted(
            adata, name, DATA[data].splits[split].embedding, steps=given.steps, seed=given.seed
        )
        sh.tl.predict(adata, model, key_added=name, subset="test", counts=True, rng=given.seed)
    rows, known = [], {}
    for name in (REAL, *names):
        sh.tl.evaluate(
            adata,
            prediction=name,
            layer="counts",
            suite="vcc2026",
            accept=("same_condition",),
            overwrite=True,
        )
        entry = adata.uns["evaluation"]
        score, apart = theirs(adata, name, entry, known)
        values = {
            short: f"{entry['summary'].loc[metric, 'value']:.3f}" for metric, short in SHORT.items()
        }
        rows.append(
            {
                "data": f"{data}, {split}",
                "contender": COPY if name == "control" else name,
                "targets": len(entry["table"]),
                **values,
                "score": f"{entry['params']['score']:.3f}",
                "cell-eval2": score,
                "apart": apart,
            }
        )
    return rows


def theirs(
    adata: ad.AnnData, name: str, entry: dict[str, Any], known: dict[str, Any]
) -> tuple[str, float]:
    """Return the score of cell-eval2, or why it has none, and the largest difference from ours."""
    import cell_eval2 as package
    from cell_eval2.anchor import compute_replicate_anchor

    profile, scores, refused = package.catalog.PROFILES["vcc2026"], [], False
    ours, where = entry["contexts"].set_index(["context", "metric"]), entry["conditions"]["context"]
    apart = [0.0]
    for context in ours.index.unique("context"):
        real, pred = (pair(adata, layer, context) for layer in ("counts", name))
        config = replace(
            package.EvalConfig.from_preset("vcc2026"),
            num_threads=1,
            target_gene_map=None if set(real.obs[LABEL]) & set(real.var_names) else {"*": None},
        )

        def means(rows: Any) -> dict[str, float]:
            found = package.aggregate_metrics(rows, metrics=profile)
            return dict(found.select(["metric", "mean"]).iter_rows())

        tidy = package.compute_metrics(pred, real, config=config)
        wide = tidy.to_pandas().pivot(index="perturbation", columns="metric", values="value")
        own = entry["table"][(where == context).to_numpy()]
        own.index = entry["conditions"].loc[own.index, "perturbation"]
        if len(own) > 1:  # of one target, PDS is 1 there, whatever is predicted
            both = own - wide.reindex(index=own.index, columns=own.columns)
            apart.append(np.nanmax(np.abs(both.to_numpy(float)), initial=0))
        try:
            if context not in known:
                base = package.build_generic_baseline(real, config=config)
                _, anchor = compute_replicate_anchor(real, config=config)
                second = dict(anchor.select(["metric", "replicate"]).iter_rows())
                known[context] = means(base.results), second
            (base, second), values = known[context], means(tidy)
        except ValueError:
            refused = True
            continue
        scaled = {}
        for metric in RULES:
            policy = replace(package.catalog.CATALOG[metric].scoring, anchor=second[metric])
            scaled[metric] = package.scoring.score_one(values[metric], base[metric], policy)
            own = ours.loc[(context, metric), ["value", "mean_response", "replicate", "scaled"]]
            their = [values[metric], base[metric], second[metric], scaled[metric]]
            apart.append(np.nanmax(np.abs(own.to_numpy(float) - their)))
        scores.append(np.mean(list(scaled.values())))
    return ("refused" if refused else f"{np.mean(scores):.3f}"), max(apart)


def pair(adata: ad.AnnData, layer: str, context: str) -> ad.AnnData:
    """Return the held-out cells and the controls of a context as cell-eval2 takes them."""
    screen = resolve(adata)
    named = labels(adata, screen)
    chosen = ((adata.obs["split"] == "test").to_numpy() & (named.code >= 0)) | named.is_control
    if context:
        chosen &= (adata.obs[screen.context_key].astype(str) == context).to_numpy()
    values = adata.layers[layer]
    x = sparse.csr_matrix(values)[np.flatnonzero(chosen)].astype(np.float32)
    if layer != "counts":  # its own control cells, which no metric reads
        own = np.flatnonzero(named.is_control[chosen])
        x = x.tolil()
        x[own] = sparse.csr_matrix(adata.layers["counts"])[np.flatnonzero(chosen)[own]]
        x = x.tocsr()
    column = adata.obs[screen.perturbation_key].astype("category").cat
    renamed = column.rename_categories(dict.fromkeys(screen.control, CONTROL))[chosen]
    obs = pd.DataFrame(
        {LABEL: renamed.cat.remove_unused_categories()}, index=adata.obs_names[chosen]
    )
    return ad.AnnData(x, obs=obs, var=adata.var[[]].copy())


# -- time and memory ---------------------------------------------------------------------------------

THEIRS = """
import json, logging, re, sys, time, warnings
warnings.filterwarnings("ignore"); logging.disable(logging.WARNING)
from dataclasses import replace
import anndata as ad
import cell_eval2 as package
from cell_eval2.anchor import compute_replicate_anchor
folder = sys.argv[1]
config = replace(package.EvalConfig.from_preset("vcc2026"), num_threads=1)
small = [ad.read_h5ad(f"{folder}/small_{name}.h5ad") for name in ("real", "pred")]
package.compute_metrics(small[1], small[0], config=config)  # compile
real, pred = (ad.read_h5ad(f"{folder}/{name}.h5ad") for name in ("real", "pred"))
config = replace(config, cache_real=f"{folder}/cache")
peak = lambda: int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) / 1e3
times, before = [time.process_time()], peak()
rows = package.compute_metrics(pred, real, config=config); times.append(time.process_time())
base = package.build_generic_baseline(real, config=config); times.append(time.process_time())
_, anchor = compute_replicate_anchor(real, config=config); times.append(time.process_time())
profile = package.catalog.PROFILES["vcc2026"]
means = [dict(package.aggregate_metrics(one, metrics=profile).select(["metric", "mean"]).iter_rows()) for one in (rows, base.results)]
means.append(dict(anchor.select(["metric", "replicate"]).iter_rows()))
print(json.dumps([[b - a for a, b in zip(times, times[1:])], before, peak(), means]))
"""
OURS = """
import json, re, sys, time, warnings
warnings.filterwarnings("ignore")
import anndata as ad
import shoal as sh
folder = sys.argv[1]
def run(real, pred):
    sh.pp.annotate(real, "target", control="non-targeting")
    sh.tl.evaluate(real, prediction=pred, suite="vcc2026")
run(*(ad.read_h5ad(f"{folder}/small_{name}.h5ad") for name in ("real", "pred")))  # compile
real, pred = (ad.read_h5ad(f"{folder}/{name}.h5ad") for name in ("real", "pred"))
peak = lambda: int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) / 1e3
start, before = time.process_time(), peak()
run(real, pred)
taken, after = time.process_time() - start, peak()
summary = real.uns["evaluation"]["summary"]
means = [summary[name].to_dict() for name in ("value", "best_value", "positive")]
print(json.dumps([[taken], before, after, means]))
"""


def simulated(cells: int, genes: int, targets: int, seed: int = 0) -> tuple[ad.AnnData, ad.AnnData]:
    """Return counts, a tenth of them controls, and a prediction with half of each response."""
    rng = np.random.default_rng(seed)
    n_controls = cells // 10
    label = rng.permutation(
        np.r_[np.full(n_controls, targets), np.arange(cells - n_controls) % targets]
    )
    fold = np.where(
        rng.random((targets + 1, genes)) < 0.1, rng.lognormal(0, 0.7, (targets + 1, genes)), 1.0
    )
    fold[-1] = 1
    fold[np.arange(targets), np.arange(targets)] = 0.1
    level, names = rng.gamma(0.5, 2.0, genes), np.array([f"g{i}" for i in range(genes)])
    made = []
    for power in (1.0, 0.5):
        depth = rng.gamma(5, 0.2, (cells, 1))
        x = rng.poisson(level * fold[label] ** power * depth)
        obs = pd.DataFrame(
            {LABEL: pd.Categorical(np.append(names[:targets], CONTROL)[label])},
            index=[f"cell{i}" for i in range(cells)],
        )
        made.append(
            ad.AnnData(
                sparse.csr_matrix(x, dtype=np.float32), obs=obs, var=pd.DataFrame(index=names)
            )
        )
    return made[0], made[1]


def time_both(cells: int, genes: int, targets: int) -> None:
    """Print CPU seconds and memory of both packages."""
    with tempfile.TemporaryDirectory() as folder:
        for prefix, pair_ in (
            ("", simulated(cells, genes, targets)),
            ("small_", simulated(1_000, 100, 5)),
        ):
            for name, one in zip(("real", "pred"), pair_, strict=True):
                one.write_h5ad(f"{folder}/{prefix}{name}.h5ad")
        found = {}
        for who, script in (("cell-eval2", THEIRS), ("shoal", OURS)):
            done = subprocess.run(
                [sys.executable, "-c", script, folder], check=False, capture_output=True, text=True
            )
            if done.returncode:
                raise RuntimeError(done.stderr[-3000:])
            found[who] = json.loads(done.stdout.splitlines()[-1])
    shape = f"{cells:,} cells × {genes:,} genes × {targets} targets"
    print(f"**{shape}**\n\n| | CPU s | peak MB | of which before |\n|---|---|---|---|")
    (parts, before, peak, theirs_), (own, own_before, own_peak, ours) = found.values()
    for what, seconds in zip(
        ("prediction", "mean response", "five replicates"), parts, strict=True
    ):
        print(f"| cell-eval2, {what} | {seconds:.1f} | | |")
    print(f"| cell-eval2, all | {sum(parts):.1f} | {peak:.0f} | {before:.0f} |")
    print(f"| shoal, all | {own[0]:.1f} | {own_peak:.0f} | {own_before:.0f} |")
    apart = max(
        abs(a[name] - b[name]) for a, b in zip(ours, theirs_, strict=True) for name in RULES
    )
    print(f"\n{sum(parts) / own[0]:.1f} times less CPU; largest difference of a metric {apart:.0e}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", nargs="+", default=list(SPLITS), choices=list(SPLITS))
    parser.add_argument("--models", nargs="+", help="instead of the simple ones of each screen")
    parser.add_argument("--steps", type=int, default=None, help="training steps of a network")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, default=FOLDER)
    parser.add_argument("--time", action="store_true", help="time both packages instead")
    parser.add_argument("--cells", type=int, default=20_000)
    parser.add_argument("--genes", type=int, default=2_000)
    parser.add_argument("--targets", type=int, default=100)
    given = parser.parse_args()
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    if given.time:
        time_both(given.cells, given.genes, given.targets)
        return
    table = pd.DataFrame([row for data in given.data for row in contenders(data, given)])
    table["apart"] = table["apart"].map("{:.0e}".format)
    print(table.to_markdown(index=False))


if __name__ == "__main__":
    main()
