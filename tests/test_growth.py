"""Nothing grows faster than the number of perturbations, counted in calls and in bytes.

Calls of functions are counted at n, 2n and 4n perturbations. What does not depend on n cancels in
the differences: (4n - 2n) / (2n - n) is 2 for linear growth and 4 for quadratic growth. The
largest memory, which a table of perturbation x perturbation would show in, is compared directly.
"""

from __future__ import annotations

import cProfile
import pstats
import tracemalloc

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy import sparse

import shoal as sh
from shoal.models.base._learning import learn_vocabulary
from shoal.models.base._registry import names
from shoal.models.baselines import _kernel, _neighbours

SIZES = (60, 120, 240)
LARGE = (300, 1200)
MOST = 2.6  # of the differences: 30 % above linear
BASELINES = names("baseline")


def screen(n, *, with_split=True):
    """Return n perturbations of 4 cells in each of two contexts, with 12 genes, and 60 controls."""
    rng = np.random.default_rng(0)
    label = np.concatenate([np.repeat(np.arange(n), 8), np.full(60, n)])
    values = np.log1p(rng.poisson(1.0, (len(label), 12)) * 0.7).astype(np.float32)
    names = np.array([*(f"P{i}" for i in range(n)), "control"], dtype=object)
    obs = pd.DataFrame(
        {"perturbation": names[label], "context": np.where(np.arange(len(label)) % 2, "a", "b")},
        index=pd.RangeIndex(len(label)).astype(str),
    )
    adata = AnnData(sparse.csr_matrix(values), obs=obs)
    sh.pp.annotate(adata, "perturbation", control="control", context_key="context")
    vectors = pd.DataFrame(rng.normal(size=(n, 3)), index=names[:-1], columns=list("xyz"))
    adata.uns["perturbation_embeddings"] = {"random": vectors}
    if with_split:
        sh.pp.split(adata, by="perturbation_context", test=0.25, rng=0)
    return adata


def growth(make, step):
    """Return the ratio of the differences in calls between 4n, 2n and n perturbations."""
    step(make(20))  # what is imported or compiled once
    calls = []
    for n in SIZES:
        data, profile = make(n), cProfile.Profile()
        profile.enable()
        step(data)
        profile.disable()
        calls.append(pstats.Stats(profile).total_calls)
    return (calls[2] - calls[1]) / max(calls[1] - calls[0], 0.01 * calls[0])


def peak(make, step, n):
    """Return the most bytes that a step holds."""
    data = make(n)
    tracemalloc.start()
    step(data)
    found = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return found


@pytest.fixture
def landmarks(monkeypatch):
    """Let what looks at all pairs of a few perturbations, or of a block, see fewer of them."""
    monkeypatch.setattr(_kernel, "MOST_EXACT", 30)
    monkeypatch.setattr(_kernel, "MOST", 20)
    monkeypatch.setattr(_neighbours, "AT_ONCE", 16)
    monkeypatch.setattr(_neighbours, "some_of", lambda vectors: vectors[:20])


def fit_and_predict(name, embedding):
    def step(adata):
        model = sh.tl.fit(adata, name, **({"embedding": embedding} if embedding else {}))
        model.twins(adata, subset=(adata.obs["split"] == "test").to_numpy())

    return step


CASES = [
    *((name, None) for name in BASELINES if name != "latent_linear"),
    *((name, "random") for name in ("kernel_ridge", "latent_linear", "nearest")),
]


@pytest.mark.usefixtures("landmarks")
@pytest.mark.parametrize(("name", "embedding"), CASES)
def test_a_baseline_grows_linearly(name, embedding):
    step = fit_and_predict(name, embedding)
    assert growth(screen, step) < MOST
    small, large = (peak(screen, step, n) for n in LARGE)
    assert large < 1.3 * LARGE[1] / LARGE[0] * small


@pytest.mark.parametrize("by", ["perturbation", "perturbation_context"])
def test_a_split_grows_linearly(by):
    def step(adata):
        sh.pp.split(adata, by=by, test=0.25, rng=0)

    def named(adata):
        units = [f"P{i}" if by == "perturbation" else f"P{i} | a" for i in range(adata.n_obs // 32)]
        sh.pp.split(adata, by=by, test=units, rng=0)

    def make(n):
        return screen(n, with_split=False)

    assert growth(make, step) < MOST
    assert growth(make, named) < MOST
    small, large = (peak(make, named, n) for n in LARGE)
    assert large < 1.3 * LARGE[1] / LARGE[0] * small


def test_an_evaluation_grows_linearly():
    def step(adata):
        sh.tl.evaluate(
            adata,
            prediction="p",
            baselines=["own_shift", "quantile_shift"],
            min_cells=4,
            n_comps=3,
            n_draws=1,
        )

    def make(n):
        adata = screen(n)
        sh.tl.predict(adata, sh.tl.fit(adata, "own_shift"), key_added="p", subset="test")
        return adata

    assert growth(make, step) < MOST


@pytest.mark.parametrize("sep", ["+", "_"])
def test_reading_labels_grows_linearly(sep):
    """Of a chain of pairs, which makes one part after another known, or looks like one."""

    def make(n):
        pairs = [f"P{i + 1}{sep}P{i}" for i in range(n)]
        obs = pd.DataFrame({"p": ["control", "P0", *pairs]}).set_index(
            pd.RangeIndex(n + 2).astype(str)
        )
        return AnnData(np.ones((n + 2, 1)), obs=obs)

    def step(adata):
        sh.pp.annotate(adata, "p", control="control")
        sh.pp.filter(adata, min_cells=1)

    assert growth(make, step) < MOST


def test_a_vocabulary_of_one_hot_vectors_grows_linearly():
    from shoal.core._population import population
    from shoal.core._screen import resolve

    def step(adata):
        cells = population(adata, resolve(adata))
        known = learn_vocabulary(cells, layer=None, use_rep=None, embedding=None)
        for first in range(0, len(cells.names), 50):  # as requests come, block by block
            some = cells.names[first : first + 50]
            known.parts(some)
            assert known.familiar(some).all()
            assert not known.without_vector(some)

    assert growth(screen, step) < MOST
    small, large = (peak(screen, step, n) for n in LARGE)
    assert large < 1.3 * LARGE[1] / LARGE[0] * small


def test_effects_are_embedded_through_the_smaller_product():
    def step(adata):
        sh.pp.embed(adata, method="effects", n_comps=3)

    small, large = (peak(screen, step, n) for n in LARGE)
    assert large < 1.3 * LARGE[1] / LARGE[0] * small
