from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from shoal.generative import GaussianDiffusion, ddim, guided, strided, truncated

CHAIN = GaussianDiffusion()
MEAN, SD = torch.tensor([0.3, -1.0]), torch.tensor([0.5, 2.0])  # of the data, in each column
chains = pytest.mark.parametrize(
    "chain", [CHAIN, GaussianDiffusion(200, ("cosine",))], ids=["linear", "cosine"]
)


def exact(chain: GaussianDiffusion):
    """Return the best denoiser there is for normal data: E[x0 | x_t]."""

    def denoise(x, t, guess):
        kept = chain.alpha_bar.to(x)[t][:, None, None]
        mean, variance = MEAN.to(x), SD.to(x) ** 2
        return mean + variance * kept.sqrt() / (variance * kept + 1 - kept) * (
            x - kept.sqrt() * mean
        )

    return denoise


def line(chain: GaussianDiffusion, **given):
    """Return mean and standard deviation of what a sampler makes of normal noise: here a line through two points."""
    ends = torch.tensor([[[0.0, 0.0], [1.0, 1.0]]], dtype=torch.float64)
    low, high = ddim(exact(chain), ends, diffusion=chain, **given)[0]
    return low, high - low


# -- the chain -------------------------------------------------------------------------------------------------------


def test_the_published_schedule():
    found = CHAIN.alpha_bar[[99, 199, 499, 999]].tolist()
    assert found == pytest.approx([0.897, 0.659, 0.0786, 4.0e-5], rel=0.01)
    assert CHAIN.betas[[0, -1]].tolist() == pytest.approx([1e-4, 0.02])
    assert CHAIN.alpha_bar.dtype == torch.float64
    assert GaussianDiffusion(1000, ("linear", 1e-4, 0.02)) == CHAIN


def test_the_cosine_schedule():
    chain = GaussianDiffusion(500, ("cosine",))
    share = torch.arange(1, 501, dtype=torch.float64) / 500
    formula = (
        torch.cos((share + 0.008) / 1.008 * torch.pi / 2)
        / torch.cos(torch.tensor(0.008 / 1.008 * torch.pi / 2))
    ) ** 2
    torch.testing.assert_close(
        chain.alpha_bar[:-1], formula[:-1]
    )  # the last step would leave nothing: it is capped
    assert chain.betas[-1] == 0.999
    assert (chain.betas > 0).all()


@chains
def test_noise_has_the_moments_of_the_formula(chain, generator):
    k, s = 4, 100_000
    x0 = MEAN + SD * torch.randn(k, s, 2, generator=generator)
    t = torch.tensor([0, 9, 99, chain.n_steps - 1])
    x = chain.noise(x0, t, generator=generator)
    kept = chain.alpha_bar[t].float()[:, None]
    variance = kept * SD**2 + 1 - kept
    assert ((x.mean(1) - kept.sqrt() * MEAN).abs() < 5 * (variance / s).sqrt()).all()
    assert ((x.var(1) / variance - 1).abs() < 5 * (2 / s) ** 0.5).all()
    together = ((x - x.mean(1, keepdim=True)) * (x0 - x0.mean(1, keepdim=True))).mean(1)
    assert ((together - kept.sqrt() * SD**2).abs() < 5 * SD * (2 * variance / s).sqrt()).all()


def test_noise_differs_by_cell_and_feature_and_comes_from_the_generator():
    x0, t = torch.zeros(3, 4, 5), torch.tensor([500, 500, 500])
    x, again, other = (
        CHAIN.noise(x0, t, generator=torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)
    )
    assert x.unique().numel() == x.numel()
    assert torch.equal(x, again)
    assert not torch.isclose(x, other).any()


def test_steps_are_drawn_uniformly(generator):
    t = GaussianDiffusion(10).draw(20_000, generator=generator)
    assert t.dtype == torch.int64
    counts = torch.bincount(t, minlength=10).float()
    assert len(counts) == 10
    assert (
        (counts - 2000) ** 2 / 2000
    ).sum() < 28  # chi-squared with 9 degrees of freedom: p = 0.001


@chains
def test_the_posterior_is_that_of_bayes(chain):
    """x_{t-1} given x_0 and the step from it to x_t given x_{t-1}: precisions add, and means by precision."""
    t = torch.arange(1, chain.n_steps)
    beta, before = chain.betas[t], chain.alpha_bar[t - 1]
    precision = 1 / (1 - before) + (1 - beta) / beta
    a, b, variance = chain.posterior(t)
    torch.testing.assert_close(variance, 1 / precision)
    torch.testing.assert_close(a, before.sqrt() / (1 - before) / precision)
    torch.testing.assert_close(b, (1 - beta).sqrt() / beta / precision)
    assert [part.item() for part in chain.posterior(torch.tensor(0))] == pytest.approx([1, 0, 0])


