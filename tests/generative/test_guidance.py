from __future__ import annotations

import pytest
import torch

from shoal.generative import combine, guided, integrate

T = torch.tensor(0.3)


@pytest.fixture
def values(generator):
    null, dose, gene = torch.randn(3, 4, 6, 2, generator=generator)
    return null, {"dose": dose, "gene": gene}


def test_weight_1_is_the_conditional_field_and_weight_0_the_null(values):
    null, conditional = values
    one = {"dose": conditional["dose"]}
    assert combine(null, one, {"dose": 1}) is conditional["dose"]
    assert combine(null, one, {}) is conditional["dose"]
    assert combine(null, one, {"dose": 0}) is null


def test_two_covariates_add_their_effects(values):
    null, c = values
    expected = null + 1.5 * (c["dose"] - null) + 0.5 * (c["gene"] - null)
    torch.testing.assert_close(combine(null, c, {"dose": 1.5, "gene": 0.5}), expected)
    torch.testing.assert_close(combine(null, c, {"dose": 0, "gene": 2}), 2 * c["gene"] - null)
    torch.testing.assert_close(combine(null, c, {}), c["dose"] + c["gene"] - null)


def test_a_guided_field_says_what_its_values_say(values):
    null, c = values
    field = guided(
        lambda t, x: null + t * x,
        {k: lambda t, x, v=v: v + t * x for k, v in c.items()},
        {"gene": 1.2},
    )
    expected = combine(null, c, {"gene": 1.2}) + T * null
    torch.testing.assert_close(field(T, null), expected)


@pytest.mark.parametrize(
    ("weight", "asked"), [(0, {"null"}), (1, {"dose"}), (1.5, {"null", "dose"})]
)
def test_a_field_without_a_share_is_not_asked(weight, asked):
    seen = set()

    def field(name):
        def evaluate(t, x):
            seen.add(name)
            return x

        return evaluate

    guided(field("null"), {"dose": field("dose")}, {"dose": weight})(T, torch.ones(3))
    assert seen == asked


def test_guidance_composes_shifts_never_seen_together():
    """Two conditions that each move cells along one axis move them along both."""
    shifts = {"a": torch.tensor([2.0, 0.0]), "b": torch.tensor([0.0, -1.0])}
    fields = {k: lambda t, x, v=v: v.expand_as(x) for k, v in shifts.items()}
    both = guided(lambda t, x: torch.zeros_like(x), fields, {})
    torch.testing.assert_close(
        integrate(both, torch.zeros(5, 2)), torch.tensor([2.0, -1.0]).expand(5, 2)
    )


def test_a_weight_of_nothing_is_refused(values):
    null, c = values
    with pytest.raises(KeyError, match=r"'does' is not in the conditions.*Did you mean 'dose'"):
        combine(null, c, {"does": 2})
