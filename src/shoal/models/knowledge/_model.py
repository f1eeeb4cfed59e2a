"""Knowledge: profiles of a cell line that was never screened, and who did what in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from ..._logging import logger
from ..._validate import some
from ..base._preset_model import PresetModel
from ._config import RECIPES
from ._module import KnowledgeModule
from ._represent import probabilities, represent
from ._transfer import transfer

if TYPE_CHECKING:
    from ..base._config import Recipes
    from ._config import KnowledgeConfig


class Knowledge(PresetModel):
    """A space in which profiles of a perturbation meet, in whatever cell line they were measured.

    An encoder reads the profile of a well or a cell relative to its matched controls, and what is
    known of the cell line (the context). It is trained to place the profile near the vector of its
    perturbation, and near its replicates. A decoder turns a vector back into a response, as the
    line shows it. So the model does three things:

    - :meth:`represent` writes representations, in which perturbations are found again;
    - :meth:`probabilities` says which perturbation a profile is of;
    - ``predict`` gives profiles of perturbations in lines where they were not measured.

    Two kinds of knowledge make it more than a classifier. Vectors of the contexts
    (`context_embedding`) tell it how a line differs from others that it was trained on. Vectors of
    the perturbations (`embedding`) tell it of perturbations that were not screened.

    :meth:`transfer` trains it further on the first profiles of a new line.

    Parameters
    ----------
    adata
        Screen after ``Knowledge.setup_anndata(adata)``; :func:`shoal.tl.fit` does both.
    preset
        ``"shoal"`` (default) or ``"published"``.
    embedding
        Vectors of the perturbations: a name that :func:`shoal.pp.embed` wrote, or a table. One-hot
        if ``None``, which says nothing about perturbations that were not in training.
    context_embedding
        Vectors of the contexts, which the network reads instead of their names: a name that
        :func:`shoal.pp.embed_contexts` wrote, or a table.
    n_latent
        Principal components that the network works on; ``None`` for the features themselves.
    rng
        Seed or generator of the initial weights.
    **config
        Changes of the preset's settings, which shoal.models.KnowledgeConfig lists: ``classify``,
        ``contrast``, ``n_representation``, say.

    Raises
    ------
    ValueError
        If the preset or the value of a setting is not known, or there is nothing to learn from.
    TypeError
        If there is no such setting.
    KeyError
        If the embedding does not exist, or a perturbation of training has no vector in it.

    References
    ----------
    chen2025biological

    Examples
    --------
    >>> import shoal as sh
    >>> adata = sh.ds.simulate(n_perturbations=4, n_genes=100, contexts=2, rng=0)
    >>> sh.pp.annotate(adata, "perturbation", control="control", context_key="context")
    >>> sh.pp.prepare(adata, normalize="log1p", n_comps=10)
    >>> model = sh.tl.fit(adata, "knowledge", max_steps=10, config={"n_latent": 10})
    >>> model.represent(adata)
    >>> adata.obsm["X_knowledge"].shape[1]
    64
    """

    recipes: ClassVar[Recipes[KnowledgeConfig]] = RECIPES
    takes_context_vectors: ClassVar[bool] = True
    options: ClassVar[tuple[str, ...]] = ("cross_context",)

    # functions of a model, each in its own file
    represent = represent
    probabilities = probabilities
    transfer = transfer

    def make_network(
        self, n_dims: int, n_vector: int, n_contexts: int, n_batches: int
    ) -> KnowledgeModule:
        """Return encoder, decoder and vectors."""
        return KnowledgeModule(
            n_dims,
            n_vector,
            n_contexts,
            n_batches,
            n_context_vector=self.vocabulary.n_context_vector,
            config=self.settings,
        )

    def _settled_config(self) -> dict[str, Any]:
        known = self.vocabulary
        lines, later = known.perturbed_contexts, known.control_contexts
        if len(lines) > 1 and later and known.context_vectors is None:
            logger.warning(
                "no perturbed profiles in training: %s. Without vectors of contexts such a line is "
                "predicted to respond as the mean of the others, whatever its controls look like. "
                "To have it told by its controls, call sh.pp.embed_contexts(adata) and pass "
                "context_embedding='controls'",
                some(later),
            )
        if len(lines) == 1 and known.screen.context_key is not None:
            logger.warning(
                "only %r has perturbed profiles in training: nothing can be learned of how lines "
                "differ, and every other line is predicted to respond as this one",
                lines[0],
            )
        return self.config
