"""Metrics of retrieval are scored where they are named, beside their controls and the baselines."""

from __future__ import annotations

import numpy as np
import pytest

import shoal as sh
from shoal.metrics._suite import SUITE

from ..helpers import dense
from .tasks import TWINS, evaluated, give, held_out, screen

NAMES = ["retrieval_top1", "retrieval_top5", "retrieval_map"]


@pytest.fixture(scope="module")
def found():
    """Evaluations of a prediction that knows nothing of a perturbation, and of the real cells."""
    nothing = screen()
    known = screen()
    rows = np.flatnonzero(held_out(known))
    values = dense(known.layers[TWINS]).copy()
    label = known.obs["perturbation"].to_numpy(str)[rows]
    for name in np.unique(label):
        own = rows[label == name]
        values[own] = dense(known.X)[np.roll(own, 1)]  # other cells of the same perturbation
    give(known, values)
    return evaluated(nothing, metrics=NAMES), evaluated(known, metrics=NAMES)


def test_controls_bound_them(found):
    for entry in found:
        summary = entry["summary"]
        assert list(summary.index) == NAMES
        assert (summary["negative_control"] == "control copy").all()
        assert (summary["positive"] > summary["negative"]).all()
        assert summary["discriminates"].all()
        assert summary.loc["retrieval_top1", "negative"] == pytest.approx(1 / 6, abs=0.1)
        assert summary.loc["retrieval_map", "negative"] == pytest.approx(0, abs=0.1)
        assert set(NAMES) <= set(entry["contenders"].columns)


def test_whoever_knows_the_perturbations_finds_them(found):
    nothing, known = (entry["summary"] for entry in found)
    assert (known["skill"] > 0.5).all()
    assert (known["value"] > nothing["value"] + 0.1).all()  # of six, five are found by chance
    assert (nothing["skill"].abs() < 0.2).all()  # it is the reference, mean_shift


def test_they_are_not_among_the_metrics_that_nobody_named():
    entry = evaluated(screen(), metrics=None)
    assert not set(NAMES) & set(entry["summary"].index)
    assert set(entry["summary"].index) == {n for n, m in SUITE.items() if not m.on_request}


def test_a_benchmark_takes_them():
    adata = screen()
    sh.tl.benchmark(adata, ["mean_shift"], metrics=["retrieval_map", "energy"], n_draws=1)
    assert np.isfinite(adata.uns["leaderboard"]["table"].loc["mean_shift", "retrieval_map"])
