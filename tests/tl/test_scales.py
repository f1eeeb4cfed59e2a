"""One policy of scales: every public function that takes expression refuses the same values with the same words."""

from __future__ import annotations

from typing import Any

import anndata as ad
import numpy as np
import pytest
import scanpy as sc
from mudata import MuData

import shoal as sh

from ..helpers import dense


@pytest.fixture(scope="module")
def screen():
    """A prepared screen with a prediction, a coherence result and its counts in a layer."""
    adata = sh.ds.simulate(n_perturbations=12, n_cells=30, n_control=80, n_genes=40, rng=0)
    names = [name for name in adata.obs["perturbation"].unique() if name != "control"]
    genes = dict(zip(names, adata.var_names, strict=False)) | {"control": "control"}
    adata.obs["perturbation"] = adata.obs["perturbation"].astype(str).map(genes)
    sh.pp.annotate(adata, "perturbation", control="control")
    sh.pp.split(adata, by="perturbation", test=0.4, rng=0)
    sh.pp.prepare(adata, normalize="log1p", fit_on="train", n_comps=5)
    sh.pp.embed(adata)
    model = sh.tl.fit(adata, "mean_shift")
    sh.tl.predict(adata, model, key_added="twins", subset="test")
    sh.tl.coherence(adata, use_rep="X", key_added="in_genes", min_cells=5)
    sh.tl.coherence(adata, use_rep="X", exclude=[*adata.var_names[-5:]], key_added="others")
    return adata, model


def held_out(adata: ad.AnnData) -> str:
    return str(adata.obs.loc[adata.obs["split"] == "test", "perturbation"].iloc[0])


CALLS = {
    "prepare": lambda a, m: sh.pp.prepare(a, n_comps=3),
    "embed effects": lambda a, m: sh.pp.embed(a, method="effects", missing="drop"),
    "embed coexpression": lambda a, m: sh.pp.embed(a, method="coexpression"),
    "embed_check": lambda a, m: sh.pp.embed_check(a, embedding="one_hot", n_perms=19),
    "coherence": lambda a, m: sh.tl.coherence(a, use_rep="X", min_cells=5),
    "coherence_null": lambda a, m: sh.tl.coherence_null(a, use_rep="X", n_cells=[10], n_draws=2),
    "edistance": lambda a, m: sh.tl.distance(a),
    "energy": lambda a, m: sh.tl.distance(a, metric="energy", n_perms=29, alpha=0.5),
    "mmd, pairwise": lambda a, m: sh.tl.distance(a, metric="mmd", pairwise=True),
    "associate": lambda a, m: sh.tl.associate(
        a,
        gene_set={"some": list(a.var_names[-5:])},
        method="spline",
        n_perms=9,
        coherence_key="others",
    ),
    "crossfit": lambda a, m: sh.tl.associate(
        a, "total_counts", coherence_key="in_genes", n_splits=1, n_perms=9
    ),
    "fit": lambda a, m: sh.tl.fit(a, "nearest"),
    "fit of a network": lambda a, m: sh.tl.fit(a, "flow", max_steps=1, accelerator="cpu"),
    "predict": lambda a, m: sh.tl.predict(a, m, key_added="new"),
    "model.predict": lambda a, m: m.predict(held_out(a), adata=a),
    "evaluate": lambda a, m: sh.tl.evaluate(a, prediction="twins", baselines=None),
    "evaluate, systema": lambda a, m: sh.tl.evaluate(
        a, prediction="twins", baselines=None, suite="systema"
    ),
    "benchmark": lambda a, m: sh.tl.benchmark(a, models=["mean_shift"]),
    "pl.geometry": lambda a, m: sh.pl.geometry(a, held_out(a), key="in_genes"),
    "pl.genes": lambda a, m: sh.pl.genes(a, held_out(a), prediction="twins"),
    "in a MuData": lambda a, m: sh.tl.distance(MuData({"rna": a}), mod="rna"),
}
VALUES = {
    "counts": (lambda a: a.layers["counts"].copy(), "raw counts; .* takes .*: .*normali[sz]e"),
    "CP10k": (lambda a: normalised(a, 1e4), "not logged; .* takes .*: .*normali[sz]e"),
    "few counts, less background": (lambda a: small(a), "not logged; .* takes .*normali[sz]e"),
    "nan": (lambda a: with_one(a, np.nan), "hold.* NaN or infinite values"),
    "infinite": (lambda a: with_one(a, np.inf), "hold.* NaN or infinite values"),
    "complex": (lambda a: dense(a.X) + 1j, r"holds complex numbers \(dtype complex"),
}


def normalised(adata: ad.AnnData, depth: float) -> Any:
    return sc.pp.normalize_total(
        ad.AnnData(adata.layers["counts"].astype(np.float32)), target_sum=depth, inplace=False
    )["X"]


