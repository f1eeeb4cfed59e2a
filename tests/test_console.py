"""Whatever happens, a command ends in one line; advice for Python is given as options that exist."""

from __future__ import annotations

import inspect
import logging
import re
import shlex
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import typer
from typer.testing import CliRunner

import shoal as sh
from shoal import _demo, _journey, _report
from shoal._advice import in_options
from shoal.benchmark import _run
from shoal.cli import app

runner = CliRunner()
ROOT = Path(__file__).parents[1]
NEEDED = ["--perturbation-key", "perturbation", "--control", "control", "--n-draws", "5"]


@pytest.fixture(scope="module")
def screen(tmp_path_factory):
    """A small log-normalised screen with two batches, as a file."""
    adata = sh.ds.simulate(
        n_perturbations=3, n_cells=40, n_control=120, n_genes=40, effect_size=8.0, rng=0
    )
    del adata.uns["shoal"], adata.uns["truth"]
    sh.pp.prepare(adata, "perturbation", control="control", normalize="log1p", n_comps=5)
    path = tmp_path_factory.mktemp("screen") / "small.h5ad"
    adata.write_h5ad(path)
    return path


def commands(screen, out):
    """Every command with its arguments, and where its work is done."""
    spec = out.with_name("spec.yaml")
    spec.write_text("{}")
    model, labelled = str(out.with_name("model")), [str(screen), *NEEDED[:4], "-o", str(out)]
    return {
        "init": (labelled, sh.io, "read"),
        "run": ([*labelled, *NEEDED[4:]], _journey, "run"),
        "measure": ([*labelled, *NEEDED[4:]], _report, "analyse"),
        "split": ([*labelled, "--by", "perturbation"], sh.pp, "split"),
        "fit": (labelled, sh.tl, "fit"),
        "predict": ([labelled[0], model, *labelled[1:]], sh.models, "load"),
        "evaluate": ([str(screen), str(screen), *labelled[1:]], sh.tl, "evaluate"),
        "export": ([*labelled[:-2], "--vcc", str(out)], sh.io, "write_predictions"),
        "report": ([str(screen), "-o", str(out)], sh.tl, "report"),
        "benchmark": ([str(spec), "-o", str(out)], _run, "leaderboard"),
        "demo": (["--quick", "-o", str(out)], _demo, "run"),
    }


ALL = [one.name or one.callback.__name__ for one in app.registered_commands]


def test_every_command_is_tested(screen, tmp_path):
    assert sorted(ALL) == sorted(commands(screen, tmp_path / "out"))


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("a\nb"),
        ZeroDivisionError(),
        KeyError("gone"),
        np.linalg.LinAlgError("singular"),
        MemoryError(),
        OSError(28, "No space left on device"),
        Exception("of a library"),
    ],
    ids=lambda e: type(e).__name__,
)
@pytest.mark.parametrize("command", ALL)
def test_any_error_is_one_line(screen, tmp_path, monkeypatch, command, error):
    arguments, module, function = commands(screen, tmp_path / "out")[command]

    def fails(*args, **more):
        raise error

    monkeypatch.setattr(module, function, fails)
    result = runner.invoke(app, [command, *arguments])
    assert result.exit_code == (2 if isinstance(error, KeyError) else 1)
    assert "Traceback" not in result.output
    [line] = [text for text in result.stderr.splitlines() if text.startswith("error: ")]
    assert line == result.stderr.splitlines()[-1]
    assert len(line) > len("error: ")
    assert not list(tmp_path.rglob(".shoal-*"))
    shown = runner.invoke(app, [command, *arguments, "--debug"])
    assert shown.exception is error


@pytest.mark.parametrize("command", ALL)
def test_ctrl_c_is_one_line(screen, tmp_path, monkeypatch, command):
    arguments, module, function = commands(screen, tmp_path / "out")[command]

    def stops(*args, **more):
        raise KeyboardInterrupt

    monkeypatch.setattr(module, function, stops)
    result = runner.invoke(app, [command, *arguments])
    assert result.exit_code == 130
    end = "the same command goes on from here"
    if command not in ("run", "benchmark"):
        end = "nothing half-written is left"
    assert result.stderr.splitlines()[-1] == f"interrupted; {end}"


