from __future__ import annotations

import anndata as ad
import numpy as np
import pytest
from matplotlib import pyplot as plt
from matplotlib.quiver import Quiver
from scipy import sparse

import shoal as sh
from shoal.pl._geometry import _plane

from .conftest import coherence_table, with_table


@pytest.fixture
def two_ways(rng):
    """Half of A goes along axes 0 and 1, half along 0 and -1; B+C does nothing. Batch b1 is shifted along axis 5."""
    label = np.repeat(["control", "A", "B+C"], [200, 80, 40])
    x = rng.normal(size=(len(label), 8))
    a = np.flatnonzero(label == "A")
    x[a, 0] += 6
    x[a, 1] += np.where(np.arange(80) < 40, 5, -5)
    adata = ad.AnnData(x)
    adata.obs["perturbation"] = label
    adata.obs["batch"] = np.where(np.arange(len(label)) % 4 == 0, "b1", "b0")
    table = coherence_table(4, rng).iloc[:2].set_axis(["A", "B+C"])
    table["cause"] = ["several programmes", "none"]
    sh.pp.annotate(adata, "perturbation", control="control", sep="+")
    return with_table(adata, table)


def arrows(ax):
    many, mean = sorted((c for c in ax.collections if isinstance(c, Quiver)), key=lambda q: -q.N)
    return np.column_stack([many.U, many.V]), np.array([mean.U[0], mean.V[0]]), many.get_array()


def test_plane_is_the_shift_and_the_excess_across_it(two_ways, rng):
    x = two_ways.X
    plane = _plane(x[200:280], x[:200])
    np.testing.assert_allclose(plane.T @ plane, np.eye(2), atol=1e-12)
    assert plane[0, 0] > 0.98
    assert abs(plane[1, 1]) > 0.97
    partial = rng.normal(size=(100, 8)) + 6.0 * np.eye(8)[3] * (np.arange(100) < 50)[:, None]
    assert (
        abs(_plane(partial, x[:200])[3, 1]) < 0.2
    )  # excess along the shift itself is not shown twice


def test_arrows_are_the_cells(two_ways):
    ax = sh.pl.geometry(two_ways, "A")
    tips, mean, cosine = arrows(ax)
    shift = two_ways.X[200:280] - two_ways.X[:200].mean(axis=0)
    assert len(tips) == 80
    assert mean[0] == pytest.approx(np.linalg.norm(shift.mean(axis=0)))
    assert mean[1] == pytest.approx(0, abs=1e-9)
    np.testing.assert_allclose(tips.mean(axis=0), mean, atol=1e-9)
    others = (shift.sum(axis=0) - shift[0]) / np.linalg.norm(shift.sum(axis=0) - shift[0])
    assert cosine[0] == pytest.approx(shift[0] @ others / np.linalg.norm(shift[0]))
    assert (tips[:40, 1] * tips[40:, 1] < 0).mean() > 0.95  # the two ways part
    assert "several programmes" in ax.get_title(loc="left")


def test_at_most_max_cells_and_reproducibly(two_ways):
    first, second = (
        arrows(sh.pl.geometry(two_ways, "A", max_cells=20, rng=3))[0] for _ in range(2)
    )
    assert len(first) == 20
    np.testing.assert_array_equal(first, second)


def test_every_arrow_is_inside_the_axes(two_ways):
    ax = sh.pl.geometry(two_ways, "A")
    ax.figure.canvas.draw()
    tips = arrows(ax)[0]
    (left, right), (low, high) = ax.get_xlim(), ax.get_ylim()
    assert left <= tips[:, 0].min() <= tips[:, 0].max() <= right
    assert low <= tips[:, 1].min() <= tips[:, 1].max() <= high
    assert ax.get_aspect() == 1


def test_strata_and_representation_are_those_of_the_result(two_ways):
    table = two_ways.uns["coherence"]["table"]
    two_ways.X = (
        two_ways.X + 100.0 * np.eye(8)[5] * (two_ways.obs["batch"] == "b1").to_numpy()[:, None]
    )
    pooled = arrows(sh.pl.geometry(two_ways, "A"))[0]
    with_table(two_ways, table, strata=("batch",))
    tips, mean, _ = arrows(sh.pl.geometry(two_ways, "A"))
    assert np.abs(tips).max() < 15 < np.abs(pooled).max()
    assert mean[0] == pytest.approx(6, abs=0.6)
    two_ways.obsm["X_pca"] = np.asarray(two_ways.X[:, :3])
    with_table(two_ways, table, use_rep="X_pca", strata=("batch",))
    two_ways.X = np.full(two_ways.shape, np.nan)  # not read
    assert arrows(sh.pl.geometry(two_ways, "A"))[1][0] == pytest.approx(6, abs=0.6)


def test_sparse_and_other_order_of_a_name(two_ways):
    dense = arrows(sh.pl.geometry(two_ways, "C+B"))[0]
    two_ways.X = sparse.csr_matrix(two_ways.X)
    np.testing.assert_allclose(arrows(sh.pl.geometry(two_ways, "B+C"))[0], dense)


def test_controls_as_recorded_or_as_given(two_ways):
    two_ways.obs["perturbation"] = two_ways.obs["perturbation"].astype(str)
    two_ways.obs.loc[two_ways.obs_names[:50], "perturbation"] = "x,y"
    two_ways.X[:50, 0] -= 40.0  # a quarter of the controls: the pooled centroid moves by 10
    sh.pp.annotate(two_ways, "perturbation", control=["control", "x,y"])
    with_table(two_ways, two_ways.uns["coherence"]["table"], control=("control", "x,y"))
    assert arrows(sh.pl.geometry(two_ways, "A"))[1][0] == pytest.approx(16, abs=0.6)
    with_table(two_ways, two_ways.uns["coherence"]["table"], control=("control",))
    assert arrows(sh.pl.geometry(two_ways, "A"))[1][0] == pytest.approx(6, abs=0.6)


def test_errors(two_ways):
    with pytest.raises(KeyError, match="'Z' is not in the table"):
        sh.pl.geometry(two_ways, "Z")
    with pytest.raises(KeyError, match="X_pca"):
        sh.pl.geometry(two_ways, "A", use_rep="X_pca")
    two_ways.obsm["one"] = np.zeros((two_ways.n_obs, 1))
    with pytest.raises(ValueError, match="2 to 4096 features, not 1"):
        sh.pl.geometry(two_ways, "A", use_rep="one")
    two_ways.obsm["wide"] = np.zeros((two_ways.n_obs, 5000), dtype=np.float32)
    with pytest.raises(ValueError, match="not 5000"):
        sh.pl.geometry(two_ways, "A", use_rep="wide")
    with pytest.raises(ValueError, match="max_cells"):
        sh.pl.geometry(two_ways, "A", max_cells=0)
    two_ways.obs["perturbation"] = np.where(
        np.arange(320) == 200, "A", np.where(np.arange(320) < 280, "control", "B+C")
    )
    with pytest.raises(ValueError, match="'A' has 1 cells"):
        sh.pl.geometry(two_ways, "A")
    assert not plt.get_fignums()
