"""Measure, predict and judge the responses of perturbation screens, from the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from ._console import friendly, given, lines, say
from ._options import (
    Control,
    ControlIfAny,
    Controls,
    Debug,
    Depth,
    Gene,
    Genes,
    Guide,
    Jobs,
    Labels,
    Mod,
    Option,
    Out,
    Page,
    Predicted,
    Real,
    Replicate,
    Screen,
    Sizes,
    Slot,
    Spec,
    Split,
    Strata,
    Suite,
    Text,
    TopGenes,
    Trust,
    Vcc,
    Whole,
)

app = typer.Typer(
    help=__doc__, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False
)


@app.command()
@friendly
def coherence(
    file: Screen,
    *,
    perturbation_key: Annotated[str, Option(help="Column of obs with the perturbations.")],
    control: Control,
    out: Out,
    mod: Mod = None,
    batch_key: Annotated[Text, Option(help="Column with the technical batch.")] = None,
    context_key: Annotated[Text, Option(help="Column with the cell context.")] = None,
    dose_key: Annotated[Text, Option(help="Column with the dose.")] = None,
    guide_key: Guide = None,
    gene_key: Gene = None,
    missing: Annotated[
        Literal["raise", "ignore"] | None, Option(help="What cells without a label do.")
    ] = None,
    sep: Annotated[Text, Option(help="Text between the parts of a combination.")] = None,
    normalize: Annotated[
        Literal["log1p"] | None, Option(help="Normalise raw counts first.")
    ] = None,
    target_sum: Annotated[float | None, Option(help="Depth to normalise to.")] = None,
    prepare_depth_key: Whole = None,
    n_top_genes: TopGenes = None,
    n_comps: Annotated[int | None, Option(help="Components of the PCA, 50 unless given.")] = None,
    use_rep: Annotated[Text, Option(help="Slot of obsm, or X; X_pca, made if absent.")] = None,
    layer: Annotated[Text, Option(help="Layer to measure in, without a PCA.")] = None,
    strata: Strata = None,
    depth_key: Depth = None,
    replicate_key: Replicate = None,
    min_cells: Annotated[int, Option(help="Fewest cells of a perturbation that is tested.")] = 20,
    n_cells: Sizes = None,
    n_draws: Annotated[int, Option(help="Pseudo-perturbations of each size.")] = 400,
    seed: Annotated[int, Option(help="Seed of all randomness.")] = 0,
    backed: Annotated[bool, Option("--backed", help="Leave the matrix on disk.")] = False,
    h5ad: Annotated[bool, Option(help="Write FILE.coherence.h5ad, with all results.")] = True,
    debug: Debug = False,
) -> None:
    """Measure how coherent every response is; write h5ad, tables and pictures."""
    from . import _report, pp
    from ._h5ad import read
    from ._staging import staged

    columns = {"batch_key": batch_key, "context_key": context_key, "dose_key": dose_key}
    columns |= {"guide_key": guide_key, "gene_key": gene_key, "missing": missing, "sep": sep}
    fitted = {"normalize": normalize, "target_sum": target_sum, "n_comps": n_comps}
    fitted |= {"n_top_genes": n_top_genes, "depth_key": prepare_depth_key}
    measured = {"layer": layer, "strata": strata, "depth_key": depth_key}
    alone = {"min_cells": min_cells, "replicate_key": replicate_key}
    with staged(out) as folder:
        say(f"reading {file}")
        adata = read(file, backed=backed, mod=mod)
        pp.annotate(adata, perturbation_key, control=control, **given(columns))
        three = map(given, (fitted, measured, alone))
        options = _report.Options(*three, use_rep, n_cells, n_draws, seed)
        failed = _report.analyse(adata, options, say)
        say("writing tables and pictures")
        name = f"{file.stem}.coherence.h5ad" if h5ad else None
        failed |= _report.write(adata, folder, h5ad=name)
    _report.complain(failed, out)
    say(f"done: {out}")


@app.command()
@friendly
def evaluate(
    real: Real,
    prediction: Predicted,
    *,
    suite: Suite = "vcc2026",
    perturbation_key: Annotated[
        Text, Option(help="Column of perturbations, if not recorded.")
    ] = None,
    control: ControlIfAny = None,
    context_key: Annotated[Text, Option(help="Column with the cell context.")] = None,
    dose_key: Annotated[Text, Option(help="Column with the dose.")] = None,
    gene_key: Gene = None,
    layer: Annotated[Text, Option(help="Layer of the real values; X.")] = None,
    split: Split = None,
    out: Annotated[Path | None, Option("--out", "-o", help="Folder for the tables.")] = None,
    mod: Mod = None,
    debug: Debug = False,
) -> None:
    """Score cells that any program predicted against real ones, and print the result."""
    from . import pp, tl
    from ._evaluation_text import in_words, write_tables
    from ._h5ad import read

    say(f"reading {real}")
    adata = read(real, backed=False, mod=mod)
    columns = {"context_key": context_key, "dose_key": dose_key, "gene_key": gene_key}
    if perturbation_key is not None:
        pp.annotate(adata, perturbation_key, control=control, **given(columns))
    chosen = given({"layer": layer, "split": split})
    tl.evaluate(adata, prediction=prediction, suite=suite, baselines=None, overwrite=True, **chosen)
    if out is not None:
        write_tables(adata, out)
    typer.echo(in_words(adata))


@app.command()
@friendly
def export(
    file: Screen,
    *,
    vcc: Vcc,
    mod: Mod = None,
    perturbation_key: Annotated[
        Text, Option(help="Column of perturbations, if not recorded.")
    ] = None,
    control: ControlIfAny = None,
    prediction: Annotated[Text, Option(help="Name of the prediction; predicted, or X.")] = None,
    controls: Controls = None,
    layer: Annotated[Text, Option(help="Layer with measured counts of control cells.")] = None,
    context: Annotated[Text, Option(help="Context to write.")] = None,
    dose: Annotated[float | None, Option(help="Dose to write.")] = None,
    genes: Genes = None,
    perturbations: Labels = None,
    perturbation_column: Annotated[Text, Option(help="Column of labels; target.")] = None,
    control_label: Annotated[Text, Option(help="Label of controls; non-targeting.")] = None,
    overwrite: Annotated[bool, Option("--overwrite", help="Replace the file.")] = False,
    debug: Debug = False,
) -> None:
    """Write predicted counts for other tools: what the scorer of the 2026 challenge takes."""
    from . import io
    from ._h5ad import read

    say(f"reading {file}")
    adata = read(file, backed=True, mod=mod)
    cells = {
        "controls": None if controls is None else read(controls, backed=True),
        "genes": lines(genes),
        "perturbations": lines(perturbations),
    }
    cells |= {"control": control}  # a label may be "none"
    named = {"perturbation_key": perturbation_key, "prediction": prediction}
    named |= {"layer": layer, "context": context, "dose": dose}
    named |= {"perturbation_column": perturbation_column, "control_label": control_label}
    path = io.write_predictions(adata, vcc, overwrite=overwrite, **cells, **given(named))
    say(f"done: {path} ({path.stat().st_size / 1e6:.1f} MB)")


@app.command()
@friendly
def report(
    file: Screen,
    *,
    out: Page,
    mod: Mod = None,
    title: Annotated[Text, Option(help="Heading of the page.")] = None,
    coherence_key: Slot = None,
    evaluation_key: Slot = None,
    leaderboard_key: Slot = None,
    image_evaluation_key: Slot = None,
    debug: Debug = False,
) -> None:
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
    path = tl.report(adata, out=out, title=title, **keys)
    say(f"done: {path} ({path.stat().st_size / 1e6:.1f} MB)")


@app.command()
@friendly
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
    debug: Debug = False,
) -> None:
    """Train and judge models, pass over what is done already, and print the leaderboard."""
    from .benchmark._run import leaderboard

    typer.echo(leaderboard(spec, folder=out, jobs=jobs, inner=inner, retry=retry, trust=trust))


@app.command()
@friendly
def demo(
    *,
    out: Out = Path("demo"),
    quick: Annotated[bool, Option("--quick", help="The shipped screen alone, faster.")] = False,
    debug: Debug = False,
) -> None:
    """Measure, predict, judge and report a real screen that comes with shoal; needs no network."""
    from ._demo import run

    typer.echo(run(out, quick=quick, say=say))
