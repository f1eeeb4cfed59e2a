"""The unit, the origin and the precision of the values must not change what is independent of them."""

import numpy as np
import pytest
from scipy import sparse
from tests.metrics.test_inputs import arrays_of, call, valid, with_any


@pytest.mark.parametrize("name", ["coherence", "coherence_error", "variance_ratio"])
def test_single_precision_is_summed_in_double(name):
    """Far from 0, sums in single precision lose the differences between cells."""
    arguments = {k: (v + 1e5).astype(np.float32) for k, v in valid(name).items()}
    arguments = {k: np.repeat(v, 50, axis=0) for k, v in arguments.items()}
    expected = call(name, {k: v.astype(np.float64) for k, v in arguments.items()})
    for change in (np.asarray, sparse.csr_matrix, sparse.csc_matrix):
        found = call(name, {k: change(v) for k, v in arguments.items()})
        np.testing.assert_allclose(found, expected, rtol=1e-9)


@pytest.mark.parametrize("name", with_any({"metric"}))
@pytest.mark.parametrize("metric", ["l1", "l2", "cosine"])
def test_ranks_do_not_depend_on_the_scale(name, metric):
    arguments = valid(name) | {"metric": metric}
    expected = call(name, arguments)
    for scale in (1e-100, 1e-12, 1e12, 1e100):
        scaled = {k: scale * arguments[k] for k in arrays_of(name)}
        np.testing.assert_array_equal(call(name, arguments | scaled), expected)


@pytest.mark.parametrize("name", with_any({"metric"}))
def test_ranks_by_distance_do_not_depend_on_the_origin(name):
    for metric in ("l1", "l2"):
        arguments = valid(name) | {"metric": metric}
        moved = {k: arguments[k] + 1e7 for k in arrays_of(name)}
        np.testing.assert_array_equal(call(name, arguments | moved), call(name, arguments))
