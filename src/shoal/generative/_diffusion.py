r"""Denoising diffusion in T discrete steps, for networks that predict the clean data.

.. math:: x_t = \sqrt{\bar\alpha_t}\,x_0 + \sqrt{1 - \bar\alpha_t}\,\varepsilon, \qquad
   \bar\alpha_t = \prod_{s \le t} (1 - \beta_s), \qquad t = 0, \dots, T - 1

The step t = -1, with ᾱ = 1, is the clean data. References: Ho et al. 2020 (arXiv:2006.11239),
Nichol & Dhariwal 2021 (arXiv:2102.09672), Song et al. 2021 (arXiv:2010.02502).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import torch
from torch import Tensor

from .._validate import one_of, whole
from ._tensors import full, normal_like

Denoiser: TypeAlias = Callable[[Tensor, Tensor, Tensor], Tensor]
"""``denoise(x, t, earlier)`` gives the clean (K, S, D).

x (K, S, D) is noisy, t (K,) are its steps, and `earlier` (K, S, D) is an earlier prediction of the
clean data, or 0 for none.
"""

OFFSET, STEEPEST = 0.008, 0.999  # cosine schedule: offset of the noise at its start, and largest β


@dataclass(frozen=True)
class GaussianDiffusion:
    """A chain of Gaussian steps from data to noise.

    Parameters
    ----------
    n_steps
        Number T of steps of the chain.
    beta
        Variance that each step adds: ``("linear", first, last)`` or ``("cosine",)``. The cosine
        schedule spends more steps at little noise.

    Raises
    ------
    ValueError
        If there is no such schedule, or a number in it is not between 0 and 1.

    Examples
    --------
    >>> import torch
    >>> chain = GaussianDiffusion()
    >>> x0 = torch.zeros(2, 64, 5)
    >>> t = chain.draw(2, generator=torch.Generator().manual_seed(0))
    >>> chain.noise(x0, t, generator=torch.Generator().manual_seed(0)).shape
    torch.Size([2, 64, 5])
    """

    n_steps: int = 1000
    beta: tuple[str, float, float] | tuple[str] = ("linear", 1e-4, 0.02)

    def __post_init__(self) -> None:
        whole(self.n_steps, name="n_steps")
        name, *ends = self.beta
        one_of(name, ("linear", "cosine"), name="beta")
        if len(ends) != (2 if name == "linear" else 0) or not all(0 < value < 1 for value in ends):
            msg = (
                f"beta={self.beta!r} is not ('linear', first, last), both between 0 and 1, "
                "nor ('cosine',)"
            )
            raise ValueError(msg)

    @cached_property
    def betas(self) -> Tensor:
        """(T,) variance that each step adds, float64."""
        if len(self.beta) == 3:
            return torch.linspace(self.beta[1], self.beta[2], self.n_steps, dtype=torch.float64)
        share = torch.linspace(0, 1, self.n_steps + 1, dtype=torch.float64)
        kept = torch.cos((share + OFFSET) / (1 + OFFSET) * torch.pi / 2) ** 2
        return (1 - kept[1:] / kept[:-1]).clamp_max(STEEPEST)

    @cached_property
    def alpha_bar(self) -> Tensor:
        """(T,) share of the variance of the data that is left at each step, float64."""
        return torch.cumprod(1 - self.betas, 0)

    def draw(self, n: int, *, generator: torch.Generator) -> Tensor:
        """Return n steps (n,), int64, uniform over the chain, on the device of the generator."""
        return torch.randint(self.n_steps, (n,), generator=generator, device=generator.device)

    def noise(self, x0: Tensor, t: Tensor, *, generator: torch.Generator) -> Tensor:
        """Return x_t of data (K, S, D) at steps t (K,).

        All cells of a set have the same step; the noise is new for each cell and feature.
        """
        return self.mixed(x0, t, normal_like(x0, generator))

    def mixed(self, x0: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """Return x_t of data (K, S, D) and standard normal noise (K, S, D) at steps t (K,)."""
        x0 = full(x0)
        kept, level = self.alpha_bar.sqrt(), (1 - self.alpha_bar).sqrt()
        return torch.addcmul(_over(kept, t, x0) * x0, _over(level, t, x0), noise)

    def posterior(self, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the distribution of x_{t-1}, given x_t and x_0.

        It is normal with mean a x_0 + b x_t. At t = 0 it is x_0 itself.

        Returns
        -------
        a, b and the variance, float64, each of the shape of t.
        """
        before = torch.cat([self.alpha_bar.new_ones(1), self.alpha_bar[:-1]])
        noise = 1 - self.alpha_bar
        parts = (
            before.sqrt() * self.betas / noise,
            (1 - self.betas).sqrt() * (1 - before) / noise,
            self.betas * (1 - before) / noise,
        )
        a, b, variance = (part.to(t.device)[t] for part in parts)
        return a, b, variance

    def snr(self, t: Tensor, *, variance: float = 1.0) -> Tensor:
        """Return the signal-to-noise ratio at steps t, float64.

        It is the variance that is left of the data over that of the noise, for data of a
        `variance`.
        """
        kept = self.alpha_bar.to(t.device)[t]
        return kept * variance / (1 - kept)


