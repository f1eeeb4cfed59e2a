from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest


def test_tensors_tell_what_a_network_needs(make_screen):
    conditions, _ = make_screen()
    conditions = replace(
        conditions,
        parts=np.array([[0, 1], [2, -1], [3, -1], [1, -1]]),
        dose=np.array([np.nan, 0.5, -1.0, 0.0]),
        context=np.array([0, -1, 1, 0]),
    )
    told = conditions.tensors(np.array([1, 0]))
    np.testing.assert_array_equal(told["present"], [[True, False], [True, True]])
    np.testing.assert_array_equal(told["parts"][0], [[0, 0, 1, 0], [0, 0, 0, 0]])
    np.testing.assert_array_equal(told["parts"][1], [[1, 0, 0, 0], [0, 1, 0, 0]])
    np.testing.assert_array_equal(told["context"], [-1, 0])
    np.testing.assert_array_equal(told["dose"], [[0.5, 1], [0, 0]])
    assert str(told["parts"].dtype) == "torch.float32"
    assert str(told["context"].dtype) == "torch.int64"


def test_subset_keeps_the_cells(make_screen):
    conditions, _ = make_screen((10, 20, 30))
    part = conditions.subset(np.array([2, 0]))
    assert part.names == ("P2", "P0")
    assert list(part.sizes) == [30, 10]
    assert part.n_obs == conditions.n_obs
    np.testing.assert_array_equal(part.parts, [[2], [0]])


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"cells": (np.arange(5), np.arange(0))}, "conditions without cells: 'P1'"),
        ({"control": np.arange(0)}, "no control cells"),
        ({"names": ("P0",)}, "as many of each"),
        ({"cell_batch": np.zeros(3, dtype=int)}, "cell_batch 3"),
        ({"control": np.array([10**6])}, "beyond"),
        ({"parts": np.array([[0], [7]])}, "beyond"),
    ],
)
def test_what_does_not_fit_is_refused(make_screen, change, match):
    conditions, _ = make_screen((10, 20))
    with pytest.raises(ValueError, match=match):
        replace(conditions, **change)


def test_notes_name_small_conditions_and_stand_in_controls(make_screen):
    conditions, _ = make_screen((10, 60, 60), n_contexts=2)
    assert conditions.notes(10) == []
    (small,) = conditions.notes(20)
    assert "1 of 3 conditions have fewer than set_size=20 cells" in small
    assert "'P0'" in small
    alone = replace(
        conditions, cell_context=np.where(conditions.cell_context == 1, 5, conditions.cell_context)
    )
    alone.cell_context[conditions.control] = 0
    (note,) = alone.notes(10)
    assert "'same batch'" in note
    assert "'P1'" in note
    assert "'P0'" not in note
