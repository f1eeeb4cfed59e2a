"""Baselines: the simple models that a network has to beat, in numpy alone; one file an idea."""

from ..base._registry import ModelEntry, enter

BY_CONDITION = ("contexts", "doses")
BY_VECTOR = ("embedding", *BY_CONDITION)


def _entry(
    name: str, file: str, class_name: str, needs: tuple[str, ...], description: str, unseen: str
) -> ModelEntry:
    return ModelEntry(
        name=name,
        kind="baseline",
        needs=needs,
        description=description,
        unseen=unseen,
        class_name=class_name,
        module=f"{__name__}.{file}",
    )


enter(
    _entry(
        "control",
        "_means",
        "ControlCopy",
        (),
        "a control cell: the perturbation does nothing",
        "the same",
    ),
    _entry(
        "perturbed_mean",
        "_means",
        "PerturbedMean",
        (),
        "a perturbed cell of training, each perturbation drawn equally often",
        "the same",
    ),
    _entry(
        "context_mean",
        "_means",
        "ContextMean",
        ("contexts",),
        "a perturbed cell of training from the wanted context",
        "the same",
    ),
    _entry(
        "mean_shift",
        "_mean_shift",
        "MeanShift",
        BY_CONDITION,
        "a control cell plus the mean response of all perturbations",
        "the same",
    ),
    _entry(
        "own_shift",
        "_own_shift",
        "OwnShift",
        BY_CONDITION,
        "a control cell plus the perturbation's own response, of this context or over all",
        "the mean response",
    ),
    _entry(
        "other_contexts",
        "_contexts",
        "OtherContexts",
        BY_CONDITION,
        "a cell of the same perturbation in another context, moved by the difference of the "
        "controls",
        "refused",
    ),
    _entry(
        "nearest_context",
        "_context_distance",
        "NearestContext",
        BY_CONDITION,
        "a control cell plus the perturbation's own response, of this context or of that with the "
        "nearest controls",
        "the mean response",
    ),
    _entry(
        "context_weighted",
        "_context_distance",
        "ContextWeighted",
        BY_CONDITION,
        "a control cell plus the perturbation's own response, of this context or over all, those "
        "with near controls counting more",
        "the mean response",
    ),
    _entry(
        "cell_knn_shift",
        "_cell_knn",
        "CellKnnShift",
        BY_CONDITION,
        "a control cell plus the perturbation's own response, of this context or of the contexts "
        "of the cell's nearest training controls",
        "the mean response",
    ),
    _entry(
        "scaled_sources",
        "_scaled_sources",
        "ScaledSources",
        BY_CONDITION,
        "a control cell plus the perturbation's own response, of this context or over all with "
        "fitted weights, scaled by one fitted amplitude",
        "the mean response",
    ),
    _entry(
        "quantile_shift",
        "_distribution",
        "QuantileShift",
        BY_CONDITION,
        "a control cell, every gene moved to the same quantile among the perturbed cells",
        "the mixture of all perturbations",
    ),
    _entry(
        "matching_mean",
        "_parts",
        "MatchingMean",
        BY_CONDITION,
        "a control cell plus the mean of the responses of a combination's parts",
        "the mean response",
    ),
    _entry(
        "additive",
        "_parts",
        "Additive",
        BY_CONDITION,
        "a control cell plus the sum of the responses of a combination's parts",
        "refused",
    ),
    _entry(
        "latent_linear",
        "_linear",
        "LatentLinear",
        BY_VECTOR,
        "a control cell plus a response linear in the vector and in the genes' components",
        "by its vector",
    ),
    _entry(
        "kernel_ridge",
        "_kernel",
        "KernelRidge",
        BY_VECTOR,
        "a control cell plus a response by kernel ridge regression on the vectors; of more than "
        "2,000 perturbations, on their kernel with 1,000 of them",
        "by its vector",
    ),
    _entry(
        "nearest",
        "_neighbours",
        "Nearest",
        BY_VECTOR,
        "a control cell plus the responses of the perturbations with the nearest vectors",
        "by its vector",
    ),
)
