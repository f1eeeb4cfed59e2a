"""Edges as they are read, and vectors that are carried along them: closed forms."""

from __future__ import annotations

import logging

import numpy as np
import pandas as pd
import pytest

from shoal.core._graph import adjacency, checked_edges, combined, filled, per_degree


def edges_of(*rows):
    return pd.DataFrame(rows, columns=["source", "target", "weight"])


def test_of_repeated_edges_the_largest_counts_and_loops_do_not(caplog):
    table = edges_of(
        ("b", "a", 1.0), ("a", "b", 3.0), ("a", "b", 2.0), ("c", "c", 9.0), ("a", "c", 0.0)
    )
    with caplog.at_level(logging.INFO, logger="shoal"):
        found = checked_edges(table)
    assert found.to_numpy().tolist() == [["a", "b", 3.0]]
    assert "2 of 3 edges are there more than once" in caplog.text


def test_weights_that_are_no_weights_are_refused():
    with pytest.raises(ValueError, match="1 of 2 edges have no finite weight"):
        checked_edges(edges_of(("a", "b", np.nan), ("a", "c", 1.0)))
    with pytest.raises(ValueError, match=r"1 of 2 edges have a weight below 0, such as -1"):
        checked_edges(edges_of(("a", "b", -1.0), ("a", "c", 1.0)))
    assert len(checked_edges(edges_of(("a", "b", -1.0), ("a", "c", 1.0)), negative="drop")) == 1
    kept = checked_edges(edges_of(("a", "b", -2.0), ("a", "c", 1.0)), negative="absolute")
    assert kept["weight"].tolist() == [2.0, 1.0]
    with pytest.raises(ValueError, match="does not hold numbers"):
        checked_edges(edges_of(("a", "b", "x")))
    with pytest.raises(ValueError, match="'target' is missing"):
        checked_edges(pd.DataFrame({"source": ["a"]}))
    with pytest.raises(ValueError, match="without a name"):
        checked_edges(edges_of(("a", None, 1.0)))


def test_graphs_add_up_by_their_mean_degree():
    one = checked_edges(edges_of(("a", "b", 100.0)))
    two = checked_edges(edges_of(("a", "b", 1.0), ("b", "c", 1.0)))
    found = combined({"one": (one, 1.0), "two": (two, 2.0)}, ["a", "b", "c"]).toarray()
    assert found[0, 1] == pytest.approx(1 + 2 * 0.75)
    assert found[1, 2] == pytest.approx(2 * 0.75)
    np.testing.assert_array_equal(found, found.T)


# -- propagation -----------------------------------------------------------------------------------


def chain(*weights):
    names = [str(i) for i in range(len(weights) + 1)]
    rows = [(names[i], names[i + 1], w) for i, w in enumerate(weights)]
    return adjacency(checked_edges(edges_of(*rows)), names)


def test_a_missing_vector_is_the_weighted_mean_of_its_neighbours():
    y = np.array([[1.0, 0.0], [9.0, 9.0], [4.0, 6.0]])
    found = filled(chain(1.0, 2.0), y, np.array([True, False, True]))
    np.testing.assert_allclose(found[1], (y[0] + 2 * y[2]) / 3)
    np.testing.assert_allclose(found[[0, 2]], y[[0, 2]])


def test_along_a_chain_vectors_are_interpolated():
    y = np.zeros((5, 1))
    y[4] = 8.0
    known = np.array([True, False, False, False, True])
    np.testing.assert_allclose(filled(chain(1, 1, 1, 1), y, known).ravel(), [0, 2, 4, 6, 8])


def test_what_no_path_reaches_has_no_vector():
    weights = adjacency(checked_edges(edges_of(("0", "1", 1.0), ("2", "3", 1.0))), list("01234"))
    found = filled(weights, np.ones((5, 2)), np.array([True, False, False, False, False]))
    assert np.isfinite(found[:2]).all()
    assert np.isnan(found[2:]).all()


@pytest.mark.parametrize("smoothing", [0.1, 1.0, 10.0])
def test_two_known_vectors_approach_each_other(smoothing):
    y = np.array([[0.0], [1.0]])
    found = filled(chain(3.0), y, np.array([True, True]), smoothing=smoothing).ravel()
    step = smoothing / (1 + 2 * smoothing)
    np.testing.assert_allclose(found, [step, 1 - step])


def test_smoothing_minimises_what_it_says(rng):
    weights = chain(1.0, 2.0, 0.5, 1.5)
    y, known = rng.normal(size=(5, 3)), np.array([True, False, True, True, False])
    found = filled(weights, y, known, smoothing=0.7)
    scaled = per_degree(weights).toarray()

    def cost(f):
        apart = ((f[:, None] - f[None]) ** 2).sum(axis=-1)
        return ((f - y)[known] ** 2).sum() + 0.7 * (scaled * apart).sum() / 2

    least = cost(found)
    for _ in range(20):
        assert cost(found + 0.01 * rng.normal(size=found.shape)) > least


def test_equal_vectors_stay_equal_whatever_the_graph():
    known = np.array([True, False, True, False])
    for smoothing in (0.0, 2.0):
        found = filled(chain(1.0, 5.0, 0.1), np.full((4, 2), 3.0), known, smoothing=smoothing)
        np.testing.assert_allclose(found, 3.0)
