"""Replays: a strategy that must win does, one that cannot does not, and what is hidden has no part."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import shoal as sh

D = 10


def made(vectors, responses, rng):
    """Return a screen of singles with given responses."""
    labels = ["control"] * 100 + [name for name in vectors.index for _ in range(20)]
    x = rng.normal(scale=0.3, size=(len(labels), D))
    x += np.array([responses.get(name, np.zeros(D)) for name in labels])
    obs = pd.DataFrame({"perturbation": labels}, index=[f"cell{i}" for i in range(len(labels))])
    adata = ad.AnnData(x.astype(np.float32), obs=obs)
    adata.var_names = [f"g{i}" for i in range(D)]
    sh.pp.annotate(adata, "perturbation", control="control")
    return adata


@pytest.fixture
def groups(rng):
    """One large group and four of three: each has a place, and a response of its own."""
    sizes = {"A": 24, "B": 3, "C": 3, "D": 3, "E": 3}
    names = [f"{group}{i}" for group, n in sizes.items() for i in range(n)]
    place = {g: rng.normal(size=4) * 10 for g in sizes}
    vectors = pd.DataFrame({n: place[n[0]] + rng.normal(size=4) * 0.1 for n in names}).T
    shift = {g: rng.normal(size=D) * 2 for g in sizes}
    return made(vectors, {n: shift[n[0]] for n in names}, rng), vectors


@pytest.mark.slow
def test_coverage_finds_the_small_groups(groups):
    adata, vectors = groups
    options = {"strategies": ["coverage"], "start": 0.1, "judged": 0.5, "n_starts": 8, "n": 4}
    found = sh.benchmark.replay(adata, vectors, **options, model="nearest", n_rounds=1, n_random=3)
    (line,) = found.table.to_dict("records")
    assert line["verdict"] == "better than random"
    assert line["error"] < line["error_start"]
    assert line["error_low"] < line["error_difference"] < line["error_high"] < 0


@pytest.mark.slow
def test_vectors_that_tell_nothing_are_no_better_than_random(rng):
    names = [f"P{i}" for i in range(24)]
    vectors = pd.DataFrame(rng.normal(size=(24, 5)), index=names)
    adata = made(vectors, {name: rng.normal(size=D) for name in names}, rng)
    sh.tl.coherence(adata, use_rep="X")
    found = sh.benchmark.replay(
        adata, vectors, strategies=["disagreement", "coverage", "hit"], n_starts=6, n_rounds=2
    )
    assert set(found.table["verdict"]) == {"no better than random"}
    assert (found.table["hits"] > 0).all()
    rows = found.rows
    assert len(rows) == 6 * 2 * (3 + 5)
    assert rows.groupby("start")["error_start"].nunique().eq(1).all()


def test_what_is_not_revealed_has_no_part_in_the_choice(groups, rng):
    """The cells of conditions that were not chosen yet are replaced by garbage."""
    adata, vectors = groups
    options = {"strategies": ["disagreement", "coverage"], "n_starts": 2, "n_rounds": 1, "rng": 1}
    first = sh.benchmark.replay(adata, vectors, **options).rows
    total = len(vectors)
    starts = np.random.default_rng(1).integers(2**31, size=2)
    order = np.random.default_rng(starts[0]).permutation(total)
    known = order[round(0.33 * total) :][: round(0.25 * total)]
    seen = [*(sorted(vectors.index)[i] for i in known), "control"]
    garbage = adata.copy()
    hidden = ~garbage.obs["perturbation"].isin(seen).to_numpy()
    garbage.X[hidden] = rng.normal(scale=50, size=(hidden.sum(), D))
    again = sh.benchmark.replay(garbage, vectors, **options).rows
    own = first["start"] == 0
    assert first[own]["chosen"].tolist() == again[own]["chosen"].tolist()
    assert not np.allclose(first[own]["error"], again[own]["error"])


@pytest.mark.slow
def test_nothing_judged_is_ever_chosen_and_nothing_twice(groups):
    adata, vectors = groups
    rows = sh.benchmark.replay(adata, vectors, n_starts=2).rows
    for _, own in rows.groupby(["start", "strategy", "draw"]):
        chosen = "; ".join(own["chosen"]).split("; ")
        assert len(chosen) == len(set(chosen)) == 6
    assert rows["n_measured"].max() == round(0.25 * 36) + 6


def test_the_same_seed_gives_the_same_rows(groups):
    adata, vectors = groups
    options = {"strategies": ["coverage"], "n_starts": 2, "n_rounds": 1, "n_random": 1}
    first = sh.benchmark.replay(adata, vectors, **options).rows
    shuffled = adata[np.random.default_rng(0).permutation(adata.n_obs)].copy()
    again = sh.benchmark.replay(shuffled, vectors, **options).rows
    assert first["chosen"].tolist() == again["chosen"].tolist()


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"strategies": ["best"]}, "strategies='best' is not known"),
        ({"strategies": ["random"]}, "names none"),
        ({"strategies": ["hit"]}, "tl.coherence"),
        ({"n": 50}, "must be more than n x n_rounds"),
        ({"n_starts": 1}, "n_starts must be a whole number of at least 2"),
        ({"model": "best"}, "model='best' is not known; choose one of 'additive'"),
        ({"start": 0.0}, "start must be a number between 0 and 1"),
    ],
)
def test_what_makes_no_sense_is_refused(groups, options, match):
    adata, vectors = groups
    before = set(adata.uns)
    with pytest.raises(ValueError, match=match):
        sh.benchmark.replay(adata, vectors, **options)
    assert set(adata.uns) == before


def test_options_that_the_model_does_not_know_are_refused(groups):
    adata, vectors = groups
    with pytest.raises(TypeError, match="has no 'steps'"):
        sh.benchmark.replay(adata, vectors, model="nearest", options={"steps": 3})


@pytest.mark.slow
def test_a_small_network_is_trained_anew_in_every_round(groups):
    pytest.importorskip("scvi", reason="networks need the extra 'models'")
    adata, vectors = groups
    few = {"strategies": ["coverage"], "n_starts": 2, "n_rounds": 1, "n_random": 1}
    small = {"config": {"width": 8, "depth": 1}, "max_steps": 3, "accelerator": "cpu"}
    found = sh.benchmark.replay(adata, vectors, model="flow", options=small, **few)
    assert np.isfinite(found.rows["error"]).all()
    assert found.rows["error"].nunique() > 1
