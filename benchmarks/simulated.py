"""Models on a simulated screen, where the truth is known, also of every single cell.

    python benchmarks/simulated.py [--models flow mean_shift ...] [--seeds 0 1 2] [--steps 1000] [--effect-size 3]

A third of the perturbation x context cells is held out. `energy` and its kind: unbiased energy distance in a PCA of training
cells, mean over held-out conditions (all, or of perturbations of one kind of effect). `error`: the model is given the very cells
as they would have been without the perturbation (`layers["counterfactual"]` of `ds.simulate`), and what it makes of each is
compared with what became of it: mean Euclidean distance in the same PCA, over that of the unperturbed cell (a control copy).
It is given for the kinds of effects apart, because only a shift decides what becomes of a cell: whether it responds, in which
programme, and how variable its counts are, is drawn anew. `truth`: the cell's own values times the true mean fold-change.
"""

from __future__ import annotations

import argparse
from functools import partial

import numpy as np
import pandas as pd
from _evaluate import exam
from threadpoolctl import threadpool_limits

import shoal as sh
from shoal.models.base._registry import names

KINDS = ("shift", "dispersion", "penetrance", "programmes")


def screen(seed: int, effect_size: float = 3.0):
    """Return a screen with its split, and its cells as they would have been unperturbed, both log-normalised."""
    adata = sh.ds.simulate(
        n_perturbations=12,
        n_cells=600,
        n_control=1800,
        n_genes=200,
        effects=KINDS,
        effect_size=effect_size,
        contexts=3,
        context_effect=0.4,
        counterfactual=True,
        rng=seed,
    )
    sh.pp.annotate(
        adata, "perturbation", control="control", context_key="context", batch_key="batch"
    )
    before = adata.copy()
    before.X = adata.layers["counterfactual"].copy()
    target = float(np.median(adata.obs.loc[adata.obs["perturbation"] == "control", "total_counts"]))
    sh.pp.split(adata, by="perturbation_context", test=1 / 3, rng=seed)
    for each in (adata, before):
        each.obs["split"] = adata.obs["split"]
        # one target for both; and each cell's own depth, known from the whole transcriptome, not from the panel
        factor = (
            each.obs["library_size"].to_numpy()
            * target
            / float(np.median(adata.obs["library_size"]))
            / target
        )
        each.X = each.X.multiply(1 / factor[:, None]).tocsr().log1p().astype(np.float32)
    sh.pp.prepare(adata, fit_on="train", n_top_genes=None, n_comps=30, cross_fit=0)
    return adata, before


def cell_error(make, adata, before, axes) -> dict[str, float]:
    """Return the mean error of single held-out cells over that of a control copy, for each kind of effect."""
    test = adata.obs[adata.obs["split"] == "test"]
    kinds = adata.uns["truth"]["table"]["kind"]
    found = []
    for (name, _), rows in test.groupby(["perturbation", "context"], observed=True).groups.items():
        start, truth = before[rows], adata[rows].X @ axes
        error = np.linalg.norm(make(start, name) @ axes - truth, axis=1).mean()
        found.append((kinds[name], error / np.linalg.norm(start.X @ axes - truth, axis=1).mean()))
    table = pd.DataFrame(found, columns=["kind", "error"])
    return {
        f"error, {kind}": float(error)
        for kind, error in table.groupby("kind")["error"].mean().items()
    }


def carried(model, cells, name):
    """Return what a model makes of these very cells."""
    return model.transport(cells.copy(), name).X


def true_response(adata):
    """Return a function from cells and a perturbation to their values times the true mean fold-change."""
    fold = np.exp(adata.uns["truth"]["lfc"])
    return lambda cells, name: np.log1p(np.expm1(cells.X.toarray()) * fold.loc[name].to_numpy())


def rows(seed: int, models: list[str], steps: int | None, effect_size: float):
    adata, before = screen(seed, effect_size)
    test = exam(adata, seed=seed)
    axes = np.asarray(adata.varm["PCs"])
    kinds = adata.uns["truth"]["table"]["kind"]
    yield {"model": "floor", "energy": test.floor()["energy"]}
    yield {"model": "truth", **cell_error(true_response(adata), adata, before, axes)}
    for name in models:
        options = {"max_steps": steps} if name in names("network") and steps else {}
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
        try:
            row |= cell_error(partial(carried, model), adata, before, axes)
        except ValueError as err:
            print(f"{name}: {err.args[0]}"[:160], flush=True)
        yield row


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs="+", default=names(images=False))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--steps", type=int)
    parser.add_argument(
        "--effect-size", type=float, default=3.0, help="length of the log fold-changes"
    )
    given = parser.parse_args()
    found = []
    for seed in given.seeds:
        for row in rows(seed, given.models, given.steps, given.effect_size):
            found.append({"seed": seed, **row})
            print(found[-1], flush=True)
    table = pd.DataFrame(found).drop(columns="seed").groupby("model", sort=False).mean().round(4)
    print(table.to_markdown() if hasattr(table, "to_markdown") else table.to_string())


if __name__ == "__main__":
    with threadpool_limits(1):
        main()
