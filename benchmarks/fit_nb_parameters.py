"""Fit the constants of src/shoal/ds/_genes.py to the negative-binomial parameters of seven real screens.

Reads nb_parameters/*.csv.gz (one line a gene: relative expression, negative-binomial size) and the depth of the cells
of one screen, from $SHOAL_DATA_DIR or ../shared/data, and prints the constants. Genes are ranked by expression; three
curves are kept at a few ranks and read between them linearly in the logarithm of the rank: the relative expression,
and the median and the robust spread of the log size of genes of about that rank.

    python benchmarks/fit_nb_parameters.py
"""

from __future__ import annotations

import os
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd

FOLDER = Path(os.environ.get("SHOAL_DATA_DIR", Path(__file__).parents[2] / "shared" / "data"))
RANKS = (1, 3, 10, 30, 100, 300, 1_000, 3_000)
TAIL = (
    0.5,
    0.75,
    0.9,
    0.98,
    1.0,
)  # the curve falls steeply at its end: shares of the number of genes
WINDOW = np.sqrt(
    3
)  # genes of rank r/WINDOW to r*WINDOW tell the size at rank r; at least eleven genes
DEPTH_FILE, DEPTH_COLUMN = "gasperini19_sceptre_highmoi.h5ad", "gene_n_umis"


def fit(table: pd.DataFrame) -> dict[str, tuple[float, ...]]:
    """Return the ranks and the three curves of one screen."""
    table = table.sort_values("relative_expression", ascending=False, kind="stable")
    expression, size = (
        np.log(table[c].to_numpy()) for c in ("relative_expression", "expression_size")
    )
    n = len(table)
    ranks = [*(r for r in RANKS if r < n / 2), *(int(share * n) for share in TAIL)]
    median, spread = [], []
    for r in ranks:
        low, high = min(r / WINDOW, r - 5), max(r * WINDOW, r + 5)
        near = size[max(int(low) - 1, 0) : int(high)]
        q25, q50, q75 = np.quantile(near, [0.25, 0.5, 0.75])
        median.append(q50)
        spread.append((q75 - q25) / 1.349)
    curve = expression[np.array(ranks) - 1]
    error = np.interp(np.log(np.arange(1, n + 1)), np.log(ranks), curve) - expression
    print(f"# expression curve: root mean squared error {np.sqrt(np.mean(error**2)):.3f}")
    return {
        "ranks": tuple(ranks),
        "log_expression": curve,
        "log_size": median,
        "log_size_sd": spread,
    }


def main() -> None:
    for path in sorted((FOLDER / "nb_parameters").glob("*.csv.gz")):
        curves = fit(pd.read_csv(path))
        print(f'        "{path.name.removesuffix(".csv.gz")}": _curves(\n            """\\')
        rows = zip(*curves.values(), strict=True)
        lines = [f"{r:5d} {e:6.2f} {size:5.2f} {sd:4.2f}" for r, e, size, sd in rows]
        print("\n".join(lines) + '"""\n        ),')
    depth = np.log(ad.read_h5ad(FOLDER / DEPTH_FILE, backed="r").obs[DEPTH_COLUMN].to_numpy())
    print(f"LIBRARY_SIZE = {np.exp(np.median(depth)):_.0f}.0\nLIBRARY_SD = {depth.std():.2f}")


if __name__ == "__main__":
    main()
