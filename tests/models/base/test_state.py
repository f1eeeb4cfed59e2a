"""Every registered model is the same after fit, save, load in a new process and predict."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import shoal as sh
from shoal.models.base._persistence import Stored
from shoal.models.base._registry import names

NAMES = names() if find_spec("scvi") else names("baseline")
SMALL = {
    "flow": {"n_latent": 8, "width": 16, "depth": 1},
    "conditional_monge": {"n_latent": 8, "width": 16, "depth": 1},
    "knowledge": {"n_latent": 8, "n_representation": 8, "width": 16},
    "perturbdiff": {"width": 16, "depth": 1},
    "cellflux": {"width": 8, "multipliers": (1, 2), "n_steps": 2},
    "unlasting": {"preset": "published", "width": 16, "decoder": 16},
}
FEW = {"max_steps": 3, "batch_conditions": 4, "set_size": 16, "accelerator": "cpu"}
ASKED = {"perturbations": ["P1", "P2"], "context": "context2", "n_cells": 12, "rng": 7}
# of scvi-tools: numbers of this process and of this run, and its own view of the AnnData
OTHERS = {"id", "run_id_", "run_name_", "_adata", "_adata_manager", "registry_", "summary_stats"}
# cells of the AnnData, the record of the training run, means kept until another AnnData comes
SKIPPED = OTHERS | {"_cells", "fit_result", "_means"}
SKIPPED |= {"_candidates", "_embedding", "evidence"}  # of an ensemble: what its training went by


def plain(value):
    """Return a value as data that can be compared in another process: arrays by their bytes."""
    if isinstance(value, Stored):
        return state(value)
    if hasattr(value, "state_dict"):
        return plain(
            {"weights": dict(value.state_dict()), "config": getattr(value, "config", None)}
        )
    if hasattr(value, "detach"):
        value = value.detach().cpu().numpy()
    if isinstance(value, np.ndarray):
        return (
            str(value.dtype),
            value.shape,
            value.tolist() if value.dtype == object else value.tobytes(),
        )
    if sparse.issparse(value):
        return (value.format, plain(value.tocsr().data), plain(value.tocsr().indices), value.shape)
    if isinstance(value, pd.DataFrame):
        return {name: plain(value[name].to_numpy()) for name in value} | {
            "index": list(value.index)
        }
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [type(value).__name__, *(plain(each) for each in value)]
    if is_dataclass(value):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, float) and np.isnan(value):
        return "nan"  # which is not equal to itself
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return vars_of(value)


def vars_of(thing):
    """Return the class of an object and all that it holds."""
    return [type(thing).__name__, {k: plain(v) for k, v in sorted(vars(thing).items())}]


def state(model):
    """Return all instance attributes of a model, but those that are of the process."""
    kept = {k: v for k, v in vars(model).items() if k not in SKIPPED and not cached(type(model), k)}
    return {name: plain(value) for name, value in sorted(kept.items())}


def cached(cls, name):
    """Whether an attribute is made when it is asked for."""
    return any(isinstance(vars(base).get(name), cached_property) for base in cls.__mro__)


def predictions(model, adata):
    """Return predicted cells and twins of a model."""
    made = model.predict(**ASKED)
    rows, twins, source = model.twins(adata, rng=3)
    values = made.obsm["crops"] if made.X is None else made.X
    return plain([values, list(made.obs["source"]), rows, twins, source])


def fitted(name, adata):
    options = {"config": SMALL[name], **FEW} if name in SMALL else {}
    if name == "auto":
        options = {"config": {"by": "perturbation"}}
    needs = sh.models.available().loc[name, "needs"]
    embedding = "mine" if "embedding" in needs else None
    use_rep = "crops" if "images" in needs else None
    return sh.tl.fit(adata, name, embedding=embedding, use_rep=use_rep, rng=5, **options)


@contextmanager
def one_thread(name):
    """Keep torch to one thread, as in the new process: sums then come in the same order."""
    if name not in SMALL:
        yield
        return
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def embedded(logged):
    """The small screen with vectors of its perturbations, all of which are in training."""
    adata = logged.copy()
    rng = np.random.default_rng(1)
    singles = [f"P{i}" for i in range(1, 6)]
    table = pd.DataFrame(rng.normal(size=(5, 3)), index=singles)
    adata.uns["perturbation_embeddings"] = {"mine": table.set_axis(["a", "b", "c"], axis=1)}
    adata.obsm["crops"] = rng.integers(0, 256, size=(adata.n_obs, 2, 8, 8), dtype=np.uint8)
    sh.pp.prepare_images(adata, use_rep="crops", channels=["DNA", "actin"])
    return adata


AGAIN = """
import pickle, sys
from pathlib import Path
import anndata as ad
sys.path.insert(0, {here!r})
from test_state import predictions, state
import shoal as sh
folder = Path({folder!r})
adata = ad.read_h5ad(folder / "screen.h5ad")
found = {{}}
for path in sorted(folder.glob("model_*")):
    model = sh.models.load(path, adata)
    found[path.name.removeprefix("model_")] = (state(model), predictions(model, adata))
(folder / "found.pickle").write_bytes(pickle.dumps(found))
"""


@pytest.fixture(scope="module")
def again(embedded, tmp_path_factory):
    """Return state and predictions of every model, in this process and in one that loaded it."""
    folder, here = tmp_path_factory.mktemp("models"), {}
    embedded.write_h5ad(folder / "screen.h5ad")
    adata = ad.read_h5ad(folder / "screen.h5ad")
    for name in NAMES:
        with one_thread(name):
            model = fitted(name, adata)
            model.save(folder / f"model_{name}")
            here[name] = (state(model), predictions(model, adata))
    code = AGAIN.format(here=str(Path(__file__).parent), folder=str(folder))
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    subprocess.run([sys.executable, "-c", code], env={**os.environ, **threads}, check=True)
    return here, pickle.loads((folder / "found.pickle").read_bytes())


@pytest.mark.parametrize("name", NAMES)
def test_a_loaded_model_is_as_it_was(again, name):
    (before, _), (after, _) = again[0][name], again[1][name]
    assert before.keys() == after.keys()
    for key, value in before.items():
        assert value == after[key], f"{name}.{key} is another after loading"


@pytest.mark.parametrize("name", NAMES)
def test_a_loaded_model_predicts_the_same_bits(again, name):
    assert again[0][name][1] == again[1][name][1]
