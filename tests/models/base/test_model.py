"""How a network model is composed: the start and the postprocessing that it has, its own or not."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

import shoal as sh

torch = pytest.importorskip("torch", reason="networks need the extra 'models'")
pytest.importorskip("scvi", reason="networks need the extra 'models'")

from shoal.models.post._postprocessing import Postprocessing  # noqa: E402
from shoal.models.start._start import Controls, StartingCells  # noqa: E402

FAST = {"max_steps": 1, "accelerator": "cpu", "set_size": 8, "batch_conditions": 2}


class Stay(torch.nn.Module):
    """Leaves cells where they are."""

    def __init__(self):
        super().__init__()
        self.nothing = torch.nn.Parameter(torch.zeros(1))

    def loss(self, batch, generator):
        return {"loss": (batch.source + self.nothing - batch.target).square().mean()}

    def sample(self, source, condition, batch_index, *, generator):
        return source


class Plain(sh.models.PerturbationModel):
    """A user's model: a network and nothing else."""

    def make_network(self, n_dims, n_vector, n_contexts, n_batches):
        return Stay()


class Ones:
    """Starts the first half of the rows at cells of ones."""

    def __init__(self):
        self.stores = []

    def training_store(self, store):
        self.stores.append(store)
        return store

    def elsewhere(self, request, cells, rng):
        rows = np.arange(len(request) // 2)
        values = np.ones((len(rows), len(cells.features)), dtype=np.float32)
        return StartingCells(rows=rows, values=values, measured=values, perturbed=True)


class Elsewhere(Plain):
    """A user's model with a start of its own."""

    options = ("cross_context",)

    def make_start(self):
        return Ones()


def dense(values):
    return values.toarray() if sparse.issparse(values) else np.asarray(values)


def test_a_model_starts_at_controls_and_keeps_values_above_0_unless_it_says_otherwise(screen):
    model = sh.tl.fit(screen, Plain, **FAST)
    assert model.start == Controls()
    assert model.post == Postprocessing(nonnegative=True, match_zeros=True, renew_library=True)
    made = model.predict("P1", n_cells=20)
    source = screen[made.obs["source"].to_numpy()]
    np.testing.assert_allclose(dense(made.X), dense(source.X), atol=1e-5)
    with pytest.raises(TypeError, match="Plain has no option 'cross_context' for predictions"):
        model.predict("P1", cross_context=False)


def test_a_start_of_ones_own_is_asked_for_training_and_for_every_request(screen):
    model = sh.tl.fit(screen, Elsewhere, **FAST)
    assert len(model.start.stores) == 1
    made = dense(model.predict("P1", n_cells=20).X)
    ones = np.isclose(made, 1, atol=1e-5).all(axis=1)
    assert ones.tolist() == [True] * 10 + [False] * 10
    plain = dense(model.predict("P1", n_cells=20, cross_context=False).X)
    assert not np.isclose(plain, 1, atol=1e-5).all(axis=1).any()


def test_given_cells_start_at_themselves_whatever_the_start(screen):
    model = sh.tl.fit(screen, Elsewhere, **FAST)
    cells = screen[screen.obs["perturbation"] == "control"][:12].copy()
    np.testing.assert_allclose(dense(model.transport(cells, "P1").X), dense(cells.X), atol=1e-5)
