"""The registry is the one list of models: folders, names, pages and saved files go by it."""

from __future__ import annotations

import importlib.util
import inspect
import pickle
from pathlib import Path

import numpy as np
import pytest

import shoal as sh
from shoal.models.base import _registry
from shoal.models.base._registry import NEEDS, entries, kind_of, model_class, name_of, names

ROOT = Path(__file__).parents[3]
FOLDERS = sorted(
    path.parent.name
    for path in (ROOT / "src" / "shoal" / "models").glob("*/__init__.py")
    if path.parent.name not in ("base", "start", "space", "post")
)
PAGES = {"_models_table.md": "user_guide/prediction.md", "_models_api.md": "api/models.md"}


def pages():
    """Return the module that writes the pages on models, ``docs/_models.py``."""
    spec = importlib.util.spec_from_file_location("_models", ROOT / "docs" / "_models.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(autouse=True)
def only_here(monkeypatch):
    """Forget after each test what it registered."""
    for name in ("_ENTRIES", "_CLASSES"):
        monkeypatch.setattr(_registry, name, dict(getattr(_registry, name)))


class Twice(sh.models.MeanShift):
    """Control cells plus twice the mean response.

    More about it.
    """

    def _shifts(self, names, context, dose):
        return 2 * super()._shifts(names, context, dose)


# -- the list --------------------------------------------------------------------------------------


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_folder_registers_a_model(folder):
    assert any(entry.module.startswith(f"shoal.models.{folder}.") for entry in entries()), (
        f"models/{folder}/__init__.py registers no model: call enter(ModelEntry(...)) there"
    )


@pytest.mark.parametrize("entry", entries(), ids=lambda entry: entry.name)
def test_an_entry_says_what_its_class_is(entry):
    if entry.kind == "network":
        pytest.importorskip("scvi", reason="networks need the extra 'models'")
    cls = model_class(entry.name)
    assert (cls.__name__, cls.__module__) == (entry.class_name, entry.module)
    assert kind_of(cls) == kind_of(entry.name) == entry.kind
    assert name_of(cls) == entry.name
    assert set(entry.needs) <= set(NEEDS)
    takes = inspect.signature(cls.__init__).parameters
    assert ("embedding" in takes) == ("embedding" in entry.needs)
    assert entry.description
    assert entry.unseen
    assert getattr(sh.models, entry.class_name) is cls
    for name in entry.exports:
        assert name in sh.models.__all__
        assert getattr(sh.models, name).__name__ == name


def test_available_is_a_table():
    table = sh.models.available()
    assert table.index.tolist() == names()
    assert names() == [*names("baseline"), "auto", *names("network")]
    assert table.columns.tolist() == ["kind", "needs", "description", "unseen"]
    assert table.loc["nearest", "needs"] == "embedding, contexts, doses"
    assert table.loc["flow", "kind"] == "network"


def test_the_namespace_lists_what_it_offers():
    public = {name for entry in entries() for name in entry.exports}
    functions = {"available", "load", "register"}
    assert set(sh.models.__all__) == public | functions | {"Baseline", "Moved", "PerturbationModel"}
    assert sh.models.__all__ == dir(sh.models) == sorted(sh.models.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'Flwo'; it has Additive"):
        sh.models.Flwo  # noqa: B018


@pytest.mark.parametrize(("part", "page"), PAGES.items())
def test_the_pages_include_what_is_generated(part, page):
    assert f"```{{include}} ../generated/{part}" in (ROOT / "docs" / page).read_text()


def test_every_model_is_on_the_pages():
    table, api = pages().table(), pages().api()
    for entry in entries():
        (row,) = [line for line in table.splitlines() if line.startswith(f"| `{entry.name}` |")]
        assert entry.description in row
        assert f"| {', '.join(entry.needs) or '-'} |" in row
    listed = [line.split(".")[1] for line in api.splitlines() if line.startswith("   models.")]
    assert sorted(listed) == sh.models.__all__


# -- models of one's own ---------------------------------------------------------------------------


def test_a_registered_baseline_goes_where_a_name_goes(screen, tmp_path):
    sh.models.register("twice", Twice, needs=("contexts",), unseen="twice the mean response")
    assert sh.models.available().loc["twice"].tolist() == [
        "baseline",
        "contexts",
        "Control cells plus twice the mean response.",
        "twice the mean response",
    ]
    sh.pp.split(screen, by="perturbation", test=["P1", "P2"])
    model = sh.tl.fit(screen, "twice")
    assert type(model) is Twice
    model.save(tmp_path / "twice")
    assert type(sh.models.load(tmp_path / "twice")) is Twice
    sh.tl.predict(screen, model, key_added="twice")
    options = {"metrics": ["energy"], "min_cells": 5}
    sh.tl.evaluate(screen, prediction="twice", baselines=["twice", "mean_shift"], **options)
    assert {"twice", "mean_shift"} < set(screen.uns["evaluation"]["scores"]["contender"])
    sh.tl.benchmark(screen, ["twice", "mean_shift"], **options)
    assert screen.uns["leaderboard"]["table"].loc["twice", "kind"] == "baseline"


def test_automatic_baselines_are_those_of_shoal(screen):
    sh.models.register("twice", Twice)
    sh.pp.split(screen, by="perturbation", test=["P1", "P2"])
    from shoal.evaluation._baselines import baseline_names

    automatic = baseline_names(screen, "auto")
    assert sorted(automatic) == sorted(set(names("baseline")) - {"control", "twice"})
    assert baseline_names(screen, ["twice"]) == ["twice"]


def test_a_benchmark_passes_the_class_on_to_its_processes():
    from shoal.evaluation._models import read_models

    sh.models.register("twice", Twice)
    (model,) = read_models(["twice"])
    assert (model.label, model.model, model.kind) == ("twice", Twice, "baseline")
    assert pickle.loads(pickle.dumps(model)) == model
    (other,) = read_models([{"name": "mean_shift", "label": "mean"}])
    assert (other.label, other.model) == ("mean", "mean_shift")


def test_a_class_with_two_methods_can_be_registered():
    class Own:
        @classmethod
        def setup_anndata(cls, adata, perturbation_key, *, control, layer, use_rep):
            pass

        def train(self):
            pass

    sh.models.register("own", Own, description="made by hand")
    assert model_class("own") is Own
    assert sh.models.available().loc["own", ["kind", "description"]].tolist() == [
        "network",
        "made by hand",
    ]


def test_a_name_is_taken_once():
    sh.models.register("twice", Twice)
    sh.models.register("twice", Twice)  # the same class, as where a cell of a notebook runs again
    again = type("Twice", (sh.models.MeanShift,), {"__module__": __name__})
    sh.models.register("twice", again)
    assert model_class("twice") is again
    for name in ("twice", "mean_shift"):
        with pytest.raises(ValueError, match=rf"the name '{name}' is taken by .*overwrite=True"):
            sh.models.register(name, sh.models.OwnShift)
    sh.models.register("mean_shift", Twice, overwrite=True)
    assert model_class("mean_shift") is Twice
    assert sh.models.MeanShift is Twice.__mro__[1]


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        (("my model", Twice), ValueError, "cannot be called 'my model': use letters"),
        (("", Twice), ValueError, "cannot be called ''"),
        ((3, Twice), ValueError, "cannot be called 3"),
        (("mine", dict), TypeError, "or a class with setup_anndata and train; not <class 'dict'>"),
        (("mine", "flow"), TypeError, "a class with setup_anndata and train; not 'flow'"),
    ],
)
def test_what_cannot_be_registered(arguments, error, words):
    with pytest.raises(error, match=words):
        sh.models.register(*arguments)


