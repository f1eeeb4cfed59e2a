"""What scale a matrix is on, and the one check of it that every function of expression makes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
from scipy import sparse

from ._walk import walk

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .._typing import Bools, Floats, Matrix
    from ._matrix import Rows
    from ._walk import Totals, Values

Kind: TypeAlias = Literal["empty", "counts", "log", "linear", "signed"]
Sign: TypeAlias = Literal["", "totals", "wholes", "spread"]

LOG_MAX = 20.0  # log1p of a million is 13.8 and log2 of it 19.9: no log-normalised count is larger
SAMPLE = 256  # most cells that the signs of linear values are looked for in
FEWEST_CELLS, FEWEST_FEATURES = 20, 8  # below these a matrix shows none of the signs
WHOLE_SHARE = 0.2  # share of whole numbers among values above 0; logarithms have next to none
ALIKE = 1e-4  # relative difference of totals that are the same, in single precision
OFTEN_ON = 0.6  # share of cells in which a feature is above 0, if its spread is looked at
UNIT = 1.1  # a count of 1 is at most about 1 where counts were corrected and not scaled up
AS_COUNTS = 0.85  # variance by mean over cells: 1 or more of counts, .3 to .8 of their logarithms
ZEROS = 0.05  # counts have zeros; positive values without any may be anything
WIDE = 0.7  # variance by mean of all values above 0, over features: .8 or more of counts

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
WORDS: dict[Sign, str] = {
    "": "normalised, but not logged",
    "totals": "cells that all have the same total: normalised, but not logged",
    "wholes": "many of them whole numbers: counts that were estimated, not logged",
    "spread": "with the spread of counts: corrected or normalised counts, not logged",
}


@dataclass(frozen=True)
class Scale:
    """What one look at every value says.

    Attributes
    ----------
    minimum, maximum
        Smallest and largest finite value, zeros that a sparse matrix leaves out included.
    integers
        Whether every finite value is a whole number.
    n_cells
        Rows that were looked at.
    n_bad_cells
        Rows that hold NaN or infinity.
    first_bad
        Position of the first of these; -1 without any.
    sign
        What tells that values are not logged, though none is above 20: ``"totals"`` (all cells
        have the same total), ``"wholes"`` (many whole numbers), ``"spread"`` (the variance of
        counts); ``""`` for nothing.
    level
        (n_features,) mean of the cells of the first block.
    """

    minimum: float
    maximum: float
    integers: bool
    n_cells: int
    n_bad_cells: int
    first_bad: int = -1
    sign: Sign = ""
    level: Floats = field(default_factory=lambda: np.empty(0), compare=False)

    @property
    def kind(self) -> Kind:
        """``"signed"`` (z-scores), ``"empty"``, ``"counts"``, ``"log"`` or ``"linear"``."""
        if self.minimum < 0:
            return "signed"
        if self.maximum == 0:
            return "empty"
        if self.integers:
            return "counts"
        return "log" if self.maximum < LOG_MAX and not self.sign else "linear"

    @property
    def words(self) -> str:
        """The kind in words, with the values it was read from."""
        span = f"{self.minimum:.4g} to {self.maximum:.4g}"
        return {
            "signed": f"values below 0 ({span}), as z-scored or centred data have",
            "empty": "nothing but zeros",
            "counts": f"whole numbers ({span}): raw counts",
            "log": f"fractions from {span}: log-normalised values",
            "linear": f"fractions from {span}, {WORDS[self.sign]}"
            if self.sign
            else f"fractions from {span}: {WORDS['']}",
        }[self.kind]


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


def look(rows: Rows) -> Scale:
    """Read a matrix once, block by block, and say what scale it is on."""
    return scale_of(walk(rows, look_at)[1])


def scale_of(found: Values) -> Scale:
    """Return the scale of a matrix from what `look_at` returned of all blocks."""
    if not found or not found["seen"].any():  # no finite value at all
        low = high = 0.0
    else:
        low, high = float(found["low"].min()), float(found["high"].max())
    first = found["first_bad"][found["first_bad"] >= 0] if found else np.empty(0)
    signs = [sign for sign in found["sign"] if sign] if found else []
    return Scale(
        minimum=low,
        maximum=high,
        integers=bool(not found or found["integers"].all()),
        n_cells=int(found["n"].sum()) if found else 0,
        n_bad_cells=int(found["bad"].sum()) if found else 0,
        first_bad=int(first.min()) if len(first) else -1,
        sign=str(signs[0]) if signs else "",  # type: ignore[arg-type]
        level=found["level"].ravel() if found else np.empty(0),
    )


def look_at(where: slice, block: Matrix, totals: Totals) -> Values:
    """Return the extremes of one block, whether it holds whole numbers only, and its bad rows.

    The block that begins the matrix is also looked at for signs that values are not logged.
    """
    is_sparse = bool(sparse.issparse(block))
    values, bad = block.data if is_sparse else block.ravel(), np.empty(0, dtype=np.int64)
    finite = np.isfinite(values)
    if not finite.all():
        bad = np.flatnonzero(_is_bad(block))
        values = values[finite]
    low, high = np.inf, -np.inf
    if is_sparse and block.nnz < block.shape[0] * block.shape[1]:
        low = high = 0.0
    integers = True
    if values.size:
        low, high = min(low, float(values.min())), max(high, float(values.max()))
        integers = bool((values == np.rint(values)).all())
    may_be_log = where.start == 0 and not integers and low >= 0 and high < LOG_MAX and not len(bad)
    one = {
        "low": low,
        "high": high,
        "integers": integers,
        "seen": low <= high,
        "n": block.shape[0],
        "bad": len(bad),
        "first_bad": where.start + bad[0] if len(bad) else -1,
        "sign": sign_of(block) if may_be_log and len(block.shape) == 2 else "",
    }
    level = np.empty((0, block.shape[1]))
    if where.start == 0 and block.shape[0] and len(block.shape) == 2:
        level = np.asarray(block.mean(axis=0, dtype=np.float64)).reshape(1, -1)
    return {name: np.array([value]) for name, value in one.items()} | {"level": level}


def sign_of(block: Matrix) -> Sign:
    """Return what tells that values below 20 are not logged; ``""`` for nothing.

    Up to 256 cells are looked at, evenly spaced in the block. ``benchmarks/scales.py`` prints what
    the signs say of real screens under all common transformations.

    - The totals of normalised cells are all the same. Those of logarithms are not.
    - Counts that were estimated (alevin) are whole numbers in good part. Logarithms are not, but
      log2(1 + count) and the roots of counts are; these are recognised by the counts behind them.
    - The variance of a count is its mean or more. That of its logarithm is far less, in features
      that most cells express.
    """
    n = int(block.shape[0])
    rows = block[:: -(-n // SAMPLE)]
    cells = np.asarray(rows.toarray() if sparse.issparse(rows) else rows, dtype=np.float64)
    if cells.shape[0] < FEWEST_CELLS or cells.shape[1] < FEWEST_FEATURES:
        return ""
    has_zeros = bool((cells == 0).mean() >= ZEROS)
    if has_zeros and _same_totals(cells):
        return "totals"
    positive = cells[cells > 0]
    if _often_whole(positive):
        return "wholes"
    return "spread" if has_zeros and _spread_as_counts(cells, positive) else ""


def _same_totals(cells: Floats) -> bool:
    """Return whether cells that differ have one total above 1, which is that of proportions."""
    total, top = cells.sum(axis=1), cells.max(axis=1)
    alike, differ = np.ptp(total) < ALIKE * total.max(), np.ptp(top) > ALIKE * top.max()
    return bool(alike and differ and total.max() > 1 + ALIKE)


def _often_whole(positive: Floats) -> bool:
    """Return whether many values are whole numbers, several of them, and no logarithms or roots."""
    whole, n = np.unique(positive[positive == np.rint(positive)], return_counts=True)
    if len(whole) < 2 or n.sum() <= WHOLE_SHARE * len(positive):
        return False
    if n.sum() - n.max() <= WHOLE_SHARE / 4 * len(positive):
        return False
    return not any(map(_are_whole, (positive**2, 2**positive - 1)))


def _spread_as_counts(cells: Floats, positive: Floats) -> bool:
    """Return whether features that most cells express vary by their mean or more."""
    often = cells[:, (cells > 0).mean(axis=0) >= OFTEN_ON]
    if often.shape[1] < FEWEST_FEATURES or np.quantile(positive, 0.1) > UNIT:
        return False
    if positive.var() < WIDE * positive.mean():
        return False
    return bool(np.median(often.var(axis=0, ddof=1) / often.mean(axis=0)) >= AS_COUNTS)


def _are_whole(values: Floats) -> bool:
    return bool((np.abs(values - np.rint(values)) <= 1e-5 * (1 + values)).all())


def _is_bad(block: Matrix) -> Bools:
    """Return which rows hold NaN or infinity."""
    bad = np.zeros(block.shape[0], dtype=bool)
    if bool(sparse.issparse(block)):
        row = np.repeat(np.arange(block.shape[0]), np.diff(block.indptr))
        bad[row[~np.isfinite(block.data)]] = True
        return bad
    return np.asarray((~np.isfinite(block)).reshape(len(bad), -1).any(axis=1))
