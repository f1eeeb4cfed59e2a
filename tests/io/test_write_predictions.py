"""A file that the scorer of the Virtual Cell Challenge 2026 prepares and scores, or a clear no."""

from __future__ import annotations

from dataclasses import replace

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import shoal as sh
from shoal import _h5ad
from shoal.core._predictions import prediction_entry

REASON = "cell-eval2, the scorer of the Virtual Cell Challenge 2026, is not installed"


@pytest.fixture(scope="module")
def measured():
    """A screen of counts in two contexts, with a layer of counts that a model predicted."""
    adata = sh.ds.simulate(
        n_genes=60, n_perturbations=6, n_cells=40, n_control=120, effect_size=6.0, rng=0
    )
    adata.var_names = [f"P{i}" if i <= 6 else f"g{i}" for i in range(1, 61)]
    adata.obs["context"] = np.where(np.arange(adata.n_obs) % 2, "x", "y")
    adata.X = sparse.csr_matrix(adata.X, dtype=np.int32)
    sh.pp.annotate(adata, "perturbation", control="control", context_key="context")
    predicted = adata.X.toarray()
    shuffled = np.random.default_rng(0).permutation(predicted[adata.obs["perturbation"] == "P1"])
    predicted[adata.obs["perturbation"] == "P2"] = shuffled
    adata.layers["predicted"] = sparse.csr_matrix(predicted)
    adata.obs["predicted_predicted"] = (adata.obs["perturbation"] != "control").to_numpy()
    return adata


def predicted_alone(measured):
    """Return the predicted cells as a model returns them: no control cells, and its record."""
    perturbed = measured[measured.obs["perturbation"] != "control"]
    made = ad.AnnData(perturbed.layers["predicted"].copy(), var=perturbed.var[[]])
    made.obs = perturbed.obs[["perturbation", "context"]].copy()
    made.uns["perturbation_predictions"] = entry(made, "X")
    return made


def entry(adata, key, skipped=""):
    """Return the record of a prediction."""
    known = {"model": "M", "embedding": "", "transductive": False, "skipped": skipped}
    slot = "X" if key == "X" else f"layers/{key}"
    return prediction_entry(adata, key, **known, slot=slot, source="")


def changed(adata, change):
    """Return a copy whose predicted values, dense, are changed: `at` is the first cell of P1 in x."""
    out, values = adata.copy(), adata.layers["predicted"].toarray().astype(np.float64)
    at = np.flatnonzero((out.obs["perturbation"] == "P1") & (out.obs["context"] == "x"))[0]
    out.layers["predicted"] = change(values, np.arange(len(values))[:, None] == at)
    return out


def test_the_file_holds_the_predicted_counts_and_the_measured_controls(measured, tmp_path):
    path = sh.io.write_predictions(measured, tmp_path / "a.h5ad", context="x")
    made = ad.read_h5ad(path)
    chosen = measured[measured.obs["context"] == "x"]
    perturbed, control = (
        chosen[chosen.obs["perturbation"].isin(names)]
        for names in ([f"P{i}" for i in range(1, 7)], ["control"])
    )
    assert made.X.dtype == np.int32
    assert made.X.format == "csr"
    expected = [perturbed.layers["predicted"].toarray(), control.X.toarray()]
    np.testing.assert_array_equal(made.X.toarray(), np.vstack(expected))
    labels = [*perturbed.obs["perturbation"], *["non-targeting"] * control.n_obs]
    assert list(made.obs["target"].astype(str)) == labels
    assert list(made.obs_names) == [*perturbed.obs_names, *control.obs_names]
    assert list(made.var_names) == list(measured.var_names)
    assert set(made.obs["context"]) == {"x"}
    assert [p.name for p in tmp_path.iterdir()] == ["a.h5ad"]


def test_an_index_of_cells_that_is_called_as_a_column(measured, tmp_path):
    adata = measured.copy()
    adata.obs.index.name = "target"
    made = ad.read_h5ad(sh.io.write_predictions(adata, tmp_path / "a.h5ad", context="x"))
    assert set(made.obs["target"]) == {"non-targeting", *(f"P{i}" for i in range(1, 7))}


def test_the_file_is_scored_as_the_layer_is(measured, tmp_path):
    """Its column and its control label are those of the challenge, not those of the screen."""
    chosen = measured[measured.obs["context"] == "x"].copy()
    path = sh.io.write_predictions(chosen, tmp_path / "a.h5ad", context="x")
    tables = []
    for prediction in ("predicted", str(path)):
        options = {"suite": "vcc2026", "split": None, "baselines": None, "overwrite": True}
        sh.tl.evaluate(chosen, prediction=prediction, **options)
        tables.append(chosen.uns["evaluation"]["table"])
    pd.testing.assert_frame_equal(*tables)


