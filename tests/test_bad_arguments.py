"""Arguments that make no sense: every public function refuses them itself, and leaves adata as it was.

The tests read the signatures, so that a new function or argument is tried as soon as it is there.
"""

import inspect
import tempfile
import traceback
import warnings
from functools import cache
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from tests.helpers import contents

import shoal as sh

HERE = Path(sh.__file__).parent
NUMBER = (-1, np.nan, np.inf, -np.inf, "3", "many", True, [1], 1j, 2.5)
FREE = {  # function, argument: values that mean something there
    "pp.annotate.sep": ("",),  # no combinations
    "io.read.sep": ("",),
    "pp.link.names": ("no such name", ["no such", 7]),  # names that the screen does not hold
    "pp.split.test": ("3", "many", [1]),  # names of what is held out
    "pp.split.val": ("3", "many", [1]),
    "tl.benchmark.seeds": ([1],),
    "tl.distance.bandwidth": ([1],),
    "io.write_predictions.perturbation_column": ("no such name",),  # names in the file
    "io.write_predictions.control_label": ("no such name",),
    "ds.simulate.n_cells": ([1],),
    "ds.simulate.effect_size": ([1],),
    "ds.simulate.contexts": ("3", "many", [1]),
    "ds.simulate_gaussian.n_cells": ([1],),
    "ds.simulate_gaussian.magnitude": ([1],),
}
FILE = Path(tempfile.mkdtemp()) / "written.h5ad"


@pytest.fixture(scope="module")
def screen():
    adata = sh.ds.simulate(
        n_perturbations=8, n_cells=25, n_control=90, n_genes=40, doses=[1.0, 10.0], rng=0
    )
    del adata.uns["truth"]
    sh.pp.annotate(adata, "perturbation", control="control", batch_key="batch", dose_key="dose")
    sh.pp.split(adata, by="perturbation", test=0.4, rng=0)
    sh.pp.prepare(adata, normalize="log1p", n_comps=5)
    sh.pp.embed(adata)
    sh.tl.coherence(adata, min_cells=5)
    sh.tl.coherence_null(adata, n_cells=[10], n_draws=5)
    model = sh.tl.fit(adata, "mean_shift", calibrate=True)
    sh.tl.predict(adata, model, key_added="twins", subset="test", interval=0.5)
    sh.tl.evaluate_intervals(adata, prediction="twins")
    few = {"metrics": ["energy", "pearson_delta"], "baselines": ["perturbed_mean"], "n_comps": 5}
    sh.tl.evaluate(adata, prediction="twins", min_cells=5, n_draws=1, **few)
    rng = np.random.default_rng(0)
    for key in ("crops", "X_made"):
        adata.obsm[key] = rng.integers(0, 256, (adata.n_obs, 2, 8, 8)).astype(np.uint8)
    sh.pp.prepare_images(adata, use_rep="crops", channels=["DNA", "actin"])
    for prediction in (None, "made"):
        sh.pp.measure_images(adata, use_rep="crops", prediction=prediction)
    adata.obs["score"] = np.random.default_rng(0).normal(size=adata.n_obs)
    return adata


@cache
def stored():
    """Return a screen as a file."""
    path = FILE.with_name("read.h5ad")
    adata = sh.ds.simulate(n_perturbations=3, n_cells=5, n_control=9, n_genes=20, rng=0)
    del adata.uns["shoal"], adata.uns["truth"]
    adata.write_h5ad(path)
    return path


def one_field():
    """Return the tables of a field with two cells."""
    zarr = pytest.importorskip("zarr")
    group = zarr.create_group(f"{tempfile.mkdtemp()}/field.zarr")
    group.create_array("0", data=np.zeros((2, 9, 9), dtype=np.uint8))
    about = {"axes": [{"name": a} for a in "cyx"], "datasets": [{"path": "0"}]}
    group.attrs["ome"] = {"multiscales": [about]}
    fields = pd.DataFrame({"path": [str(group.store.root)]})
    return fields, pd.DataFrame({"y": [4, 5], "x": [4, 5]})


