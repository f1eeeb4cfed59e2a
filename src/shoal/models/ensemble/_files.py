"""What an interrupted training of an ensemble had finished: one file for each member and fold."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..._logging import logger
from ..base._embedding import vectors_of
from ..base._files import read_model, write_model

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd

    from ..._typing import Floats, Ints, Matrix
    from ...core._population import Population
    from ..base._context_vectors import ContextVectors
    from ._members import Member

CLOSE = 1e-4  # relative difference of measured responses that sums in another order make


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
        What the training depends on. A file of another training is refused.
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
        parts = [repr((seed, cells.features, cells.names)), *(fold.tobytes() for fold in folds)]
        parts.append(cells.labels.code.tobytes())
        if embedding is not None:
            _, vectors = vectors_of(cells.adata, embedding)
            parts += [repr(list(vectors.index)), vectors.to_numpy().tobytes()]
        if context_vectors is not None:
            parts += [repr(context_vectors.contexts), context_vectors.vectors.tobytes()]
        joined = b"".join(p if isinstance(p, bytes) else p.encode() for p in parts)
        self.training = sha256(joined).hexdigest()

    def get(self, fold: int, member: Member, real: Floats) -> dict[str, Any] | None:
        """Return the arrays that a member answered; ``None`` if it has to be trained.

        Parameters
        ----------
        fold
            Number of the fold.
        member
            The member.
        real
            (C, p) measured responses of the fold.

        Raises
        ------
        ValueError
            If the file is of another training.
        """
        path = self._path(fold, member)
        if path is None or not self.resume or not path.exists():
            return None
        entry = read_model(path)
        same = entry["training"] == self._of(member) and entry["real"].shape == real.shape
        scale = float(np.abs(real).max(initial=0.0))
        if not (same and np.allclose(entry["real"], real, rtol=0, atol=CLOSE * scale)):
            msg = (
                f"{path} is of another training: of other cells, folds, options or another seed. "
                "Call it with the arguments of the training that was interrupted, or leave out "
                "resume=True to begin anew"
            )
            raise ValueError(msg)
        return dict(entry["answer"])

    def put(self, fold: int, member: Member, real: Floats, answer: Mapping[str, Matrix]) -> None:
        """Keep the arrays that a member answered to a fold."""
        path = self._path(fold, member)
        if path is None or not self.writes:
            return
        entry = {"training": self._of(member), "real": real, "answer": dict(answer)}
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

    def _of(self, member: Member) -> str:
        return f"{self.training} {sorted(member.options.items())!r}"

    def _path(self, fold: int, member: Member) -> Path | None:
        return None if self.folder is None else self.folder / f"fold_{fold + 1}_{member.name}"
