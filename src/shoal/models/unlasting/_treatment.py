"""What a perturbation adds to the trunk of the network."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from ...nn import GenewiseEncoder, TreatmentEncoder, mlp

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ._config import UnlastingConfig


class Treatment(nn.Module):
    """The perturbations of a condition as one vector, read at their nodes or at all genes.

    Parameters
    ----------
    d, n_vector, n_node, n_contexts
        As of :class:`shoal.nn.TreatmentEncoder`, of d genes.
    width
        Length of the result.
    config
        Says where the gene graph is read.
    **told
        What both kinds of encoders are told beside.
    """

    def __init__(
        self,
        d: int,
        n_vector: int,
        n_node: int,
        n_contexts: int,
        width: int,
        *,
        config: UnlastingConfig,
        **told: Any,
    ) -> None:
        super().__init__()
        features, how = config.network.graph_width, config.conditioning
        self.by_gene = how.read_out == "genes"
        if self.by_gene:
            self.encoder: nn.Module = GenewiseEncoder(
                d, n_vector, n_contexts, width=features, token=False, **told
            )
            self.after = mlp(d, width, width, width, dropout=config.network.dropout)
        else:
            own = {"width": width, "d": features, "pooling": how.pooling}
            self.encoder = TreatmentEncoder(n_vector, n_node, n_contexts, **own, **told)

    def forward(
        self, condition: Mapping[str, Tensor], nodes: Tensor | None, edges: Tensor
    ) -> Tensor:
        """Return (K, 1, width) for K conditions, with the graph as of the encoders."""
        if not self.by_gene:
            return self.encoder(condition, nodes, edges)
        return self.after(self.encoder(condition, condition["moments"][:, 0], edges))[:, None]

    def singles(
        self, genes: Tensor, own: Tensor, nodes: Tensor | None, edges: Tensor
    ) -> Callable[[Tensor, Tensor], Tensor] | None:
        """Return what makes learned vectors of single perturbations from their vectors and codes.

        There are none where perturbations are read at all genes.

        Parameters
        ----------
        genes, own
            (V,) the gene and the learned vector of each perturbation, as of the module.
        nodes, edges
            As of the encoder.
        """
        if self.by_gene:
            return None
        learned = self.encoder.learned
        return lambda vectors, codes: learned(vectors, genes[codes], own[codes], nodes, edges)
