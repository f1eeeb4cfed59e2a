"""The terms of the loss, against loops over profiles, and what the network does before training."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="networks need the extra 'models'")

from shoal.models.knowledge._config import (  # noqa: E402
    KnowledgeConditioningConfig,
    KnowledgeConfig,
    KnowledgeLossConfig,
    KnowledgeNetworkConfig,
)
from shoal.models.knowledge._losses import alignment, contrast, same_label  # noqa: E402
from shoal.models.knowledge._module import KnowledgeModule, matched_centre  # noqa: E402

K, S, N = 5, 3, 4
LINEAR = KnowledgeConfig(network=KnowledgeNetworkConfig(depth=0))
LABEL = torch.tensor([0, 1, 2, 1, 0])  # two perturbations in two contexts, one in one


@pytest.fixture
def drawn():
    generator = torch.Generator().manual_seed(0)
    weight = torch.ones(K, S)
    weight[3, 2] = 0
    by_label = torch.randn(3, N, generator=generator)
    return {
        "z": torch.randn(K, S, N, generator=generator),
        "again": torch.randn(K, S, N, generator=generator),
        "u": by_label[LABEL][:, None],
        "weight": weight,
    }


def unit(x):
    x = x.numpy().astype(float)
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def test_alignment_is_the_cross_entropy_over_perturbations(drawn):
    z, u = unit(drawn["z"]), unit(drawn["u"])[:, 0]
    classes = [u[np.flatnonzero(LABEL.numpy() == c)[0]] for c in range(3)]
    losses = []
    for k in range(K):
        for s in range(S):
            logits = np.array([z[k, s] @ c for c in classes]) / 0.2
            own = logits[LABEL[k]] - np.log(np.exp(logits).sum())
            losses += [-own] * int(drawn["weight"][k, s])
    found = alignment(drawn["z"], drawn["u"], LABEL, drawn["weight"], temperature=0.2)
    assert float(found) == pytest.approx(np.mean(losses), rel=1e-5)


def test_contrast_leaves_out_the_view_itself(drawn):
    views, kept = (unit(drawn["z"]), unit(drawn["again"])), drawn["weight"].numpy() > 0
    z = np.concatenate([view[kept] for view in views])
    label = np.tile(np.repeat(LABEL.numpy(), S)[kept.ravel()], 2)
    losses = []
    for i in range(len(z)):
        others = [a for a in range(len(z)) if a != i]
        total = np.log(sum(np.exp(z[i] @ z[a] / 0.2) for a in others))
        partners = [a for a in others if label[a] == label[i]]
        losses.append(-np.mean([z[i] @ z[p] / 0.2 - total for p in partners]))
    found = contrast([drawn["z"], drawn["again"]], LABEL, drawn["weight"], temperature=0.2)
    assert float(found) == pytest.approx(np.mean(losses), rel=1e-5)


def test_replicates_that_are_alike_have_the_least_contrast():
    corners = torch.eye(8)
    label = torch.arange(8)
    alike = corners[:, None].expand(8, 3, 8).contiguous()
    mixed = corners[torch.arange(24) % 8].reshape(8, 3, 8)
    weight = torch.ones(8, 3)
    least, more = (contrast([z, z], label, weight, temperature=0.1) for z in (alike, mixed))
    assert float(least) == pytest.approx(np.log(5), abs=0.01)  # one of the other five views
    assert float(more) > 5


def test_a_combination_is_the_same_in_any_order_and_a_dose_is_another_label():
    parts = torch.tensor([[[1.0, 0], [0, 1]], [[0, 1], [1, 0]], [[1, 0], [0, 0]], [[1, 0], [0, 0]]])
    dose = torch.tensor([[0.0, 0], [0, 0], [0.5, 1], [1.5, 1]])
    found = same_label({"parts": parts, "dose": dose})
    assert found[0] == found[1]
    assert len(found.unique()) == 3


def test_a_profile_is_seen_relative_to_the_controls_of_its_batch():
    source = torch.tensor([[[1.0], [3], [10], [10]]])
    batch = SimpleNamespace(
        source=source,
        batch_index=torch.tensor([[0, 0, 1, 1]]),
        source_weight=torch.tensor([[1.0, 1, 1, 0]]),
    )
    np.testing.assert_allclose(matched_centre(batch)[0, :, 0], [2, 2, 10, 10])


def condition(k, contexts=2):
    return {
        "parts": torch.eye(k)[:, None],
        "present": torch.ones(k, 1, dtype=torch.bool),
        "context": torch.arange(k) % contexts,
        "dose": torch.zeros(k, 2),
    }


def test_a_response_is_linear_in_the_vector_of_the_context():
    torch.manual_seed(0)
    module = KnowledgeModule(6, 4, 0, n_context_vector=2, config=LINEAR).eval()
    zeros = torch.zeros(4, 1, 6)

    def response(*place):
        asked = condition(4) | {"context_vector": torch.tensor([[*place, 1.0]]).expand(4, 3)}
        return module.sample(zeros, asked, None, generator=torch.Generator())

    middle = response(0.5, -1.0)
    assert torch.allclose(middle, (response(1.0, 0.0) + response(0.0, -2.0)) / 2, atol=1e-5)
    assert not torch.allclose(middle, response(0.0, 0.0), atol=1e-3)
    unknown = condition(4) | {"context_vector": torch.zeros(4, 3)}
    assert torch.allclose(
        module.sample(zeros, unknown, None, generator=torch.Generator()), response(0.0, 0.0)
    )


def test_an_unknown_name_of_a_context_is_their_mean():
    torch.manual_seed(0)
    module = KnowledgeModule(6, 4, 2, config=LINEAR).eval()

    def response(code):
        asked = condition(4) | {"context": torch.full((4,), code)}
        return module.sample(torch.zeros(4, 1, 6), asked, None, generator=torch.Generator())

    assert torch.allclose(response(-1), (response(0) + response(1)) / 2, atol=1e-5)
    assert not torch.allclose(response(0), response(1), atol=1e-3)
    deaf = KnowledgeConfig(conditioning=KnowledgeConditioningConfig(use_context=False))
    assert KnowledgeModule(6, 4, 2, config=deaf).decoder.gain is None


def test_an_unfamiliar_perturbation_is_followed_half_way():
    torch.manual_seed(0)
    module = KnowledgeModule(6, 4, 0, config=KnowledgeConfig()).eval()
    asked, zeros = condition(4), torch.zeros(4, 1, 6)

    def response(familiar):
        given = asked | {"familiar": torch.full((4,), familiar)}
        return module.sample(zeros, given, None, generator=torch.Generator())

    common = module.decoder(module.vectors(asked, drop=True), asked)
    assert torch.allclose(response(False), (response(True) + common) / 2, atol=1e-6)


def test_the_decoder_may_leave_the_representation_alone():
    batch = SimpleNamespace(
        source=torch.zeros(4, 2, 6),
        target=torch.randn(4, 2, 6, generator=torch.Generator().manual_seed(0)),
        weight=torch.ones(4, 2),
        source_weight=torch.ones(4, 2),
        batch_index=torch.zeros(4, 2, dtype=torch.int64),
        condition=condition(4),
    )
    for shapes in (True, False):
        torch.manual_seed(0)
        own = KnowledgeLossConfig(decoder_shapes=shapes, shrink_lines=0.0)
        module = KnowledgeModule(6, 4, 2, config=KnowledgeConfig(loss=own))
        terms = module.loss(batch, torch.Generator().manual_seed(0))
        (terms["reconstruct"] + terms["predict"]).backward()
        gradient = module.encoder.enter.weight.grad
        assert (gradient is not None and bool(gradient.any())) == shapes


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"classify": -1.0}, "classify"),
        ({"temperature": 0.0}, "temperature"),
        ({"mask": 1.5}, "mask"),
        ({"predict": 0.0}, "untrained"),
        ({"classify": 0.0, "decoder_shapes": False}, "nothing shapes"),
    ],
)
def test_bad_settings(change, said):
    with pytest.raises(ValueError, match=said):
        KnowledgeLossConfig(**change)
