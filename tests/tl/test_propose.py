"""What to measure next: each strategy where the answer is known, and what it refuses."""

from __future__ import annotations

import logging

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import shoal as sh

D = 12


def made(responses, rng, *, n=30, contexts=("",)):
    """Return a screen with given responses, in every context."""
    labels = ["control"] * 120 + [name for name in responses for _ in range(n)]
    parts = []
    for context in contexts:
        x = rng.normal(scale=0.3, size=(len(labels), D))
        x += np.array([responses.get(name, np.zeros(D)) for name in labels])
        index = [f"cell{i}{context}" for i in range(len(labels))]
        obs = pd.DataFrame({"perturbation": labels, "context": context}, index=index)
        parts.append(ad.AnnData(x.astype(np.float32), obs=obs))
    adata = ad.concat(parts)
    adata.var_names = [f"g{i}" for i in range(D)]
    key = {"context_key": "context"} if len(contexts) > 1 else {}
    sh.pp.annotate(adata, "perturbation", control="control", **key)
    return adata


@pytest.fixture
def linear(rng):
    """Twelve perturbations whose response is linear in their vectors, and six new ones."""
    names = [*(f"P{i}" for i in range(12)), *(f"new {i}" for i in range(6))]
    vectors = pd.DataFrame(rng.normal(size=(18, 3)), index=names)
    directions = rng.normal(size=(3, D))
    responses = {name: vectors.loc[name].to_numpy() @ directions for name in names[:12]}
    return made(responses, rng), vectors


def proposed(adata, *args, **options):
    sh.tl.propose(adata, *args, **options)
    return adata.uns["proposal"]["table"]


def test_candidates_are_what_has_a_vector_and_was_not_measured(linear):
    adata, vectors = linear
    table = proposed(adata, strategy="random", embedding=vectors)
    assert sorted(table["perturbation"]) == [f"new {i}" for i in range(6)]
    assert table["rank"].tolist() == list(range(1, 7))
    other = proposed(adata, strategy="random", embedding=vectors, rng=1)
    assert other["perturbation"].tolist() != table["perturbation"].tolist()


def test_coverage_takes_the_middle_of_what_is_far_away(linear):
    adata, vectors = linear
    vectors.loc["new 0"], vectors.loc["new 1"], vectors.loc["new 2"] = 50.0, 50.5, 51.0
    table = proposed(adata, strategy="coverage", embedding=vectors, n=2)
    assert table["perturbation"].iloc[0] == "new 1"
    assert table["total"].iloc[1] == pytest.approx(table["score"].sum())


def test_models_that_differ_on_one_candidate(linear):
    adata, vectors = linear
    other = vectors.copy()
    other.loc["new 3"] = vectors.loc["new 3"] * 20
    models = [sh.tl.fit(adata, "latent_linear", embedding=v) for v in (vectors, other)]
    table = proposed(adata, models)
    assert table["perturbation"].iloc[0] == "new 3"
    assert table["score"].iloc[0] > 0.5


def test_candidates_that_say_the_same_are_measured_once(linear):
    """Two candidates of one vector: measuring one of them tells what the other does."""
    adata, vectors = linear
    other = vectors.copy()
    for one in (vectors, other):
        one.loc["new 1"] = one.loc["new 0"]
    other.loc[["new 0", "new 1"]] *= 20
    other.loc["new 2"] *= 5
    models = {"a": vectors, "b": other}
    models = {k: sh.tl.fit(adata, "latent_linear", embedding=v) for k, v in models.items()}
    table = proposed(adata, models).set_index("perturbation")
    scores = table.loc[["new 0", "new 1"], "score"].sort_values()
    assert scores.iloc[0] < 0.05 * scores.iloc[1]


def test_models_that_agree_are_refused(linear):
    adata, vectors = linear
    model = sh.tl.fit(adata, "kernel_ridge", embedding=vectors)
    with pytest.raises(ValueError, match=r"do not disagree on any candidate.*coverage"):
        proposed(adata, [model, model])


