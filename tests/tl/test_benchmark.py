"""A leaderboard of one screen, in uns."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import shoal as sh
from shoal.core._shallow import shallow

QUICK = {"metrics": ["pearson_delta", "energy", "rmse"], "n_comps": 8, "n_boot": 200, "n_draws": 1}


@pytest.fixture(scope="module")
def prepared():
    adata = sh.ds.simulate(
        n_perturbations=12, n_cells=40, n_control=150, n_genes=60, effect_size=8.0, rng=0
    )
    del adata.uns["truth"]
    sh.pp.annotate(adata, "perturbation", control="control")
    sh.pp.split(adata, by="perturbation", test=0.5)
    sh.pp.prepare(adata, normalize="log1p", fit_on="train", n_comps=8)
    return adata


@pytest.fixture
def screen(prepared):
    return prepared.copy()


def test_what_it_writes_survives_a_file(screen, tmp_path):
    before = {name: set(getattr(screen, name)) for name in ("obs", "uns", "layers", "obsm")}
    sh.tl.benchmark(screen, ["mean_shift", "additive", "perturbed_mean"], seeds=[0, 1], **QUICK)
    assert {name: set(getattr(screen, name)) for name in before} == before | {
        "uns": before["uns"] | {"leaderboard"}
    }
    screen.write_h5ad(tmp_path / "screen.h5ad")
    entry, back = (
        screen.uns["leaderboard"],
        ad.read_h5ad(tmp_path / "screen.h5ad").uns["leaderboard"],
    )
    assert entry["schema"] == back["schema"] == "leaderboard/1"
    pd.testing.assert_frame_equal(
        entry["table"], back["table"], check_dtype=False, check_categorical=False
    )
    assert back["params"]["seeds"] == "0,1"
    assert back["params"]["n_failed"] == 2  # what was not measured cannot be added
    notes = back["rows"].astype({"model": str, "note": str}).groupby("model")["note"].first()
    assert "cannot be predicted by additive" in notes["additive"]
    assert set(entry["table"].index[:2]) == {"mean_shift", "perturbed_mean"}
    assert np.isnan(entry["table"].loc["additive", "score"])


def test_it_is_the_benchmark_of_one_screen(screen, tmp_path):
    path = tmp_path / "screen.h5ad"
    screen.write_h5ad(path)
    spec = {
        "data": {
            "it": {"path": str(path), "perturbation_key": "perturbation", "control": "control"}
        },
        "splits": {"unseen": {"by": "perturbation", "test": 0.5}},
        "models": ["mean_shift", "perturbed_mean"],
        "evaluate": {"metrics": QUICK["metrics"], "n_comps": 8, "n_draws": 1},
    }
    spec["data"]["it"]["prepare"] = False
    sh.benchmark.run(spec, folder=tmp_path / "out")
    sh.tl.benchmark(screen, ["mean_shift", "perturbed_mean"], **QUICK)
    columns = ["score", "difference", "low", "high", *QUICK["metrics"]]
    expected = sh.benchmark.table(tmp_path / "out", n_boot=200)[columns]
    pd.testing.assert_frame_equal(screen.uns["leaderboard"]["table"][columns], expected)


def test_the_report_shows_it(screen, tmp_path):
    pytest.importorskip("plotly")
    sh.tl.benchmark(screen, ["mean_shift", "perturbed_mean"], against="perturbed_mean", **QUICK)
    path = (
        sh.tl.report(screen, out=tmp_path / "r.html", title="t")
        if "coherence" in screen.uns
        else None
    )
    if path is None:
        sh.tl.coherence(screen)
        path = sh.tl.report(screen, out=tmp_path / "r.html")
    assert "perturbed_mean" in path.read_text()


def test_an_error_leaves_nothing(screen):
    before = {name: set(getattr(screen, name)) for name in ("obs", "uns", "layers", "obsm")}
    for wrong, error, match in (
        (
            {"models": ["additive"]},
            ValueError,
            "none of 1 results is there to compare: ValueError: .* cannot be predicted by additive",
        ),
        (
            {"models": ["mean_shift"], "against": "flow"},
            KeyError,
            "'flow' is not in the contenders",
        ),
        ({"models": ["mean_shift"], "seeds": [-1]}, ValueError, "different integers"),
        ({"models": ["mean_shift"], "metrics": ["nothing"]}, KeyError, "'nothing' is not in"),
        ({"models": "mean_shift"}, TypeError, "models must be a list"),
    ):
        options = QUICK | wrong
        with pytest.raises(error, match=match):
            sh.tl.benchmark(screen, options.pop("models"), **options)
    assert {name: set(getattr(screen, name)) for name in before} == before


def test_a_split_is_needed(screen):
    del screen.obs["split"]
    with pytest.raises(KeyError, match="sh.pp.split"):
        sh.tl.benchmark(screen, ["mean_shift"], **QUICK)


def test_a_modality_and_a_view(screen):
    import mudata

    both = mudata.MuData({"rna": screen, "adt": ad.AnnData(np.zeros((3, 1)))})
    sh.tl.benchmark(both, ["mean_shift", "perturbed_mean"], mod="rna", key_added="mine", **QUICK)
    assert "mine" in both.mod["rna"].uns
    view = screen[: screen.n_obs]
    sh.tl.benchmark(view, ["mean_shift", "perturbed_mean"], **QUICK)
    assert "leaderboard" in view.uns
    assert "leaderboard" not in screen.uns


def test_work_is_done_on_a_second_frame_of_the_same_matrix(screen):
    work = shallow(screen)
    assert work.X is screen.X
    work.layers["new"], work.obs["new"], work.uns["new"] = work.X, 1, 2
    assert "new" not in set(screen.layers) | set(screen.obs) | set(screen.uns)
