"""What an interrupted training had finished is not done again, and a full disk does not end it."""

from __future__ import annotations

import errno
import logging

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
    with pytest.raises(ValueError, match="is of another training"):
        sh.tl.fit(subadditive, "auto", resume=True, checkpoint_dir=tmp_path, rng=1)
    with pytest.raises(ValueError, match="name it, checkpoint_dir="):
        sh.tl.fit(subadditive, "auto", resume=True)


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
            with pytest.raises(ValueError, match="is of another training"):
                sh.tl.fit(adata, "auto", resume=True, **given)
        else:
            sh.tl.fit(adata, "auto", **given)