@pytest.mark.parametrize("command", ALL)
def test_an_unknown_option_is_an_error_of_usage(command):
    assert runner.invoke(app, [command, "--no-such-option"]).exit_code == 2


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("pass strata=None to pool", "pass --strata none to pool"),
        (
            "leave them out with sh.pp.annotate(..., missing='ignore')",
            "leave them out with --missing ignore",
        ),
        (
            "call sh.pp.prepare(adata, normalize='log1p'), or",
            "give --normalize log1p, or",
        ),
        ("Pass control= with the label(s)", "Pass --control with the label(s)"),
        ("pass control=['a b', 'c']", "pass --control 'a b' --control c"),
        ("pass control=('a', 'c')", "pass --control a --control c"),
        ("Pass control=...; no label", "Pass --control ...; no label"),
        ("sep='' splits nothing", "--sep '' splits nothing"),
        ("set n_top_genes=None.", "set --n-top-genes none."),
        ("min_cells must be a whole number", "--min-cells must be a whole number"),
        ("another rng=1", "another --seed 1"),
        ("rng must be a seed, not -1", "--seed must be a seed, not -1"),
        ("pass embedding= (see sh.pp.embed)", "pass --vectors (see sh.pp.embed)"),
        (
            "as in sh.io.read('a.h5ad', 'gene', control=['NT', 'safe'])",
            "as in --perturbation-key gene --control NT --control safe",
        ),
        ("if you know it, pass trust=True", "if you know it, pass --trust"),
        ("fit_on='train' has no option", "fit_on='train' has no option"),
        ("call sh.tl.coherence(adata) first", "run shoal measure first"),
        ("Call sh.pp.split(adata) before", "Run shoal split before"),
        ("with sh.tl.predict(adata, model, counts=True)", "with shoal predict --counts"),
        ("model.save(folder) writes it", "shoal fit writes it"),
        ("(sh.pp.split) and sh.ds.load('a')", "(sh.pp.split) and sh.ds.load('a')"),
        ("'min_cells' is not in adata.obs", "'min_cells' is not in adata.obs"),
        ("adata.obs['batch_key'] and x.min_cells", "adata.obs['batch_key'] and x.min_cells"),
    ],
)
def test_advice_for_python_is_given_as_options(text, expected):
    options = ["strata", "missing", "normalize", "control", "sep", "n_top_genes", "min_cells"]
    assert (
        in_options(text, [*options, "seed", "trust", "batch_key", "perturbation_key", "vectors"])
        == expected
    )


OTHERWISE = {"rng": "seed", "embedding": "vectors", "adata": "file", "data": "file", "path": "file"}
NOT_OFFERED = {  # arguments that are for Python: tables, further settings of networks, fixed ones
    "key_added",
    "mod",
    "out",
    "backed",
    "training",
    "tune",
    "inner",
    "context_embedding",
    "options",
    "overwrite",
}


@pytest.mark.parametrize(
    ("command", "function"),
    [
        ("init", sh.io.read),
        ("run", sh.io.read),
        ("export", sh.io.read),
        ("split", sh.pp.split),
        ("fit", sh.tl.fit),
        ("predict", sh.tl.predict),
        ("evaluate", sh.tl.evaluate),
        ("export", sh.io.write_predictions),
        ("report", sh.tl.report),
    ],
)
def test_what_messages_advise_is_an_option(command, function):
    """A message may name any argument of a function: the command that calls it has them all."""
    arguments = set(inspect.signature(function).parameters) - NOT_OFFERED
    wanted = {OTHERWISE.get(name, name).replace("_", "-") for name in arguments}
    assert wanted <= options_of(command) | {"file"}


