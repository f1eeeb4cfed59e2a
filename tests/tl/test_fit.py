"""tl.fit: a model by name or class, from an AnnData in any form."""

from __future__ import annotations

from types import SimpleNamespace

import anndata as ad
import numpy as np
import pytest
from scipy import sparse

import shoal as sh
from shoal.models.base._registry import names

from ..helpers import dense

TINY = {"n_latent": 8, "width": 16, "depth": 1}
FAST = {"max_steps": 6, "val_every": 3, "batch_conditions": 4, "set_size": 16, "accelerator": "cpu"}
NEED_MORE = ("latent_linear", "other_contexts")  # an embedding; a perturbation in one context only


@pytest.fixture(scope="session")
def logged():
    adata = sh.ds.simulate(
        n_perturbations=4, n_cells=40, n_control=80, n_genes=60, contexts=2, rng=0
    )
    sh.pp.prepare(adata, normalize="log1p", n_comps=8)
    return adata


@pytest.fixture
def adata(logged):
    return logged.copy()


@pytest.fixture
def flow():
    """Return what trains a small flow, on one thread of torch."""
    torch = pytest.importorskip("torch", reason="networks need the extra 'models'")
    pytest.importorskip("scvi", reason="networks need the extra 'models'")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield lambda data, *, config=TINY, **arguments: sh.tl.fit(
        data, "flow", config=config, **FAST | arguments
    )
    torch.set_num_threads(before)


def predicted(model, **asked):
    return dense(model.predict("P1", n_cells=10, rng=1, **asked).X)


# -- which model -----------------------------------------------------------------------------------------------------


def test_a_name_or_a_class(adata):
    one, two = sh.tl.fit(adata, "mean_shift"), sh.tl.fit(adata, sh.models.MeanShift)
    assert type(one) is type(two) is sh.models.MeanShift
    np.testing.assert_array_equal(predicted(one), predicted(two))


def test_without_a_name_it_is_the_ensemble_and_that_needs_no_network(adata):
    sh.pp.split(adata, by="perturbation", test=["P1"], val=0)
    model, named = sh.tl.fit(adata, rng=2), sh.tl.fit(adata, "auto", rng=2)
    assert type(model) is sh.models.Ensemble
    np.testing.assert_array_equal(
        dense(model.predict("P1", n_cells=5).X), dense(named.predict("P1", n_cells=5).X)
    )
    with pytest.raises(TypeError, match="Ensemble has no 'max_steps': training takes"):
        sh.tl.fit(adata, max_steps=5)


@pytest.mark.parametrize("name", [name for name in names("baseline") if name not in NEED_MORE])
def test_every_baseline_is_fitted_by_name(adata, name):
    model = sh.tl.fit(adata, name)
    assert model.is_trained
    assert np.isfinite(predicted(model)).all()


class Own:
    """A model of a user's own: two methods are all that tl.fit asks for."""

    @classmethod
    def setup_anndata(cls, adata, perturbation_key, *, control, layer, use_rep):
        cls.seen = (adata.n_obs, perturbation_key, control, layer, use_rep)

    def __init__(self, adata, *, embedding=None, depth=1, rng):
        self.made = SimpleNamespace(embedding=embedding, depth=depth, rng=rng)

    def train(self, max_steps=5, *, rng):
        self.trained = SimpleNamespace(max_steps=max_steps, rng=rng)