EDGES = pd.DataFrame({"source": ["P1", "P2"], "target": ["P3", "P4"]})


def in_lines(adata):
    """Return a copy whose batches are contexts."""
    lines = adata.copy()
    sh.pp.annotate(lines, "perturbation", control="control", context_key="batch", dose_key="dose")
    return lines


def first(adata):
    return next(iter(adata.obs["perturbation"][adata.obs["split"] == "test"]))


CALLS = {
    "pp.annotate": lambda a, **k: sh.pp.annotate(
        a, **{"perturbation_key": "perturbation", "control": "control"} | k
    ),
    "pp.embed": lambda a, **k: sh.pp.embed(a, **{"method": "effects", "n_comps": 2} | k),
    "pp.embed_check": lambda a, **k: sh.pp.embed_check(
        a, **{"embedding": "one_hot", "n_perms": 19} | k
    ),
    "pp.embed_contexts": lambda a, **k: sh.pp.embed_contexts(in_lines(a), **k),
    "pp.link": lambda a, **k: sh.pp.link(a, **{"source": EDGES, "names": "g"} | k),
    "pp.filter": lambda a, **k: sh.pp.filter(a, **k),
    "pp.measure_images": lambda a, **k: sh.pp.measure_images(a, **{"use_rep": "crops"} | k),
    "pp.prepare_images": lambda a, **k: sh.pp.prepare_images(a, **{"use_rep": "crops"} | k),
    "pp.prepare": lambda a, **k: sh.pp.prepare(a, **{"n_comps": 3} | k),
    "pp.split": lambda a, **k: sh.pp.split(a, **{"test": 0.4} | k),
    "tl.associate": lambda a, **k: sh.tl.associate(
        a, **{"score": "score", "n_perms": 9, "n_splits": 1} | k
    ),
    "tl.benchmark": lambda a, **k: sh.tl.benchmark(
        a, ["mean_shift"], **{"metrics": ["energy"], "n_boot": 9, "min_cells": 5, "n_draws": 1} | k
    ),
    "tl.coherence": lambda a, **k: sh.tl.coherence(a, **{"null": "permutation", "n_perms": 9} | k),
    "tl.coherence_null": lambda a, **k: sh.tl.coherence_null(
        a, **{"n_cells": [10], "n_draws": 3} | k
    ),
    "tl.distance": lambda a, **k: sh.tl.distance(
        a, **{"use_rep": "X_pca", "metric": "mmd", "n_perms": 99} | k
    ),
    "tl.distance_matrix": lambda a, **k: sh.tl.distance_matrix(a, **k),
    "tl.encode_images": lambda a, **k: sh.tl.encode_images(
        a, **{"use_rep": "crops", "max_steps": 2, "n_features": 3} | k
    ),
    "tl.evaluate": lambda a, **k: sh.tl.evaluate(
        a,
        **{
            "prediction": "twins",
            "metrics": ["energy"],
            "baselines": None,
            "min_cells": 5,
            "n_draws": 1,
        }
        | k,
    ),
    "tl.evaluate_images": lambda a, **k: sh.tl.evaluate_images(
        a, **{"prediction": "made", "use_rep": "crops", "min_cells": 8, "n_draws": 1} | k
    ),
    "tl.evaluate_intervals": lambda a, **k: sh.tl.evaluate_intervals(
        a, **{"prediction": "twins"} | k
    ),
    "io.write_predictions": lambda a, **k: sh.io.write_predictions(
        a, **{"out": FILE, "prediction": "counts", "dose": 1.0, "overwrite": True} | k
    ),
    "io.read": lambda a, **k: sh.io.read(**{"path": stored()} | k),
    "tl.fit": lambda a, **k: sh.tl.fit(a, **{"model": "mean_shift"} | k),
    "tl.predict": lambda a, **k: sh.tl.predict(
        a, **{"model": sh.tl.fit(a, "mean_shift"), "key_added": "twins"} | k
    ),
    "tl.propose": lambda a, **k: sh.tl.propose(
        a,
        **{"strategy": "coverage", "embedding": VECTORS, "candidates": ["new 1", "new 2"]} | k,
    ),
    "tl.report": lambda a, **k: sh.tl.report(a, **{"out": "/nowhere/report.html"} | k),
    "pl.bimodality": lambda a, **k: sh.pl.bimodality(
        a, **{"perturbation": first(a), "prediction": "twins"} | k
    ),
    "tl.retrieve": lambda a, **k: sh.tl.retrieve(a, **{"use_rep": "X_pca", "n_perms": 9} | k),
    "pl.calibration": lambda a, **k: sh.pl.calibration(a, **k),
    "pl.coherence": lambda a, **k: sh.pl.coherence(a, **k),
    "pl.coherence_null": lambda a, **k: sh.pl.coherence_null(a, **k),
    "pl.contexts": lambda a, **k: sh.pl.contexts(a, **k),
    "pl.ensemble": lambda a, **k: sh.pl.ensemble(WEIGHTS, **k),
    "pl.evaluate": lambda a, **k: sh.pl.evaluate(a, **k),
    "pl.genes": lambda a, **k: sh.pl.genes(
        a, **{"perturbation": first(a), "prediction": "twins"} | k
    ),
    "pl.geometry": lambda a, **k: sh.pl.geometry(a, **{"perturbation": first(a)} | k),
    "pl.image_features": lambda a, **k: sh.pl.image_features(
        a, **{"perturbation": first(a), "prediction": "made", "use_rep": "crops"} | k
    ),
    "pl.images": lambda a, **k: sh.pl.images(
        a, **{"perturbation": first(a), "use_rep": "crops", "n_cells": 2} | k
    ),
    "pl.intervals": lambda a, **k: sh.pl.intervals(
        a, **{"perturbation": first(a), "prediction": "twins", "dose": 1.0} | k
    ),
    "pl.leaderboard": lambda a, **k: sh.pl.leaderboard(a, **k),
    "pl.populations": lambda a, **k: sh.pl.populations(
        a, **{"perturbation": first(a), "prediction": "twins"} | k
    ),
    "pl.ranking": lambda a, **k: sh.pl.ranking(a, **k),
    "pl.scatter_baseline": lambda a, **k: sh.pl.scatter_baseline(a, **{"metric": "energy"} | k),
    "pl.strata": lambda a, **k: sh.pl.strata(a, **{"metric": "energy"} | k),
    "pl.training": lambda a, **k: sh.pl.training({"x": {"x": [1.0]}}, **k),
    "pl.transport": lambda a, **k: sh.pl.transport(a, **{"prediction": "twins"} | k),
    "ds.simulate": lambda a, **k: sh.ds.simulate(
        **{"n_perturbations": 3, "n_cells": 5, "n_control": 9, "n_genes": 20} | k
    ),
    "ds.simulate_images": lambda a, **k: sh.ds.simulate_images(
        **{"n_perturbations": 2, "n_cells": 3, "n_control": 4, "size": 12} | k
    ),
    "ds.counterfactual_images": lambda a, **k: sh.ds.counterfactual_images(
        sh.ds.simulate_images(n_perturbations=2, n_cells=3, n_control=4, size=12, doses=[1.0]),
        **{"perturbation": "P1"} | k,
    ),
    "ds.read_crops": lambda a, **k: sh.ds.read_crops(
        *one_field(), **{"size": 4, "channels": ["DNA", "actin"]} | k
    ),
    "ds.simulate_gaussian": lambda a, **k: sh.ds.simulate_gaussian(
        **{"n_perturbations": 3, "n_cells": 5, "n_control": 9} | k
    ),
}
VECTORS = pd.DataFrame(
    np.random.default_rng(0).normal(size=(10, 3)),
    index=[*(f"P{i}" for i in range(1, 9)), "new 1", "new 2"],
)
WEIGHTS = pd.DataFrame(
    [
        ("measured", "own_shift", 1.0, 0.5, 9, 9, ""),
        ("measured", "all members", 1.0, 0.5, 9, 9, ""),
    ],
    columns=["kind", "member", "weight", "error", "n_conditions", "n_units", "note"],
)
DATA = {"data", "adata", "mod"}


