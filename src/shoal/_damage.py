"""Files that cannot be read: what they are instead, and what to do about it."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from scipy import sparse

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from anndata import AnnData

COPY = "copy or download it again, and compare its size with that of the original"
STARTS = {  # how files begin that are often taken for an h5ad
    b"\x1f\x8b": "compressed with gzip: unpack it first, with gunzip",
    b"PK\x03\x04": "a zip: unpack it first, with unzip",
    b"BZh": "compressed with bzip2: unpack it first, with bunzip2",
    b"\xfd7zXZ": "compressed with xz: unpack it first, with unxz",
    b"\x28\xb5\x2f\xfd": "compressed with zstd: unpack it first, with unzstd",
    b"version https://git-lfs": "a pointer of Git LFS to the file: get that with git lfs pull",
    b"<": "a web page, as a download gives that was refused: download it again",
}


def what_else(path: Path) -> str:
    """Return what a file that is no HDF5 is, as far as its first bytes say so."""
    with path.open("rb") as file:
        start = file.read(64).lstrip()
    if not path.stat().st_size:
        return f"{path} is empty (0 bytes), as after a download that was broken off; {COPY}"
    for sign, kind in STARTS.items():
        if start.startswith(sign):
            return f"{path} is no HDF5 file, but {kind}"
    return (
        f"{path} is no HDF5 file, so it is neither an h5ad nor an h5mu nor an h5 of 10x; or its "
        f"beginning is damaged: {COPY}"
    )


@contextmanager
def reading(path: Path, what: str) -> Iterator[None]:
    """Have the block, which reads a file with another library, fail with the name of the file.

    Parameters
    ----------
    path
        The file, or the folder of a zarr store.
    what
        What it is taken for, such as ``"an h5ad"``.

    Raises
    ------
    OSError
        If the block fails. Errors of the system, such as a missing permission, are raised as they
        are.
    """
    try:
        yield
    except MemoryError:
        raise
    except Exception as err:
        if isinstance(err, OSError) and err.errno is not None:
            raise
        said = str(err.args[0] if isinstance(err, KeyError) and err.args else err)
        said = " ".join(said.partition("\n")[0].split()).removesuffix(".") or "no more is said"
        msg = (
            f"{path} cannot be read as {what} ({type(err).__name__}: {said}). Where it is damaged "
            f"or cut short, {COPY}. Where it can be read elsewhere, the libraries here may be "
            "older: pip install -U anndata"
        )
        raise OSError(msg) from err


def check_sparse(adata: AnnData, path: Path) -> None:
    """Raise ``OSError`` if a sparse matrix in memory points beyond its own values or columns."""
    matrices = {} if adata.isbacked else {"X": adata.X}
    matrices |= {name: adata.layers[name] for name in adata.layers if name is not None}
    for name, values in matrices.items():
        if not sparse.issparse(values) or values.format not in ("csr", "csc"):
            continue
        try:
            values.check_format(full_check=True)
        except ValueError as err:
            msg = (
                f"{path} is damaged: the sparse matrix {name!r} contradicts itself ({err}); {COPY}"
            )
            raise OSError(msg) from err


def check_blocks(root: Any, path: Path) -> None:
    """Raise ``OSError`` if blocks of the sparse matrices of a zarr store are not there.

    A block without a file reads as zeros. That is meant for dense matrices. The stored values of a
    sparse one are never all zero, nor are all their columns the first one.

    Parameters
    ----------
    root
        Group of the whole store.
    path
        Its folder.
    """
    wholes = [root[f"mod/{name}"] for name in root["mod"]] if "mod" in root else [root]
    for whole in wholes:
        names = ["X", *(f"layers/{name}" for name in whole.get("layers", ()))]
        for name in (name for name in names if name in whole):
            stored = whole[name]
            if stored.attrs.get("encoding-type") not in ("csr_matrix", "csc_matrix"):
                continue
            for part in {"data", "indices"} & set(stored):
                n = stored[part].nchunks if stored[part].shape[0] else 0
                missing = n - stored[part].nchunks_initialized
                if missing > 0:
                    msg = (
                        f"{path} is damaged: {missing} of {n} blocks of {name}/{part} are missing, "
                        f"as after a copy that was broken off; {COPY}. Where all values in it are "
                        "stored zeros, call eliminate_zeros() on it and write the store anew"
                    )
                    raise OSError(msg)
