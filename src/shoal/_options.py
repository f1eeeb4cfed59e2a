"""Options and arguments of the commands: single ones by name, and groups that commands share."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ._console import given, number_or_none, text_or_none

if TYPE_CHECKING:
    from anndata import AnnData

    from ._report import Options

Option = typer.Option
Text = str | None
Seed = Annotated[int, Option(min=0, help="Seed of all randomness.")]

# -- files -----------------------------------------------------------------------------------------

Screen = Annotated[
    Path,
    typer.Argument(
        metavar="FILE", help="Screen: h5ad, h5mu, zarr, or an h5 of 10x. It is only read."
    ),
]
Screens = Annotated[
    list[Path],
    typer.Argument(
        metavar="FILE",
        help="Screen: h5ad, h5mu, zarr, or an h5 of 10x. Several files are samples of one screen. "
        "They are only read.",
    ),
]
Results = Annotated[
    Path, typer.Argument(metavar="FILE", help="Screen with results, an h5ad or an h5mu.")
]
Predicted = Annotated[
    Path | None,
    typer.Argument(metavar="PRED", help="Predicted cells in another h5ad, of any program."),
]
Trained = Annotated[Path, typer.Argument(metavar="MODEL", help="Folder that shoal fit wrote.")]
Spec = Annotated[
    Path,
    typer.Argument(metavar="SPEC.yaml", help="Data sets, splits, models and seeds: see the guide."),
]
Out = Annotated[Path, Option("--out", "-o", help="Folder to write into; made if it is not there.")]
OutIfAny = Annotated[
    Path | None, Option("--out", "-o", help="Folder for tables and the screen with all results.")
]
NewScreen = Annotated[Path, Option("--out", "-o", help="Screen to write, such as next.h5ad.")]
NewModel = Annotated[Path, Option("--out", "-o", help="Folder to write the model into.")]
NewConfig = Annotated[Path, Option("--out", "-o", help="Config file to write.")]
Page = Annotated[Path, Option("--out", "-o", help="Page to write, such as report.html.")]
Overwrite = Annotated[bool, Option("--overwrite", help="Replace what is there.")]
Mod = Annotated[Text, Option(help="Modality of an h5mu.")]
Backed = Annotated[bool, Option("--backed", help="Leave the matrix on disk.")]
H5ad = Annotated[bool, Option(help="Write screen.h5ad too, with all results.")]

# -- what is held out ------------------------------------------------------------------------------

By = Annotated[
    Text,
    Option(
        help="What is held out: perturbation, combination, context, dose, guide or "
        "perturbation_context. Left out: what there is enough of."
    ),
]
Test = Annotated[
    list[str] | None,
    Option(help="Share that is held out, as 0.2, or names; repeat it for several."),
]
Val = Annotated[list[str] | None, Option(help="The same for validation; none unless given.")]
Accept = Annotated[
    list[str] | None, Option(help="Leak of the split to accept, by name; repeat it.")
]
Split = Annotated[
    Text,
    Option(
        parser=text_or_none,
        metavar="<str>",
        help="Value of obs['split'] that is scored; or none, for all. Left out: test.",
    ),
]

# -- models and judging ----------------------------------------------------------------------------

Preset = Annotated[Text, Option(help="Preset of the model; fast, for auto, has no networks.")]
Vectors = Annotated[
    Text,
    Option(
        help="File with a vector for each perturbation (csv, npz, pt, ...), or annotations: those "
        "of human genes that come with shoal."
    ),
]
Name = Annotated[Text, Option(help="Name of the prediction.")]
Normalize = Annotated[
    Literal["log1p"] | None, Option(help="Normalise raw counts in memory, before all else.")
]
Suite = Annotated[str, Option(help="Suite of metrics: calibrated, vcc2026, cell_eval, ...")]
Baselines = Annotated[
    list[str] | None,
    Option(help="Baseline to judge beside; repeat it; or none. Left out: all that can be."),
]
Vcc = Annotated[Path, Option(help="File for cell-eval2 to write, an h5ad.")]
Controls = Annotated[
    Path | None, Option(help="Screen with the control cells, if FILE has predicted cells only.")
]
Genes = Annotated[Path | None, Option(help="Text file with the genes of the reference, in order.")]
Labels = Annotated[Path | None, Option(help="Text file with the labels of the reference.")]
Jobs = Annotated[int, Option(help="Processes at a time, of one thread each.")]
Slot = Annotated[Text, Option(help="Slot of uns with that result, if it has another name.")]
Title = Annotated[Text, Option(help="Heading of the page.")]
Trust = Annotated[bool, Option("--trust", help="Let the spec import code: what it names is run.")]


def _column(what: str) -> Any:
    return Annotated[
        Text,
        Option(
            parser=text_or_none,
            metavar="<str>",
            help=f"Column with the {what}; or none. Left out: as recognised.",
        ),
    ]


@dataclass(frozen=True)
class Reading:
    """How the file is read: arguments of `io.read`. What is left out is recognised."""

    perturbation_key: Annotated[Text, Option(help="Column of obs with the perturbations.")] = None
    control: Annotated[
        list[str] | None, Option(help="Label of unperturbed cells; repeat it for several.")
    ] = None
    context_key: _column("cell context") = None  # type: ignore[valid-type]
    batch_key: _column("technical batch") = None  # type: ignore[valid-type]
    dose_key: _column("dose") = None  # type: ignore[valid-type]
    guide_key: _column("guide") = None  # type: ignore[valid-type]
    gene_key: Annotated[
        Text, Option(help="Column of var with symbols, if genes have other names.")
    ] = None
    sep: Annotated[Text, Option(help="Text between the parts of a combination.")] = None
    missing: Annotated[
        Literal["raise", "ignore"] | None,
        Option(help="Cells without a label: an error, or in no group."),
    ] = None
    calls: Annotated[
        Path | None, Option(help="protospacer_calls_per_cell.csv of Cell Ranger, for its h5.")
    ] = None
    targets: Annotated[
        Path | None, Option(help="Feature reference of Cell Ranger, with the targets of guides.")
    ] = None
    mod: Mod = None

    def read(self, file: Path | list[Path], *, backed: bool = False) -> AnnData:
        """Read a screen, or its samples from several files, and say what was recognised."""
        from . import io

        path = file[0] if isinstance(file, list) and len(file) == 1 else file
        options = asdict(self)
        control = options.pop("control")  # a label may be "none"
        return io.read(path, control=control, backed=backed, **given(options))


@dataclass(frozen=True)
class Measuring:
    """How responses are measured."""

    normalize: Annotated[
        Literal["log1p"] | None,
        Option(help="Normalise raw counts. Left out: where X holds counts."),
    ] = None
    target_sum: Annotated[float | None, Option(help="Depth to normalise to.")] = None
    prepare_depth_key: Annotated[
        Text, Option(help="Column with counts of all genes, to normalise a panel by.")
    ] = None
    n_top_genes: Annotated[
        int | None,
        Option(
            parser=number_or_none, metavar="<int>", help="Variable genes of the PCA; none: all."
        ),
    ] = None
    n_comps: Annotated[int | None, Option(help="Components of the PCA, 50 unless given.")] = None
    use_rep: Annotated[Text, Option(help="Slot of obsm, or X; X_pca, made if absent.")] = None
    layer: Annotated[Text, Option(help="Layer to measure in, without a PCA.")] = None
    strata: Annotated[
        list[str] | None,
        Option(help="Column to compare within; repeat it; or none. Left out: auto."),
    ] = None
    depth_key: Annotated[
        Text, Option(help="Column with counts: cells of equal depth are compared.")
    ] = None
    replicate_key: Annotated[
        Text,
        Option(
            parser=text_or_none,
            metavar="<str>",
            help="Column with replicates, to test by; or none. Left out: guides, else batches.",
        ),
    ] = None
    min_cells: Annotated[
        int | None, Option(help="Fewest cells of a perturbation that is tested, 20 unless given.")
    ] = None
    n_cells: Annotated[
        list[int] | None,
        Option(min=2, help="Cells of a pseudo-perturbation; repeat it. Left out: 30, 100, 300."),
    ] = None
    n_draws: Annotated[int, Option(min=1, help="Pseudo-perturbations of each size.")] = 400

    def options(self, seed: int) -> Options:
        """Return the same for the analysis."""
        from . import _report

        prepare = ("normalize", "target_sum", "n_top_genes", "n_comps")
        names = {name: getattr(self, name) for name in prepare}
        names["depth_key"] = self.prepare_depth_key
        measure = {name: getattr(self, name) for name in ("layer", "strata", "depth_key")}
        alone = {name: getattr(self, name) for name in ("min_cells", "replicate_key")}
        three = map(given, (names, measure, alone))
        return _report.Options(*three, self.use_rep, self.n_cells, self.n_draws, seed)
