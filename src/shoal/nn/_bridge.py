"""The network of a dual bridge: one trunk, a decoder of control and one of perturbed cells."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from torch import nn

from .._validate import one_of
from ._dropout import Dropout

if TYPE_CHECKING:
    from torch import Tensor

NORMS = ("batch", "layer")


class CellNorm(nn.BatchNorm1d):
    """Batch normalisation over all cells, whatever the leading axes are."""

    def forward(self, x: Tensor) -> Tensor:
        """Return (..., d)."""
        return super().forward(x.reshape(-1, x.shape[-1])).view_as(x)


def mlp(*sizes: int, norm: str = "layer", dropout: float = 0.1) -> nn.Sequential:
    """Return linear layers of these sizes, each followed by a norm, a SiLU and dropout.

    Parameters
    ----------
    *sizes
        Features of the input, and of each layer.
    norm
        ``"batch"``, over all cells of a step, or ``"layer"``, over the features of each.
    dropout
        Share of the features that are dropped in training.

    Raises
    ------
    ValueError
        If there is no such norm.
    """
    one_of(norm, NORMS, name="norm")
    kind = CellNorm if norm == "batch" else nn.LayerNorm
    return nn.Sequential(
        *(
            layer
            for d_in, d_out in pairwise(sizes)
            for layer in (nn.Linear(d_in, d_out), kind(d_out), nn.SiLU(), Dropout(dropout))
        )
    )


class BridgeNet(nn.Module):
    """A noisy cell and its condition, as a clean cell.

    Control cells and perturbed cells share the trunk. It adds the time and the place (context and
    batch) to the cell, with layers in between, and at last the condition. A decoder of its own
    makes of that a control cell, and another one a perturbed cell.

    Parameters
    ----------
    d
        Genes of a cell.
    width
        Width of the trunk.
    decoder
        Width of the decoders.
    depth
        Layers of each part: three as published.
    n_out
        Numbers that the decoder of perturbed cells returns; d if ``None``.
    controls
        Whether there is a decoder of control cells.
    norm, dropout
        As of :func:`mlp`.
    """

    def __init__(
        self,
        d: int,
        *,
        width: int,
        decoder: int,
        depth: int = 3,
        n_out: int | None = None,
        controls: bool = True,
        norm: str = "batch",
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        given = {"norm": norm, "dropout": dropout}
        inner = [width] * depth
        self.enter = mlp(d, *inner, **given)
        self.after_time = mlp(width, *inner, **given)
        self.after_place = mlp(width, *inner, **given)

        def head(n: int) -> nn.Sequential:
            return nn.Sequential(mlp(width, *[decoder] * depth, **given), nn.Linear(decoder, n))

        self.treated = head(d if n_out is None else n_out)
        self.control = head(d) if controls else None

    def forward(
        self, x: Tensor, time: Tensor, place: Tensor, condition: Tensor, *, treated: bool
    ) -> Tensor:
        """Return what a decoder makes of cells, (..., d) or (..., n_out).

        Parameters
        ----------
        x
            (..., d) noisy cells.
        time, place, condition
            (..., width), which broadcast over the cells.
        treated
            Whether the cells are perturbed.

        Raises
        ------
        ValueError
            If control cells are asked of a network that has no decoder for them.
        """
        h = self.after_time(self.enter(x) + time)
        h = self.after_place(h + place) + condition
        if treated:
            return self.treated(h)
        if self.control is None:
            msg = "this network has no decoder of control cells; make it with controls=True"
            raise ValueError(msg)
        return self.control(h)
