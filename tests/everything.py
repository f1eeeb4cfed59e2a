"""Every public function that reads a screen, as the numbers that it gives: for tests of storage and of the order of rows."""

from __future__ import annotations

import contextlib
import functools
import logging
import tempfile
import warnings

import anndata as ad
import numpy as np
import pandas as pd

import shoal as sh

from .helpers import dense

N, GENES = 300, 40
SPLIT = {"g4": "test", "g5": "test", "g6": "test", "g7": "val"}
SINGLE = [f"g{i}" for i in range(11)]


def screen(rng: int = 0) -> ad.AnnData:
    """Return 300 cells of 40 genes in two batches: 60 controls, eleven perturbed genes and a pair.

    X is log-normalised CSR in double precision, whose values are exact in half precision.
    """
    rng = np.random.default_rng(rng)
    label = np.repeat(["control", *SINGLE, "g0+g1"], [60, *[20] * 12])
    rate = rng.gamma(0.6, 2.0, GENES) * rng.gamma(6, 1 / 6, (N, 1))
    batch = np.arange(N) % 2
    for i, gene in enumerate(SINGLE):
        with_gene = np.array([gene in name.split("+") for name in label])
        rate[with_gene, i] *= 0.1
        rate[with_gene, 11 + 2 * i : 15 + 2 * i] *= 1.0 + 0.4 * i
    rate[batch == 1, 30:] *= 1.3
    counts = rng.poisson(rate + 0.05)
    x = np.log1p(counts * (100 / np.maximum(counts.sum(axis=1, keepdims=True), 1)))
    adata = ad.AnnData(sparse_of(x.astype(np.float16).astype(np.float64)))
    adata.layers["counts"] = sparse_of(counts.astype(np.float64))
    adata.var_names = [f"g{i}" for i in range(GENES)]
    adata.obs_names = [f"cell{i:03d}" for i in rng.permutation(N)]
    adata.obs["target"] = label
    adata.obs["batch"] = np.where(batch, "b", "a")
    adata.obs["depth"] = counts.sum(axis=1) * rng.uniform(5, 10, N)
    adata.obs["split"] = pd.Series(label, index=adata.obs_names).map(SPLIT).fillna("train")
    adata.obsm["rep"] = rng.integers(-9, 9, (N, 5)) + 2 * (label == "g3")[:, None]
    sh.pp.annotate(adata, "target", control="control", batch_key="batch")
    return adata


def sparse_of(x: np.ndarray):
    """Return CSR."""
    from scipy import sparse

    return sparse.csr_matrix(x)


def flat(name: str, value) -> dict[str, np.ndarray]:
    """Return tables and arrays as columns of numbers, by name; of a table the index is sorted."""
    if isinstance(value, pd.DataFrame):
        value = value.sort_index()
        found = {f"{name}/index": value.index.astype(str).to_numpy(dtype=object)}
        return found | {f"{name}/{column}": value[column].to_numpy() for column in value}
    return {name: dense(value)}


def result(adata: ad.AnnData, key: str) -> dict[str, np.ndarray]:
    """Return all tables of a result in ``uns``."""
    return {
        name: column
        for part, table in adata.uns[key].items()
        if isinstance(table, pd.DataFrame)
        for name, column in flat(part, table).items()
    }


def by_cell(adata: ad.AnnData, values) -> pd.DataFrame:
    """Return a value, or a row, of each cell, in the order of the names of the cells."""
    values = np.asarray(values)
    values = values.astype(values.dtype.newbyteorder("="))  # pandas sorts no other
    return pd.DataFrame(values, index=adata.obs_names).sort_index()


def coherence(adata):
    sh.tl.coherence(adata, use_rep="X", depth_key="depth", shrinkage=True)
    return result(adata, "coherence") | flat("cells", adata.obs[["coherence"]])


def coherence_without_targets(adata):
    sh.tl.coherence(adata, use_rep="X", exclude="targets", strata=None)
    return result(adata, "coherence")


def coherence_of_integers(adata):
    sh.tl.coherence(adata, use_rep="rep")
    return result(adata, "coherence")


