"""The commands one after another: from a file to a config, to each step's file, and to a verdict."""

from __future__ import annotations

import json
import re

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import yaml
from typer.testing import CliRunner

import shoal as sh
from shoal._command import as_json
from shoal.cli import app

runner = CliRunner()


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """A small screen of counts, as others write it."""
    path = tmp_path_factory.mktemp("file") / "mine.h5ad"
    adata = sh.ds.simulate(
        n_perturbations=12, n_cells=30, n_control=120, n_genes=40, effect_size=6.0, rng=0
    )
    del adata.uns["shoal"], adata.uns["truth"]
    adata.obs = adata.obs.rename(columns={"perturbation": "gene_target", "batch": "lane"})
    adata.obs["gene_target"] = adata.obs["gene_target"].astype(str).replace("control", "NT")
    adata.obs["donor"] = np.where(np.arange(adata.n_obs) % 2, "a", "b")
    adata.write_h5ad(path)
    return path


def call(*arguments, code=0):
    """Run a command, and return what it wrote on stdout and on stderr."""
    result = runner.invoke(app, list(map(str, arguments)))
    assert result.exit_code == code, result.output
    return result.stdout, result.stderr


def test_the_version():
    assert call("--version")[0] == f"shoal {sh.__version__}\n"


# -- one after another ------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_steps_one_after_another(file, tmp_path):
    _, said = call("measure", file, "-o", tmp_path / "measured", "--n-draws", 5)
    assert "Perturbations are obs['gene_target'], controls 'NT'" in said
    assert "raw counts, log-normalised here" in said
    screen = tmp_path / "measured" / "screen.h5ad"
    told, said = call("split", screen, "-o", tmp_path / "split.h5ad", "--test", 0.25)
    assert "--by perturbation: 12 can be held out" in said
    assert told.startswith("held out: 3 conditions, 90 cells")
    told, _ = call(
        "fit", tmp_path / "split.h5ad", "-o", tmp_path / "model", "--model", "mean_shift"
    )
    assert f"written: {tmp_path / 'model'}" in told
    files = [tmp_path / "split.h5ad", tmp_path / "model"]
    told, _ = call(
        "predict", *files, "-o", tmp_path / "made.h5ad", "--subset", "test", "--key-added", "m"
    )
    assert told.startswith("90 cells are predicted, as 'm'")
    out = tmp_path / "judged"
    told, _ = call(
        "evaluate",
        tmp_path / "made.h5ad",
        "-o",
        out,
        "--baselines",
        "perturbed_mean",
        "--n-draws",
        2,
    )
    assert "calibrated, 3 conditions: 'm' " in told
    adata = ad.read_h5ad(out / "screen.h5ad")
    assert {"coherence", "evaluation"} <= set(adata.uns)
    assert adata.uns["evaluation"]["params"]["verdict"] in told
    table = pd.read_csv(out / "evaluation_table.csv", index_col=0)
    assert len(table) == 3
    call("report", out / "screen.h5ad", "-o", tmp_path / "page.html")
    assert (tmp_path / "page.html").stat().st_size > 1e5


