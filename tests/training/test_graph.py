"""The graph term: closed forms, its null, and that no batch decides its size."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from shoal.training import GraphTerm
from shoal.training import _graph as graph_file
from shoal.training._graph import contrastive

RING = np.array([[i, (i + 1) % 6] for i in range(6)])


class Network(torch.nn.Module):
    """A network whose learned vectors are the ones that it is given, times a factor."""

    def __init__(self, factor: float = 1.0) -> None:
        super().__init__()
        self.condition = self
        self.factor = torch.nn.Parameter(torch.tensor(factor))

    def learned(self, vectors):
        return vectors * self.factor


def term(vectors, edges=RING, weights=None, **more):
    weights = np.ones(len(edges)) if weights is None else np.asarray(weights, dtype=float)
    return GraphTerm(np.asarray(vectors, np.float32), edges, weights, strength=1.0, **more)


def value(made, seed=0, network=None):
    generator = torch.Generator().manual_seed(seed)
    return float(made(network or Network(), generator).detach())


def laplacian_of(edges, weights, n):
    w = np.zeros((n, n))
    for (a, b), weight in zip(edges, weights, strict=True):
        w[a, b] = w[b, a] = weight
    root = 1 / np.sqrt(w.sum(1))
    return np.eye(n) - root[:, None] * w * root


def unit(x):
    return x / np.linalg.norm(x, axis=1, keepdims=True)


# -- the Laplacian ---------------------------------------------------------------------------------


def test_of_two_perturbations_it_is_one_minus_the_cosine():
    angle = 0.7
    vectors = [[1.0, 0.0], [3 * np.cos(angle), 3 * np.sin(angle)]]
    for weight in (0.2, 5.0):
        found = value(term(vectors, np.array([[0, 1]]), [weight]))
        assert found == pytest.approx(1 - np.cos(angle), rel=1e-5)


def test_it_is_the_trace_over_the_normalised_laplacian(rng):
    edges = np.array([[0, 1], [1, 2], [2, 3], [0, 4], [3, 4], [1, 4]])
    weights, x = rng.uniform(0.1, 2, size=6), rng.normal(size=(5, 7))
    expected = np.trace(unit(x).T @ laplacian_of(edges, weights, 5) @ unit(x)) / 5
    assert value(term(x, edges, weights)) == pytest.approx(expected, rel=1e-5)


def test_equal_vectors_on_a_regular_graph_cost_nothing():
    assert value(term(np.ones((6, 3)))) == pytest.approx(0, abs=1e-6)


def test_unrelated_vectors_cost_one(rng):
    n = 300
    edges = np.array([(i, j) for i in range(n) for j in range(i) if rng.random() < 0.03])
    assert value(term(rng.normal(size=(n, 50)), edges)) == pytest.approx(1, abs=0.02)


def test_neither_the_unit_of_weights_nor_the_number_of_copies_matters(rng):
    x = rng.normal(size=(6, 4))
    one = value(term(x))
    assert value(term(x, weights=np.full(6, 9.0))) == pytest.approx(one, rel=1e-5)
    twice = term(np.vstack([x, x]), np.vstack([RING, RING + 6]))
    assert value(twice) == pytest.approx(one, rel=1e-5)


# -- the contrast ----------------------------------------------------------------------------------


def test_where_all_are_equal_it_is_the_logarithm_of_the_number_of_others():
    """Not of the number of all: a perturbation is not among its own others."""
    assert value(term(np.ones((6, 3)), loss="contrastive")) == pytest.approx(np.log(5), rel=1e-5)


def test_it_is_the_weighted_cross_entropy(rng):
    edges, weights = np.array([[0, 1], [1, 2], [0, 3]]), np.array([0.5, 2.0, 1.0])
    x = unit(rng.normal(size=(5, 4)))  # the last one has no edge, and is among the others
    w = np.zeros((5, 5))
    for (a, b), weight in zip(edges, weights, strict=True):
        w[a, b] = w[b, a] = weight
    expected = []
    for i in range(4):
        others = [j for j in range(5) if j != i]
        logits = x[i] @ x[others].T / 0.1
        log_share = logits - np.log(np.exp(logits).sum())
        expected.append(-(w[i, others] / w[i].sum()) @ log_share)
    found = contrastive(
        torch.tensor(x), torch.tensor(edges), torch.tensor(weights), temperature=0.1
    )
    assert float(found) == pytest.approx(np.mean(expected), rel=1e-6)


# -- large graphs ----------------------------------------------------------------------------------


def test_drawn_edges_give_the_same_on_average(rng, monkeypatch):
    n = 60
    edges = np.array([(i, j) for i in range(n) for j in range(i) if rng.random() < 0.2])
    weights, x = rng.uniform(0.1, 3, size=len(edges)), rng.normal(size=(n, 5))
    made = term(x, edges, weights)
    whole = value(made)
    monkeypatch.setattr(graph_file, "MOST_EDGES", 50)
    several = [value(made, seed) for seed in range(400)]
    assert np.std(several) > 0.01
    assert np.mean(several) == pytest.approx(whole, abs=4 * np.std(several) / 20)


def test_a_large_contrast_is_made_of_some_nodes(rng, monkeypatch):
    n = 60
    edges = np.array([(i, (i + k) % n) for i in range(n) for k in (1, 2, 3)])
    made = term(rng.normal(size=(n, 5)), edges, loss="contrastive")
    monkeypatch.setattr(graph_file, "MOST_NODES", 30)
    assert np.isfinite(value(made))
    assert value(made, 1) != value(made, 2)


# -- what is refused -------------------------------------------------------------------------------


def test_bad_numbers_and_networks_are_refused():
    with pytest.raises(ValueError, match="graph_weight must be above 0"):
        GraphTerm(np.eye(2), np.array([[0, 1]]), np.ones(1), strength=0.0)
    with pytest.raises(ValueError, match="graph_loss"):
        term(np.eye(6), loss="other")
    with pytest.raises(ValueError, match="Linear learns no vectors of single perturbations"):
        term(np.eye(6)).check(torch.nn.Linear(1, 1))


def test_the_gradient_draws_linked_vectors_together():
    x = torch.nn.Parameter(torch.eye(6, 4) + 0.1)
    network = Network()
    network.learned = lambda vectors: vectors @ x
    made = term(np.eye(6))
    optimizer = torch.optim.SGD([x], lr=1.0)
    before = value(made, network=network)
    for _ in range(20):
        optimizer.zero_grad()
        made(network, torch.Generator()).backward()
        optimizer.step()
    assert value(made, network=network) < before / 4