def strided(n: int, n_steps: int) -> tuple[int, ...]:
    """Return n of T steps, evenly spaced, downwards from T - 1.

    n = 1 is a single pass from pure noise.

    Raises
    ------
    ValueError
        If the chain does not have n steps.

    Examples
    --------
    >>> strided(4, 1000)
    (999, 749, 499, 249)
    """
    if not 1 <= n <= n_steps:
        msg = f"{n} steps cannot be taken of a chain of {n_steps}: choose 1 to {n_steps}"
        raise ValueError(msg)
    return tuple(round(n_steps * (n - i) / n) - 1 for i in range(n))


def truncated(start: int, n_steps: int) -> tuple[int, ...]:
    """Return the last steps of a chain, ``start - 1`` to 0, all of them.

    The published sampler of PerturbDiff takes the last 100 of 1000. It begins with pure noise,
    where training had data.

    Raises
    ------
    ValueError
        If the chain has no such step.

    Examples
    --------
    >>> truncated(3, 1000)
    (2, 1, 0)
    """
    if not 1 <= start <= n_steps:
        msg = f"a chain of {n_steps} steps has no last {start}: choose 1 to {n_steps}"
        raise ValueError(msg)
    return tuple(range(start - 1, -1, -1))


def ddim(
    denoise: Denoiser,
    x: Tensor,
    *,
    diffusion: GaussianDiffusion,
    steps: Sequence[int],
    eta: float = 0.0,
    self_conditioning: bool = True,
    floor: float | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Carry noise to data through some steps of a chain (denoising diffusion implicit model).

    Gradients flow through unless they are switched off. To generate, wrap the call in
    ``torch.no_grad()``.

    Parameters
    ----------
    denoise
        ``denoise(x, t, earlier)``, called with x (K, S, D), t (K,) int64 and the earlier prediction
        (K, S, D).
    x
        (K, S, D) standard normal numbers.
    diffusion
        The chain that the denoiser was trained on.
    steps
        Decreasing steps at which the denoiser is evaluated, from :func:`strided` or
        :func:`truncated`. Its prediction at the last step is the result.
    eta
        Share of the noise of the chain that is drawn anew: 0 for none, 1 for ancestral sampling.
    self_conditioning
        Whether the denoiser sees its prediction of the step before, or 0 at the first step.
        Otherwise it always sees 0.
    floor
        Predicted values below this are set to 0 at every step; 1e-4 as published. ``None`` leaves
        them.
    generator
        Source of the noise. Needed if `eta` is not 0.

    Returns
    -------
    (K, S, D) data, in single precision at least.

    Raises
    ------
    ValueError
        If `steps` do not decrease or are not steps of the chain, `eta` is not between 0 and 1, or
        `eta` is above 0 without a generator.

    Examples
    --------
    >>> import torch
    >>> x = torch.randn(2, 8, 3, generator=torch.Generator().manual_seed(0))
    >>> made = ddim(
    ...     lambda x, t, earlier: 0 * x + 1,
    ...     x,
    ...     diffusion=GaussianDiffusion(),
    ...     steps=strided(20, 1000),
    ... )
    >>> made.unique()
    tensor([1.])
    """
    stops = [*steps, -1]
    if (
        len(stops) < 2
        or stops[0] >= diffusion.n_steps
        or any(t <= s for t, s in itertools.pairwise(stops))
    ):
        msg = (
            f"steps={tuple(steps)} must decrease from {diffusion.n_steps - 1} at most to 0 at least"
        )
        raise ValueError(msg)
    if not 0 <= eta <= 1 or (eta and generator is None):
        msg = (
            f"eta={eta} must be from 0 to 1, and above 0 draws noise from an explicit "
            "generator: pass generator="
            "pass generator="
        )
        raise ValueError(msg)
    x = full(x)
    earlier = torch.zeros_like(x)
    kept = [*diffusion.alpha_bar.tolist(), 1.0]  # index -1: the clean data
    for t, following in itertools.pairwise(stops):
        now, then = kept[t], kept[following]
        x0 = full(denoise(x, torch.full(x.shape[:1], t, device=x.device), earlier))
        if floor is not None:
            x0 = x0.masked_fill(x0 < floor, 0)
        if self_conditioning:
            earlier = x0
        # variance of the new noise
        fresh = eta**2 * (1 - then) / (1 - now) * (1 - now / then)
        noise = (x - now**0.5 * x0) / (1 - now) ** 0.5
        x = then**0.5 * x0 + max(1 - then - fresh, 0) ** 0.5 * noise
        if fresh and generator is not None:
            x = x + fresh**0.5 * normal_like(x, generator)
    return x


def _over(table: Tensor, t: Tensor, like: Tensor) -> Tensor:
    """Return the entries (K, 1, 1) of a table at steps (K,), in the precision of `like`."""
    return table.to(t.device)[t].to(like)[:, None, None]