def test_a_class_of_ones_own(adata):
    model = sh.tl.fit(
        adata,
        Own,
        control="control",
        perturbation_key="perturbation",
        config={"depth": 3},
        max_steps=9,
    )
    assert Own.seen == (adata.n_obs, "perturbation", "control", None, None)
    assert (model.made.depth, model.made.embedding, model.trained.max_steps) == (3, None, 9)
    again, other = sh.tl.fit(adata, Own, rng=0), sh.tl.fit(adata, Own, rng=1)
    assert (again.made.rng, again.trained.rng) == (model.made.rng, model.trained.rng)
    assert len({model.made.rng, model.trained.rng, other.made.rng, other.trained.rng}) == 4
    assert again.trained.max_steps == 5


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"model": "flwo"}, ValueError, "model='flwo' is not known; choose one of 'additive'"),
        ({"model": 3}, TypeError, "or a class with setup_anndata and train; not 3"),
        ({"model": dict}, TypeError, "or a class with setup_anndata and train; not <class 'dict'>"),
        ({"max_steps": 3}, TypeError, "MeanShift has no 'max_steps': training takes no arguments"),
        (
            {"config": {"width": 3}},
            TypeError,
            "MeanShift has no 'width': the constructor takes no arguments",
        ),
        ({"preset": "fast"}, TypeError, "MeanShift has no 'preset'"),
        ({"model": Own, "lr": 1.0}, TypeError, "Own has no 'lr': training takes max_steps, rng"),
        ({"control": "NT"}, KeyError, r"'NT' is not in adata\.obs\['perturbation'\]"),
        ({"perturbation_key": "gene"}, (KeyError, ValueError), "gene"),
        ({"layer": "log"}, KeyError, r"'log' is not in adata\.layers"),
        ({"use_rep": "X_umap"}, KeyError, r"'X_umap' is not in adata\.obsm"),
        ({"layer": "counts", "use_rep": "X_pca"}, ValueError, "exclude each other"),
        ({"layer": "counts"}, ValueError, r"layers\['counts'\] holds whole numbers .*: raw counts"),
        ({"mod": "rna"}, ValueError, "mod='rna' was given but data is an AnnData"),
    ],
)
def test_what_is_refused_leaves_nothing_behind(adata, arguments, error, words):
    before = set(adata.obs), set(adata.layers), set(adata.uns)
    with pytest.raises(error, match=words):
        sh.tl.fit(adata, **{"model": "mean_shift"} | arguments)
    assert (set(adata.obs), set(adata.layers), set(adata.uns)) == before


def test_a_screen_that_nobody_annotated(adata):
    del adata.uns["shoal"]
    with pytest.raises(
        ValueError, match=r"which column holds the perturbations\? Call sh\.pp\.annotate"
    ):
        sh.tl.fit(adata, "mean_shift")
    model = sh.tl.fit(adata, "mean_shift", perturbation_key="perturbation", control="control")
    assert model.vocabulary.screen.context_key is None


