"""Flow matching and stochastic interpolants from control to perturbed cells."""

from ..base._registry import ModelEntry, enter

enter(
    ModelEntry(
        name="flow",
        kind="network",
        needs=("embedding", "contexts", "doses"),
        description="a control cell, or a cell of the same perturbation in another context, "
        "carried along a learned field",
        unseen="by its vector",
        class_name="Flow",
        module=f"{__name__}._model",
        config_name="FlowConfig",
    )
)
