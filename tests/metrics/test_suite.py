"""The default suite as a whole: its records, the perfect answer, a sign for every direction, and what a collapse does."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from shoal.metrics import median_bandwidth
from shoal.metrics._calibration import loss
from shoal.metrics._comparison import Populations, Truth, project
from shoal.metrics._registry import FAMILIES, Metric, Scored, score
from shoal.metrics._suite import SUITE

PAIRS = {"additive_residual", "interaction_auprc"}
SAMPLED = {"energy", "mmd"}  # unbiased: cells compared with themselves are below 0
CELLS = {"cell_error"}  # needs what became of every cell
each = pytest.mark.parametrize("name", [name for name in SUITE if name not in PAIRS | CELLS])


def make(rng, *, n_conditions=12, n_genes=24, n_cells=30, pairs=False):
    """Return a truth with strong effects on few genes, two contexts, values at least 0 with many zeros."""
    base = rng.uniform(0.3, 1.5, n_genes)
    shifts = np.where(
        rng.random((n_conditions, n_genes)) < 0.5, rng.normal(0, 1.2, (n_conditions, n_genes)), 0
    )
    shifts *= np.linspace(0.8, 1.6, n_conditions)[:, None]
    group = np.arange(n_conditions) % 2 if not pairs else np.zeros(n_conditions, dtype=int)

    def draw(n, mean):
        return np.maximum(mean + rng.normal(0, 0.6, (n, n_genes)), 0)

    cells, second = (tuple(draw(n_cells, base + shift) for shift in shifts) for _ in range(2))
    controls = tuple(draw(80, base) for _ in range(group.max() + 1))
    axes = np.linalg.qr(rng.normal(size=(n_genes, 6)))[0]
    mask = np.ones((n_conditions, n_genes), dtype=bool)
    mask[np.arange(n_conditions), np.arange(n_conditions)] = False
    means, whole = (
        np.stack([one.mean(axis=0) for one in cells]),
        np.full((n_conditions, n_genes), np.nan),
    )
    parts = (base + (means - base) * 0.7, base + (means - base) * 0.1) if pairs else (whole, whole)
    truth = Truth(
        names=tuple(f"P{i}" for i in range(n_conditions)),
        owner=np.arange(n_conditions),
        group=group,
        cells=cells,
        controls=controls,
        reference=np.tile(means.mean(axis=0), (n_conditions, 1)),
        mask=mask,
        axes=axes,
        bandwidth=median_bandwidth(project(np.concatenate(controls), axes)),
        parts=parts,
    )
    return truth, Populations(truth, second)


@pytest.fixture(scope="module")
def exam():
    return make(np.random.default_rng(0))


def losses(name, truth, guess):
    metric = SUITE[name]
    return loss(score(metric, truth, guess).values, metric.direction, perfect=metric.perfect)


def needs_pot(name):
    if name == "sinkhorn":
        pytest.importorskip("ot")


def test_every_record_is_whole():
    for name, metric in SUITE.items():
        assert isinstance(metric, Metric)
        assert metric.name == name
        assert metric.family in FAMILIES
        assert metric.needs in {"means", "cells", "components", "genes"}
        assert metric.direction in {"higher", "lower", "target"}
        assert metric.reference
    assert len(SUITE) == len(set(SUITE)) >= 36
    with pytest.raises(TypeError):
        SUITE["another"] = SUITE["mae"]


@each
def test_the_perfect_answer_is_perfect(name, exam):
    needs_pot(name)
    truth, _ = exam
    found = losses(name, truth, Populations(truth, truth.cells))
    assert np.isfinite(found).all()
    if SUITE[name].on_request:
        return  # real cells are noisy, and do not all find their own mean
    if name in SAMPLED or name == "correlation_error":
        assert (found <= 0).all()
    else:
        np.testing.assert_allclose(found, 0, atol=1e-6)


@pytest.mark.parametrize("name", sorted(PAIRS))
def test_the_perfect_answer_is_perfect_for_pairs(name):
    truth, second = make(np.random.default_rng(1), pairs=True)
    np.testing.assert_allclose(losses(name, truth, Populations(truth, truth.cells)), 0, atol=1e-9)
    assert np.nanmean(losses(name, truth, second)) > 0


def test_the_error_of_cells_is_measured_against_what_became_of_them(exam):
    truth, second = exam
    before = tuple(np.zeros_like(cells) for cells in second.cells)
    half = Populations(
        truth, tuple(cells / 2 for cells in second.cells), paths=(before, second.cells)
    )
    np.testing.assert_allclose(losses("cell_error", truth, half), 0.5)
    found = score(SUITE["cell_error"], truth, second)
    assert np.isnan(found.values).all()
    assert set(found.reasons) == set(range(len(truth.names)))


@each
def test_a_second_experiment_beats_controls(name, exam):
    needs_pot(name)
    truth, second = exam
    copies = Populations(truth, tuple(truth.controls[g][:30] for g in truth.group))
    good, bad = losses(name, truth, second), losses(name, truth, copies)
    assert np.isfinite(good).all()
    if name in {"similarity_structure", "correlation_error", "bimodality_error"}:
        return  # copies of one population have no structure, and the cells here are independent of each other in all genes
    worst = np.nan_to_num(bad, nan=np.inf)
    assert np.mean(worst) > np.mean(good)


@each
def test_values_are_one_per_condition_or_one_per_screen(name, exam):
    needs_pot(name)
    truth, second = exam
    found = score(SUITE[name], truth, second).values
    assert found.dtype == np.float64
    assert found.shape == ((len(truth.names),) if SUITE[name].per == "condition" else (1,))


@each
def test_the_order_of_cells_and_their_storage_do_not_matter(name, exam):
    needs_pot(name)
    truth, second = exam
    rng = np.random.default_rng(2)
    turned = Populations(truth, tuple(rng.permutation(cells) for cells in second.cells))
    stored = Populations(truth, tuple(sparse.csr_matrix(cells) for cells in second.cells))
    expected = score(SUITE[name], truth, second).values
    for other in (turned, stored):
        np.testing.assert_allclose(
            score(SUITE[name], truth, other).values, expected, rtol=1e-5, atol=1e-7
        )


@pytest.mark.parametrize("name", [n for n, m in SUITE.items() if m.masked and n not in PAIRS])
def test_target_genes_do_not_count(name, exam):
    """What is predicted for the target of a perturbation, in that perturbation, changes nothing."""
    truth, second = exam
    changed = [cells.copy() for cells in second.cells]
    for i, cells in enumerate(changed):
        cells[:, ~truth.mask[i]] = 9.0
    before, after = (
        score(SUITE[name], truth, p).values for p in (second, Populations(truth, tuple(changed)))
    )
    np.testing.assert_allclose(after, before, atol=1e-9)


@pytest.mark.parametrize("name", [n for n, m in SUITE.items() if m.family == "discrimination"])
def test_no_target_of_the_panel_counts_where_conditions_are_ranked(name, exam):
    """What is predicted for the targets of all perturbations of the context changes no rank."""
    truth, second = exam
    changed = [cells.copy() for cells in second.cells]
    for i, cells in enumerate(changed):
        targets = (~truth.mask[truth.group == truth.group[i]]).any(axis=0)
        cells[:, targets] += 5.0 + i * truth.mask[i][targets]
    before, after = (
        score(SUITE[name], truth, p).values for p in (second, Populations(truth, tuple(changed)))
    )
    np.testing.assert_allclose(after, before, atol=1e-9)


def test_an_error_of_a_metric_is_a_reason_and_any_other_is_raised(exam):
    truth, second = exam

    def failing(error):
        def compute(truth, guess):
            raise error

        return Metric("m", "error", "lower", 0.0, compute, "means", "never", "here")

    found = score(failing(ValueError("why")), truth, second)
    assert isinstance(found, Scored)
    assert np.isnan(found.values).all()
    assert set(found.reasons.values()) == {"why"}
    with pytest.raises(RuntimeError, match="defect"):
        score(failing(RuntimeError("defect")), truth, second)


def test_a_value_that_is_missing_says_when_it_is(exam):
    truth, _ = exam
    flat = Populations(
        truth, tuple(np.tile(truth.control[i], (5, 1)) for i in range(len(truth.names)))
    )
    found = score(SUITE["cosine_delta"], truth, flat)
    assert np.isnan(found.values).all()
    assert set(found.reasons) == set(range(len(truth.names)))
    assert set(found.reasons.values()) == {SUITE["cosine_delta"].undefined}
