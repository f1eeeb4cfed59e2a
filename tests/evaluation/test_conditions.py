"""Which cells are scored, halved and drawn: by one grouping, as if each condition were looked up."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pytest

from shoal.core._controls import shuffled
from shoal.core._population import population
from shoal.core._screen import resolve
from shoal.evaluation._condition_means import ConditionMeans
from shoal.evaluation._conditions import (
    condition_names,
    draw_from_others,
    hold_out,
    rows_by_name,
    scored_cells,
)

from .tasks import screen


@pytest.fixture(params=[1, 2], ids=["one context", "two contexts"])
def cells(request):
    adata = screen(contexts=request.param, sizes=(30, 25, 41, 22, 30, 3))
    adata = adata[np.random.default_rng(1).permutation(adata.n_obs)].copy()
    return population(adata, resolve(adata))


def test_conditions_are_divided_as_one_by_one(cells):
    known, by_name = ConditionMeans(cells, cells.train), rows_by_name(cells)
    names, scored = condition_names(cells, known.keys), scored_cells(cells, None)
    held = hold_out(
        known.condition,
        names,
        candidates=by_name[scored[by_name]],
        min_cells=10,
        halves=True,
        rng=np.random.default_rng(0),
    )
    rng, kept = np.random.default_rng(0), []
    for code in np.unique(known.condition[scored]):
        own = rng.permutation(by_name[known.condition[by_name] == code])
        if len(own) < 10:
            assert held.skipped[names[code]] == f"cells: {len(own)}, fewer than min_cells=10"
            continue
        at = len(kept)
        kept.append(code)
        np.testing.assert_array_equal(held.predicted[at], np.sort(own[: len(own) // 2]))
        np.testing.assert_array_equal(held.real[at], np.sort(own[len(own) // 2 :]))
    np.testing.assert_array_equal(held.codes, kept)
    assert held.skipped


def test_cells_of_others_are_drawn_as_one_by_one(cells):
    known, by_name = ConditionMeans(cells, cells.train), rows_by_name(cells)
    n = len(known.keys)
    drawn = draw_from_others(
        cells,
        by_name,
        perturbation=known.perturbation,
        context=known.context,
        sizes=[17] * n,
        fallback=[np.zeros(0, dtype=np.int64)] * n,
        rng=np.random.default_rng(0),
    )
    rng, code, context = np.random.default_rng(0), cells.labels.code, cells.context
    for rows, own, where in zip(drawn, known.perturbation, known.context, strict=True):
        others = cells.perturbed & (code != own) & (context == where)
        expected, _ = shuffled(by_name[others[by_name]], 17, rng)
        np.testing.assert_array_equal(rows, expected)


def test_without_other_perturbations_the_fallback_is_drawn_from(cells):
    alone = cells.adata[cells.perturbed & (cells.labels.code == 0)].copy()
    control = cells.adata[cells.labels.is_control].copy()
    adata = ad.concat([alone, control])
    adata.uns = cells.adata.uns
    few = population(adata, resolve(adata))
    fallback = np.flatnonzero(few.labels.is_control)
    (rows,) = draw_from_others(
        few,
        rows_by_name(few),
        perturbation=few.labels.code[:1],
        context=few.context[:1],
        sizes=[5],
        fallback=[fallback],
        rng=np.random.default_rng(0),
    )
    assert len(rows) == 5
    assert few.labels.is_control[rows].all()
