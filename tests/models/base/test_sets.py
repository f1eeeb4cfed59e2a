"""From cells to sets: conditions for training, and requests packed for sampling."""

from __future__ import annotations

from dataclasses import replace

import anndata as ad
import numpy as np
import pytest

import shoal as sh
from shoal.core._population import population
from shoal.core._screen import resolve
from shoal.models.base._learning import learn_vocabulary
from shoal.models.base._requests import PredictionRequest

torch = pytest.importorskip("torch", reason="networks need the extra 'models'")
pytest.importorskip("lightning", reason="networks need the extra 'models'")
from shoal.models.base._sets import conditions_of, encoded_conditions, pack  # noqa: E402


@pytest.fixture
def cells(rng):
    """Days 1 and 2, doses 0.1, 1 and 10; C is in no training cell, day 3 neither."""
    rows = [
        ("control", "1", 0.0, "train", 12),
        ("control", "2", 0.0, "train", 12),
        ("control", "3", 0.0, "test", 3),
        ("A", "1", 0.1, "train", 4),
        ("A", "1", 10.0, "train", 5),
        ("B+A", "2", 1.0, "train", 6),
        ("C", "2", 1.0, "test", 7),
        ("A", "3", 1.0, "test", 2),
        ("A", "2", np.nan, "val", 3),
    ]
    order = rng.permutation(np.repeat(np.arange(len(rows)), [n for *_, n in rows]))
    found = ad.AnnData(rng.random((len(order), 3)).astype(np.float32))
    for i, key in enumerate(("perturbation", "day", "dose", "split")):
        found.obs[key] = [rows[j][i] for j in order]
    found.obs["plate"] = np.where(np.arange(len(order)) % 2 == 0, "x", "y")
    keys = {"context_key": "day", "dose_key": "dose", "batch_key": "plate"}
    sh.pp.annotate(found, "perturbation", control="control", **keys)
    return population(found, resolve(found))


@pytest.fixture
def vocabulary(cells):
    return learn_vocabulary(cells, layer=None, use_rep=None, embedding=None)


def test_a_condition_is_a_perturbation_in_a_context_at_a_dose(cells, vocabulary):
    found = conditions_of(cells, cells.train, vocabulary)
    assert found.names == ("A | 1 | dose 0.1", "A | 1 | dose 10", "B+A | 2 | dose 1")
    np.testing.assert_array_equal(found.sizes, [4, 5, 6])
    obs = cells.adata.obs
    for name, at in zip(found.names, found.cells, strict=True):
        assert np.all(np.diff(at) > 0)
        perturbation, day, _ = name.split(" | ")
        assert set(obs["perturbation"].iloc[at]) == {
            "B+A" if perturbation == "A+B" else perturbation
        }
        assert set(obs["day"].iloc[at]) == {day}
    np.testing.assert_array_equal(found.parts, [[0, -1], [0, -1], [0, 1]])
    np.testing.assert_array_equal(found.context, [0, 0, 1])
    log = np.log10(np.repeat([0.1, 10.0, 1.0], [4, 5, 6]))
    np.testing.assert_allclose(found.dose, (np.array([-1, 1, 0]) - log.mean()) / log.std())


def test_sources_are_the_control_cells_of_training(cells, vocabulary):
    found = conditions_of(cells, cells.val, vocabulary)
    obs = cells.adata.obs
    control = obs["perturbation"] == "control"
    np.testing.assert_array_equal(
        found.control, np.flatnonzero(control & (obs["split"] == "train"))
    )
    assert found.names == ("A | 2",)
    assert np.isnan(found.dose[0])
    np.testing.assert_array_equal(
        found.cell_context, np.where(obs["day"] == "3", -1, obs["day"].astype(int) - 1)
    )
    np.testing.assert_array_equal(found.cell_batch, (obs["plate"] == "y").astype(int))


def test_what_has_no_vector_is_no_condition(cells, vocabulary):
    with pytest.raises(KeyError, match="'C' did not occur in training"):
        conditions_of(cells, cells.perturbed, vocabulary)


def request_of(perturbation, context, dose):
    n, names = len(perturbation), ("A", "A+B", "B")
    return PredictionRequest(
        names,
        np.array(perturbation),
        np.array(context),
        np.zeros(n, dtype=int),
        np.array(dose),
        np.arange(n),
    )


def test_sets_are_of_one_condition_and_hold_every_row_once():
    nan = np.nan
    request = request_of(
        [0] * 5 + [1] * 3, [0, 0, 0, 1, 1, 1, 1, 1], [nan, nan, nan, nan, nan, 1.0, 2.0, 2.0]
    )
    packed = pack(request, 2)
    np.testing.assert_array_equal(packed.rows, [[0, 1], [2, 2], [3, 4], [5, 5], [6, 7]])
    np.testing.assert_array_equal(packed.rows[packed.real], np.arange(8))
    np.testing.assert_array_equal(packed.real.sum(1), [2, 1, 2, 1, 2])


@pytest.mark.parametrize("n", [1, 63, 64, 65, 200])
def test_no_set_is_larger_than_asked(n):
    packed = pack(request_of([2] * n, [0] * n, [np.nan] * n), 64)
    assert packed.rows.shape == (-(-n // 64), 64)
    assert packed.real.sum() == n
    assert packed.rows.max() == n - 1
    assert np.ptp(packed.real.sum(1)) <= 1


def test_the_network_gets_the_requested_condition(cells, vocabulary):
    told = encoded_conditions(
        request_of([0, 1, 2], [0, 1, 2], [np.nan, 1.0, 10.0]),
        np.array([0, 1, 2]),
        cells,
        vocabulary,
        device="cpu",
    )
    np.testing.assert_array_equal(told["parts"].sum(1), [[1, 0], [1, 1], [0, 1]])
    np.testing.assert_array_equal(told["present"].sum(1), [1, 2, 1])
    assert told["context"].tolist() == [0, 1, -1]  # day 3 is in no training cell
    assert told["dose"][:, 1].tolist() == [0, 1, 1]
    assert told["dose"][0, 0] == 0
    assert told["dose"][2, 0] == pytest.approx((1 - vocabulary.dose_centre) / vocabulary.dose_scale)
    trained = conditions_of(cells, cells.train, vocabulary).tensors(np.array([2]))
    pair = encoded_conditions(
        request_of([1], [1], [1.0]), np.array([0]), cells, vocabulary, device="cpu"
    )
    assert pair.pop("familiar").tolist() == [True]
    assert all(torch.equal(trained[name], value) for name, value in pair.items())


def test_a_perturbation_is_familiar_if_all_its_parts_were_in_training(vocabulary):
    known = replace(vocabulary, trained=("A",))
    assert known.familiar(["A", "B", "A+B"]).tolist() == [True, False, False]
