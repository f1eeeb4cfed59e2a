"""A model on disk: what is in the file, what it needs to come back, and what an accident leaves."""

from __future__ import annotations

import errno
import json
from types import MappingProxyType
from zipfile import ZipFile

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import shoal as sh

pytest.importorskip("torch", reason="networks need the extra 'models'")
pytest.importorskip("scvi", reason="networks need the extra 'models'")

ASKED = {
    "perturbations": ["P1", "P2+P3"],
    "context": "context2",
    "n_cells": 12,
    "rng": 7,
    "n_steps": 4,
}


@pytest.fixture
def model(divided, fit_flow):
    return fit_flow(divided, max_steps=10)


def test_a_loaded_model_is_the_saved_one(model, divided, tmp_path):
    model.save(tmp_path / "deep" / "model")
    back = sh.models.Flow.load(tmp_path / "deep" / "model", divided)
    np.testing.assert_array_equal(back.predict(**ASKED).X, model.predict(**ASKED).X)
    for one, two in zip(model.twins(rng=1), back.twins(rng=1), strict=True):
        np.testing.assert_array_equal(one, two)
    assert back.is_trained
    assert back.config == model.config
    assert back.vocabulary.screen == model.vocabulary.screen
    assert not back.module.training
    assert back.history.keys() == model.history.keys()
    for name, table in back.history.items():
        pd.testing.assert_frame_equal(table, model.history[name])


def test_the_file_holds_arrays_texts_and_numbers_only(model, tmp_path):
    model.save(tmp_path / "model")
    assert [path.name for path in (tmp_path / "model").iterdir()] == ["model.npz"]
    with np.load(tmp_path / "model" / "model.npz", allow_pickle=False) as file:
        entry = json.loads(file["model.json"])
        arrays = [file[key] for key in file.files if key != "model.json"]
    assert {array.dtype.kind for array in arrays} <= set("biuf")
    told = {key: entry[key] for key in ("schema", "name", "class", "version")}
    assert told == {
        "schema": "model/2",
        "name": "flow",
        "class": "Flow",
        "version": sh.__version__,
    }


def test_numbers_of_numpy_and_mappings_are_saved_as_plain_ones(screen, fit_flow, tmp_path):
    config = {
        "width": np.int64(8),
        "dropout": np.float64(0.1),
        "guidance": MappingProxyType({"context": 1.5}),
    }
    model = fit_flow(screen, config=config, max_steps=1)
    model.save(tmp_path / "model")
    back = sh.models.Flow.load(tmp_path / "model", screen)
    assert back.config["sampling"]["guidance"] == {"context": 1.5}
    np.testing.assert_array_equal(back.predict(**ASKED).X, model.predict(**ASKED).X)


