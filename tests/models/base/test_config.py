"""Settings in groups: how a change finds its group, what is refused, and what a file gives back."""

from __future__ import annotations

from dataclasses import fields

import pytest

pytest.importorskip("torch", reason="networks need the extra 'models'")
pytest.importorskip("scvi", reason="networks need the extra 'models'")

import shoal as sh
from shoal.models.base._config import changed
from shoal.models.flow._config import RECIPES as FLOW
from shoal.models.flow._config import FlowConfig
from shoal.models.knowledge._config import RECIPES as KNOWLEDGE
from shoal.models.monge._config import RECIPES as MONGE
from shoal.models.perturbdiff._config import RECIPES as PERTURBDIFF
from shoal.models.unlasting._config import RECIPES as UNLASTING

each_model = pytest.mark.parametrize(
    "recipes",
    [FLOW, KNOWLEDGE, MONGE, PERTURBDIFF, UNLASTING],
    ids=["flow", "knowledge", "monge", "perturbdiff", "unlasting"],
)


def settings(config):
    """Return the names of all settings, and those of the groups."""
    groups = [group.name for group in fields(config)]
    return [f.name for group in groups for f in fields(getattr(config, group))], groups


@each_model
def test_the_name_of_a_setting_is_unique_within_a_model(recipes):
    names, groups = settings(recipes.presets[recipes.default])
    assert len({*names, *groups}) == len(names) + len(groups)


@each_model
@pytest.mark.parametrize("changes", [{"width": 32}, {"network": {"width": 32}}])
def test_a_setting_is_found_by_its_name_or_in_its_group(recipes, changes):
    for preset, config in recipes.presets.items():
        found = recipes.configured(preset, changes)
        assert found.network.width == 32
        assert changed(found, {"width": config.network.width}) == config


@each_model
@pytest.mark.parametrize(
    "changes", [{"widht": 8}, {"network": {"widht": 8}}, {"start": {"width": 8}}, {"network": 8}]
)
def test_what_is_no_setting_is_refused_with_the_groups(recipes, changes):
    with pytest.raises(TypeError, match=r"has no setting .*it takes .*network: .*width.*; start: "):
        recipes.configured(recipes.default, changes)


@each_model
def test_plain_values_give_the_same_settings_back(recipes):
    for preset in recipes.presets:
        for other, config in recipes.presets.items():
            assert recipes.configured(preset, recipes.plain(config)) == config, other


def test_two_changes_that_fit_together_may_come_together():
    with pytest.raises(ValueError, match="a path with noise needs"):
        changed(FlowConfig(), {"gamma": "quadratic"})
    both = changed(FlowConfig(), {"gamma": "quadratic", "head": "velocity+eta"})
    assert (both.interpolant.gamma, both.loss.head) == ("quadratic", "velocity+eta")


def test_a_number_is_decided_once_and_saved(screen, fit_flow, tmp_path):
    model = fit_flow(screen, max_steps=1)
    assert model.recipes.presets["flow"].network.n_visible == "auto"
    assert isinstance(model.settings.network.n_visible, int)
    assert model.config["network"]["n_visible"] == model.module.config.network.n_visible
    model.save(tmp_path / "model")
    few = screen[::2].copy()  # conditions of half the size mean another number
    back = sh.models.Flow.load(tmp_path / "model", few)
    assert back.settings == model.settings == back.module.config
