"""What every function does with input that it was not made for, as a table for the docs.

    python tests/bad_input/make_table.py [--write]

Every function is called on a small prepared screen, and on the same screen after something was done
to it. An outcome is one of

- ``same``: the same numbers as on the clean screen;
- ``refused``: a ValueError, KeyError or TypeError that shoal raised itself, with a message;
- other numbers, which must be listed in `MEANT` with what they are. Whatever is not listed there is
  a fault, and so is an error that comes out of another library.
"""

from __future__ import annotations

import logging
import sys
import tempfile
import traceback
import warnings
from dataclasses import dataclass
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
from scipy import sparse

import shoal as sh

TIMES = ("seconds", "peak_mb")  # columns that differ between any two runs
PAGE = Path(__file__).parents[2] / "docs" / "user_guide" / "bad_input.md"
BEGIN, END = "<!-- begin of the table -->", "<!-- end of the table -->"
SOURCE = str(Path(sh.__file__).parent)


# -- the clean screen ----------------------------------------------------------------


def clean(folder: Path) -> ad.AnnData:
    """Return a screen on which every function has something to work with."""
    adata = sh.ds.simulate(n_genes=40, n_perturbations=12, n_cells=40, n_control=200, rng=0)
    adata.var_names = [f"P{i:02d}" if i <= 12 else f"g{i}" for i in range(1, adata.n_vars + 1)]
    adata.obs["batch"] = pd.Categorical(np.where(np.arange(adata.n_obs) % 2, "a", "b"))
    adata.obs["context"] = pd.Categorical(np.where(np.arange(adata.n_obs) % 4 < 2, "x", "y"))
    adata.obs["guide"] = [
        f"{name}_{i % 3}" for i, name in enumerate(adata.obs["perturbation"].astype(str))
    ]
    adata.X = sparse.csr_matrix(adata.X, dtype=np.float32)
    sh.pp.annotate(
        adata,
        "perturbation",
        control="control",
        context_key="context",
        batch_key="batch",
        guide_key="guide",
    )
    sh.pp.prepare(adata, normalize="log1p", n_comps=8)
    sh.pp.split(adata, test=["P01", "P02"], rng=0)
    sh.tl.coherence(adata)
    sh.tl.coherence_null(adata, n_cells=[30], n_draws=20)
    sh.tl.distance(adata, pairwise=True)
    adata.obs["stress"] = np.asarray(adata.X[:, 20].todense()).ravel()
    sh.tl.associate(adata, "stress", n_perms=50)
    model = sh.tl.fit(adata, "mean_shift", calibrate=True)
    sh.tl.predict(adata, model, key_added="p", subset="test", interval=0.5)
    sh.tl.evaluate(adata, prediction="p", baselines=["perturbed_mean"], n_draws=1)
    sh.tl.benchmark(adata, ["mean_shift", "perturbed_mean"], n_boot=50, n_draws=1)
    return adata


# -- what is done to it ----------------------------------------------------------------


def _with(adata: ad.AnnData, values, *, rep: bool = False) -> ad.AnnData:
    """Return a copy with other values in X, and in the representation where it is damaged too."""
    out = adata.copy()
    out.X = values
    if rep:
        out.obsm["X_pca"] = out.obsm["X_pca"].copy()
        out.obsm["X_pca"][3, 1] = values.data[0] if sparse.issparse(values) else values[3, 1]
    return out


def _hole(adata: ad.AnnData, value: float) -> ad.AnnData:
    values = adata.X.copy()
    values.data[0] = value
    return _with(adata, values, rep=True)


def _cpm(adata: ad.AnnData) -> ad.AnnData:
    counts = adata.layers["counts"].toarray()
    return _with(adata, sparse.csr_matrix(counts / counts.sum(axis=1, keepdims=True) * 1e6))


