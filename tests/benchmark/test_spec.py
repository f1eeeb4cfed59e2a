"""A spec is checked before anything runs, and its errors name the key, the valid ones and the fix."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path

import pytest

import shoal as sh
from shoal.benchmark._spec import read

from .conftest import Stranger

YAML = """
data:
  small:
    path: {name}
    perturbation_key: perturbation
    control: [control]
    prepare: {{normalize: log1p}}
    embed: {{method: coexpression}}
splits:
  unseen:
  pairs: {{by: combination, data: small}}
models:
  - mean_shift
  - {{name: flow, label: flow 500, options: {{max_steps: 500}}, predict: {{n_steps: 5}}}}
seeds: [0, 1]
evaluate: {{metrics: [energy]}}
"""


def test_a_file_says_all_that_python_can(tmp_path, counts):
    (tmp_path / "small.h5ad").write_bytes(counts.read_bytes())
    path = tmp_path / "spec.yaml"
    path.write_text(YAML.format(name="small.h5ad"))
    spec = read(path)
    (data,) = spec.data
    assert data.origin == ("path", str(tmp_path / "small.h5ad"))
    assert data.annotate == {"perturbation_key": "perturbation", "control": ["control"]}
    assert data.prepare == {"fit_on": "train", "normalize": "log1p"}
    assert data.embed == ({"method": "coexpression"},)
    assert [(s.name, dict(s.options), s.data) for s in spec.splits] == [
        ("unseen", {}, ("small",)),
        ("pairs", {"by": "combination"}, ("small",)),
    ]
    baseline, network = spec.models
    assert (baseline.label, baseline.kind) == ("mean_shift", "baseline")
    assert (network.label, network.kind, network.predict) == ("flow 500", "model", {"n_steps": 5})
    assert spec.seeds == (0, 1)
    assert read(spec) is spec


def test_preparation_can_be_left_out_and_fitted_elsewhere(spec):
    spec["data"]["small"]["prepare"] = False
    assert read(spec).data[0].prepare is None
    spec["data"]["small"]["prepare"] = {"fit_on": "control"}
    assert read(spec).data[0].prepare == {"fit_on": "control"}


def test_a_class_is_a_model(spec):
    spec["models"] = [Stranger, {"name": Stranger, "label": "again"}]
    assert [(m.label, m.kind) for m in read(spec).models] == [
        ("Stranger", "baseline"),
        ("again", "baseline"),
    ]


def changed(spec, *keys, value):
    spec, at = deepcopy(spec), None
    at = spec
    for key in keys[:-1]:
        at = at[key]
    at[keys[-1]] = value
    return spec


@pytest.mark.parametrize(
    ("keys", "value", "error", "match"),
    [
        (
            ["model"],
            [],
            ValueError,
            "key='model' is not known; choose one of 'data', 'splits', 'models'",
        ),
        (
            ["data"],
            {},
            TypeError,
            "data must be a mapping from names to settings with at least one",
        ),
        (["data", "small"], "x.h5ad", TypeError, "data 'small' must be a mapping"),
        (
            ["data", "small", "controls"],
            "NT",
            ValueError,
            "data 'small': key='controls' is not known.*'control'",
        ),
        (
            ["data", "small", "load"],
            "kang_2018",
            ValueError,
            "needs one of path, load, call, not path and load",
        ),
        (
            ["data", "small"],
            {"control": "c"},
            ValueError,
            "needs one of path, load, call, not none of them",
        ),
        (["data", "small"], {"path": "x", "control": "c"}, ValueError, "lacks 'perturbation_key'"),
        (
            ["data", "small"],
            {"load": "nothing"},
            ValueError,
            "load='nothing' is not known; choose one of",
        ),
        (
            ["data", "small"],
            {"call": "os.getcwd"},
            ValueError,
            "'package.module:function', not 'os.getcwd'",
        ),
        (["data", "a/b"], {}, ValueError, "'a/b' is no name; use letters"),
        (["data", "a__b"], {}, ValueError, "without a double underscore"),
        (["data", "small", "path"], "gone.h5ad", FileNotFoundError, "no such file: gone.h5ad"),
        (
            ["data", "small", "prepare"],
            {"n_pcs": 9},
            ValueError,
            "prepare: key='n_pcs' is not known.*'n_comps'",
        ),
        (
            ["data", "small", "embed"],
            {"how": 1},
            ValueError,
            "embed: key='how' is not known.*'method'",
        ),
        (
            ["splits", "unseen"],
            {"bye": "dose"},
            ValueError,
            "split 'unseen': key='bye' is not known.*'by'",
        ),
        (
            ["splits", "unseen"],
            {"data": ["big"]},
            ValueError,
            "data='big' is not known; choose one of 'small'",
        ),
        (["models"], "mean_shift", TypeError, "models must be a list"),
        (["models"], [], TypeError, "models must be a list"),
        (["models"], ["man_shift"], ValueError, "model='man_shift' is not known.*'mean_shift'"),
        (
            ["models"],
            [{"model": "flow"}],
            ValueError,
            "a model: key='model' is not known; choose one of 'name'",
        ),
        (["models"], [{"label": "flow"}], ValueError, "a model lacks 'name'"),
        (
            ["models"],
            ["control", "control"],
            ValueError,
            "several models are called 'control'; give each a label",
        ),
        (
            ["models"],
            [{"name": "control", "label": "control copy"}],
            ValueError,
            "choose another label",
        ),
        (["models"], [{"name": "control", "options": 5}], TypeError, "options must be a mapping"),
        (["seeds"], [0, 0], ValueError, "different integers"),
        (["seeds"], [0.5], ValueError, "different integers"),
        (["seeds"], [], ValueError, "different integers"),
        (["evaluate"], {"metrics": "energy"}, TypeError, "metrics must be a list"),
        (["evaluate"], {"metrics": []}, TypeError, "at least one metric"),
        (["evaluate"], {"metrics": ["enrgy"]}, ValueError, "metrics='enrgy' is not known; choose"),
        (
            ["evaluate"],
            {"metric": []},
            ValueError,
            "evaluate: key='metric' is not known.*'metrics'",
        ),
    ],
)
def test_errors_name_the_key_and_the_fix(spec, keys, value, error, match):
    with pytest.raises(error, match=match):
        read(changed(spec, *keys, value=value))


@pytest.mark.parametrize("part", ["data", "splits", "models"])
def test_no_part_may_be_absent(spec, part):
    del spec[part]
    with pytest.raises(ValueError, match=f"lacks '{part}'"):
        read(spec)


@pytest.mark.parametrize(
    ("text", "error", "match"),
    [
        ("data: [", ValueError, "is not YAML"),
        ("- data", TypeError, "must be a mapping"),
        ("", TypeError, "mapping"),
    ],
)
def test_a_bad_file(tmp_path, text, error, match):
    (tmp_path / "spec.yaml").write_text(text)
    with pytest.raises(error, match=match):
        read(tmp_path / "spec.yaml")


def test_a_file_that_is_no_text(tmp_path):
    (tmp_path / "a.yaml").write_bytes(b"\x89HDF\r\n")
    with pytest.raises(ValueError, match="a.yaml is not YAML"):
        read(tmp_path / "a.yaml")


def test_neither_file_nor_mapping():
    with pytest.raises(FileNotFoundError, match="no such spec"):
        read(Path("gone.yaml"))
    with pytest.raises(TypeError, match="not list"):
        read([])


def test_a_function_is_a_source(spec):
    spec["data"] = {
        "made": {"call": sh.ds.simulate, "perturbation_key": "perturbation", "control": "control"}
    }
    assert read(spec).data[0].origin == ("call", sh.ds.simulate)
