"""Models of a user's own with state of their own: it is saved, or saving is refused."""

from __future__ import annotations

from functools import cached_property
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import shoal as sh

torch = pytest.importorskip("torch", reason="networks need the extra 'models'")
pytest.importorskip("scvi", reason="networks need the extra 'models'")

FEW = {"n_latent": 8, "width": 16, "depth": 1}
STEPS = {"max_steps": 2, "batch_conditions": 2, "set_size": 8, "accelerator": "cpu"}
GRAPH = sparse.csr_matrix(np.eye(8, dtype=np.float32))


class OnGraph(sh.models.Flow):
    """A flow that keeps a graph, a table and notes of its own."""

    state: ClassVar[tuple[str, ...]] = ("graph", "table", "notes")
    made: ClassVar[int] = 0

    def __init__(self, adata, *, graph, rng=0, **config):
        type(self).made += 1
        self.graph, self.notes = graph, {"threshold": 0.5, "names": ("a", "b")}
        super().__init__(adata, rng=rng, **config)
        self.table = pd.DataFrame({"weight": [1.0, 2.0]}, index=["P1", "P2"])

    def make_network(self, *sizes):
        network = super().make_network(*sizes)
        network.register_buffer("graph", torch.from_numpy(self.graph.toarray()))
        return network


class Deeper(OnGraph):
    """A subclass that adds to the state of its parent, and keeps something for a while."""

    state: ClassVar[tuple[str, ...]] = ("shift",)
    not_saved: ClassVar[tuple[str, ...]] = ("cache",)
    shift: float = 0.0

    @cached_property
    def neighbours(self):
        return self.graph.sum()


def fitted(cls, adata, **config):
    return sh.tl.fit(adata, cls, config={**FEW, **config}, **STEPS)


def test_declared_state_survives(screen, tmp_path):
    model = fitted(OnGraph, screen, graph=GRAPH)
    model.save(tmp_path / "model")
    before = OnGraph.made
    back = OnGraph.load(tmp_path / "model", screen)
    assert OnGraph.made == before, "loading calls no __init__"
    assert back.notes == model.notes == {"threshold": 0.5, "names": ("a", "b")}
    pd.testing.assert_frame_equal(back.table, model.table)
    assert (back.graph != model.graph).nnz == 0
    asked = {"perturbations": ["P1"], "n_cells": 9, "n_steps": 2}
    np.testing.assert_array_equal(back.predict(**asked).X, model.predict(**asked).X)


def test_state_is_inherited_and_what_is_made_again_is_left_out(screen, tmp_path):
    model = fitted(Deeper, screen, graph=GRAPH)
    model.shift, model.cache = 3.0, object()
    assert model.neighbours == 8
    model.save(tmp_path / "model")
    back = Deeper.load(tmp_path / "model", screen)
    assert back.shift == 3.0
    assert back.notes == model.notes
    assert not hasattr(back, "cache")
    assert back.neighbours == 8


class Forgetful(sh.models.Flow):
    """A flow that keeps a graph and does not say so."""

    def __init__(self, adata, *, rng=0, **config):
        super().__init__(adata, rng=rng, **config)
        self.graph = np.eye(3)


class Needy(Forgetful):
    """A flow whose network cannot be made without what was not declared."""

    def make_network(self, *sizes):
        return super().make_network(*sizes[:1], self.n_vector, *sizes[2:])

    def __init__(self, adata, *, rng=0, **config):
        self.n_vector = 5
        super().__init__(adata, rng=rng, **config)


