"""Do perturbations that an embedding puts side by side have alike responses? Print markdown tables for real screens.

    python benchmarks/embeddings.py [--data FOLDER] [--permutations 999] [--null 400]

For every method of `sh.pp.embed`: how many perturbations have a vector, the nearest neighbours of a few, and the Spearman
correlation, over all pairs, of the cosine between vectors with the cosine between measured shifts (log-normalised values;
the genes that the screen targets are left out). p is one-sided, from permuting the perturbations (Mantel's test).
"error", "permuted" and "p" are those of `sh.pp.embed_check`: the leave-one-out error of kernel ridge regression as a share
of that of the mean response, its mean over permuted vectors, and the permutation p. Joined sources have a kernel each.
`effects` is fitted on a random half of the cells and compared with the shifts of the other half: what a perfect
embedding could reach with so many cells, not a method for unseen perturbations. Screens are gene subsets.
`--null`: how often `sh.pp.embed_check` gives p of at most .05 for vectors that say nothing: normal ones in 10 dimensions,
and annotations of as many genes drawn from all 20,012; that many of each, with 199 permutations.
"""

from __future__ import annotations

import argparse
import logging
import os
import warnings
from dataclasses import dataclass, field
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
from scipy.stats import rankdata

import shoal as sh
from shoal.core._design import make_plan
from shoal.core._matrix import as_rows
from shoal.core._screen import Labels, labels, resolve
from shoal.pp._embed_annotations import _stored, from_annotations
from shoal.pp._embed_check import _checked
from shoal.pp._embed_expression import mean_shifts

DATA = Path(__file__).parents[2] / "shared" / "data"


@dataclass(frozen=True)
class Case:
    """A real screen, and perturbations whose neighbours are shown."""

    file: str
    show: tuple[str, ...]
    design: dict[str, str] = field(default_factory=dict)


CASES = {
    "Papalexi (THP-1, knock-out)": Case(
        "papalexi21_sceptre_lowmoi.h5ad", ("IFNGR1", "STAT1", "IRF1"), {"batch_key": "bio_rep"}
    ),
    "RENGE (iPSC, knock-out)": Case(
        "renge23_hipsc_ko.h5ad", ("SOX2", "MYC", "ZIC2"), {"context_key": "day"}
    ),
    "Norman (K562, activation)": Case("norman19_perturbench.h5ad", ("KLF1", "MAP2K3", "CEBPE")),
}


def methods(data: Path) -> dict[str, dict[str, object]]:
    collectri, trrust = (
        data / "networks/collectri_human.csv",
        data / "networks/trrust_rawdata.human.tsv",
    )
    edges = pd.read_csv(trrust, sep="\t", names=["source", "target", "sign", "pmid"])
    return {
        "annotations": {"method": "annotations"},
        "network: CollecTRI, spectral": {"method": "network", "source": collectri},
        "network: CollecTRI, walk=5": {"method": "network", "source": collectri, "walk": 5},
        "network: TRRUST, spectral": {"method": "network", "source": edges},
        "network: TRRUST, walk=5": {"method": "network", "source": edges, "walk": 5},
        "coexpression": {"method": "coexpression"},
        "annotations + CollecTRI, walk=5": {
            "method": "joined",
            "source": ["annotations", "network: CollecTRI, walk=5"],
        },
    }


def prepared(path: Path, case: Case) -> ad.AnnData:
    adata = ad.read_h5ad(path)
    info = adata.uns["dataset_info"]
    if "guide_confident" in adata.obs:
        adata = adata[adata.obs["guide_confident"].astype(bool)].copy()
    sh.pp.annotate(adata, info["perturbation_key"], control=info["control_label"], **case.design)
    sh.pp.prepare(adata, normalize="log1p", n_comps=10, overwrite=True)
    return adata


def shifts(adata: ad.AnnData, cells: np.ndarray) -> pd.DataFrame:
    """Return the mean shift of every single perturbation over `cells`, in genes that the screen does not target."""
    screen = resolve(adata)
    found = labels(adata, screen)
    single = np.array([len(screen.parts(n)) == 1 for n in found.names] + [True, False])
    code = np.where(cells & single[found.code], found.code, -1)
    names, short = found.names[single[:-2]], np.full(len(found.names) + 2, -1)
    short[:-2][single[:-2]], short[-2] = np.arange(len(names)), len(names)
    plan = make_plan(adata, Labels(names, short[code]), strata=_strata(screen), depth_key=None)
    targeted = {part for name in found.names for part in screen.parts(name)}
    genes = np.flatnonzero(~adata.var_names.isin(targeted))
    return pd.DataFrame(mean_shifts(as_rows(adata.X, genes), plan), index=names)


def _strata(screen) -> tuple[str, ...]:
    return tuple(k for k in (screen.context_key, screen.batch_key) if k is not None)


def cosines(table: pd.DataFrame) -> np.ndarray:
    unit = table.to_numpy(dtype=float)
    unit = unit / np.linalg.norm(unit, axis=1, keepdims=True)
    return unit @ unit.T


