"""Take the parts of the default flow away, one at a time, and print what that does on real screens.

    python benchmarks/ablations.py [--data renge kang] [--seeds 0 1] [--only "sees all components" ...]

The energy distance of held-out conditions, as in `predict.py`, for the default flow and for variants of it; those of
generation use the same trained network.
"""

from __future__ import annotations

import argparse

import numpy as np
import pandas as pd
from _evaluate import exam
from predict import DATA, FOLDER, Task, prepare
from threadpoolctl import threadpool_limits

import shoal as sh

# What the default has -> without it: of training, and of generation.
TRAINED = {
    "default": {},
    "sees all components": {"config": {"view": None}},
    "sees where the controls lie": {"config": {"relative": False}},
    "trained from controls only": {"config": {"transfer": 0.0}},
    "no dropout": {"config": {"dropout": 0.0}},
    "conditions drawn equally often": {"weighting": "uniform"},
    "parts of a combination averaged": {"config": {"pooling": "mean"}},
    "independent coupling": {"config": {"coupling": "independent"}},
}
GENERATED = {
    "context label ignored": {"context": 0.0},
    "context label followed": {"context": 1.0},
    "new vectors followed": {"perturbation": 1.0},
    "new vectors ignored": {"perturbation": 0.0},
}


def rows(data: str, split: str, seed: int, only: list[str] | None):
    task = Task(data, split, seed, (), None, FOLDER)
    adata, about = prepare(task), DATA[data]
    test = exam(adata, least=about.least, by_dose=about.by_dose, seed=seed)
    embedding = about.splits[split].embedding
    options = {} if embedding == "one-hot" else {"embedding": embedding}
    keys = {"context": "context_key" in about.columns, "perturbation": embedding != "one-hot"}

    def energy(model, **more):
        sh.tl.predict(adata, model, key_added="prediction", subset="test", rng=seed, **more)
        return test.score(adata.layers["prediction"])["energy"]

    yield "control copy", test.control_copy()["energy"]
    for name, change in TRAINED.items():
        if only and name not in only and name != "default":
            continue
        model = sh.tl.fit(adata, "flow", rng=seed, **options, **change)
        yield name, energy(model)
        if name == "default" and keys["context"] and (not only or "begins at controls" in only):
            yield "begins at controls", energy(model, transfer=False)
        for other, guidance in GENERATED.items() if name == "default" else ():
            if keys[next(iter(guidance))] and (not only or other in only):
                kept = {"context": 0.5} if "perturbation" in guidance and keys["context"] else {}
                yield other, energy(model, guidance={**kept, **guidance})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", default=["renge", "kang", "papalexi", "norman"], choices=list(DATA))
    parser.add_argument("--split", nargs="+")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1])
    parser.add_argument("--only", nargs="+")
    given = parser.parse_args()
    found = []
    for data in given.data:
        for split in given.split or DATA[data].splits:
            for seed in given.seeds if split in DATA[data].splits else ():
                for name, value in rows(data, split, seed, given.only):
                    found.append((f"{data}, {split}", name, value))
                    print(*found[-1], flush=True)
    table = pd.DataFrame(found, columns=["screen", "flow", "energy"])
    table = table.pivot_table(index="flow", columns="screen", values="energy", aggfunc=np.mean, sort=False)
    print(table.round(4).to_markdown() if hasattr(table, "to_markdown") else table)


if __name__ == "__main__":
    with threadpool_limits(1):
        main()
