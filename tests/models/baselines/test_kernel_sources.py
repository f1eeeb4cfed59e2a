"""Kernel ridge regression on joined embeddings: a kernel for each, with learned weights."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import shoal as sh
from shoal.metrics._kernel_ridge import fit_ridge
from shoal.models import KernelRidge

N = 24


@pytest.fixture(scope="module")
def screen():
    """A screen whose responses are linear in the vectors `told`; `noise` says nothing."""
    rng = np.random.default_rng(0)
    names = [f"Q{i:02d}" for i in range(N)]
    vectors = {"told": rng.normal(size=(N, 3)), "noise": rng.normal(size=(N, 8))}
    responses = vectors["told"] @ rng.normal(size=(3, 6))
    label = np.repeat(["control", *names], 12)
    values = 0.1 * rng.normal(size=(len(label), 6))
    values[12:] += np.repeat(responses, 12, axis=0)
    adata = ad.AnnData(values.astype(np.float32))
    adata.obs["perturbation"] = label
    sh.pp.annotate(adata, "perturbation", control="control")
    adata.obs["split"] = np.where(adata.obs["perturbation"].isin(names[:4]), "test", "train")
    adata.obsm["X_values"] = values.astype(np.float32)
    for key, table in vectors.items():
        sh.pp.embed(adata, method="table", source=pd.DataFrame(table, index=names), key_added=key)
    sh.pp.embed(adata, method="joined", source=["noise", "told"], key_added="both")
    return adata, names, responses


def trained(adata, embedding, **options):
    KernelRidge.setup_anndata(adata, use_rep="X_values")
    model = KernelRidge(adata, embedding=embedding, **options)
    model.train()
    return model


def error(model, names, responses):
    return float(((model._shifts(names, -1, np.nan) - responses) ** 2).sum())


@pytest.mark.parametrize("kernel", ["rbf", "linear"])
def test_weights_are_learned_and_help(screen, kernel):
    adata, names, responses = screen
    model = trained(adata, "both", kernel=kernel)
    assert list(model.source_weights) == ["noise", "told"]
    assert sum(model.source_weights.values()) == pytest.approx(1)
    assert model.source_weights["told"] >= 0.75
    noise = trained(adata, "noise", kernel=kernel)
    assert noise.source_weights == {}
    held = names[:4], responses[:4]
    assert error(model, *held) < 0.6 * error(noise, *held)


def test_the_kernel_is_the_weighted_sum(screen):
    """With one ridge, the inverse is that of the kernels of both, written out."""
    adata, _, _ = screen
    model = trained(adata, "both", kernel="linear", ridge=0.5)
    table = adata.uns["perturbation_embeddings"]["both"].loc[list(model.deltas.names)]
    kernel = np.zeros((N - 4, N - 4))
    for name, weight in model.source_weights.items():
        part = table.filter(regex=f"^{name}:").to_numpy(dtype=float)
        own = part @ part.T
        centred = part - part.mean(axis=0)
        kernel += weight * own / (centred**2).sum(axis=1).mean()
    y = model.deltas.at(-1, np.nan)
    expected = fit_ridge(kernel, y @ y.T, np.array([0.5]))
    np.testing.assert_allclose(model.arrays["inverse"], expected, rtol=1e-4, atol=1e-8)


def test_held_out_cells_do_not_matter(screen):
    adata, _, _ = screen
    garbage = adata.copy()
    test = (garbage.obs["split"] == "test").to_numpy()
    garbage.obsm["X_values"][test] = 1e3
    one, two = trained(adata, "both"), trained(garbage, "both")
    assert one.source_weights == two.source_weights
    np.testing.assert_array_equal(one.arrays["inverse"], two.arrays["inverse"])


def test_weights_are_saved(screen, tmp_path):
    adata, names, _ = screen
    model = trained(adata, "both")
    model.save(tmp_path / "model", overwrite=True)
    again = KernelRidge.load(tmp_path / "model", adata=adata)
    assert again.source_weights == model.source_weights
    one, two = (m.predict(names[0], n_cells=12, rng=0).X for m in (model, again))
    np.testing.assert_array_equal(one, two)


def test_other_models_take_joined_vectors_as_one_table(screen):
    adata, names, _ = screen
    model = sh.tl.fit(adata, "nearest", embedding="both", use_rep="X_values")
    assert model.vectors.shape[1] == 11
    assert model.predict(names[0], n_cells=5).shape == (5, 6)


def test_a_list_of_embeddings_is_refused_with_the_call_that_joins_them(screen):
    adata, _, _ = screen
    with pytest.raises(TypeError, match=r"method='joined', source=\['noise', 'told'\], key_added="):
        trained(adata, ["noise", "told"])


def test_landmarks_take_several_kernels_too(screen, monkeypatch):
    from shoal.models.baselines import _kernel

    adata, names, responses = screen
    exact = error(trained(adata, "both"), names[:4], responses[:4])
    monkeypatch.setattr(_kernel, "MOST_EXACT", 10)
    monkeypatch.setattr(_kernel, "MOST", 19)
    model = trained(adata, "both")
    assert not model.is_exact
    assert error(model, names[:4], responses[:4]) == pytest.approx(exact, rel=0.3)
