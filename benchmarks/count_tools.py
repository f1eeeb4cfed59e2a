"""DESeq2 and scVI on predicted counts of held-out conditions, beside the same on real counts.

    python benchmarks/count_tools.py [--data papalexi renge kang] [--models own_shift] [--flow] [--steps 300]
                                     [--conditions 6] [--epochs 20] [--folder DIR]

Held-out cells are predicted as counts (`sh.tl.predict(..., counts=True)`). The real cells of every condition are cut in two:
the twins of the first half, and the first half itself ("real"), are compared with the second half.

DESeq2 (pydeseq2). Counts are summed by replicate and compared with the controls of the same context, `~ replicate + group`.
Replicates are the recorded batches; where a screen has none they are thirds of the cells, which are no replicates: genes
called are then too many, for real and predicted counts alike. The row "controls" compares as many controls with the others.

- `called`: genes with an adjusted p below .05; mean over conditions, as all figures.
- `shared`: those of them that are called in the second half too, with the same sign.
- `r of log2 changes`: Pearson correlation with those of the second half, over genes with a mean of at least 5 in both.
- `slope`: predicted on real log2 changes, least squares through 0; 1 is right, below 1 is too small.

scVI (scvi-tools). One model is trained on control cells and predicted cells, one on the same control cells and the first
half of the real cells. `ELBO` is the loss per cell on the second half, which no model has seen: lower is better.
The row "controls" is a model of control cells alone.
"""

from __future__ import annotations

import argparse
import logging
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anndata as ad
import numpy as np
import pandas as pd
from _screens import DATA, FOLDER, Task, fitted, prepare
from scipy import sparse

import shoal as sh
from shoal.core._codes import codes_of
from shoal.core._screen import labels, resolve

if TYPE_CHECKING:
    from shoal._typing import Ints

SPLITS = {"papalexi": "guide", "renge": "perturbation_context", "kang": "context"}
COPY, LEAST, SHOWN, ALPHA = "controls", 60, 5, 0.05


@dataclass(frozen=True)
class Condition:
    """Rows of the two halves of a held-out condition, of as many controls as one has, and of all others of its context."""

    name: str
    first: Ints
    second: Ints
    copy: Ints
    control: Ints


