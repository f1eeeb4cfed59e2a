"""The demonstration: whole screens from file to summary, on the best data at hand."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from ._report import Options, analyse, complain, summary, write, write_geometry
from ._staging import staged

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from anndata import AnnData

    Say = Callable[[str], None]

QUICK_DRAWS = 60
PUBLIC = "papalexi_2021"
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


SOURCES = (  # the smallest first: it is what --quick takes
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


def run(out: Path, *, quick: bool, simulated: bool, say: Say) -> str:
    """Analyse every screen, write tables and pictures to `out`, and return the summary as text."""
    rows = {}
    for name, adata, options in _screens(quick=quick, simulated=simulated, say=say):
        say(f"{name}: {adata.n_obs:,} cells x {adata.n_vars:,} genes")
        with staged(out / name) as folder:
            failed = analyse(adata, options, lambda text, name=name: say(f"{name}: {text}"))
            failed |= write(adata, folder)
            write_geometry(adata, folder)
        complain(failed, out / name)
        rows[name] = summary(adata)
    table = pd.DataFrame.from_dict(rows, orient="index").rename_axis("screen")
    with staged(out) as folder:
        table.to_csv(folder / "summary.csv")
    say(f"tables and pictures are in {out}")
    return table.to_string(float_format=lambda v: f"{v:.3f}")


def _screens(*, quick: bool, simulated: bool, say: Say) -> Iterator[tuple[str, AnnData, Options]]:
    """Yield annotated screens: real files, or one that is downloaded, or a simulated one."""
    n_draws = QUICK_DRAWS if quick else Options.n_draws
    if simulated:
        say("the simulated screen, as asked")
        yield _simulated(n_draws)
        return
    folder = Path(os.environ.get("SHOAL_DATA_DIR", "../shared/data"))
    present = [s for s in SOURCES if (folder / s.file).is_file()]
    if present:
        names = ", ".join(data.name for data in present)
        say(f"real screens found in {folder}: {names}{' (--quick takes one)' if quick else ''}")
        for data in present[:1] if quick else present:
            yield (
                data.name,
                _read(data, folder),
                Options(LOG, {"depth_key": data.depth_key}, n_draws=n_draws),
            )
        return
    say(f"no real screens in {folder} (set SHOAL_DATA_DIR to a folder that has them)")
    if quick:
        say("the simulated screen instead, since --quick downloads nothing")
        yield _simulated(n_draws)
        return
    yield _downloaded(n_draws, say) or _simulated(n_draws)


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


def _downloaded(n_draws: int, say: Say) -> tuple[str, AnnData, Options] | None:
    """Return a public screen, or say why there is none."""
    from . import ds

    say(f"looking for {PUBLIC} in the cache, else downloading it once (590 MB)")
    try:
        adata = ds.load(PUBLIC)
    except ConnectionError as err:
        say(f"{err}. The simulated screen is used instead")
        return None
    return PUBLIC, adata, Options(LOG, n_draws=n_draws)


def _simulated(n_draws: int) -> tuple[str, AnnData, Options]:
    """Return a simulated screen with all kinds of response, unequal batches and guides."""
    from . import ds

    return (
        "simulated",
        ds.simulate(n_perturbations=20, n_cells=200, n_control=1000, effect_size=5, rng=0),
        Options(LOG, n_draws=n_draws),
    )
