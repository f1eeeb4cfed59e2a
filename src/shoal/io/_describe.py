"""What a file holds, in words, and which call would read it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._validate import some
from ..core._control_labels import is_usual, looks_like_control
from ..core._screen import raw_counts
from ._forms import FORMS, NAMES

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from anndata import AnnData

MOST = 12  # columns that are described
FEW = 2_000  # labels of a column that may hold perturbations


def call(name: str, key: str = "perturbation", control: Sequence[str] = ()) -> str:
    """Return the call that reads a file by a column and its control labels."""
    labels = repr(control[0]) if len(control) == 1 else list(control) if control else "..."
    return f"sh.io.read({name!r}, {key!r}, control={labels})"


def shown(column: pd.Series) -> str:
    """Return the commonest labels of a column, for a message."""
    counts = raw_counts(column)
    return some(sorted(counts, key=lambda label: -counts[label]), 8)


def what_is_there(adata: AnnData, name: str, named: Sequence[str] | None = None) -> str:
    """Return what a file holds, for a file of no known form, and the call that reads it."""
    columns = [_column(adata.obs[key], str(key)) for key in adata.obs.columns[:MOST]]
    more = f" and {len(adata.obs.columns) - MOST} more" if len(adata.obs.columns) > MOST else ""
    layers = [key for key in adata.layers if key is not None]
    genes = some(list(adata.var_names[:3]))
    control = f"{some(named)}, as control= says" if named else "a usual control label"
    return (
        f"{name} has none of the forms that are known ({', '.join(f.title for f in FORMS)}), and "
        f"no column of a usual name holds {control}. It has {adata.n_obs} cells and "
        f"{adata.n_vars} genes. obs: {', '.join(columns) or 'no column'}{more}. var: {genes}, ...; "
        f"columns {some(list(adata.var.columns))}. layers: {some(layers)}. Say which column holds "
        f"the perturbations and which labels are controls: {_suggestion(adata, name)}"
    )


def _column(column: pd.Series, key: str) -> str:
    if column.dtype.kind == "f":
        return f"{key!r} (numbers)"
    n = column.nunique()
    return f"{key!r} ({n} values, such as {some(list(column.dropna().unique()[:2]))})"


def _suggestion(adata: AnnData, name: str) -> str:
    """Return the calls by the columns that hold control labels; one to fill in if none does.

    Columns of labels that only look like those of controls, as guides of controls do, count where
    no column holds a usual one.
    """
    sure, calls, named = [], [], [key for key in NAMES if key in adata.obs.columns]
    for key in adata.obs.columns:
        if adata.obs[key].dtype.kind == "f" or adata.obs[key].nunique() > FEW:
            continue
        found = raw_counts(adata.obs[key])
        usual = [one for one in found if is_usual(one)]
        control = usual or [one for one in found if looks_like_control(one)]
        if control and len(found) > len(control):
            (sure if usual else calls).append(call(name, str(key), control))
    if sure or calls:
        return " or ".join((sure or calls)[:3])
    return f"sh.io.read({name!r}, {(named or ['column of obs'])[0]!r}, control='label')"
