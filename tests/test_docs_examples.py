"""The Python blocks of the pages on prediction run, and their tables say what the code says."""

from __future__ import annotations

import ast
import inspect
import re
from dataclasses import asdict, fields
from operator import attrgetter
from pathlib import Path

import numpy as np
import pytest
from tests.helpers import dense

import shoal
from shoal.models import Flow, PerturbationModel
from shoal.models.base import _registry
from shoal.models.flow._config import PRESETS
from shoal.training import FitSettings, SetSampler

GUIDE = Path(__file__).parents[1] / "docs" / "user_guide"
NEIGHBOURS = ("scanpy", "decoupler", "pertpy")
BLOCK = re.compile(r"^```python\n(.*?)^```$", flags=re.MULTILINE | re.DOTALL)


def blocks(page: str) -> list[str]:
    return BLOCK.findall((GUIDE / page).read_text(encoding="utf-8"))


def run(page: str, **numbers: int) -> dict[str, object]:
    """Run the blocks of a page one after another, and return what they leave behind.

    Arguments that are numbers on the page, such as `max_steps`, are replaced by those given.
    """
    left: dict[str, object] = {"__name__": "page"}
    for number, block in enumerate(blocks(page)):
        for name, number in numbers.items():
            block = re.sub(rf"\b{name}=\d+", f"{name}={number}", block)
        exec(compile(block, f"{page}, block {number}", "exec"), left)
    return left


def table(first: str) -> list[dict[str, str]]:
    """Return the rows of the table of prediction.md whose first column has the heading `first`."""
    lines = iter((GUIDE / "prediction.md").read_text(encoding="utf-8").splitlines())
    head = next(line for line in lines if line.startswith(f"| {first} |"))
    rows = [head]
    while (line := next(lines)).startswith("|"):
        rows.append(line)
    cells = [[cell.strip().replace("`", "") for cell in row.strip("|").split("|")] for row in rows]
    return [dict(zip(cells[0], row, strict=True)) for row in cells[2:]]


# -- what the pages show ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def custom(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("custom"))
        for name in ("_ENTRIES", "_CLASSES"):  # what the page registers is not there for others
            patch.setattr(_registry, name, dict(getattr(_registry, name)))
        yield run("custom_model.md")


@pytest.mark.slow
def test_the_page_on_the_ensemble_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    left = run("ensemble.md")
    assert "auto" in left["adata"].layers


@pytest.mark.slow
@pytest.mark.parametrize("page", ["coherence", "distance", "association", "report", "benchmark"])
def test_the_pages_on_measuring_and_reporting_run(page, tmp_path, monkeypatch):
    if page == "report":
        pytest.importorskip("itables", reason="reports need the extra `report`")
    monkeypatch.chdir(tmp_path)
    left = {"__name__": "page"}
    for block in blocks(f"{page}.md")[:1]:  # the second one of benchmark.md reads a finished run
        exec(compile(block, page, "exec"), left)
    assert left["adata"].uns


@pytest.mark.slow
def test_the_page_on_intervals_runs():
    left = run("intervals.md")
    entry = left["intervals"]
    assert entry["low"].shape == (len(entry["table"]), left["adata"].n_vars)
    assert len(left["judged"]["table"]) == len(entry["table"])


@pytest.mark.slow
def test_the_page_on_design_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    left = run("design.md")
    assert left["adata"].uns["proposal"]["table"]["score"].between(0, 1).all()
    assert len(left["found"].table) == 2


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")  # of scanpy's plots
@pytest.mark.parametrize("library", ["scanpy", "decoupler", "pertpy", ""])
def test_the_page_on_neighbours_runs(library, tmp_path, monkeypatch):
    """The screen, and the block of one library; the last block needs none of them."""
    if library:
        pytest.importorskip(library, reason=f"{library} is not installed")
    monkeypatch.chdir(tmp_path)
    screen, *others = blocks("neighbours.md")
    several = {next((n for n in NEIGHBOURS if f"import {n}" in b), ""): b for b in others}
    assert set(several) == {*NEIGHBOURS, ""}
    left: dict[str, object] = {"__name__": "page"}
    for number, block in enumerate((screen, several[library])):
        exec(compile(block, f"neighbours.md, block {number}", "exec"), left)
    if library == "pertpy":
        np.testing.assert_allclose(left["both"]["pertpy"], left["both"]["shoal"], rtol=1e-6)
        assert len(left["both"]) == 8
    if library == "decoupler":
        assert list(left["measured"].index) == list(left["predicted"].index)
        assert np.isfinite(left["predicted"]).all(axis=None)
    if library == "scanpy":
        assert left["adata"].obsm["X_umap"].shape == (left["adata"].n_obs, 2)


def test_the_page_on_prediction_runs(tmp_path, monkeypatch):
    monkeypatch.setattr(
        Flow, "defaults", {**Flow.recipes.training["flow"], "max_steps": 6, "set_size": 16}
    )
    monkeypatch.chdir(tmp_path)
    left = run("prediction.md", max_steps=4)
    adata = left["adata"]
    assert np.isfinite(adata.layers["flow"]).all()
    assert adata.obs["flow_predicted"].sum() == (adata.obs["perturbation"] != "control").sum()
    twins = left["start"].obs["flow_predicted"]
    assert 0 < twins.sum() == left["few"].sum()
    assert (
        np.isnan(dense(left["start"].layers["flow"])).any(axis=1).sum() > 0
    )  # of perturbed cells without a twin
    assert left["both"].notna().all(axis=None)
    assert not set(left["part"].obs["flow_source"]) & set(adata.obs_names[left["reference"]])
    assert np.isfinite(left["distance"])
    assert left["after"].obs["source"].tolist() == left["mine"].obs_names.tolist()
    assert left["made"].shape == (500, adata.n_vars)
    written = {path.name for path in Path().iterdir()}
    assert written == {"day2.h5ad", "logs", "my_model", "run", "screen.h5ad"}


