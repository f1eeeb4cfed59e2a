"""Positions on plates: when a test asks about wells, and what the control wells say."""

from __future__ import annotations

import logging

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import shoal as sh
from shoal.pp._split_position import likeness


def layout(*, fixed=True, edge=0.0, plates=4, d=30, seed=0):
    """Return plates of two lines: 6 control wells and 6 perturbed ones, with effects of wells."""
    rng = np.random.default_rng(seed)
    wells = [f"{row}{column:02d}" for row in "ABC" for column in range(1, 5)]
    names = ["control"] * 6 + [f"P{i}" for i in range(1, 7)]
    effect = {well: rng.normal(size=d) * edge for well in wells}
    obs, cells = [], []
    for plate in range(plates):
        placed = wells if fixed else list(rng.permutation(wells))
        for well, name in zip(placed, names, strict=True):
            obs.append((name, f"p{plate}", "one" if plate < plates // 2 else "two", well))
            cells.append(effect[well] + rng.normal(size=d))
    frame = pd.DataFrame(obs, columns=["perturbation", "plate", "line", "well"])
    frame.index = frame.index.astype(str)
    adata = ad.AnnData(np.array(cells, dtype=np.float32), obs=frame)
    sh.pp.annotate(adata, "perturbation", control="control", context_key="line", batch_key="plate")
    return adata


def found(adata, **options):
    sh.pp.split(adata, by="context", test=["two"], **options)
    return adata.uns["split"]["table"].loc["position"]


def test_without_positions_nothing_is_said():
    assert found(layout())["status"] == "not applicable"
    with pytest.raises(KeyError, match="given as well_key"):
        found(layout(), well_key="nothing")


def test_shared_wells_with_an_effect_of_their_own_are_confounded(caplog):
    with caplog.at_level(logging.WARNING, logger="shoal"):
        row = found(layout(edge=2.0), well_key="well")
    assert (row["status"], row["n"]) == ("confounded", 6)
    assert "6 of 6 held-out perturbations are in the same wells in training" in row["detail"]
    assert "position: 6 of 6" in caplog.text


def test_shared_wells_without_an_effect_are_by_design():
    row = found(layout(edge=0.0), well_key="well")
    assert row["status"] == "by design"
    assert "no sign of the position" in row["detail"]


def test_other_wells_on_every_plate_are_fine():
    adata = layout(fixed=False, edge=2.0, seed=3)
    table = adata.obs[adata.obs["perturbation"] != "control"]
    one, two = (
        set(map(tuple, t[["perturbation", "well"]].to_numpy())) for _, t in table.groupby("line")
    )
    row = found(adata, well_key="well")
    assert (row["status"] == "ok") == (not one & two)


def test_the_record_survives_a_second_audit():
    from shoal.core._screen import resolve
    from shoal.pp._audit import audit

    adata = layout(edge=2.0)
    found(adata, well_key="well")
    assert audit(adata, resolve(adata)).loc["position", "status"] == "confounded"


# -- arithmetic ------------------------------------------------------------------------------------


def test_wells_that_differ_by_position_alone_correlate_fully(rng):
    own = rng.normal(size=(5, 40))
    made = likeness(np.vstack([own, own + 3.0]), np.tile(np.arange(5), 2), np.repeat([0, 1], 5))
    assert made.same == pytest.approx(1)
    assert made.other < 0
    assert made.p < 0.05


def test_the_p_value_is_uniform_where_positions_do_nothing():
    p = [
        likeness(
            np.random.default_rng(seed).normal(size=(24, 20)),
            np.tile(np.arange(6), 4),
            np.repeat(np.arange(4), 6),
        ).p
        for seed in range(80)
    ]
    assert np.mean(np.array(p) <= 0.2) == pytest.approx(0.2, abs=0.12)


def test_nothing_is_compared_on_one_plate(rng):
    assert likeness(rng.normal(size=(4, 5)), np.arange(4), np.zeros(4, dtype=int)) is None


def test_the_trap_is_seen(read_real):
    adata = read_real("cellhealth_crispr_3lines_phenotypes.h5ad")
    share = np.clip(np.asarray(adata.X), 1e-4, 1 - 1e-4)
    adata.X = np.log(share / (1 - share))
    keys = {"context_key": "cell_line", "batch_key": "plate", "guide_key": "guide"}
    sh.pp.annotate(adata, "perturbation", control="control", **keys)
    sh.pp.split(adata, by="context", test=["A549"], well_key="guide")
    row = adata.uns["split"]["table"].loc["position"]
    assert row["status"] == "confounded"
    assert "56 of 56" in row["detail"]
