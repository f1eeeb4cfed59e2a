from __future__ import annotations

import hashlib
import logging
import os
import re
import socket
import subprocess
import sys
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import anndata as ad
import mudata
import numpy as np
import pytest

import shoal as sh
from shoal.ds import _fetch, _registry

REAL = Path(os.environ.get("SHOAL_DATA_DIR", Path(__file__).parents[3] / "shared" / "data"))
SHIPPED = "renge_small"
NAMES = {
    SHIPPED,
    "norman_2019",
    "adamson_2016_pilot",
    "adamson_2016_upr",
    "dixit_2016",
    "papalexi_2021",
    "replogle_2022_k562_essential",
    "kang_2018",
    "sciplex3",
}


@pytest.fixture(autouse=True)
def places(tmp_path, monkeypatch):
    """No folder of the user's, no cache of the user's, no proxy."""
    monkeypatch.delenv("SHOAL_DATA_DIR", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(_fetch, "_cache", lambda: tmp_path / "cache")
    return tmp_path


@pytest.fixture
def small(screen_adata):
    """A screen as kang_2018 names its columns."""
    obs = screen_adata.obs.replace({"control": "ctrl"}).rename(columns={"perturbation": "label"})
    obs["cell_type"] = "T"
    obs.iloc[-1, 0] = None
    return ad.AnnData(screen_adata.X, obs=obs)


@pytest.fixture
def content(small, tmp_path):
    small.write_h5ad(tmp_path / "small.h5ad")
    return (tmp_path / "small.h5ad").read_bytes()


@pytest.fixture
def server():
    """A server on loopback: `server.pages[path] = (status, bytes sent, length announced)`."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.server.seen.append((self.path, self.headers["User-Agent"]))
            status, body, length = self.server.pages.get(self.path, (404, b"gone", 4))
            self.send_response(status)
            self.send_header("Content-Length", str(length))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    found = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found.pages, found.seen = {}, []
    thread = threading.Thread(target=found.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    found.url = f"http://127.0.0.1:{found.server_port}"
    yield found
    found.shutdown()
    found.server_close()
    thread.join()


@pytest.fixture
def serve(server, monkeypatch):
    """Let kang_2018 come from the loopback server."""

    def register(*paths, checksum=None):
        urls = tuple(f"{server.url}/{p}" for p in paths)
        record = replace(_registry.DATASETS["kang_2018"], urls=urls, checksum=checksum)
        monkeypatch.setattr(_registry, "DATASETS", {"kang_2018": record})

    return register


def test_registry_is_complete_and_sober():
    assert set(_registry.DATASETS) == NAMES
    for name, record in _registry.DATASETS.items():
        assert name == record.name
        assert all(url.startswith("https://") for url in (*record.urls, record.page))
        assert bool(record.urls) == (name != SHIPPED)
        assert record.doi.startswith("10.")
        assert record.checksum is None or re.fullmatch(
            r"md5:[0-9a-f]{32}|sha256:[0-9a-f]{64}", record.checksum
        )
        assert record.values in ("counts", "log-normalised")
        assert record.control
        assert record.file.startswith(name)
    assert len({r.file for r in _registry.DATASETS.values()}) == len(NAMES)
    with pytest.raises(TypeError):
        _registry.DATASETS["mine"] = None
    assert {n for n, r in _registry.DATASETS.items() if r.values != "counts"} == {
        "norman_2019",
        "dixit_2016",
    }


# -- the screen that is shipped ----------------------------------------------------------------------------------


def test_the_shipped_screen_opens_without_network(monkeypatch):
    def no_network(*_):
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", no_network)
    adata = sh.ds.load(SHIPPED)
    assert adata.shape == (7_412, 103)
    assert adata.uns["shoal"]["context_key"] == "day"
    path = Path(sh.ds.available().loc[SHIPPED, "path"])
    record = _registry.DATASETS[SHIPPED]
    assert path.parent == _fetch.SHIPPED
    assert record.checksum == f"md5:{hashlib.md5(path.read_bytes()).hexdigest()}"
    assert record.size_mb == pytest.approx(path.stat().st_size / 1e6, abs=0.01)
    assert path.stat().st_size < 2_000_000


def test_the_shipped_screen_holds_what_its_licence_file_says():
    """Counts, and cells enough of every knock-out on every day to be measured and to be held out."""
    adata = sh.ds.load(SHIPPED)
    assert (adata.X.data == np.round(adata.X.data)).all()
    assert adata.X.min() >= 0
    cells = adata.obs.groupby(["perturbation", "day"], observed=True).size().unstack()
    assert cells.columns.tolist() == ["day2", "day3", "day4", "day5"]
    assert cells.loc["control"].min() >= 100
    assert len(cells.drop("control")) == 17
    assert cells.drop("control").min(axis=None) >= 40
    assert cells.drop("control").max(axis=None) <= 100
    assert not set(adata.var_names[:3]) - {"TARDBP", "HNRNPR", "ID3"}
    told = (_fetch.SHIPPED / "renge_small.txt").read_text(encoding="utf-8")
    for part in ("7,412", "103 genes", "17 knock-outs", "GSE213069", "10.1038/s42003-023-05594-4"):
        assert part in " ".join(told.split())
    assert "MIT License" in told
    assert "THE SOFTWARE IS PROVIDED" in told


def test_knock_outs_of_the_shipped_screen_respond():
    adata = sh.ds.load(SHIPPED)
    sh.pp.prepare(adata, normalize="log1p")
    sh.tl.coherence(adata)
    table = adata.uns["coherence"]["table"]
    assert (table["qvalue"] < 0.05).sum() >= 12
    assert table["magnitude"].idxmax() in {"POU5F1", "PRDM14"}  # what keeps these cells pluripotent


def test_the_shipped_screen_is_a_part_of_its_source(find_real):
    """The script that makes it gives the same cells and counts again."""
    find_real("renge23_hipsc_ko.h5ad")
    script = Path(__file__).parents[2] / "benchmarks" / "make_renge_small.py"
    done = subprocess.run(
        [sys.executable, script, "--check"],
        env={**os.environ, "SHOAL_DATA_DIR": str(REAL)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "is what renge23_hipsc_ko.h5ad gives" in done.stdout


def test_a_package_without_its_screen_says_so(monkeypatch, tmp_path):
    monkeypatch.setattr(_fetch, "SHIPPED", tmp_path)
    with pytest.raises(FileNotFoundError, match=r"renge_small\.h5ad is not in .*install it again"):
        sh.ds.load(SHIPPED)


# -- screens that are downloaded ---------------------------------------------------------------------------------


def test_the_size_is_told_before_the_download(server, serve, content, caplog):
    serve("good")
    server.pages["/good"] = (200, content, len(content))
    sh.ds.load("kang_2018")
    assert f"downloading kang_2018, {len(content) / 1e6:,.1f} MB, from {server.url}" in caplog.text


def test_download_once_then_from_the_cache(server, serve, content, small, places):
    serve("good", checksum=f"md5:{hashlib.md5(content).hexdigest()}")
    server.pages["/good"] = (200, content, len(content))
    adata = sh.ds.load("kang_2018")
    np.testing.assert_array_equal(adata.X, small.X)
    assert adata.uns["shoal"]["perturbation_key"] == "label"
    assert list(adata.uns["shoal"]["control"]) == ["ctrl"]
    assert adata.uns["shoal"]["context_key"] == "cell_type"
    assert "batch_key" not in adata.uns["shoal"]  # the file has no such column
    assert adata.uns["shoal"]["missing"] == "ignore"
    assert server.seen[0][1].startswith("shoal/")
    sh.ds.load("kang_2018")
    assert len(server.seen) == 1
    assert sh.ds.available().loc["kang_2018", "path"] == str(places / "cache" / "kang_2018.h5ad")


def test_second_url_is_tried(server, serve, content, tmp_path):
    serve("absent", "good")
    server.pages["/good"] = (200, content, len(content))
    assert sh.ds.load("kang_2018", folder=tmp_path / "mine").n_obs > 0
    assert (tmp_path / "mine" / "kang_2018.h5ad").is_file()


@pytest.mark.parametrize(
    "how", ["cut short", "cut short unannounced", "page", "empty", "other file"]
)
def test_broken_download_leaves_nothing(server, serve, content, places, how):
    checksum = f"md5:{'0' * 32}" if how == "other file" else None
    serve("bad", checksum=checksum)
    half = content[: len(content) // 2]
    server.pages["/bad"] = {
        "cut short": (200, half, len(content)),
        "cut short unannounced": (200, half, len(half)),
        "page": (200, b"<html>please log in</html>", 26),
        "empty": (200, b"", 0),
        "other file": (200, content, len(content)),
    }[how]
    with pytest.raises(ConnectionError, match="could not download"):
        sh.ds.load("kang_2018")
    assert list((places / "cache").iterdir()) == []


def test_without_network_the_error_says_what_to_put_where(server, serve, places):
    serve("gone")
    with pytest.raises(OSError, match="could not download") as caught:
        sh.ds.load("kang_2018")
    for part in (f"{server.url}/gone", str(places / "cache" / "kang_2018.h5ad"), "SHOAL_DATA_DIR"):
        assert part in str(caught.value)


def test_folder_wins_over_variable_over_cache(small, tmp_path, monkeypatch):
    for n, place in ((3, "cache"), (2, "variable"), (1, "folder")):
        (tmp_path / place).mkdir()
        part = small.copy()
        part.uns["which"] = n
        part.write_h5ad(tmp_path / place / "kang_2018.h5ad")
    assert sh.ds.load("kang_2018").uns["which"] == 3
    monkeypatch.setenv("SHOAL_DATA_DIR", str(tmp_path / "variable"))
    assert sh.ds.load("kang_2018").uns["which"] == 2
    assert sh.ds.load("kang_2018", folder=tmp_path / "folder").uns["which"] == 1


def test_rna_of_a_mudata_file(screen_adata, tmp_path):
    obs = screen_adata.obs
    screen_adata.obs = obs[["batch"]].rename(columns={"batch": "replicate"})
    protein = screen_adata[:, :2].copy()
    protein.var_names = ["protein0", "protein1"]
    mdata = mudata.MuData({"rna": screen_adata, "adt": protein})
    mdata.obs["gene_target"] = obs["perturbation"].replace({"control": "NT"})
    mdata.write(tmp_path / "papalexi_2021.h5mu")
    adata = sh.ds.load("papalexi_2021", folder=tmp_path)
    np.testing.assert_array_equal(adata.X, screen_adata.X)
    np.testing.assert_array_equal(
        adata.obs["gene_target"], obs["perturbation"].replace({"control": "NT"})
    )
    assert adata.uns["shoal"]["batch_key"] == "replicate"


def test_any_file_that_says_what_its_columns_mean(screen_adata, tmp_path, monkeypatch):
    screen_adata.write_h5ad(tmp_path / "silent.h5ad")
    screen_adata.uns["dataset_info"] = {
        "perturbation_key": "perturbation",
        "control_label": "control",
        "batch_key": "batch",
        "note": "a small one",
    }
    screen_adata.write_h5ad(tmp_path / "mine.h5ad")
    (tmp_path / "broken.h5ad").write_bytes(b"no")
    monkeypatch.setenv("SHOAL_DATA_DIR", str(tmp_path))
    table = sh.ds.available()
    assert set(table.index) == NAMES | {"mine"}
    assert table.loc["mine", "size_mb"] == (tmp_path / "mine.h5ad").stat().st_size / 1e6
    assert table.loc["mine", "note"] == "a small one"
    assert table.loc["mine", "path"] == str(tmp_path / "mine.h5ad")
    assert table.loc["norman_2019", ["path", "values", "control"]].tolist() == [
        "",
        "log-normalised",
        "control",
    ]
    adata = sh.ds.load("mine")
    assert adata.uns["shoal"]["batch_key"] == "batch"


def test_what_cannot_be_annotated_is_loaded_and_said(small, tmp_path, caplog):
    only = small[small.obs["label"] == "ctrl"].copy()
    only.write_h5ad(tmp_path / "kang_2018.h5ad")
    with caplog.at_level(logging.WARNING, logger="shoal"):
        adata = sh.ds.load("kang_2018", folder=tmp_path)
    assert "shoal" not in adata.uns
    assert "not annotated" in caplog.text


def test_unknown_name_lists_and_guesses():
    with pytest.raises(KeyError, match=r"'norman_2018' is not in .*Did you mean 'norman_2019'"):
        sh.ds.load("norman_2018")


@pytest.mark.parametrize("folder", [3, True, b"folder", ["folder"]])
def test_what_is_no_folder_is_refused(folder):
    for call in (sh.ds.available, lambda **given: sh.ds.load("renge_small", **given)):
        with pytest.raises(TypeError, match="folder must be a path, not"):
            call(folder=folder)


def test_real_subsets(monkeypatch):
    name = "papalexi21_sceptre_lowmoi"
    if not (REAL / f"{name}.h5ad").exists():
        pytest.skip(
            f"real data absent: {REAL / name}.h5ad (set SHOAL_DATA_DIR to the folder that holds it)"
        )
    monkeypatch.setenv("SHOAL_DATA_DIR", str(REAL))
    adata = sh.ds.load(name)
    assert adata.shape == (20_729, 299)
    assert list(adata.uns["shoal"]["control"]) == ["non-targeting"]
