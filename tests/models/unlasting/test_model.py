"""Unlasting on a small screen: what it predicts, its mask, its graph, sharing of noise, and files."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import shoal as sh

torch = pytest.importorskip("torch", reason="networks need the extra 'models'")
pytest.importorskip("scvi", reason="networks need the extra 'models'")

from shoal.models.unlasting._config import PRESETS  # noqa: E402
from shoal.models.unlasting._module import UnlastingModule  # noqa: E402

from ...helpers import dense  # noqa: E402

each_preset = pytest.mark.parametrize("preset", PRESETS)


def edges_of(model):
    return set(map(tuple, np.asarray(model.edges).T.tolist()))


# -- perturbations by their genes ------------------------------------------------------------------


@each_preset
def test_a_gene_that_nobody_perturbed_is_predicted_by_its_node(genes, fit_unlasting, preset):
    sh.pp.split(genes, by="perturbation", test=["P2"])
    model = fit_unlasting(genes, preset=preset, max_steps=5)
    assert model.vocabulary.embedding == "gene graph"
    made = model.predict(["P2", "gene06", "P1+gene06"], context="context1", n_cells=9)
    assert made.shape == (27, 60)
    assert np.isfinite(dense(made.X)).all()
    assert dense(made.X).min() >= 0
    sh.tl.predict(genes, model, subset="test")


def test_perturbations_that_are_no_feature_have_vectors_of_their_own(genes, fit_unlasting, caplog):
    genes.var_names = ["P1", "other", *genes.var_names[2:]]
    sh.pp.split(genes, by="perturbation", test=["P2"])
    genes.obs["perturbation"] = genes.obs["perturbation"].astype(str).replace({"P3": "Q"})
    model = fit_unlasting(genes, max_steps=40, config={"mask": None, "on_values": False}, lr=1e-2)
    assert (
        "1 of 4 perturbations of training are no feature, so that they have no node in the gene graph: 'Q'"
        in caplog.text
    )
    ask = {"context": "context1", "n_cells": 20, "rng": 1, "cross_context": False}
    one, other = (dense(model.predict(name, **ask).X) for name in ("Q", "P1"))
    assert np.abs(one - other).max() > 1e-3
    with pytest.raises(KeyError, match="'P2' has no node in the gene graph: .*embedding= a table"):
        model.predict("P2")


@each_preset
def test_vectors_take_the_place_of_genes_where_they_are_given(genes, fit_unlasting, preset):
    names = ["P1", "P2", "P3", "P4", "P5", "drug"]
    table = pd.DataFrame(np.random.default_rng(0).normal(size=(6, 3)), index=names)
    model = fit_unlasting(genes, preset=preset, embedding=table, max_steps=5)
    assert model.vocabulary.embedding == "table"
    assert np.isfinite(dense(model.predict(["drug", "drug+P1"], n_cells=9).X)).all()
    with pytest.raises(KeyError, match="'gene06' did not occur in the screen"):
        model.predict("gene06")


# -- the graph -------------------------------------------------------------------------------------


def test_coexpression_joins_genes_that_go_together_in_control_cells(genes, fit_unlasting):
    x = dense(genes.X)
    x[:, 11] = x[:, 10] * 2
    genes.X = x
    model = fit_unlasting(genes, max_steps=1, config={"threshold": 0.9, "neighbours": None})
    assert (10, 11) in edges_of(model)
    control = x[(genes.obs["perturbation"] == "control").to_numpy()]
    with np.errstate(invalid="ignore"):
        real = np.abs(np.nan_to_num(np.corrcoef(control.T))) >= 0.9
    assert edges_of(model) == {(i, j) for i, j in zip(*np.nonzero(np.triu(real, 1)), strict=True)}
    few = fit_unlasting(genes, max_steps=1, config={"threshold": 0.0, "neighbours": 2})
    assert len(edges_of(few)) <= 2 * 60
    assert (10, 11) in edges_of(few)


def test_edges_of_a_list_are_in_the_order_of_the_genes(genes, fit_unlasting, caplog, tmp_path):
    table = pd.DataFrame(
        {"source": ["P2", "gene30", "P1", "x"], "target": ["P1", "P5", "P2", "P1"]}
    )
    place = {name: i for i, name in enumerate(genes.var_names)}
    expected = {(place["P1"], place["P2"]), tuple(sorted((place["gene30"], place["P5"])))}
    caplog.set_level("INFO")
    turned = genes[:, ::-1].copy()
    table.to_csv(tmp_path / "net.csv", index=False)
    for adata, source in ((genes, table), (genes, tmp_path / "net.csv"), (turned, table)):
        model = fit_unlasting(adata, max_steps=1, config={"gene_graph": source})
        here = list(adata.var_names)
        found = {tuple(sorted((place[here[i]], place[here[j]]))) for i, j in edges_of(model)}
        assert found == expected
    assert "3 of 4 edges of the gene graph join two features" in caplog.text


def test_a_graph_of_vectors_joins_genes_with_a_large_cosine(genes, fit_unlasting):
    vectors = np.eye(4)[np.arange(60) % 4] + 0.01
    names = list(genes.var_names)
    genes.uns["perturbation_embeddings"] = {
        "mine": pd.DataFrame(vectors, index=names, columns=list("abcd"))
    }
    model = fit_unlasting(
        genes, max_steps=1, config={"gene_graph": "mine", "threshold": 0.9, "neighbours": None}
    )
    assert edges_of(model) == {
        (i, j) for i in range(60) for j in range(i + 1, 60) if (j - i) % 4 == 0
    }
    alone = fit_unlasting(genes, max_steps=1, config={"gene_graph": None})
    assert edges_of(alone) == set()


# -- the mask --------------------------------------------------------------------------------------


def test_the_mask_of_a_perturbation_is_a_table_of_probabilities(genes, fit_unlasting):
    model = fit_unlasting(genes, max_steps=60, lr=1e-2)
    table = model.mask(["P1", "P1+P2"])
    assert list(table.index) == [(p, c) for p in ("P1", "P1+P2") for c in ("context1", "context2")]
    assert list(table.columns) == list(genes.var_names)
    assert table.to_numpy().min() > 0
    assert table.to_numpy().max() < 1
    one = model.mask("P1", context="context1")
    pd.testing.assert_frame_equal(one, table.iloc[:1])
    labels = genes.obs["perturbation"].astype(str) + genes.obs["context"].astype(str)
    real = (dense(genes.X)[(labels == "P1context1").to_numpy()] > 0).mean(0)
    assert np.abs(one.to_numpy()[0] - real).mean() < 0.1
    made = dense(model.predict("P1", context="context1", n_cells=400, cross_context=False).X) > 0
    np.testing.assert_allclose(made.mean(0), one.to_numpy()[0], atol=0.12)


def test_a_mask_is_asked_of_a_model_that_has_none(genes, fit_unlasting):
    model = fit_unlasting(genes, max_steps=1, config={"mask": None, "on_values": False})
    with pytest.raises(
        ValueError, match="mask=None, and no network that predicts which genes are on"
    ):
        model.mask("P1")


# -- inversion -------------------------------------------------------------------------------------


def test_control_cells_are_inverted_once_for_all_perturbations(genes, fit_unlasting, monkeypatch):
    """(1 + N) / (2 N) of the network calls of an inversion for each perturbation."""
    model, calls = fit_unlasting(genes, preset="published", max_steps=1), []
    plain = UnlastingModule.latents

    def counted(self, cells, *where, **options):
        calls.append(len(cells))
        return plain(self, cells, *where, **options)

    monkeypatch.setattr(UnlastingModule, "latents", counted)
    control = genes[genes.obs["perturbation"] == "control"]
    names = ["P1", "P2", "P3", "P4", "P5"]
    model.predict(names, n_cells=80, context=None)
    assert sum(calls) <= control.n_obs
    assert sum(calls) < 80 * len(names)
    calls.clear()
    model.predict(names, n_cells=10, inversion=None)
    assert calls == []


def test_shared_noise_gives_the_cells_that_own_noise_would(genes, fit_unlasting, monkeypatch):
    model = fit_unlasting(genes, preset="published", max_steps=3, config={"mask": "bernoulli"})
    ask = {"n_cells": 12, "rng": 3, "context": "context1"}
    shared = dense(model.predict(["P1", "P2"], **ask).X)
    monkeypatch.setattr("shoal.models.unlasting._latents.Latents.of", lambda self, request: None)
    np.testing.assert_allclose(dense(model.predict(["P1", "P2"], **ask).X), shared, atol=1e-4)


# -- the rest of the engine ------------------------------------------------------------------------


@each_preset
def test_a_model_comes_back_from_disk(divided, fit_unlasting, tmp_path, preset):
    model = fit_unlasting(divided, preset=preset, max_steps=10, val_every=5)
    model.save(tmp_path / "m", save_anndata=True)
    for back in (sh.models.load(tmp_path / "m"), sh.models.load(tmp_path / "m", divided)):
        assert back.module.config == model.module.config
        one, two = (m.predict(["P1", "P4+P5"], n_cells=9, rng=2) for m in (back, model))
        np.testing.assert_array_equal(dense(one.X), dense(two.X))
        pd.testing.assert_frame_equal(back.mask("P1"), model.mask("P1"))


def test_doses_contexts_batches_counts_and_transport(screen, fit_unlasting):
    screen.obs["dose"] = np.where(screen.obs["perturbation"] == "control", np.nan, 1.0)
    own = (screen.obs["perturbation"] != "control").to_numpy()
    screen.obs.loc[own, "dose"] = np.tile([0.1, 10.0], int(own.sum()))[: own.sum()]
    sh.pp.annotate(
        screen,
        "perturbation",
        control="control",
        context_key="context",
        batch_key="batch",
        dose_key="dose",
        overwrite=True,
    )
    model = fit_unlasting(screen, preset="published", max_steps=5)
    assert model.module.clamps
    assert model.module.covariates == ("perturbation", "context", "dose", "batch")
    made = model.predict("P1", dose=1.0, context="context2", n_cells=7)
    assert set(made.obs["context"]) == {"context2"}
    counted = model.predict("P1", dose=1.0, n_cells=7, counts=True)
    assert counted.X.dtype == np.int32
    controls = screen[screen.obs["perturbation"] == "control"].copy()
    moved = model.transport(controls, "P1", dose=1.0)
    assert moved.obs["source"].tolist() == controls.obs_names.tolist()


@pytest.mark.slow
@each_preset
def test_a_higher_dose_moves_cells_and_zeros_further(fit_unlasting, preset):
    """In the simulation one dose brings out nothing of the response, and the other all of it."""
    adata = sh.ds.simulate(
        n_perturbations=3,
        n_control=240,
        n_genes=60,
        effects="shift",
        effect_size=6.0,
        doses=[0.01, 100.0],
        library_size=4000,
        rng=0,
    )
    sh.pp.annotate(adata, "perturbation", control="control", dose_key="dose")
    sh.pp.prepare(adata, normalize="log1p", n_comps=5, cross_fit=0)
    size = {"width": 128, "decoder": 128, "graph_width": 32, "mask_width": 32}
    how = {"lr": 1e-3, "batch_conditions": 6, "set_size": 16, "max_steps": 300}
    model = fit_unlasting(adata, preset=preset, config=size | {"mask": "bernoulli"}, **how)
    control = dense(adata.X)[(adata.obs["perturbation"] == "control").to_numpy()]
    moved, masked = [], []
    for dose in (0.01, 100.0):
        made = dense(model.predict("P1", dose=dose, n_cells=100, rng=1).X)
        moved.append(np.linalg.norm(made.mean(0) - control.mean(0)))
        chance = model.mask("P1", dose=dose).to_numpy()[0]
        masked.append(np.linalg.norm(chance - (control > 0).mean(0)))
    assert moved[1] > 1.5 * moved[0]
    assert masked[1] > 1.5 * masked[0]


def test_the_same_seed_gives_the_same_cells_and_another_one_others(genes, fit_unlasting):
    one, again, other = (fit_unlasting(genes, max_steps=3, rng=seed) for seed in (0, 0, 1))
    ask = {"n_cells": 8, "rng": 2}
    x, y, z = (dense(m.predict("P1", **ask).X) for m in (one, again, other))
    np.testing.assert_array_equal(x, y)
    assert np.abs(x - z).max() > 0


def test_nothing_is_learned_from_test_cells(divided, fit_unlasting, rng):
    test = (divided.obs["split"] == "test").to_numpy()
    divided.X = dense(divided.X)
    other = divided.copy()
    other.X[test] = np.abs(rng.normal(size=(test.sum(), other.n_vars)))
    one, two = (fit_unlasting(each, preset="published", max_steps=3) for each in (divided, other))
    for name, weight in one.module.state_dict().items():
        assert torch.equal(weight, two.module.state_dict()[name]), name
    np.testing.assert_array_equal(
        one.edges if one.edges is not None else [], two.edges if two.edges is not None else []
    )


@pytest.mark.slow
def test_it_beats_the_mean_shift_where_perturbations_differ():
    """On a simulated screen, by the energy distance of the twins of held-out conditions."""
    adata = sh.ds.simulate(
        n_perturbations=8,
        n_cells=120,
        n_control=240,
        n_genes=100,
        effects="shift",
        effect_size=5.0,
        contexts=2,
        rng=0,
    )
    sh.pp.annotate(adata, "perturbation", control="control", context_key="context")
    sh.pp.split(adata, by="perturbation_context", test=0.25, rng=0)
    sh.pp.prepare(adata, normalize="log1p", fit_on="train", n_comps=20, cross_fit=0)
    errors = {}
    for name, options in (
        ("unlasting", {"accelerator": "cpu", "response_share": 1.0}),
        ("mean_shift", {}),
    ):
        model = sh.tl.fit(adata, name, rng=0, **options)
        sh.tl.predict(adata, model, key_added="made", rng=0, overwrite=True)
        made, real = dense(adata.layers["made"]), dense(adata.X)
        groups = adata.obs[adata.obs["split"] == "test"].groupby(
            ["perturbation", "context"], observed=True
        )
        at = [adata.obs_names.get_indexer(own) for own in groups.groups.values()]
        errors[name] = np.mean([sh.metrics.energy_distance(made[i], real[i]) for i in at])
    assert errors["unlasting"] < errors["mean_shift"]
