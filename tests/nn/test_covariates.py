from __future__ import annotations

import pytest
import torch

from shoal.nn import CovariateEncoder

K, S, P, E, W = 6, 5, 3, 4, 16
STRATUM = torch.arange(K * S).reshape(K, S) % 3 - 1


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
    }


def encoder(**changes) -> CovariateEncoder:
    torch.manual_seed(0)
    made = CovariateEncoder(
        E, 2, **({"hidden": 20, "width": W, "n_batches": 2, "dose": True} | changes)
    )
    return made


def test_all_covariates_side_by_side_through_one_layer():
    model, c = encoder().eval(), conditions()
    assert model.covariates == ("perturbation", "context", "batch", "dose")
    assert model.enter.in_features == 4 * 128
    assert model.enter.out_features == model.leave.in_features == 20
    part = model.encoders["perturbation"]
    first = (c["parts"][0] @ part.weight.T + part.bias).mean(0)
    context = model.encoders["context"].unknown  # code -1
    batch = torch.stack([model.encoders["batch"](code) for code in STRATUM[0]])
    dose = model.encoders["dose"].bias  # no dose in the first
    joined = torch.cat(
        [first.expand(S, -1), context.expand(S, -1), batch, dose.expand(S, -1)], dim=-1
    )
    expected = model.leave(torch.nn.functional.silu(model.enter(joined)))
    torch.testing.assert_close(model(c, STRATUM)[0], expected)


def test_order_and_padding_of_the_parts_have_no_effect():
    model, c = encoder().eval(), conditions()
    turned = c | {"parts": c["parts"].flip(1), "present": c["present"].flip(1)}
    torch.testing.assert_close(model(c), model(turned))
    wider = torch.nn.functional.pad(c["present"], (0, 2))
    junk = torch.cat([c["parts"], torch.full((K, 2, E), 1e6)], dim=1)
    torch.testing.assert_close(model(c), model(c | {"parts": junk, "present": wider}))


def test_one_hot_vectors_make_a_learned_table():
    model = encoder().eval()
    c = conditions(n=E) | {
        "parts": torch.eye(E)[:, None],
        "present": torch.ones(E, 1, dtype=torch.bool),
    }
    before = model(c)
    with torch.no_grad():
        model.encoders["perturbation"].weight[:, 2] += 1
    assert ((model(c) - before).abs().amax((1, 2)) > 1e-5).tolist() == [False, False, True, False]


def test_unperturbed_has_a_row_of_its_own():
    model, c = encoder().eval(), conditions()
    before = model(c)
    with torch.no_grad():
        model.unperturbed += 1
    changed = (model(c) - before).abs().amax((1, 2)) > 1e-5
    assert changed.tolist() == (~c["present"].any(1)).tolist()


def test_unknown_codes_are_the_mean_of_the_known_ones():
    model, c = encoder().eval(), conditions()
    rows = model.encoders["context"].rows.weight
    torch.testing.assert_close(model.encoders["context"](torch.tensor([-1]))[0], rows.mean(0))
    torch.testing.assert_close(model(c, torch.full((K, S), -1)), model(c).expand(K, S, W))


def test_a_dose_that_is_not_there_has_no_value():
    model, c = encoder().eval(), conditions()
    other = c | {"dose": torch.stack([c["dose"][:, 0] + 1, c["dose"][:, 1]], dim=-1)}
    changed = (model(c) - model(other)).abs().amax((1, 2)) > 1e-5
    assert changed.tolist() == (c["dose"][:, 1] == 1).tolist()
    without = encoder(dose=False).eval()
    assert torch.equal(without(c), without(other))


def test_everything_dropped_tells_nothing():
    model = encoder()
    told = model(
        conditions(0), STRATUM, drop=("perturbation",)
    )  # in training as well, without a coin
    assert torch.equal(told, model.eval()(conditions(1), drop=("perturbation",)))
    torch.testing.assert_close(
        told, told[:1].expand(K, 1, W)
    )  # rows of a product may be rounded apart
    assert not torch.isclose(told, model(conditions(0))).all(-1).any()


@pytest.mark.parametrize("coin", ["batch", "condition"])
def test_dropout_drops_all_covariates_together(coin):
    model, n, s, rounds = encoder(dropout=0.3, coin=coin), 20, 4, 300
    c, batch_index = conditions(n=n), torch.zeros(n, s, dtype=torch.int64)
    null, told = model(c, drop=("perturbation",)), model.eval()(c, batch_index)
    model.train()
    draw, out = torch.Generator().manual_seed(0), []
    with torch.no_grad():
        for _ in range(rounds):
            found = model(c, batch_index, generator=draw)
            dropped = torch.isclose(found, null, atol=1e-6).all(-1)
            torch.testing.assert_close(found, torch.where(dropped[..., None], null, told))
            assert torch.equal(dropped, dropped[:, :1].expand(n, s))  # never a slot alone
            out.append(dropped[:, 0].float())
    out = torch.stack(out)  # (rounds, n)
    together = out.var(1).eq(0)
    assert together.all() if coin == "batch" else not together.any()
    throws = out[:, 0] if coin == "batch" else out.flatten()
    assert (throws.mean() - 0.3).abs() < 5 * (0.3 * 0.7 / len(throws)) ** 0.5


def test_dropout_needs_a_generator_and_rests_in_evaluation():
    model, c = encoder(dropout=1.0), conditions()
    with pytest.raises(ValueError, match="pass generator="):
        model(c, STRATUM)
    assert model.eval()(c).shape == (K, 1, W)
    torch.testing.assert_close(model(c, STRATUM), encoder(dropout=0).train()(c, STRATUM))


@pytest.mark.parametrize("dropout", [0.0, 1.0])
def test_every_weight_is_part_of_every_step(dropout):
    """Where all that is told is dropped too: training on several devices waits for the gradient of every weight."""
    model = encoder(dropout=dropout, coin="batch")
    out = model(conditions(), STRATUM, generator=torch.Generator().manual_seed(0))
    (out + model(conditions(), drop=("perturbation",))).square().sum().backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []
    reached = {name for name, p in model.named_parameters() if p.grad.any()}
    everything = {name for name, _ in model.named_parameters()}
    assert reached == (everything if dropout == 0 else {"null", "leave.weight", "leave.bias"})


def test_only_the_covariates_that_exist():
    model = CovariateEncoder(E, 0, hidden=20, width=W).eval()
    assert model.covariates == ("perturbation",)
    assert model(conditions(), STRATUM).shape == (K, 1, W)


def test_state_dict_round_trip():
    model, other = (
        encoder().eval(),
        CovariateEncoder(E, 2, hidden=20, width=W, n_batches=2, dose=True).eval(),
    )
    other.load_state_dict(model.state_dict())
    assert torch.equal(model(conditions(), STRATUM), other(conditions(), STRATUM))


def test_errors_name_what_is_wrong():
    with pytest.raises(
        ValueError, match="code 2 is not known: the encoder was made for codes 0 to 1"
    ):
        encoder()(conditions() | {"context": torch.full((K,), 2)})
    with pytest.raises(
        ValueError, match="coin='cell' is not known; choose one of 'batch', 'condition'"
    ):
        CovariateEncoder(E, 0, hidden=20, width=W, coin="cell")
