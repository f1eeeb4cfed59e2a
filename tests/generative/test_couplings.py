from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from shoal.generative import COUPLINGS, couple, take

K, S, D = 5, 24, 3
each_method = pytest.mark.parametrize("method", COUPLINGS)


@pytest.fixture
def cells(generator):
    """Sources and targets of five sets, in three strata of unequal sizes and scattered slots."""
    source, target = torch.randn(2, K, S, D, generator=generator)
    stratum = torch.randint(0, 3, (K, S), generator=generator) * 7 - 1
    return source, target, stratum


@each_method
def test_pairs_stay_within_their_stratum(method, cells, generator):
    source, target, stratum = cells
    far = 100.0 * stratum[..., None]
    # Strata swapped in space: the best pairs, if they were allowed, would all be across.
    pairs = couple(source + far, target - far, stratum=stratum, method=method, generator=generator)
    assert pairs.dtype == torch.long
    assert torch.equal(stratum.gather(1, pairs), stratum)
    if method != "sinkhorn":
        assert torch.equal(pairs.sort(1).values, torch.arange(S).expand(K, S))


def test_exact_is_the_optimum_of_each_stratum(cells, generator):
    source, target, stratum = cells
    pairs = couple(source, target, stratum=stratum, generator=generator)
    found = (take(source, pairs) - target).square().sum(2)
    for k in range(K):
        for code in stratum[k].unique():
            here = stratum[k] == code
            cost = cdist(source[k, here], target[k, here], "sqeuclidean")
            assert found[k, here].sum().item() == pytest.approx(
                cost[linear_sum_assignment(cost)].sum(), rel=1e-5
            )


def test_exact_holds_far_from_the_origin(generator):
    source, target = torch.randn(2, 2, 60, 4, generator=generator) + 3000
    pairs = couple(source, target, generator=generator)
    assert torch.equal(pairs, couple(source - 3000, target - 3000, generator=generator))


def test_sets_do_not_see_each_other(cells, generator):
    source, target, stratum = cells
    order = torch.randperm(K, generator=generator)
    pairs = couple(source, target, stratum=stratum, generator=generator)
    moved = couple(source[order], target[order], stratum=stratum[order], generator=generator)
    assert torch.equal(moved, pairs[order])


def test_exact_follows_the_slots(cells, generator):
    source, target, stratum = cells
    order = torch.randperm(S, generator=generator)
    pairs = couple(source, target, stratum=stratum, generator=generator)
    moved = couple(
        source[:, order], target[:, order], stratum=stratum[:, order], generator=generator
    )
    assert torch.equal(order[moved], pairs[:, order])


def test_independent_pairs_are_uniform_within_the_stratum(generator):
    stratum = torch.tensor([0, 1, 0, 1, 1]).expand(6000, 5)
    cells = torch.zeros(6000, 5, 1)
    pairs = couple(cells, cells, stratum=stratum, method="independent", generator=generator)
    share = torch.nn.functional.one_hot(pairs, 5).double().mean(0)
    expected = (stratum[0][:, None] == stratum[0]).double()
    torch.testing.assert_close(share, expected / expected.sum(1, keepdim=True), atol=0.03, rtol=0)


def test_none_keeps_the_slots(cells, generator):
    source, target, _ = cells
    assert torch.equal(
        couple(source, target, method="none", generator=generator), torch.arange(S).expand(K, S)
    )


def test_the_partner_of_a_cell_that_is_repeated_is_a_fair_draw(generator):
    """Each of 12 cells fills two or three of 32 slots and counts once; its partner must not favour near sources."""
    n, distinct = 3000, 12
    source = torch.randn(n, 32, 1, generator=generator)
    own = torch.randn(n, distinct, 1, generator=generator) + 1
    target = own[:, torch.arange(32) % distinct]
    partner = take(source, couple(source, target, generator=generator))
    counting = partner[:, :distinct]
    error = 1 / (n * distinct) ** 0.5
    assert counting.mean().abs() < 3.5 * error
    assert abs(counting.std() - 1) < 3.5 * error / 2**0.5
    # whereas the nearest 12 of the 32 are no sample of the sources at all
    cost = (source[0] - own[0].T).square().numpy()
    assert source[0, linear_sum_assignment(cost)[0], 0].mean() > 0.3


def test_sinkhorn_runs_from_exact_to_independent(generator):
    source, target = torch.randn(2, 40, 32, 2, generator=generator)

    def cost(method, **options):
        pairs = couple(source, target, method=method, generator=generator, **options)
        return (take(source, pairs) - target).square().sum(2).mean().item()

    exact, loose = cost("exact"), cost("independent")
    costs = [cost("sinkhorn", epsilon=e) for e in (0.02, 0.5, 1000.0)]
    assert costs[0] == pytest.approx(exact, rel=0.1)
    assert costs[0] < costs[1] < costs[2]
    assert costs[2] == pytest.approx(loose, rel=0.1)
    assert exact < cost("sinkhorn") < 0.6 * loose


def test_sinkhorn_draws_targets_exactly_and_sources_evenly(generator):
    source, target = torch.randn(2, 1, 8, 2, generator=generator)
    pairs = couple(
        source.expand(4000, 8, 2),
        target.expand(4000, 8, 2),
        method="sinkhorn",
        epsilon=0.5,
        generator=generator,
    )
    share = torch.bincount(pairs.flatten(), minlength=8) / pairs.numel()
    torch.testing.assert_close(share, torch.full((8,), 1 / 8), atol=0.01, rtol=0)


@each_method
def test_the_seed_decides_and_half_precision_is_no_harm(method, generator):
    source, target = torch.randn(2, 3, 64, 5, generator=generator)

    def pairs(seed):
        return couple(source, target, method=method, generator=torch.Generator().manual_seed(seed))

    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = pairs(1)
    assert torch.equal(pairs(1), half)
    assert torch.equal(pairs(1), pairs(2)) == (method in {"exact", "none"})


@each_method
def test_identical_cells_and_single_slots_can_be_paired(method, generator):
    same = torch.ones(2, 6, 3)
    pairs = couple(same, same, method=method, generator=generator)
    assert pairs.shape == (2, 6)
    alone = couple(
        same, same, stratum=torch.arange(6).expand(2, 6), method=method, generator=generator
    )
    assert torch.equal(alone, torch.arange(6).expand(2, 6))


def test_wrong_input_is_refused(cells, generator):
    source, target, stratum = cells
    with pytest.raises(ValueError, match="coupling='ot' is not known; choose one of 'exact'"):
        couple(source, target, method="ot", generator=generator)
    with pytest.raises(ValueError, match=r"not \(5, 23, 3\), \(5, 24, 3\) and \(5, 24\)"):
        couple(source[:, 1:], target, stratum=stratum, generator=generator)
    with pytest.raises(ValueError, match="epsilon must be above 0"):
        couple(source, target, method="sinkhorn", epsilon=np.float64(0), generator=generator)
