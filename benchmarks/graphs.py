"""Graphs of drugs: do they tell what a drug does that nobody has measured.

    python benchmarks/graphs.py [--seeds 0 1 2] [--steps 300] [--graph-weight 1] [--models mean_shift nearest kernel_ridge flow]
                                [--graphs targets structures both] [--folder DIR] [--rows DIR]

The scores of each contender are kept in the folder of rows, and a call goes on where the last one stopped: delete the folder after a
change of the models.

A fifth of the 301 drugs of nELISA (191 secreted proteins, four wells a drug) is held out with each seed. It takes RDKit. Graphs:
shared `targets` (Jaccard index of the annotated targets), `structures` (the ten nearest by the cosine of Morgan fingerprints),
`both`, and `dealt targets` (the targets with the drugs dealt anew: same graph, other names). Contenders:

- `mean_shift`, `nearest` and `kernel_ridge`: the baselines, on fingerprints;
- `propagated, GRAPH`: measured mean shifts of training drugs, carried along the graph; the mean shift where no path leads to one;
- `flow`, `flow, GRAPH`: a network on fingerprints, without and with the graph (`--graphs`) in its loss.

`delta` is the correlation of the predicted with the measured mean shift from DMSO; `specific` the same with the mean shift of
training drugs taken from both. Means over drugs and seeds. The second table has differences of `delta` and `specific` with 95 %
intervals, from drugs drawn again: to `mean_shift`, to `nearest`, and to the same contender with dealt targets.
"""

from __future__ import annotations

import argparse
from functools import cached_property
from pathlib import Path
from typing import Any

import _screens
import anndata as ad
import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

import shoal as sh
from shoal.core._graph import checked_edges, combined, filled
from shoal.models.base._registry import names

FILE = "nelisa_a549_302compounds.h5ad"
BASELINES = ("mean_shift", "nearest", "kernel_ridge")
DEALT = "dealt targets"
GRAPHS: dict[str, dict[str, float]] = {
    "targets": {"targets": 1.0},
    "structures": {"structures": 1.0},
    "both": {"targets": 1.0, "structures": 1.0},
    DEALT: {"dealt": 1.0},
}


def screen(seed: int, folder: Path) -> ad.AnnData:
    """Return the screen with fingerprints, graphs and a split."""
    adata = ad.read_h5ad(folder / FILE)
    sh.pp.annotate(adata, "perturbation", control="DMSO", batch_key="plate", sep="")
    first = adata.obs[adata.obs["perturbation"] != "DMSO"].drop_duplicates("perturbation")
    smiles = dict(zip(first["perturbation"].astype(str), first["smiles"].astype(str), strict=True))
    sh.pp.embed(adata, method="fingerprint", source=smiles)  # two batches of a drug, two tautomers
    sh.pp.link(adata, embedding="fingerprint", key_added="structures")
    edges = shared_targets(adata)
    sh.pp.link(adata, source=edges, key_added="targets")
    drugs = sorted(adata.uns["perturbation_embeddings"]["fingerprint"].index)
    dealt = dict(zip(drugs, np.random.default_rng([seed, 50]).permutation(drugs), strict=True))
    other = edges.assign(source=edges["source"].map(dealt), target=edges["target"].map(dealt))
    sh.pp.link(adata, source=other, key_added="dealt")
    sh.pp.split(adata, by="perturbation", test=0.2, rng=seed, accept="same_molecule")
    return adata


def shared_targets(adata: ad.AnnData) -> pd.DataFrame:
    """Return edges between drugs that share a target, weighted by the Jaccard index of their targets."""
    table = adata.obs.drop_duplicates("perturbation").set_index("perturbation")["targets"]
    targets = {
        str(d): set(str(t).split("|")) for d, t in table.items() if str(t) not in ("", "nan")
    }
    drugs = sorted(targets)
    rows = [
        (a, b, len(targets[a] & targets[b]) / len(targets[a] | targets[b]))
        for i, a in enumerate(drugs)
        for b in drugs[:i]
        if targets[a] & targets[b]
    ]
    return pd.DataFrame(rows, columns=["source", "target", "weight"])


def shifts(adata: ad.AnnData) -> pd.DataFrame:
    """Return the mean shift of every drug from the DMSO wells of its plate."""
    x = pd.DataFrame(np.asarray(adata.X, dtype=float), index=adata.obs_names)
    plate, name = adata.obs["plate"].astype(str), adata.obs["perturbation"].astype(str)
    control = x[name == "DMSO"].groupby(plate[name == "DMSO"]).mean()
    return (x - control.loc[plate].to_numpy()).groupby(name).mean().drop(index="DMSO")


def propagated(
    adata: ad.AnnData, real: pd.DataFrame, trained: np.ndarray, graph: dict
) -> pd.DataFrame:
    """Return the shifts of training drugs carried along a graph."""
    stored = adata.uns["perturbation_graphs"]
    parts = {name: (checked_edges(stored[name]), weight) for name, weight in graph.items()}
    centre = real[trained].mean()
    found = filled(combined(parts, list(real.index)), (real - centre).to_numpy(), trained)
    return pd.DataFrame(np.nan_to_num(found), index=real.index) + centre.to_numpy()