def test_commands_of_the_pages_exist():
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("[!_]*/*.md")]
    blocks = [
        block
        for page in pages
        for block in re.findall(r"```bash\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    ]
    text = "\n".join(blocks).replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line.strip().startswith("shoal ")]
    assert len(lines) > 10
    for line in lines:
        _, command, *words = shlex.split(line, comments=True)
        assert command in ALL, line
        used = {word.lstrip("-").split("=")[0] for word in words if word.startswith("-")}
        assert used <= options_of(command), line


def write(screen, path, change):
    """Write the screen with something wrong."""
    import anndata as ad

    adata = ad.read_h5ad(screen)
    adata = change(adata)
    adata.write_h5ad(path)
    return str(path)


def without_controls_of_a_batch(adata):
    return adata[
        ~(
            (adata.obs["perturbation"] == "control")
            & (adata.obs["batch"] == adata.obs["batch"].iloc[-1])
        )
    ].copy()


def with_missing_labels(adata):
    column = adata.obs["perturbation"].astype(object)
    column.iloc[:5] = np.nan
    adata.obs["perturbation"] = pd.Categorical(column)
    return adata


def as_counts(adata):
    adata.X = adata.layers["counts"].copy()
    del adata.obsm["X_pca"]
    adata.uns.pop("log1p", None)
    return adata


def scored(adata):
    adata.X = np.random.default_rng(0).normal(size=adata.shape).astype(np.float32)
    del adata.obsm["X_pca"]
    return adata


@pytest.mark.parametrize(
    ("change", "more"),
    [
        (without_controls_of_a_batch, ["--batch-key", "batch"]),
        (with_missing_labels, []),
        (scored, ["--n-top-genes", "20"]),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_the_advice_of_an_error_can_be_followed(screen, tmp_path, change, more):
    path = write(screen, tmp_path / "wrong.h5ad", change)
    arguments = ["measure", path, *NEEDED, *more, "--no-h5ad", "-o", str(tmp_path / "out")]
    first = runner.invoke(app, arguments)
    assert first.exit_code == 2
    error = first.stderr.splitlines()[-1]
    advised = re.findall(r"--([a-z][\w-]+) ('[^']*'|[\w-]+)(?=[\s.,;)]|$)", error)
    assert advised, error
    assert {name for name, _ in advised} <= options_of("measure")
    name, value = advised[0]
    second = runner.invoke(app, [*arguments, f"--{name}", *shlex.split(value)])
    assert second.exit_code == 0, (error, second.stderr)


def options_of(command):
    """Names of the options of a command."""
    found = typer.main.get_command(app).commands[command]
    return {option.lstrip("-") for one in found.params for option in one.opts}


def test_the_options_are_handed_on(screen, tmp_path):
    import anndata as ad

    arguments = ["measure", str(screen), *NEEDED, "-o", str(tmp_path), "--batch-key", "batch"]
    options = "--sep & --missing ignore --strata none"
    result = runner.invoke(app, [*arguments, *options.split(), "--use-rep", "X_pca"])
    assert result.exit_code == 0, result.stderr
    adata = ad.read_h5ad(tmp_path / "screen.h5ad")
    assert adata.uns["shoal"]["sep"] == "&"
    assert adata.uns["shoal"]["missing"] == "ignore"
    assert adata.uns["coherence"]["params"]["strata"] == ""
    result = runner.invoke(app, [*arguments, "--strata", "batch", "--n-top-genes", "x"])
    assert result.exit_code == 2
    result = runner.invoke(app, [*arguments, "--strata", "batch"])
    assert result.exit_code == 0, result.stderr
    adata = ad.read_h5ad(tmp_path / "screen.h5ad")
    assert adata.uns["coherence"]["params"]["strata"] == "batch"


def test_replicates_are_named_or_left_out(screen, tmp_path):
    import anndata as ad

    arguments = ["measure", str(screen), *NEEDED, "-o", str(tmp_path), "--guide-key", "guide"]
    for more, used, said in [
        ([], "guide", "by replicates (guide)"),
        (
            ["--replicate-key", "batch"],
            "batch",
            "warning: nothing can be said by replicates of 'batch'",
        ),
        (["--replicate-key", "none"], "", "by cells\n"),
    ]:
        result = runner.invoke(app, [*arguments, *more])
        assert result.exit_code == 0, result.stderr
        assert said in result.stderr
        adata = ad.read_h5ad(tmp_path / "screen.h5ad")
        assert adata.uns["coherence"]["params"]["replicate_key"] == used
    wrong = runner.invoke(app, [*arguments, "--replicate-key", "perturbation"])
    assert wrong.exit_code == 2
    assert wrong.stderr.endswith("or --replicate-key none\n")


def test_depth_to_normalise_by_is_not_the_depth_to_adjust_for(screen, tmp_path):
    import anndata as ad

    def with_depth(adata):
        adata = as_counts(adata)
        adata.obs["whole"] = 2.0 * np.asarray(adata.X.sum(axis=1)).ravel()
        adata.obs["none"] = 0.0
        return adata

    path = write(screen, tmp_path / "panel.h5ad", with_depth)
    arguments = ["measure", path, *NEEDED, "-o", str(tmp_path), "--normalize", "log1p"]
    result = runner.invoke(app, [*arguments, "--prepare-depth-key", "whole"])
    assert result.exit_code == 0, result.stderr
    adata = ad.read_h5ad(tmp_path / "screen.h5ad")
    assert adata.uns["pca"]["params"]["depth_key"] == "whole"
    assert adata.uns["coherence"]["params"]["depth_key"] in (None, "")
    result = runner.invoke(app, [*arguments, "--depth-key", "whole"])
    assert result.exit_code == 0, result.stderr
    adata = ad.read_h5ad(tmp_path / "screen.h5ad")
    assert adata.uns["pca"]["params"]["depth_key"] == ""
    assert adata.uns["coherence"]["params"]["depth_key"] == "whole"
    wrong = runner.invoke(app, [*arguments, "--prepare-depth-key", "none"])
    assert wrong.exit_code == 2
    assert "error: --prepare-depth-key: " in wrong.stderr


def test_sizes_of_pseudo_perturbations(screen, tmp_path):
    arguments = ["measure", str(screen), *NEEDED, "-o", str(tmp_path), "--no-h5ad"]
    result = runner.invoke(app, [*arguments, "--n-cells", "10", "--n-cells", "25"])
    assert result.exit_code == 0, result.stderr
    assert set(pd.read_csv(tmp_path / "null.csv")["n_cells"]) - {0} == {10, 25}
    assert runner.invoke(app, [*arguments, "--n-cells", "1"]).exit_code == 2


def test_no_notice_is_written_by_another_handler_too(screen, tmp_path, monkeypatch):
    """Other libraries, such as mudata, give the root logger a handler that writes to stderr."""
    said = []
    handler = logging.Handler()
    monkeypatch.setattr(handler, "emit", lambda record: said.append(record.getMessage()))
    monkeypatch.setattr(logging.getLogger(), "handlers", [handler])
    result = runner.invoke(app, ["init", str(screen), "-o", str(tmp_path / "a.yaml")])
    assert "control cells" in result.stderr
    assert not [one for one in said if "control cells" in one]
    assert logging.getLogger("shoal").propagate


def test_notices_are_lines_with_options_each_once(screen, tmp_path):
    def joined_by_another(adata):
        names = {"P1": "GATA1_KLF1", "P2": "GATA1", "P3": "KLF1"}
        adata.obs["perturbation"] = adata.obs["perturbation"].astype(str).replace(names)
        return adata

    path = write(screen, tmp_path / "joined.h5ad", joined_by_another)
    arguments = ["measure", path, *NEEDED, "-o", str(tmp_path), "--no-h5ad"]
    result = runner.invoke(app, arguments)
    assert result.exit_code == 0, result.stderr
    [line] = [one for one in result.stderr.splitlines() if "look like combinations" in one]
    assert line.startswith("warning: ")
    assert "--sep _" in line
    assert "sh.pp" not in line
    assert "look like" not in runner.invoke(app, [*arguments, "--sep", "_"]).stderr


@pytest.mark.parametrize(
    ("more", "unused"),
    [
        (["--n-comps", "4"], "--n-comps 4"),
        (["--n-top-genes", "none"], "--n-top-genes none"),
        (["--layer", "counts", "--target-sum", "10"], "--target-sum 10.0"),
        (["--use-rep", "X", "--normalize", "log1p"], "--normalize log1p"),
        (["--use-rep", "X", "--prepare-depth-key", "batch"], "--prepare-depth-key batch"),
    ],
)
def test_what_would_not_be_used_is_refused(screen, tmp_path, more, unused):
    arguments = ["measure", str(screen), *NEEDED, "-o", str(tmp_path / "out"), *more]
    result = runner.invoke(app, arguments)
    assert result.exit_code == 2
    assert f"error: {unused}: this is for a PCA that is made here" in result.stderr
    assert not (tmp_path / "out").exists()


def test_the_pca_is_made_as_said(screen, tmp_path):
    import anndata as ad

    path = write(screen, tmp_path / "counts.h5ad", as_counts)
    arguments = ["measure", path, *NEEDED, "-o", str(tmp_path), "--normalize", "log1p"]
    more = ["--n-comps", "4", "--n-top-genes", "30", "--target-sum", "100"]
    result = runner.invoke(app, [*arguments, *more])
    assert result.exit_code == 0, result.stderr
    adata = ad.read_h5ad(tmp_path / "screen.h5ad")
    assert adata.obsm["X_pca"].shape[1] == 4
    assert 30 <= adata.var["highly_variable"].sum() < 40  # of 40 genes; ties are kept
    assert np.expm1(adata.X.toarray()).sum(1) == pytest.approx(100, rel=1e-4)


def with_counts(adata):
    """Add a prediction of counts."""
    adata.layers["p"] = adata.layers["counts"].copy()
    return adata


def test_counts_for_the_challenge(screen, tmp_path):
    import anndata as ad

    path, out = write(screen, tmp_path / "p.h5ad", with_counts), tmp_path / "out.h5ad"
    adata, genes = ad.read_h5ad(path), tmp_path / "genes.csv"
    genes.write_text("\n".join(f'"{gene}",7' for gene in adata.var_names[[3, 1]]) + "\n\n")
    (tmp_path / "labels.txt").write_text("P3\nP1\n")
    arguments = ["export", path, "--vcc", str(out), "--prediction", "p", "--genes", str(genes)]
    arguments += NEEDED[:4]
    more = ["--perturbations", str(tmp_path / "labels.txt"), "--control-label", "NT"]
    result = runner.invoke(app, [*arguments, *more, "--perturbation-column", "gene"])
    assert result.exit_code == 0, result.stderr
    assert result.stderr.splitlines()[-1].startswith(f"done: {out} (")
    made = ad.read_h5ad(out)
    assert list(made.var_names) == list(adata.var_names[[3, 1]])
    assert set(made.obs["gene"]) == {"P1", "P3", "NT"}
    again = runner.invoke(app, arguments)
    assert again.stderr.splitlines()[-1] == f"error: {out} exists; --overwrite replaces it"
    assert runner.invoke(app, [*arguments, "--overwrite"]).exit_code == 0
    apart = runner.invoke(app, [*arguments, "--overwrite", "--controls", path, "--layer", "counts"])
    assert apart.exit_code == 0, apart.stderr
    itself = runner.invoke(app, ["export", path, "--vcc", path, "--overwrite"])
    assert "is a file that is read" in itself.stderr
    genes.write_text("\n")
    assert "holds no name" in runner.invoke(app, [*arguments, "--overwrite"]).stderr


def test_logs_for_the_challenge(screen, tmp_path):
    result = runner.invoke(app, ["export", str(screen), "--vcc", str(tmp_path / "a.h5ad")])
    assert "error: 'predicted' is not in adata.layers" in result.stderr
    logs = ["--prediction", "X", *NEEDED[:4]]
    result = runner.invoke(app, ["export", str(screen), "--vcc", str(tmp_path / "a.h5ad"), *logs])
    [line] = [one for one in result.stderr.splitlines() if one.startswith("error: ")]
    assert "predict counts, with shoal predict --counts" in line
    assert list(tmp_path.iterdir()) == []


def test_a_report_of_results_under_other_names(screen, tmp_path):
    import anndata as ad

    for library in ("plotly", "itables", "jinja2"):
        pytest.importorskip(library, reason=f"{library}, of the extra report, is not installed")
    adata = ad.read_h5ad(screen)
    sh.tl.coherence(adata, "perturbation", control="control", key_added="mine")
    adata.write_h5ad(tmp_path / "mine.h5ad")
    arguments = ["report", str(tmp_path / "mine.h5ad"), "-o", str(tmp_path / "r.html")]
    result = runner.invoke(app, arguments)
    assert result.exit_code == 2
    assert "there is nothing to report" in result.stderr
    result = runner.invoke(app, [*arguments, "--coherence-key", "mine", "--title", "<b>T</b>"])
    assert result.exit_code == 0, result.stderr
    assert "<h1>&lt;b&gt;T&lt;/b&gt;</h1>" in (tmp_path / "r.html").read_text(encoding="utf-8")
