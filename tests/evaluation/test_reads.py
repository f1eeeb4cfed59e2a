"""How often the matrix of a screen is read by fit, predict and evaluate.

What counts as a full read: as many values as the matrix has, read from the file by whatever way.
Every call of h5py that returns values of ``/X`` is counted, also those that read single rows or the
rows between them. Of a sparse matrix the stored values (``/X/data``) are counted. Of a dask array
the chunks that are computed are counted.
"""

from __future__ import annotations

from collections import Counter

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest

import shoal as sh

from ..helpers import dense


def screen(kind: str) -> ad.AnnData:
    """Return a screen of two contexts whose twins of `own_shift` are still to be predicted."""
    adata = sh.ds.simulate(
        n_perturbations=8, n_cells=60, n_control=120, n_genes=60, contexts=2, rng=0
    )
    sh.pp.annotate(
        adata, "perturbation", control="control", context_key="context", batch_key="batch"
    )
    sh.pp.split(adata, by="perturbation_context", test=0.3, rng=0)
    sh.pp.prepare(adata, normalize="log1p", fit_on="train", n_comps=8)
    names = [name for name in adata.obs["perturbation"].unique() if name != "control"]
    values = np.random.default_rng(0).normal(size=(len(names), 3))
    adata.uns["perturbation_embeddings"] = {
        "random": pd.DataFrame(values, index=names, columns=list("abc"))
    }
    adata = ad.AnnData(adata.X, obs=adata.obs, var=adata.var[[]], uns=adata.uns)
    if kind == "dense":
        adata.X = dense(adata.X)
    elif kind == "signed":
        adata.X = dense(adata.X) - 0.5
    return adata


@pytest.fixture
def read(monkeypatch):
    """Counts the values that are read from each data set of a file, by name."""
    counts = Counter()
    one, whole = h5py.Dataset.__getitem__, h5py.Dataset.read_direct

    def getitem(self, *args, **kwargs):
        found = one(self, *args, **kwargs)
        counts[self.name] += np.size(found)
        return found

    def read_direct(self, dest, *args, **kwargs):
        counts[self.name] += dest.size
        return whole(self, dest, *args, **kwargs)

    monkeypatch.setattr(h5py.Dataset, "__getitem__", getitem)
    monkeypatch.setattr(h5py.Dataset, "read_direct", read_direct)
    return counts


def everything(adata: ad.AnnData) -> list[str]:
    """Fit a model, predict the test cells and evaluate beside all automatic baselines."""
    model = sh.tl.fit(adata, "own_shift")
    sh.tl.predict(adata, model, key_added="p", subset="test")
    sh.tl.evaluate(adata, prediction="p", embedding="random", n_comps=8, n_draws=2)
    return list(adata.uns["evaluation"]["contenders"].index)


@pytest.mark.parametrize("kind", ["dense", "csr", "signed"])
def test_full_reads_of_a_file(kind, tmp_path, read):
    screen(kind).write_h5ad(tmp_path / "screen.h5ad")
    backed = ad.read_h5ad(tmp_path / "screen.h5ad", backed="r")
    try:
        name = "/X/data" if kind == "csr" else "/X"
        size = backed.file._file[name].size
        read.clear()
        scored = everything(backed)
        assert len(scored) >= 4 + 9  # most automatic baselines can predict this split
        assert 2 <= read[name] / size <= 3  # one each by fit and evaluate, controls by predict
        read.clear()
        sh.tl.evaluate(backed, prediction="p", embedding="random", n_comps=8, n_draws=3)
        assert read[name] == size  # a whole evaluation is one read
    finally:
        backed.file.close()


def test_chunks_of_dask_are_computed_twice_at_most():
    da = pytest.importorskip("dask.array")
    adata = screen("dense")
    x, computed = adata.X, Counter()

    def chunk(block, block_info=None):
        if block_info:
            computed[block_info[None]["chunk-location"][0]] += 1
        return block

    whole = da.from_array(x, chunks=(100, x.shape[1]))
    adata.X = whole.map_blocks(chunk, dtype=x.dtype, meta=np.empty((0, 0), dtype=x.dtype))
    lazy, eager = adata, screen("dense")
    for own in (lazy, eager):
        sh.tl.predict(own, sh.tl.fit(own, "own_shift"), key_added="p", subset="test")
    computed.clear()
    sh.tl.evaluate(lazy, prediction="p", embedding="random", n_comps=8, n_draws=2)
    assert len(computed) == len(whole.chunks[0])
    assert max(computed.values()) <= 2
    sh.tl.evaluate(eager, prediction="p", embedding="random", n_comps=8, n_draws=2)
    one, other = (own.uns["evaluation"]["contenders"] for own in (lazy, eager))
    pd.testing.assert_frame_equal(one, other, rtol=1e-3, atol=1e-4)


def test_scale_is_looked_at_once_and_conditions_are_indexed_once(monkeypatch):
    """In memory too: all baselines of an evaluation share one population."""
    from shoal.core import _condition_sums, _population

    calls = Counter()
    for module, name in (
        (_population, "read_values"),
        (_population, "labels"),
        (_condition_sums, "walk"),
    ):
        real = getattr(module, name)

        def counted(*args, _real=real, _name=name, **kwargs):
            calls[_name] += 1
            return _real(*args, **kwargs)

        monkeypatch.setattr(module, name, counted)
    adata = screen("csr")
    sh.tl.predict(adata, sh.tl.fit(adata, "own_shift"), key_added="p", subset="test")
    calls.clear()
    sh.tl.evaluate(adata, prediction="p", embedding="random", n_comps=8)
    assert calls == {"labels": 1, "walk": 1}


def test_predict_reads_the_controls_of_a_dask_array_once():
    da = pytest.importorskip("dask.array")
    adata, read = screen("dense"), Counter()
    model = sh.tl.fit(adata.copy(), "own_shift")

    def noted(block, block_info=None):
        read[block_info[0]["chunk-location"][0]] += 1
        return block

    eager = adata.copy()
    array = da.from_array(adata.X, chunks=(60, -1))
    adata.X = array.map_blocks(noted, dtype=array.dtype, meta=array._meta)
    read.clear()
    sh.tl.predict(adata, model, key_added="p", subset="test")
    assert max(read.values()) <= 2  # once to look at the scale of new cells
    sh.tl.predict(eager, model, key_added="p", subset="test")
    np.testing.assert_array_equal(dense(adata.layers["p"]), dense(eager.layers["p"]))
