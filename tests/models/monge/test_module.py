"""The conditional Monge map: optimal on Gaussians, one map for all conditions or none, sizes, noise, what it is told."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("torch", reason="networks need the extra `models`")

import torch

from shoal.generative import monge_gap
from shoal.models.base._config import changed
from shoal.models.monge._config import PRESETS, ConditionalMongeConfig
from shoal.models.monge._module import MongeModule
from shoal.nn import n_parameters
from shoal.training._batch import SetBatch

D = 3
PLAIN = changed(
    ConditionalMongeConfig(),
    {
        "cost": "sqeuclidean",
        "epsilon": 0.05,
        "biased": False,
        "use_context": True,
        "relative_to_control": False,
        "condition_dropout": 0.0,
        "unseen_weight": 1.0,
        "cross_context": 0.0,
        "n_visible": None,
        "warm_steps": 0,
        "width": 64,
        "depth": 2,
    },
)


def told(k, n_vector=2, **more):
    """K conditions with one-hot vectors."""
    parts = torch.eye(n_vector)[:k, None]
    condition = {
        "parts": parts,
        "present": torch.ones(k, 1, dtype=torch.bool),
        "context": torch.full((k,), -1),
        "dose": torch.zeros(k, 2),
    }
    return condition | more


def batch_of(source, target, condition=None):
    weight = torch.ones(source.shape[:2])
    batch_index = torch.full(source.shape[:2], -1)
    condition = told(len(source)) if condition is None else condition
    return SetBatch(
        source, target, weight, weight, batch_index, torch.arange(len(source)), condition
    )


class Gaussians:
    """Controls N(0, 1) and two conditions that are affine images of them under gradients of convex functions."""

    def __init__(self, seed=0):
        generator = torch.Generator().manual_seed(seed)
        turn = torch.linalg.qr(torch.randn(2, D, D, generator=generator)).Q
        stretch = torch.diag_embed(torch.tensor([[0.5, 1.0, 1.6], [1.5, 0.7, 1.2]]))
        self.pull, self.shift = (
            turn @ stretch @ turn.mT,
            torch.tensor([[2.0, 0, 0], [-1.0, 1.5, 0.5]]),
        )
        self.generator = generator

    def optimal(self, x):
        return x @ self.pull + self.shift[:, None]

    def batch(self, n=256):
        source, fresh = torch.randn(2, 2, n, D, generator=self.generator)
        return batch_of(source, self.optimal(fresh))


def trained(module, task, steps=600, lr=1e-2):
    optimizer = torch.optim.AdamW(module.parameters(), lr=lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    averaged = torch.optim.swa_utils.AveragedModel(
        module, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.98)
    )
    for _ in range(steps):
        optimizer.zero_grad()
        module.loss(task.batch(), task.generator)["loss"].backward()
        optimizer.step()
        schedule.step()
        averaged.update_parameters(module)
    return averaged.module


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


@pytest.fixture(scope="module")
def on_gaussians():
    torch.manual_seed(0)
    return trained(MongeModule(D, 2, 0, config=changed(PLAIN, {"warm_steps": 200})), Gaussians())


@pytest.mark.slow
def test_on_gaussians_it_is_the_optimal_map(on_gaussians):
    task = Gaussians()
    x = torch.randn(2, 2000, D, generator=task.generator)
    made = on_gaussians.sample(x, told(2), torch.full(x.shape[:2], -1), generator=task.generator)
    best = task.optimal(x)
    off = (made - best).square().sum((1, 2)) / best.square().sum((1, 2))
    assert (off.sqrt() < 0.02).all(), off.sqrt()
    few = x[:, :256].contiguous(), made[:, :256].contiguous()
    gap = monge_gap(*few, epsilon=0.001, power=2, tolerance=1e-6, n_iterations=5000)
    assert (gap > -1e-4).all()
    assert (gap < 0.01).all()


@pytest.mark.slow
def test_one_map_for_all_conditions_is_worse():
    """The best such map takes the controls to both populations at once; told apart, it need not."""
    torch.manual_seed(0)
    task = Gaussians()
    blind = MongeModule(D, 2, 0, config=PLAIN)
    same = told(2) | {"parts": torch.ones(2, 1, 2)}
    plain = task.batch
    task.batch = lambda n=128: replace(plain(n), condition=same)
    blind = trained(blind, task, steps=200)
    x = torch.randn(2, 1000, D, generator=task.generator)
    made = blind.sample(x, same, torch.full(x.shape[:2], -1), generator=task.generator)
    best = task.optimal(x)
    off = ((made - best).square().sum((1, 2)) / best.square().sum((1, 2))).sqrt()
    assert (off > 0.3).all(), off


def test_the_published_network_has_the_published_size():
    config = changed(PRESETS["published"], {"latent": "pca"})
    assert n_parameters(MongeModule(50, 4, 0, config=config)) == 22_510


@pytest.mark.parametrize("preset", list(PRESETS))
def test_untrained_it_leaves_every_cell_where_it_is(preset, generator):
    config = changed(PRESETS[preset], {"n_visible": None, "latent": "pca"})
    module = MongeModule(D, 2, 1, 1, config=config)
    x = torch.randn(2, 5, D, generator=generator)
    made = module.sample(x, told(2), torch.zeros(2, 5, dtype=torch.int64), generator=generator)
    torch.testing.assert_close(made, x)


@pytest.mark.parametrize("pooling", ["mean", "sum", "attention"])
@pytest.mark.parametrize("network", ["film", "concatenated"])
def test_the_order_of_drugs_does_not_matter_and_absent_ones_do_not_count(
    network, pooling, generator
):
    module = MongeModule(
        D, 2, 0, config=changed(PLAIN, {"architecture": network, "pooling": pooling})
    ).eval()
    with torch.no_grad():
        for weight in module.parameters():
            weight.normal_(0, 0.3, generator=generator)
    x = torch.randn(1, 4, D, generator=generator)
    batch_index = torch.full((1, 4), -1)

    def made(parts, present):
        condition = told(1) | {
            "parts": torch.tensor(parts)[None],
            "present": torch.tensor(present)[None],
        }
        return module.sample(x, condition, batch_index, generator=generator)

    both = made([[1.0, 0.0], [0.0, 1.0]], [True, True])
    rounded = {"rtol": 1e-4, "atol": 1e-4}  # sums in another order, through several layers
    torch.testing.assert_close(both, made([[0.0, 1.0], [1.0, 0.0]], [True, True]), **rounded)
    torch.testing.assert_close(
        both, made([[0.0, 1.0], [1.0, 0.0], [9.0, 9.0]], [True, True, False]), **rounded
    )
    assert not torch.allclose(both, made([[1.0, 0.0]], [True]))


def test_noise_makes_cells_of_one_cell_differ_and_without_it_they_do_not(generator):
    x = torch.zeros(1, 6, D)
    batch_index = torch.full((1, 6), -1)
    for n_noise, differ in ((0, False), (4, True)):
        module = MongeModule(D, 2, 0, config=changed(PLAIN, {"n_noise": n_noise}))
        torch.nn.init.normal_(module.net.net.leave.weight, generator=generator)
        made = module.sample(x, told(1), batch_index, generator=generator)
        assert bool((made.std(1) > 1e-6).any()) == differ


def test_slots_of_weight_0_do_not_count(generator):
    task = Gaussians()
    module = MongeModule(D, 2, 0, config=changed(PLAIN, {"energy": 1.0})).eval()
    batch = task.batch(20)
    some = (torch.arange(20) < 12).expand(2, -1)
    first = replace(batch, weight=some.float(), source_weight=some.float())
    alone = batch_of(batch.source[:, :12], batch.target[:, :12])
    found, expected = (module.loss(one, generator) for one in (first, alone))
    assert set(found) == {"loss", "divergence", "gap", "energy"}
    for name, value in found.items():
        torch.testing.assert_close(
            value, expected[name], rtol=2e-2, atol=2e-3
        )  # of what the solver leaves


def test_squares_are_of_all_cells_and_distances_of_halves_unless_told(generator):
    batch = Gaussians().batch(30)
    module = MongeModule(D, 2, 0, config=changed(PLAIN, {"gap": 0.0})).eval()

    def loss(**changes):
        return MongeModule.loss(_with(module, **changes), batch, generator)["loss"]

    for cost, biased in (("sqeuclidean", True), ("euclidean", False)):
        found = {told: loss(cost=cost, biased=told).item() for told in (None, True, False)}
        assert found[None] == found[biased] != found[not biased]


def test_the_gap_and_its_weight_are_in_the_loss(generator):
    batch = Gaussians().batch(30)
    module = MongeModule(D, 2, 0, config=PLAIN).eval()
    found = {
        gap: MongeModule.loss(_with(module, gap=gap), batch, generator) for gap in (0.0, 1.0, 7.0)
    }
    assert "gap" not in found[0.0]
    torch.testing.assert_close(found[7.0]["loss"], found[7.0]["divergence"] + 7 * found[7.0]["gap"])
    assert found[1.0]["gap"].item() == pytest.approx(
        0, abs=0.01
    )  # untrained it is the identity, which is optimal


def _with(module, **changes):
    module.config = changed(module.config, changes)
    return module


def test_warm_steps_come_first_and_pair_cells(generator):
    task = Gaussians()
    module = MongeModule(D, 2, 0, config=changed(PLAIN, {"warm_steps": 2}))
    seen = [set(module.loss(task.batch(20), generator)) for _ in range(4)]
    assert seen == [{"loss", "paired"}] * 2 + [{"loss", "divergence", "gap"}] * 2
    assert int(module.state_dict()["n_trained"]) == 4  # resumed training goes on where it was


def test_relative_cells_make_it_blind_to_where_the_controls_are(generator):
    module = MongeModule(D, 2, 0, config=changed(PLAIN, {"relative_to_control": True}))
    torch.nn.init.normal_(module.net.net.leave.weight, generator=generator)
    x = torch.randn(1, 10, D, generator=generator)
    batch_index = torch.full((1, 10), -1)
    here, there = (
        module.sample(x + at, told(1), batch_index, generator=generator) for at in (0.0, 40.0)
    )
    torch.testing.assert_close(here + 40, there, atol=1e-3, rtol=0)
    asked = module.sample(x, told(1, centre=torch.ones(1, D)), batch_index, generator=generator)
    shifted = module.sample(
        x - 1, told(1, centre=torch.zeros(1, D)), batch_index, generator=generator
    )
    torch.testing.assert_close(asked - 1, shifted)


def test_unseen_perturbations_are_followed_in_part(generator):
    module = MongeModule(D, 2, 0, config=changed(PLAIN, {"unseen_weight": 0.25}))
    with torch.no_grad():
        for weight in module.parameters():
            weight.normal_(0, 0.3, generator=generator)
    x, batch_index = torch.randn(1, 4, D, generator=generator), torch.full((1, 4), -1)

    def made(**more):
        return module.sample(x, told(1, **more), batch_index, generator=generator)

    new, known = (made(familiar=torch.tensor([flag])) for flag in (False, True))
    torch.testing.assert_close(known, made())
    common = _with(module, unseen_weight=0.0).sample(
        x, told(1, familiar=torch.tensor([False])), batch_index, generator=generator
    )
    torch.testing.assert_close(new, 0.25 * known + 0.75 * common)


def test_a_regularisation_too_small_to_converge_is_told_once(generator, caplog):
    task = Gaussians()
    module = MongeModule(
        D, 2, 0, config=changed(PLAIN, {"epsilon": 1e-5, "epsilon_relative": False, "gap": 0.0})
    )
    with caplog.at_level("WARNING", logger="shoal"):
        for _ in range(2):
            module.loss(task.batch(40), generator)
    told_of = [record.getMessage() for record in caplog.records]
    assert len(told_of) == 1
    assert "epsilon" in told_of[0]
    assert float(told_of[0].split("up to ")[1].split(" ")[0]) > 0.01


@pytest.mark.parametrize(
    ("changes", "error", "match"),
    [
        ({"cost": "cosine"}, ValueError, "cost"),
        ({"epsilon": 0.0}, ValueError, "epsilon"),
        ({"gap": -1.0}, ValueError, "gap"),
        ({"latent": "umap"}, ValueError, "latent"),
        ({"n_noise": 1.5}, TypeError, "n_noise"),
        ({"cross_context": 1.5}, ValueError, "cross_context"),
        ({"n_visible": 0}, ValueError, "n_visible"),
        ({"pooling": "max"}, ValueError, "pooling"),
    ],
)
def test_settings_that_make_no_sense_are_refused(changes, error, match):
    with pytest.raises(error, match=match):
        changed(PLAIN, changes)


def test_doses_move_cells_differently(generator):
    module = MongeModule(D, 2, 0, config=changed(PRESETS["published"], {"latent": "pca"}))
    with torch.no_grad():
        for weight in module.parameters():
            weight.normal_(0, 0.3, generator=generator)
    x, batch_index = torch.zeros(1, 1, D), torch.full((1, 1), -1)
    low, high = (
        module.sample(
            x, told(1) | {"dose": torch.tensor([[dose, 1.0]])}, batch_index, generator=generator
        ).numpy()
        for dose in (-1.0, 1.0)
    )
    assert np.abs(low - high).max() > 1e-3
