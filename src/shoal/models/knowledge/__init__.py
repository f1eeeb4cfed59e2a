"""Knowledge: representations of profiles that tell perturbations apart in a new cell line."""

from ..base._registry import ModelEntry, enter

enter(
    ModelEntry(
        name="knowledge",
        kind="network",
        needs=("embedding", "contexts", "doses"),
        description="a control cell plus the response that is decoded from the representation of "
        "the perturbation, as the context shows it",
        unseen="by its vector, halfway to the mean response",
        class_name="Knowledge",
        module=f"{__name__}._model",
        config_name="KnowledgeConfig",
    )
)
