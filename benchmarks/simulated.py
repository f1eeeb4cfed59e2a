"""Models on a simulated screen, where the truth is known, also of every single cell.

    python benchmarks/simulated.py [--models flow mean_shift ...] [--seeds 0 1 2] [--steps 1000]

A third of the perturbation x context cells is held out. `energy` and its kind: unbiased energy distance in a PCA of training
cells, mean over held-out conditions (all, or of perturbations of one kind of effect). `error`: the model is given the very cells
as they would have been without the perturbation (`layers["counterfactual"]` of `ds.simulate`), and what it makes of each is
compared with what became of it: mean Euclidean distance in the same PCA, over that of the unperturbed cell (a control copy).
"""

from __future__ import annotations

import argparse

import numpy as np
import pandas as pd
from _evaluate import exam
from threadpoolctl import threadpool_limits

import shoal as sh

KINDS = ("shift", "dispersion", "penetrance", "programmes")


def screen(seed: int):
    """Return a screen with its split, and its cells as they would have been unperturbed, both log-normalised."""
    adata = sh.ds.simulate(
        n_perturbations=12,
        n_cells=600,
        n_control=1800,
        n_genes=200,
        effects=KINDS,
        effect_size=3.0,
        contexts=3,
        context_effect=0.4,
        counterfactual=True,
        rng=seed,
    )
    sh.pp.annotate(adata, "perturbation", control="control", context_key="context", batch_key="batch")
    before = adata.copy()
    before.X = adata.layers["counterfactual"].copy()
    target = float(np.median(adata.obs.loc[adata.obs["perturbation"] == "control", "total_counts"]))
    sh.pp.split(adata, by="perturbation_context", test=1 / 3, rng=seed)
    for each in (adata, before):
        each.obs["split"] = adata.obs["split"]
        # one target for both; and each cell's own depth, known from the whole transcriptome, not from the panel
        factor = each.obs["library_size"].to_numpy() * target / float(np.median(adata.obs["library_size"])) / target
        each.X = each.X.multiply(1 / factor[:, None]).tocsr().log1p().astype(np.float32)
    sh.pp.prepare(adata, fit_on="train", n_top_genes=None, n_comps=30, cross_fit=0)
    return adata, before


def cell_error(model, adata, before, axes) -> float:
    """Return the mean error of single held-out cells over that of a control copy; mean over conditions with an effect."""
    test = adata.obs[adata.obs["split"] == "test"]
    kinds = adata.uns["truth"]["table"]["kind"]
    ratios = []
    for (name, _), rows in test.groupby(["perturbation", "context"], observed=True).groups.items():
        if kinds[name] == "null":
            continue
        start, truth = before[rows], adata[rows].X @ axes
        made = model.transport(start.copy(), name).X @ axes
        error = np.linalg.norm(made - truth, axis=1).mean()
        ratios.append(error / np.linalg.norm(start.X @ axes - truth, axis=1).mean())
    return float(np.mean(ratios))


def rows(seed: int, models: list[str], steps: int | None):
    adata, before = screen(seed)
    test = exam(adata, seed=seed)
    axes = np.asarray(adata.varm["PCs"])
    kinds = adata.uns["truth"]["table"]["kind"]
    yield {"model": "floor", "energy": test.floor()["energy"]}
    for name in models:
        options = {"max_steps": steps} if name == "flow" and steps else {}
        try:
            model = sh.tl.fit(adata, name, rng=seed, **options)
            sh.tl.predict(adata, model, key_added="prediction", subset="test", rng=seed)
        except (KeyError, ValueError) as err:
            print(f"{name}: {err.args[0]}"[:160], flush=True)
            continue
        row = {"model": name, "energy": test.score(adata.layers["prediction"])["energy"]}
        for kind in KINDS:
            chosen = tuple(c for c in test.conditions if kinds[c.name.split(" | ")[0]] == kind)
            if chosen:
                part = type(test)(**{**test.__dict__, "conditions": chosen})
                row[kind] = part.score(adata.layers["prediction"])["energy"]
        yield {**row, "error": cell_error(model, adata, before, axes)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=sh.models.available())
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--steps", type=int)
    given = parser.parse_args()
    found = []
    for seed in given.seeds:
        for row in rows(seed, given.models, given.steps):
            found.append({"seed": seed, **row})
            print(found[-1], flush=True)
    table = pd.DataFrame(found).drop(columns="seed").groupby("model", sort=False).mean().round(4)
    print(table.to_markdown() if hasattr(table, "to_markdown") else table.to_string())


if __name__ == "__main__":
    with threadpool_limits(1):
        main()
