from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
import torch

from shoal.training._sampler import SetSampler
from shoal.training._store import ResidentStore
from shoal.training._streamed import StreamedStore


class Reader:
    """A file that remembers what was read of it."""

    def __init__(self, values):
        self.values, self.reads = values, []

    def __call__(self, positions):
        assert (np.diff(positions) > 0).all()
        self.reads.append(positions)
        return self.values[positions]


def same(a, b):
    whole = all(
        torch.equal(getattr(a, f.name), getattr(b, f.name))
        for f in fields(a)
        if f.name != "condition"
    )
    return whole and all(torch.equal(a.condition[k], b.condition[k]) for k in a.condition)


def rows_of(values, x):
    """Return the position of every cell of a tensor in the matrix (its rows are unique)."""
    where = {row.tobytes(): i for i, row in enumerate(values)}
    return np.array([where[cell.tobytes()] for cell in x.reshape(-1, x.shape[-1]).numpy()]).reshape(
        x.shape[:-1]
    )


def test_resident_batch_holds_the_cells_that_were_drawn(make_screen):
    conditions, x = make_screen()
    sampler = SetSampler(conditions, set_size=8, batch_conditions=3)
    batch, draw = ResidentStore(x, sampler).batch(5), sampler.draw(5)
    np.testing.assert_array_equal(batch.source, x[draw.source])
    np.testing.assert_array_equal(batch.target, x[draw.target])
    np.testing.assert_array_equal(batch.weight, draw.weight)
    np.testing.assert_array_equal(batch.index, draw.index)
    np.testing.assert_array_equal(batch.condition["parts"][:, 0].argmax(1), draw.index)
    assert len(batch) == 3
    assert batch.source.dtype == batch.weight.dtype == torch.float32


def test_a_batch_moves_as_a_whole(make_screen, make_store):
    moved = make_store(*make_screen()).batch(0).to("meta")
    assert {getattr(moved, f.name).device.type for f in fields(moved) if f.name != "condition"} == {
        "meta"
    }
    assert {value.device.type for value in moved.condition.values()} == {"meta"}


def test_a_matrix_that_does_not_fit_is_refused(make_screen, make_store):
    conditions, x = make_screen()
    with pytest.raises(ValueError, match="n_obs = 320"):
        make_store(conditions, x[:-1])
    x[[7, 9]] = np.nan
    with pytest.raises(ValueError, match="2 of 320 cells hold NaN .* position 7"):
        make_store(conditions, x)
    with pytest.raises(ValueError, match=r"NaN .* position"):
        StreamedStore(Reader(x), SetSampler(conditions, set_size=4), pool_cells=320).batch(0)


@pytest.fixture
def stream(make_screen):
    conditions, x = make_screen((30,) * 12, n_control=120, n_batches=3, n_contexts=2)
    reader = Reader(x)

    def make(**options):
        sampler = SetSampler(conditions, set_size=8, batch_conditions=3)
        return StreamedStore(reader, sampler, **{"pool_cells": 64, "refresh": 5} | options)

    return conditions, x, reader, make


def test_streamed_cells_are_of_their_condition_with_matched_controls(stream):
    conditions, x, _, make = stream
    store = make()
    for step in range(0, 30, 3):
        batch = store.batch(step)
        target, source = rows_of(x, batch.target), rows_of(x, batch.source)
        for i, own in zip(batch.index.tolist(), target, strict=True):
            assert set(own) <= set(conditions.cells[i])
        assert np.isin(source, conditions.control).all()
        np.testing.assert_array_equal(batch.batch_index, conditions.cell_batch[target])
        np.testing.assert_array_equal(batch.condition["parts"][:, 0].argmax(1), batch.index)
    store.close()


def test_streamed_sources_match_where_the_pool_has_room(stream):
    conditions, x, _, make = stream
    batch = make(pool_cells=480).batch(0)
    target, source = rows_of(x, batch.target), rows_of(x, batch.source)
    np.testing.assert_array_equal(conditions.cell_batch[source], conditions.cell_batch[target])
    np.testing.assert_array_equal(conditions.cell_context[source], conditions.cell_context[target])


