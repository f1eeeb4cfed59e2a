"""Guides that were called in cells, and the genes that they target."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from .._logging import logger
from .._validate import shown, some
from ..core._table_files import joined_by, why_not
from ._forms import TENX

if TYPE_CHECKING:
    from anndata import AnnData

    from ._open import Opened

CALL, NUMBER = "feature_call", "num_features"
COLUMNS = (CALL, NUMBER, "num_umis")  # of protospacer_calls_per_cell.csv
TARGET = "guide_target"  # the column that is made
TARGET_COLUMNS = ("target_gene_name", "target_gene", "target")  # of a table of guides
IGNORED = "Ignore"  # what a feature reference of 10x writes for guides that do not count


def with_calls(
    opened: Opened,
    *,
    calls: str | PathLike[str] | None,
    targets: Mapping[str, str] | str | PathLike[str] | None,
    name: str,
) -> AnnData:
    """Return the cells of a file with the guides that were called in them, and their targets.

    Calls are looked for in `calls`, in the cells themselves, and in the other modalities. Genes
    that guides target are looked for in `targets`, and in the table of features of the guides.

    Parameters
    ----------
    opened
        What the file holds.
    calls
        Table of cells with their guides, as Cell Ranger writes it.
    targets
        Guide and its target, or the feature reference of Cell Ranger.
    name
        Name of the file, for messages.

    Returns
    -------
    The cells. ``obs["feature_call"]`` holds the guides of each, joined by ``|``, if calls are
    found, and ``obs["guide_target"]`` their targets, if these are known too.

    Raises
    ------
    ValueError
        If calls or targets are given twice, calls have no cell of the file, or a guide has no
        target.
    OSError
        If a table cannot be read.
    """
    adata = opened.adata
    if calls is not None:
        if CALL in adata.obs.columns:
            msg = f"{name} holds calls already, in obs[{CALL!r}]: leave calls= out"
            raise ValueError(msg)
        _join(adata, _read_calls(calls), str(calls))
    elif CALL not in adata.obs.columns and (found := _beside(opened)) is not None:
        _join(adata, found, name)
    if CALL not in adata.obs.columns:
        if targets is not None:
            msg = f"{name} holds no calls of guides, which targets= needs: give them with calls="
            raise ValueError(msg)
        return adata
    if TARGET in adata.obs.columns:
        if targets is not None:
            msg = f"{name} holds targets already, in obs[{TARGET!r}]: leave targets= out"
            raise ValueError(msg)
        return adata
    known = _targets(opened, targets)
    if known:
        adata.obs[TARGET] = _named_by_target(adata.obs[CALL], known, name)
    return adata


def tell_of_several(adata: AnnData) -> None:
    """Warn of cells with several guides, which are doublets in a screen of one guide a cell."""
    if NUMBER in adata.obs.columns:
        n = int((pd.to_numeric(adata.obs[NUMBER], errors="coerce") > 1).sum())
    else:
        called = adata.obs[CALL].astype(object).dropna().astype(str)
        n = int(called.str.contains(TENX.sep, regex=False).sum())
    if n:
        logger.warning(
            "%d of %d cells have several guides, and are read as combinations. If the screen has "
            "one guide a cell, they are doublets: adata = adata[~adata.obs[%r].astype(str)"
            ".str.contains('|', regex=False)].copy()",
            n,
            adata.n_obs,
            CALL,
        )


def advice(opened: Opened) -> str:
    """Return what is missing of the calls and targets of guides; empty where there are none."""
    if CALL in opened.adata.obs.columns:
        return (
            ". obs['feature_call'] holds guides: targets={guide: gene, ...}, or the feature "
            "reference of Cell Ranger as targets='feature_reference.csv', says which are controls "
            "and what the others target"
        )
    if not opened.guides:
        return ""
    return (
        f". It has counts of guides ({opened.guides!r}), but no calls of them: give the table of "
        "Cell Ranger, calls='.../crispr_analysis/protospacer_calls_per_cell.csv', or call the "
        "guides yourself and write obs['feature_call'], as 'guide1|guide2'"
    )


def _read_calls(path: str | PathLike[str]) -> pd.DataFrame:
    """Read ``protospacer_calls_per_cell.csv`` of Cell Ranger."""
    if not isinstance(path, (str, PathLike)):
        msg = f"calls must be the path of a table, not {shown(path)}"
        raise TypeError(msg)
    table = _table(path)
    if not {"cell_barcode", CALL} <= set(table.columns):
        msg = (
            f"{path} has the columns {some(list(table.columns))}; calls= takes a table with "
            f"'cell_barcode' and {CALL!r}, as protospacer_calls_per_cell.csv of Cell Ranger"
        )
        raise ValueError(msg)
    table = table.set_index("cell_barcode")
    if table.index.duplicated().any():
        twice = list(table.index[table.index.duplicated()])
        msg = f"{path} holds barcodes twice: {some(twice, 3)}; keep one row a cell"
        raise ValueError(msg)
    return table


def _table(path: str | PathLike[str]) -> pd.DataFrame:
    if not Path(path).is_file():
        msg = f"no such file: {path}"
        raise FileNotFoundError(msg)
    try:
        table = pd.read_csv(path)
    except (ValueError, EOFError) as err:  # of text, of its encoding, or of an empty file
        msg = f"{path} cannot be read as a csv: {why_not(err)}"
        raise ValueError(msg) from err
    other = joined_by(table.columns, ",")
    if other:
        msg = f"{path}: its columns are joined by {other!r}; write it with ','"
        raise ValueError(msg)
    return table


def _beside(opened: Opened) -> pd.DataFrame | None:
    """Return the calls in the cells of another modality."""
    tables = [one.obs for one in opened.others.values()]
    return next((table for table in tables if CALL in table.columns), None)


def _join(adata: AnnData, table: pd.DataFrame, where: str) -> None:
    """Write the calls of cells into ``obs``."""
    n = int(adata.obs_names.isin(table.index).sum())
    if not n:
        msg = (
            f"{where} has calls of none of the {adata.n_obs} cells: its barcodes are "
            f"{some(list(table.index[:2]))}, those of the cells {some(list(adata.obs_names[:2]))}"
        )
        raise ValueError(msg)
    for column in COLUMNS:
        if column in table.columns and column not in adata.obs.columns:
            adata.obs[column] = table[column].reindex(adata.obs_names).to_numpy()


def _targets(opened: Opened, targets: Any) -> Mapping[str, str]:
    """Return guide -> target: what the user gave, or what the table of the guides says."""
    if isinstance(targets, Mapping):
        return {str(guide): str(target) for guide, target in targets.items()}
    if targets is not None:
        table = _table(targets)
        key = next((one for one in TARGET_COLUMNS if one in table.columns), "")
        if "id" not in table.columns or not key:
            msg = (
                f"{targets} has the columns {some(list(table.columns))}; targets= takes a dict of "
                "guides, or a feature reference with 'id' and 'target_gene_name'"
            )
            raise ValueError(msg)
        named = dict(zip(table["id"].astype(str), table[key].astype(str), strict=True))
        if "name" in table.columns:
            named |= dict(zip(table["name"].astype(str), table[key].astype(str), strict=True))
        return named
    if not opened.guides:
        return {}
    var = opened.others[opened.guides].var
    key = next((one for one in TARGET_COLUMNS if one in var.columns), "")
    if not key:
        return {}
    found = dict(zip(var.index.astype(str), var[key].astype(str), strict=True))
    if "gene_ids" in var.columns:  # the identifiers of the guides; Cell Ranger calls by these
        found |= dict(zip(var["gene_ids"].astype(str), var[key].astype(str), strict=True))
    return found


def _named_by_target(column: pd.Series, targets: Mapping[str, str], name: str) -> pd.Categorical:
    """Return calls with the target of every guide in the place of the guide.

    Raises
    ------
    ValueError
        If a guide has no target.
    """
    called = [str(one) for one in column.dropna().unique()]
    guides = {guide for one in called for guide in one.split(TENX.sep)}
    without = sorted(guide for guide in guides if targets.get(guide, "nan") in ("nan", ""))
    if without:
        msg = (
            f"{name}: {len(without)} of {len(guides)} guides have no target, such as "
            f"{some(without, 3)}: name all of them, with targets={{guide: gene}}"
        )
        raise ValueError(msg)
    label: dict[str, str | None] = {}
    for one in called:
        parts = [targets[guide] for guide in one.split(TENX.sep)]
        label[one] = TENX.sep.join(p for p in dict.fromkeys(parts) if p != IGNORED) or None
    texts = [label[str(one)] if pd.notna(one) else None for one in column.astype(object)]
    return pd.Categorical(texts)
