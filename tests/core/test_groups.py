"""Grouped sums against their definitions, written out cell by cell."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import sparse

from shoal import settings
from shoal.core._cell_dots import cell_dots
from shoal.core._groups import directions
from shoal.core._matrix import as_rows
from shoal.core._plan import Plan


def found_in(rows, plan, **options):
    """Everything that the three walks find, by name."""
    sums = directions(rows, plan, **{"cross": {}} | options)
    own = sums.groups[0]
    dots = cell_dots(rows, [plan], sums, [own.shift])
    return {
        "sum_shift": own.shift,
        "sum_unit": own.unit,
        "sum_centred": own.centred,
        "unit_dot": dots.unit[0],
        "unit_square": dots.unit_square,
        "shift_dot": dots.along[0],
        "covariance": sums.covariance,
        "square": sums.square,
        "sample": sums.sample.cells,
        "sums": sums,
    }


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
    found = SimpleNamespace(**found_in(as_rows(x), plan, cross={"half": np.arange(len(x)) % 2}))
    sums = found.sums
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
        sums.direction.noise @ (sums.n_control - q), (w[control] ** 2).sum(), rtol=1e-10
    )
    np.testing.assert_allclose(
        sums.shift.noise @ (sums.n_control - q), (s[control] ** 2).sum(), rtol=1e-10
    )
    half = sums.cross["half"]
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
    expected = found_in(as_rows(x), plan)
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
    found = found_in(as_rows(source), plan)
    for name in set(found) - {"sums"}:
        tolerance = 1e-5 if name == "sample" else 1e-8
        np.testing.assert_allclose(found[name], expected[name], atol=tolerance, err_msg=name)


def test_row_order_is_no_matter(rng):
    x, plan = example(rng)
    order = rng.permutation(len(x))
    moved = Plan(plan.group[order], 3, plan.stratum[order], 2, plan.basis[order])
    a = SimpleNamespace(**found_in(as_rows(x), plan, max_sample=40))
    b = SimpleNamespace(**found_in(as_rows(x[order]), moved, max_sample=40))
    np.testing.assert_allclose(a.sum_centred, b.sum_centred, atol=1e-10)
    np.testing.assert_allclose(a.unit_dot[order], b.unit_dot, atol=1e-10)
    np.testing.assert_allclose(a.sample, b.sample, atol=1e-6)
    assert len(a.sample) == 60  # 30 of each stratum, fewer than there are


def test_equal_cells_in_another_order_give_the_same_sample(rng):
    """Cells of equal length are told apart by their values, not by their rows."""
    x, plan = example(rng)
    x = np.round(x > 0).astype(float)  # many cells of each length
    order = rng.permutation(len(x))
    moved = Plan(plan.group[order], 3, plan.stratum[order], 2, plan.basis[order])
    a, b = (
        directions(as_rows(values), own, cross={}, max_sample=40).sample.cells
        for values, own in ((x, plan), (x[order], moved))
    )
    np.testing.assert_allclose(a, b, atol=1e-6)


def test_every_stratum_gives_a_bounded_sample(rng):
    """At least 30 cells, all of a smaller stratum, and no more in all than was asked for."""
    stratum = np.r_[np.zeros(2000, int), np.ones(12, int), np.repeat(np.arange(2, 12), 200)]
    x = rng.normal(size=(2 * len(stratum), 3))
    group = np.repeat([1, 0], len(stratum))
    plan = Plan(group, 1, np.tile(stratum, 2), 12, np.ones((len(x), 1)))
    sample = directions(as_rows(x), plan, cross={}, max_sample=600).sample
    assert np.diff(sample.first).tolist() == [50, 12] + [50] * 10
    sample = directions(as_rows(x), plan, cross={}, max_sample=120).sample
    assert np.diff(sample.first).tolist() == [30, 12] + [30] * 10


@pytest.mark.parametrize("q", [1, 4])
def test_finer_groups_are_measured_as_if_alone(rng, q):
    x, plan = example(rng, q)
    half = np.arange(len(x)) % 2
    fine = replace(plan, group=np.where(plan.is_control, 6, 2 * plan.group + half), n_groups=6)
    fine = replace(fine, group=np.where(plan.group < 0, -1, fine.group))
    rows = as_rows(x)
    both, alone = directions(rows, plan, cross={}, finer=fine), directions(rows, fine, cross={})
    for name in ("n", "shift", "unit", "centred"):
        np.testing.assert_allclose(
            getattr(both.groups[1], name), getattr(alone.groups[0], name), atol=1e-10
        )
    together = cell_dots(rows, [plan, fine], both, [own.shift for own in both.groups])
    single = cell_dots(rows, [fine], alone, [alone.groups[0].shift])
    cells = fine.perturbed >= 0
    np.testing.assert_allclose(together.unit[1][cells], single.unit[0][cells], atol=1e-10)
    np.testing.assert_allclose(together.along[1][cells], single.along[0][cells], atol=1e-9)


def test_cell_at_its_centroid_has_no_direction(rng):
    x = rng.normal(size=(41, 3))
    x[40] = x[:20].mean(0)
    plan = Plan(np.r_[np.full(20, 1), np.zeros(21, int)], 1, np.zeros(41, int), 1, np.ones((41, 1)))
    found = directions(as_rows(x), plan, cross={})
    unit = x[20:40] - x[:20].mean(0)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    np.testing.assert_allclose(found.groups[0].unit[0], unit.sum(0), atol=1e-10)


def test_nan_and_infinity_are_named(rng):
    x, plan = example(rng)
    x[np.flatnonzero(plan.group >= 0)[:2], 0] = np.nan, np.inf
    with pytest.raises(ValueError, match="NaN or infinite values in 2 of 325 cells, such as row 0"):
        directions(as_rows(x), plan, cross={})


def test_controls_that_do_not_vary_are_refused(rng):
    x, plan = example(rng)
    x[plan.is_control] = 2.0
    with pytest.raises(ValueError, match="cells are equal in the matrix"):
        directions(as_rows(x), plan, cross={})


def test_nan_in_a_cell_without_group_is_no_error(rng):
    x, plan = example(rng)
    expected = directions(as_rows(x), plan, cross={})
    x[plan.group < 0] = 1e6
    found = directions(as_rows(x), plan, cross={})
    np.testing.assert_allclose(found.groups[0].centred, expected.groups[0].centred, atol=1e-10)
