"""The network of PerturbDiff, term by term: losses, conditioning, the sets it sees and the samplers that use it."""

from __future__ import annotations

import pickle
from copy import deepcopy
from dataclasses import asdict
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import special

pytest.importorskip("torch", reason="networks need the extra `models`")

import torch

from shoal.metrics import energy_distance
from shoal.models.base._config import changed
from shoal.models.perturbdiff._config import PRESETS, PerturbDiffConfig
from shoal.models.perturbdiff._module import PerturbDiffModule
from shoal.nn import n_parameters

from .small_perturbdiff import (
    AXES,
    MEAN,
    SCALE,
    SEVERAL,
    E,
    G,
    K,
    S,
    batch,
    each_network,
    each_preset,
    module,
    opened,
    seeded,
    watched,
)

pytestmark = pytest.mark.usefixtures("one_thread")


def trained(model: PerturbDiffModule, steps: int) -> PerturbDiffModule:
    model.train()
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for step in range(steps):
        optimizer.zero_grad()
        model.loss(batch(step, 32), seeded(step))["loss"].backward()
        optimizer.step()
        schedule.step()
    return model.eval()


# -- the loss --------------------------------------------------------------------------------------------------------


def test_terms_of_the_published_loss_written_out():
    model, told = opened(module("published")), batch()
    calls = watched(model)
    found = model.loss(told, seeded())
    made, real = calls[-1].made, (told.target * SCALE + MEAN) / 10
    assert list(found) == ["loss", "mse", "energy"]
    torch.testing.assert_close(
        found["mse"], ((made - real) ** 2).mean()
    )  # repeated cells count as well
    cross, own, theirs = (
        torch.linalg.vector_norm(a[:, :, None] - b[:, None], dim=-1).mean()
        for a, b in ((made, real), (made, made), (real, real))
    )
    torch.testing.assert_close(found["energy"], cross - own / 2 - theirs / 2)
    torch.testing.assert_close(found["loss"], found["mse"] + found["energy"])


def test_batches_are_encoded_once_where_nothing_is_left_out_by_slots():
    model, told = opened(module("published")), batch()
    vectors, slots = model._encoded_condition(told.condition, told.batch_index)
    assert vectors.shape == (K, 2, 16)
    each = model.condition(told.condition, told.batch_index)
    torch.testing.assert_close(slots.float() @ vectors, each)
    loss = model.loss(told, seeded())["loss"]
    model._encoded_condition = lambda condition, batch_index, **_: (
        model.condition(condition, batch_index),
        None,
    )
    torch.testing.assert_close(loss, model.loss(told, seeded())["loss"])
    several = torch.arange(K * S).reshape(K, S)
    for own, batch_index in (
        (module("shoal"), told.batch_index),
        (module("published"), several % 2),
    ):
        vectors, slots = opened(own)._encoded_condition(
            told.condition, batch_index[:, :2] if own.config.loss.biased else batch_index
        )
        assert slots is None  # each slot by itself, and as many batches as slots
        assert vectors.shape[1] in (2, S)


def test_the_published_energy_is_that_of_geomloss():
    geomloss = pytest.importorskip(
        "geomloss", reason="geomloss absent: the loss is not compared with it"
    )
    x, y = torch.randn(2, K, S, G, generator=seeded())
    theirs = geomloss.SamplesLoss("energy")(x, y).mean()
    ours = module("published")._energy(x, y, None, torch.zeros(K, S))
    torch.testing.assert_close(
        ours, theirs, atol=1e-4, rtol=0
    )  # to it no cell is nearer to itself than 1e-4


def test_terms_of_the_other_loss_are_the_metrics_of_the_cells_that_count():
    weights = {"mse": 3.0, "energy": 2.0, "energy_components": 0.5}
    model, told = opened(module(**SEVERAL, **weights)), batch()
    calls = watched(model)
    found = model.loss(told, seeded())
    made, counts = calls[-1].made.detach(), told.weight > 0
    error = (made - told.target).square().mean(-1)
    torch.testing.assert_close(found["mse"], (error * told.weight).sum() / told.weight.sum())
    for name, axes in (("energy", torch.eye(G)), ("energy_components", AXES)):
        pairs = [
            ((a @ axes)[w].numpy(), (b @ axes)[w].numpy())
            for a, b, w in zip(made, told.target, counts, strict=True)
        ]
        assert found[name].item() == pytest.approx(
            np.mean([energy_distance(*pair) for pair in pairs]), rel=1e-4
        )
    torch.testing.assert_close(found["loss"], sum(weights[name] * found[name] for name in weights))
    assert set(module().loss(told, seeded())) == {
        "loss",
        "energy",
        "energy_components",
    }  # no term of weight 0