def _scaled(adata: ad.AnnData) -> ad.AnnData:
    values = adata.X.toarray()
    return _with(adata, (values - values.mean(axis=0)) / np.maximum(values.std(axis=0), 1e-6))


def _duplicated(adata: ad.AnnData) -> ad.AnnData:
    out = adata.copy()
    out.var_names = ["P02", *out.var_names[1:]]
    return out


def _dask(adata: ad.AnnData) -> ad.AnnData:
    import dask.array as da

    return _with(adata, da.from_array(adata.X.toarray(), chunks=(100, 40)))


def _backed(adata: ad.AnnData) -> ad.AnnData:
    path = Path(tempfile.mkdtemp()) / "screen.h5ad"
    adata.write_h5ad(path)
    return ad.read_h5ad(path, backed="r")


def _mudata(adata: ad.AnnData):
    import mudata

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return mudata.MuData({"rna": adata.copy()})


def _control(adata: ad.AnnData):
    return (adata.obs["perturbation"] == "control").to_numpy()


INPUTS = {
    "raw counts": lambda a: _with(a, a.layers["counts"].copy()),
    "CPM": _cpm,
    "log2": lambda a: _with(a, (a.X / np.float32(np.log(2))).tocsr()),
    "z-scored": _scaled,
    "NaN": lambda a: _hole(a, np.nan),
    "inf": lambda a: _hole(a, np.inf),
    "no control": lambda a: a[~_control(a)].copy(),
    "one cell": lambda a: a[~_control(a)][:1].copy(),
    "all control": lambda a: a[_control(a)].copy(),
    "duplicate names": _duplicated,
    "backed": _backed,
    "dask": _dask,
    "view": lambda a: a[np.arange(a.n_obs)],
    "MuData": _mudata,
}


# -- what is called --------------------------------------------------------------------


def _inner(data) -> ad.AnnData:
    return data.mod["rna"] if hasattr(data, "mod") else data


def _uns(call, key: str):
    """Return a function that makes a call and gives the table that it writes."""

    def run(data, mod):
        call(data, mod=mod)
        return _inner(data).uns[key]["table"]

    return run


def _axes(call):
    """Return a function that draws, and gives the points and lines of the picture."""

    def run(data, mod):
        import matplotlib.pyplot as plt

        drawn = call(data, mod=mod)
        found = []
        for ax in np.atleast_1d(np.asarray(drawn, dtype=object)).ravel():
            found += [np.asarray(line.get_xydata(), dtype=float) for line in ax.get_lines()]
            found += [np.asarray(c.get_offsets(), dtype=float) for c in ax.collections]
        plt.close("all")
        return found

    return run


def _prepare(data, mod):
    sh.pp.prepare(data, n_comps=8, mod=mod)
    return _inner(data).obsm["X_pca"]


def _normalize(data, mod):
    sh.pp.prepare(data, normalize="log1p", layer="counts", n_comps=8, mod=mod)
    return _inner(data).obsm["X_pca"]


def _embed(method: str):
    def run(data, mod):
        sh.pp.embed(data, method=method, n_comps=3, missing="drop", key_added="e", mod=mod)
        return _inner(data).uns["perturbation_embeddings"]["e"]

    return run


VECTORS = {f"P{i:02d}": [np.cos(i), np.sin(3 * i)] for i in range(1, 13)}


def _embed_check(data, mod):
    sh.pp.embed(data, method="table", source=VECTORS, key_added="v", missing="drop", mod=mod)
    sh.pp.embed_check(data, embedding="v", n_perms=19, key_added="e", mod=mod)
    return _inner(data).uns["e"]["table"]


def _embed_contexts(data, mod):
    sh.pp.embed_contexts(data, key_added="e", mod=mod)
    return _inner(data).uns["context_embeddings"]["e"]


def _split(data, mod):
    sh.pp.split(data, test=["P01", "P02"], key_added="again", rng=0, mod=mod)
    return _inner(data).obs["again"].astype(object).map({"train": 0, "test": 1}).to_numpy(float)


