"""Options and arguments of the commands that take a line or more, by name."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ._console import number_or_none, text_or_none

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
Real = Annotated[
    Path, typer.Argument(metavar="REAL", help="Screen with the real cells, an h5ad or an h5mu.")
]
Predicted = Annotated[
    Path, typer.Argument(metavar="PRED", help="Predicted cells, an h5ad with the same columns.")
]
Text = str | None
Suite = Annotated[str, Option(help="Suite of metrics: vcc2026, cell_eval, calibrated, ...")]
Split = Annotated[
    Text,
    Option(
        parser=text_or_none,
        metavar="<str>",
        help="Value of obs['split'] that is scored; or none, for all. Left out: test.",
    ),
]
Vcc = Annotated[Path, Option(help="File for cell-eval2 to write, an h5ad.")]
Controls = Annotated[
    Path | None, Option(help="Screen with the control cells, if FILE has predicted cells only.")
]
Genes = Annotated[Path | None, Option(help="Text file with the genes of the reference, in order.")]
Labels = Annotated[Path | None, Option(help="Text file with the labels of the reference.")]
Mod = Annotated[Text, Option(help="Modality of an h5mu.")]
Jobs = Annotated[int, Option(help="Processes at a time, of one thread each.")]
Debug = Annotated[bool, Option("--debug", help="Show the traceback of an error.")]
Control = Annotated[list[str], Option(help="Label of unperturbed cells; repeat it for several.")]
ControlIfAny = Annotated[
    list[str] | None, Option("--control", help="Label of unperturbed cells, if not recorded.")
]
Guide = Annotated[Text, Option(help="Column with the guide; those of controls are tested.")]
Gene = Annotated[Text, Option(help="Column of var with symbols, if genes have other names.")]
Strata = Annotated[
    list[str] | None, Option(help="Column to compare within; repeat it; or none. Left out: auto.")
]
Replicate = Annotated[
    Text,
    Option(
        parser=text_or_none,
        metavar="<str>",
        help="Column with replicates, to test by; or none. Left out: guides, else batches.",
    ),
]
Depth = Annotated[Text, Option(help="Column with counts: cells of equal depth are compared.")]
Whole = Annotated[
    Text, Option(help="Column with counts of all genes, to normalise a panel by with log1p.")
]
Sizes = Annotated[
    list[int] | None,
    Option(min=2, help="Cells of a pseudo-perturbation; repeat it. Left out: 30, 100, 300."),
]
TopGenes = Annotated[
    int | None, Option(parser=number_or_none, help="Variable genes of the PCA; none: all genes.")
]
Slot = Annotated[Text, Option(help="Slot of uns with that result, if it has another name.")]
Trust = Annotated[bool, Option("--trust", help="Let the spec import code: what it names is run.")]
