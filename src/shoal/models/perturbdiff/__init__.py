"""PerturbDiff: whole populations of cells generated at once."""

from ..base._registry import ModelEntry, enter

enter(
    ModelEntry(
        name="perturbdiff",
        kind="network",
        needs=("embedding", "contexts", "doses"),
        description="a control cell, or a cell of the same perturbation in another context, "
        "changed beside the others of its set",
        unseen="by its vector",
        class_name="PerturbDiff",
        module=f"{__name__}._model",
        config_name="PerturbDiffConfig",
    )
)
