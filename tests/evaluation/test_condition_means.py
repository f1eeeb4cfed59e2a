"""Means over conditions as totals less the own, against means that are taken one by one."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from shoal.core._codes import grouped
from shoal.core._population import population
from shoal.core._screen import resolve
from shoal.evaluation._condition_means import ConditionMeans

from ..tl.exams import dense, screen


@pytest.mark.parametrize(
    ("contexts", "by"), [(1, "perturbation"), (2, "perturbation"), (2, "context")]
)
def test_means_over_other_conditions(contexts, by):
    adata = screen(by=by, contexts=contexts, sizes=(30,) * 5)
    cells, x = population(adata, resolve(adata)), dense(adata.X).astype(np.float64)
    condition, keys = grouped(
        perturbation=cells.labels.code, context=cells.context, dose=cells.dose
    )
    found = ConditionMeans(cells, condition, keys, cells.train)
    mean = pd.DataFrame(x).groupby(condition).mean()
    for code in np.unique(condition[cells.perturbed]):
        own, here = keys.loc[code, "perturbation"], keys["context"] == keys.loc[code, "context"]
        known = here & keys.index.isin(condition[cells.perturbed])
        learned = known & keys.index.isin(condition[cells.train])
        control = x[cells.labels.is_control & (cells.context == keys.loc[code, "context"])].mean(
            axis=0
        )
        others = mean[known & (keys["perturbation"] != own)]
        near = mean[learned & (keys["perturbation"] != own)]
        np.testing.assert_allclose(found.mean_of_others(code), others.mean())
        np.testing.assert_allclose(
            found.reference(code), near.mean() if len(near) else others.mean()
        )
        average = pd.concat(
            [mean[learned] if learned.any() else mean[known], pd.DataFrame([control])]
        ).mean()
        np.testing.assert_allclose(found.centre(code), average)


def test_without_another_condition_in_the_context():
    adata = screen(contexts=2, sizes=(30,) * 3)
    first = adata.obs["context"].cat.categories[0]
    perturbed = adata.obs["perturbation"] != "control"
    lone = (adata.obs["context"] == first) & perturbed & (adata.obs["perturbation"] != "P1")
    adata = adata[~lone].copy()  # P1 alone in the first context
    cells = population(adata, resolve(adata))
    condition, keys = grouped(
        perturbation=cells.labels.code, context=cells.context, dose=cells.dose
    )
    learn = cells.perturbed & (cells.context != 0)
    found = ConditionMeans(cells, condition, keys, learn)
    code = condition[cells.perturbed & (cells.context == 0)][0]
    np.testing.assert_array_equal(found.mean_of_others(code), found.control(0))
    shift = np.mean(
        [found.means[i] - found.control(1) for i in np.unique(condition[learn])], axis=0
    )
    np.testing.assert_allclose(found.reference(code), found.control(0) + shift)
