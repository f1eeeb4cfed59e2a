from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from shoal.models.base._config import changed
from shoal.models.cellflux._config import PRESETS, CellFluxConfig
from shoal.models.cellflux._module import CellFluxModule
from shoal.models.flow._module import FlowModule

SHAPE = (2, 4, 4)
TINY = {"width": 4, "multipliers": (1, 1), "n_blocks": 1, "attention": (), "dropout": 0.0}


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def condition(k=2):
    return {
        "parts": torch.eye(3)[:k, None],
        "present": torch.ones(k, 1, dtype=torch.bool),
        "context": torch.zeros(k, dtype=torch.long),
        "dose": torch.zeros(k, 2),
    }


def module(preset="shoal", quantum=None, **changes):
    """Return an untrained flow; of the preset "shoal" it begins at images without noise."""
    torch.manual_seed(0)
    start = {"path_start": "control"} if preset == "shoal" else {}
    config = changed(PRESETS[preset], TINY | start | changes)
    return CellFluxModule(SHAPE, 3, 1, 2, config=config, quantum=quantum)


def batch(k=2, s=6, seed=0):
    draw = seeded(seed)
    source, target = torch.randn(2, k, s, *SHAPE, generator=draw)
    return SimpleNamespace(
        source=source,
        target=target,
        weight=torch.ones(k, s),
        source_weight=torch.ones(k, s),
        batch_index=torch.zeros(k, s, dtype=torch.long),
        condition=condition(k),
    )


@pytest.mark.parametrize("preset", PRESETS)
def test_images_come_back_in_their_shape(preset):
    flow, given = module(preset), batch()
    made = flow.sample(
        given.source, given.condition, given.batch_index, generator=seeded(), n_steps=2
    )
    assert made.shape == given.source.shape


def test_an_untrained_flow_moves_no_image():
    flow, given = module(), batch()
    made = flow.sample(given.source, given.condition, given.batch_index, generator=seeded())
    torch.testing.assert_close(made, given.source)


def test_the_loss_of_an_untrained_flow_is_the_squared_distance_of_the_pairs():
    flow, given = module(coupling="none"), batch()
    loss = flow.loss(given, seeded())["loss"]
    torch.testing.assert_close(loss, (given.target - given.source).square().mean())


def test_flips_are_of_single_images_and_as_often_as_asked():
    flow = module(flip=0.3)
    ramp = torch.arange(16.0).view(1, 1, 1, 4, 4).expand(1, 4000, 2, 4, 4)
    made = flow._augmented(ramp, seeded())[0]
    upside, mirrored = made[:, 0, 0, 0] > 7, (made[:, 0, 0, 0] - made[:, 0, 0, 1]) > 0
    assert abs(upside.float().mean() - 0.3) < 0.03
    assert abs(mirrored.float().mean() - 0.3) < 0.03
    assert abs((upside & mirrored).float().mean() - 0.09) < 0.02
    torch.testing.assert_close(made.sort(-1)[0].sort(-2)[0], ramp[0])
    torch.testing.assert_close(module(flip=0.0)._augmented(ramp, seeded()), ramp)


def test_dequantized_values_stay_within_their_whole_number():
    flow = module(flip=0.0, quantum=[0.5, 0.0])
    noise = flow._augmented(torch.zeros(1, 500, *SHAPE), seeded())
    assert noise[:, :, 0].abs().max() <= 0.25
    assert noise[:, :, 0].std() == pytest.approx(0.5 / 12**0.5, rel=0.02)
    assert not noise[:, :, 1].any()
    plain = module(flip=0.0, dequantize=False, quantum=[0.5, 0.5])
    assert not plain._augmented(torch.zeros(1, 5, *SHAPE), seeded()).any()


def test_the_pairs_of_a_reflow_are_not_augmented(monkeypatch):
    flow = module(flip=1.0, quantum=[0.5, 0.5]).reflowed()
    seen = {}
    monkeypatch.setattr(FlowModule, "loss", lambda self, given, draw: seen.update(batch=given))
    given = batch()
    flow.loss(given, seeded())
    assert seen["batch"] is given


