"""The networks of Unlasting: sizes, losses by hand, masks, inversion, and what is left out."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch", reason="networks need the extra 'models'")
pytest.importorskip("scvi", reason="networks need the extra 'models'")

from shoal.models.base._config import changed  # noqa: E402
from shoal.models.unlasting._config import PRESETS  # noqa: E402
from shoal.models.unlasting._control_input import control_cells  # noqa: E402
from shoal.models.unlasting._covariates import with_genes  # noqa: E402
from shoal.models.unlasting._masks import coupled, drawn, is_on  # noqa: E402
from shoal.models.unlasting._module import UnlastingModule  # noqa: E402
from shoal.models.unlasting._reference import References  # noqa: E402

K, S, G, E = 3, 40, 6, 3
TINY = {"width": 16, "decoder": 16, "depth": 1, "graph_width": 8, "mask_width": 8}
SEEN = 5e-3  # what a covariate changes before training; rounding is 1e-6, and eps in a norm 1e-4
NO_EDGES = torch.zeros(2, 0, dtype=torch.long)
each_preset = pytest.mark.parametrize("preset", PRESETS)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def references(share):
    """Return references of two conditions: genes are on in all cells, and in none."""
    bits = torch.cat([torch.ones(5, G), torch.zeros(5, G)]).to(torch.uint8)
    start, table = torch.tensor([0, 5, 10]), torch.tensor([[1.0] * G, [0.0] * G])
    return References(("on", "off"), table, bits, start, share, high=1.0, low=0.0)


def module(preset="shoal", *, doses=False, nonnegative=True, **changes):
    torch.manual_seed(0)
    config = changed(PRESETS[preset], TINY | changes)
    return UnlastingModule(
        G,
        E,
        2,
        2,
        config=config,
        genes=torch.tensor([0, 3, -1]),
        nodes=torch.randn(G, 4),
        edges=torch.tensor([[0, 1], [1, 3]]),
        doses=doses,
        nonnegative=nonnegative,
        references=references(1.0) if config.masking.mask == "reference" else None,
    )


def batch(seed=0):
    """Return A, A + B and the third perturbation, which is no gene, with zeros in half of all genes."""
    draw = seeded(seed)
    source, target = torch.rand(2, K, S, G, generator=draw)
    on = torch.rand(2, K, S, G, generator=draw) < 0.5
    code = torch.tensor([[0, -1], [0, 1], [2, -1]])
    present = code >= 0
    condition = {
        "parts": torch.eye(E)[code.clamp(min=0)] * present[..., None],
        "present": present,
        "code": code,
        "context": torch.tensor([0, 1, -1]),
        "dose": torch.zeros(K, 2),
        "moments": torch.rand(K, 3, G, generator=draw) * 0.8 + 0.1,
    }
    weight, source_weight = torch.ones(2, K, S)
    weight[:, ::4] = source_weight[:, ::3] = 0
    return SimpleNamespace(
        source=source * on[0],
        target=target * on[1],
        weight=weight,
        source_weight=source_weight,
        batch_index=torch.arange(S).expand(K, S) % 2,
        index=torch.arange(K),
        condition=condition,
    )


def sampled(net, given, seed=1, **options):
    where = (given.source, given.condition, given.batch_index)
    return net.sample(*where, generator=seeded(seed), **options)


# -- sizes -----------------------------------------------------------------------------------------


def n_parameters(preset, d, n_contexts):
    """Return the sizes of the bridge and of its trunk, without making any weight."""
    given = {"nodes": torch.zeros(d, 32), "edges": NO_EDGES, "genes": torch.arange(3)}
    config = changed(PRESETS[preset], {"mask": "bernoulli"})
    with torch.device("meta"):
        net = UnlastingModule(d, 0, n_contexts, config=config, **given)

    def count(*parts):
        return sum(p.numel() for part in parts if part is not None for p in part.parameters())

    trunk = count(net.net.enter, net.net.after_time, net.net.after_place, net.time, net.place)
    return (count(net) - count(net.mask)) / 1e6, trunk / 1e6


@pytest.mark.parametrize(("d", "millions"), [(5000, 61), (2000, 46), (200, 36)])
def test_the_later_version_has_as_many_parameters_as_the_authors(d, millions):
    assert round(n_parameters("published", d, 3)[0]) == millions


@pytest.mark.parametrize(
    ("d", "millions", "trunk"), [(5000, 398, 281.6), (2000, 79, 46.6), (200, 8, 0.7)]
)
def test_the_first_version_has_the_trunk_of_the_authors(d, millions, trunk):
    """What it lacks grows with the genes and not with their square: 2,700 weights a gene."""
    whole, own = n_parameters("published_v2", d, 3)
    assert own == pytest.approx(trunk, rel=0.01)
    assert millions - whole == pytest.approx(1.3 + 2.7e-3 * d, abs=0.5)  # theirs is rounded


# -- losses ----------------------------------------------------------------------------------------


def test_errors_count_where_genes_are_on_and_slots_are_no_repeats():
    net, given = module("published", dropout=0.0, mask="bernoulli", inversion=None), batch()
    net.eval()
    with torch.no_grad():
        found = net.loss(given, seeded())["error"]
        net._treated = lambda x, time, place, vector, beside: (torch.zeros_like(x), None)
        zero = net.loss(given, seeded())["error"]
    counts = given.weight[..., None] * (given.target != 0)
    assert float(zero) == pytest.approx(float((counts * given.target**2).sum() / counts.sum()))
    assert found != zero


def test_errors_of_cells_that_were_perturbed_at_their_start_count_everywhere():
    net, given = module("published", dropout=0.0, mask="bernoulli", inversion=None), batch()
    given.condition["present"][0] = False
    net._treated = lambda x, time, place, vector, beside: (torch.zeros_like(x), None)
    counts = given.weight[..., None] * (given.target != 0)
    counts[0] = given.weight[0, :, None]
    found = net.loss(given, seeded())["error"]
    assert float(found) == pytest.approx(float((counts * given.target**2).sum() / counts.sum()))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_genes_are_on_where_they_are_not_zero(dtype):
    x = torch.tensor([[0.0, -0.0, 2.0], [-1.0, 1e-30, 0.0]], dtype=dtype)
    assert is_on(x).dtype == dtype
    assert is_on(x).tolist() == [[0, 0, 1], [1, 1, 0]]


def test_control_cells_are_learned_beside_perturbed_ones_by_a_decoder_of_their_own():
    net, given = module("published", mask="bernoulli"), batch()
    net.loss(given, seeded())["error"].backward()
    for part in (net.net.control, net.net.treated, net.net.enter):
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in part[0].parameters())
    given.condition["present"][:] = (
        False  # cells that were perturbed at their start are no controls
    )
    other = module("published", mask="bernoulli")
    other.loss(given, seeded())["error"].backward()
    assert all(p.grad is None or p.grad.abs().sum() == 0 for p in other.net.control.parameters())
    assert module("published", inversion=None).net.control is None


@each_preset
def test_the_mask_and_the_cells_share_no_weight(preset):
    net, given = module(preset), batch()
    terms = net.loss(given, seeded())
    terms["mask"].backward(retain_graph=True)
    touched = {name for name, p in net.named_parameters() if p.grad is not None}
    assert touched
    assert all(name.startswith("mask.") for name in touched)


def test_all_terms_add_up():
    net, given = module(energy=0.5), batch()
    terms = net.loss(given, seeded())
    total = terms["error"] + terms["mask"] + 0.5 * terms["energy"]
    assert float(terms["loss"].detach()) == pytest.approx(float(total.detach()))


def test_the_control_input_of_training_has_the_moments_of_its_context():
    given = batch()
    given.source = given.source[:, :1].expand(K, 20_000, G)
    beside = control_cells("moments", given.source, given.condition, seeded())
    mean, sd, _ = given.condition["moments"].unbind(1)
    torch.testing.assert_close(beside.mean(1), mean, atol=0.03, rtol=0)
    torch.testing.assert_close(beside.std(1), sd, atol=0.03, rtol=0)
    assert control_cells("cell", given.source, given.condition, seeded()) is given.source
    given.condition["present"][0] = False  # cells that were perturbed at their start
    again = control_cells("moments", given.source, given.condition, seeded())
    torch.testing.assert_close(again[0], given.source[0])


def test_control_cells_are_read_once_for_all_terms_and_steps():
    net, given, read = module(sees_control=True, energy=1.0), batch(), []
    net.beside.register_forward_hook(lambda *_: read.append(1))
    net.loss(given, seeded())
    assert len(read) == 1
    sampled(net, given, n_steps=5)
    assert len(read) == 2


def test_filled_control_cells_are_on_with_the_moments_of_cells_that_are():
    given = batch()
    on = torch.rand(K, 20_000, G, generator=seeded()) < 0.4
    cells = on * (2 + 0.1 * torch.randn(K, 20_000, G, generator=seeded(1)))
    given.condition["moments"] = torch.stack(
        [cells.mean(1), cells.std(1), (cells > 0).float().mean(1)], 1
    )
    filled = control_cells("filled", cells, given.condition, seeded(2))
    torch.testing.assert_close(filled[on], cells[on])
    torch.testing.assert_close(filled.mean(1), torch.full((K, G), 2.0), atol=0.02, rtol=0)
    torch.testing.assert_close(filled.std(1), torch.full((K, G), 0.1), atol=0.01, rtol=0)


@each_preset
def test_the_mask_learns_the_shares_of_simulated_zeros(preset):
    """Three conditions in which a gene is on in a tenth, a half and nine tenths of the cells."""
    net, given = module(preset, mask="bernoulli", dropout=0.0, condition_dropout=0.0), batch()
    place = (torch.arange(G)[None] + torch.arange(K)[:, None]) % 3
    share = torch.tensor([0.1, 0.5, 0.9])[place]
    given.target = (torch.rand(K, 500, G, generator=seeded()) < share[:, None]).float()
    given.weight = torch.ones(K, 500)
    optimizer = torch.optim.Adam(net.mask.parameters(), lr=1e-2)
    for _ in range(300):
        condition = with_genes(given.condition, net.genes, net.own)
        loss, _ = net.mask.loss(condition, net.nodes, net.edges, given.target, given.weight)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    chance = net.probability(given.condition)[:, 0]
    torch.testing.assert_close(chance, given.target.mean(1), atol=0.03, rtol=0)


def test_layers_between_genes_begin_with_what_the_graph_says_and_mix_genes():
    net, given = module("published_v2", dropout=0.0).mask.eval(), batch()
    condition = given.condition | {"genes": torch.tensor([[0, -1], [1, 3], [-1, -1]])}
    control = condition["moments"].unbind(1)[0]
    with torch.no_grad():
        plain = net(condition, None, NO_EDGES)[:, 0]
        torch.testing.assert_close(plain, net.encoder(condition, control, NO_EDGES) + control)
        net.between[-1].weight.normal_()
        before, net.encoder.bias[0] = net(condition, None, NO_EDGES)[:, 0], 3.0
        after = net(condition, None, NO_EDGES)[:, 0]
    assert (after != before).all()  # one gene changes the odds of all
    assert net.encoder.token is None  # a perturbed gene is 0 in the graph


# -- which genes are on ----------------------------------------------------------------------------


def test_coupled_zeros_have_the_probability_and_change_as_few_genes_as_can_be():
    share, chance = torch.tensor([[[0.6, 0.6, 0.3]]]), torch.tensor([[[0.2, 0.6, 0.9]]])
    on = (torch.rand(1, 50_000, 3, generator=seeded()) < share).float()
    made = drawn(coupled(chance, share, on), torch.zeros(1, 50_000, 3), seeded(1))
    torch.testing.assert_close(made.float().mean(1), chance[:, 0], atol=0.01, rtol=0)
    changes = (made != on).float().mean(1)[0]
    torch.testing.assert_close(changes, torch.tensor([0.4, 0.0, 0.6]), atol=0.01, rtol=0)


def test_reference_zeros_are_those_of_the_nearest_condition(caplog):
    near = references(1.0)
    like = torch.zeros(2, 30, G)
    chance = torch.tensor([[0.9] * G, [0.2] * G])
    assert near.nearest(chance).tolist() == [0, 1]
    assert near.draw(chance, like, seeded())[:, :, 0].mean(1).tolist() == [1, 0]
    sure = References(
        *(getattr(near, n) for n in ("names", "share", "patterns", "start", "near")),
        high=0.95,
        low=0.05,
    )
    mixed = torch.tensor([[0.9] * (G - 1) + [0.01], [0.2] * (G - 1) + [0.99]])
    assert sure.draw(mixed, like, seeded())[:, 0, -1].tolist() == [0, 1]
    assert "zeros are borrowed" not in caplog.text
    far = references(0.01)
    far.nearest(chance)
    assert "zeros are borrowed from the training condition 'on', the nearest one" in caplog.text
    assert "mask='bernoulli' borrows none" in caplog.text


@pytest.mark.parametrize("mask", ["bernoulli", "reference", "coupled", "hurdle"])
def test_predicted_cells_have_zeros_by_every_mask_and_none_without(mask):
    made = sampled(module(mask=mask), batch())
    assert made.shape == (K, S, G)
    assert 0 < float((made == 0).float().mean()) < 1
    assert made.min() >= 0


def test_cells_that_were_perturbed_at_their_start_are_not_masked():
    net, given = module(), batch()
    given.condition["present"][0] = False
    plain = module(mask=None, on_values=False)
    plain.load_state_dict(net.state_dict(), strict=False)
    made, whole = sampled(net, given), sampled(plain, given)
    torch.testing.assert_close(made[0], whole[0])
    assert (made[1] == 0).float().mean() > (whole[1] == 0).float().mean()


# -- generation ------------------------------------------------------------------------------------


@pytest.mark.parametrize("inversion", ["ddim", "exact"])
def test_noise_that_was_found_before_gives_the_same_cells(inversion):
    net, given = module("published", mask=None, on_values=False, inversion=inversion), batch()
    noise = net.latents(given.source, given.condition, given.batch_index)
    own = sampled(net, given)
    given.condition["latent"] = noise
    torch.testing.assert_close(sampled(net, given), own)
    given.condition["latent"] = noise + 1
    assert (sampled(net, given) - own).abs().max() > 1e-6


def test_no_inversion_is_had_of_a_model_that_was_trained_without():
    with pytest.raises(ValueError, match="inversion='ddim' cannot be had: train it with"):
        sampled(module("shoal"), batch(), inversion="ddim")


def test_clamped_predictions_stay_within_1():
    for doses, cut in ((True, True), (False, False)):
        net, given = module("published", doses=doses, mask=None, on_values=False), batch()
        with torch.no_grad():
            for p in net.net.treated.parameters():
                p.mul_(20)
        assert bool(sampled(net, given).max() <= 1) == cut


@pytest.mark.parametrize("name", ["perturbation", "context", "batch"])
def test_a_covariate_that_is_not_followed_has_no_effect(name):
    """Guidance 0 leaves it out: cells do not depend on it any more."""
    net, given, other = module(mask=None, on_values=False), batch(), batch()
    for each in (given, other):
        each.condition["moments"] = batch().condition["moments"]
    if name == "perturbation":
        other.condition["code"][0, 0], other.condition["parts"][0, 0] = 1, torch.eye(E)[1]
    elif name == "context":
        other.condition["context"][0] = 1
    else:
        other.batch_index = 1 - other.batch_index
    followed = sampled(net, given)[0], sampled(net, other)[0]
    assert (followed[0] - followed[1]).abs().max() > SEEN
    left = (
        sampled(net, given, guidance={name: 0.0})[0],
        sampled(net, other, guidance={name: 0.0})[0],
    )
    torch.testing.assert_close(*left)


def test_an_unseen_perturbation_is_followed_as_far_as_said():
    given = batch()
    given.condition["familiar"] = torch.tensor([True, False, True])
    plain = {"mask": None, "on_values": False, "nonnegative": False}
    ends = [sampled(module(unseen_weight=w, **plain), given) for w in (1.0, 0.5, 0.0)]
    torch.testing.assert_close(ends[1][1], (ends[0][1] + ends[2][1]) / 2, atol=1e-5, rtol=0)
    assert (ends[0][1] - ends[2][1]).abs().max() > 1e-3
    torch.testing.assert_close(ends[0][0], ends[2][0])


@each_preset
def test_a_combination_does_not_depend_on_the_order_of_its_parts(preset):
    net, given, other = module(preset, mask=None, on_values=False), batch(), batch()
    other.condition["code"][1] = other.condition["code"][1].flip(0)
    other.condition["parts"][1] = other.condition["parts"][1].flip(0)
    torch.testing.assert_close(sampled(net, given), sampled(net, other), atol=1e-5, rtol=1e-4)


@each_preset
def test_doses_change_cells_where_there_are_some(preset):
    net, given, other = module(preset, doses=True, mask=None, on_values=False), batch(), batch()
    given.condition["dose"][:, 1] = other.condition["dose"][:, 1] = 1
    other.condition["dose"][:, 0] = 2.0
    assert (sampled(net, given) - sampled(net, other)).abs().max() > SEEN
