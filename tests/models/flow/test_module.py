from __future__ import annotations

import pickle
from copy import deepcopy
from dataclasses import asdict
from types import SimpleNamespace

import pytest

pytest.importorskip("torch", reason="networks need the extra `models`")

import torch

from shoal.generative import path as make_path
from shoal.models.base._config import changed
from shoal.models.flow._config import PRESETS, FlowConfig
from shoal.models.flow._module import FlowModule

K, S, D, E = 3, 32, 2, 3
SHIFT = torch.tensor([[4.0, 0.0], [0.0, 4.0], [-4.0, -4.0]])
TINY = {"width": 32, "depth": 1}
each_preset = pytest.mark.parametrize("name", PRESETS)


def conditions(n: int = K) -> dict[str, torch.Tensor]:
    """Return A, B + A and C, in three contexts (one unknown), at three doses."""
    present = torch.tensor([[True, False], [True, True], [True, False]])[:n]
    parts = torch.stack([torch.eye(E), torch.eye(E)[:1].expand(E, E)], dim=1)[:n]
    return {
        "parts": parts * present[..., None],
        "present": present,
        "context": torch.tensor([0, 1, -1])[:n],
        "dose": torch.stack([torch.arange(n).float() - 1, torch.ones(n)], dim=-1),
    }


def batch(seed: int = 0, size: int = S) -> SimpleNamespace:
    """Three conditions that shift the controls and halve their spread; every fourth slot repeats a cell."""
    draw = torch.Generator().manual_seed(seed)
    weight = torch.ones(K, size)
    weight[:, ::4] = 0
    return SimpleNamespace(
        source=torch.randn(K, size, D, generator=draw) + 1,
        target=torch.randn(K, size, D, generator=draw) * 0.5 + 1 + SHIFT[:, None],
        weight=weight,
        source_weight=torch.ones(K, size),
        batch_index=torch.arange(size).expand(K, size) % 2,
        index=torch.arange(K),
        condition=conditions(),
    )


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def module(name: str = "flow", n_batches: int = 2, **changes: object) -> FlowModule:
    torch.manual_seed(0)
    plain = (
        {"relative_to_control": False, "dropout": 0.0, "guidance": {}, "cross_context": 0.0}
        if name == "flow"
        else {}
    )  # tested elsewhere
    return FlowModule(D, E, 2, n_batches, config=changed(PRESETS[name], TINY | plain | changes))


def trained(model: FlowModule, steps: int = 120, data=batch) -> FlowModule:
    model.train()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for step in range(steps):
        optimizer.zero_grad()
        model.loss(data(step), seeded(step))["loss"].backward()
        optimizer.step()
        schedule.step()
    return model.eval()


@pytest.fixture(scope="module")
def flow() -> FlowModule:
    return trained(module())


# -- what a preset is ------------------------------------------------------------------------------------------------


@each_preset
def test_preset_trains_and_samples_what_it_should(name):
    model, told = trained(module(name, guidance={}), 400), batch(99, 400)
    made = model.sample(told.source, told.condition, told.batch_index, generator=seeded())
    assert made.shape == told.source.shape
    assert (made.mean(1) - 1 - SHIFT).abs().max() < 0.3, "identity is off by 4"
    assert (made.std(1) - 0.5).abs().max() < 0.3, "identity is off by 0.5"


