"""pp.embed: who gets a vector, what is said of those without one, and what is written."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from mudata import MuData

import shoal as sh

CALL = {"perturbation_key": "perturbation", "control": "control"}
VECTORS = {"A": [1.0, 0.0], "B": [0.0, 2.0], "C": [1.0, 1.0], "D": [3.0, 1.0], "E": [0.5, 0.5]}


@pytest.fixture
def screen_adata(screen_adata):
    """C+D is a combination, although neither C nor D occurs alone."""
    sh.pp.annotate(screen_adata, "perturbation", control="control", sep="+")
    return screen_adata


def stored(adata, key):
    return adata.uns["perturbation_embeddings"][key]


def info(adata):
    return adata.uns["perturbation_embeddings_info"]["table"]


def test_one_hot_of_the_parts(screen_adata):
    sh.pp.embed(screen_adata, **CALL)
    table = stored(screen_adata, "one_hot")
    assert list(table.index) == ["A", "B", "C", "D"]
    assert list(table.columns) == ["0", "1", "2", "3"]
    np.testing.assert_array_equal(table.to_numpy(), np.eye(4, dtype=np.float32))


def test_further_names_are_embedded_too(screen_adata):
    sh.pp.embed(screen_adata, **CALL, names=["F+E", "control", "A"])
    assert list(stored(screen_adata, "one_hot").index) == ["A", "B", "C", "D", "E", "F"]
    sh.pp.embed(screen_adata, **CALL, names="E", key_added="one")
    assert list(stored(screen_adata, "one").index) == ["A", "B", "C", "D", "E"]


def test_a_table_by_targets(screen_adata):
    targets = {"A": "B", "B": "A", "elsewhere": "E"}
    sh.pp.embed(screen_adata, **CALL, method="table", source=VECTORS, targets=targets)
    expected = np.array([VECTORS[k] for k in ("B", "A", "C", "D")], dtype=np.float32)
    np.testing.assert_array_equal(stored(screen_adata, "table"), expected)
    with pytest.raises(ValueError, match="targets names none of the 4 perturbations, such as 'A'"):
        sh.pp.embed(screen_adata, **CALL, method="table", source=VECTORS, targets={"X": "A"})


def test_targets_in_a_column(screen_adata):
    screen_adata.obs["gene"] = screen_adata.obs["perturbation"].map(
        {"A": "E", "B": "B", "C+D": "what+ever"}
    )
    sh.pp.embed(screen_adata, **CALL, method="table", source=VECTORS, targets="gene")
    np.testing.assert_array_equal(stored(screen_adata, "table").loc["A"], VECTORS["E"])
    np.testing.assert_array_equal(stored(screen_adata, "table").loc["C"], VECTORS["C"])
    screen_adata.obs.loc["cell60", "gene"] = "B"
    with pytest.raises(
        ValueError,
        match=r"1 perturbations have several values of obs\['gene'\], such as 'A': 'B', 'E'",
    ):
        sh.pp.embed(screen_adata, **CALL, method="table", source=VECTORS, targets="gene")
    with pytest.raises(KeyError, match="'symbol' is not in adata.obs"):
        sh.pp.embed(screen_adata, **CALL, method="table", source=VECTORS, targets="symbol")


def test_missing_perturbations_are_named(screen_adata, caplog):
    before = screen_adata.copy()
    few = {"A": [1.0, 0.0], "b ": [1.0, 1.0], "C": [0.0, 0.0], "D": [np.nan, 1.0]}
    with pytest.raises(
        ValueError, match="3 of 4 perturbations have no vector by method='table'"
    ) as err:
        sh.pp.embed(screen_adata, **CALL, method="table", source=few)
    for part in (
        "its vector holds missing or infinite values: 'D'",
        "its vector is all zeros: 'C'",
        "not in the source: 'B'",
        "pass targets={'B': 'b'}, or choose another method, or leave them out with missing='drop'",
    ):
        assert part in str(err.value)
    assert list(screen_adata.uns) == list(before.uns)

    sh.pp.embed(screen_adata, **CALL, method="table", source=few, missing="drop")
    assert list(stored(screen_adata, "table").index) == ["A"]
    assert info(screen_adata).loc["table", ["n_perturbations", "n_missing"]].to_list() == [1, 3]
    assert "3 of 4 perturbations have no vector" in caplog.text


def test_a_missing_target_is_named_with_its_perturbation(screen_adata):
    with pytest.raises(
        ValueError, match=r"not in the source: 'A' \(as 'Z'\)\. To mend it, say with targets="
    ):
        sh.pp.embed(screen_adata, **CALL, method="table", source=VECTORS, targets={"A": "Z"})


def test_nothing_at_all_is_an_error_even_if_dropped(screen_adata):
    with pytest.raises(
        ValueError,
        match="4 of 4 .* no vector .*say with targets= .* in the source, which holds .X.,",
    ):
        sh.pp.embed(screen_adata, **CALL, method="table", source={"X": [1.0]}, missing="drop")


def test_same_vectors_are_warned_of(screen_adata):
    with pytest.warns(
        UserWarning, match="one in training gives away another in test: 'A' = 'D'; 'B' = 'C'"
    ):
        sh.pp.embed(
            screen_adata,
            **CALL,
            method="table",
            source={"A": [1.0], "B": [2.0], "C": [2.0], "D": [1.0]},
        )


def test_what_is_recorded_survives_a_file(screen_adata, tmp_path):
    names = {"A": "GENE/1", "B": "x+y", "C+D": "E", "control": "control"}
    screen_adata.obs["perturbation"] = screen_adata.obs["perturbation"].map(names)
    sh.pp.annotate(screen_adata, "perturbation", control="control", sep="")
    sh.pp.embed(screen_adata)
    table = pd.DataFrame(
        [[1, 2], [3, 4], [5, 6]], index=["GENE/1", "x+y", "E"], columns=["GENE/1", "b"]
    )
    sh.pp.embed(screen_adata, method="table", source=table, key_added="mine")
    screen_adata.write_h5ad(tmp_path / "x.h5ad")
    read = ad.read_h5ad(tmp_path / "x.h5ad")
    for key in ("one_hot", "mine"):
        np.testing.assert_array_equal(stored(read, key), stored(screen_adata, key))
        assert list(stored(read, key).index) == list(stored(screen_adata, key).index)
        assert list(stored(read, key).columns) == list(stored(screen_adata, key).columns)
        assert stored(read, key).dtypes.eq(np.float32).all()
    sh.pp.embed(read, names="P", key_added="more")
    rows = info(read)
    assert rows["method"].to_dict() == {"one_hot": "one_hot", "mine": "table", "more": "one_hot"}
    assert rows["source"].to_dict() == {"one_hot": "", "mine": "DataFrame of 3", "more": ""}
    assert set(rows["fitted_on"]) == {"none"}
    assert not rows["transductive"].any()
    assert rows["transductive"].dtype == bool
    assert rows["n_dims"].to_list() == [3, 2, 4]


def test_rows_of_embeddings_that_are_gone_go_too(screen_adata):
    sh.pp.embed(screen_adata, **CALL, key_added="a")
    screen_adata.uns["perturbation_embeddings"] = {"mine": pd.DataFrame(VECTORS).T}
    sh.pp.embed(screen_adata, **CALL, key_added="b")
    assert list(info(screen_adata).index) == ["b"]
    assert set(screen_adata.uns["perturbation_embeddings"]) == {"mine", "b"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "onehot"}, "method='onehot' is not known; choose one of 'one_hot'"),
        ({"missing": "zero"}, "missing='zero' is not known"),
        ({"method": "table"}, r"method='table' needs source=: vectors by name \(DataFrame"),
        ({"method": "network"}, "method='network' needs source=: an edge list"),
        ({"method": "fingerprint"}, "method='fingerprint' needs source=: SMILES by name"),
        ({"n_comps": 3}, "method='one_hot' has no use for n_comps=; it takes none of these"),
        (
            {"method": "effects", "walk": 3},
            "'effects' has no use for walk=; it takes layer, n_comps, strata",
        ),
        ({"strata": "batch"}, "no use for strata="),
        ({"method": "effects", "n_comps": 0}, "n_comps must be a whole number"),
        ({"key_added": "a/b"}, "key_added='a/b' cannot be a key"),
        ({"key_added": ""}, "key_added='' cannot be a key"),
    ],
)
def test_bad_arguments(screen_adata, options, message):
    with pytest.raises(ValueError, match=message):
        sh.pp.embed(screen_adata, **CALL, **options)
    assert "perturbation_embeddings" not in screen_adata.uns


def test_more_columns_than_h5ad_holds_are_refused(screen_adata):
    wide = {name: np.arange(4001) + i for i, name in enumerate("ABCD")}
    with pytest.raises(
        ValueError, match="4001 dimensions cannot be stored in h5ad, which holds 4000"
    ):
        sh.pp.embed(screen_adata, **CALL, method="table", source=wide)


def test_views_mudata_and_integer_labels(screen_adata):
    view = screen_adata[20:]
    sh.pp.embed(view, **CALL)
    assert not view.is_view
    assert "perturbation_embeddings" not in screen_adata.uns
    mdata = MuData({"rna": screen_adata.copy()})
    sh.pp.embed(mdata, **CALL, mod="rna")
    assert len(stored(mdata.mod["rna"], "one_hot")) == 4
    screen_adata.obs["perturbation"] = pd.factorize(screen_adata.obs["perturbation"])[0]
    sh.pp.embed(
        screen_adata,
        "perturbation",
        control=0,
        method="table",
        source={1: [1.0], 2: [2.0], 3: [4.0]},
    )
    assert list(stored(screen_adata, "table").index) == ["1", "2", "3"]
