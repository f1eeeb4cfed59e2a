"""How strongly genes are expressed, how variable their counts are and how deeply cells are sequenced in real screens.

All numbers below are printed by ``benchmarks/fit_nb_parameters.py`` from per-gene negative-binomial fits of seven
published screens and from the cells of one of them.
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
    """Three curves over the rank of a gene's expression (1 is the highest), linear in the logarithm of the rank.

    Attributes
    ----------
    ranks
        Ranks at which the curves are known; the last is the number of genes.
    log_expression
        Natural log of the gene's share of all counts.
    log_size, log_size_sd
        Median and robust spread of the natural log of the negative-binomial size; variance is mean + mean^2 / size.
    """

    ranks: tuple[int, ...]
    log_expression: tuple[float, ...]
    log_size: tuple[float, ...]
    log_size_sd: tuple[float, ...]


SCREENS = MappingProxyType(
    {
        "A549_Sakellaropoulos": Genes(
            ranks=(1, 3, 10, 30, 100, 300, 1_000, 3_000, 10_203, 15_304, 18_365, 19_997, 20_406),
            log_expression=(
                -3.98,
                -4.72,
                -5.28,
                -5.71,
                -6.56,
                -7.76,
                -8.76,
                -9.75,
                -12.04,
                -14.28,
                -15.42,
                -15.97,
                -16.11,
            ),
            log_size=(
                2.14,
                2.32,
                2.61,
                2.59,
                2.31,
                1.95,
                1.52,
                1.79,
                1.34,
                0.53,
                0.12,
                -0.12,
                -0.17,
            ),
            log_size_sd=(
                0.42,
                0.68,
                0.48,
                0.36,
                0.53,
                0.58,
                0.50,
                0.81,
                3.48,
                4.73,
                3.59,
                3.55,
                3.59,
            ),
        ),
        "K562_Gasperini": Genes(
            ranks=(1, 3, 10, 30, 100, 300, 1_000, 3_000, 9_971, 14_956, 17_947, 19_543, 19_942),
            log_expression=(
                -4.23,
                -4.31,
                -4.84,
                -5.33,
                -6.52,
                -7.94,
                -8.98,
                -9.94,
                -12.17,
                -14.43,
                -15.50,
                -15.99,
                -16.12,
            ),
            log_size=(
                1.92,
                1.65,
                1.40,
                1.84,
                1.20,
                0.87,
                0.82,
                1.01,
                0.10,
                -1.05,
                -1.51,
                -1.77,
                -1.83,
            ),
            log_size_sd=(
                0.52,
                0.70,
                0.98,
                0.33,
                0.59,
                0.40,
                0.30,
                0.40,
                1.99,
                2.44,
                2.33,
                2.29,
                2.29,
            ),
        ),
        "K562_Ray": Genes(
            ranks=(1, 3, 10, 30, 100, 151, 227, 272, 296, 303),
            log_expression=(-1.92, -2.76, -4.33, -5.10, -6.34, -6.93, -7.94, -8.90, -10.65, -13.26),
            log_size=(1.72, 2.15, 2.60, 2.14, 1.52, 1.40, 1.46, 1.45, 1.45, 1.47),
            log_size_sd=(1.38, 1.03, 0.27, 0.46, 0.35, 0.36, 0.47, 0.50, 0.56, 0.56),
        ),
        "THP1_Yao": Genes(
            ranks=(1, 3, 10, 30, 100, 300, 1_000, 3_000, 8_186, 12_279, 14_735, 16_045, 16_373),
            log_expression=(
                -2.73,
                -4.52,
                -4.96,
                -5.59,
                -6.61,
                -7.71,
                -8.84,
                -9.98,
                -11.70,
                -13.66,
                -15.01,
                -15.75,
                -16.07,
            ),
            log_size=(1.19, 1.18, 1.44, 1.62, 1.61, 0.94, 0.81, 1.11, 0.50, 0.56, 0.37, 0.31, 0.31),
            log_size_sd=(
                0.54,
                0.61,
                0.93,
                1.01,
                0.50,
                0.84,
                0.68,
                1.01,
                2.39,
                5.32,
                5.55,
                5.67,
                5.70,
            ),
        ),
        "T_CD8_Shifrut": Genes(
            ranks=(1, 3, 10, 30, 100, 300, 1_000, 3_000, 10_467, 15_701, 18_841, 20_516, 20_935),
            log_expression=(
                -3.81,
                -4.48,
                -5.22,
                -5.76,
                -6.66,
                -7.89,
                -8.74,
                -9.65,
                -12.11,
                -14.44,
                -15.52,
                -15.99,
                -16.10,
            ),
            log_size=(2.25, 2.33, 2.10, 2.26, 1.86, 1.46, 1.39, 1.64, 0.45, 1.26, 5.23, 5.40, 5.42),
            log_size_sd=(
                0.34,
                0.32,
                0.24,
                0.22,
                0.46,
                0.51,
                0.67,
                1.32,
                5.59,
                5.67,
                5.89,
                6.00,
                6.01,
            ),
        ),
        "iPSC_Tian": Genes(
            ranks=(1, 3, 10, 30, 100, 300, 1_000, 3_000, 10_603, 15_905, 19_086, 20_782, 21_207),
            log_expression=(
                -4.20,
                -4.72,
                -4.87,
                -5.46,
                -6.45,
                -7.83,
                -8.90,
                -9.97,
                -12.10,
                -14.15,
                -15.36,
                -15.98,
                -16.11,
            ),
            log_size=(2.92, 2.78, 2.90, 2.59, 1.56, 1.27, 1.33, 2.05, 2.31, 1.28, 0.83, 0.56, 0.52),
            log_size_sd=(
                0.90,
                1.17,
                0.20,
                0.47,
                0.36,
                0.14,
                0.17,
                0.79,
                4.20,
                4.89,
                5.11,
                5.24,
                5.28,
            ),
        ),
        "iPSC_neuron_Tian": Genes(
            ranks=(1, 3, 10, 30, 100, 300, 1_000, 3_000, 11_941, 17_911, 21_493, 23_404, 23_882),
            log_expression=(
                -4.00,
                -5.10,
                -5.74,
                -6.21,
                -6.93,
                -7.69,
                -8.62,
                -9.54,
                -12.09,
                -14.24,
                -15.35,
                -15.97,
                -16.11,
            ),
            log_size=(
                0.95,
                0.83,
                0.95,
                1.07,
                0.97,
                0.90,
                0.88,
                1.01,
                0.19,
                -0.52,
                -0.84,
                -0.99,
                -1.02,
            ),
            log_size_sd=(
                0.22,
                0.28,
                0.19,
                0.48,
                0.38,
                0.49,
                0.46,
                0.58,
                2.11,
                2.43,
                2.29,
                2.26,
                2.27,
            ),
        ),
    }
)
LIBRARY_SIZE = 17_031.0  # median counts per cell and
LIBRARY_SD = 0.49  # spread of their log, Gasperini's K562 cells: the one screen whose depth came with the fits
SIZES = (0.05, 100.0)  # fitted sizes outside are a sign of too few counts, not of biology
EVERY = 4  # the panel takes every fourth gene from the top


def draw_genes(like: str, n_genes: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Return (n_genes,) shares of all counts and negative-binomial sizes, in random order.

    The panel is spread evenly over the ``4 * n_genes`` most highly expressed genes of the screen, so that a small panel
    holds genes that are seen and a large one comes near the whole transcriptome.

    Raises
    ------
    ValueError
        If the screen is not known or has fewer genes.
    """
    one_of(like, SCREENS, name="like")
    genes = SCREENS[like]
    most = genes.ranks[-1]
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
