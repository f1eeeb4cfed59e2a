from __future__ import annotations

import numpy as np
import pytest

from shoal.training._draw import distinct


def groups(member, count):
    return np.split(member, np.cumsum(count)[:-1])


def test_members_are_distinct_and_in_range(rng):
    size, count = rng.integers(1, 400, 300), rng.integers(1, 70, 300)
    member, again = distinct(size, count, rng)
    for own, repeat, n, k in zip(
        groups(member, count), groups(again, count), size, count, strict=True
    ):
        assert own.min() >= 0
        assert own.max() < n
        assert len(np.unique(own)) == min(n, k)
        np.testing.assert_array_equal(repeat, np.arange(k) >= n)
        assert len(np.unique(own[~repeat])) == (~repeat).sum()


def test_a_small_group_gives_all_before_any_comes_again(rng):
    member, again = distinct(np.array([3]), np.array([8]), rng)
    assert sorted(member[:3]) == [0, 1, 2]
    np.testing.assert_array_equal(member[3:6], member[:3])
    assert again.sum() == 5


@pytest.mark.parametrize("size", [5, 8])  # by shuffling, by rejection
def test_every_ordered_pair_is_equally_likely(rng, size):
    n = 40_000
    member, _ = distinct(np.full(n, size), np.full(n, 2), rng)
    first, second = member.reshape(-1, 2).T
    seen = np.bincount(first * size + second, minlength=size**2).reshape(size, size)
    assert (np.diag(seen) == 0).all()
    pairs = size * (size - 1)
    off = seen[~np.eye(size, dtype=bool)]
    statistic = ((off - n / pairs) ** 2 / (n / pairs)).sum()
    assert statistic < pairs + 5 * np.sqrt(2 * pairs)


def test_nothing_wanted(rng):
    member, again = distinct(np.array([4, 2]), np.array([0, 0]), rng)
    assert len(member) == len(again) == 0
