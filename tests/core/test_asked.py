"""Inner folds ask what the test asks: beyond the levels of training, or for most of a context."""

from __future__ import annotations

import logging

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import shoal as sh
from shoal.core._inner_folds import asks_alike, inner_folds, kind_of_split
from shoal.core._population import population
from shoal.core._screen import resolve

NAMES = [f"P{i:02d}" for i in range(12)]


def table(contexts, *, doses=(np.nan,), names=NAMES, n=3):
    """Return a screen of all perturbations in all contexts at all doses."""
    rows = [
        (name, context, np.nan if name == "control" else dose)
        for name in ["control", *names]
        for context in contexts
        for dose in doses
        for _ in range(n)
    ]
    obs = pd.DataFrame(rows, columns=["perturbation", "context", "dose"])
    obs.index = [f"cell{i}" for i in range(len(obs))]
    adata = ad.AnnData(np.arange(2.0 * len(obs), dtype=np.float32).reshape(-1, 2), obs=obs)
    keys = {"context_key": "context"} if len(contexts) > 1 else {}
    keys |= {"dose_key": "dose"} if len(doses) > 1 else {}
    sh.pp.annotate(adata, "perturbation", control="control", **keys)
    return adata


def left_out(adata, n=4, **options):
    """Return, for each fold, the conditions that stay and those that are left out, as tables."""
    cells = population(adata, resolve(adata))
    perturbed = (adata.obs["perturbation"] != "control").to_numpy()
    sides = inner_folds(cells, n, seed=0, **options)
    return [
        tuple(adata.obs[perturbed & (side == code)].drop_duplicates() for code in (0, 2))
        for side in sides
    ]


def levels(rows, name, column="context"):
    return rows.loc[rows["perturbation"] == name, column].astype(float)


def test_later_days_are_asked_of_perturbations_known_as_long(caplog):
    """Nine of twelve are known on days 2 and 3 and asked for on 4 and 5; so three can be left out."""
    adata = table([2, 3, 4, 5])
    sh.pp.split(adata, by="perturbation_context", test=[(p, d) for p in NAMES[:9] for d in (4, 5)])
    with caplog.at_level(logging.INFO, "shoal"):
        folds = left_out(adata)
    assert "beyond those of training" in caplog.text
    assert len(folds) == 3
    for stay, out in folds:
        assert set(out["perturbation"]) < set(NAMES[9:])
        for name in set(out["perturbation"]):
            assert sorted(levels(out, name)) == [4, 5]
            assert sorted(levels(stay, name)) == [2, 3]
        assert set(stay["context"]) == {2, 3, 4, 5}
    asked = {name for _, out in folds for name in out["perturbation"]}
    assert asked == set(NAMES[9:])


def test_earlier_days_too():
    adata = table([2, 3, 4, 5])
    sh.pp.split(adata, by="perturbation_context", test=[(p, 2) for p in NAMES[:6]])
    for stay, out in left_out(adata):
        for name in set(out["perturbation"]):
            assert levels(out, name).max() < levels(stay, name).min()


def test_where_too_few_levels_are_known_the_questions_are_poorer_and_that_is_known():
    """All but one are known on two days: one day of two is less than the test knows."""
    adata = table([2, 3, 4])
    sh.pp.split(adata, by="perturbation_context", test=[(p, 4) for p in NAMES[:-1]])
    cells = population(adata, resolve(adata))
    assert not asks_alike(cells, kind_of_split(cells))
    for stay, out in left_out(adata):
        for name in set(out["perturbation"]):
            assert levels(out, name).min() > levels(stay, name).max()


def test_a_later_context_is_left_out_with_all_that_follow():
    adata = table([2, 3, 4, 10])
    sh.pp.split(adata, by="context", test=["10"])
    folds = left_out(adata)
    assert [sorted(set(out["context"])) for _, out in folds] == [[3], [4]]
    assert [sorted(set(stay["context"])) for stay, _ in folds] == [[2], [2, 3]]


def test_a_context_between_others_is_not_later():
    adata = table([2, 3, 4, 10])
    sh.pp.split(adata, by="context", test=["4"])
    assert sorted(set(out["context"]).pop() for _, out in left_out(adata, 3)) == [2, 3, 10]


def test_the_order_of_categories_counts():
    """Names are in no order, unless their column is: of late, early and mid, late is the last."""
    adata = table(["early", "mid", "late", "never"])
    sh.pp.split(adata, by="context", test=["never"])
    assert len(left_out(adata, 3)) == 3
    order = ["early", "mid", "late", "never"]
    adata.obs["context"] = pd.Categorical(adata.obs["context"], categories=order, ordered=True)
    folds = left_out(adata)
    assert [set(out["context"]) for _, out in folds] == [{"mid"}, {"late"}]


def test_higher_doses_are_extrapolated_to():
    adata = table(["one"], doses=[1.0, 3.0, 10.0, 30.0])
    sh.pp.split(adata, by="dose", test=[30.0])
    for stay, out in left_out(adata):
        assert set(out["dose"]) == {10.0}
        for name in set(out["perturbation"]):
            assert sorted(levels(stay, name, "dose")) == [1, 3]
    sh.pp.split(adata, by="dose", test=[3.0], overwrite=True)
    assert {dose for _, out in left_out(adata) for dose in out["dose"]} == {10.0}


def test_most_of_a_line_is_asked_for():
    """Ten of twelve conditions of a line are asked for: folds ask for as much of other lines."""
    adata = table(["A549", "HeLa", "K562", "U2OS"])
    sh.pp.split(adata, by="perturbation_context", test=[(p, "U2OS") for p in NAMES[:10]])
    folds = left_out(adata)
    assert len(folds) == 3
    for stay, out in folds:
        (line,) = set(out["context"])
        assert line != "U2OS"
        assert len(out) == 10
        assert (stay["context"] == line).sum() == 2
    assert {line for _, out in folds for line in out["context"]} == {"A549", "HeLa", "K562"}


def test_entries_at_random_are_dealt_at_random():
    adata = table([2, 3, 4, 5])
    sh.pp.split(adata, by="perturbation_context", test=0.2)
    known = (adata.obs["split"] == "train") & (adata.obs["perturbation"] != "control")
    folds = left_out(adata)
    n = sum(len(out) for _, out in folds)
    assert n == len(adata.obs[known].drop_duplicates())
    assert all(len(set(out["context"])) == 4 for _, out in folds)


def test_no_test_cell_is_read():
    adata = table([2, 3, 4, 5])
    sh.pp.split(adata, by="perturbation_context", test=[(p, d) for p in NAMES[:9] for d in (4, 5)])
    whole = left_out(adata)
    train = adata[(adata.obs["split"] == "train").to_numpy()].copy()
    for one, other in zip(whole, left_out(train), strict=True):
        for a, b in zip(one, other, strict=True):
            assert list(a.index) == list(b.index)


@pytest.mark.parametrize("by", ["context", "dose", "perturbation_context"])
def test_one_fold_can_be_had(by):
    adata = table([2, 3, 4, 10], doses=[1.0, 3.0, 10.0, 30.0])
    test = {"context": ["10"], "dose": [30.0], "perturbation_context": [("P00", 10)]}[by]
    sh.pp.split(adata, by=by, test=test)
    ((stay, out),) = left_out(adata, 1)
    assert len(stay)
    assert len(out)
