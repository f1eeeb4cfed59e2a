"""The work of a rank-sum test: the values of a gene that are not 0, sorted once for all groups."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy import sparse

from ._cells import densify
from ._kernels import compiled
from ._marginals import _by_column

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .._typing import Floats, Ints, Matrix
    from ._cells import Part

# values that are sorted at a time; the working memory is a few times that
ENTRIES = 2**19
DIGIT = 11  # bits that one pass of the radix sort looks at


class Columns(NamedTuple):
    """Some genes, one after another.

    Attributes
    ----------
    values
        Entries of all genes.
    cells
        Cell of each entry.
    begin
        Where the entries of each gene begin.
    genes
        Which genes they are.
    """

    values: Floats
    cells: Ints
    begin: Ints
    genes: slice


def columns(parts: Sequence[Part]) -> Iterator[Columns]:
    """Yield the cells of several matrices, one below another, in blocks of genes.

    Raises
    ------
    ValueError
        If a value is not finite.
    """
    n_cells, n_genes = sum(len(rows) for _, rows in parts), parts[0][0].shape[1]
    dense = not all(sparse.issparse(x) for x, _ in parts)
    entries = (
        float(n_cells) * n_genes if dense else sum(_density(x) * len(rows) for x, rows in parts)
    )
    for start in _steps(n_genes, entries):
        genes = slice(start[0], start[1])
        blocks = [_rows(x[:, genes], rows) for x, rows in parts]
        if dense:
            block = np.concatenate([densify(b) for b in blocks]).T
            width = len(block)
            cells, begin = (
                np.tile(np.arange(n_cells, dtype=np.int32), width),
                np.arange(width + 1) * n_cells,
            )
            values = np.ascontiguousarray(block).reshape(-1)
        else:
            table = _by_column(
                blocks[0] if len(blocks) == 1 else sparse.vstack(blocks, format="csr")
            )
            values, cells, begin = table.data, table.indices, table.indptr
        if not np.isfinite(values).all():
            msg = (
                "X holds NaN or infinite values, which have no rank; drop or fix those cells first"
            )
            raise ValueError(msg)
        if values.dtype not in (np.float32, np.float64):
            values = values.astype(np.float64)
        yield Columns(
            values, cells.astype(np.int32, copy=False), begin.astype(np.int64, copy=False), genes
        )


def rank_sums(block: Columns, group: Ints, sizes: Ints) -> tuple[Floats, Floats]:
    """Return U and the sum of t³ - t, (n_groups, n_genes), of every group against the controls.

    Parameters
    ----------
    block
        Some genes.
    group
        (n_cells,) codes 0 to k - 1 for groups, and k for the controls.
    sizes
        (k + 1,) numbers of cells.
    """
    bits = block.values.view(np.uint32 if block.values.dtype == np.float32 else np.uint64)
    u, ties = (np.zeros((len(block.begin) - 1, len(sizes) - 1)) for _ in range(2))
    codes, numbers = group.astype(np.int32), sizes.astype(np.int64)
    _sums(bits, block.cells, block.begin, codes, numbers, u, ties)
    return u.T, ties.T


def _density(x: Matrix) -> float:
    return float(x.nnz / max(x.shape[0], 1))


def _rows(x: Matrix, rows: Ints) -> Matrix:
    if len(rows) == x.shape[0] and np.array_equal(rows, np.arange(len(rows))):
        return x
    return x.tocsr()[rows] if sparse.issparse(x) else x[rows]


def _steps(n_genes: int, entries: float) -> Iterator[tuple[int, int]]:
    """Yield the bounds of blocks of genes of about `ENTRIES` entries."""
    n_blocks = int(np.clip(np.ceil(entries / ENTRIES), 1, max(n_genes, 1)))
    return pairwise(np.linspace(0, n_genes, n_blocks + 1).astype(int).tolist())


def _loop(bits, cells, begin, group, sizes, u, ties):  # type: ignore[no-untyped-def]
    """Fill `u` and `ties`, (n_genes, k), gene by gene.

    `bits` are the bits of the values. Once the sign is dealt with, they sort as integers in the
    order of the values, digit by digit.
    """
    k = len(sizes) - 1
    longest = 1  # one more place: it is written, but not counted
    for gene in range(len(begin) - 1):
        longest = max(longest, begin[gene + 1] - begin[gene] + 1)
    width = bits.itemsize * 8
    one, last = np.uint64(1), np.uint64(2**DIGIT - 1)
    sign = one << np.uint64(width - 1)
    body = sign - one
    keys, other_keys = np.empty(longest, bits.dtype), np.empty(longest, bits.dtype)
    codes, other_codes = np.empty(longest, np.int32), np.empty(longest, np.int32)
    # counts of each digit
    places = np.empty((-(-width // DIGIT), 2**DIGIT + 1), np.int32)
    zeros, count = np.empty(k + 1, np.int64), np.zeros(k + 1, np.int64)
    for gene in range(len(begin) - 1):
        zeros[:], places[:] = sizes, 0
        n = 0
        for i in range(begin[gene], begin[gene + 1]):
            value = bits[i]
            keys[n] = ~value if value & sign else value | sign
            codes[n] = group[cells[i]]
            # counts neither 0.0 nor -0.0; faster than a branch, which is hard to predict
            n += 1 if value & body else 0
        for i in range(n):
            zeros[codes[i]] -= 1
            for digit in range(len(places)):
                places[digit, (keys[i] >> np.uint64(digit * DIGIT) & last) + one] += 1
        for digit in range(len(places)):
            place, down = places[digit], np.uint64(digit * DIGIT)
            if n and place[(keys[0] >> down & last) + one] == n:
                continue  # all keys have the same digit
            for j in range(2**DIGIT):
                place[j + 1] += place[j]
            for i in range(n):
                at = keys[i] >> down & last
                other_keys[place[at]], other_codes[place[at]] = keys[i], codes[i]
                place[at] += 1
            keys, other_keys, codes, other_codes = other_keys, keys, other_codes, codes
        below, common, start, passed = 0, 0.0, 0, False
        while start < n or not passed:
            if not passed and (
                start == n or keys[start] >= sign
            ):  # the zeros come between negative and positive values
                t = float(zeros[k])
                for c in range(k):
                    both = t + zeros[c]
                    u[gene, c] += zeros[c] * (below + t / 2)
                    ties[gene, c] += both * (both * both - 1)
                below += zeros[k]
                passed = True
                continue
            end = start + 1
            if end == n or keys[end] != keys[start]:  # no tie
                code = codes[start]
                if code < k:
                    u[gene, code] += below
                below += 1 if code == k else 0
                start = end
                continue
            while end < n and keys[end] == keys[start]:
                end += 1
            tied = 0
            for i in range(start, end):
                if codes[i] == k:
                    tied += 1
            t = float(tied)
            for i in range(start, end):
                if codes[i] < k:
                    u[gene, codes[i]] += below + t / 2
            common += t * (t * t - 1)
            # add the cells of each group to the controls that they are tied with
            for i in range(start, end):
                count[codes[i]] += 1
            for i in range(start, end):
                if codes[i] < k and count[codes[i]]:
                    both = t + count[codes[i]]
                    ties[gene, codes[i]] += both * (both * both - 1) - t * (t * t - 1)
                count[codes[i]] = 0
            below += tied
            start = end
        for c in range(k):
            ties[gene, c] += common


_sums = compiled(_loop)
