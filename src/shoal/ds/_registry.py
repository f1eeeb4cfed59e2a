"""The public screens that `load` knows: where they are, whose they are, what their columns mean.

One small screen is shipped in the folder ``data`` beside this file. All others are downloaded when
they are asked for. A checksum is one that the host publishes, or that an independent user of the
same URL recorded. A file without a published checksum has none here. It is checked for being a
complete HDF5 file.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType

MIRROR = "https://exampledata.scverse.org/pertpy"
FIGSHARE = "https://figshare.com/ndownloader/files"
ZENODO = "https://zenodo.org/records/{record}/files/{file}?download=1"


@dataclass(frozen=True)
class Dataset:
    """One screen.

    Attributes
    ----------
    name
        Name to load it by.
    title, authors, journal, year, doi
        The publication.
    licence
        Licence of the file as its host states it, where that could be verified.
    page
        Where to read about the file.
    urls
        Where to get it, in order of preference; empty if it is shipped with the package.
    file
        Name of the file on disk.
    checksum
        ``"md5:..."`` or ``"sha256:..."``, or ``None`` if none was published.
    perturbation_key, control
        Column of perturbations and its control label(s).
    batch_key, guide_key, dose_key, context_key
        Further columns, recorded where the file has them.
    values
        ``"counts"`` or ``"log-normalised"``: the scale of ``X``.
    size_mb
        Size of the file in MB where it is known beforehand.
    sep
        Text between the parts of a combination.
    note
        What a user must know.
    """

    name: str
    title: str
    authors: str
    journal: str
    year: int
    doi: str
    licence: str
    page: str
    urls: tuple[str, ...]
    file: str
    checksum: str | None
    perturbation_key: str
    control: tuple[str, ...]
    batch_key: str | None = None
    guide_key: str | None = None
    dose_key: str | None = None
    context_key: str | None = None
    values: str = "counts"
    size_mb: float | None = None
    sep: str = "auto"
    note: str = ""


def _scperturb(file: str, record: int = 10044268) -> dict[str, str | tuple[str, ...]]:
    """Return where a file of the scPerturb collection is, and its licence."""
    return {
        "urls": (ZENODO.format(record=record, file=file),),
        "page": f"https://zenodo.org/records/{record}",
        "licence": "CC BY 4.0 (scPerturb collection)",
    }


_ADAMSON = {
    "title": "A multiplexed single-cell CRISPR screening platform enables systematic dissection of "
    "the unfolded "
    "protein response",
    "authors": "Adamson et al.",
    "journal": "Cell",
    "year": 2016,
    "doi": "10.1016/j.cell.2016.11.048",
    "perturbation_key": "perturbation",
}

_RECORDS = (
    Dataset(
        name="renge_small",
        title="RENGE infers gene regulatory networks using time-series single-cell RNA-seq data "
        "with CRISPR perturbations",
        authors="Ishikawa et al.",
        journal="Communications Biology",
        year=2023,
        doi="10.1038/s42003-023-05594-4",
        licence="MIT",
        page="https://github.com/masastat/RENGE",
        urls=(),
        file="renge_small.h5ad",
        checksum="md5:f99a89233b83d25fd32706718dff18f3",
        perturbation_key="perturbation",
        control=("control",),
        context_key="day",
        size_mb=0.94,
        note="A part of the screen, shipped with shoal: 7,412 human iPS cells, 103 genes, 17 "
        "knock-outs of transcription factors on days 2 to 5. All control cells, and at most 100 "
        "cells of a knock-out on a day.",
    ),
    Dataset(
        name="norman_2019",
        title="Exploring genetic interaction manifolds constructed from rich single-cell "
        "phenotypes",
        authors="Norman et al.",
        journal="Science",
        year=2019,
        doi="10.1126/science.aax4438",
        licence="not verified; the data are public as GEO GSE133344",
        page="https://figshare.com/articles/dataset/Normal_et_al_2019/19134071",
        urls=(f"{MIRROR}/norman_2019.h5ad", f"{FIGSHARE}/34027562"),
        file="norman_2019.h5ad",
        checksum=None,
        perturbation_key="perturbation_name",
        control=("control",),
        batch_key="gemgroup",
        guide_key="guide_identity",
        values="log-normalised",
        size_mb=1_700,
        note="CRISPRa in K562 cells, single genes and pairs. X is already log-normalised; "
        "counts are in a layer.",
    ),
    Dataset(
        **_ADAMSON,
        **_scperturb("AdamsonWeissman2016_GSM2406675_10X001.h5ad"),
        name="adamson_2016_pilot",
        file="adamson_2016_pilot.h5ad",
        checksum="md5:232f7e3756d41602bbe434b50662a76f",
        control=("62(mod)_pBA581",),
        note="CRISPRi pilot in K562 cells: transcription factors, not the unfolded protein "
        "response. Labels are guide "
        "constructs; '*' and missing labels are unassigned cells.",
    ),
    Dataset(
        **_ADAMSON,
        **_scperturb("AdamsonWeissman2016_GSM2406681_10X010.h5ad"),
        name="adamson_2016_upr",
        file="adamson_2016_upr.h5ad",
        checksum="md5:2fa44ea61a8dd35742af618638ec65fc",
        control=("63(mod)_pBA580", "Gal4-4(mod)_pBA582", "62(mod)_pBA581"),
        note="CRISPRi in K562 cells, 91 guides against 82 genes. Labels are guide constructs: the "
        "gene is the text "
        "before the first '_'; '*' and missing labels are unassigned cells.",
    ),
    Dataset(
        name="dixit_2016",
        title="Perturb-Seq: dissecting molecular circuits with scalable single-cell RNA profiling "
        "of pooled genetic "
        "screens",
        authors="Dixit et al.",
        journal="Cell",
        year=2016,
        doi="10.1016/j.cell.2016.11.038",
        licence="not verified; the data are public as GEO GSE90063",
        page="https://github.com/theislab/sc-pert",
        urls=(f"{MIRROR}/dixit_2016.h5ad", f"{FIGSHARE}/34014608"),
        file="dixit_2016.h5ad",
        checksum="sha256:dfe239d29abd55c2058444a46c5d8e18d8108c0428c1e612c581236405aa5cc9",
        perturbation_key="perturbation_name",
        control=("control",),
        values="log-normalised",
        note="CRISPR knock-out. X is already log-normalised.",
    ),
    Dataset(
        name="papalexi_2021",
        title="Characterizing the molecular regulation of inhibitory immune checkpoints with "
        "multimodal single-cell "
        "screens",
        authors="Papalexi et al.",
        journal="Nature Genetics",
        year=2021,
        doi="10.1038/s41588-021-00778-2",
        licence="not verified; the data are public as GEO GSE153056",
        page="https://www.ncbi.nlm.nih.gov/geo/query/acc.cgi?acc=GSE153056",
        urls=(f"{MIRROR}/papalexi_2021.h5mu", f"{FIGSHARE}/36509460"),
        file="papalexi_2021.h5mu",
        checksum=None,
        perturbation_key="gene_target",
        control=("NT",),
        batch_key="replicate",
        guide_key="guide_ID",
        size_mb=590,
        note="CRISPR knock-out in THP-1 cells (ECCITE-seq); the RNA modality of a MuData file.",
    ),
    Dataset(
        **_scperturb("ReplogleWeissman2022_K562_essential.h5ad"),
        name="replogle_2022_k562_essential",
        title="Mapping information-rich genotype-phenotype landscapes with genome-scale "
        "Perturb-seq",
        authors="Replogle et al.",
        journal="Cell",
        year=2022,
        doi="10.1016/j.cell.2022.05.013",
        file="replogle_2022_k562_essential.h5ad",
        checksum="md5:d8cba17576d1a8afc0f7d71b79cad0f7",
        perturbation_key="perturbation",
        control=("control",),
        batch_key="batch",
        guide_key="guide_id",
        size_mb=1_500,
        note="CRISPRi of essential genes in K562 cells, 310,385 cells.",
    ),
    Dataset(
        name="kang_2018",
        title="Multiplexed droplet single-cell RNA-sequencing using natural genetic variation",
        authors="Kang et al.",
        journal="Nature Biotechnology",
        year=2018,
        doi="10.1038/nbt.4042",
        licence="not verified; the data are public as GEO GSE96583",
        page="https://www.ncbi.nlm.nih.gov/geo/query/acc.cgi?acc=GSE96583",
        urls=(f"{MIRROR}/kang_2018.h5ad", f"{FIGSHARE}/34464122"),
        file="kang_2018.h5ad",
        checksum="sha256:e6a5adac64dcdeb36eaba27db49b63e0c64bb0ed4a64c6705971506b41c39830",
        perturbation_key="label",
        control=("ctrl",),
        batch_key="replicate",
        context_key="cell_type",
        note="PBMC of eight donors with and without interferon beta; a context is a cell type, a "
        "batch a donor.",
    ),
    Dataset(
        **_scperturb("SrivatsanTrapnell2020_sciplex3.h5ad", record=13350497),
        name="sciplex3",
        title="Massively multiplex chemical transcriptomics at single-cell resolution",
        authors="Srivatsan et al.",
        journal="Science",
        year=2020,
        doi="10.1126/science.aax6234",
        file="sciplex3.h5ad",
        checksum="md5:c9e70629505d98c7ca1a837f62b14e89",
        perturbation_key="perturbation",
        control=("control",),
        batch_key="replicate",
        dose_key="dose_value",
        context_key="cell_line",
        size_mb=2_500,
        sep="",
        note="188 drugs at four doses (nM) in three cell lines, 799,317 cells x 110,983 genes, far "
        "more in memory than on disk. Version 1.4, which corrects the processing of earlier "
        "versions.",
    ),
)

DATASETS = MappingProxyType({record.name: record for record in _RECORDS})
