"""Names of models, and where their classes are; nothing is imported before it is asked for."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from ..._validate import one_of

BASELINES = {
    "additive": ("baselines._parts", "Additive"),
    "context_mean": ("baselines._means", "ContextMean"),
    "control": ("baselines._means", "ControlCopy"),
    "kernel_ridge": ("baselines._kernel", "KernelRidge"),
    "latent_linear": ("baselines._linear", "LatentLinear"),
    "matching_mean": ("baselines._parts", "MatchingMean"),
    "mean_shift": ("baselines._mean_shift", "MeanShift"),
    "nearest": ("baselines._neighbours", "Nearest"),
    "other_contexts": ("baselines._contexts", "OtherContexts"),
    "own_shift": ("baselines._own_shift", "OwnShift"),
    "perturbed_mean": ("baselines._means", "PerturbedMean"),
    "quantile_shift": ("baselines._distribution", "QuantileShift"),
}
NETWORKS = {
    "conditional_monge": ("monge._model", "ConditionalMonge"),
    "flow": ("flow._model", "Flow"),
    "perturbdiff": ("perturbdiff._model", "PerturbDiff"),
}


def available() -> list[str]:
    """Return the names of the models that ``tl.fit`` knows, baselines first.

    Returns
    -------
    Names, in alphabetical order within baselines and networks.

    Examples
    --------
    >>> from shoal.models import available
    >>> "flow" in available()
    True
    """
    return [*sorted(BASELINES), *sorted(NETWORKS)]


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
    if isinstance(model, str):
        one_of(model, available(), name="model")
        file, name = {**BASELINES, **NETWORKS}[model]
        if model in NETWORKS:
            require_networks()
        return getattr(import_module(f"shoal.models.{file}"), name)
    if not (
        isinstance(model, type) and hasattr(model, "setup_anndata") and hasattr(model, "train")
    ):
        msg = f"model must be one of {', '.join(available())}, or a class with setup_anndata and train; not {model!r}"
        raise TypeError(msg)
    return model


def require_networks() -> None:
    """Raise ``ImportError`` unless the libraries that networks need are there."""
    from ..._compat import require

    for module in ("torch", "lightning", "scvi"):
        require(module, extra="models")
