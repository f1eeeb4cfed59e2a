"""Arguments of an ensemble, and options of its members, that make no sense."""

from __future__ import annotations

import pytest

import shoal as sh
from shoal.models.ensemble._members import Member


@pytest.mark.parametrize(
    ("config", "error", "words"),
    [
        ({"members": "flow"}, TypeError, r"members must be a list of names"),
        ({"members": ["flow", "flow"]}, ValueError, "names one model twice"),
        ({"members": ["auto"]}, ValueError, "members='auto' is not known"),
        ({"members": {"flow": 500}}, TypeError, "options of the member 'flow' must be a mapping"),
        ({"by": "gene"}, ValueError, "by='gene' is not known"),
        ({"n_folds": 1}, ValueError, "n_folds must be a whole number of at least 2"),
        ({"preset": "slow"}, ValueError, "preset='slow' is not known; choose one of 'fast'"),
    ],
)
def test_arguments_that_make_no_sense(subadditive, config, error, words):
    with pytest.raises(error, match=words):
        sh.tl.fit(subadditive, "auto", config=config)


@pytest.mark.parametrize(
    ("name", "options", "error", "words"),
    [
        ("flow", {"max_stepz": 5}, TypeError, "Flow has no 'max_stepz': training takes max_steps,"),
        ("flow", {"max_steps": -5}, ValueError, "max_steps must be a whole number of at least 1"),
        ("flow", {"set_size": 0}, ValueError, "set_size must be a whole number of at least 1"),
        ("flow", {"weighting": "all"}, ValueError, "weighting='all' is not known; choose one of"),
        ("flow", {"store": "disk"}, ValueError, "store='disk' is not known; choose one of 'auto'"),
        ("flow", {"config": {"widht": 3}}, TypeError, "a flow has no setting 'widht'"),
        ("flow", {"config": {"width": -3}}, ValueError, "width must be above 0, not -3"),
        ("nearest", {"config": {"m": 1}}, TypeError, "Nearest has no 'm': the constructor takes"),
        ("nearest", {"config": {"k": 0}}, ValueError, "Nearest refuses .*k must be a whole number"),
        ("nearest", {"embedding": "no"}, ValueError, "Nearest refuses .*'no' is not in adata.uns"),
        ("own_shift", {"shrink": False}, TypeError, r"pass config=\{'shrink': ...\}"),
        ("own_shift", {"config": 1}, TypeError, "config must be a dict of options by name"),
        ("own_shift", {"layer": "a"}, ValueError, "'layer' is no option of the member 'own_shift'"),
        ("own_shift", {"resume": True}, ValueError, "'resume' is no option of the member"),
    ],
)
def test_options_that_a_member_does_not_know_are_an_error_before_any_training(
    subadditive, monkeypatch, name, options, error, words
):
    if name == "flow":
        pytest.importorskip("scvi")
    monkeypatch.setattr(Member, "fit", lambda *_, **__: pytest.fail("was trained"))
    with pytest.raises(error, match=words):
        sh.tl.fit(subadditive, "auto", config={"members": {name: options}})