def distance(adata, use_rep="X"):
    found = {}
    for metric in ("edistance", "energy", "mmd"):
        sh.tl.distance(adata, use_rep=use_rep, metric=metric, pairwise=metric == "edistance")
        found |= {f"{metric}/{name}": x for name, x in result(adata, "distance").items()}
        if metric == "edistance":
            found |= flat("matrix", sh.tl.distance_matrix(adata))
    return found


def distance_by_permutation(adata):
    sh.tl.distance(adata, use_rep="X", metric="energy", n_perms=30, rng=2)
    return result(adata, "distance")


def coherence_by_permutation(adata):
    sh.tl.coherence(adata, use_rep="X", null="permutation", n_perms=30, rng=2)
    return result(adata, "coherence")


def coherence_null(adata):
    sh.tl.coherence_null(adata, use_rep="X", n_cells=[20], n_draws=20, rng=2)
    return result(adata, "coherence_null")


def retrieve(adata):
    sh.tl.retrieve(adata, use_rep="X", n_perms=50, rng=2)
    return result(adata, "retrieval")


def propose(adata):
    names = [*SINGLE, *(f"new {i}" for i in range(6))]
    vectors = pd.DataFrame(np.random.default_rng(3).normal(size=(len(names), 3)), index=names)
    near = {"config": {"shrink": False}, "embedding": vectors}
    models = [sh.tl.fit(adata, name, **near) for name in ("latent_linear", "nearest")]
    found = {}
    for strategy in ("disagreement", "coverage"):
        sh.tl.propose(adata, models, strategy=strategy, embedding=vectors, rng=2)
        found |= {f"{strategy}/{name}": x for name, x in result(adata, "proposal").items()}
    return found


def distance_of_integers(adata):
    return distance(adata, "rep")


def prepare(adata):
    sh.pp.prepare(adata, n_top_genes=30, n_comps=8, fit_on="all", exclude=["g39"])
    return {
        "scores": by_cell(adata, adata.obsm["X_pca"]),
        "axes": adata.varm["PCs"],
        "genes": adata.var["highly_variable"].to_numpy(),
        "variance": adata.uns["pca"]["variance"],
    }


def normalise(adata):
    sh.pp.prepare(
        adata, layer="counts", normalize="log1p", depth_key="depth", n_top_genes=25, n_comps=5
    )
    return {"X": by_cell(adata, dense(adata.X)), "axes": adata.varm["PCs"]}


def prepare_crossfit(adata):
    sh.pp.prepare(adata, n_top_genes=None, n_comps=5)
    return {"scores": by_cell(adata, adata.obsm["X_pca"]), "axes": adata.varm["PCs"]}


def associate(adata):
    sh.pp.prepare(adata, n_comps=8, exclude=["g30", "g31"])
    sh.tl.coherence(adata, strata=None)
    found = {}
    for method in ("crossfit", "raw_partial"):
        sh.tl.associate(adata, gene_set=["g30", "g31"], n_perms=50, method=method)
        found |= {f"{method}/{name}": x for name, x in result(adata, "association").items()}
    return found


def embed(adata):
    sh.pp.prepare(adata, n_comps=8)
    found = {}
    for method, options in {
        "effects": {"n_comps": 3},
        "coexpression": {"n_comps": 4},
        "mds": {"n_comps": 2},
    }.items():
        sh.pp.embed(adata, method=method, missing="drop", key_added=method, **options)
        found |= flat(method, adata.uns["perturbation_embeddings"][method])
    return found


def embed_check(adata):
    names = sorted(set(adata.obs["target"].astype(str)) - {"control"})
    vectors = {name: np.cos(np.arange(3) * (i + 1)) for i, name in enumerate(names)}
    sh.pp.embed(adata, method="table", source=vectors, key_added="v", missing="drop")
    sh.pp.embed_check(adata, n_perms=19)
    return result(adata, "embedding_check")


def evaluate(adata):
    sh.tl.predict(adata, sh.tl.fit(adata, "mean_shift"), key_added="made", subset="test")
    sh.tl.evaluate(
        adata,
        prediction="made",
        min_cells=10,
        n_comps=5,
        metrics=METRICS,
        baselines=["additive"],
        n_draws=2,
    )
    return result(adata, "evaluation")


