"""Which CellFlux the preset `shoal` is: variants, judged on cells that are left out of training and that no table reports.

    python benchmarks/cellflux_choice.py [--data nfkb simulated] [--seeds 0 1] [--steps 200] [--rows "bump" "x1"] [--out FILE.csv]

`nfkb`: treated cells of the half of BBBC014 that the guide trains on, cut in two once more; even seeds judge its lower part, odd ones
the upper part. Energy distances in all features and in those of DAPI, and the ratio of p65, predicted over real. `simulated`: screens
that the guide does not show, a treatment held out on one plate of three. Energy distance in the true parameters, mean of the three
treatments that do something; error of the counterfactual over that of a copy, likewise. Images have 16 pixels, so that a training
takes seconds. Every row changes one thing of `shoal`. With `--out` a call goes on where the last one stopped; the table is of all rows.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from cellflux import EDGE, KINDS, OVERLAP, bbbc014, estimator, nuclear_ratio

import shoal as sh
from shoal.core._image_reading import crops
from shoal.metrics import energy_distance
from shoal.metrics._image_features import feature_names, image_features

if TYPE_CHECKING:
    from collections.abc import Callable

    import anndata as ad

    Judge = Callable[[Callable[..., Any]], dict[str, float]]

HALF = {"noise_probability": 0.5}
LINEAR = {"covariates": "perturbation", "condition_dropout": 0.2}
BUMP = {"path_start": "control", "gamma": "sin2", "gamma_scale": 0.3, "head": "velocity+eta"}
ROWS: dict[str, dict[str, Any]] = {
    "shoal": {},
    "start: control, without noise": {"path_start": "control"},
    "start: noise 0.3": {"noise": 0.3},
    "start: noise on half of the cells": HALF,
    "start: noise on half of the batches": HALF | {"noise_coin": "batch"},
    "start: noise on half, clean control at inference": HALF | {"noise_at_sampling": False},
    "bump of noise on the way, start: control": BUMP,
    "noise to data, batch label": {"path_start": "noise", "coupling": "independent"},
    "random pairs": {"coupling": "independent"},
    "times skewed to the end": {"law": "edm"},
    "x1-prediction": {"head": "x1"},
    "perturbation alone, left out of a fifth of the cells": LINEAR,
    "perturbation alone, left out of a fifth of the batches": LINEAR | {"condition_coin": "batch"},
    "latent images": {"latent": "autoencoder", "flip": 0.0, "multipliers": (1, 2)},
    "width 16": {"width": 16},
    "width 48": {"width": 48},
}
STEPS = {"4 steps of Heun": {"n_steps": 4}, "4 steps of Euler": {"n_steps": 4, "sampler": "euler"}}


def nfkb(seed: int, size: int) -> tuple[ad.AnnData, Judge, dict[str, Any]]:
    """Return training cells, what judges a model of them, and scores of reference rows."""
    adata = bbbc014(size)
    treated = (adata.obs["condition"] != "control").to_numpy()
    x, y = (adata.obs[name].to_numpy() for name in "xy")
    known = treated & (x < EDGE)
    middle = np.median(y[known])
    low, high = known & (y < middle - OVERLAP / 2), known & (y >= middle + OVERLAP / 2)
    learn, judged = (low, high) if seed % 2 == 0 else (high, low)
    train = adata[learn | ~treated].copy()
    sh.pp.annotate(train, "condition", control="control")
    sh.pp.prepare_images(train, use_rep="crops", channels=["p65", "DAPI"])
    scale, images = crops(train, "crops").scale, adata.obsm["crops"]

    def features(some: np.ndarray) -> np.ndarray:
        return image_features((scale.to_unit(some, np.zeros(len(some), int)) + 1) / 2, nucleus=1)

    real = features(images[judged])
    centre, spread = real.mean(0), real.std(0) + 1e-9
    dapi = [i for i, name in enumerate(feature_names(["p65", "DAPI"], "DAPI")) if "p65" not in name]

    def scores(some: np.ndarray) -> dict[str, float]:
        own, target = ((values - centre) / spread for values in (features(some), real))
        ratio = np.median(nuclear_ratio(some)) / np.median(nuclear_ratio(images[judged]))
        return {"energy": energy_distance(own, target), "DAPI": energy_distance(own[:, dapi], target[:, dapi]), "p65": ratio}  # fmt: skip

    def judge(model: Any, **options: Any) -> dict[str, float]:
        return scores(model.predict("TNFa", n_cells=200, rng=seed, **options).obsm["crops"])

    return train, judge, {"copy of the control": scores(images[~treated]), "real cells": scores(images[learn])}  # fmt: skip


def simulated(seed: int, size: int) -> tuple[ad.AnnData, Judge, dict[str, Any]]:
    """As `nfkb`, of a simulated screen."""
    adata = sh.ds.simulate_images(
        n_perturbations=len(KINDS), n_cells=120, n_control=360, size=size, effects=KINDS, n_batches=3, dead=0.0, rng=100 + seed
    )  # fmt: skip
    label, plate = adata.obs["perturbation"].astype(str), adata.obs["batch"].astype(str)
    plates, names = sorted(plate.unique()), [f"P{i + 1}" for i in range(len(KINDS))]
    held = {name: plates[i % len(plates)] for i, name in enumerate(names)}
    out = (label.map(held) == plate).to_numpy()
    sh.pp.prepare_images(adata, use_rep="crops")
    estimate, images = estimator(adata, ~out), adata.obsm["crops"]

    def scores(make: Callable[[str, np.ndarray, np.ndarray], np.ndarray]) -> dict[str, float]:
        energy, error = [], []
        for name, kind in zip(names, KINDS, strict=True):
            if kind == "null":
                continue  # the part `null` of cellflux.py is about it
            control = np.flatnonzero((label == "control") & (plate == held[name]))
            truth = sh.ds.counterfactual_images(adata, name, cells=list(adata.obs_names[control]))
            at, moved = np.array([plates.index(held[name])]), np.arange(len(control)) % 2 == 0
            right = estimate(truth, at)
            made = estimate(make(name, control[moved], truth[moved]), at)
            copy = estimate(images[control[moved]], at)
            real = np.vstack([estimate(images[out & (label == name)], at), right[~moved]])
            energy.append(energy_distance(made, real))
            wrong, of_copy = (((x - right[moved]) ** 2).sum() for x in (made, copy))
            error.append(wrong / of_copy)
        return {"energy": float(np.mean(energy)), "error": float(np.mean(error))}

    def judge(model: Any, **options: Any) -> dict[str, float]:
        return scores(lambda name, control, _: model.transport(adata[control].copy(), name, rng=seed, **options).obsm["crops"])  # fmt: skip

    copies = scores(lambda _name, control, _truth: images[control])
    return adata[~out].copy(), judge, {"copy of the control": copies, "real cells": scores(lambda _name, _control, truth: truth)}  # fmt: skip


TASKS = {"nfkb": nfkb, "simulated": simulated}


def rows(given: argparse.Namespace) -> pd.DataFrame:
    """Fit what is missing, and return all rows: one a variant, data set and seed."""
    table = pd.read_csv(given.out).to_dict("records") if given.out and given.out.exists() else []
    known = {(row["data"], row["seed"], row["row"]) for row in table}

    def say(where: tuple[str, int, str], scores: dict[str, float], seconds: float = 0.0) -> None:
        table.append(dict(zip(("data", "seed", "row"), where, strict=True)) | scores | {"CPU s": seconds})  # fmt: skip
        print(*where, {k: round(float(v), 3) for k, v in scores.items()}, f"{seconds:.0f} CPU-s", flush=True)  # fmt: skip
        if given.out:
            pd.DataFrame(table).to_csv(given.out, index=False)

    for data in given.data:
        for seed in given.seeds:
            wanted = {
                name: config
                for name, config in ROWS.items()
                if (data, seed, name) not in known
                and (not given.rows or any(text in name for text in given.rows))
            }
            if not wanted:
                continue
            train, judge, references = TASKS[data](seed, given.size)
            for name, scores in references.items():
                if (data, seed, name) not in known:
                    say((data, seed, name), scores)
            for name, config in wanted.items():
                begin = time.process_time()
                model = sh.tl.fit(
                    train, "cellflux", use_rep="crops", config=config, max_steps=given.steps, rng=seed, precision="bf16-mixed", accelerator="cpu"
                )  # fmt: skip
                say((data, seed, name), judge(model), time.process_time() - begin)
                for steps, options in STEPS.items() if name == "shoal" else ():
                    say((data, seed, steps), judge(model, **options))
    return pd.DataFrame(table)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1])
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--size", type=int, default=16, help="pixels; 64 must be a multiple of it")
    parser.add_argument("--rows", nargs="+", help="parts of the names of rows; all if left out")
    parser.add_argument("--out", type=Path, help="csv of all rows")
    given = parser.parse_args()
    torch.set_num_threads(1)
    sh.settings.progress = False
    table = rows(given).melt(["data", "seed", "row"], var_name="column").dropna()
    order = ["copy of the control", "real cells", *ROWS, *STEPS]
    kept = table[table["column"] != "CPU s"].sort_values(["data", "seed"], kind="stable")
    text = kept.groupby(["row", "data", "column"])["value"].agg(lambda v: ", ".join(f"{x:.2f}" for x in v))  # fmt: skip
    wide = text.unstack(["data", "column"]).reindex([name for name in order if name in set(kept["row"])])  # fmt: skip
    spent = table[(table["column"] == "CPU s") & (table["value"] > 0)].groupby("row")["value"].mean()  # fmt: skip
    wide.columns = [f"{data}: {column}" for data, column in wide.columns]
    print(wide.assign(**{"CPU s": spent.round(0)}).to_markdown(), flush=True)


if __name__ == "__main__":
    main()
