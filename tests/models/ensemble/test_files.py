"""What an interrupted training had finished is not done again, and a full disk does not end it."""

from __future__ import annotations

import errno
import logging
import shutil

import numpy as np
import pandas as pd
import pytest
from tests.models.ensemble.screens import D, made

import shoal as sh
from shoal.models.ensemble import _files
from shoal.models.ensemble._members import Member


def test_an_interruption_in_the_third_fold_resumes_to_the_bit(
    subadditive, trained, monkeypatch, tmp_path
):
    fit, fitted = Member.fit, []

    def stop(self, cells, **options):
        fitted.append(self.name)
        if len(fitted) == 2 * n + 2:
            raise KeyboardInterrupt
        return fit(self, cells, **options)

    n = len(sh.models.Ensemble(subadditive)._candidates)
    monkeypatch.setattr(Member, "fit", stop)
    given = {"rng": 0, "checkpoint_dir": tmp_path}
    with pytest.raises(KeyboardInterrupt):
        sh.tl.fit(subadditive, "auto", **given)
    monkeypatch.setattr(
        Member, "fit", lambda self, cells, **o: again.append(1) or fit(self, cells, **o)
    )
    again, n_done = [], len(list(tmp_path.iterdir()))
    model = sh.tl.fit(subadditive, "auto", resume=True, **given)
    pd.testing.assert_frame_equal(model.weights, trained.weights, check_exact=True)
    one, two = (m.predict("P0+P1", n_cells=9, rng=1).X for m in (model, trained))
    np.testing.assert_array_equal(one, two)
    n_members = model.weights["member"].nunique() - 1
    assert len(again) == 4 * n_members - n_done + len(model.refused) + len(model.members)
    with pytest.raises(ValueError, match="name it, checkpoint_dir="):
        sh.tl.fit(subadditive, "auto", resume=True)


def other_values(adata):
    adata.X = 2 * adata.X


def other_cells(adata):
    labels = adata.obs["perturbation"].astype(str).to_numpy()
    adata.obs["perturbation"] = np.where(
        labels == "P0", "P1", np.where(labels == "P1", "P0", labels)
    )


def other_split(adata):
    sh.pp.split(adata, by="combination", test=0.3, val=0, parts_seen=2, rng=1, overwrite=True)


def other_features(adata):
    adata.var_names = [f"h{i}" for i in range(D)]


@pytest.fixture(scope="module")
def one_file(subadditive, tmp_path_factory):
    """What a training leaves that was interrupted after one of its first members."""
    folder = tmp_path_factory.mktemp("folds")
    config = {"members": {"quantile_shift": {"config": {"max_cells": 5000}}}}
    sh.tl.fit(subadditive, "auto", rng=0, checkpoint_dir=folder, config=config)
    for path in folder.iterdir():
        if path.name != "fold_1_quantile_shift":
            shutil.rmtree(path)
    return folder


@pytest.mark.parametrize(
    ("change", "given", "said"),
    [
        (None, {"rng": 1}, r"it differs in the seed \(rng=\), the inner folds \(the split, by="),
        (None, {"config": {"n_folds": 3}}, r"it differs in the inner folds \(the split, by=, n_f"),
        (None, {"config": {"by": "perturbation"}}, r"it differs in the inner folds"),
        (None, {"size": 4000}, "it differs in the options of 'quantile_shift'. Call it with"),
        (
            None,
            {"embedding": True},
            r"it differs in the vectors of perturbations \(embedding=\)\. ",
        ),
        (other_values, {}, r"it differs in the values of the cells \(X, layer= or use_rep=\)\. "),
        (other_cells, {}, "it differs in the perturbations of the cells, or their order"),
        (other_split, {}, "it differs in the inner folds"),
        (other_features, {}, "it differs in the features. Call it"),
    ],
)
def test_a_folder_of_another_training_is_an_error_before_any_training(
    subadditive, one_file, monkeypatch, change, given, said
):
    adata, given = subadditive.copy(), dict(given)
    if change is not None:
        change(adata)
    if given.pop("embedding", False):
        names = [f"P{i}" for i in range(9)]
        given["embedding"] = pd.DataFrame(np.eye(9), index=names)
    options = {"config": {"max_cells": given.pop("size", 5000)}}
    given["config"] = {"members": {"quantile_shift": options}, **given.get("config", {})}
    trained = []
    monkeypatch.setattr(Member, "fit", lambda self, *_, **__: trained.append(self.name))
    with pytest.raises(ValueError, match=f"fold_1_quantile_shift is of another training: {said}"):
        sh.tl.fit(adata, "auto", resume=True, checkpoint_dir=one_file, **{"rng": 0, **given})
    assert not trained


