"""The verdict on a screen in plain words, from what was measured and evaluated."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._keys import COHERENCE, EVALUATION
from .core._results import read_result
from .report._verdict import Verdict, in_words

if TYPE_CHECKING:
    from anndata import AnnData

__all__ = ["Verdict", "verdict"]

WRITTEN_BY = {
    COHERENCE: "sh.tl.coherence(adata)",
    EVALUATION: "sh.tl.evaluate(adata, prediction=...)",
}


def verdict(adata: AnnData, key: str | None = None, *, coherence_key: str | None = None) -> Verdict:
    """Return what responds, what was predicted, and whether that beats the reference.

    Parameters
    ----------
    adata
        Screen after :func:`shoal.tl.coherence`, :func:`shoal.tl.evaluate` or both.
    key
        Slot of ``uns`` with the evaluation; ``None`` for ``"evaluation"``, where it is there.
    coherence_key
        Slot of ``uns`` with the coherence; ``None`` for ``"coherence"``, where it is there.

    Returns
    -------
    The verdict. Without an evaluation it speaks of the measurement alone, and without a measurement
    of the prediction alone. Nothing is written.

    Raises
    ------
    KeyError
        If there is neither, or nothing under a key that was given.
    ValueError
        If a key holds a result of another kind.
    """
    found = {}
    for kind, given in ((COHERENCE, coherence_key), (EVALUATION, key)):
        if given is not None or kind in adata.uns:
            found[kind] = read_result(adata, given or kind, kind=kind, written_by=WRITTEN_BY[kind])
    if not found:
        msg = (
            f"adata.uns holds neither {COHERENCE!r} nor {EVALUATION!r}, so there is nothing to "
            f"judge; call {' or '.join(WRITTEN_BY.values())} first"
        )
        raise KeyError(msg)
    return in_words(found.get(COHERENCE), found.get(EVALUATION))
