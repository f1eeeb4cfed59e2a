"""Dropout from few random bits: it drops what it says, keeps the mean, and is repeatable."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="networks need the extra 'models'")

from shoal.nn._dropout import Dropout  # noqa: E402


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_share_is_dropped_and_the_mean_stays(share):
    torch.manual_seed(0)
    n = 200_003  # no multiple of four
    x = torch.ones(n, requires_grad=True)
    made = Dropout(share)(x)
    dropped = made == 0
    error = (share * (1 - share) / n) ** 0.5
    assert float(dropped.float().mean()) == pytest.approx(share, abs=5 * error + 1e-5)
    kept = made[~dropped].detach()
    torch.testing.assert_close(kept, torch.full_like(kept, 1 / (1 - share)), rtol=1e-4, atol=0)
    assert float(made.mean().detach()) == pytest.approx(1, abs=5 * error / (1 - share) + 1e-4)
    made.sum().backward()
    torch.testing.assert_close(x.grad, made.detach())


def test_neighbours_are_dropped_independently():
    """Four values share one random number."""
    torch.manual_seed(0)
    gone = (Dropout(0.3)(torch.ones(100_000, 4)) == 0).double()
    correlation = torch.corrcoef(gone.T)
    assert (correlation - torch.eye(4)).abs().max() < 0.02
    after = torch.corrcoef(torch.stack([gone[:-1].flatten(), gone[1:].flatten()]))
    assert abs(float(after[0, 1])) < 0.02


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_a_value_stays_where_its_16_bits_reach_the_share(dtype):
    torch.manual_seed(0)
    found = Dropout(0.3)(torch.ones(40, 25, dtype=dtype))
    torch.manual_seed(0)
    level = torch.empty(250, dtype=torch.int64).random_(-(2**63), None).view(torch.int16)
    stays = (level >= round(0.3 * 2**16) - 2**15).view(40, 25)
    assert torch.equal(found != 0, stays)


def test_the_seed_of_torch_decides():
    layer, x = Dropout(0.5), torch.ones(3, 7)
    made = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        made.append(layer(x))
    assert torch.equal(made[0], made[1])
    assert not torch.equal(made[0], made[2])


@pytest.mark.parametrize("share", [0.0, 1e-9, 0.3])
def test_nothing_is_dropped_out_of_training_or_of_no_share(share):
    layer, x = Dropout(share), torch.randn(5, 3)
    assert torch.equal(layer.eval()(x), x)
    if share < 0.1:
        torch.testing.assert_close(layer.train()(x), x)


def test_all_may_be_dropped_and_half_precision_stays():
    assert not Dropout(1.0)(torch.ones(9)).any()
    assert not Dropout(1 - 1e-9)(torch.ones(9)).any()
    assert Dropout(0.5)(torch.ones(9, dtype=torch.bfloat16)).dtype == torch.bfloat16
    assert Dropout(0.5)(torch.ones(0, 3)).shape == (0, 3)
