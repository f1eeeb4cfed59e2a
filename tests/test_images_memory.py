"""Images in a file are read by blocks: memory does not grow with the number of cells."""

import tracemalloc

import anndata as ad
import numpy as np
import pytest

import shoal as sh

zarr = pytest.importorskip("zarr")

SHAPE = (2, 32, 32)  # 2 KiB a cell
FEW, MANY = 300, 1500
TINY = {"width": 4, "multipliers": (1, 2)}


def in_file(n, folder):
    """Return a screen of n cells whose crops are in a zarr store."""
    rng = np.random.default_rng(0)
    crops = rng.integers(0, 256, (n, *SHAPE)).astype(np.uint8)
    stored = zarr.create_array(store=str(folder), data=crops, chunks=(32, *SHAPE), compressors=None)
    obs = {"drug": np.resize(["none", "a", "b"], n), "plate": np.resize(["p1"] * 3 + ["p2"] * 3, n)}
    adata = ad.AnnData(obs=obs, obsm={"crops": stored})
    adata.obs_names = [f"cell{i}" for i in range(n)]
    sh.pp.annotate(adata, "drug", control="none", batch_key="plate")
    return adata


def prepare(adata):
    sh.pp.prepare_images(adata, use_rep="crops", channels=["DNA", "actin"])


def measure(adata):
    sh.pp.measure_images(adata, use_rep="crops", nucleus="DNA")


def train(adata):
    how = {"batch_conditions": 1, "set_size": 4, "response_share": 1.0}
    sh.tl.fit(adata, "cellflux", use_rep="crops", max_steps=2, store="streamed", config=TINY, **how)


def peak(call, adata):
    """Return the least peak of three calls: on a busy machine, a thread may read one block ahead."""
    found = []
    for _ in range(3):
        tracemalloc.start()
        try:
            call(adata)
            found.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
    return min(found)


@pytest.mark.slow
@pytest.mark.parametrize("call", [prepare, measure, train])
def test_memory_does_not_grow_with_the_images(call, tmp_path, monkeypatch):
    monkeypatch.setattr(sh.settings, "block_bytes", 32 * np.prod(SHAPE))
    sizes = (FEW, FEW, MANY)  # the first call imports libraries
    screens = [in_file(n, tmp_path / f"{i}.zarr") for i, n in enumerate(sizes)]
    if call is train:
        pytest.importorskip("torch")
        from shoal.training import StreamedStore

        monkeypatch.setitem(StreamedStore.__init__.__kwdefaults__, "pool_cells", 64)
    if call is not prepare:
        for adata in screens:
            prepare(adata)
    call(screens[0])
    few, many = (peak(call, adata) for adata in screens[1:])
    assert many - few < 0.25 * (MANY - FEW) * np.prod(SHAPE)
