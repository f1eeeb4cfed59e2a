"""Contenders of a benchmark: models with their settings, and files with predictions."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from .._contenders import CONTROLS
from .._validate import one_of, whole
from ..models.base._fitting import check_tried
from ..models.base._registry import kind_of, model_class, registered
from ._grid import merged, read_grid
from ._prediction_file import EXAMPLE as EXAMPLE_OF_FILE
from ._prediction_file import PredictionFile, checked_path

NAME = re.compile(r"\w(?:[\w .,+=()-]*[\w)])?")
EXAMPLE = "models: [mean_shift, {name: flow, label: flow 500, options: {max_steps: 500}}]"


@dataclass(frozen=True)
class Model:
    """A model and its settings.

    Attributes
    ----------
    label
        Its name on the leaderboard.
    model
        Its name in `shoal.models.available`, or its class.
    options
        Arguments of :func:`shoal.tl.fit`.
    predict
        Arguments of the sampler.
    tune
        Sets of options of which one is chosen within training, as `shoal.tl.fit` takes them;
        ``None`` if nothing is chosen.
    """

    label: str
    model: str | type
    options: Mapping[str, Any] = field(default_factory=dict)
    predict: Mapping[str, Any] = field(default_factory=dict)
    tune: Any = None

    @property
    def kind(self) -> str:
        """``"baseline"`` or ``"model"``."""
        return "baseline" if kind_of(self.model) == "baseline" else "model"


Contender = Model | PredictionFile


def read_models(models: Any) -> tuple[Contender, ...]:
    """Return checked models and files of predictions.

    Parameters
    ----------
    models
        List of names, classes, or mappings with ``name``, ``label``, ``options``, ``predict`` and
        ``tune``; for a prediction of another program, mappings with ``contender`` and ``label``.

    Raises
    ------
    TypeError
        If it is no list, or a member is of another kind.
    ValueError
        If a model is not known, or two have the same label.
    """
    if isinstance(models, (str, type, Mapping)) or not isinstance(models, Sequence) or not models:
        msg = f"models must be a list with at least one model, as in {EXAMPLE}; not {models!r}"
        raise TypeError(msg)
    several = tuple(_model(entry) for entry in models)
    labels = [model.label for model in several]
    twice = sorted({label for label in labels if labels.count(label) > 1})
    if twice:
        msg = (
            f"several models are called {', '.join(map(repr, twice))}; give each a label, as in "
            f"{EXAMPLE}"
        )
        raise ValueError(msg)
    return several


def read_seeds(seeds: Any) -> tuple[int, ...]:
    """Return checked seeds, from one integer or several.

    Raises
    ------
    ValueError
        If they are not different integers from 0 on.
    """
    given = seeds.tolist() if isinstance(seeds, (np.ndarray, np.generic)) else seeds
    several = list(given) if isinstance(given, Iterable) else [given]
    if (
        not several
        or not all(type(s) is int and s >= 0 for s in several)
        or len(set(several)) < len(several)
    ):
        msg = f"seeds must be different integers from 0 on, such as [0, 1, 2], not {seeds!r}"
        raise ValueError(msg)
    return tuple(several)


def _model(entry: Any) -> Contender:
    if isinstance(entry, Mapping) and "contender" in entry:
        return _prediction_file(entry)
    if isinstance(entry, (str, type)):
        entry = {"name": entry}
    entry = known_keys(entry, ("name", "label", "options", "predict", "tune"), where="a model")
    if "name" not in entry:
        msg = (
            f"a model lacks 'name': {entry!r}; write it as in {EXAMPLE}, and a prediction of "
            f"another program as in {EXAMPLE_OF_FILE}"
        )
        raise ValueError(msg)
    cls = model_class(entry["name"])
    model = cls if registered(entry["name"]) else entry["name"]  # other processes know no such name
    called = entry["name"] if isinstance(entry["name"], str) else entry["name"].__name__
    label = _label(entry.get("label", called))
    further = {
        key: known_keys(entry.get(key) or {}, None, where=f"model {label!r}: {key}")
        for key in ("options", "predict")
    }
    tune = entry.get("tune")
    if tune is not None:
        _check_tune(label, entry["name"], tune, further["options"])
    return Model(label, model, **further, tune=tune)


def _prediction_file(entry: Mapping[str, Any]) -> PredictionFile:
    entry = known_keys(entry, ("contender", "label"), where="a contender")
    given = known_keys(
        entry["contender"], ("file",), where=f"contender, as in {EXAMPLE_OF_FILE}, with its file,"
    )
    where = f"contender {entry.get('label', '')!r}" if "label" in entry else "contender"
    if "file" not in given:
        msg = f"{where} lacks 'file': {dict(entry)!r}; write it as in {EXAMPLE_OF_FILE}"
        raise ValueError(msg)
    file = checked_path(given["file"], where)
    if "label" not in entry and "{" in file:
        msg = f"{where} lacks 'label': {file!r} is no name; write it as in {EXAMPLE_OF_FILE}"
        raise ValueError(msg)
    return PredictionFile(_label(entry.get("label", Path(file).stem)), file)


def _label(label: Any) -> str:
    """Return the name of a contender, if no control of a leaderboard has it."""
    label = checked_name(label, "models")
    if label in CONTROLS:
        msg = (
            f"a model cannot be called {label!r}: every leaderboard has a row of that name; choose "
            "another label"
        )
        raise ValueError(msg)
    return label


def _check_tune(label: str, model: str | type, tune: Any, options: Mapping[str, Any]) -> None:
    """Raise what is wrong with the sets of options of a model, before any work is done."""
    try:
        for one in read_grid(tune):
            check_tried(model, merged(options, one))
    except (TypeError, ValueError) as err:
        msg = f"model {label!r}: {err}"
        raise type(err)(msg) from err


def read_inner(inner: int | None, models: Iterable[Contender]) -> int | None:
    """Return the checked number of inner folds; ``None`` if it is not said.

    Raises
    ------
    TypeError, ValueError
        If it is no whole number from 1 on, or there is nothing to choose.
    """
    if inner is None:
        return None
    inner = whole(inner, name="inner")
    if all(model.tune is None for model in models):
        msg = (
            f"inner={inner} folds are for choices, and no model has any: give one sets of options, "
            'as in {"name": "flow", "tune": {"lr": [1e-3, 3e-4]}}, or leave out inner='
        )
        raise ValueError(msg)
    return inner


def checked_name(name: Any, where: str) -> str:
    """Return a name if it can be part of the name of a file, else raise ``ValueError``."""
    if not isinstance(name, str) or not NAME.fullmatch(name) or "__" in name:
        msg = (
            f"{where}: {name!r} is no name; use letters, digits, spaces and . , + = - ( ), without "
            "a double underscore"
        )
        raise ValueError(msg)
    return name


def known_keys(entry: Any, known: Sequence[str] | None, *, where: str) -> dict[str, Any]:
    """Return a part of a spec as a dict.

    Parameters
    ----------
    entry
        The part.
    known
        Keys that it may have; ``None`` for any.
    where
        What it is called in messages.

    Raises
    ------
    TypeError
        If it is no mapping.
    ValueError
        If a key is not known.
    """
    if not isinstance(entry, Mapping):
        msg = f"{where} must be a mapping from keys to values, not {entry!r}"
        raise TypeError(msg)
    for key in entry:
        if known is not None:
            one_of(key, known, name=f"{where}: key")
    return dict(entry)
