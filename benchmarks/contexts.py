"""Networks that are told vectors of contexts, beside the same networks told the names of contexts.

    python benchmarks/contexts.py real [--data renge kang] [--models flow ...] [--seeds 0 1 2] [--steps 300] [--folder DIR]
    python benchmarks/contexts.py simulated [--models flow ...] [--seeds 0 1 2] [--steps 300] [--null]

`real`: all perturbed cells of one context (a day of RENGE, a cell type of Kang) are held out, another one with each seed; its
controls stay. Vectors of contexts are those of their own control cells (`pp.embed_contexts`). `energy` is the unbiased energy
distance to held-out cells in a PCA of training cells, `delta` the correlation of the shift from the control mean (see
`_evaluate.py`). The second table has the differences to the same network told names, paired by seed.

`simulated`: twelve lines with vectors z of length 3, of which three are held out, and eight perturbations. The response of a
perturbation in a line is a + M z, with a and M of its own. The control cells of all lines are alike, so that nothing but z tells
the lines apart. `--null`: the response is a + M y, with y drawn apart from the z that the models are told. `error` is the squared
error of the predicted mean shift over the square of the true one, a mean over held-out conditions: 1 for a copy of the controls.
Networks are told names, z, and z dealt to other lines. The second table has the differences to names and to dealt z, with 95 %
intervals from lines drawn again.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

import _screens
import anndata as ad
import numpy as np
import pandas as pd
from _evaluate import exam
from threadpoolctl import threadpool_limits

import shoal as sh
from shoal.models.base._registry import names

if TYPE_CHECKING:
    from collections.abc import Iterator

RIVALS = ("own_shift", "nearest_context", "context_weighted", "cell_knn_shift", "scaled_sources")
BY_VECTOR = ("nearest_context", "context_weighted")
NETWORKS = [name for name in names("network") if name != "cellflux"]  # which learns from images
LEAST = 100  # perturbed cells of a context that is held out


# -- real screens ----------------------------------------------------------------------------------


def real_screen(data: str, seed: int, folder: Path, comps: int | None) -> tuple[ad.AnnData, str]:
    """Return a screen with one context held out and vectors of all of them."""
    task = _screens.Task(data, "context", seed, (), None, folder)
    adata = _screens.raw(task)
    key = adata.uns["shoal"]["context_key"]
    perturbed = adata.obs[adata.obs[_screens.DATA[data].key] != "control"]
    size = perturbed[key].value_counts()
    able = sorted(map(str, size.index[size >= LEAST]))
    held = able[seed % len(able)]
    sh.pp.split(adata, by="context", test=[held], zero_shot=True, rng=seed)
    sh.pp.prepare(adata, overwrite=True, **_screens.preparation(task))
    sh.pp.embed_contexts(adata, **({} if comps is None else {"n_comps": comps}))
    return adata, held


def real(given: argparse.Namespace) -> None:
    rows = []
    for data in given.data:
        for seed in given.seeds:
            adata, held = real_screen(data, seed, given.folder, given.comps)
            test = exam(adata, seed=seed)
            place = {"data": data, "seed": seed, "held out": held}
            found = {("floor", ""): test.floor(), ("control copy", ""): test.control_copy()}
            for name, told in contenders(given.models):
                if given.told and (told or "names") != given.told:
                    continue
                options: dict[str, Any] = {"context_embedding": "controls"} if told else {}
                if name in names("network"):
                    options["max_steps"] = given.steps
                model = sh.tl.fit(adata, name, rng=seed, **options)
                sh.tl.predict(
                    adata, model, key_added="made", subset="test", rng=seed, overwrite=True
                )
                found[name, told] = test.score(adata.layers["made"])
                rows.append(place | row(name, told, found[name, told]))
                print(rows[-1], flush=True)
            rows += [
                place | row(*who, found[who])
                for who in found
                if who[1] == "" and who[0] in ("floor", "control copy")
            ]
    table = pd.DataFrame(rows)
    shown = table.groupby(["data", "contender", "told"], sort=False)[["energy", "delta"]]
    print(shown.mean().round(4).to_string(), "\n")
    networks = table[table["contender"].isin(names("network"))]
    wide = networks.pivot_table(
        index=["data", "contender", "seed"], columns="told", values=["energy", "delta"]
    )
    if {"names", "vectors"} <= set(networks["told"]):
        change = pd.DataFrame(
            {score: wide[score]["vectors"] - wide[score]["names"] for score in ("energy", "delta")}
        )
        print("vectors - names\n", change.round(4).to_string())


def contenders(models: list[str]) -> Iterator[tuple[str, str]]:
    """Yield the models, and what each is told of contexts: names (``""``) or vectors."""
    for name in models:
        yield name, ""
        if name in names("network") or name in BY_VECTOR:
            yield name, "vectors"


def row(name: str, told: str, scores: dict[str, float]) -> dict[str, object]:
    return {
        "contender": name,
        "told": told or ("names" if name in names() else ""),
        "energy": scores["energy"],
        "delta": scores["pearson_control"],
    }


# -- a simulated screen ----------------------------------------------------------------------------

N_LINES, N_HELD, N_PERTURBATIONS, N_CELLS, N_GENES, N_VECTOR = 12, 3, 8, 40, 20, 3


def simulated_screen(seed: int, *, null: bool) -> tuple[ad.AnnData, pd.DataFrame, dict]:
    """Return signed cells, the vectors of the lines, and the true response of every condition."""
    rng = np.random.default_rng([seed, 40])
    lines = [f"line{i:02d}" for i in range(N_LINES)]
    vectors = rng.normal(size=(N_LINES, N_VECTOR))
    acts = rng.normal(size=(N_LINES, N_VECTOR)) if null else vectors
    common = rng.normal(size=(N_PERTURBATIONS, N_GENES)) * 0.7
    slopes = rng.normal(size=(N_PERTURBATIONS, N_VECTOR, N_GENES)) * 0.7
    obs, cells, truth = [], [], {}
    for i, line in enumerate(lines):
        for p in range(-1, N_PERTURBATIONS):
            label = "control" if p < 0 else f"P{p + 1}"
            response = 0.0 if p < 0 else common[p] + acts[i] @ slopes[p]
            n = N_CELLS * (3 if p < 0 else 1)
            cells.append(rng.normal(size=(n, N_GENES)) + response)
            obs += [(label, line)] * n
            truth[label, line] = response
    frame = pd.DataFrame(obs, columns=["perturbation", "line"])
    frame.index = frame.index.astype(str)
    adata = ad.AnnData(np.concatenate(cells).astype(np.float32), obs=frame)
    sh.pp.annotate(adata, "perturbation", control="control", context_key="line")
    held = rng.choice(lines, N_HELD, replace=False).tolist()
    sh.pp.split(adata, by="context", test=held, zero_shot=True, rng=seed)
    return adata, pd.DataFrame(vectors, index=lines), truth


def dealt(vectors: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """Return the vectors dealt to the lines anew, none to its own line."""
    n = len(vectors)
    while True:
        order = rng.permutation(n)
        if (order != np.arange(n)).all():
            return vectors.iloc[order].set_axis(vectors.index, axis=0)


def errors(model: Any, adata: ad.AnnData, truth: dict, seed: int) -> Iterator[tuple[str, float]]:
    """Yield the held-out lines and the relative squared errors of their mean shifts."""
    rows, made, _ = model.twins(adata, subset=(adata.obs["split"] == "test").to_numpy(), rng=seed)
    own = adata.obs.iloc[rows]
    for (name, line), at in own.groupby(["perturbation", "line"], observed=True).indices.items():
        control = (
            (adata.obs["perturbation"] == "control") & (adata.obs["line"] == line)
        ).to_numpy()
        shift = np.asarray(made[at]).mean(axis=0) - adata.X[control].mean(axis=0)
        real = truth[name, line]
        yield line, float(((shift - real) ** 2).sum() / (real**2).sum())


def simulated(given: argparse.Namespace) -> None:
    rows = []
    for seed in given.seeds:
        adata, vectors, truth = simulated_screen(seed, null=given.null)
        permuted = dealt(vectors, np.random.default_rng([seed, 41]))
        for name in given.models:
            told = {"names": None, "vectors": vectors, "dealt vectors": permuted}
            if name not in names("network") and name not in BY_VECTOR:
                told = {"names": None}
            for what, table in told.items():
                options: dict[str, Any] = {} if table is None else {"context_embedding": table}
                if name in names("network"):
                    options["max_steps"] = given.steps
                model = sh.tl.fit(adata, name, rng=seed, **options)
                for line, error in errors(model, adata, truth, seed):
                    rows.append(
                        {
                            "contender": name,
                            "told": what,
                            "seed": seed,
                            "line": line,
                            "error": error,
                        }
                    )
        print(f"seed {seed} done", flush=True)
    by_line = (
        pd.DataFrame(rows)
        .groupby(["contender", "told", "seed", "line"], sort=False)["error"]
        .mean()
    )
    print(
        by_line.groupby(level=["contender", "told"], sort=False).mean().round(3).to_string(), "\n"
    )
    rng = np.random.default_rng(0)
    for name in given.models:
        own = by_line.loc[name].unstack("told")
        for other in ("names", "dealt vectors"):
            if "vectors" not in own or other not in own:
                continue
            change = (own["vectors"] - own[other]).to_numpy()
            again = rng.choice(change, size=(4000, len(change))).mean(axis=1)
            low, high = np.quantile(again, [0.025, 0.975])
            print(
                f"{name}: vectors - {other}: {change.mean():.3f} [{low:.3f}, {high:.3f}], {len(change)} lines"
            )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("part", choices=["real", "simulated"])
    parser.add_argument("--data", nargs="+", choices=["renge", "kang"], default=["renge", "kang"])
    parser.add_argument("--models", nargs="+", default=[*RIVALS, *NETWORKS])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--comps", type=int, help="most components of vectors of real contexts")
    parser.add_argument("--told", choices=["names", "vectors"], help="of real screens, one of them")
    parser.add_argument("--null", action="store_true")
    parser.add_argument("--folder", type=Path, default=_screens.FOLDER)
    given = parser.parse_args()
    {"real": real, "simulated": simulated}[given.part](given)


if __name__ == "__main__":
    with threadpool_limits(1):
        main()