def test_the_page_on_perturbdiff_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    left = run("perturbdiff.md", max_steps=3)
    assert np.isfinite(left["adata"].layers["perturbdiff"]).all()
    assert left["model"].is_trained


def test_the_page_on_unlasting_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    left = run("unlasting.md", max_steps=3)
    assert np.isfinite(left["adata"].layers["unlasting"]).all()
    assert left["model"].is_trained


def test_the_page_on_images_runs():
    left = run("images.md")
    assert left["twins"].shape == (180, 2, 16, 16)
    assert left["images"].shape == (20, 2, 16, 16)
    assert left["images"].mean() == pytest.approx(160, abs=15)


@pytest.mark.slow
def test_the_page_on_cellflux_runs():
    left = run("cellflux.md", max_steps=2, n_cells=20)
    assert left["made"].obsm["crops"].shape == (20, 3, 16, 16)
    assert left["adata"].obsm["X_cellflux"].dtype == np.uint8
    assert left["way"].obs["time"].tolist() == [0.0] * 4 + [0.5] * 4 + [1.0] * 4
    assert left["other"].obs["source_perturbation"].unique().tolist() == ["P1"]
    assert left["profiles"].is_trained


def test_the_custom_model_beats_what_knows_less(custom):
    assert issubclass(custom["OneStep"], PerturbationModel)
    rows = custom["adata"].uns["leaderboard"]["rows"].set_index("model")
    energy = rows["value"].astype(float)
    assert energy["one_step"] < 0.7 * min(energy["mean_shift"], rows["negative"].iloc[0])


def test_the_custom_model_is_the_same_when_loaded(custom):
    assert custom["one"].X.shape == (50, 100)
    np.testing.assert_array_equal(custom["one"].X, custom["two"].X)
    np.testing.assert_array_equal(custom["made"].X, custom["one"].X)  # and without cells of its own


def test_the_state_of_the_custom_model_is_there_when_loaded(custom):
    loaded = custom["loaded"]
    np.testing.assert_array_equal(loaded.graph, np.eye(6))
    np.testing.assert_array_equal(
        loaded.predict("P1", n_cells=9).X, custom["on_graph"].predict("P1", n_cells=9).X
    )


def test_the_custom_baseline_is_one_of_them(custom):
    again, adata = custom["median_again"], custom["adata"]
    np.testing.assert_array_equal(again.twins()[1], custom["median"].twins()[1])
    board = adata.uns["baselines"]["table"]
    assert board.loc[["median_shift", "mean_shift"], "kind"].tolist() == ["baseline", "baseline"]


def test_the_custom_model_copies_the_controls_before_training(custom):
    adata = custom["adata"]
    custom["OneStep"].setup_anndata(adata)
    model = custom["OneStep"](adata, n_latent=20)
    model.is_trained_ = True
    made = model.predict("P1", n_cells=20, rng=0)
    np.testing.assert_allclose(made.X, adata[made.obs["source"].to_numpy()].X.toarray(), atol=1e-5)


def test_the_custom_models_are_short():
    """A network from its definition to the leaderboard, and so a baseline."""
    lines = [len(block.splitlines()) for block in blocks("custom_model.md")]
    assert sum(lines[:2]) < 80
    assert lines[-1] < 30


# -- calls of all pages, also of those that do not run --------------------------------------------------------------


def calls(page: Path) -> list[tuple[str, ast.Call]]:
    """Return the calls of shoal on a page, with what is called: ``sh.pp.split``."""
    trees = [ast.parse(block) for block in BLOCK.findall(page.read_text(encoding="utf-8"))]
    found = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Call)]
    named = [(ast.unparse(node.func), node) for node in found]
    return [(name, node) for name, node in named if re.fullmatch(r"sh(\.\w+)+", name)]


def test_all_pages_call_what_there_is_by_arguments_that_it_takes():
    wrong, number = [], 0
    for page in (GUIDE.parents[1] / "README.md", GUIDE.parent / "index.md", *GUIDE.glob("*.md")):
        for name, call in calls(page):
            number += 1
            try:
                taken = inspect.signature(attrgetter(name.removeprefix("sh."))(shoal))
                taken.bind_partial(*call.args, **{k.arg: k.value for k in call.keywords if k.arg})
            except (AttributeError, TypeError) as err:
                wrong.append(f"{page.name}, {name}: {err}")
    assert not wrong
    assert number > 200


# -- what the tables say ---------------------------------------------------------------------------------------------


def test_presets_are_what_the_page_says():
    rows = table("preset")
    assert sorted(row["preset"] for row in rows) == sorted(PRESETS)
    for row in rows:
        groups = asdict(PRESETS[row["preset"]]).values()
        settings = {name: value for group in groups for name, value in group.items()}
        names = ("path_start", "coupling", "gamma", "sampler", "n_steps")
        shown = {name: row[name] for name in names}
        assert shown == {name: str(settings[name]) for name in names}, row["preset"]


def test_settings_of_training_are_what_the_page_says():
    sizes = {
        name: SetSampler.__init__.__kwdefaults__[name] for name in ("set_size", "batch_conditions")
    }
    own = ("seed", "stop_at")  # not for users
    defaults = {f.name: f.default for f in fields(FitSettings) if f.name not in own} | sizes
    told = {
        name: value
        for row in table("setting")
        for name, value in zip(row["setting"].split(", "), row["default"].split(", "), strict=True)
    }
    assert told == {name: str(value) for name, value in defaults.items()}
