"""Predictions as counts: exact copies, means, libraries, what is refused, files and stores."""

from __future__ import annotations

import logging
from dataclasses import replace

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import shoal as sh
from shoal.models.base._counting import CountLaw
from shoal.models.base._libraries import Libraries, normalised

from ...helpers import contents, dense


@pytest.fixture(scope="module")
def counted():
    """Return 4 perturbations and one pair, 150 cells each, whose library sizes differ; 240 controls, 2 batches."""
    adata = sh.ds.simulate(
        n_perturbations=4,
        n_combinations=1,
        n_cells=150,
        n_control=240,
        n_genes=80,
        library_size=8000,
        depth_effect=0.4,
        rng=1,
    )
    sh.pp.prepare(adata, normalize="log1p", n_comps=8)
    return adata


@pytest.fixture
def adata(counted):
    return counted.copy()


def without_layer(adata, *, totals=True):
    del adata.layers["counts"]
    if not totals:
        del adata.obs["total_counts"]
    return adata


def flat(model):
    """Return the model with a law that neither adds noise nor changes library sizes."""
    law = model._law(model.cells)
    changes = replace(law.changes, known={})
    model._count_law = CountLaw(law.dispersion, changes)
    return model


# -- means, copies, libraries ------------------------------------------------------------------------


def test_a_copy_of_a_control_has_its_counts(adata):
    model = flat(sh.tl.fit(adata, "control"))
    rows, values, source = model.twins(counts=True)
    assert values.dtype == np.int32
    assert values.format == "csr"
    np.testing.assert_array_equal(values.toarray(), dense(adata.layers["counts"])[source])
    assert len(rows) == len(source)


def test_counts_from_totals_are_those_of_the_layer(adata):
    with_layer = flat(sh.tl.fit(adata, "control")).twins(counts=True, rng=5)[1]
    without = flat(sh.tl.fit(without_layer(adata), "control")).twins(counts=True, rng=5)[1]
    np.testing.assert_array_equal(with_layer.toarray(), without.toarray())


@pytest.mark.parametrize("name", ["own_shift", "mean_shift", "additive", "quantile_shift"])
def test_sums_of_genes_are_those_of_the_predicted_values(adata, name):
    model = sh.tl.fit(adata, name)
    asked = {"perturbations": "P1", "n_cells": 2000, "rng": 3}
    made, log = model.predict(**asked, counts=True), model.predict(**asked)
    assert list(made.obs["source"]) == list(log.obs["source"])
    source, back = np.unique(adata.obs_names.get_indexer(log.obs["source"]), return_inverse=True)
    unit = Libraries.of(model.cells).measured(source).unit[back]
    change = model._count_law.changes.known[("P1",)][1][0]
    rates = np.expm1(dense(log.X).astype(float)) * unit[:, None] * np.exp(change)
    assert np.abs(dense(made.X).sum(0) - rates.sum(0)).max() <= 1.01
    assert made.X.dtype == np.int32


def test_library_sizes_change_as_those_of_training_cells(adata):
    model = sh.tl.fit(adata, "control")
    made = model.predict(["P1", "P2", "P3"], n_cells=240, counts=True)
    totals = pd.Series(dense(made.X).sum(1), made.obs_names).groupby(
        made.obs["perturbation"].to_numpy()
    )
    real = adata.obs.groupby("perturbation", observed=True)["total_counts"]
    log = np.log(totals.median()) - np.log(real.median()[totals.median().index])
    assert np.abs(log).max() < 0.1
    assert np.ptp(np.log(real.median()[totals.median().index])) > 0.3, "a test that could not fail"


def test_an_unmeasured_pair_has_the_changes_of_both_parts(adata):
    model = sh.tl.fit(adata, "control")
    changes = model._law(model.cells).changes
    at = np.zeros(1, dtype=int)
    of = lambda name: changes.of([name], at, np.array([np.nan]))[0]  # noqa: E731
    assert of("P1+P3") == pytest.approx(of("P1") + of("P3"))
    assert of("P1+unheard") == pytest.approx(of("P1"))
    assert of("unheard") == 0


def test_held_out_cells_teach_no_library_size(adata):
    sh.pp.split(adata, by="combination", test=0.9, parts_seen=2)
    held_out = set(adata.obs.loc[adata.obs["split"] == "test", "perturbation"])
    assert held_out
    known = sh.tl.fit(adata, "control")._law
    law = known(sh.tl.fit(adata, "control").cells)
    assert not {"+".join(parts) for parts in law.changes.known} & held_out


