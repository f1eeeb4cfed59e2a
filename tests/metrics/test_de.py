from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import average_precision_score, roc_auc_score

from shoal import metrics
from shoal.metrics import (
    de_auprc,
    de_count_error,
    de_direction,
    de_lfc_spearman,
    de_overlap,
    de_recall,
    de_roc_auc,
    de_spearman_sig,
)

P, G = 6, 80
EFFECT = {"predicted": "effect", "real": "true_effect"}
CALLS = {"predicted_fdr": "fdr", "real_fdr": "true_fdr"}
NEEDS = {  # names of the tables that each metric takes
    "de_auprc": {"predicted": "z", "real_fdr": "true_fdr"},
    "de_roc_auc": {"predicted": "z", "real_fdr": "true_fdr"},
    "de_overlap": EFFECT | CALLS,
    "de_lfc_spearman": EFFECT | {"real_fdr": "true_fdr"},
    "de_direction": EFFECT | {"real_fdr": "true_fdr"},
    "de_recall": CALLS,
    "de_count_error": CALLS,
    "de_spearman_sig": CALLS,
}
PERFECT = dict.fromkeys(NEEDS, 1.0) | {"de_count_error": 0.0}
UNDEFINED = set(NEEDS) - {"de_count_error", "de_spearman_sig"}  # where nothing responds
each_metric = pytest.mark.parametrize("name", NEEDS)


@pytest.fixture
def tables(rng):
    """Evidence, effects and FDR, predicted and real; about a quarter of the genes respond; the last row has no hit."""
    fdr, true_fdr = rng.uniform(size=(2, P, G)) ** 2.5
    true_fdr[-1] = 0.3 + 0.7 * true_fdr[-1]
    return {
        "z": np.abs(rng.normal(size=(P, G)).round(1)),
        "effect": rng.normal(size=(P, G)),
        "true_effect": rng.normal(size=(P, G)),
        "fdr": fdr,
        "true_fdr": true_fdr,
    }


def score(name, tables, **options):
    return getattr(metrics, name)(
        **{role: tables[key] for role, key in NEEDS[name].items()}, **options
    )


def perfect(tables):
    """The same tables with the prediction equal to the truth."""
    truth = {
        "effect": tables["true_effect"],
        "fdr": tables["true_fdr"],
        "z": -np.log10(tables["true_fdr"]),
    }
    return tables | truth


def listed(effect, fdr, k):
    """Plain reading of the rule of cell-eval: significant genes by falling absolute effect, the first k."""
    hits = [g for g in sorted(range(len(fdr)), key=lambda g: -abs(effect[g])) if fdr[g] < 0.05]
    return set(hits[:k])


@each_metric
def test_a_perfect_prediction(name, tables):
    found = np.atleast_1d(score(name, perfect(tables)))
    defined = np.ones(len(found), dtype=bool)
    defined[-1] = name not in UNDEFINED
    np.testing.assert_allclose(found[defined], PERFECT[name], atol=1e-12)
    assert np.isnan(found[~defined]).all()


@each_metric
def test_order_of_genes_and_of_conditions_does_not_matter(name, tables, rng):
    expected = score(name, tables)
    genes, rows = rng.permutation(G), rng.permutation(P)
    np.testing.assert_allclose(
        score(name, {k: t[:, genes] for k, t in tables.items()}), expected, rtol=1e-12
    )
    by_row = score(name, {k: t[rows] for k, t in tables.items()})
    np.testing.assert_allclose(
        by_row, expected[rows] if np.ndim(expected) else expected, rtol=1e-12
    )


@each_metric
def test_masked_genes_do_not_count_whatever_they_hold(name, tables, rng):
    kept = rng.permutation(G)[: G - 7]
    expected = score(name, {k: t[:, kept] for k, t in tables.items()})
    mask = np.zeros((P, G), dtype=bool)
    mask[:, kept] = True
    spoilt = {k: np.where(mask, t, np.nan) for k, t in tables.items()}
    np.testing.assert_allclose(score(name, spoilt, mask=mask), expected, rtol=1e-12)


