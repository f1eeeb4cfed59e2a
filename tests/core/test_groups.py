"""Grouped sums against their definitions, written out cell by cell."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from shoal import settings
from shoal.core._groups import directions
from shoal.core._matrix import as_rows
from shoal.core._plan import Plan

FIELDS = (
    "sum_shift",
    "sum_unit",
    "sum_centred",
    "unit_dot",
    "unit_square",
    "shift_dot",
    "covariance",
    "square",
)


def example(rng, q: int = 1, n: int = 400, d: int = 8):
    x = rng.normal(size=(n, d)) * (rng.random((n, d)) < 0.6)
    group, stratum = rng.integers(-1, 4, n), rng.integers(0, 2, n)
    depth = rng.normal(size=n)
    x += 0.3 * depth[:, None]
    return x, Plan(group, 3, stratum, 2, np.vander(depth, q, increasing=True))


def by_hand(x, plan):
    """Shifts, directions and centred directions by least squares on the controls of each stratum."""
    s = np.empty_like(x)
    for h in range(plan.n_strata):
        inside, control = plan.stratum == h, (plan.stratum == h) & plan.is_control
        s[inside] = (
            x[inside] - plan.basis[inside] @ np.linalg.lstsq(plan.basis[control], x[control])[0]
        )
    u = s / np.linalg.norm(s, axis=1, keepdims=True)
    w = np.empty_like(x)
    for h in range(plan.n_strata):
        inside, control = plan.stratum == h, (plan.stratum == h) & plan.is_control
        w[inside] = (
            u[inside] - plan.basis[inside] @ np.linalg.lstsq(plan.basis[control], u[control])[0]
        )
    return s, u, w


@pytest.mark.parametrize("q", [1, 4])
def test_sums_equal_their_definitions(rng, q):
    x, plan = example(rng, q)
    found = directions(as_rows(x), plan, cross={"half": np.arange(len(x)) % 2})
    s, u, w = by_hand(x, plan)
    for p in range(plan.n_groups):
        i = plan.group == p
        np.testing.assert_allclose(found.sum_shift[p], s[i].sum(0), atol=1e-10)
        np.testing.assert_allclose(found.sum_unit[p], u[i].sum(0), atol=1e-10)
        np.testing.assert_allclose(found.sum_centred[p], w[i].sum(0), atol=1e-10)
        np.testing.assert_allclose(found.unit_dot[i], w[i] @ w[i].sum(0), atol=1e-10)
        np.testing.assert_allclose(found.unit_square[i], (w[i] ** 2).sum(1), atol=1e-10)
        np.testing.assert_allclose(found.shift_dot[i], s[i] @ s[i].sum(0), atol=1e-9)
    control = plan.is_control
    free = control.sum() - 2 * q
    np.testing.assert_allclose(found.covariance, w[control].T @ w[control] / free, atol=1e-10)
    np.testing.assert_allclose(
        found.direction.noise @ (found.n_control - q), (w[control] ** 2).sum(), rtol=1e-10
    )
    np.testing.assert_allclose(
        found.shift.noise @ (found.n_control - q), (s[control] ** 2).sum(), rtol=1e-10
    )
    half = found.cross["half"]
    for owner, n, norm in zip(half.owner, half.n, half.norm, strict=True):
        match = [
            np.isclose(
                norm, np.sum(w[(plan.group == owner) & (np.arange(len(x)) % 2 == b)].sum(0) ** 2)
            )
            for b in (0, 1)
        ]
        assert any(match), (owner, n)


@pytest.mark.parametrize("kind", ["csr", "csc", "float32", "small blocks", "dask", "dask sparse"])
def test_matrix_kinds_give_the_same_sums(rng, kind, monkeypatch):
    x, plan = example(rng, 4)
    x = x.astype(np.float32).astype(np.float64)
    expected = directions(as_rows(x), plan, cross={})
    if kind.startswith("dask"):
        import dask.array as da

        source = da.from_array(x, chunks=(70, 3))
        if kind == "dask sparse":
            source = da.from_array(x, chunks=(70, 8)).map_blocks(sparse.csr_matrix)
    else:
        source = {
            "csr": sparse.csr_matrix(x),
            "csc": sparse.csc_array(x),
            "float32": x.astype(np.float32),
        }.get(kind, x)
    if kind == "small blocks":
        monkeypatch.setattr(settings, "block_bytes", 1000)
    found = directions(as_rows(source), plan, cross={})
    for name in FIELDS:
        np.testing.assert_allclose(
            getattr(found, name), getattr(expected, name), atol=1e-8, err_msg=name
        )


def test_row_order_is_no_matter(rng):
    x, plan = example(rng)
    order = rng.permutation(len(x))
    moved = Plan(plan.group[order], 3, plan.stratum[order], 2, plan.basis[order])
    a = directions(as_rows(x), plan, cross={}, max_sample=20)
    b = directions(as_rows(x[order]), moved, cross={}, max_sample=20)
    np.testing.assert_allclose(a.sum_centred, b.sum_centred, atol=1e-10)
    np.testing.assert_allclose(a.unit_dot[order], b.unit_dot, atol=1e-10)
    np.testing.assert_allclose(a.sample, b.sample, atol=1e-10)


def test_cell_at_its_centroid_has_no_direction(rng):
    x = rng.normal(size=(41, 3))
    x[40] = x[:20].mean(0)
    plan = Plan(np.r_[np.full(20, 1), np.zeros(21, int)], 1, np.zeros(41, int), 1, np.ones((41, 1)))
    found = directions(as_rows(x), plan, cross={})
    unit = x[20:40] - x[:20].mean(0)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    np.testing.assert_allclose(found.sum_unit[0], unit.sum(0), atol=1e-10)


def test_nan_and_infinity_are_named(rng):
    x, plan = example(rng)
    x[np.flatnonzero(plan.group >= 0)[:2], 0] = np.nan, np.inf
    with pytest.raises(ValueError, match="2 cells hold NaN or infinite"):
        directions(as_rows(x), plan, cross={})


def test_nan_in_a_cell_without_group_is_no_error(rng):
    x, plan = example(rng)
    expected = directions(as_rows(x), plan, cross={})
    x[plan.group < 0] = 1e6
    found = directions(as_rows(x), plan, cross={})
    np.testing.assert_allclose(found.sum_centred, expected.sum_centred, atol=1e-10)
