"""The numbers of an evaluation depend on the cells, not on how they are stored, ordered or named."""

from __future__ import annotations

from functools import partial

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import shoal as sh

from ..helpers import dense
from .tasks import TWINS, evaluated, give, held_out, screen

MANY = ["pearson_delta", "pearson_delta_perturbed", "weighted_mse", "pds_l2", "de_auprc", "de_overlap_n", "energy",
        "sliced_wasserstein", "variance_ratio", "correlation_error", "bimodality_error", "collapse_index",
        "magnitude_spearman"]  # fmt: skip


def same(one, other, rtol=2e-3):
    """Compare two evaluations; principal axes are fitted in single precision, whose sums depend on the order of the cells."""
    for name in ("table", "contenders", "conditions", "scores"):
        pd.testing.assert_frame_equal(one[name], other[name], rtol=rtol, atol=1e-4)
    pd.testing.assert_frame_equal(one["summary"], other["summary"], rtol=1e-2, atol=1e-3)


@pytest.fixture(scope="module")
def first():
    return evaluated(screen(), metrics=MANY, baselines=["mean_shift"])


def test_a_seed_gives_the_same_numbers_and_another_seed_does_not(first):
    same(first, evaluated(screen(), metrics=MANY, baselines=["mean_shift"]), rtol=1e-12)
    other = evaluated(screen(), metrics=MANY, baselines=["mean_shift"], rng=1)
    assert not np.allclose(first["table"]["energy"], other["table"]["energy"])
    one, two = (evaluated(screen(), rng=np.random.default_rng(3)) for _ in range(2))
    pd.testing.assert_frame_equal(one["table"], two["table"])


@pytest.mark.parametrize("contexts", [1, 2])
def test_rows_may_come_in_any_order(contexts):
    adata = screen(contexts=contexts)
    shuffled = adata[np.random.default_rng(0).permutation(adata.n_obs)].copy()
    one, other = (
        evaluated(each, metrics=MANY, baselines=["mean_shift"]) for each in (adata, shuffled)
    )
    same(one, other)


