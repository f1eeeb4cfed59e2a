"""Checks of an embedding: names in the source, missing perturbations, and equal vectors."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from .._logging import logger
from .._validate import key_in, some
from ._embed_names import other_kind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

    from ..core._screen import Labels, Screen
    from ._embed_source import Vectors

MOST_NAMED = 200  # missing perturbations that one message lists


def keys_of(
    adata: AnnData,
    screen: Screen,
    labelled: Labels,
    perturbations: Sequence[str],
    targets: Mapping[str, str] | str | None,
) -> dict[str, str]:
    """Return perturbation -> its name in the source, which is its own name if `targets` has none.

    Raises
    ------
    ValueError
        If `targets` names no perturbation, or a column holds several targets of one.
    KeyError
        If there is no such column.
    TypeError
        If `targets` is neither.
    """
    if not (targets is None or isinstance(targets, str | Mapping | pd.Series)):
        msg = (
            "targets must be a mapping from perturbations to their names in the source, or the "
            f"column of obs that has these, not {targets!r}"
        )
        raise TypeError(msg)
    if targets is None:
        return {name: name for name in perturbations}
    by_name = (
        target_column(adata, screen, labelled, targets) if isinstance(targets, str) else targets
    )
    if not isinstance(targets, str):
        by_name = {_single(screen, str(name)): str(key) for name, key in by_name.items()}
    unknown = [name for name in by_name if name not in set(perturbations)]
    if len(unknown) == len(by_name):
        n, first = len(perturbations), perturbations[0]
        msg = f"targets names none of the {n} perturbations, such as {first!r}"
        raise ValueError(msg)
    untold = [name for name in perturbations if name not in by_name]
    if unknown and untold and not isinstance(targets, str):
        logger.warning(
            "targets: %d of its %d names are no perturbations here: %s; and %d perturbations, such "
            "as %s, are looked for by their own names",
            *(len(unknown), len(by_name), some(unknown, 6), len(untold), some(untold, 3)),
        )
    return {name: by_name.get(name, name).strip() for name in perturbations}


def _single(screen: Screen, name: str) -> str:
    """Return a perturbation as a single one is named: ``"A"`` also where it is ``"A+control"``."""
    parts = screen.parts(name)
    return parts[0] if len(parts) == 1 else name


def target_column(adata: AnnData, screen: Screen, labelled: Labels, key: str) -> dict[str, str]:
    """Return perturbation -> value of a column of obs, over the cells of single perturbations.

    Raises
    ------
    ValueError
        If the cells of a perturbation hold several values.
    KeyError
        If there is no such column.
    """
    key_in(key, adata.obs.columns, where="adata.obs", hint="(given as targets)")
    parts = [screen.parts(name) for name in labelled.names]
    single = np.array([p[0] if len(p) == 1 else None for p in parts] + [None, None], dtype=object)
    pairs = (
        pd.DataFrame({"name": single[labelled.code], "target": adata.obs[key].to_numpy()})
        .dropna()
        .drop_duplicates()
    )
    several = sorted(set(pairs["name"][pairs["name"].duplicated()]))
    if several:
        values = ", ".join(map(repr, pairs["target"][pairs["name"] == several[0]][:4]))
        msg = (
            f"targets: {len(several)} perturbations have several values of obs[{key!r}], "
            f"such as {several[0]!r}: {values}"
        )
        raise ValueError(msg)
    return dict(zip(pairs["name"], pairs["target"].astype(str), strict=True))


def refuse_missing(vectors: Vectors, key_of: Mapping[str, str], *, method: str, drop: bool) -> None:
    """Raise ``ValueError`` with the perturbations that have no vector; if `drop`, log them."""
    lost = [name for name, key in key_of.items() if key not in vectors.values.index]
    if not lost:
        return
    reasons: dict[str, list[str]] = {}
    for name in lost:
        key = key_of[name]
        reasons.setdefault(vectors.absent[key], []).append(
            repr(name) if key == name else f"{name!r} (as {key!r})"
        )
    listed = "; ".join(f"{why}: {_listed(which)}" for why, which in sorted(reasons.items()))
    said = (
        f"{len(lost)} of {len(key_of)} perturbations have no vector by method={method!r}; {listed}"
    )
    if drop and len(lost) < len(key_of):
        logger.warning("%s. They are left out", said)
        return
    guess = _other_case(vectors, {name: key_of[name] for name in lost})
    all_lost = len(lost) == len(key_of)
    holds = f", which holds {some(list(map(str, vectors.known)), 4)}" if all_lost else ""
    fix = ["choose another method"]
    if all_lost and (kind := other_kind(list(key_of.values()), vectors.known)):
        fix.insert(0, kind)
    if len(vectors.known):
        fix.insert(
            0,
            f"pass targets={guess!r}"
            if guess
            else f"say with targets= what they are called in the source{holds}",
        )
    if not drop:
        fix.append("leave them out with missing='drop'")
    msg = f"{said}. To mend it, {', or '.join(fix)}"
    raise ValueError(msg)


def warn_identical(table: pd.DataFrame, smiles: Mapping[str, str]) -> None:
    """Warn of one molecule under several names, and of other perturbations with the same vector.

    Vectors are the same if they agree to six digits of the largest entry.
    """
    drugs = same_values(pd.Series(smiles, dtype=object))
    if drugs:
        msg = (
            "one molecule under several names, so that one in training gives away another in test; "
            f"give it one name, or hold them out together: {_groups(drugs)}"
        )
        warnings.warn(msg, UserWarning, stacklevel=4)
    values = table.to_numpy()
    unit = float(np.abs(values).max(initial=0)) * 1e-6 or 1.0
    same = same_values(
        pd.Series(
            [np.rint(row / unit).astype(np.int64).tobytes() for row in values], index=table.index
        )
    )
    if others := [names for names in same if names not in drugs]:
        msg = (
            "perturbations with the same vector cannot be told apart by a model, and one in "
            f"training gives away another in test: {_groups(others)}"
        )
        warnings.warn(msg, UserWarning, stacklevel=4)


def same_values(column: pd.Series) -> list[list[str]]:
    """Return the names that share a value, in groups, sorted."""
    return sorted(
        sorted(names) for names in column.groupby(column).groups.values() if len(names) > 1
    )


def _groups(several: Sequence[Sequence[str]]) -> str:
    shown = "; ".join(" = ".join(map(repr, names)) for names in several[:12])
    return shown + (f" and {len(several) - 12} more" if len(several) > 12 else "")


def _other_case(vectors: Vectors, lost: Mapping[str, str]) -> dict[str, str]:
    """Return a few lost perturbations that the source holds in other capitals or spacing."""
    folded = {str(k).strip().casefold(): str(k) for k in vectors.known}
    found = {
        name: folded[key.strip().casefold()]
        for name, key in lost.items()
        if key.strip().casefold() in folded
    }
    return {name: key for name, key in list(found.items())[:6] if key != lost[name]}


def _listed(names: Sequence[str]) -> str:
    rest = len(names) - MOST_NAMED
    return ", ".join(names[:MOST_NAMED]) + (f" and {rest} more" if rest > 0 else "")
