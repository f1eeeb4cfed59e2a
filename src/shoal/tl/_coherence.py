"""Coherence of every perturbation's response, in place on an AnnData."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from scipy import special

from .._docs import shared
from .._keys import COHERENCE
from .._logging import logger
from .._random import RNGLike, as_generator, spawn
from .._threads import one_thread
from .._validate import between, flag, get_adata, one_of, whole
from ..core._claims import claim_result
from ..core._design import codes, make_plan, strata_keys
from ..core._order import stable_order
from ..core._results import write_table
from ..core._screen import perturbed_labels, resolve
from ..metrics._coherence import signed_sqrt
from ..metrics._null import adjust
from ..metrics._shrinkage import shrink
from ._contexts import by_context, causes, within
from ._explain import explain
from ._features import features, whitened
from ._flags import flags
from ._measure import Measured, measure
from ._parts import parts_of
from ._permute import permutation_pvalues
from ._replicates import by_replicate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from mudata import MuData

    from .._typing import Ints
    from ..core._screen import Screen


@one_thread()
@shared()
def coherence(
    data: AnnData | MuData,
    perturbation_key: str | None = None,
    *,
    control: str | Sequence[str] | None = None,
    layer: str | None = None,
    use_rep: str | None = None,
    strata: str | Sequence[str] | None = "auto",
    depth_key: str | None = None,
    replicate_key: str | None = "auto",
    exclude: Literal["targets"] | Sequence[str] | None = None,
    whiten: bool = False,
    null: Literal["analytic", "permutation"] = "analytic",
    n_perms: int = 1000,
    shrinkage: bool = False,
    min_cells: int = 20,
    level: float = 0.95,
    rng: RNGLike = 0,
    key_added: str | None = None,
    overwrite: bool = False,
    mod: str | None = None,
) -> None:
    r"""Measure how large, how coherent and how certain every perturbation's response is.

    The direction u of a cell is the unit vector of its shift from the mean of the control cells of
    its stratum. The coherence of a perturbation compares the mean direction of its cells with that
    of the controls:

    .. math:: r = \mathrm{sign}(\kappa)\sqrt{|\kappa|}, \qquad \kappa = |E_p u - E_c u|^2

    - r = 0 if the perturbation does nothing.
    - r = 1 if all cells move in exactly one direction.

    The estimate of :math:`\kappa` has no bias in the number of cells, and can therefore fall below
    0. Magnitude and coherence rise together in any data. The *residual* coherence takes that out:
    it is the coherence less that of the control cells, had they all been moved by the same shift.
    Control cells stand for the cells of their own stratum, in the proportions of the perturbation.
    The user guide has every formula.

    A response that differs between contexts is less coherent over all of them than within each.
    Where the screen has a context, each perturbation is also measured within each context.

    The matrix is read three times, by blocks of rows, and is never made dense as a whole. NumPy,
    CSR, CSC, backed, dask and zarr matrices give the same numbers. The chunks of a dask array are
    computed on all workers.

    Parameters
    ----------
    data
        Screen with log-normalised values, or with a representation of them.
    perturbation_key, control
        {design}
    layer
        Layer to measure instead of ``X``. A prediction is a layer too.
    use_rep
        Slot of ``obsm`` to measure, or ``"X"``. By default ``"X_pca"`` where it exists, else ``X``.
    strata
        {strata}
    depth_key
        Column of ``obs`` with the counts of each cell. If given, a cell is compared with control
        cells of equal depth: the control mean is a cubic polynomial in the logarithm of the depth,
        within strata. A difference in sequencing depth is then no response.
    replicate_key
        Column of ``obs`` with the replicates: guides, donors, wells or batches. If given, or
        recorded, the response is also tested against the differences between replicates.

        - ``"auto"``: the recorded guides, if the control and some perturbation have two or more;
          else the recorded batches.
        - ``None``: no such test.
    exclude
        Genes of ``X`` or of the layer to leave out: names, or ``"targets"`` for all genes that
        perturbations are named after. To leave genes out of a PCA, pass ``exclude`` to
        :func:`shoal.pp.prepare`.
    whiten
        Whether to transform the values so that the controls' covariance is the identity. The
        covariance is that of Ledoit and Wolf. Only for dense representations.
    null
        Source of the p-values: ``"analytic"``, or ``"permutation"`` of the labels within strata,
        which is exact and slower.
    n_perms
        Permutations per perturbation. The smallest p-value is 1 / (n_perms + 1).
    shrinkage
        Whether to add the column ``coherence_shrunk``: the coherence, pulled by empirical Bayes
        towards the one that the magnitude predicts.
    min_cells
        Fewest cells of a perturbation that is tested. Smaller ones are measured, flagged, and do
        not count as tests in the q-values.
    level
        Level of the confidence intervals, between 0 and 1.
    rng
        Seed or generator of the permutations. Nothing else is random.
    key_added
        Name of the result. By default ``"coherence"``.
    overwrite
        {overwrite}
    mod
        {mod}

    Returns
    -------
    Nothing; writes

    ``obs[key_added]`` : float64
        Cosine of each cell's direction with the mean direction of the other cells of its
        perturbation. NaN for controls.
    ``uns[key_added]["table"]`` : DataFrame, one row per perturbation
        ``n_cells``
            Cells of the perturbation.
        ``magnitude``, ``magnitude_plugin``
            Length of the mean shift: the signed root of an estimate without bias, and the plain
            length.
        ``kappa``, ``coherence``, ``coherence_se``, ``ci_low``, ``ci_high``
            :math:`\kappa`, r, the standard error of r and its confidence interval.
        ``coherence_loo``
            Mean over cells of ``obs[key_added]``.
        ``coherence_plugin``
            The published statistic, for comparison. It is biased for few cells.
        ``pvalue``, ``qvalue``
            Test of no response, and its correction by Benjamini and Hochberg.
        ``pvalue_replicate``, ``qvalue_replicate``
            Test of a response that the replicates share, beyond what replicates differ by without
            one, and its correction. Where replicates are recorded. NaN where the perturbation or
            the control has a single replicate.
        ``n_replicates``, ``magnitude_replicate``
            Replicates of at least 20 cells, and the length of the shift that they share.
        ``dispersion``
            Logarithm of the total variance of the cells over that of the controls of their strata.
        ``residual``, ``residual_z``, ``residual_pvalue``, ``residual_qvalue``
            Residual coherence and its test: coherence on the squared scale, less that of the
            controls of the same strata had they been moved by the same shift. ``residual_z`` is
            standard normal for a pure shift. Where there is no response at all the test is a
            little conservative: on real control cells it rejects in about 3 % at the 5 % level.
        ``residual_within``, ``residual_within_z``, ``residual_between_share``
            Mean residual within contexts and its standard normal deviate, and the share of a
            significantly negative residual that lies *between* contexts, because they respond in
            different ways. NaN for perturbations in one context, or with less than half of their
            cells in contexts with at least 8 of them. Where no context is recorded, strata take
            the place of contexts. Only where there are several strata or a context is recorded.
        ``excess_along_shift``, ``excess_top_share``, ``excess_alignment``
            Where the excess variance lies, within contexts. Only where ``residual_qvalue`` is
            below 0.05.
        ``cause``
            Cause of a significant response that is less coherent than a translation:
            ``"dispersion"``, ``"partial penetrance"``, ``"several programmes"``, ``"differs between
            contexts"`` (or ``"differs between strata"``), ``"unclear"``, or ``"none"``. With
            several contexts, the first three are named only if they also hold within contexts.
        ``depth_shift``, ``depth_qvalue``
            Difference of the mean log depth from the controls of the same strata, in standard
            deviations of the controls, and its test. Where the depth of cells is known: from
            `depth_key`, from `prepare`, or ``obs["total_counts"]``.
        ``flags``
            Reasons to be careful with the row.
        ``kappa_cross_guide``, ``kappa_cross_batch``
            :math:`\kappa` from pairs of cells of different guides or batches only. Where such a
            column is recorded.
    ``uns[key_added]["by_context"]`` : DataFrame, one row per perturbation and context
        ``perturbation``, ``context``, and ``n_cells``, ``magnitude``, ``coherence``,
        ``coherence_se``, ``ci_low``, ``ci_high``, ``pvalue``, ``qvalue``, ``residual``,
        ``residual_z``, ``residual_pvalue``, ``residual_qvalue`` and ``cause`` of its cells in that
        context, against the controls of their strata. Only where a context is recorded and no
        stratum mixes contexts.
    ``uns[key_added]["params"]`` : dict
        The arguments, and ``n_control``, ``n_features`` and ``control_trace``. On replicates:
        ``replicate_key`` that was used, ``replicate_design`` (``"two samples"``, or ``"paired"``
        where replicates hold perturbed and control cells), ``n_control_replicates``,
        ``replicate_df`` (degrees of freedom of the differences), ``replicate_variance`` (between
        replicates, over that between cells), and ``replicate_note``, the reason if nothing can be
        said.

    Raises
    ------
    KeyError
        If a column, a slot, or a control label does not exist.
    ValueError
        If the matrix holds raw counts, NaN or infinite values, if a stratum has too few controls,
        or if an argument is out of range.

    Notes
    -----
    Sources: the published coherence is raju2026coherence. The two-sample form, its null and the
    residual are shoal's.

    Examples
    --------
    >>> import shoal as sh
    >>> adata = sh.ds.simulate_gaussian(n_perturbations=4, n_cells=50, n_control=200, rng=0)
    >>> sh.tl.coherence(adata, "perturbation", control="control")
    >>> table = adata.uns["coherence"]["table"]
    """
    adata = get_adata(data, mod)
    one_of(null, ("analytic", "permutation"), name="null")
    n_perms = whole(n_perms, name="n_perms")
    min_cells = whole(min_cells, name="min_cells")
    between(level, 0, 1, name="level")
    flag(whiten, name="whiten")
    flag(shrinkage, name="shrinkage")
    generator = as_generator(rng)
    screen = resolve(adata, perturbation_key, control=control)
    key = claim_result(
        adata,
        COHERENCE if key_added is None else key_added,
        schema="coherence/1",
        screen=screen,
        obs=True,
        overwrite=overwrite,
    )
    labelled = perturbed_labels(adata, screen)
    keys = strata_keys(adata, screen, strata)
    plan = make_plan(adata, labelled, strata=keys, depth_key=depth_key)
    rows, slot, dropped = features(
        adata, screen, labelled.names, layer=layer, use_rep=use_rep, exclude=exclude
    )
    if whiten:
        rows = whitened(rows, plan)
    parts = parts_of(adata, screen, plan)
    measured = measure(
        rows,
        plan,
        min_cells=min_cells,
        level=level,
        cross=_cross(adata, screen),
        finer=None if parts is None else parts.plan,
    )
    if null == "permutation":
        pvalue = permutation_pvalues(
            rows,
            plan,
            measured.sums,
            n_perms=n_perms,
            min_cells=min_cells,
            rngs=spawn(generator, plan.n_groups),
            order=stable_order(adata),
        )
        measured.columns.update(pvalue=pvalue, qvalue=adjust(pvalue))
    columns: dict[str, Any] = dict(measured.columns)
    crossed = {name: columns.pop(name) for name in list(columns) if name.startswith("kappa_cross_")}
    more = {}
    if parts is None or measured.finer is None:
        columns |= explain(rows, plan, measured)
    else:
        split = within(parts, measured)
        columns |= {
            "residual_within": split.residual,
            "residual_within_z": split.z,
            "residual_between_share": split.between,
        }
        columns |= explain(rows, plan, measured, part=split.part)
        columns["cause"] = causes(columns["cause"], parts, split)
        if parts.kind == "contexts":
            more["by_context"] = by_context(rows, parts, measured.finer, labelled.names)
    n_cells = measured.sums.groups[0].n
    columns |= flags(adata, screen, plan, n_cells, min_cells=min_cells, depth_key=depth_key)
    columns |= crossed
    replicated = by_replicate(
        adata,
        screen,
        rows,
        plan,
        measured.sums,
        replicate_key=replicate_key,
        min_cells=min_cells,
    )
    columns["flags"] = replicated.flagged(columns["flags"])
    columns |= replicated.columns
    if shrinkage:
        columns["coherence_shrunk"] = _shrunk(measured, level)
    table = pd.DataFrame(columns, index=pd.Index(labelled.names, name="perturbation"))
    _tell(table, min_cells)
    params = {
        **screen.params(),
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
        **replicated.params,
    }
    write_table(
        adata,
        key,
        table,
        schema="coherence/1",
        params=params,
        slots={f"obs/{key}": measured.cell},
        **more,
    )


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
    apart = int(table["cause"].astype(str).str.startswith("differs").sum())
    if apart:
        logger.info(
            "%d of these respond in different ways in different contexts or strata: see the "
            "columns 'cause' and 'residual_between_share'",
            apart,
        )
    if few:
        logger.warning(
            "perturbations with fewer than %d cells, flagged and not tested: %d", min_cells, few
        )
