"""benchmark.run(inner=): settings are chosen within training, and rows say which."""

from __future__ import annotations

import json

import pytest

import shoal as sh

TUNED = {
    "name": "perturbed_mean",
    "label": "mean, tuned",
    "tune": {"config": {"max_cells": [2, 1000]}},
}


def test_a_row_says_what_was_chosen(spec, tmp_path):
    spec |= {"models": ["mean_shift", TUNED]}
    rows = sh.benchmark.run(spec, folder=tmp_path, inner=2)
    chosen = rows.groupby("model")["chosen"].first().to_dict()
    assert chosen == {"mean_shift": "", "mean, tuned": "max_cells=1000"}
    path = tmp_path / "rows" / "small__unseen__mean,_tuned__0.json"
    tried = json.loads(path.read_text())["tried"]
    assert list(tried) == ["max_cells=2", "max_cells=1000"]
    assert tried["max_cells=1000"] < tried["max_cells=2"]
    plain = {"name": "perturbed_mean", "options": {"config": {"max_cells": 1000}}}
    same = sh.benchmark.run(spec | {"models": [plain]}, folder=tmp_path / "plain")
    tuned = rows[rows["model"] == "mean, tuned"]
    assert tuned["value"].tolist() == same["value"].tolist()


def test_other_folds_are_another_result_of_what_is_chosen_alone(spec, tmp_path):
    spec |= {"models": ["mean_shift", TUNED]}
    one, two = (
        sh.benchmark.run(spec, folder=tmp_path, inner=n).groupby("model")["settings"].first()
        for n in (2, 3)
    )
    assert (one != two).to_dict() == {"mean_shift": False, "mean, tuned": True}


def test_too_few_conditions_are_a_row_with_the_reason(spec, tmp_path):
    rows = sh.benchmark.run(spec | {"models": ["mean_shift", TUNED]}, folder=tmp_path, inner=40)
    assert "inner=40 folds need as many units" in rows.set_index("model").loc["mean, tuned", "note"]
    assert (rows[rows["model"] == "mean_shift"]["note"] == "").all()


@pytest.mark.parametrize(
    ("models", "inner", "told"),
    [
        (["mean_shift"], 2, "no model has any: give one sets of options"),
        ([TUNED], 0, "inner must be a whole number of at least 1"),
        ([TUNED | {"tune": {}}], None, "model 'mean, tuned': tune is empty"),
        ([TUNED | {"tune": {"config": {"cells": [1]}}}], None, "'mean, tuned': .*no 'cells'"),
        (
            [TUNED | {"options": {"config": {"max_cells": 5}}}],
            None,
            "'mean, tuned': 'max_cells' is given and in tune= too",
        ),
    ],
)
def test_what_makes_no_sense_is_refused_at_once(spec, tmp_path, models, inner, told):
    with pytest.raises((TypeError, ValueError), match=told):
        sh.benchmark.run(spec | {"models": models}, folder=tmp_path / "none", inner=inner)
    assert not (tmp_path / "none").exists()
