"""Training cells that a baseline keeps, to draw predictions from."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from ...core._codes import grouped, recode
from ...metrics._cells import densify

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..._typing import Bools, Floats, Ints, Matrix
    from ...core._population import Population
    from ..base._vocabulary import Vocabulary

CODES = ("perturbation", "context", "batch", "dose", "names")


@dataclass(frozen=True)
class Pool:
    """Training cells. Their order does not depend on the order of the data.

    Attributes
    ----------
    values
        (n, n_features) float32, dense or CSR.
    names
        (P,) perturbations, sorted.
    perturbation
        (n,) position in `names`; ascending.
    context, batch
        (n,) positions in the contexts and batches of the vocabulary; -1 where missing.
    dose
        (n,) dose; NaN where there is none.
    """

    values: Matrix
    names: NDArray[np.str_]
    perturbation: Ints
    context: Ints
    batch: Ints
    dose: Floats

    def __len__(self) -> int:
        return len(self.perturbation)

    def dense(self, rows: Ints) -> NDArray[np.float32]:
        """Return the values of some cells as a dense array."""
        return densify(self.values[rows])

    def of(self, name: str) -> Ints:
        """Return the rows of a perturbation; none if it is not there."""
        code = self._position.get(name, -1)
        first, last = np.searchsorted(self.perturbation, [code, code + 1]) if code >= 0 else (0, 0)
        return np.arange(first, last)

    @cached_property
    def _position(self) -> dict[str, int]:
        return {str(name): i for i, name in enumerate(self.names)}

    def balanced(self, rows: Ints) -> Floats:
        """Return probabilities of `rows` with which every perturbation is drawn equally often."""
        code = self.perturbation[rows]
        weight = 1.0 / np.bincount(code)[code]
        return weight / weight.sum()

    def nearest_dose(self, rows: Ints, dose: float) -> Ints:
        """Return those of `rows` whose dose is nearest to `dose` in log10.

        All are returned where no dose is wanted, or none of them has a dose.
        """
        usable = rows[self.dose[rows] > 0]
        if not dose > 0 or not len(usable):
            return rows
        away = np.abs(np.log10(self.dose[usable]) - np.log10(dose))
        return usable[away <= away.min() + 1e-9]

    def arrays(self, prefix: str) -> dict[str, NDArray[Any]]:
        """Return plain arrays to save."""
        packed = {f"{prefix}_{name}": getattr(self, name) for name in CODES}
        if sparse.issparse(self.values):
            parts = ("data", "indices", "indptr")
            return packed | {f"{prefix}_{part}": getattr(self.values, part) for part in parts}
        return packed | {f"{prefix}_values": self.values}

    @classmethod
    def from_arrays(cls, stored: dict[str, NDArray[Any]], prefix: str, n_features: int) -> Pool:
        """Read what `arrays` returned."""
        packed = {name: stored[f"{prefix}_{name}"] for name in CODES}
        if f"{prefix}_values" in stored:
            return cls(values=stored[f"{prefix}_values"], **packed)
        parts = tuple(stored[f"{prefix}_{part}"] for part in ("data", "indices", "indptr"))
        return cls(
            values=sparse.csr_matrix(parts, shape=(len(packed["dose"]), n_features)), **packed
        )


def kept_rows(cells: Population, chosen: Bools, *, max_cells: int) -> Ints:
    """Return the rows of at most `max_cells` of the chosen cells of each condition.

    A condition is a perturbation, context and dose. The cells are picked at random with a fixed
    seed. They come condition by condition, and by name within one.
    """
    at = np.flatnonzero(chosen)
    at = at[np.argsort(cells.adata.obs_names.to_numpy()[at].astype(str), kind="stable")]
    code, _ = grouped(
        perturbation=cells.labels.code[at], context=cells.context[at], dose=cells.dose[at]
    )
    shuffled = np.random.default_rng(0).permutation(len(at))
    by_group = shuffled[np.argsort(code[shuffled], kind="stable")]
    rank = np.arange(len(at)) - np.searchsorted(code[by_group], code[by_group])
    kept = np.sort(by_group[rank < max_cells])
    return at[kept[np.argsort(code[kept], kind="stable")]]


def keep(cells: Population, chosen: Bools, vocabulary: Vocabulary, *, max_cells: int) -> Pool:
    """Return at most `max_cells` of the chosen cells of each perturbation, context and dose.

    Where there are more, they are picked at random, with a fixed seed.
    """
    at = kept_rows(cells, chosen, max_cells=max_cells)
    names, perturbation = np.unique(cells.labels.code[at], return_inverse=True)
    position = np.sort(at)
    block = cells.rows.take(position)[np.searchsorted(position, at)]
    every = [*cells.names, vocabulary.screen.control[0]]
    return Pool(
        values=block.astype(np.float32),
        names=np.array([every[i] for i in names], dtype=np.str_),
        perturbation=perturbation,
        context=recode(cells.context[at], cells.contexts, vocabulary.contexts),
        batch=recode(cells.batch[at], cells.batches, vocabulary.batches),
        dose=cells.dose[at],
    )
