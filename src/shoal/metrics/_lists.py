"""Ranked lists of genes: precision, area, correlation and the top of one list."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from .._typing import Bools, Floats


def average_precision(score: Floats, label: Bools) -> float:
    """Return the average precision of a ranking; NaN if all labels are the same.

    Tied scores are taken together.
    """
    n_positive = int(label.sum())
    if n_positive in (0, len(label)):
        return np.nan
    order = np.argsort(-score)
    ordered = score[order]
    last = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True))
    n_true = np.cumsum(label[order])[last]
    return float(np.diff(n_true, prepend=0) @ (n_true / (last + 1)) / n_positive)


def spearman(a: Floats, b: Floats) -> float:
    """Return Spearman's correlation; NaN for fewer than 2 values or where one side is constant."""
    return (
        float(spearman_rows(np.asarray(a)[None], np.asarray(b)[None])[0]) if len(a) > 1 else np.nan
    )


def ranks(values: Floats) -> Floats:
    """Return ranks from 1 in each row, ties averaged."""
    return pd.DataFrame(values).rank(axis=1).to_numpy()


def spearman_rows(x: Floats, y: Floats) -> Floats:
    """Return Spearman's correlation of each row of x with that of y; NaN for constant rows."""
    middle = (x.shape[1] + 1) / 2
    a, b = (ranks(values) - middle for values in (x, y))
    scale = np.sqrt(np.einsum("ij,ij->i", a, a) * np.einsum("ij,ij->i", b, b))
    return np.asarray(np.einsum("ij,ij->i", a, b) / np.where(scale > 0, scale, np.nan))


def roc_area(score: Floats, label: Bools) -> float:
    """Return the area under the ROC curve; NaN if all labels are the same."""
    n_positive = int(label.sum())
    pairs = n_positive * (len(label) - n_positive)
    above = ranks(score[None])[0, label].sum() - n_positive * (n_positive + 1) / 2
    return float(above / pairs) if pairs else np.nan


def first_hits(strength: Floats, hit: Bools, length: int) -> Floats:
    """Return (n,) how much of each gene is in the list of the `length` strongest hits.

    The value is 1 or 0; hits tied at the end of the list share the places that are left.
    """
    share = np.zeros(len(strength))
    of_hits = strength[hit]
    if len(of_hits) <= length:
        share[hit] = 1.0
        return share
    end = np.partition(of_hits, len(of_hits) - length)[len(of_hits) - length]
    above, tied = of_hits > end, of_hits == end
    share[hit] = above + tied * ((length - above.sum()) / tied.sum())
    return share


def checked_tables(
    named: Mapping[str, Floats], mask: Bools | None, alpha: float
) -> tuple[list[Floats], Bools]:
    """Return the tables as float64, and the mask.

    Raises
    ------
    ValueError
        If the shapes differ, or a value that counts is not finite (an FDR: not between 0 and 1).
    """
    if not 0 < alpha < 1:
        msg = f"alpha must be between 0 and 1, not {alpha!r}"
        raise ValueError(msg)
    tables = {name: np.asarray(table, dtype=np.float64) for name, table in named.items()}
    shapes = {name: table.shape for name, table in tables.items()}
    if len(set(shapes.values())) > 1 or any(len(shape) != 2 for shape in shapes.values()):
        msg = f"tables must be (conditions, genes) and of one shape, not {shapes}"
        raise ValueError(msg)
    shape = next(iter(shapes.values()))
    counted = np.ones(shape, dtype=bool) if mask is None else np.asarray(mask)
    if counted.shape != shape or counted.dtype != bool:
        msg = (
            f"mask must hold booleans of shape {shape}, "
            f"not {counted.dtype} of shape {counted.shape}"
        )
        raise ValueError(msg)
    for name, table in tables.items():
        bad = counted & ~(
            (table >= 0) & (table <= 1) if name.endswith("fdr") else np.isfinite(table)
        )
        if bad.any():
            what = (
                "values that are NaN or not between 0 and 1"
                if name.endswith("fdr")
                else "NaN or infinite values"
            )
            msg = (
                f"{name} holds {what} in {int(bad.any(axis=1).sum())} conditions; "
                "leave them out with mask="
            )
            raise ValueError(msg)
    return list(tables.values()), counted


def by_row(of_row: Callable[..., float], tables: Sequence[Floats], counted: Bools) -> Floats:
    """Return (P,) values of a function of the genes that count in each condition."""
    return np.array(
        [of_row(*(t[row, genes] for t in tables)) for row, genes in enumerate(counted)],
        dtype=np.float64,
    )
