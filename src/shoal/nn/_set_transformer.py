"""A transformer over sets of cells that reads perturbed cells beside control cells.

This is the network of PerturbDiff (Yuan et al. 2026, arXiv:2602.19685). A cell is a token, tokens
have no positions, and genes are mapped linearly. The blocks are those of Peebles & Xie 2023,
*Scalable diffusion models with transformers*, for two streams: perturbed cells and control cells.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .._validate import one_of, whole
from ._attention import EPS, Attention, Enter, linear, readable
from ._blocks import steering_of, zeroed

FUSIONS = ("features", "tokens")


def n_parameters(module: nn.Module) -> int:
    """Return the number of weights of a module, those that are frozen included."""
    return sum(parameter.numel() for parameter in module.parameters())


class Stream(nn.Module):
    """The part of a block that belongs to one stream: norm, steering (adaLN-Zero) and MLP.

    A stream that `ends` in the block has no MLP.
    """

    def __init__(self, width: int, d_condition: int, *, mlp_ratio: int, ends: bool = False) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, elementwise_affine=False, eps=EPS)
        self.steer = zeroed(nn.Linear(d_condition, (2 if ends else 6) * width))
        inner = mlp_ratio * width
        self.mlp = (
            None
            if ends
            else nn.Sequential(linear(width, inner), nn.GELU("tanh"), linear(inner, width))
        )

    def forward(
        self, h: Tensor, condition: Tensor, slots: Tensor | None, *, ends: bool = False
    ) -> tuple[Tensor, Tensor | None, Tensor]:
        """Return the tokens for the attention, the gate of its result, and the state after the MLP.

        MLP and attention read the same state. The gate of a stream that ends is ``None``.
        """
        steering = steering_of(self.steer, condition, slots)
        steer = steering.unflatten(-1, (-1, h.shape[-1])).unbind(-2)
        normed = self.norm(h)
        read = torch.addcmul(steer[0], normed, 1 + steer[1])
        if self.mlp is None or ends:
            return read, None, h
        gate, shift, scale, gate_mlp = steer[2:]
        return read, gate, h + gate_mlp * self.mlp(torch.addcmul(shift, normed, 1 + scale))


class CrossBlock(nn.Module):
    """A block of two streams, perturbed cells and control cells, that share one attention.

    An untrained block is the identity.

    Parameters
    ----------
    width
        Width of each stream.
    n_heads
        Heads of the attention.
    d_condition
        Length of the condition vector.
    mlp_ratio
        Width of the hidden layer of the MLPs, in units of `width`.
    fusion
        ``"features"``: cell j and control j are one token of 2 `width` features, as published.
        ``"tokens"``: cells and controls are tokens of `width` features, and no cell has a control
        of its own.
    ends
        Whether no block follows. The controls then have no MLP and come out unchanged, because no
        layer would read them.

    Raises
    ------
    ValueError
        If there is no such fusion, or `n_heads` does not divide the width of the attention.
    """

    def __init__(
        self,
        width: int,
        n_heads: int,
        d_condition: int,
        *,
        mlp_ratio: int = 4,
        fusion: str = "features",
        ends: bool = False,
    ) -> None:
        super().__init__()
        one_of(fusion, FUSIONS, name="fusion")
        self.fusion, self.ends = fusion, ends
        self.cells = Stream(width, d_condition, mlp_ratio=mlp_ratio)
        self.controls = Stream(width, d_condition, mlp_ratio=mlp_ratio, ends=ends)
        joint = 2 * width if fusion == "features" else width
        self.attention = Attention(joint, n_heads, width if ends else joint)

    def forward(
        self,
        h: Tensor,
        g: Tensor,
        condition: Tensor,
        *,
        slots: Tensor | None = None,
        keys: Tensor | None = None,
        ends: bool = False,
    ) -> tuple[Tensor, Tensor]:
        """Return the new cells and the new controls.

        Parameters
        ----------
        h
            (K, S, width) cells.
        g
            (K, T, width) controls, T = S where features are fused.
        condition
            (K, B, d_condition) conditions after a SiLU. Without `slots`, B is 1, for all slots
            together, or S, for each slot.
        slots
            (K, S, B), 1 at the condition of each slot, else 0.
        keys
            Tokens that the attention may read, bool: (K, S), or (K, S + T) where tokens are fused.
        ends
            Whether no layer will read the controls, which then come out unchanged.
        """
        a, gate, h = self.cells(h, condition, slots)
        b, gate_g, g = self.controls(g, condition, slots, ends=ends)
        axis = -1 if self.fusion == "features" else -2
        seen = self.attention(torch.cat([a, b], dim=axis), keys)
        if gate_g is None:  # the stream of controls ends
            return h + gate * seen[..., : h.shape[-2], : h.shape[-1]], g
        to_h, to_g = seen.split([h.shape[axis], g.shape[axis]], dim=axis)
        return h + gate * to_h, g + gate_g * to_g


class Head(nn.Module):
    """The last layers, from a stream to genes: norm, shift and scale, and a linear map."""

    def __init__(self, width: int, d_condition: int, n_features: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, elementwise_affine=False, eps=EPS)
        self.steer = zeroed(nn.Linear(d_condition, 2 * width))
        self.leave = linear(width, n_features)

    def forward(self, h: Tensor, condition: Tensor, slots: Tensor | None) -> Tensor:
        shift, scale = steering_of(self.steer, condition, slots).chunk(2, dim=-1)
        return self.leave(torch.addcmul(shift, self.norm(h), 1 + scale))


class CrossTransformer(nn.Module):
    """A transformer that reads sets of cells and sets of controls, and returns sets of cells.

    Permuting the slots of a set permutes its result. Where features are fused, cells and controls
    have to be permuted together.

    Parameters
    ----------
    n_features
        Genes of a cell.
    width
        Width of a stream.
    depth
        Number of blocks.
    n_heads
        Heads of the attention of a block.
    d_condition
        Length of the condition vector; `width` if ``None``.
    mlp_ratio, fusion
        Arguments of :class:`CrossBlock`.
    d_control
        Features of a control in the input. ``None`` gives 2 `n_features`, as published, where the
        second half is always 0.
    n_out
        Numbers of a cell in the output; `n_features` if ``None``.
    heads
        1, or 2 for the published weights. The second head belongs to the controls. No loss reaches
        it, nor the last MLP of the controls. Both are kept to be counted and loaded, are frozen,
        and are not evaluated.

    Raises
    ------
    ValueError
        For a number of heads that does not exist, or as :class:`CrossBlock`.

    Examples
    --------
    >>> import torch
    >>> net = CrossTransformer(50, width=32, depth=2, n_heads=4)
    >>> x, control = torch.zeros(2, 3, 16, 100)
    >>> net(x, control, torch.zeros(3, 1, 32)).shape
    torch.Size([3, 16, 50])
    """

    def __init__(
        self,
        n_features: int,
        *,
        width: int,
        depth: int,
        n_heads: int,
        d_condition: int | None = None,
        mlp_ratio: int = 4,
        fusion: str = "features",
        d_control: int | None = None,
        n_out: int | None = None,
        heads: int = 1,
    ) -> None:
        super().__init__()
        depth = whole(depth, name="depth")
        one_of(heads, (1, 2), name="heads")
        d_condition = width if d_condition is None else d_condition
        self.fusion = fusion
        self.enter = linear(2 * n_features, width, kind=Enter)
        self.enter_control = linear(
            2 * n_features if d_control is None else d_control, width, kind=Enter
        )
        self.constant = nn.Parameter(torch.randn(width) * 0.02)
        self.blocks = nn.ModuleList(
            CrossBlock(
                width,
                n_heads,
                d_condition,
                mlp_ratio=mlp_ratio,
                fusion=fusion,
                ends=heads == 1 and last,
            )
            for last in [False] * (depth - 1) + [True]
        )
        self.head = Head(width, d_condition, n_features if n_out is None else n_out)
        self.control_head = Head(width, d_condition, n_features) if heads == 2 else None
        unreached = ("control_head.", f"blocks.{depth - 1}.controls.mlp.")
        for name, parameter in self.named_parameters():
            parameter.requires_grad = not name.startswith(unreached)

    def forward(
        self,
        x: Tensor,
        control: Tensor,
        condition: Tensor,
        *,
        slots: Tensor | None = None,
        weight: Tensor | None = None,
        control_weight: Tensor | None = None,
    ) -> Tensor:
        """Return the output for every cell.

        Parameters
        ----------
        x
            (K, S, 2 n_features) cells, each followed by its prediction of an earlier pass. Without
            one, (K, S, n_features) cells alone.
        control
            (K, T, d_control) control cells, T = S where features are fused. The last features may
            be left out where they are 0.
        condition
            (K, 1, d_condition) for all slots together, (K, S, d_condition) for each slot, or (K, B,
            d_condition) with `slots`.
        slots
            (K, S, B), 1 at the condition of each slot, else 0. It needs as many controls as cells.
        weight
            (K, S) weights of the cells. Other slots do not read those of weight 0, which have a
            result all the same.
        control_weight
            (K, T) weights of the controls. It has no effect where features are fused: there a token
            is read if its cell is.

        Returns
        -------
        (K, S, n_out), not clipped at 0.

        Raises
        ------
        ValueError
            If features are fused and there are not as many controls as cells.
        """
        if self.fusion == "features" and x.shape[-2] != control.shape[-2]:
            msg = (
                f"{x.shape[-2]} cells and {control.shape[-2]} controls cannot be fused by "
                "features: bring one control for each cell, or take fusion='tokens'"
            )
            raise ValueError(msg)
        condition = nn.functional.silu(condition)
        h, g = self.enter(x) + self.constant, self.enter_control(control) + self.constant
        keys = self._keys(x, control, weight, control_weight)
        for block in self.blocks:
            h, g = block(h, g, condition, slots=slots, keys=keys, ends=block is self.blocks[-1])
        return self.head(h, condition, slots)

    def _keys(
        self, x: Tensor, control: Tensor, weight: Tensor | None, control_weight: Tensor | None
    ) -> Tensor | None:
        """Return which tokens are read, (K, m) bool; ``None`` for all of them."""
        if self.fusion == "features":
            control_weight = None
        if weight is None and control_weight is None:
            return None
        keys = x.new_ones(x.shape[:-1], dtype=torch.bool) if weight is None else weight > 0
        if self.fusion == "tokens":
            every = control.new_ones(control.shape[:-1], dtype=torch.bool)
            keys = torch.cat(
                [keys, every if control_weight is None else control_weight > 0], dim=-1
            )
        return readable(keys)