@each_preset
def test_gradients_reach_every_parameter(name):
    model = trained(module(name, condition_dropout=0.3, pooling="attention"), 5).train()
    told = batch()
    told.condition["present"][2] = False  # the token of the unperturbed
    model.zero_grad()
    model.loss(told, seeded())["loss"].backward()
    assert [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []


@each_preset
def test_state_dict_and_config_rebuild_the_module(name):
    model, told = trained(module(name), 5), batch()
    other = FlowModule(
        D,
        E,
        2,
        2,
        config=changed(FlowConfig(), asdict(model.config)),
        location=torch.ones(D),
        scale=3.0,
    )
    other.load_state_dict(model.state_dict())
    args = told.source, told.condition, told.batch_index
    assert torch.equal(
        model.sample(*args, generator=seeded()), other.sample(*args, generator=seeded())
    )


@each_preset
def test_module_can_be_copied(name):
    """The running average of the weights in training is a copy."""
    model, told = trained(module(name), 5), batch()
    copies = deepcopy(model), pickle.loads(pickle.dumps(model))
    assert all(copy.config == model.config for copy in copies)
    assert len({copy.loss(told, seeded())["loss"].item() for copy in (model, *copies)}) == 1


def test_presets_are_frozen():
    with pytest.raises(AttributeError):
        PRESETS["flow"].network.width = 3
    with pytest.raises(TypeError):
        PRESETS["flow"] = FlowConfig()
    other = changed(PRESETS["cellflux"], {"guidance": PRESETS["cellflux"].sampling.guidance})
    other.sampling.guidance["perturbation"] = 3.0
    assert PRESETS["cellflux"].sampling.guidance == {"perturbation": 1.2}


# -- the loss --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("head", ["velocity", "x1"])
def test_untrained_field_is_zero_and_the_loss_what_that_costs(head):
    model, told = module(head=head, coupling="none"), batch()
    found = model.loss(told, seeded())["loss"]
    squared = (told.target - told.source).square().mean(-1)[told.weight == 1].mean()
    share = {"velocity": 1.0, "x1": 1 / 3}[head]  # E[(1 - t)²] = 1/3
    torch.testing.assert_close(
        found / squared, torch.tensor(share), atol=0.15 if head == "x1" else 1e-6, rtol=0
    )
    args = told.source, told.condition, told.batch_index
    torch.testing.assert_close(model.sample(*args, generator=seeded()), told.source)


@each_preset
def test_repeated_cells_do_not_count(name):
    model, told = trained(module(name, coupling="none"), 5), batch()
    other = batch()
    other.target[other.weight == 0] += 100
    torch.testing.assert_close(
        model.loss(told, seeded())["loss"], model.loss(other, seeded())["loss"]
    )


@each_preset
def test_all_randomness_comes_from_the_generator(name):
    model, told = module(name).train(), batch()
    trained(model, 5).train()
    losses = []
    for seed, state in ((0, 1), (0, 2), (1, 1)):
        torch.manual_seed(state)
        losses.append(model.loss(told, seeded(seed))["loss"].item())
    assert losses[0] == losses[1] != losses[2]


def test_exact_coupling_stays_in_its_stratum():
    told = batch()
    told.source[..., 0] += 10 * told.batch_index
    told.target[..., 0] -= 10 * told.batch_index  # across strata would be nearer
    x0, _ = module()._pair(told.source, told, seeded())
    assert torch.equal(x0[..., 0] > 6, told.batch_index == 1)


def test_noise_is_added_with_its_probability_and_size():
    config = {
        "path_start": "control+noise",
        "noise": 2.0,
        "noise_probability": 0.25,
        "coupling": "independent",
    }
    model = module(**config)
    control = torch.zeros(K, 4000, D)
    start = model._start(control, seeded(), chance=0.25)
    noisy = start.any(-1)
    assert noisy.float().mean() == pytest.approx(0.25, abs=0.02)
    assert start[noisy].std() == pytest.approx(2.0, rel=0.03)
    assert torch.equal(model._start(control, seeded(), chance=0.0), control)


def test_units_of_the_data_do_not_matter():
    """Data in other units, and a module that is told so, give the same loss and the same cells in those units."""
    plain = trained(module(), 20).train()
    other = FlowModule(D, E, 2, 2, config=plain.config)
    other.load_state_dict(
        plain.state_dict() | {"location": torch.tensor([5.0, -3.0]), "scale": torch.tensor(10.0)}
    )
    told = batch()
    moved = SimpleNamespace(**vars(told))
    moved.source, moved.target = other._out(told.source), other._out(told.target)
    torch.testing.assert_close(
        plain.loss(told, seeded())["loss"], other.loss(moved, seeded())["loss"]
    )
    made = plain.sample(told.source, told.condition, told.batch_index, generator=seeded())
    found = other.sample(moved.source, told.condition, told.batch_index, generator=seeded())
    torch.testing.assert_close(found, other._out(made), rtol=1e-4, atol=1e-3)


# -- sampling --------------------------------------------------------------------------------------------------------


def test_guidance(flow):
    told = batch(5)
    args = told.source, told.condition, told.batch_index

    def field(**guidance: float) -> torch.Tensor:
        return flow._field(told.condition, told.batch_index, guidance)(
            torch.tensor(0.3), told.source
        )[0]

    plain, without = field(), field(perturbation=0)
    torch.testing.assert_close(field(perturbation=1, context=1, dose=1, batch=1), plain)
    assert (without - plain).abs().max() > 0.1
    torch.testing.assert_close(field(perturbation=1.5), without + 1.5 * (plain - without))
    torch.testing.assert_close(
        field(perturbation=2, context=3),
        plain + (plain - without) + 2 * (plain - field(context=0)),
        atol=1e-4,
        rtol=1e-4,
    )
    nothing, twice = (
        flow._field(told.condition, told.batch_index, w)(torch.tensor(0.3), told.source)[0]
        for w in (0, 2)
    )  # one number is for all covariates together
    assert (nothing - plain).abs().max() > 0.1
    torch.testing.assert_close(twice, 2 * plain - nothing)
    with pytest.raises(ValueError, match=r"guidance='colour' is not known.*'perturbation'"):
        flow.sample(*args, generator=seeded(), guidance={"colour": 2.0})


def test_without_the_perturbation_context_and_dose_all_conditions_get_the_same(flow):
    told = batch(5)
    source = told.source[:1].expand(K, S, D)
    made = flow._field(told.condition, told.batch_index, {"perturbation": 0})(
        torch.tensor(0.5), source
    )
    assert made.shape == (1, K, S, D)
    blind = flow.condition(
        told.condition, told.batch_index, drop={"perturbation", "context", "dose"}
    )
    assert torch.equal(blind[0], blind[1])


def test_the_samplers_agree_and_the_last_options_win(flow):
    told = batch(5)
    args = told.source, told.condition, told.batch_index
    exact = flow.sample(*args, generator=seeded(), sampler="dopri5")
    for sampler, steps in (("euler", 400), ("heun", 40), ("midpoint", 40), ("rk4", 20)):
        found = flow.sample(*args, generator=seeded(), sampler=sampler, n_steps=steps)
        assert (found - exact).abs().mean() < 0.02, sampler
    assert not torch.equal(
        flow.sample(*args, generator=seeded(), n_steps=2), flow.sample(*args, generator=seeded())
    )


def test_sde_without_noise_is_the_flow_and_noise_changes_single_cells():
    model, told = trained(module("stochastic")), batch(5)
    args = told.source, told.condition, told.batch_index
    ode = model.sample(*args, generator=seeded(), sampler="heun", n_steps=50)
    torch.testing.assert_close(
        model.sample(*args, generator=seeded(), eps0=0.0), ode, atol=1e-4, rtol=1e-4
    )
    noisy = model.sample(*args, generator=seeded(0), eps0=0.5)
    assert (noisy - ode).abs().mean() > 0.02
    assert torch.equal(noisy, model.sample(*args, generator=seeded(0)))
    assert not torch.equal(noisy, model.sample(*args, generator=seeded(1)))


def test_sampling_leaves_the_mode_and_builds_no_graph(flow):
    told = batch()
    flow.train()
    made = flow.sample(told.source, told.condition, told.batch_index, generator=seeded())
    assert flow.training
    assert flow.condition.training
    assert not made.requires_grad
    assert torch.equal(
        made, flow.eval().sample(told.source, told.condition, told.batch_index, generator=seeded())
    )


def test_inversion_is_the_way_back(flow):
    told = batch(5)
    made = flow.sample(
        told.source, told.condition, told.batch_index, generator=seeded(), sampler="dopri5"
    )
    back = flow.invert(made, told.condition, told.batch_index, sampler="dopri5")
    assert (back - told.source).abs().max() < 1e-3 * told.source.abs().max()


def test_counterfactual_keeps_the_cell_and_changes_the_condition(flow):
    told = batch(5)
    args = told.source, told.condition, told.batch_index
    made = flow.sample(*args, generator=seeded(), sampler="rk4", n_steps=50)
    order = torch.tensor([1, 2, 0])
    other = {name: value[order] for name, value in told.condition.items()}
    expected = flow.sample(
        told.source, other, told.batch_index, generator=seeded(), sampler="rk4", n_steps=50
    )
    found = flow.counterfactual(
        made, told.condition, other, told.batch_index, sampler="rk4", n_steps=50
    )
    assert (found - expected).abs().max() < 0.05
    same = flow.counterfactual(
        made, told.condition, told.condition, told.batch_index, sampler="rk4", n_steps=50
    )
    assert (same - made).abs().max() < 0.05


def test_the_mean_of_the_controls_is_told():
    model, told = trained(module(control_mean=True), 20), batch()
    assert model.condition.covariates == ("perturbation", "context", "dose", "batch", "control")
    moved = told.source.clone()
    moved[:, 1:] += 10  # the first cell is the same, the set is not
    args = told.condition, told.batch_index
    first, other = (model.sample(x, *args, generator=seeded())[:, 0] for x in (told.source, moved))
    assert (first - other).abs().max() > 1e-3
    told.source_weight[:, 1:] = 0
    summary = model._with_control_mean(told.condition, told.source, told.source_weight)["control"]
    torch.testing.assert_close(summary, told.source[:, 0])
    with pytest.raises(ValueError, match="no way back"):
        model.invert(told.target, *args)


# -- reflow ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["flow", "cellflux", "noise2data"])
def test_pairs_are_what_the_flow_makes(name):
    model, told = trained(module(name, guidance={}, n_steps=100, grid="uniform"), 50), batch(5)
    args = told.source, told.condition, told.batch_index
    start, end = model.pairs(*args, generator=seeded())
    torch.testing.assert_close(end, model.sample(*args, generator=seeded()))
    if name == "flow":
        torch.testing.assert_close(start, told.source)


def test_reflow_straightens():
    first = trained(module("rectified"))

    def pairs(seed: int) -> SimpleNamespace:
        told = batch(seed)
        told.source, told.target = first.pairs(
            told.source, told.condition, told.batch_index, generator=seeded(seed), n_steps=20
        )
        return told

    second = first.reflowed()
    assert all(
        torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True)
    )
    trained(second, 80, pairs)
    told = batch(99)
    args = told.source, told.condition, told.batch_index

    def bend(model: FlowModule) -> torch.Tensor:
        one, many = (
            model.sample(*args, generator=seeded(), sampler="euler", n_steps=n) for n in (1, 100)
        )
        return (one - many).square().mean()

    assert bend(second) < 0.3 * bend(first)