def test_signal_to_noise_of_data_with_a_small_variance():
    """Values of a tenth leave little to see: spec figures for a standard deviation of about 0.06."""
    t = torch.tensor([12, 99])
    found = CHAIN.snr(t, variance=0.0036)
    assert found[1].item() == pytest.approx(0.0036 * 0.897 / 0.103, rel=0.01)
    assert found[0] > 1
    torch.testing.assert_close(CHAIN.snr(t) * 0.0036, found)


# -- the sampler -----------------------------------------------------------------------------------------------------


@chains
def test_ddim_with_the_exact_denoiser_makes_the_population(chain):
    mean, sd = line(chain, steps=strided(chain.n_steps, chain.n_steps))
    torch.testing.assert_close(mean, MEAN.double(), atol=0.02, rtol=0)
    torch.testing.assert_close(sd, SD.double(), rtol=0.02, atol=0)
    coarse = line(chain, steps=strided(chain.n_steps // 10, chain.n_steps))[1]
    assert ((coarse - SD).abs() > (sd - SD).abs()).all()  # and more steps come closer


def test_ancestral_sampling_makes_the_population(generator):
    x = torch.randn(1, 20_000, 2, generator=generator)
    made = ddim(
        exact(CHAIN), x, diffusion=CHAIN, steps=truncated(1000, 1000), eta=1.0, generator=generator
    )[0]
    assert ((made.mean(0) - MEAN).abs() < 0.03 * SD).all()
    assert (made.std(0) / SD - 1).abs().max() < 0.02  # its own error is 0.005


def test_one_ancestral_step_is_the_posterior(generator):
    t, x, x0 = 300, 0.7, -1.3
    seen = []

    def denoise(x, step, guess):
        seen.append(x)
        return torch.full_like(x, x0)

    start = torch.full((1, 200_000, 1), x, dtype=torch.float64)
    ddim(denoise, start, diffusion=CHAIN, steps=[t, t - 1], eta=1.0, generator=generator)
    a, b, variance = CHAIN.posterior(torch.tensor(t))
    assert seen[1].var().item() == pytest.approx(variance.item(), rel=0.02)
    assert abs(seen[1].mean() - (a * x0 + b * x)) < 5 * (variance / 200_000).sqrt()


def test_a_single_pass_returns_what_is_predicted():
    x = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0))
    assert torch.equal(
        ddim(lambda x, t, guess: 3 * x, x, diffusion=CHAIN, steps=strided(1, 1000)), 3 * x
    )


def test_the_guess_is_what_was_predicted_before():
    asked = []

    def denoise(x, t, guess):
        asked.append((t, guess.clone()))
        return torch.full_like(x, float(len(asked)))

    x = torch.ones(2, 3, 1)
    ddim(denoise, x, diffusion=CHAIN, steps=strided(4, 1000))
    assert [t.tolist() for t, _ in asked] == [[999] * 2, [749] * 2, [499] * 2, [249] * 2]
    assert asked[0][0].dtype == torch.int64
    assert [guess.unique().tolist() for _, guess in asked] == [[0], [1], [2], [3]]
    asked.clear()
    ddim(denoise, x, diffusion=CHAIN, steps=strided(4, 1000), self_conditioning=False)
    assert not any(guess.any() for _, guess in asked)


def test_values_below_the_floor_are_0_at_every_step():
    values, guesses = torch.tensor([-1.0, 5e-5, 2e-4, 1.0]), []

    def denoise(x, t, guess):
        guesses.append(guess)
        return values.expand_as(x)

    x = torch.randn(1, 2, 4, generator=torch.Generator().manual_seed(0))
    made = ddim(denoise, x, diffusion=CHAIN, steps=truncated(5, 1000), floor=1e-4)
    kept = torch.tensor([0, 0, 2e-4, 1.0]).expand(1, 2, 4)
    torch.testing.assert_close(made, kept)
    assert all(torch.equal(guess, kept) for guess in guesses[1:])
    torch.testing.assert_close(ddim(denoise, x, diffusion=CHAIN, steps=[4]), values.expand(1, 2, 4))


# -- guidance --------------------------------------------------------------------------------------------------------


def told(x, t, guess):
    return torch.tanh(x + guess) + t[:, None, None] / 1000


def untold(x, t, guess):
    return torch.sin(x) - guess


def test_guidance_of_the_data_is_guidance_of_the_noise():
    """DDIM written out in the predicted noise, with guidance there."""
    w, steps = 1.5, [*strided(10, 1000), -1]
    x = start = torch.randn(
        2, 3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    )
    kept, guess = [*CHAIN.alpha_bar, torch.tensor(1.0)], torch.zeros_like(x)
    for t, following in pairwise(steps):
        now, then, at = kept[t], kept[following], torch.tensor([t, t])
        cond, null = ((x - now.sqrt() * f(x, at, guess)) / (1 - now).sqrt() for f in (told, untold))
        noise = (1 + w) * cond - w * null
        guess = (x - (1 - now).sqrt() * noise) / now.sqrt()
        x = then.sqrt() * guess + (1 - then).sqrt() * noise
    found = ddim(
        guided(untold, {"all": told}, {"all": 1 + w}),
        start,
        diffusion=CHAIN,
        steps=strided(10, 1000),
    )
    torch.testing.assert_close(found, x)


