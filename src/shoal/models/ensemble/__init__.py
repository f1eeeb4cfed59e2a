"""Ensemble: baselines and networks, weighted by how they answer questions of the same kind."""

from ..base._registry import ModelEntry, enter

enter(
    ModelEntry(
        name="auto",
        kind="ensemble",
        needs=("embedding", "contexts", "doses"),
        description="a control cell plus a weighted sum of what other models add to it, "
        "with weights that are fitted on conditions left out of training for each kind of question",
        unseen="by members that can tell it apart, else the mean response",
        class_name="Ensemble",
        module=f"{__name__}._model",
    )
)
