from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics.pairwise import cosine_similarity

from shoal.metrics import _structure as module
from shoal.metrics import (
    collapse_index,
    magnitude_error,
    magnitude_spearman,
    mean_cosine,
    similarity_structure,
)


@pytest.fixture
def means(rng):
    """Means of 24 conditions in 4 families of like responses, predicted with noise, and their reference."""
    reference = np.tile(rng.gamma(2, 1, 50), (24, 1))
    real = (
        reference + np.repeat(rng.normal(size=(4, 50)), 6, axis=0) + 0.5 * rng.normal(size=(24, 50))
    )
    return real + 0.7 * rng.normal(size=real.shape), real, reference


# -- similarities ----------------------------------------------------------------------------------------------------


def test_similarity_structure_equals_scipy_row_by_row(means):
    predicted, real, reference = means
    found = similarity_structure(predicted, real, reference=reference)
    ours, theirs = cosine_similarity(predicted - reference), cosine_similarity(real - reference)
    for p, value in enumerate(found):
        expected = stats.spearmanr(np.delete(ours[p], p), np.delete(theirs[p], p)).statistic
        assert value == pytest.approx(expected, rel=1e-9)
    assert found.mean() > 0.3


def test_similarity_structure_is_blind_to_sizes_and_to_what_turns_all_alike(means, rng):
    predicted, real, reference = means
    found = similarity_structure(predicted, real, reference=reference)
    scaled = reference + rng.gamma(2, 1, (24, 1)) * (predicted - reference)
    np.testing.assert_allclose(similarity_structure(scaled, real, reference=reference), found)
    turn = stats.ortho_group.rvs(50, random_state=rng)
    turned = reference + (predicted - reference) @ turn
    np.testing.assert_allclose(
        similarity_structure(turned, real, reference=reference), found, atol=1e-9
    )
    rows = rng.permutation(24)
    again = similarity_structure(predicted[rows], real[rows], reference=reference[rows])
    np.testing.assert_allclose(again, found[rows])
    np.testing.assert_allclose(similarity_structure(real, real, reference=reference), 1)


def test_similarity_structure_of_strangers_is_0_on_average(rng):
    found = [
        similarity_structure(*rng.normal(size=(2, 12, 30)), reference=np.zeros((12, 30)))
        for _ in range(300)
    ]
    by_screen = np.mean(found, axis=1)
    assert abs(by_screen.mean()) < 4 * stats.sem(by_screen)
    assert by_screen.std() < 0.25


def test_similarity_structure_sees_shuffled_perturbations(means):
    predicted, real, reference = means
    shuffled = np.roll(predicted, 3, axis=0)
    honest = similarity_structure(predicted, real, reference=reference).mean()
    assert similarity_structure(shuffled, real, reference=reference).mean() < honest - 0.2


@pytest.mark.parametrize("shift", [0.0, 1.0])
def test_one_prediction_for_all_has_no_structure(shift, means, rng):
    _, real, reference = means
    collapsed = reference + shift * rng.normal(size=50)
    assert np.isnan(similarity_structure(collapsed, real, reference=reference)).all()


def test_a_condition_without_a_shift_is_like_none(means):
    predicted, real, reference = means
    predicted[5] = reference[5] * (1 + 1e-15)
    found = similarity_structure(predicted, real, reference=reference)
    assert np.flatnonzero(np.isnan(found)).tolist() == [5]
    ours = cosine_similarity(predicted - reference)
    ours[5] = ours[:, 5] = 0
    theirs = cosine_similarity(real - reference)
    expected = stats.spearmanr(np.delete(ours[0], 0), np.delete(theirs[0], 0)).statistic
    assert found[0] == pytest.approx(expected)