@pytest.mark.parametrize("coin", ["batch", "sample"])
def test_noise_is_added_to_half_of_the_batches_or_of_the_cells(coin):
    flow = module(path_start="control+noise", noise_coin=coin)
    flat, shares = torch.zeros(2, 50, 32), []
    for seed in range(40):
        start = flow._start(flat, seeded(seed), chance=0.5)
        shares.append((start != 0).any(-1).float().mean().item())
    assert abs(sum(shares) / 40 - 0.5) < 0.2
    assert (set(shares) <= {0.0, 1.0}) == (coin == "batch")


def test_states_begin_at_the_start_and_end_at_the_sample():
    flow, given = module(sampler="euler", n_steps=8), batch()
    torch.nn.init.normal_(flow.net.unet.leave.weight, std=0.5)
    where = (given.condition, given.batch_index)
    states = flow.states(given.source, *where, times=[0.0, 0.5, 1.0], generator=seeded())
    torch.testing.assert_close(states[0], given.source)
    torch.testing.assert_close(states[2], flow.sample(given.source, *where, generator=seeded()))
    assert not torch.equal(states[0], states[1])


def test_what_is_carried_forth_and_back_is_there_again():
    flow, given = module(), batch()
    torch.nn.init.normal_(flow.net.unet.leave.weight, std=0.05)
    where = (given.condition, given.batch_index)
    made = flow.sample(given.source, *where, generator=seeded(), n_steps=10, sampler="rk4")
    back = flow.invert(made, *where, n_steps=10, sampler="rk4")
    assert (made - given.source).abs().mean() > 0.05
    torch.testing.assert_close(back, given.source, atol=1e-3, rtol=1e-3)


def test_the_preset_of_the_package_adds_noise_to_every_control():
    config = PRESETS["shoal"]
    assert config.interpolant.noisy_at_sampling
    assert config.interpolant.noise_probability == 1
    flow, given = module(path_start="control+noise", noise=0.6, noise_probability=1.0), batch(s=64)
    start = flow._start(flow._in(given.source), seeded(), chance=1.0)
    moved = flow._out(start) - given.source
    assert moved.std().item() == pytest.approx(0.6, rel=0.05)


def test_the_published_preset_has_the_settings_of_the_paper():
    config = PRESETS["published"]
    begin, given = config.interpolant, config.conditioning
    assert (begin.path_start, begin.noise, begin.noise_probability, begin.noise_coin) == (
        "control+noise",
        1.0,
        0.5,
        "batch",
    )
    assert begin.noise_at_sampling
    assert (config.loss.coupling, config.loss.law) == ("independent", "edm")
    assert (given.covariates, given.condition_coin, given.condition_dropout) == (
        "perturbation",
        "batch",
        0.2,
    )
    assert config.sampling.guidance == {"perturbation": 1.2}
    assert (config.sampling.sampler, config.sampling.n_steps, config.sampling.grid) == (
        "heun",
        50,
        "edm",
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"condition_coin": "batch"}, "goes with covariates='perturbation'"),
        ({"covariates": "perturbation", "pooling": "sum"}, "needs covariates='all'"),
        ({"latent": "autoencoder"}, "set flip=0"),
        ({"latent": "pca"}, "latent='pca' is not known"),
        ({"multipliers": ()}, "one for each level"),
        ({"attention": (3,)}, "names level 3, and there are the levels 0 to 2"),
        ({"flip": 1.5}, "flip is a share"),
        ({"gamma": "sin2"}, "needs head='velocity\\+eta'"),
        ({"sampler": "sde"}, "needs a score"),
        ({"noise_coin": "cell"}, "noise_coin='cell' is not known"),
    ],
)
def test_settings_that_make_no_sense_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        changed(CellFluxConfig(), changes)
