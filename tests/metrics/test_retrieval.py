from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest

from shoal.metrics import (
    average_precision,
    mean_average_precision,
    retrieval_precision,
    top_k_accuracy,
)
from shoal.metrics._precision import expected_precision, random_precision, ranked_precision


@pytest.fixture
def plates(rng):
    """Profiles of 8 perturbations and a control on 4 plates, two wells each; half respond."""
    label = np.tile(np.repeat(np.arange(9), 2), 4)
    plate = np.repeat(np.arange(4), 18)
    centre = rng.normal(size=(9, 12)) * (np.arange(9) < 5)[:, None]
    return centre[label] + rng.normal(size=(len(label), 12)), label, plate


def top(query, reference, query_label, reference_label, **options):
    labels = {"query_label": query_label, "reference_label": reference_label}
    return top_k_accuracy(query, reference, **labels, **options)


# -- by hand ---------------------------------------------------------------------------------------


def test_the_precision_of_one_ranking():
    """Matching candidates at ranks 1, 3 and 4 of 5: (1/1 + 2/3 + 3/4) / 3."""
    same = np.array([True, False, True, True, False])
    found = ranked_precision(np.arange(5.0), np.zeros(5), same)
    assert found == pytest.approx((1 + 2 / 3 + 3 / 4) / 3)


@pytest.mark.parametrize("ties", [[0, 0, 0, 0], [0, 1, 1, 2], [0, 0, 0, 1], [1, 0, 1, 0]])
def test_ties_are_the_mean_over_their_orders(ties):
    same = np.array([True, False, True, False])
    ties = np.array(ties, dtype=float)
    orders = [o for o in itertools.permutations(range(4)) if (np.diff(ties[list(o)]) >= 0).all()]
    each = [ranked_precision(np.arange(4.0), np.zeros(4), same[list(o)]) for o in orders]
    assert ranked_precision(ties, np.zeros(4), same) == pytest.approx(np.mean(each))


@pytest.mark.parametrize(("m", "t"), [(1, 2), (1, 9), (3, 7), (6, 7)])
def test_chance_is_the_mean_over_all_places(m, t):
    places = np.array(list(itertools.combinations(range(1, t + 1), m)))
    wanted = (np.arange(1, m + 1) / places).mean()
    assert expected_precision(np.array([m]), np.array([t]))[0] == pytest.approx(wanted)
    drawn = random_precision(m, t, 20_000, rng=np.random.default_rng(0))
    assert drawn.mean() == pytest.approx(wanted, abs=0.01)


def test_a_representation_that_is_the_same_for_all_is_at_chance(plates):
    _, label, plate = plates
    for profiles in (np.ones((len(label), 3)), np.zeros((len(label), 3))):
        found = average_precision(profiles, label, apart=plate)
        np.testing.assert_allclose(found.normalised, 0, atol=1e-12)
    hits = top(np.ones((9, 2)), np.ones((9, 2)), np.arange(9), np.arange(9), k=3)
    np.testing.assert_allclose(hits, 3 / 9)


# -- copairs ---------------------------------------------------------------------------------------

RULES = {
    "replicates": {},
    "other plates": {"apart": True},
    "one plate's others": {"apart": True, "within": True},
    "controls": {"negative": True},
    "controls of the plate": {"within": True, "negative": True},
}


def arguments(plates, apart=False, within=False, negative=False):
    _, label, plate = plates
    return {
        "apart": plate if apart else None,
        "within": plate if within else None,
        "negative": label == 8 if negative else None,
    }


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize(("metric", "theirs"), [("cosine", "cosine"), ("l2", "euclidean")])
def test_average_precision_is_that_of_copairs(plates, rule, metric, theirs, tmp_path):
    copairs = pytest.importorskip("copairs.map")
    profiles, label, plate = plates
    rules = RULES[rule]
    meta = pd.DataFrame({"label": label, "plate": plate, "is_control": label == 8})
    pairs = {
        "pos_sameby": ["label"],
        "pos_diffby": ["plate"] if "apart" in rules else [],
        "neg_sameby": ["plate"] if "within" in rules else [],
        "neg_diffby": ["label", "is_control"] if "negative" in rules else ["label"],
    }
    wanted = copairs.average_precision(meta, profiles, **pairs, distance=theirs, progress_bar=False)
    given = arguments(plates, **rules)
    found = average_precision(profiles, label, **given, metric=metric)
    asked = (label != 8) if "negative" in rules else np.ones(len(label), bool)
    for name, own in (
        ("average_precision", found.value),
        ("normalized_average_precision", np.maximum(found.normalised, -1)),  # they clip it
        ("n_pos_pairs", found.n_matching),
        ("n_total_pairs", found.n_candidates),
    ):
        np.testing.assert_allclose(own[asked], wanted[name].to_numpy()[asked], atol=1e-5)
    ours = mean_average_precision(profiles, label, **given, metric=metric, n_perms=2000)
    table = copairs.mean_average_precision(
        wanted[asked],
        ["label"],
        null_size=2000,
        threshold=0.05,
        seed=0,
        progress_bar=False,
        cache_dir=tmp_path,
    ).set_index("label")
    kept = table.index.to_numpy()
    np.testing.assert_allclose(ours.value[kept], table["mean_average_precision"], atol=1e-5)
    np.testing.assert_allclose(ours.pvalue[kept], table["p_value"], atol=0.04)


# -- the test --------------------------------------------------------------------------------------


