"""Dual bridges: the grid, inversion and generation, disturbed noise, and errors of values that count."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="networks need the extra 'models'")

from shoal.generative import (  # noqa: E402
    GaussianDiffusion,
    coarser,
    generate,
    invert,
    masked_error,
    perturbed_input,
    respaced,
)

CHAIN = GaussianDiffusion(500, ("linear", 2e-4, 0.04))
GRID = respaced(50, 500)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def linear(a, b):
    """Return a network that predicts a fixed affine function of the noisy cell."""
    return lambda x, t: x @ a + b


def gaussian(mean, sd):
    """Return the best network for cells that are normal with a mean and a standard deviation."""

    def clean(x, t):
        kept = float(CHAIN.alpha_bar[t])
        gain = kept**0.5 * sd**2 / (kept * sd**2 + 1 - kept)
        return mean + gain * (x - kept**0.5 * mean)

    return clean


# -- the chain -------------------------------------------------------------------------------------


def test_noisy_cells_have_the_moments_of_the_chain():
    x0 = torch.full((20_000, 1, 1), 0.7)
    for t in (0, 100, 490):
        steps = torch.full((len(x0),), t)
        x = CHAIN.noise(x0, steps, generator=seeded()).double()
        kept = float(CHAIN.alpha_bar[t])
        assert float(x.mean()) == pytest.approx(
            kept**0.5 * 0.7, abs=4 * ((1 - kept) / 20_000) ** 0.5
        )
        assert float(x.var()) == pytest.approx(1 - kept, rel=0.04)
    assert float(CHAIN.alpha_bar[490]) == pytest.approx(5.4e-5, rel=0.05)
    assert float((1 - CHAIN.alpha_bar[0]) ** 0.5) == pytest.approx(0.0141, abs=1e-4)


def test_a_step_of_the_grid_is_the_product_of_steps_of_the_chain():
    """The posterior of x at step s, given x at t and the clean cell, composed of single steps."""
    s, t = GRID[3], GRID[5]
    kept_s, kept_t = CHAIN.alpha_bar[s], CHAIN.alpha_bar[t]
    from_clean, from_noisy, variance = 0.0, 1.0, 0.0
    for step in range(t, s, -1):
        a, b, v = (float(part) for part in CHAIN.posterior(torch.tensor(step)))
        from_clean, from_noisy, variance = a + b * from_clean, b * from_noisy, v + b**2 * variance
    between = kept_t / kept_s
    noise = 1 - kept_t
    assert from_clean == pytest.approx(float(kept_s.sqrt() * (1 - between) / noise))
    assert from_noisy == pytest.approx(float(between.sqrt() * (1 - kept_s) / noise))
    assert variance == pytest.approx(float((1 - kept_s) * (1 - between) / noise))


def test_grids():
    assert GRID[:3] == (0, 10, 20)
    assert GRID[-1] == 490
    assert len(GRID) == 50
    assert coarser(GRID, 50) == GRID
    assert coarser(GRID, 1) == (490,)
    assert coarser(GRID, 5) == (90, 190, 290, 390, 490)
    with pytest.raises(ValueError, match="grid=501 steps cannot be taken of a chain of 500"):
        respaced(501, 500)
    with pytest.raises(ValueError, match="n_steps=51 is more than the grid=50 steps"):
        coarser(GRID, 51)


# -- there and back --------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["ddim", "exact"])
@pytest.mark.parametrize("grid", [GRID, coarser(GRID, 10)], ids=["50", "10"])
def test_a_cell_comes_back_where_both_networks_are_the_same(method, grid):
    """To rounding by the exact way; by the plain one as far as its steps are short."""
    x = 0.3 + 0.2 * torch.randn(64, 6, generator=seeded(), dtype=torch.float64)
    clean = gaussian(0.3, 0.2)
    there = invert(clean, x, diffusion=CHAIN, grid=grid, method=method)
    back = generate(clean, there, diffusion=CHAIN, grid=grid, method=method)
    error = float((back - x).abs().max())
    if method == "exact":
        assert error < 1e-4
    else:
        assert 1e-4 < error < (0.15 if len(grid) == 50 else 1)
    assert torch.isfinite(back).all()


def test_the_plain_inversion_errs_less_with_more_steps():
    x = 0.3 + 0.2 * torch.randn(64, 6, generator=seeded(), dtype=torch.float64)
    clean, errors = gaussian(0.3, 0.2), []
    for n in (10, 50, 250):
        way = {"diffusion": CHAIN, "grid": respaced(n, 500)}
        errors.append(float((generate(clean, invert(clean, x, **way), **way) - x).abs().mean()))
    assert errors[0] > 2 * errors[1] > 4 * errors[2]


@pytest.mark.parametrize("gamma", [1.0, 0.8])
def test_the_exact_way_calls_the_network_once_a_step(gamma):
    calls = []

    def clean(x, t):
        calls.append(t)
        return gaussian(0.3, 0.2)(x, t)

    x = 0.3 + 0.2 * torch.randn(8, 3, generator=seeded(), dtype=torch.float64)
    way = {"diffusion": CHAIN, "grid": coarser(GRID, 10), "method": "exact", "gamma": gamma}
    there = invert(clean, x, **way)
    assert there.shape == (2, 8, 3)
    assert calls == list(coarser(GRID, 10))
    back = generate(clean, there, **way)
    assert len(calls) == 10 + 9  # the state at the first step is reached from the second
    torch.testing.assert_close(back, x, atol=1e-4, rtol=0)


def test_the_noise_of_normal_cells_is_their_place_among_them():
    """For the best networks of two normal populations the bridge is the map of optimal transport."""
    x = 0.3 + 0.2 * torch.randn(4000, 1, generator=seeded(), dtype=torch.float64)
    way = {"diffusion": CHAIN, "grid": respaced(500, 500)}
    noise = invert(gaussian(0.3, 0.2), x, **way)
    torch.testing.assert_close(noise, (x - 0.3) / 0.2, atol=0.15, rtol=0.05)
    other = generate(gaussian(-0.5, 0.1), noise, **way)
    torch.testing.assert_close(other, -0.5 + 0.1 * (x - 0.3) / 0.2, atol=0.02, rtol=0.05)


def test_settings_that_make_no_sense():
    x, clean = torch.zeros(2, 3), linear(torch.eye(3), 0.0)
    with pytest.raises(ValueError, match="inversion='euler' is not known; choose one of 'ddim', "):
        invert(clean, x, diffusion=CHAIN, grid=GRID, method="euler")
    with pytest.raises(ValueError, match="gamma must be above 0"):
        invert(clean, x, diffusion=CHAIN, grid=GRID, method="exact", gamma=0.0)


# -- training --------------------------------------------------------------------------------------


def test_disturbed_noise_has_more_variance_and_the_same_mean():
    x0, t = torch.full((20_000, 1, 1), 0.5), torch.full((20_000,), 250)
    kept = float(CHAIN.alpha_bar[250])
    for share in (0.0, 0.5):
        noise = torch.randn(x0.shape, generator=seeded())
        x = perturbed_input(x0, t, diffusion=CHAIN, share=share, noise=noise)
        assert float(x.mean()) == pytest.approx(kept**0.5 * 0.5, abs=0.03)
        assert float(x.var()) == pytest.approx((1 - kept) * (1 + share**2), rel=0.04)


def test_errors_count_where_values_do():
    made, real = torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[0.0, 2.5, 1.0]])
    total, n = masked_error(made, real, (real != 0).float())
    assert (float(total), float(n)) == (0.25 + 4.0, 2.0)
