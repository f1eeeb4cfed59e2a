"""The cells that the PCA, the chosen genes and the embeddings were fitted on, where recorded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .._keys import EMBEDDINGS, EMBEDDINGS_INFO, PCA, SPLIT
from ..core._slots import params_of

if TYPE_CHECKING:
    from anndata import AnnData

    from .._typing import Bools


@dataclass(frozen=True)
class Fit:
    """Something fitted on cells.

    Attributes
    ----------
    on
        ``"none"``, ``"control"``, ``"train"``, ``"all"`` or ``"unknown"``.
    n
        Number of cells, if it is recorded.
    digest
        Digest of the result, which identifies the fit.
    """

    on: str
    n: int | None = None
    digest: str = ""


def pca_fit(adata: AnnData) -> Fit | None:
    """Return how ``obsm["X_pca"]`` was fitted; ``None`` if there is none."""
    if PCA not in adata.obsm:
        return None
    params = params_of(adata, "pca")
    if "fit_on" not in params:
        return Fit("unknown")
    return Fit(str(params["fit_on"]), int(params["n_fit"]), _digest(adata.uns["pca"]["variance"]))


def gene_fit(adata: AnnData) -> Fit | None:
    """Return how ``var["highly_variable"]`` was chosen; ``None`` if no genes were chosen."""
    if "highly_variable" not in adata.var:
        return None
    chosen = adata.var["highly_variable"].to_numpy(dtype=bool)
    if "PCs" in adata.varm and "fit_on" in params_of(adata, "pca"):
        used = (np.asarray(adata.varm["PCs"]) != 0).any(axis=1)
        if np.array_equal(used, chosen):
            return None if chosen.all() else pca_fit(adata)
    return None if chosen.all() and "hvg" not in adata.uns else Fit("unknown")


def embedding_fits(adata: AnnData) -> dict[str, Fit]:
    """Return how each recorded perturbation embedding was fitted."""
    info = known(adata, EMBEDDINGS_INFO)
    if "table" not in info:
        return {}
    table: pd.DataFrame = info["table"]
    values = known(adata, EMBEDDINGS)
    return {
        str(name): Fit(str(on), None, _digest(values[name]) if name in values else "")
        for name, on in table["fitted_on"].items()
    }


def smiles_of(adata: AnnData) -> dict[str, str]:
    """Return the canonical SMILES of the perturbations for which `pp.embed` has read one."""
    info = known(adata, EMBEDDINGS_INFO)
    return info["molecules"]["smiles"].to_dict() if "molecules" in info else {}


def is_stale(adata: AnnData, fit: Fit, train: Bools) -> bool:
    """Return whether a fit is known to be of other training cells than `train`."""
    if fit.on != "train":
        return False
    return fit.n not in (None, int(train.sum())) or train_fits(adata).get(fit.digest) != train_key(
        adata, train
    )


def train_fits(adata: AnnData) -> dict[str, str]:
    """Return digest -> key of its training cells, for all that was fitted on training cells.

    A fit that is older than ``obs["split"]`` has the cells that :func:`shoal.pp.split` recorded. A
    newer one has the training cells of now.
    """
    params = params_of(adata, SPLIT)
    older = dict(
        entry.split("@") for entry in str(params.get("train_fits", "")).split(",") if entry
    )
    today = (
        train_key(adata, (adata.obs[SPLIT] == "train").to_numpy(dtype=bool))
        if SPLIT in adata.obs
        else ""
    )
    fits = [pca_fit(adata), *embedding_fits(adata).values()]
    return {
        fit.digest: older.get(fit.digest, today)
        for fit in fits
        if fit is not None and fit.on == "train"
    }


def train_key(adata: AnnData, train: Bools) -> str:
    """Return a key of a set of cells, by their names in any order."""
    hashes = pd.util.hash_array(adata.obs_names[train].to_numpy(dtype=object))
    return f"{int(hashes.sum(dtype=np.uint64)):016x}"


def known(adata: AnnData, key: str) -> Mapping[str, Any]:
    """Return an entry of ``uns``; empty if there is none, or none of ours."""
    entry = adata.uns.get(key)
    ours = isinstance(entry, Mapping) and isinstance(
        entry.get("table", pd.DataFrame()), pd.DataFrame
    )
    return entry if ours else {}


def _digest(values: Any) -> str:
    """Return a digest of numbers."""
    data = np.ascontiguousarray(np.asarray(values, dtype=np.float64)).tobytes()
    return blake2b(data, digest_size=8).hexdigest()
