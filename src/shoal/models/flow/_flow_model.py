"""What all flows are, whatever their network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..base._preset_model import PresetModel
from ._counterfactual import counterfactual
from ._reflow import reflow

if TYPE_CHECKING:
    from ...training import SetSampler, Store


class FlowModel(PresetModel):
    """A model whose network is a :class:`FlowModule`.

    A subclass gives its `recipes`, makes the network, and names its `options`.
    """

    # functions of a model, each in its own file
    counterfactual = counterfactual
    reflow = reflow

    @property
    def carries_cells(self) -> bool:  # type: ignore[override]
        """Whether paths begin at cells, and not at noise."""
        return self.module.config.interpolant.path_start != "noise"

    def _training_store(self, sampler: SetSampler, store: str) -> Store:
        if self.module.config.loss.coupling == "none":
            msg = (
                "coupling='none' trains on pairs made earlier, and there are none: reflow() makes "
                "them and trains on them; to learn from the cells themselves, choose another "
                "coupling in a new Flow"
            )
            raise ValueError(msg)
        return super()._training_store(sampler, store)

    def _sampler_options(self, options: dict[str, Any], *, perturbed: bool) -> dict[str, Any]:
        """Follow the context plainly for perturbed cells, which have nothing else to follow."""
        if not perturbed or options.get("guidance") not in (None, {}):
            return options
        guidance = self.module.guidance
        if isinstance(guidance, Mapping):
            guidance = {name: weight for name, weight in guidance.items() if name != "context"}
        return {**options, "guidance": guidance}

    def _check_options(self, options: dict[str, Any]) -> None:
        super()._check_options(options)
        if self.module.config.loss.coupling == "none" and options.get("guidance") not in (
            None,
            1,
            {},
        ):
            msg = (
                "guidance is built into the pairs of a reflowed flow; give it to the flow that "
                "makes them: config={'guidance': ...}"
            )
            raise ValueError(msg)
