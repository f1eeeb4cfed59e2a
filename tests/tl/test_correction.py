"""P-values adjusted for the number of tests."""

from __future__ import annotations

import numpy as np
import pytest

from shoal.tl._correction import CORRECTIONS, adjusted

P = np.array([0.01, np.nan, 0.04, 0.5, 1.0])


def test_a_test_that_was_not_made_does_not_count():
    np.testing.assert_allclose(adjusted(P, "bonferroni"), [0.04, np.nan, 0.16, 1, 1])
    np.testing.assert_allclose(adjusted(P, "fdr_bh"), [0.04, np.nan, 0.08, 2 / 3, 1])
    assert np.isnan(adjusted(np.full(3, np.nan), "holm")).all()


@pytest.mark.parametrize("correction", CORRECTIONS)
def test_no_correction_lowers_a_value_or_changes_the_order(correction):
    found, known = adjusted(P, correction), ~np.isnan(P)
    assert (found[known] >= P[known]).all()
    assert (found[known] <= 1).all()
    assert (np.diff(found[known]) >= 0).all()
