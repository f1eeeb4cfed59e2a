"""Measure, predict and judge the responses of perturbation screens, from the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ._command import Outcome, command
from ._console import given, lines, say, share_or_names
from ._options import (
    Accept,
    Backed,
    Baselines,
    By,
    Controls,
    Genes,
    H5ad,
    Jobs,
    Labels,
    Measuring,
    Mod,
    Name,
    NewConfig,
    NewModel,
    NewScreen,
    Normalize,
    Option,
    Out,
    OutIfAny,
    Overwrite,
    Page,
    Predicted,
    Preset,
    Reading,
    Results,
    Screen,
    Screens,
    Seed,
    Slot,
    Spec,
    Split,
    Suite,
    Test,
    Text,
    Title,
    Trained,
    Trust,
    Val,
    Vcc,
    Vectors,
)

app = typer.Typer(
    help=__doc__, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False
)


def _version(asked: bool) -> None:  # noqa: FBT001 (typer calls it)
    if asked:
        from . import __version__

        typer.echo(f"shoal {__version__}")
        raise typer.Exit


@app.callback()
def program(
    *,
    version: Annotated[
        bool, Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Measure, predict and judge the responses of perturbation screens, from the command line."""


@command(app)
def init(
    file: Screens,
    *,
    reading: Reading,
    to: NewConfig = Path("shoal.yaml"),
    overwrite: Overwrite = False,
) -> Outcome:
    """Look at a screen and write a config file with what was recognised, and why."""
    from ._proposal import propose

    return propose(file, reading, to, overwrite=overwrite)


@command(app, goes_on=True)
def run(
    file: Screens,
    *,
    reading: Reading,
    out: Out,
    measuring: Measuring,
    by: By = None,
    test: Test = None,
    accept: Accept = None,
    preset: Preset = "fast",
    vectors: Vectors = None,
    baselines: Baselines = None,
    title: Title = None,
    seed: Seed = 0,
    overwrite: Overwrite = False,
) -> Outcome:
    """Go the whole way: measure, split, predict, judge and report, with a verdict in words."""
    from . import _journey, _steps

    adata = reading.read(file)
    journey = _journey.run(
        adata,
        out,
        by=by,
        test=share_or_names(test),
        accept=accept or (),
        preset=preset or "fast",
        embedding=_steps.embedded(adata, vectors),
        measure=measuring.options(seed),
        evaluate=given({"baselines": baselines}),
        title=title,
        seed=seed,
        overwrite=overwrite,
        say=say,
    )
    files = [str(path) for path in journey.files]
    summary = {"verdict": journey.verdict, "lines": journey.lines, **journey.summary}
    page = out / _journey.PAGE
    last = f"report: {page}" if page in journey.files else f"written: {out}"
    text = "\n".join([journey.verdict, *journey.lines, last])
    return Outcome(text, summary | {"files": files})


@command(app)
def measure(
    file: Screens,
    *,
    reading: Reading,
    out: Out,
    measuring: Measuring,
    seed: Seed = 0,
    backed: Backed = False,
    h5ad: H5ad = True,
) -> Outcome:
    """Measure how large and coherent every response is; write tables, pictures and an h5ad."""
    from . import _report
    from ._staging import staged

    with staged(out) as folder:
        adata = reading.read(file, backed=backed)
        failed = _report.analyse(adata, measuring.options(seed), say)
        say("writing tables and pictures")
        failed |= _report.write(adata, folder, h5ad=_report.SCREEN if h5ad else None)
        files = [str(out / path.name) for path in sorted(folder.iterdir())]
    _report.complain(failed, out)
    say(f"done: {out}")
    return Outcome(summary=_report.numbers(adata) | {"files": files})


