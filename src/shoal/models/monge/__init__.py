"""Conditional Monge map: one optimal-transport map for all conditions."""

from ..base._registry import ModelEntry, enter

enter(
    ModelEntry(
        name="conditional_monge",
        kind="network",
        needs=("embedding", "contexts", "doses"),
        description="a control cell, or a cell of the same perturbation in another context, "
        "moved by one map for all conditions",
        unseen="by its vector",
        class_name="ConditionalMonge",
        module=f"{__name__}._model",
        config_name="ConditionalMongeConfig",
    )
)
