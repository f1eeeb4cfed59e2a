"""Files of AnnData and MuData: read with clear errors, and written so that a full disk is one."""

from __future__ import annotations

import io
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from ._damage import check_sparse, reading, what_else
from ._validate import get_adata

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from pathlib import Path

    from anndata import AnnData
    from mudata import MuData


def contents(path: Path) -> set[str]:
    """Return the names at the root of an h5ad or h5mu.

    Raises
    ------
    OSError
        If there is no such file, it is no HDF5, or it is cut short.
    ValueError
        If it is HDF5 without an AnnData or a MuData.
    """
    names = root_names(path)
    if not ("mod" in names or {"obs", "var"} <= names):
        msg = (
            f"{path} is HDF5 but holds no AnnData (it has {', '.join(sorted(names)) or 'nothing'});"
            " read it with scanpy and write it with adata.write_h5ad"
        )
        raise ValueError(msg)
    return names


def root_names(path: Path) -> set[str]:
    """Return the names at the root of an HDF5 file.

    Raises
    ------
    OSError
        If there is no such file, it is no HDF5, or it is cut short.
    """
    import h5py

    if not path.is_file():
        what = "it is a folder, not an h5ad file" if path.is_dir() else "no such file"
        msg = f"{what}: {path}"
        raise FileNotFoundError(msg)
    if not h5py.is_hdf5(path):
        raise OSError(what_else(path))
    with reading(path, "HDF5"), h5py.File(path, "r") as file:
        return set(file)


def read(path: Path, *, backed: bool, mod: str | None = None) -> AnnData:
    """Read an h5ad, or one modality of an h5mu. The file is not changed.

    Parameters
    ----------
    path
        The file.
    backed
        Whether its matrix stays on disk.
    mod
        Modality of an h5mu. Columns of ``obs`` of the whole are there for it too.

    Raises
    ------
    OSError
        If there is no such file, it is no HDF5, or it is damaged.
    ValueError
        If it is HDF5 without an AnnData, or a MuData without `mod`.
    """
    import anndata as ad

    if "mod" in contents(path):
        return pulled(read_mudata(path, backed=backed), mod)
    with reading(path, "an h5ad"):
        adata = ad.read_h5ad(path, backed="r" if backed else None)
    check_sparse(adata, path)
    return get_adata(adata, mod)


def read_mudata(path: Path, *, backed: bool) -> MuData:
    """Read an h5mu without any change to the columns of its modalities.

    Raises
    ------
    OSError
        If it is damaged.
    """
    import mudata

    with reading(path, "an h5mu"), columns_as_they_are():
        whole = mudata.read_h5mu(path, backed="r" if backed else None)
    for adata in whole.mod.values():
        check_sparse(adata, path)
    return whole


def columns_as_they_are() -> AbstractContextManager[Any]:
    """Have a MuData leave the columns of its modalities alone while the block runs."""
    import mudata

    older = hasattr(mudata, "set_options")  # newer versions pull no columns by themselves
    return mudata.set_options(pull_on_update=False) if older else nullcontext()


def pulled(whole: MuData, mod: str | None) -> AnnData:
    """Return one modality of a MuData, with the columns of ``obs`` that the whole alone has.

    Raises
    ------
    ValueError
        If `mod` is not given.
    KeyError
        If there is no such modality.
    """
    adata = get_adata(whole, mod)
    for column in whole.obs.columns.difference(adata.obs.columns):
        if column.split(":")[0] not in whole.mod:  # a copy of a modality's own column
            adata.obs[column] = whole.obs[column].reindex(adata.obs_names)
    return adata


def write(adata: AnnData, path: Path) -> None:
    """Write an h5ad, compressed. Texts that may be missing are written as they are.

    Raises
    ------
    OSError
        If the disk is full or the file cannot be written. What is left of it is removed.
    """
    import anndata as ad
    import h5py

    with path.open("w+b", buffering=0) as raw:
        disk = _Disk(raw)
        with h5py.File(disk, "w") as file, ad.settings.override(allow_write_nullable_strings=True):
            adata.strings_to_categoricals()  # as adata.write_h5ad does
            ad.io.write_elem(file, "/", adata, dataset_kwargs={"compression": "gzip"})
            if adata.raw is None:
                file.pop("raw", None)  # an empty one, which cannot be read with backed="r"
        if disk.error is not None:
            path.unlink()
            raise disk.error


class _Disk(io.RawIOBase):
    """A file that HDF5 may write to when the disk is full.

    HDF5 ends the whole process, without a message, when the system refuses to write its last
    blocks. So the first error is kept in `error`, and everything after it is dropped.
    """

    def __init__(self, raw: io.FileIO) -> None:
        self.raw = raw
        self.error: OSError | KeyboardInterrupt | None = None

    def write(self, data: memoryview) -> int:
        left = memoryview(data).cast("B")
        size = len(left)
        try:
            while len(left) and self.error is None:
                left = left[self.raw.write(left) :]
        except (OSError, KeyboardInterrupt) as err:
            self.error = err
        return size

    def readinto(self, data: memoryview) -> int:
        block = memoryview(data).cast("B")
        n = self.raw.readinto(block) or 0
        block[n:] = bytes(len(block) - n)  # what was dropped reads as zeros
        return len(block)

    def truncate(self, size: int | None = None) -> int:
        try:
            return self.raw.truncate(size)
        except OSError as err:
            self.error = self.error or err
            return size or 0

    def seek(self, offset: int, whence: int = 0) -> int:
        return self.raw.seek(offset, whence)

    def tell(self) -> int:
        return self.raw.tell()

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True
