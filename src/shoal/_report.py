"""From a screen to tables and pictures: what the command line does with one AnnData."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ._keys import COHERENCE, PCA
from .core._screen import labels, resolve

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from anndata import AnnData
    from matplotlib.figure import Figure

SIZES = (30, 100, 300)  # cells of a pseudo-perturbation
NULL = f"{COHERENCE}_null"


@dataclass(frozen=True)
class Options:
    """How to measure a screen that is annotated."""

    normalize: Literal["log1p"] | None = None
    use_rep: str | None = None
    layer: str | None = None
    depth_key: str | None = None
    min_cells: int = 20
    n_draws: int = 400
    seed: int = 0


def read(path: Path, *, backed: bool) -> AnnData:
    """Read an h5ad; with `backed` its matrix stays on disk. The file is not changed either way.

    Raises
    ------
    OSError
        If there is no such file, or it is no HDF5.
    """
    import anndata as ad

    if not path.is_file():
        msg = f"no such file: {path}"
        raise FileNotFoundError(msg)
    return ad.read_h5ad(path, backed="r" if backed else None)


def analyse(adata: AnnData, options: Options, say: Callable[[str], None]) -> None:
    """Prepare a screen if needed, measure coherence, and test controls against controls."""
    from . import pp, tl

    use_rep = options.use_rep
    if options.layer is None and use_rep in (None, PCA):
        use_rep = PCA
        if options.normalize is not None or PCA not in adata.obsm:
            say("preparing: normalisation, variable genes, PCA fitted on the controls")
            pp.prepare(adata, normalize=options.normalize, overwrite=True)
        else:
            say(f"using the {PCA} of the file")
    labelled = labels(adata, resolve(adata))
    n_control, by = int(labelled.is_control.sum()), _control_groups(adata)
    how: dict[str, Any] = {"layer": options.layer, "use_rep": use_rep, "overwrite": True}
    how["depth_key"] = options.depth_key
    n = len(labelled.names)
    say(f"measuring the coherence of {n} perturbations against {n_control:,} controls")
    tl.coherence(adata, min_cells=options.min_cells, rng=options.seed, **how)
    sizes = [n for n in SIZES if 2 * n <= n_control]
    if not sizes and by is None:
        say(f"no test of controls against controls: {n_control} are too few")
        return
    groups = [] if by is None else [f"each {by}"]
    if sizes:
        numbers = ", ".join(map(str, sizes))
        groups.insert(0, f"{options.n_draws} random sets each of {numbers} cells")
    say(f"testing controls against controls: {' and '.join(groups)}")
    tl.coherence_null(adata, n_cells=sizes, n_draws=options.n_draws, by=by, rng=options.seed, **how)


def _control_groups(adata: AnnData) -> str | None:
    """Return the column with groups of control cells: guides or labels; None if there is one."""
    screen = resolve(adata)
    control = adata.obs[labels(adata, screen).is_control]
    for key in (screen.guide_key, screen.perturbation_key):
        if key is not None and control[key].nunique() > 1:
            return key
    return None


def write(adata: AnnData, folder: Path) -> None:
    """Write the table and the pictures of coherence and, if it was tested, of the null."""
    from . import pl

    adata.uns[COHERENCE]["table"].to_csv(folder / "coherence.csv", index_label="perturbation")
    _save(pl.coherence(adata).figure, folder / "coherence.png")
    _save(pl.ranking(adata).figure, folder / "ranking.png")
    if NULL in adata.uns:
        adata.uns[NULL]["rates"].to_csv(folder / "null.csv", index=False)
        _save(pl.coherence_null(adata)[0].figure, folder / "null.png")


def write_geometry(adata: AnnData, folder: Path) -> None:
    """Write a picture of the perturbation that is least coherent for its magnitude.

    Where none is significantly incoherent, it is the most coherent one.
    """
    from . import pl

    table = adata.uns[COHERENCE]["table"]
    odd = table[(table["residual_qvalue"] < 0.05) & (table["residual"] < 0)]
    name = odd["residual_z"].idxmin() if len(odd) else table["coherence"].idxmax()
    _save(pl.geometry(adata, name).figure, folder / "geometry.png")


def _save(figure: Figure, path: Path) -> None:
    from matplotlib import pyplot as plt

    figure.savefig(path, dpi=150)
    plt.close(figure)


def summary(adata: AnnData) -> dict[str, Any]:
    """Return one row of numbers about a screen that was analysed."""
    from scipy.stats import spearmanr

    table = adata.uns[COHERENCE]["table"]

    def rho(a: str, b: str) -> float:
        both = table[[a, b]].dropna()
        return float(spearmanr(both[a], both[b]).statistic) if len(both) > 2 else np.nan

    row: dict[str, Any] = {
        "cells": adata.n_obs,
        "perturbations": len(table),
        "q<0.05": int((table["qvalue"] < 0.05).sum()),
        "discordant": int(((table["residual_qvalue"] < 0.05) & (table["residual"] < 0)).sum()),
        "rho(r,M) plug-in": rho("coherence_plugin", "magnitude_plugin"),
        "rho(r,M)": rho("coherence", "magnitude"),
    }
    if NULL in adata.uns:
        rates = adata.uns[NULL]["rates"]
        split = rates[rates["held_out"] == "random split"]
        for alpha in sorted(split["alpha"].unique(), reverse=True):
            at = split[split["alpha"] == alpha]
            row[f"null at {alpha:g}"] = float(at["n_rejected"].sum() / at["n_draws"].sum())
    return row
