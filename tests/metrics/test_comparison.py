"""What metrics are computed from: means, components, differential expression and sizes, against plain numpy and scipy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse, stats

from shoal.metrics._comparison import Populations, mean_of, project
from shoal.metrics._distance import energy_distance

from .test_suite import make


@pytest.fixture(scope="module")
def exam():
    return make(np.random.default_rng(3))


def test_means_and_components(exam):
    truth, second = exam
    np.testing.assert_allclose(second.means, [cells.mean(axis=0) for cells in second.cells])
    np.testing.assert_allclose(second.low[2], second.cells[2] @ truth.axes)
    np.testing.assert_allclose(truth.control[1], truth.controls[truth.group[1]].mean(axis=0))
    cells = sparse.csr_matrix(second.cells[0])
    np.testing.assert_allclose(mean_of(cells), second.means[0])
    np.testing.assert_allclose(project(cells, truth.axes), second.low[0])


def test_exact_means_take_the_place_of_those_of_the_cells(exam):
    truth, second = exam
    exact = second.means + 1
    assert Populations(truth, second.cells, exact=exact).means is exact


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_matrix])
def test_means_of_single_precision_are_summed_in_double(form):
    values = form(np.full((200_000, 1), 0.1, dtype=np.float32))
    assert mean_of(values)[0] == pytest.approx(float(np.float32(0.1)), abs=1e-12)


def test_differential_expression_is_that_of_scipy(exam):
    truth, second = exam
    found = second.genes
    for i in (0, 3):
        controls, counts = truth.controls[truth.group[i]], truth.mask[i]
        test = stats.mannwhitneyu(second.cells[i], controls, axis=0, method="asymptotic")
        fdr = np.ones(counts.size)
        fdr[counts] = stats.false_discovery_control(test.pvalue[counts])
        np.testing.assert_allclose(found.fdr[i][counts], fdr[counts], rtol=0.1, atol=1e-12)
        assert (
            np.sign(found.z[i])
            == np.sign(test.statistic - len(second.cells[i]) * len(controls) / 2)
        ).all()
    assert (found.fdr[~truth.mask] == 1).all()  # a target is no discovery


def test_dense_and_sparse_cells_may_be_mixed(exam):
    truth, second = exam
    mixed = Populations(
        truth, tuple(sparse.csr_matrix(c) if i % 2 else c for i, c in enumerate(second.cells))
    )
    np.testing.assert_allclose(mixed.genes.z, second.genes.z)


def test_fold_changes_of_negative_means_are_those_of_zero(exam):
    truth, second = exam
    below = Populations(truth, second.cells, exact=np.where(second.means > 1, second.means, -0.5))
    assert np.isfinite(below.genes.lfc).all()


def test_magnitude_is_the_distance_from_the_controls_of_the_context(exam):
    truth, second = exam
    expected = energy_distance(second.low[5], project(truth.controls[truth.group[5]], truth.axes))
    assert second.magnitude[5] == pytest.approx(expected)


def test_single_cells_have_neither_magnitude_nor_coherence(exam):
    truth, second = exam
    lone = Populations(truth, tuple(cells[:1] for cells in second.cells))
    assert np.isnan(lone.magnitude).all()
    assert np.isnan(lone.coherence).all()


def test_coherence_is_high_where_cells_move_together(exam):
    truth, _ = exam
    moved = Populations(truth, tuple(truth.controls[g][:40] + 3.0 for g in truth.group))
    still = Populations(truth, tuple(truth.controls[g][:40] for g in truth.group))
    assert (moved.coherence > 0.8).all()
    assert (moved.coherence > still.coherence + 0.5).all()


def test_weights_are_of_genes_that_differ_between_conditions(exam):
    truth, _ = exam
    assert truth.weights.shape == truth.mask.shape
    assert (truth.weights[~truth.mask] == 0).all()
    np.testing.assert_allclose(truth.weights.sum(axis=1), 1)
    strongest = np.abs(truth.real.means - truth.reference)[-1].argmax()
    assert truth.weights[-1, strongest] > 1 / truth.weights.shape[1]
