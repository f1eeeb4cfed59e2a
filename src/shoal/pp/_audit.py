"""The audit of a split: every way in which the test can leak into training."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

import pandas as pd

from .._keys import EMBEDDINGS, SPLIT
from .._validate import key_in
from ..core._population import sides_of
from ..core._screen import labels
from ..core._slots import params_of
from . import _split_checks as checks
from ._image_encoders import encoder_keys
from ._split_checks import Facts, Finding
from ._split_fits import (
    Fit,
    embedding_fits,
    gene_fit,
    is_stale,
    known,
    pca_fit,
    train_key,
)
from ._split_position import position

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from anndata import AnnData

    from .._typing import Ints
    from ..core._screen import Screen


@dataclass(frozen=True)
class Check:
    """One way in which a test can leak into training.

    Attributes
    ----------
    what
        The leak in words.
    fix
        What to do about it.
    find
        Function that looks for the leak.
    """

    what: str
    fix: str
    find: Callable[[Facts], Finding]


def _pca(facts: Facts) -> Finding:
    fit = pca_fit(facts.adata)
    return (
        Finding("not applicable", 0, "there is no obsm['X_pca']")
        if fit is None
        else _judge(facts, fit, "the PCA")
    )


def _genes(facts: Facts) -> Finding:
    fit = gene_fit(facts.adata)
    if fit is None:
        return Finding(
            "ok",
            0,
            "no genes were chosen among those that are there; an earlier choice leaves no trace",
        )
    return _judge(facts, fit, "var['highly_variable']")


def _embeddings(facts: Facts) -> Finding:
    fits = embedding_fits(facts.adata)
    unknown = sorted(set(map(str, known(facts.adata, EMBEDDINGS))) - set(fits))
    found = {name: _judge(facts, fit, f"embedding {name!r}") for name, fit in fits.items()}
    for status in ("leak", "stale"):
        names = [name for name, finding in found.items() if finding.status == status]
        if names:
            return Finding(status, len(names), "; ".join(found[name].detail for name in names))
    if not found:
        words = (
            f"nothing tells how {', '.join(unknown)} were made"
            if unknown
            else "there are no embeddings"
        )
        return Finding("not applicable", len(unknown), words)
    return Finding("ok", 0, "; ".join(finding.detail for finding in found.values()))


def _encoders(facts: Facts) -> Finding:
    keys = encoder_keys(facts.adata)
    if not keys:
        return Finding("not applicable", 0, "no features were learned from crops")
    own = train_key(facts.adata, facts.side == checks.TRAIN)
    other = sorted(slot for slot, key in keys.items() if key != own)
    said = (
        f"obsm[{', '.join(map(repr, other or sorted(keys)))}]: learned from the training cells of"
    )
    if other:
        return Finding("stale", int(facts.held.sum()), f"{said} another split")
    return Finding("ok", 0, f"{said} this split")


def transductive(facts: Facts) -> dict[str, bool]:
    """Return which recorded embeddings have seen held-out cells, or may have seen them."""
    fits = embedding_fits(facts.adata).items()
    return {name: _judge(facts, fit, name).status in ("leak", "stale") for name, fit in fits}


def _judge(facts: Facts, fit: Fit, what: str) -> Finding:
    """Say whether something fitted on cells has seen held-out ones."""
    held = int(facts.held.sum())
    if fit.on in ("none", "control"):
        return Finding(
            "ok", 0, f"{what}: fitted on {'no' if fit.on == 'none' else 'control'} cells"
        )
    if fit.on == "train":
        if is_stale(facts.adata, fit, facts.side == checks.TRAIN):
            return Finding("stale", held, f"{what}: fitted on the training cells of another split")
        return Finding("ok", 0, f"{what}: fitted on the training cells of this split")
    if fit.on == "all":
        return Finding(
            "leak", held, f"{what}: fitted on all cells, {held} held-out ones among them"
        )
    return Finding(
        "leak",
        held,
        f"{what}: nothing tells on which cells; other tools take all, {held} held-out ones too",
    )


_REFIT = (
    "call sh.pp.prepare(adata, fit_on='control') before the split, or with fit_on='train' after it"
)

CHECKS: Mapping[str, Check] = MappingProxyType(
    {
        "same_condition": Check(
            "cells of one held-out unit are trained on",
            "hold out whole conditions with sh.pp.split",
            checks.same_condition,
        ),
        "two_spellings": Check(
            "one perturbation is held out under one name ('A+B') "
            "and trained on under another ('B+A')",
            "divide by canonical names, as sh.pp.split does",
            checks.two_spellings,
        ),
        "same_molecule": Check(
            "one drug is held out under one name and trained on under another",
            "give it one name, or hold out both",
            checks.same_molecule,
        ),
        "parts_seen": Check(
            "training knows more, or less, of the parts of held-out combinations "
            "than parts_seen says",
            "split again with the parts_seen that is meant",
            checks.parts_seen,
        ),
        "held_out_part": Check(
            "a held-out perturbation is trained on as part of a combination",
            "hold out these combinations as well, as sh.pp.split(by='perturbation') does",
            checks.held_out_part,
        ),
        "unseen_perturbation": Check(
            "a perturbation is held out wholly, where only its context, dose or guide "
            "should be new",
            "keep some of its cells in training",
            checks.unseen_perturbation,
        ),
        "control_cells": Check(
            "control cells serve as sources on both sides",
            "nothing: this is by design, and they are never scored",
            checks.control_cells,
        ),
        "shared_batches": Check(
            "cells of one condition and one replicate, plate or well are on both sides",
            "hold out whole conditions, or whole batches",
            checks.shared_batches,
        ),
        "position": Check(
            "held-out perturbations are in the same wells as in training",
            "show the control wells as perturbations too: what they score is the position's; a "
            "layout with other wells on every plate tells the two apart",
            position,
        ),
        "pca_fit": Check("the PCA has seen held-out cells", _REFIT, _pca),
        "gene_selection": Check(
            "the variable genes were chosen with held-out cells", _REFIT, _genes
        ),
        "embedding_fit": Check(
            "a perturbation embedding was fitted on held-out cells",
            "make the embedding again after the split, from training cells or from outside "
            "knowledge",
            _embeddings,
        ),
        "encoder_fit": Check(
            "features of crops were learned from held-out cells",
            "call sh.tl.encode_images again",
            _encoders,
        ),
        "identical_cells": Check(
            "exact copies of training cells are held out",
            "drop repeated cells before the split",
            checks.identical_cells,
        ),
    }
)


def run_checks(
    facts: Facts, accept: Collection[str] = (), *, of: Collection[str] = tuple(CHECKS)
) -> pd.DataFrame:
    """Return the audit of a split: index = check, columns status, n, detail.

    Parameters
    ----------
    facts
        The split.
    accept
        Checks whose leaks are accepted.
    of
        Checks to run.
    """
    found = {name: check.find(facts) for name, check in CHECKS.items() if name in of}
    rows = [
        (
            "accepted" if f.status in ("leak", "stale") and name in accept else f.status,
            f.n,
            f.detail,
        )
        for name, f in found.items()
    ]
    return pd.DataFrame(
        rows, columns=["status", "n", "detail"], index=pd.Index(list(found), name="check")
    )


def audit(adata: AnnData, screen: Screen, split: str = SPLIT) -> pd.DataFrame:
    """Check the split in ``obs[split]``, whoever wrote it.

    :func:`shoal.pp.split` records in ``uns[split]`` what is held out and which leaks are accepted.
    Without that record, a condition is perturbation x context x dose.

    Raises
    ------
    KeyError
        If there is no such column.
    ValueError
        If it holds anything but train, val, test and missing values, or if there is no training
        cell or no held-out cell.
    """
    key_in(split, adata.obs.columns, where="adata.obs", hint="sh.pp.split(adata) writes it.")
    side = sides_of(adata, split)
    if not ((side == checks.TRAIN).any() and (side > checks.TRAIN).any()):
        msg = (
            f"adata.obs[{split!r}] has {(side == 0).sum()} training and {(side > 0).sum()} "
            "held-out cells; both are needed"
        )
        raise ValueError(msg)
    facts, accept = facts_of(adata, screen, side, split)
    return run_checks(facts, accept)


def facts_of(
    adata: AnnData, screen: Screen, side: Ints, split: str
) -> tuple[Facts, tuple[str, ...]]:
    """Return what the checks of a split read, and the names of the leaks that were accepted.

    What is held out as a whole is what :func:`shoal.pp.split` recorded, where it did.

    Parameters
    ----------
    adata, screen
        The screen.
    side
        (n_obs,) position of every cell in train, val, test; -1 for none.
    split
        Name of the column.
    """
    params = params_of(adata, split)
    n_seen = params.get("parts_seen", "")
    facts = Facts(
        adata,
        screen,
        labels(adata, screen),
        side,
        by=params.get("by") or None,
        parts_seen=None if n_seen == "" else int(n_seen),
        zero_shot=bool(params.get("zero_shot", False)),
        well_key=params.get("well_key") or None,
    )
    return facts, tuple(filter(None, str(params.get("accept", "")).split(",")))


def refuse(
    table: pd.DataFrame, *, slot: str, stale: bool = True, call: str = "sh.pp.split"
) -> None:
    """Raise ``ValueError`` if an audit found leaks or, with `stale`, fits of another split.

    Parameters
    ----------
    table
        The audit.
    slot
        Where the split is.
    stale
        Whether fits of another split count too.
    call
        Function that takes ``accept=``.
    """
    bad = table[table["status"].isin(["leak", "stale"] if stale else ["leak"])]
    if len(bad):
        lines = [
            f"{name}: {row['detail']}. Fix: {CHECKS[str(name)].fix}" for name, row in bad.iterrows()
        ]
        accept = ", ".join(repr(str(name)) for name in bad.index)
        msg = (
            f"{slot} leaks. "
            + "; ".join(lines)
            + f". To accept it, say so: {call}(..., accept=[{accept}])"
        )
        raise ValueError(msg)