def test_similarity_structure_with_masks_contexts_and_blocks(means, monkeypatch):
    predicted, real, reference = means
    mask = np.ones(real.shape, dtype=bool)
    mask[np.arange(24), np.arange(24)] = False
    group = np.repeat([0, 1, 2], [4, 5, 15])
    found = similarity_structure(predicted, real, reference=reference, mask=mask, group=group)
    assert np.flatnonzero(np.isnan(found)).tolist() == [0, 1, 2, 3]  # 3 others
    rows = np.flatnonzero(group == 2)
    blank_predicted, blank_real = (np.where(mask, x, reference)[rows] for x in (predicted, real))
    expected = similarity_structure(blank_predicted, blank_real, reference=reference[rows])
    np.testing.assert_allclose(found[rows], expected)
    predicted[~mask] += 1e6
    np.testing.assert_allclose(
        similarity_structure(predicted, real, reference=reference, mask=mask, group=group), found
    )
    monkeypatch.setattr(module, "BLOCK_BYTES", 1000)
    again = similarity_structure(predicted, real, reference=reference, mask=mask, group=group)
    np.testing.assert_allclose(again, found)


# -- collapse --------------------------------------------------------------------------------------------------------


def test_collapse_index_is_the_ratio_of_the_variances(means):
    predicted, real, _ = means
    expected = predicted.var(axis=0, ddof=1).sum() / real.var(axis=0, ddof=1).sum()
    assert collapse_index(predicted, real) == pytest.approx(expected)
    assert collapse_index(real, real) == pytest.approx(1)
    assert collapse_index(3 * real - 4, real) == pytest.approx(9)
    assert collapse_index(np.tile(real.mean(axis=0), (24, 1)), real) == 0


def test_collapse_index_of_a_second_sample_is_1_and_of_the_truth_below(rng):
    truth = rng.normal(size=(60, 200))
    first, second = (truth + rng.normal(size=truth.shape) for _ in range(2))
    assert collapse_index(first, second) == pytest.approx(1, rel=0.05)
    assert collapse_index(truth, second) == pytest.approx(0.5, rel=0.05)


def test_collapse_index_looks_within_contexts_and_at_genes_that_count(means):
    predicted, real, _ = means
    group = np.repeat([0, 1], 12)
    offset = 100.0 * group[:, None]
    found = collapse_index(predicted, real, group=group)
    assert collapse_index(predicted + offset, real + offset, group=group) == pytest.approx(found)
    mask = np.ones(real.shape, dtype=bool)
    mask[4, 7] = mask[:, 9] = False
    keep = np.arange(24) != 4
    genes = np.delete(np.arange(50), [7, 9])
    parts = [
        (x[:, genes].var(axis=0, ddof=1).sum() + x[keep, 7].var(ddof=1)) for x in (predicted, real)
    ]
    assert collapse_index(predicted, real, mask=mask) == pytest.approx(parts[0] / parts[1])


def test_collapse_index_without_variance_is_not_defined():
    flat = np.tile([0.1, 0.2, 0.3], (7, 1))
    assert np.isnan(collapse_index(np.random.default_rng(0).normal(size=(7, 3)), flat))
    assert np.isnan(collapse_index(flat[:1], flat[:1]))


def test_mean_cosine_equals_all_pairs(means):
    predicted, _, reference = means
    group = np.repeat([4, 2, 7], [10, 13, 1])
    cosine = cosine_similarity(predicted - reference)
    pairs = (group[:, None] == group) & ~np.eye(24, dtype=bool)
    found = mean_cosine(predicted, reference=reference, group=group)
    assert found == pytest.approx(cosine[pairs].mean())
    shift = predicted - reference
    assert mean_cosine(reference + 0.1 * shift, reference=reference, group=group) == pytest.approx(
        found
    )


def test_mean_cosine_sees_a_collapse_of_directions_that_variance_does_not(means, rng):
    _, real, reference = means
    one_way = reference + rng.normal(size=50) * rng.normal(2, 1, (24, 1)).clip(0.1)
    assert collapse_index(one_way, real) > 0.5
    assert mean_cosine(one_way, reference=reference) == pytest.approx(1)
    assert mean_cosine(real, reference=reference) < 0.5
    independent = rng.normal(size=(200, 50))
    assert abs(mean_cosine(independent, reference=0 * independent)) < 0.01


def test_mean_cosine_without_a_pair_is_not_defined(means):
    _, real, reference = means
    assert np.isnan(mean_cosine(reference, reference=reference))
    assert np.isnan(mean_cosine(real, reference=reference, group=np.arange(24)))


