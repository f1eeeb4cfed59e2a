"""Weights of networks where few units were left out: half, or none where they did harm."""

from __future__ import annotations

import numpy as np
import pytest

from shoal.models.ensemble._evidence import Evidence
from shoal.models.ensemble._weights import Question


def evidence(rng, *, network, n=3, kind="combination of measured parts", rule="additive", folds=0):
    """Return conditions that the rule answers well, and a network by a share of the truth.

    Each is a fold of its own, or they are dealt to `folds` folds.
    """
    real = rng.normal(size=(n, 20))
    given = np.stack([real + 0.3 * rng.normal(size=real.shape), network * real], axis=1)
    return Evidence(
        members=(rule, "flow"),
        names=tuple(f"P{i}" for i in range(n)),
        kind=(kind,) * n,
        unit=tuple(f"P{i}" for i in range(n)),
        fold=np.arange(n) % (folds or n),
        real=real,
        noise=np.full(n, 0.1),
        p_value=np.zeros(n),
        predicted=given,
        genes=given.astype(np.float32),
        measured=real.astype(np.float32),
        cell=np.ones(20),
        n=np.full(n, 50),
        control=np.full(n, 0.001),
        refused={},
        asked=np.ones(n, dtype=bool),
    )


def asked_of(own):
    """Return the question of all conditions of some evidence."""
    return Question(own, np.arange(len(own.names)), own.members, own.kind[0], ["flow"])


def question(rng, **given):
    return asked_of(evidence(rng, **given))


@pytest.mark.parametrize(("network", "share"), [(1.0, 0.5), (0.0, 0.0), (-1.0, 0.0)])
def test_a_network_whose_training_went_wrong_has_no_part(rng, network, share):
    weights, each, note = question(rng, network=network).answer()
    np.testing.assert_array_equal(weights, [1 - share, share])
    np.testing.assert_array_equal(each, np.tile(weights, (3, 1)))
    assert note.startswith("rule: 3 units")
    assert note.endswith("networks were worse") == (share == 0)


def test_one_unit_and_new_contexts_tell_nothing_of_networks(rng):
    np.testing.assert_array_equal(question(rng, network=0.0, n=1).answer()[0], [0.5, 0.5])
    new = question(rng, network=1.0, kind="in a new context", rule="own_shift").answer()
    np.testing.assert_array_equal(new[0], [1, 0])
    assert "networks" not in new[2]
