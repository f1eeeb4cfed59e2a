"""The latent-linear baseline: responses are linear in a vector of the perturbation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ..._validate import flag, positive, whole
from ...metrics._pca import axes_of_rows
from ..base._embedding import ONE_HOT
from ._deltas import deltas_of
from ._shift import ShiftBaseline
from ._vectors import summed

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from anndata import AnnData
    from numpy.typing import NDArray

    from ..._typing import Floats
    from ...core._population import Population

LEAST = 2  # fewest perturbations with a vector, as in the published script


class LatentLinear(ShiftBaseline):
    r"""Control cells plus a response that is linear in the perturbation's vector.

    By ridge regression the responses are Y = G W P' + b. Y are those of the training perturbations
    (and 0 for the control), b their mean, G the scores of the genes in a PCA of the training means
    over genes, P the vectors (0 for the control), and

    .. math:: W = (G'G + \lambda)^{-1} G' (Y - b) P (P'P + \lambda)^{-1}.

    The vector of a combination is the sum of those of its parts.

    Parameters
    ----------
    adata
        Screen.
    embedding
        Vectors of perturbations: a name in ``uns["perturbation_embeddings"]``, or a table. If
        ``None``, a perturbation has the scores of the gene that it is named after, so that genes
        that were never perturbed can be predicted.
    n_components
        Most components of G.
    ridge
        Penalty, on the scale of the vectors.
    shrink
        Whether measured responses are shrunk by their noise, towards the mean response.

    References
    ----------
    Ahlmann-Eltze et al. (2025), Nat. Methods.

    Examples
    --------
    >>> import numpy as np, pandas as pd, shoal as sh
    >>> from shoal.models import LatentLinear
    >>> adata = sh.ds.simulate_gaussian(n_perturbations=4, n_dims=5, rng=0)
    >>> vectors = pd.DataFrame(np.eye(5, 3), index=["P1", "P2", "P3", "P4", "new"])
    >>> model = LatentLinear(adata, embedding=vectors)
    >>> model.train()
    >>> model.predict("new", n_cells=20).shape
    (20, 5)
    """

    refusal: ClassVar[str] = (
        "without embedding=, a perturbation is known by the gene that it is named after, and these "
        "are no features of "
        "the data; pass embedding= (see sh.pp.embed), or use 'own_shift' or 'mean_shift'"
    )

    def __init__(
        self,
        adata: AnnData,
        *,
        embedding: str | pd.DataFrame | None = None,
        n_components: int = 10,
        ridge: float = 0.1,
        shrink: bool = True,
    ):
        flag(shrink, name="shrink")
        n_components = whole(n_components, name="n_components")
        positive(ridge, name="ridge")
        self._start(
            adata,
            embedding=embedding,
            n_components=n_components,
            ridge=float(ridge),
            shrink=bool(shrink),
        )
        if embedding is None and not self.vocabulary.in_genes:
            msg = (
                f"use_rep={self.vocabulary.use_rep!r} has no genes to tell perturbations apart by; "
                "pass embedding="
            )
            raise ValueError(msg)

    def _fit(self, cells: Population) -> dict[str, NDArray[Any]]:
        arrays = super()._fit(cells)
        responses = deltas_of(arrays).at(-1, np.nan)
        means = arrays["control"] + np.vstack([np.zeros_like(arrays["control"]), responses])
        scores = gene_scores(means, self.params["n_components"])
        names = [str(name) for name in arrays["names"]]
        known = ~np.isin(names, self._without_gene(names))
        if known.sum() < LEAST:
            msg = (
                f"only {known.sum()} of {len(known)} training perturbations are named after a "
                "feature of the data, too "
                "few for latent_linear; pass embedding= (see sh.pp.embed)"
            )
            raise ValueError(msg)
        vectors = self._vectors([str(name) for name in arrays["names"][known]], scores)
        return arrays | {"scores": scores, "known": known, "vectors": vectors}

    def _ready(self) -> None:
        super()._ready()
        self._projected = self.deltas.delta @ self.arrays["scores"]

    def _told_of(self) -> Sequence[str]:
        known = self.vocabulary
        return (*known.features, *known.symbols) if known.embedding == ONE_HOT else ()

    def _reasons(self, names: Sequence[str]) -> dict[str, str]:
        if self.vocabulary.embedding != ONE_HOT:
            return self.vocabulary.reasons_without_vector(names)
        return dict.fromkeys(self._without_gene(names), self._why)

    def _without_gene(self, names: Sequence[str]) -> list[str]:
        """Return the perturbations of which neither a vector nor the genes are known."""
        if self.vocabulary.embedding != ONE_HOT:
            return []
        genes = self.vocabulary.genes
        return [
            name for name in names if any(len(genes.of([part])) != 1 for part in self._parts(name))
        ]

    def _vectors(self, names: Sequence[str], scores: Floats) -> Floats:
        """Return (n, E) vectors: rows of the embedding, or of the scores of the genes."""
        if self.vocabulary.embedding != ONE_HOT:
            return np.asarray(summed(self.vocabulary, names))
        position = {name: i for i, name in enumerate(self.vocabulary.features)}
        genes = self.vocabulary.genes
        rows = [[position[gene] for gene in genes.of(self._parts(name))] for name in names]
        return np.array([scores[row].sum(axis=0) for row in rows])

    def _shifts(self, names: Sequence[str], context: int, dose: float) -> Floats:
        scores, vectors, ridge = self.arrays["scores"], self.arrays["vectors"], self.params["ridge"]
        known, responses = self.arrays["known"], self._responses_at(context, dose)
        each = known[None, :] / (known.sum() + 1)  # the control has response 0
        mean = responses.sums(each)[0]
        inner = np.linalg.solve(
            scores.T @ scores + ridge * np.eye(scores.shape[1]),
            (responses.onto(scores, self._projected)[known] - mean @ scores).T,
        )
        outer = np.linalg.solve(
            vectors.T @ vectors + ridge * np.eye(vectors.shape[1]), self._vectors(names, scores).T
        )
        return np.asarray((scores @ ((inner @ vectors) @ outer)).T + mean)


def gene_scores(means: Floats, n_components: int) -> Floats:
    """Return (n_genes, k) scores of a PCA of (n, n_genes) means, whose observations are genes."""
    centred = (means - means.mean(axis=1, keepdims=True)).T
    axes, _ = axes_of_rows(centred, n_components)
    return centred @ axes
