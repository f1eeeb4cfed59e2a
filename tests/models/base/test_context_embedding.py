"""Contexts by their vectors: what networks are told, what is refused, and what is saved."""

from __future__ import annotations

import dataclasses
import logging

import numpy as np
import pandas as pd
import pytest

import shoal as sh
from shoal.models.base._context_vectors import ContextVectors
from shoal.models.base._placement import Placement

from ...helpers import dense

torch = pytest.importorskip("torch", reason="networks need the extra 'models'")
pytest.importorskip("scvi", reason="networks need the extra 'models'")

from shoal.nn._condition import CodeEncoder, PlaceEncoder  # noqa: E402  (after the skips)

TINY = {
    "flow": {"n_latent": 8, "width": 16, "depth": 1},
    "conditional_monge": {"n_latent": 8, "width": 16, "depth": 1},
    "perturbdiff": {"width": 16, "depth": 1},
    "unlasting": {"width": 16, "decoder": 16, "depth": 1, "graph_width": 8, "mask_width": 8},
    "knowledge": {"n_latent": 8, "width": 16, "n_representation": 8},
}
FAST = {"max_steps": 4, "batch_conditions": 4, "set_size": 16, "accelerator": "cpu"}
every = pytest.mark.parametrize("name", TINY)


@pytest.fixture(scope="module")
def lines():
    """Four contexts, of which ``context4`` has no perturbed cell in training."""
    adata = sh.ds.simulate(
        n_perturbations=4, n_cells=48, n_control=120, n_genes=40, contexts=4, rng=0
    )
    sh.pp.prepare(adata, normalize="log1p", n_comps=8)
    sh.pp.split(adata, by="context", test=["context4"], zero_shot=True)
    return adata


@pytest.fixture
def adata(lines):
    return lines.copy()


def table(n=5, d=6, seed=0):
    values = np.random.default_rng(seed).normal(size=(n, d))
    return pd.DataFrame(values, index=[f"context{i + 1}" for i in range(n)])


def fit(adata, name, vectors, *, config=None, **more):
    config = TINY[name] | (config or {})
    return sh.tl.fit(adata, name, context_embedding=vectors, config=config, **FAST, **more)


def made(model, context="context4", adata=None):
    return dense(model.predict(["P1"], context=context, n_cells=12, adata=adata, rng=1).X)


# -- arithmetic ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "k"), [(2, 1), (3, 1), (4, 1), (5, 2), (9, 4)])
def test_half_of_the_directions_of_training_contexts_are_coordinates(n, k):
    vectors = table(n, d=12).to_numpy()
    place = Placement.of(vectors)
    at = place(vectors)
    assert at.shape == (n, k)
    np.testing.assert_allclose(at.mean(axis=0), 0, atol=1e-12)
    assert (at**2).mean() == pytest.approx(1)
    assert place.reach == pytest.approx(np.linalg.norm(at, axis=1).max())
    np.testing.assert_allclose(place(vectors.mean(axis=0)[None]), 0, atol=1e-12)


def test_short_vectors_are_kept_whole_up_to_one_factor():
    vectors = table(9, d=3).to_numpy()
    at = Placement.of(vectors)(vectors)
    ratio = np.linalg.norm(at[0] - at[1:], axis=1) / np.linalg.norm(
        vectors[0] - vectors[1:], axis=1
    )
    np.testing.assert_allclose(ratio, ratio[0])


def test_what_training_contexts_share_says_nothing():
    """Directions in which training contexts do not differ are left out, however long."""
    vectors = table(3).to_numpy()
    beside = np.linalg.svd(vectors - vectors.mean(axis=0))[2][-1]  # orthogonal to all of them
    place = Placement.of(vectors)
    np.testing.assert_allclose(
        place(vectors[:1] * 0.5 + 100 * beside), place(vectors[:1] * 0.5), atol=1e-9
    )


def test_no_context_lies_beyond_the_farthest_of_training():
    vectors = table(5, d=2).to_numpy()
    place = Placement.of(vectors)
    far = place(vectors.mean(axis=0) + 50 * (vectors - vectors.mean(axis=0)))
    np.testing.assert_allclose(np.linalg.norm(far, axis=1), place.reach)


def test_one_context_has_no_coordinates():
    """A trial leaves out contexts, so that one may be left."""
    assert Placement.of(table(1).to_numpy()).n == 0


# -- networks --------------------------------------------------------------------------------------


@every
def test_a_network_reads_the_vector_and_has_no_label(adata, name):
    model = fit(adata, name, table())
    encoders = [part for part in model.module.modules() if isinstance(part, PlaceEncoder)]
    assert {part.linear.in_features for part in encoders} == {1}  # three contexts of training
    coded = [part.n_codes for part in model.module.modules() if isinstance(part, CodeEncoder)]
    assert len(model.vocabulary.perturbed_contexts) not in coded
    assert "contexts by their vectors (table)" in model._model_summary_string


@every
def test_a_held_out_context_is_known_by_its_vector(adata, name):
    """Another vector of the held-out context changes its cells, and no others."""
    model = fit(adata, name, table())
    before, same = made(model), made(model, "context1")
    moved = table()
    moved.loc["context4"] = moved.loc["context2"]
    other = fit(adata, name, moved)
    np.testing.assert_array_equal(made(other, "context1"), same)
    assert not np.array_equal(made(other), before)


