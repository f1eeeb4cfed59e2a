"""What an interrupted training of an ensemble had finished: one file for each member and fold."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from ..._digest import digest_of
from ..._logging import logger
from ..base._embedding import vectors_of
from ..base._files import MODEL, read_model, write_model
from ..base._registry import model_class, registered

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import pandas as pd

    from ..._typing import Floats, Ints, Matrix
    from ...core._population import Population
    from ..base._context_vectors import ContextVectors
    from ._members import Member

CLOSE = 1e-4  # relative difference of measured responses that sums in another order make
PARTS: Mapping[str, str] = MappingProxyType(
    {
        "seed": "the seed (rng=)",
        "features": "the features",
        "cells": "the perturbations of the cells, or their order",
        "folds": "the inner folds (the split, by=, n_folds= or rng=)",
        "embedding": "the vectors of perturbations (embedding=)",
        "context_embedding": "the vectors of contexts (context_embedding=)",
    }
)
"""What a training depends on -> what it is called."""


class Finished:
    """What members answered to the conditions that folds leave out, in files.

    Where they cannot be written, a warning says so once, and the training goes on without them.

    Parameters
    ----------
    folder
        Folder of the files; nothing is kept if ``None``.
    resume
        Whether to read files that are there. Otherwise they are written anew.
    cells, folds, seed, embedding, context_vectors
        What the training depends on. Files of another training are refused.
    """

    def __init__(
        self,
        folder: str | Path | None,
        *,
        resume: bool,
        cells: Population,
        folds: Sequence[Ints],
        seed: int,
        embedding: str | pd.DataFrame | None = None,
        context_vectors: ContextVectors | None = None,
    ) -> None:
        if resume and folder is None:
            msg = (
                "resume=True goes on from what an interrupted training left in a folder: name it, "
                "checkpoint_dir=..."
            )
            raise ValueError(msg)
        self.folder = None if folder is None else Path(folder)
        self.resume = resume
        self.writes = folder is not None
        vectors = None if embedding is None else vectors_of(cells.adata, embedding)[1]
        told = context_vectors
        parts = {
            "seed": [seed],
            "features": [cells.features],
            "cells": [cells.names, cells.labels.code],
            "folds": folds,
            "embedding": [] if vectors is None else [list(vectors.index), vectors.to_numpy()],
            "context_embedding": [] if told is None else [told.contexts, told.vectors],
        }
        self.training = {name: _digest(part) for name, part in parts.items()}
        self._read: dict[tuple[int, str], dict[str, Any]] = {}

    def read(self, asked: Iterable[tuple[int, Member, Floats]]) -> None:
        """Read what is there of a training that is resumed, before anything is trained.

        A file that is damaged is passed over with a warning: what it held is trained again.

        Parameters
        ----------
        asked
            Fold, member and (C, p) measured responses of the fold, of all that may be trained.

        Raises
        ------
        ValueError
            If a file is of another training; the message says what differs.
        """
        for fold, member, real in asked if self.resume else ():
            path = self._path(fold, member)
            if path is None or not (path / MODEL).exists():
                continue
            try:
                entry = read_model(path)
                kept = {key: entry[key] for key in ("training", "options", "real", "answer")}
            except ValueError as err:
                logger.warning("%s: %r is trained again on this fold", err, member.name)
                continue
            differ = self._differ(kept, member, real)
            if differ:
                msg = (
                    f"{path} is of another training: it differs in {', '.join(differ)}. "
                    "Call it with the arguments and the data of the training that was interrupted, "
                    "or leave out resume=True to begin anew"
                )
                raise ValueError(msg)
            self._read[fold, member.name] = dict(kept["answer"])

    def get(self, fold: int, member: Member) -> dict[str, Any] | None:
        """Return the arrays that a member answered; ``None`` if it has to be trained."""
        return self._read.pop((fold, member.name), None)

    def _differ(self, kept: Mapping[str, Any], member: Member, real: Floats) -> list[str]:
        """Return what sets the training of a file apart from this one."""
        before, found = kept["training"], kept["real"]
        differ = [said for name, said in PARTS.items() if before.get(name) != self.training[name]]
        if kept["options"] != _options(member):
            differ.append(f"the options of {member.name!r}")
        if not differ:  # else folds are of other conditions in any case
            scale = CLOSE * float(np.abs(real).max(initial=0.0))
            same = found.shape == real.shape and np.allclose(found, real, rtol=0, atol=scale)
            differ += [] if same else ["the values of the cells (X, layer= or use_rep=)"]
        return differ

    def put(self, fold: int, member: Member, real: Floats, answer: Mapping[str, Matrix]) -> None:
        """Keep the arrays that a member answered to a fold."""
        path = self._path(fold, member)
        if path is None or not self.writes:
            return
        entry = {
            "training": self.training,
            "options": _options(member),
            "real": real,
            "answer": dict(answer),
        }
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_model(path, entry, adata=None, overwrite=True)
        except OSError as err:
            self.writes = False
            logger.warning(
                "%s cannot be written to (%s): the training goes on, and what it finishes from now "
                "on is not kept. If it is interrupted, resume=True trains that again",
                self.folder,
                err.strerror or err,
            )

    def _path(self, fold: int, member: Member) -> Path | None:
        return None if self.folder is None else self.folder / f"fold_{fold + 1}_{member.name}"


def _options(member: Member) -> str:
    """Return a digest of the options of a member, and of its class if it is a user's."""
    own = model_class(member.name) if registered(member.name) else member.model
    return digest_of([member.options, own])


def _digest(parts: Iterable[Any]) -> str:
    """Return a digest of arrays and of other values, as they are written."""
    found = sha256()
    for part in parts:
        found.update(part.tobytes() if isinstance(part, np.ndarray) else repr(part).encode())
    return found.hexdigest()[:16]
