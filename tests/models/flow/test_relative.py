"""A flow that sees cells relative to their controls knows nothing of where the controls lie."""

from __future__ import annotations

import pytest

pytest.importorskip("torch", reason="networks need the extra `models`")

import torch

from shoal.models.base._config import changed
from shoal.models.flow._config import PRESETS, FlowConfig
from shoal.models.flow._module import FlowModule

D = 5


def config(**settings):
    return changed(FlowConfig(), settings)


@pytest.fixture
def flow():
    torch.manual_seed(0)
    module = FlowModule(
        D,
        3,
        2,
        config=config(relative_to_control=True, n_visible=2, width=16, depth=1, n_steps=4),
    )
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return module


def condition(**more):
    parts = torch.eye(3)[:2, None]
    return {
        "parts": parts,
        "present": torch.ones(2, 1, dtype=torch.bool),
        "context": torch.tensor([0, 1]),
        "dose": torch.zeros(2, 2),
        **more,
    }


def sample(flow, source, **more):
    batch_index = torch.zeros(source.shape[:2], dtype=torch.int64)
    return flow.sample(
        source, condition(**more), batch_index, generator=torch.Generator().manual_seed(0)
    )


def test_moving_the_controls_moves_the_prediction_as_much(flow):
    source, shift = torch.randn(2, 8, D), 3 * torch.randn(2, 1, D)
    here, there = sample(flow, source), sample(flow, source + shift)
    assert (here - source).abs().max() > 0.05
    # the shift of the rest of the features passes through: only what is seen is relative, and the gain acts on it too
    torch.testing.assert_close(there, here + shift, atol=1e-4, rtol=1e-4)


def test_the_centre_may_be_given_and_then_cells_are_on_their_own(flow):
    source, centre = torch.randn(2, 8, D), torch.randn(2, D)
    whole, part = sample(flow, source, centre=centre), sample(flow, source[:, :3], centre=centre)
    torch.testing.assert_close(whole[:, :3], part)
    assert (whole - sample(flow, source)).abs().max() > 1e-3


def test_the_way_back_needs_the_centre(flow):
    source, batch_index = torch.randn(2, 8, D), torch.zeros(2, 8, dtype=torch.int64)
    centre = source.mean(1)
    made = sample(flow, source, centre=centre)
    back = flow.invert(made, condition(centre=centre), batch_index, n_steps=20)
    again = flow.sample(
        source, condition(centre=centre), batch_index, generator=torch.Generator(), n_steps=20
    )  # the same field, finer steps
    assert (
        flow.invert(again, condition(centre=centre), batch_index, n_steps=20) - source
    ).abs().max() < 5e-3
    assert (back - source).abs().max() < 0.5
    with pytest.raises(
        ValueError,
        match=r"relative to the mean of their controls: give it as condition\['centre'\]",
    ):
        flow.invert(made, condition(), batch_index)


def test_guidance_of_a_preset_passes_over_covariates_that_are_not_there():
    guidance = PRESETS["flow"].sampling.guidance
    assert guidance == {"context": 0.5}
    assert FlowModule(D, 3, 2, config=config(guidance=guidance)).guidance == {"context": 0.5}
    assert FlowModule(D, 3, 0, config=config(guidance=guidance)).guidance == {}


def test_a_new_perturbation_is_followed_as_far_as_the_config_says():
    torch.manual_seed(0)
    flow = FlowModule(D, 3, 2, config=config(unseen_weight=0.25, width=16, depth=1, n_steps=4))
    for parameter in flow.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    source, batch_index = torch.randn(2, 8, D), torch.zeros(2, 8, dtype=torch.int64)

    def made(guidance=None, **more):
        return flow.sample(
            source, condition(**more), batch_index, generator=torch.Generator(), guidance=guidance
        )

    known, new = torch.tensor([True, True]), torch.tensor([True, False])
    torch.testing.assert_close(made(familiar=known), made())
    mixed, quarter = made(familiar=new), made(guidance={"perturbation": 0.25})
    torch.testing.assert_close(mixed[0], made()[0])
    torch.testing.assert_close(mixed[1], quarter[1])
    assert (mixed[1] - made()[1]).abs().max() > 1e-3
    torch.testing.assert_close(
        made({"perturbation": 1.0}, familiar=new), made()
    )  # what is asked for goes before
