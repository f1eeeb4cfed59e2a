"""The whole way in one call: what is written, and that interrupted work goes on to the same end."""

from __future__ import annotations

import json

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import shoal as sh
from shoal import _held_out, _journey, _report
from shoal._staging import IncompleteError

FAST = {
    "measure": _report.Options(n_draws=5),
    "evaluate": {"baselines": ["perturbed_mean"], "n_draws": 2},
}
WORK = {  # where a stage does its work
    "measure": (_report, "analyse"),
    "split": (sh.pp, "split"),
    "fit": (sh.tl, "fit"),
    "predict": (sh.tl, "predict"),
    "evaluate": (sh.tl, "evaluate"),
    "report": (_report, "write"),
}
STAGES = list(WORK)


def screen():
    """A small screen of counts; `sh.ds.simulate` is fast enough to make it anew."""
    adata = sh.ds.simulate(
        n_perturbations=12, n_cells=30, n_control=120, n_genes=40, effect_size=6.0, rng=0
    )
    sh.pp.annotate(adata, "perturbation", control="control", overwrite=True)
    return adata


def go(out, **more):
    """Go the whole way with few draws, and return what came out and what was said."""
    said = []
    found = _journey.run(screen(), out, say=said.append, **FAST | more)
    return found, said


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A call that was never interrupted."""
    out = tmp_path_factory.mktemp("whole") / "out"
    return out, *go(out)


def tables(out):
    return {path.name: path.read_text() for path in sorted(out.glob("*.csv"))}


@pytest.mark.slow
def test_from_counts_to_a_verdict(whole):
    out, found, said = whole
    assert "perturbations respond" in found.verdict
    assert "mean_shift" in found.verdict
    assert found.lines
    assert {path.name for path in found.files} == {p.name for p in out.iterdir()} - {"journey.json"}
    assert {"report.html", "screen.h5ad", "model", "coherence.csv"} <= {p.name for p in found.files}
    assert [line[:5] for line in said if line.startswith("[")] == [f"[{i}/6]" for i in range(1, 7)]
    assert not (out / ".stages").exists()
    adata = ad.read_h5ad(out / "screen.h5ad")
    assert adata.uns["split"]["params"]["by"] == "perturbation"
    assert {"coherence", "evaluation", "perturbation_predictions"} <= set(adata.uns)
    model = sh.models.load(out / "model", adata)
    assert model.predict("P01", n_cells=5).shape == (5, 40)
    assert found.summary["n_conditions"] == (adata.uns["split"]["units"]["split"] == "test").sum()


@pytest.mark.slow
@pytest.mark.parametrize("stage", STAGES)
def test_ctrl_c_in_any_stage_and_the_same_call_goes_on(whole, tmp_path, monkeypatch, stage):
    module, name = WORK[stage]
    real = getattr(module, name)

    def stops(*args, **more):
        real(*args, **more)  # at the end of the work, when all of it is lost
        raise KeyboardInterrupt

    out = tmp_path / "out"
    with monkeypatch.context() as patched:
        patched.setattr(module, name, stops)
        with pytest.raises(KeyboardInterrupt):
            go(out)
    if stage == "measure":
        assert not out.exists()  # nothing was done
    else:
        assert not list(out.glob("*.csv"))
    calls = []
    for other in STAGES[: STAGES.index(stage)]:  # what is done is not done again
        monkeypatch.setattr(*WORK[other], lambda *args, other=other, **more: calls.append(other))
    found, said = go(out)
    assert calls == []
    if stage != "measure":
        done = ", ".join(STAGES[: STAGES.index(stage)])
        assert said[0] == f"going on in {out}, where an earlier call ended; done before: {done}"
    assert found.verdict == whole[1].verdict
    assert found.lines == whole[1].lines
    assert tables(out) == tables(whole[0])


@pytest.mark.slow
def test_the_fit_goes_on_within_itself(whole, tmp_path, monkeypatch):
    from shoal.models.ensemble import _files

    real, left = _files.Finished.put, [3]

    def put(self, *args):
        real(self, *args)
        left[0] -= 1
        if not left[0]:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(_files.Finished, "put", put)
        with pytest.raises(KeyboardInterrupt):
            go(tmp_path / "out")
    assert len(list((tmp_path / "out" / ".stages" / "folds").iterdir())) == 3
    found, _ = go(tmp_path / "out")
    assert found.verdict == whole[1].verdict


@pytest.mark.slow
def test_a_call_that_is_done_says_so_and_does_nothing(whole, monkeypatch):
    out, first, _ = whole
    for module, name in WORK.values():
        monkeypatch.setattr(module, name, None)
    again, said = go(out)
    assert again == first
    assert "all is done" in said[-1]
    assert "overwrite=True" in said[-1]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("more", "differs"),
    [
        ({"seed": 1}, "seed=0 before, seed=1 now"),
        ({"test": ["P01"]}, "test=None before, test=['P01'] now"),
        ({"by": "perturbation", "preset": "networks"}, "preset='fast' before, preset='networks'"),
        ({"measure": _report.Options(n_draws=6)}, "n_draws=5 before, n_draws=6 now"),
        ({"evaluate": {"n_draws": 3}}, "n_draws=2 before, n_draws=3 now"),
    ],
)
def test_other_arguments_into_the_same_folder_are_refused(whole, more, differs):
    before = (whole[0] / "journey.json").read_text()
    with pytest.raises(FileExistsError, match="other arguments") as caught:
        go(whole[0], **more)
    assert differs in str(caught.value)
    assert "overwrite=True" in str(caught.value)
    assert (whole[0] / "journey.json").read_text() == before


@pytest.mark.slow
def test_other_cells_into_the_same_folder_are_refused(whole):
    adata = screen()
    adata.X[0, 0] += 1
    with pytest.raises(FileExistsError, match="cells='480 x 40, digest"):
        _journey.run(adata, whole[0], **FAST)


@pytest.mark.slow
def test_a_mistake_in_a_later_stage_is_mended_without_doing_the_others_again(
    whole, tmp_path, monkeypatch
):
    with pytest.raises(ValueError, match="no_such"):
        go(tmp_path / "out", evaluate=FAST["evaluate"] | {"baselines": ["no_such"]})
    for stage in STAGES[:4]:
        monkeypatch.setattr(*WORK[stage], lambda *args, **more: pytest.fail("done again"))
    found, _ = go(tmp_path / "out")
    assert found.verdict == whole[1].verdict


def test_a_folder_that_holds_other_things_is_refused(tmp_path):
    (tmp_path / "mine.txt").write_text("kept")
    with pytest.raises(FileExistsError, match=r"mine\.txt.*name another folder.*overwrite=True"):
        go(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
    with pytest.raises(NotADirectoryError, match="is a file"):
        go(tmp_path / "mine.txt")
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "journey.json").write_text("{")
    with pytest.raises(FileExistsError, match="damaged"):
        go(tmp_path / "damaged")


@pytest.mark.slow
def test_overwrite_begins_anew(whole, tmp_path):
    (tmp_path / "mine.txt").write_text("kept")
    (tmp_path / "journey.json").write_text(json.dumps({"stages": {}}))
    found, _ = go(tmp_path, overwrite=True)
    assert found.verdict == whole[1].verdict
    assert (tmp_path / "mine.txt").read_text() == "kept"


@pytest.mark.slow
def test_pictures_that_cannot_be_drawn_are_named_and_made_by_the_next_call(
    whole, tmp_path, monkeypatch
):
    def full(figure, path):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(_report, "save", full)
        with pytest.raises(IncompleteError, match=r"not written: coherence\.png"):
            go(tmp_path / "out")
    assert tables(tmp_path / "out") == tables(whole[0])
    found, said = go(tmp_path / "out")
    assert "done before: measure, split, fit, predict, evaluate" in said[0]
    assert (tmp_path / "out" / "coherence.png").exists()
    assert found.verdict == whole[1].verdict


@pytest.mark.parametrize(
    ("change", "by"),
    [
        ({}, "perturbation"),
        ({"context_key": "where"}, "perturbation_context"),
        ({"dose_key": "dose"}, "dose"),
    ],
)
def test_what_is_held_out_is_what_there_is_enough_of(change, by):
    adata = screen()
    adata.obs["where"] = pd.Categorical(np.where(np.arange(adata.n_obs) % 2, "a", "b"))
    adata.obs["dose"] = np.where(np.arange(adata.n_obs) % 2, 1.0, 2.0)
    sh.pp.annotate(adata, "perturbation", control="control", overwrite=True, **change)
    found, why = _held_out.kind_of(adata)
    assert found == by
    assert "can be held out" in why


def test_nothing_to_hold_out_is_said_before_any_work(tmp_path):
    adata = screen()
    adata = adata[adata.obs["perturbation"].isin(["control", "P01"])].copy()
    with pytest.raises(ValueError, match="holds one perturbation.*tl.coherence"):
        _journey.run(adata, tmp_path / "out", **FAST)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.parametrize("recorded", [True, False], ids=["of shoal", "of another program"])
def test_a_split_that_is_there_is_kept(tmp_path, recorded):
    adata = screen()
    sh.pp.split(adata, by="perturbation", test=["P02", "P05", "P07"])
    if not recorded:
        del adata.uns["split"]
    before, said = adata.obs["split"].copy(), []
    _journey.run(adata, tmp_path / "out", say=said.append, **FAST)
    pd.testing.assert_series_equal(adata.obs["split"], before)
    assert "[2/6] split: holding out the split of the file: obs['split'] is there" in said
    assert any(line.startswith("held out: 3 conditions, 90 cells ('P0") for line in said)
    adata = screen()
    adata.obs["split"] = "train"
    with pytest.raises(ValueError, match="holds no 'test'"):
        _journey.run(adata, tmp_path / "other", **FAST)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"by": "combination"}, "can hold out none of 0 units"),
        ({"by": "context"}, "no column of contexts"),
        ({"by": "guides"}, "by='guides' is not known"),
        ({"test": ["P99"]}, "'P99' is not in the units"),
        ({"test": 1.5}, "test"),
        ({"preset": "slow"}, "preset='slow' is not known"),
        ({"seed": -1}, "seed must be a whole number"),
        ({"embedding": "none"}, "'none' is not in adata.uns"),
    ],
)
def test_what_cannot_be_done_is_said_before_any_work(tmp_path, more, said):
    with pytest.raises((ValueError, KeyError), match=said):
        go(tmp_path / "out", **more)
    assert not (tmp_path / "out").exists()


def test_counts_are_not_measured_elsewhere_than_they_are_learned(tmp_path):
    adata = screen()
    adata.obsm["mine"] = np.zeros((adata.n_obs, 2), dtype=np.float32)
    with pytest.raises(ValueError, match="leave out use_rep='mine'"):
        _journey.run(adata, tmp_path / "out", measure=_report.Options(use_rep="mine"))
