"""Profiles of a cell line that was never screened: Knowledge, its ablations and its rivals.

    python benchmarks/knowledge.py [--part simulated density synthemax cellhealth] [--seeds 0 1 2] [--steps 400] [--rows DIR] [--results DIR]

Rows are kept in the folder of rows, one file a part, seed and number of steps, and a call goes on where the last one stopped: delete
the folder after a change of the model. The tables of each part that is asked for are written to `benchmarks/results/knowledge_PART.md`;
those of other parts stay as they are. `density` and `synthemax` are twelve real lines on two coatings of the plate. Every table has the
ablations: the graph with its perturbations exchanged, the lines with their vectors exchanged, no graph, no vectors of lines. A well is
never on both sides of a split.

error      squared error of the mean response, per feature; controls, which predict no response, have the size of the responses
r          correlation of the predicted with the real response over features
top1, top5 share of wells of the new line whose perturbation is the nearest, or among the five nearest
mAP        mean average precision of replicates in the new line, 0 at chance (`shoal.metrics.mean_average_precision`)
"""

from __future__ import annotations

import argparse
import logging
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from _knowledge_screens import (
    cellhealth,
    density,
    division,
    exchanged,
    propagated,
    renamed,
    simulated,
)
from _knowledge_tables import (
    OURS,
    RIVALS,
    tables_of_cellhealth,
    tables_of_density,
    tables_of_simulated,
)
from threadpoolctl import threadpool_limits

import shoal as sh
from shoal.metrics import average_precision, top_k_accuracy

if TYPE_CHECKING:
    import anndata as ad

HERE = Path(__file__).parent
BY_VECTOR = ("nearest_context", "context_weighted")  # rivals that are told the vectors of lines
PATH = ["density_1000", "density_2000", "density_8000", "density_12000"]


def variants(
    adata: ad.AnnData,
    edges: pd.DataFrame,
    lines: pd.DataFrame,
    names: list[str],
    screened: list[str],
    rng: Any,
) -> dict[str, dict[str, Any]]:
    """Return what `tl.fit` is told in each ablation."""

    def graph(edges: pd.DataFrame) -> dict[str, Any]:
        return {
            "embedding": propagated(adata, edges, names, screened),
            "graph": edges,
            "graph_weight": 0.01,
        }

    real = {**graph(edges), "context_embedding": lines}
    return {
        OURS: real,
        "permuted graph": {**graph(renamed(edges, names, rng)), "context_embedding": lines},
        "permuted lines": {**real, "context_embedding": exchanged(lines, rng)},
        "no graph": {"context_embedding": lines},
        "no line vector": graph(edges),
    }


def fitted(
    adata: ad.AnnData, options: dict[str, Any], *, seed: int, steps: int, **more: Any
) -> Any:
    return sh.tl.fit(
        adata,
        "knowledge",
        max_steps=steps,
        rng=seed,
        accept="same_condition",  # where some wells of a condition of the new line are known
        accelerator="cpu",
        enable_progress_bar=False,
        **options,
        **more,
    )


def first(wells: np.ndarray, means: pd.DataFrame, label: np.ndarray, *, k: int = 1) -> np.ndarray:
    """Return whether the label of each well is among the k nearest rows of a table."""
    labels = {"query_label": label, "reference_label": list(means.index)}
    return top_k_accuracy(wells, means.to_numpy(), **labels, k=k)


def rivals(adata: ad.AnnData, lines: pd.DataFrame, names: list[str]) -> dict[str, Any]:
    """Return trained baselines."""
    told = {name: {"context_embedding": lines} if name in BY_VECTOR else {} for name in names}
    return {name: sh.tl.fit(adata, name, accept="same_condition", **told[name]) for name in names}


# -- simulated -------------------------------------------------------------------------------------


def responses(model: Any, adata: ad.AnnData, names: list[str]) -> pd.DataFrame:
    """Return predicted mean responses in the new line; NaN for what the model refuses."""
    obs = adata.obs
    control = adata.X[((obs["line"] == "new") & (obs["perturbation"] == "control")).to_numpy()]
    able = [name for name in names if name not in model.cannot_predict(names)]
    made = model.predict(able, context="new", n_cells=len(control), rng=0)
    table = pd.DataFrame(np.asarray(made.X) - control.mean(axis=0))
    return table.groupby(made.obs["perturbation"].to_numpy(str)).mean().reindex(names)


CASES = [
    (True, 0),
    (True, 1),
    (True, 3),
    (False, 0),
]  # planted, wells of the new line that are known