def test_cells_of_a_model_and_controls_of_the_screen_give_the_same_file(measured, tmp_path):
    beside = sh.io.write_predictions(measured, tmp_path / "a.h5ad", context="x")
    alone = predicted_alone(measured)
    apart = sh.io.write_predictions(alone, tmp_path / "b.h5ad", controls=measured, context="x")
    one, other = ad.read_h5ad(beside), ad.read_h5ad(apart)
    assert (one.X != other.X).nnz == 0
    pd.testing.assert_frame_equal(one.obs, other.obs)


def test_genes_and_labels_are_those_of_the_reference(measured, tmp_path):
    genes = ["g9", "P1", "g60"]
    path = sh.io.write_predictions(
        measured,
        out=tmp_path / "a.h5ad",
        context="y",
        genes=genes,
        perturbations=["P3", "NT", "P1"],
        perturbation_column="gene",
        control_label="NT",
    )
    made = ad.read_h5ad(path)
    assert list(made.var_names) == genes
    assert set(made.obs["gene"]) == {"P1", "P3", "NT"}
    first = measured[made.obs_names]
    values = [first.layers["predicted"], first.X]
    is_control = (made.obs["gene"] == "NT").to_numpy()
    expected = np.where(is_control[:, None], *(v.toarray() for v in reversed(values)))
    np.testing.assert_array_equal(made.X.toarray(), expected[:, [8, 0, 59]])


def test_only_twins_are_written(measured, tmp_path):
    adata = measured.copy()
    adata.obs["predicted_predicted"] &= adata.obs["perturbation"].isin(["P1", "P2"])
    values = adata.layers["predicted"].toarray().astype(np.float32)
    values[~adata.obs["predicted_predicted"] & (adata.obs["perturbation"] != "control")] = np.nan
    adata.layers["predicted"] = values  # as cells without a twin are
    made = ad.read_h5ad(sh.io.write_predictions(adata, tmp_path / "a.h5ad", context="x"))
    assert set(made.obs["target"]) == {"P1", "P2", "non-targeting"}
    more = {"context": "x", "perturbations": ["P1", "P5"]}
    with pytest.raises(ValueError, match="1 of 2 perturbations have no predicted cell here: 'P5'"):
        sh.io.write_predictions(adata, tmp_path / "b.h5ad", **more)


def test_what_a_model_could_not_predict_is_told(measured, tmp_path, caplog):
    adata = measured.copy()
    adata.uns["perturbation_predictions"] = entry(adata, "predicted", "P7 has no vector")
    sh.io.write_predictions(adata, tmp_path / "a.h5ad", context="x")
    assert "the file lacks: P7 has no vector" in caplog.text


def test_a_file_and_a_mudata_are_read(measured, tmp_path):
    mudata = pytest.importorskip("mudata")
    measured.write_h5ad(tmp_path / "screen.h5ad")
    expected = ad.read_h5ad(sh.io.write_predictions(measured, tmp_path / "a.h5ad", context="x"))
    backed = ad.read_h5ad(tmp_path / "screen.h5ad", backed="r")
    made = ad.read_h5ad(sh.io.write_predictions(backed, tmp_path / "b.h5ad", context="x"))
    assert (made.X != expected.X).nnz == 0
    with pytest.raises(FileExistsError, match="is a file that is read; name another"):
        sh.io.write_predictions(backed, tmp_path / "screen.h5ad", context="x", overwrite=True)
    backed.file.close()
    both = mudata.MuData({"rna": measured.copy()})
    path = sh.io.write_predictions(both, tmp_path / "c.h5ad", context="x", mod="rna")
    assert (ad.read_h5ad(path).X != expected.X).nnz == 0


# -- what is refused -------------------------------------------------------------------------------

REFUSED = {
    "logs": (
        "log-normalised values; a file of counts takes raw counts: predict counts",
        lambda x, at: np.log1p(x),
    ),
    "halves": ("fractions from 0", lambda x, at: x + 0.5 * at),
    "negative": ("values below 0", lambda x, at: x - 1000 * at),
    "missing": ("NaN or infinite values in 1 of", lambda x, at: np.where(at, np.nan, x)),
    "deep": ("and there may be at most 1,000,000", lambda x, at: x + 20_000 * at),
}


