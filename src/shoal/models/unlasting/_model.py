"""Unlasting: control cells taken to noise and back, under a perturbation, with silent genes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd
import torch

from ..._logging import logger
from ..._random import RNGLike, as_generator
from ..._validate import some
from ...core._codes import recode
from ...core._gene_names import gene_names
from ..base._preset_model import PresetModel
from ..base._sets import conditions_of
from ..space._unit import fit_unit
from ._config import RECIPES
from ._gene_graph import COEXPRESSION, graph_edges, node_features, positions
from ._latents import Latents
from ._mask_table import mask
from ._module import UnlastingModule
from ._reference import References
from ._strata import MomentStore, moments

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from anndata import AnnData
    from numpy.typing import NDArray

    from ..._typing import Ints, Matrix
    from ...core._population import Population
    from ...training import SetSampler, Store
    from ..base._config import Recipes
    from ..base._requests import PredictionRequest
    from ..base._sets import RequestedSets
    from ..post._postprocessing import Postprocessing
    from ..space._space import Space
    from ._config import UnlastingConfig
    from ._gene_graph import GeneGraph

BY_GENE = "gene graph"  # what the vocabulary calls perturbations that are known by their gene


class Unlasting(PresetModel):
    """A diffusion of cells beside control cells, with genes that are silent drawn apart.

    A network predicts the clean perturbed cell that noise stands for, as a change of a control
    cell. Another one predicts how likely each gene is on. The presets ``"published"`` (the later
    version of the paper, called Doloris) and ``"published_v2"`` (its first one) find the noise of a
    control cell by a second diffusion (a dual bridge), and read a graph of genes. The preset
    ``"shoal"`` keeps what was seen to matter.

    It works on genes that are 0 in part of the cells. Values without zeros can be learned without a
    mask, ``config={"mask": None, "on_values": False}``.

    Parameters
    ----------
    adata
        Screen after ``Unlasting.setup_anndata(adata)``; :func:`shoal.tl.fit` does both.
    preset
        ``"shoal"`` (default), ``"published"`` or ``"published_v2"``.
    embedding
        Vectors of the perturbations: a name that :func:`shoal.pp.embed` wrote (fingerprints or
        descriptors of drugs, say), or a table. If ``None``, perturbations are known by their genes:
        every gene among the features can then be predicted. Those that are no feature have a
        learned vector, which says nothing about others. Where none is, all are one-hot.
    context_embedding
        Vectors of the contexts instead of their names, as of :func:`shoal.tl.fit`.
    gene_graph
        The graph in which genes are read: ``"coexpression"`` in control cells; the name of an
        embedding of genes, for cosines; a list of edges (DataFrame, or path of a file) with the
        columns ``source`` and ``target``; or ``None`` for no edge.
    rng
        Seed or generator of the initial weights, and of the cells that graph and masks are read
        from.
    **config
        Changes of the preset's settings, which shoal.models.UnlastingConfig lists: ``width``,
        ``mask``, ``inversion``, say.

    Raises
    ------
    ValueError
        If the preset or the value of a setting is not known, there is nothing to learn from, no
        training value is 0 and a mask is to be learned, or a graph has no edge between features.
    TypeError
        If there is no such setting.
    KeyError
        If the embedding does not exist, or a perturbation of training has no vector in it.

    References
    ----------
    chi2025unlasting, chi2026doloris

    Examples
    --------
    >>> import shoal as sh
    >>> adata = sh.ds.simulate(n_perturbations=4, n_genes=100, contexts=2, rng=0)
    >>> sh.pp.annotate(adata, "perturbation", control="control", context_key="context")
    >>> sh.pp.prepare(adata, normalize="log1p", n_comps=10)
    >>> model = sh.tl.fit(adata, "unlasting", max_steps=10, config={"width": 32, "decoder": 32})
    >>> model.predict(["P1"], n_cells=50).shape
    (50, 100)
    >>> model.mask("P1", context="context1").shape
    (1, 100)
    """

    recipes: ClassVar[Recipes[UnlastingConfig]] = RECIPES
    takes_context_vectors: ClassVar[bool] = True
    options: ClassVar[tuple[str, ...]] = ("n_steps", "guidance", "inversion", "cross_context")
    state: ClassVar[tuple[str, ...]] = ("edges", "nodes", "zeros")
    not_saved: ClassVar[tuple[str, ...]] = ("_latents", "_means")
    _latents: Latents | None = None  # while a prediction lasts
    _means: tuple[Any, NDArray[np.float32]] | None = None

    # a function of the model, in its own file
    mask = mask

    def __init__(
        self,
        adata: AnnData,
        *,
        preset: str | None = None,
        embedding: str | pd.DataFrame | None = None,
        context_embedding: str | pd.DataFrame | None = None,
        gene_graph: GeneGraph = COEXPRESSION,
        rng: RNGLike = 0,
        **config: Any,
    ) -> None:
        self.recipes.configured(self.recipes.default if preset is None else preset, config)
        rng = as_generator(rng)
        self._given: dict[str, Any] = {"source": gene_graph, "rng": rng, "by_gene": False}
        super().__init__(
            adata,
            preset=preset,
            embedding=embedding,
            context_embedding=context_embedding,
            n_latent=None,
            rng=rng,
            **config,
        )

    # -- what is learned before the network is made ------------------------------------------------

    def _vectors(self, embedding: str | pd.DataFrame | None) -> str | pd.DataFrame | None:
        """Return the embedding, or a table of all genes where perturbations are known by them."""
        cells = self.cells
        if embedding is not None or cells.use_rep not in (None, "X"):
            return embedding
        place = positions(gene_names(cells.adata, cells.screen))
        seen = {cells.names[code] for code in np.unique(cells.labels.code[cells.train])}
        parts = sorted({part for name in seen for part in cells.screen.parts(name)})
        absent = [part for part in parts if part not in place]
        if len(absent) == len(parts):
            logger.info(
                "no perturbation is named after a feature (%s): they are told apart by one-hot "
                "vectors, and the gene graph is not read at them",
                some(parts, 6),
            )
            return None
        if absent:
            logger.warning(
                "%d of %d perturbations of training are no feature, so that they have no node in "
                "the gene graph: %s. Each gets a learned vector of its own, and unseen ones cannot "
                "be predicted. Keep their genes among the features, or give embedding= a table "
                "with a vector of each perturbation, see sh.pp.embed",
                len(absent),
                len(parts),
                some(absent, 12),
            )
        self._given["by_gene"] = True
        return pd.DataFrame({"node": np.float32(1)}, index=pd.Index([*place, *absent]))

    def _fit_space(self, train: Ints, n_latent: int | None, rng: np.random.Generator) -> Space:
        self._check_zeros()
        return fit_unit(self.cells.rows, train, rng=rng)

    def _check_zeros(self) -> None:
        """Raise ``ValueError`` if a mask is to be learned of values without zeros."""
        settings, values = self.settings, self.cells.training
        if settings.masking.mask is None:
            return
        dense = self.cells.use_rep not in (None, "X") or values.lowest < 0
        if dense or (values.on == values.n).all():
            why = "values below 0, or features that are no genes" if dense else "no value of 0"
            msg = (
                f"a mask learns which genes are off, and training cells hold {why}. Train without "
                "one: config={'mask': None, 'on_values': False}"
            )
            raise ValueError(msg)

    def _settled_config(self) -> dict[str, Any]:
        """Read the gene graph and the zeros of training; the config stays as it is."""
        given, settings, cells = self.__dict__.pop("_given"), self.settings, self.cells
        if given["by_gene"]:
            self.vocabulary = replace(self.vocabulary, embedding=BY_GENE)
        self.edges = self.nodes = self.zeros = None
        if self._reads_graph():
            self.edges, source = np.zeros((2, 0), dtype=np.int64), given["source"]
            if source is not None:
                told = (cells, self.vocabulary.genes, settings.graph, given["rng"])
                self.edges = graph_edges(source, *told)
            self.nodes = node_features(cells, settings.graph.node_features)
        if settings.masking.mask == "reference":
            conditions = conditions_of(cells, cells.train, self.vocabulary)
            self.zeros = References.of_training(cells, conditions, given["rng"])
        return self.config

    def _reads_graph(self) -> bool:
        """Return whether a part of the network reads the gene graph."""
        settings, v = self.settings, self.vocabulary
        if not v.in_genes:
            return False
        everywhere = settings.conditioning.read_out == "genes" or (
            settings.learns_mask and settings.masking.mask_network != "shift"
        )
        return everywhere or any(name in positions(v.genes) for name in v.perturbations)

    def make_network(
        self, n_dims: int, n_vector: int, n_contexts: int, n_batches: int
    ) -> UnlastingModule:
        """Return the network of the model."""
        settings, v = self.settings, self.vocabulary
        place = positions(v.genes) if v.in_genes else {}
        genes = torch.tensor([place.get(name, -1) for name in v.perturbations])
        own = torch.zeros_like(genes)
        if v.embedding == BY_GENE:  # no vector tells apart those without a node
            trained = torch.tensor([name in v.trained for name in v.perturbations])
            has = (genes < 0) | (trained & settings.conditioning.own_vectors)
            own[has] = 1 + torch.arange(int(has.sum()))
        masking = settings.masking
        by_node = bool((genes >= 0).any())
        zeros = None
        if masking.mask == "reference":
            zeros = References.of_plain(self.zeros, high=masking.high, low=masking.low)
        return UnlastingModule(
            n_dims,
            0 if v.embedding == BY_GENE else n_vector,
            n_contexts,
            n_batches,
            config=settings,
            genes=genes,
            own=own,
            silent=torch.as_tensor(self.expression.off),
            nodes=torch.as_tensor(np.asarray(self.nodes)) if by_node else None,
            edges=None if self.edges is None else torch.as_tensor(np.asarray(self.edges)),
            doses=bool(v.doses),
            nonnegative=v.nonnegative,
            references=zeros,
            n_context_vector=v.n_context_vector,
        )

    def make_post(self) -> Postprocessing:
        """Return what is done to predicted values; zeros that a mask has drawn stay as they are."""
        drawn = self.settings.masking.mask not in ("counts", None)
        return replace(super().make_post(), cut=True, zeros_drawn=drawn)

    def _training_store(self, sampler: SetSampler, store: str) -> Store:
        table = self._moments(self.cells, self.vocabulary.contexts)
        return MomentStore(super()._training_store(sampler, store), table)

    def _reasons(self, names: Sequence[str]) -> dict[str, str]:
        """Return why perturbations without a node or a vector cannot be predicted."""
        reasons = super()._reasons(names)
        if self.vocabulary.embedding != BY_GENE:
            return reasons
        lost = ", ".join(map(repr, self.vocabulary.without_vector(reasons)))
        why = (
            f"has no node in the gene graph: {lost} did not occur in training and is no feature; "
            "keep the gene among the features, or train with embedding= a table that has a vector "
            "of it, see sh.pp.embed"
        )
        return dict.fromkeys(reasons, why)

    # -- prediction --------------------------------------------------------------------------------

    def _values(
        self,
        request: PredictionRequest,
        cells: Population,
        rng: np.random.Generator,
        options: dict[str, Any],
        *,
        counts: bool = False,
    ) -> Matrix:
        how = {name: options[name] for name in ("n_steps", "inversion") if name in options}
        self._latents = Latents(self, cells, how)
        try:
            return super()._values(request, cells, rng, options, counts=counts)
        finally:
            self._latents = None

    def _sampler_options(self, options: dict[str, Any], *, perturbed: bool) -> dict[str, Any]:
        """Follow the context plainly for perturbed cells, which have nothing else to follow."""
        if not perturbed or options.get("guidance") not in (None, {}):
            return options
        guidance = self.settings.sampling.guidance
        if isinstance(guidance, Mapping):
            guidance = {name: weight for name, weight in guidance.items() if name != "context"}
        return {**options, "guidance": guidance}

    def _sets(
        self, request: PredictionRequest, cells: Population, *, perturbed: bool = False
    ) -> Iterator[RequestedSets]:
        """Yield sets with the moments of their control cells, and the noise of these."""
        with_controls = self._with_controls(cells)
        table = torch.from_numpy(self._moments(with_controls, with_controls.contexts))
        context = torch.from_numpy(recode(request.context, cells.contexts, with_controls.contexts))
        latents = None
        if self._latents is not None and not perturbed:
            latents = self._latents.of(request)
        for each in super()._sets(request, cells, perturbed=perturbed):
            device = each.batch_index.device
            own = {"moments": table[context[each.rows[:, 0]]].to(device)}
            if latents is not None:
                own["latent"] = latents[each.rows].to(device)
            yield replace(each, condition={**each.condition, **own})

    def _moments(self, cells: Population, contexts: tuple[str, ...]) -> NDArray[np.float32]:
        """Return the moments (len(contexts) + 1, 3, d) of control cells, kept for one screen."""
        kept = self._means
        if kept is None or kept[0] is not cells.adata:
            kept = (cells.adata, moments(cells, self.space.scale))
            self._means = kept
        there = recode(np.arange(len(contexts)), contexts, cells.contexts)
        return kept[1][np.r_[there, -1]]
