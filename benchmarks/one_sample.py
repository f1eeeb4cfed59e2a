"""Why coherence is a difference from the controls: both forms of the test on random splits of real control cells.

    python benchmarks/one_sample.py [--draws 300]

The one-sample form asks whether the unit vectors of a set's shifts from the centroid of the other controls have a mean.
It is the mean over pairs of cells, u_i . u_j, over its standard error without an effect (the root of 2 mean (u_i . u_j)^2 /
n (n - 1), over pairs), one-sided at 5 %. The two-sample form is that of `sh.tl.coherence_null`, without strata in both.
Real data are read from SHOAL_DATA_DIR (or ../shared/data); a set that is absent is named and left out.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

import numpy as np
from _calibration import SCREENS, prepared, rate, read, show
from scipy import stats

import shoal as sh

if TYPE_CHECKING:
    from collections.abc import Iterator

    import anndata as ad


def one_sample(values: np.ndarray, chosen: np.ndarray) -> float:
    """Return the p-value of the one-sample form for some of the control cells, against the others."""
    shift = values[chosen] - values[~chosen].mean(axis=0)
    unit = shift / np.linalg.norm(shift, axis=1, keepdims=True)
    n = len(unit)
    dots = (unit @ unit.T)[~np.eye(n, dtype=bool)]
    return float(stats.norm.sf(dots.mean() / np.sqrt(2 * np.mean(dots**2) / (n * (n - 1)))))


def controls() -> Iterator[tuple[str, ad.AnnData]]:
    """Control cells of each screen, and the untreated cells of each type of the eight donors of Kang."""
    for name, columns in SCREENS.items():
        adata = prepared(name)
        if adata is not None:
            labels = adata.obs["perturbation"].astype(str)
            yield name, adata[(labels == columns["control"]).to_numpy()].copy()
    kang = read("kang18_ctrl_8donors_null")
    for kind in kang.obs["cell_type"].value_counts().index if kang is not None else []:
        cells = kang[(kang.obs["cell_type"] == kind).to_numpy()].copy()
        if cells.n_obs >= 150:
            cells.obs["perturbation"] = "control"
            sh.pp.prepare(cells, "perturbation", control="control", normalize="log1p", n_comps=30)
            yield f"kang18, {kind}", cells


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=300)
    draws, rows = parser.parse_args().draws, []
    for name, cells in controls():
        values = np.asarray(cells.obsm["X_pca"], dtype=float)
        sizes = [n for n in (30, 100, 300) if 2 * n <= len(values)]
        sh.tl.coherence_null(
            cells, "perturbation", control=str(cells.obs["perturbation"].iloc[0]), n_cells=sizes,
            n_draws=draws, strata=None, by=None,
        )  # fmt: skip
        two = cells.uns["coherence_null"]["table"]
        rng = np.random.default_rng(0)
        for n in sizes:
            sets = [rng.permutation(len(values)) < n for _ in range(draws)]
            rows.append(
                {
                    "set": name,
                    "controls": len(values),
                    "n": n,
                    "one-sample, rejected at 0.05": rate(
                        [one_sample(values, chosen) for chosen in sets], 0.05
                    ),
                    "two-sample": rate(two["pvalue"][two["n_cells"] == n], 0.05),
                }
            )
    show("Random splits of control cells, one-sample and two-sample coherence", rows)


if __name__ == "__main__":
    main()