@pytest.mark.parametrize("name", list(REFUSED))
def test_values_that_are_no_counts(measured, tmp_path, name):
    words, change = REFUSED[name]
    adata = changed(measured, change)
    with pytest.raises(ValueError, match=words):
        sh.io.write_predictions(adata, tmp_path / "a.h5ad", context="x")
    assert list(tmp_path.iterdir()) == []


def test_controls_that_are_no_counts_need_a_layer(measured, tmp_path):
    adata = measured.copy()
    adata.layers["counts"] = adata.X.copy()
    sh.pp.prepare(adata, normalize="log1p", n_comps=5)
    more = {"out": tmp_path / "a.h5ad", "controls": adata, "context": "x"}
    with pytest.raises(ValueError, match="name the measured counts of the control cells with lay"):
        sh.io.write_predictions(predicted_alone(measured), **more)
    sh.io.write_predictions(predicted_alone(measured), **more, layer="counts")


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({}, r"several contexts were predicted \('x', 'y'\) and a file holds one"),
        ({"context": "z"}, "context='z' was not predicted; choose one of 'x', 'y'"),
        ({"context": "x", "dose": 1.0}, "dose=1.0 cannot be chosen"),
        ({"context": "x", "genes": ["P1", "MALAT1"]}, "1 of 2 genes are not in .*'MALAT1'"),
        ({"context": "x", "genes": ["P1", "P1"]}, "genes holds 'P1' more than once"),
        ({"context": "x", "genes": []}, "genes is empty"),
        ({"context": "x", "perturbations": []}, "perturbations is empty"),
        ({"context": "x", "control_label": "P1"}, "'P1' is also the name of a perturbation"),
        ({"context": "x", "perturbation_column": "a/b"}, "cannot be a key of an h5ad file"),
        ({"context": "x", "perturbation_column": "_index"}, "choose another"),
        ({"context": "x", "prediction": "flow"}, "'flow' is not in adata.layers"),
    ],
)
def test_arguments_that_cannot_be_meant(measured, tmp_path, more, words):
    with pytest.raises((ValueError, KeyError), match=words):
        sh.io.write_predictions(measured, tmp_path / "a.h5ad", **more)
    assert list(tmp_path.iterdir()) == []


def test_control_cells_are_needed(measured, tmp_path):
    path = tmp_path / "a.h5ad"
    with pytest.raises(ValueError, match="predicted cells only, and control cells are needed"):
        sh.io.write_predictions(predicted_alone(measured), path, context="x")
    lacking = measured[(measured.obs["perturbation"] != "control") | (measured.obs.context == "y")]
    with pytest.raises(ValueError, match="there is no control cell of context 'x'"):
        sh.io.write_predictions(lacking.copy(), out=path, context="x")
    with pytest.raises((ValueError, KeyError), match="control"):
        sh.io.write_predictions(
            measured[measured.obs["perturbation"] != "control"].copy(), out=path
        )
    assert list(tmp_path.iterdir()) == []


def test_nothing_predicted(measured, tmp_path):
    adata = measured.copy()
    adata.obs["predicted_predicted"] = False
    with pytest.raises(ValueError, match=r"holds no predicted cell: .*counts=True"):
        sh.io.write_predictions(adata, tmp_path / "a.h5ad")
    adata.obsm["X_latent"] = np.ones((adata.n_obs, 3))
    with pytest.raises(ValueError, match="is a representation"):
        sh.io.write_predictions(adata, tmp_path / "a.h5ad", prediction="latent")


def test_one_dose_a_file(measured, tmp_path):
    adata = measured.copy()
    adata.obs["dose"] = np.where(np.arange(adata.n_obs) % 4 < 2, 1.0, 10.0)
    adata.obs.loc[adata.obs["perturbation"] == "control", "dose"] = np.nan
    keys = {"context_key": "context", "dose_key": "dose"}
    sh.pp.annotate(adata, "perturbation", control="control", **keys)
    with pytest.raises(ValueError, match=r"several doses were predicted \(1.0, 10.0\)"):
        sh.io.write_predictions(adata, tmp_path / "a.h5ad", context="x")
    made = ad.read_h5ad(sh.io.write_predictions(adata, tmp_path / "a.h5ad", context="x", dose=10))
    assert (made.obs["target"] == "non-targeting").sum() == 60
    assert set(made.obs.loc[made.obs["target"] != "non-targeting", "dose"]) == {10.0}


