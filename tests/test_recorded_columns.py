"""Every function that takes perturbation_key: the recorded context and batch hold for any column."""

from __future__ import annotations

import inspect
import tempfile
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import shoal as sh
from shoal.core._screen import resolve


def export(adata, **named):
    """Write counts of one context into a file that is removed again."""
    adata.layers["predicted"] = np.round(adata.X)
    with tempfile.TemporaryDirectory() as folder:
        sh.io.write_predictions(adata, Path(folder) / "counts.h5ad", context="c1", **named)


def check(adata, **named):
    """Reach the check of vectors, for which the screen has too few perturbations."""
    told = adata.copy()
    told.uns["perturbation_embeddings"] = {"mine": pd.DataFrame([[1.0]], index=["A"])}
    with pytest.raises(ValueError, match="0 single perturbations have both a vector in 'mine'"):
        sh.pp.embed_check(told, **named)


def encode(adata, **named):
    """Learn features of prepared crops of a copy, of which all cells are trained on."""
    pytest.importorskip("torch")
    told = adata.copy()
    told.obs["split"] = "train"
    sh.pp.prepare_images(told, use_rep="crops", channels=["DNA"])
    sh.tl.encode_images(told, **named, use_rep="crops", n_features=2, max_steps=1)


EDGES = pd.DataFrame({"source": ["y+z"], "target": ["w"]})
CALLS = {
    "pp.embed_contexts": lambda a, **p: sh.pp.embed_contexts(a, **p),
    "pp.filter": lambda a, **p: sh.pp.filter(a, **p, min_cells=5),
    "pp.prepare": lambda a, **p: sh.pp.prepare(a, **p, n_comps=4),
    "pp.prepare_images": lambda a, **p: sh.pp.prepare_images(
        a, **p, use_rep="crops", channels=["DNA"]
    ),
    "pp.split": lambda a, **p: sh.pp.split(a, **p, by="context", test=["c1"]),
    "pp.embed": lambda a, **p: sh.pp.embed(a, **p, method="effects"),
    "pp.embed_check": check,
    "pp.link": lambda a, **p: sh.pp.link(a, **p, names="w", source=EDGES),
    "tl.coherence": lambda a, **p: sh.tl.coherence(a, **p, use_rep="X"),
    "tl.coherence_null": lambda a, **p: sh.tl.coherence_null(a, **p, n_cells=[20], n_draws=5),
    "tl.distance": lambda a, **p: sh.tl.distance(a, **p),
    "io.write_predictions": export,
    "tl.retrieve": lambda a, **p: sh.tl.retrieve(a, **p, against="controls", n_perms=9),
    "tl.encode_images": encode,
    "tl.fit": lambda a, **p: sh.tl.fit(a, "own_shift", **p),
}
RESULTS = {
    "pp.split": "split",
    "tl.coherence": "coherence",
    "tl.coherence_null": "coherence_null",
    "tl.distance": "distance",
    "tl.retrieve": "retrieval",
}
NAMED = {"perturbation_key": "lab", "control": "x"}
KEYS = {"context_key": "line", "batch_key": "donor"}


def screen(*, key="perturbation", control="control", **keys):
    """Return 240 cells of two contexts that differ by far; the second column is `lab`."""
    rng = np.random.default_rng(0)
    n = 240
    line, donor = rng.choice(["c1", "c2"], n), rng.choice(["d1", "d2"], n)
    lab = np.where(rng.random(n) < np.where(line == "c1", 0.7, 0.3), "x", "y+z")
    values = rng.gamma(2, 0.5, (n, 8)) + 3 * (line == "c1")[:, None]
    obs = pd.DataFrame(
        {"perturbation": rng.choice(["control", "A"], n), "lab": lab, "line": line, "donor": donor},
        index=[f"cell{i:03d}" for i in range(n)],
    )
    crops = rng.integers(0, 256, (n, 1, 4, 4)).astype(np.uint8)
    adata = ad.AnnData(values, obs=obs, obsm={"crops": crops})
    sh.pp.annotate(adata, key, control=control, **keys)
    return adata


