"""What a user hands to a model by mistake: another kind of object, another order, a name of nothing."""

from __future__ import annotations

import logging

import numpy as np
import pandas as pd
import pytest

import shoal as sh

EDGES = pd.DataFrame({"source": ["P1", "P2"], "target": ["P2", "P3"], "importance": [1.0, 3.0]})


@pytest.fixture
def model(screen):
    return sh.tl.fit(screen, "own_shift")


# -- objects of another kind ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("given", ["screen.h5ad", pd.DataFrame({"gene01": [1.0]}), 5])
def test_what_is_no_anndata_is_named(model, given, tmp_path):
    for call in (lambda: model.predict("P1", adata=given), lambda: model.twins(given)):
        with pytest.raises(
            TypeError, match=f"adata must be an AnnData, not {type(given).__name__}"
        ):
            call()
    model.save(tmp_path / "model")
    with pytest.raises(TypeError, match="adata must be an AnnData"):
        sh.models.load(tmp_path / "model", given)


def test_a_modality_is_asked_for(model, screen):
    mudata = pytest.importorskip("mudata")
    with pytest.raises(
        TypeError, match=r"adata is a MuData: pass one of its modalities, mdata\['rna'\]"
    ):
        model.predict("P1", adata=mudata.MuData({"rna": screen}))


def test_no_cells_is_not_taken_for_zeros(model, screen):
    with pytest.raises(ValueError, match="holds no cells"):
        model.predict("P1", adata=screen[:0].copy())


def test_one_perturbation_is_one(model, screen):
    for given in (["P1", "P2"], None):
        with pytest.raises(TypeError, match="name one perturbation, such as 'P1', not"):
            model.transport(screen, given)
    with pytest.raises(TypeError, match="names of perturbations are text, not bytes"):
        model.predict(b"P1")


# -- masks ---------------------------------------------------------------------------------------------------------------


def test_a_mask_in_another_order_is_refused_by_twins_too(model, screen):
    mask = screen.obs["perturbation"] == "P1"
    right = model.twins(screen, subset=mask)[0]
    np.testing.assert_array_equal(right, np.flatnonzero(mask))
    with pytest.raises(ValueError, match="a mask whose index is not adata.obs_names"):
        model.twins(screen, subset=mask.sample(frac=1, random_state=0))
    with pytest.raises(ValueError, match=r"a mask of shape \(3,\); it must be \(360,\)"):
        model.twins(screen, subset=np.ones(3, dtype=bool))
    for other in ("test", np.arange(screen.n_obs)):
        with pytest.raises(TypeError, match="subset must be a mask of true and false"):
            model.twins(screen, subset=other)
    with pytest.raises(TypeError, match="subset holds numbers"):
        sh.tl.predict(screen, model, subset=np.ones(screen.n_obs, dtype=int))


# -- names and contexts --------------------------------------------------------------------------------------------------


def test_new_cells_in_an_unknown_context_are_told_of(model, screen, caplog):
    model.predict("P1", context="context1", n_cells=3)
    assert "did not occur" not in caplog.text
    screen.obs["context"] = screen.obs["context"].astype(str).replace("context1", "a later one")
    model.predict("P1", context="a later one", adata=screen, n_cells=3)
    assert "a later one did not occur in training: only their control cells" in caplog.text


def test_an_argument_of_predict_is_told_from_an_option(model, screen):
    with pytest.raises(TypeError, match=r"no option 'dose'.*model\.predict\(\.\.\., dose=\)"):
        sh.tl.predict(screen, model, dose=1.0)


def test_many_unknown_names_cost_no_square(model, monkeypatch):
    vocabulary = model.vocabulary
    sorts = []
    monkeypatch.setattr(
        "shoal.models.base._vocabulary.sorted",
        lambda values: sorts.append(1) or sorted(values),
        raising=False,
    )
    assert len(vocabulary.unheard_of([f"Q{i}" for i in range(50)])) == 50
    assert len(sorts) == 1


def test_a_model_that_is_nearly_spelt_is_named(screen):
    with pytest.raises(
        ValueError, match="model='Own_Shift' is not known.*Did you mean 'own_shift'"
    ):
        sh.tl.fit(screen, "Own_Shift")


def test_the_ensemble_explains_no_control_and_no_context_of_none():
    adata = sh.ds.simulate_gaussian(n_perturbations=4, n_dims=5, rng=0)
    auto = sh.tl.fit(adata, "auto")
    with pytest.raises(ValueError, match="'control' is the control, which is measured"):
        auto.explain("control")
    with pytest.raises(
        ValueError, match="context='day 3' means nothing, because this screen was annotated without"
    ):
        auto.explain("P1", context="day 3")


# -- vectors -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.iloc[:, :0], "has no columns"),
        (lambda t: t * 1j, "holds values that are no numbers"),
        (lambda t: t.replace(1.0, np.nan), "not finite.*in 2 of 5 rows: 'P1', 'P2'"),
        (lambda t: t * 1e39, "or above 1e\\+18, in 5 of 5 rows"),  # infinite in 32 bits
        (lambda t: pd.concat([t, t.iloc[1:2]]), "holds a name twice: 'P2'"),
    ],
)
def test_a_table_of_vectors_says_what_is_wrong(screen, change, words):
    table = pd.DataFrame(
        [[1.0, 2], [1, 3], [2, 4], [4, 2], [5, 6]], index=[f"P{i}" for i in range(1, 6)]
    )
    with pytest.raises(ValueError, match=words):
        sh.tl.fit(screen, "nearest", embedding=change(table))


