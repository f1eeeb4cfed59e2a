"""Graph attention: against a dense computation, for any order of the genes, and with genes knocked out."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="networks need the extra 'models'")

from shoal.nn import (  # noqa: E402
    DoseGate,
    GenewiseEncoder,
    GraphAttention,
    GraphEncoder,
    TreatmentEncoder,
    knocked_out,
    with_loops,
)

G = 7
EDGES = torch.tensor([[0, 1, 2, 5], [1, 2, 4, 0]])


def dense(layer, x, edges):
    """Return the layer by tables of all pairs of genes."""
    joined = torch.zeros(G, G, dtype=torch.bool)
    joined[edges[1], edges[0]] = True  # [reader, read]
    out = []
    heads = layer.map(x).unflatten(-1, (layer.n_heads, -1))
    for k in range(layer.n_heads):
        h = heads[:, k]
        score = (h @ layer.reads[k])[:, None] + (h @ layer.sends[k])[None]
        score = torch.where(score > 0, score, 0.2 * score).masked_fill(~joined, -torch.inf)
        out.append(score.softmax(1) @ h)
    return torch.cat(out, 1) + layer.bias


def test_against_a_dense_computation():
    torch.manual_seed(0)
    layer, x = GraphAttention(4, 6, n_heads=2), torch.randn(G, 4)
    edges = with_loops(EDGES, G)
    torch.testing.assert_close(layer(x, edges), dense(layer, x, edges))
    several = torch.randn(3, G, 4)
    torch.testing.assert_close(
        layer(several, edges), torch.stack([dense(layer, own, edges) for own in several])
    )


def test_gradients_against_a_dense_computation():
    torch.manual_seed(0)
    layer, x = GraphAttention(4, 6, n_heads=2), torch.randn(2, G, 4, requires_grad=True)
    edges, weight = with_loops(EDGES, G), torch.randn(2, G, 6)
    wanted = [x, *layer.parameters()]
    made = torch.autograd.grad((layer(x, edges) * weight).sum(), wanted)
    whole = torch.stack([dense(layer, own, edges) for own in x])
    for one, other in zip(made, torch.autograd.grad((whole * weight).sum(), wanted), strict=True):
        torch.testing.assert_close(one, other)


def test_a_number_for_every_gene_does_not_depend_on_other_conditions():
    """Conditions of one context share what is made of its control cells."""
    torch.manual_seed(0)
    net = GenewiseEncoder(G, 2, 2, d=4, width=8, doses=True, token=True).eval()
    edges, control = with_loops(EDGES, G), torch.randn(2, G)[[1, 0, 1]]
    condition = {
        "parts": torch.randn(3, 2, 2),
        "present": torch.tensor([[True, False], [True, True], [False, False]]),
        "genes": torch.tensor([[3, -1], [0, 5], [-1, -1]]),
        "context": torch.tensor([1, 0, 1]),
        "dose": torch.randn(3, 2),
        "left_out": torch.tensor([False, True, False]),
    }
    together = net(condition, control, edges)
    for k in range(3):
        own = {name: value[k : k + 1] for name, value in condition.items()}
        torch.testing.assert_close(together[k : k + 1], net(own, control[k : k + 1], edges))
    assert (together[0] - together[2]).abs().max() > 1e-3


def test_the_order_of_genes_and_edges_does_not_matter():
    torch.manual_seed(0)
    net, x = GraphEncoder(4, 8).eval(), torch.randn(G, 4)
    place = torch.randperm(G)
    back = torch.empty_like(place)
    back[place] = torch.arange(G)
    edges = with_loops(EDGES, G)
    turned = net(x[place], back[edges][:, torch.randperm(edges.shape[1])])
    torch.testing.assert_close(turned, net(x, edges)[place])
    other = net(x, with_loops(place[EDGES], G))  # a permuted graph is another graph
    assert (other - net(x, edges)).abs().max() > 1e-3


def test_a_gene_without_edges_reads_itself_alone():
    torch.manual_seed(0)
    net, x = GraphEncoder(4, 8).eval(), torch.randn(G, 4)
    edges, other = with_loops(EDGES, G), x.clone()
    other[0] = torch.tensor([3.0, -1.0, 0.0, 1.0])
    changed = (net(other, edges) - net(x, edges)).abs().amax(1) > 1e-6
    assert changed.tolist() == [
        True,
        True,
        True,
        False,
        False,
        True,
        False,
    ]  # within two edges of 0


def test_edges_go_both_ways_once_and_every_gene_has_a_loop():
    edges = with_loops(torch.tensor([[0, 1, 0], [1, 0, 0]]), 3)
    assert sorted(map(tuple, edges.T.tolist())) == [(0, 0), (0, 1), (1, 0), (1, 1), (2, 2)]
    with pytest.raises(ValueError, match="edges name genes from 0 to 3; there are 3"):
        with_loops(torch.tensor([[0], [3]]), 3)
    with pytest.raises(ValueError, match="n_heads=2 must divide the features of a gene, 3"):
        GraphAttention(4, 3)


def test_knocked_out_genes_lose_their_node_in_their_own_condition():
    nodes = torch.ones(3, 4, 2)
    genes = torch.tensor([[0, 2], [3, -1], [-1, -1]])
    zeroed = knocked_out(nodes, genes)
    assert zeroed[..., 0].tolist() == [[0, 1, 0, 1], [1, 1, 1, 0], [1, 1, 1, 1]]
    token = knocked_out(nodes, genes, torch.tensor([5.0, 6.0]))
    assert token[0, 2].tolist() == [5, 6]
    assert token[0, 1].tolist() == [1, 1]


def test_memory_grows_with_edges_and_not_with_pairs_of_genes():
    """The largest tensor of a pass has one row for each edge."""
    from torch.utils._python_dispatch import TorchDispatchMode

    class Largest(TorchDispatchMode):
        most = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            out = func(*args, **(kwargs or {}))
            for each in out if isinstance(out, tuple | list) else [out]:
                if isinstance(each, torch.Tensor):
                    Largest.most = max(Largest.most, each.numel())
            return out

    n, width, sizes = 400, 8, []
    for per_gene in (2, 4):
        pairs = torch.stack([torch.arange(n).repeat(per_gene), torch.randint(n, (n * per_gene,))])
        edges, Largest.most = with_loops(pairs, n), 0
        with Largest():
            GraphEncoder(4, width)(torch.randn(n, 4), edges)
        sizes.append(Largest.most)
        assert Largest.most <= width * edges.shape[1]
    assert sizes[1] < n * n


# -- doses -----------------------------------------------------------------------------------------


def told(dose):
    """Return conditions of one vector, at a dose."""
    return {
        "parts": torch.ones(2, 1, 2),
        "present": torch.ones(2, 1, dtype=torch.bool),
        "genes": torch.full((2, 1), -1),
        "own": torch.zeros(2, 1, dtype=torch.long),
        "context": torch.tensor([0, 1]),
        "dose": torch.tensor([[dose, 1.0]] * 2),
    }


def constant(gate, logit):
    """Make the share of the response that of a number, at every dose."""
    with torch.no_grad():
        gate.curve.weight.zero_()
        gate.curve.bias.copy_(torch.tensor([logit, -100.0]))


def test_a_dose_multiplies_what_a_perturbation_adds():
    torch.manual_seed(0)
    net = TreatmentEncoder(2, 0, 2, width=8, d=4, doses=True, dropout=0.0).eval()
    low, high = (net(told(dose), None, None) for dose in (-2.0, 2.0))
    assert (high.norm(dim=-1) > 1.5 * low.norm(dim=-1)).all()
    constant(net.gate, 100.0)
    whole = net(told(1.0), None, None)
    constant(net.gate, 0.0)
    torch.testing.assert_close(net(told(1.0), None, None), whole / 2)


def test_a_closed_gate_takes_the_vector_out_of_all_genes():
    torch.manual_seed(0)
    net = GenewiseEncoder(G, 2, 2, d=4, width=8, doses=True, token=True, dropout=0.0).eval()
    edges, control = with_loops(EDGES, G), torch.rand(2, G)
    constant(net.gate, 100.0)
    opened = net(told(1.0), control, edges)
    constant(net.gate, -100.0)
    closed = net(told(1.0), control, edges)
    net.vector = None
    torch.testing.assert_close(net(told(1.0), control, edges), closed)
    assert (opened - closed).abs().max() > 1e-2


def test_a_dose_counts_for_genes_without_a_vector():
    torch.manual_seed(0)
    net = GenewiseEncoder(G, 0, 2, d=4, width=8, doses=True, token=True, dropout=0.0).eval()
    edges, control = with_loops(EDGES, G), torch.rand(2, G)
    low, high = (net(told(dose), control, edges) for dose in (-2.0, 2.0))
    assert (high - low).abs().max() > 1e-2


def test_the_share_of_a_response_is_a_hill_curve_of_the_dose():
    gate, dose = DoseGate(3), torch.linspace(-3, 3, 7)
    told = torch.stack([dose, torch.ones(7)], -1)
    with torch.no_grad():
        gate.curve.weight.zero_()
        gate.curve.bias.copy_(torch.tensor([0.7, 1.2]))
        share = gate(torch.randn(7, 3), told)[:, 0]
        none = gate(torch.randn(7, 3), told * torch.tensor([1.0, 0.0]))
    slope = torch.tensor(1.7).exp().log1p()  # softplus
    torch.testing.assert_close(share, 1 / (1 + torch.exp(-0.7 - slope * dose)))
    torch.testing.assert_close(none, torch.sigmoid(torch.full((7, 1), 0.7)))
