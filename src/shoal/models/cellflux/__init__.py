"""CellFlux: flow matching between images of control cells and images of perturbed cells."""

from ..base._registry import ModelEntry, enter

enter(
    ModelEntry(
        name="cellflux",
        kind="network",
        needs=("embedding", "contexts", "doses", "images"),
        description="the image of a control cell of the same batch, carried along a learned field",
        unseen="by its vector",
        class_name="CellFlux",
        module=f"{__name__}._model",
        config_name="CellFluxConfig",
    )
)
