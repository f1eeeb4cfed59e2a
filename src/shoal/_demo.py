"""The demonstration: the whole way of the screen that is shipped, from file to verdict."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from . import _journey
from ._report import Options, analyse, complain, summary, write
from ._staging import staged

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from anndata import AnnData

    Say = Callable[[str], None]

SHIPPED = "renge_small"
TITLE = "Knock-outs in human iPS cells on four days (a part of Ishikawa et al. 2023)"
FEW_DRAWS = 60  # sets of controls against controls, where time is short
MEASURED = "measured"  # folder of the other screens
PAGE = "report.html"
LOG = {"normalize": "log1p"}  # all are raw counts


@dataclass(frozen=True)
class DataSet:
    """A screen in a file, whose perturbation column and control are in ``uns["dataset_info"]``.

    Attributes
    ----------
    name, file
        Name of the screen, and its file.
    batch_key, context_key, guide_key, depth_key
        As in `pp.annotate` and `tl.coherence`.
    keep
        Column of ``obs`` with the cells to use.
    control
        Control labels, if there are more than the file names.
    drop
        Labels that are neither perturbations nor controls.
    """

    name: str
    file: str
    batch_key: str | None = None
    context_key: str | None = None
    guide_key: str | None = None
    depth_key: str | None = None
    keep: str | None = None
    control: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()


SOURCES = (
    DataSet("norman_2019", "norman19_perturbench.h5ad"),
    DataSet("renge_2023", "renge23_hipsc_ko.h5ad", context_key="day"),
    DataSet(
        "papalexi_2021",
        "papalexi21_sceptre_lowmoi.h5ad",
        batch_key="bio_rep",
        guide_key="grna",
        keep="guide_confident",
    ),
    DataSet(
        "gasperini_2019",
        "gasperini19_sceptre_highmoi.h5ad",
        batch_key="batch",
        depth_key="gene_n_umis",
        control=("none", "non-targeting"),
        drop=("multiple",),
    ),
)


def run(out: Path, *, quick: bool, say: Say) -> str:
    """Measure, predict, judge and report the shipped screen, and return the verdict as text.

    Screens of the folder that ``SHOAL_DATA_DIR`` names are measured too. Nothing is downloaded.

    Parameters
    ----------
    out
        Folder to write into. What an earlier demonstration left there is replaced.
    quick
        Whether to take the shipped screen alone, with fewer draws.
    say
        Takes a line about every stage.

    Raises
    ------
    ImportError
        Before anything is done, if the libraries of the report are not installed.
    """
    from . import ds

    adata = ds.load(SHIPPED)
    say(f"{TITLE}: {adata.n_obs:,} cells x {adata.n_vars:,} genes")
    draws = FEW_DRAWS if quick else Options.n_draws
    journey = _journey.run(
        adata, out, measure=Options(n_draws=draws), title=TITLE, overwrite=True, say=say
    )
    rows = {SHIPPED: summary(adata)}
    for name, screen, options in () if quick else _others(say):
        say(f"{name}: {screen.n_obs:,} cells x {screen.n_vars:,} genes, measured only")
        with staged(out / MEASURED / name) as folder:
            failed = analyse(screen, options, lambda text, name=name: say(f"{name}: {text}"))
            failed |= write(screen, folder)
        complain(failed, out / MEASURED / name)
        rows[name] = summary(screen)
    table = pd.DataFrame.from_dict(rows, orient="index").rename_axis("screen")
    with staged(out) as folder:
        table.to_csv(folder / "summary.csv")
    pictures = [path.name for path in journey.files if path.suffix == ".png"]
    where = f"The whole story: {out / PAGE}. Pictures in {out}: {', '.join(pictures)}."
    return "\n".join(["", journey.verdict, *journey.lines, "", where])


def _others(say: Say) -> Iterator[tuple[str, AnnData, Options]]:
    """Yield the larger screens that are at hand, annotated, and how to measure them."""
    folder = Path(os.environ.get("SHOAL_DATA_DIR", "../shared/data"))
    present = [data for data in SOURCES if (folder / data.file).is_file()]
    if present:
        say(f"also measured, from {folder}: {', '.join(data.name for data in present)}")
    for data in present:
        options = Options(LOG, {"depth_key": data.depth_key}, n_draws=FEW_DRAWS)
        yield data.name, _read(data, folder), options


def _read(data: DataSet, folder: Path) -> AnnData:
    """Return a screen of the folder, annotated, without the cells that are left out."""
    import anndata as ad

    from . import pp

    adata = ad.read_h5ad(folder / data.file)
    info = adata.uns["dataset_info"]
    column = str(info["perturbation_key"])
    kept = ~adata.obs[column].isin(data.drop).to_numpy()
    if data.keep is not None:
        kept &= adata.obs[data.keep].to_numpy(dtype=bool)
    adata = adata[kept].copy()
    keys = {
        "batch_key": data.batch_key,
        "context_key": data.context_key,
        "guide_key": data.guide_key,
    }
    pp.annotate(adata, column, control=data.control or str(info["control_label"]), **keys)
    return adata
