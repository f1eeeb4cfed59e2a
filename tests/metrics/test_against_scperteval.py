"""Metrics and their calibration against scPertEval 0.2.0, from the same cells; where the two differ, by what."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import shoal as sh
from shoal import metrics as shm
from shoal.metrics._calibration import loss
from shoal.metrics._fdr import benjamini_hochberg
from shoal.metrics._pca import principal_axes
from shoal.metrics._ranksum import sums_against

KEY, CONTROL = "perturbation", "control"
pytestmark = pytest.mark.filterwarnings(
    r"ignore:Excluding '.*' removes:UserWarning"
)  # as perturbations are few


def part(name):
    """Return a module of scPertEval, or skip."""
    reason = "scPertEval absent: metrics are not compared with it; pip install scperteval==0.2.0"
    return pytest.importorskip(f"scperteval.{name}", reason=reason)


@pytest.fixture(scope="module")
def handle(compared_screens):
    """The real cells, as scPertEval prepares them."""
    return part("api").prepare(
        compared_screens[0], [], perturbation_key=KEY, control_label=CONTROL, workers=1
    )


@pytest.fixture(scope="module")
def cells(compared_screens):
    """Cells of each perturbation in order of their names, means and references, Welch's t, principal axes."""
    real, pred = compared_screens
    label = real.obs[KEY].to_numpy().astype(str)
    names = sorted({*label} - {CONTROL})
    x, y = ([some.X[label == name] for name in names] for some in (real, pred))
    means, guess = (np.array([one.mean(axis=0) for one in some]) for some in (x, y))
    sums, squares = (np.array([(one**power).sum(axis=0) for one in x]) for power in (1, 2))
    return SimpleNamespace(
        names=names,
        x=x,
        y=y,
        others=[np.vstack(x[:i] + x[i + 1 :]) for i in range(len(x))],
        real=means,
        guess=guess,
        control=np.tile(real.X[label == CONTROL].mean(axis=0), (len(x), 1)),
        perturbed=(means.sum(axis=0) - means) / (len(x) - 1),
        t=shm.welch_t(sums, squares, counts=np.array([len(one) for one in x])),
        axes=principal_axes(np.cov(real.X.T), 10)[0],
    )


def delta(c, reference):
    return [
        shm.pearson_delta(a, b, reference=r)
        for a, b, r in zip(c.guess, c.real, reference, strict=True)
    ]


def top(c, k=30):
    return np.abs(c.t) >= np.sort(np.abs(c.t), axis=1)[:, [-k]]


def r2(c, reference, weights):
    return shm.weighted_r2(c.guess, c.real, reference=reference, weights=weights)


def in_axes(c, distance):
    return [distance(y @ c.axes, x @ c.axes) for x, y in zip(c.x, c.y, strict=True)]


def in_top(c, distance):
    return [
        distance(y[:, genes], x[:, genes]) for x, y, genes in zip(c.x, c.y, top(c), strict=True)
    ]


def pooled_mmd(x, y):
    return shm.mmd(x, y, bandwidth=shm.median_bandwidth(np.vstack([x, y])))


def against(others, populations):
    """Return the rank sums of populations against the real cells of all other perturbations."""
    return sums_against(populations, others, np.arange(len(others)))


def area(c, score):
    """Score predicted sizes of effects, absolute Cliff's deltas, by real false discovery rates."""
    predicted, real = against(c.others, c.y), against(c.others, c.x)
    size = np.abs(2 * predicted.u / (predicted.n * predicted.m)[:, None] - 1)
    return score(size, benjamini_hochberg(real.standardised(continuity=True).pvalue))


SAME = {
    "pearson_ctrl": lambda c: delta(c, c.control),
    "pearson_pert": lambda c: delta(c, c.perturbed),
    "mse": lambda c: shm.mse(c.guess, c.real),
    "mse_top_k=30": lambda c: shm.mse(c.guess, c.real, mask=top(c)),
    "l2_heg_k=40": lambda c: (
        shm.rmse(c.guess, c.real, mask=c.control >= np.sort(c.control)[:, [-40]]) * 40**0.5
    ),
    "wmse_exp2": lambda c: shm.weighted_mse(c.guess, c.real, weights=shm.gene_weights(c.t)),
    "wmse_exp4": lambda c: shm.weighted_mse(
        c.guess, c.real, weights=shm.gene_weights(c.t, exponent=4.0)
    ),
    "r2_ctrl": lambda c: r2(c, c.control, np.ones_like(c.real)),
    "weighted_r2_pert_exp2": lambda c: r2(c, c.perturbed, shm.gene_weights(c.t)),
    "rank": lambda c: 1 - shm.retrieval_rank(c.guess, c.real),  # which sh.tl.evaluate calls nir
    "nir": lambda c: shm.centroid_accuracy(c.guess, c.real),
    "energy_distance_pca_k=10": lambda c: in_axes(c, shm.energy_distance),
    "energy_distance_top_k=30": lambda c: in_top(c, shm.energy_distance),
    "unbiased_mmd_median_pca_k=10": lambda c: in_axes(
        c, pooled_mmd
    ),  # the width is that of the real cells by default
    "de_auprc": lambda c: area(c, shm.de_auprc),
    "de_auroc": lambda c: area(c, shm.de_roc_auc),
}


