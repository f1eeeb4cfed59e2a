"""Several models trained with one call, each with the arguments that it takes."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from .._logging import logger
from .._validate import some
from ..evaluation._models import Model, read_inner, read_models
from ..models.base._registry import model_class, takes_context_vectors

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

MADE_WITH = ("preset", "embedding", "context_embedding")  # arguments of a constructor


def fit_several(
    models: Any,
    fit_one: Callable[..., Any],
    given: Mapping[str, Any],
    *,
    inner: int | None,
) -> dict[str, Any]:
    """Return trained models by their labels.

    Parameters
    ----------
    models
        List of models, as :func:`shoal.tl.benchmark` takes it.
    fit_one
        Trains one: called with the model, its set of options ``tune``, and its arguments.
    given
        Arguments for all of them. One that a model does not take is left out for it, and it is
        said.
    inner
        Inner folds for those of which settings are chosen.

    Raises
    ------
    TypeError
        If no model takes an argument, or `models` is no list of models.
    ValueError
        If a model is not known, or two have the same label.
    """
    several = read_models(models)
    read_inner(inner, (one for one in several if isinstance(one, Model)))
    files = [one.label for one in several if not isinstance(one, Model)]
    if files:
        msg = f"{some(files)}: files of predictions are not trained; sh.tl.benchmark takes them"
        raise ValueError(msg)
    wanted = {name: value for name, value in given.items() if value is not None}
    takes = {
        one.label: {name for name in wanted if _takes(one.model, name)}
        for one in several
        if isinstance(one, Model)
    }
    for name in wanted:
        lacking = [label for label, own in takes.items() if name not in own]
        if len(lacking) == len(several):
            msg = f"none of the models takes {name}=: {some(lacking)}"
            raise TypeError(msg)
        if lacking:
            logger.info("%s= is left out for %s: they do not take it", name, some(lacking))
    found = {}
    for one in several:
        if isinstance(one, Model):
            own = {name: wanted[name] for name in wanted if name in takes[one.label]}
            found[one.label] = fit_one(one.model, tune=one.tune, **{**own, **one.options})
    return found


def _takes(model: str | type, name: str) -> bool:
    """Return whether a model takes an argument."""
    cls = model_class(model)
    if name == "context_embedding":
        return takes_context_vectors(model)
    call = cls if name in MADE_WITH else cls.train
    found = inspect.signature(call).parameters
    if name in MADE_WITH:  # what a constructor takes besides are settings of a network
        return name in found
    return name in found or any(p.kind is p.VAR_KEYWORD for p in found.values())
