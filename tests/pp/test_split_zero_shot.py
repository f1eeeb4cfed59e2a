"""pp.split(by="context", zero_shot=True): a context of which only controls are given, and no validation of its kind."""

from __future__ import annotations

from dataclasses import replace

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import shoal as sh
from shoal.core._population import sides_of
from shoal.core._screen import labels, resolve
from shoal.pp._split_checks import SIDES, Facts, same_condition

PARTS = "ABCD"


@pytest.fixture
def table(rng):
    """Four perturbations x four lines, 12 cells each, and 12 controls a line; line "bare" has controls alone."""
    lines = ["k562", "rpe1", "hepg2", "jurkat"]
    cells = [(p, line) for p in (*PARTS, "ctrl") for line in lines] + [("ctrl", "bare")]
    obs = pd.DataFrame(cells * 12, columns=["p", "line"])
    obs.index = obs.index.astype(str)
    adata = ad.AnnData(rng.normal(size=(len(obs), 6)), obs=obs)
    sh.pp.annotate(adata, "p", control="ctrl", context_key="line")
    return adata


def sides(adata):
    """Return the set of (perturbation, line) on every side, of perturbed cells."""
    cells = adata.obs[adata.obs["p"] != "ctrl"]
    return {
        side: set(own[["p", "line"]].itertuples(index=False, name=None))
        for side, own in cells.groupby(cells["split"].astype(object).fillna("aside"))
    }


def without(adata, *pairs):
    gone = pd.Series(list(zip(adata.obs["p"], adata.obs["line"], strict=True)))
    return adata[~gone.isin(pairs).to_numpy()].copy()


@pytest.mark.parametrize("seed", range(3))
def test_validation_is_of_conditions_of_the_other_contexts(table, seed):
    sh.pp.split(table, by="context", zero_shot=True, test=0.25, val=0.25, rng=seed)
    on = sides(table)
    tested = {line for _, line in on["test"]}
    assert len(tested) == 1
    assert on["test"] == {(p, line) for p in PARTS for line in tested}
    assert len(on["val"]) == 3  # a quarter of the 12 conditions that are left
    assert not {line for _, line in on["val"]} & tested
    assert {p for p, _ in on["train"]} == set(PARTS)
    assert {line for _, line in on["train"]} == {"k562", "rpe1", "hepg2", "jurkat"} - tested
    assert (table.obs.loc[table.obs["p"] == "ctrl", "split"] == "train").all()
    checks = table.uns["split"]["table"]["status"]
    assert not checks.isin(["leak", "stale"]).any()
    assert checks["same_condition"] == "ok"


def test_conditions_of_validation_by_name(table):
    sh.pp.split(
        table, by="context", zero_shot=True, test=["rpe1"], val=["A | k562", ("B", "hepg2")]
    )
    assert sides(table)["val"] == {("A", "k562"), ("B", "hepg2")}
    assert table.uns["split"]["params"]["zero_shot"]


def test_two_contexts_are_enough(table):
    two = table[table.obs["line"].isin(["k562", "rpe1"])].copy()
    sh.pp.split(two, by="context", zero_shot=True, test=["rpe1"])
    assert sides(two) == {
        "train": {(p, "k562") for p in PARTS},
        "test": {(p, "rpe1") for p in PARTS},
    }
    with pytest.raises(
        ValueError, match=r"val=0.2 is taken of the conditions .* of 1 training .*Set val=0"
    ):
        sh.pp.split(two, by="context", zero_shot=True, test=["rpe1"], val=0.2, overwrite=True)


def test_what_no_training_context_has_measured_is_set_aside(table):
    rare = without(table, ("A", "k562"), ("A", "hepg2"), ("A", "jurkat"))
    sh.pp.split(rare, by="context", zero_shot=True, test=["rpe1"], val=0.2)
    assert sides(rare)["aside"] == {("A", "rpe1")}
    assert {p for p, _ in sides(rare)["test"]} == {"B", "C", "D"}


def test_a_context_of_control_cells_alone(table, caplog):
    with caplog.at_level("INFO", logger="shoal"):
        sh.pp.split(table, by="context", zero_shot=True, test=["bare"], val=0.2)
    assert "bare: there are control cells alone, so nothing of it can be scored" in caplog.text
    on = sides(table)
    assert set(on) == {"train", "val"}
    assert {line for _, line in on["val"] | on["train"]} == {"k562", "rpe1", "hepg2", "jurkat"}
    assert (
        "no perturbed cell beside them in bare"
        in (table.uns["split"]["table"].loc["control_cells", "detail"])
    )
    sh.pp.split(table, by="context", zero_shot=True, test=["bare", "rpe1"], overwrite=True)
    assert {line for _, line in sides(table)["test"]} == {"rpe1"}
    one = table[table.obs["line"].isin(["k562", "bare"])].copy()
    sh.pp.split(one, by="context", zero_shot=True, test="bare", overwrite=True)
    assert sides(one) == {"train": {(p, "k562") for p in PARTS}}


