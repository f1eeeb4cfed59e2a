"""Print what the two trainings of a network, and the share of cells that responds, do to its predictions.

    python benchmarks/refit.py [--data kang renge] [--models flow] [--seeds 0 1] [--steps 300] [--val 0.2] [--folder DIR]

The splits are those of `_screens.py`, with a share of the units for validation. The figures are energy distances to held-out
cells (see `_evaluate.py`):

- `once`: trained without the conditions of validation; `once, share`: the same with `response_share`.
- `again`: trained anew with them, for the steps that were best on them; `again, share`: the default.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import _screens
import pandas as pd
from _evaluate import exam
from threadpoolctl import threadpool_limits

import shoal as sh
from shoal.models.base._registry import names

SPLITS = {
    "kang": "context",
    "renge": "perturbation_context",
    "papalexi": "perturbation",
    "norman": "combination",
}


def row(data: str, model: str, seed: int, given: argparse.Namespace) -> dict[str, object]:
    """Return the energies of one network on one screen."""
    about, name = _screens.DATA[data], SPLITS[data]
    split = about.splits[name]
    with_val = replace(split, options={**split.options, "val": given.val})
    _screens.DATA[data] = replace(about, splits={**about.splits, name: with_val})
    adata = _screens.prepare(_screens.Task(data, name, seed, (model,), given.steps, given.folder))
    _screens.DATA[data] = about
    test = exam(adata, least=about.least, by_dose=about.by_dose, seed=seed)
    embedding = {} if split.embedding == "one-hot" else {"embedding": split.embedding}
    found: dict[str, object] = {"data": data, "model": model, "seed": seed}
    found["control copy"] = test.control_copy()["energy"]
    for refit, word in ((False, "once"), (True, "again")):
        made = sh.tl.fit(adata, model, rng=seed, max_steps=given.steps, refit=refit, **embedding)
        share = made.response_share
        for own, what in ((1.0, word), (share, f"{word}, share")):
            made.response_share = own
            sh.tl.predict(adata, made, key_added="made", subset="test", rng=seed, overwrite=True)
            found[what] = test.score(adata.layers["made"])["energy"]
    return {**found, "share": share, "steps": made.fit_result.best_step}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", nargs="+", choices=list(SPLITS), default=list(SPLITS))
    parser.add_argument("--models", nargs="+", default=list(names("network", images=False)))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1])
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--val", type=float, default=0.2)
    parser.add_argument("--folder", type=Path, default=_screens.FOLDER)
    given = parser.parse_args()
    rows = [
        row(data, model, seed, given)
        for data in given.data
        for model in given.models
        for seed in given.seeds
    ]
    print(pd.DataFrame(rows).round(4).to_string(index=False))


if __name__ == "__main__":
    with threadpool_limits(1):
        main()
