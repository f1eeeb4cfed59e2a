from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from shoal.metrics._hits import hits_recall_budget, hits_recall_fdr, strongest


@pytest.fixture
def ranking(rng):
    """Scores without ties, and a quarter of 40 perturbations as hits."""
    return rng.permutation(40).astype(float), rng.permutation(np.arange(40) < 10)


def plain_budget(score, hit, n):
    return sum(hit[i] for i in sorted(range(len(score)), key=lambda i: -score[i])[:n]) / hit.sum()


def plain_fdr(score, hit, q):
    order = sorted(range(len(score)), key=lambda i: -score[i])
    lists = [hit[order[:n]] for n in range(1, len(order) + 1)]
    return max((own.sum() for own in lists if 1 - own.mean() <= q), default=0) / hit.sum()


@pytest.mark.parametrize("budget", [1, 7, 39, 40, 400])
def test_recall_at_a_budget_equals_a_plain_count(budget, ranking):
    assert hits_recall_budget(*ranking, budget=budget) == pytest.approx(
        plain_budget(*ranking, budget)
    )


@pytest.mark.parametrize(
    ("share", "n"), [(0.1, 4), (0.11, 5), (0.5, 20), (1e-6, 1), (0.3, 12), (0.7, 28)]
)
def test_a_share_is_rounded_up(share, n, ranking):
    assert hits_recall_budget(*ranking, budget=share) == hits_recall_budget(*ranking, budget=n)


@pytest.mark.parametrize("q", [0.0, 0.1, 0.5, 0.74, 0.9])
def test_recall_at_a_share_of_false_hits_equals_a_plain_count(q, rng):
    for _ in range(50):
        score, hit = rng.permutation(30).astype(float), rng.random(30) < 0.4
        assert hits_recall_fdr(score, hit, q=q) == pytest.approx(plain_fdr(score, hit, q))


def test_ties_at_a_budget_are_the_mean_over_all_orders():
    score, hit = np.array([3.0, 2, 2, 2, 1]), np.array([False, True, False, True, True])
    for budget in range(1, 6):
        broken = [
            hits_recall_budget(score + 1e-3 * np.array([0, *order, 0]), hit, budget=budget)
            for order in permutations(range(3))
        ]
        assert hits_recall_budget(score, hit, budget=budget) == pytest.approx(np.mean(broken))


def test_tied_perturbations_are_listed_together_or_not_at_all():
    score = np.array([3.0, 3, 2, 2])
    assert hits_recall_fdr(score, np.array([True, False, True, True]), q=0.1) == 0
    assert hits_recall_fdr(score, np.array([True, True, True, False]), q=0.1) == pytest.approx(
        2 / 3
    )
    assert hits_recall_fdr(score, np.array([True, True, True, False]), q=0.25) == 1


def test_perfect_constant_and_worst(ranking):
    _, hit = ranking
    assert hits_recall_budget(hit.astype(float), hit, budget=10) == 1
    assert hits_recall_budget(hit.astype(float), hit, budget=4) == pytest.approx(
        0.4
    )  # no more can be found
    assert hits_recall_fdr(hit.astype(float), hit, q=0.0) == 1
    assert hits_recall_budget(np.zeros(40), hit, budget=8) == pytest.approx(8 / 40)
    assert hits_recall_fdr(np.zeros(40), hit, q=0.5) == 0
    assert hits_recall_budget(-hit.astype(float), hit, budget=30) == 0


def test_by_chance_the_budget(rng):
    hit = np.arange(40) < 10
    found = [hits_recall_budget(rng.normal(size=40), hit, budget=0.2) for _ in range(2000)]
    assert np.mean(found) == pytest.approx(0.2, abs=4 * np.std(found) / np.sqrt(2000))


@pytest.mark.parametrize("metric", [hits_recall_budget, hits_recall_fdr])
def test_only_the_order_of_scores_counts_and_not_that_of_perturbations(metric, ranking, rng):
    score, hit = ranking
    tied = score // 3
    order = rng.permutation(40)
    assert metric(tied[order], hit[order]) == pytest.approx(metric(tied, hit))
    assert metric(np.exp(score / 9), hit) == metric(score, hit)


def test_strongest_takes_the_share_and_what_is_tied_with_its_last():
    strength = np.arange(20.0)
    assert np.flatnonzero(strongest(strength, share=0.1)).tolist() == [18, 19]
    assert strongest(strength, share=0.101).sum() == 3
    assert strongest(np.zeros(5), share=0.2).all()
    assert strongest(np.array([]), share=0.2).shape == (0,)


@pytest.mark.parametrize("metric", [hits_recall_budget, hits_recall_fdr])
def test_without_a_hit_nan(metric):
    assert np.isnan(metric(np.arange(5.0), np.zeros(5, dtype=bool)))
    assert np.isnan(metric(np.array([]), np.array([], dtype=bool)))


@pytest.mark.parametrize("metric", [hits_recall_budget, hits_recall_fdr])
def test_bad_input(metric):
    hit = np.arange(5) < 2
    with pytest.raises(ValueError, match="1-D and finite"):
        metric(np.array([1, 2, np.nan, 4, 5]), hit)
    with pytest.raises(ValueError, match="1-D and finite"):
        metric(np.ones((5, 1)), hit)
    with pytest.raises(ValueError, match="5 booleans, not int64"):
        metric(np.arange(5.0), hit.astype(np.int64))
    with pytest.raises(ValueError, match=r"5 booleans, not bool of shape \(4,\)"):
        metric(np.arange(5.0), hit[:4])


@pytest.mark.parametrize("budget", [0, -1, 2.5, np.nan])
def test_bad_budget(budget):
    with pytest.raises(ValueError, match="budget must be"):
        hits_recall_budget(np.arange(5.0), np.arange(5) < 2, budget=budget)


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda x: strongest(np.arange(5.0), share=x), "share"),
        (lambda x: hits_recall_fdr(np.arange(5.0), np.arange(5) < 2, q=x), "q"),
    ],
)
@pytest.mark.parametrize("value", [-0.1, 1, np.nan])
def test_bad_share(call, name, value):
    with pytest.raises(ValueError, match=f"^{name} must be"):
        call(value)
