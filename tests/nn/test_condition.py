from __future__ import annotations

import pytest
import torch

from shoal.nn import AttentionPool, ConditionEncoder, MeanPool

K, S, P, E, W = 6, 5, 3, 4, 16
COVARIATES = ("perturbation", "context", "dose", "batch", "control")


def conditions(seed: int = 0, n: int = K) -> dict[str, torch.Tensor]:
    draw = torch.Generator().manual_seed(seed)
    present = torch.rand(n, P, generator=draw) < 0.6
    present[0], present[1] = True, False  # a full set and the empty one
    return {
        "parts": torch.randn(n, P, E, generator=draw) * present[..., None],
        "present": present,
        "context": torch.arange(n) % 3 - 1,
        "dose": torch.stack(
            [torch.randn(n, generator=draw), (torch.arange(n) % 2).float()], dim=-1
        ),
        "control": torch.randn(n, 7, generator=draw),
    }


def encoder(pooling: str = "mean", dropout: float = 0.1) -> ConditionEncoder:
    torch.manual_seed(0)
    made = ConditionEncoder(
        E, 2, width=W, n_batches=2, n_control=7, pooling=pooling, dropout=dropout
    )
    with torch.no_grad():
        for name in COVARIATES:
            made._null(name).normal_()  # as if trained: the nulls start at 0
    return made


STRATUM = torch.arange(K * S).reshape(K, S) % 3 - 1
both = pytest.mark.parametrize("pooling", ["mean", "sum", "attention"])


@both
def test_the_order_of_the_parts_does_not_matter(pooling):
    model, c = encoder(pooling).eval(), conditions()
    turned = c | {"parts": c["parts"].flip(1), "present": c["present"].flip(1)}
    torch.testing.assert_close(model(c), model(turned))


@both
def test_padding_has_no_effect(pooling):
    model, c = encoder(pooling).eval(), conditions()
    wider = torch.nn.functional.pad(c["present"], (0, 2))
    junk = torch.cat([c["parts"], torch.full((K, 2, E), 1e6)], dim=1)
    torch.testing.assert_close(model(c), model(c | {"parts": junk, "present": wider}))


@both
def test_padding_gets_no_gradient_and_gives_no_nan(pooling):
    model, c = encoder(pooling).eval(), conditions()
    parts = c["parts"].clone().requires_grad_()
    model(c | {"parts": parts}).square().sum().backward()
    assert not parts.grad[~c["present"]].any()
    assert parts.grad[c["present"]].abs().sum(-1).min() > 0
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


def test_mean_pool_is_the_mean():
    parts = torch.randn(1, P, W)
    torch.testing.assert_close(
        MeanPool()(parts, torch.tensor([[True, False, True]])), (parts[:, 0] + parts[:, 2]) / 2
    )


def test_attention_prefers_parts():
    torch.manual_seed(0)
    pool, parts, present = (
        AttentionPool(W),
        torch.randn(1, 2, W),
        torch.ones(1, 2, dtype=torch.bool),
    )
    with torch.no_grad():
        pool.score.weight.copy_(100 * parts[0, 0].expand_as(pool.score.weight))
        alone = pool(parts[:, :1], present[:, :1])
    assert (pool(parts, present) - alone).norm() < 1e-3 * alone.norm()


def test_unperturbed_has_a_token_of_its_own_that_is_not_the_null():
    model, c = encoder().eval(), conditions()
    assert not torch.allclose(model(c)[1], model(c, drop={"perturbation"})[1])
    before = model(c)
    with torch.no_grad():
        model.encoders["perturbation"].unperturbed += 1
    changed = (model(c) - before).abs().amax((1, 2)) > 1e-4
    assert changed.tolist() == (~c["present"].any(1)).tolist()


def test_unknown_codes_use_the_null():
    model, c = encoder().eval(), conditions()
    told, dropped = model(c, STRATUM), model(c, STRATUM, drop={"context"})
    unknown = c["context"] == -1
    assert torch.equal(told[unknown], dropped[unknown])
    assert not torch.isclose(told[~unknown], dropped[~unknown]).all(-1).any()
    torch.testing.assert_close(model(c, torch.full((K, S), -1)), model(c).expand(K, S, W))
    torch.testing.assert_close(model(c, STRATUM, drop={"batch"}), model(c))


def test_a_dose_that_is_not_there_has_no_value():
    model, c = encoder().eval(), conditions()
    other = c | {"dose": torch.stack([c["dose"][:, 0] + 1, c["dose"][:, 1]], dim=-1)}
    changed = (model(c) - model(other)).abs().amax((1, 2)) > 1e-4
    assert changed.tolist() == (c["dose"][:, 1] == 1).tolist()


