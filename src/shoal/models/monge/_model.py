"""ConditionalMonge: one map from control to perturbed cells, fitted by optimal transport."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from ..base._map_diagnosis import diagnose, interpolate
from ..base._preset_model import PresetModel
from ..space._autoencoder import fit_autoencoder
from ._config import RECIPES
from ._module import MongeModule

if TYPE_CHECKING:
    import numpy as np

    from ..._typing import Ints
    from ..base._config import Recipes
    from ..space._space import Space
    from ._config import ConditionalMongeConfig


class ConditionalMonge(PresetModel):
    """A map that takes control cells to perturbed cells by a short way (conditional Monge gap).

    The map is a residual network that is given the condition. It is fitted by the debiased Sinkhorn
    divergence between the populations it makes and those that were measured. It is regularised by
    the Monge gap, which is 0 where no other pairing of the same cells would be shorter.

    The twin of a control cell is that very cell, moved, in `transport` and in predictions with
    ``cross_context=False``. Other predictions start at the perturbation's cells of other contexts,
    where there are some.

    Parameters
    ----------
    adata
        Screen after ``ConditionalMonge.setup_anndata(adata)``; :func:`shoal.tl.fit` does both.
    preset
        ``"shoal"`` (default) or ``"published"``.
    embedding
        Vectors of the perturbations: a name that :func:`shoal.pp.embed` wrote (fingerprints or
        descriptors of drugs, say), or a table. One-hot if ``None``, which says nothing about
        perturbations that were not in training.
    context_embedding
        Vectors of the contexts: a name that :func:`shoal.pp.embed_contexts` wrote, or a table. The
        network ``"film"`` reads them, also with ``use_context=False``.
    n_latent
        Dimensions of the space the map works in; ``None`` for the features themselves.
    rng
        Seed or generator of the initial weights, and of the autoencoder where there is one.
    **config
        Changes of the preset's settings, which shoal.models.ConditionalMongeConfig lists:
        ``epsilon``, ``gap``, ``cost``, ``latent``, say.

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
    driessen2025conditional, uscidda2023monge

    Examples
    --------
    >>> import shoal as sh
    >>> adata = sh.ds.simulate(n_perturbations=4, contexts=2, rng=0)
    >>> sh.pp.annotate(adata, "perturbation", control="control", context_key="context")
    >>> sh.pp.prepare(adata, normalize="log1p", n_comps=10)
    >>> model = sh.tl.fit(
    ...     adata, "conditional_monge", max_steps=20, config={"n_latent": 10, "width": 32}
    ... )
    >>> model.transport(adata[adata.obs["perturbation"] == "control"], "P1").shape[1]
    500
    """

    recipes: ClassVar[Recipes[ConditionalMongeConfig]] = RECIPES
    takes_context_vectors: ClassVar[bool] = True
    options: ClassVar[tuple[str, ...]] = ("cross_context",)

    # functions of a model, each in its own file
    interpolate = interpolate
    diagnose = diagnose

    def make_network(
        self, n_dims: int, n_vector: int, n_contexts: int, n_batches: int
    ) -> MongeModule:
        """Return the network of the map."""
        n_context_vector = self.vocabulary.n_context_vector
        if self.vocabulary.context_vectors and self.settings.network.architecture != "film":
            msg = (
                "architecture='concatenated' is given the perturbation and the dose alone: leave "
                "out context_embedding=, or take architecture='film'"
            )
            raise ValueError(msg)
        return MongeModule(
            n_dims,
            n_vector,
            n_contexts,
            n_batches,
            config=self.settings,
            n_context_vector=n_context_vector,
        )

    def _fit_space(self, train: Ints, n_latent: int | None, rng: np.random.Generator) -> Space:
        latent = self.settings.space.latent
        if latent == "pca" or n_latent is None:
            return super()._fit_space(train, n_latent, rng)
        on_components = latent == "pca+autoencoder"
        return fit_autoencoder(
            self.cells.rows, train, n_latent=n_latent, rng=rng, components=on_components
        )

    def _settled_config(self) -> dict[str, Any]:
        return self._with_n_visible()
