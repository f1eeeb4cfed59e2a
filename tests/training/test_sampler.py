from __future__ import annotations

from collections import Counter
from dataclasses import fields, replace

import numpy as np
import pytest

from shoal.training._sampler import SetSampler


def same(a, b):
    return all(np.array_equal(getattr(a, f.name), getattr(b, f.name)) for f in fields(a))


def test_a_draw_depends_on_seed_step_and_rank_alone(make_screen):
    conditions, _ = make_screen()
    one, two = (SetSampler(conditions, set_size=8, batch_conditions=2, seed=3) for _ in range(2))
    two.draw(50)
    assert same(one.draw(7), two.draw(7))
    assert not same(one.draw(7), one.draw(8))
    assert not same(
        one.draw(7), SetSampler(conditions, set_size=8, batch_conditions=2, seed=4).draw(7)
    )


def test_every_cell_belongs_to_its_condition_and_every_source_is_a_control(make_screen):
    conditions, _ = make_screen((60, 5, 60), n_contexts=2, n_batches=2)
    sampler = SetSampler(conditions, set_size=16, batch_conditions=3)
    for step in range(10):
        draw = sampler.draw(step)
        for i, target in zip(draw.index, draw.target, strict=True):
            assert set(target) <= set(conditions.cells[i])
        assert np.isin(draw.source, conditions.control).all()
        np.testing.assert_array_equal(draw.batch_index, conditions.cell_batch[draw.target])
        np.testing.assert_array_equal(
            conditions.cell_batch[draw.source], conditions.cell_batch[draw.target]
        )
        np.testing.assert_array_equal(
            conditions.cell_context[draw.source], conditions.cell_context[draw.target]
        )


def test_weights_count_every_cell_once(make_screen):
    conditions, _ = make_screen((60, 5), n_control=12)
    draw = SetSampler(conditions, set_size=16).draw(0)
    for i in range(2):
        own, weight = draw.target[i], draw.weight[i]
        assert weight.sum() == len(set(own)) == min(16, len(conditions.cells[draw.index[i]]))
        assert len(set(own[weight > 0])) == weight.sum()
        source, weight = draw.source[i], draw.source_weight[i]
        assert weight.sum() == len(set(source)) == 12
        assert len(set(source[weight > 0])) == 12


def test_uniform_sees_every_condition_equally_often(make_screen):
    conditions, _ = make_screen((10, 20, 300, 40, 50))
    sampler = SetSampler(conditions, set_size=8, batch_conditions=2)
    seen = Counter(int(i) for step in range(50) for i in sampler.draw(step).index)
    assert set(seen.values()) == {20}


def test_size_sees_every_condition_as_often_as_it_fills_sets(make_screen):
    conditions, _ = make_screen((8, 16, 40))
    sampler = SetSampler(conditions, set_size=8, batch_conditions=2, weighting="size")
    seen = Counter(int(i) for step in range(40) for i in sampler.draw(step).index)
    assert seen == {0: 10, 1: 20, 2: 50}


def test_processes_share_the_conditions_of_a_pass(make_screen):
    conditions, _ = make_screen((20,) * 12)
    sampler = SetSampler(conditions, set_size=4, batch_conditions=3)
    shares = [set(sampler.draw(step, rank, 2).index) for step in range(2) for rank in range(2)]
    assert sum(len(share) for share in shares) == len(set.union(*shares)) == 12


def test_without_controls_of_its_context_a_cell_gets_those_of_its_batch(make_screen):
    conditions, _ = make_screen((40, 40), n_contexts=2, n_batches=2, n_control=80)
    context = conditions.cell_context.copy()
    context[conditions.control] = 0
    draw = SetSampler(replace(conditions, cell_context=context), set_size=16).draw(0)
    alone = context[draw.target] == 1
    assert alone.any()
    np.testing.assert_array_equal(
        conditions.cell_batch[draw.source], conditions.cell_batch[draw.target]
    )
    assert (context[draw.source] == 0).all()


def test_sets_are_random_over_steps(make_screen):
    conditions, _ = make_screen((64,), n_control=64)
    sampler = SetSampler(conditions, set_size=16)
    draws = [sampler.draw(step) for step in range(400)]
    for name, cells in (("target", conditions.cells[0]), ("source", conditions.control)):
        seen = np.bincount(
            np.concatenate([getattr(d, name)[0] for d in draws]) - cells[0], minlength=64
        )
        assert abs(seen - 100).max() < 5 * np.sqrt(100 * 0.75)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"set_size": 0}, "set_size"),
        ({"batch_conditions": 0}, "batch_conditions"),
        ({"weighting": "cells"}, "uniform"),
    ],
)
def test_bad_settings_are_refused(make_screen, options, match):
    with pytest.raises(ValueError, match=match):
        SetSampler(make_screen()[0], **options)
