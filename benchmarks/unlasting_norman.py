"""Norman's pairs by the metrics of the paper of Unlasting, beside linear rows: held-out pairs of our subset, singles in training.

    python benchmarks/unlasting_norman.py [--seeds 3 4 5] [--models unlasting unlasting:published:small]

The division and the names of models are those of `judge.py`, whose baselines `additive` and `kernel_ridge` (ridge regression on the
perturbations) are the linear rows. The metrics are those of the suite `unlasting`, over all genes: root mean squared error of the mean profile,
root of the energy distance of cells as the authors' code computes it, and Wasserstein distance of a gene. They compare all real cells
of a pair with all predicted ones. Means over pairs, then over seeds.
"""

from __future__ import annotations

import argparse

import pandas as pd
import torch
from _screens import FOLDER, Task, contender, prepare
from judge import SEEDS, options_of
from threadpoolctl import threadpool_limits

import shoal as sh

METRICS = ["RMSE", "E_distance", "EMD"]
LINEAR = ["additive", "kernel_ridge"]


def scores(seed: int, models: list[str]) -> pd.DataFrame:
    """Return contenders x metrics of one seed."""
    adata = prepare(Task("norman", "combination", seed, (), None, FOLDER))
    found = {}
    for text in models:
        options = options_of(text, "one-hot", steps=None)["options"]
        model = sh.tl.fit(adata, contender(text)[0], rng=seed, **options)
        sh.tl.predict(adata, model, key_added="made", rng=seed, subset="test", overwrite=True)
        sh.tl.evaluate(
            adata,
            prediction="made",
            suite="unlasting",
            metrics=METRICS,
            baselines=None if found else LINEAR,
            rng=seed,
            overwrite=True,
        )
        table = adata.uns["evaluation"]["contenders"]
        found |= {text if name == "prediction" else name: row for name, row in table.iterrows()}
        print(seed, text, table.loc["prediction", METRICS].to_dict(), flush=True)
    return pd.DataFrame(found).T[METRICS].astype(float)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=SEEDS)
    parser.add_argument("--models", nargs="+", default=["unlasting", "unlasting:published:small"])
    given = parser.parse_args()
    torch.set_num_threads(1)
    sh.settings.progress = False
    with threadpool_limits(1):
        tables = [scores(seed, given.models) for seed in given.seeds]
    by_name = pd.concat(tables).groupby(level=0, sort=False)
    text = by_name.mean().map("{:.4f}".format) + " ± " + by_name.std().map("{:.4f}".format)
    print(text.to_markdown() if len(tables) > 1 else tables[0].round(4).to_markdown())


if __name__ == "__main__":
    main()
