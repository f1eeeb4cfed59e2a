"""The ensemble: a model that asks other models, and counts each by how it answered before."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd

from ..._logging import logger, quiet, reason
from ..._random import RNGLike, as_generator
from ..._validate import one_of, whole
from ...core._inner_folds import kind_named
from ...core._population import Population
from ...core._split_units import BY
from ..base._calibration import Calibration
from ..base._context_embedding import add_contexts
from ..base._expression import Expression
from ..base._given_cells import known_population
from ..base._kinds import Measured
from ..base._learning import learn_vocabulary
from ..base._persistence import Stored, as_entry, of_entry
from ..base._predictor import Predictor
from ..base._requests import in_words, require_vectors
from ..base._setups import SetUp
from ..base._vocabulary import Vocabulary
from ..post._postprocessing import Moved, Postprocessing
from ._asked import Asked
from ._carrier import carriers_of, cells_of, others_of, with_cells
from ._cells import MIXED
from ._evidence import evidence_of, folds_of, unlike
from ._explained import Condition, explained
from ._files import Finished
from ._members import read_members, seed_of
from ._rules import LAST
from ._weights import errors_of, table_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from typing import Literal

    from anndata import AnnData

    from ..._typing import Floats, Ints
    from ..base._requests import PredictionRequest
    from ._evidence import Evidence


class Ensemble(Predictor, Stored, SetUp):
    """Control cells plus a weighted sum of what other models add to them.

    Conditions are left out of training in inner folds, as the split of the screen leaves out its
    test: whole perturbations, combinations, contexts, doses or guides. Every member is trained
    without them and predicts them. The weights are those that fit these conditions best; see
    :doc:`/user_guide/ensemble`.

    - **Each kind of question has weights of its own**: a perturbation that was never measured, one
      measured in other contexts, a combination of measured parts, and so on.
    - **A rule answers** where fewer than 8 units of a kind could be left out: the own response of a
      measured perturbation, the sum of the parts of a combination, the mean response else.
    - **The controls are copied** where the members were not better than a copy, by one standard
      error over the units that were left out.

    Parameters
    ----------
    adata
        Screen.
    members
        Names of the members, or a mapping from names to arguments of :func:`shoal.tl.fit`. The
        baselines that answer by rule are always added. If ``None``, those that the screen and the
        preset call for.
    embedding
        Vectors of perturbations, for the members that use them: a name in
        ``uns["perturbation_embeddings"]``, or a table.
    context_embedding
        Vectors of contexts, for the members that use them: a name that
        :func:`shoal.pp.embed_contexts` wrote, or a table. A context without a vector is refused.
    preset
        ``"fast"``: baselines alone, in numpy. ``"networks"``: also ``flow`` and ``perturbdiff``,
        which are trained on `network_folds` folds and once more.
    n_folds
        Number of inner folds; 4 if ``None``, or as many as there are units to leave out.
    network_folds
        Least number of inner folds on which networks are trained, the first ones; all if ``None``.
        It takes more where these ask fewer than 8 units of a kind of question that has as many.
    by
        What inner folds leave out, as in :func:`shoal.pp.split`; what the split of the screen holds
        out if ``None``.

    Attributes
    ----------
    weights
        A row for each kind of question and member, see :meth:`train`.
    carriers
        Whose cells carry the mean response, for each kind of question: a row for control cells and
        for all, or half, of the cells of each member that changes more than means. ``energy`` is
        the mean energy distance to the measured cells of conditions that were left out of training,
        along 50 principal axes; ``gain`` what it is smaller by than that of control cells, with
        its ``standard_error`` over units; ``chosen`` says which it is. The numbers are NaN where
        nothing was tried, or a member has cells of fewer than 8 units.
    members
        The trained members that have a weight, and those that answer by rule.
    refused
        Members that could not be trained or could not predict, and why.
    calibration
        Errors of the answers within training by kind of question, which :meth:`intervals` goes by.

    Examples
    --------
    >>> import shoal as sh
    >>> adata = sh.ds.simulate(n_perturbations=12, n_genes=60, rng=0)
    >>> sh.pp.annotate(adata, "perturbation", control="control")
    >>> sh.pp.split(adata, by="perturbation", test=0.2, val=0, rng=0)
    >>> sh.pp.prepare(adata, normalize="log1p", fit_on="train")
    >>> model = sh.tl.fit(adata, "auto", rng=0)
    >>> model.predict("P01", n_cells=20).shape
    (20, 60)
    """

    kind: ClassVar[str] = "ensemble"
    state: ClassVar[tuple[str, ...]] = (
        "params",
        "refused",
        "note",
        "weights",
        "carriers",
        "is_trained",
    )

    def __init__(
        self,
        adata: AnnData | Population,
        *,
        members: Sequence[str] | Mapping[str, Mapping[str, Any] | None] | None = None,
        embedding: str | pd.DataFrame | None = None,
        context_embedding: str | pd.DataFrame | None = None,
        preset: Literal["fast", "networks"] = "fast",
        n_folds: int | None = None,
        network_folds: int | None = 2,
        by: str | None = None,
    ) -> None:
        if n_folds is not None:
            n_folds = whole(n_folds, name="n_folds", least=2)
        if network_folds is not None:
            network_folds = whole(network_folds, name="network_folds", least=2)
        if by is not None:
            one_of(by, tuple(BY), name="by")
        self.cells = adata if isinstance(adata, Population) else self._cells_of(adata)
        self._embedding = embedding
        told = {"embedding": embedding, "context_embedding": context_embedding}
        slots = {"layer": self.cells.layer, "use_rep": self.cells.use_rep}
        self.vocabulary = learn_vocabulary(self.cells, **told, **slots)
        given = self.cells, self.vocabulary
        self._candidates = read_members(members, *given, **told, preset=preset)
        self.expression = Expression.of_training(self.cells)
        self.params = {
            "preset": preset,
            "n_folds": n_folds,
            "network_folds": network_folds,
            "by": by,
        }
        self.measured = Measured.of(self.cells)
        self.members: dict[str, Any] = {}
        self.refused: dict[str, str] = {}
        self.note = ""
        self.weights, self.carriers = pd.DataFrame(), pd.DataFrame()
        self.is_trained = False

    not_saved: ClassVar[tuple[str, ...]] = ("_embedding", "_candidates", "evidence")
    evidence: Evidence | None = None

    def train(
        self,
        *,
        checkpoint_dir: str | Path | None = None,
        resume: bool = False,
        n_jobs: int = 1,
        rng: RNGLike = 0,
    ) -> None:
        """Train all members on inner folds, weigh them, and train those that count on everything.

        ``model.weights`` then has a row for each kind of question and member, and one for all
        members together:

        ``weight``
            How much the response that the member predicts counts. The sum is at most 1.
        ``error``
            Squared distance of the predicted to the measured mean responses of the conditions that
            were left out, over that of a copy of the controls: 1 is as good as a copy. That of all
            members is made with the weights of the other folds.
        ``n_conditions``, ``n_units``
            Conditions of the kind that were left out, and the perturbations (or new contexts) that
            these were of. Where networks are members, those alone that networks were asked, so that
            all errors are of the same conditions.
        ``note``
            ``"rule"`` or ``"copy"`` and why, where the weights were not fitted.
        ``cells``
            Share of the cells that are those of the member, moved to the mean response of the
            ensemble. The others are control cells, as all are unless a member's were nearer to the
            measured ones; ``model.carriers`` says by how much.

        Parameters
        ----------
        checkpoint_dir
            Folder in which the predictions of every member and fold are kept; nothing is kept if
            ``None``.
        resume
            Whether to go on from what is in the folder. With the same other arguments the result is
            the same as without the interruption.
        n_jobs
            Processes at a time that train members on inner folds; -1 for one on each core. The
            result does not depend on it, except that of networks in the last digits, which sum in
            another order with other numbers of threads.
        rng
            Seed or generator of folds, trainings and predictions.

        Raises
        ------
        ValueError
            If `n_folds` folds are asked for and cannot be made, no member can be trained, what is
            in the folder is of another training, or `n_jobs` makes no sense.
        """
        if n_jobs != -1:
            n_jobs = whole(n_jobs, name="n_jobs")
        seed = int(as_generator(rng).integers(2**31))
        if self.cells.val.any():
            logger.warning(
                "auto does not train on the %d cells of split 'val', and only networks use them, "
                "to know when to stop: sh.pp.split(adata, ..., val=0) leaves none aside",
                int(self.cells.val.sum()),
            )
        kind = None if self.params["by"] is None else kind_named(self.params["by"])
        with quiet():
            folds, self.note = folds_of(
                self.cells, kind=kind, n_folds=self.params["n_folds"], seed=seed
            )
        finished = Finished(
            checkpoint_dir,
            resume=resume,
            cells=self.cells,
            folds=folds,
            seed=seed,
            embedding=self._embedding,
            context_vectors=self.vocabulary.context_vectors,
        )
        self.refused, self.evidence, self.calibration = {}, None, None
        if self.note:
            logger.warning("auto answers by rule, and no weights are fitted: %s", self.note)
        else:
            self.evidence = evidence_of(
                self.cells,
                self._candidates,
                folds,
                embedding=self._embedding,
                seed=seed,
                finished=finished,
                unlike=unlike(self.cells, kind),
                whole=True,
                on_folds=min(self.params["network_folds"] or len(folds), len(folds)),
                n_jobs=n_jobs,
            )
            self.refused = dict(self.evidence.refused)
            self._say_idle()
        self._weigh(seed)
        self._train_members(seed)
        if self.evidence is not None:
            networks = [member.name for member in self._candidates if member.is_network]
            halves = {kind: name for kind, name, way in others_of(self.carriers) if way == MIXED}
            errors = errors_of(self.evidence, halves, networks=networks)
            self.calibration = Calibration(self.evidence.cell, self.measured, errors)
        self.evidence = None  # what it says is in the weights and the calibration
        self.is_trained = True

    def _say_idle(self) -> None:
        """Say which networks are not trained, where they can have no part."""
        networks = [member.name for member in self._candidates if member.is_network]
        if networks and self.evidence is not None and not self.evidence.asked.any():
            logger.warning(
                "auto does not train %s: every question is asked in a new context, of which "
                "training has too few to tell what a network is worth there",
                ", ".join(map(repr, networks)),
            )

    def _weigh(self, seed: int) -> None:
        there = [member for member in self._candidates if member.name not in self.refused]
        said = self.evidence is None or np.isfinite(self.evidence.predicted).any()
        if not (there and said):
            lost = {member.name: "can answer none of what folds leave out" for member in there}
            msg = f"none of the members of auto can be used: {in_words(self.refused | lost)}"
            raise ValueError(msg)
        asked = (
            self.evidence,
            [member.name for member in there],
            self.measured.kinds(self.vocabulary.screen),
        )
        networks = [member.name for member in there if member.is_network]
        self.carriers = carriers_of(*asked, networks=networks, post=self.post, seed=seed)
        self.weights = with_cells(table_of(*asked, networks=networks), self.carriers)

    def _train_members(self, seed: int) -> None:
        """Train the members that have a part; without one that cannot, weigh the others anew."""
        self.members = {}
        table = self.weights
        wanted = set(table["member"][table["weight"] > 0]) | {LAST}
        wanted |= {name for _, name, _ in others_of(self.carriers)}
        for member in self._candidates:
            if member.name not in wanted or member.name in self.refused:
                continue
            try:
                with quiet():
                    self.members[member.name] = member.fit(
                        self.cells, embedding=self._embedding, seed=seed_of(member.name, seed)
                    )
            except Exception as err:  # noqa: BLE001 (others take its place, and it is said)
                self.refused[member.name] = reason(err)
                logger.warning("auto: %r is left out: %s", member.name, reason(err))
                if self.evidence is not None:
                    self.evidence = self.evidence.without(member.name)
                self._weigh(seed)
                self._train_members(seed)
                return

    @property
    def post(self) -> Postprocessing:
        """What is done to moved cells: zeros as expected, and the total of training cells."""
        return Postprocessing.as_expected(
            self.expression, nonnegative=self.vocabulary.nonnegative, cut=True
        )

    @property
    def history(self) -> dict[str, pd.DataFrame]:
        """Training curves of the members that are networks: ``"flow.loss"``, say."""
        return {
            f"{name}.{key}": table
            for name, member in self.members.items()
            for key, table in (member.history or {}).items()
        }

    def __repr__(self) -> str:
        state = f"{len(self.members)} members" if self.is_trained else "not trained"
        n = len(self.vocabulary.features)
        return f"Ensemble({self.params['preset']!r}): {n} features; {state}"

    # -- what can be predicted ---------------------------------------------------------------------

    def add_contexts(self, vectors: pd.DataFrame | AnnData) -> None:
        """Give the members that read them vectors of contexts that came after training.

        Parameters
        ----------
        vectors
            A table with a row for each context, or an AnnData with such a table, on the scale of
            training: ``sh.pp.embed_contexts(new, like=adata)``.
        """
        add_contexts(self, vectors)
        for member in self.members.values():
            if member.vocabulary.context_vectors is not None:
                member.add_contexts(vectors)

    def _told_of(self) -> Sequence[str]:
        return [name for member in self.members.values() for name in member._told_of()]

    def _reasons(self, names: Sequence[str]) -> dict[str, str]:
        return {}  # the mean response answers what no member knows

    def _refuse(self, names: Sequence[str], cells: Population | None = None) -> None:
        self._check_trained()
        super()._refuse(names, cells)

    def kind_of(self, name: str, *, context: str = "", dose: float = float("nan")) -> str:
        """Return the kind of question that a condition is, as ``model.weights`` names it.

        Parameters
        ----------
        name
            Perturbation. A combination joins single ones.
        context
            Context; ``""`` for none.
        dose
            Dose; NaN for none.

        Raises
        ------
        TypeError
            If `context` is no text or number.
        ValueError
            If it is the control, a context or a dose is given where the screen has none, or the
            dose is not above 0.
        """
        return self._condition(name, context, dose).kind(self.measured)

    def explain(self, name: str, *, context: str = "", dose: float = float("nan")) -> str:
        """Return in one paragraph who answers for a condition, and what is known of the answers.

        Parameters
        ----------
        name
            Perturbation. A combination joins single ones.
        context
            Context. With ``""`` there is a paragraph for each kind of question that the
            perturbation is in the contexts of the screen.
        dose
            Dose, which a measured perturbation needs in a screen with doses. NaN for none.

        Raises
        ------
        KeyError
            If the perturbation is not known.
        TypeError
            If `context` is no text or number.
        ValueError
            If it is the control, or the context or dose is missing or not one of the screen.

        Examples
        --------
        >>> import shoal as sh
        >>> adata = sh.ds.simulate_gaussian(n_perturbations=4, n_dims=5, rng=0)
        >>> print(sh.tl.fit(adata, "auto").explain("P1"))
        'P1' is measured. No such question was tried within training: the rule answers, own_shift.
        """
        self._refuse([name])
        asked = self._condition(name, context, dose)
        return explained(asked, self.measured, self._contexts, self.weights, self.carriers)

    def _condition(self, name: str, context: str, dose: float) -> Condition:
        return Condition.of(self.vocabulary.screen, self._contexts, name, context, dose)

    @property
    def _contexts(self) -> Sequence[str]:
        """Contexts of the screen; those of training where there is no screen."""
        return self.vocabulary.contexts if self._cells is None else self.cells.contexts

    # -- prediction --------------------------------------------------------------------------------

    def _finished(
        self,
        request: PredictionRequest,
        cells: Population,
        rng: np.random.Generator,
        options: dict[str, Any],
    ) -> Floats:
        """Return control cells that the mean response is added to, or cells of a member."""
        used = np.unique(request.context)
        require_vectors(self.vocabulary, [cells.contexts[i] for i in used if i >= 0])
        population, post = request.populations(), self.post.with_options(**options)
        start = cells.values(request.source)
        asked = self._asked(request, cells, population, int(rng.integers(2**31)))
        response = asked.summed()
        moved = (start + response[population]).astype(start.dtype, copy=False)
        values: Floats = post(Moved(moved, start), population, rng)
        for one in asked.carried():
            given = request.take(one.rows), cells, one.population, values[one.rows]
            own = cells_of(asked.told(one.name), one.way, *given, post=post, rng=rng)
            theirs = np.isfinite(own).all(axis=1)
            values[one.rows[theirs]] = own[theirs]
        return values

    def _responses(
        self, request: PredictionRequest, cells: Population, population: Ints, seed: int
    ) -> Floats:
        """Return the (n_populations, n_features) mean response of every population."""
        return self._asked(request, cells, population, seed).responses()

    def _asked(
        self, request: PredictionRequest, cells: Population, population: Ints, seed: int
    ) -> Asked:
        tables = self._table, self.carriers, self.measured, self.vocabulary.screen
        return Asked(self.members, *tables, request, cells, population, seed)

    @property
    def _table(self) -> pd.DataFrame:
        """Weights: a row for each kind of question, a column for each member."""
        return self.weights.pivot(index="kind", columns="member", values="weight")

    # -- files -------------------------------------------------------------------------------------

    def _entry(self) -> dict[str, Any]:
        self._refuse([])
        return {
            "vocabulary": self.vocabulary.to_dict(),
            "expression": self.expression.to_dict(),
            "measured": asdict(self.measured),
            "members": {name: as_entry(member) for name, member in self.members.items()},
        }

    def _restore(self, entry: dict[str, Any], adata: AnnData | None) -> None:
        self.vocabulary = Vocabulary.from_dict(entry["vocabulary"])
        self.expression = Expression.from_dict(entry["expression"])
        self.cells = None if adata is None else known_population(adata, self.vocabulary)
        self.measured = Measured(**entry["measured"])
        self.members = {name: of_entry(own, adata) for name, own in entry["members"].items()}
