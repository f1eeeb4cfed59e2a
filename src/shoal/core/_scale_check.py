"""The one check of the scale of a matrix, which every function of expression makes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ._scale import Kind, Scale


EXPRESSION: tuple[Kind, ...] = ("log", "signed")
WITH_EMPTY: tuple[Kind, ...] = (*EXPRESSION, "empty")  # where a part of a matrix is looked at
ANY: tuple[Kind, ...] = ("log", "signed", "linear", "counts", "empty")  # features in obsm
NORMALISE = (
    "call sh.pp.prepare(adata, normalize='log1p'), or scanpy.pp.normalize_total(adata) and "
    "scanpy.pp.log1p(adata), or name log-normalised values with layer="
)
FIXES: dict[Kind, str] = {
    "counts": NORMALISE,
    "linear": NORMALISE,
    "log": "name the raw counts with layer=",
    "signed": "name log-normalised values with layer=",
    "empty": "name other values with layer=",
}
NAMES: dict[Kind, str] = {
    "counts": "raw counts",
    "linear": "values that are not logged",
    "log": "log-normalised values",
    "signed": "signed features",
    "empty": "zeros",
}


def require(
    scale: Scale,
    *,
    slot: str,
    what: str,
    accept: tuple[Kind, ...] = EXPRESSION,
    cells: Any = None,
    fixes: Mapping[Kind, str] | None = None,
) -> Scale:
    """Return the scale of a matrix if a function takes it.

    Every function that reads expression calls this, so that all of them refuse the same values
    with the same words.

    Parameters
    ----------
    scale
        What `look` found.
    slot
        Name of the matrix, such as ``"X"``.
    what
        What needs these values, such as ``"coherence"``.
    accept
        Kinds of values that are taken. Features of any scale (``obsm``) accept all of them.
    cells
        (n_obs,) names of the cells, to name one that holds NaN.
    fixes
        What to do about a kind, where it is something else than usual.

    Raises
    ------
    ValueError
        If a value is NaN or infinite, or the values are of another kind.
    """
    if scale.n_bad_cells:
        example = "" if cells is None else f", such as {str(cells[scale.first_bad])!r}"
        msg = (
            f"{slot} holds NaN or infinite values in {scale.n_bad_cells} of {scale.n_cells} "
            f"cells{example}; drop or fill them"
        )
        raise ValueError(msg)
    return require_kind(scale, slot=slot, what=what, accept=accept, fixes=fixes)


def require_kind(
    scale: Scale,
    *,
    slot: str,
    what: str,
    accept: tuple[Kind, ...] = EXPRESSION,
    fixes: Mapping[Kind, str] | None = None,
) -> Scale:
    """Return the scale as `require` does; cells with NaN are no matter.

    For functions that leave cells out, and look for NaN among those that they use.
    """
    if scale.kind not in accept:
        fix = {**FIXES, **(fixes or {})}[scale.kind]
        taken = " or ".join(NAMES[kind] for kind in accept if kind != "empty")
        msg = f"{slot} holds {scale.words}; {what} takes {taken}: {fix}"
        raise ValueError(msg)
    return scale