@each_metric
def test_a_condition_left_out_by_the_mask_is_nan_and_changes_no_other(name, tables):
    mask = np.ones((P, G), dtype=bool)
    mask[2] = False
    spoilt = {k: np.where(mask, t, np.nan) for k, t in tables.items()}
    found = score(name, spoilt, mask=mask)
    rest = score(name, {k: np.delete(t, 2, axis=0) for k, t in tables.items()})
    if np.ndim(found):
        assert np.isnan(found[2])
        found = np.delete(found, 2)
    np.testing.assert_allclose(found, rest, rtol=1e-12)


@each_metric
def test_where_nothing_responds_nan_and_never_zero(name, tables):
    nothing = tables | {"true_fdr": np.ones((P, G))}
    found = np.atleast_1d(score(name, nothing))
    if name == "de_count_error":
        np.testing.assert_allclose(found, np.log2((tables["fdr"] < 0.05).sum(axis=1) + 1))
    else:
        assert np.isnan(found).all()


@each_metric
def test_effects_on_a_monotone_scale_give_the_same(name, tables):
    scaled = {k: 3.0 * t if k in ("z", "effect", "true_effect") else t for k, t in tables.items()}
    np.testing.assert_allclose(score(name, scaled), score(name, tables), rtol=1e-12)


def test_average_precision_and_area_equal_sklearn(tables):
    label = tables["true_fdr"] < 0.05
    for metric, reference in ((de_auprc, average_precision_score), (de_roc_auc, roc_auc_score)):
        found = metric(tables["z"], tables["true_fdr"])
        expected = [reference(y, s) for y, s in zip(label[:-1], tables["z"][:-1], strict=True)]
        np.testing.assert_allclose(found[:-1], expected, rtol=1e-12)
        assert np.isnan(found[-1])
        assert np.isnan(metric(tables["z"], np.zeros((P, G)))).all()  # all respond


def test_a_constant_prediction_is_chance(tables):
    constant = np.full((P, G), 2.0)
    responding = (tables["true_fdr"] < 0.05).mean(axis=1)
    np.testing.assert_allclose(de_auprc(constant, tables["true_fdr"])[:-1], responding[:-1])
    np.testing.assert_allclose(de_roc_auc(constant, tables["true_fdr"])[:-1], 0.5)
    called = np.zeros((P, G))  # every gene is significant, with the same effect
    options = {"predicted_fdr": called, "real_fdr": tables["true_fdr"]}
    np.testing.assert_allclose(
        de_overlap(constant, tables["true_effect"], **options)[:-1], responding[:-1]
    )
    assert np.isnan(
        de_lfc_spearman(constant, tables["true_effect"], real_fdr=tables["true_fdr"])
    ).all()


def test_chance_on_average(rng):
    fdr = np.tile(np.where(np.arange(200) < 20, 0.01, 0.9), (500, 1))
    guess, truth = rng.normal(size=(2, 500, 200))
    for found, chance in (
        (de_roc_auc(np.abs(guess), fdr), 0.5),
        (de_direction(guess, truth, real_fdr=fdr), 0.5),
        (de_lfc_spearman(guess, truth, real_fdr=fdr), 0.0),
        (de_overlap(guess, truth, predicted_fdr=fdr, real_fdr=fdr, k=5), 5 / 20),
    ):
        assert abs(found.mean() - chance) < 4 * stats.sem(found)