def test_a_file_is_replaced_if_that_is_asked_and_as_a_whole(measured, tmp_path, monkeypatch):
    path = tmp_path / "a.h5ad"
    path.write_text("earlier")
    with pytest.raises(FileExistsError, match="exists; overwrite=True replaces it"):
        sh.io.write_predictions(measured, path, context="x")

    def full(adata, path):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(_h5ad, "write", full)
        with pytest.raises(OSError, match="No space left"):
            sh.io.write_predictions(measured, path, context="x", overwrite=True)
    assert path.read_text() == "earlier"
    sh.io.write_predictions(measured, path, context="x", overwrite=True)
    assert ad.read_h5ad(path).n_vars == 60
    with pytest.raises(FileNotFoundError, match="no such folder"):
        sh.io.write_predictions(measured, tmp_path / "no" / "a.h5ad", context="x")
    assert list(tmp_path.iterdir()) == [path]


# -- the scorer itself -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def scorer():
    """cell-eval2 and the configuration of the competition, in one thread."""
    package = pytest.importorskip("cell_eval2", reason=REASON)
    return package, replace(package.EvalConfig.from_preset("vcc2026"), num_threads=1)


@pytest.fixture
def reference(measured, tmp_path):
    """The measured cells of one context, in the form of a reference."""
    chosen = measured[measured.obs["context"] == "x"].copy()
    names = chosen.obs["perturbation"].astype(str).replace("control", "non-targeting")
    obs = pd.DataFrame({"target": names}, index=chosen.obs_names)
    path = tmp_path / "reference.h5ad"
    ad.AnnData(chosen.X, obs=obs, var=chosen.var[[]]).write_h5ad(path)
    return path


@pytest.mark.filterwarnings("ignore")
def test_the_scorer_prepares_the_file(measured, scorer, tmp_path):
    package, config = scorer
    path = sh.io.write_predictions(measured, tmp_path / "a.h5ad", context="x")
    from cell_eval2.cli import main

    cache, one = ["--cache-pred", str(tmp_path / "cache")], ["--set", "num_threads=1"]
    call = ["prep-cache", "--side", "pred", "--adata", str(path), "--preset", "vcc2026"]
    assert not main([*call, *cache, *one, "--comparator", "bulk_lognorm"])
    assert (tmp_path / "cache" / "manifest.json").is_file()
    # cells in memory are validated value by value, those of a file are not
    again = replace(config, cache_pred=str(tmp_path / "again"))
    package.precompute_cache(
        ad.read_h5ad(path), side="pred", config=again, comparator="bulk_lognorm"
    )


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_scorer_scores_the_file(measured, scorer, reference, tmp_path):
    package, config = scorer
    path = sh.io.write_predictions(measured, tmp_path / "a.h5ad", context="x")
    results = package.compute_metrics(str(path), str(reference), config=config)
    rows = results.to_pandas()
    pds = rows[rows["metric"] == "pds_cosine"].set_index("perturbation")["value"]
    exact = ["P1", "P3", "P4", "P5", "P6"]
    assert (pds[exact] == 1).all()  # the measured cells themselves
    assert pds["P2"] < 1  # it has cells of P1
    fidelity = rows[rows["metric"] == "de_wilcoxon_direction_fidelity_yield_raw"]
    right = fidelity.set_index("perturbation")["value"][exact].dropna()  # NaN: nothing to find
    assert len(right) > 2
    assert (right == 1).all()
    mean_response = package.build_generic_baseline(str(reference), config=config).agg
    score = package.score_metrics(package.aggregate_metrics_wide(results), mean_response)
    average = dict(score.iter_rows())["avg_score"]  # 0: the mean response, 1: perfect
    assert 0.5 < average <= 1


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("change", ["genes", "labels", "logs"])
def test_the_scorer_refuses_what_is_refused_here(measured, scorer, reference, tmp_path, change):
    """The refusals are the scorer's own: it takes no other genes, labels or values."""
    package, config = scorer
    made = ad.read_h5ad(sh.io.write_predictions(measured, tmp_path / "a.h5ad", context="x"))
    if change == "genes":
        made = made[:, ::-1].copy()
    elif change == "labels":
        made = made[made.obs["target"] != "P1"].copy()
    else:
        made.X = made.X.astype(np.float32).log1p()
    with pytest.raises(ValueError, match="genes|gene names|perturbation sets|fractional"):
        package.compute_metrics(made, str(reference), config=config)
