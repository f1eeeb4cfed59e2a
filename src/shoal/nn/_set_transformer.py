"""A transformer over sets of cells that reads perturbed cells beside control cells.

The network of PerturbDiff (Yuan et al. 2026, arXiv:2602.19685): a cell is a token, there are no positions, and genes meet
linear maps only. The blocks are those of Peebles & Xie 2023, *Scalable diffusion models with transformers*, for two streams.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .._validate import one_of, positive
from ._blocks import told, zeroed

FUSIONS = ("features", "tokens")
EPS = 1e-6


def n_parameters(module: nn.Module) -> int:
    """Return the number of weights of a module, those that are frozen included."""
    return sum(parameter.numel() for parameter in module.parameters())


def linear(d_in: int, d_out: int, *, kind: type[nn.Linear] = nn.Linear) -> nn.Linear:
    """Return a linear layer with Xavier weights and no offset at first."""
    layer = kind(d_in, d_out)
    nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


class Enter(nn.Linear):
    """A linear layer of features of which the last may be left out where they are 0."""

    def forward(self, x: Tensor) -> Tensor:
        short = x.shape[-1] < self.in_features
        return nn.functional.linear(
            x, self.weight[:, : x.shape[-1]] if short else self.weight, self.bias
        )


def readable(keys: Tensor) -> Tensor:
    """Return which slots (K, m) of sets are read, bool: those of `keys`, and all of a set in which none counts."""
    return keys | ~keys.any(-1, keepdim=True)


class Attention(nn.Module):
    """Self-attention with several heads; queries and keys have mean square 1 before their learned scales (RMS-norm)."""

    def __init__(self, width: int, n_heads: int, d_out: int) -> None:
        super().__init__()
        if width % n_heads:
            msg = f"n_heads={n_heads} must divide the width of the attention, {width}"
            raise ValueError(msg)
        self.n_heads = n_heads
        self.qkv = linear(width, 3 * width)
        self.norm_q = nn.RMSNorm(width // n_heads, eps=EPS)
        self.norm_k = nn.RMSNorm(width // n_heads, eps=EPS)
        self.leave = linear(width, d_out)

    def forward(self, u: Tensor, keys: Tensor | None) -> Tensor:
        """Return (K, m, d_out) from tokens (K, m, width); of them only `keys` (K, m) are read, where there are any."""
        q, k, v = self.qkv(u).unflatten(-1, (3, self.n_heads, -1)).movedim(-3, 0).transpose(-3, -2)
        mask = None if keys is None else keys[..., None, None, :]
        q, k = (
            norm(a.to(norm.weight.dtype)).to(v.dtype)
            for norm, a in ((self.norm_q, q), (self.norm_k, k))
        )
        seen = nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self.leave(seen.transpose(-3, -2).flatten(-2))


class Stream(nn.Module):
    """What a stream has of its own in a block: its norm, its steering (adaLN-Zero), and its MLP unless it `ends` here."""

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
        """Return what the attention reads, the gate of its answer, and the state with the MLP's part added.

        The MLP stands beside the attention, not behind it: it reads the same state. A stream that ends has no gate.
        """
        steer = told(self.steer, condition, slots).unflatten(-1, (-1, h.shape[-1])).unbind(-2)
        normed = self.norm(h)
        read = torch.addcmul(steer[0], normed, 1 + steer[1])
        if self.mlp is None or ends:
            return read, None, h
        gate, shift, scale, gate_mlp = steer[2:]
        return read, gate, h + gate_mlp * self.mlp(torch.addcmul(shift, normed, 1 + scale))


class CrossBlock(nn.Module):
    """A block of two streams, cells and controls, that meet in one attention; at first the identity.

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
        ``"features"``: cell j and control j are one token of 2 `width` features, as published. ``"tokens"``: each is a
        token of `width`, twice as many, so that no cell has a control of its own.
    ends
        Whether no block follows. The control stream then has no MLP and comes out as it went in: nothing would read it.

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
        """Return both streams, changed.

        Parameters
        ----------
        h, g
            (K, S, width) cells and (K, T, width) controls, T = S where features are fused.
        condition
            (K, B, d_condition), as the steering reads it: behind a SiLU. One for all slots, one for each, or those that `slots` says.
        slots
            (K, S, B), 1 at the condition of each slot, else 0.
        keys
            Which tokens the attention may read, bool: (K, S), or (K, S + T) where tokens are fused.
        ends
            Whether nothing will read the controls, which then come out as they went in.
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
    """From a stream to genes: norm, shift and scale from the condition, a linear map."""

    def __init__(self, width: int, d_condition: int, n_features: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, elementwise_affine=False, eps=EPS)
        self.steer = zeroed(nn.Linear(d_condition, 2 * width))
        self.leave = linear(width, n_features)

    def forward(self, h: Tensor, condition: Tensor, slots: Tensor | None) -> Tensor:
        shift, scale = told(self.steer, condition, slots).chunk(2, dim=-1)
        return self.leave(torch.addcmul(shift, self.norm(h), 1 + scale))


class CrossTransformer(nn.Module):
    """Sets of cells in, sets of cells out, seen beside sets of control cells and steered by a condition.

    Whatever order the slots come in, they go out in: permuting the slots of a set permutes its result (where features are
    fused, of cells and controls together).

    Parameters
    ----------
    n_features
        Genes of a cell.
    width, depth, n_heads
        Width of a stream, number of blocks, heads of their attention.
    d_condition
        Length of the condition vector; `width` if ``None``.
    mlp_ratio, fusion
        As for :class:`CrossBlock`.
    d_control
        Features of a control that come in; 2 `n_features` if ``None``, as published, where the second half is always 0.
    n_out
        Numbers for each cell that come out; `n_features` if ``None``.
    heads
        2 for the published weights: a head for the controls too, which no loss reaches. It is there to be counted and
        loaded, frozen and not evaluated, and so is the last MLP of the controls. 1 leaves both out.

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
        positive(depth, name="depth")
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
        """Return what the network makes of the cells.

        Parameters
        ----------
        x
            (K, S, 2 n_features) cells and, behind them, the guess of an earlier pass; without one they may come alone.
        control
            (K, S, d_control) control cells, or their first features, the others being 0; where tokens are fused there may be more or
            fewer of them.
        condition
            (K, 1, d_condition), one for each slot, or (K, B, d_condition) of which `slots` picks.
        slots
            (K, S, B), 1 at the condition of each slot, else 0; only where there are as many cells as controls.
        weight, control_weight
            (K, S) weights of the slots. Those of weight 0 are read by no other; they have a result all the same. Where
            features are fused a slot counts if its cell does, and `control_weight` has no say.

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
                f"{x.shape[-2]} cells and {control.shape[-2]} controls cannot be fused by features: bring one control "
                "for each cell, or take fusion='tokens'"
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
        """Return which tokens are read, (K, m) bool, or None for all; a set in which nothing counts is read whole."""
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
