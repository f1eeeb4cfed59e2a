"""What an interrupted training of an ensemble had finished: one file for each member and fold."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..base._files import read_model, write_model

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..._typing import Floats, Ints
    from ...core._population import Population
    from ._members import Member

CLOSE = 1e-4  # relative difference of measured responses that sums in another order make


class Finished:
    """Responses that members predicted of the conditions that folds leave out, in files.

    Parameters
    ----------
    folder
        Folder of the files; nothing is kept if ``None``.
    resume
        Whether to read files that are there. Otherwise they are written anew.
    cells, folds, seed, embedding
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
        embedding: Any = None,
    ) -> None:
        if resume and folder is None:
            msg = (
                "resume=True goes on from what an interrupted training left in a folder: name it, "
                "checkpoint_dir=..."
            )
            raise ValueError(msg)
        self.folder = None if folder is None else Path(folder)
        self.resume = resume
        parts = [repr((seed, cells.features, cells.names)), *(fold.tobytes() for fold in folds)]
        parts.append(cells.labels.code.tobytes())
        parts.append("" if embedding is None else repr(embedding))
        joined = b"".join(p if isinstance(p, bytes) else p.encode() for p in parts)
        self.training = sha256(joined).hexdigest()

    def get(self, fold: int, member: Member, real: Floats) -> Floats | None:
        """Return the (C, d) responses that a member predicted; ``None`` if it has to be trained.

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
        found: Floats = entry["predicted"]
        return found

    def put(self, fold: int, member: Member, real: Floats, predicted: Floats) -> None:
        """Keep the (C, d) responses that a member predicted of a fold."""
        path = self._path(fold, member)
        if path is not None:
            entry = {"training": self._of(member), "real": real, "predicted": predicted}
            path.parent.mkdir(parents=True, exist_ok=True)
            write_model(path, entry, adata=None, overwrite=True)

    def _of(self, member: Member) -> str:
        return f"{self.training} {sorted(member.options.items())!r}"

    def _path(self, fold: int, member: Member) -> Path | None:
        return None if self.folder is None else self.folder / f"fold_{fold + 1}_{member.name}"
