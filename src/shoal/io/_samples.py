"""Several files of one screen as one AnnData."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from .._logging import logger
from .._validate import some
from ..core._matrix import Rows
from ..core._scale import look
from ..core._slots import free_name

if TYPE_CHECKING:
    from anndata import AnnData

SAMPLE = "sample"  # the column that is made


def named(
    path: Sequence[str | os.PathLike[str]] | Mapping[str, str | os.PathLike[str]],
) -> dict[str, str | os.PathLike[str]]:
    """Return the files by the names of their samples: those given, or the names of the files.

    Raises
    ------
    TypeError
        If they are no files.
    ValueError
        If there is no file, or two have the same name.
    """
    files = list(path.values()) if isinstance(path, Mapping) else path
    paths = isinstance(files, list | tuple) and all(isinstance(f, str | os.PathLike) for f in files)
    if not paths:
        kind = type(path).__name__
        msg = f"path must be a file, or a list or dict of files, not {path!r}"
        if kind in ("AnnData", "MuData"):
            call = "sh.pp.annotate(adata, 'column of obs', control='label')"
            msg = f"path must be a file, not an {kind}: one in memory is annotated with {call}"
        raise TypeError(msg)
    if not len(path):
        msg = "path is empty; name a file, or several as {'sample 1': 'a.h5ad', ...}"
        raise ValueError(msg)
    if isinstance(path, Mapping):
        return {str(name): one for name, one in path.items()}
    by_stem = {Path(one).stem: one for one in files}
    if len(by_stem) < len(files):
        example = "{" + ", ".join(f"'sample {i}': {str(p)!r}" for i, p in enumerate(path, 1)) + "}"
        msg = f"several files have the same name; name their samples, as {example}"
        raise ValueError(msg)
    return by_stem


def joined(samples: Mapping[str, AnnData]) -> tuple[AnnData, str]:
    """Return the cells of all samples, and the column of ``obs`` with their samples.

    - Genes are those that all samples have. Names of cells end with the name of their sample.
    - ``obs`` has the columns of all samples; of ``var``, ``layers`` and ``obsm`` what all have.

    Raises
    ------
    ValueError
        If the samples have no gene in common, a name of a gene is there twice, or their values are
        on different scales.
    """
    import anndata as ad

    for name, one in samples.items():
        if one.var_names.duplicated().any():
            one.var_names_make_unique()
            logger.warning("sample %r: names of genes that were there twice have numbers", name)
    scales = {name: look(Rows(one.X)) for name, one in samples.items() if one.X is not None}
    if len({scale.kind for scale in scales.values()}) > 1:
        said = "; ".join(f"{name!r} holds {scale.words}" for name, scale in scales.items())
        msg = f"samples are on different scales: {said}. Bring them to one first"
        raise ValueError(msg)
    genes = set.intersection(*(set(one.var_names) for one in samples.values()))
    if not genes:
        firsts = {name: one.var_names[0] for name, one in samples.items()}
        msg = f"samples have no gene in common; the first of each are {some(list(firsts.items()))}"
        raise ValueError(msg)
    lost = {name: one.n_vars - len(genes) for name, one in samples.items()}
    if any(lost.values()):
        logger.warning(
            "%d genes are in all samples; left out are %s",
            len(genes),
            ", ".join(f"{n} of {name!r}" for name, n in lost.items() if n),
        )
    obs = pd.concat([one.obs for one in samples.values()])
    key = free_name(SAMPLE, obs.columns)
    adata = ad.concat(
        dict(samples), join="inner", merge="same", uns_merge=None, label=key, index_unique="-"
    )
    for column in obs.columns.difference(adata.obs.columns):
        adata.obs[column] = obs[column].to_numpy()
    return adata, key
