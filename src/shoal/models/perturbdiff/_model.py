"""PerturbDiff: sets of cells generated beside sets of control cells."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd
import torch
from scipy import sparse

from ..._random import RNGLike, as_generator
from ...metrics import mmd
from ..base._preset_model import PresetModel
from ..base._sets import conditions_of
from ..base._training import cell_store, train_from
from ..space._pca import fit_pca
from ._config import RECIPES
from ._module import PerturbDiffModule
from ._pretraining import MarginalStore, marginals, unlabelled

if TYPE_CHECKING:
    from anndata import AnnData

    from ..._typing import Matrix
    from ...training import SetSampler, Store
    from ..base._config import Recipes
    from ..post._postprocessing import Postprocessing
    from ._config import PerturbDiffConfig

ROUNDING = 1e-6  # of the mean of a gene, in single precision


class PerturbDiff(PresetModel):
    """A transformer over sets of cells: a perturbed population from a control population.

    It works on genes. The preset ``"published"`` is the diffusion of the paper, in the authors'
    scale and with their sampler. The preset ``"shoal"`` keeps what was seen to matter there: the
    energy distance as a loss, and attention between the cells of a set. It changes each starting
    cell in one pass. Starting cells are control cells, or the perturbation's own cells of other
    contexts where there are some.

    Parameters
    ----------
    adata
        Screen after ``PerturbDiff.setup_anndata(adata)``; :func:`shoal.tl.fit` does both.
    preset
        ``"shoal"`` (default) or ``"published"``.
    embedding
        Vectors of the perturbations: a name that :func:`shoal.pp.embed` wrote, or a table. One-hot
        if ``None``, which says nothing about perturbations that were not in training.
    context_embedding
        Vectors of the contexts, which the network reads instead of their names: a name that
        :func:`shoal.pp.embed_contexts` wrote, or a table.
    rng
        Seed or generator of the initial weights.
    **config
        Changes of the preset's settings, which shoal.models.PerturbDiffConfig lists: ``width``,
        ``fusion``, ``hurdle``, say.

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
    yuan2026perturbdiff

    Examples
    --------
    >>> import shoal as sh
    >>> adata = sh.ds.simulate(n_perturbations=4, n_genes=100, contexts=2, rng=0)
    >>> sh.pp.annotate(adata, "perturbation", control="control", context_key="context")
    >>> sh.pp.prepare(adata, normalize="log1p", n_comps=10)
    >>> model = sh.tl.fit(adata, "perturbdiff", max_steps=10, config={"width": 32, "depth": 1})
    >>> model.predict(["P1"], n_cells=50).shape
    (50, 100)
    """

    recipes: ClassVar[Recipes[PerturbDiffConfig]] = RECIPES
    takes_context_vectors: ClassVar[bool] = True
    options: ClassVar[tuple[str, ...]] = ("n_steps", "guidance", "cross_context")

    def __init__(
        self,
        adata: AnnData,
        *,
        preset: str | None = None,
        embedding: str | pd.DataFrame | None = None,
        context_embedding: str | pd.DataFrame | None = None,
        rng: RNGLike = 0,
        **config: Any,
    ) -> None:
        self.recipes.configured(self.recipes.default if preset is None else preset, config)
        rng = as_generator(rng)
        super().__init__(
            adata,
            preset=preset,
            embedding=embedding,
            context_embedding=context_embedding,
            n_latent=None,
            rng=rng,
            **config,
        )
        n = self.module.axes.shape[1]
        if n:
            train = np.flatnonzero(self.cells.train | self.cells.train_control)
            axes = fit_pca(self.cells.rows, train, n_latent=n, rng=rng).axes
            # there are fewer axes where there are fewer cells
            self.module.axes[:, : axes.shape[1]] = torch.from_numpy(axes)

    def make_post(self) -> Postprocessing:
        """Return what is done to predicted values; zeros of the network come back as zeros."""
        return replace(super().make_post(), rounding=ROUNDING * self.space.mean)

    def make_network(
        self, n_dims: int, n_vector: int, n_contexts: int, n_batches: int
    ) -> PerturbDiffModule:
        """Return the network of the model."""
        config = self.settings
        return PerturbDiffModule(
            n_dims,
            n_vector,
            n_contexts,
            n_batches,
            config=config,
            mean=torch.from_numpy(self.space.mean),
            scale=self.space.scale,
            nonnegative=self.vocabulary.nonnegative,
            n_context_vector=self.vocabulary.n_context_vector,
            axes=torch.zeros(
                n_dims,
                min(config.loss.n_components, n_dims) if config.loss.energy_components else 0,
            ),
        )

    # -- pretraining -------------------------------------------------------------------------------

    def pretrain(
        self,
        max_steps: int = 500,
        *,
        adata: AnnData | None = None,
        rng: RNGLike = 0,
        **settings: Any,
    ) -> None:
        """Learn, before ``train``, what cells of each context look like, whatever was done to them.

        Sets of cells of a context are generated without control cells and without a perturbation.
        Labels are not used, so any cells will do. Contexts and batches that the screen does not
        have count as unknown.

        Parameters
        ----------
        max_steps
            Steps of the optimizer.
        adata
            Cells with the genes of the screen, normalised as they are. If ``None``, the cells of
            training, control cells among them.
        rng
            Seed or generator of the batches and the noise.
        **settings
            Passed to shoal.models.PerturbationModel.train: ``checkpoint_dir`` and ``resume``, say.

        Raises
        ------
        KeyError
            If genes of the screen are missing.
        ValueError
            If values are missing or not log-normalised.
        TypeError
            If a setting is not known.
        """
        if adata is None:
            cells, chosen = self.cells, self.cells.train | self.cells.train_control
        else:
            cells = unlabelled(adata, self.vocabulary)
            chosen = np.ones(len(cells.split), dtype=bool)

        def make_store(sampler: SetSampler, store: str) -> Store:
            least = sampler.batch_conditions
            conditions = marginals(cells, chosen, self.vocabulary, least=least)
            plain = cell_store(cells, self.space, sampler.over(conditions), store)
            return MarginalStore(plain, self.module.nothing)

        try:
            train_from(
                self,
                max_steps,
                make_store=make_store,
                validation=lambda: None,
                rng=rng,
                **settings,
            )
        finally:
            self.is_trained_ = False

    # -- the space of functions --------------------------------------------------------------------

    def mmd(
        self, adata: AnnData | None = None, *, rng: RNGLike = 0, **options: Any
    ) -> pd.DataFrame:
        """Compare predicted with real populations by squared MMD, over genes.

        A population is a mean embedding in the space of a Gaussian kernel. The distance of two of
        them there is the MMD. The width of the kernel is the median distance between the real cells
        of the condition.

        Parameters
        ----------
        adata
            Screen; the one that the model was made with if ``None``.
        rng
            Seed or generator of the predictions.
        **options
            Passed to the sampler, as for `predict`.

        Returns
        -------
        DataFrame
            One row for each condition with two cells. ``split`` and ``n`` are its split and number
            of cells. ``predicted`` and ``control`` are the squared MMD of the prediction and of the
            control cells that stand for it. Both are unbiased: 0 on average where nothing differs.

        Raises
        ------
        KeyError
            If a perturbation has no vector.
        ValueError
            If there is no control cell.
        """
        cells = self._population(adata)
        rows, made, source = self.twins(adata, rng=rng, **options)
        place = pd.Series(np.arange(len(rows)), index=rows)
        conditions = conditions_of(cells, cells.perturbed, self.vocabulary)
        table = {}
        for name, measured in zip(conditions.names, conditions.cells, strict=True):
            if len(measured) < 2:
                continue
            at, real = place[measured].to_numpy(), cells.values(measured)
            # cells that start from the same control cell count once
            starts, first = np.unique(source[at], return_index=True)
            split = ("none", "train", "val", "test")[int(cells.split[measured[0]]) + 1]
            pair = _dense(made[at[first]]), cells.values(starts)
            values = [mmd(other, real) if len(starts) > 1 else np.nan for other in pair]
            table[name] = (split, len(measured), *values)
        columns = ["split", "n", "predicted", "control"]
        return pd.DataFrame.from_dict(table, orient="index", columns=columns)


def _dense(values: Matrix) -> np.ndarray:
    return values.toarray() if sparse.issparse(values) else np.asarray(values)