@pytest.mark.slow
def test_an_ensemble_is_trained_where_no_model_is_given(linear):
    adata, vectors = linear
    table = proposed(adata, embedding=vectors)
    params = adata.uns["proposal"]["params"]
    assert "latent_linear" in params["models"].split(",")
    assert table["score"].between(0, 1).all()
    assert table["total"].iloc[-1] <= 1


def test_a_trained_ensemble_is_asked_with_its_weights(linear):
    adata, vectors = linear
    model = sh.tl.fit(adata, "auto", embedding=vectors, config={"by": "perturbation"})
    table = proposed(adata, model)
    assert adata.uns["proposal"]["params"]["models"].split(",") == list(model.members)
    assert sorted(table["perturbation"]) == [f"new {i}" for i in range(6)]


def test_hits_are_near_measured_responders(rng):
    place = {f"P{i}": np.zeros(2) for i in range(10)} | {
        f"Q{i}": np.full(2, 9.0) for i in range(10)
    }
    place |= {"near": np.zeros(2), "far": np.full(2, 9.0)}
    vectors = pd.DataFrame(place, index=["x", "y"]).T
    shift = np.ones(D)
    adata = made({name: shift * name.startswith("P") for name in list(place)[:20]}, rng)
    with pytest.raises(KeyError, match="tl.coherence"):
        proposed(adata, strategy="hit", embedding=vectors)
    sh.tl.coherence(adata, use_rep="X")
    table = proposed(adata, strategy="hit", embedding=vectors)
    assert table["perturbation"].tolist() == ["near", "far"]
    assert table["score"].iloc[0] > 0.9
    assert table["score"].iloc[1] < 0.2


@pytest.mark.slow
def test_conditions_of_a_grid(rng):
    """Perturbations in contexts: what is measured nowhere near comes first, without any vector."""
    adata = made({f"P{i}": rng.normal(size=D) for i in range(4)}, rng, contexts=("a", "b", "c"))
    place = adata.obs["perturbation"].astype(str) + adata.obs["context"].astype(str)
    adata = adata[~place.isin(["P0a", "P0b", "P0c", "P1a"])].copy()
    with pytest.raises(ValueError, match="go|vectors"):
        proposed(adata, strategy="coverage", candidates=["P0"])
    by = {"by": "perturbation_context"}
    asked = pd.DataFrame({"perturbation": ["P0", "P1"], "context": ["a", "a"]})
    table = proposed(adata, strategy="coverage", candidates=asked, **by)
    assert len(table) == 2
    found = proposed(adata, strategy="random", **by)
    assert found[["perturbation", "context"]].astype(str).to_numpy().tolist() == [["P1", "a"]]
    table = proposed(adata, candidates=["P0", "P1"], **by)
    assert len(table) == 4
    with pytest.raises(KeyError, match="'d' is not in the contexts"):
        proposed(adata, candidates=asked.assign(context="d"), strategy="random", **by)


def test_candidates_without_vectors_are_named(linear, caplog):
    adata, vectors = linear
    few = vectors.drop(index=["new 0", "new 1"])
    table = proposed(adata, strategy="coverage", embedding=few, candidates=["new 0", "new 2"])
    assert table["perturbation"].tolist() == ["new 2"]
    assert "'new 0' has no vector" in caplog.text
    assert adata.uns["proposal"]["params"]["skipped"] == "new 0"
    with pytest.raises(KeyError, match=r"no candidate has a vector.*'new 0', 'new 1'.*sh.pp.embed"):
        proposed(adata, strategy="coverage", embedding=few, candidates=["new 0", "new 1"])


