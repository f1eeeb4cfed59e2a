"""Retrieval by predictions: against the functions of profiles, at chance, and where it has no value."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy import sparse

from shoal.metrics import average_precision, top_k_accuracy
from shoal.metrics._comparison import Populations, Truth
from shoal.metrics._registry import score
from shoal.metrics._suite import SUITE

NAMES = ("retrieval_top1", "retrieval_top5", "retrieval_map")


def screen(rng, *, n_conditions=7, n_genes=20, n_cells=9, size=1.0):
    """Return a truth of one context with components that are the genes, and a second experiment."""
    shifts = size * rng.normal(size=(n_conditions, n_genes))
    first, second = (
        tuple(shift + rng.normal(size=(n_cells, n_genes)) for shift in shifts) for _ in range(2)
    )
    nothing = np.full((n_conditions, n_genes), np.nan)
    mask = np.ones((n_conditions, n_genes), dtype=bool)
    mask[np.arange(3), np.arange(3)] = False
    truth = Truth(
        names=tuple(f"P{i}" for i in range(n_conditions)),
        owner=np.arange(n_conditions),
        group=np.zeros(n_conditions, dtype=int),
        cells=first,
        controls=(rng.normal(size=(50, n_genes)),),
        reference=np.zeros((n_conditions, n_genes)),
        mask=mask,
        axes=np.eye(n_genes),
        bandwidth=1.0,
        parts=(nothing, nothing),
    )
    return truth, Populations(truth, second)


def value(name, truth, guess):
    return score(SUITE[name], truth, guess).values


def test_values_are_those_of_the_functions_of_profiles(rng):
    truth, guess = screen(rng)
    genes = np.arange(20) >= 3  # no target of the panel
    control = truth.controls[0].mean(axis=0)
    made = np.stack([(cells.mean(axis=0) - control)[genes] for cells in guess.cells])
    real = np.concatenate([(cells - control)[:, genes] for cells in truth.cells])
    label = np.repeat(np.arange(7), 9)
    for k in (1, 5):
        hit = top_k_accuracy(real, made, query_label=label, reference_label=np.arange(7), k=k)
        np.testing.assert_allclose(
            value(f"retrieval_top{k}", truth, guess), hit.reshape(7, 9).mean(axis=1)
        )
    both = np.concatenate([made, real])
    found = average_precision(both, np.r_[np.arange(7), label], negative=np.arange(len(both)) >= 7)
    np.testing.assert_allclose(value("retrieval_map", truth, guess), found.normalised[:7])


def test_contexts_are_retrieved_one_by_one(rng):
    truth, guess = screen(rng, n_conditions=14)
    halves = replace(
        truth, group=np.arange(14) % 2, controls=truth.controls * 2, mask=truth.mask | True
    )
    for at in range(2):
        own = np.arange(14) % 2 == at
        alone = replace(
            halves,
            names=tuple(np.array(truth.names)[own]),
            owner=truth.owner[own],
            group=np.zeros(7, dtype=int),
            cells=truth.cells[at::2],
            mask=halves.mask[own],
        )
        for name in NAMES:
            both = value(name, halves, Populations(halves, guess.cells))
            one = value(name, alone, Populations(alone, guess.cells[at::2]))
            np.testing.assert_allclose(both[own], one)


def test_a_prediction_that_is_the_same_for_all_is_at_chance(rng):
    for size in (0.0, 1.0):
        truth, _ = screen(rng)
        one = truth.control[:1] + size * rng.normal(size=(1, 20))
        same = Populations(truth, (np.tile(one, (4, 1)),) * 7)
        np.testing.assert_allclose(value("retrieval_top1", truth, same), 1 / 7)
        np.testing.assert_allclose(value("retrieval_top5", truth, same), 5 / 7)
        if not size:  # no direction: all cells are tied
            np.testing.assert_allclose(value("retrieval_map", truth, same), 0, atol=1e-12)


def test_cells_of_a_condition_stand_together_for_one_direction_as_for_any():
    """Alike cells rank together, so a direction that knows nothing is above 0, whether all share it."""
    found = []
    for seed in range(150):
        rng = np.random.default_rng(seed)
        truth, _ = screen(rng)
        one, own = rng.normal(size=(1, 20)), rng.normal(size=(7, 20))
        shared = Populations(truth, tuple(truth.control[:1] + one for _ in range(7)))
        apart = Populations(truth, tuple(truth.control[:1] + own[i] for i in range(7)))
        found.append([value("retrieval_map", truth, guess).mean() for guess in (shared, apart)])
    means, errors = np.mean(found, axis=0), np.std(found, axis=0) / np.sqrt(len(found))
    assert abs(means[0] - means[1]) < 4 * np.hypot(*errors)
    assert (means > 4 * errors).all()
    assert (means < 0.1).all()


def test_no_response_is_at_chance_on_average():
    made = []
    for seed in range(40):
        truth, guess = screen(np.random.default_rng(seed), size=0.0)
        made.append([value(name, truth, guess).mean() for name in NAMES])
    made = np.array(made)
    error = made.std(axis=0) / np.sqrt(len(made))
    assert (np.abs(made.mean(axis=0) - [1 / 7, 5 / 7, 0]) < 4 * error).all()


def test_strong_responses_are_found(rng):
    truth, guess = screen(rng, size=20.0)
    for name in NAMES:
        np.testing.assert_allclose(value(name, truth, guess), 1)


def test_sparse_cells_are_the_same_cells(rng):
    truth, guess = screen(rng)
    stored = replace(truth, cells=tuple(map(sparse.csr_matrix, truth.cells)))
    for name in NAMES:
        np.testing.assert_allclose(value(name, stored, guess), value(name, truth, guess))


def test_few_conditions_have_no_first_five_and_a_single_one_no_others(rng):
    for n, missing in ((5, {"retrieval_top5"}), (1, set(NAMES))):
        truth, guess = screen(rng, n_conditions=max(n, 3))
        few = replace(
            truth,
            names=truth.names[:n],
            owner=truth.owner[:n],
            group=truth.group[:n],
            cells=truth.cells[:n],
            mask=truth.mask[:n],
        )
        for name in NAMES:
            found = score(SUITE[name], few, Populations(few, guess.cells[:n]))
            assert np.isnan(found.values).all() == (name in missing)
            assert set(found.reasons.values()) == (
                {SUITE[name].undefined} & set(found.reasons.values())
            )


def test_a_panel_of_targets_alone_retrieves_nothing(rng):
    """Where too few genes are no target, a target would give its perturbation away."""
    truth, guess = screen(rng, n_conditions=12, n_genes=12)
    mask = ~np.eye(12, dtype=bool)
    panel = replace(truth, mask=mask)
    for name in NAMES:
        found = score(SUITE[name], panel, Populations(panel, guess.cells))
        assert np.isnan(found.values).all()
        assert all("target gives its perturbation away" in why for why in found.reasons.values())