def evaluate_as_cell_eval(adata):
    sh.tl.predict(adata, sh.tl.fit(adata, "mean_shift"), key_added="made", subset="test")
    sh.tl.evaluate(
        adata, prediction="made", min_cells=10, n_comps=5, suite="cell_eval", baselines=None
    )
    return result(adata, "evaluation")


def benchmark(adata):
    sh.tl.benchmark(adata, ["control", "latent_linear"], min_cells=10, n_comps=5, n_draws=2)
    return result(adata, "leaderboard")


def predict(adata):
    sh.pp.embed(adata, method="coexpression", n_comps=4)
    found = {}
    for name in BASELINES:
        model = sh.tl.fit(adata, name)
        sh.tl.predict(adata, model, key_added=name, subset="train")
        found[name] = by_cell(adata, dense(adata.layers[name]))
        found[f"{name} source"] = by_cell(adata, adata.obs[f"{name}_source"].astype(str))
        new = model.predict("g3", n_cells=10)
        found[f"{name} new"] = dense(new.X)
        found[f"{name} new source"] = new.obs["source"].astype(str).to_numpy(dtype=object)
    return found


def split(adata):
    del adata.obs["split"]
    sh.pp.split(adata, by="perturbation", test=0.3, val=0.2, rng=3)
    return {"split": by_cell(adata, adata.obs["split"].astype(str))} | result(adata, "split")


def write_predictions(adata):
    with tempfile.TemporaryDirectory() as folder:
        path = sh.io.write_predictions(adata, f"{folder}/a.h5ad", prediction="counts")
        written = ad.read_h5ad(path)
    return {
        "counts": by_cell(written, dense(written.X)),
        "labels": by_cell(written, written.obs["target"].astype(str)),
    }


def filter_cells(adata):
    adata.obs.loc[adata.obs_names.isin([f"cell{i:03d}" for i in range(0, 300, 60)]), "target"] = (
        "rare"
    )
    sh.pp.filter(adata, min_cells=16)
    return {
        "left": np.sort(adata.obs_names.to_numpy(dtype=object)),
        "X": by_cell(adata, dense(adata.X)),
    }


METRICS = ["pearson_delta", "weighted_mse", "pds_l2", "de_auprc", "de_overlap_n", "energy", "sliced_wasserstein",
           "variance_ratio", "correlation_error", "bimodality_error", "collapse_index", "magnitude_spearman"]  # fmt: skip
BASELINES = [
    "control",
    "perturbed_mean",
    "own_shift",
    "mean_shift",
    "matching_mean",
    "additive",
    "latent_linear",
    "kernel_ridge",
    "nearest",
    "quantile_shift",
]
FUNCTIONS = {
    one.__name__: one
    for one in (
        coherence,
        coherence_without_targets,
        coherence_of_integers,
        distance,
        distance_of_integers,
        distance_by_permutation,
        coherence_by_permutation,
        coherence_null,
        prepare,
        prepare_crossfit,
        normalise,
        associate,
        retrieve,
        propose,
        embed,
        embed_check,
        evaluate,
        evaluate_as_cell_eval,
        benchmark,
        predict,
        split,
        filter_cells,
        write_predictions,
    )
}
COSTS = ("seconds", "peak_mb")  # which no two calls share


@functools.cache
def expected(name: str) -> dict[str, np.ndarray]:
    """Return what a function gives on the screen as it is."""
    with quiet():
        return FUNCTIONS[name](screen())


@contextlib.contextmanager
def quiet():
    """Silence notices and warnings, which tests of their own look at."""
    logging.disable(logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            logging.disable(logging.NOTSET)


def compare(found: dict, wanted: dict, tolerance: float = 1e-10) -> None:
    """Compare what a function gave twice: texts to be equal, numbers within a tolerance."""
    assert list(found) == list(wanted)
    for column, values in wanted.items():
        if any(cost in column for cost in COSTS):
            continue
        own, values = pd.DataFrame(found[column]), pd.DataFrame(values)
        pd.testing.assert_frame_equal(
            own, values, check_dtype=False, rtol=tolerance, atol=tolerance, obj=column
        )
