"""Guidance: one kind of thing for all networks."""

from __future__ import annotations

import math

import pytest

torch = pytest.importorskip("torch", reason="networks need the extra 'models'")

from shoal.models.base._guidance import common_share, guided_network, known_guidance  # noqa: E402

COVARIATES = ("perturbation", "context")


def network(*without):
    """Return 1, and 10 for the perturbation and 100 for the context unless they are left out."""
    value = 1.0 + 10 * ("perturbation" not in without) + 100 * ("context" not in without)
    return lambda x: x + value


@pytest.mark.parametrize(
    ("guidance", "value"),
    [
        (1, 111.0),
        (0, 1.0),
        (2.0, 221.0),
        ({}, 111.0),
        ({"context": 1}, 111.0),
        ({"context": 0}, 11.0),
        ({"context": 0.5}, 61.0),
        ({"context": 2, "perturbation": 0}, 201.0),
    ],
)
def test_a_weight_is_how_far_a_covariate_is_followed(guidance, value):
    made = guided_network(network, guidance, COVARIATES)(torch.zeros(3))
    assert made.tolist() == [value] * 3


def test_what_has_no_share_is_not_made():
    asked = []

    def counted(*without):
        asked.append(without)
        return network(*without)

    guided_network(counted, 1.0, COVARIATES)
    guided_network(counted, {"context": 1.0}, COVARIATES)
    assert asked == [(), ()]


@pytest.mark.parametrize(
    ("guidance", "error", "words"),
    [
        ({"colour": 2}, ValueError, "guidance='colour' is not known; choose one of 'perturbation'"),
        (math.inf, ValueError, "must be finite"),
        ("2", TypeError, "one number for all covariates, or a mapping"),
        ({"context": None}, TypeError, "one number for all covariates, or a mapping"),
    ],
)
def test_what_is_no_guidance_is_refused(guidance, error, words):
    with pytest.raises(error, match=words):
        guided_network(network, guidance, COVARIATES)


def test_covariates_that_a_screen_lacks_are_passed_over():
    assert known_guidance({"context": 0.5, "batch": 2}, COVARIATES) == {"context": 0.5}
    assert known_guidance(2.0, ()) == 2.0


def test_a_weight_of_the_perturbation_comes_before_that_of_unseen_ones():
    condition = {"familiar": torch.tensor([True, False])}
    assert common_share(condition, 0.25).ravel().tolist() == [0.0, 0.75]
    assert common_share(condition, 0.25, {"context": 2.0}).ravel().tolist() == [0.0, 0.75]
    assert common_share(condition, 0.25, {"perturbation": 1.0}) is None
    assert common_share(condition, 1.0) is None