def mantel(a: np.ndarray, b: np.ndarray, permutations: int, seed: int = 0) -> tuple[float, float]:
    """Return Spearman's correlation of two similarity matrices over pairs, and its one-sided permutation p."""
    rng, upper = np.random.default_rng(seed), np.triu_indices(len(a), 1)
    rank_a, rank_b = (np.zeros_like(m) for m in (a, b))
    for rank, m in ((rank_a, a), (rank_b, b)):
        rank[upper] = rankdata(m[upper])
        rank += rank.T
    seen = np.corrcoef(rank_a[upper], rank_b[upper])[0, 1]
    null = []
    for _ in range(permutations):
        p = rng.permutation(len(a))
        null.append(np.corrcoef(rank_a[np.ix_(p, p)][upper], rank_b[upper])[0, 1])
    return float(seen), (1 + sum(r >= seen for r in null)) / (permutations + 1)


def neighbours(table: pd.DataFrame, name: str, n: int = 3) -> str:
    if name not in table.index:
        return f"{name}: no vector"
    row = pd.Series(cosines(table)[table.index.get_loc(name)], index=table.index).drop(name)
    return f"{name}: " + ", ".join(f"{k} {v:.2f}" for k, v in row.nlargest(n).items())


def compare(
    title: str, adata: ad.AnnData, case: Case, data: Path, permutations: int, n_null: int
) -> None:
    everything = np.ones(adata.n_obs, dtype=bool)
    measured = shifts(adata, everything)
    names = sorted(
        {p for n in labels(adata, resolve(adata)).names for p in resolve(adata).parts(n)}
    )
    print(
        f"\n## {title}: {len(names)} perturbations, {len(measured)} measured alone, {adata.n_vars} genes\n"
    )
    print(
        "| method | with a vector | dimensions | pairs | Spearman | p | error | permuted | p | weights | nearest neighbours |\n"
        "|---|---|---|---|---|---|---|---|---|---|---|"
    )
    for method, options in methods(data).items():
        try:
            sh.pp.embed(adata, **options, missing="drop", key_added=method)
        except (KeyError, ValueError) as err:
            print(f"| {method} | 0 of {len(names)} | | | | | | | | | {str(err)[:80]} |")
            continue
        table = adata.uns["perturbation_embeddings"][method]
        row(method, table, measured, names, case, permutations)

    half = np.random.default_rng(0).random(adata.n_obs) < 0.5
    adata.obs["split"] = np.where(half, "train", "test")
    sh.pp.embed(adata, method="effects", missing="drop", key_added="x")
    row(
        "effects, half of cells",
        adata.uns["perturbation_embeddings"]["x"],
        shifts(adata, ~half),
        names,
        case,
        permutations,
    )
    del adata.obs["split"]
    if n_null:
        print()
        null(measured, n_null)


def row(
    method: str,
    table: pd.DataFrame,
    measured: pd.DataFrame,
    names: list[str],
    case: Case,
    permutations: int,
) -> None:
    both = table.index.intersection(measured.index)
    r, p = (
        (np.nan, np.nan)
        if len(both) < 5
        else mantel(cosines(table.loc[both]), cosines(measured.loc[both]), permutations)
    )
    checked = dict.fromkeys(("error", "error_permuted", "pvalue"), np.nan) | {"weights": ""}
    if len(both) >= 5:
        draws = np.random.default_rng(0).spawn(1)[0]
        checked = _checked(method, table.loc[both], measured, "rbf", permutations, 0.05, draws)
    near = "; ".join(neighbours(table, name) for name in case.show)
    pairs = len(both) * (len(both) - 1) // 2
    print(
        f"| {method} | {len(table)} of {len(names)} | {table.shape[1]} | {pairs} | {r:.3f} | {p:.3f} "
        f"| {checked['error']:.3f} | {checked['error_permuted']:.3f} | {checked['pvalue']:.3f} "
        f"| {checked['weights']} | {near} |"
    )


def null(measured: pd.DataFrame, n: int) -> None:
    genes = list(_stored()[0])
    below = {"normal vectors": 0, "annotations of other genes": 0}
    for draws in np.random.default_rng(0).spawn(n):
        drawn = draws.choice(genes, len(measured), replace=False)
        tables = (
            draws.normal(size=(len(measured), 10)),
            from_annotations(drawn, n_comps=128).values.loc[drawn].to_numpy(),
        )
        for name, table in zip(below, tables, strict=True):
            vectors = pd.DataFrame(table, index=measured.index)
            below[name] += _checked("x", vectors, measured, "rbf", 199, 0.05, draws)["informative"]
    for name, count in below.items():
        print(f"null, {name}: p of at most .05 in {count} of {n} ({count / n:.3f})")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("SHOAL_DATA_DIR", DATA)))
    parser.add_argument("--permutations", type=int, default=999)
    parser.add_argument("--null", type=int, default=0)
    args = parser.parse_args()
    logging.getLogger("shoal").setLevel(logging.ERROR)
    warnings.filterwarnings(
        "ignore", message="perturbations with the same vector", category=UserWarning
    )
    for title, case in CASES.items():
        path = args.data / case.file
        if path.exists():
            compare(title, prepared(path, case), case, args.data, args.permutations, args.null)
        else:
            print(f"\n## {title}: skipped, there is no {path.name} in the data folder (--data)")


if __name__ == "__main__":
    main()