@pytest.mark.parametrize("protocol", SAME)
def test_metric_equals_scperteval(compared_screens, handle, cells, protocol):
    method = "MWU" if protocol.startswith("de_") else "t-test"
    theirs = (
        part("api").score(handle, protocol, compared_screens[1], de_method=method).per_perturbation
    )
    assert list(theirs["perturbation"]) == cells.names
    assert theirs["raw_prediction"].nunique() > 2
    assert_allclose(SAME[protocol](cells), theirs["raw_prediction"], rtol=1e-7, atol=1e-12)


def test_predictions_that_are_all_the_same_tie(cells):
    """They are at random ranks there, and all in the middle here."""
    same = np.tile(cells.guess[0], (6, 1))
    theirs = part("protocols.metrics").rank_retrieval(cells.real, same, None)
    assert theirs.min() < 0.5 < theirs.max()
    assert_array_equal(shm.retrieval_rank(same, cells.real), 0.5)


def test_sinkhorn_is_the_square_of_that_of_scperteval():
    """A blur b there is a regularisation of 2 b² here; geomloss stops at 3 digits."""
    metrics = part("protocols.metrics")
    torch, *_ = (
        pytest.importorskip(n, reason=f"{n} absent: Sinkhorn not compared")
        for n in ("torch", "geomloss", "ot")
    )
    rng, threads = np.random.default_rng(0), torch.get_num_threads()
    x, y = rng.normal(0.5, 1.5, (60, 5)), rng.normal(0, 1, (50, 5))
    theirs = metrics.sinkhorn_w2(y, x, None, blur=1.0) ** 2
    torch.set_num_threads(threads)  # which it sets to 1
    assert shm.sinkhorn(x, y, epsilon=2 / shm.median_bandwidth(y) ** 2) == pytest.approx(
        theirs, rel=5e-3
    )


# -- calibration -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("protocol", "direction", "perfect"), [("mse", "lower", 0.0), ("pearson_pert", "higher", 1.0)]
)
def test_calibration_equals_scperteval(
    compared_screens, handle, cells, protocol, direction, perfect
):
    """With a second half of the cells as positive control; 1e-6 is added to the range there."""
    run = {
        name: part("api").calibrate(handle, protocol, positive="tech_dup", calibrator=name)
        for name in ("drf", "bds")
    }
    config = part("types").RunConfig("", [], perturbation_key=KEY, control_label=CONTROL)
    halves = part("dataset").Dataset(compared_screens[0], config)
    real, second = (
        np.array([halves.cells(n, half).mean(axis=0) for n in cells.names])
        for half in ("first", "second")
    )
    good, bad = (
        loss(
            SAME[protocol](SimpleNamespace(**vars(cells) | {"real": real, "guess": made})),
            direction,
            perfect=perfect,
        )
        for made in (second, cells.perturbed if protocol == "mse" else cells.control)
    )
    theirs = run["drf"].per_perturbation["drf"]
    assert np.abs(theirs).max() < 1  # none is cut off
    assert_allclose(
        [shm.drf([a], [b]) for a, b in zip(good, bad, strict=True)],
        theirs * (1 + 1e-6 / bad),
        rtol=1e-9,
    )
    assert shm.drf(good, bad) == pytest.approx(run["drf"].aggregate["mean"], abs=1e-3)
    assert shm.bds(good, bad) == run["bds"].aggregate["bds"]


def test_evaluate_calibrates_as_scperteval(compared_screens):
    """Its calibrators, on the values of the two controls, give DRF and BDS of the summary, in which ties count half."""
    calibrators, adata = part("calibrators").CALIBRATORS, compared_screens[0].copy()
    names = ["pearson_delta", "weighted_mse", "pds_l2", "nir", "energy", "mae", "de_auprc"]
    sh.tl.evaluate(
        adata, prediction=compared_screens[1], metrics=names, baselines=None, split=None, n_draws=1
    )
    entry = adata.uns["evaluation"]
    for name, row in entry["summary"].iterrows():
        scores = (
            entry["scores"]
            .query("metric == @name")
            .pivot(index="condition", columns="contender", values="value")
        )
        values = scores[["positive control", row["negative_control"]]].dropna().to_numpy()
        assert len(values) >= 4
        of = SimpleNamespace(better=row["direction"], perfect=row["perfect"])
        drf, bds = (
            np.mean(
                [calibrators[kind].per_pert({"positive": a, "negative": b}, of) for a, b in values]
            )
            for kind in ("drf", "bds")
        )
        assert row["drf"] == pytest.approx(drf, abs=1e-4), name
        assert row["bds"] == pytest.approx(bds + np.mean(values[:, 0] == values[:, 1]) / 2), name


@pytest.mark.parametrize(
    ("pair", "theirs", "ours"),
    [
        ((0.3, 0.3), (0.0, 0.0), (0.0, 0.5)),  # a tie is no win there, half a one here
        ((0.1, 0.0), (-1.0, 0.0), (0.0, 0.0)),  # a negative control that is perfect leaves no range
        ((0.1, -0.1), (np.nan, 0.0), (0.0, 0.0)),  # nor does one beyond, and is left out there
    ],
)
def test_where_calibration_differs(pair, theirs, ours):
    calibrators, of = part("calibrators").CALIBRATORS, SimpleNamespace(better="lower", perfect=0.0)
    raw = dict(zip(("positive", "negative"), pair, strict=True))
    assert_array_equal([calibrators[name].per_pert(raw, of) for name in ("drf", "bds")], theirs)
    good, bad = ([value] for value in pair)
    assert_array_equal([shm.drf(good, bad), shm.bds(good, bad)], ours)
