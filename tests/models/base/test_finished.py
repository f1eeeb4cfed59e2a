"""Zeros and library sizes of what every baseline predicts, and what turns them off."""

from __future__ import annotations

import inspect

import numpy as np
import pandas as pd
import pytest

import shoal as sh
from shoal.metrics import zero_fraction_error
from shoal.models.base import _generation
from shoal.models.base._registry import model_class, names

from ...helpers import dense

COPIES = ("control", "perturbed_mean", "context_mean")
OFF = {"match_zeros": False, "renew_library": False}
SHIFTS = {"effects": "shift", "effect_size": 3.0}


@pytest.fixture(scope="module")
def screen():
    adata = sh.ds.simulate(
        n_perturbations=5, n_cells=150, n_control=300, n_genes=120, contexts=2, library_size=250,
        **SHIFTS, rng=0,
    )  # fmt: skip
    sh.pp.annotate(adata, "perturbation", control="control", context_key="context")
    adata = adata[:, np.asarray((adata.X > 0).sum(axis=0)).ravel() > 3].copy()
    counts = dense(adata.X)
    seen = (adata.obs["perturbation"] == "control").to_numpy()
    counts[seen, 0] = 0  # no control has gene 0, and half of the perturbed cells do
    counts[~seen, 0] = np.arange((~seen).sum()) % 2
    counts[:, 1] = 0  # off everywhere
    adata.X = counts.astype(np.float32)
    sh.pp.prepare(adata, normalize="log1p", n_comps=8)
    vectors = np.random.default_rng(0).normal(size=(5, 3))
    table = pd.DataFrame(vectors, index=[f"P{i}" for i in range(1, 6)], columns=list("abc"))
    adata.uns["perturbation_embeddings"] = {"random": table}
    return adata


def real(screen, name, context="context1"):
    chosen = (screen.obs["perturbation"] == name) & (screen.obs["context"] == context)
    return dense(screen[chosen.to_numpy()].X)


def made(model, **options):
    given = {"context": "context1", "n_cells": 150, "rng": 0} | options
    return dense(model.predict("P1", **given).X)


@pytest.mark.parametrize("name", names("baseline"))
def test_predictions_of_every_baseline_have_the_zeros_and_totals_of_real_cells(screen, name):
    takes = "embedding" in inspect.signature(model_class(name)).parameters
    model = sh.tl.fit(screen, name, embedding="random" if takes else None)
    values, plain = made(model), made(model, **OFF)
    total = np.expm1(dense(screen.X[:1])).sum()
    assert model.expression.total == pytest.approx(total, rel=1e-3)
    assert zero_fraction_error(values, real(screen, "P1")) < 0.07
    assert not values[:, 1].any()
    np.testing.assert_allclose(np.expm1(values).sum(axis=1), total, rtol=1e-3)
    if name in COPIES:
        np.testing.assert_array_equal(values, plain)


@pytest.mark.parametrize("name", ["own_shift", "mean_shift", "other_contexts"])
def test_without_the_options_values_are_the_shifted_cells_cut_at_0(screen, name):
    config = {"shrink": False} if name == "own_shift" else None
    model = sh.tl.fit(screen, name, config=config)
    values = made(model, **OFF)
    assert (values == 0).mean() < 0.7 * (made(model) == 0).mean()
    if name == "own_shift":
        adata = model.predict("P1", context="context1", n_cells=150, rng=0, **OFF)
        start = dense(screen[adata.obs["source"].to_numpy()].X)
        control = real(screen, "control").mean(axis=0, dtype=np.float64)
        shift = real(screen, "P1").mean(axis=0, dtype=np.float64) - control
        np.testing.assert_allclose(values, np.maximum(start + shift, 0), atol=1e-5)


def test_each_option_alone_and_where_predictions_are_asked_for(screen):
    adata, model = screen.copy(), sh.tl.fit(screen, "own_shift")
    both, zeros, library = (
        made(model),
        made(model, renew_library=False),
        made(model, match_zeros=False),
    )
    np.testing.assert_array_equal(both == 0, zeros == 0)
    assert np.expm1(zeros).sum(axis=1).std() > 1
    np.testing.assert_allclose(np.expm1(library).sum(axis=1), model.expression.total, rtol=1e-3)
    assert (library == 0).mean() < (both == 0).mean()
    np.testing.assert_array_equal(made(model, match_zeros=None, renew_library=None), both)
    sh.tl.predict(adata, model, key_added="plain", **OFF)
    sh.tl.predict(adata, model, key_added="sparse")
    rows = (adata.obs["perturbation"] != "control").to_numpy()
    plain, full = (dense(adata.layers[name])[rows] for name in ("plain", "sparse"))
    assert (plain == 0).mean() < 0.7 * (full == 0).mean()
    cells = screen[(screen.obs["perturbation"] == "control").to_numpy()][:60].copy()
    carried = [dense(model.transport(cells, "P1", **o).X) for o in ({}, OFF)]
    assert (carried[1] == 0).mean() < 0.7 * (carried[0] == 0).mean()
    with pytest.raises(TypeError, match="match_zeros must be True or False, not 1"):
        made(model, match_zeros=1)
    with pytest.raises(TypeError, match="no option 'zeros' .* match_zeros, renew_library"):
        made(model, zeros=False)


class Nothing(sh.models.MeanShift):
    """A response of 0."""

    def _shifts(self, names, context, dose):
        return 0 * super()._shifts(names, context, dose)


class Plain(sh.models.Baseline):
    """Returns values alone, as a class of a user may."""

    def _fit(self, cells):
        return {}

    def _generate(self, request, cells, rng, **options):
        return cells.values(request.source) + 1


def test_no_response_leaves_the_control_cells_exactly(screen):
    made = sh.tl.fit(screen, Nothing).predict(["P1", "P2"], n_cells=80)
    source = screen[made.obs["source"].to_numpy()]
    np.testing.assert_array_equal(dense(made.X), dense(source.X))


def test_values_that_come_without_start_cells_are_left_alone(screen):
    made = sh.tl.fit(screen, Plain).predict("P1", n_cells=20)
    source = screen[made.obs["source"].to_numpy()]
    np.testing.assert_allclose(dense(made.X), dense(source.X) + 1)


def test_a_loaded_model_predicts_the_same(screen, tmp_path):
    model = sh.tl.fit(screen, "other_contexts")
    model.save(tmp_path / "m")
    np.testing.assert_array_equal(made(sh.models.load(tmp_path / "m", screen)), made(model))


def test_blocks_end_where_a_population_ends(screen, monkeypatch):
    """Zeros of a population are set together, also where more cells are generated than a block."""
    model = sh.tl.fit(screen, "own_shift")
    asked = {"perturbations": ["P1", "P2", "P3"], "context": "context1", "n_cells": 70}
    seen, finished = [], type(model)._finished

    def noted(self, request, *args):
        seen.append((len(request), len(np.unique(request.perturbation))))
        return finished(self, request, *args)

    monkeypatch.setattr(type(model), "_finished", noted)
    for block, expected in (
        (150, [(140, 2), (70, 1)]),
        (70, [(70, 1)] * 3),
        (40, [(40, 1), (30, 1)] * 3),
    ):
        monkeypatch.setattr(_generation, "BLOCK", block)
        seen.clear()
        assert model.predict(**asked).n_obs == 210
        assert seen == expected