@pytest.mark.parametrize("k", [None, 1, 5, 12, 50])
def test_overlap_equals_the_rule_of_cell_eval(k, tables):
    effect, truth, fdr, true_fdr = (
        tables[key] for key in ("effect", "true_effect", "fdr", "true_fdr")
    )
    found = de_overlap(effect, truth, predicted_fdr=fdr, real_fdr=true_fdr, k=k)
    precision = de_overlap(truth, effect, predicted_fdr=true_fdr, real_fdr=fdr, k=k)
    for row in range(P):
        hits, called = int((true_fdr[row] < 0.05).sum()), int((fdr[row] < 0.05).sum())
        for value, n in ((found[row], hits), (precision[row], called)):
            length = n if k is None else min(k, n)
            if length == 0:
                assert np.isnan(value)
                continue
            both = listed(effect[row], fdr[row], length) & listed(truth[row], true_fdr[row], length)
            assert value == pytest.approx(len(both) / length)
    assert np.isnan(found[-1])
    assert precision[-1] == 0


def test_overlap_with_ties_is_the_mean_over_ways_to_break_them(rng):
    truth, effect = rng.permutation(20.0 + np.arange(20)), rng.integers(1, 4, 20).astype(float)
    called = np.full((1, 20), 0.01)
    found = de_overlap(effect[None], truth[None], predicted_fdr=called, real_fdr=called, k=7)[0]
    broken = [
        de_overlap(
            (effect + rng.uniform(0, 0.1, 20))[None],
            truth[None],
            predicted_fdr=called,
            real_fdr=called,
            k=7,
        )[0]
        for _ in range(2000)
    ]
    assert found == pytest.approx(np.mean(broken), abs=4 * stats.sem(broken))
    tied = rng.integers(1, 3, (1, 20)).astype(float)  # a perfect prediction stays perfect
    assert de_overlap(tied, tied, predicted_fdr=called, real_fdr=called, k=7)[0] == pytest.approx(1)


def test_no_predicted_hit(tables):
    silent = tables | {"fdr": np.ones((P, G))}
    for name in ("de_overlap", "de_recall"):
        np.testing.assert_array_equal(score(name, silent)[:-1], 0)
    np.testing.assert_allclose(
        score("de_count_error", silent), -np.log2((tables["true_fdr"] < 0.05).sum(axis=1) + 1)
    )
    assert np.isnan(score("de_spearman_sig", silent))


def test_recall_direction_and_correlation_equal_a_plain_count(tables):
    recall, direction, correlation = (
        score(n, tables) for n in ("de_recall", "de_direction", "de_lfc_spearman")
    )
    for row in range(P - 1):
        hits = np.flatnonzero(tables["true_fdr"][row] < 0.05)
        assert recall[row] == sum(tables["fdr"][row, g] < 0.05 for g in hits) / len(hits)
        same = sum(tables["effect"][row, g] * tables["true_effect"][row, g] > 0 for g in hits)
        assert direction[row] == same / len(hits)
        expected = stats.spearmanr(
            tables["effect"][row, hits], tables["true_effect"][row, hits]
        ).statistic
        assert correlation[row] == pytest.approx(expected)


def test_opposite_effects(tables):
    opposite = tables | {"effect": -tables["true_effect"]}
    np.testing.assert_allclose(score("de_direction", opposite)[:-1], 0)
    np.testing.assert_allclose(score("de_lfc_spearman", opposite)[:-1], -1)
    still = tables | {"effect": np.zeros((P, G))}
    np.testing.assert_array_equal(
        score("de_direction", still)[:-1], 0
    )  # no predicted effect has no right sign


def test_one_responding_gene_has_no_correlation():
    fdr = np.array([[0.01, 0.9, 0.9], [0.01, 0.01, 0.9]])
    effect = np.array([[1.0, 2, 3], [1, 2, 3]])
    found = de_lfc_spearman(effect, effect, real_fdr=fdr)
    assert np.isnan(found[0])
    assert found[1] == pytest.approx(1)