def _annotate(data, mod):
    sh.pp.annotate(
        data,
        "perturbation",
        control="control",
        context_key="context",
        batch_key="batch",
        guide_key="guide",
        mod=mod,
    )


def _fit(data, mod):
    model = sh.tl.fit(data, "mean_shift", mod=mod)
    cells = model.predict("P01", adata=_inner(data), n_cells=40)
    return np.asarray(cells.X.mean(axis=0)).ravel()


def _predict_with(model):
    def run(data, mod):
        sh.tl.predict(data, model, key_added="q", subset="test", mod=mod)
        inner = _inner(data)
        values = inner.layers["q"][inner.obs["q_predicted"].to_numpy()]
        return values.toarray() if sparse.issparse(values) else np.asarray(values)

    return run


def _write_predictions(data, mod):
    """Write counts as if a model had predicted them, and read what was written."""
    path, cells = Path(tempfile.mkdtemp()) / "counts.h5ad", {"context": "x", "mod": mod}
    sh.io.write_predictions(data, path, prediction="counts", **cells)
    return ad.read_h5ad(path).X.toarray()


def _report(data, mod):
    path = Path(tempfile.mkdtemp()) / "report.html"
    sh.tl.report(data, out=path, mod=mod)
    return np.array([path.stat().st_size > 1000], dtype=float)


def _coherence_null(data, mod):
    sh.tl.coherence_null(data, n_cells=[30], n_draws=10, use_rep="X", key_added="null", mod=mod)
    return _inner(data).uns["null"]["table"]


NAMES = [*(f"P{i:02d}" for i in range(1, 13)), "new 1", "new 2"]
VECTORS = pd.DataFrame(np.random.default_rng(0).normal(size=(len(NAMES), 3)), index=NAMES)


def calls(model) -> dict:
    """Return every call by its name in the table."""
    tl, pl = sh.tl, sh.pl
    near = {"config": {"shrink": False}, "embedding": VECTORS}
    several = () if model is None else ("latent_linear", "nearest")  # the names alone are asked for
    models = [tl.fit(model.cells.adata, name, **near) for name in several]
    return {
        "pp.annotate": _annotate,
        "pp.filter": lambda d, mod: sh.pp.filter(d, inplace=False, mod=mod),
        "pp.prepare": _prepare,
        "pp.prepare(normalize='log1p', layer='counts')": _normalize,
        "pp.split": _split,
        "pp.embed(method='coexpression')": _embed("coexpression"),
        "pp.embed(method='effects')": _embed("effects"),
        "pp.embed(method='mds')": _embed("mds"),
        "pp.embed_check": _embed_check,
        "pp.embed_contexts": _embed_contexts,
        "tl.coherence(use_rep='X')": _uns(
            lambda d, mod: tl.coherence(d, use_rep="X", key_added="c", mod=mod), "c"
        ),
        "tl.coherence": _uns(lambda d, mod: tl.coherence(d, key_added="c", mod=mod), "c"),
        "tl.coherence_null(use_rep='X')": _coherence_null,
        "tl.distance(use_rep='X')": _uns(
            lambda d, mod: tl.distance(d, use_rep="X", key_added="d", mod=mod), "d"
        ),
        "tl.retrieve(use_rep='X')": _uns(
            lambda d, mod: tl.retrieve(d, use_rep="X", n_perms=9, key_added="d", mod=mod), "d"
        ),
        "tl.distance": _uns(lambda d, mod: tl.distance(d, key_added="d", mod=mod), "d"),
        "tl.distance_matrix": lambda d, mod: tl.distance_matrix(d, mod=mod),
        "tl.associate": _uns(
            lambda d, mod: tl.associate(
                d, gene_set={"set": ["g18", "g19"]}, n_perms=50, key_added="a", mod=mod
            ),
            "a",
        ),
        "tl.fit": _fit,
        "tl.predict": _predict_with(model),
        "tl.propose": _uns(
            lambda d, mod: tl.propose(
                d, models, candidates=["new 1", "new 2"], embedding=VECTORS, key_added="n", mod=mod
            ),
            "n",
        ),
        "tl.evaluate": _uns(
            lambda d, mod: tl.evaluate(
                d, prediction="p", baselines=["perturbed_mean"], n_draws=1, key_added="e", mod=mod
            ),
            "e",
        ),
        "tl.benchmark": _uns(
            lambda d, mod: tl.benchmark(
                d, ["perturbed_mean"], n_boot=50, n_draws=1, key_added="l", mod=mod
            ),
            "l",
        ),
        "tl.evaluate_intervals": _uns(
            lambda d, mod: tl.evaluate_intervals(d, prediction="p", key_added="i", mod=mod), "i"
        ),
        "io.write_predictions": _write_predictions,
        "tl.report": _report,
        "pl.geometry": _axes(lambda d, mod: pl.geometry(d, "P01", mod=mod)),
        "pl.bimodality": _axes(lambda d, mod: pl.bimodality(d, "P01", prediction="p", mod=mod)),
        "pl.genes": _axes(lambda d, mod: pl.genes(d, "P01", prediction="p", mod=mod)),
        "pl.populations": _axes(lambda d, mod: pl.populations(d, "P01", prediction="p", mod=mod)),
        "pl.transport": _axes(lambda d, mod: pl.transport(d, "P01", prediction="p", mod=mod)),
    }


