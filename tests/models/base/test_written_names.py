"""Models and evaluation under labels as users write them: the same numbers under the user's names."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import shoal as sh

PLAIN = ("A", "B", "C", "D", "A+B", "B+C", "C+D", "A+D")
GEARS = ("A+ctrl", "ctrl+B", "C+ctrl", "D+ctrl", "B+A", "C+B", "C+D", "D+A")
ASKED = [("A", "A+ctrl"), ("B", "B+ctrl"), ("A+B", "A+B"), ("A+C", "C+A")]


def screen(names, control, *, test=("A+B", "C+D")):
    """Return 60 controls and 30 cells of every label; the values do not depend on the labels."""
    rng = np.random.default_rng(0)
    code = np.repeat(np.arange(len(names) + 1), [60] + [30] * len(names))
    values = rng.gamma(2, 0.3, (len(code), 8)).astype(np.float32)
    for i, name in enumerate(PLAIN, start=1):
        for part in name.split("+"):
            values[code == i, "ABCD".index(part)] += 1
    obs = pd.DataFrame(
        {"p": np.array([control, *names], dtype=object)[code]},
        index=[f"cell{i:03d}" for i in range(len(code))],
    )
    adata = ad.AnnData(values, obs=obs, var=pd.DataFrame(index=[*"ABCD", *"efgh"]))
    sh.pp.annotate(adata, "p", control=control)
    sh.pp.split(adata, by="combination", test=list(test))
    return adata


@pytest.fixture(scope="module")
def both():
    return screen(PLAIN, "control"), screen(GEARS, "ctrl")


@pytest.mark.parametrize(
    "name", ["additive", "matching_mean", "own_shift", "latent_linear", "perturbed_mean"]
)
def test_the_same_predictions_under_other_labels(name, both, tmp_path):
    models = [sh.tl.fit(adata, name) for adata in both]
    models[1].save(tmp_path / "model")
    models.append(sh.models.load(tmp_path / "model", adata=both[1]))
    for plain, written in ASKED:
        first, *others = [
            model.predict(label, n_cells=20)
            for model, label in zip(models, (plain, written, written), strict=True)
        ]
        for other in others:
            np.testing.assert_array_equal(first.X, other.X)


def test_predicted_cells_have_the_label_as_it_is_written(both, tmp_path):
    model = sh.tl.fit(both[1], "additive")
    model.save(tmp_path / "model")
    for each in (model, sh.models.load(tmp_path / "model", adata=both[1])):
        for asked, shown in {
            "A": "A+ctrl",
            "B+ctrl": "ctrl+B",
            "A+B": "B+A",
            "C+A": "C+A",  # not in the screen: as it is asked for
            "A+C": "A+C",
        }.items():
            assert set(each.predict(asked, n_cells=3).obs["p"]) == {shown}
        made = each.predict(["A+C", "C+A", "A"], n_cells=3)
        assert list(made.obs["p"].cat.categories) == ["A+C", "A+ctrl"], "one perturbation, once"


def test_a_model_reads_another_file_as_it_has_learned(both):
    model = sh.tl.fit(both[1], "additive")
    part = both[1][both[1].obs["p"].isin(["ctrl", "B+A"])].copy()
    part.obs["p"] = part.obs["p"].astype(str).replace({"B+A": "A+B"})
    del part.uns["shoal"], part.obs["split"], part.uns["split"]
    twins = model.predict(["B+A"], adata=part, n_cells=3)
    assert set(twins.obs["p"]) == {"B+A"}
    assert model.twins(part)[1].shape == (30, 8)


def test_names_that_hold_a_plus_are_known_by_their_vector():
    adata = screen(
        ("A", "B", "(+)-C", "D", "A+B", "A+(+)-C", "D+B", "A+D"), "control", test=["A+B"]
    )
    names = ["A", "B", "(+)-C", "D", "(+)-new"]
    vectors = pd.DataFrame(np.eye(5), index=names)
    model = sh.tl.fit(adata, "nearest", embedding=vectors)
    for asked in ("(+)-new", "(+)-C+(+)-new", "B+(+)-C"):
        assert set(model.predict(asked, n_cells=2).obs["p"]) == {asked}
    with pytest.raises(KeyError, match="'E' have no vector|'E'"):
        model.predict("A+E", n_cells=2)


@pytest.mark.slow
def test_an_evaluation_is_the_same_under_other_labels(both):
    tables = []
    for adata in both:
        mine = adata.copy()
        sh.tl.predict(mine, sh.tl.fit(mine, "additive"), key_added="p1", subset="test")
        sh.tl.evaluate(
            mine, prediction="p1", baselines=["additive", "perturbed_mean"], n_comps=4, n_draws=1
        )
        tables.append(mine.uns["evaluation"])
    first, second = tables
    assert list(second["table"].index) == ["B+A", "C+D"]
    np.testing.assert_array_equal(
        first["table"].to_numpy(dtype=float), second["table"].to_numpy(dtype=float)
    )
    assert first["params"]["score"] == second["params"]["score"]


def test_cells_apart_may_have_another_spelling(both):
    adata = both[1].copy()
    made = sh.tl.fit(adata, "additive").predict(["A+B", "C+D"], n_cells=30)
    scores = []
    for spelling in ({}, {"B+A": "A+B", "C+D": "D+C"}):
        other = made.copy()
        other.obs["p"] = other.obs["p"].astype(str).replace(spelling)
        sh.tl.evaluate(adata, prediction=other, baselines=["perturbed_mean"], n_comps=4, n_draws=1)
        scores.append(adata.uns["evaluation"]["params"]["score"])
    assert scores[0] == scores[1]