def test_streamed_batches_do_not_depend_on_what_came_before(stream):
    *_, make = stream
    one, two = make(), make()
    forward = [one.batch(step) for step in range(20)]
    for step in (13, 2, 19, 7):
        assert same(two.batch(step), forward[step])
    one.close()
    assert same(one.batch(4), forward[4])
    one.close()
    two.close()


def test_a_window_reads_its_pool_once_and_no_more(stream):
    *_, reader, make = stream
    store = make()
    for step in range(5):
        store.batch(step)
    store.close()
    assert len(reader.reads) <= 2
    assert all(len(positions) <= 64 for positions in reader.reads)


def test_streamed_conditions_come_equally_often(stream):
    conditions, _, _, make = stream
    store = make(refresh=2)  # 6 conditions a window, 3 a step: every step of a window has its own
    seen = np.bincount(
        np.concatenate([store.batch(step).index for step in range(24)]), minlength=len(conditions)
    )
    store.close()
    assert seen.tolist() == [6] * 12


def test_streamed_processes_share_the_conditions(stream):
    *_, make = stream
    first, second = (make(pool_cells=480), make(pool_cells=480))
    own = [
        {int(i) for step in range(5) for i in store.batch(step, rank, 2).index}
        for rank, store in enumerate((first, second))
    ]
    assert not own[0] & own[1]
    assert len(own[0] | own[1]) == 12
    first.close()
    second.close()


def test_streamed_gather_equals_resident_gather(stream, make_store):
    conditions, x, _, make = stream
    store = make()
    draw = store.sampler.draw(3)
    assert same(store.gather(conditions, draw), make_store(conditions, x).gather(conditions, draw))


def test_a_reader_that_fails_says_so_in_training(stream):
    _, x, _, make = stream
    store = make(refresh=1)
    store.batch(0)
    store._read = lambda positions: x[positions][:, :2].ravel()
    with pytest.raises(ValueError, match="for .* positions; expected"):
        [store.batch(step) for step in (1, 2)]
    store.close()


@pytest.mark.parametrize("options", [{"pool_cells": 40}, {"refresh": 0}])
def test_a_pool_without_room_is_refused(stream, options):
    with pytest.raises(ValueError, match="room for a step, 48 cells"):
        stream[3](**options)


# -- images ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "kept"),
    [("uint8", torch.uint8), ("uint16", torch.float32), ("float64", torch.float32)],
)
def test_images_keep_their_shape_and_bytes_stay_bytes(make_screen, given, kept):
    conditions, x = make_screen()
    images = np.random.default_rng(0).integers(0, 256, (len(x), 3, 5, 4)).astype(given)
    sampler = SetSampler(conditions, set_size=8, batch_conditions=3)
    store, draw = ResidentStore(images, sampler), sampler.draw(5)
    batch = store.batch(5)
    assert batch.source.shape == batch.target.shape == (3, 8, 3, 5, 4)
    assert batch.source.dtype == torch.float32
    assert store._values.dtype == kept
    np.testing.assert_array_equal(batch.target, images[draw.target])
    streamed = StreamedStore(Reader(images), sampler, pool_cells=64, refresh=5)
    batch = streamed.batch(5)
    assert batch.source.shape == batch.target.shape == (3, 8, 3, 5, 4)
    assert streamed._pool[1].values.dtype == kept
    own = images[np.concatenate(conditions.cells)].astype(np.float32)
    assert all((own == cell.numpy()).all((1, 2, 3)).any() for cell in batch.target.flatten(0, 1))
    streamed.close()


def test_images_with_a_pixel_that_is_no_number_are_refused(make_screen, make_store):
    conditions, x = make_screen()
    images = np.zeros((len(x), 2, 3, 3), dtype=np.float32)
    images[4, 1, 2, 2] = np.nan
    with pytest.raises(ValueError, match="1 of 320 cells hold NaN .* position 4"):
        make_store(conditions, images)
