"""What all baselines share: set up, train, save and load, in numpy alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from ...core._population import Population, read_once
from ..base._expression import Expression
from ..base._given_cells import known_population
from ..base._learning import learn_vocabulary
from ..base._persistence import Stored
from ..base._predictor import Predictor
from ..base._registry import name_of
from ..base._requests import in_words
from ..base._setups import SetUp
from ..base._vocabulary import Vocabulary
from ..post._postprocessing import Postprocessing
from ._noise import noise_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from anndata import AnnData
    from numpy.typing import NDArray


class Baseline(Predictor, Stored, SetUp):
    """A model in numpy that is trained in one pass over the cells, without gradients.

    It has the methods of the other models: ``setup_anndata``, ``train``, ``predict``, ``twins``,
    ``save`` and ``load``. It learns from training cells and training controls only: those of
    ``obs["split"] == "train"``, and all cells where there is no split.

    The constructor also takes a `Population` in the place of an AnnData. Its cells are then not
    indexed and not read again.

    A subclass defines two methods. ``_fit`` returns arrays, which are all that was learned.
    ``_generate`` makes cells from them. The guide "Add your own model" shows one.
    """

    kind: ClassVar[str] = "baseline"
    refusal: ClassVar[str] = ""  # why it cannot predict some perturbations, and what can
    draws: ClassVar[str] = ""  # which training cells it draws, where it does not move given ones
    keeps_cells: ClassVar[bool] = False  # whether it keeps training cells
    sums_cells: ClassVar[bool] = False  # whether it learns from sums of the cells of a condition
    estimates_noise: ClassVar[bool] = False  # whether it looks at the cells of `noise_rows`

    def __init__(self, adata: AnnData | Population):
        self._start(adata)

    @property
    def name(self) -> str:
        """Name in the registry; that of the class where it has none."""
        return name_of(type(self)) or type(self).__name__

    def _start(
        self,
        adata: AnnData | Population,
        *,
        embedding: str | pd.DataFrame | None = None,
        context_embedding: str | pd.DataFrame | None = None,
        **params: Any,
    ) -> None:
        cells = adata if isinstance(adata, Population) else self._read(adata)
        self.cells = cells
        self.vocabulary = learn_vocabulary(
            cells,
            layer=cells.layer,
            use_rep=cells.use_rep,
            embedding=embedding,
            context_embedding=context_embedding,
        )
        self.expression = Expression.of_training(cells)
        self.params = params
        self.arrays: dict[str, NDArray[Any]] = {}
        self.is_trained = False

    @classmethod
    def _read(cls, adata: AnnData) -> Population:
        """Return the cells of an AnnData, of which what the class needs was read."""
        cells = cls._cells_of(adata)
        if not cls.sums_cells:
            return cells
        return read_once(cells, noise_rows(cells) if cls.estimates_noise else None)

    def train(self) -> None:
        """Learn from the training cells.

        Raises
        ------
        ValueError
            If there is too little to learn from.
        """
        self.arrays = self._fit(self.cells)
        self._ready()
        self.is_trained = True

    def _fit(self, cells: Population) -> dict[str, NDArray[Any]]:
        """Return what was learned: all that `save` has to store."""
        raise NotImplementedError

    def _ready(self) -> None:
        """Unpack `arrays`, after training and after loading."""

    @property
    def post(self) -> Postprocessing:
        """What is done to moved cells: zeros as expected, and the total of training cells."""
        return Postprocessing.as_expected(
            self.expression, nonnegative=self.vocabulary.nonnegative, cut=True
        )

    @property
    def history(self) -> dict[str, pd.DataFrame]:
        """Empty: a baseline has no training curve."""
        return {}

    def __repr__(self) -> str:
        v, params = self.vocabulary, "".join(f", {k}={x!r}" for k, x in self.params.items())
        contexts = f"{len(v.contexts)} contexts, " if v.screen.context_key else ""
        state = "trained" if self.is_trained else "not trained"
        what = f"{contexts}{len(v.features)} features; {state}"
        return f"{type(self).__name__}({self.name!r}{params}): {what}"

    # -- what can be predicted ---------------------------------------------------------------------

    def _refuse(self, names: Sequence[str], cells: Population | None = None) -> None:
        self._check_trained()
        super()._refuse(names, cells)

    def _check_carries(self) -> None:
        if self.draws:
            msg = (
                f"{self.name} draws {self.draws}, and cannot say what becomes of given cells: "
                "'own_shift' and 'quantile_shift' move them, 'flow' learns to"
            )
            raise ValueError(msg)

    def _reasons(self, names: Sequence[str]) -> dict[str, str]:
        return dict.fromkeys(self._unknown(names), self._why)

    @property
    def _why(self) -> str:
        """Why it cannot predict some perturbations, and what can."""
        return f"cannot be predicted by {self.name}: {self.refusal}"

    def _error(self, lost: dict[str, str]) -> Exception:
        own = set(lost.values()) == {self._why}
        return ValueError(in_words(lost)) if own else super()._error(lost)

    def _unknown(self, names: Sequence[str]) -> list[str]:
        """Return those of some known perturbations that the baseline cannot predict."""
        return []

    # -- files -------------------------------------------------------------------------------------

    def _entry(self) -> dict[str, Any]:
        self._refuse([])
        return {
            "params": self.params,
            "vocabulary": self.vocabulary.to_dict(),
            "expression": self.expression.to_dict(),
            "arrays": self.arrays,
        }

    def _restore(self, entry: dict[str, Any], adata: AnnData | None) -> None:
        self.vocabulary = Vocabulary.from_dict(entry["vocabulary"])
        self.expression = Expression.from_dict(entry["expression"])
        self.params, self.arrays = entry["params"], entry["arrays"]
        self.cells = None if adata is None else known_population(adata, self.vocabulary)
        self._ready()
        self.is_trained = True