def test_in_one_pass_what_is_made_counts_as_its_start_does():
    model, told = opened(module(energy_components=0.0)), batch()
    calls = watched(model)
    found = model.loss(told, seeded())["energy"]
    made = calls[-1].made.detach()
    expected = [
        energy_distance(
            made[k][told.source_weight[k] > 0].numpy(), told.target[k][told.weight[k] > 0].numpy()
        )
        for k in range(K)
    ]
    assert found.item() == pytest.approx(np.mean(expected), rel=1e-4)


@pytest.mark.parametrize("biased", [False, True])
def test_energy_of_normal_populations_is_the_closed_form(biased):
    sets, size, shift, spread = 40, 200, 0.8, 1.5
    draw = seeded()
    x = torch.randn(sets, size, G, generator=draw)
    y = spread * torch.randn(sets, size, G, generator=draw) + shift

    def distance(variance: float, square: float = 0.0) -> float:
        """Mean length of a normal vector: a Laguerre function of its mean."""
        length = np.sqrt(2 * variance) * special.gamma((G + 1) / 2) / special.gamma(G / 2)
        return length * special.hyp1f1(-0.5, G / 2, -square / (2 * variance))

    own, theirs = distance(2.0), distance(2 * spread**2)
    expected = 2 * distance(1 + spread**2, G * shift**2) - own - theirs
    if biased:  # each cell is a pair with itself, and it is half the distance
        expected = (expected + (own + theirs) / size) / 2
    model, weight = module(biased=biased), torch.ones(sets, size)
    found = model._energy(x, y, weight, weight).item()
    single = torch.stack(
        [model._energy(a[None], b[None], weight[:1], weight[:1]) for a, b in zip(x, y, strict=True)]
    )
    assert abs(found - expected) < 4 * single.std().item() / sets**0.5
    assert 4 * single.std().item() / sets**0.5 < 0.1 * expected


def test_units_of_the_data_do_not_matter_to_the_published_network():
    model, told = opened(module("published")), batch()
    other, scale, mean = deepcopy(model), torch.tensor(3.0), MEAN - 1
    other.load_state_dict(model.state_dict() | {"scale": scale, "mean": mean})
    source, target = ((x * SCALE + MEAN - mean) / scale for x in (told.source, told.target))
    moved = SimpleNamespace(**vars(told) | {"source": source, "target": target})
    torch.testing.assert_close(
        model.loss(told, seeded())["loss"], other.loss(moved, seeded())["loss"]
    )


def test_the_published_scale_is_a_tenth_of_the_values_and_back():
    model, values = module("published"), torch.rand(K, S, G, generator=seeded()) * 8
    told = (values - MEAN) / SCALE
    torch.testing.assert_close(model._in(told), values / 10)
    torch.testing.assert_close(model._out(values / 10), told)
    assert module()._in(told) is told


# -- self-conditioning -----------------------------------------------------------------------------------------------


def test_the_first_prediction_is_shown_with_its_probability_and_is_no_way_for_the_gradient():
    told = batch()
    for chance, n in ((0.0, 1), (1.0, 2)):
        model = opened(module("published", self_conditioning=chance))
        calls = watched(model)
        model.loss(told, seeded())
        assert len(calls) == n
        assert calls[0].previous is None
    first, second = calls
    assert torch.equal(second.previous, first.made)
    assert not second.previous.requires_grad
    assert torch.equal(second.x, first.x)
    assert second.encoded is first.encoded
    again = opened(module("published", self_conditioning=0.0))._predict(
        *list(vars(second).values())[:5], seeded()
    )
    torch.testing.assert_close(again, second.made)
    assert not torch.isclose(second.made, first.made).all()  # it is looked at
    calls, model.config = watched(model), changed(model.config, {"self_conditioning": 0.5})
    for step in range(60):
        model.loss(told, seeded(step))
    assert 90 - 16 < len(calls) < 90 + 16  # 60 and a binomial number with standard deviation 4


def test_gradients_are_those_with_the_guess_as_a_constant():
    model, told = opened(module("published", self_conditioning=1.0)), batch()
    calls = watched(model)
    model.loss(told, seeded())["loss"].backward()
    found = model.net.enter.weight.grad.clone()
    model.zero_grad()
    x0, seen = model._in(told.target), calls[-1]
    told_again = model._encoded_condition(told.condition, told.batch_index)
    made = model._predict(seen.x, seen.t, seen.previous, seen.control, told_again, seeded())
    ((made - x0).square().mean() + model._energy(made, x0, None, told.weight)).backward()
    torch.testing.assert_close(model.net.enter.weight.grad, found)
    assert found[:, G:].any()  # the part of the first layer that reads the guess


# -- sets ------------------------------------------------------------------------------------------------------------