def test_numbers_of_later_contexts_go_by_their_names(screen):
    table = pd.DataFrame({"size": [1.0, 3.0], "age": [10.0, 40.0]}, index=["context1", "context2"])
    model = sh.tl.fit(screen, "nearest_context", context_embedding=table)
    model.add_contexts(pd.DataFrame({"age": [20.0], "size": [2.0]}, index=["c"]))
    np.testing.assert_array_equal(model.vocabulary.context_vectors.of(["c"]), [[2.0, 20.0]])
    with pytest.raises(ValueError, match="have the columns 'weight', 'age', and those of training"):
        model.add_contexts(pd.DataFrame({"weight": [2.0], "age": [2.0]}, index=["d"]))
    for other in ({"d": [1.0, 2.0]}, "d"):
        with pytest.raises(TypeError, match="must be an AnnData, not"):
            model.add_contexts(other)
    with pytest.raises(TypeError, match="like must be an AnnData, not str"):
        sh.pp.embed_contexts(screen, like="screen")


# -- graphs --------------------------------------------------------------------------------------------------------------


def test_weights_below_0_are_refused_where_vectors_are_carried(screen):
    known = pd.DataFrame(np.eye(5), index=[f"P{i}" for i in range(1, 6)]).iloc[:2]
    edges = pd.DataFrame({"source": ["P1"], "target": ["P3"], "weight": [-1.0]})
    how = {"method": "propagated", "source": known, "missing": "drop"}
    with pytest.raises(ValueError, match="1 of 1 edges have a weight below 0"):
        sh.pp.embed(screen, graph=edges, **how)


@pytest.fixture
def networks():
    pytest.importorskip("torch", reason="networks need the extra 'models'")
    pytest.importorskip("scvi", reason="networks need the extra 'models'")


def test_a_table_of_edges_is_read_as_link_reads_it(networks, screen, caplog):
    from shoal.models.base._graph_term import _graphs_of

    sh.pp.link(screen, source=EDGES, key_added="linked")
    linked = screen.uns["perturbation_graphs"]["linked"]
    blanks = EDGES.assign(source=EDGES["source"] + " ")
    for table in (EDGES, blanks, EDGES.rename(columns={"source": "a", "target": "b"})):
        edges = _graphs_of(screen, table)["table"][0]
        assert edges.astype(str).to_numpy().tolist() == linked.astype(str).to_numpy().tolist()
    with caplog.at_level(logging.WARNING):
        _graphs_of(screen, EDGES.rename(columns={"importance": "score"}))
    assert "no column of the edges is named 'weight'" in caplog.text


def test_what_a_training_is_given_is_looked_at_first(networks, screen, fit_flow):
    for given, error, words in (
        ({"graph_weight": 0.5}, ValueError, "graph_weight=0.5.*pass graph= with them"),
        ({"layer": "logged"}, KeyError, "'logged' is not in adata.layers, which holds 'counts'"),
        ({"use_rep": "X_umap"}, KeyError, "'X_umap' is not in adata.obsm, which holds 'X_pca'"),
        ({"checkpoint_dir": 5}, TypeError, "checkpoint_dir must be a path, not 5"),
        ({"callbacks": [5]}, TypeError, "callbacks is a list of those of Lightning, and 5 is none"),
        ({"enable_progress_bar": "no"}, TypeError, "enable_progress_bar must be True or False"),
        ({"weight_decay": -1}, ValueError, "weight_decay must be a number from 0 to inf, not -1"),
        ({"ema": 1.0}, ValueError, "ema=1 must be below 1"),
        ({"config": {"dropout": 1}}, ValueError, "dropout=1 leaves out everything"),
        ({"config": {"condition_dropout": 1}}, ValueError, "condition_dropout=1 leaves out"),
        ({"config": {"width": 2.5}}, TypeError, "width is a whole number, not 2.5"),
        ({"config": {"guidance": {"contxt": 1}}}, ValueError, "guidance='contxt' is not known"),
    ):
        with pytest.raises(error, match=words):
            fit_flow(screen, max_steps=1, **given)


def test_options_that_would_do_nothing_are_refused(networks, screen, fit_flow):
    model = fit_flow(screen, max_steps=1)
    for options, error, words in (
        ({"cross_context": "no"}, TypeError, "cross_context must be True or False, not 'no'"),
        (
            {"eps0": 0.5},
            ValueError,
            "eps0 is the noise of sampler='sde', and the sampler is 'heun'",
        ),
        ({"guidance": {"contxt": 1}}, ValueError, "guidance='contxt' is not known"),
    ):
        with pytest.raises(error, match=words):
            model.predict("P1", n_cells=2, **options)


def test_a_covariate_of_no_screen_is_no_guidance(networks):
    from shoal.models.base._guidance import known_guidance

    assert known_guidance({"dose": 2.0, "context": 0.5}, ("perturbation", "context")) == {
        "context": 0.5
    }
    with pytest.raises(ValueError, match="guidance='contxt' is not known.*Did you mean 'context'"):
        known_guidance({"contxt": 0.5}, ("perturbation", "context"))


def test_a_checkpoint_of_other_cells_is_refused(networks, screen, fit_flow, tmp_path):
    fit_flow(screen, max_steps=2, checkpoint_dir=tmp_path)
    fewer = screen[screen.obs["perturbation"] != "P3"].copy()
    with pytest.raises(ValueError, match="was made on other training cells"):
        fit_flow(fewer, max_steps=2, checkpoint_dir=tmp_path, resume=True)
