"""The settings of a model, chosen within training."""

from __future__ import annotations

from inspect import signature
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .._keys import SPLIT
from .._random import RNGLike, as_generator
from ..core._inner_folds import inner_folds
from ..core._population import SPLITS, population
from ..core._screen import resolve
from ..core._shallow import shallow
from ..models.base._fitting import SETUP, check_tried, fit_model
from ..models.base._registry import model_class
from ._choice import Choice, best, check_inner, measured
from ._choice_notices import tell, tell_of_embedding
from ._grid import in_words, merged, read_grid
from ._inner_error import InnerError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anndata import AnnData

OF_THE_LAST = ("checkpoint_dir", "resume", "logger", "callbacks")  # of the last training alone


def tuned(
    adata: AnnData,
    model: str | type,
    tune: Any,
    *,
    options: Mapping[str, Any],
    inner: int | None = None,
    rng: RNGLike = 0,
) -> Choice:
    """Choose the options of a model on inner folds of the training cells.

    Every set of options is trained on each fold, and predicts the conditions that the fold leaves
    out. Test cells are on no side.

    Parameters
    ----------
    adata
        Screen with a split of :func:`shoal.pp.split`; it is not changed.
    model
        Name or class.
    tune
        What is tried, as `read_grid` takes it.
    options
        Arguments of ``fit_model`` that all sets share.
    inner
        Number of folds; 3 if ``None``, or as many as there are units.
    rng
        Seed or generator of folds, trainings and predictions; the same for every set.

    Raises
    ------
    TypeError, ValueError
        If the sets make no sense, a set has an option that the model does not know, there are too
        few conditions for the folds, or no set could be trained and predict.
    """
    check_inner(inner)
    sets = read_grid(tune)
    several = [merged(options, one) for one in sets]
    for one in several:
        check_tried(model, one)
    seed = int(as_generator(rng).integers(2**31))
    given = {name: options[name] for name in SETUP if options.get(name) is not None}
    screen = resolve(adata, given.get("perturbation_key"), control=given.get("control"), tell=False)
    cells = population(
        adata, screen, layer=given.get("layer"), use_rep=given.get("use_rep"), images=True
    )
    folds = inner_folds(cells, inner, seed=seed)
    named = [one.get("embedding") for one in several]
    for name in dict.fromkeys(name for name in named if isinstance(name, str)):
        tell_of_embedding(adata, name)
    measure = InnerError(cells, folds, seed=seed)
    work, sides = shallow(adata), np.array([*SPLITS, None], dtype=object)
    takes_bar = "enable_progress_bar" in signature(model_class(model).train).parameters
    silent = {"enable_progress_bar": False} if takes_bar else {}

    def fit(number: int, fold: int) -> Any:
        work.obs[SPLIT] = pd.Categorical(sides[folds[fold]], categories=list(SPLITS))
        own = {k: v for k, v in several[number].items() if k not in OF_THE_LAST}
        return fit_model(work, model, rng=seed, **own | silent)

    called = model if isinstance(model, str) else model_class(model).__name__
    table = measured(measure, in_words(sets), fit, desc=f"tuning {called}")
    number = best(table, f"no set of options in tune= could be used with {called}")
    tell(table, f"{called}: of {len(sets)} sets of options", len(folds))
    return Choice(str(table.index[number]), several[number], table)