def test_every_function_is_tested():
    found = {
        f"{module}.{name}"
        for module in ("pp", "tl", "io")
        for name in getattr(sh, module).__all__
        if "perturbation_key" in inspect.signature(getattr(getattr(sh, module), name)).parameters
    }
    assert found == {*CALLS, "pp.annotate", "io.read"}


@pytest.mark.parametrize("name", CALLS)
def test_recorded_columns_are_used_and_said_once(name, caplog):
    adata = screen(**KEYS)
    CALLS[name](adata, **NAMED)
    said = [text for text in caplog.messages if "is not the annotated column" in text]
    assert len(said) == 1
    assert "context 'line', batch 'donor'" in said[0]
    if name in RESULTS:
        params = adata.uns[RESULTS[name]]["params"]
        assert (params["context_key"], params["batch_key"]) == ("line", "donor")
        assert params["perturbation_key"] == "lab"


@pytest.mark.parametrize("name", ["tl.coherence", "tl.distance"])
def test_the_result_is_that_of_the_annotated_column(name):
    one, two, other = screen(**KEYS), screen(key="lab", control="x", **KEYS), screen()
    CALLS[name](one, **NAMED)
    CALLS[name](two)
    CALLS[name](other, **NAMED)
    tables = [adata.uns[RESULTS[name]]["table"] for adata in (one, two, other)]
    pd.testing.assert_frame_equal(tables[0], tables[1])
    column = "magnitude" if name == "tl.coherence" else "distance"
    assert abs(tables[2][column] - tables[0][column]).max() > 0.1, "contexts are pooled"


def test_embedded_effects_are_within_the_recorded_context():
    one, two = screen(**KEYS), screen(key="lab", control="x", **KEYS)
    for adata, named in ((one, NAMED), (two, {})):
        CALLS["pp.embed"](adata, **named)
    tables = [adata.uns["perturbation_embeddings"]["effects"] for adata in (one, two)]
    pd.testing.assert_frame_equal(*tables)


def test_models_know_the_recorded_columns():
    model = CALLS["tl.fit"](screen(**KEYS), **NAMED)
    assert model.vocabulary.contexts == ("c1", "c2")
    assert model.vocabulary.batches == ("d1", "d2")
    made = model.predict("y+z", context="c1", n_cells=4)
    assert set(made.obs["line"]) == {"c1"}


@pytest.mark.slow
def test_a_network_knows_them_and_says_so_once(caplog):
    flow = sh.tl.fit(screen(**KEYS), "flow", **NAMED, max_steps=1, accelerator="cpu")
    assert flow.vocabulary.contexts == ("c1", "c2")
    assert sum("is not the annotated column" in text for text in caplog.messages) == 1


@pytest.mark.parametrize("name", CALLS)
def test_a_recorded_column_that_is_gone(name):
    adata = screen(**KEYS)
    del adata.obs["donor"]
    before = {*adata.obs, *adata.uns, *adata.obsm}
    for named in (NAMED, {}):
        with pytest.raises(KeyError, match=r"'donor' is not in .*recorded as batch_key"):
            CALLS[name](adata, **named)
    assert {*adata.obs, *adata.uns, *adata.obsm} == before


def test_pictures_and_associations_read_the_same_columns():
    adata = screen(**KEYS)
    sh.tl.coherence(adata, **NAMED, use_rep="X")
    assert adata.uns["coherence"]["params"]["strata"] == "line,donor"
    ax = sh.pl.geometry(adata, "y+z")
    assert "y+z" in ax.get_title(loc="left")


def test_a_call_does_not_change_the_record():
    adata = screen(**KEYS)
    before = resolve(adata)
    for call in CALLS.values():
        call(adata, **NAMED)
    assert resolve(adata) == before
