from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

import shoal as sh

delta = sh.metrics.pearson_delta


@pytest.fixture
def means(rng):
    """A predicted, a real and a reference mean over 40 genes."""
    reference = rng.gamma(2, 1, 40)
    real = reference + rng.normal(size=40)
    return real + rng.normal(size=40), real, reference


def test_equals_scipy(means):
    predicted, real, reference = means
    expected = stats.pearsonr(predicted - reference, real - reference).statistic
    assert delta(predicted, real, reference=reference) == pytest.approx(expected, rel=1e-12)


def test_closed_form():
    # shifts (1, 0, -1) and (1, -1, 0): 1 / (sqrt 2 sqrt 2)
    assert delta([4.0, 5, 6], [4.0, 4, 7], reference=np.array([3.0, 5, 7])) == pytest.approx(0.5)


def test_perfect_opposite_and_rescaled_shifts(means):
    _, real, reference = means
    assert delta(real, real, reference=reference) == pytest.approx(1)
    assert delta(reference + 0.1 * (real - reference), real, reference=reference) == pytest.approx(
        1
    )
    assert delta(2 * reference - real, real, reference=reference) == pytest.approx(-1)


def test_symmetric_and_blind_to_common_changes(means, rng):
    predicted, real, reference = means
    found = delta(predicted, real, reference=reference)
    assert delta(real, predicted, reference=reference) == pytest.approx(found)
    offset, order = rng.normal(size=40), rng.permutation(40)
    assert delta(predicted + offset, real + offset, reference=reference + offset) == pytest.approx(
        found
    )
    assert delta(predicted[order], real[order], reference=reference[order]) == pytest.approx(found)
    assert delta(3 * predicted, 3 * real, reference=3 * reference) == pytest.approx(found)


def test_mask_leaves_genes_out(means):
    predicted, real, reference = means
    mask = np.arange(40) != 7
    expected = delta(predicted[mask], real[mask], reference=reference[mask])
    predicted[7] = np.nan
    assert delta(predicted, real, reference=reference, mask=mask) == pytest.approx(expected)


def test_without_relation_zero_on_average(rng):
    found = [delta(*rng.normal(size=(2, 30)), reference=np.zeros(30)) for _ in range(2000)]
    assert abs(np.mean(found)) < 4 * stats.sem(found)
    assert np.var(found) == pytest.approx(1 / 29, rel=0.15)  # of independent columns


def test_a_shift_common_to_all_counts_from_the_control_and_not_from_the_perturbed_mean(rng):
    common, control = 3 * rng.normal(size=200), rng.gamma(2, 1, 200)
    perturbed = control + common
    predicted, real = (perturbed + rng.normal(size=200) for _ in range(2))
    assert delta(predicted, real, reference=control) > 0.85
    assert abs(delta(predicted, real, reference=perturbed)) < 0.25


@pytest.mark.parametrize("offset", [0.0, 0.1, 1e6])
def test_no_shift_has_no_direction(offset, means):
    _, real, reference = means
    assert np.isnan(delta(reference + offset, real, reference=reference))
    assert np.isnan(delta(real, reference + offset, reference=reference))


@pytest.mark.parametrize(
    ("predicted", "options", "message"),
    [
        (np.ones(3), {}, r"shape \(3,\), \(4,\), \(4,\)"),
        (np.ones((4, 1)), {}, "1-D"),
        (np.array([1, 2, 3, np.nan]), {}, r"predicted hold NaN.*mask="),
        (np.ones(4), {"mask": np.array([0, 1, 2, 3])}, "4 booleans, not int64"),
        (np.ones(4), {"mask": np.ones(3, dtype=bool)}, r"4 booleans, not bool of shape \(3,\)"),
        (np.ones(4), {"mask": np.array([True, False, False, False])}, "1 genes count"),
    ],
)
def test_bad_input_is_refused(predicted, options, message):
    with pytest.raises(ValueError, match=message):
        delta(predicted, np.arange(4.0), reference=np.zeros(4), **options)


def shifted(rng, n, size, spread=1.0):
    cells = spread * rng.normal(size=(n, 8))
    cells[:, 0] += size
    return cells


def test_coherence_error_is_the_difference_of_signed_roots(rng):
    control, predicted, real = shifted(rng, 90, 0), shifted(rng, 60, 2), shifted(rng, 70, 0)
    kappas = np.array([sh.metrics.coherence(cells, control) for cells in (predicted, real)])
    expected = np.diff(np.sign(kappas[::-1]) * np.sqrt(np.abs(kappas[::-1])))[0]
    assert sh.metrics.coherence_error(predicted, real, control=control) == pytest.approx(expected)
    assert sh.metrics.coherence_error(real, predicted, control=control) == pytest.approx(-expected)
    assert sh.metrics.coherence_error(real, real, control=control) == 0


def test_coherence_error_is_zero_on_average_between_samples_of_one_population(rng):
    found = [
        sh.metrics.coherence_error(
            shifted(rng, 30, 2), shifted(rng, 30, 2), control=shifted(rng, 40, 0)
        )
        for _ in range(400)
    ]
    assert abs(np.mean(found)) < 4 * stats.sem(found)


def test_collapsed_cells_are_too_coherent_and_noisy_cells_too_little(rng):
    control, real = shifted(rng, 300, 0), shifted(rng, 300, 2)
    collapsed = np.tile(real.mean(axis=0), (300, 1))
    assert sh.metrics.coherence_error(collapsed, real, control=control) > 0.2
    assert sh.metrics.coherence_error(shifted(rng, 300, 2, spread=3), real, control=control) < -0.2


def test_coherence_error_refuses_what_coherence_refuses(rng):
    with pytest.raises(ValueError, match="equal columns"):
        sh.metrics.coherence_error(
            np.ones((5, 3)), rng.normal(size=(5, 4)), control=rng.normal(size=(9, 4))
        )
