"""The face of scvi-tools: every method that is offered works, and the others say what to call."""

from __future__ import annotations

import pytest

import shoal as sh

pytest.importorskip("scvi", reason="scvi-tools, of the extra models, is not installed")

from scvi.model.base import BaseModelClass

from shoal.models.base._face import IN_STEPS, NOT_OFFERED

CALLS = {  # of the methods of scvi-tools: a call of each
    "adata": lambda m, a: m.adata.shape,
    "adata_manager": lambda m, a: m.adata_manager.registry,
    "data_registry": lambda m, a: m.data_registry("X").shape,
    "deregister_manager": lambda m, a: m.deregister_manager() or True,
    "device": lambda m, a: str(m.device),
    "get_anndata_manager": lambda m, a: m.get_anndata_manager(m.adata).registry,
    "get_from_registry": lambda m, a: m.get_from_registry(m.adata, "X").shape,
    "get_setup_arg": lambda m, a: m.get_setup_arg("layer") is None,
    "get_state_registry": lambda m, a: m.get_state_registry("X"),
    "get_var_names": lambda m, a: len(m.get_var_names()),
    "history": lambda m, a: list(m.history),
    "is_trained": lambda m, a: m.is_trained,
    "load": lambda m, a: type(m).load(a),
    "register_manager": lambda m, a: type(m).register_manager,
    "registry": lambda m, a: m.registry,
    "run_id": lambda m, a: m.run_id == "",
    "run_name": lambda m, a: m.run_name,
    "save": lambda m, a: m.save(a, overwrite=True) or True,
    "setup_anndata": lambda m, a: type(m).setup_anndata(m.adata) or True,
    "summary_string": lambda m, a: m.summary_string,
    "to_device": lambda m, a: m.to_device("cpu") or True,
    "train": lambda m, a: m.train(max_steps=1, accelerator="cpu") or True,
    "transfer_fields": lambda m, a: m.transfer_fields(m.adata.copy()),
    "view_anndata_setup": lambda m, a: m.view_anndata_setup() or True,
    "view_setup_method_args": lambda m, a: m.view_setup_method_args() or True,
}


@pytest.fixture(scope="module")
def model():
    adata = sh.ds.simulate_gaussian(n_perturbations=3, n_dims=4, n_cells=10, n_control=20, rng=0)
    return sh.tl.fit(adata, "flow", max_steps=1, accelerator="cpu", enable_progress_bar=False)


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("face") / "model"
    model.save(path)
    return path


def test_every_inherited_method_is_tried_or_not_offered(model):
    inherited = {name for name in dir(BaseModelClass) if not name.startswith("_")}
    offered = inherited & set(dir(model))
    assert offered == set(CALLS) & inherited
    assert inherited - offered <= set(NOT_OFFERED)  # older versions of scvi-tools have fewer


@pytest.mark.parametrize("name", CALLS)
def test_what_is_offered_works(model, folder, name):
    assert CALLS[name](model, folder)


@pytest.mark.parametrize("name", NOT_OFFERED)
def test_what_is_not_offered_says_what_to_call(model, name):
    assert not hasattr(model, name)
    with pytest.raises(AttributeError, match=rf"Flow has no '{name}', a method of scvi-tools: "):
        getattr(model, name)


def test_a_model_without_cells_says_so(folder):
    loaded = sh.models.load(folder)
    for name in ("view_anndata_setup", "view_setup_method_args", "get_var_names"):
        with pytest.raises(ValueError, match=r"loaded without cells.*load\(folder, adata\)"):
            getattr(loaded, name)()
    assert str(loaded.device) == "cpu"


def test_it_shows_how_it_was_set_up(model, folder, capsys):
    for one in (model, sh.models.load(folder, model.adata)):
        one.view_anndata_setup()
        shown = capsys.readouterr().out
        assert "Flow.setup_anndata" in shown
        assert "adata.X" in shown


def test_epochs_are_translated_into_steps(model):
    """30 perturbed cells, in steps of 4 x 2 of them."""
    sizes = {"set_size": 4, "batch_conditions": 2, "accelerator": "cpu"}
    with pytest.raises(TypeError, match=r"seen once in 4 steps, and max_epochs=5 is max_steps=20"):
        model.train(max_epochs=5, **sizes)
    with pytest.raises(TypeError, match="max_epochs"):
        sh.tl.fit(model.adata, "flow", max_epochs=5, **sizes)


@pytest.mark.parametrize("name", IN_STEPS)
def test_other_arguments_of_scvi_are_translated(model, name):
    with pytest.raises(TypeError, match=f"no setting '{name}' of scvi-tools: "):
        model.train(**{name: 0.5})
