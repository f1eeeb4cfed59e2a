"""What every model offers, baseline or network: predict cells that were not measured, or a twin of those that were."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Real
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd

from ..._logging import logger, progress
from ..._random import RNGLike, as_generator
from ..._validate import key_in, positive
from ...core._codes import grouped
from ...core._controls import LEVELS
from ...core._population import Population
from ...core._predictions import record
from ._arrays import cells_of, compact, in_kind_of, is_matrix, stacked
from ._learning import known_population

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from scipy.sparse import csr_matrix

    from ..._typing import Bools, Floats, Ints, Matrix
    from ._vocabulary import Vocabulary

BLOCK = 8192  # cells generated together
SOURCE = (
    "source"  # obs column of predictions: the control cell that each predicted cell starts from
)


@dataclass(frozen=True)
class Wanted:
    """Cells to generate, one row each.

    Attributes
    ----------
    names
        Canonical names of the perturbations asked for.
    perturbation
        (n,) codes into `names`.
    context, batch
        (n,) codes into the contexts and batches of the population, -1 where missing.
    dose
        (n,) dose, NaN where there is none.
    source
        (n,) row of the control cell that each starts from.
    """

    names: tuple[str, ...]
    perturbation: Ints
    context: Ints
    batch: Ints
    dose: Floats
    source: Ints

    def __len__(self) -> int:
        return len(self.source)

    def populations(self) -> Ints:
        """Return (n,) the population of every row: perturbation, context and dose."""
        return grouped(perturbation=self.perturbation, context=self.context, dose=self.dose)[0]

    def take(self, index: Any) -> Wanted:
        """Return some of the rows."""
        rows = {
            k: getattr(self, k)[index]
            for k in ("perturbation", "context", "batch", "dose", "source")
        }
        return Wanted(names=self.names, **rows)


class Predictor:
    """Turns requests into cells; a model adds `_generate` and has a `vocabulary` and a population `cells`."""

    vocabulary: Vocabulary
    cells: Population
    options: ClassVar[tuple[str, ...]] = ()  # what `_generate` takes beside the cells

    def _generate(
        self, wanted: Wanted, cells: Population, rng: np.random.Generator, **options: Any
    ) -> Matrix:
        """Return (n, n_features) values of the wanted cells, dense or CSR; `wanted` is sorted by condition."""
        raise NotImplementedError

    def _refuse(self, names: Sequence[str]) -> None:
        """Raise if the model cannot predict one of these perturbations at all."""
        self.vocabulary.parts(names)

    def predict(
        self,
        perturbations: str | Sequence[str] | None = None,
        *,
        context: str | None = None,
        dose: float | None = None,
        n_cells: int | None = None,
        adata: AnnData | None = None,
        rng: RNGLike = 0,
        **options: Any,
    ) -> AnnData:
        """Generate cells of perturbations, combinations, contexts or doses, measured or not.

        Parameters
        ----------
        perturbations
            Names; a combination joins single ones (``"A+B"``). All perturbations of the screen if ``None``.
        context
            Context to predict in; its own control cells are the start. If ``None``, control cells of all contexts are.
        dose
            Dose, in the unit of the screen's dose column; a screen with doses needs one.
        n_cells
            Cells of each perturbation; if ``None``, as many as the median perturbation of the screen has.
        adata
            Screen whose control cells to start from; the one the model was made with if ``None``.
        rng
            Seed or generator; the same seed gives the same cells.
        **options
            Passed to the sampler of the model: ``n_steps`` and ``guidance``, say, for `shoal.models.Flow`.

        Returns
        -------
        AnnData
            One row per generated cell, on the scale that the model was trained on; ``obs`` has the perturbation,
            context, batch and dose columns of the screen and ``source``, the name of the control cell it starts from (of models
            with `cross_context`: that stands for it, where it starts from the perturbation's own cells of another context).
            Of a model of images, ``X`` is ``None``, there are no variables, and the float32 images
            (n, C, H, W) are in the slot of ``obsm`` that the model was trained on.

        Raises
        ------
        KeyError
            If a perturbation has no vector (all are listed), or there is no such context.
        ValueError
            If there is no control cell (of the context), or a screen with doses is asked without one.
        """
        rng = as_generator(rng)
        self._check_options(options)
        cells = self._population(adata)
        names = self._names(perturbations, cells)
        self._refuse(names)
        n_cells = self._n_cells(n_cells, cells)
        wanted = self._request(
            names, cells, self._context_code(context, cells), self._dose(dose, cells), n_cells, rng
        )
        values = self._in_blocks(wanted, cells, rng, options)
        return self._as_adata(values, wanted, cells)

    def twins(
        self,
        adata: AnnData | Population | None = None,
        *,
        subset: Bools | None = None,
        rng: RNGLike = 0,
        **options: Any,
    ) -> tuple[Ints, Matrix, Ints]:
        """Generate one cell for every perturbed cell: same perturbation, context, batch and dose.

        Parameters
        ----------
        adata
            Screen; the one the model was made with if ``None``.
        subset
            (n_obs,) which cells get a twin; all perturbed ones if ``None``.
        rng
            Seed or generator. The twins of one seed do not depend on the order of the rows.
        **options
            Passed to the sampler of the model.

        Returns
        -------
        rows
            (n,) rows of `adata` that have a twin, sorted.
        values
            (n, n_features) the twins, dense or CSR.
        source
            (n,) rows of the control cells they start from.

        Raises
        ------
        KeyError
            If a perturbation has no vector.
        ValueError
            If there is no control cell.
        """
        rng = as_generator(rng)
        self._check_options(options)
        cells = self._population(adata)
        rows = np.flatnonzero(cells.perturbed if subset is None else cells.perturbed & subset)
        used = np.unique(cells.labels.code[rows])
        self._refuse([cells.names[i] for i in used])
        named = np.argsort(cells.adata.obs_names.to_numpy()[rows].astype(str), kind="stable")
        by_name = rows[named]
        keys = (
            cells.dose[by_name],
            cells.batch[by_name],
            cells.context[by_name],
            cells.labels.code[by_name],
        )
        order = by_name[np.lexsort(keys)]
        self._tell_fallbacks(cells, order)
        source, _ = cells.controls.draw(cells.context[order], cells.batch[order], rng)
        wanted = Wanted(
            names=tuple(cells.names),
            perturbation=cells.labels.code[order],
            context=cells.context[order],
            batch=cells.batch[order],
            dose=cells.dose[order],
            source=source,
        )
        values = self._in_blocks(wanted, cells, rng, options)
        back = np.argsort(order, kind="stable")
        return rows, values[back], source[back]

    def transport(
        self,
        cells: AnnData | Floats | csr_matrix,
        perturbation: str,
        *,
        context: str | None = None,
        dose: float | None = None,
        rng: RNGLike = 0,
        **options: Any,
    ) -> AnnData | Floats | csr_matrix:
        """Give every cell the perturbation: the cells that these very cells would become.

        Parameters
        ----------
        cells
            Cells to start from, all of which are taken as unperturbed whatever their label. Of an AnnData the context and
            batch columns are read where the screen has them. An array or sparse matrix (n, n_features), with the columns of
            ``model.vocabulary.features``, is read as control cells of one `context`, of unknown batch.
        perturbation
            Name; a combination joins single ones.
        context
            Context of all rows of an array; unknown if ``None``.
        dose
            Dose, in the unit of the screen's dose column; a screen with doses needs one.
        rng
            Seed or generator.
        **options
            Passed to the sampler of the model.

        Returns
        -------
        AnnData, float32 array or CSR matrix, as `cells` is: one row per cell, in their order. In an AnnData
        ``obs["source"]`` names the cell.

        Raises
        ------
        KeyError
            If the perturbation has no vector, features of training are missing, or there is no such context.
        TypeError
            If `cells` is none of these.
        ValueError
            If a screen with doses is asked without one, an array does not have the columns or the scale of training, or a
            context is given beside an AnnData.
        """
        rng = as_generator(rng)
        self._check_options(options)
        given = cells_of(cells, self.vocabulary, self.cells.contexts, context=context)
        names = self._names(perturbation, self.cells)
        self._refuse(names)
        n = given.rows.shape[0]
        wanted = Wanted(
            names=tuple(names),
            perturbation=np.zeros(n, dtype=np.int64),
            context=given.context,
            batch=given.batch,
            dose=np.full(n, self._dose(dose, self.cells)),
            source=np.arange(n),
        )
        order = np.lexsort((wanted.batch, wanted.context))
        values = self._in_blocks(wanted.take(order), given, rng, options)[
            np.argsort(order, kind="stable")
        ]
        return (
            in_kind_of(cells, values) if is_matrix(cells) else self._as_adata(values, wanted, given)
        )

    # -- what a request means ----------------------------------------------------------------------------------------

    def _population(self, adata: AnnData | Population | None) -> Population:
        """Return the cells that predictions start from; a population was read before."""
        if isinstance(adata, Population):
            return adata
        if adata is None:
            return self.cells
        return known_population(adata, self.vocabulary, before=getattr(self, "_cells", None))

    def _check_options(self, options: dict[str, Any]) -> None:
        odd = sorted(set(options) - set(self.options))
        if odd:
            valid = ", ".join(self.options) if self.options else "none"
            msg = (
                f"{type(self).__name__} has no option {odd[0]!r} for predictions; it takes: {valid}"
            )
            raise TypeError(msg)

    def _names(self, perturbations: str | Sequence[str] | None, cells: Population) -> list[str]:
        several = cells.names if perturbations is None else perturbations
        several = [several] if isinstance(several, str) else list(several)
        names = list(dict.fromkeys(self.vocabulary.screen.canonical(str(p)) for p in several))
        if not names or cells.screen.control[0] in names:
            what = "no perturbation" if not names else f"the control, {cells.screen.control[0]!r},"
            example = self.vocabulary.perturbations[0]
            msg = f"{what} was asked for; name perturbations, as in model.predict([{example!r}])"
            raise ValueError(msg)
        return names

    @staticmethod
    def _n_cells(n_cells: int | None, cells: Population) -> int:
        if n_cells is not None:
            positive(n_cells, name="n_cells")
            return int(n_cells)
        counts = cells.labels.counts
        return (
            int(np.median(counts[counts > 0])) if (counts > 0).any() else len(cells.controls.cells)
        )

    @staticmethod
    def _context_code(context: str | None, cells: Population) -> int | None:
        if context is None:
            return None
        key_in(str(context), cells.contexts, where="the contexts of the screen")
        code = cells.contexts.index(str(context))
        if not (cells.controls.context == code).any():
            having = [cells.contexts[i] for i in np.unique(cells.controls.context) if i >= 0]
            msg = f"context {context!r} has no control cell to start from; these have some: {', '.join(having)}"
            raise ValueError(msg)
        return code

    @staticmethod
    def _dose(dose: float | None, cells: Population) -> float:
        if cells.screen.dose_key is None and dose is not None:
            msg = "the screen was annotated without a dose column, so dose= means nothing; leave it out"
            raise ValueError(msg)
        if cells.screen.dose_key is not None and dose is None:
            measured = np.unique(cells.dose[cells.perturbed & np.isfinite(cells.dose)])
            msg = f"which dose? Pass dose=...; measured are {', '.join(f'{d:g}' for d in measured[:12])}"
            raise ValueError(msg)
        if dose is None:
            return float("nan")
        if not (isinstance(dose, Real) and 0 < dose < np.inf):
            msg = f"dose must be a finite number above 0, in the unit of obs[{cells.screen.dose_key!r}], not {dose!r}"
            raise ValueError(msg)
        return float(dose)

    def _request(
        self,
        names: list[str],
        cells: Population,
        context: int | None,
        dose: float,
        n_cells: int,
        rng: np.random.Generator,
    ) -> Wanted:
        """Draw control cells of the context (or of all) for every perturbation; they bring their context and batch."""
        controls = cells.controls
        unknown = np.full(n_cells, -1)
        asked = unknown if context is None else np.full(n_cells, context)
        drawn = [controls.draw(asked, unknown, rng)[0] for _ in names]
        source = np.concatenate(drawn)
        wanted = Wanted(
            names=tuple(names),
            perturbation=np.repeat(np.arange(len(names)), n_cells),
            context=cells.context[source],
            batch=cells.batch[source],
            dose=np.full(len(source), dose),
            source=source,
        )
        return wanted.take(
            np.lexsort((wanted.source, wanted.batch, wanted.context, wanted.perturbation))
        )

    def _tell_fallbacks(self, cells: Population, rows: Ints) -> None:
        """Say which contexts have too few controls of their own, and which the model has never seen."""
        pairs = np.unique(np.stack([cells.context[rows], cells.batch[rows]]), axis=1).T
        for context in np.unique(pairs[:, 0]):
            level = max(cells.controls.pool(c, b)[1] for c, b in pairs if c == context)
            if level > 1:
                name = cells.contexts[context] if context >= 0 else "(missing)"
                logger.warning(
                    "context %r has too few control cells; twins start from %s", name, LEVELS[level]
                )
        new = {cells.contexts[c] for c in pairs[:, 0] if c >= 0} - set(self.vocabulary.contexts)
        if new:
            logger.warning(
                "%s did not occur in training: only their control cells tell the model about them",
                ", ".join(sorted(new)),
            )

    def _in_blocks(
        self, wanted: Wanted, cells: Population, rng: np.random.Generator, options: dict[str, Any]
    ) -> Matrix:
        """Generate block by block, keeping what is mostly zeros as CSR."""
        starts = range(0, len(wanted), BLOCK)
        parts = [
            compact(self._generate(wanted.take(slice(start, start + BLOCK)), cells, rng, **options))
            for start in progress(starts, total=len(starts), desc="generating cells")
        ]
        if not parts:
            return np.zeros((0, *self.vocabulary.cell_shape), dtype=np.float32)
        return stacked(parts)

    def _as_adata(self, values: Matrix, wanted: Wanted, cells: Population) -> AnnData:
        from anndata import AnnData

        screen = cells.screen
        names = np.array(wanted.names, dtype=object)[wanted.perturbation]
        obs = {screen.perturbation_key: pd.Categorical(names, categories=list(wanted.names))}
        for key, codes, known in (
            (screen.context_key, wanted.context, cells.contexts),
            (screen.batch_key, wanted.batch, cells.batches),
        ):
            if key is not None:
                obs[key] = pd.Categorical.from_codes(codes, categories=list(known))
        if screen.dose_key is not None:
            obs[screen.dose_key] = wanted.dose
        obs[SOURCE] = cells.adata.obs_names.to_numpy()[wanted.source]
        number = np.arange(len(wanted)) - np.searchsorted(wanted.perturbation, wanted.perturbation)
        index = pd.Index([f"{name}-{i}" for name, i in zip(names, number, strict=True)])
        table, v = pd.DataFrame(obs, index=index), self.vocabulary
        if v.of_images:
            made = AnnData(obs=table, obsm={v.use_rep: values})
        else:
            var = pd.DataFrame(index=list(v.features))
            if v.in_genes:
                var = cells.adata.var.reindex(list(v.features))
            made = AnnData(values, obs=table, var=var)
        record(
            made, "X", model=type(self).__name__, embedding=v.embedding, transductive=v.transductive
        )
        return made
