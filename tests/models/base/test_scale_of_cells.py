"""Cells that a model predicts from are on the scale that it was trained on."""

from __future__ import annotations

import numpy as np
import pytest

import shoal as sh


@pytest.fixture(scope="module")
def adata():
    adata = sh.ds.simulate(n_genes=50, n_perturbations=4, n_cells=40, n_control=120, rng=0)
    sh.pp.annotate(adata, "perturbation", control="control")
    sh.pp.prepare(adata, normalize="log1p", n_comps=5)
    return adata


@pytest.mark.parametrize(
    ("base", "name"), [(2.0, "log2 against natural"), (10.0, "log10 against natural")]
)
def test_another_logarithm_is_refused(adata, base, name):
    model = sh.tl.fit(adata, "mean_shift")
    other = adata.copy()
    other.X = adata.X / np.log(base)
    before = set(other.layers), set(other.obs)
    with pytest.raises(ValueError, match=rf"times as large: {name} logarithms"):
        sh.tl.predict(other, model, key_added="p")
    with pytest.raises(ValueError, match=name):
        model.predict("P1", adata=other, n_cells=10)
    assert before == (set(other.layers), set(other.obs))


def test_other_cells_on_the_same_scale_are_taken(adata):
    model = sh.tl.fit(adata, "mean_shift")
    rng = np.random.default_rng(0)
    other = adata.copy()
    other.X = np.log1p(np.expm1(adata.X.toarray()) * rng.lognormal(0, 1, adata.n_vars))
    assert model.predict("P1", adata=other, n_cells=10).n_obs == 10
    deeper = adata.copy()
    deeper.X = np.log1p(np.expm1(adata.X.toarray()) * 2)
    assert model.predict("P1", adata=deeper, n_cells=10).n_obs == 10


def test_a_saved_model_remembers_its_scale(adata, tmp_path):
    model = sh.tl.fit(adata, "mean_shift")
    model.save(tmp_path / "model")
    again = sh.models.load(tmp_path / "model", adata=adata)
    np.testing.assert_array_equal(again.vocabulary.level, model.vocabulary.level)
    other = adata.copy()
    other.X = adata.X / np.log(2)
    with pytest.raises(ValueError, match="log2"):
        again.predict("P1", adata=other, n_cells=10)
