"""Choose a baseline and its settings within training, and print what the choice is worth on the test.

    python benchmarks/nested.py [--data renge kang] [--seeds 0 1 2] [--inner 3]

A row for each screen and kind of split, means over splits. `chosen`: what inner folds chose, most often. The other columns are
errors on the test conditions, as `shoal.tl.fit` defines them: energy distance to the real cells, 1 for a copy of the controls.

chosen    of the baseline that inner folds chose
best      of the baseline that is best on the test, chosen with hindsight
fixed     of the reference that goes with the kind of split
median    of the median baseline
agree     rank correlation of the errors within training and on the test, over baselines
"""

from __future__ import annotations

import argparse
import os
from collections import Counter
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
from scipy.stats import spearmanr

import shoal as sh
from shoal.core._population import population
from shoal.core._screen import resolve
from shoal.evaluation._baselines import baseline_names
from shoal.evaluation._inner_error import InnerError, relative
from shoal.evaluation._inner_reference import reference_on_validation
from shoal.evaluation._reference import REFERENCES
from shoal.models.base._fitting import fit_baseline

FOLDER = Path(os.environ.get("SHOAL_DATA_DIR", Path(__file__).parents[2] / "shared" / "data"))
SCREENS = {
    "renge": ("renge23_hipsc_ko.h5ad", "perturbation", "control", {"context_key": "day"}),
    "papalexi": ("papalexi21_sceptre_lowmoi.h5ad", "perturbation", "non-targeting", {}),
    "kang": ("kang18_scgen_valid.h5ad", "condition", "control", {"context_key": "cell_type"}),
}
SPLITS = {
    "renge": ("perturbation", "context", "perturbation_context"),
    "papalexi": ("perturbation",),
    "kang": ("context",),
}


def screen(name: str) -> ad.AnnData:
    """Return a screen of log-normalised values."""
    file, key, control, columns = SCREENS[name]
    adata = ad.read_h5ad(FOLDER / file)
    sh.pp.annotate(adata, key, control=control, **columns)
    sh.pp.prepare(adata, normalize="log1p", fit_on="control")
    return adata


def on_test(cells, names: list[str], *, seed: int) -> pd.Series:
    """Return the error of baselines that were trained on all of training, on the test."""
    measure = InnerError(cells, [np.where(cells.split == 1, -1, cells.split)], seed=seed)
    found = {}
    for name in names:
        try:
            found[name] = relative(
                measure.of(fit_baseline(cells, name, embedding=None, rng=seed), 0)
            )
        except (KeyError, ValueError):
            found[name] = np.nan
    return pd.Series(found)


def row(name: str, by: str, *, seeds: list[int], inner: int) -> dict[str, object]:
    """Return the line of a screen and a kind of split."""
    adata, lines, chosen = screen(name), [], Counter()
    for seed in seeds:
        sh.pp.split(adata, by=by, test=0.25, rng=seed, accept=["identical_cells"], overwrite=True)
        cells = population(adata, resolve(adata, tell=False))
        names = ["control", *baseline_names(adata, "auto")]
        choice = reference_on_validation(cells, names, within=True, inner=inner, seed=seed)
        test = on_test(cells, names, seed=seed)
        within = choice.table["error"].to_numpy()
        both = np.isfinite(within) & np.isfinite(test.to_numpy())
        chosen[choice.name] += 1
        lines.append(
            {
                "chosen": test[choice.name],
                "best": test.min(),
                "fixed": test[REFERENCES[by]],
                "median": test.median(),
                "agree": spearmanr(within[both], test.to_numpy()[both]).statistic,
            }
        )
    means = pd.DataFrame(lines).mean().round(3).to_dict()
    ((often, times),) = chosen.most_common(1)
    return {"data": name, "split": by, "name": f"{often} ({times} of {len(seeds)})", **means}


def main() -> None:
    """Print the table."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--data", nargs="+", default=list(SCREENS), choices=list(SCREENS))
    options.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    options.add_argument("--inner", type=int, default=3)
    given = options.parse_args()
    rows: list[dict[str, object]] = []
    for name in given.data:
        for by in SPLITS[name]:
            rows.append(row(name, by, seeds=given.seeds, inner=given.inner))
            print(pd.DataFrame(rows[-1:]).to_csv(index=False), flush=True)
    print(pd.DataFrame(rows).to_markdown(index=False))


if __name__ == "__main__":
    main()
