"""On a real screen: transcription factors knocked out in stem cells, on four days."""

from __future__ import annotations

import numpy as np

import shoal as sh


def test_what_other_days_say_beats_what_other_perturbations_say(read_real, tmp_path):
    def load():
        return read_real("renge23_hipsc_ko.h5ad")

    spec = {
        "data": {
            "renge": {
                "call": load,
                "perturbation_key": "perturbation",
                "control": "control",
                "context_key": "day",
                "prepare": {"normalize": "log1p", "n_comps": 20},
            }
        },
        "splits": {"day": {"by": "perturbation_context", "test": 0.2}},
        "models": ["perturbed_mean", "context_mean", "mean_shift", "other_contexts"],
        "evaluate": {"n_comps": 20, "n_draws": 2},
    }
    rows = sh.benchmark.run(spec, folder=tmp_path)
    assert (rows["note"] == "").all()
    board = sh.benchmark.table(tmp_path)
    assert board.index[0] == "other_contexts"
    asks_which = [
        "pds_l2",
        "pds_cosine",
        "nir",
        "de_auprc",
    ]  # was it this perturbation and no other?
    which = sh.benchmark.table(tmp_path, metrics=asks_which)
    assert set(which["reference"]) == {"own_shift"}  # the same perturbation on the other days
    others = ["perturbed_mean", "context_mean", "mean_shift", "negative control"]
    gap = which.loc["other_contexts", "achieved"] - which.loc[others, "achieved"]
    assert gap.min() > 0.4
    assert board.loc["positive control", "verdict"] == "better"
    assert np.isfinite(
        board.loc["other_contexts", ["score", "seconds", "peak_mb"]].astype(float)
    ).all()