def test_count_error_is_antisymmetric_and_in_doublings(tables):
    there, back = (
        de_count_error(tables["fdr"], tables["true_fdr"]),
        de_count_error(tables["true_fdr"], tables["fdr"]),
    )
    np.testing.assert_allclose(there, -back)
    calls = np.where(np.arange(32) < np.array([[15], [7], [0]]), 0.01, 0.9)
    np.testing.assert_allclose(de_count_error(calls, np.roll(calls, 1, axis=0)), [4, -1, -3])


def test_counts_over_conditions(rng):
    n_true, n_called = np.array([0, 0, 3, 8, 20, 40]), np.array([30, 25, 1, 4, 9, 35])
    true, called = (np.where(np.arange(50) < n[:, None], 0.01, 0.9) for n in (n_true, n_called))
    assert de_spearman_sig(called, true) == pytest.approx(
        stats.spearmanr(n_called, n_true).statistic
    )
    assert de_spearman_sig(called, true, responding_only=True) == pytest.approx(1)
    assert np.isnan(de_spearman_sig(called[:1], true[:1]))


def test_alpha_is_strict_and_used(tables):
    at = np.full((1, 4), 0.05)
    assert np.isnan(de_recall(at, at)[0])
    assert de_recall(at, at, alpha=0.06)[0] == 1


@pytest.mark.parametrize(
    ("spoil", "options", "message"),
    [
        (lambda t: t[:, :-1], {}, "of one shape"),
        (
            lambda t: np.where(np.arange(G) == 3, np.nan, t),
            {},
            "in 6 conditions; leave them out with mask=",
        ),
        (lambda t: t, {"mask": np.ones((P, G))}, "mask must hold booleans"),
        (lambda t: t, {"mask": np.ones((P, 1), dtype=bool)}, "mask must hold booleans"),
        (lambda t: t, {"alpha": 0.0}, "alpha must be between 0 and 1"),
    ],
)
def test_bad_input(spoil, options, message, tables):
    for name in NEEDS:
        with pytest.raises(ValueError, match=message):
            score(name, tables | {"true_fdr": spoil(tables["true_fdr"])}, **options)


def test_bad_values(tables):
    with pytest.raises(
        ValueError, match="real_fdr holds values that are NaN or not between 0 and 1"
    ):
        de_recall(tables["fdr"], 2 + tables["true_fdr"])
    with pytest.raises(ValueError, match="predicted holds NaN or infinite"):
        de_auprc(np.full((P, G), np.inf), tables["true_fdr"])
    with pytest.raises(ValueError, match="k must be a whole number of at least 1"):
        score("de_overlap", tables, k=0)
    with pytest.raises(ValueError, match="of one shape"):
        de_recall(tables["fdr"][0], tables["fdr"][0])


# -- genes that are called wrongly -----------------------------------------------------------------


def test_wrong_genes_are_missed_and_false_ones(rng):
    predicted, real = rng.uniform(0, 0.1, (2, 5, 40))
    mask = rng.random((5, 40)) < 0.8
    found = metrics.de_wrong(predicted, real, mask=mask)
    for i in range(5):
        one, other = (
            {g for g in range(40) if mask[i, g] and fdr[i, g] < 0.05} for fdr in (predicted, real)
        )
        assert found[i] == len(one - other) + len(other - one)
    np.testing.assert_array_equal(metrics.de_wrong(real, real), 0)
    np.testing.assert_array_equal(found, metrics.de_wrong(real, predicted, mask=mask))


def test_a_copy_misses_what_responds_and_an_invention_is_worse_where_nothing_does():
    nothing, some = np.ones((1, 50)), np.where(np.arange(50) < 7, 0.001, 1.0)[None]
    assert metrics.de_wrong(nothing, some).tolist() == [7]
    assert metrics.de_wrong(some, nothing).tolist() == [7]
    assert metrics.de_wrong(nothing, nothing).tolist() == [0]
    none = metrics.de_wrong(nothing, nothing, mask=np.zeros((1, 50), dtype=bool))
    assert np.isnan(none).all()