@pytest.mark.parametrize("metric", [similarity_structure, collapse_index])
def test_bad_tables_are_refused(metric, means):
    predicted, real, reference = means
    options = {"reference": reference} if metric is similarity_structure else {}
    with pytest.raises(ValueError, match=r"predicted \(23, 50\)"):
        metric(predicted[1:], real, **options)
    with pytest.raises(ValueError, match="24 of 24 rows of real hold NaN"):
        metric(predicted, np.nan * real, **options)
    with pytest.raises(ValueError, match="group must hold one label for each of 24"):
        metric(predicted, real, group=np.zeros(5), **options)


# -- sizes -----------------------------------------------------------------------------------------------------------


def test_magnitude_error_is_the_log_ratio_above_the_floor(rng):
    real, factor = rng.gamma(5, 20, 30), rng.gamma(4, 0.5, 30)
    found = magnitude_error(factor * real, real, floor=1e-4)
    np.testing.assert_allclose(found, np.log(factor), atol=1e-8)
    np.testing.assert_allclose(magnitude_error(real, factor * real, floor=1e-4), -found)
    assert (magnitude_error(real, real) == 0).all()


def test_magnitude_error_is_linear_near_0_and_small_for_what_only_noise_tells_apart(rng):
    noise = 0.01 * rng.normal(
        size=(2, 500)
    )  # unbiased magnitudes without a response: half are below 0
    found = magnitude_error(*noise, floor=1.0)
    np.testing.assert_allclose(found, (noise[0] - noise[1]) / 2, rtol=1e-3)
    assert abs(found).max() < 0.05
    assert (
        magnitude_error(np.array([5.0]), np.array([-0.01]), floor=1.0) > 1.5
    )  # an effect where there is none


def test_magnitude_error_does_not_depend_on_the_unit_and_grows_with_the_prediction(rng):
    predicted, real = rng.normal(3, 2, (2, 40))
    np.testing.assert_allclose(
        magnitude_error(1e3 * predicted, 1e3 * real), magnitude_error(predicted, real)
    )
    grid = np.linspace(-5, 50, 200)
    assert (np.diff(magnitude_error(grid, np.full(200, 4.0), floor=0.5)) > 0).all()
    default = magnitude_error(predicted, real, floor=0.1 * np.median(np.abs(real)))
    np.testing.assert_allclose(magnitude_error(predicted, real), default)


def test_magnitude_spearman_equals_scipy_with_ties_and_drops_what_is_not_known(rng):
    predicted, real = rng.integers(0, 9, (2, 30)).astype(float)
    real += predicted
    expected = stats.spearmanr(predicted, real).statistic
    assert magnitude_spearman(predicted, real) == pytest.approx(expected)
    assert magnitude_spearman(np.exp(predicted), real**3) == pytest.approx(expected)
    padded = np.append(predicted, [np.nan, 7, np.nan]), np.append(real, [1, np.nan, np.nan])
    assert magnitude_spearman(*padded) == pytest.approx(expected)
    assert magnitude_spearman(-predicted, predicted) == pytest.approx(-1)


def test_magnitudes_that_say_nothing_are_not_defined():
    assert np.isnan(magnitude_spearman(np.ones(9), np.arange(9.0)))
    assert np.isnan(magnitude_spearman(np.arange(3.0), np.arange(3.0)))
    assert np.isnan(magnitude_error(np.ones(3), np.zeros(3))).all()
    found = magnitude_error(np.array([1, np.nan, 1]), np.array([1, 1, np.nan]))
    assert np.isnan(found).tolist() == [False, True, True]


@pytest.mark.parametrize("metric", [magnitude_error, magnitude_spearman])
def test_bad_magnitudes_are_refused(metric):
    with pytest.raises(ValueError, match=r"predicted must hold 5 numbers.*shape \(4,\)"):
        metric(np.ones(4), np.ones(5))
    with pytest.raises(ValueError, match="real must hold 3 numbers.*none infinite"):
        metric(np.ones(3), np.array([1, 2, np.inf]))
    with pytest.raises(ValueError, match="floor must be above 0, not -1"):
        magnitude_error(np.ones(3), np.ones(3), floor=-1)
