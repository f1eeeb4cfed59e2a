"""Tools that expect counts take predicted ones: DESeq2, scVI, and the scorer's file from a prediction."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import shoal as sh


@pytest.fixture(scope="module")
def predicted():
    """A screen in three batches with twins of counts."""
    adata = sh.ds.simulate(
        n_perturbations=3, n_cells=150, n_control=300, n_genes=80, effect_size=8.0, rng=0
    )
    adata.obs["replicate"] = np.array(["a", "b", "c"])[np.arange(adata.n_obs) % 3]
    keys = {"batch_key": "replicate"}
    sh.pp.annotate(adata, "perturbation", control="control", **keys)
    sh.pp.prepare(adata, normalize="log1p", n_comps=5)
    sh.tl.predict(adata, sh.tl.fit(adata, "own_shift"), counts=True, rng=0)
    return adata


def summed(adata, layer):
    """Return the counts of P1 and of the controls, summed by replicate, and what the sums are of."""
    kept = adata[adata.obs["perturbation"].isin(["P1", "control"])]
    groups = kept.obs[["perturbation", "replicate"]].astype(str).agg("-".join, axis=1)
    values = pd.DataFrame(kept.layers[layer].toarray().astype(int), columns=kept.var_names)
    counts = values.groupby(groups.to_numpy()).sum()
    about = counts.index.str.split("-", expand=True).to_frame(index=False)
    about.index, about.columns = counts.index, ["group", "replicate"]
    return counts, about


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_deseq2_finds_in_predicted_counts_what_it_finds_in_real_ones(predicted):
    reason = "pydeseq2, which the counts are tried with, is not installed"
    dds = pytest.importorskip("pydeseq2.dds", reason=reason)
    from pydeseq2.ds import DeseqStats

    found = {}
    for layer in ("counts", "predicted"):
        counts, about = summed(predicted, layer)
        more = {"design": "~replicate + group", "quiet": True, "n_cpus": 1}
        data = dds.DeseqDataSet(counts=counts, metadata=about, **more)
        data.deseq2()
        test = DeseqStats(data, contrast=["group", "P1", "control"], quiet=True, n_cpus=1)
        test.summary()
        found[layer] = test.results_df
    real, made = found["counts"], found["predicted"]
    assert np.corrcoef(real["log2FoldChange"], made["log2FoldChange"])[0, 1] > 0.9
    called, again = real["padj"] < 0.01, made["padj"] < 0.01
    assert called.sum() >= 5
    assert (called & again).sum() >= 0.8 * called.sum()
    both = called & again
    signs = (np.sign(x["log2FoldChange"][both]) for x in (real, made))
    np.testing.assert_array_equal(*signs)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_scvi_trains_on_predicted_counts(predicted):
    pytest.importorskip("torch")
    scvi = pytest.importorskip("scvi", reason="scvi-tools, of the extra models, is not installed")
    scvi.settings.seed = 0
    cells = predicted[predicted.obs["predicted_predicted"]]
    cells = ad.AnnData(cells.layers["predicted"].astype(np.float32), obs=cells.obs[["replicate"]])
    scvi.model.SCVI.setup_anndata(cells, batch_key="replicate")
    model = scvi.model.SCVI(cells, n_latent=4, n_hidden=16, n_layers=1)
    model.train(max_epochs=12, accelerator="cpu", enable_progress_bar=False)
    losses = model.history["elbo_train"].to_numpy(dtype=float).ravel()
    assert np.isfinite(losses).all()
    assert losses[-1] < losses[0]


def test_a_prediction_is_exported_from_the_screen_or_by_itself(predicted, tmp_path):
    beside = ad.read_h5ad(sh.io.write_predictions(predicted, tmp_path / "a.h5ad"))
    perturbed = predicted.obs["predicted_predicted"].to_numpy()
    expected = predicted.layers["predicted"][perturbed]
    assert (beside.X[: perturbed.sum()] != expected).nnz == 0
    controls = predicted.layers["counts"][~perturbed]
    assert (beside.X[perturbed.sum() :] != controls).nnz == 0

    cells = sh.tl.fit(predicted, "own_shift").predict(["P1", "P2"], n_cells=30, counts=True)
    more = {"controls": predicted, "layer": "counts"}
    apart = ad.read_h5ad(sh.io.write_predictions(cells, tmp_path / "b.h5ad", **more))
    assert (apart.X[:60] != cells.X).nnz == 0
    assert list(apart.obs["target"].value_counts()[["P1", "P2", "non-targeting"]]) == [30, 30, 300]


def test_logs_say_how_counts_are_made(predicted, tmp_path):
    adata = predicted.copy()
    sh.tl.predict(adata, sh.tl.fit(adata, "own_shift"), key_added="logs")
    with pytest.raises(ValueError, match=r"sh.tl.predict\(adata, model, counts=True\)"):
        sh.io.write_predictions(adata, tmp_path / "a.h5ad", prediction="logs")
    cells = sh.tl.fit(adata, "own_shift").predict("P1", n_cells=30)
    with pytest.raises(ValueError, match=r"sh.tl.predict\(adata, model, counts=True\)"):
        sh.io.write_predictions(cells, tmp_path / "a.h5ad", controls=adata, layer="counts")
    assert list(tmp_path.iterdir()) == []
