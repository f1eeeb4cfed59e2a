"""Let every model predict perturbations that do nothing, in a context that it has not seen them in, and print what it invents.

    python benchmarks/null_halves.py [--contexts donor cell_type] [--seeds 0 1 2] [--models flow mean_shift] [--steps 300]
                                     [--perturbations 3] [--folder DIR]

All cells are controls. Within each context, donor or cell type, half of them are dealt to perturbations that were never
applied; the other half stay controls. One context is held out by `pp.split(by="context")`. A perfect prediction is a copy of
the control cells.

- `energy`: unbiased energy distance in a PCA of training cells; 0 on average for a copy, whose values scatter around it.
- `noise`: what the same distance is on average for a copy if each cell is also counted with itself (V-statistic): the sampling
  noise of two populations of this size. What a model invents is judged by its size.
- `times noise`: (energy + noise) / noise, so 1 for a copy, and 2 where the model has invented as much as the noise.
- `share`: `response_share` of a network.
- `all respond`: its energy with `response_share = 1`.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anndata as ad
import numpy as np
import pandas as pd
from scipy import sparse
from threadpoolctl import threadpool_limits

import shoal as sh
from shoal.models.base._registry import names

if TYPE_CHECKING:
    from collections.abc import Iterator

FOLDER = Path(os.environ.get("SHOAL_DATA_DIR", Path(__file__).parents[2] / "shared" / "data"))
FILE = "kang18_ctrl_8donors_null.h5ad"
CONTROL = "control"
LEAST = 150  # cells of a context


def screen(path: Path, context: str, n_perturbations: int, seed: int) -> ad.AnnData:
    """Return the control cells, half of them dealt to perturbations, with one context held out."""
    adata = ad.read_h5ad(path)
    size = adata.obs[context].map(adata.obs[context].value_counts()).astype(int)
    adata = adata[size >= LEAST].copy()
    rng = np.random.default_rng([seed, 30])
    name = np.full(adata.n_obs, CONTROL, dtype=object)
    for here in adata.obs[context].unique():
        rows = rng.permutation(np.flatnonzero(adata.obs[context] == here))
        dealt = rows[: len(rows) // 2]
        name[dealt] = [f"fake{1 + i % n_perturbations}" for i in range(len(dealt))]
    adata.obs["perturbation"] = pd.Categorical(name)
    sh.pp.annotate(adata, "perturbation", control=CONTROL, context_key=context)
    levels = sorted(adata.obs[context].unique())
    held = levels[seed % len(levels)]
    sh.pp.split(adata, by="context", test=[held], rng=seed)
    sh.pp.prepare(adata, normalize="log1p", fit_on="train", cross_fit=0, overwrite=True)
    return adata


def rows(adata: ad.AnnData, models: list[str], steps: int | None, seed: int) -> Iterator[Any]:
    """Yield the name, the energies of all held-out conditions, their noise, and the share of a network."""
    axes = np.asarray(adata.varm["PCs"], dtype=np.float64)
    test = (adata.obs["split"] == "test").to_numpy()
    real = {
        name: _dense(adata.X[own]) @ axes
        for name in adata.obs["perturbation"].cat.categories
        if (own := test & (adata.obs["perturbation"] == name).to_numpy()).any()
    }
    noise = {}
    for name in ["control", *(name for name in models if name != "control")]:
        network = name in names("network")
        steps_of = {"max_steps": steps} if network and steps else {}
        try:
            model = sh.tl.fit(adata, name, rng=seed, **steps_of)
            sh.tl.predict(adata, model, key_added="made", subset="test", rng=seed, overwrite=True)
        except (KeyError, ValueError) as err:  # it cannot predict a context without perturbed cells
            print(f"{name}: {err}")
            continue
        share, whole = getattr(model, "response_share", np.nan), None
        if share < 1:
            model.response_share = 1.0
            sh.tl.predict(adata, model, key_added="whole", subset="test", rng=seed, overwrite=True)
            whole = adata.layers["whole"]
        for condition, cells in real.items():
            own = test & (adata.obs["perturbation"] == condition).to_numpy()
            made = _dense(adata.layers["made"][own]) @ axes
            noise.setdefault(condition, _noise(made, cells))
            yield {
                "model": name,
                "energy": sh.metrics.energy_distance(made, cells),
                "noise": noise[condition],
                "share": share,
                "all respond": sh.metrics.energy_distance(
                    made if whole is None else _dense(whole[own]) @ axes, cells
                ),
            }


def _noise(copy: np.ndarray, real: np.ndarray) -> float:
    """Return what counting each cell with itself adds to the energy distance of two populations."""
    distance = sh.metrics.energy_distance
    return distance(copy, real, biased=True) - distance(copy, real)


def _dense(values: Any) -> np.ndarray:
    return np.asarray(values.toarray() if sparse.issparse(values) else values, dtype=np.float64)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--contexts", nargs="+", default=["donor", "cell_type"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--models", nargs="+", default=None, help="by default all")
    parser.add_argument("--steps", type=int, default=None, help="of networks; their own by default")
    parser.add_argument("--perturbations", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=FOLDER)
    given = parser.parse_args()
    for context in given.contexts:
        found = []
        for seed in given.seeds:
            adata = screen(given.folder / FILE, context, given.perturbations, seed)
            found += rows(adata, given.models or list(names(images=False)), given.steps, seed)
        table = pd.DataFrame(found)
        mean = table.groupby("model", sort=False)[
            ["energy", "noise", "share", "all respond"]
        ].mean()
        spread = table.groupby("model", sort=False)["energy"].std()
        mean["times noise"] = 1 + mean["energy"] / mean["noise"]
        mean.insert(1, "± SD", spread)
        print(f"\n{context}s as contexts, {len(given.seeds)} seeds, one held out in each\n")
        print(mean.sort_values("energy").round(3).to_string(), flush=True)


if __name__ == "__main__":
    with threadpool_limits(1):
        main()
