"""What networks offer of the methods of scvi-tools, and what they say instead of the others."""

from __future__ import annotations

from functools import wraps
from importlib import import_module
from math import ceil
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

NOT_OFFERED: Mapping[str, str] = MappingProxyType(
    {
        "convert_legacy_save": "sh.models.load(folder) reads what model.save(folder) wrote",
        "differential_abundance": "predicted cells are compared by sh.tl.evaluate",
        "get_normalized_expression": "model.predict(perturbations) returns cells",
        "get_normalized_function_name": "model.predict(perturbations) returns cells",
        "load_registry": "sh.models.load(folder) reads a saved model",
        "setup_annbatch": "setup_anndata takes matrices on disk, backed or dask, as they are",
        "test_indices": "obs['split'] says which cells are for the test",
        "train_indices": "model.trained_cells says which cells it was trained on",
        "update_setup_method_args": "call setup_anndata again",
        "validation_indices": "obs['split'] says which cells are for validation",
        "view_registry": "model.view_anndata_setup() shows how it was set up",
        "view_setup_args": "sh.models.load(folder, adata).view_anndata_setup() shows them",
    }
)
"""Method of scvi-tools that has no meaning here -> what to call instead."""

NEED_CELLS = (
    "data_registry",
    "deregister_manager",
    "get_from_registry",
    "get_state_registry",
    "get_var_names",
    "transfer_fields",
    "view_anndata_setup",
    "view_setup_method_args",
)
"""Methods of scvi-tools that read the AnnData with which a model was made or loaded."""

SHOWS_WITH = ("rich.console", "rich.pretty", "rich.table")

IN_STEPS: Mapping[str, str] = MappingProxyType(
    {
        "batch_size": "a step takes batch_conditions sets of set_size cells: pass these",
        "check_val_every_n_epoch": "pass val_every=, a number of steps",
        "early_stopping": "conditions of obs['split'] == 'val' decide when to stop: pass patience=",
        "plan_kwargs": "pass lr=, weight_decay= and others by their names",
        "train_size": "sh.pp.split(adata, test=..., val=...) divides conditions",
        "use_gpu": "pass accelerator= and devices=",
        "validation_size": "sh.pp.split(adata, test=..., val=...) divides conditions",
    }
)
"""Argument of ``train`` in scvi-tools -> what there is instead, beside ``max_epochs``."""


class NotOffered:
    """An attribute of a base class that a model does not offer.

    Parameters
    ----------
    name
        Name of the attribute.
    instead
        What to call instead.
    """

    def __init__(self, name: str, instead: str) -> None:
        self.name, self.instead = name, instead

    def __get__(self, model: Any, owner: type) -> Any:
        msg = f"{owner.__name__} has no {self.name!r}, a method of scvi-tools: {self.instead}"
        raise AttributeError(msg)


def narrowed(base: type) -> type:
    """Return a base class of scvi-tools without the methods that cannot work here.

    Parameters
    ----------
    base
        The class, which the caller imports.
    """
    offered = {name: _with_cells(getattr(base, name)) for name in NEED_CELLS}
    hidden = {name: NotOffered(name, instead) for name, instead in NOT_OFFERED.items()}
    return type(base)("ScviFace", (base,), {**offered, **hidden, "__dir__": _dir, "device": device})


@property
def device(model: Any) -> Any:
    """Where the network is."""
    return next(model.module.parameters()).device


def _dir(model: Any) -> Iterable[str]:
    return sorted(set(object.__dir__(model)) - set(NOT_OFFERED))


def _with_cells(method: Callable[..., Any]) -> Callable[..., Any]:
    """Return a method that says so if its model was loaded without cells."""

    @wraps(method)
    def asked(self: Any, *args: Any, **kwargs: Any) -> Any:
        if self.adata is None:
            _ = self.cells  # which raises
        for name in SHOWS_WITH:  # scvi-tools uses them and imports rich alone
            import_module(name)
        return method(self, *args, **kwargs)

    return asked


def words_of_scvi(name: str, value: Any, *, n_cells: int, n_step: int) -> str:
    """Return what an argument of ``train`` in scvi-tools is here; ``""`` if it is none of these.

    Parameters
    ----------
    name, value
        The argument.
    n_cells
        Perturbed cells of training: those of an epoch.
    n_step
        Perturbed cells of a step.
    """
    if name in IN_STEPS:
        return IN_STEPS[name]
    if name != "max_epochs":
        return ""
    per_epoch = max(1, ceil(n_cells / n_step))
    is_number = isinstance(value, int) and not isinstance(value, bool) and value > 0
    total = f", and max_epochs={value} is max_steps={value * per_epoch}" if is_number else ""
    return (
        f"training is counted in steps of {n_step} perturbed cells. The {n_cells} of training are "
        f"seen once in {per_epoch} steps{total}"
    )
