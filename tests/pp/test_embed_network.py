"""The network maths against dense algebra, and the reading of edge lists."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

import shoal as sh
from shoal.pp import _embed_network as net


def random_edges(rng, n=60, m=240, sides=1):
    """Edges within `sides` groups of nodes, and a path through all of them."""
    a, b = rng.integers(n, size=(2, m))
    same = a * sides // n == b * sides // n
    path = pd.DataFrame({"source": range(n - 1), "target": range(1, n), "weight": 0.5})
    drawn = pd.DataFrame({"source": a[same], "target": b[same], "weight": rng.random(same.sum())})
    return pd.concat([drawn, path]).astype({"source": str, "target": str})


@pytest.fixture(params=["dense", "sparse"])
def any_solver(request, monkeypatch):
    monkeypatch.setattr(net, "SMALL", 600 if request.param == "dense" else 0)


@pytest.mark.usefixtures("any_solver")
def test_spectral_solves_the_regularised_walk(rng):
    adjacency = net.as_graph(random_edges(rng)).adjacency
    table = net.spectral(adjacency, 5)
    degree = adjacency.sum(axis=1)
    extra, n = degree.mean(), len(degree)
    transition = (adjacency.toarray() + extra / n) / (degree + extra)[:, None]
    values = np.sort(np.linalg.eigvals(transition).real)[::-1]
    assert values[0] == pytest.approx(1)
    np.testing.assert_allclose(transition @ table, table * values[1:6], atol=1e-9)
    weight = (degree + extra) / (degree + extra).sum()
    np.testing.assert_allclose(table.T @ (weight[:, None] * table), np.eye(5), atol=1e-9)
    assert (table[np.abs(table).argmax(axis=0), range(5)] > 0).all()


@pytest.mark.usefixtures("any_solver")
@pytest.mark.parametrize("window", [1, 3])
def test_walks_factorise_the_netmf_matrix(rng, window, monkeypatch):
    adjacency = net.as_graph(random_edges(rng)).adjacency
    dense = adjacency.toarray()
    degree = dense.sum(axis=1)
    step = dense / degree[:, None]
    powers = sum(np.linalg.matrix_power(step, r) for r in range(1, window + 1))
    matrix = np.log(np.maximum(degree.sum() / window * powers / degree, 1))
    table = net.walks(adjacency, 6, window=window)
    values = np.linalg.eigvalsh(matrix)
    values = values[np.argsort(-np.abs(values))][:6]
    np.testing.assert_allclose((table**2).sum(axis=0), np.abs(values), rtol=1e-4)
    np.testing.assert_allclose(matrix @ table, table * values, atol=1e-3)
    monkeypatch.setattr(sh.settings, "block_bytes", 16 * 60 * 7)
    np.testing.assert_allclose(net.walks(adjacency, 6, window=window), table, atol=1e-4)


@pytest.mark.parametrize("walk", [None, 4])
def test_neighbours_stay_together(rng, walk):
    found = net.from_network(
        random_edges(rng, sides=3), [str(i) for i in range(60)], n_comps=8, walk=walk
    )
    unit = found.values.to_numpy() / np.linalg.norm(found.values, axis=1, keepdims=True)
    side = found.values.index.astype(int).to_numpy() // 20
    same = side[:, None] == side
    cosine = unit @ unit.T
    assert cosine[same].mean() > cosine[~same].mean() + 0.2


@pytest.mark.parametrize("walk", [None, 2])
def test_order_direction_sign_and_repeats_do_not_matter(rng, walk):
    edges = random_edges(rng)
    other = edges.sample(frac=1, random_state=0)
    other = pd.concat(
        [other.rename(columns={"source": "target", "target": "source"}), edges.iloc[:40] * 1]
    )
    other["weight"] *= np.where(np.arange(len(other)) % 2, -1, 1)
    loops = pd.DataFrame({"source": ["3", "q"], "target": ["3", "r"], "weight": [9.0, 0.0]})
    a = net.from_network(edges, ["1", "59"], n_comps=4, walk=walk)
    b = net.from_network(pd.concat([other, loops]), ["1", "59"], n_comps=4, walk=walk)
    np.testing.assert_allclose(a.values, b.values, atol=1e-6)


def test_a_repeated_edge_keeps_its_largest_weight():
    edges = pd.DataFrame(
        {"source": list("abac"), "target": list("bcba"), "weight": [1.0, 1.0, 3.0, 1.0]}
    )
    graph = net.as_graph(edges)
    assert list(graph.nodes) == ["a", "b", "c"]
    np.testing.assert_array_equal(graph.adjacency.toarray(), [[0, 3, 1], [3, 0, 1], [1, 1, 0]])


def test_only_the_largest_connected_part_is_embedded():
    edges = pd.DataFrame({"source": list("abcx"), "target": list("bcdy")})
    found = net.from_network(edges, ["a", "x", "z"], n_comps=64, walk=None)
    assert found.values.shape == (1, 3)
    assert found.absent == {
        "x": "outside the largest connected part of the network",
        "z": "not in the network",
    }
    with pytest.raises(
        ValueError, match="2 nodes are connected by edges; a network takes at least 3"
    ):
        net.as_graph(net.read_edges(edges.iloc[3:]))
    with pytest.raises(ValueError, match="there are no edges"):
        net.as_graph(net.read_edges(edges.iloc[:0]))


def test_columns_of_an_edge_list(tmp_path):
    string = pd.DataFrame(
        {"protein1": ["a", "b"], "protein2": ["b", "c"], "combined_score": [700, 900]}
    )
    string.to_csv(tmp_path / "links.txt", sep=" ", index=False)
    expected = pd.DataFrame({"source": ["a", "b"], "target": ["b", "c"], "weight": [700.0, 900.0]})
    pd.testing.assert_frame_equal(net.read_edges(string), expected)
    pd.testing.assert_frame_equal(net.read_edges(tmp_path / "links.txt"), expected)
    unweighted = net.read_edges(string[["protein1", "protein2"]])
    assert unweighted["weight"].eq(1).all()
    named = net.read_edges(string.set_axis(["target", "source", "score"], axis=1).assign(note="x"))
    assert named.iloc[0].to_list() == ["b", "a", 1.0]

    dorothea = pd.DataFrame({"tf": ["a"], "confidence": ["A"], "target": ["b"], "mor": [1]})
    with pytest.raises(
        ValueError, match=r"which columns of \['tf', 'confidence', 'target', 'mor'\] are the ends"
    ):
        net.read_edges(dorothea)
    with pytest.raises(ValueError, match="1 edges have no finite 'weight'"):
        net.read_edges(expected.assign(weight=[1.0, np.nan]))
    with pytest.raises(TypeError, match="must be an edge list .* not int"):
        net.read_edges(3)


def test_gene_sets_make_a_two_sided_graph(tmp_path):
    sets = {"cycle": ["A", "B", "C"], "stress": ["C", "D"]}
    (tmp_path / "sets.gmt").write_text("cycle\tna\tA\tB\tC\nstress\tna\tC\tD\n")
    for source in (sets, tmp_path / "sets.gmt"):
        edges = net.read_edges(source)
        assert list(edges["target"]) == ["A", "B", "C", "C", "D"]
        assert set(edges["source"]) == {"set: cycle", "set: stress"}


def test_decoupler_is_asked_for_its_networks(monkeypatch):
    frame = pd.DataFrame(
        {"source": list("ab"), "target": list("bc"), "weight": [1, -1], "resources": ["x;y", "z"]}
    )
    monkeypatch.setitem(
        sys.modules, "decoupler", SimpleNamespace(op=SimpleNamespace(collectri=lambda: frame))
    )
    found = net.from_network("collectri", ["a", "b", "c"], n_comps=2, walk=None)
    assert found.values.shape == (3, 2)
    monkeypatch.setitem(sys.modules, "decoupler", None)
    with pytest.raises(ImportError, match=r"pip install 'shoal\[net\]'"):
        net.read_edges("dorothea")


def test_a_few_thousand_nodes_in_seconds_and_little_memory(rng):
    import tracemalloc

    n = 3000
    graph = net.as_graph(random_edges(rng, n=n, m=4 * n))
    tracemalloc.start()
    table = net.spectral(graph.adjacency, 16)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert table.shape == (n, 16)
    assert peak < n * n * 8 / 4  # nothing of nodes x nodes
