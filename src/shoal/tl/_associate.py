"""Which signature goes with incoherence: residual coherence against scores."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from .._docs import shared
from .._keys import ASSOCIATION, COHERENCE
from .._logging import logger
from .._random import as_generator
from .._threads import one_thread
from .._validate import get_adata, listed, one_of, whole
from ..core._claims import claim_result
from ..core._design import make_plan
from ..core._results import read_result, write_table
from ..core._screen import Screen, of_result, perturbed_labels
from ..metrics._association import Association, partial_association, raw_partial
from ._correction import CORRECTIONS, adjusted
from ._crossfit import crossfit
from ._signature import column_shift, gene_set_shift, overlap

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from anndata import AnnData
    from mudata import MuData

    from .._random import RNGLike
    from .._typing import Bools, Floats
    from ..core._gene_sets import GeneSets

RESPONSE = {
    "crossfit": ("residual_z", "magnitude"),
    "spline": ("residual_z", "magnitude"),
    "raw_partial": ("coherence_plugin", "magnitude_plugin"),
}
COLUMNS = ("association", "se", "ci_low", "ci_high", "pvalue")


@one_thread()
@shared()
def associate(
    data: AnnData | MuData,
    score: str | Sequence[str] | None = None,
    *,
    gene_set: GeneSets | None = None,
    coherence_key: str = COHERENCE,
    covariates: str | Sequence[str] = (),
    method: Literal["crossfit", "spline", "raw_partial"] = "crossfit",
    n_splits: int = 4,
    n_bins: int = 10,
    n_perms: int = 10_000,
    correction: str = "fdr_bh",
    layer: str | None = None,
    rng: RNGLike = 0,
    key_added: str | None = None,
    overwrite: bool = False,
    mod: str | None = None,
) -> None:
    """Ask whether a signature (stress, chaperones, cell cycle) goes with incoherent responses.

    The unit is the perturbation. Its score is the mean over its cells, less that of the controls of
    the same strata. The association is a partial rank correlation of that score with the *residual*
    coherence z of the perturbation. The residual leaves out what coherence owes to the size of the
    effect. Magnitude is held fixed once more, as a spline, and so are the covariates.

    The p-value permutes what is left of the score among perturbations of similar magnitude. By
    default coherence and magnitude are cross-fitted: they are measured on different halves of the
    cells. See `shoal.metrics.partial_association`.

    Parameters
    ----------
    data
        Screen with the result of `shoal.tl.coherence`. Strata are those of that result.
    score
        Numeric column or columns of ``obs``.
    gene_set
        A list of genes, a mapping of names to lists, or the path of a GMT file. The score is the
        mean of log-normalised expression over the genes of the set that are in the data.

        - A set without any gene in the data is left out, and a log message names it.
        - The gene that a perturbation targets is left out of the score of that perturbation. A
          knock-down is no response.
    coherence_key
        Result of `shoal.tl.coherence` to read. Perturbations that it did not test are left out.
    covariates
        Numeric column or columns of ``obs`` to hold fixed besides magnitude, such as
        ``"total_counts"``. They are averaged per perturbation, less the controls, and ranked.
    method
        ``"crossfit"``
            Residual z from one half of the cells and magnitude from the other. The result is
            averaged over both ways and over `n_splits` random splits. The matrix that coherence
            was computed from is read again.
        ``"spline"``
            Both from the coherence result. They then share their error. If cells have heavy
            tails, a score that follows the true magnitude closely is found associated where it is
            not.
        ``"raw_partial"``
            The published calculation, from plug-in coherence and magnitude, held fixed as a
            straight line. It is here to reproduce published numbers; draw no conclusions from it.
            Coherence and most scores are curved functions of magnitude. A straight line leaves
            that curvature in both, and the test rejects in over nine of ten screens in which there
            is nothing to find.
    n_splits
        Random splits of the cells in halves, for ``"crossfit"``.
    n_bins
        Bins of magnitude within which scores are permuted. There are fewer where a bin would hold
        less than 5 perturbations.
    n_perms
        Permutations. The smallest p-value is 1 / (n_perms + 1).
    correction
        Correction for the number of scores, a method of
        ``statsmodels.stats.multitest.multipletests``.
    layer
        Layer with log-normalised expression for `gene_set`, instead of ``X``.
    rng
        Seed or generator of the splits and permutations.
    key_added
        Name of the result. By default ``"association"``.
    overwrite
        {overwrite}
    mod
        Modality to measure, if `data` is a MuData.

    Returns
    -------
    Nothing; writes

    ``uns[key_added]["table"]`` : DataFrame, one row per score
        ``n``
            Perturbations (int64).
        ``association``, ``se``, ``ci_low``, ``ci_high``
            Partial rank correlation, its standard error and 95 % interval (float64).
        ``pvalue``, ``qvalue``
            Its test, and the correction for the number of scores (float64).
        ``n_genes_used``
            Genes of the set that are in the data; 0 for a column of ``obs`` (int64).
        ``overlap``
            Genes of the set that coherence itself was computed from; NaN if not known (float64).
    ``uns[key_added]["scores"]`` : DataFrame, one row per perturbation and score
        ``score`` (name), ``shift`` (value), and the ``response`` and ``magnitude`` of the coherence
        result.
    ``uns[key_added]["params"]`` : dict
        What it was computed with.

    Raises
    ------
    KeyError
        If there is no coherence result, or a column does not exist.
    ValueError
        If there is nothing to score, too few perturbations, no gene of any set in the data, or
        values that are not log-normalised.

    Warns
    -----
    UserWarning
        If genes of a set are among the features that coherence was computed from. The association
        is then partly circular. The message shows the call that leaves these genes out.

    Notes
    -----
    - An association is no cause.
    - Perturbations are taken as independent. Combinations that share a part are not, and a log
      message says how many there are.
    - With ``"crossfit"``, z comes from half of the cells and is noisier than from all. The
      association is therefore nearer to 0 than one from all cells. Its interval is for the average
      over halves.

    Examples
    --------
    >>> import numpy as np
    >>> import shoal as sh
    >>> adata = sh.ds.simulate_gaussian(n_perturbations=30, n_cells=30, n_control=200, rng=0)
    >>> sh.tl.coherence(adata, "perturbation", control="control")
    >>> adata.obs["stress"] = np.random.default_rng(0).normal(size=adata.n_obs)
    >>> sh.tl.associate(adata, "stress", n_perms=999, rng=0)
    >>> list(adata.uns["association"]["table"].index)
    ['stress']
    """
    adata = get_adata(data, mod)
    one_of(method, tuple(RESPONSE), name="method")
    one_of(correction, CORRECTIONS, name="correction")
    n_splits, n_bins = whole(n_splits, name="n_splits"), whole(n_bins, name="n_bins")
    n_perms = whole(n_perms, name="n_perms")
    scored, held = _listed(score, "score"), _listed(covariates, "covariates")
    if not scored and gene_set is None:
        msg = "nothing to score: name numeric columns of adata.obs (score=) or genes (gene_set=)"
        raise ValueError(msg)
    if held and method == "raw_partial":
        msg = "method='raw_partial' takes no covariates; leave them out, or use method='spline'"
        raise ValueError(msg)
    result = read_result(
        adata, coherence_key, kind="coherence", written_by="sh.tl.coherence(adata)"
    )
    params, table = result["params"], result["table"]
    screen = of_result(adata, params)
    key = claim_result(
        adata,
        ASSOCIATION if key_added is None else key_added,
        schema="association/1",
        screen=screen,
        overwrite=overwrite,
    )
    labelled = perturbed_labels(adata, screen)
    strata = tuple(k for k in str(params.get("strata", "")).split(",") if k)
    plan = make_plan(adata, labelled, strata=strata, depth_key=None)
    shift = column_shift(adata, plan, scored, labelled.names, where="score")
    used: dict[str, list[str]] = {}
    if gene_set is not None:
        genes = gene_set_shift(adata, plan, screen, labelled.names, gene_set, layer=layer)
        used = genes.used
        _refuse_twice(scored, used)
        shift = shift.join(genes.shift)
    common = overlap(adata, params, used)
    quality = column_shift(adata, plan, held, labelled.names, where="covariates")

    of_splits, of_test = as_generator(rng).spawn(2)
    response, magnitude = (
        table[c].reindex(labelled.names).to_numpy(dtype=np.float64) for c in RESPONSE[method]
    )
    keep = (table["n_cells"].reindex(labelled.names) >= params.get("min_cells", 0)).to_numpy()
    keep = (
        keep & np.isfinite(response) & np.isfinite(magnitude)
    )  # pandas hands out read-only arrays
    y, m = response, magnitude
    if method == "crossfit":
        y, m = crossfit(adata, screen, labelled, params, n_splits=n_splits, rng=of_splits)
        keep = keep & np.isfinite(y).all(axis=1) & np.isfinite(m).all(axis=1)
    _tell(screen, labelled.names, keep)
    fixed = quality.to_numpy()[keep] if held else None

    def test(rows: Bools, values: Floats) -> Association:
        if method == "raw_partial":
            return raw_partial(y[keep][rows], values, magnitude=m[keep][rows])
        return partial_association(
            y[keep][rows],
            values,
            magnitude=m[keep][rows],
            covariates=None if fixed is None else fixed[rows],
            n_bins=n_bins,
            n_perms=n_perms,
            rng=of_test,
        )

    answer = _each_pattern(shift.loc[keep], test)
    answer.insert(
        answer.columns.get_loc("pvalue") + 1,
        "qvalue",
        adjusted(answer["pvalue"].to_numpy(), correction),
    )
    answer["n_genes_used"] = [len(used.get(name, ())) for name in answer.index]
    answer["overlap"] = [common.get(name, np.nan) for name in answer.index]
    _warn_circular(answer, params)
    scores = shift.loc[keep].melt(ignore_index=False, var_name="score", value_name="shift")
    scores["response"], scores["magnitude"] = (
        np.tile(v[keep], shift.shape[1]) for v in (response, magnitude)
    )
    write_table(
        adata,
        key,
        answer,
        schema="association/1",
        params={
            "method": method,
            "response": RESPONSE[method][0],
            "coherence_key": coherence_key,
            "covariates": held,
            "n_bins": n_bins,
            "n_splits": n_splits if method == "crossfit" else 0,
            "n_perms": 0 if method == "raw_partial" else n_perms,
            "correction": correction,
            "layer": layer,
            "strata": strata,
        },
        scores=scores.rename_axis("perturbation"),
    )


def _listed(names: str | Sequence[str] | None, what: str) -> list[str]:
    return list(dict.fromkeys(listed(names, name=what)))


def _refuse_twice(scored: Sequence[str], used: Mapping[str, list[str]]) -> None:
    twice = sorted(set(scored) & set(used))
    if twice:
        msg = f"{', '.join(twice)} name both a column of adata.obs and a gene set; rename one"
        raise ValueError(msg)


def _tell(screen: Screen, names: pd.Index, keep: Bools) -> None:
    """Say which perturbations cannot be used, and which are not independent.

    Raises
    ------
    ValueError
        If none can be used.
    """
    if not keep.any():
        msg = (
            "no perturbation of the coherence result is both tested and in adata; call "
            "sh.tl.coherence(adata) again"
        )
        raise ValueError(msg)
    if not keep.all():
        logger.info(
            "%d of %d perturbations were not tested for coherence", int((~keep).sum()), len(keep)
        )
    parts = [screen.parts(name) for name in names[keep]]
    count = pd.Series([p for several in parts for p in several]).value_counts()
    n_shared = sum(len(several) > 1 and any(count[p] > 1 for p in several) for several in parts)
    if n_shared:
        logger.warning(
            "%d combinations share a part with another perturbation; they are not independent",
            n_shared,
        )


def _each_pattern(
    shift: pd.DataFrame, test: Callable[[Bools, Floats], Association]
) -> pd.DataFrame:
    """Return one row per score; scores known for the same perturbations are tested together."""
    patterns, member = np.unique(np.isfinite(shift.to_numpy()), axis=1, return_inverse=True)
    parts = []
    for i, rows in enumerate(patterns.T):
        names = shift.columns[member.ravel() == i]
        found = test(rows, shift.loc[rows, names].to_numpy())
        part = pd.DataFrame({c: getattr(found, c) for c in COLUMNS}, index=names)
        part.insert(0, "n", int(rows.sum()))
        parts.append(part)
    return pd.concat(parts).loc[shift.columns].rename_axis("score")


def _warn_circular(answer: pd.DataFrame, params: Mapping[str, Any]) -> None:
    inside = answer[answer["overlap"] > 0]
    if len(inside) == 0:
        return
    shown = [
        f"{name} ({int(row.overlap)} of {int(row.n_genes_used)})" for name, row in inside.iterrows()
    ]
    more = f" and {len(shown) - 5} more" if len(shown) > 5 else ""
    if params.get("use_rep") in ("", "X"):
        where = f"layer={params['layer']!r}" if params.get("layer") else "use_rep='X'"
        call = f"sh.tl.coherence(adata, {where}, exclude=genes)"
    else:
        call = "sh.pp.prepare(adata, exclude=genes); sh.tl.coherence(adata)"
    msg = (
        f"genes of {', '.join(shown[:5])}{more} are among the features that coherence was "
        "computed from, so the "
        f"association is partly circular. Leave them out first: {call}"
    )
    warnings.warn(msg, UserWarning, stacklevel=4)
