"""The external suites against plain implementations of what their packages document and do."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import sparse, stats
from scipy.spatial.distance import cdist, pdist
from sklearn import metrics as skm

from shoal.metrics._comparison import Populations, Truth
from shoal.metrics._external_populations import entropic_cost
from shoal.metrics._external_suites import EXTERNAL_SUITES
from shoal.metrics._registry import FAMILIES, score

P, G = 7, 60
ARRAYS = ("csr", "dense", "mixed")


def cells(rng, mean, n):
    return np.log1p(rng.poisson(mean, (n, G)) * 2.0)


@pytest.fixture(scope="module", params=ARRAYS)
def case(request):
    """Real and predicted cells of 7 conditions in two contexts, with predicted controls; gene i is the target of condition i."""
    rng = np.random.default_rng(3)
    base = rng.gamma(0.6, 1.5, G)
    fold = np.where(rng.random((P, G)) < 0.4, rng.lognormal(0, 1.2, (P, G)), 1.0)
    real = [cells(rng, base * f, 30 + i) for i, f in enumerate(fold)]
    guess = [cells(rng, base * f**0.6, 25 + i) for i, f in enumerate(fold)]
    controls, own = ([cells(rng, base * s, n) for n in (50, 40)] for s in (1.0, 1.2))
    for some in (real[0], guess[1], controls[0], own[0]):
        some[:, -1] = 0  # a gene that some do not express
    pack = {
        "csr": (sparse.csr_matrix,) * 2,
        "dense": (np.asarray,) * 2,
        "mixed": (sparse.csr_matrix, np.asarray),
    }
    of_real, of_guess = pack[request.param]
    truth = Truth(
        names=tuple(f"p{i}" for i in range(P)),
        owner=np.arange(P),
        group=np.array([0] * 5 + [1] * 2),
        cells=tuple(of_real(x) for x in real),
        controls=tuple(of_real(x) for x in controls),
        reference=np.tile(np.mean([x.mean(axis=0) for x in real], axis=0), (P, 1)),
        mask=np.arange(G) != np.arange(P)[:, None],
        axes=np.eye(G)[:, :3],
        bandwidth=1.0,
        parts=(np.full((P, G), np.nan),) * 2,
    )
    found = Populations(
        truth, tuple(of_guess(x) for x in guess), controls=tuple(of_guess(x) for x in own)
    )
    return (
        truth,
        found,
        real,
        guess,
        [controls[c] for c in truth.group],
        [own[c] for c in truth.group],
    )


def value(suite, name, case):
    return score(EXTERNAL_SUITES[suite].metrics[name], case[0], case[1]).values


def effects(case):
    _, _, real, guess, control, own = case
    deltas = [
        (g.mean(0) - o.mean(0), r.mean(0) - c.mean(0))
        for r, g, c, o in zip(real, guess, control, own, strict=True)
    ]
    return [np.array(side) for side in zip(*deltas, strict=True)]


def tables(case):
    """Return real FDR and fold change, predicted FDR and fold change, one gene at a time."""
    _, _, real, guess, control, own = case
    out = []
    for some, against in ((real, control), (guess, own)):
        p = np.array([[stats.mannwhitneyu(x[:, g], c[:, g], method="asymptotic").pvalue for g in range(G)]
                      for x, c in zip(some, against, strict=True)])  # fmt: skip
        means = [
            (np.expm1(x.mean(0)), np.expm1(c.mean(0))) for x, c in zip(some, against, strict=True)
        ]
        with np.errstate(divide="ignore", invalid="ignore"):
            lfc = np.array([np.log2(a / b) for a, b in means])
        out += [
            stats.false_discovery_control(np.nan_to_num(p, nan=1.0), axis=1),
            np.where(np.isnan(lfc), 0, lfc),
        ]
    return out


# -- the registry ----------------------------------------------------------------------------------------------------


def test_every_metric_has_a_record():
    assert set(EXTERNAL_SUITES) == {
        "cell_eval",
        "vcc",
        "systema",
        "perturbench",
        "unlasting",
        "cmonge",
    }
    for suite in EXTERNAL_SUITES.values():
        assert suite.metrics
        assert suite.reference
        assert not suite.halves
        for name, metric in suite.metrics.items():
            assert metric.name == name
            assert "/" not in name
            assert metric.family in FAMILIES
            assert metric.perfect in (0, 1) or name.startswith("de_nsig_counts")


def test_a_perfect_prediction_is_perfect(case):
    truth = case[0]
    for suite in EXTERNAL_SUITES.values():
        for name, metric in suite.metrics.items():
            found = score(metric, truth, truth.real)
            if np.isfinite(metric.perfect) and not name.startswith(
                ("wasserstein", "overlap_at", "precision_at")
            ):
                np.testing.assert_allclose(
                    found.values[np.isfinite(found.values)], metric.perfect, atol=1e-6, err_msg=name
                )


# -- cell-eval -------------------------------------------------------------------------------------------------------


def test_cell_eval_measures_predictions_from_predicted_controls(case):
    guess, real = effects(case)
    expected = [stats.pearsonr(a, b)[0] for a, b in zip(guess, real, strict=True)]
    np.testing.assert_allclose(value("cell_eval", "pearson_delta", case), expected)
    np.testing.assert_allclose(value("cell_eval", "mse_delta", case), ((guess - real) ** 2).mean(1))
    np.testing.assert_allclose(value("cell_eval", "mae_delta", case), np.abs(guess - real).mean(1))
    means = [np.array([x.mean(0) for x in some]) for some in case[3:1:-1]]
    np.testing.assert_allclose(
        value("cell_eval", "mse", case), ((means[0] - means[1]) ** 2).mean(1)
    )
    np.testing.assert_allclose(value("cell_eval", "mae", case), np.abs(means[0] - means[1]).mean(1))


@pytest.mark.parametrize(
    ("kind", "metric"), [("l1", "cityblock"), ("l2", "euclidean"), ("cosine", "cosine")]
)
def test_cell_eval_discrimination_is_a_rank_without_the_target_gene(case, kind, metric):
    truth, (guess, real) = case[0], effects(case)
    expected = []
    for i in range(P):
        rivals = np.flatnonzero(truth.group == truth.group[i])
        keep = np.arange(G) != i
        order = np.argsort(
            cdist(guess[i : i + 1, keep], real[np.ix_(rivals, keep)], metric)[0], kind="stable"
        )
        expected.append(1 - np.flatnonzero(rivals[order] == i)[0] / len(rivals))
    np.testing.assert_allclose(value("cell_eval", f"discrimination_score_{kind}", case), expected)


def test_cell_eval_ties_go_to_the_first_condition(case):
    truth = replace(case[0], cells=case[0].cells[:1] * 5 + case[0].cells[5:6] * 2)
    found = value(
        "cell_eval", "discrimination_score_l2", (truth, Populations(truth, truth.controls[:1] * P))
    )
    np.testing.assert_allclose(found, [1, 0.8, 0.6, 0.4, 0.2, 1, 0.5])


def test_cell_eval_correlates_biased_energies_and_copies_the_number(case):
    truth, _, real, guess, control, own = case

    def energy(x, y):
        return 2 * cdist(x, y).mean() - cdist(x, x).mean() - cdist(y, y).mean()

    a, b = (
        [energy(x, c) for x, c in zip(*side, strict=True)]
        for side in ((real, control), (guess, own))
    )
    found = value("cell_eval", "pearson_edistance", case)
    for rows in (slice(0, 5), slice(5, 7)):
        np.testing.assert_allclose(found[rows], stats.pearsonr(a[rows], b[rows])[0], atol=1e-9)
    assert truth.group[5] == 1


@pytest.mark.parametrize("k", [None, 50])
@pytest.mark.parametrize("kind", ["overlap", "precision"])
def test_cell_eval_overlap_of_the_strongest_hits(case, kind, k):
    expected = []
    for fdr, lfc, own_fdr, own_lfc in zip(*tables(case), strict=True):
        lists = [
            [g for g in np.argsort(-np.abs(values), kind="stable") if q[g] < 0.05]
            for q, values in ((fdr, lfc), (own_fdr, own_lfc))
        ]
        n = len(lists[kind == "precision"])
        n = min(k or n, n)
        expected.append(len({*lists[0][:n]} & {*lists[1][:n]}) / n if n else 0.0)
    assert max(expected) > 0
    np.testing.assert_allclose(value("cell_eval", f"{kind}_at_{k or 'N'}", case), expected)


def test_cell_eval_differential_expression(case):
    fdr, lfc, own_fdr, own_lfc = tables(case)
    hit, own_hit = fdr < 0.05, own_fdr < 0.05
    assert hit.any(axis=1).all()
    np.testing.assert_array_equal(value("cell_eval", "de_nsig_counts_real", case), hit.sum(1))
    np.testing.assert_array_equal(value("cell_eval", "de_nsig_counts_pred", case), own_hit.sum(1))
    rows = range(P)
    expected = {
        "de_direction_match": [
            np.mean(np.sign(lfc[i, hit[i]]) == np.sign(own_lfc[i, hit[i]])) for i in rows
        ],
        "de_sig_genes_recall": [own_hit[i, hit[i]].mean() for i in rows],
        "de_spearman_lfc_sig": [
            stats.spearmanr(stats.rankdata(lfc[i, hit[i]]), stats.rankdata(own_lfc[i, hit[i]]))[0]
            for i in rows
        ],
        "pr_auc": [
            skm.average_precision_score(hit[i], -np.log10(np.clip(own_fdr[i], 1e-10, 1)))
            for i in rows
        ],
        "roc_auc": [
            skm.roc_auc_score(hit[i], -np.log10(np.clip(own_fdr[i], 1e-10, 1))) for i in rows
        ],
    }
    for name, values in expected.items():
        np.testing.assert_allclose(value("cell_eval", name, case), values, atol=1e-7, err_msg=name)
    found = value("cell_eval", "de_spearman_sig", case)
    np.testing.assert_allclose(found[:5], stats.spearmanr(hit[:5].sum(1), own_hit[:5].sum(1))[0])


def test_vcc_score_is_the_clipped_part_of_the_way_from_the_baseline():
    names = tuple(EXTERNAL_SUITES["vcc"].metrics)
    assert names == ("mae", "discrimination_score_l1", "overlap_at_N")
    base = dict(zip(names, (0.2, 0.5, 0.1), strict=True))
    of = EXTERNAL_SUITES["vcc"].score
    assert of(dict(zip(names, (0.1, 0.75, 0.55), strict=True)), base) == pytest.approx(0.5)
    assert of(dict(zip(names, (0.9, 0.75, np.nan), strict=True)), base) == pytest.approx(
        0.5 / 3
    )  # clipped, and missing
    assert of(base, base) == 0


# -- the others ------------------------------------------------------------------------------------------------------


def strongest(case, n, i, *, express=False):
    _, _, real, _, control, _ = case
    with np.errstate(invalid="ignore", divide="ignore"):
        t = stats.ttest_ind(real[i], control[i], equal_var=False).statistic
    order = np.argsort(-np.abs(np.nan_to_num(t)), kind="stable")
    dropped = (real[i].mean(0) == 0) & (control[i].mean(0) > 0) & express
    return order[~dropped[order]][:n]


def test_systema(case):
    truth, _, real, guess, _, _ = case
    ref = truth.reference[0]
    a, b = (np.array([x.mean(0) for x in some]) for some in (guess, real))
    expected = [stats.pearsonr(a[i] - ref, b[i] - ref)[0] for i in range(P)]
    np.testing.assert_allclose(value("systema", "corr_all_allpert", case), expected)
    genes = [strongest(case, 20, i, express=True) for i in range(P)]
    expected = [stats.pearsonr((a[i] - ref)[g], (b[i] - ref)[g])[0] for i, g in enumerate(genes)]
    np.testing.assert_allclose(value("systema", "corr_20de_allpert", case), expected)
    distance = cdist(a[:5], b[:5])
    expected = (distance > np.diag(distance)[:, None]).sum(1) / 4
    np.testing.assert_allclose(value("systema", "centroid_accuracy", case)[:5], expected)
    same = Populations(truth, (truth.cells[0],) * P)  # ties lose, where sh.metrics counts a half
    assert value("systema", "centroid_accuracy", (truth, same))[0] == 1


def test_perturbench(case):
    _, _, real, guess, control, own = case
    a, b = (np.array([x.mean(0) for x in some]) for some in (guess, real))
    np.testing.assert_allclose(
        value("perturbench", "rmse_average", case), np.sqrt(((a - b) ** 2).mean(1))
    )
    x, y = (
        np.log2(m + 0.1) - np.log2(np.array([c.mean(0) for c in of]) + 0.1)
        for m, of in ((a, own), (b, control))
    )
    cosine = 1 - cdist(x, y, "cosine")
    np.testing.assert_allclose(value("perturbench", "cosine_logfc", case), np.diag(cosine))
    for name, better in (
        ("rmse_rank_average", -cdist(a, b)[:5, :5]),
        ("cosine_rank_logfc", cosine[:5, :5]),
    ):
        expected = (better > np.diag(better)).sum(
            axis=0
        ) / 5  # predictions that are nearer to a real mean than its own
        np.testing.assert_allclose(value("perturbench", name, case)[:5], expected, err_msg=name)


@pytest.mark.parametrize(("suffix", "n"), [("", G), ("_DE20", 20), ("_DE40", 40)])
def test_unlasting(case, suffix, n):
    found = {
        name: value("unlasting", name + suffix, case)
        for name in ("RMSE", "E_distance", "E_distance_paper", "EMD")
    }
    for i, (real, guess) in enumerate(zip(case[2], case[3], strict=True)):
        at = strongest(case, n, i)
        x, y = guess[:, at], real[:, at]
        energy = 2 * cdist(x, y).mean() - pdist(x).mean() - pdist(y).mean()
        assert found["RMSE"][i] == pytest.approx(np.sqrt(((x.mean(0) - y.mean(0)) ** 2).mean()))
        assert found["E_distance"][i] == pytest.approx(np.sqrt(max(energy, 0)), abs=1e-7)
        biased = 2 * cdist(x, y).mean() - cdist(x, x).mean() - cdist(y, y).mean()
        assert found["E_distance_paper"][i] == pytest.approx(biased)
        expected = np.mean([stats.wasserstein_distance(x[:, g], y[:, g]) for g in range(n)])
        assert found["EMD"][i] == pytest.approx(expected)


def test_cmonge(case):
    found = {name: value("cmonge", name, case) for name in EXTERNAL_SUITES["cmonge"].metrics}
    for i, (real, guess) in enumerate(zip(case[2], case[3], strict=True)):
        at = strongest(case, 50, i)
        x, y = guess[:, at], real[:, at]
        kernels = [
            skm.pairwise.rbf_kernel(a, b, gamma).mean() * sign
            for gamma in (2, 1, 0.5, 0.1, 0.01, 0.005)
            for a, b, sign in ((x, x, 1), (y, y, 1), (x, y, -2))
        ]
        assert found["mmd"][i] == pytest.approx(sum(kernels) / 6)
        assert found["drug_signature"][i] == pytest.approx(np.linalg.norm(x.mean(0) - y.mean(0)))
        assert found["r2"][i] == pytest.approx(np.corrcoef(x.mean(0), y.mean(0))[0, 1] ** 2)
        of = entropic_cost(x, y), entropic_cost(x, x), entropic_cost(y, y)
        assert found["wasserstein"][i] == pytest.approx(of[0])
        assert found["sinkhorn_div"][i] == pytest.approx(of[0] - (of[1] + of[2]) / 2)


def test_entropic_cost_is_the_cost_of_its_plan_and_its_entropy(rng):
    x, y = rng.normal(size=(12, 3)), rng.normal(1, 1, size=(9, 3))
    cost, epsilon = cdist(x, y), 0.5
    kernel, u, v = np.exp(-cost / epsilon), np.ones(12), np.ones(9)
    for _ in range(3_000):
        u = 1 / 12 / (kernel @ v)
        v = 1 / 9 / (kernel.T @ u)
    plan = u[:, None] * kernel * v
    expected = (plan * cost).sum() + epsilon * (plan * np.log(plan * 12 * 9)).sum()
    assert entropic_cost(x, y, epsilon=epsilon) == pytest.approx(expected, rel=2e-3)
    assert entropic_cost(np.zeros((3, 2)), np.full((4, 2), 3.0)) == pytest.approx(np.sqrt(18))
