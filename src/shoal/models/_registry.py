"""Names of models, and where their classes are; nothing is imported before it is asked for."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from .._validate import one_of

BASELINES = {
    "additive": ("_baselines_shift", "Additive"),
    "context_mean": ("_baselines_means", "ContextMean"),
    "control": ("_baselines_means", "ControlCopy"),
    "kernel_ridge": ("_baselines_kernel", "KernelRidge"),
    "latent_linear": ("_baselines_linear", "LatentLinear"),
    "matching_mean": ("_baselines_shift", "MatchingMean"),
    "mean_shift": ("_baselines_shift", "MeanShift"),
    "nearest": ("_baselines_neighbours", "Nearest"),
    "other_contexts": ("_baselines_contexts", "OtherContexts"),
    "own_shift": ("_baselines_shift", "OwnShift"),
    "perturbed_mean": ("_baselines_means", "PerturbedMean"),
    "quantile_shift": ("_baselines_distribution", "QuantileShift"),
}
NETWORKS = {
    "conditional_monge": ("_monge", "ConditionalMonge"),
    "flow": ("_flow", "Flow"),
    "perturbdiff": ("_perturbdiff", "PerturbDiff"),
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
        return getattr(import_module(f".{file}", __package__), name)
    if not (isinstance(model, type) and hasattr(model, "setup_anndata") and hasattr(model, "train")):
        msg = f"model must be one of {', '.join(available())}, or a class with setup_anndata and train; not {model!r}"
        raise TypeError(msg)
    return model


def require_networks() -> None:
    """Raise ``ImportError`` unless the libraries that networks need are there."""
    from .._compat import require

    for module in ("torch", "lightning", "scvi"):
        require(module, extra="models")