def test_a_network_without_its_libraries_names_the_extra(adata, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(
        ImportError,
        match=r"torch is needed here and is not installed: pip install 'shoal\[models\]'",
    ):
        sh.tl.fit(adata, "flow")


# -- forms of data ---------------------------------------------------------------------------------------------------


def test_a_view(adata, flow):
    half = (adata.obs["context"] == "context1").to_numpy()
    view, whole = adata[half], adata[half].copy()
    model = flow(view)
    assert not view.is_view
    assert model.adata is view
    np.testing.assert_array_equal(predicted(model), predicted(flow(whole)))
    assert "_scvi_uuid" not in adata.uns


@pytest.mark.parametrize("form", [dense, sparse.csr_matrix], ids=["dense", "csr"])
def test_a_file(adata, flow, tmp_path, form):
    adata.X = form(dense(adata.X))
    adata.write_h5ad(tmp_path / "screen.h5ad")
    backed = ad.read_h5ad(tmp_path / "screen.h5ad", backed="r")
    expected, resident, streamed = (
        flow(adata),
        flow(backed, store="resident"),
        flow(backed, store="streamed"),
    )
    np.testing.assert_array_equal(resident.space.axes, expected.space.axes)
    np.testing.assert_allclose(predicted(resident), predicted(expected), atol=1e-5)
    np.testing.assert_array_equal(streamed.space.axes, expected.space.axes)
    assert np.isfinite(predicted(streamed)).all()
    np.testing.assert_allclose(
        predicted(streamed), predicted(flow(adata, store="streamed")), atol=1e-5
    )
    sh.tl.predict(backed, resident)
    sh.tl.predict(adata, expected)
    np.testing.assert_allclose(
        dense(backed.layers["predicted"]), dense(adata.layers["predicted"]), atol=1e-5
    )
    with pytest.raises(ValueError, match=r"view of an AnnData backed by a file"):
        flow(backed[:100])
    backed.file.close()


def test_a_layer(adata, flow):
    expected = predicted(flow(adata))
    adata.layers["log"], adata.X = adata.X.copy(), adata.layers["counts"].copy()
    model = flow(adata, layer="log")
    np.testing.assert_array_equal(predicted(model), expected)
    sh.tl.predict(adata, model)
    control = (adata.obs["perturbation"] == "control").to_numpy()
    np.testing.assert_array_equal(
        dense(adata.layers["predicted"])[control], dense(adata.layers["log"])[control]
    )


def test_a_representation(adata, flow, tmp_path):
    model = flow(adata, use_rep="X_pca")
    sh.tl.predict(adata, model, key_added="flow")
    twins, control = adata.obsm["X_flow"], (adata.obs["perturbation"] == "control").to_numpy()
    assert twins.shape == adata.obsm["X_pca"].shape
    assert np.isfinite(twins).all()
    assert (twins < 0).any()
    np.testing.assert_array_equal(twins[control], adata.obsm["X_pca"][control].astype(np.float32))
    assert "flow" not in adata.layers
    model.save(tmp_path / "model")
    np.testing.assert_array_equal(
        predicted(sh.models.Flow.load(tmp_path / "model", adata)), predicted(model)
    )


def test_a_modality(adata, flow):
    mudata = pytest.importorskip("mudata")
    mdata = mudata.MuData(
        {"rna": adata.copy(), "protein": ad.AnnData(np.ones((adata.n_obs, 2)), obs=adata.obs[[]])}
    )
    model = flow(mdata, mod="rna")
    np.testing.assert_array_equal(predicted(model), predicted(flow(adata)))
    sh.tl.predict(mdata, model, mod="rna")
    assert mdata.mod["rna"].layers["predicted"].shape == adata.shape
    assert type(sh.tl.fit(mdata, "mean_shift", mod="rna")) is sh.models.MeanShift
    for fit in (flow, lambda data: sh.tl.fit(data, "mean_shift")):
        with pytest.raises(ValueError, match="say which modality with mod="):
            fit(mdata)


def test_a_written_screen_carries_on(adata, flow, tmp_path):
    """What training and prediction enter into an AnnData survives a file, and it can be trained on again."""
    sh.tl.predict(adata, flow(adata), key_added="flow")
    adata.write_h5ad(tmp_path / "screen.h5ad")
    back = ad.read_h5ad(tmp_path / "screen.h5ad")
    np.testing.assert_array_equal(dense(back.layers["flow"]), dense(adata.layers["flow"]))
    np.testing.assert_array_equal(predicted(flow(back)), predicted(flow(adata)))


def test_an_error_leaves_the_registry_of_an_earlier_fit_alone(adata, flow):
    flow(adata, config=TINY)
    before = dict(adata.uns)
    with pytest.raises(ValueError, match="max_steps must be a whole number"):
        flow(adata, config=TINY, max_steps=-1)
    assert adata.uns.keys() == before.keys()
    assert all(adata.uns[key] is value for key, value in before.items())


# -- real cells ------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_interferon_response_of_a_cell_type_that_was_not_measured(read_real, flow):
    adata = read_real("kang18_scgen_valid.h5ad")
    sh.pp.annotate(adata, "condition", control="control", context_key="cell_type")
    sh.pp.prepare(adata, normalize="log1p", n_top_genes=1000, n_comps=20)
    adata = adata[:, adata.var["highly_variable"]].copy()
    sh.pp.split(adata, by="context", test=["CD4T"])
    config = {"n_latent": 20, "width": 32, "depth": 1}
    model = flow(adata, config=config, max_steps=250, val_every=250, set_size=32)
    sh.tl.predict(adata, model, key_added="flow", subset="test", n_steps=10)
    test = (adata.obs["split"] == "test").to_numpy()
    np.testing.assert_array_equal(adata.obs["flow_predicted"], test)
    start = adata[adata.obs["flow_source"][test]]
    assert set(start.obs["cell_type"]) == {"CD4T"}
    gene = adata.var_names.get_loc("ISG15")
    before, twin, real = start.X, adata.layers["flow"][test], adata.X[test]
    shift, truth = (
        dense(cells).mean(axis=0) - dense(before).mean(axis=0) for cells in (twin, real)
    )
    assert truth[gene] / 2 < shift[gene] < 2 * truth[gene]
    assert np.corrcoef(shift, truth)[0, 1] > 0.7
