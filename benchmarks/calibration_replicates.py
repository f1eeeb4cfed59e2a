"""Is the test by replicates calibrated, and has it power? On real guides and donors, and simulated.

    python benchmarks/calibration.py --only replicates

Nothing was done to non-targeting guides or to untreated donors, so some of them against the others
should be rejected in 5 % of the splits. Splits of the same few replicates overlap, so the rate of
one set may lie further from 5 % than the number of its splits suggests.
"""

from __future__ import annotations

import itertools

import anndata as ad
import numpy as np
from _calibration import FOLDER, SCREENS, read, show

import shoal as sh
from shoal.metrics import _replicates as rep

PAPALEXI = "papalexi21_sceptre_lowmoi"
LEAST = 20  # cells of a replicate


def replicates() -> None:
    """Guides of Papalexi, donors of Kang, and simulated replicates."""
    rates = []
    for name, part in (("Papalexi, together", guides()), ("Kang, together", donors())):
        cells, p = ([v for r in part for v in r.pop(key)] for key in ("cells", "p"))
        rates += part
        rates.append(rate_row(name, "", "", cells, p))
    show("Replicates without a response against the others, rejected at 0.05", rates)
    level()
    power()


def share(p: list[float]) -> float:
    return float(np.mean(np.array(p) < 0.05)) if len(p) else np.nan


def rate_row(name: str, size: int | str, n: int | str, cells: list, p: list) -> dict:
    return {
        "set": name,
        "replicates": size,
        "of": n,
        "splits": len(p),
        "rejected by cells": share(cells),
        "rejected by replicates": share(p),
    }


def row(name: str, size: int, n: int, tables: list) -> dict:
    p = [float(t["pvalue_replicate"]) for t in tables]
    cells = [float(t["pvalue"]) for t in tables]
    return rate_row(name, size, n, cells, p) | {"p": p, "cells": cells}


def guides() -> list[dict]:
    """Every 2, 3 and 4 non-targeting guides of Papalexi in turn, and the responders."""
    rates, responders = [], []
    for confident in (True, False):
        adata = read(PAPALEXI) if confident else whole()
        if adata is None:
            return []
        name = f"Papalexi, {'confident' if confident else 'all'} cells"
        sh.pp.annotate(adata, "perturbation", **SCREENS[PAPALEXI])
        sh.pp.prepare(adata, normalize="log1p", n_comps=30)
        sh.tl.coherence(adata)
        result = adata.uns["coherence"]
        table, params = result["table"], result["params"]
        sh.tl.coherence(adata, strata=None)
        pooled = adata.uns["coherence"]["table"]
        sh.tl.coherence_null(adata, n_cells=[30], n_draws=1)
        alone = adata.uns["coherence_null"]["table"].query("held_out != 'random split'")
        responders.append(
            {
                "cells": name.split(", ")[1],
                "n": adata.n_obs,
                "q < 0.05 by cells, controls pooled": int((pooled["qvalue"] < 0.05).sum()),
                "by cells, within replicate batches": int((table["qvalue"] < 0.05).sum()),
                "by guides": int((table["qvalue_replicate"] < 0.05).sum()),
                "of": len(table),
                "degrees of freedom": params["replicate_df"],
                "variance of guides over cells": f"{params['replicate_variance']:.4f}",
                "non-targeting guides with p < 0.05 by cells": int((alone["pvalue"] < 0.05).sum()),
                "of guides": len(alone),
            }
        )
        label = adata.obs["perturbation"].astype(str)
        grna = adata.obs["grna"].astype(str)
        counts = grna[label == "non-targeting"].value_counts()
        names = sorted(counts.index[counts >= LEAST])
        for size in (2, 3, 4):
            found = []
            for chosen in itertools.combinations(names, size):
                adata.obs["perturbation"] = label.mask(grna.isin(chosen), "held out")
                sh.tl.coherence(adata)
                found.append(adata.uns["coherence"]["table"].loc["held out"])
            rates.append(row(name, size, len(names), found))
        adata.obs["perturbation"] = label
    show("Papalexi: responders by cells and by guides", responders)
    return rates


def whole() -> ad.AnnData:
    return ad.read_h5ad(FOLDER / f"{PAPALEXI}.h5ad")


