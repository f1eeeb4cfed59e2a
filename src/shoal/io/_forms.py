"""The forms in which screens come: what a file of each holds, and what its columns mean.

A new form is one more record here. Nothing else needs to know its name.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from ..core._control_labels import CONTROLS

if TYPE_CHECKING:
    from collections.abc import Mapping

NAMES = (  # columns that usually hold the perturbation, whoever wrote the file
    "perturbation",
    "perturbation_name",
    "perturbations",
    "pert",
    "pert_name",
    "condition",
    "gene_target",
    "target_gene",
    "target",
    "gene",
    "treatment",
    "compound",
    "drug",
    "product_name",
    "cytokine",
    "Metadata_Perturbation",
    "Metadata_Compound",
    "Metadata_Treatment",
)


@dataclass(frozen=True)
class Form:
    """What files of one origin have in common.

    A file has the form if one of its columns `perturbation` is there, if every group of `signs` is,
    and if control cells are found.

    Attributes
    ----------
    name, title
        Name of the form, and how messages call it.
    perturbation
        Columns of ``obs`` that may hold the perturbation, the usual one first.
    control
        Control labels of the form, in lower case. Those that occur are the controls.
    signs
        Groups of slots, such as ``"obs/nperts"``. One slot of every group must be there.
    marks
        Column of ``obs`` that is true, or 1, in control cells. Where it is there, the controls are
        the labels of these cells.
    context, batch, dose, guide
        Columns of ``obs`` that may hold these, in the order of trial.
    dose_unit
        Column of ``obs`` with the unit of the dose, of which there must be one.
    sep
        Text between the parts of a combination, as in :func:`shoal.pp.annotate`.
    n_parts
        Column of ``obs`` with the number of perturbations of a cell, which shows what joins them.
    missing
        What a cell without a label is: an error, or a cell that belongs to no group.
    left
        Columns that mislead by their name, and what they are; where they are doses by name, they
        are left as long as they hold nothing but ones.
    """

    name: str
    title: str
    perturbation: tuple[str, ...]
    control: tuple[str, ...]
    signs: tuple[tuple[str, ...], ...] = ()
    marks: str = ""
    context: tuple[str, ...] = ()
    batch: tuple[str, ...] = ()
    dose: tuple[str, ...] = ()
    guide: tuple[str, ...] = ()
    dose_unit: str = ""
    sep: str = "auto"
    n_parts: str = ""
    missing: Literal["raise", "ignore"] = "raise"
    left: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


GEARS = Form(
    name="gears",
    title="GEARS",
    perturbation=("condition",),
    control=("ctrl",),
    signs=(("obs/condition_name", "obs/dose_val", "uns/rank_genes_groups_cov_all"),),
    marks="control",
    context=("cell_type",),
    batch=("gem_group", "batch"),
    dose=("dose_val",),  # of CPA, whose files have the same columns
    sep="+",
    left=MappingProxyType({"dose_val": "it counts the guides of a cell and is no dose"}),
)
SCPERTURB = Form(
    name="scperturb",
    title="scPerturb",
    perturbation=("perturbation",),
    control=("control",),
    signs=(("obs/nperts",),),
    context=("perturbation_2", "cell_line", "celltype", "cell_type", "time"),
    batch=("batch", "gemgroup", "gem_group", "replicate"),
    dose=("dose_value",),
    guide=("guide_id", "grna"),
    dose_unit="dose_unit",
    n_parts="nperts",
    missing="ignore",
)
STATE = Form(
    name="state",
    title="State and cell-eval",
    perturbation=("target_gene",),
    control=("non-targeting",),
    context=("cell_line", "cell_type"),
    batch=("gem_group", "batch_var", "batch"),
    guide=("guide_id",),
)
CELL_EVAL2 = Form(
    name="cell_eval2",
    title="cell-eval2 and the Virtual Cell Challenge 2026",
    perturbation=("target",),
    control=("non-targeting",),
    context=("cell_line", "cell_type", "context"),
    batch=("gem_group", "batch"),
    guide=("guide_id",),
)
REPLOGLE = Form(
    name="replogle",
    title="Replogle et al. 2022",
    perturbation=("gene",),
    control=("non-targeting",),
    signs=(("obs/sgID_AB", "obs/gene_transcript"),),
    batch=("gem_group",),
    guide=("sgID_AB",),
)
TENX = Form(
    name="10x",
    title="10x CRISPR guide capture",
    perturbation=("guide_target", "feature_call"),
    control=("non-targeting", "control", "ntc", "nt"),
    signs=(("obs/feature_call",),),
    batch=("gem_group",),
    guide=("feature_call",),
    sep="|",
    missing="ignore",
)
MANTISPY = Form(
    name="mantispy",
    title="profiles of images, as mantispy writes them",
    perturbation=(
        "Metadata_Perturbation",
        "Metadata_Compound",
        "Metadata_Treatment",
        "Metadata_BroadSample",
    ),
    control=("dmso",),
    signs=(("obs/Metadata_Plate", "uns/mantispy"),),
    marks="Metadata_Control",
    context=("Metadata_CellLine",),
    batch=("Metadata_Plate",),
    dose=("Metadata_Concentration",),
    guide=("Metadata_sgRNA",),
    missing="ignore",
)
TAHOE = Form(
    name="tahoe",
    title="Tahoe-100M",
    perturbation=("drug",),
    control=("dmso_tf",),
    signs=(("obs/drugname_drugconc",),),
    context=("cell_name", "cell_line", "cell_line_id"),
    batch=("plate",),
    dose=("drug_conc", "drugname_drugconc"),
)
FORMS = (GEARS, SCPERTURB, STATE, CELL_EVAL2, REPLOGLE, TENX, MANTISPY, TAHOE)
PLAIN = Form(
    name="plain",
    title="a screen of no known origin",
    perturbation=NAMES,
    control=CONTROLS,
    context=("cell_line", "cell_type", "celltype", "context", "day", "time", "timepoint"),
    batch=("gem_group", "gemgroup", "batch", "replicate", "donor", "plate"),
    dose=("dose", "dose_value", "concentration"),
    dose_unit="dose_unit",
    guide=("guide_id", "guide_ID", "guide_identity", "guide", "grna", "sgRNA", "sgrna"),
)