@every
def test_the_state_survives_a_file(adata, name, tmp_path):
    model = fit(adata, name, table())
    model.save(tmp_path / "m")
    again = sh.models.load(tmp_path / "m", adata)
    np.testing.assert_array_equal(made(again), made(model))
    assert again.vocabulary.context_vectors.contexts == model.vocabulary.context_vectors.contexts


@every
def test_a_new_line_is_refused_until_its_vector_is_given(adata, name, tmp_path):
    model = fit(adata, name, table(4))
    new = adata.copy()
    renamed = new.obs["context"].astype(str).replace("context4", "context5")
    new.obs["context"] = renamed.astype("category")
    with pytest.raises(KeyError, match=r"'context5' has no vector .*model\.add_contexts"):
        made(model, "context5", new)
    model.add_contexts(table(5).loc[["context5"]])
    first = made(model, "context5", new)
    model.save(tmp_path / "m")
    np.testing.assert_array_equal(
        made(sh.models.load(tmp_path / "m", adata), "context5", new), first
    )


def test_twins_leave_out_a_context_without_vector(adata, caplog):
    with caplog.at_level(logging.WARNING, logger="shoal"):
        model = fit(adata, "flow", table(3))
    assert "contexts without a vector (table) cannot be predicted: 'context4'" in caplog.text
    sh.tl.predict(adata, model, key_added="made")
    lost = (adata.obs["context"] == "context4") & (adata.obs["perturbation"] != "control")
    assert "context 'context4' has no vector" in caplog.text
    assert np.isnan(dense(adata.layers["made"])[lost.to_numpy()]).any(axis=1).all()


def test_the_embedding_of_the_screen_and_one_like_it(adata):
    sh.pp.embed_contexts(adata)
    model = fit(adata, "flow", "controls")
    new = adata[(adata.obs["context"] == "context4").to_numpy()].copy()
    new.obs["context"] = "context9"
    sh.pp.embed_contexts(new, like=adata)
    model.add_contexts(new)
    np.testing.assert_allclose(
        model.vocabulary.placed(["context9"]), model.vocabulary.placed(["context4"]), atol=1e-4
    )


def test_a_counterfactual_goes_to_the_vector_of_its_context(adata):
    """The code of a context is not what the network reads."""
    model = fit(adata, "flow", table(), response_share=1)
    cells = adata[(adata.obs["perturbation"] == "P1") & (adata.obs["context"] == "context1")].copy()
    here, there = (
        dense(model.counterfactual(cells, "P2", context=name, guidance=1.0).X)
        for name in ("context1", "context2")
    )
    assert not np.allclose(here, there)
    model.vocabulary = dataclasses.replace(
        model.vocabulary,
        context_vectors=dataclasses.replace(
            model.vocabulary.context_vectors,
            contexts=("context1", "context2", "context3"),
            vectors=model.vocabulary.context_vectors.vectors[:3],
        ),
    )
    with pytest.raises(KeyError, match="'context4' has no vector"):
        model.counterfactual(cells, "P2", context="context4")


# -- what is refused -------------------------------------------------------------------------------


def test_contexts_of_training_need_vectors(adata):
    with pytest.raises(KeyError, match=r"'context3'.*sh\.pp\.embed_contexts\(adata, source='cont"):
        fit(adata, "flow", table(2))


def test_one_line_teaches_nothing_and_says_so(adata):
    keep = adata.obs["context"].isin(["context1", "context4"])
    with pytest.raises(ValueError, match="only 'context1' has perturbed cells in training"):
        fit(adata[keep.to_numpy()].copy(), "flow", table())


def test_bad_vectors_are_refused(adata):
    with pytest.raises(ValueError, match="have the same vector"):
        fit(adata, "flow", table() * 0)
    with pytest.raises(ValueError, match="not finite"):
        fit(adata, "flow", table().replace(table().iloc[0, 0], np.nan))
    with pytest.raises(KeyError, match="sh.pp.embed_contexts"):
        fit(adata, "flow", "nothing")
    with pytest.raises(TypeError, match="context_embedding must be the name"):
        fit(adata, "flow", 3)
    with pytest.raises(TypeError, match="has no 'context_embedding'"):
        sh.tl.fit(adata, "mean_shift", context_embedding=table())
    with pytest.raises(ValueError, match="architecture='concatenated'"):
        fit(adata, "conditional_monge", table(), config={"architecture": "concatenated"})
    bare = adata.copy()
    sh.pp.annotate(bare, "perturbation", control="control")
    with pytest.raises(ValueError, match="the screen has no contexts"):
        fit(bare, "flow", table(), accept="same_condition")


def test_later_vectors_must_be_on_the_scale_of_training(adata):
    model = fit(adata, "flow", table(4))
    with pytest.raises(ValueError, match="vectors of contexts have 5 numbers"):
        model.add_contexts(table(5, d=5))
    with pytest.raises(ValueError, match="knows other vectors of 'context1'"):
        model.add_contexts(table(5, seed=1))
    plain = sh.tl.fit(adata, "flow", config=TINY["flow"], **FAST)
    with pytest.raises(ValueError, match="trained without vectors of contexts"):
        plain.add_contexts(table())


def test_a_network_that_reads_no_vectors_takes_none(adata):
    class Plain(sh.models.Flow):
        takes_context_vectors = False

    with pytest.raises(TypeError, match="does not read vectors of contexts"):
        sh.tl.fit(adata, Plain, context_embedding=table(), **FAST)


def test_vectors_know_who_has_none():
    known = ContextVectors("mine", ("a", "b"), np.eye(2))
    assert known.without(["a", "c", ""]) == ["c"]
    assert np.isnan(known.of(["c"])).all()