@pytest.mark.parametrize(
    ("weight", "asked"), [(0, {"told"}), (-1, {"untold"}), (1, {"told", "untold"})]
)
def test_without_a_share_nothing_is_asked(weight, asked):
    seen = set()

    def watched(f):
        def denoise(*given):
            seen.add(f.__name__)
            return f(*given)

        return denoise

    x, t = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0)), torch.tensor([3, 5])
    found = guided(watched(untold), {"all": watched(told)}, {"all": 1 + weight})(x, t, 0 * x)
    assert seen == asked
    if len(asked) == 1:
        assert torch.equal(found, {"told": told, "untold": untold}[asked.pop()](x, t, 0 * x))


# -- steps, types, errors --------------------------------------------------------------------------------------------


def test_which_steps():
    assert strided(1, 1000) == (999,)
    assert strided(2, 1000) == (999, 499)
    assert strided(1000, 1000) == truncated(1000, 1000) == tuple(range(999, -1, -1))
    assert truncated(100, 1000) == tuple(range(99, -1, -1))
    for n in range(1, 38):
        steps = torch.tensor([*strided(n, 37), -1])
        gaps = steps[:-1] - steps[1:]
        assert len(steps) == n + 1
        assert steps[0] == 36
        assert gaps.min() >= 1
        assert gaps.max() - gaps.min() <= 2


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_precision_is_single_at_least(dtype):
    x = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0)).to(dtype)
    wanted = torch.promote_types(dtype, torch.float32)
    assert (
        CHAIN.noise(x, torch.tensor([0, 999]), generator=torch.Generator().manual_seed(0)).dtype
        == wanted
    )
    draw = torch.Generator().manual_seed(0)
    made = ddim(
        lambda x, t, guess: x.to(dtype),
        x,
        diffusion=CHAIN,
        steps=strided(5, 1000),
        eta=0.5,
        generator=draw,
    )
    assert made.dtype == wanted
    assert torch.isfinite(made).all()


def test_everything_stays_on_its_device():
    """On the device without storage nothing can come from another one unnoticed."""
    x = torch.empty(2, 3, 4, device="meta")
    made = ddim(
        lambda x, t, guess: x + guess + t[:, None, None],
        x,
        diffusion=CHAIN,
        steps=strided(5, 1000),
        floor=1e-4,
    )
    assert made.device == x.device
    if torch.cuda.is_available():
        x = torch.zeros(2, 3, 4, device="cuda")
        for device in ("cpu", "cuda"):  # generators of either
            draw = torch.Generator(device).manual_seed(0)
            assert CHAIN.noise(x, CHAIN.draw(2, generator=draw), generator=draw).device == x.device


def test_gradients_flow_through():
    x = torch.randn(1, 2, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
    ddim(told, x, diffusion=CHAIN, steps=strided(3, 1000)).sum().backward()
    assert x.grad.abs().min() > 0


def test_errors_name_what_is_wrong():
    x, draw = torch.zeros(1, 2, 3), torch.Generator().manual_seed(0)
    with pytest.raises(
        ValueError, match=r"beta='sigmoid' is not known; choose one of 'linear', 'cosine'"
    ):
        GaussianDiffusion(beta=("sigmoid",))
    for beta in (("linear", 1e-4), ("linear", 1e-4, 2.0), ("cosine", 0.1)):
        with pytest.raises(ValueError, match=r"is not \('linear', first, last\)"):
            GaussianDiffusion(beta=beta)
    with pytest.raises(ValueError, match="n_steps must be a whole number"):
        GaussianDiffusion(0)
    with pytest.raises(ValueError, match="11 steps cannot be taken of a chain of 10"):
        strided(11, 10)
    with pytest.raises(ValueError, match="a chain of 10 steps has no last 0"):
        truncated(0, 10)
    for steps in ([], [1000], [5, 5], [5, 7], [5, -1]):
        with pytest.raises(ValueError, match="must decrease from 999 at most to 0 at least"):
            ddim(told, x, diffusion=CHAIN, steps=steps)
    with pytest.raises(ValueError, match=r"eta=1.0 .* pass generator="):
        ddim(told, x, diffusion=CHAIN, steps=[5], eta=1.0)
    with pytest.raises(ValueError, match=r"eta=2.0 must be from 0 to 1"):
        ddim(told, x, diffusion=CHAIN, steps=[5], eta=2.0, generator=draw)