def predicted(model: Any, adata: ad.AnnData, seed: int) -> pd.DataFrame:
    """Return the mean shift that a model predicts for every held-out drug."""
    rows, made, source = model.twins(
        adata, subset=(adata.obs["split"] == "test").to_numpy(), rng=seed
    )
    change = pd.DataFrame(np.asarray(made, dtype=float) - np.asarray(adata.X[source], dtype=float))
    return change.groupby(adata.obs["perturbation"].astype(str).to_numpy()[rows]).mean()


def correlation(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    a, b = (x - x.mean(axis=1, keepdims=True) for x in (a, b))
    size = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return np.divide((a * b).sum(axis=1), size, out=np.zeros(len(a)), where=size > 1e-9)


class Task:
    """A screen with a fifth of the drugs held out, made when it is first needed."""

    def __init__(self, seed: int, given: argparse.Namespace) -> None:
        self.seed, self.given = seed, given

    @cached_property
    def adata(self) -> ad.AnnData:
        return screen(self.seed, self.given.folder)

    @cached_property
    def real(self) -> pd.DataFrame:
        return shifts(self.adata)

    def drugs(self, part: str) -> np.ndarray:
        """Return which drugs of `real` are in a part of the split."""
        table = self.adata.obs.assign(name=self.adata.obs["perturbation"].astype(str))
        return (table.groupby("name")["split"].first().loc[self.real.index] == part).to_numpy()

    def contenders(self) -> list[tuple[str, str]]:
        """Return what is asked: names of contenders, and of the graphs that they are told."""
        found = []
        for name in self.given.models:
            found.append((name, ""))
            if name in names("network"):
                found += [(name, what) for what in GRAPHS if what in (*self.given.graphs, DEALT)]
        return found + [("propagated", what) for what in GRAPHS]

    def file(self, name: str, what: str) -> str:
        """Return the name of the file in which rows are kept."""
        parts = [str(self.seed), name, *([what.replace(" ", "-")] if what else [])]
        if name in names("network"):
            parts.append(f"{self.given.steps}steps")
            parts += [f"weight{self.given.graph_weight:g}"] if what else []
        return "_".join(parts) + ".csv"

    def made(self, name: str, what: str) -> pd.DataFrame:
        """Return the mean shifts that a contender predicts."""
        if name == "propagated":
            return propagated(self.adata, self.real, self.drugs("train"), GRAPHS[what])
        options: dict[str, Any] = {} if name == "mean_shift" else {"embedding": "fingerprint"}
        if name in names("network"):
            options["max_steps"] = self.given.steps
        if what:
            options |= {"graph": GRAPHS[what], "graph_weight": self.given.graph_weight}
        return predicted(
            sh.tl.fit(self.adata, name, rng=self.seed, **options), self.adata, self.seed
        )

    def scores(self, name: str, what: str) -> pd.DataFrame:
        """Return a row for each held-out drug, kept in a file."""
        file = self.given.rows / self.file(name, what)
        if not file.exists():
            held, centre = (
                self.real.index[self.drugs("test")],
                self.real[self.drugs("train")].mean().to_numpy(),
            )
            own, truth = self.made(name, what).loc[held].to_numpy(), self.real.loc[held].to_numpy()
            table = pd.DataFrame({"drug": held})
            table["delta"] = correlation(own, truth)
            table["specific"] = correlation(own - centre, truth - centre)
            file.parent.mkdir(parents=True, exist_ok=True)
            table.to_csv(file, index=False)
            print(file.name, flush=True)
        contender = f"{name}, {what}" if what else name
        return pd.read_csv(file).assign(seed=self.seed, contender=contender)


def interval(change: np.ndarray) -> str:
    again = np.random.default_rng(0).choice(change, size=(4000, len(change))).mean(axis=1)
    low, high = np.quantile(again, [0.025, 0.975])
    return f"{change.mean():+.3f} [{low:+.3f}, {high:+.3f}]"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs="+", default=[*BASELINES, "flow"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--graph-weight", type=float, default=1.0)
    parser.add_argument("--graphs", nargs="+", choices=list(GRAPHS)[:3], default=list(GRAPHS)[:3])
    parser.add_argument("--folder", type=Path, default=_screens.FOLDER)
    parser.add_argument("--rows", type=Path, default=Path(__file__).parent / "rows" / "graphs")
    given = parser.parse_args()
    tasks = [Task(seed, given) for seed in given.seeds]
    table = pd.concat([task.scores(*who) for task in tasks for who in task.contenders()])
    print(table.groupby("contender", sort=False)[["delta", "specific"]].mean().round(3).to_string())
    wide = table.pivot_table(
        index=["seed", "drug"], columns="contender", values=["delta", "specific"]
    )
    rows = {}
    for name in dict.fromkeys(table["contender"]):
        row = {}
        for score in ("delta", "specific"):
            own = wide[score]
            for rival in ("mean_shift", "nearest"):
                if rival in own and name != rival:
                    row[f"{score} - {rival}"] = interval((own[name] - own[rival]).to_numpy())
            control = f"{name.split(',')[0]}, {DEALT}"
            if control in own and name != control and "," in name:
                row[f"{score} - dealt"] = interval((own[name] - own[control]).to_numpy())
        rows[name] = row
    print(pd.DataFrame.from_dict(rows, orient="index").fillna("").to_string())


if __name__ == "__main__":
    with threadpool_limits(1):
        main()
