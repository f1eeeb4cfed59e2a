"""Sums of conditions and of controls: equal to those of a loop over groups, from one reading."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData, read_h5ad
from scipy import sparse

import shoal as sh
from shoal.core._matrix import Rows
from shoal.core._population import population, read_once
from shoal.core._screen import resolve

from ..helpers import dense


@pytest.fixture
def adata(rng):
    """Return 90 cells in 3 contexts and 2 batches, some of them without a context, of all splits."""
    n = 90
    obs = pd.DataFrame(
        {
            "perturbation": rng.choice(["control", "A", "B", "A+B"], n),
            "context": pd.Series(rng.choice(["c1", "c2", None], n), dtype=object).to_numpy(),
            "batch": rng.choice(["b1", "b2"], n),
            "dose": rng.choice([np.nan, 1.0, 10.0], n),
            "split": rng.choice(["train", "val", "test"], n),
        },
        index=[f"cell{i}" for i in range(n)],
    )
    made = AnnData(rng.poisson(0.7, (n, 7)) * 0.5, obs=obs)
    sh.pp.annotate(
        made,
        "perturbation",
        control="control",
        context_key="context",
        batch_key="batch",
        dose_key="dose",
        missing="ignore",
    )
    return made


def cells_of(adata, matrix=np.asarray):
    cells = population(adata, resolve(adata))
    return population(
        AnnData(matrix(adata.X), obs=adata.obs, uns=adata.uns, var=adata.var), cells.screen
    )


@pytest.mark.parametrize("matrix", [np.asarray, sparse.csr_matrix])
def test_sums_equal_those_of_a_loop_over_groups(adata, matrix):
    cells = cells_of(adata, matrix)
    found = cells.sums
    for kind, chosen, names in (
        (found.perturbed, cells.perturbed, ("perturbation", "context", "dose", "split")),
        (found.control, cells.labels.is_control, ("context", "batch", "split")),
    ):
        columns = {**vars(cells), "perturbation": cells.labels.code}
        assert kind.n.sum() == chosen.sum()
        assert list(kind.keys) == list(names)
        for group, key in kind.keys.iterrows():
            own = chosen.copy()
            for name in names:
                own &= (columns[name] == key[name]) | (
                    np.isnan(columns[name]) & np.isnan(key[name])
                )
            assert kind.n[group] == own.sum()
            np.testing.assert_allclose(kind.sums[group], adata.X[own].sum(axis=0), atol=1e-12)


def test_groups_of_one_split_and_of_all_splits(adata):
    cells = cells_of(adata)
    train, every = cells.sums.perturbed.of_split(0), cells.sums.perturbed.of_all_splits()
    assert train.n.sum() == cells.train.sum()
    np.testing.assert_allclose(train.sums.sum(axis=0), adata.X[cells.train].sum(axis=0))
    assert every.n.sum() == cells.perturbed.sum()
    assert not every.keys.duplicated().any()
    np.testing.assert_allclose(every.sums.sum(axis=0), adata.X[cells.perturbed].sum(axis=0))


def test_controls_of_a_context_without_any_are_all_controls(adata):
    bare = adata[(adata.obs["perturbation"] != "control") | (adata.obs["context"] != "c1")].copy()
    cells = cells_of(bare)
    control = cells.labels.is_control
    np.testing.assert_allclose(cells.control_means[0], bare.X[control].mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(cells.control_means[-1], cells.control_means[0], rtol=1e-6)
    own = control & (bare.obs["context"] == "c2").to_numpy()
    np.testing.assert_allclose(cells.control_means[1], bare.X[own].mean(axis=0), rtol=1e-6)


def test_what_is_read_from_the_values_is_read_once(adata, monkeypatch):
    cells, read = cells_of(adata), []
    blocks = Rows.blocks
    monkeypatch.setattr(Rows, "blocks", lambda self: read.append(1) or blocks(self))
    for _ in range(3):
        assert cells.scale.minimum == 0
        assert cells.training.lowest == 0
        assert len(cells.sums.perturbed.n)
    assert len(read) == 2  # once for the scale and the training cells, once for the sums


@pytest.mark.parametrize("kind", ["dense", "csr", "dask"])
def test_one_reading_tells_the_scale_the_sums_and_keeps_rows(screen_adata, tmp_path, kind):
    adata = screen_adata
    sh.pp.annotate(adata, "perturbation", control="control")
    adata.X = adata.X.astype(np.float32)
    plain = population(adata, resolve(adata))
    if kind == "dask":
        other = adata.copy()
        other.X = pytest.importorskip("dask.array").from_array(adata.X, chunks=(40, 12))
    else:
        stored = adata.copy()
        stored.X = sparse.csr_matrix(adata.X) if kind == "csr" else adata.X
        stored.write_h5ad(tmp_path / "x.h5ad")
        other = read_h5ad(tmp_path / "x.h5ad", backed="r")
    keep = np.array([70, 3, 4, 150, 3])
    cells = read_once(population(other, resolve(other)), keep)
    assert cells.scale == plain.scale
    for name in ("n", "lowest", "totals"):
        assert getattr(cells.training, name) == pytest.approx(
            getattr(plain.training, name), nan_ok=True
        )
    np.testing.assert_allclose(cells.training.sums, plain.training.sums, atol=1e-12)
    np.testing.assert_array_equal(cells.training.on, plain.training.on)
    np.testing.assert_allclose(cells.sums.perturbed.sums, plain.sums.perturbed.sums, atol=1e-12)
    if kind != "dask":
        other.file.close()
    for index in (np.array([3, 70]), np.unique(keep)):  # no file is open
        np.testing.assert_array_equal(dense(cells.rows.take(index)), adata.X[index])
    assert cells.rows.kept.values.dtype == np.float32
    assert cells.rows.kept.places(np.array([3, 5])) is None


def test_a_matrix_in_memory_is_not_copied(screen_adata):
    sh.pp.annotate(screen_adata, "perturbation", control="control")
    cells = read_once(population(screen_adata, resolve(screen_adata)), np.arange(5))
    assert cells.rows.kept is None
    assert cells.rows.matrix is screen_adata.X
