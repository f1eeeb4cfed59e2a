"""No function overwrites what it did not write, and each replaces its own results."""

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from tests.helpers import contents

import shoal as sh


@pytest.fixture(scope="module")
def prepared():
    adata = sh.ds.simulate(n_perturbations=12, n_cells=30, n_genes=40, rng=0)
    del adata.uns["truth"]
    sh.pp.split(adata, by="perturbation", test=0.4, rng=0)
    sh.pp.prepare(adata, normalize="log1p", n_comps=5, cross_fit=0)
    sh.pp.embed(adata)
    sh.tl.coherence(adata, min_cells=5)
    sh.tl.predict(adata, sh.tl.fit(adata, "mean_shift"), key_added="flow", subset="test")
    return adata


def embed(adata, **how):
    sh.pp.embed(adata, **how)


def predict(adata, **how):
    how.setdefault("key_added", "flow")
    sh.tl.predict(adata, sh.tl.fit(adata, "mean_shift"), subset="test", **how)


CALLS = {
    "annotate": lambda a, **how: sh.pp.annotate(a, "perturbation", control="control", **how),
    "split": lambda a, **how: sh.pp.split(a, by="perturbation", test=0.4, rng=0, **how),
    "prepare": lambda a, **how: sh.pp.prepare(a, n_comps=5, cross_fit=0, **how),
    "embed": embed,
    "embed_check": lambda a, **how: sh.pp.embed_check(a, embedding="one_hot", n_perms=19, **how),
    "coherence": lambda a, **how: sh.tl.coherence(a, min_cells=5, **how),
    "coherence_null": lambda a, **how: sh.tl.coherence_null(
        a, n_cells=[5], n_draws=3, min_cells=2, **how
    ),
    "distance": lambda a, **how: sh.tl.distance(a, use_rep="X_pca", **how),
    "retrieve": lambda a, **how: sh.tl.retrieve(a, use_rep="X_pca", n_perms=9, **how),
    "associate": lambda a, **how: sh.tl.associate(
        a, "size", method="spline", n_perms=9, n_bins=1, **how
    ),
    "predict": predict,
    "propose": lambda a, **how: sh.tl.propose(
        a, strategy="random", candidates=["new 1", "new 2"], **how
    ),
    "evaluate": lambda a, **how: sh.tl.evaluate(
        a, prediction="flow", metrics=["energy"], baselines=None, min_cells=5, n_draws=1, **how
    ),
    "benchmark": lambda a, **how: sh.tl.benchmark(
        a, ["mean_shift"], metrics=["energy"], n_boot=10, min_cells=5, n_draws=1, **how
    ),
}
TAKEN = [  # function, slot that it writes, and what a user may have there
    ("annotate", "uns", "shoal", {"mine": 1}),
    ("split", "obs", "split", "fold 1"),
    ("split", "uns", "split", {"mine": 1}),
    ("prepare", "obsm", "X_pca", np.ones(4)),
    ("prepare", "varm", "PCs", np.ones(4)),
    ("prepare", "var", "highly_variable", False),
    ("prepare", "uns", "pca", {"variance": np.ones(3)}),
    ("embed", "uns", "perturbation_embeddings_info", "mine"),
    ("embed_check", "uns", "embedding_check", "mine"),
    ("coherence", "obs", "coherence", 1.0),
    ("coherence", "uns", "coherence", pd.DataFrame({"a": [1]})),
    ("coherence_null", "uns", "coherence_null", 3),
    ("distance", "uns", "distance", "far"),
    ("retrieve", "uns", "retrieval", 1),
    ("associate", "uns", "association", []),
    ("propose", "uns", "proposal", {"table": 1}),
    ("predict", "layers", "flow", 1.0),
    ("predict", "obs", "flow_predicted", True),
    ("predict", "obs", "flow_source", "me"),
    ("predict", "uns", "perturbation_predictions", {"flow": "mine"}),
    ("evaluate", "uns", "evaluation", {"score": 1}),
    ("benchmark", "uns", "leaderboard", {"table": 1}),
]


def without(adata, *names):
    """Return a copy without some results of shoal's, of which nothing else depends."""
    adata = adata.copy()
    adata.obs["size"] = np.arange(adata.n_obs, dtype=float)
    for name in names:
        for where in ("obs", "uns", "obsm", "varm", "var", "layers"):
            if name in getattr(adata, where):
                del getattr(adata, where)[name]
    return adata


def put(adata, where, name, value):
    place = getattr(adata, where)
    rows = {"obsm": adata.n_obs, "varm": adata.n_vars}
    if where == "layers":
        value = np.full(adata.shape, value, dtype=np.float32)
    elif where in rows:
        value = np.tile(value, (rows[where], 1))
    place[name] = value


@pytest.mark.parametrize(("function", "where", "name", "value"), TAKEN)
def test_what_the_user_has_is_kept(prepared, function, where, name, value):
    own = {
        "prepare": ("pca", "X_pca", "PCs", "highly_variable"),
        "predict": ("flow", "flow_predicted", "flow_source", "perturbation_predictions"),
    }
    adata = without(prepared, *own.get(function, (name,)))
    if function == "annotate":
        adata.uns["shoal"] = prepared.uns["shoal"]
    put(adata, where, name, value)
    before = contents(adata)
    with pytest.raises(ValueError, match=rf"adata.{where}\['{name}'\].*overwrite=True"):
        CALLS[function](adata)
    assert contents(adata) == before
    CALLS[function](adata, overwrite=True)
    assert contents(adata)[f"{where}/{name}"] != before[f"{where}/{name}"]