def test_the_nearest_dose_decides(adata):
    from shoal.models.base._depth_changes import DepthChanges

    doses = np.array([0.1, 1.0, 10.0])
    screen = sh.tl.fit(adata, "control").vocabulary.screen
    changes = DepthChanges(screen, {("P1",): (doses, np.array([-0.1, 0.0, 0.5]))})
    asked = np.array([0.2, 20.0, 1.0])
    found = changes.of(["P1"], np.zeros(3, dtype=int), asked)
    np.testing.assert_allclose(found, [-0.1, 0.5, 0.0])


# -- where libraries come from -----------------------------------------------------------------------


def test_a_panel_that_was_normalised_by_the_whole_transcriptome(adata, rng):
    raw = ad.AnnData(adata.layers["counts"].copy(), obs=adata.obs[["perturbation", "batch"]].copy())
    raw.var_names = adata.var_names
    raw.obs["depth"] = dense(raw.X).sum(1) * rng.uniform(2, 4, raw.n_obs).round()
    sh.pp.annotate(raw, "perturbation", control="control", batch_key="batch")
    sh.pp.prepare(raw, normalize="log1p", depth_key="depth", n_comps=8)
    for made in (raw.copy(), without_layer(raw)):
        model = flat(sh.tl.fit(made, "control"))
        _, values, source = model.twins(counts=True)
        np.testing.assert_array_equal(values.toarray(), dense(adata.layers["counts"])[source])


def test_genes_that_are_dropped_after_normalisation(adata):
    part = adata[:, 10:50].copy()
    expected = dense(part.layers["counts"])
    for made in (part.copy(), without_layer(part)):
        _, values, source = flat(sh.tl.fit(made, "control")).twins(counts=True)
        np.testing.assert_array_equal(values.toarray(), expected[source])


def test_genes_in_another_order_and_more_of_them(adata):
    part = adata[:, 10:50].copy()
    model = flat(sh.tl.fit(part, "control"))
    other = adata[:, ::-1].copy()
    made = model.predict("P1", adata=other, n_cells=30, counts=True)
    source = other.obs_names.get_indexer(made.obs["source"])
    expected = dense(other[:, part.var_names].layers["counts"])[source]
    np.testing.assert_array_equal(dense(made.X), expected)


def test_values_on_another_logarithm_that_scanpy_records(adata):
    adata.X = sparse.csr_matrix(dense(adata.X) / np.log(2))
    adata.uns["log1p"] = {"base": 2.0}
    _, values, source = flat(sh.tl.fit(adata, "control")).twins(counts=True)
    np.testing.assert_array_equal(values.toarray(), dense(adata.layers["counts"])[source])
    adata.uns["log1p"] = {}
    with pytest.raises(ValueError, match=r"is not log\(1 \+ counts"):
        sh.tl.fit(adata, "control").twins(counts=True)


@pytest.mark.parametrize("storage", ["dense", "csc", "dask", "backed"])
def test_every_storage_gives_the_same_counts(adata, storage, tmp_path):
    expected = sh.tl.fit(adata, "own_shift").predict(["P1"], n_cells=40, counts=True).X.toarray()
    other = adata.copy()
    if storage == "dense":
        other.X, other.layers["counts"] = dense(other.X), dense(other.layers["counts"])
    elif storage == "csc":
        other.X = sparse.csc_matrix(other.X)
        other.layers["counts"] = sparse.csc_matrix(other.layers["counts"])
    elif storage == "dask":
        da = pytest.importorskip("dask.array")
        other.X = da.from_array(dense(other.X), chunks=(100, 80))
        other.layers["counts"] = da.from_array(dense(other.layers["counts"]), chunks=(130, 80))
    else:
        other.write_h5ad(tmp_path / "screen.h5ad")
        other = ad.read_h5ad(tmp_path / "screen.h5ad", backed="r")
    made = sh.tl.fit(other, "own_shift").predict(["P1"], n_cells=40, counts=True)
    assert (made.X.toarray() != expected).mean() < 1e-3, "rounding apart"


def test_neither_the_order_of_rows_nor_another_seed_of_python(adata, rng):
    shuffled = adata[rng.permutation(adata.n_obs)].copy()
    one, two = (
        sh.tl.fit(each, "own_shift").predict(["P1", "P2"], n_cells=50, counts=True, rng=4)
        for each in (adata, shuffled)
    )
    assert list(one.obs["source"]) == list(two.obs["source"])
    np.testing.assert_array_equal(one.X.toarray(), two.X.toarray())
    other = sh.tl.fit(adata, "own_shift").predict(["P1", "P2"], n_cells=50, counts=True, rng=5)
    assert (other.X != one.X).nnz


def test_transport_gives_cells_their_own_libraries(adata):
    model = flat(sh.tl.fit(adata, "control"))
    cells = adata[adata.obs["perturbation"] == "control"][20:60].copy()
    made = model.transport(cells, "P1", counts=True)
    np.testing.assert_array_equal(made.X.toarray(), dense(cells.layers["counts"]))
    with pytest.raises(ValueError, match="pass an AnnData"):
        model.transport(cells.X, "P1", counts=True)


