from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from sklearn.metrics import pairwise_distances

from shoal.metrics import _mean_ranks as module
from shoal.metrics import (
    centroid_accuracy,
    discrimination_score,
    rank_score,
    retrieval_rank,
)
from shoal.metrics._mean_ranks import panel_genes

METRICS = ("l1", "l2", "cosine")
SCORES = {
    "pds": lambda x, y, **k: discrimination_score(x, y, scale="unit", **k),
    "nir": retrieval_rank,
    "centroid": centroid_accuracy,
}
each_metric = pytest.mark.parametrize("metric", METRICS)
each_score = pytest.mark.parametrize("name", list(SCORES))


@pytest.fixture
def means(rng):
    """Predicted and real means of 40 conditions over 60 genes, so that most are found among the first few but not all."""
    real = rng.gamma(2, 1, 60) + 0.3 * rng.normal(size=(40, 60))
    return real + 1.1 * rng.normal(size=real.shape), real


@pytest.fixture
def mask(rng):
    """One or two target genes a condition, some conditions without."""
    found = np.ones((40, 60), dtype=bool)
    found[np.arange(30), rng.integers(60, size=30)] = False
    found[np.arange(10), rng.integers(60, size=10)] = False
    return found


def reference_score(predicted, real, metric, mask=None):
    """The definition of cell-eval 0.8: one query after the other, the genes removed first, ranks by argsort."""
    name = {"l1": "manhattan", "l2": "euclidean", "cosine": "cosine"}[metric]
    found = []
    for p, query in enumerate(predicted):
        genes = slice(None) if mask is None else mask[p]
        order = np.argsort(
            pairwise_distances(real[:, genes], query[None, genes], metric=name).ravel(),
            kind="stable",
        )
        found.append(1 - np.flatnonzero(order == p)[0] / len(real))
    return np.array(found)


# -- definitions of other packages ------------------------------------------------------------------------------------------


@each_metric
@pytest.mark.parametrize("masked", [False, True])
def test_equals_one_query_after_the_other(metric, masked, means, mask):
    genes = mask if masked else None
    expected = reference_score(*means, metric, genes)
    assert 0.6 < expected.mean() < 0.97
    for ties in ("order", "average"):  # there are none
        found = discrimination_score(*means, metric=metric, mask=genes, ties=ties)
        np.testing.assert_array_equal(found, expected)


@each_metric
def test_a_dominant_target_gene_is_left_out_exactly(metric, means, mask):
    predicted, real = means
    for table, size in ((predicted, 1e4), (real, -3e4)):
        table[~mask] += size
    expected = reference_score(predicted, real, metric, mask)
    assert (expected != reference_score(predicted, real, metric)).any()
    np.testing.assert_array_equal(
        discrimination_score(predicted, real, metric=metric, mask=mask), expected
    )


@each_metric
def test_ties_by_order_are_those_of_cell_eval(metric, rng):
    real = np.repeat(rng.normal(size=(5, 8)), 2, axis=0)  # every mean twice
    predicted = real + 0.1 * rng.normal(size=real.shape)
    found = discrimination_score(predicted, real, metric=metric, ties="order")
    np.testing.assert_allclose(found, reference_score(predicted, real, metric))
    np.testing.assert_allclose(found, np.tile([1, 0.9], 5))  # the first of each pair wins
    np.testing.assert_allclose(discrimination_score(predicted, real, metric=metric), 0.95)


def test_centroid_accuracy_is_the_share_of_real_means_that_are_farther(means):
    predicted, real = means
    distance = cdist(predicted, real)
    expected = [(row[np.arange(40) != p] > row[p]).mean() for p, row in enumerate(distance)]
    np.testing.assert_allclose(centroid_accuracy(predicted, real), expected)
    pds = discrimination_score(predicted, real, metric="l2")
    np.testing.assert_allclose(centroid_accuracy(predicted, real), (40 * pds - 1) / 39)


@each_metric
def test_retrieval_and_rank_score_look_from_the_real_means(metric, means, mask):
    predicted, real = means
    pds = reference_score(real, predicted, metric, mask)  # the parts are changed over
    np.testing.assert_allclose(
        rank_score(predicted, real, metric=metric, mask=mask), 1 - pds, atol=1e-12
    )
    np.testing.assert_allclose(
        retrieval_rank(predicted, real, metric=metric, mask=mask), 1 - (1 - pds) * 40 / 39
    )


def test_one_prediction_near_all_real_means_takes_their_first_place(rng):
    real = 5 * rng.normal(size=(8, 30))
    predicted = real + 8 * rng.normal(size=real.shape)
    predicted[0] = real.mean(axis=0)
    assert discrimination_score(predicted, real, metric="l2")[1:].mean() > 0.9
    assert (retrieval_rank(predicted, real)[1:] < 1).all()


# -- what they are blind to, chance, and the worst -------------------------------------------------------------------


