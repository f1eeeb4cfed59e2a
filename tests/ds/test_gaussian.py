from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import special

import shoal as sh
from shoal.ds._effects import KINDS, expected_direction


def closed_form(a: float, d: int) -> float:
    """|E u| of an isotropic Gaussian at distance `a` standard deviations from the origin."""
    ratio = np.exp(special.gammaln((d + 1) / 2) - special.gammaln(d / 2 + 1))
    return a / np.sqrt(2) * ratio * special.hyp1f1(0.5, d / 2 + 1, -(a**2) / 2)


@pytest.mark.parametrize("d", [2, 10, 50, 300])
def test_expected_direction_against_the_isotropic_closed_form(d):
    away = np.array([1e-3, 0.5, 3.0, 20.0])
    shift, expected = np.zeros((2, 4, d))
    shift[:, 1] = 1.7 * away
    expected[:, 1] = [closed_form(a, d) for a in away]
    direction = expected_direction(shift, np.full(d, 1.7**2))
    np.testing.assert_allclose(direction, expected, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("tails", ["normal", "t5"])
def test_expected_direction_against_draws(rng, tails):
    variances, shift, n = np.array([9.0, 1.0, 0.2, 0.1]), np.array([0.5, -1.0, 0.3, 0.4]), 1_000_000
    noise = rng.standard_normal((n, 4)) * np.sqrt(variances)
    if tails == "t5":
        noise *= np.sqrt(3 / rng.chisquare(5, n))[:, None]
        np.testing.assert_allclose(noise.var(axis=0), variances, rtol=0.03)
    x = shift + noise
    u = x / np.linalg.norm(x, axis=1, keepdims=True)
    z = (u.mean(axis=0) - expected_direction(shift[None], variances, tails=tails)[0]) / (
        u.std(axis=0) / np.sqrt(n)
    )
    assert np.abs(z).max() < 4


@pytest.mark.parametrize("tails", ["normal", "t5"])
@pytest.mark.parametrize("spectrum", ["flat", "decay"])
def test_populations_have_the_true_magnitude_and_coherence(spectrum, tails):
    n = 40_000
    adata = sh.ds.simulate_gaussian(
        n_perturbations=5,
        n_cells=n,
        n_control=n,
        n_dims=8,
        spectrum=spectrum,
        tails=tails,
        magnitude=0.7,
    )
    x = adata.X.astype(np.float64)
    code = adata.obs["perturbation"].cat.codes.to_numpy()
    table, shift = adata.uns["truth"]["table"], adata.uns["truth"]["shift"]
    assert list(table["kind"]) == list(KINDS)
    u = x / np.linalg.norm(x, axis=1, keepdims=True)
    for i, name in enumerate(table.index, start=1):
        cells, directions = x[code == i], u[code == i]
        z = (cells.mean(axis=0) - shift.loc[name]) / (cells.std(axis=0) / np.sqrt(n))
        assert np.abs(z).max() < 4.5
        found = np.linalg.norm(directions.mean(axis=0))
        assert found == pytest.approx(table.loc[name, "coherence"], abs=0.01)
    trace = x[code == 0].var(axis=0).sum()
    assert trace == pytest.approx(8, rel=0.05)
    assert x[code == 2].var(axis=0).sum() / trace == pytest.approx(1.3, rel=0.08)
    np.testing.assert_allclose(
        table["magnitude"], np.sqrt(8) * 0.7 * np.array([1, 1, 0.5, np.sqrt(0.5), 0])
    )
    np.testing.assert_allclose(table["penetrance"], [1, 1, 0.5, 1, 0])


def test_coherence_of_the_kinds_is_known_in_closed_form():
    table = sh.ds.simulate_gaussian(n_perturbations=5, n_dims=30, magnitude=1.0, n_cells=2).uns[
        "truth"
    ]["table"]
    full = closed_form(np.sqrt(30), 30)
    spread = closed_form(np.sqrt(30 / 1.3), 30)
    np.testing.assert_allclose(
        table["coherence"], [full, spread, full / 2, full / np.sqrt(2), 0], rtol=1e-8
    )


def test_shape_design_and_determinism():
    args = {"n_perturbations": 3, "n_cells": [4, 5, 6], "n_control": 7, "spectrum": [3.0, 2.0, 1.0]}
    a, b = sh.ds.simulate_gaussian(**args, rng=1), sh.ds.simulate_gaussian(**args, rng=1)
    assert a.shape == (7 + 15, 3)
    assert a.X.dtype == np.float32
    assert sh.ds.simulate_gaussian(**args, dtype=np.float64).X.dtype == np.float64
    np.testing.assert_array_equal(a.X, b.X)
    pd.testing.assert_frame_equal(a.obs, b.obs)
    assert np.any(a.X != sh.ds.simulate_gaussian(**args, rng=2).X)
    assert a.uns["shoal"]["perturbation_key"] == "perturbation"
    assert a.uns["truth"]["params"]["trace"] == 6
    each = sh.ds.simulate_gaussian(n_perturbations=2, effects="shift", magnitude=[0.0, 2.0]).uns[
        "truth"
    ]["table"]
    np.testing.assert_allclose(each["magnitude"], [0, 2 * np.sqrt(50)])
    assert each["coherence"].iloc[0] == 0


def test_round_trip(tmp_path):
    adata = sh.ds.simulate_gaussian(n_perturbations=5, n_cells=3, n_dims=4)
    adata.write_h5ad(tmp_path / "x.h5ad")
    back = ad.read_h5ad(tmp_path / "x.h5ad")
    for key in ("table", "shift"):
        pd.testing.assert_frame_equal(
            back.uns["truth"][key], adata.uns["truth"][key], check_names=False
        )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"n_perturbations": 0}, "n_perturbations must be a whole number of at least 1"),
        ({"n_control": 1}, "n_control"),
        ({"effects": ["shift", "boom"]}, "'boom' is not known"),
        ({"magnitude": -1}, "magnitude"),
        ({"magnitude": [1, 2, 3]}, "one number or 20"),
        ({"dispersion": 0}, "dispersion must be above 0"),
        ({"penetrance": -0.1}, "penetrance"),
        ({"tails": "cauchy"}, "tails='cauchy'"),
        ({"spectrum": "pink"}, "spectrum='pink'"),
        ({"spectrum": [1.0, -1.0]}, "spectrum must be"),
        ({"spectrum": [1.0, 1.0], "n_dims": 3}, "n_dims=3 but spectrum has 2"),
        ({"spectrum": [1j, 1.0]}, "spectrum must be"),
        ({"n_dims": 1}, "n_dims"),
        ({"dtype": "nosuch"}, "dtype must be a type of floats, .* not 'nosuch'"),
        ({"dtype": int}, "dtype must be a type of floats"),
        ({"dtype": complex}, "dtype must be a type of floats"),
    ],
)
def test_errors_name_the_bad_value(arguments, words):
    with pytest.raises(ValueError, match=words):
        sh.ds.simulate_gaussian(**arguments)
