"""Baselines that put a response together from training contexts: exact where the answer is known."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import shoal as sh
from shoal.models.baselines._cell_knn import CellKnnShift
from shoal.models.baselines._context_agreement import Agreement, normalised
from shoal.models.baselines._context_distance import ContextWeighted, NearestContext
from shoal.models.baselines._context_places import Places
from shoal.models.baselines._own_shift import OwnShift
from shoal.models.baselines._pool import Pool
from shoal.models.baselines._scaled_sources import ScaledSources

from ...helpers import dense

D = 6
CLASSES = (NearestContext, ContextWeighted, CellKnnShift, ScaledSources)
each_class = pytest.mark.parametrize("cls", CLASSES)


def world(places, responses, rng, *, n=40, noise=0.3, dose=False):
    """Cells = centred noise + the place of their context + a response.

    `places` maps a context to where its cells lie, `responses` maps (name, context) or (name,
    context, dose) to a response. Cells of a response of ``None`` are held out and garbage.
    """
    blocks, obs = [], []
    entries = {("control", context): np.zeros(D) for context in places} | responses
    for (name, context, *level), response in entries.items():
        x = rng.normal(size=(n, D)) * noise
        held_out = response is None
        moved = np.full(D, 1e3) if held_out else np.asarray(places[context]) + response
        blocks.append(x - x.mean(axis=0) + moved)
        side = "test" if held_out else "train"
        obs += [(name, context, side, level[0] if level else np.nan)] * n
    adata = ad.AnnData(np.vstack(blocks))
    adata.obs[["perturbation", "context", "split", "dose"]] = pd.DataFrame(
        obs, index=adata.obs_names
    )
    keys = {"context_key": "context"} | ({"dose_key": "dose"} if dose else {})
    sh.pp.annotate(adata, "perturbation", control="control", **keys)
    return adata


def trained(cls, adata, **options):
    """Return a trained model whose responses are as measured; `test_shrinkage.py` is about their shrinkage."""
    model = cls(adata, **({"shrink": False} | options))
    model.train()
    return model


def shifts(model, name, context, *, dose=None, adata=None):
    """Return what was added to every control cell that predictions start from."""
    made = model.predict(name, context=context, n_cells=40, dose=dose, adata=adata)
    source = model.cells.adata if adata is None else adata
    return dense(made.X) - source[made.obs["source"].to_numpy()].X


def shift(model, name, context, **options):
    """Return the one shift that all control cells got."""
    found = shifts(model, name, context, **options)
    assert np.ptp(found, axis=0).max() < 1e-4, "every control cell is moved alike"
    return found.mean(axis=0)


PLACES = {"a": np.zeros(D), "b": np.full(D, 4.0), "c": np.full(D, 20.0), "new": np.full(D, 5.0)}


@pytest.fixture
def deltas(rng):
    return {name: rng.normal(size=D) for name in ("A", "B", "C", "D")}


@pytest.fixture
def adata(deltas, rng):
    """P in a, b and c with responses of their own, Q in a and c, R in `new` alone; P, Q held out there."""
    return world(
        PLACES,
        {
            ("P", "a"): deltas["A"],
            ("P", "b"): deltas["B"],
            ("P", "c"): deltas["C"],
            ("Q", "a"): deltas["D"],
            ("Q", "c"): deltas["A"],
            ("R", "new"): deltas["B"],
            ("P", "new"): None,
            ("Q", "new"): None,
        },
        rng,
    )


# -- what all promise ------------------------------------------------------------------------------


@each_class
def test_a_response_of_the_wanted_context_is_taken_as_it_is(cls, adata, deltas):
    model = trained(cls, adata)
    for name, context, delta in (("P", "a", "A"), ("P", "c", "C"), ("R", "new", "B")):
        np.testing.assert_allclose(shift(model, name, context), deltas[delta], atol=1e-4)


@each_class
def test_a_screen_without_contexts_is_refused(cls, adata):
    sh.pp.annotate(adata, "perturbation", control="control", overwrite=True)
    with pytest.raises(ValueError, match=r"the screen has no contexts: .*context_key=.*own_shift"):
        trained(cls, adata)


@each_class
def test_one_context_with_responses_is_own_shift(cls, adata, deltas):
    one = adata[adata.obs["context"].isin(["a", "new"]) & (adata.obs["perturbation"] != "R")].copy()
    model = trained(cls, one)
    np.testing.assert_allclose(shift(model, "P", "new"), deltas["A"], atol=1e-4)
    np.testing.assert_allclose(shift(model, "Q", "new"), deltas["D"], atol=1e-4)


@each_class
def test_held_out_cells_change_nothing(cls, adata):
    changed = adata.copy()
    test = (adata.obs["split"] == "test").to_numpy()
    changed.X[test] = -7.0
    before, after = trained(cls, adata), trained(cls, changed)
    for name in ("P", "Q", "R"):
        np.testing.assert_array_equal(shifts(before, name, "new"), shifts(after, name, "new"))
    gone = trained(cls, adata[~test].copy())
    np.testing.assert_allclose(shifts(gone, "P", "new"), shifts(before, "P", "new"), atol=1e-4)


@each_class
def test_what_was_not_measured_gets_the_mean_response(cls, adata, deltas):
    model = trained(cls, adata)
    here = (deltas["A"] + deltas["D"]) / 2  # P and Q were measured in a, R was not
    found = shift(model, "P+Q", "a")
    if cls is CellKnnShift:
        np.testing.assert_allclose(found, here, atol=1e-4)
    else:
        np.testing.assert_allclose(
            found, (deltas["A"] + deltas["D"] + shift(model, "R", "a")) / 3, atol=1e-4
        )


@pytest.mark.parametrize("cls", [NearestContext, ContextWeighted, ScaledSources])
def test_a_missing_context_gets_the_response_over_all(cls, adata, deltas):
    adata.obs["context"] = adata.obs["context"].replace("new", np.nan)
    model = trained(cls, adata)
    three = {"a": deltas["A"], "b": deltas["B"], "c": deltas["C"]}
    expected = sum(three.values()) / 3
    if cls is ScaledSources:
        parts = [model.source_weights[c] * delta for c, delta in three.items()]
        expected = model.amplitude * sum(parts)
    given = np.eye(D)[:3] - 0.5
    moved = model.transport(given, "P")
    np.testing.assert_allclose(moved - given, np.tile(expected, (3, 1)), atol=1e-4)


@each_class
def test_a_response_without_a_label_of_context_is_that_over_all(cls, adata):
    adata.obs["context"] = adata.obs["context"].replace("new", np.nan)
    expected = shift(trained(OwnShift, adata), "R", "a")
    np.testing.assert_allclose(shift(trained(cls, adata), "R", "a"), expected, atol=1e-4)


@each_class
def test_doses_are_interpolated_within_a_context(cls, deltas, rng):
    a = deltas["A"]
    adata = world(
        {"a": np.zeros(D), "b": np.full(D, 50.0), "new": np.full(D, 1.0)},
        {
            ("P", "a", 1.0): a,
            ("P", "a", 100.0): 3 * a,
            ("P", "b", 1.0): a,
            ("P", "b", 100.0): 3 * a,
            ("P", "new", 10.0): None,
        },
        rng,
        dose=True,
    )
    model = trained(cls, adata)
    for dose, factor in ((1, 1), (10, 2), (1000, 3)):
        np.testing.assert_allclose(
            shift(model, "P", "new", dose=dose), factor * a, atol=1e-4, err_msg=str(dose)
        )


@each_class
def test_a_context_that_training_never_saw_is_placed_by_its_own_controls(cls, adata, deltas):
    seen = adata[adata.obs["context"] != "new"].copy()
    model = trained(cls, seen)
    other = adata[(adata.obs["context"] == "new") & (adata.obs["split"] == "train")].copy()
    both = trained(cls, adata[adata.obs["perturbation"] != "R"].copy())
    np.testing.assert_allclose(
        shifts(model, "P", "new", adata=other).mean(axis=0),
        shifts(both, "P", "new").mean(axis=0),
        atol=1e-4,
    )
    if cls is NearestContext:
        np.testing.assert_allclose(shift(model, "P", "new", adata=other), deltas["B"], atol=1e-4)
    bare = other[other.obs["perturbation"] == "R"].copy()  # no controls: its cells tell
    bare.X -= deltas["B"]
    moved = model.transport(bare, "P")
    if cls is NearestContext:
        np.testing.assert_allclose(
            dense(moved.X) - bare.X, np.tile(deltas["B"], (len(bare), 1)), atol=1e-4
        )


# -- nearest_context, context_weighted -------------------------------------------------------------


def test_nearest_context_takes_the_nearest_that_has_the_perturbation(adata, deltas):
    model = trained(NearestContext, adata)
    np.testing.assert_allclose(shift(model, "P", "new"), deltas["B"], atol=1e-4)
    np.testing.assert_allclose(shift(model, "Q", "new"), deltas["D"], atol=1e-4)  # not in b
    np.testing.assert_allclose(shift(model, "R", "a"), deltas["B"], atol=1e-4)


def test_distances_are_unbiased(rng):
    """Of samples of one population they are 0 on average, of any size, and else the squared shift."""

    def pool(shift):
        sizes = (4, 8, 60)
        values = np.vstack([rng.normal(size=(n, 50)) + shift * (n == 60) for n in sizes])
        code, zeros = np.repeat(np.arange(3), sizes), np.zeros(72, dtype=int)
        return Pool(values, np.array(["control"]), zeros, code, zeros, zeros)

    for shift in (0.0, 0.5):
        apart = []
        for _ in range(400):
            places = Places.of(pool(shift), 4, 50)
            raw = ((places.mean[:, None] - places.mean) ** 2).sum(axis=-1)
            apart.append(raw - places.noise[:, None] - places.noise)
        mean, error = np.mean(apart, axis=0), np.std(apart, axis=0) / 20
        expected = 50 * shift**2
        for i, j, size in ((0, 1, 0.0), (0, 2, expected), (1, 2, expected)):
            assert abs(mean[i, j] - size) < 4 * error[i, j]
        assert np.isinf(places.between()[3]).all(), "a context without controls has no place"


def test_the_width_is_narrow_where_distance_tells_and_endless_where_it_does_not(rng):
    at = dict(zip("abcdef", np.linspace(0, 10.5, 6)[:, None] * np.ones(D), strict=True))
    direction, other = np.ones(D), np.r_[1.0, -1, 1, -1, 1, -1]
    near = {("P", c): np.cos(place[0] / 3) * other for c, place in at.items()}
    model = trained(ContextWeighted, world(at, near, rng))
    assert model.width < 20  # contexts next to one another are 24 apart
    noise = {(f"P{i}", c): direction + rng.normal(size=D) for i in range(20) for c in at}
    assert trained(ContextWeighted, world(at, noise, rng)).width > 500
    same = {("P", c): direction for c in at}
    assert np.isinf(trained(ContextWeighted, world(at, same, rng, noise=0.0)).width)


def test_weights_follow_the_kernel(deltas, rng):
    adata = world(
        {"a": np.zeros(D), "b": np.full(D, 2.0), "new": np.full(D, 0.5)},
        {("P", "a"): deltas["A"], ("P", "b"): deltas["B"]},
        rng,
    )
    model = trained(ContextWeighted, adata)
    assert np.isinf(model.width), "of two contexts each has one other: nothing can be chosen"
    np.testing.assert_allclose(shift(model, "P", "new"), (deltas["A"] + deltas["B"]) / 2, atol=1e-4)
    model.arrays["width"] = np.array(6.0)
    gap = D * (1.5**2 - 0.5**2)  # of the squared distances
    weight = 1 / (1 + np.exp(-gap / 6))
    np.testing.assert_allclose(
        shift(model, "P", "new"), weight * deltas["A"] + (1 - weight) * deltas["B"], atol=1e-3
    )


# -- cell_knn_shift --------------------------------------------------------------------------------


def test_every_cell_gets_the_response_of_the_state_that_it_is_like(deltas, rng):
    adata = world(
        {"a": np.zeros(D), "b": np.full(D, 9.0), "new": np.zeros(D)},
        {("P", "a"): deltas["A"], ("P", "b"): deltas["B"], ("P", "new"): None},
        rng,
    )
    mixed = np.flatnonzero((adata.obs["context"] == "new") & (adata.obs["split"] == "train"))
    adata.X[mixed[::2]] += 9.0  # every second control of the new context is like b
    model = trained(CellKnnShift, adata, n_neighbours=10)
    made = model.predict("P", context="new", n_cells=40)
    start = adata[made.obs["source"].to_numpy()].X
    like_b = start.mean(axis=1) > 4.5
    assert 10 < like_b.sum() < 30
    moved = dense(made.X) - start
    np.testing.assert_allclose(moved[like_b], np.tile(deltas["B"], (like_b.sum(), 1)), atol=1e-4)
    np.testing.assert_allclose(
        moved[~like_b], np.tile(deltas["A"], ((~like_b).sum(), 1)), atol=1e-4
    )


def test_controls_of_contexts_without_the_response_are_no_neighbours(adata, deltas):
    """The held-out context has controls in training, which are nearest to themselves."""
    model = trained(CellKnnShift, adata, n_neighbours=5)
    np.testing.assert_allclose(shift(model, "P", "new"), deltas["B"], atol=1e-4)
    np.testing.assert_allclose(shift(model, "Q", "new"), deltas["D"], atol=1e-4)
    np.testing.assert_allclose(shift(model, "R", "c"), deltas["B"], atol=1e-4)


def test_more_neighbours_than_cells_are_all_of_them(deltas, rng):
    adata = world(
        {"a": np.zeros(D), "b": np.full(D, 9.0), "new": np.zeros(D)},
        {("P", "a"): deltas["A"], ("P", "b"): deltas["B"], ("P", "new"): None},
        rng,
    )
    model = trained(CellKnnShift, adata, n_neighbours=10**6)
    np.testing.assert_allclose(shift(model, "P", "new"), (deltas["A"] + deltas["B"]) / 2, atol=1e-4)


def test_of_equal_distances_all_count_alike(deltas, rng):
    """The same cell in several contexts: the order of names does not choose between them."""
    adata = world(
        {"a": np.zeros(D), "b": np.zeros(D), "new": np.zeros(D), "far": np.full(D, 3.0)},
        {("P", "a"): deltas["A"], ("P", "b"): deltas["B"], ("P", "new"): None},
        rng,
        noise=0.0,
    )
    model = trained(CellKnnShift, adata, n_neighbours=7)
    np.testing.assert_allclose(shift(model, "P", "new"), (deltas["A"] + deltas["B"]) / 2, atol=1e-4)


def test_bad_settings_are_refused(adata):
    for name in ("n_neighbours", "n_comps", "max_cells"):
        with pytest.raises(ValueError, match=name):
            CellKnnShift(adata, **{name: 0})


# -- scaled_sources --------------------------------------------------------------------------------


def test_equal_responses_have_amplitude_one(deltas, rng):
    known = {(name, c): deltas[name] for name in "AB" for c in ("a", "b", "c")}
    model = trained(ScaledSources, world(PLACES, known | {("A", "new"): None}, rng))
    assert model.amplitude == pytest.approx(1.0)
    assert list(model.source_weights.values()) == pytest.approx([1 / 3] * 3 + [0.0])
    np.testing.assert_allclose(shift(model, "A", "new"), deltas["A"], atol=1e-4)


def test_the_amplitude_is_the_shared_part_of_the_mean_response(rng):
    """Responses r + u_s with orthogonal parts of squared length t: a = r² / (r² + t / (K - 1))."""
    axes = np.eye(D)
    contexts = ["a", "b", "c", "d"]
    places = {c: np.full(D, 3.0 * i) for i, c in enumerate(contexts)} | {"new": np.ones(D)}
    shared, own = 2.0, 1.5  # lengths
    known = {("P", c): shared * axes[0] + own * axes[i + 1] for i, c in enumerate(contexts)}
    model = trained(ScaledSources, world(places, known | {("P", "new"): None}, rng))
    amplitude = shared**2 / (shared**2 + own**2 / 3)
    assert model.amplitude == pytest.approx(amplitude)
    mean = np.mean(list(known.values()), axis=0)
    np.testing.assert_allclose(shift(model, "P", "new"), amplitude * mean, atol=1e-4)


def test_two_sources_by_hand(deltas, rng):
    """Responses r and 2r: alone they predict each other by 2 and 1/2, and together by .8."""
    r = deltas["A"]
    known = {("P", "a"): r, ("P", "b"): 2 * r, ("P", "new"): None}
    model = trained(ScaledSources, world(PLACES, known, rng))
    weights = model.source_weights
    assert [weights["a"], weights["b"]] == pytest.approx([0.8, 0.2])
    assert model.amplitude == pytest.approx(0.8)
    np.testing.assert_allclose(shift(model, "P", "new"), 0.8 * 1.2 * r, atol=1e-4)


def test_a_noisy_source_counts_little(rng):
    contexts = ["a", "b", "c", "d"]
    places = {c: np.full(D, 3.0 * i) for i, c in enumerate(contexts)}
    names = [f"P{i}" for i in range(30)]
    known = {}
    for name in names:
        r = rng.normal(size=D)
        known |= {(name, c): r + (4.0 if c == "d" else 0.1) * rng.normal(size=D) for c in contexts}
    weights = trained(ScaledSources, world(places, known, rng, n=10)).source_weights
    assert weights["d"] < 0.2 * min(weights[c] for c in "abc")


def test_contexts_that_contradict_one_another_have_no_shared_response(deltas, rng):
    r = deltas["A"]
    known = {("P", "a"): r, ("P", "b"): -r, ("P", "new"): None}
    model = trained(ScaledSources, world(PLACES, known, rng))
    assert model.amplitude == 0
    assert list(model.source_weights.values()) == pytest.approx([0.25] * 4)
    np.testing.assert_allclose(shift(model, "P", "new"), 0, atol=1e-4)


def test_of_responses_that_are_noise_little_is_left(rng):
    contexts = [f"c{i}" for i in range(5)]
    places = {c: np.full(D, 3.0 * i) for i, c in enumerate(contexts)}
    known = {(f"P{i}", c): rng.normal(size=D) for i in range(60) for c in contexts}
    model = trained(ScaledSources, world(places, known, rng, n=5))
    assert model.amplitude < 0.15


def test_one_source_has_nothing_to_fit_and_says_so(adata, deltas, caplog):
    one = adata[adata.obs["context"].isin(["a", "new"]) & (adata.obs["perturbation"] == "P")]
    controls = adata[adata.obs["perturbation"] == "control"]
    only = ad.concat([one, controls])
    only.uns["shoal"] = adata.uns["shoal"]
    with caplog.at_level("INFO", logger="shoal"):
        model = trained(ScaledSources, only)
    assert "no amplitude can be fitted; it is 1" in caplog.text
    assert model.amplitude == 1
    np.testing.assert_allclose(shift(model, "P", "new"), deltas["A"], atol=1e-4)


# -- sums of squares -------------------------------------------------------------------------------


def test_agreement_is_the_error_of_predictions(rng):
    """Sums from inner products are those of the responses themselves."""
    u, k = 5, 4
    delta, n = rng.normal(size=(u, k, D)), rng.integers(0, 2, size=(u, k)) * 7
    delta[n == 0] = 0.0
    agreement = Agreement(np.einsum("usd,utd->ust", delta, delta), n)
    weights = normalised(rng.random((u, k, k)) * agreement.others)
    error, slope = 0.0, np.zeros((k, 2))
    for i in range(u):
        for t in range(k):
            if weights[i, t].any():
                error += ((weights[i, t] @ delta[i] - delta[i, t]) ** 2).sum()
                error -= (delta[i, t] ** 2).sum()
            for s in range(k):
                if s != t and n[i, s] and n[i, t]:
                    slope[s] += delta[i, s] @ delta[i, t], delta[i, s] @ delta[i, s]
    assert agreement.error(weights) == pytest.approx(error)
    np.testing.assert_allclose(agreement.slopes(), np.maximum(slope[:, 0] / slope[:, 1], 0))


# -- vectors of contexts ---------------------------------------------------------------------------


def placed(adata, name, table):
    return sh.tl.fit(adata, name, context_embedding=table)


def test_distances_are_those_of_the_vectors():
    adata = sh.ds.simulate(n_perturbations=3, n_genes=40, contexts=3, n_cells=60, rng=0)
    sh.pp.prepare(adata, normalize="log1p")
    sh.pp.split(adata, by="context", test=["context3"], zero_shot=True)
    table = pd.DataFrame({"0": {"context1": 0.0, "context2": 9.0, "context3": 1.0}})
    model = placed(adata, "nearest_context", table)
    assert model.vocabulary.contexts == ("context1", "context2", "context3")
    np.testing.assert_allclose(model._distances(2, model.cells, 2), [1, 64, 0])
    near = model.predict("P1", context="context3", n_cells=30, rng=0)
    table.loc["context3"] = 8.0
    far = placed(adata, "nearest_context", table).predict(
        "P1", context="context3", n_cells=30, rng=0
    )
    assert not np.allclose(dense(near.X), dense(far.X))


def test_a_context_without_a_vector_is_refused_until_it_is_added(tmp_path):
    adata = sh.ds.simulate(n_perturbations=3, n_genes=40, contexts=3, n_cells=60, rng=0)
    sh.pp.prepare(adata, normalize="log1p")
    sh.pp.split(adata, by="context", test=["context3"], zero_shot=True)
    table = pd.DataFrame({"0": {"context1": 0.0, "context2": 9.0, "context3": 1.0}})
    model = placed(adata, "context_weighted", table.iloc[:2])
    with pytest.raises(KeyError, match=r"context 'context3' has no vector .*add_contexts"):
        model.predict("P1", context="context3", n_cells=5)
    model.add_contexts(table)
    model.save(tmp_path / "m")
    again = sh.models.load(tmp_path / "m", adata)
    made = [m.predict("P1", context="context3", n_cells=5, rng=0).X for m in (model, again)]
    np.testing.assert_array_equal(*map(dense, made))