def test_the_test_keeps_its_level_and_finds_what_responds(rng):
    label = np.repeat(np.arange(25), 4)
    rejected = []
    for _ in range(8):
        found = mean_average_precision(rng.normal(size=(100, 20)), label, n_perms=199, rng=rng)
        rejected.append((found.pvalue <= 0.05).mean())
    assert np.mean(rejected) <= 0.07
    strong = np.repeat(rng.normal(size=(25, 20)), 4, axis=0) + 0.5 * rng.normal(size=(100, 20))
    found = mean_average_precision(strong, label, n_perms=199)
    assert (found.pvalue <= 0.05).all()
    assert found.value.min() > 0.5


def test_a_perfect_value_that_chance_often_reaches_is_not_significant():
    """One replicate and one other profile: half of all random orders are perfect."""
    profiles = np.array([[1.0, 0], [1, 0], [0, 1]])
    found = mean_average_precision(profiles, ["a", "a", "b"], n_perms=999)
    assert found.value[0] == 1
    assert found.pvalue[0] > 0.4
    assert np.isnan(found.value[1])
    assert np.isnan(found.pvalue[1])


def test_order_and_names_do_not_matter(plates, rng):
    profiles, label, plate = plates
    order = rng.permutation(len(label))
    named = np.char.add("p", label.astype(str))
    one = average_precision(profiles, label, apart=plate)
    other = average_precision(profiles[order], named[order], apart=plate[order])
    np.testing.assert_allclose(other.value, one.value[order])


# -- the first k -----------------------------------------------------------------------------------


def test_top_k_by_hand():
    reference = np.array([[0.0, 0], [1, 0], [3, 0], [9, 0]])
    query = np.array([[0.1, 0], [0.1, 0], [0.1, 0], [0.1, 0]])
    names = ["a", "b", "c", "d"]
    for k, wanted in ((1, [1, 0, 0, 0]), (2, [1, 1, 0, 0]), (4, [1, 1, 1, 1])):
        np.testing.assert_array_equal(top(query, reference, names, names, k=k, metric="l2"), wanted)
    unknown = top(query[:1], reference, ["x"], names)
    assert np.isnan(unknown).all()


def test_a_profile_of_the_same_well_is_no_reference(rng):
    """The other field of a well is the query itself: counted, it is found; left out, it is not."""
    wells = rng.normal(size=(40, 15))
    fields = np.repeat(wells, 2, axis=0) + 0.01 * rng.normal(size=(80, 15))
    label, well = np.repeat(np.arange(20), 4), np.repeat(np.arange(40), 2)
    each = np.arange(80)
    leaky = top(fields, fields, label, label, query_unit=each, reference_unit=each)
    honest = top(fields, fields, label, label, query_unit=well, reference_unit=well)
    assert leaky.mean() == 1
    assert honest.mean() < 0.2
    precision = average_precision(fields, label, apart=well)
    assert abs(precision.normalised.mean()) < 0.1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"label": [0, 1]}, "label has the shape"),
        ({"apart": [0, 1]}, "apart has the shape"),
        ({"metric": "far"}, "metric"),
        ({"profiles": np.full((4, 2), np.nan)}, "NaN or infinite"),
    ],
)
def test_bad_input(change, said):
    given = {"profiles": np.eye(4), "label": [0, 0, 1, 1], **change}
    with pytest.raises(ValueError, match=said):
        average_precision(**given)


def test_units_go_together():
    with pytest.raises(ValueError, match="give both"):
        top(np.eye(2), np.eye(2), [0, 1], [0, 1], query_unit=[0, 1])


# -- queries among other profiles ------------------------------------------------------------------


def test_queries_find_references_as_profiles_find_one_another(plates, rng):
    """Queries stacked on the references, which alone can stand against them, have the same precision."""
    profiles, label, _ = plates
    query = rng.normal(size=(9, profiles.shape[1]))
    found = retrieval_precision(query, profiles, query_label=np.arange(9), reference_label=label)
    both = np.concatenate([query, profiles])
    is_reference = np.arange(len(both)) >= 9
    wanted = average_precision(both, np.r_[np.arange(9), label], negative=is_reference)
    for name in ("value", "normalised", "n_matching", "n_candidates"):
        np.testing.assert_allclose(getattr(found, name), getattr(wanted, name)[:9])


@pytest.mark.parametrize("metric", ["cosine", "l2", "l1"])
def test_the_precision_of_queries_by_hand(metric):
    """References of the label are at places 1 and 4 of 4, and at 2 and 3."""
    reference = np.array([[4.0, 0.1], [4.0, 1.0], [4.0, 2.0], [4.0, 3.5]])
    labels = {"query_label": ["a", "b", "c"], "reference_label": ["a", "b", "b", "a"]}
    found = retrieval_precision(np.tile([[4.0, 0.0]], (3, 1)), reference, **labels, metric=metric)
    np.testing.assert_allclose(found.value, [(1 + 2 / 4) / 2, (1 / 2 + 2 / 3) / 2, np.nan])
    assert found.n_matching.tolist() == [2, 2, 0]


def test_queries_and_references_must_fit():
    labels = {"query_label": ["a"], "reference_label": ["a", "b"]}
    with pytest.raises(
        ValueError, match="query has 3 features and reference 2; give both the same"
    ):
        retrieval_precision(np.ones((1, 3)), np.ones((2, 2)), **labels)
    with pytest.raises(ValueError, match="reference_label has the shape"):
        retrieval_precision(np.ones((1, 2)), np.ones((3, 2)), **labels)
