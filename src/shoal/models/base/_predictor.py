"""What every model offers: cells that nobody measured, and twins of measured ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ..._random import RNGLike, as_generator
from ..._validate import cell_mask, flag
from ...core._order import stable_order
from ...core._population import Population
from ..post._postprocessing import POST_OPTIONS, Moved
from ._arrays import cells_of, in_kind_of, is_matrix
from ._assembly import predicted_adata
from ._counting import Counting, CountLaw, learn_law, tell_unlearned
from ._generation import in_blocks
from ._given_cells import known_population
from ._intervals import WithIntervals
from ._libraries import Libraries
from ._requests import (
    by_condition,
    in_words,
    request_given,
    request_like,
    request_new,
    requested_context,
    requested_dose,
    requested_name,
    requested_names,
    requested_number,
    tell_left_out,
    warn_of_contexts,
    warn_of_dose,
    warn_of_fallbacks,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from scipy.sparse import csr_matrix

    from ..._typing import Bools, Floats, Ints, Matrix
    from ..post._postprocessing import Postprocessing
    from ._expression import Expression
    from ._requests import PredictionRequest
    from ._vocabulary import Vocabulary


ASKED = ("perturbations", "context", "dose", "n_cells")  # arguments of `predict` alone


class Predictor(WithIntervals):
    """Turns what a user asks for into a request, and the generated values into a result.

    A model adds `_generate`, and has a `vocabulary` and a population `cells`. Its `expression` is
    what training cells say about the zeros of genes, and about the total of a cell.
    """

    vocabulary: Vocabulary
    expression: Expression
    post: Postprocessing
    cells: Population
    is_trained: bool
    options: ClassVar[tuple[str, ...]] = ()  # names of the options of a prediction
    not_saved: ClassVar[tuple[str, ...]] = ("_count_law",)
    _count_law: CountLaw | None = None  # learned at the first prediction of counts

    def _generate(
        self,
        request: PredictionRequest,
        cells: Population,
        rng: np.random.Generator,
        **options: Any,
    ) -> Matrix | Moved:
        """Return the cells of a request that is sorted by condition.

        Cells that were moved come with those that they started from, and `post` finishes them.
        (n, n_features) values, dense or CSR, are left as they are: copies of real cells, say.
        """
        raise NotImplementedError

    def cannot_predict(
        self, perturbations: Sequence[str], *, adata: AnnData | Population | None = None
    ) -> dict[str, str]:
        """Return those of some perturbations that the model cannot predict, and why.

        A perturbation is refused

        - if the model was never told of it, or of one of its parts. It is told of all perturbations
          of the screen of training, held-out ones too, and of all in its embedding;
        - if the model needs to have learned something of it that it has not: a vector, say, or
          cells of its own.

        Parameters
        ----------
        perturbations
            Names.
        adata
            Screen that is predicted, whose perturbations are then known too.
        """
        screen = () if adata is None else self._population(adata).names
        also = (*screen, *self._told_of())
        names = list(dict.fromkeys(map(self.vocabulary.screen.names.as_asked, perturbations)))
        unheard = self.vocabulary.unheard_of(names, also)
        return unheard | self._reasons([name for name in names if name not in unheard])

    def _check_trained(self) -> None:
        if not self.is_trained:
            msg = f"this {type(self).__name__} is not trained; call model.train() first"
            raise ValueError(msg)

    def _told_of(self) -> Sequence[str]:
        """Return perturbations that the model knows beside those of its vocabulary."""
        return ()

    def _reasons(self, names: Sequence[str]) -> dict[str, str]:
        """Return those of some known perturbations that the model cannot predict, and why."""
        return self.vocabulary.reasons_without_vector(names)

    def _reasons_of_contexts(self, contexts: Sequence[str]) -> dict[str, str]:
        """Return those of some contexts that the model cannot predict, and why."""
        return self.vocabulary.contexts_without_vector(contexts)

    def _refuse(self, names: Sequence[str], cells: Population | None = None) -> None:
        """Raise if the model cannot predict one of these perturbations; all are listed.

        Raises
        ------
        KeyError
            If one is not known to the model, or has no vector.
        ValueError
            If all are known, and what is missing is no vector.
        """
        lost = self.cannot_predict(names, adata=cells)
        if lost:
            raise self._error(lost)

    def _error(self, lost: dict[str, str]) -> Exception:
        """Return the error that says what the model cannot predict, and why."""
        return KeyError(in_words(lost))

    def left_out(self, cells: Population, rows: Ints) -> tuple[Bools, dict[str, str]]:
        """Return which measured cells can have no twin, and why.

        Parameters
        ----------
        cells
            Population of the measured cells.
        rows
            (n,) rows of perturbed cells.

        Returns
        -------
        lost
            (n,) which of them the model cannot predict.
        reasons
            Perturbation, or context -> why.
        """
        code, context = cells.labels.code[rows], cells.context[rows]
        names = {cells.names[i]: i for i in np.unique(code)}
        contexts = {cells.contexts[i] if i >= 0 else "": i for i in np.unique(context)}
        by_name = self.cannot_predict(list(names), adata=cells)
        by_context = self._reasons_of_contexts(list(contexts))
        lost = np.isin(code, [names[name] for name in by_name])
        lost |= np.isin(context, [contexts[name] for name in by_context])
        return lost, by_name | {f"context {name!r}": why for name, why in by_context.items()}

    def predict(
        self,
        perturbations: str | Sequence[str] | None = None,
        *,
        context: str | None = None,
        dose: float | None = None,
        n_cells: int | None = None,
        adata: AnnData | None = None,
        counts: bool = False,
        rng: RNGLike = 0,
        **options: Any,
    ) -> AnnData:
        """Generate cells of perturbations, combinations, contexts or doses, measured or not.

        Parameters
        ----------
        perturbations
            Names. A combination joins single ones (``"A+B"``). If ``None``, all perturbations of
            the screen that the model can predict; the others are left out with a warning.
        context
            Context to predict in, which must have control cells. All contexts if ``None``.
        dose
            Dose, in the unit of the screen's dose column. A screen with doses needs one.
        n_cells
            Cells of each perturbation. If ``None``, as many as the median perturbation of the
            screen has.
        adata
            Screen whose control cells predictions start from; that of training if ``None``.
        counts
            Whether to return integer counts instead of log-normalised values: int32, CSR. A cell
            has the library size of its control cell, times the change that the perturbation makes
            to library sizes in training. The sum of a gene over a population is that of the
            predicted values, to one molecule. It takes ``layers["counts"]``, or
            ``obs["total_counts"]``, in the screen that predictions start from.
        rng
            Seed or generator; the same seed gives the same cells.
        **options
            Options of the model, such as ``n_steps`` and ``guidance`` of `shoal.models.Flow`.

        Returns
        -------
        AnnData
            One row per generated cell: on the scale that the model was trained on, or counts.
            ``obs`` has the perturbation, context, batch and dose columns of the screen.
            ``obs["source"]`` names the control cell that stands for each cell: the cell starts
            there, unless the model starts at the perturbation's own cells of another context
            (`cross_context`). A model of images leaves ``X`` empty: there are no variables, and the
            images (n, C, H, W) are in the slot of ``obsm`` that it was trained on.

        Raises
        ------
        KeyError
            If a perturbation is not known or has no vector (all are listed, with names that are
            near), or there is no such context.
        ValueError
            If a perturbation cannot be predicted for another reason, there is no control cell (of
            the context), or a screen with doses is given none; if counts are asked of a model that
            is not of log-normalised genes, or library sizes are missing or do not fit the values.
        """
        rng = as_generator(rng)
        self._check_options(options)
        self._check_counts(counts=counts)
        cells = self._population(adata)
        names = requested_names(perturbations, cells, self.vocabulary)
        lost = {} if perturbations is not None else self.cannot_predict(names, adata=cells)
        if 0 < len(lost) < len(names):
            tell_left_out(lost)
            names = [name for name in names if name not in lost]
        self._refuse(names, cells)
        n_cells = requested_number(n_cells, cells)
        code = requested_context(context, cells)
        number = requested_dose(dose, cells)
        warn_of_dose(number, self.vocabulary)
        request = request_new(names, cells, context=code, dose=number, n_cells=n_cells, rng=rng)
        warn_of_contexts(cells, request.context, self.vocabulary)
        values = self._values(request, cells, rng, options, counts=counts)
        values = self._as_given(values, request, cells)
        skipped = in_words(lost, most=None)
        return self._as_adata(values, request, cells, skipped=skipped, counts=counts)

    def twins(
        self,
        adata: AnnData | Population | None = None,
        *,
        subset: Bools | None = None,
        counts: bool = False,
        rng: RNGLike = 0,
        **options: Any,
    ) -> tuple[Ints, Matrix, Ints]:
        """Generate one cell for every perturbed cell: same perturbation, context, batch and dose.

        Parameters
        ----------
        adata
            Screen; that of training if ``None``.
        subset
            (n_obs,) which cells get a twin; all perturbed ones if ``None``.
        counts
            Whether the twins are integer counts, see `predict`.
        rng
            Seed or generator. The twins of one seed do not depend on the order of the rows.
        **options
            Options of the model.

        Returns
        -------
        rows
            (n,) rows of `adata` that have a twin, sorted.
        values
            (n, n_features) the twins, dense or CSR; int32 CSR if they are counts.
        source
            (n,) rows of the control cells that stand for them.

        Raises
        ------
        KeyError
            If a perturbation is not known or has no vector; :func:`shoal.tl.predict` leaves it out.
        ValueError
            If it cannot be predicted for another reason, there is no control cell, counts cannot be
            made, see `predict`, or the mask has another length or other cells.
        TypeError
            If `subset` is no mask.
        """
        rng = as_generator(rng)
        self._check_options(options)
        self._check_counts(counts=counts)
        cells = self._population(adata)
        chosen = cells.perturbed
        if subset is not None:
            chosen = chosen & cell_mask(subset, cells.adata, name="subset")
        rows = np.flatnonzero(chosen)
        self._refuse([cells.names[i] for i in np.unique(cells.labels.code[rows])], cells)
        order = by_condition(cells, rows)
        warn_of_fallbacks(cells, order, self.vocabulary)
        source, _ = cells.controls.draw(cells.context[order], cells.batch[order], rng)
        request = request_like(cells, order, source)
        values = self._values(request, cells, rng, options, counts=counts)
        values = self._as_given(values, request, cells)
        back = np.argsort(order, kind="stable")
        return rows, values[back], source[back]

    def transport(
        self,
        cells: AnnData | Floats | csr_matrix,
        perturbation: str,
        *,
        context: str | None = None,
        dose: float | None = None,
        counts: bool = False,
        rng: RNGLike = 0,
        **options: Any,
    ) -> AnnData | Floats | csr_matrix:
        """Give every cell the perturbation: the cells that these very cells would become.

        Parameters
        ----------
        cells
            Cells to start from. All of them are taken as unperturbed, whatever their label.
            Of an AnnData the context and batch columns are read where the screen has them.
            An array or sparse matrix (n, n_features), with the columns of
            ``model.vocabulary.features``, is read as cells of one `context` and of unknown batch.
        perturbation
            Name. A combination joins single ones.
        context
            Context of all rows of an array; unknown if ``None``.
        dose
            Dose, in the unit of the screen's dose column. A screen with doses needs one.
        counts
            Whether to return integer counts, see `predict`. It takes an AnnData, whose cells have
            their own library sizes.
        rng
            Seed or generator.
        **options
            Options of the model.

        Returns
        -------
        AnnData, float32 array or CSR matrix, as `cells` is: one row per cell, in their order. In an
        AnnData ``obs["source"]`` names the cell.

        Raises
        ------
        KeyError
            If the perturbation is not known or has no vector, features of training are missing, or
            there is no such context.
        TypeError
            If `cells` is none of these.
        ValueError
            If a screen with doses is given none, an array does not have the columns or the scale of
            training, a context is given beside an AnnData, or counts cannot be made, see `predict`;
            or the model draws cells and does not start from given ones.
        """
        self._check_carries()
        rng = as_generator(rng)
        self._check_options(options)
        self._check_counts(counts=counts)
        given = self._as_seen(
            cells_of(cells, self.vocabulary, self.cells.contexts, context=context)
        )
        name = requested_name(perturbation, self.cells, self.vocabulary)
        self._refuse([name])
        number = requested_dose(dose, self.cells)
        warn_of_dose(number, self.vocabulary)
        request = request_given(name, given, number)
        order = stable_order(given.adata)  # what is drawn does not depend on the order of rows
        order = order[np.lexsort((request.batch[order], request.context[order]))]
        values = self._values(request.take(order), given, rng, options, counts=counts)
        values = self._as_given(values[np.argsort(order, kind="stable")], request, given)
        if is_matrix(cells):
            return in_kind_of(cells, values)
        return self._as_adata(values, request, given, counts=counts)

    # -- inside ------------------------------------------------------------------------------------

    def _population(self, adata: AnnData | Population | None) -> Population:
        """Return the cells that predictions start from; a population was read before."""
        if isinstance(adata, Population):
            return adata
        if adata is None:
            return self.cells
        before = getattr(self, "_cells", None)
        return self._as_seen(known_population(adata, self.vocabulary, before=before))

    def _check_carries(self) -> None:
        """Refuse where the model draws cells in place of those that it is given."""

    def _as_seen(self, cells: Population) -> Population:
        """Return cells with the values that the model works on: those that were read."""
        return cells

    def _as_given(self, values: Matrix, request: PredictionRequest, cells: Population) -> Matrix:
        """Return predicted values in the form that the values of `cells` were given in."""
        return values

    def _as_taken(self, cells: Population, rows: Ints) -> Matrix:
        """Return the values of cells, at sorted positions, as they were given."""
        return cells.rows.take(rows)

    def _check_options(self, options: dict[str, Any]) -> None:
        known = (*self.options, *POST_OPTIONS)
        odd = sorted(set(options) - set(known))
        if odd:
            valid = ", ".join(known)
            msg = (
                f"{type(self).__name__} has no option {odd[0]!r} for predictions; it takes: {valid}"
            )
            if odd[0] in ASKED:
                msg += (
                    f". Twins are of the same condition as their cells; new cells of any come from "
                    f"model.predict(..., {odd[0]}=)"
                )
            raise TypeError(msg)
        if "cross_context" in options:
            flag(options["cross_context"], name="cross_context")

    def _values(
        self,
        request: PredictionRequest,
        cells: Population,
        rng: np.random.Generator,
        options: dict[str, Any],
        *,
        counts: bool = False,
    ) -> Matrix:
        counting = Counting.of(request, cells, self._law(cells)) if counts else None
        values = in_blocks(
            lambda part: self._finished(part, cells, rng, options),
            request,
            cell_shape=self.vocabulary.cell_shape,
        )
        return values if counting is None else counting(values, rng)

    def _check_counts(self, *, counts: bool) -> None:
        """Raise ``ValueError`` if counts are asked of a model that cannot make any."""
        flag(counts, name="counts")
        v = self.vocabulary
        if counts and not (v.in_genes and v.nonnegative):
            reads = "values below 0" if v.in_genes else f"obsm[{v.use_rep!r}]"
            msg = (
                f"counts=True makes counts of log-normalised genes, and this model was trained on "
                f"{reads}, from which there is no way back to counts. Train a model on "
                "log-normalised genes, as sh.pp.prepare(adata, normalize='log1p') writes them to X"
            )
            raise ValueError(msg)

    def _law(self, cells: Population) -> CountLaw:
        """Return what is known of counts: from the model's own cells, else from given controls."""
        own = vars(self).get("cells", getattr(self, "_cells", None))
        if own is None or not Libraries.known(own):
            tell_unlearned(
                "loaded without cells" if own is None else "trained without library sizes"
            )
            return learn_law(cells, self.vocabulary, trained=False)
        if self._count_law is None:
            self._count_law = learn_law(own, self.vocabulary, trained=True)
        return self._count_law

    def _finished(
        self,
        request: PredictionRequest,
        cells: Population,
        rng: np.random.Generator,
        options: dict[str, Any],
    ) -> Matrix:
        """Return the values of a request, after what is done to moved cells."""
        own = {name: value for name, value in options.items() if name not in POST_OPTIONS}
        made = self._generate(request, cells, rng, **own)
        if not isinstance(made, Moved):
            return made
        given = {name: options[name] for name in POST_OPTIONS if name in options}
        return self.post.with_options(**given)(made, request.populations(), rng)

    def _as_adata(
        self,
        values: Matrix,
        request: PredictionRequest,
        cells: Population,
        *,
        skipped: str = "",
        counts: bool = False,
    ) -> AnnData:
        return predicted_adata(
            values,
            request,
            cells,
            self.vocabulary,
            model=type(self).__name__,
            skipped=skipped,
            counts=counts,
        )
