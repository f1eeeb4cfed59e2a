"""Inner folds are splits of the same kind within training, and read nothing of the test."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import shoal as sh
from shoal.core._inner_folds import inner_folds
from shoal.core._population import population
from shoal.core._screen import resolve
from shoal.pp._audit import audit

KINDS = {
    "perturbation": {"by": "perturbation", "test": 0.2},
    "pairs": {"by": "combination", "test": 0.2},
    "one part": {"by": "combination", "test": ["A+B"], "parts_seen": 1},
    "context": {"by": "context", "test": ["c0"]},
    "zero shot": {"by": "context", "zero_shot": True, "test": ["c0"], "val": 0.1},
    "dose": {"by": "dose", "test": [10.0]},
    "guide": {"by": "guide", "test": 0.2},
    "table": {"by": "perturbation_context", "test": 0.2, "val": 0.1},
}


@pytest.fixture
def screen():
    """Six perturbations and their pairs, in four contexts, at five doses, by three guides."""
    singles, rows = list("ABCDEF"), []
    pairs = [f"{a}+{b}" for i, a in enumerate(singles) for b in singles[i + 1 :]]
    for name in ["control", *singles, *pairs]:
        for context in range(4):
            for i in range(15):
                dose = np.nan if name == "control" else 10.0 ** (i % 5)
                rows.append((name, f"c{context}", dose, f"{name}-{i % 3}"))
    obs = pd.DataFrame(rows, columns=["perturbation", "context", "dose", "guide"])
    obs.index = [f"cell{i}" for i in range(len(obs))]
    adata = ad.AnnData(np.ones((len(obs), 2), dtype=np.float32), obs=obs)
    sh.pp.annotate(
        adata,
        "perturbation",
        control="control",
        context_key="context",
        dose_key="dose",
        guide_key="guide",
    )
    return adata


def folds_of(adata, n=3, seed=0):
    return inner_folds(population(adata, resolve(adata)), n, seed=seed)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n", [1, 3])
def test_a_fold_is_a_split_of_the_same_kind(screen, kind, n):
    """The audit of pp.split, asked of the fold in the place of the split, finds no leak."""
    options = KINDS[kind]
    sh.pp.split(screen, **options, rng=0, accept=["identical_cells"])
    outer = screen.obs["split"].astype(object).to_numpy()
    controls = (screen.obs["perturbation"] == "control").to_numpy()
    seen = []
    for side in folds_of(screen, n):
        assert set(np.unique(side[outer == "test"])) <= {-1}
        assert (side[controls] == 0).all()
        assert ((side == 2) <= (outer == "train")).all()
        assert ((side == 1) <= (outer == "val")).all()
        fold = screen.copy()
        fold.obs["split"] = pd.Categorical.from_codes(side, ["train", "val", "test"])
        del fold.uns["split"]["units"]
        table = audit(fold, resolve(fold))
        leaks = table.index[table["status"] == "leak"].drop("identical_cells", errors="ignore")
        assert not len(leaks), table.loc[leaks, "detail"].tolist()
        assert (side == 2).any()
        assert (side[~controls] == 0).any()
        seen.append(side == 2)
    times = np.sum(seen, axis=0)
    pairs = screen.obs["perturbation"].str.contains("+", regex=False).to_numpy()
    most = np.where(pairs & (options["by"] == "perturbation"), 2, 1)  # with each of its parts
    assert (times <= most).all()


def test_all_units_of_training_are_left_out_once(screen):
    sh.pp.split(screen, by="context", test=["c0"], accept=["identical_cells"])
    held = [set(screen.obs["context"][side == 2]) for side in folds_of(screen)]
    assert sorted(held, key=min) == [{"c1"}, {"c2"}, {"c3"}]


def test_validation_that_would_show_what_is_left_out_is_set_aside(screen):
    sh.pp.split(screen, by="perturbation", test=["A"], val=["B"], accept=["identical_cells"])
    name = screen.obs["perturbation"]
    for side in folds_of(screen):
        held = {p for p in "CDEF" if (side[name == p] == 2).all()}
        assert held
        for other in held:
            assert (side[(name == f"B+{other}").to_numpy()] == -1).all()
        assert (side[(name == "B").to_numpy()] == 1).all()


def test_neither_test_cells_nor_the_order_of_rows_matter(screen):
    sh.pp.split(screen, by="perturbation", test=0.3, accept=["identical_cells"])
    train = (screen.obs["split"] == "train").to_numpy()
    whole = folds_of(screen)
    for one, other in zip(whole, folds_of(screen[train].copy()), strict=True):
        np.testing.assert_array_equal(one[train], other)
    order = np.random.default_rng(0).permutation(screen.n_obs)
    for one, other in zip(whole, folds_of(screen[order].copy()), strict=True):
        np.testing.assert_array_equal(one[order], other)
    assert any((a != b).any() for a, b in zip(whole, folds_of(screen, seed=1), strict=True))


def test_there_are_as_many_folds_as_units_where_nobody_says(screen):
    sh.pp.split(screen, by="context", test=["c0", "c1"], accept=["identical_cells"])
    assert len(folds_of(screen, None)) == 2


@pytest.mark.parametrize(
    ("options", "n", "told"),
    [
        ({"by": "context", "test": ["c0"]}, 4, "inner=4 folds need as many.*'context'.*inner=3"),
        ({"by": "context", "test": ["c0", "c1", "c2"]}, 2, "there are 0: hold out less"),
        ({"by": "context", "test": ["c0", "c1", "c2"]}, None, "there are 0: hold out less"),
        ({"by": "perturbation", "test": ["A"]}, 9, "there are 5: ask for inner=5"),
    ],
)
def test_too_few_units_are_told_of(screen, options, n, told):
    sh.pp.split(screen, **options, accept=["identical_cells"])
    with pytest.raises(ValueError, match=told):
        folds_of(screen, n)


def test_without_a_recorded_split_nothing_is_guessed(screen):
    with pytest.raises(ValueError, match=r"Call sh\.pp\.split"):
        folds_of(screen)
    screen.obs["split"] = "train"
    with pytest.raises(ValueError, match=r"was not written by sh\.pp\.split"):
        folds_of(screen)