def simulated_rows(seed: int, steps: int, cases: Any = CASES) -> pd.DataFrame:
    """Return a row for each planted or random graph, number of wells known, contender and perturbation."""
    parts = []
    for planted, shots in cases:
        screen = simulated(seed=seed, planted=planted)
        division(screen, shots)
        adata, names = screen.adata, list(screen.response.index)
        screened = [name for name in names if name not in screen.unscreened]
        rng = np.random.default_rng(seed)
        told = variants(adata, screen.edges, screen.lines, names, screened, rng)
        models = {
            name: fitted(adata, options, seed=seed, steps=steps, response_share=1.0)
            for name, options in told.items()
        }
        models |= rivals(adata, screen.lines, RIVALS)
        for name, model in models.items():
            own = simulated_scores(model, screen, adata, names)
            parts.append(own.assign(planted=planted, shots=shots, contender=name, seed=seed))
        wells, label = profiles(adata)
        raw = average_precision(wells, label).normalised
        raw = pd.DataFrame({"mAP": raw}).groupby(label).mean().rename_axis("perturbation")
        raw = raw.reset_index().assign(planted=planted, shots=shots, seed=seed)
        raw["screened"] = ~raw["perturbation"].isin(screen.unscreened)
        parts.append(raw.assign(contender="raw profiles"))
    return pd.concat(parts)


def profiles(adata: ad.AnnData) -> tuple[np.ndarray, np.ndarray]:
    """Return the test wells relative to the controls of their line, and their labels."""
    obs = adata.obs
    control = ((obs["line"] == "new") & (obs["perturbation"] == "control")).to_numpy()
    test = (obs["split"] == "test").to_numpy()
    return adata.X[test] - adata.X[control].mean(axis=0), obs["perturbation"][test].to_numpy(str)


def simulated_scores(model: Any, screen: Any, adata: ad.AnnData, names: list[str]) -> pd.DataFrame:
    made = responses(model, adata, names)
    wells, label = profiles(adata)
    scores = {"error": ((made - screen.response) ** 2).mean(axis=1)}
    if hasattr(model, "represent"):
        test = (adata.obs["split"] == "test").to_numpy()
        chance = model.probabilities(adata).loc[adata.obs_names[test]]
        own = chance.to_numpy()[np.arange(len(label)), chance.columns.get_indexer(label)]
        better = (chance.to_numpy() > own[:, None]).sum(axis=1)
        known = np.isin(label, chance.columns)  # a perturbation without a vector is never found
        hit = {k: known & (better < k) for k in (1, 5)}
        model.represent(adata, overwrite=True)
        precision = average_precision(adata.obsm["X_knowledge"][test], label).normalised
        by_well = {"top1": hit[1], "top5": hit[5], "mAP": precision}
    else:
        there = made.dropna()
        by_well = {f"top{k}": np.nan_to_num(first(wells, there, label, k=k)) for k in (1, 5)}
    for key, values in by_well.items():
        scores[key] = pd.Series(np.asarray(values, dtype=float)).groupby(label).mean()
    table = pd.DataFrame(scores).reindex(names).rename_axis("perturbation").reset_index()
    return table.assign(screened=~table["perturbation"].isin(screen.unscreened))


# -- twelve lines ----------------------------------------------------------------------------------


def density_rows(
    seed: int, steps: int, held_out: Any = None, *, coating: str = "standard"
) -> pd.DataFrame:
    """Return a row for each line held out, contender, density and plate."""
    parts = []
    adata = density(coating)
    lines = sorted(adata.obs["cell_line"].astype(str).unique())
    edges = pd.DataFrame({"source": PATH[:-1], "target": PATH[1:], "weight": 1.0})
    for line in lines if held_out is None else held_out:
        own = adata.copy()
        sh.pp.split(own, by="context", test=[line])
        sh.pp.embed_contexts(own, source="controls", key_added="controls")
        vectors = own.uns["context_embeddings"]["controls"]
        rng = np.random.default_rng((seed, lines.index(line)))
        told = variants(own, edges, vectors, PATH, PATH, rng)
        models = {
            name: fitted(own, o, seed=seed, steps=steps, response_share=1.0)
            for name, o in told.items()
        }
        models |= rivals(own, vectors, RIVALS)
        parts += density_scores(own, models, line, rng)
        print(line, flush=True)
    return pd.concat(parts).assign(seed=seed)