def test_state_that_is_not_declared_is_refused(screen, tmp_path):
    model = fitted(Forgetful, screen)
    with pytest.raises(
        ValueError,
        match=r"save would lose attributes of this Forgetful: graph; .*state = \('graph',\)",
    ):
        model.save(tmp_path / "model")
    with pytest.raises(
        ValueError, match=r"a saved Needy could not be loaded: .*'n_vector'; name what"
    ):
        fitted(Needy, screen).save(tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_state_that_is_not_there_or_of_no_kind_is_refused(screen, tmp_path):
    model = fitted(OnGraph, screen, graph=GRAPH)
    del model.table
    with pytest.raises(
        ValueError, match="OnGraph.state declares table, which this model does not have"
    ):
        model.save(tmp_path / "model")
    model.table = open
    with pytest.raises(
        TypeError, match=r"state\.table is a builtin_function_or_method, which a model"
    ):
        model.save(tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


class Scaled(sh.models.MeanShift):
    """A baseline with a factor, which it learns in its constructor."""

    state: ClassVar[tuple[str, ...]] = ("factor",)

    def __init__(self, adata, *, factor=2.0):
        self.factor = np.full(adata.n_vars, factor)
        super().__init__(adata)

    def _shifts(self, names, context, dose):
        return self.factor * super()._shifts(names, context, dose)


def test_a_baseline_keeps_its_state_too(screen, tmp_path):
    model = sh.tl.fit(screen, Scaled, config={"factor": 3.0})
    model.save(tmp_path / "model")
    back = Scaled.load(tmp_path / "model", screen)
    np.testing.assert_array_equal(back.factor, model.factor)
    np.testing.assert_array_equal(back.twins()[1], model.twins()[1])
    model.other = 1
    with pytest.raises(ValueError, match="save would lose attributes of this Scaled: other"):
        model.save(tmp_path / "model", overwrite=True)


# -- without cells ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["flow", "perturbdiff", "conditional_monge"])
def test_a_network_without_cells_predicts_for_those_that_are_given(screen, tmp_path, name):
    config = FEW if name != "perturbdiff" else {"width": 16, "depth": 1}
    model = sh.tl.fit(screen, name, config=config, **STEPS)
    model.save(tmp_path / "model")
    bare = sh.models.load(tmp_path / "model")
    begin = {"cross_context": False}
    asked = {"perturbations": ["P1"], "context": "context2", "n_cells": 9}
    made = [each.predict(adata=screen, **asked, **begin) for each in (model, bare)]
    pd.testing.assert_frame_equal(*(each.to_df() for each in made))
    pd.testing.assert_frame_equal(*(each.obs for each in made))
    for one, two in zip(model.twins(**begin), bare.twins(screen, **begin), strict=True):
        assert (one != two).sum() == 0
    with pytest.raises(
        ValueError, match=r"loaded without cells.*load\(folder, adata\).*cross_context"
    ):
        bare.predict(adata=screen, **asked)
    calls = (
        lambda: bare.predict("P1", **begin),
        lambda: bare.transport(screen, "P1"),
        lambda: bare.train(1),
    )
    for call in calls:
        with pytest.raises(ValueError, match="was loaded without cells, and this call needs some"):
            call()


def test_where_there_is_one_context_nothing_else_is_needed(logged, tmp_path):
    screen = logged[logged.obs["context"] == "context1"].copy()
    model = sh.tl.fit(screen, "flow", config=FEW, **STEPS)
    model.save(tmp_path / "model")
    bare = sh.models.load(tmp_path / "model")
    asked = {"perturbations": ["P1"], "n_cells": 9}
    np.testing.assert_array_equal(model.predict(**asked).X, bare.predict(adata=screen, **asked).X)


def test_a_model_without_cells_is_saved_again(screen, tmp_path):
    fitted(OnGraph, screen, graph=GRAPH).save(tmp_path / "one")
    bare = OnGraph.load(tmp_path / "one")
    with pytest.raises(ValueError, match="was loaded without cells"):
        bare.save(tmp_path / "two", save_anndata=True)
    assert not (tmp_path / "two").exists()
    bare.save(tmp_path / "two")
    one, two = (OnGraph.load(tmp_path / name, screen) for name in ("one", "two"))
    asked = {"perturbations": ["P1"], "n_cells": 9, "n_steps": 2}
    np.testing.assert_array_equal(one.predict(**asked).X, two.predict(**asked).X)


def test_a_baseline_is_saved_with_its_cells(screen, tmp_path):
    model = sh.tl.fit(screen, "own_shift")
    model.save(tmp_path / "model", save_anndata=True)
    made = sh.models.load(tmp_path / "model").predict("P1", n_cells=9)
    np.testing.assert_array_equal(made.X, model.predict("P1", n_cells=9).X)