@pytest.mark.slow
def test_a_config_file_leads_to_the_same_screen_and_a_verdict(file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.h5ad").write_bytes(file.read_bytes())
    told, _ = call("init", "mine.h5ad")
    assert "shoal run --config shoal.yaml" in told
    text = (tmp_path / "shoal.yaml").read_text()
    proposed = yaml.safe_load(text)
    assert proposed["file"] == "mine.h5ad"
    assert proposed["perturbation_key"] == "gene_target"
    assert proposed["control"] == ["NT"]
    assert proposed["by"] == "perturbation"
    assert "12 can be held out" in text
    assert "raw counts" in text
    assert proposed["batch_key"] == "donor"
    assert re.search(r"may be one of the keys below: .*lane \(\d values\)", text)
    more = ["--config", "shoal.yaml", "--n-draws", 5, "--baselines", "perturbed_mean"]
    told, said = call("run", *more)
    assert "on 2 held-out conditions" in told.splitlines()[0]
    assert told.splitlines()[-1] == "report: results/report.html"
    recorded = ad.read_h5ad("results/screen.h5ad").uns["shoal"]
    plain = sh.io.read("mine.h5ad").uns["shoal"]
    assert {key: str(recorded[key]) for key in plain} == {key: str(plain[key]) for key in plain}
    found = json.loads(call("run", *more, "--json")[0])
    assert found["verdict"] == told.splitlines()[0]
    assert found["n_conditions"] == 2
    assert "results/report.html" in found["files"]
    told, said = call("run", *more, "--seed", 3, code=2)
    assert "--seed 0 before, --seed 3 now" in said
    assert "say --overwrite to begin anew" in said
    # options on the command line count for more; those of other commands do no harm
    told, said = call("split", "--config", "shoal.yaml", "-o", "s.h5ad", "--test", "P01")
    assert told.startswith("held out: 1 conditions, 30 cells ('P01')")


@pytest.mark.slow
def test_a_file_that_is_not_clear_is_said_with_the_options_that_make_it_so(file, tmp_path):
    adata = ad.read_h5ad(file)
    adata.obs = adata.obs.rename(columns={"gene_target": "mine"})
    adata.write_h5ad(tmp_path / "a.h5ad")
    for command in ("init", "run", "measure", "split", "fit", "evaluate"):
        to = () if command == "evaluate" else ("-o", tmp_path / "out")
        _, said = call(command, tmp_path / "a.h5ad", *to, code=2)
        assert "'mine' (13 values" in said
        assert said.endswith("--perturbation-key mine --control NT\n")
    advised = ("--perturbation-key", "mine", "--control", "NT")
    call("init", tmp_path / "a.h5ad", *advised, "-o", tmp_path / "a.yaml")
    adata.obs["treatment"] = np.where(np.arange(adata.n_obs) % 2, "DMSO", "drug")
    adata.obs = adata.obs.rename(columns={"mine": "gene_target"})
    adata.write_h5ad(tmp_path / "two.h5ad")
    _, said = call("run", tmp_path / "two.h5ad", "-o", tmp_path / "out", code=2)
    both = "--perturbation-key gene_target --control NT or --perturbation-key treatment"
    assert f"{both} --control DMSO" in said
    adata.obs["gene_target"] = adata.obs["gene_target"].astype(str).replace("NT", "AAVS1")
    del adata.obs["treatment"]
    adata.write_h5ad(tmp_path / "odd.h5ad")
    _, said = call(
        "run", tmp_path / "odd.h5ad", "--perturbation-key", "gene_target", "-o", "x", code=2
    )
    assert "which labels of obs['gene_target'] are controls?" in said
    assert said.endswith("--perturbation-key gene_target --control AAVS1\n")
    assert not (tmp_path / "out").exists()


def test_several_predictions_or_none_are_asked_for(file, tmp_path):
    _, said = call("evaluate", file, code=2)
    assert "the file holds predictions of shoal: none. Say which one, --prediction name" in said


# -- config files ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("perturbation-kye: a", "Did you mean 'perturbation_key'"),
        ("contrl: NT", "Did you mean 'control'"),
        ("debug: true", "'debug' is not in the options"),
        ("just words", "must hold lines such as"),
        ("a: [", "is not YAML"),
        ("by: [context, dose]", "by takes one value, not the list ['context', 'dose']"),
        ("control: {a: b}", "control must be a number, a text or a list of these"),
        ("control: NT\ncontrol: DMSO", "'control' is there twice"),
        ("batch-key: a\nbatch_key: b", "'batch_key' is there twice"),
        (None, "no such config file"),
    ],
)
def test_a_config_that_cannot_be_used(file, tmp_path, text, said):
    path = tmp_path / "shoal.yaml"
    if text is not None:
        path.write_text(text)
    _, found = call("run", file, "-o", tmp_path / "out", "--config", path, code=2)
    [line] = found.splitlines()
    assert line.startswith("error: ")
    assert said in line
    assert path.name in line
    assert not (tmp_path / "out").exists()


def test_values_of_a_config_are_checked_as_options_are(file, tmp_path):
    (tmp_path / "shoal.yaml").write_text("seed: -1\nout: out\n")
    _, said = call("run", file, "--config", tmp_path / "shoal.yaml", code=2)
    assert "--seed" in said
    (tmp_path / "shoal.yaml").write_text("missing: drop\nout: out\n")
    _, said = call("run", file, "--config", tmp_path / "shoal.yaml", code=2)
    assert "'drop' is not one of" in " ".join(said.split())


@pytest.mark.parametrize("share", ["20", "20%", "0,2", "1.5"])
def test_a_share_that_is_none_is_said_with_one_that_is(file, tmp_path, share):
    _, said = call("split", file, "-o", tmp_path / "s.h5ad", "--test", share, code=2)
    assert "a share is a number between 0 and 1, such as 0.2" in said