# functions that read a result in uns, and no cell
READS_RESULTS = {
    "pl.calibration": lambda d, mod: sh.pl.calibration(d, mod=mod),
    "pl.coherence": lambda d, mod: sh.pl.coherence(d, mod=mod),
    "pl.coherence_null": lambda d, mod: sh.pl.coherence_null(d, mod=mod),
    "pl.contexts": lambda d, mod: sh.pl.contexts(d, mod=mod),
    "pl.evaluate": lambda d, mod: sh.pl.evaluate(d, mod=mod),
    "pl.intervals": lambda d, mod: sh.pl.intervals(d, "P01", prediction="p", context="x", mod=mod),
    "pl.leaderboard": lambda d, mod: sh.pl.leaderboard(d, mod=mod),
    "pl.ranking": lambda d, mod: sh.pl.ranking(d, mod=mod),
    "pl.scatter_baseline": lambda d, mod: sh.pl.scatter_baseline(d, "rmse", mod=mod),
    "pl.strata": lambda d, mod: sh.pl.strata(d, "rmse", mod=mod),
}
NO_CELLS = {"pl.training", "pl.ensemble"}  # they read a model
IMAGES = {  # they read crops and not X; tests of their own have what crops can be
    "pp.measure_images",
    "pp.prepare_images",
    "tl.encode_images",
    "tl.evaluate_images",
    "pl.images",
    "pl.image_features",
}

ON_SCALE, CONTROLS = "on that scale", "controls only"
MEASURE = (
    "pp.prepare",
    "pp.embed(method='effects')",
    "tl.coherence(use_rep='X')",
    "tl.coherence_null(use_rep='X')",
    "tl.distance(use_rep='X')",
    "tl.distance",
    "tl.fit",
    "tl.benchmark",
)
MEANT: dict[tuple[str, str], str] = {
    **{(call, what): ON_SCALE for call in MEASURE for what in ("log2", "z-scored")},
    ("pp.embed_check", "z-scored"): ON_SCALE,
    ("tl.associate", "z-scored"): ON_SCALE,
    ("tl.retrieve(use_rep='X')", "z-scored"): ON_SCALE,
    ("pp.prepare", "all control"): CONTROLS,
    ("pp.prepare(normalize='log1p', layer='counts')", "all control"): CONTROLS,
}


# -- what comes out ----------------------------------------------------------------------


