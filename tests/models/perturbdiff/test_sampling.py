"""Cells out of the network of PerturbDiff: its start, its zeros, the steps of its samplers, and guidance."""

from __future__ import annotations

from itertools import pairwise

import pytest

pytest.importorskip("torch", reason="networks need the extra `models`")

import torch

from shoal.generative import GaussianDiffusion, strided, truncated
from shoal.models.perturbdiff._module import PRIOR

from .small_perturbdiff import (
    MEAN,
    SCALE,
    SEVERAL,
    G,
    K,
    S,
    batch,
    each_network,
    module,
    opened,
    seeded,
    watched,
)

pytestmark = pytest.mark.usefixtures("one_thread")

# -- the start -------------------------------------------------------------------------------------------------------


def test_at_first_one_pass_returns_its_start():
    """All that steers and the last layer are 0, and the network predicts a change of the control cell."""
    model, told = module(), batch()
    assert torch.equal(
        model.sample(told.source, told.condition, told.batch_index, generator=seeded()), told.source
    )
    low = told.source - 6  # values of -4 to 6: what is below 0 comes back as 0
    made = model.sample(low, told.condition, told.batch_index, generator=seeded())
    torch.testing.assert_close(
        made * SCALE + MEAN, (low * SCALE + MEAN).clamp(min=0), atol=1e-5, rtol=0
    )
    free = module(nonnegative=False)
    assert torch.equal(free.sample(low, told.condition, told.batch_index, generator=seeded()), low)


def test_at_first_the_published_network_sees_neither_controls_nor_conditions():
    """adaLN-Zero: blocks are the identity. The last layer is not 0: a noisy cell goes through two linear maps."""
    model, told = module("published").eval(), batch()
    x, guess = torch.randn(2, K, S, G, generator=seeded())
    t = torch.tensor([0, 500, 999])
    beside = []
    model.net.enter_control.register_forward_hook(lambda _, given, __: beside.append(given[0]))
    made = model._predict(
        x,
        t,
        guess,
        told.source,
        model._encoded_condition(told.condition, told.batch_index),
        seeded(),
    )
    assert torch.equal(
        beside[0], told.source
    )  # controls have no guess: the other half is 0 and left out
    h = model.net.enter(torch.cat([x, guess], -1)) + model.net.constant
    h = (h - h.mean(-1, keepdim=True)) / (h.var(-1, correction=0, keepdim=True) + 1e-6).sqrt()
    torch.testing.assert_close(made, model.net.head.leave(h).relu())
    assert made.std() > 0.1


# -- zeros -----------------------------------------------------------------------------------------------------------


@each_network
def test_values_are_below_0_only_where_they_may_be(name, changes):
    told = batch()
    told.source -= 3
    lowest = []
    for nonnegative in (True, False):
        model = opened(module(name, nonnegative=nonnegative, **changes))
        made = model.sample(
            told.source, told.condition, told.batch_index, generator=seeded(), guidance=1.0
        )
        lowest.append((made * SCALE + MEAN).min().item())
    assert abs(lowest[0]) < 1e-5
    assert lowest[1] < -0.1


def test_genes_are_on_with_their_chance_and_the_gradient_is_that_of_the_chance():
    model, n = module(hurdle=True), 40_000
    logits = torch.tensor([-3.0, -1.0, 0.0, 1.0, 3.0]).expand(2, n, G).clone().requires_grad_()
    value = torch.tensor([2.0, 1e-5])[:, None, None].expand(
        2, n, G
    )  # on at the start; off, but for rounding
    gate = model._gate(logits, value, seeded())
    chance = torch.sigmoid(logits.detach() + PRIOR * torch.tensor([1.0, -1.0])[:, None, None])
    assert ((gate - gate.round()).abs() < 1e-6).all()
    assert set(gate.detach().round().unique().tolist()) == {0.0, 1.0}
    assert (
        (gate.mean(1) - chance.mean(1)).abs() < 4 * (chance[:, 0] * (1 - chance[:, 0]) / n).sqrt()
    ).all()
    gate.sum().backward()
    torch.testing.assert_close(logits.grad, chance * (1 - chance))


@pytest.mark.parametrize(
    ("name", "changes"), [("shoal", {}), ("published", {}), ("shoal", SEVERAL)]
)
def test_genes_that_are_off_are_0_and_the_loss_reaches_their_chance(name, changes):
    model, told = opened(module(name, hurdle=True, **changes)), batch()
    made = (
        model.sample(
            told.source, told.condition, told.batch_index, generator=seeded(), guidance=1.0
        )
        * SCALE
        + MEAN
    )
    plain = opened(module(name, hurdle=True, **changes))
    plain._gate = lambda logits, value, generator: torch.ones_like(value)
    whole = (
        plain.sample(
            told.source, told.condition, told.batch_index, generator=seeded(), guidance=1.0
        )
        * SCALE
        + MEAN
    )
    off = (made.abs() < 1e-5) & (whole > 1e-2)
    assert 0.02 < off.float().mean() < 0.9
    if model.config.diffusion.one_pass:
        torch.testing.assert_close(made[~off], whole[~off])
    model.loss(told, seeded())["loss"].backward()
    last = model.net.head.leave if name == "published" else model.net.leave
    reached = (
        last.weight.grad[G:].abs().sum(1) > 0
    )  # all but genes that are 0 in all cells, on or off
    assert reached.sum() >= G - 1
    assert torch.equal(model.prior.grad != 0, reached)


