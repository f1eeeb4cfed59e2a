"""Predictions of some cells: small, and never read as if they were predictions of all."""

from __future__ import annotations

import inspect

import numpy as np
import pytest

import shoal as sh

from ..helpers import dense, slots, two_days


@pytest.fixture
def adata(rng):
    return two_days(rng)


@pytest.fixture
def copy(adata):
    """A model whose twins are the control cells themselves: what a twin starts from can be read off it."""
    return sh.tl.fit(adata, "control")


# -- what is written -------------------------------------------------------------------------------------------------


def test_cells_without_a_twin_hold_one_nan_and_their_neighbours_what_was_predicted(adata, copy):
    sh.tl.predict(adata, copy)
    sh.tl.predict(adata, copy, key_added="some", subset="test")
    whole, some = dense(adata.layers["predicted"]), adata.layers["some"]
    there = (adata.obs["some_predicted"] | (adata.obs["perturbation"] == "control")).to_numpy()
    assert some.dtype == np.float32
    np.testing.assert_array_equal(np.diff(some.indptr)[~there], 1)
    np.testing.assert_array_equal(np.isnan(dense(some)).sum(axis=1), ~there)
    assert np.isfinite(dense(some)[there]).all()
    control = (adata.obs["perturbation"] == "control").to_numpy()
    np.testing.assert_array_equal(dense(some)[control], whole[control])


LAYERS = {
    "tl.coherence": {},
    "tl.coherence_null": {"n_cells": [5], "n_draws": 2},
    "tl.distance": {},
    "tl.retrieve": {"n_perms": 9},
    "tl.associate": {"gene_set": {"set": ["gene1", "gene2"]}, "n_perms": 9},
    "tl.fit": {"model": "mean_shift"},
    "tl.evaluate": {"prediction": "whole", "min_cells": 4, "split": None},
    "tl.benchmark": {"models": ["mean_shift"], "min_cells": 4},
    "pp.prepare": {"n_comps": 2, "overwrite": True},
    "pp.embed": {"method": "effects", "n_comps": 2},
    "pp.embed_contexts": {"n_comps": 2},
    "pp.embed_check": {"embedding": "names"},
    "pl.bimodality": {"perturbation": "A", "prediction": "whole"},
    "pl.genes": {"perturbation": "A", "prediction": "whole"},
    "pl.geometry": {"perturbation": "A"},
    "pl.populations": {"perturbation": "A", "prediction": "whole"},
    "pl.transport": {"perturbation": "A", "prediction": "whole"},
}


def test_all_functions_that_measure_a_layer_are_tried():
    found = {
        f"{space}.{name}"
        for space in ("pp", "tl", "pl")
        for name in getattr(sh, space).__all__
        if "layer" in inspect.signature(getattr(getattr(sh, space), name)).parameters
    }
    assert found == set(LAYERS)


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_that_is_predicted_in_part_is_measured_by_nobody(adata, copy, name):
    """Without its first genes it holds no NaN, and rows that were not predicted look like zeros."""
    sh.tl.predict(adata, copy, key_added="whole")
    sh.tl.predict(adata, copy, key_added="some", subset="test")
    sh.pp.prepare(adata, n_comps=2, cross_fit=0)
    sh.pp.embed(adata, method="one_hot", key_added="names")
    sh.tl.coherence(adata)
    few = adata[:, 1:].copy()
    assert np.isfinite(dense(few.layers["some"])).all()
    space, function = name.split(".")
    call = getattr(getattr(sh, space), function)
    before = slots(few)
    with pytest.raises(ValueError, match=r"layers/some has no prediction for \d+ of 184 cells"):
        call(few, layer="some", **LAYERS[name])
    assert slots(few) == before


def test_the_part_that_is_predicted_is_measured(adata, copy):
    sh.tl.predict(adata, copy, key_added="some", subset="train")
    control = adata.obs["perturbation"] == "control"
    part = adata[adata.obs["some_predicted"] | control].copy()
    sh.tl.distance(part, layer="some", strata=None)
    assert np.isfinite(part.uns["distance"]["table"]["distance"]).all()
