"""The rule that tells copies of cells from cells that are alike by chance, on real screens.

    python benchmarks/identical_cells.py [--draws 5]

From each screen, random panels of 5 to 200 genes: how many cells have an identical one there, and how many of them the rule
of `sh.pp.split` flags as copies; none should be. Then 200 cells are copied in the whole panel: how many of them are found.
Real data are read from SHOAL_DATA_DIR (or ../shared/data); a set that is absent is named and left out.
"""

from __future__ import annotations

import argparse

import numpy as np
from _calibration import read, show
from scipy import sparse

from shoal.core._matrix import as_rows
from shoal.pp._split_rows import identical_groups

SCREENS = (
    "papalexi21_sceptre_lowmoi",
    "gasperini19_sceptre_highmoi",
    "renge23_hipsc_ko",
    "norman19_perturbench",
    "kang18_scgen_valid",
    "kang18_ctrl_8donors_null",
)
PANELS = (5, 10, 20, 50, 100, 200)
COPIED = 200


def alike(x: sparse.csr_matrix) -> float:
    """Return the share of the cells in which a gene is seen that have an identical one."""
    _, group, size = np.unique(x.toarray(), axis=0, return_inverse=True, return_counts=True)
    seen = np.diff(x.indptr) > 0
    return float((size[group.ravel()] > 1)[seen].mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=5)
    draws = parser.parse_args().draws
    chance, copies = [], []
    for name in SCREENS:
        adata = read(name)
        if adata is None:
            continue
        x, rng = sparse.csr_matrix(adata.X), np.random.default_rng(0)
        x.eliminate_zeros()
        shares, flagged = [], 0
        for n in (n for n in PANELS if n <= x.shape[1]):
            for _ in range(draws):
                panel = x[:, rng.choice(x.shape[1], n, replace=False)]
                shares.append(alike(panel))
                flagged += int((identical_groups(as_rows(panel)) >= 0).sum())
        chance.append(
            {
                "set": name,
                "panels": len(shares),
                "cells with an identical one, least": min(shares),
                "most": max(shares),
                "flagged cells": flagged,
            }
        )
        own = np.flatnonzero(identical_groups(as_rows(x)) >= 0)
        chosen = rng.choice(np.setdiff1d(np.arange(x.shape[0]), own), COPIED, replace=False)
        group = identical_groups(as_rows(sparse.vstack([x, x[chosen]], format="csr")))
        found = (group[chosen] >= 0) & (group[chosen] == group[x.shape[0] :])
        copies.append(
            {
                "set": name,
                "genes": x.shape[1],
                "median genes seen": float(np.median(np.diff(x.indptr))),
                "flagged before": len(own),
                "copies found": float(found.mean()),
            }
        )
    show("Random panels of 5 to 200 genes, without copies", chance)
    show(f"{COPIED} cells copied in the whole panel", copies)


if __name__ == "__main__":
    main()
