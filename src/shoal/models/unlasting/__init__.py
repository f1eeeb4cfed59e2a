"""Unlasting: dual diffusion bridges with a graph of genes and a mask of silent genes."""

from ..base._registry import ModelEntry, enter

enter(
    ModelEntry(
        name="unlasting",
        kind="network",
        needs=("embedding", "contexts", "doses"),
        description="a control cell, or a cell of the same perturbation in another context, "
        "denoised under the perturbation, with genes that are silent drawn apart",
        unseen="by its node in a graph of genes, or by its vector",
        class_name="Unlasting",
        module=f"{__name__}._model",
        config_name="UnlastingConfig",
    )
)
