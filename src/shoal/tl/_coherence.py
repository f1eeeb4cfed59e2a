"""Coherence of every perturbation's response, in place on an AnnData."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from scipy import special

from .._keys import COHERENCE
from .._logging import logger
from .._random import RNGLike, spawn
from .._threads import one_thread
from .._validate import get_adata, one_of, positive
from ..core._design import codes, make_plan, strata_keys
from ..core._results import write_table
from ..core._screen import labels, resolve
from ..core._view import own
from ..metrics._coherence import signed_sqrt
from ..metrics._null import adjust
from ..metrics._shrinkage import shrink
from ._features import features, whitened
from ._flags import flags
from ._measure import Measured, explain, measure
from ._permute import permutation_pvalues

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from mudata import MuData

    from .._typing import Ints
    from ..core._screen import Screen


@one_thread()
def coherence(
    data: AnnData | MuData,
    perturbation_key: str | None = None,
    *,
    control: str | Sequence[str] | None = None,
    layer: str | None = None,
    use_rep: str | None = None,
    strata: str | Sequence[str] | None = "auto",
    depth_key: str | None = None,
    exclude: Literal["targets"] | Sequence[str] | None = None,
    whiten: bool = False,
    null: Literal["analytic", "permutation"] = "analytic",
    n_perms: int = 1000,
    shrinkage: bool = False,
    min_cells: int = 20,
    level: float = 0.95,
    rng: RNGLike = 0,
    key_added: str | None = None,
    mod: str | None = None,
) -> None:
    r"""Measure how large, how coherent and how certain every perturbation's response is.

    With u the unit vector of a cell's shift from the control centroid of its stratum, the coherence is
    :math:`r = \mathrm{sign}(\kappa)\sqrt{|\kappa|}`, :math:`\kappa = |E_p u - E_c u|^2`, estimated without bias in the
    number of cells. r = 0 without a response, r = 1 if all cells move in exactly one direction. Because magnitude and
    coherence rise together for any data, the *residual* coherence asks whether a response is less, or more, coherent
    than the controls would be, were they all translated by its shift. See the user guide for every formula.

    The matrix is read in three walks and never made dense as a whole; NumPy, CSR, CSC, backed, dask and zarr matrices
    give the same numbers.

    Parameters
    ----------
    data
        Screen, log-normalised or a representation of it.
    perturbation_key
        Column of ``obs`` with the perturbations; by default as recorded by :func:`shoal.pp.annotate`.
    control
        Label(s) of the control cells; by default as recorded.
    layer
        Layer to measure instead of ``X``; predictions are layers, so they can be measured too.
    use_rep
        Slot of ``obsm`` to measure, or ``"X"``. By default ``"X_pca"`` where it exists, else ``X``.
    strata
        Columns of ``obs`` within which cells are compared with controls; ``"auto"`` means the recorded context and
        batch, ``None`` pools all controls.
    depth_key
        Column with counts per cell. If given, the control centroid is that of a control cell of equal depth (cubic in
        log depth, within strata), so that a difference in sequencing depth is no response.
    exclude
        Genes of ``X`` or the layer to leave out: names, or ``"targets"`` for all genes the perturbations are named
        after. For a PCA, leave them out of :func:`shoal.pp.prepare`.
    whiten
        Whether to make the controls' covariance the identity first (Ledoit-Wolf; dense representations only).
    null
        Where p-values come from: the analytic null, or label permutation within strata (exact, slower).
    n_perms
        Permutations per perturbation; the smallest p-value is 1 / (n_perms + 1).
    shrinkage
        Whether to add ``coherence_shrunk``: empirical Bayes towards the coherence that the magnitude predicts.
    min_cells
        Perturbations with fewer cells are measured where they can be, but neither tested nor counted as tests.
    level
        Level of the confidence intervals.
    rng
        Seed or generator of the permutations; nothing else is random.
    key_added
        Name of the result; ``"coherence"`` by default.
    mod
        Modality, if `data` is a MuData.

    Returns
    -------
    Nothing; writes

    ``obs[key_added]`` : float64
        Cosine of each cell's direction with that of the other cells of its perturbation; NaN for controls.
    ``uns[key_added]["table"]`` : DataFrame, one row per perturbation
        ``n_cells``; ``magnitude`` (signed root of the unbiased squared shift) and ``magnitude_plugin``; ``kappa``,
        ``coherence`` (r), ``coherence_se``, ``ci_low``, ``ci_high``; ``coherence_loo`` (mean of the cells' cosines);
        ``coherence_plugin`` (the published statistic, biased in cell number, for comparison); ``pvalue``, ``qvalue``
        (Benjamini-Hochberg) of no response; ``dispersion`` (log ratio of the total variance to the controls');
        ``residual``, ``residual_z``, ``residual_pvalue``, ``residual_qvalue``; ``excess_trace`` (relative excess of the
        total variance) and, where ``residual_qvalue`` is below 0.05, ``excess_along_shift``, ``excess_top_share``,
        ``excess_alignment``; ``cause`` of an incoherent response; ``flags``. With a recorded guide or batch column also
        ``kappa_cross_guide``, ``kappa_cross_batch``: kappa from pairs of cells of different guides or batches only.
    ``uns[key_added]["params"]`` : dict
        What it was computed with, and ``n_control``, ``n_features``, ``control_trace``.

    Raises
    ------
    KeyError
        If a column, a slot, or a control label does not exist.
    ValueError
        If the matrix holds raw counts, NaN or infinite values, a stratum has too few controls, or an argument is out
        of range.

    Notes
    -----
    Sources: the published coherence is raju2026coherence; the two-sample form, its null and the residual are shoal's.

    Examples
    --------
    >>> import shoal as sh
    >>> adata = sh.ds.simulate_gaussian(n_perturbations=4, n_cells=50, n_control=200, rng=0)
    >>> sh.tl.coherence(adata, "perturbation", control="control")
    >>> table = adata.uns["coherence"]["table"]
    """
    adata = get_adata(data, mod)
    one_of(null, ("analytic", "permutation"), name="null")
    positive(min_cells, name="min_cells")
    if not 0 < level < 1:
        msg = f"level must lie between 0 and 1, such as 0.95, not {level!r}"
        raise ValueError(msg)
    screen = resolve(adata, perturbation_key, control=control)
    found = labels(adata, screen)
    keys = strata_keys(screen, strata)
    plan = make_plan(adata, found, strata=keys, depth_key=depth_key)
    rows, slot, dropped = features(
        adata, screen, found.names, layer=layer, use_rep=use_rep, exclude=exclude
    )
    if whiten:
        rows = whitened(rows, plan)
    measured = measure(rows, plan, min_cells=min_cells, level=level, cross=_cross(adata, screen))
    if null == "permutation":
        pvalue = permutation_pvalues(
            rows,
            plan,
            measured.sums,
            n_perms=n_perms,
            min_cells=min_cells,
            rngs=spawn(rng, plan.n_groups),
        )
        measured.columns.update(pvalue=pvalue, qvalue=adjust(pvalue))
    columns: dict[str, Any] = dict(measured.columns)
    crossed = {name: columns.pop(name) for name in list(columns) if name.startswith("kappa_cross_")}
    columns |= explain(rows, plan, measured)
    columns["flags"] = flags(
        adata, screen, plan, measured.sums.n, min_cells=min_cells, depth_key=depth_key
    )
    columns |= crossed
    if shrinkage:
        columns["coherence_shrunk"] = _shrunk(measured, level)
    table = pd.DataFrame(columns, index=pd.Index(found.names, name="perturbation"))
    _tell(table, min_cells)
    params = {
        "perturbation_key": screen.perturbation_key,
        "control": screen.control,
        "layer": layer,
        "use_rep": slot.removeprefix("obsm/")
        if slot.startswith("obsm/")
        else ("" if layer else "X"),
        "strata": keys,
        "depth_key": depth_key,
        "exclude": dropped,
        "whiten": whiten,
        "null": null,
        "n_perms": n_perms if null == "permutation" else 0,
        "min_cells": min_cells,
        "level": level,
        "n_control": int(measured.sums.n_control.sum()),
        "n_features": rows.shape[1],
        "control_trace": measured.control_trace,
    }
    key = key_added or COHERENCE
    own(adata)
    write_table(adata, key, table, schema="coherence/1", params=params)
    adata.obs[key] = measured.cell


def _cross(adata: AnnData, screen: Screen) -> dict[str, Ints]:
    """Return the further labels across which kappa is also computed."""
    keys = {"guide": screen.guide_key, "batch": screen.batch_key}
    return {name: codes(adata, key) for name, key in keys.items() if key is not None}


def _shrunk(measured: Measured, level: float) -> np.ndarray:
    """Return the signed root of kappa shrunk towards the coherence of a translation."""
    columns = measured.columns
    ends = [np.sign(columns[c]) * columns[c] ** 2 for c in ("ci_low", "ci_high")]
    se = (ends[1] - ends[0]) / (2 * special.ndtri(0.5 + level / 2))
    return signed_sqrt(shrink(columns["kappa"], se, columns["kappa"] - columns["residual"]))


def _tell(table: pd.DataFrame, min_cells: int) -> None:
    few = int((table["n_cells"] < min_cells).sum())
    logger.info(
        "%d perturbations, %d with a response (q < 0.05), %d less coherent than a translation",
        len(table),
        int((table["qvalue"] < 0.05).sum()),
        int(((table["residual_qvalue"] < 0.05) & (table["residual"] < 0)).sum()),
    )
    if few:
        logger.warning(
            "%d perturbations have fewer than %d cells; they are flagged and not tested",
            few,
            min_cells,
        )
