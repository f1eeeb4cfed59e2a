"""A graph of perturbations in the training of every network."""

from __future__ import annotations

import logging

import numpy as np
import pandas as pd
import pytest

import shoal as sh

torch = pytest.importorskip("torch", reason="networks need the extra 'models'")
pytest.importorskip("scvi", reason="networks need the extra 'models'")

from shoal.models.base._graph_term import graph_term  # noqa: E402  (after the skips)

TINY = {
    "flow": {"n_latent": 8, "width": 16, "depth": 1},
    "conditional_monge": {"n_latent": 8, "width": 16, "depth": 1},
    "perturbdiff": {"width": 16, "depth": 1},
    "unlasting": {"width": 16, "decoder": 16, "depth": 1, "graph_width": 8, "mask_width": 8},
    "knowledge": {"n_latent": 8, "width": 16, "n_representation": 8},
}
FAST = {"batch_conditions": 4, "set_size": 16, "accelerator": "cpu", "response_share": 1}
EDGES = pd.DataFrame({"source": ["P1", "P3"], "target": ["P2", "P4"], "weight": [1.0, 2.0]})


def fit(adata, name, *, config=None, max_steps=4, **more):
    return sh.tl.fit(
        adata, name, config=TINY[name] | (config or {}), max_steps=max_steps, **FAST, **more
    )


def value(model):
    """Return the graph term of a trained model."""
    made = graph_term(model, EDGES, 0.1, "laplacian")
    return float(made(model.module, torch.Generator()).detach())


@pytest.mark.slow
@pytest.mark.parametrize("name", TINY)
def test_linked_perturbations_are_drawn_together(screen, name):
    far, near = (fit(screen, name, max_steps=60, graph=EDGES, graph_weight=w) for w in (1e-9, 30.0))
    assert value(near) < value(far) / 2
    assert "train_graph" in near.history


def test_the_size_of_the_batch_does_not_matter(screen):
    terms = []
    for n in (1, 4):
        options = FAST | {"batch_conditions": n}
        model = sh.tl.fit(screen, "flow", config=TINY["flow"], max_steps=1, graph=EDGES, **options)
        terms.append(float(model.history["train_graph"].iloc[0, 0]))
    assert terms[0] == terms[1]


def test_several_graphs_are_weighted_and_the_isolated_are_named(screen, caplog):
    sh.pp.link(screen, source=EDGES.iloc[:1], key_added="one")
    sh.pp.link(screen, source=EDGES.iloc[1:], key_added="two")
    with caplog.at_level(logging.INFO, logger="shoal"):
        fit(screen, "flow", graph={"one": 1.0, "two": 0.5}, graph_loss="contrastive")
    assert (
        "1 of 5 perturbations have no edge in the graph, which says nothing of them: 'P5'"
        in caplog.text
    )


def test_without_a_graph_nothing_changes(screen):
    one, two = fit(screen, "flow"), fit(screen, "flow", graph=EDGES, graph_weight=1e-12)
    for a, b in zip(one.module.parameters(), two.module.parameters(), strict=True):
        np.testing.assert_allclose(a.detach(), b.detach(), atol=1e-5)
    assert "train_graph" not in one.history


def test_a_graph_of_vectors_that_have_seen_the_test_marks_the_model(screen):
    sh.pp.embed(screen, method="effects", key_added="seen")
    sh.pp.link(screen, embedding="seen", n_neighbors=2)
    assert fit(screen, "flow", graph="seen").vocabulary.transductive
    assert not fit(screen, "flow", graph=EDGES).vocabulary.transductive


def test_bad_graphs_are_refused(screen):
    with pytest.raises(ValueError, match="no two of the 5 perturbations with a vector are linked"):
        fit(screen, "flow", graph=EDGES.assign(source="X"))
    with pytest.raises(ValueError, match="no finite 'weight', such as 'P1' to 'P2'"):
        fit(screen, "flow", graph=EDGES.assign(weight=np.nan))
    with pytest.raises(ValueError, match="weight below 0"):
        fit(screen, "flow", graph=EDGES.assign(weight=-1.0))
    with pytest.raises(KeyError, match="sh.pp.link"):
        fit(screen, "flow", graph="nothing")
    with pytest.raises(TypeError, match="graph must be the name"):
        fit(screen, "flow", graph=3)
    with pytest.raises(ValueError, match="graph_weight must be above 0"):
        fit(screen, "flow", graph=EDGES, graph_weight=0)
    for name, config in (
        ("conditional_monge", {"architecture": "concatenated"}),
        ("unlasting", {"read_out": "genes"}),
    ):
        with pytest.raises(ValueError, match="learns no vectors of single perturbations"):
            fit(screen, name, graph=EDGES, config=config)


@pytest.mark.slow
def test_perturbations_known_by_their_genes_are_drawn_together(screen):
    """The vector that a graph holds is that of the node, and not the one that the table holds."""
    genes = screen[~screen.obs["perturbation"].str.contains("+", regex=False).to_numpy()].copy()
    names = {f"P{i}": f"G{i}" for i in range(1, 6)}
    genes.var_names = [*names.values(), *genes.var_names[5:]]
    genes.obs["perturbation"] = genes.obs["perturbation"].astype(str).replace(names)
    edges = EDGES.replace(names)
    far, near = (
        fit(genes, "unlasting", max_steps=100, graph=edges, graph_weight=w) for w in (1e-9, 30.0)
    )
    term = graph_term(far, edges, 0.1, "laplacian")
    assert (term.vectors == 1).all()
    far, near = (float(term(m.module.eval(), torch.Generator()).detach()) for m in (far, near))
    assert near < far / 2