def function(name):
    module, short = name.split(".")
    return getattr(getattr(sh, module), short)


def parameters(name):
    found = inspect.signature(function(name)).parameters.values()
    return [p for p in found if p.name not in DATA and p.kind is not p.VAR_KEYWORD]


def is_number(parameter):
    kind = str(parameter.annotation)
    return "int" in kind.split(" | ") or "float" in kind.split(" | ")


def outcome(name, adata, **arguments):
    """Return the error of a call, or ``None``; fail if it is not one of ours or adata was changed."""
    before = contents(adata)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            CALLS[name](adata, **arguments)
        except (TypeError, ValueError, KeyError) as error:
            found = error
        except Exception as error:  # noqa: BLE001
            return f"{name}({arguments}): {error!r}"
        else:
            return None
        finally:
            plt.close("all")
    last = traceback.extract_tb(found.__traceback__)[-1]
    ours = Path(last.filename).is_relative_to(HERE) and last.line.startswith("raise")
    if not ours:
        return f"{name}({arguments}): {found!r} of {last.filename}:{last.lineno}"
    if contents(adata) != before:
        return f"{name}({arguments}) changes adata"
    return found


def test_all_functions_are_tried():
    public = {f"{m}.{n}" for m in ("pp", "tl", "pl", "ds", "io") for n in getattr(sh, m).__all__}
    assert set(CALLS) == public - {"ds.available", "ds.load"}


