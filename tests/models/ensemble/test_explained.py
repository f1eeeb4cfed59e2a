"""What an ensemble says of a condition is of the condition that it would predict."""

from __future__ import annotations

import numpy as np
import pytest
from tests.models.ensemble.screens import D, made

import shoal as sh


def screen(rng, *, column, values):
    """Return a screen of three perturbations, in contexts or at doses; P2 is not in the last."""
    adata = made({f"P{i}": rng.normal(size=D) for i in range(3)}, rng, n=40)
    adata.obs[column] = np.resize(values, adata.n_obs)
    lost = (adata.obs["perturbation"] == "P2") & (adata.obs[column] == values[-1])
    adata = adata[~lost.to_numpy()].copy()
    sh.pp.annotate(
        adata, "perturbation", control="control", **{f"{column}_key": column}, overwrite=True
    )
    return adata


@pytest.fixture(scope="module")
def days():
    adata = screen(np.random.default_rng(0), column="context", values=[1, 2])
    return sh.tl.fit(adata, "auto", rng=0)


@pytest.fixture(scope="module")
def doses():
    adata = screen(np.random.default_rng(0), column="dose", values=[0.3, 1.0])
    return sh.tl.fit(adata, "auto", rng=0)


def test_contexts_may_be_numbers_as_in_predict(days):
    assert days.kind_of("P2", context=1) == "measured"
    assert days.explain("P2", context=2) == days.explain("P2", context="2")
    assert days.explain("P2", context=2).startswith(
        "'P2' in context '2' is measured in other contexts. No such question was tried"
    )


def test_without_a_context_each_kind_of_question_is_explained(days):
    assert days.explain("P1").startswith("'P1' is measured.")  # in all of them
    one, two = days.explain("P2").split("\n\n")
    assert one.startswith("'P2' in context '1' is measured. ")
    assert two.startswith("'P2' in context '2' is measured in other contexts. ")
    assert one.endswith("own_shift.")
    assert two.endswith("context_weighted.")


def test_a_context_that_training_does_not_have_is_said_to_be_one(days):
    said = days.explain("P1", context="day 1")
    assert said.startswith(
        "'P1' in context 'day 1' is in a new context (perturbations are measured in '1', '2'). "
    )


def test_doses_are_those_that_can_be_predicted(doses):
    assert doses.explain("P2", dose=0.3).startswith("'P2' at dose 0.3 is measured. ")
    assert doses.explain("P2", dose=np.float32(0.3)).startswith("'P2' at dose 0.3 is measured. ")
    assert doses.explain("P2", dose=1).startswith("'P2' at dose 1 is measured at other doses. ")
    with pytest.raises(ValueError, match=r"which dose\? Pass dose=.*; 'P2' is measured at 0.3$"):
        doses.explain("P2")
    assert doses.explain("P1+P2").startswith("'P1+P2' is a combination of measured parts. ")


@pytest.mark.parametrize("ask", ["explain", "kind_of"])
@pytest.mark.parametrize(
    ("which", "given", "error", "words"),
    [
        ("days", {"dose": 1.0}, ValueError, "annotated without a dose column, so dose= means noth"),
        ("doses", {"context": "1"}, ValueError, "context='1' means nothing, because this screen"),
        ("doses", {"dose": -1.0}, ValueError, "dose must be a finite number above 0"),
        ("doses", {"dose": "high"}, ValueError, "dose must be a finite number above 0"),
        ("days", {"context": ["1"]}, TypeError, "context must be one of '1', '2'"),
    ],
)
def test_what_cannot_be_asked(request, which, given, error, words, ask):
    with pytest.raises(error, match=words):
        getattr(request.getfixturevalue(which), ask)("P1", **given)


def test_the_kind_of_the_control_is_no_question(days):
    with pytest.raises(ValueError, match="'control' is the control, which is measured"):
        days.kind_of("control", context="1")
