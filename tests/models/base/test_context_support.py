"""Whether training contexts respond as their vectors say: the share, its p-value, and who is told."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import shoal as sh
from shoal.models.base._context_support import support

N, K, P, D = 9, 3, 5, 12
FAST = {"config": {"n_latent": None, "width": 8, "depth": 0}, "max_steps": 1, "response_share": 1.0}


def conditions(n=N):
    """Every condition in every context."""
    return np.repeat(np.arange(P), n), np.tile(np.arange(n), P)


def responses(places, rng, *, common=0.5):
    slopes = rng.normal(size=(P, places.shape[1], D))
    mean = common * rng.normal(size=(P, 1, D))
    return (mean + np.einsum("ck,pkd->pcd", places, slopes)).reshape(-1, D)


def test_a_linear_response_is_seen_and_one_to_other_places_is_not():
    wrong = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        places, acts = rng.normal(size=(2, N, K))
        real = support(responses(places, rng), *conditions(), places)
        assert 1 < real.share < 1.5  # a ridge expects too little
        assert real.is_seen
        wrong.append(support(responses(acts, rng), *conditions(), places))
    assert abs(np.mean([one.share for one in wrong])) < 0.2
    assert sum(one.is_seen for one in wrong) <= 3  # of 20, where 1 is expected


def test_the_share_is_that_of_least_squares():
    """One condition in three contexts, by hand: each is expected on the line through the others."""
    places, values = np.array([[-1.0], [0.0], [2.0]]), np.array([[1.0], [0.0], [3.0]])
    along = length = 0.0
    for out in range(3):
        a, b = (i for i in range(3) if i != out)
        z, r = (x[[a, b], 0] - x[[a, b], 0].mean() for x in (places, values))
        slope = (z @ r) / (z @ z + 0.2)
        expected = slope * (places[out, 0] - places[[a, b], 0].mean())
        along += expected * (values[out, 0] - values[[a, b], 0].mean())
        length += expected**2
    found = support(values, np.zeros(3, dtype=int), np.arange(3), places)
    assert found.share == pytest.approx(along / length)


def test_order_and_unit_do_not_matter():
    rng = np.random.default_rng(0)
    places = rng.normal(size=(N, K))
    values = responses(places, rng) + rng.normal(size=(N * P, D))
    condition, context = conditions()
    first = support(values, condition, context, places)
    order = rng.permutation(N * P)
    again = support(7 * values[order], condition[order], context[order], places)
    assert again.share == pytest.approx(first.share)
    assert again.pvalue == first.pvalue


def test_conditions_that_few_contexts_have_count_as_far_as_they_go():
    """Conditions of other sets of contexts do not change what is said of a linear response."""
    rng = np.random.default_rng(3)
    places = rng.normal(size=(N, K))
    condition, context = conditions()
    some = rng.random(N * P) < 0.8
    found = support(responses(places, rng)[some], condition[some], context[some], places)
    assert found.is_seen
    assert found.share > 1
    two = context < 2
    assert support(responses(places, rng)[two], condition[two], context[two], places) is None


def test_two_contexts_say_nothing():
    rng = np.random.default_rng(0)
    places = rng.normal(size=(2, 1))
    assert support(responses(places, rng), *conditions(2), places) is None


def screen(acts):
    """Return profiles of lines whose responses are a function of `acts`, one line held out."""
    rng = np.random.default_rng(1)
    lines, names = [f"line{i}" for i in range(N)], ["control", *(f"P{p}" for p in range(P))]
    shifts = responses(acts, rng).reshape(P, N, D)
    rows = [(name, line) for line in lines for name in names for _ in range(6)]
    obs = pd.DataFrame(rows, columns=["perturbation", "line"]).rename(index=str)
    x = rng.normal(size=(len(obs), D))
    for p in range(P):
        for c, line in enumerate(lines):
            x[(obs["perturbation"] == f"P{p}") & (obs["line"] == line)] += 3 * shifts[p, c]
    adata = ad.AnnData(x.astype(np.float32), obs=obs)
    sh.pp.annotate(adata, "perturbation", control="control", context_key="line")
    sh.pp.split(adata, by="context", test=["line8"], zero_shot=True)
    return adata


def test_vectors_that_say_nothing_of_responses_are_told_of(caplog):
    pytest.importorskip("torch", reason="networks need the extra 'models'")
    pytest.importorskip("scvi", reason="networks need the extra 'models'")
    rng = np.random.default_rng(2)
    acts, others = rng.normal(size=(2, N, K))
    adata = screen(acts)
    index = [f"line{i}" for i in range(N)]
    for vectors, told in ((acts, 0), (others, 1)):
        caplog.clear()
        table = pd.DataFrame(vectors, index=index)
        sh.tl.fit(adata, "knowledge", context_embedding=table, **FAST)
        said = [r.getMessage() for r in caplog.records if "not seen to say" in r.getMessage()]
        assert len(said) == told
        assert all("'table'" in text and "without context_embedding=" in text for text in said)
    caplog.clear()
    del adata.obs["split"]
    sh.tl.fit(adata, "knowledge", context_embedding=table, **FAST)  # no context is left to predict
    assert "not seen to say" not in caplog.text
