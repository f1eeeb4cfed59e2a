"""Distances between populations on AnnData, and their permutation test."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from .._docs import shared
from .._keys import DISTANCE
from .._random import as_generator
from .._threads import one_thread
from .._validate import between, flag, get_adata, one_of, some, whole
from ..core._choose import choose
from ..core._claims import claim_result
from ..core._design import strata_keys, strata_of
from ..core._grouped_cells import gather
from ..core._matrix import as_rows
from ..core._order import stable_order
from ..core._results import read_result, write_table
from ..core._scale_check import WITH_EMPTY, require_kind
from ..core._screen import perturbed_labels, resolve
from ..metrics._mmd import as_widths
from ..metrics._permutation import permutation_pvalue
from ._correction import CORRECTIONS, adjusted
from ._distance_between import between_all, control_bandwidth, make_metric, permute, to_control

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from mudata import MuData

    from .._random import RNGLike
    from .._typing import Floats, Ints
    from ..core._grouped_cells import GroupedCells
    from ._distance_between import Metric

METRICS = ("edistance", "energy", "mmd")


@one_thread()
@shared()
def distance(
    data: AnnData | MuData,
    perturbation_key: str | None = None,
    *,
    control: str | Sequence[str] | None = None,
    metric: Literal["edistance", "energy", "mmd"] = "edistance",
    pairwise: bool = False,
    biased: bool = False,
    bandwidth: float | Sequence[float] | None = None,
    n_perms: int = 0,
    alpha: float = 0.05,
    correction: str = "fdr_bh",
    strata: str | Sequence[str] | None = "auto",
    layer: str | None = None,
    use_rep: str | None = None,
    rng: RNGLike = 0,
    key_added: str | None = None,
    overwrite: bool = False,
    mod: str | None = None,
) -> None:
    r"""Measure how far each perturbed population is from the controls, or from all others.

    All metrics have the form :math:`D = 2 E h(x, y) - E h(x, x') - E h(y, y')`, for cells x of one
    population and y of the other. They are estimated from pairs of different cells. A population
    without an effect is then at 0 on average however few cells it has, and a value can fall below
    0.

    ``"edistance"``
        h is the squared Euclidean distance. The result is twice the squared distance of the means,
        less their noise. It sees differences of means only. It is computed from sums, in one
        reading of a matrix of any kind, and equals ``scperturb.edist``.
    ``"energy"``
        h is the Euclidean distance. It sees every difference between distributions.
    ``"mmd"``
        h is minus a Gaussian kernel. The result is the squared maximum mean discrepancy.

    With strata, cells are compared only within strata. D is then the mean over strata of their own
    distances, weighted by n m / (n + m) for n and m cells. A batch that shifts all of its cells
    adds nothing.

    The matrix is read into memory for ``"energy"``, for ``"mmd"`` and for the permutation test.
    Sparse matrices stay sparse. Pairs of cells are formed in tiles, and the working memory is
    bounded by ``shoal.settings.block_bytes``.

    Parameters
    ----------
    data
        Screen, one row per cell.
    perturbation_key, control
        {design}
    metric
        What is measured, see above.
    pairwise
        Whether to compare all populations with one another, the controls among them.
    biased
        Whether to count the pair of each cell with itself too (V-statistic, as pertpy 1.4 does for
        ``"energy"``). The result is then never below 0, and larger for small populations.
    bandwidth
        Width of the kernel of ``"mmd"``, in the units of the matrix. Several widths mean the
        average of their kernels. By default the median distance between controls, see
        :func:`shoal.metrics.median_bandwidth`.
    n_perms
        Number B of permutations of the labels of each perturbation's cells and the controls, within
        strata. 0 for no test. The p-value is (b + 1) / (B + 1), where b permutations have a
        distance at least as large.
    alpha
        Level that the test should be able to reach. If B is too small for that, a warning says how
        many permutations would do.
    correction
        Correction for the number of perturbations, a method of
        ``statsmodels.stats.multitest.multipletests``.
    strata
        {strata}
    layer
        Layer to measure. By default ``X``.
    use_rep
        Slot of ``obsm`` to measure, such as ``"X_pca"``.
    rng
        Seed or generator of the permutations. Distances do not depend on it.
    key_added
        Slot of ``uns``. By default ``"distance"``.
    overwrite
        {overwrite}
    mod
        {mod}

    Returns
    -------
    Nothing; writes ``uns[key_added]`` with ``table``, ``params``, ``schema`` and ``version``.

    The table has one row per perturbation, with these columns:

    - ``n_cells`` (int);
    - ``distance`` (float), NaN for a population of one cell;
    - ``pvalue`` and ``qvalue`` (float), with `n_perms`.

    With `pairwise` it has one row per pair of populations, with the columns ``perturbation`` and
    ``other`` (categories) and ``distance``. :func:`distance_matrix` turns it into a square.

    Raises
    ------
    KeyError
        If a column, layer, representation or control label does not exist.
    ValueError
        If an option is not known, genes hold raw counts or values that are not logged, a value is
        not finite, a cell has no stratum, or there are fewer than two control cells.

    Warns
    -----
    UserWarning
        If perturbations or cells cannot be compared, or if `n_perms` is too small for `alpha`.

    References
    ----------
    szekely2013energy, gretton2012kernel, peidli2024scperturb, phipson2010permutation

    Examples
    --------
    >>> import shoal as sh
    >>> adata = sh.ds.simulate(n_perturbations=4, rng=0)
    >>> sh.pp.annotate(adata, "perturbation", control="control")
    >>> sh.pp.prepare(adata, normalize="log1p", n_comps=10)
    >>> sh.tl.distance(adata, use_rep="X_pca", n_perms=199, rng=0)
    >>> adata.uns["distance"]["table"]["distance"].idxmax() in set(adata.obs["perturbation"])
    True
    """
    adata = get_adata(data, mod)
    one_of(metric, METRICS, name="metric")
    one_of(correction, CORRECTIONS, name="correction")
    flag(pairwise, name="pairwise")
    flag(biased, name="biased")
    widths = _widths(metric, bandwidth)
    generator = as_generator(rng)
    _check_test(n_perms, alpha, pairwise=pairwise)
    screen = resolve(adata, perturbation_key, control=control)
    key = claim_result(
        adata,
        DISTANCE if key_added is None else key_added,
        schema=("distance/1", "distance_pairwise/1"),
        screen=screen,
        overwrite=overwrite,
    )
    labelled = perturbed_labels(adata, screen)
    matrix, slot = choose(adata, layer=layer, use_rep=use_rep)
    keys = strata_keys(adata, screen, strata)
    stratum, _ = strata_of(adata, keys, used=labelled.code >= 0)
    cells = gather(
        as_rows(matrix, slot=slot).held(),
        labelled.code,
        len(labelled.names),
        stratum,
        int(stratum.max(initial=0)) + 1,
        adata.obs_names,
    )
    if not slot.startswith("obsm/"):
        require_kind(cells.scale, slot=slot, what="a distance", accept=WITH_EMPTY)
    if n_perms:
        cells = cells.in_order(stable_order(adata))
    elif metric != "edistance":
        cells = cells.in_memory()
    if metric == "mmd" and widths is None:
        widths = control_bandwidth(cells)
    measure = make_metric(metric, cells, biased=biased, bandwidth=widths)
    _check_sizes(cells, measure, labelled.names)
    if pairwise:
        table = _pair_table(between_all(cells, measure), labelled.names, screen.control[0])
    elif n_perms:
        values, reached = permute(cells, measure, int(n_perms), generator)
        table = _table(values, labelled.names, labelled.counts)
        pvalue = np.where(np.isnan(values), np.nan, permutation_pvalue(reached, n_perms))
        table["pvalue"], table["qvalue"] = pvalue, adjusted(pvalue, correction)
        _check_reach(int(np.isfinite(pvalue).sum()), n_perms, alpha, correction)
    else:
        table = _table(to_control(cells, measure), labelled.names, labelled.counts)
    params = {
        **screen.params(),
        "matrix": slot,
        "metric": metric,
        "pairwise": pairwise,
        "biased": biased,
        "bandwidth": widths,
        "n_perms": n_perms,
        "alpha": alpha,
        "correction": correction,
        "strata": keys,
    }
    schema = "distance_pairwise/1" if pairwise else "distance/1"
    write_table(adata, key, table, schema=schema, params=params)


def distance_matrix(
    data: AnnData | MuData, *, key: str = DISTANCE, mod: str | None = None
) -> pd.DataFrame:
    """Return the result of ``distance(..., pairwise=True)`` as a square table.

    Parameters
    ----------
    data
        Screen with the result.
    key
        Slot of ``uns``, the `key_added` of :func:`distance`.
    mod
        Modality, if `data` is a MuData.

    Returns
    -------
    (G + 1, G + 1) symmetric distances with 0 on the diagonal. Rows and columns are populations, the
    controls first.

    Raises
    ------
    KeyError
        If there is no such result.
    ValueError
        If the result is not pairwise.

    Examples
    --------
    >>> import shoal as sh
    >>> adata = sh.ds.simulate(n_perturbations=4, rng=0)
    >>> sh.pp.annotate(adata, "perturbation", control="control")
    >>> sh.pp.prepare(adata, normalize="log1p", n_comps=10)
    >>> sh.tl.distance(adata, use_rep="X_pca", pairwise=True)
    >>> sh.tl.distance_matrix(adata).shape
    (5, 5)
    """
    table = read_result(
        get_adata(data, mod),
        key,
        kind="distance_pairwise",
        written_by=f"sh.tl.distance(adata, pairwise=True, key_added={key!r})",
    )["table"]
    names = pd.Index(table["perturbation"].cat.categories, name=None)
    square = np.zeros((len(names), len(names)))
    i, j = table["perturbation"].cat.codes.to_numpy(), table["other"].cat.codes.to_numpy()
    square[i, j] = square[j, i] = table["distance"].to_numpy()
    return pd.DataFrame(square, index=names, columns=names)


def _widths(metric: str, bandwidth: float | Sequence[float] | None) -> list[float] | None:
    if bandwidth is not None and metric != "mmd":
        msg = f"bandwidth={bandwidth!r} belongs to metric='mmd', not to metric={metric!r}"
        raise ValueError(msg)
    return None if bandwidth is None else as_widths(bandwidth)


def _check_test(n_perms: int, alpha: float, *, pairwise: bool) -> None:
    n_perms = whole(n_perms, name="n_perms", least=0)
    between(alpha, 0, 1, name="alpha")
    if pairwise and n_perms:
        msg = (
            f"pairwise=True has no test; leave out n_perms={n_perms}, or compare with the controls"
        )
        raise ValueError(msg)


def _check_sizes(cells: GroupedCells, metric: Metric, names: pd.Index) -> None:
    """Raise if controls are too few; warn of perturbations and cells that cannot be compared."""
    m = cells.counts[:, -1]
    if m.max() < metric.least:
        msg = (
            f"no stratum has more than {m.max()} control cells; at least {metric.least} are needed"
        )
        raise ValueError(msg)
    usable = cells.control_weights(metric.least) > 0
    alone = names[~usable.any(axis=0)]
    if len(alone):
        warnings.warn(
            f"no distance for {some(list(alone))}: at least {metric.least} cells and "
            f"{metric.least} controls of the "
            "same stratum are needed",
            UserWarning,
            stacklevel=4,
        )
    lost = int((cells.counts[:, :-1] * (~usable & usable.any(axis=0))).sum())
    if lost:
        warnings.warn(
            f"{lost} perturbed cells are left out: their stratum has fewer than {metric.least} "
            "cells of the "
            "perturbation, or of the control",
            UserWarning,
            stacklevel=4,
        )


def _table(values: Floats, names: pd.Index, counts: Ints) -> pd.DataFrame:
    return pd.DataFrame({"n_cells": counts, "distance": values}, index=names)


def _pair_table(square: Floats, names: pd.Index, control: str) -> pd.DataFrame:
    """Return one row a pair; the controls, last in `square`, come first."""
    order = np.roll(np.arange(len(square)), 1)
    i, j = np.triu_indices(len(square), k=1)
    kind = pd.CategoricalDtype([control, *names])
    columns = {
        name: pd.Categorical.from_codes(code, dtype=kind)
        for name, code in (("perturbation", i), ("other", j))
    }
    return pd.DataFrame({**columns, "distance": square[np.ix_(order, order)][i, j]})


def _check_reach(n_tests: int, n_perms: int, alpha: float, correction: str) -> None:
    """Warn if one perturbation that beats every permutation could not reach `alpha`."""

    def reaches(b: int) -> bool:
        lone = np.ones(n_tests)
        lone[0] = 1.0 / (b + 1)
        return bool(adjusted(lone, correction)[0] <= alpha * (1 + 1e-9))

    if n_tests == 0 or reaches(n_perms):
        return
    low, high = n_perms, 2 * n_perms
    while not reaches(high):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if reaches(middle) else (middle, high)
    warnings.warn(
        f"n_perms={n_perms} gives p-values of at least {1 / (n_perms + 1):.2g}: one "
        f"perturbation alone among {n_tests} "
        f"cannot reach alpha={alpha} after correction={correction!r}; n_perms={high} would do",
        UserWarning,
        stacklevel=4,
    )
