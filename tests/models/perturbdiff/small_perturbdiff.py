"""A small network of PerturbDiff, a batch for it, and what tests do to both."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from shoal.models.base._config import changed
from shoal.models.perturbdiff._config import PRESETS
from shoal.models.perturbdiff._module import PerturbDiffModule

K, S, G, E = 3, 12, 5, 3
MEAN, SCALE = torch.tensor([4.0, 5.0, 4.5, 6.0, 5.5]), 1.5
SHIFT = torch.tensor([[2.0, 0, 0, 0, 0], [0, -2.0, 0, 0, 0], [0, 0, 2.0, -2.0, 0]])
AXES = torch.linalg.qr(torch.randn(G, 2, generator=torch.Generator().manual_seed(9)))[0]
TINY = {"width": 16, "depth": 2, "n_heads": 4}
SEVERAL = {
    "one_pass": False,
    "self_conditioning": 0.5,
    "n_steps": 4,
}  # "shoal" as a diffusion
each_preset = pytest.mark.parametrize("name", PRESETS)
each_network = pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("shoal", {}),
        ("shoal", {"fusion": "features"}),
        ("shoal", {"fusion": "tokens"}),
        ("shoal", SEVERAL),
        ("shoal", SEVERAL | {"fusion": "tokens", "residual": False}),
        ("published", {}),
    ],
    ids=["input", "features", "tokens", "input-steps", "tokens-steps", "published"],
)


def conditions() -> dict[str, torch.Tensor]:
    """Return A, B + A and C, in three contexts (one unknown), at three doses."""
    present = torch.tensor([[True, False], [True, True], [True, False]])
    parts = torch.stack([torch.eye(E), torch.eye(E)[:1].expand(E, E)], dim=1)
    return {
        "parts": parts * present[..., None],
        "present": present,
        "context": torch.tensor([0, 1, -1]),
        "dose": torch.stack([torch.arange(K).float() - 1, torch.ones(K)], dim=-1),
    }


def batch(seed: int = 0, size: int = S) -> SimpleNamespace:
    """Three conditions that shift the controls and halve their spread; some slots repeat a cell."""
    draw = torch.Generator().manual_seed(seed)
    source, target = torch.randn(2, K, size, G, generator=draw)
    weight, source_weight = torch.ones(2, K, size)
    weight[:, ::4] = source_weight[:, ::3] = 0
    return SimpleNamespace(
        source=source / SCALE,
        target=(target / 2 + SHIFT[:, None]) / SCALE,
        weight=weight,
        source_weight=source_weight,
        batch_index=torch.arange(size).expand(K, size) % 2,
        index=torch.arange(K),
        condition=conditions(),
    )


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def module(
    name: str = "shoal", *, nonnegative: bool = True, **changes: object
) -> PerturbDiffModule:
    torch.manual_seed(0)
    config = changed(PRESETS[name], TINY | changes)
    return PerturbDiffModule(
        G, E, 2, 2, config=config, mean=MEAN, scale=SCALE, nonnegative=nonnegative, axes=AXES
    )


def opened(model: PerturbDiffModule) -> PerturbDiffModule:
    """Draw all weights: gates, steering and, in one preset, the last layer start at 0. Mode: evaluation."""
    draw = seeded(5)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=draw))
    return model.eval()


def watched(model: PerturbDiffModule) -> list[SimpleNamespace]:
    """Return the list of what the network is shown, and makes of it, from now on."""
    calls, plain = [], model._predict

    def predict(x, t, previous, control, encoded, generator, **counts):
        made = plain(x, t, previous, control, encoded, generator, **counts)
        seen = {"x": x, "t": t, "previous": previous, "control": control, "encoded": encoded}
        calls.append(SimpleNamespace(**seen, made=made))
        return made

    model._predict = predict
    return calls
