"""From values to a PCA: check the scale, normalise, choose genes and fit axes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from .._docs import shared
from .._keys import PCA, SPLIT
from .._logging import logger
from .._threads import one_thread
from .._validate import get_adata, key_in, listed, one_of, positive, whole
from ..core._choose import choose
from ..core._claims import claim
from ..core._matrix import Rows, as_rows
from ..core._order import stable_order
from ..core._scale import look
from ..core._scale_check import EXPRESSION, require
from ..core._screen import labels, resolve
from ..core._slots import WRITES, write_slots, written
from ..core._targets import genes_called, targets_of
from ..core._view import check_writable
from ._lognorm import log_normalise
from ._pca import fit_pca
from ._variable import highly_variable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from mudata import MuData

    from .._typing import Bools
    from ..core._scale import Kind
    from ..core._screen import Labels, Screen

MAX_GENES = 5000  # the PCA forms a genes x genes matrix for every fold
SCHEMA = "pca/1"
SLOTS = ("var/highly_variable", "varm/PCs", f"obsm/{PCA}", "uns/pca")
CALLS = {None: "sh.pp.prepare(adata)", "log1p": "normalize='log1p'"}
# by `normalize`: the kinds of values that are taken, and what to do about others
ACCEPTED: dict[str | None, tuple[tuple[Kind, ...], dict[Kind, str]]] = {
    None: (
        EXPRESSION,
        {
            "counts": (
                "normalise with sh.pp.prepare(adata, normalize='log1p'), which keeps the counts "
                "in layers['counts'], or point layer= to log-normalised values"
            ),
            "linear": (
                "normalise and take logarithms with sh.pp.prepare(adata, normalize='log1p')"
            ),
            "empty": "there is nothing to prepare",
        },
    ),
    "log1p": (
        ("counts", "linear"),
        {
            "log": (
                "they must not be logged again: call sh.pp.prepare(adata) without normalize, "
                "or point layer= to the raw counts"
            ),
            "signed": (
                "they cannot be normalised to a library size: point layer= to the raw counts, "
                "or call sh.pp.prepare(adata, n_top_genes=None) to take them as they are"
            ),
            "empty": "there is nothing to normalise",
        },
    ),
}


@one_thread()
@shared()
def prepare(
    data: AnnData | MuData,
    perturbation_key: str | None = None,
    *,
    control: str | Sequence[str] | None = None,
    normalize: Literal["log1p"] | None = None,
    target_sum: float | None = None,
    depth_key: str | None = None,
    fit_on: Literal["control", "train", "all"] = "control",
    n_top_genes: int | None = 2000,
    n_comps: int = 50,
    cross_fit: int = 10,
    exclude: str | Sequence[str] | None = None,
    layer: str | None = None,
    overwrite: bool = False,
    mod: str | None = None,
) -> None:
    """Check the scale, choose genes and compute the PCA in which responses are measured.

    - Highly variable genes and principal axes are fitted on the cells of `fit_on`, and applied to
      all cells. By default these are the controls: then large groups of perturbed cells do not
      decide along which axes their own response is measured.
    - Values are normalised only if `normalize` says so. Values on the wrong scale are refused.
    - The PCA reads the matrix by blocks, so backed, zarr and dask matrices can be used. It is exact
      and uses no random numbers.

    Parameters
    ----------
    data
        Screen, one row per cell.
    perturbation_key, control
        {design}
    normalize
        ``"log1p"`` for raw counts: every cell is scaled to a depth of `target_sum`, then
        log(1 + x) is taken. ``None`` for log-normalised values, and for signed features such as
        morphological profiles.
    target_sum
        Depth of a cell after scaling. ``None`` takes the median depth of the controls that have
        counts.
    depth_key
        Column of ``obs`` with the depth of each cell: its counts over the whole transcriptome. A
        count x of a cell of depth t becomes log(1 + x `target_sum` / t). Give it for a panel of
        genes. Where a perturbation changes much of a panel, the counts of the panel are no measure
        of the depth, and a response is taken for depth. ``None`` takes the counts in the matrix.
    fit_on
        Cells that choose the genes and the axes: ``"control"`` cells, ``"train"`` (cells with
        ``obs["split"] == "train"``), or ``"all"``.
    n_top_genes
        Highly variable genes to keep (scanpy's ``"seurat"`` flavour). ``None`` keeps all genes.
    n_comps
        Principal components. There are fewer if the fit cells or the genes do not span as many.
    cross_fit
        Folds in which the fit cells are scored out of sample, on axes fitted to the other folds.
        In sample, controls look a tenth to a third more variable than perturbed cells, merely
        because the axes were chosen for them. 0 scores fit cells in sample, as ``fit_on="all"``
        always does.
    exclude
        Genes that are left out of the choice and of the PCA: names, such as the gene set of a later
        :func:`shoal.tl.associate`, or ``"targets"`` for all genes that perturbations are named
        after.
    layer
        Layer to read instead of ``X``. Normalised values are written to ``X`` either way.
    overwrite
        {overwrite}
        A PCA of another tool is such a slot.
    mod
        {mod}

    Returns
    -------
    Nothing. Writes

    ``obsm["X_pca"]``
        float32 (n_obs, k): scores of all cells. Zero is the mean of the fit cells.
    ``varm["PCs"]``
        float64 (n_vars, k): orthonormal axes, 0 for genes that are not used. The largest loading of
        each axis is positive.
    ``var["highly_variable"]``
        bool: genes that are used.
    ``uns["pca"]``
        ``variance`` and ``variance_ratio`` of the fit cells (float64, (k,)), ``params``, ``schema``
        and ``writes``, by which these slots are known to be shoal's.

    and, with ``normalize="log1p"``,

    ``X``
        Log-normalised values, float32, sparse if the counts are.
    ``layers["counts"]``
        The counts, if they were read from ``X`` and the layer is not there yet.
    ``obs["total_counts"]``
        float64: counts of each cell. A column that is there already is kept, since in a panel of
        genes it may hold the depth of the whole transcriptome. Not written with `depth_key`.
    ``uns["log1p"]``
        scanpy's mark of logged values.

    A view is turned into a copy first. After an error nothing has been written.

    Raises
    ------
    ValueError
        If values are missing or not on the scale that the call means, if too few cells or genes are
        left to fit on, if values that cannot be rewritten (backed, zarr) are to be normalised, or
        if `depth_key` holds no numbers above 0, or fewer counts than the matrix.
    KeyError
        If a column or layer does not exist, or none of the genes in `exclude`.

    Warns
    -----
    UserWarning
        If cells without counts are normalised (they stay zero), or if the fit cells are too few for
        `n_comps`.

    Examples
    --------
    >>> import shoal as sh
    >>> adata = sh.ds.simulate(n_perturbations=4, rng=0)
    >>> sh.pp.annotate(adata, "perturbation", control="control")
    >>> sh.pp.prepare(adata, normalize="log1p", n_comps=10)
    >>> adata.obsm["X_pca"].shape[1]
    10
    """
    adata = get_adata(data, mod)
    check_writable(adata)
    one_of(normalize, (None, "log1p"), name="normalize")
    one_of(fit_on, ("control", "train", "all"), name="fit_on")
    if target_sum is not None:
        positive(target_sum, name="target_sum")
    if n_top_genes is not None:
        n_top_genes = whole(n_top_genes, name="n_top_genes")
    n_comps = whole(n_comps, name="n_comps")
    idle = {"target_sum": target_sum, "depth_key": depth_key}
    if normalize is None and any(value is not None for value in idle.values()):
        name = next(name for name, value in idle.items() if value is not None)
        msg = f"{name}={idle[name]!r} says how to normalise counts; it needs normalize='log1p'"
        raise ValueError(msg)
    if normalize is not None and adata.isbacked:
        msg = (
            "X lies in a file and cannot be rewritten with normalised values: load it with "
            "adata.to_memory(), or store log-normalised values in the file"
        )
        raise ValueError(msg)
    screen = resolve(adata, perturbation_key, control=control)
    claim(
        adata,
        SLOTS,
        owned=written(adata, "pca", [SCHEMA]),
        overwrite=overwrite,
        rename="rename what is to be kept",
    )
    labelled = labels(adata, screen)
    fit = _fit_cells(adata, labelled, fit_on)
    excluded = _excluded(adata, screen, labelled, exclude)
    matrix, slot = choose(adata, layer=layer)
    rows = as_rows(matrix).held()
    accept, fixes = ACCEPTED[normalize]
    scale = require(
        look(rows),
        slot=slot,
        what=CALLS[normalize],
        accept=accept,
        cells=adata.obs_names,
        fixes=fixes,
    )

    normalised = None
    if normalize is not None:
        normalised = log_normalise(
            matrix,
            rows,
            slot,
            is_control=labelled.is_control,
            target_sum=target_sum,
            obs=adata.obs,
            depth_key=depth_key,
        )
        rows, target_sum = as_rows(normalised.values).held(), normalised.target_sum
    genes = _choose_genes(adata, rows, fit, n_top_genes, excluded, signed=scale.kind == "signed")
    folds = _fold_count(cross_fit, fit, n_comps)
    used = Rows(rows.matrix, np.flatnonzero(genes))
    pca = fit_pca(used, fit, n_comps, fit_on, folds=folds, order=stable_order(adata))

    values = {}
    if normalised is not None:
        values = normalised.slots(adata, keep_counts=layer is None, overwrite=overwrite)
    loadings = np.zeros((adata.n_vars, pca.axes.shape[1]))
    loadings[genes] = pca.axes
    values |= dict(zip(SLOTS, (genes, loadings, pca.scores), strict=False))
    values["uns/pca"] = {
        "variance": pca.variance,
        "variance_ratio": pca.variance / pca.total,
        "params": {
            "zero_center": True,
            "use_highly_variable": True,
            "mask_var": "highly_variable",
            "fit_on": fit_on,
            "n_fit": int(fit.sum()),
            "cross_fit": pca.folds,
            "n_genes": int(genes.sum()),
            "n_comps": int(loadings.shape[1]),
            "normalize": normalize or "",
            "target_sum": float(target_sum or 0.0),
            "depth_key": depth_key or "",
            "exclude": ",".join(excluded),
            "layer": layer or "",
            **{name: value or "" for name, value in screen.params().items()},
            "control": np.array(screen.control, dtype=object),
        },
        "schema": SCHEMA,
        WRITES: "\n".join(SLOTS),
    }
    write_slots(adata, values)


def _fit_cells(adata: AnnData, labelled: Labels, fit_on: str) -> Bools:
    """Return which cells the genes and axes are fitted on."""
    if fit_on == "all":
        fit = np.ones(adata.n_obs, dtype=bool)
    elif fit_on == "control":
        fit = labelled.is_control
    else:
        hint = "fit_on='train' needs sh.pp.split(adata) first."
        key_in(SPLIT, adata.obs.columns, where="adata.obs", hint=hint)
        fit = (adata.obs[SPLIT] == "train").to_numpy(dtype=bool)
    if fit.sum() < 3:
        msg = (
            f"fit_on={fit_on!r} leaves {int(fit.sum())} cells to fit a PCA on; it takes at least 3"
        )
        raise ValueError(msg)
    return fit


def _fold_count(cross_fit: int, fit: Bools, n_comps: int) -> int:
    """Return the folds for the fit cells; 0 if these are all cells, or too few to be divided."""
    cross_fit = whole(cross_fit, name="cross_fit", least=0)
    if cross_fit == 1:
        msg = f"cross_fit must be 0 (in sample) or at least 2 folds, not {cross_fit}"
        raise ValueError(msg)
    n = int(fit.sum())
    if cross_fit == 0 or fit.all():
        return 0
    if n - -(-n // cross_fit) <= n_comps:
        logger.warning(
            "%d fit cells are too few to be scored out of sample; they are scored in sample", n
        )
        return 0
    return cross_fit


def _choose_genes(
    adata: AnnData,
    rows: Rows,
    fit: Bools,
    n_top_genes: int | None,
    excluded: Sequence[str],
    *,
    signed: bool,
) -> Bools:
    """Return the mask of genes that the PCA uses."""
    candidate = ~adata.var_names.isin(excluded)
    n_left = int(candidate.sum())
    if n_left < 2:
        msg = f"{n_left} of {adata.n_vars} genes are left after exclude; a PCA takes at least 2"
        raise ValueError(msg)
    if signed and n_left > min(n_top_genes or MAX_GENES, MAX_GENES):
        _refuse_to_choose(n_left)
    if n_top_genes is None or n_left <= n_top_genes:
        logger.info("all %d genes are used, none selected by variability", n_left)
        chosen = candidate
    else:
        chosen, base = candidate.copy(), adata.uns.get("log1p", {}).get("base")
        among = Rows(rows.matrix, np.flatnonzero(candidate))
        chosen[candidate] = highly_variable(among, fit, n_top_genes, base=base)
        chosen = chosen if chosen.any() else candidate  # no gene varies, as the fit will say
    if chosen.sum() > MAX_GENES:
        msg = (
            f"the PCA would use {int(chosen.sum())} genes, more than {MAX_GENES}; "
            "pass a lower n_top_genes"
        )
        raise ValueError(msg)
    return chosen


def _refuse_to_choose(n: int) -> None:
    """Raise ``ValueError``: of signed values no variable genes are chosen."""
    take = (
        "pass n_top_genes=None to use every feature"
        if n <= MAX_GENES
        else f"keep at most {MAX_GENES} of them yourself: adata = adata[:, names].copy(), then "
        "sh.pp.prepare(adata, n_top_genes=None)"
    )
    msg = (
        f"{n} features hold signed values, as z-scored data and Pearson residuals have, and "
        f"variable genes are chosen by log-normalised values: {take}, or, with "
        "normalize='log1p', point layer= to the raw counts"
    )
    raise ValueError(msg)


def _excluded(
    adata: AnnData, screen: Screen, labelled: Labels, exclude: str | Sequence[str] | None
) -> list[str]:
    """Return the ``var_names`` of the genes to leave out."""
    if isinstance(exclude, str) and exclude == "targets":
        return targets_of(adata, screen, labelled.names)
    called = list(dict.fromkeys(listed(exclude, name="exclude")))
    return genes_called(adata, screen, called) if called else []