def test_saved_models_predict_counts(adata, tmp_path, caplog):
    model = sh.tl.fit(adata, "own_shift")
    expected = model.predict("P1", n_cells=40, counts=True)
    model.save(tmp_path / "model")
    again = sh.models.load(tmp_path / "model", adata).predict("P1", n_cells=40, counts=True)
    np.testing.assert_array_equal(again.X.toarray(), expected.X.toarray())
    with caplog.at_level(logging.WARNING, logger="shoal"):
        alone = sh.models.load(tmp_path / "model").predict(
            "P1", adata=adata, n_cells=40, counts=True
        )
    assert "loaded without cells" in caplog.text
    assert list(alone.obs["source"]) == list(expected.obs["source"])


def test_a_context_without_controls_is_told_of(adata, caplog):
    adata.obs["line"] = np.where(np.arange(adata.n_obs) % 2, "x", "y")
    adata.obs.loc[adata.obs["perturbation"] == "control", "line"] = "x"
    sh.pp.annotate(adata, "perturbation", control="control", context_key="line", overwrite=True)
    model = sh.tl.fit(adata, "control")
    with caplog.at_level(logging.WARNING, logger="shoal"):
        model.twins(counts=True)
    assert "no control cells of y" in caplog.text.replace("'", "")
    caplog.clear()
    model.twins(counts=True)
    assert "library sizes" not in caplog.text, "said once"


def test_genes_that_are_off_everywhere_and_cells_without_counts(adata):
    counts = dense(adata.layers["counts"]).copy()
    counts[:, :5] = 0
    counts[np.flatnonzero(adata.obs["perturbation"] == "control")[:3]] = 0
    raw = ad.AnnData(sparse.csr_matrix(counts), obs=adata.obs[["perturbation"]].copy())
    raw.var_names = adata.var_names
    sh.pp.annotate(raw, "perturbation", control="control")
    with pytest.warns(UserWarning, match="no counts"):
        sh.pp.prepare(raw, normalize="log1p", n_comps=8)
    made = sh.tl.fit(raw, "own_shift").predict(["P1"], n_cells=240, counts=True)
    assert made.X[:, :5].nnz == 0
    assert np.isfinite(made.X.data).all()


# -- what is refused ---------------------------------------------------------------------------------


def refused(adata, match, name="control", **fit):
    """Raise unless counts are refused before any work, and nothing is written."""
    model = sh.tl.fit(adata, name, **fit)
    model._generate = None  # no cell is generated
    before = contents(adata)
    with pytest.raises(ValueError, match=match):
        sh.tl.predict(adata, model, counts=True)
    assert contents(adata) == before


@pytest.mark.parametrize(
    ("value", "match"), [(-1.0, "below 0"), (0.5, "no whole numbers"), (np.nan, "missing")]
)
def test_a_layer_that_holds_no_counts(adata, value, match):
    layer = dense(adata.layers["counts"]).astype(float)
    layer[np.flatnonzero(adata.obs["perturbation"] == "control")] += value
    adata.layers["counts"] = layer
    refused(adata, match)


def test_a_layer_of_other_counts(adata):
    adata.layers["counts"] = sparse.csr_matrix(dense(adata.layers["counts"])[::-1])
    refused(adata, r"is not log\(1 \+ counts")


def test_no_library_sizes(adata):
    refused(without_layer(adata, totals=False), r"neither layers\['counts'\] nor obs")


def test_a_screen_that_was_normalised_by_something_else(adata, rng):
    adata.obs["total_counts"] *= rng.uniform(0.5, 2, adata.n_obs)
    refused(without_layer(adata), "was not normalised by")


def test_a_model_of_a_representation_or_of_signed_values(adata):
    refused(adata, r"trained on obsm\['X_pca'\]", use_rep="X_pca")
    adata.X = dense(adata.X) - dense(adata.X).mean(0)
    refused(adata, "trained on values below 0")


def test_counts_is_a_flag(adata):
    model = sh.tl.fit(adata, "control")
    for call in (model.predict, model.twins):
        with pytest.raises(TypeError, match="counts"):
            call(counts="yes")
    with pytest.raises(TypeError, match="counts"):
        sh.tl.predict(adata, model, counts=1)


def test_normalised_reads_the_base(adata):
    cells = sh.tl.fit(adata, "control").cells
    values = np.array([[0.0, 1.0]])
    np.testing.assert_allclose(normalised(values, cells), np.expm1(values))
    adata.uns["log1p"] = {"base": 10}
    np.testing.assert_allclose(normalised(values, cells), [[0, 9]])