def test_what_a_file_cannot_hold_is_refused_before_it_is_written(model, tmp_path):
    model.config["sampling"]["guidance"] = object
    with pytest.raises(
        TypeError,
        match=r"config\.sampling\.guidance is a type, which a model file cannot hold: it holds n",
    ):
        model.save(tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_there_is_kept_unless_one_says_so(model, divided, fit_flow, tmp_path):
    folder = tmp_path / "model"
    model.save(folder, save_anndata=True)
    before = (folder / "model.npz").read_bytes()
    other = fit_flow(divided, max_steps=2, rng=5)
    with pytest.raises(FileExistsError, match=r"exists; pass overwrite=True"):
        other.save(folder)
    assert (folder / "model.npz").read_bytes() == before
    other.save(folder, overwrite=True)
    back = sh.models.Flow.load(folder, divided)
    np.testing.assert_array_equal(back.predict(**ASKED).X, other.predict(**ASKED).X)
    with pytest.raises(ValueError, match="loaded without cells"):  # not those of the first model
        sh.models.Flow.load(folder).predict(**ASKED)


@pytest.mark.parametrize("part", ["model", "adata"])
def test_a_full_disk_leaves_the_model_that_was_there(
    model, divided, fit_flow, tmp_path, monkeypatch, part
):
    def fails(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    folder, other = tmp_path / "model", fit_flow(divided, max_steps=2, rng=5)
    model.save(folder, save_anndata=True)
    monkeypatch.setattr(
        *((np, "savez_compressed") if part == "model" else (ad.io, "write_elem")), fails
    )
    with pytest.raises(OSError, match="No space left"):
        other.save(folder, overwrite=True, save_anndata=True)
    with pytest.raises(OSError, match="No space left"):
        other.save(tmp_path / "new", save_anndata=True)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["adata.h5ad", "model", "model.npz"]
    back = sh.models.Flow.load(folder)
    np.testing.assert_array_equal(back.predict(**ASKED).X, model.predict(**ASKED).X)


# -- loading ---------------------------------------------------------------------------------------


class Stream(sh.models.Flow):
    """Another class of the same family."""


@pytest.mark.parametrize("content", [b"", b"abc", b"PK\x03\x04 half a file" * 9])
def test_a_damaged_file_is_named(model, divided, tmp_path, content):
    model.save(tmp_path / "model")
    (tmp_path / "model" / "model.npz").write_bytes(content)
    with pytest.raises(
        ValueError, match=r"model\.npz is no model saved by shoal, or it is damaged"
    ):
        sh.models.Flow.load(tmp_path / "model", divided)


def test_what_is_no_model_of_this_class(model, divided, tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"there is no model.npz in .*model; model.save\(folder\) writes it"
    ):
        sh.models.Flow.load(tmp_path / "model", divided)
    model.save(tmp_path / "model")
    with pytest.raises(ValueError, match="holds a Flow, not a Stream: load it with that class"):
        Stream.load(tmp_path / "model", divided)
    np.savez(tmp_path / "model" / "model.npz", weights=np.ones(3))
    with pytest.raises(ValueError, match="is no model saved by shoal"):
        sh.models.Flow.load(tmp_path / "model", divided)
    with ZipFile(tmp_path / "model" / "model.npz", "a") as file:
        file.writestr("model.json", '{"schema": "model/9"}')
    with pytest.raises(ValueError, match="is not a model saved by this version of shoal"):
        sh.models.Flow.load(tmp_path / "model", divided)
    sh.tl.fit(divided, "mean_shift").save(tmp_path / "baseline")
    with pytest.raises(ValueError, match="holds a MeanShift, not a Flow"):
        sh.models.Flow.load(tmp_path / "baseline", divided)


def test_data_come_from_the_call_or_from_the_folder(model, tmp_path):
    model.save(tmp_path / "bare")
    with pytest.raises(ValueError, match=r"this Flow was loaded without cells.*pass adata="):
        sh.models.Flow.load(tmp_path / "bare").predict(**ASKED)
    model.save(tmp_path / "whole", save_anndata=True)
    back = sh.models.Flow.load(tmp_path / "whole")
    np.testing.assert_array_equal(back.predict(**ASKED).X, model.predict(**ASKED).X)


def test_data_without_the_record_of_annotate(model, divided, tmp_path):
    model.save(tmp_path / "model")
    del divided.uns["shoal"], divided.obs["split"]
    back = sh.models.Flow.load(tmp_path / "model", divided)
    np.testing.assert_array_equal(back.predict(**ASKED).X, model.predict(**ASKED).X)


def test_genes_may_come_in_another_order_but_must_be_there(model, divided, tmp_path):
    model.save(tmp_path / "model")
    back = sh.models.Flow.load(tmp_path / "model", divided[:, ::-1].copy())
    made = back.predict(**ASKED)
    assert list(made.var_names) == list(divided.var_names)
    np.testing.assert_allclose(made.X, model.predict(**ASKED).X, atol=1e-5)
    few, keys = divided[:, 5:].copy(), set(divided.uns)
    with pytest.raises(
        KeyError,
        match=r"5 of the 60 features that the model was trained on are not in this AnnData",
    ):
        sh.models.Flow.load(tmp_path / "model", few)
    assert set(few.uns) == keys
    del divided.obs["context"]
    with pytest.raises(KeyError, match=r"'context' is not in adata\.obs"):
        sh.models.Flow.load(tmp_path / "model", divided)


def test_names_that_training_did_not_know(model, divided, tmp_path, caplog):
    model.save(tmp_path / "model")
    names, late = (
        divided.obs["perturbation"].astype(str),
        (divided.obs["context"] == "context2").to_numpy(),
    )
    divided.obs["perturbation"] = names.replace("P3", "Q").to_numpy()
    divided.obs["context"] = np.where(late, "context9", "context1")
    divided.obs["batch"] = "batch7"
    back = sh.models.Flow.load(tmp_path / "model", divided)
    assert "1 perturbations have no vector (one-hot) and cannot be predicted: 'Q'" in caplog.text
    sh.tl.predict(divided, back)
    assert "left out, and not predicted: 'Q' did not occur in training" in caplog.text
    assert not divided.obs["predicted_predicted"][divided.obs["perturbation"] == "Q"].any()
    assert (
        "context9 did not occur in training: only their control cells tell the model about them"
        in caplog.text
    )
    twins = divided[divided.obs["predicted_predicted"]].layers["predicted"]
    assert np.isfinite(twins).all()
    assert set(divided.obs["predicted_source"]) - {""} <= set(divided.obs_names[names == "control"])
    made = back.predict("P3", context="context9", n_cells=5)
    assert set(made.obs["context"]) == {"context9"}


def test_a_loaded_model_trains_on(model, divided, tmp_path):
    model.save(tmp_path / "model")
    back = sh.models.Flow.load(tmp_path / "model", divided)
    back.train(2, batch_conditions=2, set_size=8, accelerator="cpu")
    assert not np.array_equal(back.predict(**ASKED).X, model.predict(**ASKED).X)