@command(app)
def split(
    file: Screens,
    *,
    reading: Reading,
    to: NewScreen,
    by: By = None,
    test: Test = None,
    val: Val = None,
    n_folds: Annotated[int | None, Option(help="Folds that all units are dealt into.")] = None,
    fold: Annotated[int | None, Option(help="Fold that is the test, from 0.")] = None,
    parts_seen: Annotated[
        int | None, Option(help="Parts of a combination that training sees alone.")
    ] = None,
    zero_shot: Annotated[
        bool, Option("--zero-shot", help="Contexts of which only controls are given.")
    ] = False,
    well_key: Annotated[Text, Option(help="Column with the position on the plate.")] = None,
    accept: Accept = None,
    seed: Seed = 0,
    overwrite: Overwrite = False,
) -> Outcome:
    """Hold out conditions for the test, and check that nothing leaks."""
    from . import _steps

    options = {"n_folds": n_folds, "fold": fold, "parts_seen": parts_seen, "well_key": well_key}
    options |= {"test": share_or_names(test), "val": share_or_names(val), "accept": accept}
    options = given(options) | {"zero_shot": zero_shot, "rng": seed, "overwrite": overwrite}
    with _steps.new_file(to, *file, overwrite=overwrite) as path:
        return _steps.divide(reading.read(file), path, to, by=by, **options)


@command(app, goes_on=False)
def fit(
    file: Screens,
    *,
    reading: Reading,
    to: NewModel,
    model: Annotated[str, Option(help="Name of the model, as shoal.models.available lists.")] = (
        "auto"
    ),
    preset: Preset = None,
    vectors: Vectors = None,
    normalize: Normalize = None,
    layer: Annotated[Text, Option(help="Layer to learn instead of X.")] = None,
    use_rep: Annotated[Text, Option(help="Slot of obsm to learn instead of X.")] = None,
    max_steps: Annotated[int | None, Option(min=1, help="Training steps of a network.")] = None,
    calibrate: Annotated[
        bool,
        Option("--calibrate", help="Learn how far off it is, for intervals; auto always does."),
    ] = False,
    accept: Accept = None,
    seed: Seed = 0,
    overwrite: Overwrite = False,
) -> Outcome:
    """Train a model on what is not held out, and save it."""
    from . import _steps

    options = {"preset": preset, "layer": layer, "use_rep": use_rep, "max_steps": max_steps}
    options = given(options | {"accept": accept}) | {"rng": seed, "calibrate": calibrate}
    adata = _steps.normalised(reading.read(file), normalize)
    return _steps.learn(adata, model, to, vectors=vectors, overwrite=overwrite, **options)


@command(app)
def predict(
    file: Screen,
    model: Trained,
    *,
    reading: Reading,
    to: NewScreen,
    key_added: Name = None,
    subset: Annotated[Text, Option(help="Value of obs['split'] to predict; all if left out.")] = (
        None
    ),
    counts: Annotated[bool, Option("--counts", help="Predict counts.")] = False,
    interval: Annotated[
        float | None, Option(help="Level of intervals of every gene's response, as 0.9.")
    ] = None,
    pooled: Annotated[bool, Option("--pooled", help="Intervals over all genes together.")] = False,
    normalize: Normalize = None,
    seed: Seed = 0,
    overwrite: Overwrite = False,
) -> Outcome:
    """Write a predicted cell beside every perturbed cell of a screen."""
    from . import _steps

    options = given({"key_added": key_added, "subset": subset, "interval": interval})
    options |= {"counts": counts, "pooled": pooled, "rng": seed, "overwrite": overwrite}
    with _steps.new_file(to, file, overwrite=overwrite) as path:
        adata = _steps.normalised(reading.read(file), normalize)
        return _steps.foresee(adata, model, path, to, **options)


@command(app)
def evaluate(
    file: Screen,
    predicted: Predicted = None,
    *,
    reading: Reading,
    prediction: Name = None,
    suite: Suite = "calibrated",
    metrics: Annotated[list[str] | None, Option(help="Metric to compute; repeat it.")] = None,
    baselines: Baselines = None,
    split: Split = None,
    layer: Annotated[Text, Option(help="Layer of the real values; X.")] = None,
    normalize: Normalize = None,
    vectors: Vectors = None,
    reference: Annotated[Text, Option(help="Baseline that the score is measured from.")] = None,
    min_cells: Annotated[int | None, Option(help="Fewest cells of a condition, 20.")] = None,
    n_comps: Annotated[int | None, Option(help="Components of the metrics in these, 50.")] = None,
    n_draws: Annotated[int | None, Option(help="How often cells are cut in halves, 5.")] = None,
    accept: Accept = None,
    seed: Seed = 0,
    out: OutIfAny = None,
    h5ad: H5ad = True,
) -> Outcome:
    """Judge a prediction, in the file or in another one, and print the result."""
    from . import _steps

    options = {"suite": suite, "metrics": metrics, "baselines": baselines, "split": split}
    options |= {"layer": layer, "reference": reference, "min_cells": min_cells}
    options = given(options | {"n_comps": n_comps, "n_draws": n_draws, "accept": accept})
    adata = _steps.normalised(reading.read(file), normalize)
    options |= {"embedding": _steps.embedded(adata, vectors), "rng": seed}
    return _steps.judge(adata, prediction or predicted, out, h5ad=h5ad, **options)


