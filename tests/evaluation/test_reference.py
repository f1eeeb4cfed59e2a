"""Which baseline is the reference: fixed by the kind of split, named, or what stands in for it."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import shoal as sh
from shoal.core._population import population
from shoal.core._screen import resolve
from shoal.core._split_units import BY
from shoal.evaluation._reference import reference_name, reference_taken
from shoal.evaluation._scorer import Scorer

from .tasks import TWINS, evaluated, screen

ENERGY = {"metrics": ["energy", "pearson_delta"], "n_draws": 2}


def split_by(by, **keys):
    """A screen with all columns that a split may ask for."""
    labels = ["control", "A", "B", "C", "D", "A+B", "C+D", "A+C"]
    table = pd.DataFrame(
        [(p, c, d, g) for p in labels for c in "xy" for d in (1.0, 10.0) for g in "12"] * 3,
        columns=["perturbation", "context", "dose", "guide"],
    )
    table["guide"] = table["perturbation"] + table["guide"]
    table.index = [f"cell{i}" for i in range(len(table))]
    x = np.random.default_rng(0).uniform(0.1, 3, (len(table), 5)).astype(np.float32)
    adata = ad.AnnData(x, obs=table)
    sh.pp.annotate(
        adata,
        "perturbation",
        control="control",
        context_key="context",
        dose_key="dose",
        guide_key="guide",
    )
    sh.pp.split(adata, by=by, test=0.4, rng=0, **keys)
    return adata


def name_of(adata, reference="auto", split="test"):
    return reference_name(population(adata, resolve(adata)), reference, split=split)


@pytest.mark.parametrize("by", list(BY))
def test_every_kind_of_split_has_a_reference(by):
    expected = {"perturbation": "mean_shift", "combination": "additive"}.get(by, "own_shift")
    assert name_of(split_by(by)) == expected


@pytest.mark.parametrize(
    ("by", "expected"), [("perturbation", "mean_shift"), ("context", "own_shift")]
)
def test_a_split_of_others_is_told_by_its_labels(by, expected):
    adata = split_by(by)
    del adata.uns["split"]
    assert name_of(adata) == expected


def test_pairs_of_known_parts_are_combinations_without_a_record_too():
    adata = split_by("combination")
    del adata.uns["split"]
    pairs = adata.obs["perturbation"].astype(str).str.contains("+", regex=False)
    adata.obs["split"] = pd.Categorical(np.where(pairs, "test", "train"))
    assert name_of(adata) == "additive"


def test_a_named_one_is_taken_and_fitted_though_it_is_not_listed():
    entry = evaluated(screen(), baselines=["mean_shift"], reference="perturbed_mean", **ENERGY)
    assert entry["params"]["reference"] == "perturbed_mean"
    assert entry["contenders"].loc["perturbed_mean", "score"] == 0
    assert entry["params"]["reference_note"] == ""
    alone = evaluated(screen(), baselines=None, reference="perturbed_mean", **ENERGY)
    assert alone["params"]["score"] == pytest.approx(entry["params"]["score"])


def test_the_score_does_not_depend_on_the_other_baselines():
    one, other = (
        evaluated(screen(), baselines=names, **ENERGY)
        for names in (["perturbed_mean"], ["mean_shift", "quantile_shift", "context_mean"])
    )
    for name in ("score", "score_low", "score_high"):
        assert one["params"][name] == pytest.approx(other["params"][name])


def test_without_baselines_it_is_the_control_copy(caplog):
    entry = evaluated(screen(), **ENERGY)
    assert entry["params"]["reference"] == "control copy"
    assert (
        "mean_shift cannot be made: no baselines were fitted" in entry["params"]["reference_note"]
    )
    assert not [record for record in caplog.records if "cannot be made" in record.message]


def test_what_cannot_be_made_gives_way_and_that_is_said(caplog):
    """`nearest` knows no perturbation that was not in training, without vectors."""
    entry = evaluated(screen(), baselines=["mean_shift"], reference="nearest", **ENERGY)
    said = "the reference is control copy, since nearest cannot be made: "
    assert entry["params"]["reference_note"].startswith(said)
    assert said in caplog.text
    assert entry["params"]["reference"] == "control copy"


def test_the_chain():
    rows = {"mean_shift": "mean_shift", "control copy": "control copy"}
    assert reference_taken("mean_shift", rows, {}) == ("mean_shift", "")
    name, why = reference_taken("additive", rows, {"additive": "no singles"})
    assert name == "mean_shift"
    assert why == "the reference is mean_shift, since additive cannot be made: no singles"
    name, why = reference_taken("additive", {"control copy": "control copy"}, {})
    assert name == "control copy"
    assert reference_taken("nearest", {}, {"nearest": "no vectors"})[0] == ""
    same = {"mean_shift": "mean_shift", "own_shift": "mean_shift"}
    assert reference_taken("own_shift", same, {}) == ("mean_shift", "")


def test_what_stands_in_for_it_does_not_depend_on_who_else_is_scored():
    """Sums of parts that were never measured: the mean shift stands in, also if nobody asked for it."""
    adata = sh.ds.simulate(n_perturbations=8, n_cells=60, n_genes=60, rng=0)
    perturbations = adata.obs["perturbation"].astype(str)
    kinds = sorted(set(perturbations) - {"control"})
    names = dict(zip(kinds[-2:], ("A+B", "C+D"), strict=True))
    adata.obs["perturbation"] = pd.Categorical(perturbations.replace(names))
    sh.pp.annotate(adata, "perturbation", control="control", sep="+")
    sh.pp.split(adata, by="combination", test=0.9, parts_seen=0, rng=0)
    sh.pp.prepare(adata, normalize="log1p", fit_on="train", n_comps=8)
    sh.tl.predict(adata, sh.tl.fit(adata, "perturbed_mean"), key_added=TWINS, subset="test")
    asked = {"n_comps": 8}
    for baselines in ("auto", ["perturbed_mean"]):
        entry = evaluated(adata, baselines=baselines, overwrite=True, **ENERGY | asked)
        assert entry["params"]["reference"] == "mean_shift", baselines
        assert "mean_shift" in entry["params"]["baselines"]
    assert Scorer(adata, seed=0, **ENERGY | asked)._scores.reference == "mean_shift"


def test_an_unknown_one_is_refused():
    with pytest.raises(ValueError, match="reference='mean' is not known; choose one of 'auto'"):
        evaluated(screen(), reference="mean", **ENERGY)
