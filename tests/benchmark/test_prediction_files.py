"""Predictions of other programs are contenders: judged as `tl.evaluate` judges them, or refused by name."""

from __future__ import annotations

import anndata as ad
import h5py
import numpy as np
import pytest

import shoal as sh
from shoal.benchmark._spec import read

from ..helpers import dense

SAME = {"by": "perturbation", "test": 0.5}


@pytest.fixture
def predicted(screen):
    """Cells of all test conditions, as another program might have predicted them."""
    sh.tl.predict(screen, sh.tl.fit(screen, "mean_shift"), key_added="twins", subset="test")
    cells = screen[screen.obs["split"] == "test"]
    return ad.AnnData(cells.layers["twins"].copy(), obs=cells.obs[["perturbation"]], var=cells.var)


@pytest.fixture
def given(predicted, spec, tmp_path):
    """A spec with a file beside a baseline, and the path of the file."""
    path = tmp_path / "theirs.h5ad"
    predicted.write_h5ad(path)
    entry = {"label": "theirs", "contender": {"file": str(path)}}
    return spec | {"models": ["perturbed_mean", entry]}, path


def row_of(spec, folder, model="theirs"):
    rows = sh.benchmark.run(spec, folder=folder)
    return rows[rows["model"] == model]


def test_it_is_judged_as_evaluate_judges_a_file(given, screen, tmp_path):
    spec, path = given
    rows = row_of(spec, tmp_path / "out").set_index("metric")
    sh.tl.evaluate(screen, prediction=path, n_comps=8, n_draws=1, metrics=list(rows.index))
    summary = screen.uns["evaluation"]["summary"]
    np.testing.assert_allclose(rows["value"], summary.loc[rows.index, "value"], rtol=1e-5)
    assert set(rows["kind"]) == {"file"}
    assert rows["seconds_fit"].isna().all()
    assert (rows["file"].str.len() == 16).all()
    board = sh.benchmark.table(tmp_path / "out")
    assert board.loc["theirs", "kind"] == "file"
    assert np.isnan(board.loc["theirs", "seconds"])


def test_it_does_not_calibrate_others(given, tmp_path):
    """A contender is no baseline: the scores of others do not change by it."""
    spec, _ = given
    with_it = sh.benchmark.run(spec, folder=tmp_path / "with")
    assert len(with_it["model"].unique()) == 2
    own = sh.benchmark.table(tmp_path / "with").loc["perturbed_mean", "score"]
    sh.benchmark.run(spec | {"models": ["perturbed_mean"]}, folder=tmp_path / "without")
    assert sh.benchmark.table(tmp_path / "without").loc["perturbed_mean", "score"] == own


def test_a_changed_file_is_computed_anew_and_a_moved_one_is_not(given, predicted, tmp_path):
    spec, path = given
    first = row_of(spec, tmp_path / "out")
    moved = path.rename(tmp_path / "moved.h5ad")
    spec["models"][1]["contender"]["file"] = str(moved)
    again = row_of(spec, tmp_path / "out")
    assert again["seconds_evaluate"].tolist() == first["seconds_evaluate"].tolist()
    predicted.X = predicted.X * 1.05
    predicted.write_h5ad(moved)
    anew = row_of(spec, tmp_path / "out")
    assert set(anew["file"]) != set(first["file"])
    assert (anew["value"].to_numpy() != first["value"].to_numpy()).any()


def _without_a_condition(cells, _screen):
    return cells[cells.obs["perturbation"] != cells.obs["perturbation"].iloc[0]]


def _of_other_names(cells, _screen):
    cells.obs["perturbation"] = cells.obs["perturbation"].astype(str) + "-KO"
    return cells


def _without_the_column(cells, _screen):
    return ad.AnnData(cells.X, var=cells.var)


def _without_a_gene(cells, _screen):
    return cells[:, 1:]


def _counts(cells, _screen):
    cells.X = np.rint(np.expm1(np.asarray(cells.X)))
    return cells


