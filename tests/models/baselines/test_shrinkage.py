"""Measured responses are shrunk by their noise: closed forms, nulls and rules."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import shoal as sh
from shoal.core._population import population, read_once
from shoal.core._screen import resolve
from shoal.models.baselines._cell_knn import CellKnnShift
from shoal.models.baselines._context_distance import ContextWeighted, NearestContext
from shoal.models.baselines._deltas import Deltas, measure
from shoal.models.baselines._kernel import KernelRidge
from shoal.models.baselines._linear import LatentLinear
from shoal.models.baselines._mean_shift import MeanShift
from shoal.models.baselines._neighbours import Nearest
from shoal.models.baselines._noise import Noise, noise_of, noise_rows
from shoal.models.baselines._own_shift import OwnShift
from shoal.models.baselines._parts import Additive, MatchingMean
from shoal.models.baselines._scaled_sources import ScaledSources
from shoal.models.baselines._shrinkage import reliability, responses_of

SHRINKING = (OwnShift, MatchingMean, Additive, LatentLinear, KernelRidge, Nearest)
P = 40


def screen(rng, responses, *, n=50, n_control=400, d=30, noise=1.0, contexts=1, batch=None):
    """Return normal cells: of each perturbation and context `n`, and `n_control` controls.

    `n` may be a number for each perturbation. Batches, if any, have controls of their own.
    """
    names, each = [f"P{i:02d}" for i in range(len(responses))], np.broadcast_to(n, len(responses))
    label = np.repeat(["control", *names], [n_control, *each])
    shift = np.repeat(np.vstack([np.zeros(d), responses]), [n_control, *each], axis=0)
    blocks = []
    for context in range(contexts):
        x = rng.normal(size=shift.shape) * noise + shift + 3.0 * context
        obs = pd.DataFrame({"perturbation": label, "context": f"c{context}"})
        obs["batch"] = [f"b{b}" for b in (batch if batch is not None else np.zeros(len(label)))]
        blocks.append(ad.AnnData(x, obs=obs.set_index(obs.index.astype(str) + f"_{context}")))
    adata = ad.concat(blocks)
    columns = {"context_key": "context"} if contexts > 1 else {}
    if batch is not None:
        columns["batch_key"] = "batch"
    sh.pp.annotate(adata, "perturbation", control="control", **columns)
    return adata


def measured(adata):
    """Return the responses of a screen, and the noise of its cells."""
    cells = read_once(population(adata, resolve(adata)))
    deltas = measure(cells, cells.contexts)
    return deltas, noise_of(cells, deltas)


def shrunk(adata, context=-1, dose=np.nan):
    """Return the measured responses, what is left of them, and their mean."""
    deltas, noise = measured(adata)
    shares = deltas.shares(context, dose)
    found = responses_of(deltas, shares, noise)
    return deltas.at(context, dose), found.sums(np.eye(shares.shape[0])), found.mean


def deltas_for(n, n_control, *, d=1):
    """Return responses of one condition each, whose values do not matter, in one stratum."""
    n = np.asarray(n)
    return Deltas(
        names=np.array([f"P{i}" for i in range(len(n))]),
        perturbation=np.arange(len(n)),
        context=np.zeros(len(n), dtype=int),
        dose=np.full(len(n), np.nan),
        n=n,
        delta=np.zeros((len(n), d)),
        control=np.zeros(d),
        matched=np.full((len(n), 1), 1 / n_control),
        n_matched=np.array([n_control]),
    )


# -- factors ----------------------------------------------------------------------------------------------------------


def test_the_factor_is_signal_over_signal_and_noise(rng):
    signal, variance, n = np.array([0.5, 0.02, 0.0]), np.array([2.0, 4.0, 1.0]), 100
    number = 100_000
    measurements = rng.normal(size=(number, 3)) * np.sqrt(signal + variance / n)
    squares = (measurements - measurements.mean(axis=0)) ** 2
    found = reliability(squares, np.full(number, (1 - 1 / number) / n), variance)
    expected = signal / (signal + variance / n)
    np.testing.assert_allclose(found[0], expected, atol=0.01)
    assert found.shape == (number, 3)


def test_each_measurement_has_its_own_factor(rng):
    n = np.repeat([10, 1000], 20_000)
    measurements = rng.normal(size=(len(n), 1)) * np.sqrt(0.1 + 1 / n)[:, None]
    squares = (measurements - measurements.mean()) ** 2
    found = reliability(squares, 1 / n, np.ones(1))
    np.testing.assert_allclose(found[:, 0], 0.1 / (0.1 + 1 / n), atol=0.01)


def test_exact_formula_for_equal_noise():
    squares, noise = np.array([[4.0], [1.0], [0.0], [1.0], [9.0]]), np.full(5, 0.5)
    signal = (3.0 - 0.5 * 2.0) * 5 / 4
    np.testing.assert_allclose(
        reliability(squares, noise, np.array([2.0])), signal / (signal + 1.0 * 5 / 4)
    )
    few = reliability(np.array([[4.0, 0.0], [0.0, 4.0]]), np.full(2, 0.25), np.array([1.0, 3.0]))
    np.testing.assert_allclose(few, (4.0 - 1.0) / 4.0)  # both axes share one factor


def test_without_noise_all_is_believed_and_without_signal_nothing():
    np.testing.assert_array_equal(reliability(np.ones((6, 2)), np.zeros(6), np.ones(2)), 1.0)
    np.testing.assert_array_equal(reliability(np.ones((6, 2)), np.ones(6), np.zeros(2)), 1.0)
    np.testing.assert_array_equal(reliability(np.zeros((6, 2)), np.zeros(6), np.ones(2)), 1.0)
    np.testing.assert_array_equal(reliability(np.full((6, 2), 0.5), np.ones(6), np.ones(2)), 0.0)


def test_a_measurement_of_few_cells_does_not_drown_the_rest(rng):
    n, errors = np.r_[np.full(49, 100), 1], []
    for _ in range(200):
        true = rng.normal(size=(50, 20)) * 0.1
        found = true + rng.normal(size=(50, 20)) / np.sqrt(n)[:, None]
        squares = (found - found.mean(axis=0)) ** 2
        noise = deltas_for(n, 10**9).variances(sparse.eye(50, format="csr"))
        errors.append(reliability(squares, noise, np.ones(20))[:49].mean())
    assert np.mean(errors) == pytest.approx(0.5, abs=0.05)  # 0.01 / (0.01 + 1 / 100)
    assert np.std(errors) < 0.05


# -- noise of a difference from the mean ------------------------------------------------------------------------------


def test_variance_of_a_difference_from_the_mean():
    one = sparse.eye(4, format="csr")
    same = deltas_for([10] * 4, 5).variances(one)
    np.testing.assert_allclose(same, (1 - 1 / 4) / 10)  # all share the noise of their controls
    n = np.array([10, 20, 30, 40])
    found = deltas_for(n, 5).variances(one)
    expected = ((np.eye(4) - 1 / 4) ** 2 / n).sum(axis=1)  # the mean holds the measurement itself
    np.testing.assert_allclose(found, expected)
    np.testing.assert_allclose(deltas_for([7], 5).variances(sparse.eye(1, format="csr")), 0.0)


def test_variance_holds_for_batches_with_controls_of_their_own(rng):
    """Simulated: conditions in different mixtures of three batches that have few controls."""
    label = np.repeat(["control", "A", "B", "C", "D"], [60, 30, 20, 40, 25])
    batch = np.r_[np.repeat([0, 1, 2], [30, 15, 15]), np.zeros(30), np.ones(20), np.arange(65) % 3]
    obs = pd.DataFrame({"perturbation": label, "batch": [f"b{int(b)}" for b in batch]})
    obs.index = obs.index.astype(str)
    adata = ad.AnnData(rng.normal(size=(len(label), 4000)), obs=obs)
    sh.pp.annotate(adata, "perturbation", control="control", batch_key="batch")
    deltas, noise = measured(adata)
    np.testing.assert_allclose(deltas.matched @ deltas.n_matched, 1.0)
    apart = deltas.delta - deltas.delta.mean(axis=0)
    np.testing.assert_allclose(
        deltas.variances(deltas.shares(-1, np.nan)), apart.var(axis=1), rtol=0.1
    )
    assert noise.variance.sum() / 4000 == pytest.approx(1.0, rel=0.05)


def test_the_noise_is_that_around_the_means_of_conditions(rng):
    """Strong responses, contexts and batches that differ: none of them is noise."""
    responses = rng.normal(size=(10, 6)) * 5
    spread = np.array([3.0, 1.0, 1.0, 1.0, 1.0, 0.5])
    n, n_control = 40, 200
    batch = np.r_[np.arange(n_control) % 2, np.arange(400) % 2]
    adata = screen(
        rng, responses, n=n, n_control=n_control, d=6, noise=spread, contexts=2, batch=batch
    )
    adata.X += 10.0 * (adata.obs["batch"] == "b1").to_numpy()[:, None]
    _, noise = measured(adata)
    expected = (noise.axes**2).T @ spread**2  # all 6 directions are axes
    np.testing.assert_allclose(noise.variance[:-1], expected, rtol=0.15)
    assert noise.variance[-1] == pytest.approx(0.0, abs=1e-9)


def test_conditions_of_one_cell_say_nothing_of_the_noise(rng):
    adata = screen(rng, rng.normal(size=(8, 5)), n=1, n_control=1, d=5)
    _, noise = measured(adata)
    np.testing.assert_array_equal(noise.variance, 0.0)
    raw, found, _ = shrunk(adata)
    np.testing.assert_allclose(found, raw, atol=1e-12)


def test_noise_rows_are_few_training_cells_and_follow_their_names(rng):
    adata = screen(rng, np.zeros((P, 4)), n=60, d=4)
    adata.obs["split"] = np.where(adata.obs["perturbation"] == "P00", "test", "train")
    cells = population(adata, resolve(adata))
    rows = noise_rows(cells)
    assert len(rows) == 2000
    assert (np.diff(rows) > 0).all()
    assert (cells.train | cells.train_control)[rows].all()
    order = rng.permutation(adata.n_obs)
    other = population(adata[order].copy(), resolve(adata))
    assert set(adata.obs_names[rows]) == set(adata.obs_names[order][noise_rows(other)])


# -- responses --------------------------------------------------------------------------------------------------------


def test_responses_that_are_noise_become_their_mean(rng):
    common = rng.normal(size=30)
    raw, found, mean = shrunk(screen(rng, np.tile(common, (P, 1))))
    np.testing.assert_allclose(mean, raw.mean(axis=0), atol=1e-12)
    left = ((found - mean) ** 2).sum() / ((raw - mean) ** 2).sum()
    assert left < 0.03


def test_shrunk_responses_are_nearer_to_the_truth(rng):
    directions = rng.normal(size=(2, 30))  # responses lie in a plane
    true = rng.normal(size=(P, 2)) @ directions * 0.3
    raw, found, mean = shrunk(screen(rng, true, n=20, n_control=4000))
    error, before = (((of - true) ** 2).sum(axis=1).mean() for of in (found, raw))
    assert error < 0.75 * before
    one = mean + (raw - mean) * max(1 - 1.5 / ((raw - mean) ** 2).sum(axis=1).mean(), 0)
    assert error < ((one - true) ** 2).sum(axis=1).mean()  # each axis beats one factor for all


def test_strong_responses_stay_and_many_cells_believe_all(rng):
    true = rng.normal(size=(P, 30)) * 3
    raw, found, _ = shrunk(screen(rng, true))
    np.testing.assert_allclose(found, raw, atol=0.1)
    deltas, noise = measured(screen(rng, rng.normal(size=(6, 30)) * 0.1))
    many = Deltas(**{**vars(deltas), "n": deltas.n * 10**9, "n_matched": deltas.n_matched * 10**9})
    many = Deltas(**{**vars(many), "matched": many.matched / 10**9})
    shares = many.shares(-1, np.nan)
    found = responses_of(many, shares, noise).sums(np.eye(6))
    np.testing.assert_allclose(found, many.delta, atol=1e-6)


@pytest.mark.parametrize("number", [1, 2, 3])
def test_few_perturbations(number, rng):
    """One has no other response to shrink to. A few share one factor for all axes."""
    raw, found, mean = shrunk(screen(rng, rng.normal(size=(number, 30)) * 0.3))
    if number == 1:
        np.testing.assert_array_equal(found, raw)
        return
    factor = (found - mean) / (raw - mean)
    np.testing.assert_allclose(factor, factor[0, 0], rtol=1e-6)
    assert 0 < factor[0, 0] < 1


def test_scores_along_directions_are_those_of_the_responses(rng):
    deltas, noise = measured(screen(rng, rng.normal(size=(8, 30)) * 0.2, contexts=2))
    directions = rng.normal(size=(30, 3))
    for given in (noise, None):
        found = responses_of(deltas, deltas.shares(1, np.nan), given)
        whole = found.sums(np.eye(8))
        np.testing.assert_allclose(
            found.onto(directions, deltas.delta @ directions), whole @ directions, atol=1e-12
        )
        weights = sparse.random(3, 8, 0.5, random_state=0, format="csr")
        np.testing.assert_allclose(found.sums(weights), weights @ whole, atol=1e-12)
        np.testing.assert_allclose(found.of(2), whole[2], atol=1e-12)
        np.testing.assert_array_equal(found.of(8), found.mean)


def test_without_noise_responses_are_as_measured(rng):
    deltas, _ = measured(screen(rng, rng.normal(size=(8, 30)), contexts=2))
    for context in (-1, 0, 1):
        found = responses_of(deltas, deltas.shares(context, np.nan), None).sums(np.eye(8))
        np.testing.assert_allclose(found, deltas.at(context, np.nan), rtol=1e-12)
    flat = Noise(np.eye(30)[:, :3], np.zeros(4))
    found = responses_of(deltas, deltas.shares(-1, np.nan), flat).sums(np.eye(8))
    np.testing.assert_allclose(found, deltas.at(-1, np.nan), atol=1e-12)


# -- baselines --------------------------------------------------------------------------------------------------------


def options(cls, adata):
    """Return vectors for the baselines that take some."""
    if cls not in (LatentLinear, KernelRidge, Nearest):
        return {}
    names = [name for name in adata.obs["perturbation"].unique() if name != "control"]
    values = np.random.default_rng(3).normal(size=(len(names), 4))
    return {"embedding": pd.DataFrame(values, index=names)}


def moved(model, adata, name):
    """Return what a model adds to control cells."""
    made = model.predict(name, n_cells=20, rng=0)
    return (made.X - adata[made.obs["source"].to_numpy()].X).mean(axis=0)


@pytest.mark.parametrize("cls", SHRINKING)
def test_every_shift_baseline_takes_it(cls, rng, tmp_path):
    adata = screen(rng, rng.normal(size=(12, 30)) * 0.1)
    more = options(cls, adata)
    found = {}
    for shrink in (True, False):
        model = cls(adata, shrink=shrink, **more)
        model.train()
        assert model.params["shrink"] is shrink
        assert ("axes" in model.arrays) is shrink
        model.save(tmp_path / f"{shrink}")
        loaded = sh.models.load(tmp_path / f"{shrink}", adata)
        found[shrink] = moved(model, adata, "P03")
        np.testing.assert_array_equal(moved(loaded, adata, "P03"), found[shrink])
    mean = MeanShift(adata)
    mean.train()
    centre = moved(mean, adata, "P03")
    assert np.linalg.norm(found[True] - centre) < 0.8 * np.linalg.norm(found[False] - centre)
    default = cls(adata, **more)
    default.train()
    np.testing.assert_array_equal(moved(default, adata, "P03"), found[True])
    with pytest.raises(TypeError, match="shrink"):
        cls(adata, shrink="yes", **more)


def test_own_shift_without_shrinkage_is_the_measured_response(rng):
    adata = screen(rng, rng.normal(size=(6, 30)), n=[5, 10, 20, 1, 2, 3])
    model = OwnShift(adata, shrink=False)
    model.train()
    is_control = (adata.obs["perturbation"] == "control").to_numpy()
    for name in ("P00", "P03"):
        own = (adata.obs["perturbation"] == name).to_numpy()
        expected = adata.X[own].mean(axis=0) - adata.X[is_control].mean(axis=0)
        np.testing.assert_allclose(moved(model, adata, name), expected, atol=1e-5)


def test_storage_and_order_of_rows_do_not_matter(rng):
    adata = screen(rng, rng.normal(size=(60, 30)) * 0.2)  # more cells than the noise looks at
    order = rng.permutation(adata.n_obs)
    one, other = OwnShift(adata), OwnShift(adata[order].copy())
    thin = adata.copy()
    thin.X = sparse.csr_matrix(thin.X)
    third = OwnShift(thin)
    for model in (one, other, third):
        model.train()
    expected = one._shifts(["P00", "P05"], -1, np.nan)
    for model in (other, third):
        np.testing.assert_allclose(model._shifts(["P00", "P05"], -1, np.nan), expected, rtol=1e-8)


def test_a_representation_with_values_below_0(rng):
    adata = screen(rng, rng.normal(size=(12, 30)) * 0.1)
    adata.obsm["X_pca"] = adata.X[:, :5].copy()
    OwnShift.setup_anndata(adata, use_rep="X_pca")
    model = OwnShift(adata)
    model.train()
    whole = model._shifts(["P01"], -1, np.nan)[0]
    measured_there = model.deltas.at(-1, np.nan)
    mean = measured_there.mean(axis=0)
    assert model.noise.axes.shape == (5, 5)
    assert np.linalg.norm(whole - mean) < np.linalg.norm(measured_there[1] - mean)


def test_responses_in_a_context_and_at_a_dose_shrink_to_those_there(rng):
    """All responses are the same within a context, and twice as strong in the other one."""
    common = rng.normal(size=30)
    adata = screen(rng, np.tile(common, (20, 1)), contexts=2)
    second = (adata.obs["context"] == "c1").to_numpy()
    perturbed = (adata.obs["perturbation"] != "control").to_numpy()
    adata.X[second & perturbed] += common
    model = OwnShift(adata)
    model.train()
    for context, times in ((0, 1), (1, 2), (-1, 1.5)):
        shift = model._shifts(["P00", "P01"], context, np.nan)
        mean = model.deltas.at(context, np.nan).mean(axis=0)
        assert np.abs(shift - mean).max() < 0.5 * np.abs(shift - times * common).max() + 0.1
        np.testing.assert_allclose(mean, times * common, atol=0.3)


@pytest.mark.parametrize("cls", [NearestContext, ContextWeighted, CellKnnShift, ScaledSources])
def test_baselines_for_new_contexts_take_it(cls, rng):
    """Weak responses, the same in three contexts; the second lacks P00."""
    true = rng.normal(size=(12, 30)) * 0.1
    adata = screen(rng, true, contexts=3)
    held_out = (adata.obs["perturbation"] == "P00") & (adata.obs["context"] == "c1")
    adata = adata[~held_out.to_numpy()].copy()
    error = {}
    for shrink in (True, False):
        model = cls(adata, shrink=shrink)
        model.train()
        error[shrink] = 0.0
        for name, context in (("P00", "c1"), ("P01", "c1"), ("P02", "c2")):
            made = model.predict(name, context=context, n_cells=20, rng=0)
            found = (made.X - adata[made.obs["source"].to_numpy()].X).mean(axis=0)
            error[shrink] += ((found - true[int(name[1:])]) ** 2).sum()
    assert error[True] < 0.75 * error[False]
