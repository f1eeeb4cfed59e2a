from __future__ import annotations

import pytest
import torch

from shoal.nn import ResidualMLP


@pytest.fixture
def net():
    torch.manual_seed(0)
    return ResidualMLP(5, 3, width=16, depth=2, d_condition=8)


def trained(net: ResidualMLP, steps: int = 20) -> torch.Tensor:
    """Fit x and c to a product of both; return the last loss."""
    draw = torch.Generator().manual_seed(1)
    x, c = torch.randn(64, 5, generator=draw), torch.randn(64, 8, generator=draw)
    y = x[:, :3] * c[:, :1]
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
    for _ in range(steps):
        optimizer.zero_grad()
        loss = (net(x, c) - y).square().mean()
        loss.backward()
        optimizer.step()
    return loss.detach()


def test_an_untrained_network_returns_zero(net):
    assert not net(torch.randn(4, 5), torch.randn(4, 8)).any()


def test_gradients_reach_every_parameter(net):
    trained(
        net, 4
    )  # the zeros open one after the other: the last layer, then the gates, then what is behind them
    trained(net, 1)
    assert all(p.grad.abs().sum() > 0 for p in net.parameters())


def test_it_learns_what_only_the_condition_tells(net):
    first = trained(net, 1)
    assert trained(net, 300) < 0.1 * first


def test_condition_broadcasts_over_slots(net):
    trained(net)
    x, c = torch.randn(2, 4, 5), torch.randn(2, 1, 8)
    torch.testing.assert_close(net(x, c), net(x, c.expand(2, 4, 8)))


def test_state_dict_round_trip(net):
    trained(net)
    other = ResidualMLP(5, 3, width=16, depth=2, d_condition=8)
    other.load_state_dict(net.state_dict())
    x, c = torch.randn(4, 5), torch.randn(4, 8)
    assert torch.equal(net(x, c), other(x, c))


def test_dropout_acts_in_training_only():
    torch.manual_seed(0)
    net = ResidualMLP(5, 3, width=16, depth=2, d_condition=8, dropout=0.5)
    trained(net)
    x, c = torch.randn(4, 5), torch.randn(4, 8)
    assert not torch.equal(net(x, c), net(x, c))
    net.eval()
    assert torch.equal(net(x, c), net(x, c))


def test_velocity_net_sees_the_leading_features_and_scales_the_rest():
    from shoal.nn import VelocityNet

    torch.manual_seed(0)
    net = VelocityNet(6, heads=2, n_visible=2, width=16, depth=1, d_condition=4)
    x, condition = torch.randn(5, 6), torch.randn(1, 4)
    assert not net(x, condition).any()  # starts at zero
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    jacobian = torch.autograd.functional.jacobian(
        lambda one: net(one, condition[0]), x[0]
    )  # (12, 6)
    hidden = jacobian[:, 2:].reshape(2, 6, 4)
    own = torch.zeros(2, 6, 4, dtype=torch.bool)
    own[:, 2:] = torch.eye(4, dtype=torch.bool)
    assert (hidden[own].abs() > 0).all()
    assert not hidden[~own].any()
    assert (jacobian[:, :2].abs() > 0).all()


def test_velocity_net_without_a_view_is_the_residual_network():
    from shoal.nn import VelocityNet

    net = VelocityNet(6, heads=1, n_visible=None, width=16, depth=1, d_condition=4)
    assert net.gain is None
    assert VelocityNet(6, heads=1, n_visible=9, width=16, depth=1, d_condition=4).n_visible == 6
