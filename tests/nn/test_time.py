from __future__ import annotations

import pytest
import torch

from shoal.nn import TimeEmbedding, waves


def test_waves_have_the_wavelengths_they_say():
    longest, shortest = 3.0, 0.5
    t = torch.linspace(0, 1, 7)
    found = waves(t, 4, longest=longest, shortest=shortest)
    assert found.shape == (7, 8)
    torch.testing.assert_close(found[:, 0], torch.sin(2 * torch.pi * t / longest))
    torch.testing.assert_close(found[:, 7], torch.cos(2 * torch.pi * t / shortest))
    torch.testing.assert_close(
        waves(t + shortest, 4, longest=longest, shortest=shortest)[:, 7], found[:, 7]
    )


def test_times_are_told_apart_everywhere():
    t = torch.linspace(0, 1, 101)
    found = waves(t, 16)
    apart = torch.cdist(found, found).fill_diagonal_(torch.inf)
    assert apart.min() > 0.2  # a hundredth apart; two vectors of this length are at most 8 apart
    assert (apart[0, 50:] > 3).all()


@pytest.mark.parametrize("shape", [(), (5,), (3, 4)])
def test_embedding_appends_an_axis(shape):
    assert TimeEmbedding(16)(torch.rand(shape)).shape == (*shape, 16)
