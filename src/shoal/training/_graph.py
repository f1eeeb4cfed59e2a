"""A term of the loss that holds learned vectors of linked perturbations together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn.functional import normalize

from .._validate import one_of, positive

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor, nn

    from .._typing import Floats, Ints

LOSSES = ("laplacian", "contrastive")
MOST_EDGES, MOST_NODES = 8192, 1024  # of a step; of larger graphs some are drawn


@dataclass(frozen=True, eq=False)
class GraphTerm:
    r"""What a graph of n linked perturbations adds to the loss of any network.

    The learned vectors f are those that the network makes of each single perturbation, divided by
    their length. It does not depend on the batch: all linked perturbations have a part in it, in
    the batch or not, in training or not.

    ``"laplacian"``
        With weights w and degrees d, the symmetric normalised Laplacian divided by n,

        .. math::

            \frac{1}{n} \sum_{i<j} w_{ij}
            \Bigl\lVert \frac{f_i}{\sqrt{d_i}} - \frac{f_j}{\sqrt{d_j}} \Bigr\rVert^2 .

        It is about 1 for vectors that have nothing to do with one another, and 0 for equal vectors
        on a graph whose degrees are equal.
    ``"contrastive"``
        The cross entropy of the neighbours of each perturbation among all others,

        .. math::

            -\frac{1}{n} \sum_i \sum_{j \ne i} \frac{w_{ij}}{d_i}
            \log \frac{\exp(f_i \cdot f_j / \tau)}{\sum_{k \ne i} \exp(f_i \cdot f_k / \tau)} .

        A perturbation is not among its own others. It is log(n - 1) where all vectors are equal.

    Attributes
    ----------
    vectors, codes
        (n, E) float32 vectors of the linked perturbations that the network is given, and their (n,)
        codes; 0 to n - 1 by default.
    edges
        (m, 2) pairs of them.
    weights
        (m,) weights of the edges, above 0.
    strength
        Factor of the term in the loss.
    loss
        One of `LOSSES`.
    temperature
        The number τ.

    Raises
    ------
    ValueError
        If a number is not above 0, or there is no such loss.
    """

    vectors: Floats
    edges: Ints
    weights: Floats
    strength: float
    loss: str = "laplacian"
    temperature: float = 0.1
    codes: Ints | None = None

    def __post_init__(self) -> None:
        one_of(self.loss, LOSSES, name="graph_loss")
        positive(self.strength, name="graph_weight")
        positive(self.temperature, name="temperature")

    @property
    def degree(self) -> Floats:
        """(n,) sum of the weights of the edges of each perturbation."""
        n = len(self.vectors)
        return sum(np.bincount(end, weights=self.weights, minlength=n) for end in self.edges.T)

    def check(self, module: nn.Module) -> None:
        """Raise ``ValueError`` unless a network has learned vectors of perturbations."""
        if _learned(module) is None:
            msg = (
                f"{type(module).__name__} learns no vectors of single perturbations that a graph "
                "could hold together: leave out graph=. A network of your own has them in "
                "module.condition.learned(vectors)"
            )
            raise ValueError(msg)

    def __call__(self, module: nn.Module, generator: torch.Generator) -> Tensor:
        """Return the value of the term, without its strength."""
        own = _Some.drawn(self, generator)
        vectors = torch.from_numpy(self.vectors[own.nodes]).to(generator.device)
        codes = own.nodes if self.codes is None else self.codes[own.nodes]
        made = _learned(module)(vectors, torch.from_numpy(codes).to(generator.device))
        learned = normalize(made.float(), dim=-1)
        edges = torch.from_numpy(own.edges).to(generator.device)
        weights = torch.from_numpy(own.weights).to(learned)
        if self.loss == "laplacian":
            root = torch.from_numpy(self.degree[own.nodes]).to(learned).sqrt()[:, None]
            a, b = (learned / root)[edges].unbind(dim=1)
            return (weights * (a - b).square().sum(dim=-1)).sum() / len(self.vectors)
        return contrastive(learned, edges, weights, temperature=self.temperature)


def _learned(module: nn.Module) -> Callable[[Tensor, Tensor], Tensor] | None:
    """Return what makes learned vectors of single perturbations, from their vectors and codes.

    A network that knows perturbations by more than their vectors has ``learned_singles``, which is
    ``None`` where it makes no vectors of them. Any other has ``condition.learned``.
    """
    if hasattr(module, "learned_singles"):
        return module.learned_singles
    own = getattr(getattr(module, "condition", None), "learned", None)
    return None if own is None else lambda vectors, codes: own(vectors)


def contrastive(f: Tensor, edges: Tensor, weights: Tensor, *, temperature: float) -> Tensor:
    """Return the cross entropy of the neighbours of each of n vectors among all others.

    Parameters
    ----------
    f
        (n, d) vectors of length 1.
    edges, weights
        (m, 2) pairs and their weights. Vectors without an edge are among the others of those with.
    temperature
        Divides the inner products.
    """
    n = len(f)
    logits = f @ f.T / temperature
    logits = logits.masked_fill(torch.eye(n, dtype=torch.bool, device=f.device), -torch.inf)
    share = f.new_zeros(n, n)
    for a, b in (edges.T, edges.T.flip(0)):
        share[a, b] = weights
    degree = share.sum(dim=1)
    linked = degree > 0
    share = share[linked] / degree[linked, None]
    surprise = -logits.log_softmax(dim=1)[linked].masked_fill(share == 0, 0.0)
    return (share * surprise).sum(dim=1).mean()


@dataclass(frozen=True)
class _Some:
    """The nodes and edges of a step, so weighted that the mean over draws is that of all edges."""

    nodes: Ints
    edges: Ints
    weights: Floats

    @classmethod
    def drawn(cls, term: GraphTerm, generator: torch.Generator) -> _Some:
        n, m = len(term.vectors), len(term.edges)
        if term.loss == "laplacian" and m > MOST_EDGES:
            chance = torch.from_numpy(term.weights).to(generator.device)
            drawn = chance.multinomial(MOST_EDGES, replacement=True, generator=generator).cpu()
            weight = np.full(MOST_EDGES, term.weights.sum() / MOST_EDGES)
            return cls._of(term.edges[drawn.numpy()], weight)
        if term.loss == "contrastive" and n > MOST_NODES:
            order = torch.randperm(n, generator=generator, device=generator.device)
            kept = np.zeros(n, dtype=bool)
            kept[order[:MOST_NODES].cpu().numpy()] = True
            inside = kept[term.edges].all(axis=1)
            if inside.any():
                nodes = np.flatnonzero(kept)
                edges = np.searchsorted(nodes, term.edges[inside])
                return cls(nodes, edges, term.weights[inside])
        return cls(np.arange(n), term.edges, term.weights)

    @classmethod
    def _of(cls, edges: Ints, weights: Floats) -> _Some:
        nodes, flat = np.unique(edges, return_inverse=True)
        return cls(nodes, flat.reshape(edges.shape), weights)
