"""Retrieval: whether replicates of a perturbation find each other, in each context."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from .._docs import shared
from .._keys import RETRIEVAL
from .._random import as_generator
from .._threads import one_thread
from .._validate import flag, get_adata, key_in, one_of, some, whole
from ..core._choose import choose
from ..core._claims import claim_result
from ..core._codes import codes_of, members
from ..core._design import strata_keys, strata_of, tell_of_column
from ..core._matrix import as_rows
from ..core._order import stable_order
from ..core._results import write_table
from ..core._scale import look
from ..core._scale_check import WITH_EMPTY, require
from ..core._screen import perturbed_labels, resolve
from ..core._screen_checks import dropped
from ..metrics import mean_average_precision, top_k_accuracy
from ..metrics._cells import densify
from ._correction import CORRECTIONS, adjusted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from mudata import MuData

    from .._random import RNGLike
    from .._typing import Bools, Floats, Ints
    from ..metrics._discrimination import Metric

AGAINST = ("others", "controls")
METRICS = ("cosine", "l2", "l1")


@one_thread()
@shared()
def retrieve(
    data: AnnData | MuData,
    perturbation_key: str | None = None,
    *,
    control: str | Sequence[str] | None = None,
    against: Literal["others", "controls"] = "others",
    unit_key: str | None = None,
    relative: bool = True,
    metric: Metric = "cosine",
    k: int = 5,
    n_perms: int = 999,
    correction: str = "fdr_bh",
    strata: str | Sequence[str] | None = "auto",
    layer: str | None = None,
    use_rep: str | None = None,
    rng: RNGLike = 0,
    key_added: str | None = None,
    overwrite: bool = False,
    mod: str | None = None,
) -> None:
    """Measure whether profiles find the replicates of their perturbation, in each context.

    A row of the data is a profile: a well, a guide, or a cell. Each profile ranks the other ones of
    its context by similarity. Mean average precision (mAP) says how early its replicates come, see
    :func:`shoal.metrics.mean_average_precision`. The first k say whether the nearest other profiles
    are of its perturbation, see :func:`shoal.metrics.top_k_accuracy`.

    Replicates are alike for other reasons too. Two images of one well share the well, and where a
    perturbation is in the same place on every plate, all its wells share the place. Name what they
    share in `unit_key`, and ask how well control wells find one another by their place.

    Parameters
    ----------
    data
        Screen, one row per profile.
    perturbation_key, control
        {design}
    against
        What replicates are told from: profiles of all ``"others"``, or of the ``"controls"`` alone.
    unit_key
        Column of ``obs`` with units that do not count as replicates of each other, such as the well
        or the plate. By default every profile is a unit of its own.
    relative
        Whether a profile is taken relative to the mean of its controls, those of its strata.
        Representations of :class:`shoal.models.Knowledge` are relative already: pass ``False``.
    metric
        How near two profiles are: ``"cosine"``, ``"l2"`` or ``"l1"``.
    k
        Number of perturbations that count as the first ones.
    n_perms
        Number of random orders for the p-values of mAP.
    correction
        Correction for the number of perturbations of a context, a method of
        ``statsmodels.stats.multitest.multipletests``.
    strata
        {strata}
    layer
        Layer to measure. By default ``X``.
    use_rep
        Slot of ``obsm`` to measure, such as ``"X_knowledge"``.
    rng
        Seed or generator of the random orders.
    key_added
        Slot of ``uns``. By default ``"retrieval"``.
    overwrite
        {overwrite}
    mod
        {mod}

    Returns
    -------
    Nothing; writes ``uns[key_added]`` with ``table``, ``params``, ``schema`` and ``version``.

    The table has one row for each context and perturbation, with these columns:

    - ``context`` and ``perturbation`` (categories);
    - ``n_profiles`` (int), and ``n_queries`` (int): those with a replicate in another unit;
    - ``map`` (float), and ``map_normalised`` (float): 0 at chance, 1 at best;
    - ``pvalue`` and ``qvalue`` (float) of mAP;
    - ``top1`` and ``topk`` (float): shares of profiles. Chance is 1, or k, divided by the number of
      perturbations of the context.

    Raises
    ------
    KeyError
        If a column, layer, representation or control label does not exist.
    ValueError
        If an option is not known, genes hold raw counts or values that are not logged, a value is
        not finite, a profile has no context where the screen has contexts, or no controls in its
        strata.

    Warns
    -----
    UserWarning
        If perturbations have no replicate in another unit, or there is nothing to tell them from.

    References
    ----------
    kalinin2025versatile

    Examples
    --------
    >>> import shoal as sh
    >>> adata = sh.ds.simulate(n_perturbations=4, n_cells=20, rng=0)
    >>> sh.pp.annotate(adata, "perturbation", control="control")
    >>> sh.pp.prepare(adata, normalize="log1p", n_comps=10)
    >>> sh.tl.retrieve(adata, use_rep="X_pca", n_perms=199)
    >>> bool(adata.uns["retrieval"]["table"]["top1"].between(0, 1).all())
    True
    """
    adata = get_adata(data, mod)
    one_of(against, AGAINST, name="against")
    one_of(metric, METRICS, name="metric")
    one_of(correction, CORRECTIONS, name="correction")
    flag(relative, name="relative")
    k = whole(k, name="k")
    n_perms = whole(n_perms, name="n_perms")
    generator = as_generator(rng)
    screen = resolve(adata, perturbation_key, control=control)
    key = claim_result(
        adata,
        RETRIEVAL if key_added is None else key_added,
        schema="retrieval/1",
        screen=screen,
        overwrite=overwrite,
    )
    if unit_key is not None:
        key_in(unit_key, list(adata.obs), where="adata.obs", hint="It names the units.")
        tell_of_column(adata, screen, unit_key, what="units")
    labelled = perturbed_labels(adata, screen)
    matrix, slot = choose(adata, layer=layer, use_rep=use_rep)
    rows = as_rows(matrix, slot=slot).held()
    if not slot.startswith("obsm/"):
        require(look(rows), slot=slot, what="retrieval", accept=WITH_EMPTY, cells=adata.obs_names)
    order = stable_order(adata)
    contexts, context = codes_of(adata, screen.context_key)
    used = labelled.code >= 0
    without = int((used & (context < 0)).sum())
    if without:
        msg = (
            f"{without} cells have no value in adata.obs[{screen.context_key!r}] (context_key), "
            "and profiles are compared within their context: drop them with "
            f"{dropped([screen.context_key])}, or fill in a value"
        )
        raise ValueError(msg)
    order = order[used[order]]
    place = np.argsort(order)
    profiles = np.empty((len(order), rows.shape[1]))
    profiles[place] = densify(rows.take(order[place]))
    is_control = labelled.is_control[order]
    code = np.where(is_control, -1, labelled.code[order])
    keys = strata_keys(adata, screen, strata)
    if relative:
        stratum, _ = strata_of(adata, keys, used=used)
        profiles = _relative(profiles, stratum[order], is_control)
    context = context[order]
    unit = np.arange(len(order)) if unit_key is None else _units(adata, unit_key)[order]
    tables = []
    for own in members(context):
        kept = own[(code[own] >= 0) | ((against == "controls") & is_control[own])]
        if not (code[kept] >= 0).any():
            continue
        found = mean_average_precision(
            profiles[kept],
            code[kept],
            apart=unit[kept],
            negative=is_control[kept] if against == "controls" else None,
            metric=metric,
            n_perms=n_perms,
            rng=generator,
        )
        names = np.unique(code[kept])
        asked = own[code[own] >= 0]
        first = {n: _first(profiles[asked], code[asked], unit[asked], n, metric) for n in {1, k}}
        chosen = names >= 0
        table = pd.DataFrame(
            {
                "context": context[own[0]],
                "perturbation": names[chosen],
                "n_profiles": np.bincount(code[asked], minlength=names.max() + 1)[names[chosen]],
                "n_queries": found.n_queries[chosen],
                "map": found.value[chosen],
                "map_normalised": found.normalised[chosen],
                "pvalue": found.pvalue[chosen],
                "qvalue": adjusted(found.pvalue[chosen], correction),
                "top1": first[1],
                "topk": first[k],
            }
        )
        tables.append(table)
    table = pd.concat(tables, ignore_index=True)
    for column, known in (("context", contexts), ("perturbation", labelled.names)):
        table[column] = pd.Categorical.from_codes(
            table[column].to_numpy(), dtype=pd.CategoricalDtype(list(known))
        )
    alone = table.loc[table["n_queries"] == 0, "perturbation"].astype(str).unique()
    if len(alone):
        warnings.warn(
            f"no precision of {some(list(alone))}: there is no replicate in another unit, or no "
            f"profile of the {against} to tell them from",
            UserWarning,
            stacklevel=4,
        )
    params = {
        **screen.params(),
        "matrix": slot,
        "against": against,
        "unit_key": unit_key,
        "relative": relative,
        "metric": metric,
        "k": k,
        "n_perms": n_perms,
        "correction": correction,
        "strata": keys,
    }
    write_table(adata, key, table, schema="retrieval/1", params=params)


def _units(adata: AnnData, key: str) -> Ints:
    """Return the (n_obs,) unit of each profile; those without one are units of their own."""
    code = pd.Categorical(adata.obs[key]).codes.astype(np.int64)
    missing = np.flatnonzero(code < 0)
    code[missing] = code.max(initial=-1) + 1 + np.arange(len(missing))
    return code


def _relative(profiles: Floats, stratum: Ints, is_control: Bools) -> Floats:
    """Return profiles less the mean of the controls of their stratum."""
    moved = profiles.copy()
    bare = 0
    for own in members(stratum):
        controls = own[is_control[own]]
        bare += 0 if len(controls) else len(own)
        if len(controls):
            moved[own] -= profiles[controls].mean(axis=0)
    if bare:
        msg = (
            f"{bare} profiles have no control in their strata, and are relative to nothing: leave "
            "them out, choose strata= within which there are controls, or pass relative=False"
        )
        raise ValueError(msg)
    return moved


def _first(profiles: Floats, code: Ints, unit: Ints, k: int, metric: Metric) -> Floats:
    """Return, for each perturbation, the share of profiles that find it among the k nearest."""
    of_query = {"query_label": code, "query_unit": unit}
    of_reference = {"reference_label": code, "reference_unit": unit}
    hit = top_k_accuracy(profiles, profiles, **of_query, **of_reference, k=k, metric=metric)
    return pd.Series(hit).groupby(code).mean().to_numpy()