def donors() -> list[dict]:
    """Half of Kang's untreated donors against the others, within cell types."""
    kang = read("kang18_ctrl_8donors_null")
    rates = []
    for kind in kang.obs["cell_type"].value_counts().index if kang is not None else []:
        adata = kang[(kang.obs["cell_type"] == kind).to_numpy()].copy()
        donor = adata.obs["donor"].astype(str)
        counts = donor.value_counts()
        names = sorted(counts.index[counts >= LEAST])
        if len(names) < 6:
            continue
        adata = adata[donor.isin(names).to_numpy()].copy()
        donor, half = adata.obs["donor"].astype(str), len(names) // 2
        adata.obs["perturbation"] = np.where(donor == names[0], "held out", "control")
        sh.pp.prepare(
            adata,
            "perturbation",
            control="control",
            normalize="log1p",
            n_comps=30,
            fit_on="all",
        )
        found = []
        for chosen in itertools.combinations(names, half):
            if 2 * half == len(names) and names[0] not in chosen:
                continue  # the other half is the same split
            adata.obs["perturbation"] = np.where(donor.isin(chosen), "held out", "control")
            sh.tl.coherence(adata, "perturbation", control="control", replicate_key="donor")
            found.append(adata.uns["coherence"]["table"].loc["held out"])
        rates.append(row(f"Kang, {kind}", half, len(names), found))
    return rates


SHAPES = {  # variance between replicates over that of cells, by direction
    "as cells": 0.01 * np.ones(30),
    "all directions alike": 0.01 * np.arange(1, 31) / 7.5,
    "one direction": np.r_[0.03, np.zeros(29)],
    "none": np.zeros(30),
}
CELLS = 1 / np.arange(1, 31)


def drawn(rng, shape, groups, k, control, *, shift=None, efficacy=0.0):
    """Draw replicates of 20 to 300 cells; `control` 0 is a paired design."""
    owner = np.r_[np.repeat(np.arange(groups), k), np.full(control, groups)]
    n = np.exp(rng.uniform(np.log(20), np.log(300), len(owner)))
    means = rng.normal(size=(len(owner), 30)) * np.sqrt(shape * CELLS)
    means += rng.normal(size=means.shape) * np.sqrt(CELLS / n[:, None])
    if shift is not None:
        moved = np.vstack([shift, np.zeros(30)])[owner]
        means += moved * (1 + efficacy * rng.normal(size=(len(owner), 1)))
    return rep.Replicates(means, 1 / n, owner, groups, control == 0)


def some_cells(rng) -> np.ndarray:
    return rng.normal(size=(400, 30)) * np.sqrt(CELLS)


def level() -> None:
    """Rejections where nothing responds."""
    rows = []
    designs = {
        "1 perturbation, 2 against 2": (1, 2, 2),
        "1 perturbation, 4 against 4": (1, 4, 4),
        "1 perturbation, 4 against 8": (1, 4, 8),
        "24 perturbations, 2 against 8": (24, 2, 8),
        "24 perturbations, 4 against 8": (24, 4, 8),
        "1 perturbation, 3 pairs": (1, 3, 0),
        "1 perturbation, 8 pairs": (1, 8, 0),
        "24 perturbations, 3 pairs": (24, 3, 0),
    }
    for name, (groups, k, control) in designs.items():
        found = {}
        for shape, variance in SHAPES.items():
            rng = np.random.default_rng(0)
            p = [
                rep.replicate_test(drawn(rng, variance, groups, k, control), some_cells(rng)).pvalue
                for _ in range(1200 if groups == 1 else 60)
            ]
            found[shape] = share(list(np.concatenate(p)))
        rows.append({"design": name, **found})
    show("Simulated, nothing responds: rejected at 0.05, by where replicates differ", rows)


def power() -> None:
    """Which perturbations tell how much replicates differ without a response?

    24 perturbations of 4 guides against 8, of which 12 respond.
    """
    rows = []
    sizes = (0.2, 0.4, 0.8, 3.0)
    for efficacy in (0.0, 0.5):
        for name in ("control alone", "weaker half", "all"):
            rng = np.random.default_rng(1)
            p = []
            for _ in range(60):
                to = rng.normal(size=(24, 30)) * np.sqrt(CELLS)
                length = np.r_[np.tile(sizes, 3), np.zeros(12)] * np.sqrt(CELLS.sum()) / 2
                shift = to / np.linalg.norm(to, axis=1, keepdims=True) * length[:, None]
                found = drawn(rng, 0.0016 * np.ones(30), 24, 4, 8, shift=shift, efficacy=efficacy)
                pooled = {
                    "control alone": found.owner == 24,
                    "weaker half": rep.weaker_half(found, np.ones(24, dtype=bool)),
                    "all": np.ones(len(found.owner), dtype=bool),
                }[name]
                spread = rep.null_spread(found, some_cells(rng), pooled)
                p.append(rep.pvalues(rep.shared_shift(found), found, pooled, spread))
            hit = np.array(p) < 0.05
            rows.append(
                {
                    "efficacy of guides varies by": efficacy,
                    "null from": name,
                    "rejected without response": float(hit[:, 12:].mean()),
                }
                | {
                    f"shift {size / 2:g} sd": float(hit[:, i:12:4].mean())
                    for i, size in enumerate(sizes)
                }
            )
    show("Simulated: found at p < 0.05, by the perturbations that the null is estimated from", rows)
