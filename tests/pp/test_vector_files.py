"""Files of vectors that other programs write: the same table out of each, and no code is run."""

from __future__ import annotations

import gzip
import json
import os
import pickle
import struct

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import shoal as sh
from shoal.core._table_files import read_file
from shoal.pp._embed_source import from_table
from shoal.pp._vector_pickle import read_pickle

NAMES = ["KLF1", "SOX2", "a/b"]
VALUES = np.array([[0.5, 1.0, 2.0], [3.0, 4.0, 5.0], [6.0, 7.0, 8.5]], dtype=np.float32)
BY_NAME = dict(zip(NAMES, VALUES, strict=True))


def safetensors(path, tensors, about=None):
    """Write tensors in the published layout: size of the header, header, bytes."""
    header, body = {}, b""
    for name, array in tensors.items():
        raw = array.tobytes()
        kind = {"float32": "F32", "float16": "F16", "uint16": "BF16", "int64": "I64"}
        header[name] = {
            "dtype": kind[array.dtype.name],
            "shape": list(array.shape),
            "data_offsets": [len(body), len(body) + len(raw)],
        }
        body += raw
    text = json.dumps(header | ({"__metadata__": about} if about else {})).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + body)


def pickled(value, protocol=4):
    return lambda path: path.write_bytes(pickle.dumps(value, protocol=protocol))


def torch_saved(make):
    def write(path):
        torch = pytest.importorskip("torch")
        torch.save(make(torch), path)

    return write


def empty_for_torch(path):
    """Write nothing, for the reader of torch files, which needs torch."""
    pytest.importorskip("torch")
    path.write_bytes(b"")


def h5ad(adata):
    return lambda path: adata.write_h5ad(path)


GENES = ad.AnnData(VALUES, obs=pd.DataFrame(index=NAMES))
IN_OBSM = ad.AnnData(np.zeros((3, 2), np.float32), obs=GENES.obs, obsm={"emb": VALUES})
IN_VARM = ad.AnnData(np.zeros((2, 3), np.float32), var=GENES.obs, varm={"PCs": VALUES})
GOOD = {
    "each.npz": lambda path: np.savez(path, **BY_NAME),
    "t.pt": torch_saved(lambda t: {n: t.tensor(v) for n, v in BY_NAME.items()}),
    "row.pt": torch_saved(lambda t: {n: t.tensor(v)[None] for n, v in BY_NAME.items()}),
    "bf16.pt": torch_saved(lambda t: {n: t.tensor(v).bfloat16() for n, v in BY_NAME.items()}),
    "table.pth": torch_saved(lambda t: {"names": NAMES, "vectors": t.tensor(VALUES)}),
    "lists.pickle": pickled({name: row.tolist() for name, row in BY_NAME.items()}),
    **{f"arrays{p}.pkl": pickled(BY_NAME, p) for p in range(6)},
    "scalars.pkl": pickled({name: list(row) for name, row in BY_NAME.items()}),
    "objects.pkl": pickled({"names": np.array(NAMES, dtype=object), "vectors": VALUES}),
    "fortran.pkl": pickled({"names": NAMES, "vectors": np.asfortranarray(VALUES)}),
    "big.pkl": pickled({name: row.astype(">f8") for name, row in BY_NAME.items()}),
    "packed.pkl.gz": lambda path: path.write_bytes(gzip.compress(pickle.dumps(BY_NAME))),
    "names.safetensors": lambda path: safetensors(path, BY_NAME),
    "bf16.safetensors": lambda path: safetensors(
        path, {n: (v.view(np.uint32) >> 16).astype(np.uint16) for n, v in BY_NAME.items()}
    ),
    "table.safetensors": lambda path: safetensors(
        path, {"weight": VALUES}, {"format": "pt", "genes": json.dumps(NAMES)}
    ),
    "x.h5ad": h5ad(GENES),
    "obsm.h5ad": h5ad(IN_OBSM),
    "varm.h5ad": h5ad(IN_VARM),
}


