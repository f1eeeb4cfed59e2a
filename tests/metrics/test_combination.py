from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from shoal.metrics._combination import additive_residual, interaction_auprc


@pytest.fixture
def screen(rng):
    """Parts, control and means of 9 combinations over 80 genes, of which 6 interact in each."""
    control = np.tile(rng.gamma(2, 1, 80), (9, 1))
    a, b = (control + rng.normal(size=control.shape) for _ in range(2))
    interaction = np.zeros((9, 80))
    for row in interaction:
        row[rng.choice(80, 6, replace=False)] = 2 * rng.choice([-1, 1], 6)
    real = a + b - control + interaction + 0.2 * rng.normal(size=control.shape)
    return {"a": a, "b": b, "control": control}, real, interaction


def additive(parts):
    return parts["a"] + parts["b"] - parts["control"]


# -- residuals -------------------------------------------------------------------------------------------------------


def test_residual_equals_its_definition(screen, rng):
    parts, real, _ = screen
    predicted = real + rng.normal(size=real.shape)
    e = additive(parts)
    expected = [
        x @ y / np.linalg.norm(x) / np.linalg.norm(y)
        for x, y in zip(predicted - e, real - e, strict=True)
    ]
    np.testing.assert_allclose(additive_residual(predicted, real, **parts), expected)


def test_residual_of_the_truth_its_opposite_and_a_weak_interaction(screen):
    parts, real, _ = screen
    e = additive(parts)
    np.testing.assert_allclose(additive_residual(real, real, **parts), 1)
    np.testing.assert_allclose(additive_residual(e + 0.01 * (real - e), real, **parts), 1)
    np.testing.assert_allclose(additive_residual(2 * e - real, real, **parts), -1)
    swapped = {"a": parts["b"], "b": parts["a"], "control": parts["control"]}
    np.testing.assert_allclose(
        additive_residual(real + 1, real, **swapped), additive_residual(real + 1, real, **parts)
    )


def test_the_additive_prediction_has_no_residual_in_whatever_order_it_was_added(screen):
    parts, real, _ = screen
    for predicted in (additive(parts), parts["a"] - parts["control"] + parts["b"]):
        assert np.isnan(additive_residual(predicted, real, **parts)).all()


def test_residual_without_relation_is_0_on_average(screen, rng):
    parts, real, _ = screen
    e = additive(parts)
    found = np.concatenate(
        [additive_residual(e + rng.normal(size=e.shape), real, **parts) for _ in range(200)]
    )
    assert abs(found.mean()) < 4 * found.std() / np.sqrt(len(found))


def test_noise_that_the_parts_share_shows_as_the_docstring_says(rng):
    """No interaction, a prediction that knows the true sum: the noise of the parts alone gives sqrt(v / (v + w))."""
    shape, v, w = (4, 20_000), 3 * 0.3**2, 0.4**2
    parts = {name: 0.3 * rng.normal(size=shape) for name in ("a", "b", "control")}
    found = additive_residual(np.zeros(shape), np.sqrt(w) * rng.normal(size=shape), **parts)
    np.testing.assert_allclose(found, np.sqrt(v / (v + w)), atol=0.02)


def test_combinations_whose_parts_are_not_known_are_left_out(screen, rng):
    parts, real, interaction = screen
    predicted = real + rng.normal(size=real.shape)
    labels = interaction != 0
    expected = additive_residual(predicted, real, **parts)
    keep = np.setdiff1d(np.arange(9), [2, 5])
    area = interaction_auprc(
        predicted[keep],
        real[keep],
        labels=labels[keep],
        **{name: x[keep] for name, x in parts.items()},
    )
    parts["a"][2] = parts["b"][5] = np.nan
    expected[[2, 5]] = np.nan
    np.testing.assert_allclose(additive_residual(predicted, real, **parts), expected)
    assert interaction_auprc(predicted, real, labels=labels, **parts) == pytest.approx(area)
    parts["a"][:] = np.nan
    assert np.isnan(additive_residual(predicted, real, **parts)).all()
    assert np.isnan(interaction_auprc(predicted, real, threshold=1.0, **parts))


# -- interactions ----------------------------------------------------------------------------------------------------


def test_area_equals_scikit_learn_with_ties(screen, rng):
    parts, real, interaction = screen
    e = additive(parts)
    predicted = (e + interaction + rng.normal(size=e.shape)).round(1)
    predicted[:, 40:] = e[:, 40:]  # half of the genes tied at no deviation
    score, labels = np.abs(predicted - e), interaction != 0
    found = interaction_auprc(predicted, real, labels=labels, **parts)
    assert found == pytest.approx(average_precision_score(labels.ravel(), score.ravel()))
    by_size = interaction_auprc(predicted, real, threshold=1.0, **parts)
    assert by_size == pytest.approx(
        average_precision_score((np.abs(real - e) > 1).ravel(), score.ravel())
    )


def test_area_of_the_truth_the_additive_prediction_and_a_stranger(screen, rng):
    parts, real, interaction = screen
    labels = interaction != 0
    e, share = additive(parts), labels.mean()
    assert interaction_auprc(real, real, labels=labels, **parts) == pytest.approx(1)
    assert interaction_auprc(2 * e - real, real, labels=labels, **parts) == pytest.approx(
        1
    )  # sizes only
    assert interaction_auprc(e, real, labels=labels, **parts) == pytest.approx(share)
    strangers = [
        interaction_auprc(e + rng.normal(size=e.shape), real, labels=labels, **parts)
        for _ in range(100)
    ]
    assert np.mean(strangers) == pytest.approx(share, abs=0.02)


def test_masked_genes_are_neither_found_nor_missed(screen, rng):
    parts, real, interaction = screen
    predicted, labels = real + rng.normal(size=real.shape), interaction != 0
    mask = np.ones(real.shape, dtype=bool)
    mask[3, :10] = False
    score = np.abs(predicted - additive(parts))
    expected = average_precision_score(labels[mask], score[mask])
    predicted[3, :10] += 1e4
    assert interaction_auprc(predicted, real, labels=labels, mask=mask, **parts) == pytest.approx(
        expected
    )
    keep = np.delete(np.arange(80), np.arange(10))
    alone = additive_residual(
        predicted[:, keep], real[:, keep], **{name: x[:, keep] for name, x in parts.items()}
    )
    assert additive_residual(predicted, real, mask=mask, **parts)[3] == pytest.approx(alone[3])


def test_area_without_an_interaction_is_not_defined(screen):
    parts, real, interaction = screen
    assert np.isnan(interaction_auprc(real, real, threshold=1e3, **parts))
    assert np.isnan(
        interaction_auprc(real, real, labels=np.zeros(interaction.shape, dtype=bool), **parts)
    )


def test_bad_input_is_refused(screen):
    parts, real, interaction = screen
    for options in ({}, {"threshold": 1.0, "labels": interaction != 0}):
        with pytest.raises(ValueError, match="either threshold=.*or labels="):
            interaction_auprc(real, real, **options, **parts)
    with pytest.raises(ValueError, match="threshold must be above 0, not -1"):
        interaction_auprc(real, real, threshold=-1, **parts)
    with pytest.raises(ValueError, match="booleans of shape .9, 80., not float64"):
        interaction_auprc(real, real, labels=interaction, **parts)
    with pytest.raises(ValueError, match=r"a \(8, 80\)"):
        additive_residual(real, real, **(parts | {"a": parts["a"][1:]}))
    parts["b"][4, 7] = np.nan  # one gene, not a part that was not measured
    with pytest.raises(ValueError, match="1 of 9 rows of b hold NaN"):
        additive_residual(real, real, **parts)
