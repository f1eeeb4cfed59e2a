"""Measure, predict and judge the responses of perturbation screens, from the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from ._console import friendly, say

app = typer.Typer(
    help=__doc__, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False
)

Option = typer.Option
Out = Annotated[Path, Option("--out", "-o", help="Folder to write into; made if it is not there.")]
Spec = Annotated[
    Path,
    typer.Argument(metavar="SPEC.yaml", help="Data sets, splits, models and seeds: see the guide."),
]
Jobs = Annotated[int, Option(help="Processes at a time, of one thread each.")]
Debug = Annotated[bool, Option("--debug", help="Show the traceback of an error.")]


@app.command()
def coherence(
    file: Annotated[
        Path, typer.Argument(metavar="FILE.h5ad", help="Screen, one row per cell. It is only read.")
    ],
    *,
    perturbation_key: Annotated[
        str, Option(help="Column of obs with the perturbation of each cell.")
    ],
    control: Annotated[
        list[str], Option(help="Label of the unperturbed cells; repeat it for several.")
    ],
    out: Out,
    batch_key: Annotated[str | None, Option(help="Column with the technical batch.")] = None,
    context_key: Annotated[str | None, Option(help="Column with the cell context.")] = None,
    guide_key: Annotated[
        str | None, Option(help="Column with the guide; control guides test calibration.")
    ] = None,
    depth_key: Annotated[
        str | None, Option(help="Column with counts per cell, to adjust for.")
    ] = None,
    normalize: Annotated[
        Literal["log1p"] | None, Option(help="Normalise raw counts first.")
    ] = None,
    use_rep: Annotated[
        str | None, Option(help="Slot of obsm, or X. X_pca, the default, is made if absent.")
    ] = None,
    layer: Annotated[
        str | None, Option(help="Layer to measure in, instead of a representation.")
    ] = None,
    min_cells: Annotated[int, Option(help="Fewest cells of a perturbation that is tested.")] = 20,
    n_draws: Annotated[int, Option(help="Pseudo-perturbations of each size.")] = 400,
    seed: Annotated[int, Option(help="Seed of all randomness.")] = 0,
    backed: Annotated[bool, Option("--backed", help="Leave the matrix on disk.")] = False,
    h5ad: Annotated[
        bool, Option("--h5ad/--no-h5ad", help="Write FILE.coherence.h5ad, with all results.")
    ] = True,
    debug: Debug = False,
) -> None:
    """Measure how coherent every response is; write h5ad, tables and pictures."""
    with friendly(debug=debug):
        from . import pp
        from ._report import Options, analyse, read, write
        from ._staging import staged

        with staged(out) as folder:
            say(f"reading {file}")
            adata = read(file, backed=backed)
            keys = {"context_key": context_key, "batch_key": batch_key, "guide_key": guide_key}
            pp.annotate(adata, perturbation_key, control=control, **keys)
            analyse(
                adata, Options(normalize, use_rep, layer, depth_key, min_cells, n_draws, seed), say
            )
            say("writing tables and pictures")
            write(adata, folder)
            if h5ad:
                adata.write_h5ad(folder / f"{file.stem}.coherence.h5ad", compression="gzip")
        say(f"done: {out}")


@app.command()
def report(
    file: Annotated[
        Path, typer.Argument(metavar="FILE.h5ad", help="Screen with results. It is only read.")
    ],
    *,
    out: Annotated[
        Path,
        Option("--out", "-o", help="Page to write, such as report.html; replaced if it exists."),
    ],
    title: Annotated[str | None, Option(help="Heading of the page.")] = None,
    debug: Debug = False,
) -> None:
    """Write the results that a file holds as one HTML page that works offline."""
    with friendly(debug=debug):
        from . import tl
        from ._report import read

        say(f"reading {file}")
        path = tl.report(read(file, backed=True), out=out, title=title)
        say(f"done: {path} ({path.stat().st_size / 1e6:.1f} MB)")


@app.command()
def benchmark(spec: Spec, *, out: Out, jobs: Jobs = 1, debug: Debug = False) -> None:
    """Train and judge models, pass over what is done already, and print the leaderboard."""
    with friendly(debug=debug):
        from .benchmark._run import leaderboard

        typer.echo(leaderboard(spec, folder=out, jobs=jobs))


@app.command()
def demo(
    *,
    out: Out = Path("demo"),
    quick: Annotated[
        bool, Option("--quick", help="One small screen and few draws; no download.")
    ] = False,
    simulated: Annotated[
        bool, Option("--simulated", help="The simulated screen, even beside real ones.")
    ] = False,
    debug: Debug = False,
) -> None:
    """Run the whole analysis on real screens, or a simulated one, and print what it finds."""
    with friendly(debug=debug):
        from ._demo import run

        typer.echo(run(out, quick=quick, simulated=simulated, say=say))