@each_score
def test_perfect_chance_and_invariances(name, means, rng):
    predicted, real = means
    score = SCORES[name]
    found = score(predicted, real)
    np.testing.assert_allclose(score(real, real), 1)
    rows, genes = rng.permutation(40), rng.permutation(60)
    np.testing.assert_allclose(score(predicted[rows], real[rows]), found[rows])
    np.testing.assert_allclose(score(7 * predicted[:, genes] + 3, 7 * real[:, genes] + 3), found)
    strangers = [score(*rng.normal(size=(2, 30, 20))).mean() for _ in range(60)]
    assert np.mean(strangers) == pytest.approx(0.5, abs=4 * np.std(strangers) / np.sqrt(60))
    assert np.std(strangers) < 0.1


@each_score
@pytest.mark.parametrize("offset", [0.0, 1e3])
def test_predictions_that_are_all_the_same_are_at_chance(name, offset, rng):
    real = offset + rng.gamma(1, 1, (31, 200))
    constant = np.tile(real.mean(axis=0) + 0.1, (31, 1))
    found = SCORES[name](constant, real)
    assert found.mean() == pytest.approx(0.5)
    if name == "nir":  # each real mean has the same distance to all predictions
        np.testing.assert_allclose(found, 0.5)


def test_the_published_scale_has_its_chance_above_one_half(rng):
    real = rng.normal(size=(10, 5))
    assert discrimination_score(0 * real, real, metric="l2").mean() == pytest.approx(0.5 + 1 / 20)
    assert rank_score(0 * real, real).mean() == pytest.approx(0.5 - 1 / 20)


def test_the_worst_is_0_on_the_unit_scale_and_1_in_n_on_the_published_one():
    real = np.array([[0.0], [1.0], [10.0]])
    predicted = np.array([[11.0], [1.0], [-2.0]])
    assert discrimination_score(predicted, real, scale="unit").tolist() == [0, 1, 0]
    np.testing.assert_allclose(discrimination_score(predicted, real), [1 / 3, 1, 1 / 3])


def test_shuffled_predictions_lose_what_honest_ones_have(means, rng):
    predicted, real = means
    for score in SCORES.values():
        assert (
            score(np.roll(predicted, 7, axis=0), real).mean() < score(predicted, real).mean() - 0.15
        )


def test_the_cosine_does_not_see_the_length_of_a_prediction_and_l2_does(means, rng):
    predicted, real = (table - table.mean(axis=0) for table in means)
    scaled = predicted * rng.gamma(1, 1, (40, 1))
    cosine = discrimination_score(predicted, real, metric="cosine")
    np.testing.assert_allclose(discrimination_score(scaled, real, metric="cosine"), cosine)
    assert (
        discrimination_score(scaled, real, metric="l2")
        != discrimination_score(predicted, real, metric="l2")
    ).any()


@pytest.mark.parametrize("score", [discrimination_score, retrieval_rank])
def test_predictions_without_a_shift_have_no_direction_and_are_at_chance(score, rng):
    real = rng.normal(size=(12, 9))
    found = score(
        0 * real,
        real,
        metric="cosine",
        **({"scale": "unit"} if score is discrimination_score else {}),
    )
    np.testing.assert_array_equal(found, 0.5)


# -- targets of the panel --------------------------------------------------------------------------------------------------


@pytest.fixture
def knocked(rng):
    """Return honest predictions and real means of 20 knock-downs in 100 genes, the genes without own targets, and the targets."""
    real = 3 + 0.1 * rng.normal(size=(20, 100))
    predicted = real + rng.normal(size=real.shape)
    targets = np.zeros(real.shape, dtype=bool)
    targets[np.arange(20), np.arange(20)] = True
    for table in (real, predicted):
        table[:, :20] = 3
        table[targets] -= 0.5
    return predicted, real, ~targets, targets


def raised_for_others(predicted, targets, by):
    """Higher in the targets of all other conditions."""
    return predicted + by * (targets.any(axis=0) & ~targets)


def marked(predicted, targets, by):
    """Far lower in the own target alone, which does not count for the condition itself."""
    return predicted - by * targets


ATTACKS = [
    (discrimination_score, "l2", raised_for_others),
    (discrimination_score, "cosine", raised_for_others),
    (retrieval_rank, "l1", marked),
    (retrieval_rank, "l2", marked),
]


@pytest.mark.parametrize(("score", "metric", "attack"), ATTACKS)
def test_what_is_predicted_for_targets_of_others_wins_ranks_if_these_count(
    score, metric, attack, knocked
):
    predicted, real, own, targets = knocked
    origin = 3.0 * (metric == "cosine")
    spoilt = attack(predicted, targets, 3)

    def mean(values, mask):
        return score(values - origin, real - origin, metric=metric, mask=mask).mean()

    panel = panel_genes(own, None)
    assert mean(spoilt, own) > mean(predicted, own) + 0.05
    assert mean(spoilt, panel) == mean(predicted, panel) < 0.8


