"""Values of image metrics for every contender and condition, and scores made of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ..core._codes import members
from ..metrics._distance import energy_distance
from ..metrics._image_distances import frechet_distance, kernel_distance
from ..metrics._skill import ends
from ._image_contenders import COPY, SECOND

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .._typing import Floats, Ints
    from ._image_contenders import Measured
    from ._image_task import ImageTask

# metric -> whether more is better
METRICS = {"frechet": False, "kernel": False, "energy": False, "retrieval": True}
N_BOOT = 500  # samples of conditions for an interval
LEVEL = 0.95  # of the interval


def image_values(task: ImageTask, measured: Measured) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Compute all metrics anew for every condition; means over draws.

    Returns
    -------
    values
        One row a contender and condition: contender, condition and the metrics.
    pooled
        Index contender: distances of all conditions together.
    """
    rows, pooled = [], []
    for draw in task.draws:
        halves = task.halves(draw)
        owner = tuple(task.owner[at] for at in halves)
        groups = list(zip(*(members(who) for who in owner), strict=True))
        assigned = _retrieval(task, measured, halves, owner)
        for name in measured.named:
            found = {
                "frechet_pooled": _frechet(measured.network, name, halves),
                "kernel_pooled": _kernel(measured.network, name, halves),
            }
            pooled.append({"contender": name, **found})
            for condition, places in zip(task.names, groups, strict=True):
                own = tuple(half[at] for half, at in zip(halves, places, strict=True))
                rows.append(
                    {
                        "contender": name,
                        "condition": condition,
                        "frechet": _frechet(measured.network, name, own),
                        "kernel": _kernel(measured.network, name, own),
                        "energy": energy_distance(
                            measured.named[name][own[0]], measured.named[SECOND][own[1]]
                        ),
                        "retrieval": float(assigned[name][places[0]].mean()),
                    }
                )
    keys = ["contender", "condition"]
    values = pd.DataFrame(rows).groupby(keys, sort=False).mean().reset_index()
    return values, pd.DataFrame(pooled).groupby("contender", sort=False).mean()


def image_scores(values: pd.DataFrame, pooled: pd.DataFrame, *, seed: int) -> pd.DataFrame:
    """Return the mean values of all contenders, and their scores with intervals.

    The score of a metric is (copy - value) / (copy - second experiment) of the means over
    conditions: 0 for a copy of the controls, 1 for a second experiment. It is NaN where a second
    experiment is no better than a copy. The score is the mean over metrics. Its interval is of 95 %
    over conditions, which are drawn again, with the same metrics; NaN for a single condition.
    """
    names = list(dict.fromkeys(values["contender"]))
    flat = values[list(METRICS)].to_numpy(dtype=np.float64)
    every: Floats = flat.reshape(len(names), -1, len(METRICS))  # contender, condition, metric
    n = every.shape[1]
    drawn = np.random.default_rng([seed, 3]).integers(n, size=(N_BOOT, n))
    means = every.mean(axis=1)
    of_metric = _score(means, names)
    table = pd.DataFrame(index=pd.Index(names, name="contender"))
    table["score"] = _mean_known(of_metric)
    counts = np.isfinite(of_metric).any(axis=0)
    again = _score(every[:, drawn].mean(axis=2).swapaxes(0, 1), names)[..., counts].mean(axis=-1)
    again = again[np.isfinite(again).all(axis=1)]
    table[["score_low", "score_high"]] = np.nan
    if n > 1 and len(again):
        table["score_low"], table["score_high"] = ends(table["score"].to_numpy(), again, LEVEL, n)
    table[list(METRICS)] = means
    table = table.join(pooled)
    table[[f"{metric}_score" for metric in METRICS]] = of_metric
    return table.sort_values("score", ascending=False, kind="stable")


def _score(means: Floats, names: Sequence[str]) -> Floats:
    """Return (..., K, M) scores of K contenders in M metrics from (..., K, M) means."""
    sign = np.array([1.0 if more else -1.0 for more in METRICS.values()])
    copy, second = (means[..., [names.index(name)], :] for name in (COPY, SECOND))
    room = sign * (second - copy)
    found: Floats = sign * (means - copy) / np.where(room > 0, room, np.nan)
    return found + 0.0  # no -0


def _mean_known(scores: Floats) -> Floats:
    """Return means over metrics, of those that are known; NaN where none is."""
    known = np.isfinite(scores)
    total = np.where(known, scores, 0.0).sum(axis=-1)
    n = known.sum(axis=-1)
    return np.where(n > 0, total / np.maximum(n, 1), np.nan)


def feature_medians(task: ImageTask, measured: Measured, prediction: str) -> pd.DataFrame:
    """Return medians of the features that can be named, in their own units, by condition.

    ``missed`` is the part of the response that the prediction lacks: |predicted - real| over
    |control - real|.
    """
    rows = []
    for condition, own in zip(task.names, members(task.owner), strict=True):
        median = {
            kind: np.median(measured.named[name][own], axis=0) * measured.spread + measured.centre
            for kind, name in (("control", COPY), ("real", SECOND), ("predicted", prediction))
        }
        with np.errstate(divide="ignore", invalid="ignore"):
            missed = np.abs(median["predicted"] - median["real"]) / np.abs(
                median["control"] - median["real"]
            )
        moved = (median["real"] - median["control"]) / measured.spread
        rows.append(
            pd.DataFrame(
                {
                    "condition": condition,
                    "feature": measured.names,
                    **median,
                    "response": moved,
                    "missed": np.where(np.isfinite(missed), missed, np.nan),
                }
            )
        )
    return pd.concat(rows, ignore_index=True)


def _frechet(features: Mapping[str, Floats], name: str, at: tuple[Ints, ...]) -> float:
    return frechet_distance(features[name][at[0]], features[SECOND][at[1]])


def _kernel(features: Mapping[str, Floats], name: str, at: tuple[Ints, ...]) -> float:
    return kernel_distance(features[name][at[0]], features[SECOND][at[1]])


def _retrieval(
    task: ImageTask, measured: Measured, halves: tuple[Ints, ...], owner: tuple[Ints, ...]
) -> dict[str, Floats]:
    """Return contender -> (n,) whether a classifier gives an image to its own perturbation.

    The classifier, a logistic regression on the features that can be named, is trained on the real
    second halves, and on controls as a class of their own.
    """
    from sklearn.linear_model import LogisticRegression

    real, control = measured.named[SECOND][halves[1]], measured.named[COPY][halves[1]]
    label = task.perturbation[owner[1]]
    model = LogisticRegression(class_weight="balanced", max_iter=500)
    model.fit(np.vstack([real, control]), np.append(label, np.full(len(control), -1)))
    wanted = task.perturbation[owner[0]]
    return {
        name: (model.predict(values[halves[0]]) == wanted).astype(np.float64)
        for name, values in measured.named.items()
    }