@pytest.mark.parametrize("name", GOOD)
def test_every_file_gives_the_same_rows(name, tmp_path):
    path = tmp_path / name
    GOOD[name](path)
    found = from_table(path, ["a/b", "absent", "KLF1"])
    assert list(found.values.index) == ["a/b", "KLF1"]
    np.testing.assert_array_equal(found.values, VALUES[[2, 0]])
    assert found.absent == {"absent": "not in the source"}


class Module:
    """Something that only code could rebuild."""


class Attack:
    """A pickle that, when read as pickles are, calls a function with arguments."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def attacks(victim):
    """Pickles that would create the file `victim`, or touch what they must not."""
    command = f"touch {victim}"
    yield pickle.dumps({"KLF1": Attack(os.system, command)})
    yield pickle.dumps({Attack(eval, f"open({str(victim)!r}, 'w')"): [1.0]})
    yield pickle.dumps({"KLF1": np.array([Attack(os.system, command)], dtype=object)})
    yield pickle.dumps({"KLF1": Attack(getattr, np.ndarray, "tofile")})
    yield f"cos\nsystem\n(S'{command}'\ntR.".encode()  # protocol 0
    yield f"(S'{command}'\nios\nsystem\n.".encode()  # the opcode INST
    yield b"cbuiltins\ngetattr\n(cnumpy\nndarray\nS'__class__'\ntR."
    yield b"cnumpy\nndarray\n(S'tofile'\nd" + b"b."  # state for a class
    yield b"ccollections\nOrderedDict\n(S'a'\ntR."
    yield b"Pobject outside\n."
    yield pickle.dumps(pd.DataFrame(VALUES, index=NAMES))


def test_pickles_with_code_are_refused_and_nothing_runs(tmp_path):
    victim, path = tmp_path / "victim", tmp_path / "bad.pkl"
    every = list(attacks(victim))
    for content in every:
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"'bad.pkl' (asks for|cannot be read as a pickle)"):
            from_table(path, NAMES)
    assert not victim.exists()
    pickle.loads(every[0])  # it is an attack: read as pickles are, it does what it says
    assert victim.exists()


def test_a_refused_pickle_says_what_it_asks_for(tmp_path):
    path = tmp_path / "bad.pkl"
    path.write_bytes(pickle.dumps({"KLF1": Attack(os.system, "true")}))
    with pytest.raises(
        ValueError, match=r"asks for (posix|nt)\.system, and reading that would run"
    ):
        from_table(path, NAMES)


def test_state_that_would_forge_an_array_is_refused(tmp_path):
    """An array of pointers, made of bytes by a type that hides that it holds objects."""
    kind = Attack(np.dtype, "O8", False, True)
    forged = Attack(np._core.multiarray.scalar, kind, b"\x01" * 8)
    path = tmp_path / "bad.pkl"
    path.write_bytes(pickle.dumps({"KLF1": forged}))
    with pytest.raises(ValueError, match="asks for an array of the type 'O8'"):
        read_pickle(path)


def test_numpy_itself_is_not_touched_by_what_a_pickle_says(tmp_path):
    path = tmp_path / "bad.pkl"
    path.write_bytes(b"cnumpy\nndarray\n(N(S'kind'\nS'dict'\nd" + b"tb.")  # slots of a class
    with pytest.raises(ValueError, match="bad.pkl"):
        from_table(path, NAMES)
    path.write_bytes(pickle.dumps(BY_NAME))
    assert set(read_pickle(path)) == set(NAMES)


BAD = {
    "lengths.npz": (
        lambda path: np.savez(path, A=np.ones(2), B=np.ones(3)),
        r"a vector of the same length for every name; it holds 'A' float64 \(2,\), 'B'",
    ),
    "module.pt": (torch_saved(lambda t: t.nn.Linear(2, 2)), "more than tensors, such as a module"),
    "weights.pt": (
        torch_saved(lambda t: t.nn.Linear(2, 3).state_dict()),
        r"'weight' float32 \(3, 2\), 'bias' float32 \(3,\): .* weights of a network",
    ),
    "tensor.pt": (torch_saved(lambda t: t.ones(3, 2)), r"a Tensor of shape \(3, 2\), which has no"),
    "empty.pt": (empty_for_torch, "cannot be read as a .pt file"),
    "empty.pkl": (lambda path: path.write_bytes(b""), "cannot be read as a pickle"),
    "cut.pkl": (lambda path: path.write_bytes(pickle.dumps(BY_NAME)[:-20]), "cannot be read"),
    "cut.pkl.gz": (
        lambda path: path.write_bytes(gzip.compress(pickle.dumps(BY_NAME))[:-20]),
        "cannot be read as a pickle",
    ),
    "none.pkl": (pickled({}), "holds no vectors"),
    "array.pkl": (pickled(VALUES), r"a ndarray of shape \(3, 3\), which has no names"),
    "lengths.pkl": (
        pickled({"A": [1.0, 2.0], "B": [1.0]}),
        r"differ in length, such as 'B' \(1\) and 'A' \(2\)",
    ),
    "twice.pkl": (
        pickled({"names": ["KLF1", "KLF1", "SOX2"], "vectors": VALUES}),
        "several rows for 'KLF1'; keep one of each",
    ),
    "alike.pkl": (pickled({1: [1.0], "1": [2.0]}), "several vectors of one name"),
    "twice.safetensors": (
        lambda path: path.write_bytes(struct.pack("<Q", 18) + b'{"A": {}, "A": {}}'),
        "'A' is in it twice",
    ),
    "twice.csv": (lambda path: path.write_text("g,x\nKLF1,1\nKLF1,2\n"), "several rows for 'KLF1'"),
    "ragged.pkl": (pickled({"A": [[1.0, 2.0], [1.0]]}), "must hold a vector of numbers"),
    "texts.pkl": (pickled({"A": "a gene", "B": "another"}), "must hold a vector of numbers"),
    "sets.pkl": (pickled({"A": {1.0}}), "asks for a set"),
    "empty.safetensors": (lambda path: path.write_bytes(b""), "cannot be read as a .safetensors"),
    "text.safetensors": (lambda path: path.write_bytes(b"x" * 99), "cannot be read as a"),
    "kind.safetensors": (
        lambda path: path.write_bytes(
            struct.pack("<Q", 58)
            + b'{"A": {"dtype": "C64", "shape": [1], "data_offsets":[0,8]}}'[:58]
        ),
        "cannot be read as a .safetensors",
    ),
    "empty.h5ad": (lambda path: path.write_bytes(b""), "cannot be read as an h5ad file"),
    "empty.csv": (lambda path: path.write_bytes(b""), "cannot be read as a .csv file"),
    "header.csv": (lambda path: path.write_text("gene,x,y\n"), "has 0 rows"),
    "names.csv": (lambda path: path.write_text("gene\nKLF1\nSOX2\n"), "not numbers|holds no"),
    "edges.csv": (
        lambda path: path.write_text("source,target,importance\nKLF1,SOX2,0.5\n"),
        "read it as edges with method='network'",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files_are_refused(name, tmp_path):
    write, words = BAD[name]
    path = tmp_path / name
    write(path)
    with pytest.raises(ValueError, match=words):
        from_table(path, NAMES)


def test_a_slot_of_an_h5ad_file(tmp_path, caplog):
    caplog.set_level("INFO", "shoal")
    both = IN_OBSM.copy()
    both.obsm["other"] = VALUES[:, :1] * 2
    path = tmp_path / "both.h5ad"
    both.write_h5ad(path)
    with pytest.raises(ValueError, match=r"in 'obsm/emb', 'obsm/other'; say which with slot="):
        from_table(path, NAMES)
    found = from_table(path, NAMES, slot="obsm/other")
    np.testing.assert_array_equal(found.values, VALUES[:, :1] * 2)
    np.testing.assert_array_equal(from_table(both, NAMES, slot="obsm/emb").values, VALUES)
    from_table(IN_VARM, NAMES)
    assert "vectors are taken from varm/PCs of source, by var_names" in caplog.text
    with pytest.raises(KeyError, match="'none' is not in both.h5ad: obsm"):
        from_table(path, NAMES, slot="obsm/none")
    with pytest.raises(ValueError, match="slot='emb' is not known; write 'X', 'obsm/KEY'"):
        from_table(path, NAMES, slot="emb")
    with pytest.raises(ValueError, match="slot='X' is a place in an AnnData"):
        from_table(BY_NAME, NAMES, slot="X")


def test_an_h5ad_file_without_vectors(tmp_path):
    path = tmp_path / "none.h5ad"
    ad.AnnData(obs=GENES.obs, var=pd.DataFrame(index=["x"])).write_h5ad(path)
    with pytest.raises(ValueError, match="holds no vectors of obs_names: its obsm is empty and it"):
        from_table(path, NAMES)
    ad.AnnData(np.zeros((2, 3)), var=GENES.obs).write_h5ad(path)
    with pytest.raises(ValueError, match="holds no vectors of var_names: its varm is empty; name"):
        from_table(path, NAMES)


def test_from_a_file_to_the_screen(tmp_path):
    adata = sh.ds.simulate(n_perturbations=2, n_cells=5, n_control=5, n_genes=5, rng=0)
    before = list(adata.uns)
    path = tmp_path / "vectors.pkl"
    pickled({"P1": [1.0, 0.0], "P2": [np.nan, 1.0]})(path)
    with pytest.raises(ValueError, match="missing or infinite values: 'P2'"):
        sh.pp.embed(adata, method="table", source=path)
    assert list(adata.uns) == before
    h5ad(ad.AnnData(np.eye(2), obs=pd.DataFrame(index=["P1", "P2"])))(tmp_path / "v.h5ad")
    sh.pp.embed(adata, method="table", source=str(tmp_path / "v.h5ad"), slot="X")
    np.testing.assert_array_equal(adata.uns["perturbation_embeddings"]["table"], np.eye(2))
    assert adata.uns["perturbation_embeddings_info"]["table"].loc["table", "source"] == "v.h5ad"
    with pytest.raises(ValueError, match="method='annotations' has no use for slot="):
        sh.pp.embed(adata, method="annotations", slot="X")


TABLE = "gene,a,b\nKLF1,0.5,1\nSOX2,3,4\na/b,6,7\n"


@pytest.mark.parametrize(
    "change",
    ids=["Windows", "old Mac", "mark of Excel", "blank lines"],
    argvalues=[
        lambda text: text.replace(b"\n", b"\r\n"),
        lambda text: text.replace(b"\n", b"\r"),
        lambda text: b"\xef\xbb\xbf" + text,
        lambda text: text.replace(b"\n", b"\n\n"),
    ],
)
def test_lines_may_end_as_in_other_systems(tmp_path, change):
    (tmp_path / "v.csv").write_bytes(change(TABLE.encode()))
    (tmp_path / "plain.csv").write_text(TABLE)
    pd.testing.assert_frame_equal(read_file(tmp_path / "v.csv"), read_file(tmp_path / "plain.csv"))


@pytest.mark.parametrize(
    ("name", "content", "said"),
    ids=["semicolons", "decimal commas", "tabs", "commas", "commas of txt", "UTF-16", "Latin-1"],
    argvalues=[
        ("v.csv", TABLE.replace(",", ";").encode(), "columns are joined by ';'; write it with ','"),
        ("v.csv", b"gene;a;b\nKLF1;0,5;1\n", "columns are joined by ';'; write it with ','"),
        ("v.csv", TABLE.replace(",", "\t").encode(), r"joined by '\\t'; write it with ','"),
        ("v.tsv", TABLE.encode(), r"joined by ','; write it with '\\t'"),
        ("v.txt", TABLE.encode(), "joined by ','; write it with blanks"),
        ("v.csv", TABLE.encode("utf-16"), "no text in UTF-8; save it anew"),
        ("v.csv", TABLE.replace("KLF1", "Gène").encode("latin-1"), "no text in UTF-8"),
    ],
)
def test_a_table_of_another_format_is_said(tmp_path, name, content, said):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=said):
        read_file(tmp_path / name)
