"""Screens of profiles for benchmarks/knowledge.py: a simulated one with known responses, and two real ones."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd

import shoal as sh

FOLDER = Path(os.environ.get("SHOAL_DATA_DIR", Path(__file__).parents[2] / "shared" / "data"))
BLOCKS, PER_BLOCK, LINES, FEATURES, LATENT = 12, 5, 8, 40, 6
KEYS = ("perturbation", "control")


@dataclass(frozen=True)
class Simulated:
    """A screen of 60 perturbations in 8 training lines and a new one.

    Attributes
    ----------
    adata
        Wells; ``obs["split"]`` is written by `division`.
    response
        (60, 40) noiseless responses in the new line.
    edges
        Edges of the block graph.
    lines
        (9, 2) vectors of the lines, the new one last.
    unscreened
        One perturbation of each block, which no training line has.
    """

    adata: ad.AnnData
    response: pd.DataFrame
    edges: pd.DataFrame
    lines: pd.DataFrame
    unscreened: tuple[str, ...]


def simulated(*, seed: int, planted: bool = True) -> Simulated:
    """Return the simulated screen.

    The response of a perturbation with the properties t in a line with the vector v is
    (W0 + v1 W1 + v2 W2) t. Properties are 6 numbers; of their variance 80 % is of the block, or none
    where nothing is planted. A well adds noise of the standard deviation 1 to each of 40 features,
    whose responses have a root mean square of about 1.
    """
    rng = np.random.default_rng(seed)
    n, shared = BLOCKS * PER_BLOCK, 0.8 if planted else 0.0
    block = np.repeat(np.arange(BLOCKS), PER_BLOCK)
    own = rng.normal(size=(n, LATENT))
    property_ = (
        np.sqrt(shared) * rng.normal(size=(BLOCKS, LATENT))[block] + np.sqrt(1 - shared) * own
    )
    lines = rng.uniform(-1, 1, size=(LINES + 1, 2)) * np.sqrt(3)  # of variance 1
    angle = rng.uniform(0, 2 * np.pi)
    lines[-1] = 1.2 * np.cos(angle), 1.2 * np.sin(angle)  # among the others, not in their middle
    maps = rng.normal(size=(3, FEATURES, LATENT)) / np.sqrt(3 * LATENT)
    by_line = maps[0] + np.einsum("cj,jfl->cfl", lines, maps[1:])
    response = np.einsum("cfl,pl->cpf", by_line, property_)
    names = [f"g{i:02d}" for i in rng.permutation(n)]
    unscreened = tuple(names[i] for i in range(0, n, PER_BLOCK))
    where = [f"line{c}" for c in range(LINES)] + ["new"]
    values, rows = [], []
    for c, line in enumerate(where):
        base = 2 * rng.normal(size=FEATURES)
        wells = {"control": (np.zeros(FEATURES), 24)}
        wells |= {
            name: (response[c, i], 6 if line == "new" else 3)
            for i, name in enumerate(names)
            if line == "new" or name not in unscreened
        }
        for name, (mean, k) in wells.items():
            values.append(base + mean + rng.normal(size=(k, FEATURES)))
            rows += [(name, line, f"{line}-{name}-{w}", w) for w in range(k)]
    obs = pd.DataFrame(rows, columns=["perturbation", "line", "well", "replicate"])
    adata = ad.AnnData(np.concatenate(values).astype(np.float32), obs.set_index("well", drop=False))
    sh.pp.annotate(adata, *KEYS[:1], control=KEYS[1], context_key="line")
    pairs = [(names[i], names[j], 1.0) for i in range(n) for j in range(i) if block[i] == block[j]]
    return Simulated(
        adata,
        pd.DataFrame(response[-1], index=names),
        pd.DataFrame(pairs, columns=["source", "target", "weight"]),
        pd.DataFrame(lines, index=where),
        unscreened,
    )


def division(screen: Simulated, shots: int) -> None:
    """Write ``obs["split"]``: of the new line, `shots` wells of each screened perturbation are known.

    Wells 3 to 5 are the test, whatever is known, so a well is never on both sides.
    """
    obs = screen.adata.obs
    new = (obs["line"] == "new") & (obs["perturbation"] != "control")
    known = new & (obs["replicate"] < shots) & ~obs["perturbation"].isin(screen.unscreened)
    test = new & (obs["replicate"] >= 3)
    split = np.where(test, "test", np.where(new & ~known, "none", "train"))
    obs["split"] = pd.Series(split, index=obs.index).replace("none", np.nan)


def density(coating: str) -> ad.AnnData:
    """Return wells of twelve lines at five densities: 4,000 cells are the control.

    Wells of a line on a plate without controls of this line are left out, as their response was not measured.
    """
    adata = ad.read_h5ad(FOLDER / f"pca_density_12lines_{coating}.h5ad")
    control = adata.obs["perturbation"] == "control"
    matched = control.groupby([adata.obs["cell_line"], adata.obs["plate"]], observed=True)
    able = matched.transform("any").to_numpy(dtype=bool)
    adata = adata[able, np.isfinite(np.asarray(adata.X)).all(axis=0)].copy()
    keys = {"context_key": "cell_line", "batch_key": "plate"}
    sh.pp.annotate(adata, "perturbation", control="control", **keys)
    return adata


def cellhealth() -> ad.AnnData:
    """Return logits of 16 phenotypes of guides in three lines, less the plate's controls."""
    adata = ad.read_h5ad(FOLDER / "cellhealth_crispr_3lines_phenotypes.h5ad")
    adata = adata[adata.obs["perturbation"] != "no reagent"].copy()
    share = np.clip(np.asarray(adata.X, dtype=float), 1e-4, 1 - 1e-4)
    logit = np.log(share) - np.log1p(-share)
    for plate in adata.obs["plate"].unique():
        rows = (adata.obs["plate"] == plate).to_numpy()
        logit[rows] -= logit[rows & (adata.obs["perturbation"] == "control").to_numpy()].mean(
            axis=0
        )
    adata.X = logit.astype(np.float32)
    return adata


def propagated(
    adata: ad.AnnData, edges: pd.DataFrame, names: list[str], screened: list[str]
) -> pd.DataFrame:
    """Return a vector for each of `names`: of its own, half carried along the graph; of its neighbours where it was not screened."""
    own = pd.DataFrame(np.eye(len(screened)), index=screened)
    options = {"source": own, "graph": edges, "smoothing": 0.5, "names": names}
    sh.pp.embed(adata, method="propagated", key_added="propagated", **options)
    return adata.uns["perturbation_embeddings"]["propagated"].loc[names]


def renamed(edges: pd.DataFrame, names: list[str], rng: np.random.Generator) -> pd.DataFrame:
    """Return the same graph with the perturbations in other places."""
    other = dict(zip(names, rng.permutation(names), strict=True))
    return edges.assign(source=edges["source"].map(other), target=edges["target"].map(other))


def exchanged(lines: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """Return the vectors of the lines, each that of another line."""
    n = len(lines)
    while True:
        order = rng.permutation(n)
        if (order != np.arange(n)).all():
            return pd.DataFrame(lines.to_numpy()[order], index=lines.index)
