"""A small screen with known shifts, and a module that learns them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from shoal.training._conditions import Conditions
from shoal.training._sampler import SetSampler
from shoal.training._store import ResidentStore

D = 4


def screen(sizes=(60, 60, 60, 60), *, n_control=80, n_contexts=1, n_batches=1, seed=0):
    """Return conditions and values: condition c shifts dimension c by 2; context and batch go round."""
    rng = np.random.default_rng(seed)
    ends = np.cumsum(sizes)
    n, c = int(ends[-1]) + n_control, len(sizes)
    context = np.arange(c) % n_contexts
    label = np.repeat(np.arange(c), sizes)
    cells = np.split(np.arange(ends[-1]), ends[:-1])
    x = rng.normal(size=(n, D)).astype(np.float32)
    x[np.arange(len(label)), label % D] += 2
    conditions = Conditions(
        names=tuple(f"P{i}" for i in range(c)),
        parts=np.arange(c)[:, None],
        context=context,
        dose=np.full(c, np.nan),
        cells=tuple(cells),
        control=np.arange(ends[-1], n),
        cell_context=np.concatenate(
            [context[label], np.arange(n_control) // n_batches % n_contexts]
        ),
        cell_batch=np.arange(n) % n_batches,
        vectors=np.eye(c, dtype=np.float32),
    )
    return conditions, x


class Shift(torch.nn.Module):
    """Adds a learned shift of each condition to the source cells; the loss compares the means of noisy cells."""

    def __init__(self, n_vector, d=D, *, bad_step=None, broken="loss"):
        super().__init__()
        self.shift = torch.nn.Linear(n_vector, d)
        torch.nn.init.zeros_(self.shift.weight)
        torch.nn.init.zeros_(self.shift.bias)
        self.bad_step, self.broken, self.calls = bad_step, broken, 0

    def loss(self, batch, generator):
        made = self.sample(batch.source, batch.condition, batch.batch_index, generator=generator)
        noise = 0.1 * torch.randn(made.shape, generator=generator, device=made.device)
        error = (made + noise).mean(1) - batch.target.mean(1)
        loss = (error**2).mean()
        if self.calls == self.bad_step:
            loss = loss * float("nan") if self.broken == "loss" else _NanGradient.apply(loss)
        self.calls += 1
        return {"loss": loss, "error": error.abs().mean()}

    def sample(self, source, condition, batch_index, *, generator):
        return source + self.shift(condition["parts"].sum(1))[:, None]


class _NanGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return gradient * float("nan")


@pytest.fixture
def make_screen():
    return screen


@pytest.fixture
def make_module():
    def make(conditions, **options):
        torch.manual_seed(0)
        return Shift(conditions.vectors.shape[1], **options)

    return make


@pytest.fixture
def make_store():
    def make(conditions, values, **options):
        return ResidentStore(
            values, SetSampler(conditions, **{"set_size": 16, "batch_conditions": 2} | options)
        )

    return make
