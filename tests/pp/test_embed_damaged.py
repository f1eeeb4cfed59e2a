"""Tables of vectors and networks in files: what is missing or damaged is said, and never becomes a name or a number."""

import gzip
import pickle

import numpy as np
import pandas as pd
import pytest

import shoal as sh
from shoal.core._edges import read_edges
from shoal.pp._embed_source import read_file

NAMES = ["P1", "P2", "P3", "P4"]


@pytest.fixture(scope="module")
def screen():
    return sh.ds.simulate(n_perturbations=4, n_cells=10, n_control=20, n_genes=20, rng=0)


def write(path, frame):
    if path.suffix == ".parquet":
        pytest.importorskip("pyarrow")
        frame.to_parquet(path)
    elif path.suffix == ".npz":
        np.savez(path, names=frame.index.to_numpy(str), vectors=frame.to_numpy())
    else:
        seps = {".csv": ",", ".tsv": "\t", ".txt": " "}
        frame.rename_axis("name").to_csv(path, sep=seps[path.suffix], na_rep="nan")


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".txt", ".parquet", ".npz"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_vectors_with_missing_values_are_named(screen, tmp_path, ending, bad):
    table = pd.DataFrame(np.arange(8.0).reshape(4, 2) + 1, index=NAMES, columns=["x", "y"])
    table.loc["P3", "y"] = bad
    path = tmp_path / f"vectors{ending}"
    write(path, table)
    with pytest.raises(ValueError, match=r"P3.*|missing or infinite") as caught:
        sh.pp.embed(screen, method="table", source=path)
    assert "P3" in str(caught.value)
    assert "perturbation_embeddings" not in screen.uns


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".parquet", ""])
@pytest.mark.parametrize("missing", [None, "", "  "])
def test_rows_without_a_name_are_refused(screen, tmp_path, ending, missing):
    table = pd.DataFrame({"name": ["P1", missing, "P3"], "x": [1.0, 2, 3], "y": [1.0, 5, 6]})
    source = table
    if ending:
        source = tmp_path / f"vectors{ending}"
        if ending == ".parquet":
            pytest.importorskip("pyarrow")
            table.to_parquet(source)
        else:
            table.to_csv(source, sep="," if ending == ".csv" else "\t", index=False)
    with pytest.raises(
        ValueError, match=r"1 rows have no name in its column 'name' \(row 2 of 3\)"
    ):
        sh.pp.embed(screen, method="table", source=source)


def test_genes_whose_names_pandas_takes_for_missing(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("gene,x\nNA,1\nnan,2\nNone,3\n")
    assert read_file(path)["gene"].tolist() == ["NA", "nan", "None"]


@pytest.mark.parametrize("ending", ["csv", "tsv", "txt", "parquet", "npz", "csv.gz"])
@pytest.mark.parametrize("content", [b"", b"\x80\x04pickle", b"PK\x03\x04half", b"\xff\xfe\x00"])
def test_files_that_are_damaged(screen, tmp_path, ending, content):
    if ending == "parquet":
        pytest.importorskip("pyarrow")
    path = tmp_path / f"vectors.{ending}"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"source|no vector|columns"):
        sh.pp.embed(screen, method="table", source=path)


def test_archives_run_no_code(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, names=np.array([{"a": 1}], dtype=object), vectors=np.ones((1, 2)))
    with pytest.raises(ValueError, match=r"'a.npz' cannot be read as a .npz file"):
        read_file(path)
    path.write_bytes(pickle.dumps([1, 2]))
    with pytest.raises(ValueError, match=r"'a.npz' cannot be read"):
        read_file(path)
    (tmp_path / "b.csv.gz").write_bytes(gzip.compress(b"name,x\nP1,1\n")[:12])
    with pytest.raises(ValueError, match=r"'b.csv.gz' cannot be read as a .csv file"):
        read_file(tmp_path / "b.csv.gz")


def test_values_that_are_no_real_numbers(screen):
    for values in (np.ones((4, 2)) + 1j, [["a", "b"]] * 4, [[None, 1.0]] * 4):
        table = pd.DataFrame(values, index=NAMES)
        with pytest.raises(ValueError, match=r"not numbers|missing"):
            sh.pp.embed(screen, method="table", source=table)


@pytest.mark.parametrize(
    ("edges", "words"),
    [
        ({"source": ["A", None], "target": ["B", "C"]}, "1 of 2 edges have no name"),
        ({"source": ["A", "B"], "target": ["B", np.nan]}, "1 of 2 edges have no name"),
        ({"source": ["A"], "target": ["B"], "weight": ["strong"]}, "does not hold numbers"),
        ({"source": ["A"], "target": ["B"], "weight": [np.nan]}, "no finite 'weight'"),
        ({"source": ["A"], "target": ["B"], "weight": [np.inf]}, "no finite 'weight'"),
    ],
)
def test_edges_that_are_incomplete(edges, words, tmp_path):
    frame = pd.DataFrame(edges)
    with pytest.raises(ValueError, match=words):
        read_edges(frame)
    frame.to_csv(tmp_path / "net.csv", index=False)
    with pytest.raises(ValueError, match=r"edges have no|does not hold numbers|no name"):
        read_edges(tmp_path / "net.csv")


def test_a_header_that_names_too_few_columns(tmp_path):
    (tmp_path / "a.txt").write_text("x y\nP1 1 2\nP2 3 4\n")
    with pytest.raises(ValueError, match="header has fewer names than its rows have values"):
        read_file(tmp_path / "a.txt")