def test_everything_dropped_tells_nothing():
    model = encoder().eval()
    told = model(conditions(0), drop=COVARIATES)
    assert torch.equal(told, model(conditions(1), drop=COVARIATES))
    assert torch.equal(told[0], told[1])


def dropped(model: ConditionEncoder, seed: int) -> torch.Tensor:
    """Return which covariate of which sample was dropped, (covariate, K, S), seen through encoders that return ones."""
    n, s = 200, 50
    c, seen = conditions(n=n), []
    for name in COVARIATES:
        original = model._encode
        model._encode = lambda covariate, *a, name=name: torch.full(
            (n, 1, W), float(covariate == name)
        )
        model.mix, mix = torch.nn.Identity(), model.mix
        generator = torch.Generator().manual_seed(seed)
        seen.append(
            model(c, torch.zeros(n, s, dtype=torch.int64), generator=generator)[..., 0] < 0.5
        )
        model._encode, model.mix = original, mix
    return torch.stack(seen)


def test_dropout_has_its_rate_and_is_independent_per_sample_and_covariate():
    model = encoder(dropout=0.2).train()
    with torch.no_grad():
        for name in COVARIATES:
            model._null(name).zero_()
    out = dropped(model, 0).float()
    n = out[0].numel()
    assert (out.mean((1, 2)) - 0.2).abs().max() < 5 * (0.2 * 0.8 / n) ** 0.5
    between = torch.corrcoef(out.flatten(1)) - torch.eye(len(COVARIATES))
    assert between.abs().max() < 5 / n**0.5
    assert (out[..., 1:] * out[..., :-1]).mean() == pytest.approx(
        0.04, abs=0.005
    )  # neighbouring slots of one condition
    assert torch.equal(out, dropped(model, 0).float())
    assert not torch.equal(out, dropped(model, 1).float())


def test_dropout_needs_a_generator_and_rests_in_evaluation():
    model, c = encoder(dropout=0.9), conditions()
    with pytest.raises(ValueError, match="pass generator="):
        model(c, STRATUM)
    assert model.eval()(c).shape == (K, 1, W)
    known, stratum = c | {"context": c["context"].clamp(min=0)}, STRATUM.clamp(min=0)
    torch.testing.assert_close(model(known, stratum), encoder(dropout=0).train()(known, stratum))


def test_an_unknown_code_that_training_never_drops_is_the_mean_of_the_known_ones():
    model, c = encoder(dropout=0).eval(), conditions()
    rows = model.encoders["context"].rows.weight
    with torch.no_grad():
        rows.add_(1)  # as if trained: far from 0
        unknown = model.encoders["context"](torch.tensor([-1]))[0]
    torch.testing.assert_close(unknown, rows.mean(0))
    blank = c | {"context": torch.full((K,), -1)}
    torch.testing.assert_close(model(blank), model(c, drop=("context",)))
    assert model.encoders["context"].null is None
    assert encoder().encoders["context"].null is not None


@both
def test_gradients_reach_every_parameter(pooling):
    model = encoder(pooling, dropout=0.3).train()
    model(
        conditions(), STRATUM, generator=torch.Generator().manual_seed(0)
    ).square().sum().backward()
    assert [
        name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()
    ] == []


@both
def test_state_dict_round_trip(pooling):
    model, other = (
        encoder(pooling).eval(),
        ConditionEncoder(E, 2, width=W, n_batches=2, n_control=7, pooling=pooling).eval(),
    )
    other.load_state_dict(model.state_dict())
    assert torch.equal(model(conditions(), STRATUM), other(conditions(), STRATUM))


def test_only_the_covariates_that_exist():
    model = ConditionEncoder(E, 0, width=W)
    assert model.covariates == ("perturbation", "dose")
    assert model.eval()(conditions(), STRATUM).shape == (K, 1, W)


def test_errors_name_what_is_wrong():
    model, c = encoder().eval(), conditions()
    with pytest.raises(ValueError, match=r"drop='colour' is not known.*'context'"):
        model(c, drop={"colour"})
    with pytest.raises(
        ValueError, match="code 2 is not known: the encoder was made for codes 0 to 1"
    ):
        model(c | {"context": torch.full((K,), 2)})
    with pytest.raises(ValueError, match="pooling='max'"):
        ConditionEncoder(E, 0, width=W, pooling="max")