@command(app)
def report(
    file: Results,
    *,
    to: Page,
    mod: Mod = None,
    title: Title = None,
    coherence_key: Slot = None,
    evaluation_key: Slot = None,
    leaderboard_key: Slot = None,
    image_evaluation_key: Slot = None,
) -> Outcome:
    """Write the results that a file holds as one HTML page that works offline."""
    from . import tl
    from ._h5ad import read

    say(f"reading {file}")
    keys = {
        "coherence_key": coherence_key,
        "evaluation_key": evaluation_key,
        "leaderboard_key": leaderboard_key,
        "image_evaluation_key": image_evaluation_key,
    }
    adata = read(file, backed=True, mod=mod)
    path = tl.report(adata, out=to, title=title, **keys)
    say(f"done: {path} ({path.stat().st_size / 1e6:.1f} MB)")
    return Outcome(summary={"file": str(path), "bytes": path.stat().st_size})


@command(app)
def export(
    file: Screen,
    *,
    vcc: Vcc,
    reading: Reading,
    prediction: Annotated[Text, Option(help="Name of the prediction; predicted, or X.")] = None,
    controls: Controls = None,
    layer: Annotated[Text, Option(help="Layer with measured counts of control cells.")] = None,
    context: Annotated[Text, Option(help="Context to write.")] = None,
    dose: Annotated[float | None, Option(help="Dose to write.")] = None,
    genes: Genes = None,
    perturbations: Labels = None,
    perturbation_column: Annotated[Text, Option(help="Column of labels; target.")] = None,
    control_label: Annotated[Text, Option(help="Label of controls; non-targeting.")] = None,
    overwrite: Overwrite = False,
) -> Outcome:
    """Write predicted counts for other tools: what the scorer of the 2026 challenge takes."""
    from . import io

    adata = reading.read(file, backed=True)
    cells = {
        "controls": None if controls is None else reading.read(controls, backed=True),
        "genes": lines(genes),
        "perturbations": lines(perturbations),
    }
    named = {"prediction": prediction, "layer": layer, "context": context, "dose": dose}
    named |= {"perturbation_column": perturbation_column, "control_label": control_label}
    path = io.write_predictions(adata, vcc, overwrite=overwrite, **cells, **given(named))
    say(f"done: {path} ({path.stat().st_size / 1e6:.1f} MB)")
    return Outcome(summary={"file": str(path), "bytes": path.stat().st_size})


@command(app, goes_on=True)
def benchmark(
    spec: Spec,
    *,
    out: Out,
    jobs: Jobs = 1,
    inner: Annotated[
        int | None, Option(help="Inner folds of training, for models with tune.")
    ] = None,
    retry: Annotated[bool, Option("--retry", help="Try again what failed.")] = False,
    trust: Trust = False,
) -> Outcome:
    """Train and judge models, pass over what is done already, and print the leaderboard."""
    from .benchmark._run import leaderboard

    text = leaderboard(spec, folder=out, jobs=jobs, inner=inner, retry=retry, trust=trust)
    return Outcome(text, {"leaderboard": text, "folder": str(out)})


@command(app)
def demo(
    *,
    out: Out = Path("demo"),
    quick: Annotated[bool, Option("--quick", help="The shipped screen alone, faster.")] = False,
) -> Outcome:
    """Measure, predict, judge and report a real screen that comes with shoal; needs no network."""
    from ._demo import run

    return Outcome(run(out, quick=quick, say=say))