def wrong(name, screen, tries):
    """Return the calls that gave a number, an error of another library, or a changed adata."""
    found = []
    for arguments in tries:
        made = outcome(name, screen.copy(), **arguments)
        if not isinstance(made, Exception):
            found.append(made or f"{name}({arguments}) is accepted")
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n in CALLS if any(map(is_number, parameters(n)))])
def test_numbers(screen, name):
    tries = [
        {p.name: value}
        for p in parameters(name)
        if is_number(p)
        for value in NUMBER
        if value not in FREE.get(f"{name}.{p.name}", ())
        and not (value in (2.5, np.inf) and "float" in str(p.annotation))
    ]
    assert not wrong(name, screen, tries)


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n in CALLS if any(map(is_number, parameters(n)))])
def test_a_whole_number_may_have_any_type(screen, name):
    """3.0 is a whole number, and a number of a small type must not overflow."""
    for p in parameters(name):
        if "int" not in str(p.annotation).split(" | ") or p.name in ("rng", "seeds"):
            continue
        given = next((k for k in (p.default, 3) if type(k) is int and k < 200), 3)
        expected = outcome(name, screen.copy(), **{p.name: given})
        for same in (float(given), np.uint8(given)):
            found = outcome(name, screen.copy(), **{p.name: same})
            assert type(found) is type(expected), (p.name, same, found, expected)
            assert not isinstance(found, str), found


@pytest.mark.parametrize("name", [n for n in CALLS if n.startswith("pl.")])
def test_an_empty_selection(screen, name):
    """A list of nothing draws nothing; it is no way to ask for everything either."""
    tries = [
        {p.name: empty}
        for p in parameters(name)
        if "Sequence[str]" in str(p.annotation) and p.name != "label"
        for empty in ([], np.array([]))
    ]
    assert not wrong(name, screen, tries)


