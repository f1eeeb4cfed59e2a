"""Genes of real screens: how strongly they are expressed, and how variable their counts are.

``benchmarks/fit_nb_parameters.py`` prints all numbers below. They come from negative-binomial fits
of the genes of seven published screens, and from the cells of one of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from .._validate import one_of

if TYPE_CHECKING:
    from .._typing import Floats


@dataclass(frozen=True)
class Genes:
    """Three curves over the rank of expression of a gene, of which 1 is the highest.

    Between the ranks given, they are linear in the logarithm of the rank.

    Attributes
    ----------
    ranks
        Ranks at which the curves are known. The last is the number of genes.
    log_expression
        Natural log of the share of the gene in all counts.
    log_size, log_size_sd
        Median and robust spread of the natural log of the negative-binomial size. The variance of
        counts is mean + mean^2 / size.
    """

    ranks: tuple[float, ...]
    log_expression: tuple[float, ...]
    log_size: tuple[float, ...]
    log_size_sd: tuple[float, ...]


def _curves(table: str) -> Genes:
    """Return the curves of a table of rank, log expression, log size and its spread."""
    columns = np.array([line.split() for line in table.split("\n")], dtype=float).T
    return Genes(*(tuple(column.tolist()) for column in columns))


SCREENS = MappingProxyType(
    {
        "A549_Sakellaropoulos": _curves(
            """\
    1  -3.98  2.14 0.42
    3  -4.72  2.32 0.68
   10  -5.28  2.61 0.48
   30  -5.71  2.59 0.36
  100  -6.56  2.31 0.53
  300  -7.76  1.95 0.58
 1000  -8.76  1.52 0.50
 3000  -9.75  1.79 0.81
10203 -12.04  1.34 3.48
15304 -14.28  0.53 4.73
18365 -15.42  0.12 3.59
19997 -15.97 -0.12 3.55
20406 -16.11 -0.17 3.59"""
        ),
        "K562_Gasperini": _curves(
            """\
    1  -4.23  1.92 0.52
    3  -4.31  1.65 0.70
   10  -4.84  1.40 0.98
   30  -5.33  1.84 0.33
  100  -6.52  1.20 0.59
  300  -7.94  0.87 0.40
 1000  -8.98  0.82 0.30
 3000  -9.94  1.01 0.40
 9971 -12.17  0.10 1.99
14956 -14.43 -1.05 2.44
17947 -15.50 -1.51 2.33
19543 -15.99 -1.77 2.29
19942 -16.12 -1.83 2.29"""
        ),
        "K562_Ray": _curves(
            """\
    1  -1.92  1.72 1.38
    3  -2.76  2.15 1.03
   10  -4.33  2.60 0.27
   30  -5.10  2.14 0.46
  100  -6.34  1.52 0.35
  151  -6.93  1.40 0.36
  227  -7.94  1.46 0.47
  272  -8.90  1.45 0.50
  296 -10.65  1.45 0.56
  303 -13.26  1.47 0.56"""
        ),
        "THP1_Yao": _curves(
            """\
    1  -2.73  1.19 0.54
    3  -4.52  1.18 0.61
   10  -4.96  1.44 0.93
   30  -5.59  1.62 1.01
  100  -6.61  1.61 0.50
  300  -7.71  0.94 0.84
 1000  -8.84  0.81 0.68
 3000  -9.98  1.11 1.01
 8186 -11.70  0.50 2.39
12279 -13.66  0.56 5.32
14735 -15.01  0.37 5.55
16045 -15.75  0.31 5.67
16373 -16.07  0.31 5.70"""
        ),
        "T_CD8_Shifrut": _curves(
            """\
    1  -3.81  2.25 0.34
    3  -4.48  2.33 0.32
   10  -5.22  2.10 0.24
   30  -5.76  2.26 0.22
  100  -6.66  1.86 0.46
  300  -7.89  1.46 0.51
 1000  -8.74  1.39 0.67
 3000  -9.65  1.64 1.32
10467 -12.11  0.45 5.59
15701 -14.44  1.26 5.67
18841 -15.52  5.23 5.89
20516 -15.99  5.40 6.00
20935 -16.10  5.42 6.01"""
        ),
        "iPSC_Tian": _curves(
            """\
    1  -4.20  2.92 0.90
    3  -4.72  2.78 1.17
   10  -4.87  2.90 0.20
   30  -5.46  2.59 0.47
  100  -6.45  1.56 0.36
  300  -7.83  1.27 0.14
 1000  -8.90  1.33 0.17
 3000  -9.97  2.05 0.79
10603 -12.10  2.31 4.20
15905 -14.15  1.28 4.89
19086 -15.36  0.83 5.11
20782 -15.98  0.56 5.24
21207 -16.11  0.52 5.28"""
        ),
        "iPSC_neuron_Tian": _curves(
            """\
    1  -4.00  0.95 0.22
    3  -5.10  0.83 0.28
   10  -5.74  0.95 0.19
   30  -6.21  1.07 0.48
  100  -6.93  0.97 0.38
  300  -7.69  0.90 0.49
 1000  -8.62  0.88 0.46
 3000  -9.54  1.01 0.58
11941 -12.09  0.19 2.11
17911 -14.24 -0.52 2.43
21493 -15.35 -0.84 2.29
23404 -15.97 -0.99 2.26
23882 -16.11 -1.02 2.27"""
        ),
    }
)
# of the K562 cells of Gasperini, the one screen whose depth came with the fits
LIBRARY_SIZE = 17_031.0  # median counts of a cell
LIBRARY_SD = 0.49  # spread of their logarithm
SIZES = (0.05, 100.0)  # fitted sizes outside are a sign of too few counts, not of biology
EVERY = 4  # the panel takes every fourth gene from the top


def draw_genes(like: str, n_genes: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Return (n_genes,) shares of all counts and negative-binomial sizes, in random order.

    Genes are spread evenly over the ``4 * n_genes`` most highly expressed genes of the screen. So a
    few genes are genes that are seen, and many genes are nearly the whole transcriptome.

    Raises
    ------
    ValueError
        If the screen is not known or has fewer genes.
    """
    one_of(like, SCREENS, name="like")
    genes = SCREENS[like]
    most = int(genes.ranks[-1])
    if n_genes > most:
        msg = f"n_genes={n_genes} is more than the {most} genes of like={like!r}; ask for fewer"
        raise ValueError(msg)
    step = min(EVERY * n_genes, most) / n_genes
    at = np.log(0.5 + step * (np.arange(n_genes) + 0.5))
    expression, size, sd = (
        np.interp(at, np.log(genes.ranks), curve)
        for curve in (genes.log_expression, genes.log_size, genes.log_size_sd)
    )
    size = np.exp(size + sd * rng.standard_normal(n_genes)).clip(*SIZES)
    order = rng.permutation(n_genes)
    return np.exp(expression[order]), size[order]