@each_network
def test_the_order_of_the_cells_of_a_set_goes_through(name, changes):
    model, told = opened(module(name, **changes)), batch()
    control = model._in(told.source)
    x, t = model._pure(control, seeded())
    guess = torch.rand(control.shape, generator=seeded(1))
    order = torch.randperm(S, generator=seeded(2))

    def made(at):
        covariates = model._encoded_condition(told.condition, told.batch_index[:, at])
        return model._predict(
            x[:, at],
            t,
            guess[:, at],
            control[:, at],
            covariates,
            seeded(),
            weight=told.weight[:, at],
        )

    one, two = made(torch.arange(S)), made(order)
    torch.testing.assert_close(two, one[:, order])
    assert not torch.isclose(one[:, order], one).all()


@each_network
def test_repeated_cells_do_not_count(name, changes):
    """Neither in the loss nor to the other cells; only the published loss counts them."""
    model, told, other = opened(module(name, **changes)), batch(), batch()
    if (
        not model.config.diffusion.one_pass and model.config.network.fusion != "tokens"
    ):  # a cell that counts brings its control
        told.source_weight = other.source_weight = told.weight
    other.target[other.weight == 0] += 1
    other.source[other.source_weight == 0] += 1
    calls = watched(model)
    one, two = (model.loss(each, seeded())["loss"].item() for each in (told, other))
    if model.config.loss.biased:
        assert abs(one - two) > 1e-4
        return
    assert two == pytest.approx(one, rel=1e-5)
    counts = told.source_weight if model.config.diffusion.one_pass else told.weight
    first, second = (calls[i].made[counts > 0] for i in (len(calls) // 2 - 1, -1))
    torch.testing.assert_close(first, second)
    other.source[:, 1] += 1  # a cell that counts
    assert abs(model.loss(other, seeded())["loss"].item() - one) > 1e-4


# -- the whole -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("shoal", {}),
        ("shoal", {"hurdle": True}),
        ("published", {"sampler": "strided", "n_steps": 20}),
    ],
    ids=["shoal", "hurdle", "published"],
)
def test_it_learns_populations(name, changes):
    model, told = (
        trained(module(name, condition_dropout=0.1, depth=1, **changes), 150),
        batch(99, 300),
    )
    made = model.sample(
        told.source, told.condition, told.batch_index, generator=seeded(), guidance=1.0
    )
    weight = torch.ones(K, 300)
    ours, controls = (module()._energy(x, told.target, weight, weight) for x in (made, told.source))
    assert ours < 0.45 * controls


@each_network
def test_gradients_reach_every_weight_that_is_trained(name, changes):
    model, told = (
        opened(module(name, condition_dropout=0.3, pooling="attention", **changes)).train(),
        batch(),
    )
    told.condition["present"][2] = False  # the token of the unperturbed
    told.batch_index[:, 0] = -1  # and those of unknown batches
    model.condition.coin = "condition"
    for seed in range(8):
        model.loss(told, seeded(seed))["loss"].backward()
    without = [
        n
        for n, p in model.named_parameters()
        if p.requires_grad and (p.grad is None or not p.grad.any())
    ]
    assert without == []


@each_preset
def test_all_randomness_comes_from_the_generator(name):
    steps = {} if name == "shoal" else {"n_steps": 3}
    model, told, losses = opened(module(name, **steps)).train(), batch(), []
    for seed, state in ((0, 1), (0, 2), (1, 1)):
        torch.manual_seed(state)
        made = model.sample(told.source, told.condition, told.batch_index, generator=seeded(seed))
        losses.append((model.loss(told, seeded(seed))["loss"].item(), made.sum().item()))
    assert losses[0] == losses[1]
    assert losses[0][0] != losses[2][0]
    assert losses[0][1] != losses[2][1]
    assert model.training  # sampling leaves the mode
    assert not made.requires_grad


@each_preset
def test_it_can_be_copied_and_rebuilt(name):
    steps = {} if name == "shoal" else {"n_steps": 3}
    model, told = opened(module(name, **steps)), batch()
    rebuilt = PerturbDiffModule(
        G,
        E,
        2,
        2,
        config=changed(PerturbDiffConfig(), asdict(model.config)),
        axes=torch.zeros(G, 2),
    )
    rebuilt.load_state_dict(model.state_dict())
    copies = deepcopy(model), pickle.loads(pickle.dumps(model)), rebuilt.eval()
    made = [
        m.sample(told.source, told.condition, told.batch_index, generator=seeded())
        for m in (model, *copies)
    ]
    assert all(torch.equal(made[0], each) for each in made[1:])


def test_the_published_network_has_as_many_weights_as_theirs():
    """Counted as published: covariates from the layer as wide as the genes on, and a layer of theirs that is not used."""
    config = changed(PRESETS["published"], {"width": 512, "depth": 8, "n_heads": 8})
    with torch.device("meta"):
        model = PerturbDiffModule(2000, E, 2, 2, config=config)
    ours = (
        sum(map(n_parameters, (model.net, model.time, model.condition.leave)))
        + model.condition.null.numel()
    )
    assert round((ours + 5120 * 512 + 512) / 1e6, 1) == 103.6
    assert round(n_parameters(model.net.blocks) / 1e6, 1) == 92.4
