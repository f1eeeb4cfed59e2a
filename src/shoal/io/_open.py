"""Files of h5ad, h5mu, zarr and 10x, opened as one AnnData with what lies beside it."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import _damage, _h5ad
from .._validate import get_adata, key_in, some

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    from anndata import AnnData
    from mudata import MuData

RNA_TYPE, GUIDE_TYPE = "Gene Expression", "CRISPR Guide Capture"  # of features, as 10x names them
RNA = ("rna", "gex", "gene expression", "gene_expression", "expression")
GUIDES = ("crispr guide capture", "crispr", "gdo", "guide", "guides", "grna", "sgrna")
ZARR = ("zarr.json", ".zgroup", ".zattrs")
CONVERT = {  # files that others write, and what reads them
    ".mtx": "scanpy.read_10x_mtx(folder)",
    ".loom": "anndata.io.read_loom(path)",
    ".csv": "scanpy.read_csv(path)",
    ".tsv": "scanpy.read_text(path)",
    ".txt": "scanpy.read_text(path)",
    ".rds": "zellkonverter::writeH5AD in R",
    ".h5seurat": "SeuratDisk::Convert in R",
}


@dataclass(frozen=True)
class Opened:
    """What a file holds.

    Attributes
    ----------
    adata
        Cells by genes, or by features of images.
    others
        Name of every further modality, and its cells by features.
    sample
        Column of ``obs`` with the sample of every cell, where several files were read.
    """

    adata: AnnData
    others: Mapping[str, AnnData] = field(default_factory=dict)
    sample: str = ""

    @property
    def guides(self) -> str:
        """Name of the modality with guides; empty if there is none."""
        return next((name for name in self.others if name.casefold() in GUIDES), "")


def open_file(path: str | os.PathLike[str], *, mod: str | None, backed: bool) -> Opened:
    """Open a file by what it holds, not by how its name ends.

    Parameters
    ----------
    path
        An h5ad, an h5mu, a zarr store of either, or an h5 of 10x.
    mod
        Modality with the genes, where there are several.
    backed
        Whether the matrix stays on disk.

    Raises
    ------
    OSError
        If there is no such file, or it cannot be read.
    ValueError
        If it is of another format, if it is not clear which modality holds the genes, or if `mod`
        is given and there are no modalities.
    KeyError
        If there is no modality `mod`.
    """
    if "://" in str(path):
        msg = f"{path} is an address, and files are read from disk: download it first"
        raise ValueError(msg)
    path = Path(path).expanduser()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*names are not unique")  # `read` tells of them
        return _genes_alone(_open(path, mod, backed=backed), path)


def _open(path: Path, mod: str | None, *, backed: bool) -> Opened:
    if path.is_dir() and any((path / name).exists() for name in ZARR):
        return _zarr(path, mod, backed=backed)
    if path.is_dir():
        raise ValueError(_folder(path))
    if path.suffix.lower() in CONVERT and path.is_file():
        with_what = CONVERT[path.suffix.lower()]
        msg = f"{path} is of another format: make an h5ad of it first, with {with_what}"
        raise ValueError(msg)
    if _is_10x(path):
        return Opened(get_adata(_tenx(path, backed=backed), mod))
    if "mod" in _h5ad.contents(path):
        return _modalities(_h5ad.read_mudata(path, backed=backed), mod, path)
    return Opened(_h5ad.read(path, backed=backed, mod=mod))


def _is_10x(path: Path) -> bool:
    """Return whether an HDF5 file holds a matrix of 10x, of any version."""
    import h5py

    names = _h5ad.root_names(path)
    if "matrix" in names:
        return True
    if {"obs", "var"} <= names or "mod" in names:
        return False
    with h5py.File(path, "r") as file:
        groups = [file[name] for name in names]
        return any(isinstance(one, h5py.Group) and "barcodes" in one for one in groups)


def _tenx(path: Path, *, backed: bool) -> AnnData:
    from scanpy import read_10x_h5

    if backed:
        msg = f"{path}: an h5 of 10x cannot stay on disk; read it without backed=True"
        raise ValueError(msg)
    with _damage.reading(path, "an h5 of 10x"):
        adata = read_10x_h5(path, gex_only=False)
    _damage.check_sparse(adata, path)
    return adata


def _zarr(path: Path, mod: str | None, *, backed: bool) -> Opened:
    import anndata as ad
    import zarr

    with _damage.reading(path, "a zarr store"):
        root = zarr.open_group(path, mode="r")
        kind, names = str(root.attrs.get("encoding-type", "")), set(root)
    _damage.check_blocks(root, path)
    if kind.casefold() == "mudata" or "mod" in names:
        return _modalities(_mudata_of_zarr(path, backed=backed), mod, path)
    if not {"obs", "var"} <= names:
        msg = f"{path} is zarr but holds no AnnData (it has {some(sorted(names)) or 'nothing'})"
        raise ValueError(msg)
    with _damage.reading(path, "a zarr store of an AnnData"):
        adata = _on_disk_whole(root) if backed else ad.read_zarr(path)
    _damage.check_sparse(adata, path)
    return Opened(get_adata(adata, mod))


def _mudata_of_zarr(path: Path, *, backed: bool) -> MuData:
    import mudata

    if backed:
        msg = f"{path}: a MuData of zarr cannot stay on disk; read it without backed=True"
        raise ValueError(msg)
    with _damage.reading(path, "a zarr store of a MuData"), _h5ad.columns_as_they_are():
        whole = mudata.read_zarr(path)
    for adata in whole.mod.values():
        _damage.check_sparse(adata, path)
    return whole


def _on_disk_whole(root: Any) -> AnnData:
    """Return the AnnData of a zarr store, whose matrices are not read."""
    import anndata as ad

    at_once = [name for name in root if name not in ("X", "layers", "raw")]
    read = {name: ad.io.read_elem(root[name]) for name in at_once}
    layers: Any = root.get("layers", {})
    read["layers"] = {name: _on_disk(layers[name]) for name in layers}
    return ad.AnnData(_on_disk(root["X"]) if "X" in root else None, **read)


def _on_disk(stored: Any) -> Any:
    """Return a matrix of a zarr store without reading it."""
    import anndata as ad
    import zarr

    return ad.io.sparse_dataset(stored) if isinstance(stored, zarr.Group) else stored


def _modalities(whole: MuData, mod: str | None, path: Path) -> Opened:
    """Return the modality with the genes, and the others."""
    names = list(whole.mod)
    if not names:
        msg = f"{path} is a MuData without a modality, so it holds no cells: write it anew"
        raise ValueError(msg)
    if mod is not None:
        key_in(mod, names, where=f"{path}, whose modalities are read by mod=")
    else:
        usual = [name for name in names if name.casefold() in RNA] or names
        if len(usual) != 1:
            msg = f"{path} has the modalities {some(names)}: say which holds the genes, with mod="
            raise ValueError(msg)
        mod = usual[0]
    others = {name: one for name, one in whole.mod.items() if name != mod}
    return Opened(_h5ad.pulled(whole, mod), others)


def _genes_alone(opened: Opened, path: Path) -> Opened:
    """Part genes from the other types of features that 10x puts into one matrix."""
    adata = opened.adata
    if "feature_types" not in adata.var.columns:
        return opened
    types = adata.var["feature_types"].astype(str)
    if types.nunique() < 2 or RNA_TYPE not in set(types):
        return opened
    if adata.isbacked:
        msg = f"{path} holds {some(sorted(types.unique()))} in one matrix; read it without backed="
        raise ValueError(msg)
    apart = {str(kind): adata[:, (types == kind).to_numpy()].copy() for kind in types.unique()}
    rna = apart.pop(RNA_TYPE)
    return Opened(rna, {**opened.others, **apart})


def _folder(path: Path) -> str:
    inside = sorted(one.name for one in path.iterdir())
    if any(name.startswith("matrix.mtx") for name in inside):
        return (
            f"{path} is a folder of 10x: name the h5 beside it, such as "
            "filtered_feature_bc_matrix.h5, or make an h5ad with scanpy.read_10x_mtx(folder)"
        )
    if {"obs", "var"} <= set(inside) or "mod" in inside:
        return (
            f"{path} is a zarr store without the metadata of the whole, which is zarr.json or "
            f".zgroup, as where hidden files were not copied: {_damage.COPY}"
        )
    return (
        f"{path} is a folder without a zarr store; it holds {some(inside, 6) or 'nothing'}. Name "
        "one file"
    )
