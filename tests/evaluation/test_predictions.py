"""A prediction is found by its name, by its path, or given as an AnnData."""

from __future__ import annotations

import os
from pathlib import Path

import h5py
import mudata
import numpy as np
import pandas as pd
import pytest

import shoal as sh

from ..helpers import dense
from .tasks import TWINS, evaluated, held_out, screen


@pytest.fixture(scope="module")
def by_layer():
    return evaluated(screen())


def same(one, other):
    pd.testing.assert_frame_equal(one["table"], other["table"], rtol=1e-6)


def in_obsm(adata, key, values):
    del adata.layers[TWINS]
    adata.obsm[key] = values
    return adata


@pytest.mark.parametrize("key", [TWINS, f"X_{TWINS}"])
def test_a_slot_of_obsm_with_all_genes(by_layer, key):
    adata = screen()
    entry = evaluated(in_obsm(adata, key, dense(adata.layers[TWINS])))
    same(by_layer, entry)
    assert entry["params"]["prediction"] == TWINS


def test_a_table_in_obsm_may_have_its_genes_in_any_order(by_layer):
    adata = screen()
    table = pd.DataFrame(
        dense(adata.layers[TWINS]), index=adata.obs_names, columns=adata.var_names
    ).iloc[:, ::-1]
    same(by_layer, evaluated(in_obsm(adata, TWINS, table)))


def test_a_representation_in_obsm_is_refused():
    adata = screen()
    with pytest.raises(ValueError, match=r"obsm\['twins'\] has 3 columns, which are not the 60"):
        evaluated(in_obsm(adata, TWINS, np.zeros((adata.n_obs, 3))))


@pytest.mark.parametrize("key", [TWINS, f"X_{TWINS}"])
def test_a_name_that_means_two_slots_is_refused(key):
    adata = screen()
    adata.obsm[key] = dense(adata.layers[TWINS])
    match = r"prediction='twins' could be layers\['twins'\] and obsm\['(X_)?twins'\]; rename"
    with pytest.raises(ValueError, match=match):
        evaluated(adata)
    assert "evaluation" not in adata.uns


@pytest.mark.parametrize("kind", [str, Path])
def test_a_path(tmp_path, kind):
    adata = screen()
    predicted = adata[held_out(adata)].copy()
    predicted.X = predicted.layers.pop(TWINS)
    path = tmp_path / "predicted.h5ad"
    predicted.write_h5ad(path)
    by_file = evaluated(adata, prediction=kind(path))
    assert by_file["params"]["prediction"] == str(path)
    same(by_file, evaluated(screen(), prediction=predicted))
    path.unlink()  # the file is closed
    with pytest.raises(FileNotFoundError, match="there is no such file"):
        evaluated(screen(), prediction=kind(path))


def test_a_name_that_looks_like_a_path_is_a_name(by_layer):
    adata = screen()
    adata.layers["p.h5ad"] = adata.layers[TWINS]
    same(by_layer, evaluated(adata, prediction="p.h5ad"))


def test_something_else_is_refused():
    with pytest.raises(TypeError, match="not ndarray"):
        evaluated(screen(), prediction=np.zeros((3, 3)))


def test_files_that_are_no_predictions(tmp_path):
    adata = screen()
    adata.write_h5ad(tmp_path / "cut.h5ad")
    os.truncate(tmp_path / "cut.h5ad", 5_000)
    (tmp_path / "text.h5ad").write_text("no HDF5")
    with h5py.File(tmp_path / "matrix.h5ad", "w") as file:
        file.create_group("matrix")
    mudata.MuData({"rna": adata.copy()}).write(tmp_path / "both.h5mu")
    for name, error, words in [
        ("cut.h5ad", OSError, "cannot be read as HDF5 .*cut short, copy or download it again"),
        ("text.h5ad", OSError, "is no HDF5 file"),
        ("matrix.h5ad", ValueError, "holds no AnnData"),
        ("both.h5mu", TypeError, r"pass the modality .* mdata\['rna'\]"),
        ("absent.h5ad", FileNotFoundError, "there is no such file"),
    ]:
        with pytest.raises(error, match=words):
            sh.tl.evaluate(adata, prediction=tmp_path / name)
    with pytest.raises(TypeError, match="prediction is a MuData"):
        sh.tl.evaluate(adata, prediction=mudata.MuData({"rna": adata.copy()}))


def test_names_of_predicted_genes_are_unique():
    adata = screen()
    pred = adata.copy()
    pred.var_names = ["twice", "twice", *pred.var_names[2:]]
    with pytest.raises(ValueError, match="Call prediction.var_names_make_unique"):
        sh.tl.evaluate(adata, prediction=pred)
