"""The one list of models: names, what they need, and where their classes are.

Each folder of a model registers its classes in its ``__init__.py``, as text. A class is
imported when it is asked for, so that the list costs nothing and needs no torch.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal

import pandas as pd

from ..._validate import one_of

Kind = Literal["baseline", "ensemble", "network"]
NEEDS = ("embedding", "contexts", "doses", "counts", "images")
COLUMNS = ("kind", "needs", "description", "unseen")


@dataclass(frozen=True)
class ModelEntry:
    """What shoal knows of a model before its class is imported.

    Attributes
    ----------
    name
        Name of the model in ``tl.fit``, ``tl.evaluate`` and benchmarks.
    kind
        ``"baseline"`` for a model in numpy, ``"network"`` for one in torch, ``"ensemble"`` for one
        that asks others.
    needs
        What the model reads beside perturbation labels and log-normalised values. It runs
        without the first three, and then knows less; it does not run without the others. Baselines
        that compare contexts refuse a screen without them.

        - ``"embedding"``: vectors of the perturbations, the argument `embedding` of ``tl.fit``.
        - ``"contexts"``: a column of contexts. Predictions then differ between contexts.
        - ``"doses"``: a column of doses. Predictions then differ between doses.
        - ``"counts"``: counts of molecules.
        - ``"images"``: images of cells.
    description
        One line: what a generated cell is.
    unseen
        What a perturbation gets that was not in training.
    class_name, module
        Name of the class, and the module that it is imported from.
    config_name
        Name of the class of its settings, in the file ``_config.py`` beside `module`.
    """

    name: str
    kind: Kind
    needs: tuple[str, ...]
    description: str
    class_name: str
    module: str
    unseen: str = ""
    config_name: str | None = None

    @property
    def exports(self) -> dict[str, str]:
        """Public names of the model, each with the module that it is imported from."""
        config = f"{self.module.rpartition('.')[0]}._config"
        return {self.class_name: self.module} | (
            {} if self.config_name is None else {self.config_name: config}
        )


_ENTRIES: dict[str, ModelEntry] = {}
_CLASSES: dict[str | type, type] = {}  # of the models that users have registered, by name


def enter(*entries: ModelEntry) -> None:
    """Add models of shoal to the list; a folder calls it in its ``__init__.py``."""
    for entry in entries:
        _ENTRIES[entry.name] = entry


def enter_class(entry: ModelEntry, cls: type, *, overwrite: bool) -> None:
    """Add a class of a user's to the list.

    Raises
    ------
    ValueError
        If the name belongs to another class and `overwrite` is not set. A class that was defined
        again, of the same name in the same module, is not another class.
    """
    before = _ENTRIES.get(entry.name, entry)
    same = (before.module, before.class_name) == (entry.module, entry.class_name)
    if not (same or overwrite):
        msg = (
            f"the name {entry.name!r} is taken by {before.class_name}; choose another one, or "
            "pass overwrite=True to replace that model"
        )
        raise ValueError(msg)
    _ENTRIES[entry.name], _CLASSES[entry.name] = entry, cls


def entries() -> tuple[ModelEntry, ...]:
    """Return all entries, baselines first, by name within each kind."""
    return tuple(sorted(_ENTRIES.values(), key=lambda entry: (entry.kind, entry.name)))


def names(kind: str | None = None, *, images: bool = True) -> list[str]:
    """Return the names of all models, or of those of one kind.

    Parameters
    ----------
    kind
        ``"baseline"`` or ``"network"``; both if ``None``.
    images
        Whether models of images are among them, which take nothing else.
    """
    chosen = (entry for entry in entries() if kind in (None, entry.kind))
    return [entry.name for entry in chosen if images or "images" not in entry.needs]


def available() -> pd.DataFrame:
    """Return the models that ``tl.fit`` knows by name, baselines first.

    Returns
    -------
    DataFrame
        One row per model; the index ``name`` is what ``tl.fit`` takes.

        ``kind``
            ``"baseline"`` (numpy), ``"network"`` (torch) or ``"ensemble"`` (of others).
        ``needs``
            What the model reads beside perturbation labels and log-normalised values, separated
            by commas. Of ``embedding`` (vectors of the perturbations), ``contexts`` and ``doses``
            it makes use where they are there; ``counts`` and ``images`` it cannot do without.
        ``description``
            What a generated cell is.
        ``unseen``
            What a perturbation gets that was not in training.

    Examples
    --------
    >>> import shoal as sh
    >>> sh.models.available().loc["mean_shift", "kind"]
    'baseline'
    """
    rows = [
        (entry.kind, ", ".join(entry.needs), entry.description, entry.unseen) for entry in entries()
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS), index=pd.Index(names(), name="name"))


def model_class(model: str | type) -> Any:
    """Return the class that a name means; a class is returned as it is.

    Raises
    ------
    ValueError
        If no model has that name.
    TypeError
        If `model` is neither a name nor a class with ``setup_anndata`` and ``train``.
    ImportError
        If a network is asked for and the libraries of the extra ``models`` are not installed.
    """
    if not isinstance(model, str):
        return check_class(model)
    one_of(model, names(), name="model")
    return _CLASSES[model] if model in _CLASSES else imported(_ENTRIES[model])


def imported(entry: ModelEntry, name: str | None = None) -> Any:
    """Import one of the public names of a model of shoal: by default its class.

    Raises
    ------
    ImportError
        If it is a network and the libraries of the extra ``models`` are not installed.
    """
    name = entry.class_name if name is None else name
    if entry.kind == "network":
        require_networks()
    return getattr(import_module(entry.exports[name]), name)


def kind_of(model: str | type) -> Kind:
    """Return the kind of the model of a name, or of a class."""
    if isinstance(model, str):
        return _ENTRIES[model].kind
    own = getattr(model, "kind", "")
    return own if own in ("baseline", "ensemble") else "network"


def takes_context_vectors(model: str | type) -> bool:
    """Return whether a model takes ``context_embedding=``."""
    cls = model_class(model)
    named = "context_embedding" in inspect.signature(cls).parameters
    return named and bool(getattr(cls, "takes_context_vectors", True))


def registered(model: str | type) -> bool:
    """Whether this is the name of a class that a user has registered."""
    return model in _CLASSES


def name_of(model: type) -> str | None:
    """Return the name of a class, or ``None`` if it has none."""
    place = (model.__module__, model.__name__)
    found = [e.name for e in _ENTRIES.values() if (e.module, e.class_name) == place]
    return found[0] if found else None


def class_of_saved(name: str | None, class_name: str) -> Any:
    """Return the class of a saved model, by the name and the class name that its file holds.

    Raises
    ------
    ValueError
        If no registered class has that class name.
    """
    same = [entry.name for entry in entries() if entry.class_name == class_name]
    if not same:
        msg = (
            f"the saved model is of the class {class_name}, which is not registered: import the "
            f"class, call sh.models.register({name or class_name.lower()!r}, {class_name}) and "
            f"load again, or call {class_name}.load(folder)"
        )
        raise ValueError(msg)
    return model_class(name if name in same else same[0])


def require_networks() -> None:
    """Raise ``ImportError`` unless the libraries that networks need are there."""
    from ..._compat import require

    for module in ("torch", "lightning", "scvi"):
        require(module, extra="models")


def check_class(model: Any) -> Any:
    """Return a class that can be a model, or raise ``TypeError``."""
    fits = hasattr(model, "setup_anndata") and hasattr(model, "train")
    if not (isinstance(model, type) and fits):
        msg = (
            f"model must be one of {', '.join(names())}, or a class with setup_anndata and train; "
            f"not {model!r}"
        )
        raise TypeError(msg)
    return model