# -- the sampler -----------------------------------------------------------------------------------------------------


def test_a_set_is_at_one_step_and_its_noise_is_for_each_cell():
    model, told = opened(module("published", self_conditioning=0.0)), batch(size=300)
    calls = watched(model)
    for seed in range(3):
        model.loss(told, seeded(seed))
    for seen in calls:
        kept = GaussianDiffusion().alpha_bar[seen.t].float()[:, None, None]
        noise = (seen.x - kept.sqrt() * model._in(told.target)) / (1 - kept).sqrt()
        assert seen.t.shape == (K,)
        assert ((noise.std((1, 2)) - 1).abs() < 5 / (2 * 300 * G) ** 0.5).all()
        assert noise.unique().numel() > 0.99 * noise.numel()
    assert torch.cat([seen.t for seen in calls]).unique().numel() > 5


@pytest.mark.parametrize(
    ("changes", "steps"),
    [
        ({}, truncated(100, 1000)),
        ({"n_steps": 10}, truncated(10, 1000)),
        ({"sampler": "strided", "n_steps": 4}, strided(4, 1000)),
    ],
    ids=["released", "shorter", "strided"],
)
def test_which_steps_are_visited_from_unit_noise(changes, steps):
    model, told = opened(module("published", **changes)), batch(size=100)
    calls = watched(model)
    model.sample(told.source, told.condition, told.batch_index, generator=seeded(), guidance=1.0)
    assert [seen.t.tolist() for seen in calls] == [[t] * K for t in steps]
    assert abs(calls[0].x.std() - 1) < 0.05
    assert abs(calls[0].x.mean()) < 0.1
    assert not calls[0].previous.any()
    assert all(
        torch.equal(b.previous, a.made.masked_fill(a.made < 1e-4, 0)) for a, b in pairwise(calls)
    )


def test_a_model_trained_without_guesses_is_shown_none():
    model, told = opened(module(**SEVERAL | {"self_conditioning": 0.0})), batch()
    calls = watched(model)
    model.sample(told.source, told.condition, told.batch_index, generator=seeded())
    assert len(calls) == 4
    assert not any(seen.previous.any() for seen in calls)


@pytest.mark.parametrize(
    ("name", "changes"),
    [("shoal", {}), ("published", {"sampler": "strided", "n_steps": 1, "floor": None})],
)
def test_guidance_goes_on_from_the_null(name, changes):
    model, told = opened(module(name, **changes)), batch()
    control = model._in(told.source)
    x, t = model._pure(control, seeded())
    drops = (), model.condition.covariates
    encoded = [
        model._encoded_condition(told.condition, told.batch_index, drop=drop) for drop in drops
    ]
    follows, null = (
        model._predict(x, t, torch.zeros_like(control), control, e, seeded()) for e in encoded
    )
    assert (follows - null).abs().max() > 0.01
    args = told.source, told.condition, told.batch_index
    assert torch.equal(model.sample(*args, generator=seeded(), guidance=1.0), model._out(follows))
    for w in (1.0, 2.5, -1.0):
        made = model.sample(*args, generator=seeded(), guidance=1 + w)
        torch.testing.assert_close(
            made, model._out((1 + w) * follows - w * null), atol=1e-4, rtol=1e-4
        )
    other = {key: value.roll(1, 0) for key, value in told.condition.items()}
    nothing = model.sample(
        told.source, other, 1 - told.batch_index, generator=seeded(), guidance=0.0
    )
    assert torch.equal(
        nothing, model.sample(*args, generator=seeded(), guidance=0.0)
    )  # the null: of no condition


def test_guidance_by_name_leaves_out_one_covariate():
    model, told = opened(module()), batch()
    args = told.source, told.condition, told.batch_index

    def made(guidance):
        return model.sample(*args, generator=seeded(), guidance=guidance)

    plain, without = made({}), made({"context": 0.0})
    assert torch.equal(plain, made(1.0))
    assert (without - plain).abs().max() > 0.01
    half = made({"context": 0.5})
    torch.testing.assert_close(half, (plain + without) / 2, atol=1e-4, rtol=1e-4)


def test_a_perturbation_that_is_not_familiar_is_followed_as_far_as_is_said():
    told = batch()
    known = {**told.condition, "familiar": torch.tensor([True, False, True])}

    def made(unseen, condition, **drop):
        model = opened(module(unseen_weight=unseen))
        if drop:
            plain = model.condition.forward
            model.condition.forward = lambda *args, **options: plain(*args, **(options | drop))
        return model.sample(told.source, condition, told.batch_index, generator=seeded())

    follows, common = made(1.0, known), made(1.0, told.condition, drop=("perturbation",))
    assert (follows - common).abs().amax((1, 2)).min() > 0.01
    assert torch.equal(follows, made(0.25, told.condition))  # where nobody says what is familiar
    found = made(0.25, known)
    torch.testing.assert_close(found[1], 0.75 * common[1] + 0.25 * follows[1])
    assert torch.equal(found[[0, 2]], follows[[0, 2]])
    torch.testing.assert_close(made(0.0, known)[1], common[1])