@pytest.mark.parametrize("name", list(CALLS))
def test_seeds(screen, name):
    if "rng" in {p.name for p in parameters(name)}:
        tries = [{"rng": bad} for bad in ("seed", -1, 1.5, True, [1], np.random.RandomState(0))]
        assert not wrong(name, screen, tries)


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda a: sh.pl.ranking(a, by="cause"), "by='cause' holds no numbers; .*'magnitude'"),
        (lambda a: sh.pl.coherence(a, x="flags"), "x='flags' holds no numbers"),
        (
            lambda a: sh.tl.coherence(a, replicate_key=a.obs["batch"]),
            "one column .*not cell0 .*Series",
        ),
        (lambda a: sh.pp.embed_contexts(in_lines(a), like=7), "like must be an AnnData"),
        (lambda a: sh.pl.calibration(a, metrics=3), "metrics must be a text or a list of texts"),
        (lambda a: sh.tl.fit(a, "mean_shift", config=3), "config must be a dict of options"),
    ],
)
def test_a_column_or_name_of_the_wrong_kind(screen, call, match):
    with pytest.raises((TypeError, ValueError), match=match):
        call(screen.copy())


def test_one_name_is_a_list_of_one(screen):
    one, several = (sh.pl.calibration(screen, metrics=own) for own in ("energy", ["energy"]))
    assert one.get_title() == several.get_title()
    assert sh.pl.calibration(screen, label="energy").texts
    plt.close("all")


def test_a_seed_is_checked_where_nothing_is_drawn(screen):
    for bad in ("seed", -1, 1.5):
        with pytest.raises((TypeError, ValueError), match="rng must be a seed"):
            sh.tl.coherence(screen.copy(), rng=bad)  # null="analytic"


@pytest.mark.parametrize("name", list(CALLS))
def test_flags(screen, name):
    """A text such as "no" is true, and would do the opposite of what is meant."""
    flags = [p for p in parameters(name) if "bool" in str(p.annotation).split(" | ")]
    tries = [
        {p.name: bad}
        for p in flags
        for bad in ("no", 1, None)
        if not (bad is None and p.default is None)
    ]
    assert not wrong(name, screen, tries)


@pytest.mark.slow
@pytest.mark.parametrize("name", list(CALLS))
def test_texts(screen, name):
    """Names of columns, slots and choices that are no text, or that do not exist."""
    tries = [
        {p.name: value}
        for p in parameters(name)
        if "str" in str(p.annotation).split(" | ")
        and not is_number(p)
        and p.name not in ("title", "embedding")
        for value in (7, ["no such", 7], "no such name", b"bytes", "")
        if not (p.name in ("key_added", "out", "sep", "basis") and value == "no such name")
        and value not in FREE.get(f"{name}.{p.name}", ())
    ]
    assert not wrong(name, screen, tries)


COLUMN = pd.Series(["P1"])  # a column in the place of its name
WITHOUT = ("title", "embedding", "context_embedding", "source", "models", "model", "figsize")


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n in CALLS if not n.startswith("ds.")])
def test_what_cannot_be_compared(screen, name):
    """A column where its name is meant, no answer, an array without axes, something quite else."""
    tries = [
        {p.name: value}
        for p in parameters(name)
        if "str" in str(p.annotation) and p.name not in WITHOUT and not is_number(p)
        for value in (COLUMN, pd.NA, np.array("P1"), object())
    ]
    found = [outcome(name, screen.copy(), **one) for one in tries]
    assert not [made for made in found if isinstance(made, str)]


@pytest.mark.parametrize("name", [n for n in CALLS if not n.startswith("ds.") and n != "io.read"])
@pytest.mark.parametrize("data", [None, "screen.h5ad", np.ones((3, 2)), {"a": 1}])
def test_what_is_no_anndata(name, data):
    if name in ("pl.training", "pl.ensemble"):
        return
    required = {
        p.name: "x"
        for p in inspect.signature(function(name)).parameters.values()
        if p.default is p.empty and p.name != "data" and p.kind is not p.VAR_KEYWORD
    }
    with pytest.raises(TypeError, match="expected an AnnData") as err:
        function(name)(data, **required)
    assert isinstance(data, str) == ("adata = sh.io.read('screen.h5ad')" in str(err.value))
