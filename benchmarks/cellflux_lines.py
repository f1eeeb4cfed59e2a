"""The vector form of CellFlux on Cell Painting profiles of twelve lines (CC0): lines and densities held out, beside all baselines.

    python benchmarks/cellflux_lines.py [--coating standard synthemax] [--split line density] [--seeds 0 1 2]
                                        [--models mean_shift flow:cellflux] [--steps 400] [--folder DIR]

The "perturbation" is the number of cells seeded in a well: 4,000 is the control, the others are doses of one perturbation. A row is a
well, the median of its cells, standardised by plate. Controls are those of the same plate and line. A call goes on where the last one
stopped. Other lines predict a line at a correlation of .4, halves of a condition agree by .8, and no information is at .06.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd

import shoal as sh
from shoal.models.base._registry import names

FOLDER = Path(os.environ.get("SHOAL_DATA_DIR", Path(__file__).parents[2] / "shared" / "data"))
FLOWS = ("flow:flow", "flow:cellflux")
METRICS = ("pearson_delta", "energy", "rmse")
SPLITS: dict[str, dict[str, Any]] = {
    "line": {"by": "context", "test": 0.3},
    "density": {"by": "dose", "test": 0.3},
}


def profiles(coating: str) -> ad.AnnData:
    """Return the wells of a coating; the number of cells seeded is the dose of one perturbation."""
    adata = ad.read_h5ad(FOLDER / f"pca_density_12lines_{coating}.h5ad")
    control = (adata.obs["perturbation"] == "control").to_numpy()
    adata.obs["seeded"] = np.where(control, "control", "other density")
    adata.obs["density"] = adata.obs["density"].astype(float)
    return adata


def models(given: list[str], steps: int | None) -> list[dict[str, Any]]:
    """Return contenders as a benchmark takes them."""
    found = []
    for text in given:
        name, _, preset = text.partition(":")
        options = {"preset": preset, "max_steps": steps, "response_share": 1.0} if preset else {}
        found.append({"name": name, "label": text.replace(":", ", "), "options": options})
    return found


def shown(rows: pd.DataFrame, board: pd.DataFrame) -> pd.DataFrame:
    """Return the score of each contender, and the mean over seeds of three metrics as they are."""
    chosen = rows[rows["metric"].isin(METRICS)]
    values = chosen.pivot_table(index="model", columns="metric", values="value")
    controls = chosen.groupby("metric")[["positive", "negative"]].mean().T
    controls.index = ["positive control", "negative control"]
    about = board[["score", "score_low", "score_high", "achieved", "harm"]]
    return about.join(pd.concat([values, controls])[list(METRICS)])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--coating", nargs="+", default=["standard", "synthemax"])
    parser.add_argument("--split", nargs="+", choices=SPLITS, default=list(SPLITS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--models", nargs="+", default=[*names("baseline"), *FLOWS])
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--folder", type=Path, default=Path(__file__).parent / "rows" / "lines")
    args = parser.parse_args()
    for coating in args.coating:
        for split in args.split:
            spec = {
                "data": {
                    f"lines, {coating}": {
                        "call": lambda coating=coating: profiles(coating),
                        "perturbation_key": "seeded",
                        "control": "control",
                        "context_key": "cell_line",
                        "batch_key": "plate",
                        "dose_key": "density",
                        "prepare": {"normalize": None, "fit_on": "train", "cross_fit": 0},
                    }
                },
                "splits": {split: SPLITS[split]},
                "models": models(args.models, args.steps),
                "seeds": args.seeds,
                "evaluate": {"min_cells": 6},
            }
            folder = args.folder / f"{coating}_{split}"
            rows = sh.benchmark.run(spec, folder=folder)
            board = pd.read_csv(folder / "leaderboard.csv", index_col=0)
            print(f"\n## {coating}, held out: {split}\n")
            print(shown(rows, board).to_markdown(floatfmt=".3f"), flush=True)


if __name__ == "__main__":
    main()
