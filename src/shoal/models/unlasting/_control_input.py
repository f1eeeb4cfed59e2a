"""The control cells that the network is given beside noisy perturbed cells."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from ...generative import normal_like

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor


def control_cells(
    kind: str | None,
    source: Tensor,
    condition: Mapping[str, Tensor],
    generator: torch.Generator,
) -> Tensor | None:
    """Return control cells of a kind; cells that were perturbed at their start stay as they are.

    Parameters
    ----------
    kind
        ``"cell"`` gives the cells themselves, and ``None`` none. ``"moments"`` gives draws with
        mean and standard deviation of the control cells of the context. ``"filled"`` gives the
        cells with a draw where a gene is off: with the moments of the cells in which it is on.
    source
        (K, S, d) control cells.
    condition
        Conditions, with ``"moments"``: mean, standard deviation and share of cells that are on.
    generator
        The source of randomness.
    """
    if kind in ("cell", None):
        return None if kind is None else source
    mean, sd, share = (each[:, None] for each in condition["moments"].unbind(1))
    drawn = condition["present"].any(-1)[:, None, None]
    if kind == "moments":
        made = torch.addcmul(mean, sd, normal_like(source, generator))
        return torch.lerp(source.to(made), made, drawn.to(made))
    spread = ((sd**2 + mean**2) / share - (mean / share) ** 2).clamp(min=0).sqrt()
    made = torch.addcmul(mean / share, spread, normal_like(source, generator)).relu_()
    off = torch.eq(source, 0, out=torch.empty_like(source))
    return torch.addcmul(source, made, off.mul_(drawn))


def predicted_from(
    kind: str | None,
    source: Tensor,
    condition: Mapping[str, Tensor],
    generator: torch.Generator,
) -> Tensor | None:
    """Return the control cells that predictions are given, where training gives those of a kind.

    They are the cells themselves in place of draws. Arguments are those of :func:`control_cells`.
    """
    return control_cells("cell" if kind == "moments" else kind, source, condition, generator)