def test_an_unknown_need_is_refused():
    with pytest.raises(ValueError, match="needs='dose' is not known; choose one of 'embedding'"):
        sh.models.register("mine", Twice, needs=("dose",))


# -- saved models ----------------------------------------------------------------------------------


def test_a_class_that_is_not_registered_is_named(screen, tmp_path, monkeypatch):
    sh.models.register("mine", Twice)
    sh.tl.fit(screen, "mine").save(tmp_path / "model")
    monkeypatch.setattr(_registry, "_ENTRIES", {})
    words = (
        r"of the class Twice, which is not registered: import the class, call sh\.models\.register"
        r"\('mine', Twice\) and load again, or call Twice\.load\(folder\)"
    )
    with pytest.raises(ValueError, match=words):
        sh.models.load(tmp_path / "model", screen)
    assert Twice.load(tmp_path / "model", screen).is_trained
    sh.models.register("other", Twice)  # the class counts, not the name it was saved under
    again = sh.models.load(tmp_path / "model", screen)
    np.testing.assert_array_equal(
        again.predict("P1", n_cells=5).X,
        Twice.load(tmp_path / "model", screen).predict("P1", n_cells=5).X,
    )


def test_another_class_of_the_same_name_is_not_taken_for_it(screen, tmp_path):
    sh.models.register("mine", Twice)
    sh.tl.fit(screen, "mine").save(tmp_path / "model")
    sh.models.register("mine", sh.models.OwnShift, overwrite=True)
    with pytest.raises(ValueError, match="of the class Twice, which is not registered"):
        sh.models.load(tmp_path / "model", screen)