@pytest.mark.parametrize("function", list(CALLS))
def test_a_second_call_replaces_the_first(prepared, function):
    adata = without(prepared)
    CALLS[function](adata)
    first = contents(adata)
    CALLS[function](adata)
    if function != "benchmark":  # which tells the time that it took
        assert contents(adata) == first
    view = adata[adata.obs_names != adata.obs_names[-1]]
    CALLS[function](view)
    assert not view.is_view


@pytest.mark.parametrize("key", ["", "a/b", 7, "perturbation", "batch", "shoal", "split", None])
@pytest.mark.parametrize("function", [f for f in CALLS if f not in ("annotate", "prepare")])
def test_names_are_checked_before_work_begins(prepared, function, key, monkeypatch):
    if key is None or (function, key) == ("split", "split"):
        return
    adata = without(prepared)
    sh.pp.annotate(adata, "perturbation", control="control", batch_key="batch")
    before = contents(adata)
    with pytest.raises((ValueError, TypeError), match="key_added"):
        CALLS[function](adata, key_added=key)
    assert contents(adata) == before


def test_an_embedding_of_the_users_is_kept(prepared):
    adata = without(prepared)
    adata.uns["perturbation_embeddings"]["mine"] = pd.DataFrame({"0": [1.0]}, index=["P1"])
    with pytest.raises(ValueError, match=r"\['mine'\] was not written by sh.pp.embed"):
        sh.pp.embed(adata, key_added="mine")
    sh.pp.embed(adata, key_added="mine", overwrite=True)
    assert len(adata.uns["perturbation_embeddings"]["mine"]) == 12


def test_counts_are_not_lost(prepared):
    adata = sh.ds.simulate(n_perturbations=4, rng=0)
    adata.layers["counts"] = np.zeros(adata.shape, dtype=np.float32)  # something else
    before = contents(adata)
    with pytest.raises(ValueError, match=r"layers\['counts'\], where its counts are kept"):
        sh.pp.prepare(adata, normalize="log1p", n_comps=5)
    assert contents(adata) == before
    adata.layers["counts"] = adata.X.copy()
    sh.pp.prepare(adata, normalize="log1p", n_comps=5)


def test_our_columns_step_aside(prepared):
    adata = without(prepared)
    adata.obs["source"] = adata.obs["batch"]
    sh.pp.annotate(adata, "perturbation", control="control", batch_key="source")
    model = sh.tl.fit(adata, "mean_shift")
    made = model.predict("P01", n_cells=40)
    assert set(made.obs["source"]) <= set(adata.obs["source"])
    assert set(made.obs["source_2"]) <= set(adata.obs_names)
    tested = adata.obs["perturbation"][adata.obs["split"] == "test"].unique()
    everything = model.predict(list(tested), n_cells=40)
    sh.tl.evaluate(adata, prediction=everything, metrics=["energy"], baselines=None, min_cells=5)


def test_a_screen_whose_perturbations_are_in_a_column_called_source():
    adata = sh.ds.simulate(n_perturbations=4, rng=0)
    adata.obs = adata.obs.rename(columns={"perturbation": "source"})
    del adata.uns["shoal"], adata.uns["truth"]
    sh.pp.annotate(adata, "source", control="control")
    sh.pp.prepare(adata, normalize="log1p", n_comps=5)
    made = sh.tl.fit(adata, "mean_shift").predict("P1", n_cells=3)
    assert made.obs["source"].tolist() == ["P1"] * 3
    assert set(made.obs["source_2"]) <= set(adata.obs_names)


def test_mudata(prepared):
    mudata = pytest.importorskip("mudata")
    rna = without(prepared, "coherence")
    rna.obs["coherence"] = "mine"
    both = mudata.MuData({"rna": rna, "other": AnnData(np.ones((rna.n_obs, 1)), obs=rna.obs[[]])})
    with pytest.raises(ValueError, match="overwrite=True"):
        sh.tl.coherence(both, mod="rna", min_cells=5)
    sh.tl.coherence(both, mod="rna", min_cells=5, key_added="ours")
    assert (both["rna"].obs["coherence"] == "mine").all()


@pytest.mark.parametrize("function", ["coherence", "split", "prepare", "predict", "evaluate"])
@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_an_interrupt_while_writing(prepared, function, error, monkeypatch):
    adata = without(prepared)
    CALLS[function](adata)
    before, set_slot, calls = contents(adata), sh.core._slots._set, []

    def breaks(*arguments):
        calls.append(arguments)
        if len(calls) == 2 or (function == "evaluate" and len(calls) == 1):
            raise error
        set_slot(*arguments)

    monkeypatch.setattr("shoal.core._slots._set", breaks)
    with pytest.raises(error):
        CALLS[function](adata)
    monkeypatch.undo()
    assert calls
    assert contents(adata) == before


@pytest.mark.parametrize("theirs", [7, "mine", ["a"], {"table": 1}, None])
def test_slots_of_the_users_under_names_of_ours_break_nothing(prepared, theirs):
    adata = without(prepared, "split")
    for key in (
        "perturbation_embeddings",
        "perturbation_embeddings_info",
        "perturbation_predictions",
    ):
        adata.uns[key] = theirs
    CALLS["split"](adata)
    CALLS["coherence"](adata)
    CALLS["evaluate"](adata)
    with pytest.raises(ValueError, match="overwrite=True"):
        CALLS["embed"](adata)
    CALLS["embed"](adata, overwrite=True)
    CALLS["predict"](adata, overwrite=True)
    assert adata.uns["perturbation_predictions"]["table"].index.tolist() == ["flow"]
