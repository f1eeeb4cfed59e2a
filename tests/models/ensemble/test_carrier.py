"""Whose cells carry the mean response: those of a member where it changes more than means, else control cells."""

from __future__ import annotations

import copy

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import shoal as sh
from shoal.metrics import energy_distance
from shoal.metrics._cells import densify
from shoal.models.ensemble._carrier import CONTROL
from shoal.models.ensemble._cells import InnerCells
from shoal.models.ensemble._members import Member

D, N = 30, 30
KIND = "measured in other contexts"


def screen(rng, share, *, n=12, n_control=3):
    """Return perturbations in three lines that shift a share of the cells, by so much that the mean is the same."""
    shape = {f"P{i:02d}": np.zeros(D) for i in range(n)}
    for one in shape.values():
        one[:6] = 3 * rng.choice([-1, 1], 6) / share
    names = [*["control"] * n_control, *shape]
    rows = [(name, line) for line in "abc" for name in names for _ in range(N)]
    obs = pd.DataFrame(rows, columns=["perturbation", "line"]).rename(index="cell{}".format)
    x = rng.normal(size=(len(obs), D))
    shift = np.array([shape.get(name, np.zeros(D)) for name, _ in rows])
    x += shift * (rng.random(len(obs)) < share)[:, None]
    adata = ad.AnnData(x.astype(np.float32), obs=obs)
    sh.pp.annotate(adata, "perturbation", control="control", context_key="line")
    sh.pp.split(adata, by="perturbation_context", test=0.2, val=0, rng=0)
    return adata


@pytest.fixture(scope="module")
def halves():
    return screen(np.random.default_rng(0), 0.5)


@pytest.fixture(scope="module")
def trained(halves):
    return sh.tl.fit(halves, "auto", rng=0)


def chosen(model, kind=KIND):
    """Return the row of the carrier of a kind of question."""
    (row,) = model.carriers[
        (model.carriers["kind"] == kind) & model.carriers["chosen"]
    ].itertuples()
    return row


def far(model, adata):
    """Return the mean energy distance of predicted to held-out cells."""
    rows, values, _ = model.twins(adata, subset=(adata.obs["split"] == "test").to_numpy(), rng=0)
    condition = (adata.obs["perturbation"].astype(str) + adata.obs["line"].astype(str)).to_numpy()[
        rows
    ]
    several = np.unique(condition)
    return np.mean(
        [energy_distance(values[condition == c], adata.X[rows[condition == c]]) for c in several]
    )


def carried_by(model, name, way=""):
    """Return the same ensemble with a carrier of our choice."""
    table = model.carriers
    other = copy.copy(model)
    other.carriers = table.assign(chosen=(table["carrier"] == name) & (table["way"] == way))
    return other


def with_controls(model):
    return carried_by(model, CONTROL)


def test_cells_of_the_member_that_knows_how_responses_are_spread(halves, trained):
    own = chosen(trained)
    assert own.carrier == "quantile_shift"
    assert own.gain > 5 * own.standard_error > 0
    weights = trained.weights[trained.weights["kind"] == KIND].set_index("member")
    assert weights.loc["quantile_shift", "cells"] == weights.loc["all members", "cells"] > 0
    assert "those of quantile_shift" in trained.explain("P01", context="a")
    assert "quantile_shift" in trained.members  # whatever its weight
    assert far(trained, halves) < 0.6 * far(with_controls(trained), halves)


def test_the_mean_stays_that_of_the_weights(halves, trained):
    names = [f"P{i:02d}" for i in range(12)]
    given = {"context": "a", "n_cells": 300, "rng": 0}
    made = trained.predict(names, **given), with_controls(trained).predict(names, **given)
    for name in names:
        one, two = (m[m.obs["perturbation"] == name].X.mean(axis=0) for m in made)
        np.testing.assert_allclose(one, two, atol=1e-4)


def test_few_cells_scatter_as_cells_do(trained):
    """Around the mean of their own few they would look nearer to the measured cells than they are."""
    several = [trained.predict("P01", context="a", n_cells=3, rng=i).X[:, 0] for i in range(80)]
    within, between = np.var(several, axis=1, ddof=1).mean(), np.var(np.mean(several, axis=1))
    assert between == pytest.approx(within / 3, rel=0.5)
    assert within > 4  # control cells have 1


def test_half_of_both(halves, trained):
    """Half of the cells are the member's as they are, and intervals are around the mean of all."""
    model = carried_by(trained, "quantile_shift", "mixed")
    given = {"context": "a", "n_cells": 4000, "rng": 0}
    mixed, plain, member = (
        m.predict("P01", **given).X.mean(axis=0)
        for m in (model, with_controls(trained), trained.members["quantile_shift"])
    )
    np.testing.assert_allclose(mixed, (plain + member) / 2, atol=0.15)
    said, before = (m.intervals("P01", context="a", rng=0)["response"] for m in (model, trained))
    np.testing.assert_allclose(said - before, (member - plain) / 2, atol=0.15)
    assert (said - before).abs().max() > 0.2


def test_control_cells_where_all_cells_respond_alike(rng):
    model = sh.tl.fit(screen(rng, 1.0), "auto", rng=0)
    assert chosen(model).carrier == CONTROL
    tried = model.carriers[model.carriers["kind"] == KIND]
    assert len(tried) == 7
    assert tried["energy"].notna().all()
    assert (model.weights["cells"] == 0).all()
    assert "Control cells carry it" in model.explain("P01", context="a")