def test_other_options_within_a_large_table_are_other_options():
    """What is too long to be shown counts as well."""
    tables = [pd.DataFrame(np.zeros((500, 3))) for _ in range(2)]
    tables[1].iloc[250, 1] = 1.0
    one, two = (_files._options(Member("nearest", {"embedding": table})) for table in tables)
    assert one != two
    assert one == _files._options(Member("nearest", {"embedding": tables[0].copy()}))


def test_a_damaged_file_is_trained_again_and_that_is_said(subadditive, trained, tmp_path, caplog):
    given = {"rng": 0, "checkpoint_dir": tmp_path}
    sh.tl.fit(subadditive, "auto", **given)
    (tmp_path / "fold_2_additive" / "model.npz").write_bytes(b"no zip")
    (tmp_path / "fold_3_additive" / "model.npz").unlink()
    with caplog.at_level(logging.WARNING, "shoal"):
        again = sh.tl.fit(subadditive, "auto", resume=True, **given)
    (said,) = (r.getMessage() for r in caplog.records if "trained again" in r.getMessage())
    assert "fold_2_additive" in said
    pd.testing.assert_frame_equal(again.weights, trained.weights, check_exact=True)
    assert again.refused == trained.refused


def test_a_full_disk_costs_the_folds_and_not_the_training(
    subadditive, trained, monkeypatch, tmp_path, caplog
):
    write, written = _files.write_model, []

    def full(path, *args, **options):
        written.append(path)
        if len(written) > 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(path, *args, **options)

    monkeypatch.setattr(_files, "write_model", full)
    given = {"rng": 0, "checkpoint_dir": tmp_path}
    with caplog.at_level(logging.WARNING, "shoal"):
        model = sh.tl.fit(subadditive, "auto", **given)
    (said,) = (r.getMessage() for r in caplog.records if "cannot be written" in r.getMessage())
    assert said.startswith(f"{tmp_path} cannot be written to (No space left on device)")
    assert len(written) == 4
    pd.testing.assert_frame_equal(model.weights, trained.weights, check_exact=True)
    assert not model.refused.keys() - trained.refused.keys()
    monkeypatch.setattr(_files, "write_model", write)
    again = sh.tl.fit(subadditive, "auto", resume=True, **given)
    pd.testing.assert_frame_equal(again.weights, trained.weights, check_exact=True)


def test_other_vectors_of_the_same_name_are_another_training(rng, tmp_path):
    adata = made({f"P{i}": rng.normal(size=D) for i in range(8)}, rng)
    sh.pp.split(adata, by="perturbation", test=["P7"], val=0)
    names = [f"P{i}" for i in range(8)]
    given = {"checkpoint_dir": tmp_path, "embedding": "v", "config": {"members": ["nearest"]}}
    for resume in (False, True):
        table = pd.DataFrame(rng.normal(size=(8, 3)), index=names)
        sh.pp.embed(adata, source=table, method="table", key_added="v", overwrite=True)
        if resume:
            with pytest.raises(ValueError, match=r"differs in the vectors of perturbations \(emb"):
                sh.tl.fit(adata, "auto", resume=True, **given)
        else:
            sh.tl.fit(adata, "auto", **given)
