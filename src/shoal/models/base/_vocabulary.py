"""The names that a model has learned: perturbations with vectors, contexts, batches, features."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from ..._logging import logger
from ..._validate import near, some
from ...core._gene_names import GeneNames
from ...core._screen import Screen
from ._context_vectors import ContextVectors
from ._embedding import ONE_HOT
from ._placement import Placement

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from ..._typing import Bools, Floats, Ints, Matrix

SHOWN = 6  # known names in a message, where none is spelled alike
GUESSES = 6  # unknown names for which names that are spelled alike are looked for


@dataclass(frozen=True)
class Vocabulary:
    """The names that a model knows, saved with it.

    Attributes
    ----------
    screen
        Columns and control labels.
    layer, use_rep
        Slot that the model reads; both ``None`` for ``X``.
    features
        Names of its columns: genes, or dimensions of the representation. Of images one text that
        says their slot and shape.
    cell_shape
        Shape of a cell: (number of features,), or (C, H, W) of images.
    perturbations
        (V,) single perturbations that have a vector.
    vectors
        (V, E) float32 vectors. One-hot vectors are a sparse identity matrix.
    trained
        Single perturbations that were in training, alone or in a combination.
    named
        Single perturbations that occur in the screen of training, alone or in a combination.
        Held-out ones are among them.
    embedding
        Name in ``uns["perturbation_embeddings"]``, or ``"one-hot"``.
    perturbed_contexts, perturbed_batches
        Names that a perturbed cell of training has; one empty name where the screen has no such
        column. A network has a vector for each of them.
    control_contexts, control_batches
        Names that control cells of training have, and no perturbed one. A network is told that they
        are unknown: it knows such a context by its control cells alone.
    doses
        Lowest and highest dose in training; empty if there was none.
    dose_centre, dose_scale
        Mean and standard deviation of log10 dose in training.
    nonnegative
        Whether no training value was below 0, so that predictions are not either. False for images,
        whose range is left to the network.
    transductive
        Whether the embedding has seen cells that are held out, as far as its record tells. All
        tables of scores say so.
    symbols
        Symbols of the genes, one per feature; empty where the features are named by their symbols.
    level
        (n_features,) mean of the first cells of training, by which values on another logarithm are
        noticed; empty for values of other kinds.
    context_vectors
        Vectors of contexts. A network is then told these instead of the names of contexts; ``None``
        if it is told names.
    sources, source_sizes
        Names and numbers of dimensions of the embeddings that `vectors` are joined of; empty if
        they are of one.
    conditions
        Conditions of training, as `core._remembered.packed` writes them; empty where the model is
        older.
    """

    screen: Screen
    layer: str | None
    use_rep: str | None
    features: tuple[str, ...]
    cell_shape: tuple[int, ...]
    perturbations: tuple[str, ...]
    vectors: Matrix
    trained: tuple[str, ...]
    named: tuple[str, ...]
    embedding: str
    perturbed_contexts: tuple[str, ...]
    control_contexts: tuple[str, ...]
    perturbed_batches: tuple[str, ...]
    control_batches: tuple[str, ...]
    doses: tuple[float, ...]
    dose_centre: float
    dose_scale: float
    nonnegative: bool
    transductive: bool
    symbols: tuple[str, ...] = ()
    level: Floats = field(default_factory=lambda: np.empty(0))
    context_vectors: ContextVectors | None = None
    sources: tuple[str, ...] = ()
    source_sizes: tuple[int, ...] = ()
    conditions: tuple[str, ...] = ()

    @cached_property
    def contexts(self) -> tuple[str, ...]:
        """Contexts seen in training; those of perturbed cells come first."""
        return self.perturbed_contexts + self.control_contexts

    @cached_property
    def batches(self) -> tuple[str, ...]:
        """Batches seen in training; those of perturbed cells come first."""
        return self.perturbed_batches + self.control_batches

    @property
    def in_genes(self) -> bool:
        """Whether the model reads and predicts genes."""
        return self.use_rep in (None, "X")

    @cached_property
    def genes(self) -> GeneNames:
        """What the features are called, if they are genes."""
        return GeneNames(self.features, self.symbols or self.features)

    @property
    def of_images(self) -> bool:
        """Whether a cell is an array, such as an image, and not a row of features."""
        return len(self.cell_shape) > 1

    @cached_property
    def scaled_vectors(self) -> Matrix:
        """(V, E) `vectors` for a network: scaled to a mean square of 1, one-hot as they are."""
        if self.embedding == ONE_HOT:
            return self.vectors
        size = float(np.sqrt((self.vectors.astype(np.float64) ** 2).mean()))
        return (self.vectors / size).astype(np.float32) if size > 0 else self.vectors

    @property
    def sizes_by_name(self) -> tuple[int, int]:
        """Numbers of contexts and of batches that a network knows by name; 0 where by none."""
        screen = self.screen
        named = screen.context_key is not None and self.context_vectors is None
        n_batches = 0 if screen.batch_key is None else len(self.perturbed_batches)
        return len(self.perturbed_contexts) if named else 0, n_batches

    @property
    def context_embedding(self) -> str:
        """Name of the vectors of contexts; empty for a model that is told their names."""
        return "" if self.context_vectors is None else self.context_vectors.name

    @cached_property
    def placement(self) -> Placement | None:
        """Where vectors of contexts lie among those of training; ``None`` without vectors."""
        if self.context_vectors is None:
            return None
        return Placement.of(self.context_vectors.of(self.perturbed_contexts))

    @property
    def n_context_vector(self) -> int:
        """Length of what a network is told of a context; 0 if it is told no vector."""
        return 0 if self.placement is None else self.placement.n

    def placed(self, contexts: Sequence[str]) -> Floats | None:
        """Return what a network is told of contexts; ``None`` if it is told their names.

        Returns
        -------
        (n + 1, k + 1) float32 coordinates of n contexts, and 1 if there is a vector. The last row,
        all 0, stands for an unknown context.
        """
        if self.placement is None or self.context_vectors is None:
            return None
        vectors = self.context_vectors.of(contexts)
        there = np.isfinite(vectors).all(axis=1)
        table = np.zeros((len(contexts) + 1, self.placement.n + 1), dtype=np.float32)
        table[:-1][there, :-1] = self.placement(vectors[there])
        table[:-1, -1] = there
        return table

    def contexts_without_vector(self, contexts: Iterable[str]) -> dict[str, str]:
        """Return those of some contexts that lack a vector, and why they cannot be predicted.

        A model that is told names of contexts lacks none.
        """
        if self.context_vectors is None:
            return {}
        why = (
            f"has no vector in the context embedding {self.context_vectors.name!r}: give it with "
            "model.add_contexts(table), as sh.pp.embed_contexts(new, like=adata) makes it"
        )
        return dict.fromkeys(self.context_vectors.without(contexts), why)

    @cached_property
    def position(self) -> Mapping[str, int]:
        """Row of `vectors` of every single perturbation."""
        return {name: i for i, name in enumerate(self.perturbations)}

    @cached_property
    def _trained(self) -> frozenset[str]:
        return frozenset(self.trained)

    @cached_property
    def known(self) -> frozenset[str]:
        """Single perturbations that the model was told of: by its screen, or by its embedding."""
        return frozenset(self.named) | frozenset(self.perturbations)

    def parts(self, names: Sequence[str]) -> Ints:
        """Return the rows of `vectors` of the parts of perturbations.

        Parameters
        ----------
        names
            n perturbations, of at most P parts.

        Returns
        -------
        (n, P) rows; -1 where a perturbation has fewer than P parts.

        Raises
        ------
        KeyError
            If a part has no vector; the message lists all of them.
        """
        unknown = self.without_vector(names)
        if unknown:
            raise KeyError(self._no_vector(unknown))
        several = [self.screen.parts(name) for name in names]
        table = np.full(
            (len(names), max((len(p) for p in several), default=1) or 1), -1, dtype=np.int64
        )
        for row, parts in zip(table, several, strict=True):
            row[: len(parts)] = [self.position[part] for part in parts]
        return table

    def incidence(self, names: Sequence[str]) -> sparse.csr_matrix:
        """Return (n, V) 1 where a single perturbation is a part of a perturbation, else 0.

        Raises
        ------
        KeyError
            If a part has no vector; the message lists all of them.
        """
        parts = self.parts(names)
        there = parts >= 0
        ends = np.concatenate([[0], np.cumsum(there.sum(axis=1))])
        values = (np.ones(int(ends[-1])), parts[there], ends)
        return sparse.csr_matrix(values, shape=(len(parts), len(self.perturbations)))

    def familiar(self, names: Sequence[str]) -> Bools:
        """Return (n,) whether every part of each perturbation was in training."""
        return np.array([self._trained.issuperset(self.screen.parts(n)) for n in names], dtype=bool)

    def without_vector(self, names: Iterable[str]) -> list[str]:
        """Return the single perturbations among `names` without a vector, sorted."""
        parts = {part for name in names for part in self.screen.parts(name)}
        return sorted(part for part in parts if part not in self.position)

    def reasons_without_vector(self, names: Iterable[str]) -> dict[str, str]:
        """Return those of some perturbations that have a part without a vector, and why."""
        lacking = {name: self.without_vector([name]) for name in names}
        return {name: self._of_parts(name, own, self._why) for name, own in lacking.items() if own}

    def unheard_of(self, names: Iterable[str], also: Collection[str] = ()) -> dict[str, str]:
        """Return those of some perturbations that the model was never told of, and what is near.

        Parameters
        ----------
        names
            Perturbations.
        also
            Perturbations of another screen that is predicted, which tells of them too.
        """
        known = self.known | {part for name in also for part in self.screen.parts(name)}
        lacking = {
            name: [part for part in self.screen.parts(name) if part not in known] for name in names
        }
        reasons: dict[str, str] = {}
        shown = sorted(known)[:SHOWN] if any(lacking.values()) else []
        for name, own in lacking.items():
            if own:
                few = known if len(reasons) < GUESSES else ()
                close = dict.fromkeys(guess for part in own for guess in near(part, few))
                why = (
                    "did not occur in the screen that the model was fitted on, nor in its "
                    f"embedding, which name {len(known)} perturbations; "
                    f"{'near are' if close else 'some are'} "
                    + ", ".join(map(repr, close or shown))
                    + " (one that nobody has run needs a vector in embedding=, see sh.pp.embed)"
                )
                reasons[name] = self._of_parts(name, own, why)
        return reasons

    @staticmethod
    def _of_parts(name: str, parts: Sequence[str], why: str) -> str:
        """Return why a perturbation cannot be predicted, given what is wrong with its parts."""
        alone = list(parts) == [name]
        return why if alone else f"holds {', '.join(map(repr, parts))}, which {why}"

    def tell_unknown(self, names: Iterable[str]) -> None:
        """Log which perturbations of a screen the model cannot predict."""
        unknown = self.without_vector(names)
        if unknown:
            logger.warning(
                "%d perturbations have no vector (%s) and cannot be predicted: %s",
                len(unknown),
                self.embedding,
                some(unknown, 8),
            )

    def standard_dose(self, dose: Floats) -> Floats:
        """Return standardised log10 doses; NaN where a dose is missing or not above 0."""
        log = np.full(len(dose), np.nan)
        np.log10(dose, where=dose > 0, out=log)
        return (log - self.dose_centre) / self.dose_scale

    def _no_vector(self, unknown: list[str]) -> str:
        return f"{some(unknown)} {self._why}"

    @property
    def _why(self) -> str:
        """Why a perturbation without a vector cannot be predicted, and what to do."""
        if self.embedding == ONE_HOT:
            return (
                "did not occur in training, and one-hot vectors say nothing about what did not: "
                "embed the perturbations with sh.pp.embed(adata, method=...) and train with "
                "embedding=, so that similar ones are told apart"
            )
        return (
            f"got no vector in the embedding {self.embedding!r}: add it with "
            "sh.pp.embed(adata, ..., names=[...]) before training"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return tuples, texts and numbers, and `vectors` as an array."""
        entry = {field.name: getattr(self, field.name) for field in fields(self)}
        placed = None if self.context_vectors is None else asdict(self.context_vectors)
        return {**entry, "screen": asdict(self.screen), "context_vectors": placed}

    @classmethod
    def from_dict(cls, entry: dict[str, Any]) -> Vocabulary:
        """Read what `to_dict` returned."""
        placed = entry.get("context_vectors")
        vectors = None if placed is None else ContextVectors(**placed)
        return cls(**{**entry, "screen": Screen(**entry["screen"]), "context_vectors": vectors})
