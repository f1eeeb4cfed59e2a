"""What every baseline promises, whatever it computes."""

from __future__ import annotations

import subprocess
import sys

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import shoal as sh
from shoal.models.base._registry import name_of
from shoal.models.baselines._cell_knn import CellKnnShift
from shoal.models.baselines._context_distance import ContextWeighted, NearestContext
from shoal.models.baselines._contexts import OtherContexts
from shoal.models.baselines._distribution import QuantileShift
from shoal.models.baselines._kernel import KernelRidge
from shoal.models.baselines._linear import LatentLinear
from shoal.models.baselines._mean_shift import MeanShift
from shoal.models.baselines._means import ContextMean, ControlCopy, PerturbedMean
from shoal.models.baselines._neighbours import Nearest
from shoal.models.baselines._own_shift import OwnShift
from shoal.models.baselines._parts import Additive, MatchingMean
from shoal.models.baselines._scaled_sources import ScaledSources

from ...helpers import dense

CLASSES = (
    ControlCopy,
    PerturbedMean,
    ContextMean,
    MeanShift,
    OwnShift,
    MatchingMean,
    Additive,
    LatentLinear,
    KernelRidge,
    Nearest,
    QuantileShift,
    OtherContexts,
    NearestContext,
    ContextWeighted,
    CellKnnShift,
    ScaledSources,
)
GENES = ("g0", "g1", "g2", "g/3", "g4", "g5")
each_class = pytest.mark.parametrize("cls", CLASSES, ids=name_of)


@pytest.fixture
def screen(rng):
    """Zero-inflated cells: perturbations named after genes (one with a slash) and a pair, two integer contexts, two
    batches, and one perturbation x context held out for testing.
    """
    names = ["control", "control", "control", "g0", "g1", "g/3", "g0+g1"]
    n = 40 * len(names) * 2
    label, day = np.repeat(names * 2, 40), np.repeat([2, 3], n // 2)
    x = rng.gamma(3.0, 0.4, size=(n, len(GENES))) * (rng.random((n, len(GENES))) < 0.6)
    for i, gene in enumerate(GENES[:4]):
        x[[gene in name.split("+") for name in label], i] += 1.0
    adata = ad.AnnData(x.astype(np.float32))
    adata.obs_names = [f"cell{i}" for i in range(n)]
    adata.var_names = list(GENES)
    adata.obs["target"], adata.obs["day"], adata.obs["lane"] = label, day, np.arange(n) % 2
    held_out = (label == "g1") & (day == 3)
    adata.obs["split"] = pd.Categorical(
        np.where(held_out, "test", "train"), categories=["train", "val", "test"]
    )
    sh.pp.annotate(adata, "target", control="control", context_key="day", batch_key="lane")
    return adata


def trained(cls, adata, **options):
    model = cls(adata, **options)
    model.train()
    return model


@each_class
def test_returns_cells_with_their_labels(cls, screen):
    model = trained(cls, screen)
    made = model.predict(["g/3", "g0+g1"], context="2", n_cells=60)
    values = dense(made.X)
    assert made.shape == (120, 6)
    assert values.dtype == np.float32
    assert np.isfinite(values).all()
    assert values.min() >= 0
    assert list(made.var_names) == list(GENES)
    assert made.obs["target"].value_counts().to_dict() == {"g/3": 60, "g0+g1": 60}
    assert (made.obs["day"] == "2").all()
    assert set(made.obs["source"]) <= set(
        screen.obs_names[(screen.obs["target"] == "control") & (screen.obs["day"] == 2)]
    )
    own = values[:60] if made.obs["target"].iloc[0] == "g/3" else values[60:]
    real = screen.X[
        (screen.obs["target"] == "g/3").to_numpy() & (screen.obs["day"] == 2).to_numpy()
    ]
    assert 0.4 < own.var(axis=0).sum() / real.var(axis=0).sum() < 2.5, (
        "a population of cells, not its mean"
    )
    assert model.history == {}
    assert name_of(cls) in repr(model)


@each_class
def test_nothing_depends_on_test_cells(cls, screen, rng):
    before = trained(cls, screen)
    changed = screen.copy()
    test = (screen.obs["split"] == "test").to_numpy()
    changed.X[test] = rng.gamma(9.0, 1.0, size=(test.sum(), 6))
    after = trained(cls, changed)
    for ask in ({"perturbations": ["g1", "g/3"]}, {"perturbations": "g1", "context": "2"}):
        np.testing.assert_array_equal(
            dense(before.predict(**ask, n_cells=30).X), dense(after.predict(**ask, n_cells=30).X)
        )
    subset = None if cls is not ContextMean else (screen.obs["day"] == 2).to_numpy()
    np.testing.assert_array_equal(
        dense(before.twins(subset=subset)[1]), dense(after.twins(subset=subset)[1])
    )
    assert before.arrays.keys() == after.arrays.keys()
    for key, value in before.arrays.items():
        np.testing.assert_array_equal(value, after.arrays[key])


@each_class
def test_saved_and_loaded_it_predicts_the_same(cls, screen, tmp_path):
    model = trained(cls, screen)
    model.save(tmp_path / "model")
    loaded = cls.load(tmp_path / "model", screen)
    assert loaded.is_trained
    assert repr(loaded) == repr(model)
    names = ["g1", "g/3", "g0+g1"]
    expected = dense(model.predict(names, n_cells=20).X)
    np.testing.assert_array_equal(dense(loaded.predict(names, n_cells=20).X), expected)
    shuffled = screen[:, list(GENES[::-1])].copy()  # genes are found by name
    without = cls.load(tmp_path / "model")
    np.testing.assert_array_equal(
        dense(without.predict(names, n_cells=20, adata=shuffled).X), expected
    )
    with pytest.raises(ValueError, match="pass adata="):
        without.predict(names)
    with pytest.raises(FileExistsError, match="overwrite=True"):
        model.save(tmp_path / "model")
    model.save(tmp_path / "model", overwrite=True)
    other = next(other for other in CLASSES if other is not cls)
    with pytest.raises(ValueError, match=f"holds a {cls.__name__}, not a {other.__name__}"):
        other.load(tmp_path / "model", screen)


@each_class
def test_the_kind_of_matrix_does_not_matter(cls, screen, tmp_path):
    import dask.array as da

    screen.write_h5ad(tmp_path / "dense.h5ad")
    variants = {
        "csr": screen.copy(),
        "csc": screen.copy(),
        "dask": screen.copy(),
        "float64": screen.copy(),
    }
    variants["csr"].X = sparse.csr_matrix(screen.X)
    variants["csc"].X = sparse.csc_matrix(screen.X)
    variants["dask"].X = da.from_array(screen.X, chunks=(70, 4))
    variants["float64"].X = screen.X.astype(np.float64)
    variants["csr"].write_h5ad(tmp_path / "csr.h5ad")
    for kind in ("dense", "csr"):
        variants[f"backed {kind}"] = ad.read_h5ad(tmp_path / f"{kind}.h5ad", backed="r")
    variants["view"] = screen[:, :]
    subset = None if cls is not ContextMean else (screen.obs["day"] == 2).to_numpy()
    expected = dense(trained(cls, screen).twins(subset=subset)[1])
    for kind, adata in variants.items():
        found = dense(trained(cls, adata).twins(subset=subset)[1])
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5, err_msg=kind)
    for kind in ("backed dense", "backed csr"):
        variants[kind].file.close()


