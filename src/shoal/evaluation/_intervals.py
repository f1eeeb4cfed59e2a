"""Intervals of a prediction beside the responses that were measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy.special import betaincinv

from ..core._population import check_scale, population, read_once
from ..core._screen import resolve
from ..metrics._probability import FOUND, shift_pvalues
from ..models.baselines._deltas import measured_of
from ..models.baselines._noise import spread_of
from ..models.ensemble._evidence import LEAST_CELLS, N_COMPS
from ..models.space._fit_cells import axes_of_training
from ._conditions import condition_names, scored_cells

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anndata import AnnData

    from .._typing import Bools, Floats, Ints
    from ..core._population import Population

N_BINS = 5  # of a reliability curve
MOST_CONTROLS = 1000  # that are looked at
ROUNDING = 1e-6  # of the ends of the intervals
OTHER_SCALE = 0.5  # relative difference of mean squares; log2 instead of ln makes it 1.08


@dataclass(frozen=True, eq=False)
class MeasuredResponses:
    """Measured responses of those m conditions of an interval table that can be measured.

    Attributes
    ----------
    at
        (m,) rows of the table: conditions of five cells or more.
    response
        (m, d) mean of the cells minus that of their controls.
    noise
        (m,) squared size of its sampling noise.
    p_value
        (m,) p-value that the condition does not respond.
    """

    at: Ints
    response: Floats
    noise: Floats
    p_value: Floats


def measured_responses(
    adata: AnnData, entry: Mapping[str, Any], *, split: str | None = None
) -> MeasuredResponses:
    """Measure the conditions of an interval table.

    Parameters
    ----------
    adata
        The screen.
    entry
        Intervals, as `core._intervals.read_intervals` returns them.
    split
        Value of ``obs["split"]`` of the cells that are measured; ``None`` for all.

    Raises
    ------
    ValueError
        If the features are not those of the intervals, the values are on another scale, or no cell
        is perturbed.
    """
    params = entry["params"]
    layer, use_rep = (str(params.get(name, "")) or None for name in ("layer", "use_rep"))
    cells = read_once(population(adata, resolve(adata), layer=layer, use_rep=use_rep))
    check_scale(cells, layer=layer, use_rep=use_rep, what="a measured response")
    place = pd.Index(entry["features"].index).get_indexer(list(cells.features))
    if (place < 0).any():
        lost = [name for name, at in zip(cells.features, place, strict=True) if at < 0]
        msg = (
            f"{len(lost)} features of this AnnData have no intervals, such as {lost[0]!r}: predict "
            "again, with interval="
        )
        raise ValueError(msg)
    if len(place) < len(entry["features"]):
        names = entry["features"].index.astype(str)
        absent = names[~np.isin(np.arange(len(names)), place)]
        msg = (
            f"{len(absent)} of {len(names)} features with intervals are not in this AnnData, such "
            f"as {absent[0]!r}: take the features that were predicted, or predict again"
        )
        raise ValueError(msg)
    back = np.argsort(place)
    _check_controls(cells, entry, back)
    scored = scored_cells(cells, split)
    if not scored.any():
        msg = (
            "no cell of this AnnData has a perturbation, so no response can be measured: take the "
            "screen with its perturbed cells"
        )
        raise ValueError(msg)
    found = measured_of(cells, scored)
    keys = pd.DataFrame(
        {
            "perturbation": [cells.names.index(str(found.names[i])) for i in found.perturbation],
            "context": found.context,
            "dose": found.dose,
        }
    )
    names = pd.Index(condition_names(cells, keys))
    own = names.get_indexer(entry["table"].index.astype(str))
    at = np.flatnonzero((own >= 0) & (found.n[own] >= LEAST_CELLS))
    own = own[at]
    axes = axes_of_training(cells, N_COMPS, np.random.default_rng(0))
    cell, spread = spread_of(cells, axes)
    factor = 1 / found.n[own] + (found.matched[own] ** 2) @ found.n_matched
    return MeasuredResponses(
        at=at,
        response=found.delta[own][:, back],
        noise=factor * float(cell.sum()),
        p_value=shift_pvalues(found.delta[own] @ axes, spread, factor),
    )


def control_squares(cells: Population) -> Floats:
    """Return (d,) the mean square of every feature in control cells, which tells scales apart."""
    some = cells.controls.cells[:MOST_CONTROLS]
    found: Floats = (cells.values(some).astype(np.float64) ** 2).mean(axis=0)
    return found


def _check_controls(cells: Population, entry: Mapping[str, Any], back: Ints) -> None:
    """Raise ``ValueError`` if controls are not on the scale on which responses were predicted."""
    before = entry["features"]["control_square"].to_numpy(dtype=np.float64)
    now = control_squares(cells)[back]
    if np.linalg.norm(now - before) > OTHER_SCALE * np.linalg.norm(before):
        msg = (
            "the control cells have other values than when the intervals were made, such as those "
            "of another normalisation: put the values of that time back, or predict again"
        )
        raise ValueError(msg)


def judged(entry: Mapping[str, Any], real: MeasuredResponses) -> pd.DataFrame:
    """Return how the intervals of every measured condition fit; see `tl.evaluate_intervals`."""
    table, level = entry["table"].iloc[real.at], float(entry["params"]["level"])
    low, high = (np.asarray(entry[name])[real.at].astype(np.float64) for name in ("low", "high"))
    has = np.isfinite(low).all(axis=1)
    # a feature without width is the same in all cells of training, and nearly always here too
    varies = (np.nan_to_num(high - low) > 0).any(axis=0)
    unit = np.abs(np.nan_to_num(high)).max(initial=1.0)
    varies |= np.abs(real.response).max(axis=0, initial=0.0) > ROUNDING * unit
    inside = ((low <= real.response) & (real.response <= high))[:, varies]
    distance = (np.asarray(entry["response"])[real.at] - real.response) ** 2
    covered = np.where(has, inside.mean(axis=1), np.nan)
    size = (real.response**2).sum(axis=1) - real.noise
    far = np.sqrt(np.maximum(distance.sum(axis=1) - real.noise, 0.0))
    found = table[["perturbation", "context", "dose", "kind", "n_cells"]].copy()
    found["covered"] = covered
    found["inside"] = covered >= level
    found["width"] = np.where(has, (high - low)[:, varies].mean(axis=1), np.nan)
    found["strength"] = np.sqrt(np.maximum(size, 0.0))
    found["distance"] = far
    found["bound"] = table["bound"].to_numpy(dtype=np.float64)
    found["within"] = far <= found["bound"].to_numpy()
    found["probability"] = table["probability"].to_numpy(dtype=np.float64)
    found["pvalue"] = real.p_value
    found["responds"] = real.p_value < FOUND
    return found[has]


def summarised(table: pd.DataFrame) -> pd.DataFrame:
    """Return the coverage of all conditions, of halves by measured response, and of each kind.

    Returns
    -------
    Index group; columns ``n_conditions``, ``coverage`` (share of conditions that are covered) with
    ``coverage_low`` and ``coverage_high`` (95 % interval over conditions), ``features`` (mean share
    of features that are covered), ``width`` (mean), ``within`` (share of conditions whose true
    response is within the bound, of those that have one).
    """
    strong = (table["strength"] >= table["strength"].median()).to_numpy()
    groups = {"all": np.ones(len(table), dtype=bool), "weaker": ~strong, "stronger": strong}
    groups |= {str(kind): (table["kind"] == kind).to_numpy() for kind in table["kind"].unique()}
    rows = {}
    for name, own in groups.items():
        part = table[own]
        low, high = share_interval(int(part["inside"].sum()), len(part))
        inside, *means = part[["inside", "covered", "width"]].mean()
        within = part["within"][part["bound"].notna()].mean()
        rows[name] = (len(part), inside, low, high, *means, within)
    columns = ["n_conditions", "coverage", "coverage_low", "coverage_high"]
    columns += ["features", "width", "within"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns).rename_axis("group")


def reliability(probability: Floats, responds: Bools) -> pd.DataFrame:
    """Return how many conditions respond of those with about the same probability.

    Parameters
    ----------
    probability
        (C,) probabilities.
    responds
        (C,) which conditions respond.

    Returns
    -------
    Index bin, at most five of about as many conditions; columns ``probability`` (mean),
    ``responds`` (share) with ``low`` and ``high`` (95 % interval), and ``n_conditions``.
    """
    order = np.argsort(probability, kind="stable")
    rows = []
    for own in np.array_split(order, min(N_BINS, max(len(order) // N_BINS, 1))):
        k, n = int(responds[own].sum()), len(own)
        rows.append((float(probability[own].mean()), k / n, *share_interval(k, n), n))
    columns = ["probability", "responds", "low", "high", "n_conditions"]
    return pd.DataFrame(rows, columns=columns, index=[f"bin {i + 1}" for i in range(len(rows))])


def share_interval(k: int, n: int) -> tuple[float, float]:
    """Return the 95 % interval (Clopper and Pearson) of a share of which k of n were seen."""
    if n == 0:
        return float("nan"), float("nan")
    low = 0.0 if k == 0 else float(betaincinv(k, n - k + 1, 0.025))
    return low, 1.0 if k == n else float(betaincinv(k + 1, n - k, 0.975))


def in_words(table: pd.DataFrame, summary: pd.DataFrame, params: Mapping[str, Any]) -> str:
    """Return what the coverage is, in a sentence or two."""
    own = dict(zip(summary.columns, summary.to_numpy(dtype=np.float64)[0], strict=True))  # of all
    level, pooled = float(params["level"]), bool(params["pooled"])
    n, what = int(own["n_conditions"]), "features" if pooled else "coverage"
    stronger = summary[what].to_numpy(dtype=np.float64)[list(summary.index).index("stronger")]
    ends = f"95% interval {own['coverage_low']:.0%} to {own['coverage_high']:.0%}"
    first = (
        f"{own['features']:.0%} of the features of {n} conditions lie within the intervals"
        if pooled
        else f"{int(table['inside'].sum())} of {n} conditions have {level:.0%} of their features "
        f"within the intervals: {own['coverage']:.0%} ({ends})"
    )
    bound = (
        f". The true response is within the bound in {own['within']:.0%} of conditions"
        if np.isfinite(own["within"])
        else ""
    )
    return (
        f"{first}, where {level:.0%} are wanted. Of the half with the stronger response it is "
        f"{stronger:.0%}{bound}"
    )
