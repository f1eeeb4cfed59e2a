from __future__ import annotations

import pytest
import torch

from shoal.generative import GAMMAS, PATHS, Gamma, Path, draw_times, path, time_grid

# Every path with every noise that fits it; a is smaller where variance is preserved, so that the noise leaves a rest.
FITTING = [(p, g) for p in PATHS for g in GAMMAS if (p, g) != ("encoding_decoding", "zero")]
each_path = pytest.mark.parametrize(("name", "gamma"), FITTING)
each_gamma = pytest.mark.parametrize("name", GAMMAS)
T = torch.linspace(
    0.01, 0.99, 98, dtype=torch.float64
)  # ½ is not among them: encoding_decoding has a corner there


def numeric(function, t, h=1e-6):
    return (function(t + h) - function(t - h)) / (2 * h)


@each_gamma
def test_a_schedule_is_zero_at_both_ends_and_its_rates_are_its_derivatives(name):
    gamma = Gamma(name, 0.7)
    ends = torch.tensor([0.0, 1.0])
    torch.testing.assert_close(gamma(ends), torch.zeros(2), atol=1e-6, rtol=0)
    torch.testing.assert_close(gamma.dot(T), numeric(gamma, T), rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(gamma.times_dot(T), gamma(T) * gamma.dot(T))
    assert torch.isfinite(torch.cat([gamma.dot(ends), gamma.times_dot(ends)])).all()
    assert gamma.peak == pytest.approx(float(gamma(T).max()), rel=1e-3)
    assert bool(gamma) == (name != "zero")


def test_only_the_brownian_schedule_keeps_off_the_ends():
    t = torch.tensor([0.0, 0.5, 1.0])
    assert Gamma("brownian").inner(t).tolist() == pytest.approx([0.001, 0.5, 0.999])
    assert all(Gamma(name).inner(t) is t for name in GAMMAS if name != "brownian")


@each_path
def test_a_path_starts_at_the_source_and_ends_at_the_target(name, gamma, generator):
    x0, x1, z = torch.randn(3, 5, 2, generator=generator)
    p = path(name, gamma, a=0.7)
    torch.testing.assert_close(p.interpolate(torch.zeros(5), x0, x1, z), x0, atol=1e-6, rtol=0)
    torch.testing.assert_close(p.interpolate(torch.ones(5), x0, x1, z), x1, atol=1e-6, rtol=0)


@each_path
def test_the_velocity_is_the_derivative_of_the_path(name, gamma, generator):
    x0, x1, z = torch.randn(3, len(T), 2, generator=generator, dtype=torch.float64)
    p = path(name, gamma, a=0.7)
    for noise in (None, z):
        moving = numeric(lambda t, noise=noise: p.interpolate(t, x0, x1, noise), T)
        torch.testing.assert_close(p.velocity(T, x0, x1, noise), moving, rtol=1e-6, atol=1e-7)


def test_a_path_without_noise_ignores_it(generator):
    x0, x1, z = torch.randn(3, 4, 6, 2, generator=generator)
    t = torch.rand(4, 6, generator=generator)
    torch.testing.assert_close(path().interpolate(t, x0, x1, z), torch.lerp(x0, x1, t[..., None]))
    torch.testing.assert_close(path().velocity(t, x0, x1, z), x1 - x0)


def test_variance_is_preserved(generator):
    p = path("variance_preserving", "brownian", a=2.0)
    torch.testing.assert_close(
        p.alpha(T) ** 2 + p.beta(T) ** 2 + p.gamma(T) ** 2, torch.ones_like(T)
    )


@pytest.mark.parametrize("amplitude", [0.0, -1.0, float("nan")])
def test_an_amplitude_must_be_positive(amplitude):
    with pytest.raises(ValueError, match="a must be above 0"):
        Gamma("brownian", amplitude)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (
            lambda: path("straight"),
            "path='straight' is not known; choose one of 'linear', 'trigonometric'",
        ),
        (lambda: path("linear", "white"), "gamma='white' is not known"),
        (
            lambda: path("variance_preserving", "sin2"),
            r"'sin2' with a=1.0 reaches 1 at t=0.5; choose a smaller a",
        ),
        (lambda: path("variance_preserving", "quadratic", a=4.0), "choose a smaller a"),
        (lambda: path("encoding_decoding"), "needs noise"),
    ],
)
def test_what_does_not_fit_is_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_a_path_is_a_value():
    assert path("linear", "brownian", a=2.0) == Path("linear", Gamma("brownian", 2.0))
    assert len({path(), path(), path("trigonometric")}) == 2


def test_uniform_times_keep_the_margin_and_repeat_with_the_seed(generator):
    like = torch.zeros(1)
    t = draw_times("uniform", (100, 200), generator=generator, like=like, margin=0.1)
    assert t.shape == (100, 200)
    assert 0.1 <= t.min() < 0.101
    assert 0.899 < t.max() <= 0.9
    assert t.mean() == pytest.approx(0.5, abs=0.005)
    again = draw_times(
        "uniform", (100, 200), generator=torch.Generator().manual_seed(0), like=like, margin=0.1
    )
    assert torch.equal(t, again)


def test_skewed_times_have_the_published_quantiles(generator):
    t = draw_times(
        "edm",
        (200_000,),
        generator=generator,
        like=torch.zeros(1, dtype=torch.float64),
        margin=1e-4,
    )
    assert t.dtype == torch.float64
    found = torch.quantile(t, torch.tensor([0.05, 0.25, 0.5, 0.75, 0.95], dtype=torch.float64))
    assert found.tolist() == pytest.approx([0.32, 0.60, 0.77, 0.88, 0.96], abs=0.006)


def test_grids_run_from_0_to_1(generator):
    for name in ("uniform", "edm"):
        for n in (1, 2, 50):
            grid = time_grid(name, n, like=torch.zeros(1))
            assert grid.shape == (n + 1,)
            assert (grid[0], grid[-1]) == (0, 1)
            assert (grid.diff() > 0).all()
    grid = time_grid("edm", 50, like=torch.zeros(1))
    assert grid[[1, 20, 30, 40, 49]].tolist() == pytest.approx(
        [0.0138, 0.155, 0.540, 0.937, 0.998], abs=5e-4
    )
    with pytest.raises(ValueError, match="grid='log' is not known"):
        time_grid("log", 3, like=torch.zeros(1))
    with pytest.raises(ValueError, match="n_steps must be a whole number"):
        time_grid("uniform", 0, like=torch.zeros(1))
    with pytest.raises(ValueError, match="law='log' is not known"):
        draw_times("log", (3,), generator=generator, like=torch.zeros(1))