@pytest.mark.parametrize("label", ["NO", "on", "007", "1e3", "1_000", "2020-01-01", "0x1F"])
def test_labels_of_a_config_are_taken_as_they_are_written(file, tmp_path, label):
    """YAML would read a truth value, a number or a date."""
    adata = ad.read_h5ad(file)
    labels = adata.obs["gene_target"].astype(str).replace({"NT": label, "P01": str(int("7"))})
    adata.obs["gene_target"] = labels
    adata.write_h5ad(tmp_path / "a.h5ad")
    config = tmp_path / "shoal.yaml"
    config.write_text(f"file: a.h5ad\nperturbation_key: gene_target\ncontrol: {label}\n")
    told, _ = call("split", "--config", config, "-o", tmp_path / "s.h5ad", "--test", "P02")
    assert told.startswith("held out: 1 conditions")
    assert list(ad.read_h5ad(tmp_path / "s.h5ad").uns["shoal"]["control"]) == [label]


def test_paths_in_a_config_are_beside_it(file, tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "mine.h5ad").write_bytes(file.read_bytes())
    config = tmp_path / "deep" / "shoal.yaml"
    call("init", tmp_path / "deep" / "mine.h5ad", "-o", config)
    told, _ = call("split", "--config", config, "-o", tmp_path / "s.h5ad", "--json")
    assert json.loads(told)["by"] == "perturbation"
    _, said = call("init", tmp_path / "deep" / "mine.h5ad", "-o", config, code=2)
    assert f"{config} exists; --overwrite replaces it" in said


@pytest.mark.slow
def test_several_files_are_samples_of_one_screen(file, tmp_path):
    adata = ad.read_h5ad(file)
    for i in (0, 1):
        adata[i::2].copy().write_h5ad(tmp_path / f"lane{i}.h5ad")
    lanes, config = [tmp_path / f"lane{i}.h5ad" for i in (0, 1)], tmp_path / "shoal.yaml"
    call("init", *lanes, "-o", config)
    proposed = yaml.safe_load(config.read_text())
    assert proposed["file"] == ["lane0.h5ad", "lane1.h5ad"]
    assert proposed["batch_key"] == "sample"
    out = tmp_path / "out"
    told, _ = call("measure", "--config", config, "-o", out, "--n-draws", 5, "--json")
    found = json.loads(told)
    assert found["cells"] == adata.n_obs
    assert 0 <= found["responding"] <= found["perturbations"] == 12
    assert str(out / "screen.h5ad") in found["files"]
    adata = ad.read_h5ad(out / "screen.h5ad")
    assert set(adata.obs["sample"]) == {"lane0", "lane1"}
    told, said = call("evaluate", "--config", config, code=2)  # takes one file
    assert "file takes one value, not the list" in said


# -- what is wrong ------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["run", "measure", "split", "fit", "evaluate"])
def test_a_negative_seed_is_called_by_its_option(file, tmp_path, command):
    to = () if command == "evaluate" else ("-o", tmp_path / "out")
    _, said = call(command, file, *to, "--seed", -1, code=2)
    assert "--seed" in said
    assert "rng" not in said


def test_files_are_not_overwritten_unasked(file, tmp_path):
    other = tmp_path / "other.h5ad"
    other.write_text("kept")
    _, said = call("split", file, "-o", other, code=2)
    assert f"{other} exists; --overwrite replaces it" in said
    _, said = call("split", file, "-o", file, "--overwrite", code=2)
    assert "is the file that is read; name another one" in said
    _, said = call("split", file, "-o", tmp_path, code=2)
    assert "is a folder; name a file to write, such as" in said
    assert other.read_text() == "kept"
    assert [path.name for path in tmp_path.iterdir()] == ["other.h5ad"]


def test_errors_as_json(file, tmp_path):
    told, said = call("split", file, "-o", tmp_path / "s.h5ad", "--by", "guides", "--json", code=2)
    found = json.loads(told)
    assert found["exit_code"] == 2
    assert f"error: {found['error']}" == said.splitlines()[-1]
    assert "--by guides is not known" in found["error"]


def test_a_summary_is_json_whatever_it_holds():
    text = as_json({"a": np.float32(1.5), "b": np.nan, "c": (np.int64(2), "x"), "d": {1: np.inf}})
    assert json.loads(text) == {"a": 1.5, "b": None, "c": [2, "x"], "d": {"1": None}}


def test_a_config_file_advises_options_too(file, tmp_path):
    adata = ad.read_h5ad(file)
    labels = adata.obs["gene_target"].astype(str).replace({"P01": "P1x+P2x"})
    adata.obs["gene_target"] = labels
    adata.write_h5ad(tmp_path / "plus.h5ad")
    call("init", tmp_path / "plus.h5ad", "-o", tmp_path / "plus.yaml")
    text = " ".join((tmp_path / "plus.yaml").read_text().replace("#", " ").split())
    assert "are read as whole names" in text
    assert "--sep +" in text
    assert "sh.pp" not in text