# -- errors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"path_start": "cells"}, "path_start='cells' is not known; choose one of 'control'"),
        ({"head": "score"}, "head='score' is not known"),
        ({"gamma": "quadratic"}, "a path with noise needs head='velocity\\+eta'"),
        ({"head": "velocity+eta"}, "does not fit gamma='zero'"),
        ({"sampler": "sde"}, "sampler='sde' needs a score: choose a gamma"),
        ({"sampler": "leapfrog"}, "sampler='leapfrog' is not known"),
        ({"coupling": "nearest"}, "coupling='nearest' is not known"),
        ({"n_steps": 0}, "n_steps must be a whole number"),
        ({"condition_dropout": 1.5}, "condition_dropout is a share, from 0 to 1, not 1.5"),
    ],
)
def test_config_names_what_does_not_fit(changes, match):
    with pytest.raises(ValueError, match=match):
        changed(FlowConfig(), changes)


def test_module_names_what_does_not_fit(flow):
    told = batch()
    with pytest.raises(ValueError, match="sampler='sde' needs a score"):
        flow.sample(
            told.source, told.condition, told.batch_index, generator=seeded(), sampler="sde"
        )
    with pytest.raises(ValueError, match="n_steps must be a whole number"):
        flow.sample(told.source, told.condition, told.batch_index, generator=seeded(), n_steps=0)
    with pytest.raises(ValueError, match="has no way back; choose one of the flow"):
        flow.invert(told.target, told.condition, told.batch_index, sampler="sde")
    with pytest.raises(ValueError, match="straightens the paths of a flow without noise"):
        module("stochastic").reflowed()
    with pytest.raises(ValueError, match="scale must be above 0"):
        FlowModule(D, E, 2, scale=0.0)


def test_module_uses_the_path_of_its_config():
    model = module("stochastic", path="trigonometric", gamma_scale=2.0)
    assert model.path == make_path("trigonometric", "quadratic", a=2.0)