def test_measured_candidates_are_named(linear, caplog):
    adata, vectors = linear
    caplog.set_level(logging.WARNING)
    table = proposed(adata, strategy="random", embedding=vectors, candidates=["P0", "new 2"])
    assert table["perturbation"].tolist() == ["new 2"]
    assert "measured already, and no candidates: 'P0'" in caplog.text
    with pytest.raises(ValueError, match="every one of the 1 candidates is measured"):
        proposed(adata, strategy="random", embedding=vectors, candidates=["P0"])
    with pytest.raises(ValueError, match="names the control"):
        proposed(adata, strategy="random", candidates=["control"])


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"strategy": "coverage", "candidates": ["x"]}, ValueError, "embedding='annotations'"),
        ({"candidates": ["x"]}, ValueError, "nobody has run 'x', and without vectors"),
        ({"strategy": "hit", "candidates": ["x"]}, KeyError, "tl.coherence"),
        ({"model": 3, "candidates": ["x"]}, TypeError, "only several models can disagree"),
        ({"strategy": "random"}, ValueError, "there are no candidates"),
        ({"by": "context"}, ValueError, "by='context' is not known"),
        ({"n": 0}, ValueError, "n must be a whole number"),
    ],
)
def test_what_makes_no_sense_is_refused(linear, options, error, match):
    adata, _ = linear
    with pytest.raises(error, match=match):
        sh.tl.propose(adata, **options)
    assert "proposal" not in adata.uns


def test_a_model_that_was_never_told_of_the_candidates_does_not_count(linear, caplog):
    """It has no vectors, so it refuses candidates that the others predict."""
    adata, vectors = linear
    told = [sh.tl.fit(adata, m, embedding=vectors) for m in ("latent_linear", "nearest")]
    alone = proposed(adata, told)
    table = proposed(adata, [*told, sh.tl.fit(adata, "mean_shift")])
    pd.testing.assert_frame_equal(table, alone)
    assert "MeanShift_3 does not count where it cannot predict" in caplog.text
    with pytest.raises(ValueError, match=r"do not disagree(.|\n)*MeanShift_1 does not count"):
        proposed(adata, [sh.tl.fit(adata, "mean_shift"), told[0]])


def test_an_ensemble_without_vectors_says_nothing_of_what_nobody_has_run(linear, caplog):
    adata, vectors = linear
    model = sh.tl.fit(adata, "auto", config={"by": "perturbation"})
    how = r"sh\.pp\.embed\(adata, method='annotations', names=\['new 0', 'new 1'\]\)"
    fit = r"sh\.tl\.fit\(adata, 'auto', embedding='annotations'\)"
    with pytest.raises(ValueError, match=rf"none of the models .*'new 0', 'new 1'.*{how}.*{fit}"):
        proposed(adata, model, candidates=["new 0", "new 1"])
    assert not caplog.records  # one message, and not one for each member
    assert "proposal" not in adata.uns
    sh.pp.embed(adata, source=vectors, method="table", names=["new 0", "new 1"], key_added="v")
    model = sh.tl.fit(adata, "auto", embedding="v", config={"by": "perturbation"})
    table = proposed(adata, model, candidates=["new 0", "new 1"])
    assert sorted(table["perturbation"]) == ["new 0", "new 1"]


def test_an_ensemble_whose_vectors_told_nothing_says_so(linear, rng):
    adata, vectors = linear
    noise = pd.DataFrame(rng.normal(size=vectors.shape), index=vectors.index)
    members = {"members": ["mean_shift"], "by": "perturbation"}
    model = sh.tl.fit(adata, "auto", embedding=noise, config=members)
    with pytest.raises(ValueError, match="members with a weight go by no vectors.*'coverage'"):
        proposed(adata, model)


def test_models_that_are_not_trained_are_refused(linear):
    adata, vectors = linear
    raw = [sh.models.KernelRidge(adata, embedding=vectors) for _ in range(2)]
    for model in (raw, sh.models.Ensemble(adata, embedding=vectors)):
        with pytest.raises(ValueError, match="is not trained yet"):
            sh.tl.propose(adata, model)


def test_one_model_cannot_disagree(linear):
    adata, vectors = linear
    model = sh.tl.fit(adata, "kernel_ridge", embedding=vectors)
    with pytest.raises(TypeError, match="only several models can disagree"):
        sh.tl.propose(adata, model)


@pytest.mark.slow
def test_test_cells_are_measured_but_no_split_is_followed(linear):
    """A split says what models were trained on, and not what was measured."""
    adata, vectors = linear
    without = proposed(adata, embedding=vectors)
    sh.pp.split(adata, by="perturbation", test=0.3, rng=0)
    table = proposed(adata, embedding=vectors)
    assert "P0" not in set(table["perturbation"])
    pd.testing.assert_frame_equal(table, without)