def held_out(adata: ad.AnnData, most: int, rng: np.random.Generator) -> list[Condition]:
    """Return the largest held-out conditions."""
    screen = resolve(adata)
    names, (contexts, context) = labels(adata, screen), codes_of(adata, screen.context_key)
    test = (adata.obs["split"] == "test").to_numpy() & (names.code >= 0) & ~names.is_control
    found = []
    for code, place in sorted(
        set(zip(names.code[test].tolist(), context[test].tolist(), strict=True))
    ):
        rows = rng.permutation(np.flatnonzero(test & (names.code == code) & (context == place)))
        control = rng.permutation(np.flatnonzero(names.is_control & (context == place)))
        half = len(rows) // 2
        n = min(half, len(control) // 2)
        if n >= LEAST:
            name = f"{names.names[code]} {contexts[place]}".strip()
            found.append(Condition(name, rows[:half], rows[half:], control[:n], control[n:]))
    return sorted(found, key=lambda one: (-len(one.second), one.name))[:most]


def replicates(adata: ad.AnnData, rng: np.random.Generator) -> np.ndarray:
    """Return (n_obs,) the batch of every cell, or a third where no batch is recorded."""
    key = resolve(adata).batch_key
    if key is not None:
        return adata.obs[key].astype(str).to_numpy()
    return np.array(["a", "b", "c"])[rng.integers(3, size=adata.n_obs)]


def deseq2(cells: Any, control: Any, of_cells: np.ndarray, of_control: np.ndarray) -> pd.DataFrame:
    """Return the results of DESeq2 on counts that are summed by replicate."""
    from pydeseq2.dds import DeseqDataSet
    from pydeseq2.ds import DeseqStats

    shared = sorted(set(of_cells) & set(of_control))
    sums = [
        np.asarray(x[who == one].sum(axis=0)).ravel()
        for x, who in ((control, of_control), (cells, of_cells))
        for one in shared
    ]
    samples = [f"{group}{one}" for group in ("control", "perturbed") for one in shared]
    about = {
        "replicate": shared * 2,
        "group": ["control"] * len(shared) + ["perturbed"] * len(shared),
    }
    counts = pd.DataFrame(np.array(sums, dtype=int), index=samples)
    counts.columns = counts.columns.astype(str)
    counts = counts.loc[:, counts.sum() > 0]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = DeseqDataSet(
            counts=counts,
            metadata=pd.DataFrame(about, index=samples),
            design="~replicate + group",
            quiet=True,
            n_cpus=1,
        )
        data.deseq2()
        test = DeseqStats(data, contrast=["group", "perturbed", "control"], quiet=True, n_cpus=1)
        test.summary()
    return test.results_df


def compared(made: pd.DataFrame, real: pd.DataFrame) -> dict[str, float]:
    """Return how the results on predicted counts compare with those on real ones."""
    both = made.join(real, lsuffix="_made", rsuffix="_real", how="outer")
    called = [both[f"padj_{side}"] < ALPHA for side in ("made", "real")]
    x, y = both["log2FoldChange_made"], both["log2FoldChange_real"]
    on = (both[["baseMean_made", "baseMean_real"]] >= SHOWN).all(axis=1) & x.notna() & y.notna()
    return {
        "called": float(called[0].sum()),
        "shared": float((called[0] & called[1] & (np.sign(x) == np.sign(y))).sum()),
        "r of log2 changes": float(np.corrcoef(x[on], y[on])[0, 1]),
        "slope": float((x[on] * y[on]).sum() / (y[on] ** 2).sum()),
    }


def elbo(parts: list[Any], batches: list[np.ndarray], unseen: ad.AnnData, epochs: int) -> float:
    """Train scVI on counts of several populations, and return its loss per unseen cell."""
    import scvi

    scvi.settings.seed, scvi.settings.verbosity = 0, logging.WARNING
    obs = pd.DataFrame({"batch": np.concatenate(batches)})
    obs.index = obs.index.astype(str)
    cells = ad.AnnData(sparse.vstack(parts, format="csr").astype(np.float32), obs=obs)
    keep = np.asarray(cells.X.sum(axis=1)).ravel() > 0
    cells = cells[keep].copy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scvi.model.SCVI.setup_anndata(cells, batch_key="batch")
        model = scvi.model.SCVI(cells, n_latent=10, n_hidden=64)
        model.train(max_epochs=epochs, accelerator="cpu", enable_progress_bar=False)
        losses = model.history["elbo_train"].to_numpy(dtype=float)
        if not np.isfinite(losses).all():
            return float("nan")
        value = model.get_elbo(unseen)
    return abs(float(value))


def run(name: str, models: list[str], given: argparse.Namespace) -> None:
    """Print the tables of one screen."""
    rng = np.random.default_rng(0)
    task = Task(name, SPLITS[name], 0, (), given.steps, given.folder)
    adata, embedding = prepare(task), DATA[name].splits[task.split].embedding
    conditions, replicate = held_out(adata, given.conditions, rng), replicates(adata, rng)
    counts = sparse.csr_matrix(adata.layers["counts"])
    layers = {}
    for model in models:
        made = fitted(adata, model, embedding, steps=given.steps, seed=0)
        sh.tl.predict(adata, made, key_added=model, subset="test", counts=True)
        layers[model] = sparse.csr_matrix(adata.layers[model])

    start, found = time.perf_counter(), {"real": [], COPY: [], **{model: [] for model in models}}
    for one in conditions:
        against = (counts[one.control], replicate[one.control])

        def test(x: Any, rows: Ints, against: Any = against) -> pd.DataFrame:
            return deseq2(x[rows], against[0], replicate[rows], against[1])

        real = test(counts, one.second)
        found["real"].append(compared(test(counts, one.first), real))
        found[COPY].append(compared(test(counts, one.copy), real))
        for model in models:
            found[model].append(compared(test(layers[model], one.first), real))
    kind = resolve(adata).batch_key or "thirds of cells"
    print(f"\n## {name}: {len(conditions)} held-out conditions, {adata.n_vars} genes\n")
    print(f"DESeq2, replicates: {kind}\n")
    table(pd.DataFrame({who: pd.DataFrame(rows).mean() for who, rows in found.items()}).T)
    print(f"\n{time.perf_counter() - start:.0f} s")

    half, other = (
        rng.permutation(np.concatenate([getattr(one, side) for one in conditions]))[: given.cells]
        for side in ("first", "second")
    )
    control = rng.permutation(np.unique(np.concatenate([one.control for one in conditions])))
    control = control[: given.cells]
    unseen = ad.AnnData(counts[other].astype(np.float32), obs={"batch": replicate[other]})
    unseen.obs_names = unseen.obs_names.astype(str)
    own = {"real": counts, **layers}
    losses = {COPY: elbo([counts[control]], [replicate[control]], unseen, given.epochs)}
    for who, x in own.items():
        parts, groups = [counts[control], x[half]], [replicate[control], replicate[half]]
        losses[who] = elbo(parts, groups, unseen, given.epochs)
    print(
        f"\nscVI, {given.epochs} epochs, {len(control)} control cells and {len(half)} perturbed ones\n"
    )
    table(pd.DataFrame({"ELBO": losses}))


def table(values: pd.DataFrame) -> None:
    """Print a table."""
    print(f"| | {' | '.join(values.columns)} |\n|{'---|' * (values.shape[1] + 1)}")
    for name, row in values.iterrows():
        print(f"| {name} | {' | '.join(f'{value:.4g}' for value in row)} |")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", nargs="+", choices=list(SPLITS), default=list(SPLITS))
    parser.add_argument("--models", nargs="+", default=["own_shift"], help="names for sh.tl.fit")
    parser.add_argument("--flow", action="store_true", help="Flow too")
    parser.add_argument("--steps", type=int, default=300, help="training steps of Flow")
    parser.add_argument(
        "--conditions", type=int, default=6, help="held-out conditions, the largest"
    )
    parser.add_argument("--epochs", type=int, default=20, help="of scVI")
    parser.add_argument("--cells", type=int, default=2000, help="most cells of each kind for scVI")
    parser.add_argument("--folder", type=Path, default=FOLDER)
    given = parser.parse_args()
    for name in ("shoal", "lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    for name in given.data:
        models = [m for m in given.models if not (name == "kang" and m == "own_shift")]
        models = models or ["other_contexts"]  # no cell of the held-out context is perturbed
        run(name, [*models, *(["flow"] if given.flow else [])], given)


if __name__ == "__main__":
    main()
