"""Edges of a network, from a table, a file, gene sets, or a network that is downloaded."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from .._compat import require
from .._logging import logger
from .._validate import some
from ._gene_sets import read_gene_sets
from ._table_files import read_file

WEIGHTS = ("weight", "importance")  # columns of weights; GEARS calls its second
KNOWN = ("collectri", "dorothea")  # networks that decoupler downloads


def read_edges(source: Any, *, signed: bool = False) -> pd.DataFrame:
    """Return edges with columns ``source``, ``target`` (text) and ``weight``.

    Gene sets become the edges between sets and genes. Weights have their signs if they are to be
    `signed`, and are absolute values otherwise. Names are read without blanks at their ends.

    Raises
    ------
    ValueError
        If the columns do not say which are the ends of an edge, or weights are missing.
    TypeError
        If the source is of another kind.
    """
    if isinstance(source, str) and source in KNOWN:
        frame = getattr(require("decoupler", extra="net").op, source)()
    elif isinstance(source, Mapping) or (
        isinstance(source, str | Path) and Path(source).suffix == ".gmt"
    ):
        members = [
            (f"set: {name}", gene)
            for name, genes in read_gene_sets(source).items()
            for gene in genes
        ]
        frame = pd.DataFrame(members, columns=["source", "target"])
    elif isinstance(source, str | Path):
        frame = read_file(Path(source))
    elif isinstance(source, pd.DataFrame):
        frame = source
    else:
        msg = (
            "source of a network must be an edge list (DataFrame or path), gene sets (mapping or "
            f"GMT path), or one of {', '.join(map(repr, KNOWN))}; not {type(source).__name__}"
        )
        raise TypeError(msg)
    if not len(frame):
        msg = "source: there are no edges"
        raise ValueError(msg)
    ends, weight = _columns(frame)
    blank = frame[ends].isna() | (frame[ends].astype(str).apply(lambda c: c.str.strip()) == "")
    unnamed = int(blank.any(axis=1).sum())
    if unnamed:
        msg = (
            f"source: {unnamed} of {len(frame)} edges have no name in {ends[0]!r} or {ends[1]!r}; "
            "drop them"
        )
        raise ValueError(msg)
    text = [frame[end].astype(str).str.strip() for end in ends]
    edges = pd.DataFrame(dict(zip(("source", "target"), text, strict=True)))
    edges["weight"] = 1.0 if weight is None else frame[weight].astype(np.float64)
    edges["weight"] = edges["weight"] if signed else edges["weight"].abs()
    wrong = ~np.isfinite(edges["weight"])
    if wrong.any():
        first = edges[wrong].iloc[0]
        msg = (
            f"source: {int(wrong.sum())} edges have no finite {weight!r}, such as "
            f"{first['source']!r} to {first['target']!r}; drop or fill them"
        )
        raise ValueError(msg)
    return edges


def _columns(frame: pd.DataFrame) -> tuple[list[Any], Any]:
    """Return the two columns with the ends of edges, and that of weights.

    They are found by name (``source``, ``target``, ``weight`` or ``importance``), or as the only
    two columns of text and the only column of numbers.

    Raises
    ------
    ValueError
        If it is not clear which they are, or names of columns are an edge themselves.
    """
    if "weight" in frame.columns and not pd.api.types.is_numeric_dtype(frame["weight"]):
        msg = "source: the column 'weight' of the edges does not hold numbers"
        raise ValueError(msg)
    numbers = [c for c in frame.columns if pd.api.types.is_numeric_dtype(frame[c])]
    if {"source", "target"} <= set(frame.columns):
        ends: list[Any] = ["source", "target"]
        unread = numbers
        numbers = [c for c in WEIGHTS if c in numbers][:1]
        unread = [c for c in unread if c not in ends and not str(c).startswith("Unnamed: ")]
        if unread and not numbers:
            logger.warning(
                "source: no column of the edges is named 'weight', and all count the same: %s %s "
                "not read. If one holds weights, call it 'weight'",
                *(some(unread), "are" if len(unread) > 1 else "is"),
            )
    else:
        ends = [c for c in frame.columns if c not in numbers]
        numbers = ["weight"] if "weight" in numbers else numbers
    if len(ends) != 2 or len(numbers) > 1:
        msg = (
            f"source: which columns of {list(frame.columns)} are the ends of an edge and its "
            "weight? Name them 'source', 'target' and, where there is one, 'weight'"
        )
        raise ValueError(msg)
    names = {str(end) for end in ends} - {"source", "target"}
    if names and not names.isdisjoint(set(frame[ends].astype(str).to_numpy().ravel())):
        msg = (
            f"source: the columns are named {some(ends)}, which are names of nodes too, as where a "
            "file has no header: name the columns 'source' and 'target'"
        )
        raise ValueError(msg)
    return ends, numbers[0] if numbers else None
