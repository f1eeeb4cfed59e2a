"""The share of a population that responds: its closed forms, its null, and what it does to predictions."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from scipy import sparse

import shoal as sh

torch = pytest.importorskip("torch", reason="networks need the extra 'models'")
pytest.importorskip("scvi", reason="networks need the extra 'models'")

from shoal.models.base._requests import PredictionRequest  # noqa: E402
from shoal.models.base._response_share import (  # noqa: E402
    BLOCKS,
    evidence,
    known_shares,
    own_share,
    responding,
    share_of,
)

FAST = {"max_steps": 1, "accelerator": "cpu", "set_size": 8, "batch_conditions": 2}
UNITS = ("one", "two", "three")


def points(*at, n=200):
    """Return n cells at some points in turn, ten at a point before the next."""
    return np.array(at, dtype=float)[np.arange(n) // BLOCKS % len(at)]


def dense(values):
    return values.toarray() if sparse.issparse(values) else np.asarray(values)


def test_point_masses_give_the_share_of_the_cells_that_moved():
    control, predicted = points([0, 0]), points([2, 0])
    real = points([2, 0], [0, 0], [0, 0], [0, 0])
    several = [evidence(predicted, control, real, unit=unit) for unit in UNITS]
    np.testing.assert_allclose(several[0].along[0] / several[0].length[0], 0.25)
    np.testing.assert_allclose(several[0].length, 4)
    assert share_of(several) == pytest.approx(0.25)


def test_a_right_prediction_is_believed_and_an_invented_one_is_not(rng):
    control = [rng.normal(size=(150, 5)) for _ in UNITS]
    moved = [rng.normal(size=(150, 5)) + 1 for _ in UNITS]
    real = [rng.normal(size=(150, 5)) + 1 for _ in UNITS]
    still = [rng.normal(size=(150, 5)) for _ in UNITS]

    def share(answer):
        several = zip(moved, control, answer, UNITS, strict=True)
        return share_of([evidence(p, c, q, unit=unit) for p, c, q, unit in several])

    assert share(real) == 1
    assert share(still) < 0.1


def test_the_mixture_with_this_share_is_the_nearest(rng):
    control, predicted = rng.normal(size=(300, 3)), rng.normal((3, 0, 0), size=(300, 3))
    real = rng.normal((1, 1, 0), size=(300, 3))
    best = share_of([evidence(predicted, control, real, unit=unit) for unit in UNITS])

    def distance(share):
        some = predicted[: round(share * 300)], control[round(share * 300) :]
        return sh.metrics.energy_distance(np.concatenate(some), real)

    assert 0.2 < best < 0.6
    assert distance(best) < min(distance(best - 0.2), distance(best + 0.2))


def test_with_few_left_out_only_the_size_of_responses_counts():
    control, predicted, real = points([0, 0]), points([2, 0]), points([0, 1])
    found = evidence(predicted, control, real)
    assert share_of([found]) == pytest.approx(np.sqrt(0.5))
    assert share_of(
        [found], [evidence(control, control, points([0, 0])).response]
    ) == pytest.approx(0.5)  # half of the populations respond
    assert share_of([found], [np.full(1 + BLOCKS, 8.0)]) == 1  # those of training respond strongly
    each = [evidence(predicted, control, real, unit=unit) for unit in UNITS]
    assert share_of(each) == pytest.approx((3 - np.sqrt(5)) / 4)
    assert share_of([evidence(real, control, predicted)]) == 1  # it moves too little: as it is


def test_a_condition_of_its_own_is_moved_as_far_as_towards_its_cells():
    control, predicted, real = points([0, 0]), points([2, 0]), points([0, 1])
    assert own_share(evidence(predicted, control, real)) == pytest.approx((3 - np.sqrt(5)) / 4)
    assert own_share(evidence(predicted, control, points([-1, 0]))) == 0
    assert own_share(evidence(predicted, control, predicted)) == 1
    assert own_share(evidence(control, control, real)) == 1  # it moves nothing


def test_pairs_of_one_control_cell_do_not_count(rng):
    """A network that moves nothing has moved by 0, however few controls there are."""
    pool = rng.normal(size=(12, 4))
    source, control = rng.permutation(12), rng.permutation(12)
    real = rng.normal(size=(30, 4))
    found = evidence(pool[source], pool[control], real, source=source, control_rows=control)
    assert found.length[0] == pytest.approx(0, abs=1e-12)
    assert evidence(pool[source], pool[control], real).length[0] < -0.1


def test_nothing_to_go_by_leaves_all_cells_responding():
    assert share_of([]) == 1
    assert share_of([evidence(points([1.0]), points([1.0]), points([1.0]))]) == 1


@pytest.mark.parametrize("share", [0.0, 0.1, 0.37, 0.5, 1.0])
def test_the_draw_is_exact_in_every_population_and_batch(share, rng):
    n = 200
    code = np.repeat([0, 1], n // 2)
    batch = np.tile(np.repeat([0, 1], n // 4), 2)
    request = PredictionRequest(
        names=("A", "B"),
        perturbation=code,
        context=np.zeros(n, dtype=int),
        batch=batch,
        dose=np.full(n, np.nan),
        source=np.arange(n),
    )
    chosen = responding(request, share, rng)
    for here in (0, 1):
        assert abs(chosen[code == here].sum() - share * n / 2) < 1
        for b in (0, 1):
            assert abs(chosen[(code == here) & (batch == b)].sum() - share * n / 4) < 2
    often = np.mean([responding(request, share, np.random.default_rng(i)) for i in range(300)], 0)
    assert abs(often - share).max() < 0.15  # every cell alike


def test_every_population_may_have_a_share_of_its_own(rng):
    code = np.repeat([0, 1, 2], 40)
    request = PredictionRequest(
        names=("A", "B", "C"),
        perturbation=code,
        context=np.zeros(120, dtype=int),
        batch=np.zeros(120, dtype=int),
        dose=np.full(120, np.nan),
        source=np.arange(120),
    )
    chosen = responding(request, np.array([0.0, 0.25, 1.0])[code], rng)
    assert [int(chosen[code == here].sum()) for here in (0, 1, 2)] == [0, 10, 40]


class Add(torch.nn.Module):
    """Moves every cell by the same amount in all dimensions, whatever it is trained on."""

    def __init__(self, amount):
        super().__init__()
        self.amount, self.nothing = amount, torch.nn.Parameter(torch.zeros(1))

    def loss(self, batch, generator):
        return {"loss": (self.nothing**2).sum()}

    def sample(self, source, condition, batch_index, *, generator):
        return source + self.amount


class Adding(sh.models.PerturbationModel):
    """A model that moves cells by what it is told to."""

    def make_network(self, n_dims, n_vector, n_contexts, n_batches):
        return Add(self.config["amount"])


@pytest.fixture
def signed():
    """Four perturbations in one unit of a representation, two of them held out for validation."""
    rng = np.random.default_rng(0)
    name = np.repeat(["control", "A", "B", "C", "D", "E"], 120)
    adata = sh.ds.simulate_gaussian(n_perturbations=2, n_dims=6, rng=0)[:1].copy()
    adata = type(adata)(rng.normal(size=(len(name), 6)).astype(np.float32), obs={"p": name})
    adata.obs["split"] = np.where(np.isin(name, ["C", "D", "E"]), "val", "train")
    adata.obsm["X_rep"] = adata.X.copy()
    vectors = {n: rng.normal(size=3) for n in "ABCDE"}
    sh.pp.annotate(adata, "p", control="control")
    sh.pp.embed(adata, method="table", source=vectors, key_added="mine")
    return adata


def adding(adata, amount, **arguments):
    config = {"amount": amount, "n_latent": None}
    options = {"use_rep": "X_rep", "embedding": "mine", "config": config}
    return sh.tl.fit(adata, Adding, **options, **FAST, **arguments)


def test_a_network_that_invents_a_response_is_held_back(signed, caplog):
    with caplog.at_level(logging.INFO, logger="shoal"):
        model = adding(signed, 2.0)
    assert model.response_share < 0.1
    assert "of the cells of a population respond" in caplog.text
    assert "3 conditions of val" in caplog.text
    assert "of cells respond" in model._model_summary_string
    assert adding(signed, 2.0, response_share=1).response_share == 1
    assert adding(signed, 2.0, response_share=0.4).response_share == 0.4


def test_a_network_that_is_right_is_not(signed, caplog):
    perturbed = (signed.obs["p"] != "control").to_numpy()
    signed.obsm["X_rep"][perturbed] += 2
    with caplog.at_level(logging.INFO, logger="shoal"):
        model = adding(signed, 2.0 / unit_of(signed))
    assert model.response_share == 1
    assert "respond" not in caplog.text


def test_a_condition_of_training_that_does_not_respond_is_known(signed):
    """Of two trained conditions one moves, as predicted, and the network moves the other as far."""
    signed.obs["split"] = "train"
    signed.obsm["X_rep"][(signed.obs["p"] == "A").to_numpy()] += 2
    model = adding(signed, 2.0 / unit_of(signed), response_share=1)
    shares = known_shares(model, rng=np.random.default_rng(0))
    assert set(shares) == {"B", "C", "D", "E"}
    assert max(shares.values()) < 0.3


def unit_of(adata):
    """Return the unit of the space of a model of these cells."""
    return float(adding(adata, 0.0, response_share=1).space.scale)


def test_the_rest_are_control_cells_as_measured(signed):
    model = adding(signed, 2.0, response_share=0.25)
    made = model.predict("A", n_cells=80)
    start = signed[made.obs["source"].to_numpy()].obsm["X_rep"]
    moved = ~np.isclose(made.X, start, atol=1e-6).all(axis=1)
    assert moved.sum() == 20
    np.testing.assert_array_equal(made.X[~moved], start[~moved])
    controls = signed[signed.obs["p"] == "control"].copy()
    carried = model.transport(controls, "A")
    stayed = (dense(carried.X) == controls.obsm["X_rep"]).all(axis=1)
    assert stayed.mean() == pytest.approx(0.75, abs=0.01)
    model.response_share = 1.0
    assert not (dense(model.predict("A", n_cells=80).X) == start).all(axis=1).any()


@pytest.mark.parametrize("wrong", [None, "all", -0.1, 1.1, True])
def test_a_share_that_makes_no_sense(signed, wrong):
    with pytest.raises((TypeError, ValueError), match="response_share must be a number from 0 to"):
        adding(signed, 1.0, response_share=wrong)