def small(adata: ad.AnnData) -> np.ndarray:
    """Counts below 20 of which a tenth or less is taken away."""
    rng = np.random.default_rng(0)
    counts = np.minimum(rng.poisson(rng.gamma(1, 2, adata.n_vars), adata.shape), 19)
    return counts * rng.uniform(0.9, 1, adata.shape)


def with_one(adata: ad.AnnData, value: float) -> np.ndarray:
    values = dense(adata.X).astype(np.float32)
    for cells in (
        adata.obs["perturbation"] == held_out(adata),
        adata.obs["perturbation"] == "control",
    ):
        values[np.flatnonzero(cells)[3], -2] = value
    return values


@pytest.mark.parametrize("values", VALUES)
@pytest.mark.parametrize("call", CALLS)
def test_every_function_refuses_the_same_values(call, values, screen):
    adata, model = screen[0].copy(), screen[1]
    make, words = VALUES[values]
    adata.X = make(adata)
    slots = {name: set(getattr(adata, name)) for name in ("obs", "uns", "obsm", "layers", "varm")}
    with pytest.raises(ValueError, match=words):
        CALLS[call](adata, model)
    assert slots == {name: set(getattr(adata, name)) for name in slots}


@pytest.fixture(autouse=True)
def _torch(request):
    if "network" in request.node.name:
        pytest.importorskip("torch")


@pytest.mark.parametrize("call", CALLS)
def test_log_normalised_values_are_taken(call, screen):
    CALLS[call](screen[0].copy(), screen[1])


@pytest.mark.parametrize("call", ["coherence", "coherence_null", "edistance", "fit"])
def test_signed_values_are_taken_where_a_direction_is_all_that_counts(call, screen):
    adata = screen[0].copy()
    adata.X = dense(adata.X) - dense(adata.X).mean(axis=0)
    CALLS[call](adata, screen[1])


def test_a_model_of_log_normalised_values_refuses_signed_ones(screen):
    adata = screen[0].copy()
    adata.X = dense(adata.X) - dense(adata.X).mean(axis=0)
    with pytest.raises(ValueError, match="values below 0 .* trained on values of 0 and above"):
        sh.tl.predict(adata, screen[1], key_added="new")


def test_a_cell_that_holds_nan_is_named(screen):
    adata = screen[0].copy()
    adata.X = with_one(adata, np.nan)
    name = adata.obs_names[np.isnan(adata.X).any(axis=1)][0]
    for call in ("prepare", "edistance", "fit", "predict", "evaluate", "embed effects"):
        with pytest.raises(ValueError, match=f"in 2 of .* cells, such as '{name}'; drop or fill"):
            CALLS[call](adata.copy(), screen[1])


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (lambda x: x.astype(object), "holds Python objects .*astype"),
        (lambda x: x.astype(str), "holds no numbers"),
        (lambda x: x + 0j, "holds complex numbers"),
    ],
    ids=["objects", "text", "complex"],
)
def test_what_is_no_number_is_refused_in_any_slot(values, words, screen):
    adata = screen[0].copy()
    adata.obsm["strange"] = values(np.asarray(adata.obsm["X_pca"]))
    adata.layers["odd"] = values(dense(adata.X))
    for slot in ({"use_rep": "strange"}, {"layer": "odd"}):
        for function in (
            sh.tl.coherence,
            sh.tl.distance,
            lambda a, **k: sh.tl.fit(a, "mean_shift", **k),
        ):
            with pytest.raises(ValueError, match=f"(obsm/strange|layers/odd) {words}"):
                function(adata, **slot)
    with pytest.raises(ValueError, match=r"layers\['odd'\] " + words):
        sh.tl.evaluate(adata, prediction="odd", baselines=None)


def test_signed_values_of_too_many_features_get_one_line():
    rng = np.random.default_rng(0)
    adata = ad.AnnData(rng.normal(size=(40, 5_100)).astype(np.float32))
    adata.obs["p"] = np.repeat(["control", "A"], 20)
    sh.pp.annotate(adata, "p", control="control")
    for call in (
        lambda: sh.pp.prepare(adata),
        lambda: sh.pp.prepare(adata, n_top_genes=None),
        lambda: sh.pp.prepare(adata, n_top_genes=2000),
        lambda: sh.tl.coherence(adata),
    ):
        with pytest.raises(ValueError, match=r"adata = adata\[:, names\]\.copy\(\)"):
            call()
    few = adata[:, :100].copy()
    with pytest.raises(ValueError, match="pass n_top_genes=None to use every feature"):
        sh.pp.prepare(few, n_top_genes=50)
    sh.pp.prepare(few, n_comps=3)