def _not_logged(cells, _screen):
    cells.X = np.expm1(np.asarray(cells.X))
    return cells


def _with_nan(cells, _screen):
    cells.X[3, 3] = np.nan
    return cells


def _real(cells, screen):
    return screen[cells.obs_names].copy()


@pytest.mark.parametrize(
    ("spoil", "match"),
    [
        (
            _without_a_condition,
            "1 of 6 held-out conditions have no prediction: 'P.*got 0 predicted",
        ),
        (_of_other_names, "6 of 6 held-out conditions have no prediction.*-KO.* the screen lacks"),
        (_without_the_column, "'perturbation' is not in prediction.obs"),
        (_without_a_gene, "the prediction lacks 1 of the 60 genes of the screen"),
        (_counts, "counts"),
        (_not_logged, "not on the scale of the real cells"),
        (_with_nan, "NaN"),
        (_real, "the predicted cells are copies of the real cells.*nothing was predicted"),
    ],
)
def test_what_does_not_fit_is_refused(given, predicted, screen, tmp_path, spoil, match):
    spec, path = given
    spoil(predicted, screen).write_h5ad(path)
    rows = row_of(spec, tmp_path / "out")
    assert len(rows) == 1
    assert rows["note"].str.contains(match).all(), rows["note"].tolist()
    assert sh.benchmark.table(tmp_path / "out").loc["theirs", "failed"] == 1


def test_a_file_that_holds_no_anndata_is_refused(given, predicted, tmp_path):
    spec, path = given
    path.write_bytes(b"no HDF5")
    assert row_of(spec, tmp_path / "out")["note"].str.contains("Error").all()
    with h5py.File(path, "w") as file:  # what tells a MuData from an AnnData
        file.create_group("mod")
    assert row_of(spec, tmp_path / "out")["note"].str.contains("is a MuData").all()


def test_other_gene_order_and_more_genes_are_the_same(given, predicted, tmp_path):
    spec, path = given
    first = row_of(spec, tmp_path / "out")
    values = np.asarray(predicted.X)
    names = [*predicted.var_names, "other", "another"]
    more = ad.AnnData(np.hstack([values, values[:, :2]]), obs=predicted.obs)
    more.var_names = names
    more[:, ::-1].copy().write_h5ad(path)
    again = row_of(spec, tmp_path / "out")
    assert set(again["file"]) != set(first["file"])
    np.testing.assert_allclose(again["value"], first["value"], rtol=1e-6)


