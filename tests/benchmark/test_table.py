"""The leaderboard: scores by hand, intervals by another bootstrap, and what is done about what is missing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import shoal as sh
from shoal.core._results import read_result
from shoal.evaluation._attempt import attempt
from shoal.evaluation._compare import Comparison
from shoal.evaluation._rows import Row
from shoal.evaluation._scorer import Scorer
from shoal.metrics._harm import HARM

from .conftest import METRICS, made_row

N = 12


@pytest.fixture
def losses(rng):
    """A baseline, a model that is better nearly everywhere, and one that is better and worse by turns."""
    base = rng.uniform(0.8, 1.0, N)
    return {
        "base": base,
        "good": base - rng.uniform(0.2, 0.4, N),
        "even": base + np.where(np.arange(N) % 2, 0.051, -0.05),
    }


@pytest.fixture
def rows(losses):
    return rows_of(losses)


def rows_of(losses, **options):
    """Rows of one baseline, which is the reference, and of models."""
    return [
        made_row(
            name,
            own,
            kind="baseline" if name == "base" else "model",
            reference=losses["base"],
            **options,
        )
        for name, own in losses.items()
    ]


def skill(own, base, positive=0.2):
    """The definition, for means."""
    room = max(own, base) - min(positive, 0.9 * base)
    return min(1.0, (base - own) / room)


def score(own, base, positive=0.2, negative=1.0):
    """The definition, for the means of one metric."""
    achieved = [max((negative - x) / (negative - positive), -1) for x in (own, base)]
    return (achieved[0] - achieved[1]) / (1 - achieved[1])


def test_scores_by_hand(rows, losses):
    board = sh.benchmark.table(rows)
    means = {name: own.mean() for name, own in losses.items()}
    for name in losses:
        assert board.loc[name, "score"] == pytest.approx(score(means[name], means["base"]))
        assert board.loc[name, "m"] == pytest.approx(skill(means[name], means["base"]))
        assert board.loc[name, "achieved"] == pytest.approx((1 - means[name]) / 0.8)
    assert board.loc["positive control", "score"] == pytest.approx(1)
    assert board.loc["negative control", "score"] == pytest.approx(score(1.0, means["base"]))
    assert (board["harm"] == 0).all()
    assert (board["reference"] == "base").all()
    np.testing.assert_allclose(board["score_best"], board["score"])  # the only baseline is best
    assert board.index[0] == "good"
    assert board.index[3:].tolist() == ["positive control", "negative control", "control copy"]
    assert board.loc[
        "good", ["kind", "sets", "results", "failed", "seconds", "peak_mb"]
    ].tolist() == [
        "model",
        1,
        1,
        0,
        3,
        100,
    ]


def test_better_means_better(rows):
    board = sh.benchmark.table(rows, against="base")
    assert board["verdict"].to_dict() == {
        "good": "better",
        "even": "no different",
        "base": "reference",
        "positive control": "better",
        "negative control": "worse",
        "control copy": "worse",
    }
    assert (sh.benchmark.table(rows).loc[["base", "even"], "verdict"] == "worse").all()
    gap = board.loc["good"]
    assert gap["low"] < gap["difference"] < gap["high"]
    assert gap["difference"] == pytest.approx(gap["score"] - board.loc["base", "score"])


def test_a_contender_does_not_differ_from_its_twin(rows):
    twin = replace(rows[1], model="twin")
    line = sh.benchmark.table([*rows, twin], against="good").loc["twin"]
    assert (line["difference"], line["low"], line["high"], line["verdict"]) == (
        0,
        0,
        0,
        "no different",
    )


def test_the_interval_is_that_of_a_plain_bootstrap(losses):
    owners = [f"P{i // 2}" for i in range(N)]  # two conditions of each perturbation, drawn together
    rows = rows_of(losses, owners=owners)
    n_boot, rng, drawn = 300, np.random.default_rng(5), []
    counts = rng.multinomial(6, np.full(6, 1 / 6), n_boot)
    for one in counts:
        at = np.concatenate([[2 * i, 2 * i + 1] * times for i, times in enumerate(one)]).astype(int)
        means = {name: own[at].mean() for name, own in losses.items()}
        drawn.append(score(means["good"], means["base"]) - score(means["even"], means["base"]))
    from scipy import stats

    reach = np.sqrt(6 / 5) * stats.t.ppf(0.975, 5)
    low, high = np.quantile(drawn, stats.norm.cdf([-reach, reach]))
    found = Comparison(rows, metrics=None, n_boot=n_boot, rng=5).difference(
        "good", "even", level=0.95
    )
    assert (found.low, found.high, found.n) == (pytest.approx(low), pytest.approx(high), 6)


def test_an_honest_interval_covers_no_difference(rng):
    """Two models that are equally good on average are called different about one time in twenty."""
    called = 0
    for _ in range(200):
        pair = rng.normal(0.5, 0.1, (2, 20))
        rows = [
            made_row("base", np.full(20, 0.9), kind="baseline"),
            made_row("a", pair[0]),
            made_row("b", pair[1]),
        ]
        found = Comparison(rows, metrics=None, n_boot=400, rng=0).difference("a", "b", level=0.95)
        called += not found.low <= 0 <= found.high
    assert 1 <= called <= 22


def test_seeds_are_no_replicates(losses):
    one = rows_of(losses)
    many = [replace(row, seed=seed) for seed in range(5) for row in one]
    columns = ["score", "difference", "low", "high", "verdict", "sets"]
    a, b = sh.benchmark.table(one), sh.benchmark.table(many)
    pd.testing.assert_frame_equal(a[columns], b[columns])
    assert b.loc["good", "results"] == 5


def test_data_sets_count_the_same(losses):
    near, far = losses["base"] - 0.1, losses["base"] - 0.4
    base = {"reference": losses["base"]}
    rows = [
        made_row("base", losses["base"], kind="baseline", data=d, seed=s, **base)
        for d, s in [("x", 0), ("x", 1), ("y", 0)]
    ]
    rows += [made_row("it", near, data="x", seed=s, **base) for s in (0, 1)]
    rows += [made_row("it", far, data="y", **base)]
    board = sh.benchmark.table(rows)
    expected = np.mean([score(own.mean(), losses["base"].mean()) for own in (near, far)])
    assert board.loc["it", "score"] == pytest.approx(expected)
    assert board.loc["it", ["sets", "results"]].tolist() == [2, 3]


def test_whoever_left_out_a_data_set_stands_behind(rows, losses):
    other = [
        made_row(n, losses[n], kind="baseline" if n == "base" else "model", data="e")
        for n in ("base", "even")
    ]
    gone = made_row("good", losses["good"], data="e", note="RuntimeError: no memory")
    board = sh.benchmark.table([*rows, *other, gone])
    assert board.index[:3].tolist() == ["base", "even", "good"]
    assert board.loc["good", ["sets", "results", "failed"]].tolist() == [1, 1, 1]
    assert board.loc["good", "verdict"] == "better"  # where both have results


def test_a_metric_that_cannot_tell_counts_for_nothing(losses):
    rows = []
    for name, own in losses.items():
        row = made_row(
            name,
            {"m": own, "noise": own[::-1] ** 3},
            kind="baseline" if name == "base" else "model",
            reference=losses["base"],
        )
        row.metrics["noise"]["discriminates"] = False
        rows.append(row)
    board = sh.benchmark.table(rows)
    assert board["noise"].isna().all()
    pd.testing.assert_series_equal(board["score"], sh.benchmark.table(rows_of(losses))["score"])
    assert sh.benchmark.table(rows, show="value").loc["good", "noise"] == pytest.approx(
        (losses["good"] ** 3).mean()
    )


def test_harm_counts_downwards_though_no_metric_tells(losses):
    """A network that invents a response on a screen where nothing responds is below the control copy."""
    rng = np.random.default_rng(0)
    several = {"energy": np.abs(rng.normal(1.4, 0.1, N)), "m": rng.uniform(0.2, 1.0, N)}
    row = made_row("inventor", several, tells=False, reference=rng.normal(0, 0.01, N))
    for kind in ("positive", "negative", "copy"):
        row.losses["energy"][kind] = rng.normal(0, 0.01, N).tolist()
    for responds, expected in ((True, -HARM), (False, -1)):
        board = sh.benchmark.table([replace(row, responds=responds)])
        assert board.loc["control copy", "score"] == 0
        assert board.loc["inventor", "score"] == pytest.approx(expected, abs=0.05)
        assert board.loc["inventor", "harm"] == -board.loc["inventor", "score"]


def test_harm_in_silent_conditions_counts_by_itself(losses):
    """A gain in the others does not hide it, and rows that do not say which are silent take theirs from others."""
    silent = np.arange(N) < N // 2
    noise = np.random.default_rng(0).normal(0, 1e-3, (2, N))
    several = {"energy": np.where(silent, 0.5, 0.0) + noise[0], "m": np.full(N, 0.3)}
    copy = np.where(silent, 0.0, 2.0) + noise[1]
    row = made_row("inventor", several, reference=np.where(silent, 0.0, 1.8))
    for kind in ("negative", "copy"):
        row.losses["energy"][kind] = copy.tolist()
    row.losses["energy"]["positive"] = noise[1].tolist()
    names = [name for name, quiet in zip(row.conditions, silent, strict=True) if quiet]
    told = replace(row, silent=names)
    assert sh.benchmark.table([row]).loc["inventor", "harm"] == 0
    alone = sh.benchmark.table([told]).loc["inventor", "harm"]
    assert alone > 0.1
    beside = sh.benchmark.table([replace(row, model="older"), told])
    assert beside.loc[["older", "inventor"], "harm"].tolist() == [alone, alone]


def test_a_reference_that_leaves_no_room_gives_no_score_and_an_order(losses):
    near = {"reference": np.full(N, 0.22)}
    rows = [made_row("a", np.full(N, 0.5), **near), made_row("b", np.full(N, 0.3), **near)]
    board = sh.benchmark.table(rows)
    assert board[["score", "score_low"]].isna().all(axis=None)
    assert board.index[:2].tolist() == ["b", "a"]
    assert board.loc["a", "difference"] == pytest.approx(-0.2 / 0.8)  # of what they achieve
    assert board.loc["a", "verdict"] == "worse"
    assert board.loc["b", "achieved"] == pytest.approx(0.7 / 0.8)


def test_the_order_of_results_does_not_matter(rows):
    pd.testing.assert_frame_equal(sh.benchmark.table(rows), sh.benchmark.table(rows[::-1]))


def test_one_perturbation_has_no_interval(losses):
    rows = rows_of(losses, owners=["P"] * N)
    board = sh.benchmark.table(rows)
    ends = ["low", "high", "score_low", "score_high"]
    assert board.loc[["base", "even"], ends].isna().all(axis=None)
    assert board["verdict"].tolist()[:3] == ["reference", "", ""]


def test_the_score_is_that_of_evaluate(screen):
    """A model alone: the benchmark and `tl.evaluate` fit the reference themselves and say the same."""
    from shoal.evaluation._models import read_models

    (model,) = read_models(["mean_shift"])
    scorer = Scorer(screen, seed=3, n_comps=8, n_draws=2)
    row = attempt(screen, Row("d", "s", "mean_shift", 3, "model"), model, scorer)
    board = sh.benchmark.table([row])
    sh.tl.predict(
        screen, sh.tl.fit(screen, "mean_shift", rng=3), key_added="twins", subset="test", rng=3
    )
    asked = {"baselines": ["perturbed_mean"], "n_comps": 8, "n_draws": 2, "rng": 3}
    sh.tl.evaluate(screen, prediction="twins", **asked)
    entry = read_result(screen, "evaluation", kind="evaluation", written_by="")
    own = entry["contenders"].loc["prediction"]
    for name in ("score", "achieved", "harm"):
        assert board.loc["mean_shift", name] == pytest.approx(own[name], abs=1e-12)
    tells = entry["summary"].index[entry["summary"]["discriminates"]]
    np.testing.assert_allclose(
        board.loc["mean_shift", tells].astype(float),
        entry["summary"].loc[tells, "skill"],
        atol=1e-12,
    )
    values = (
        sh.benchmark.table([row], show="value")
        .loc["mean_shift", entry["summary"].index]
        .astype(float)
    )
    np.testing.assert_allclose(values, entry["summary"]["value"], atol=1e-12)


def test_only_the_metrics_that_are_asked_for(spec, tmp_path):
    sh.benchmark.run(spec, folder=tmp_path)
    board = sh.benchmark.table(tmp_path, metrics=["rmse"])
    assert board.columns[-1] == "rmse"
    assert not set(METRICS[:2]) & set(board)
    assert board.loc["positive control", "score"] == 1
    assert board.loc[board["kind"] == "baseline", "score_best"].max() <= 0


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"against": "goood"}, KeyError, "Did you mean 'good'"),
        ({"metrics": ["mm"]}, KeyError, "metrics of this benchmark"),
        ({"show": "loss"}, ValueError, "show='loss' is not known"),
    ],
)
def test_errors(rows, options, error, match):
    with pytest.raises(error, match=match):
        sh.benchmark.table(rows, **options)


def test_nothing_to_compare(losses):
    with pytest.raises(ValueError, match="nothing is computed yet"):
        sh.benchmark.table([])
    with pytest.raises(ValueError, match="none of 1 results is there to compare: out of memory"):
        sh.benchmark.table([made_row("good", losses["good"], note="out of memory")])


def test_markdown_can_be_read_back(rows):
    board = sh.benchmark.table(rows).rename(index={"good": "good|plain"})
    lines = sh.benchmark.markdown(board, digits=4).splitlines()
    assert len(lines) == 2 + len(board)
    assert lines[2].startswith("| good\\|plain | model | 0.")
    cells = [cell.strip() for cell in lines[3].strip("|").split("|")]
    assert float(cells[2]) == pytest.approx(board["score"].iloc[1], abs=1e-4)
    assert cells[list(board.columns).index("seconds") + 1] == "3.0000"
    assert "nan" not in sh.benchmark.markdown(board)


def with_prints(rows, prints):
    """Give rows fingerprints: model -> seed -> a number."""
    return [replace(row, fingerprint=[[1.0, prints[row.model][row.seed]]]) for row in rows]


def test_models_of_the_same_cells_are_one_row_and_scores_stay(losses):
    rows = [
        made_row(name, losses["base" if name == "twin" else name], kind="baseline", seed=seed)
        for seed in (0, 1)
        for name in ("base", "twin", "good", "even")
    ]
    prints = {"base": (0.1, 0.2), "twin": (0.1, 0.2), "good": (0.1, 0.3), "even": (0.4, 0.2)}
    each, once = sh.benchmark.table(rows), sh.benchmark.table(with_prints(rows, prints))
    assert once["same_as"].to_dict() == dict.fromkeys(once.index, "") | {"base": "twin"}
    assert list(once.index) == [name for name in each.index if name != "twin"]
    pd.testing.assert_frame_equal(
        once.drop(columns="same_as"), each.loc[once.index].drop(columns="same_as")
    )
    against = sh.benchmark.table(with_prints(rows, prints), against="twin")
    assert against.loc["base", "verdict"] == "reference"
    assert "| twin |" in sh.benchmark.markdown(once)


@pytest.mark.parametrize("change", [{"kind": "model"}, {"transductive": True}, {"data": "e"}])
def test_rows_that_differ_in_what_they_are_stay_apart(losses, change):
    one = made_row("base", losses["base"], kind="baseline")
    rows = with_prints([one, replace(one, model="twin", **change)], {"base": [0.1], "twin": [0.1]})
    assert {"base", "twin"} <= set(sh.benchmark.table(rows).index)


def test_results_without_fingerprints_are_not_the_same(rows, losses):
    twin = made_row("twin", losses["base"], kind="baseline")
    assert "twin" in sh.benchmark.table([*rows, twin]).index


@pytest.mark.parametrize("what", ["conditions", "metrics"])
def test_rows_of_other_held_out_cells_are_refused(rows, what):
    """As of two machines whose splits differ, or of a screen that was filtered in between."""
    *others, one = rows
    names = {f"other {name}": own for name, own in one.conditions.items()}
    second = {name: own | {"positive": own["positive"] + 0.1} for name, own in one.metrics.items()}
    other = replace(one, **{what: {"conditions": names, "metrics": second}[what]})
    match = rf"seed {one.seed}: {rows[0].model} and {one.model} were scored on different held-out"
    with pytest.raises(ValueError, match=match):
        sh.benchmark.table([*others, other], n_boot=2)
    assert len(sh.benchmark.table([*others, replace(other, seed=one.seed + 1)], n_boot=2)) > 2
