"""Cells that come as a plain matrix: the same as the AnnData way, and what is refused."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pytest
from scipy import sparse

import shoal as sh

from ...helpers import dense


@pytest.fixture
def plain():
    """Return a logged screen without contexts and batches."""
    adata = sh.ds.simulate(n_perturbations=3, n_cells=30, n_control=60, n_genes=40, rng=0)
    del adata.uns["shoal"]
    sh.pp.annotate(adata, "perturbation", control="control")
    sh.pp.prepare(adata, normalize="log1p", n_comps=6)
    return adata


def controls(adata):
    return adata[adata.obs["perturbation"] == "control"].copy()


@pytest.mark.parametrize("kind", ["mean_shift", "quantile_shift", "flow"])
def test_an_array_is_carried_as_the_anndata_is(plain, fit_flow, kind):
    model = fit_flow(plain, max_steps=5) if kind == "flow" else sh.tl.fit(plain, kind)
    cells = controls(plain)
    x = dense(cells.X)
    for values in (x, sparse.csr_matrix(x)):
        cells.X = values
        made = model.transport(values, "P2")
        assert type(made) is type(values)
        assert made.dtype == np.float32
        np.testing.assert_array_equal(dense(made), dense(model.transport(cells, "P2").X))
        assert np.abs(dense(made) - x).max() > 0


def test_the_context_of_an_array(screen, fit_flow):
    sh.pp.annotate(
        screen, "perturbation", control="control", context_key="context"
    )  # without batches
    model = fit_flow(screen, max_steps=5)
    first, second = (str(c) for c in np.unique(screen.obs["context"]))
    cells = controls(screen[screen.obs["context"].astype(str) == second])
    cells.X = x = dense(cells.X)
    made = model.transport(x, "P1", context=second)
    np.testing.assert_allclose(made, dense(model.transport(cells, "P1").X), rtol=1e-6)
    assert np.abs(made - model.transport(x, "P1", context=first)).max() > 0
    assert np.isfinite(model.transport(x, "P1")).all()  # of unknown context
    with pytest.raises(
        KeyError, match=r"'nowhere' is not in the contexts of the screen, which holds"
    ):
        model.transport(x, "P1", context="nowhere")
    with pytest.raises(
        ValueError, match="is for a plain array; of an AnnData the context column of obs is read"
    ):
        model.transport(cells, "P1", context=second)


def test_unknown_context_and_batch_are_no_trouble_for_baselines(screen):
    x = dense(controls(screen).X)
    for kind in ("mean_shift", "own_shift", "control", "quantile_shift"):
        assert np.isfinite(sh.tl.fit(screen, kind).transport(x, "P1")).all()


@pytest.mark.parametrize("slot", ["layer", "use_rep"])
def test_a_model_of_another_slot_reads_its_own_columns(plain, slot):
    plain.layers["logged"] = plain.X.copy()
    plain.X = np.zeros(plain.shape, dtype=np.float32)
    where = {"layer": "logged"} if slot == "layer" else {"use_rep": "X_pca"}
    model = sh.tl.fit(plain, "mean_shift", **where)
    cells = controls(plain)
    x = dense(cells.layers["logged"] if slot == "layer" else cells.obsm["X_pca"])
    made = model.transport(x, "P1")
    assert made.shape == x.shape
    np.testing.assert_allclose(made, dense(model.transport(cells, "P1").X), rtol=1e-5)


def test_a_screen_with_doses(plain):
    plain.obs["dose"] = np.where(plain.obs["perturbation"] == "control", np.nan, 0.5)
    sh.pp.annotate(plain, "perturbation", control="control", dose_key="dose")
    model = sh.tl.fit(plain, "mean_shift")
    x = dense(controls(plain).X)
    with pytest.raises(ValueError, match=r"which dose\? Pass dose="):
        model.transport(x, "P1")
    assert model.transport(x, "P1", dose=0.5).shape == x.shape


@pytest.fixture
def model(plain):
    return sh.tl.fit(plain, "mean_shift")


def wrong(x, what):
    bad = x.copy()
    bad[3, 2] = np.nan
    return {
        "columns": x[:, 1:],
        "flat": x[0],
        "empty": x[:0],
        "nan": bad,
        "counts": np.rint(x * 10),
        "linear": x * 100.5,
        "text": x.astype(str),
        "list": x.tolist(),
        "frame": ad.AnnData(x).to_df(),
    }[what]


@pytest.mark.parametrize(
    ("what", "error", "words"),
    [
        (
            "columns",
            ValueError,
            r"shape \(60, 39\); they must be \(n, 40\), the columns of model\.vocabulary\.features",
        ),
        ("flat", ValueError, r"shape \(40,\); they must be \(n, 40\)"),
        ("empty", ValueError, r"shape \(0, 40\)"),
        (
            "nan",
            ValueError,
            "no cells for this model: X holds NaN or infinite values in 1 of 60 cells",
        ),
        ("counts", ValueError, r"no cells for this model: X holds whole numbers .* log-normalised"),
        ("linear", ValueError, "normalised, but not logged"),
        ("text", TypeError, "a matrix of numbers"),
        ("list", TypeError, r"expected an AnnData, or a NumPy array or sparse matrix .* not list"),
        ("frame", TypeError, "not DataFrame"),
    ],
)
def test_what_is_no_cell(plain, model, what, error, words):
    with pytest.raises(error, match=words):
        model.transport(wrong(dense(controls(plain).X), what), "P1")


def test_a_context_where_there_is_none(plain, model):
    with pytest.raises(ValueError, match="annotated without a context column"):
        model.transport(dense(plain.X), "P1", context="day 1")
    with pytest.raises(ValueError, match=r"context='day 1' means nothing.*context_key="):
        model.predict("P1", context="day 1", n_cells=3)