def density_scores(
    adata: ad.AnnData, models: dict[str, Any], line: str, rng: Any
) -> list[pd.DataFrame]:
    """Return scores of the predicted responses on one half of the wells, and of what represents them."""
    obs = adata.obs
    x = np.asarray(adata.X, dtype=float)
    here = (obs["cell_line"] == line).to_numpy()
    label, plate = obs["perturbation"].to_numpy(str), obs["plate"].to_numpy(str)
    test = np.flatnonzero(here & (label != "control"))
    centre = {
        p: x[here & (label == "control") & (plate == p)].mean(axis=0)
        for p in np.unique(plate[here])
    }
    relative = x - np.stack([centre.get(p, x[0]) for p in plate])
    halves: dict[tuple[str, str], tuple[np.ndarray, np.ndarray]] = {}
    for key in {(label[i], plate[i]) for i in test}:
        wells = rng.permutation([i for i in test if (label[i], plate[i]) == key])
        if len(wells) < 2:
            continue
        halves[key] = wells[: len(wells) // 2], wells[len(wells) // 2 :]
    made = {"other half (ceiling)": None, "no response": None}
    for name, model in models.items():
        sh.tl.predict(adata, model, key_added="made", subset="test", overwrite=True)
        layer = adata.layers["made"]
        made[name] = np.asarray(
            layer.toarray() if hasattr(layer, "toarray") else layer, dtype=float
        )
    rows = []
    for name, layer in made.items():
        for (p, where), (first, second) in halves.items():
            real = relative[second].mean(axis=0)
            if name == "no response":
                guess = np.zeros_like(real)
            elif layer is None:
                guess = relative[first].mean(axis=0)
            else:
                guess = layer[np.r_[first, second]].mean(axis=0) - centre[where]
            flat = guess.std() == 0 or not np.isfinite(guess).all()
            r = np.nan if flat else np.corrcoef(guess, real)[0, 1]
            error = np.mean((guess - real) ** 2)
            rows.append(
                {"contender": name, "perturbation": p, "plate": where, "error": error, "r": r}
            )
    found = [pd.DataFrame(rows).assign(line=line, part="response")]
    for name, model in {"raw profiles": None, **models}.items():
        if model is not None and not hasattr(model, "represent"):
            continue
        if model is None:
            values, hit = relative[test], top_k_among_lines(adata, x, label, plate, test)
        else:
            model.represent(adata, overwrite=True)
            values = adata.obsm["X_knowledge"][test]
            chance = model.probabilities(adata).loc[adata.obs_names[test]]
            hit = (chance.idxmax(axis=1).to_numpy() == label[test]).astype(float)
        # replicates in neighbouring wells share a position: only those of other plates count
        precision = average_precision(values, label[test], apart=plate[test]).normalised
        table = pd.DataFrame({"perturbation": label[test], "top1": hit, "mAP": precision})
        table = table.groupby("perturbation").mean().reset_index()
        found.append(table.assign(contender=name, line=line, part="retrieval"))
    return found


def top_k_among_lines(
    adata: ad.AnnData, x: np.ndarray, label: np.ndarray, plate: np.ndarray, test: np.ndarray
) -> np.ndarray:
    """Return whether a well's nearest mean response of the training lines is that of its own label."""
    line = adata.obs["cell_line"].to_numpy(str)
    relative = np.full_like(x, np.nan)
    for key in {*zip(line, plate, strict=True)}:
        rows = (line == key[0]) & (plate == key[1])
        relative[rows] = x[rows] - x[rows & (label == "control")].mean(axis=0)
    train = (adata.obs["split"] == "train").to_numpy() & (label != "control")
    means = pd.DataFrame(relative[train]).groupby(label[train]).mean()
    return first(relative[test], means, label[test])


# -- the trap --------------------------------------------------------------------------------------


def cellhealth_rows(seed: int, steps: int) -> pd.DataFrame:
    """Return a row for each line held out, contender and guide: is it found among all guides of the other lines?

    Half of the non-targeting guides are controls. The other half are given to the model as if they were
    perturbations. They do nothing, so what is found of them is their position on the plate. The graph
    links guides of a gene, and the vectors of lines are those of their controls.
    """
    adata = cellhealth()
    guide = adata.obs["guide"].to_numpy(str)
    null = adata.obs["perturbation"].to_numpy(str) == "control"
    names_of_null = np.random.default_rng(seed).permutation(np.unique(guide[null]))
    controls = names_of_null[: len(names_of_null) // 2]
    adata.obs["label"] = np.where(np.isin(guide, controls), "control", guide)
    sh.pp.annotate(adata, "label", control="control", context_key="cell_line", batch_key="plate")
    edges = same_gene(adata)
    names = sorted({*guide} - {*controls})
    parts = []
    lines = sorted(adata.obs["cell_line"].astype(str).unique())
    for line in lines:
        own = adata.copy()
        sh.pp.split(own, by="context", test=[line])
        sh.pp.embed_contexts(own, source="controls", key_added="controls")
        vectors = own.uns["context_embeddings"]["controls"]
        label = own.obs["label"].to_numpy(str)
        test = ((own.obs["split"] == "test") & (label != "control")).to_numpy()
        train = ((own.obs["split"] == "train") & (label != "control")).to_numpy()
        means = pd.DataFrame(np.asarray(own.X)[train]).groupby(label[train]).mean()
        values = np.asarray(own.X)[test]
        control = ((own.obs["cell_line"] == line) & (label == "control")).to_numpy()
        still = np.asarray(own.X)[control].mean(axis=0)
        chance = [first(values, means, label[test], k=k) for k in (1, 5)]
        found = {"raw profiles": (*chance, values, None), "no response": (None, None, None, still)}
        rng = np.random.default_rng((seed, lines.index(line)))
        for name, options in variants(own, edges, vectors, names, names, rng).items():
            more = {"response_share": 1.0, "config": {"n_latent": None}}
            model = fitted(own, options, seed=seed, steps=steps, **more)
            chance = model.probabilities(own).loc[own.obs_names[test]]
            rank = chance.rank(axis=1, ascending=False).to_numpy()
            mine = rank[np.arange(test.sum()), chance.columns.get_indexer(label[test])]
            model.represent(own, overwrite=True)
            made = predicted(model, own, test)
            found[name] = (mine <= 1, mine <= 5, own.obsm["X_knowledge"][test], made)
        for name, model in rivals(own, vectors, RIVALS).items():
            made = predicted(model, own, test)
            each = pd.DataFrame(made).groupby(label[test]).mean()
            hits = [first(values, each, label[test], k=k) for k in (1, 5)]
            found[name] = (*hits, None, made)
        real = pd.DataFrame(values).groupby(label[test]).mean()
        for name, (top1, top5, profiles, made) in found.items():
            table = pd.DataFrame(index=np.arange(test.sum()))
            table["top1"], table["top5"] = top1, top5
            if profiles is not None:
                table["mAP"] = average_precision(profiles, label[test]).normalised
            table = table.astype(float).groupby(label[test]).mean()
            if made is not None:
                made = np.broadcast_to(made, values.shape)
                made = pd.DataFrame(made).groupby(label[test]).mean()
                table["error"] = ((made - real) ** 2).mean(axis=1)
            table = table.rename_axis("guide").reset_index()
            null_guide = table["guide"].isin(names_of_null)
            parts.append(table.assign(contender=name, line=line, null=null_guide))
    return pd.concat(parts).assign(seed=seed)


def predicted(model: Any, adata: ad.AnnData, rows: np.ndarray) -> np.ndarray:
    """Return the predicted twins of some profiles."""
    sh.tl.predict(adata, model, key_added="made", subset="test", overwrite=True)
    made = adata.layers["made"][rows]
    return np.asarray(made.toarray() if hasattr(made, "toarray") else made, dtype=float)


def same_gene(adata: ad.AnnData) -> pd.DataFrame:
    """Return edges between the guides of a gene. Guides that target nothing have none."""
    table = adata.obs[adata.obs["perturbation"] != "control"].drop_duplicates("guide")
    pairs = [
        (a, b, 1.0)
        for _, own in table.groupby("perturbation", observed=True)["guide"]
        for i, a in enumerate(sorted(own.astype(str)))
        for b in sorted(own.astype(str))[:i]
    ]
    return pd.DataFrame(pairs, columns=["source", "target", "weight"])


PARTS = {
    "simulated": (simulated_rows, tables_of_simulated),
    "density": (density_rows, tables_of_density),
    "synthemax": (partial(density_rows, coating="synthemax"), tables_of_density),
    "cellhealth": (cellhealth_rows, tables_of_cellhealth),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--part", nargs="*", default=list(PARTS), choices=list(PARTS))
    parser.add_argument("--seeds", nargs="*", type=int, default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--rows", type=Path, default=HERE / "rows" / "knowledge")
    parser.add_argument("--results", type=Path, default=HERE / "results")
    asked = parser.parse_args()
    logging.getLogger("shoal").setLevel(logging.ERROR)
    asked.rows.mkdir(parents=True, exist_ok=True)
    asked.results.mkdir(parents=True, exist_ok=True)
    for part in asked.part:
        make, tables = PARTS[part]
        files = [asked.rows / f"{part}_{seed}_{asked.steps}steps.csv" for seed in asked.seeds]
        for seed, file in zip(asked.seeds, files, strict=True):
            if not file.exists():
                make(seed, asked.steps).to_csv(file, index=False)
                print(file, flush=True)
        seeds = " ".join(map(str, asked.seeds))
        call = f"python benchmarks/knowledge.py --part {part} --seeds {seeds} --steps {asked.steps}"
        head = ["# Knowledge, its ablations and its rivals", "", f"`{call}`"]
        rows = pd.concat([pd.read_csv(file) for file in files])
        text = "\n".join([*head, *tables(rows, f"seeds {seeds.replace(' ', ', ')}")]) + "\n"
        (asked.results / f"knowledge_{part}.md").write_text(text)
        print(text)


if __name__ == "__main__":
    with threadpool_limits(1):
        main()