def test_the_lead_over_others_grows_without_bound_where_their_targets_count():
    real = -0.5 * np.eye(3)  # every target is lower by δ = 0.5
    for a in (0.0, 1.0, 7.0):
        predicted = a * (1 - np.eye(3))
        counts = 1 - np.eye(3)
        distance = ((predicted[:, None] - real[None]) ** 2 * counts[:, None]).sum(axis=2)
        lead = distance - np.diag(distance)[:, None]
        np.testing.assert_allclose(lead[counts > 0], 0.25 + a)  # δ² + 2 a δ


def test_genes_of_a_panel_are_those_of_no_target_of_the_context():
    own = np.ones((4, 10), dtype=bool)
    own[np.arange(4), np.arange(4)] = False
    group = np.array([0, 0, 1, 1])
    np.testing.assert_array_equal(panel_genes(own, None).sum(axis=1), 6)
    both = panel_genes(own, group)
    np.testing.assert_array_equal(both[0], own[0] & own[1])
    np.testing.assert_array_equal(both[2:], np.tile(own[2] & own[3], (2, 1)))
    assert own.sum() == 36  # it is not changed


@pytest.mark.parametrize(
    ("n_genes", "n_targets", "kept"),
    [(60, 30, True), (60, 31, False), (999, 949, True), (999, 950, False)],
)
def test_a_panel_that_leaves_too_few_genes_leaves_out_own_targets_alone(n_genes, n_targets, kept):
    own = np.ones((n_targets, n_genes), dtype=bool)
    own[np.arange(n_targets), np.arange(n_targets)] = False
    found = panel_genes(own, None)
    np.testing.assert_array_equal(found, np.tile(own.all(axis=0), (n_targets, 1)) if kept else own)


# -- contexts, blocks and bad input ----------------------------------------------------------------------------------


@each_score
def test_conditions_compete_within_their_context(name, means, mask):
    predicted, real = means
    group = np.arange(40) % 3 + 5
    group[11] = 99
    found = SCORES[name](predicted, real, group=group, mask=mask)
    assert np.flatnonzero(np.isnan(found)).tolist() == [11]
    for label in (5, 6, 7):
        rows = np.flatnonzero(group == label)
        np.testing.assert_allclose(
            found[rows], SCORES[name](predicted[rows], real[rows], mask=mask[rows])
        )


def test_rank_score_divides_by_the_conditions_of_the_context(means):
    group = np.repeat([0, 1], [10, 30])
    n = np.repeat([10, 30], [10, 30])
    expected = (1 - retrieval_rank(*means, group=group)) * (n - 1) / n
    np.testing.assert_allclose(rank_score(*means, group=group), expected)


@each_metric
def test_blocks_do_not_matter(metric, means, mask, monkeypatch):
    expected = discrimination_score(*means, metric=metric, mask=mask)
    monkeypatch.setattr(module, "BLOCK_BYTES", 8 * 60 * 7)
    np.testing.assert_array_equal(discrimination_score(*means, metric=metric, mask=mask), expected)


@each_metric
def test_single_precision_and_fortran_order_are_read(metric, means):
    predicted, real = (np.asfortranarray(table, dtype=np.float32) for table in means)
    expected = reference_score(predicted.astype(np.float64), real.astype(np.float64), metric)
    np.testing.assert_array_equal(discrimination_score(predicted, real, metric=metric), expected)


def test_one_gene_and_no_gene():
    real = np.array([[0.0], [1.0], [4.0]])
    assert discrimination_score(real, real).tolist() == [1, 1, 1]
    nothing = np.zeros((3, 1), dtype=bool)
    for metric in METRICS:
        np.testing.assert_allclose(
            discrimination_score(real, real, metric=metric, mask=nothing, scale="unit"), 0.5
        )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"metric": "manhattan"},
            "metric='manhattan' is not known; choose one of 'l1', 'l2', 'cosine'",
        ),
        ({"ties": "first"}, "ties='first'"),
        ({"scale": "n"}, "scale='n'"),
        ({"group": np.zeros(3)}, "group must hold one label for each of 40"),
        ({"mask": np.ones((40, 2), dtype=bool)}, "booleans of shape .40, 60."),
    ],
)
def test_bad_options_are_refused(options, message, means):
    with pytest.raises(ValueError, match=message):
        discrimination_score(*means, **options)


@each_score
def test_bad_tables_are_refused(name, means):
    predicted, real = means
    with pytest.raises(ValueError, match=r"real \(39, 60\)"):
        SCORES[name](predicted, real[:39])
    predicted[3, 4] = np.inf
    with pytest.raises(ValueError, match="1 of 40 rows of predicted hold NaN or infinite"):
        SCORES[name](predicted, real)


def test_equals_scperteval(means):
    scperteval = pytest.importorskip(
        "scperteval.protocols.metrics",
        reason="a test against another package: pip install scperteval==0.2.0",
    )
    predicted, real = means
    np.testing.assert_allclose(
        1 - retrieval_rank(predicted, real),
        scperteval.rank_retrieval(real, predicted, None),
        atol=1e-12,
    )
    np.testing.assert_allclose(
        centroid_accuracy(predicted, real), scperteval.nir(real, predicted, None)
    )