def test_no_file(given, tmp_path):
    spec, path = given
    path.unlink()
    with pytest.raises(FileNotFoundError, match="contender 'theirs': no such file: '.*theirs.h5ad"):
        sh.benchmark.run(spec, folder=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_several_splits_need_several_files(given, tmp_path):
    spec, path = given
    spec["splits"] = {"one": SAME, "two": SAME | {"rng": 1}}
    with pytest.raises(ValueError, match=r"2 splits .*give each split a file.*\{split\}"):
        sh.benchmark.run(spec, folder=tmp_path / "out")
    spec["models"][1]["contender"]["file"] = str(tmp_path / "{data} {split}.h5ad")
    path.rename(tmp_path / "small one.h5ad")
    rows = row_of(spec, tmp_path / "out").set_index("split")["note"]
    assert set(rows["one"]) == {""}
    assert "there is no such file" in rows["two"]
    assert "small two.h5ad" in rows["two"]


def test_seeds_share_a_file_or_have_their_own(given, predicted, tmp_path):
    spec, path = given
    spec["seeds"] = [0, 1]
    shared = row_of(spec, tmp_path / "out")
    assert shared.groupby("seed")["file"].first().nunique() == 1
    path.rename(tmp_path / "theirs 0.h5ad")
    predicted.X = predicted.X * 1.02
    predicted.write_h5ad(tmp_path / "theirs 1.h5ad")
    spec["models"][1]["contender"]["file"] = str(tmp_path / "theirs {seed}.h5ad")
    own = row_of(spec, tmp_path / "out")
    assert own.groupby("seed")["file"].first().nunique() == 2


@pytest.mark.parametrize(
    ("entry", "error", "match"),
    [
        ({"contender": "x.h5ad"}, TypeError, "contender, as in .*must be a mapping"),
        ({"contender": {"path": "x.h5ad"}}, ValueError, "key='path' is not known.*'file'"),
        ({"contender": {}}, ValueError, "contender lacks 'file'"),
        (
            {"contender": {"file": 3}, "label": "a"},
            TypeError,
            "contender 'a': file must be the path",
        ),
        ({"contender": {"file": "x"}, "name": "flow"}, ValueError, "key='name' is not known"),
        (
            {"contender": {"file": "x_{sed}"}, "label": "a"},
            ValueError,
            "'sed' is not known.*'seed'",
        ),
        ({"contender": {"file": "x_{}"}, "label": "a"}, ValueError, "'' is not known.*'data'"),
        ({"contender": {"file": "x_{seed"}, "label": "a"}, ValueError, "write a brace of the name"),
        ({"contender": {"file": "x_{seed}.h5ad"}}, ValueError, "contender lacks 'label'"),
        ({"contender": {"file": "x"}, "label": "control copy"}, ValueError, "choose another label"),
        ({"label": "a"}, ValueError, "a model lacks 'name'.*another program as in.*contender"),
    ],
)
def test_errors_name_the_key_and_the_fix(spec, entry, error, match):
    with pytest.raises(error, match=match):
        read(spec | {"models": [entry]})


def test_a_path_in_a_spec_is_relative_to_it(tmp_path, counts):
    (tmp_path / "specs").mkdir()
    (tmp_path / "specs" / "spec.yaml").write_text(
        f"data: {{small: {{path: '{counts}', perturbation_key: perturbation, control: control}}}}\n"
        "splits: {unseen: {}}\n"
        "models: [mean_shift, {contender: {file: ../theirs.h5ad}}]\n"
    )
    (_, contender) = read(tmp_path / "specs" / "spec.yaml").models
    assert contender.label == "theirs"
    assert contender.file == str(tmp_path / "specs" / ".." / "theirs.h5ad")


def test_the_screen_that_others_train_on(spec, screen):
    """It is what models of the benchmark see: the same cells, values and sides of the split."""
    adata = sh.benchmark.screen(spec)
    assert adata.obs["split"].tolist() == screen.obs["split"].tolist()
    np.testing.assert_array_equal(dense(adata.X), dense(screen.X))
    spec["splits"]["again"] = {"by": "perturbation", "test": 0.25}
    with pytest.raises(
        ValueError, match="the spec has several splits: 'unseen', 'again'; name one"
    ):
        sh.benchmark.screen(spec)
    assert (sh.benchmark.screen(spec, split="again").obs["split"] == "test").sum() == 3 * 40
    with pytest.raises(ValueError, match="split='agen' is not known"):
        sh.benchmark.screen(spec, split="agen")
    spec["splits"]["again"]["data"] = []
    with pytest.raises(ValueError, match="split='again' is not made for data 'small'"):
        sh.benchmark.screen(spec, split="again")


def test_the_screen_of_code_needs_trust(spec):
    spec["data"]["small"].pop("path")
    spec["data"]["small"]["call"] = "os:getcwd"
    with pytest.raises(ValueError, match="Nothing was imported"):
        sh.benchmark.screen(spec)


def test_on_one_screen(given, screen):
    spec, path = given
    sh.tl.benchmark(screen, spec["models"], metrics=["energy"], n_comps=8, n_boot=50)
    board = screen.uns["leaderboard"]["table"]
    assert board.loc["theirs", "kind"] == "file"
    path.unlink()
    with pytest.raises(FileNotFoundError, match="no such file"):
        sh.tl.benchmark(screen, spec["models"], overwrite=True)
    assert screen.uns["leaderboard"]["table"] is board