def test_fewer_than_eight_units_tell_nothing(rng):
    model = sh.tl.fit(screen(rng, 0.5, n=7), "auto", rng=0)
    assert model.weights["n_conditions"].max() >= 8
    assert chosen(model).carrier == CONTROL
    assert model.carriers["energy"].isna().all()
    assert "carry" not in model.explain("P01", context="a")


@pytest.fixture(scope="module")
def alike():
    """One response of half of the cells, of all perturbations; a new one is held out."""
    rng = np.random.default_rng(0)
    adata = screen(rng, 0.5, n_control=10)
    responds = (adata.obs["perturbation"] != "control").to_numpy() & (rng.random(adata.n_obs) < 0.5)
    adata.X = rng.normal(size=adata.shape) + 3 * np.outer(responds, np.arange(D) < 6)
    sh.pp.split(adata, by="perturbation", test=["P00"], val=0, rng=0, overwrite=True)
    return adata


def test_a_member_that_made_no_cells_has_no_distance(alike, monkeypatch):
    """It is neither as near as control cells, nor is that certain."""
    lost = lambda self, names: dict.fromkeys(names, "is unknown")  # noqa: E731
    monkeypatch.setattr(sh.models.CellKnnShift, "_reasons", lost)
    model = sh.tl.fit(
        alike, "auto", rng=0, config={"members": ["quantile_shift", "cell_knn_shift"]}
    )
    tried = model.carriers[model.carriers["kind"] == "not measured"]
    assert list(tried["carrier"]) == [CONTROL, *["quantile_shift"] * 2, *["cell_knn_shift"] * 2]
    numbers = tried[["energy", "gain", "standard_error"]].notna()
    assert numbers.all(axis=1).tolist() == numbers.any(axis=1).tolist() == [True] * 3 + [False] * 2
    said = model.explain("P00", context="a")
    assert said.endswith("cell_knn_shift made cells of too few conditions of this kind to compare.")


@pytest.mark.parametrize(("units", "compared"), [(8, True), (7, False), (0, False)])
def test_a_carrier_takes_eight_units_of_which_it_made_cells(alike, monkeypatch, units, compared):
    energies = InnerCells.energies

    def of_some(self, *args, **options):
        at, found = energies(self, *args, **options)
        found[3 * units :, 1:] = np.nan  # three contexts of each perturbation
        return at, found

    monkeypatch.setattr(InnerCells, "energies", of_some)
    config = {"members": ["quantile_shift"]}
    model = sh.tl.fit(alike, "auto", rng=0, config=config)
    tried = model.carriers[model.carriers["kind"] == "not measured"]
    assert tried["energy"].notna().tolist() == [True, compared, compared]
    assert (chosen(model, "not measured").carrier == "quantile_shift") == compared
    said = model.explain("P00")
    assert ("Control cells carry it. quantile_shift made cells of too few" in said) != compared


def test_a_copy_stays_a_copy(rng):
    adata = screen(rng, 0.5, n_control=50)
    adata.X = rng.normal(size=adata.shape).astype(np.float32)
    model = sh.tl.fit(adata, "auto", rng=0)
    assert (model.weights.loc[model.weights["kind"] == KIND, "weight"] == 0).all()
    cells = model.predict("P01", context="a", n_cells=40)
    np.testing.assert_array_equal(cells.X, adata[cells.obs["source"].to_numpy()].X)


def test_what_the_carrier_cannot_answer_stays_on_control_cells(halves, trained, monkeypatch):
    member = trained.members["quantile_shift"]
    monkeypatch.setattr(member, "_reasons", lambda names: dict.fromkeys(names, "is unknown"))
    one, two = (m.predict("P01", context="a", rng=0) for m in (trained, with_controls(trained)))
    np.testing.assert_array_equal(one.X, two.X)


def test_a_carrier_that_cannot_be_trained_in_the_end_is_none(halves, monkeypatch):
    fit = Member.fit

    def fails_on_all(self, cells, **options):
        if self.name == "quantile_shift" and cells.train.sum() == n:
            msg = "no luck"
            raise RuntimeError(msg)
        return fit(self, cells, **options)

    n = int(((halves.obs["split"] == "train") & (halves.obs["perturbation"] != "control")).sum())
    monkeypatch.setattr(Member, "fit", fails_on_all)
    model = sh.tl.fit(halves, "auto", rng=0)
    assert "no luck" in model.refused["quantile_shift"]
    assert "quantile_shift" not in set(model.carriers["carrier"]) | set(model.members)
    assert model.predict("P01", context="a", n_cells=3).n_obs == 3


def test_it_is_the_same_after_save_and_load_and_after_an_interruption(halves, trained, tmp_path):
    trained.save(tmp_path / "model")
    loaded = sh.models.load(tmp_path / "model", halves)
    pd.testing.assert_frame_equal(loaded.carriers, trained.carriers)
    given = {"checkpoint_dir": tmp_path / "folds", "rng": 0}
    sh.tl.fit(halves, "auto", **given)
    resumed = sh.tl.fit(halves, "auto", resume=True, **given)
    pd.testing.assert_frame_equal(resumed.carriers, trained.carriers, check_exact=True)
    first, *others = (m.predict("P01", n_cells=40, rng=3).X for m in (trained, loaded, resumed))
    for own in others:
        np.testing.assert_array_equal(densify(own), densify(first))
    assert loaded.explain("P01", context="a") == trained.explain("P01", context="a")


def test_it_carries_given_cells(halves, trained):
    control = halves[halves.obs["perturbation"] == "control"].copy()
    moved = trained.transport(control, "P01", rng=0)
    assert list(moved.obs["source"]) == list(control.obs_names)
    shift = np.asarray(moved.X - control.X)
    assert shift[:, 0].std() > 1  # not one shift for all cells
