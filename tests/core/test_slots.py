"""Names and slots of results: who may write where, and all or nothing."""

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from tests.helpers import contents

from shoal.core._claims import check_name, claim_result
from shoal.core._results import read_result, write_table
from shoal.core._screen import Screen
from shoal.core._slots import free_name, write_slots

TABLE = pd.DataFrame({"value": [1.0]}, index=["P1"])
SCREEN = Screen("drug", ("dmso",), context_key="line", batch_key="plate", dose_key="µM")


@pytest.fixture
def adata():
    made = AnnData(np.ones((3, 2), dtype=np.float32))
    made.obs["mine"] = [1, 2, 3]
    made.uns["shoal"] = Screen("drug", ("dmso",), guide_key="sg").to_uns()
    return made


@pytest.mark.parametrize("name", ["mine", "MÜSLI", "a b", "ctrl+x", "$x$", "x" * 200])
def test_names_that_a_file_can_hold(adata, name):
    assert check_name(adata, name, screen=SCREEN) == name


@pytest.mark.parametrize(
    ("name", "error", "words"),
    [
        (7, TypeError, "must be a text"),
        (["a"], TypeError, "must be a text"),
        (b"a", TypeError, "must be a text"),
        ("", ValueError, "not empty"),
        ("  ", ValueError, "not empty"),
        ("a/b", ValueError, "without '/'"),
        ("a\nb", ValueError, "without '/'"),
        ("a\0", ValueError, "without '/'"),
        ("shoal", ValueError, "already used"),
        ("split", ValueError, "already used"),
        ("perturbation_embeddings", ValueError, "already used"),
        ("_index", ValueError, "already used"),
        ("drug", ValueError, "perturbation_key"),
        ("line", ValueError, "context_key"),
        ("plate", ValueError, "batch_key"),
        ("µM", ValueError, "dose_key"),
        ("sg", ValueError, "guide_key"),  # recorded in uns, not in the call
    ],
)
def test_names_that_are_refused(adata, name, error, words):
    with pytest.raises(error, match=words):
        check_name(adata, name, screen=SCREEN)
    with pytest.raises(error, match=words):  # with overwrite as well
        claim_result(adata, name, schema="x/1", screen=SCREEN, overwrite=True)


def test_what_another_wrote_is_kept(adata):
    with pytest.raises(ValueError, match=r"adata.obs\['mine'\] exists .* overwrite=True"):
        claim_result(adata, "mine", schema="x/1", obs=True)
    assert claim_result(adata, "mine", schema="x/1", obs=True, overwrite=True) == "mine"
    assert claim_result(adata, "mine", schema="x/1") == "mine"  # uns alone is free
    adata.uns["mine"] = {"a": 1}
    adata.uns["text"] = "theirs"
    for key in ("mine", "text"):
        with pytest.raises(ValueError, match=rf"adata.uns\['{key}'\]"):
            claim_result(adata, key, schema="x/1")


def test_what_we_wrote_is_replaced_and_nothing_more(adata, tmp_path):
    values = {"obs/new": np.arange(3)}
    write_table(adata, "new", TABLE, schema="x/1", params={}, slots=values)
    adata.write_h5ad(tmp_path / "a.h5ad")
    from anndata import read_h5ad

    for screen in (adata, read_h5ad(tmp_path / "a.h5ad"), adata[:2], adata[:2].copy()):
        assert claim_result(screen, "new", schema="x/2", obs=True) == "new"
        with pytest.raises(ValueError, match="exist and were not"):
            claim_result(screen, "new", schema="y/1", obs=True)  # of another function
    del adata.uns["new"]["writes"]
    with pytest.raises(ValueError, match=r"adata.obs\['new'\] exists"):
        claim_result(adata, "new", schema="x/1", obs=True)


@pytest.mark.parametrize("overwrite", [1, "yes", None])
def test_overwrite_is_true_or_false(adata, overwrite):
    with pytest.raises(TypeError, match="overwrite must be True or False"):
        claim_result(adata, "new", schema="x/1", overwrite=overwrite)


def test_a_view_becomes_an_object_of_its_own(adata):
    view = adata[:2]
    write_table(view, "new", TABLE, schema="x/1", params={}, slots={"obs/new": np.arange(2)})
    assert not view.is_view
    assert view.obs["new"].tolist() == [0, 1]
    assert "new" not in adata.obs


def test_all_slots_are_written_or_none(adata):
    adata.layers["a"], adata.obs["z"] = adata.X * 2, 1
    before = contents(adata)
    for bad in (
        {"obs/bad": np.arange(7)},
        {"layers/bad": np.ones((3, 9))},
        {"obsm/bad": np.ones((1, 2))},
    ):
        values = {
            "obs/z": [4, 5, 6],
            "obs/new": 1,
            "layers/a": adata.X * 3,
            "uns/u": {},
            "X": 2 * adata.X,
        }
        with pytest.raises((ValueError, TypeError)):
            write_slots(adata, {**values, **bad})
        assert contents(adata) == before


def test_an_interrupt_leaves_nothing_half_written(adata, monkeypatch):
    before, values = contents(adata), adata.X

    class Stops(dict):
        def __setitem__(self, name, value):
            raise KeyboardInterrupt

    monkeypatch.setattr(type(adata), "layers", Stops())
    with pytest.raises(KeyboardInterrupt):
        write_slots(adata, {"obs/new": 1, "uns/new": {}, "layers/new": values})
    monkeypatch.undo()
    assert contents(adata) == before


def test_columns_of_ours_step_aside():
    assert free_name("source", ["a"]) == "source"
    assert free_name("source", ["source", "source_2"]) == "source_3"


@pytest.mark.parametrize("entry", [7, "text", {}, {"table": TABLE}, TABLE, np.ones(3), None])
def test_a_reader_says_what_is_not_ours(adata, entry):
    adata.uns["key"] = entry
    with pytest.raises(KeyError, match=r"adata.uns\['key'\] was not written by shoal; call CALL"):
        read_result(adata, "key", kind="x", written_by="CALL")


def test_a_reader_says_what_is_another_result(adata):
    write_table(adata, "key", TABLE, schema="y/1", params={})
    with pytest.raises(ValueError, match=r"another kind \(y/1\), where 'x' is expected"):
        read_result(adata, "key", kind="x", written_by="CALL")
