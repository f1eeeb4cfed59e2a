"""A screen from a file, as it comes, with its design recorded."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from .._validate import flag, one_of, some, text
from ..core._screen import Screen, resolve
from ..core._screen import read as read_labels
from ..core._slots import recorded_screen
from ..pp._annotate import annotate
from . import _calls, _samples
from ._describe import shown
from ._open import Opened, open_file
from ._recognise import Found, parts_join, recognise
from ._roles import AUTO, roles_of
from ._tell import make_unique, tell, tell_recorded

if TYPE_CHECKING:
    from anndata import AnnData

    File = str | os.PathLike[str]


def read(
    path: File | Sequence[File] | Mapping[str, File],
    perturbation_key: str | None = None,
    *,
    control: str | Sequence[str] | None = None,
    context_key: str | None = "auto",
    batch_key: str | None = "auto",
    dose_key: str | None = "auto",
    guide_key: str | None = "auto",
    gene_key: str | None = None,
    sep: str | None = None,
    missing: Literal["raise", "ignore"] | None = None,
    calls: File | Mapping[str, File] | None = None,
    targets: Mapping[str, str] | File | None = None,
    mod: str | None = None,
    backed: bool = False,
) -> AnnData:
    """Read a perturbation screen in the form in which it comes, and record its design.

    These forms are known: GEARS, scPerturb, State and cell-eval, cell-eval2 and the Virtual Cell
    Challenge 2026, Replogle et al. 2022, 10x CRISPR guide capture, and profiles of images from
    mantispy. So is any file in which one column of a usual name, such as ``"gene_target"``, holds
    one usual control label, such as ``"NT"``, and one that :func:`shoal.pp.annotate` has annotated.

    What was recognised, and which columns were left alone, is logged once. No column and no control
    label is guessed otherwise: what is not clear is an error that says what the file holds and
    which call reads it.

    Parameters
    ----------
    path
        File, or several files of one screen: a list, or a dict of the names of samples and their
        files. A file is an h5ad, an h5mu, a zarr store of either, or an h5 of 10x.
    perturbation_key
        Column of ``obs`` with the perturbations. That of the form if ``None``.
    control
        Label, or labels, of control cells. Those of the form if ``None``.
    context_key, batch_key, dose_key, guide_key
        Column of ``obs`` with these. ``"auto"`` takes that of the form, if it has several values
        and, for a context or batch, control cells in each; ``None`` takes none. The batches of
        several files are the samples.
    gene_key
        Column of ``var`` with the symbols of genes, as in :func:`shoal.pp.annotate`.
    sep
        Text between the parts of a combination. That of the form if ``None``.
    missing
        What a cell without a label is: an error, or a cell that belongs to no group. That of the
        form if ``None``: cells without a label are usual in scPerturb, 10x and mantispy.
    calls
        ``protospacer_calls_per_cell.csv`` of Cell Ranger, for an h5 of 10x. A dict by sample for
        several files.
    targets
        Target of every guide, as a dict or as the feature reference of Cell Ranger. It is not
        needed where the file says so itself.
    mod
        Modality with the genes, of an h5mu that has several and none called ``"rna"``.
    backed
        Whether the matrix stays on disk: an h5ad, an h5mu, or a zarr store of an AnnData.

    Returns
    -------
    AnnData with the values as they are, and the design in ``uns["shoal"]``. Of several modalities
    it is the one with the genes. Names of cells or genes that are there twice get numbers. Calls of
    guides are in ``obs["feature_call"]``, and their targets in ``obs["guide_target"]``.

    Raises
    ------
    TypeError
        If an argument has the wrong type.
    OSError
        If a file does not exist or cannot be read.
    KeyError
        If a named column, label or modality does not exist.
    ValueError
        - If the file has none of the known forms, or a part of one.
        - If several columns could hold the perturbations, or the context, or guides say that the
          perturbations are elsewhere.
        - If no usual label is there for controls, or several are.
        - If cells have no label, and `missing` is ``"raise"``.
        - If samples are on different scales, have no gene in common, or lack the column.
        - If it is not clear what joins combinations.

    Examples
    --------
    >>> import shoal as sh
    >>> adata = sh.ds.simulate(n_perturbations=4, rng=0)
    >>> adata.write_h5ad("screen.h5ad")
    >>> adata = sh.io.read("screen.h5ad")
    >>> adata.uns["shoal"]["perturbation_key"]
    'perturbation'
    """
    flag(backed, name="backed")
    if missing is not None:
        one_of(missing, ("raise", "ignore"), name="missing")
    given = {"context_key": context_key, "batch_key": batch_key}
    given |= {"dose_key": dose_key, "guide_key": guide_key}
    for argument, key in (*given.items(), ("gene_key", gene_key), ("sep", sep), ("mod", mod)):
        if key is not None:
            text(key, name=argument)
    if isinstance(path, str | os.PathLike):
        opened, name = _one(path, calls, targets, mod, backed=backed), str(path)
    else:
        opened, name = _all(path, calls, targets, mod, backed=backed), _several(path)
    adata = opened.adata
    if not adata.n_obs:
        msg = f"{name} holds no cells ({adata.n_vars} genes): write it anew, with cells"
        raise ValueError(msg)
    make_unique(adata)
    asked = any(one is not None for one in (perturbation_key, control, gene_key, sep, missing))
    asked = asked or any(key != AUTO for key in given.values())
    if recorded_screen(adata) is not None and not asked:
        tell_recorded(adata, resolve(adata), name)
        return adata
    try:
        found = recognise(adata, name, perturbation_key, control)
    except ValueError as err:
        msg = f"{err}{_calls.advice(opened)}"
        raise ValueError(msg) from None
    if opened.sample:
        found = _by_sample(adata, found, opened.sample)
    sep = _separator(adata, found, name) if sep is None else sep
    missing = found.form.missing if missing is None else missing
    if missing == "raise":
        _check_missing(adata, found, name)
    screen = Screen(found.key, found.control, sep=sep, missing="ignore")
    roles = roles_of(
        adata, found, read_labels(adata, screen), given, name, named=perturbation_key is not None
    )
    annotate(
        adata,
        found.key,
        control=found.control,
        sep=sep,
        missing=missing,
        gene_key=gene_key,
        overwrite=True,
        **roles.keys,
    )
    tell(opened, found, roles, name)
    return adata


def _one(
    path: File, calls: Any, targets: Any, mod: str | None, *, backed: bool, name: str = ""
) -> Opened:
    """Return what one file holds, with the calls of guides in its cells."""
    opened = open_file(path, mod=mod, backed=backed)
    adata = _calls.with_calls(opened, calls=calls, targets=targets, name=name or str(path))
    return replace(opened, adata=adata)


def _all(path: Any, calls: Any, targets: Any, mod: str | None, *, backed: bool) -> Opened:
    """Return what several files hold, as one."""
    files = _samples.named(path)
    if backed:
        msg = (
            "backed=True reads one file, and several were given: read them into memory, write the "
            "result with adata.write_h5ad, and read that with backed=True"
        )
        raise ValueError(msg)
    if calls is not None and not (isinstance(calls, Mapping) and set(calls) == set(files)):
        msg = f"calls must be a dict with one table for each of the samples {some(list(files))}"
        raise ValueError(msg)
    of = dict.fromkeys(files) if calls is None else calls
    opened = {
        name: _one(file, of[name], targets, mod, backed=False, name=f"sample {name!r}")
        for name, file in files.items()
    }
    cells, sample = _samples.joined({name: one.adata for name, one in opened.items()})
    return Opened(cells, next(iter(opened.values())).others, sample)


def _several(path: Any) -> str:
    """Return the files as they were named, for messages."""
    if isinstance(path, Mapping):
        return f"{len(path)} samples ({some(list(map(str, path)), 3)})"
    return f"{len(path)} files ({some([Path(one).name for one in path], 3)})"


def _by_sample(adata: AnnData, found: Found, sample: str) -> Found:
    """Return the form with the samples as its batches, once each sample has labels.

    Raises
    ------
    ValueError
        If no cell of a sample has a label.
    """
    n = adata.obs.groupby(sample, observed=True)[found.key].count()
    without = [str(one) for one in n.index[n == 0]]
    if without:
        msg = (
            f"no cell of the samples {some(without)} has a label in obs[{found.key!r}], as the "
            "others have: bring their columns to one name first, or leave them out"
        )
        raise ValueError(msg)
    return replace(found, form=replace(found.form, batch=(sample,)))


def _separator(adata: AnnData, found: Found, name: str) -> str:
    """Return what joins the parts of combinations.

    Raises
    ------
    ValueError
        If the numbers of parts do not say so.
    """
    sep = parts_join(adata, found)
    if sep is None:
        msg = (
            f"{name}: obs[{found.form.n_parts!r}] says that cells have several perturbations, and "
            f"no one text between the parts of the labels of obs[{found.key!r}] agrees with its "
            f"numbers ({shown(adata.obs[found.key])}). Say what joins them, as in "
            f"sh.io.read({name!r}, sep='_'); sep='' if no label is a combination"
        )
        raise ValueError(msg)
    return sep


def _check_missing(adata: AnnData, found: Found, name: str) -> None:
    """Raise ``ValueError`` if cells have no label."""
    texts = adata.obs[found.key].astype(object)
    n = int((texts.isna() | (texts.astype(str).str.strip() == "")).sum())
    if n:
        msg = (
            f"{name}: {n} of {adata.n_obs} cells have no label in obs[{found.key!r}]. "
            f"sh.io.read({name!r}, missing='ignore') leaves them out of every group"
        )
        raise ValueError(msg)