def lazy(x, form=np.asarray):
    """Return a matrix as a dask array of three chunks."""
    da = pytest.importorskip("dask.array")
    x = dense(x)
    array = da.from_array(x, chunks=(len(x) // 3 + 1, x.shape[1]))
    return array.map_blocks(form, dtype=x.dtype, meta=form(x[:0]))


@pytest.mark.parametrize("kind", ["dense", "float64", "csc", "dask", "dask of csr"])
def test_storage_does_not_matter(first, kind):
    adata = screen()
    change = {
        "dense": dense,
        "float64": lambda x: dense(x).astype(np.float64),
        "csc": sparse.csc_matrix,
        "dask": lazy,
        "dask of csr": partial(lazy, form=sparse.csr_matrix),
    }[kind]
    adata.X, adata.layers[TWINS] = change(adata.X), change(adata.layers[TWINS])
    same(first, evaluated(adata, metrics=MANY, baselines=["mean_shift"]))


def test_a_file_on_disk(first, tmp_path):
    screen().write_h5ad(tmp_path / "a.h5ad")
    backed = ad.read_h5ad(tmp_path / "a.h5ad", backed="r")
    try:
        same(first, evaluated(backed, metrics=MANY, baselines=["mean_shift"]))
        with pytest.raises(ValueError, match="view of an AnnData backed by a file"):
            evaluated(backed[: backed.n_obs - 1])
    finally:
        backed.file.close()


def test_a_view_becomes_a_copy_and_its_parent_is_left_alone(first):
    adata = screen()
    view = adata[adata.obs_names]
    assert view.is_view
    same(first, evaluated(view, metrics=MANY, baselines=["mean_shift"]))
    assert "evaluation" not in adata.uns


def test_labels_may_be_integers():
    adata = screen()
    one = evaluated(adata, baselines=["mean_shift"])
    numbered = screen()
    names = sorted(numbered.obs["perturbation"].astype(str).unique())
    code = {name: 100 + i for i, name in enumerate(names)}  # the same order
    numbered.obs["perturbation"] = numbered.obs["perturbation"].astype(str).map(code)
    sh.pp.annotate(numbered, "perturbation", control=code["control"])
    other = evaluated(numbered, baselines=["mean_shift"])
    assert list(other["table"].index) == [str(code[name]) for name in one["table"].index]
    # control sorts first now, so that draws differ: what needs none is the same
    np.testing.assert_allclose(other["conditions"]["n_real"], one["conditions"]["n_real"])
    np.testing.assert_allclose(other["table"]["energy"], one["table"]["energy"], rtol=0.2)


def test_values_of_another_layer():
    adata = screen()
    one = evaluated(adata, baselines=["mean_shift"])
    moved = screen()
    moved.layers["lognorm"], moved.X = moved.X, moved.layers["counts"]
    other = evaluated(moved, baselines=["mean_shift"], layer="lognorm")
    same(one, other)
    assert other["params"]["layer"] == "lognorm"


def test_whose_twins_are_not_asked_does_not_matter(first):
    adata = screen()
    values = dense(adata.layers[TWINS]).copy()
    values[~held_out(adata)] = 7.0
    adata.layers[TWINS] = values
    same(first, evaluated(adata, metrics=MANY, baselines=["mean_shift"]))


# -- predicted cells in another AnnData --------------------------------------------------------------------------------


def constant(adata):
    """Give every held-out condition its own mean, cell for cell: which of its twins is taken makes no difference."""
    x = dense(adata.X)
    means = (
        pd.DataFrame(x)
        .groupby(adata.obs["perturbation"].astype(str).to_numpy())
        .transform("mean")
        .to_numpy()
    )
    give(adata, means)


def in_another(adata):
    pred = ad.AnnData(dense(adata.layers[TWINS])[held_out(adata)], var=adata.var[[]].copy())
    pred.obs["perturbation"] = adata.obs["perturbation"][held_out(adata)].astype(str).to_numpy()
    return pred


def test_cells_in_another_anndata_with_other_order_equal_the_layer():
    adata = screen()
    constant(adata)
    rng = np.random.default_rng(0)
    pred = in_another(adata)
    pred = pred[rng.permutation(pred.n_obs), rng.permutation(pred.n_vars)].copy()
    by_layer = evaluated(adata.copy(), metrics=MANY)
    by_cells = evaluated(adata, metrics=MANY, prediction=pred)
    pd.testing.assert_frame_equal(by_layer["table"], by_cells["table"], rtol=1e-4, atol=1e-5)


def test_controls_genes_and_perturbations_beyond_those_asked_have_no_effect():
    adata = screen()
    pred = in_another(adata)
    more = ad.AnnData(np.full((50, 70), 9.0, dtype=np.float32))
    more.obs_names = [f"extra{i}" for i in range(50)]
    more.obs["perturbation"] = np.repeat(["control", "nobody asked"], 25)
    more.var_names = [*pred.var_names, *(f"more{i}" for i in range(10))]
    joined = ad.concat([pred, more], join="outer", fill_value=3.0)
    one, other = (
        evaluated(screen(), metrics=MANY, prediction=pred),
        evaluated(screen(), metrics=MANY, prediction=joined),
    )
    same(one, other)


def test_cells_by_context_and_dose():
    adata = screen(contexts=2)
    adata.obs["dose"] = np.where(adata.obs["perturbation"] == "control", 0.0, 1.0)
    strong = adata.obs_names[(np.arange(adata.n_obs) % 2 == 0) & (adata.obs["dose"] > 0)]
    adata.obs.loc[strong, "dose"] = 10.0
    sh.pp.annotate(adata, "perturbation", control="control", context_key="context", dose_key="dose")
    pred = adata[held_out(adata)].copy()
    entry = evaluated(adata, prediction=pred, min_cells=4, metrics=["mae", "pds_l2"])
    assert len(entry["table"]) == 6 * 2 * 2
    swapped = pred.copy()
    swapped.obs["context"] = (
        pred.obs["context"].astype(str).map({"context1": "context2", "context2": "context1"})
    )
    other = evaluated(adata, prediction=swapped, min_cells=4, metrics=["mae", "pds_l2"])
    assert other["summary"].loc["mae", "value"] > entry["summary"].loc["mae", "value"]
