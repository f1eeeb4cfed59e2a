"""Measure, predict and judge the responses of perturbation screens, from the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from ._console import friendly, number_or_none, say

app = typer.Typer(
    help=__doc__, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False
)

Option = typer.Option
Out = Annotated[Path, Option("--out", "-o", help="Folder to write into; made if it is not there.")]
Page = Annotated[Path, Option("--out", "-o", help="Page to write, such as report.html.")]
Spec = Annotated[
    Path,
    typer.Argument(metavar="SPEC.yaml", help="Data sets, splits, models and seeds: see the guide."),
]
Screen = Annotated[
    Path, typer.Argument(metavar="FILE", help="Screen, an h5ad or an h5mu. It is only read.")
]
Text = str | None
Mod = Annotated[Text, Option(help="Modality of an h5mu.")]
Jobs = Annotated[int, Option(help="Processes at a time, of one thread each.")]
Debug = Annotated[bool, Option("--debug", help="Show the traceback of an error.")]
Control = Annotated[list[str], Option(help="Label of unperturbed cells; repeat it for several.")]
Guide = Annotated[Text, Option(help="Column with the guide; those of controls are tested.")]
Gene = Annotated[Text, Option(help="Column of var with symbols, if genes have other names.")]
Strata = Annotated[
    list[str] | None, Option(help="Column to compare within; repeat it; or none. Left out: auto.")
]
TopGenes = Annotated[
    int | None, Option(parser=number_or_none, help="Variable genes of the PCA; or none, for all.")
]
Title = Annotated[Text, Option(help="Heading of the page.")]
Trust = Annotated[bool, Option("--trust", help="Let the spec import code: what it names is run.")]


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
    n_top_genes: TopGenes = 2000,
    n_comps: Annotated[int, Option(help="Components of the PCA.")] = 50,
    use_rep: Annotated[Text, Option(help="Slot of obsm, or X; X_pca, made if absent.")] = None,
    layer: Annotated[Text, Option(help="Layer to measure in, without a PCA.")] = None,
    strata: Strata = None,
    depth_key: Annotated[Text, Option(help="Column with counts, to adjust for.")] = None,
    min_cells: Annotated[int, Option(help="Fewest cells of a perturbation that is tested.")] = 20,
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
    given = {name: value for name, value in columns.items() if value is not None}
    fitted = {"normalize": normalize, "target_sum": target_sum}
    fitted |= {"n_top_genes": n_top_genes, "n_comps": n_comps}
    within = {None: "auto", ("none",): None}.get(strata and tuple(strata), strata)
    measured = {"layer": layer, "strata": within, "depth_key": depth_key}
    alone = {"min_cells": min_cells}
    with staged(out) as folder:
        say(f"reading {file}")
        adata = read(file, backed=backed, mod=mod)
        pp.annotate(adata, perturbation_key, control=control, **given)
        options = _report.Options(fitted, measured, alone, use_rep, n_draws, seed)
        failed = _report.analyse(adata, options, say)
        say("writing tables and pictures")
        name = f"{file.stem}.coherence.h5ad" if h5ad else None
        failed |= _report.write(adata, folder, h5ad=name)
    _report.complain(failed, out)
    say(f"done: {out}")


@app.command()
@friendly
def report(
    file: Screen, *, out: Page, mod: Mod = None, title: Title = None, debug: Debug = False
) -> None:
    """Write the results that a file holds as one HTML page that works offline."""
    from . import tl
    from ._h5ad import read

    say(f"reading {file}")
    path = tl.report(read(file, backed=True, mod=mod), out=out, title=title)
    say(f"done: {path} ({path.stat().st_size / 1e6:.1f} MB)")


@app.command()
@friendly
def benchmark(
    spec: Spec,
    *,
    out: Out,
    jobs: Jobs = 1,
    retry: Annotated[bool, Option("--retry", help="Try again what failed.")] = False,
    trust: Trust = False,
    debug: Debug = False,
) -> None:
    """Train and judge models, pass over what is done already, and print the leaderboard."""
    from .benchmark._run import leaderboard

    typer.echo(leaderboard(spec, folder=out, jobs=jobs, retry=retry, trust=trust))


@app.command()
@friendly
def demo(
    *,
    out: Out = Path("demo"),
    quick: Annotated[bool, Option("--quick", help="One small screen; no download.")] = False,
    simulated: Annotated[bool, Option("--simulated", help="A simulated screen.")] = False,
    debug: Debug = False,
) -> None:
    """Run the whole analysis on real screens, or a simulated one, and print what it finds."""
    from ._demo import run

    typer.echo(run(out, quick=quick, simulated=simulated, say=say))
