"""Doses that differ by rounding are one dose, in whatever type the column has."""

from __future__ import annotations

import numpy as np
import pytest

import shoal as sh
from shoal.core._doses import dose_text, same_dose

from ..helpers import dense

RNG = np.random.default_rng(0)
COLUMNS = {
    "single precision": lambda dose: dose.astype(np.float32),
    "rounding": lambda dose: dose * (1 + 1e-15 * RNG.integers(-3, 4, len(dose))),
    "text": lambda dose: dose.map(lambda one: f"{one:.3f}"),
    "category": lambda dose: dose.map(lambda one: f"{one:g}").astype("category"),
    "objects": lambda dose: dose.astype(object),
}


@pytest.fixture(scope="module")
def screen():
    adata = sh.ds.simulate(
        n_genes=30, n_perturbations=4, n_cells=60, n_control=90, doses=[0.1, 0.3, 10.0], rng=0
    )
    del adata.uns["truth"]
    sh.pp.prepare(adata, "perturbation", control="control", normalize="log1p", n_comps=5)
    return adata


def judged(adata, dose=0.3):
    """Return what is held out, predicted and scored at one dose."""
    sh.pp.annotate(adata, "perturbation", control="control", dose_key="dose", overwrite=True)
    sh.pp.split(adata, by="dose", test=[dose])
    model = sh.tl.fit(adata, "own_shift")
    sh.tl.predict(adata, model, key_added="made", subset="test")
    few = {"metrics": ["rmse", "energy"], "baselines": ["control"], "n_draws": 1, "n_comps": 5}
    sh.tl.evaluate(adata, prediction="made", min_cells=5, **few)
    table = adata.uns["evaluation"]["table"]
    return {
        "split": (adata.obs["split"] == "test").to_numpy(),
        "made": dense(adata.layers["made"]),
        "asked": dense(model.predict("P1", dose=0.1, n_cells=9).X),
        "scores": table.to_numpy(),
        "names": table.index.to_numpy(),
    }


@pytest.mark.parametrize("name", COLUMNS)
def test_the_same_doses_in_another_column_give_the_same(screen, name):
    wanted, other = judged(screen.copy()), screen.copy()
    other.obs["dose"] = COLUMNS[name](other.obs["dose"])
    found = judged(other)
    assert wanted["names"].tolist() == [f"P{i} | 0.3" for i in range(1, 5)]
    for what, values in wanted.items():
        np.testing.assert_array_equal(found[what], values, err_msg=what)


def test_a_pair_names_its_dose_as_people_write_it(screen):
    adata = screen.copy()
    adata.obs["dose"] = adata.obs["dose"].astype(np.float32)
    sh.pp.annotate(adata, "perturbation", control="control", dose_key="dose", overwrite=True)
    sh.pp.split(adata, by="dose", test=["P1 | 0.3", ("P2", 0.3)])
    units = adata.uns["split"]["units"]
    assert units.index[units["split"] == "test"].tolist() == ["P1 | 0.3", "P2 | 0.3"]


def test_six_digits():
    assert same_dose(0.1 + 0.2) == same_dose(float(np.float32(0.3))) == 0.3
    assert same_dose(1234.56) == 1234.56
    assert [dose_text(one) for one in (0.30000000000000004, 10.0, 1e6, np.nan)] == [
        *("0.3", "10", "1e+06", ""),
    ]


def test_flags_are_no_doses(screen):
    adata = screen.copy()
    adata.obs["dose"] = adata.obs["dose"] > 1
    with pytest.raises(ValueError, match="holds False, True, which is no finite number"):
        sh.pp.annotate(adata, "perturbation", control="control", dose_key="dose", overwrite=True)


def test_the_report_draws_the_cells_of_doses(screen, tmp_path):
    pytest.importorskip("jinja2")
    pytest.importorskip("plotly")
    pytest.importorskip("itables")
    adata = screen.copy()
    adata.obs["dose"] = (
        adata.obs["dose"].to_numpy() * 10
    )  # 1.0, 3.0, 100.0: whole numbers in a column of floats
    judged(adata, dose=3.0)
    page = sh.tl.report(adata, out=tmp_path / "report.html").read_text()
    assert "Predicted cells are not drawn" not in page
    assert "predicted: P" in page