@dataclass(frozen=True)
class Outcome:
    """What a call did: ``same``, ``refused``, ``other``, or ``fault`` with what went wrong."""

    kind: str
    text: str = ""


def numbers(result) -> list[np.ndarray]:
    """Return the numbers of a result, in order."""
    if result is None:
        return []
    if isinstance(result, (list, tuple)):
        return [array for one in result for array in numbers(one)]
    if isinstance(result, pd.DataFrame):
        numeric = result.select_dtypes(include=[np.number, bool]).drop(
            columns=[c for c in TIMES if c in result.columns]
        )
        return [numeric.to_numpy(dtype=float)]
    return [np.asarray(result, dtype=float)]


def equal(one, other) -> bool:
    """Return whether two results hold the same numbers, to six digits."""
    a, b = numbers(one), numbers(other)
    return len(a) == len(b) and all(
        x.shape == y.shape and np.allclose(x, y, rtol=1e-5, atol=1e-6, equal_nan=True)
        for x, y in zip(a, b, strict=True)
    )


def outcome(call, data, reference) -> Outcome:
    """Make a call and compare what it gives with the result on the clean screen."""
    mod = "rna" if hasattr(data, "mod") else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            result = call(data, mod)
        except (ValueError, KeyError, TypeError) as error:
            last = traceback.extract_tb(error.__traceback__)[-1].filename
            said = str(error.args[0] if error.args else "")
            if not last.startswith(SOURCE):
                return Outcome("fault", f"{type(error).__name__} from {last}: {said[:200]}")
            return Outcome("refused", said)
        except Exception as error:  # noqa: BLE001  (whatever else comes is a fault to be shown)
            last = traceback.extract_tb(error.__traceback__)[-1].filename
            return Outcome("fault", f"{type(error).__name__} from {last}: {str(error)[:200]}")
    return Outcome("same" if equal(result, reference) else "other")


def outcomes() -> dict[str, dict[str, Outcome]]:
    """Return call -> input -> what it did."""
    folder = Path(tempfile.mkdtemp())
    base = clean(folder)
    model = sh.tl.fit(base, "mean_shift")
    every = calls(model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        reference = {name: call(base.copy(), None) for name, call in every.items()}
    return {
        name: {what: outcome(call, make(base), reference[name]) for what, make in INPUTS.items()}
        for name, call in every.items()
    }


def faults(found: dict[str, dict[str, Outcome]]) -> list[str]:
    """Return what must not be: errors from elsewhere, and other numbers that nobody meant."""
    wrong = [
        f"{call} x {what}: {one.text}"
        for call, row in found.items()
        for what, one in row.items()
        if one.kind == "fault"
    ]
    silent = [
        f"{call} x {what}: other numbers, without a word"
        for call, row in found.items()
        for what, one in row.items()
        if one.kind == "other" and (call, what) not in MEANT
    ]
    return wrong + silent


def as_markdown(found: dict[str, dict[str, Outcome]]) -> str:
    """Return the table of the docs."""
    head = "| function | " + " | ".join(INPUTS) + " |"
    lines = [head, "|" + "---|" * (len(INPUTS) + 1)]
    for call, row in found.items():
        cells = [
            MEANT.get((call, what), one.kind) if one.kind == "other" else one.kind
            for what, one in row.items()
        ]
        lines.append(f"| `{call}` | " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    logging.getLogger("shoal").setLevel(logging.ERROR)
    found = outcomes()
    print(as_markdown(found))
    print("\n".join(faults(found)) or "no fault")
    if "--write" in sys.argv:
        page = PAGE.read_text()
        before, after = page.split(BEGIN)[0], page.split(END)[1]
        PAGE.write_text(f"{before}{BEGIN}\n{as_markdown(found)}\n{END}{after}")
    if "--messages" in sys.argv:
        for call, row in found.items():
            for what, one in row.items():
                if one.kind == "refused":
                    print(f"{call} x {what}: {one.text}")
