"""Tables for pp.embed: the same rows out of every kind of source."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from shoal.pp._embed_source import describe, from_table, look_up, read_file

NAMES = ["007", "KLF1", "a/b"]
VALUES = np.array([[0.5, 1.0, 2.0], [3.0, 4.0, 5.0], [6.0, 7.0, 8.5]])
TABLE = pd.DataFrame(VALUES, index=NAMES)
COLUMN = pd.DataFrame(VALUES).assign(name=NAMES)[["name", 0, 1, 2]]


def written(kind, folder):
    path = folder / f"table.{kind}"
    if kind == "npz":
        np.savez(path, genes=np.array(NAMES), embedding=VALUES.astype(np.float16))
    elif kind == "parquet":
        pytest.importorskip("pyarrow", reason="parquet cannot be read: pyarrow is absent")
        TABLE.rename(columns=str).to_parquet(path)
    else:
        COLUMN.to_csv(
            path, sep={"csv": ",", "csv.gz": ",", "tsv": "\t", "txt": " "}[kind], index=False
        )
    return path


@pytest.mark.parametrize("kind", ["csv", "csv.gz", "tsv", "txt", "npz", "parquet"])
def test_every_file_gives_the_same_rows(kind, tmp_path):
    path = written(kind, tmp_path)
    for source in (path, str(path)):
        found = from_table(source, ["a/b", "absent", "007"])
        assert list(found.values.index) == ["a/b", "007"]
        np.testing.assert_array_equal(found.values, VALUES[[2, 0]])
        assert found.absent == {"absent": "not in the source"}
    assert describe(path) == path.name


@pytest.mark.parametrize(
    "source",
    [
        TABLE,
        COLUMN,
        COLUMN[COLUMN["name"] != "x"].set_axis([4, 2, 9]),
        dict(zip(NAMES, VALUES, strict=True)),
    ],
    ids=["index", "column", "filtered", "dict"],
)
def test_every_object_gives_the_same_rows(source):
    found = from_table(source, NAMES)
    np.testing.assert_array_equal(found.values, VALUES)
    assert list(found.known) == NAMES


def test_integer_names_are_text():
    found = from_table(pd.DataFrame(VALUES, index=[3, 1, 2]), ["1", "3"])
    np.testing.assert_array_equal(found.values, VALUES[[1, 0]])


def test_only_asked_names_may_not_repeat():
    table = pd.DataFrame(VALUES, index=["A", "A", "B"])
    assert list(look_up(table, ["B"])[0].index) == ["B"]
    with pytest.raises(ValueError, match="source holds several rows for 'A'; keep one of each"):
        look_up(table, ["A", "B"])


def test_bad_sources(tmp_path):
    with pytest.raises(ValueError, match="1 of its 4 columns are not numbers"):
        from_table(TABLE.assign(moa="kinase"), NAMES)
    with pytest.raises(
        ValueError, match=r"vectors differ in length, such as 'A' \(2\) and 'B' \(3\)"
    ):
        from_table({"B": [1, 2, 3], "A": [1, 2]}, ["A"])
    with pytest.raises(
        TypeError,
        match="source must be a DataFrame, a mapping of names, an AnnData or a path, not ndarray",
    ):
        from_table(VALUES, NAMES)
    with pytest.raises(FileNotFoundError, match="there is no file"):
        read_file(tmp_path / "none.csv")
    (tmp_path / "x.pt").write_text("")
    with pytest.raises(
        ValueError, match=r"the ending of 'x.pt'='.pt' is not known; choose one of '.csv'"
    ):
        read_file(tmp_path / "x.pt")
    np.savez(tmp_path / "x.npz", a=VALUES)
    with pytest.raises(
        ValueError,
        match=r"must hold one array of names \(n,\) and one of vectors .* 'a' float64 \(3, 3\)",
    ):
        read_file(tmp_path / "x.npz")


def test_without_a_parquet_library_the_message_names_one(tmp_path, monkeypatch):
    def no_engine(*_):
        raise ImportError

    monkeypatch.setattr(pd, "read_parquet", no_engine)
    (tmp_path / "x.parquet").write_text("")
    with pytest.raises(ImportError, match="pip install pyarrow"):
        read_file(tmp_path / "x.parquet")


@pytest.mark.parametrize(
    "text", ["A,0.5,1.5\nB,2,3\n", "A,2.0,2.0\nB,2,3\n", "A,3,1\nB,2,3\n", "A,0.5\nB,2\n"]
)
def test_a_file_without_names_of_columns_is_refused(text, tmp_path):
    """Its first row would be lost without a word."""
    (tmp_path / "x.csv").write_text(text)
    with pytest.raises(ValueError, match="its first row, 'A', .* holds values: name every column"):
        read_file(tmp_path / "x.csv")


@pytest.mark.parametrize("columns", [["0", "1"], ["1", "2"], ["7", "9"], ["PC1", "PC2"]])
def test_columns_may_be_numbered(columns, tmp_path):
    (tmp_path / "x.csv").write_text(f",{','.join(columns)}\nA,0.5,1.5\n")
    assert list(read_file(tmp_path / "x.csv").columns[1:]) == columns


def test_names_are_read_without_blanks():
    found = from_table(pd.DataFrame(VALUES, index=["007 ", " KLF1", "a/b"]), NAMES)
    np.testing.assert_array_equal(found.values, VALUES)
    with pytest.raises(ValueError, match="several rows for '007'"):
        from_table(pd.DataFrame(VALUES, index=["007 ", "007", "a/b"]), NAMES)


@pytest.mark.parametrize("factor", [1e-60, 1e40, 1e300])
def test_vectors_that_single_precision_cannot_hold_are_none(factor):
    found = from_table(pd.DataFrame(VALUES * factor, index=NAMES), NAMES)
    assert found.values.empty
    assert set(found.absent.values()) == {
        "its values are too large or too small for single precision"
    }


def test_vectors_of_a_mapping_may_be_of_any_kind():
    """Each is read as it would be from a file; what a mask hides is missing."""
    kinds = (list, pd.Series, sparse.csr_array, lambda v: v.astype(object), lambda v: v[:, None])
    for kind in kinds:
        found, _ = look_up(
            {name: kind(row) for name, row in zip(NAMES, VALUES, strict=True)}, NAMES
        )
        np.testing.assert_array_equal(found.values, VALUES)
    hidden = np.ma.masked_array(VALUES[0], mask=[True, False, False])
    source = dict(zip(NAMES, [hidden, *VALUES[1:]], strict=True))
    assert list(from_table(source, NAMES).values.index) == list(NAMES[1:])


def test_tensors_of_a_mapping():
    torch = pytest.importorskip("torch")
    for kind in (torch.nn.Parameter, torch.Tensor.to_sparse, torch.Tensor.double):
        source = {n: kind(torch.tensor(v).float()) for n, v in zip(NAMES, VALUES, strict=True)}
        np.testing.assert_allclose(look_up(source, NAMES)[0].values, VALUES, rtol=1e-6)


def test_tables_and_labels_of_a_mapping_are_not_mixed_up():
    with pytest.raises(ValueError, match=r"vector of numbers .* 'A' float64 \(2, 3\), 'B' float64"):
        look_up({"A": np.ones((2, 3)), "B": np.ones((3, 2))}, ["A", "B"])
    one, other = pd.Series([1.0, 2], index=["x", "y"]), pd.Series([2.0, 1], index=["y", "x"])
    with pytest.raises(ValueError, match=r"labels of 'A' and 'B' of a dict differ .*DataFrame"):
        look_up({"A": one, "B": other}, ["A", "B"])


def test_images_in_an_anndata_are_no_vectors():
    held = ad.AnnData(np.ones((3, 1)), obs=pd.DataFrame(index=NAMES))
    held.obsm["crops"] = np.ones((3, 2, 2))
    with pytest.raises(ValueError, match=r"obsm/crops .* has the shape \(3, 2, 2\); vectors are"):
        from_table(held, NAMES)
