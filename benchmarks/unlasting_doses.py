"""What Unlasting makes of doses: drugs at doses that were not measured, on simulated cells with zeros.

    python benchmarks/unlasting_doses.py [--seeds 0 1 2] [--steps 300] [--models own_shift unlasting]

Eight drugs with vectors at doses of .1, 1 and 10, whose response is a Hill curve around 1. Two drugs are held out at each dose.
`energy`: unbiased energy distance over the genes. `length`: length of the predicted shift of the mean from control cells, over
that of the real one. Both by the dose that was held out, means over conditions; then over seeds (screen), with the
standard deviation. No real screen of drugs at doses with zeros is at hand.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy import sparse
from threadpoolctl import threadpool_limits

import shoal as sh

DOSES = [0.1, 1.0, 10.0]
HELD_OUT = [("P1", 0.1), ("P2", 1.0), ("P3", 10.0), ("P4", 0.1), ("P5", 1.0), ("P6", 10.0)]
NETWORKS = ("flow", "unlasting")


def screen(seed: int) -> tuple[Any, pd.DataFrame]:
    adata = sh.ds.simulate(
        n_perturbations=8,
        n_cells=80,
        n_control=240,
        n_genes=100,
        effects="shift",
        effect_size=4.0,
        doses=DOSES,
        rng=seed,
    )
    sh.pp.annotate(adata, "perturbation", control="control", dose_key="dose")
    sh.pp.split(adata, by="dose", test=HELD_OUT, rng=seed)
    sh.pp.prepare(adata, normalize="log1p", fit_on="train", n_comps=10, cross_fit=0)
    vectors = np.eye(8) + 0.1 * np.random.default_rng(seed).normal(size=(8, 8))
    return adata, pd.DataFrame(vectors, index=[f"P{i}" for i in range(1, 9)])


def cells(adata: Any, at: Any, layer: str | None = None) -> np.ndarray:
    rows = (adata.X if layer is None else adata.layers[layer])[np.asarray(at)]
    return np.asarray(rows.toarray() if sparse.issparse(rows) else rows, dtype=np.float64)


def rows(seed: int, given: argparse.Namespace):
    adata, vectors = screen(seed)
    control = cells(adata, adata.obs["perturbation"] == "control")
    own = {
        (name, dose): ((adata.obs["perturbation"] == name) & np.isclose(adata.obs["dose"], dose))
        for name, dose in HELD_OUT
    }
    for model in ("control copy", *given.models):
        name, _, preset = model.partition(":")
        if model != "control copy":
            options: dict[str, Any] = {}
            if name in NETWORKS:
                options = {"embedding": vectors, "max_steps": given.steps, "response_share": 1.0}
            options |= {"preset": preset} if preset else {}
            fitted = sh.tl.fit(adata, name, rng=seed, **options)
            sh.tl.predict(adata, fitted, key_added="made", subset="test", rng=seed, overwrite=True)
        for (_, dose), at in own.items():
            real = cells(adata, at)
            made = control if model == "control copy" else cells(adata, at, "made")
            moved, true = (x.mean(0) - control.mean(0) for x in (made, real))
            yield {
                "model": model,
                "dose": dose,
                "energy": sh.metrics.energy_distance(made, real),
                "length": np.linalg.norm(moved) / np.linalg.norm(true),
            }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=300, help="training steps of networks")
    parser.add_argument(
        "--models", nargs="+", default=["mean_shift", "own_shift", "flow", "unlasting"]
    )
    given = parser.parse_args()
    torch.set_num_threads(1)
    sh.settings.progress = False
    with threadpool_limits(1):
        found = [{"seed": seed, **row} for seed in given.seeds for row in rows(seed, given)]
    by_seed = pd.DataFrame(found).groupby(["model", "dose", "seed"], sort=False).mean()
    by_dose = by_seed.groupby(["model", "dose"], sort=False)
    text = by_dose.mean().map("{:.3f}".format)
    if len(given.seeds) > 1:
        text = text + " ± " + by_dose.std().map("{:.3f}".format)
    print(text.unstack("dose").to_markdown())


if __name__ == "__main__":
    main()
