"""The members of an ensemble: which there are by default, how one is trained, what it adds."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any
from zlib import crc32

import numpy as np

from ..._validate import one_of
from ..base._fitting import SETUP, check_made, check_tried, fit_baseline, fit_on
from ..base._registry import kind_of, model_class, names, registered, takes_context_vectors
from ._rules import LAST, RULES

if TYPE_CHECKING:
    import pandas as pd

    from ...core._population import Population
    from ..base._vocabulary import Vocabulary

ROWS = ("mean_shift", "own_shift", "matching_mean", "additive", "quantile_shift")
CONTEXT_ROWS = ("nearest_context", "context_weighted", "cell_knn_shift", "scaled_sources")
VECTORS = "context_embedding"
VECTOR_ROWS = ("latent_linear", "kernel_ridge", "nearest")
PRESETS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"fast": (), "networks": ("flow", "perturbdiff")}
)
"""Preset -> networks that are members beside the baselines."""
OF_ALL = (*SETUP, "rng", "checkpoint_dir", "resume")  # options of the ensemble alone
CARRIERS = ("quantile_shift", "cell_knn_shift", "scaled_sources")
"""Baselines that move cells of a population by different amounts."""


@dataclass(frozen=True)
class Member:
    """A model that is trained on inner folds.

    Attributes
    ----------
    name
        What it is called: its name in the registry.
    options
        Arguments of :func:`shoal.tl.fit`.
    model
        Its class, if it is not in the registry.
    """

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    model: str | type | None = None

    @property
    def is_network(self) -> bool:
        """Whether it is a network, or a class of a user's that is no baseline."""
        return kind_of(self.model or self.name) != "baseline"

    @property
    def carries(self) -> bool:
        """Whether it changes more than means, so that its cells may carry a mean response."""
        return self.is_network or self.name in CARRIERS

    def check(self, cells: Population) -> None:
        """Raise unless the model knows its options and their values, before any work is done.

        Whether it can do with the screen is found out by training it.

        Raises
        ------
        ImportError
            If it is a network and the libraries of the extra ``models`` are not installed.
        TypeError
            If there is no such option; the message lists those that there are.
        ValueError
            If an option is one of the ensemble, or its value makes no sense.
        """
        cls = model_class(self.name)
        shared = [name for name in OF_ALL if name in self.options]
        if shared:
            msg = (
                f"{shared[0]!r} is no option of the member {self.name!r}: all members share that "
                f"of the ensemble, sh.tl.fit(adata, 'auto', {shared[0]}=...)"
            )
            raise ValueError(msg)
        check_tried(cls, self.options)
        if self.options and not self.is_network and not registered(self.name):
            check_made(cells, cls, self.options)

    def fit(self, cells: Population, *, embedding: str | pd.DataFrame | None, seed: int) -> Any:
        """Return the model, trained on the training cells of a population."""
        if self.model is None and set(self.options) <= {VECTORS} and not self.is_network:
            return fit_baseline(cells, self.name, embedding=embedding, rng=seed, **self.options)
        model = self.model or self.name
        takes = inspect.signature(model_class(model)).parameters
        given = {"embedding": embedding} if embedding is not None and "embedding" in takes else {}
        return fit_on(cells, model, rng=seed, **{**given, **self.options})


def read_members(
    given: Any,
    cells: Population,
    vocabulary: Vocabulary,
    *,
    embedding: Any,
    context_embedding: Any = None,
    preset: str,
) -> list[Member]:
    """Return the members of an ensemble; the rows that answer by rule are always among them.

    Parameters
    ----------
    given
        Names, or a mapping from names to arguments of :func:`shoal.tl.fit`; ``None`` for what the
        screen and the preset call for.
    cells, vocabulary
        The screen, and the names of training.
    embedding, context_embedding
        Vectors of the perturbations and of the contexts, if there are any.
    preset
        Name of a preset.

    Raises
    ------
    ImportError
        If one is a network and the libraries of the extra ``models`` are not installed.
    TypeError
        If `given` is something else, the options of a member are no mapping, or it does not know
        one of them.
    ValueError
        If a name is not known or comes twice, or is that of an ensemble, or an option makes no
        sense.
    """
    one_of(preset, tuple(PRESETS), name="preset")
    if given is None:
        wanted = dict.fromkeys(_called_for(cells, vocabulary, embedding=embedding, preset=preset))
    elif isinstance(given, Mapping):
        wanted = dict(given)
    elif isinstance(given, str) or not isinstance(given, (list, tuple)):
        msg = (
            "members must be a list of names, as in members=['own_shift', 'flow'], or a mapping "
            f"from names to arguments of sh.tl.fit, not {given!r}"
        )
        raise TypeError(msg)
    else:
        wanted = dict.fromkeys(given)
        if len(wanted) < len(given):
            msg = f"members={list(given)!r} names one model twice"
            raise ValueError(msg)
    choices = [name for name in names() if kind_of(name) != "ensemble"]
    for name, options in wanted.items():
        one_of(name, choices, name="members")
        if not isinstance(options, (Mapping, type(None))):
            msg = (
                f"the options of the member {name!r} must be a mapping, such as "
                f"{{'max_steps': 500}}, not {options!r}"
            )
            raise TypeError(msg)
    rules = dict.fromkeys([LAST, *(name for several in RULES.values() for name in several)])
    if cells.screen.context_key is None:
        rules = {name: None for name in rules if name not in CONTEXT_ROWS}
    asked = {name: dict(own or {}) for name, own in {**rules, **wanted}.items()}
    for name, own in asked.items():
        Member(name, own).check(cells)
    if context_embedding is not None:
        for name in filter(takes_context_vectors, asked):
            asked[name].setdefault(VECTORS, context_embedding)
    return [Member(name, own) for name, own in asked.items()]


def _called_for(
    cells: Population, vocabulary: Vocabulary, *, embedding: Any, preset: str
) -> list[str]:
    """Return the names of the members that a screen calls for."""
    rows = list(ROWS)
    if cells.screen.context_key is not None and len(cells.contexts) > 1:
        rows += CONTEXT_ROWS
    if embedding is not None:
        rows += VECTOR_ROWS
    elif vocabulary.in_genes and sum(name in vocabulary.genes for name in vocabulary.trained) > 1:
        rows += VECTOR_ROWS[:1]  # which knows a perturbation by its gene
    return [*rows, *PRESETS[preset]]


def seed_of(name: str, seed: int, *more: int) -> int:
    """Return the seed of a member, which does not depend on what other members there are."""
    own = np.random.default_rng([seed, crc32(name.encode()), *more])
    return int(own.integers(2**31))
