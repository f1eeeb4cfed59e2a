"""What a table, an AnnData of profiles, or the screen's own control cells say of contexts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from anndata import AnnData

from .._logging import logger
from .._validate import some, unique_cells, unique_genes
from ..core._choose import choose
from ..core._codes import places
from ..core._matrix import as_rows
from ..core._scale import look
from ..core._scale_check import ANY, EXPRESSION, require
from ..metrics._cells import densify
from ._context_request import ContextRequest, Profiles
from ._embed_source import from_table, named_rows

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

CONTROLS = "controls"
MILLION = 1e6  # total of a profile before its logarithm is taken
EMPTY = "its vector is all zeros"
FEW = 20  # control cells of a context from which its mean is a rough one


def profiles_of(request: ContextRequest) -> Profiles:
    """Return what the source says of the contexts."""
    if isinstance(request.source, str) and request.source == CONTROLS:
        return _of_controls(request)
    if isinstance(request.source, AnnData):
        return _of_bulk(request, request.source)
    return _of_table(request)


def _of_table(request: ContextRequest) -> Profiles:
    """Return the rows of a table, looked up by name."""
    frame = named_rows(request.source, [request.aliases.get(k, k) for k in request.keys])
    called, absent = matched(request.keys, frame.index, request.aliases)
    found = from_table(frame, list(dict.fromkeys(called.values())))
    held = [key for key in called if called[key] in found.values.index]
    absent |= {key: found.absent[called[key]] for key in called if key not in held}
    values = found.values.loc[[called[key] for key in held]]
    values = values.set_axis(pd.Index(held, dtype=object), axis=0)
    return Profiles(
        values.set_axis(values.columns.astype(str), axis=1), absent, called, reduced=False
    )


def _of_bulk(request: ContextRequest, bulk: AnnData) -> Profiles:
    """Return the rows of an AnnData of profiles, one row a context, on a logarithm.

    Raises
    ------
    ValueError
        If names of genes are not unique, or values are NaN or infinite.
    """
    unique_genes(bulk, name="source")
    unique_cells(bulk, name="source")
    rows = as_rows(choose(bulk)[0], slot="source.X")
    scale = require(look(rows), slot="source.X", what="a profile", accept=ANY, cells=bulk.obs_names)
    called, absent = matched(request.keys, bulk.obs_names, request.aliases)
    at = places(bulk.obs_names.astype(str), called.values())
    order = np.unique(at)
    values = densify(rows.take(order)).astype(np.float64)[np.searchsorted(order, at)]
    if scale.kind in ("linear", "counts"):
        total = values.sum(axis=1, keepdims=True)
        values = np.log1p(values * (MILLION / np.where(total > 0, total, 1.0)))
        logger.info("the profiles hold %s; log1p of their share of a million is taken", scale.words)
    empty = ~values.any(axis=1)
    absent |= {key: EMPTY for key, none in zip(called, empty, strict=True) if none}
    called = {key: name for key, name in called.items() if key not in absent}
    index = pd.Index(list(called), dtype=object)
    frame = pd.DataFrame(values[~empty], index=index, columns=bulk.var_names)
    return Profiles(frame, absent, called)


def _of_controls(request: ContextRequest) -> Profiles:
    """Return the mean control cell of each context of the screen.

    Raises
    ------
    ValueError
        If the values are no log-normalised genes or features.
    """
    cells = request.cells
    in_genes = cells.use_rep in (None, "X")
    require(
        cells.scale,
        slot=cells.rows.slot or "X",
        what="a vector of contexts",
        accept=EXPRESSION if in_genes else ANY,
        cells=cells.adata.obs_names,
    )
    n = np.bincount(
        cells.context[cells.labels.is_control & (cells.context >= 0)],
        minlength=len(cells.contexts),
    )
    place = {name: i for i, name in enumerate(cells.contexts)}
    held = [key for key in request.keys if key in place and n[place[key]] > 0]
    absent = {
        key: "no control cell in the screen" if key in place else "not in the screen"
        for key in request.keys
        if key not in held
    }
    rough = [key for key in held if n[place[key]] < FEW]
    if rough and in_genes and cells.scale.kind == "log":  # not wells, say
        logger.warning(
            "vectors of contexts with fewer than %d control cells are rough: %s", FEW, some(rough)
        )
    values = cells.control_means[[place[key] for key in held]].astype(np.float64)
    frame = pd.DataFrame(values, index=pd.Index(held, dtype=object), columns=list(cells.features))
    return Profiles(frame, absent, n_fit=int(n.sum()))


def matched(
    keys: Sequence[str], known: Iterable[Any], aliases: Any
) -> tuple[dict[str, str], dict[str, str]]:
    """Return the name of each context in a source, and why others have none.

    A context has the name that `aliases` gives, else its own, else the only name that is spelled
    alike but for capitals, blanks and signs: ``"U2OS"`` and ``"U-2 OS"``.

    Raises
    ------
    ValueError
        If `aliases` names something that the source does not hold.
    """
    names = [str(name) for name in known]
    held = set(names)
    wrong = [f"{key!r} as {name!r}" for key, name in aliases.items() if name not in held]
    strange = [key for key in aliases if key not in keys]
    if strange:
        logger.warning(
            "aliases: %s %s no context of the screen or of names=: the contexts are %s",
            *(some(strange, 6), "are" if len(strange) > 1 else "is", some(keys)),
        )
    if wrong:
        msg = f"aliases: not in the source are {', '.join(wrong[:6])}"
        raise ValueError(msg)
    folded: dict[str, list[str]] = {}
    for name in dict.fromkeys(names):
        folded.setdefault(_folded(name), []).append(name)
    called: dict[str, str] = {}
    absent: dict[str, str] = {}
    guessed: dict[str, str] = {}
    for key in keys:
        alike = folded.get(_folded(key), [])
        if key in aliases or key in held:
            called[key] = aliases.get(key, key)
        elif len(alike) == 1:
            called[key] = guessed[key] = alike[0]
        elif alike:
            absent[key] = f"spelled like several of the source, {some(alike)}: say which, aliases="
        else:
            absent[key] = f"not in the source, which holds {some(names, 4)}"
    if guessed:
        shown = ", ".join(f"{key!r} is {name!r}" for key, name in guessed.items())
        logger.info("contexts whose names are written differently in the source: %s", shown)
    return called, absent


def _folded(name: str) -> str:
    """Return a name without capitals, blanks and signs; the name itself if it has nothing else."""
    return "".join(c for c in name.casefold() if c.isalnum()) or name