@each_class
def test_the_order_of_rows_does_not_matter(cls, screen, rng):
    subset = None if cls is not ContextMean else (screen.obs["day"] == 2).to_numpy()
    rows, values, source = trained(cls, screen).twins(subset=subset)
    order = rng.permutation(screen.n_obs)
    mixed = screen[order].copy()
    found_rows, found, found_source = trained(cls, mixed).twins(
        subset=None if subset is None else subset[order]
    )
    place = {name: i for i, name in enumerate(mixed.obs_names[found_rows])}
    back = [place[name] for name in screen.obs_names[rows]]
    np.testing.assert_allclose(dense(found)[back], dense(values), rtol=1e-5, atol=1e-5)
    if cls is ControlCopy:
        np.testing.assert_array_equal(dense(values), screen.X[source])
    assert mixed.n_obs == screen.n_obs
    assert len(found_source) == len(source)


@each_class
def test_untrained_and_unknown_options_are_refused(cls, screen, tmp_path):
    model = cls(screen)
    for call in (lambda: model.predict("g0"), model.twins, lambda: model.save(tmp_path / "x")):
        with pytest.raises(ValueError, match=r"call model\.train\(\) first"):
            call()
    assert not (tmp_path / "x").exists()
    with pytest.raises(TypeError, match="has no option 'n_steps'"):
        model.predict("g0", n_steps=3)
    with pytest.raises(FileNotFoundError, match=r"model\.npz"):
        cls.load(tmp_path / "nothing", screen)


def test_setup_says_which_values_are_read(screen):
    screen.layers["twice"] = 2 * screen.X
    screen.obs["half"] = np.where(screen.obs["day"] == 2, screen.obs["target"], "none")
    ControlCopy.setup_anndata(screen, "half", control=["control", "none"], layer="twice")
    model = trained(ControlCopy, screen)
    rows, values, source = model.twins()
    np.testing.assert_array_equal(dense(values), 2 * screen.X[source])
    assert (screen.obs["day"].to_numpy()[rows] == 2).all()
    with pytest.raises(KeyError, match="nothing"):
        ControlCopy.setup_anndata(screen, layer="nothing")
    with pytest.raises(KeyError, match="X_pca"):
        ControlCopy.setup_anndata(screen, use_rep="X_pca")


def test_representations_may_be_negative(screen):
    screen.obsm["X_pca"] = screen.X[:, :3] - 1
    OwnShift.setup_anndata(screen, use_rep="X_pca")
    made = trained(OwnShift, screen).predict("g0", n_cells=50)
    assert list(made.var_names) == ["X_pca_0", "X_pca_1", "X_pca_2"]
    assert dense(made.X).min() < -0.5


def test_importing_baselines_imports_no_network_library():
    code = (
        "import sys\nfrom shoal.models.base._registry import model_class, names\n"
        "several = [model_class(name) for name in names('baseline')]\n"
        "print(len(several), sorted({'torch', 'scvi', 'lightning', 'scanpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == f"{len(CLASSES)} []"
