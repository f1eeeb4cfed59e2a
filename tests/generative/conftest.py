from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
import torch

if TYPE_CHECKING:
    from shoal.generative import Path


@dataclass(frozen=True)
class Gaussians:
    """Two independent normal populations and, in closed form, the fields of any path between them."""

    m0: torch.Tensor
    c0: torch.Tensor
    m1: torch.Tensor
    c1: torch.Tensor

    def moments(self, path: Path, t):
        a, b, gamma = path.alpha(t), path.beta(t), path.gamma(t)
        return a * self.m0 + b * self.m1, a**2 * self.c0 + b**2 * self.c1 + gamma**2 * torch.eye(
            len(self.m0)
        )

    def whitened(self, path, t, x):
        mean, cov = self.moments(path, t)
        return (x - mean) @ torch.linalg.inv(cov)

    def velocity(self, path: Path, t, x):
        a, b, da, db = path.alpha(t), path.beta(t), path.alpha_dot(t), path.beta_dot(t)
        return (
            da * self.m0
            + db * self.m1
            + self.whitened(path, t, x) @ (a * da * self.c0 + b * db * self.c1)
        )

    def eta(self, path, t, x):
        return path.gamma(t) * self.whitened(path, t, x)

    def heads(self, path):
        return lambda t, x: (self.velocity(path, t, x), self.eta(path, t, x))

    def score(self, path, t, x):
        return -self.whitened(path, t, x)

    def sample(self, n, generator, *, end=0):
        """Draw n points whose mean and covariance are exactly those of the population at that end."""
        mean, cov = (self.m0, self.c0) if end == 0 else (self.m1, self.c1)
        x = torch.randn(n, len(mean), generator=generator, dtype=torch.float64)
        x = x - x.mean(0)
        x = x @ torch.linalg.inv(torch.linalg.cholesky(x.T @ x / n)).T
        return mean + x @ torch.linalg.cholesky(cov).T


@pytest.fixture(params=[1, 2], ids=["1-D", "2-D"])
def gaussians(request):
    d = request.param
    torch.set_default_dtype(torch.float64)
    yield Gaussians(
        m0=torch.tensor([0.5, -1.0])[:d],
        c0=torch.tensor([[1.0, 0.5], [0.5, 1.5]])[:d, :d],
        m1=torch.tensor([2.0, 1.0])[:d],
        c1=torch.tensor([[2.0, -0.6], [-0.6, 0.5]])[:d, :d],
    )
    torch.set_default_dtype(torch.float32)


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)