def test_folds_are_of_contexts(table):
    tested = []
    for fold in range(4):
        sh.pp.split(
            table, by="context", zero_shot=True, n_folds=4, fold=fold, val=0.2, overwrite=True
        )
        tested += sorted({line for _, line in sides(table)["test"]})
        assert len(sides(table)["val"]) == 2
    assert sorted(tested) == ["hepg2", "jurkat", "k562", "rpe1"]


def test_contexts_without_controls_are_not_drawn(table):
    bare = table[(table.obs["line"] != "rpe1") | (table.obs["p"] != "ctrl")].copy()
    for seed in range(6):
        sh.pp.split(bare, by="context", zero_shot=True, rng=seed, overwrite=True)
        assert {line for _, line in sides(bare)["test"]} != {"rpe1"}
    with pytest.raises(ValueError, match=r"'rpe1' has no control cell.*'hepg2'.*leave out zero_"):
        sh.pp.split(bare, by="context", zero_shot=True, test=["rpe1"], overwrite=True)
    sh.pp.split(bare, by="context", test=["rpe1"], overwrite=True)


def test_every_user_of_the_split_audits_it(table):
    sh.pp.split(table, by="context", zero_shot=True, test=["rpe1"], val=0.2)
    table.obs["split"] = table.obs["split"].astype(object)
    sh.tl.fit(table, "mean_shift")
    (first,) = np.flatnonzero((table.obs["p"] == "A") & (table.obs["line"] == "rpe1"))[:1]
    table.obs.iloc[first, table.obs.columns.get_loc("split")] = "train"
    with pytest.raises(ValueError, match="same_condition: 1 of 4 held-out conditions"):
        sh.tl.fit(table, "mean_shift")


def test_validation_in_the_context_that_is_tested_is_a_leak(table):
    sh.pp.split(table, by="context", zero_shot=True, test=["rpe1"])
    screen = resolve(table)
    side, where = sides_of(table), (table.obs["p"] == "A") & (table.obs["line"] == "rpe1")
    side = np.where(where, SIDES.index("val"), side)
    facts = Facts(table, screen, labels(table, screen), side, by="context", zero_shot=True)
    assert same_condition(facts).status == "leak"
    assert same_condition(replace(facts, by="perturbation_context")).status == "ok"


def test_validation_that_training_shares_is_told(table, caplog):
    sh.pp.split(table, by="context", zero_shot=True, test=["rpe1"], val=["A | k562"])
    sh.tl.fit(table, "mean_shift")
    assert "conditions have cells in 'train' and in 'val'" not in caplog.text
    table.obs["split"] = table.obs["split"].astype(object)
    (first,) = np.flatnonzero((table.obs["p"] == "A") & (table.obs["line"] == "k562"))[:1]
    table.obs.iloc[first, table.obs.columns.get_loc("split")] = "train"
    sh.tl.fit(table, "mean_shift")
    assert "1 conditions have cells in 'train' and in 'val'" in caplog.text


def test_the_record_survives_a_file(table, tmp_path):
    sh.pp.split(table, by="context", zero_shot=True, test=["rpe1"], val=0.2)
    table.write_h5ad(tmp_path / "x.h5ad")
    back = ad.read_h5ad(tmp_path / "x.h5ad")
    assert bool(back.uns["split"]["params"]["zero_shot"])
    sh.tl.fit(back, "mean_shift")


@pytest.mark.parametrize(
    ("error", "match", "arguments"),
    [
        (ValueError, "needs by='context', not by='perturbation'", {"by": "perturbation"}),
        (TypeError, "zero_shot must be True or False, not 'yes'", {"zero_shot": "yes"}),
        (KeyError, "'k563' is not in the contexts.*'k562'", {"test": ["k563"]}),
        (ValueError, "'ctrl' is a control", {"test": ["ctrl"]}),
        (KeyError, r"'k562' is not in the units of by='perturbation_context'", {"val": ["k562"]}),
        (
            ValueError,
            r"'A \| rpe1' is named twice, or is in test already",
            {"val": ["A | rpe1"], "test": ["rpe1"]},
        ),
        (ValueError, "val=0.01 of 12 units is less than half", {"val": 0.01, "test": ["rpe1"]}),
        (
            ValueError,
            "'jurkat' cannot be held out: no perturbed cell of any context",
            {"test": ["hepg2", "k562", "rpe1", "jurkat"]},
        ),
    ],
)
def test_bad_input_leaves_nothing_behind(table, error, match, arguments):
    with pytest.raises(error, match=match):
        sh.pp.split(table, **{"by": "context", "zero_shot": True} | arguments)
    assert "split" not in table.obs
    assert "split" not in table.uns
