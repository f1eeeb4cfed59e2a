"""Predicted counts beside real held-out counts: means, zeros, the variance at each mean, and library sizes.

    python benchmarks/counts.py [--data renge norman] [--models own_shift additive] [--flow] [--steps 300]
                                [--pictures DIR] [--folder DIR]

Every model predicts the held-out cells of a screen as counts. The rows "second real half" and "control copy" say what is
possible and what a model that changes nothing has. Populations of at least 40 real cells; figures are means over populations.

- `mean error %`: largest error of the mean count of a gene at 10,000 predicted cells, against the mean rate of the same
  prediction without counts, over genes of at least 100 molecules. "rates" are expm1(x) times the library size of the control.
- `zeros`: mean absolute error of the share of cells without a molecule, over genes that some cells have.
- `log2 mean`, `log2 variance`: median absolute log2 ratio of predicted over real, genes with a mean of .1 and more in both.
- `spread`: median log2 of (variance / mean) over the same of the real cells; 0 is right, below 0 is too smooth.
- `library`, `library SD`: difference of the mean log library size, and SD of log library sizes over that of real cells.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from _screens import DATA, FOLDER, Task, fitted, prepare
from scipy import sparse

import shoal as sh
from shoal.core._population import codes_of
from shoal.core._screen import labels, resolve
from shoal.models.base._libraries import Libraries, normalised

SPLITS = {
    "renge": "perturbation_context",
    "norman": "combination",
    "papalexi": "guide",
    "kang": "context",
}
MODELS = {
    "renge": ("own_shift", "other_contexts"),
    "norman": ("own_shift", "additive"),
    "papalexi": ("own_shift",),
    "kang": ("own_shift", "other_contexts"),
}
HALF, COPY = "second real half", "control copy"
LEAST, MANY, SHOWN = 40, 10_000, 0.1


def population_rows(adata: Any) -> dict[str, np.ndarray]:
    """Return the rows of every held-out population that is large enough."""
    screen = resolve(adata)
    names, (contexts, context) = labels(adata, screen), codes_of(adata, screen.context_key)
    test = (adata.obs["split"] == "test").to_numpy() & (names.code >= 0) & ~names.is_control
    found = {}
    for code in np.unique(names.code[test]):
        for place in np.unique(context[test]):
            rows = np.flatnonzero(test & (names.code == code) & (context == place))
            if len(rows) >= LEAST:
                found[f"{names.names[code]} {contexts[place]}".strip()] = rows
    return found


def moments(counts: Any) -> dict[str, np.ndarray]:
    """Return mean, variance and share of zeros of genes, and the log library sizes of cells."""
    dense = counts.toarray() if sparse.issparse(counts) else counts
    totals = dense.sum(axis=1)
    return {
        "mean": dense.mean(axis=0),
        "variance": dense.var(axis=0, ddof=1),
        "zeros": (dense == 0).mean(axis=0),
        "library": np.log(totals[totals > 0]),
    }


def compared(made: dict[str, np.ndarray], real: dict[str, np.ndarray]) -> dict[str, float]:
    """Return the figures of one population."""
    some = (real["mean"] > 0) | (made["mean"] > 0)
    on = (real["mean"] >= SHOWN) & (made["mean"] >= SHOWN)
    ratio = {name: np.log2(made[name][on] / real[name][on]) for name in ("mean", "variance")}
    return {
        "zeros": np.abs(made["zeros"] - real["zeros"])[some].mean(),
        "log2 mean": np.median(np.abs(ratio["mean"])),
        "log2 variance": np.median(np.abs(ratio["variance"])),
        "spread": np.median(ratio["variance"] - ratio["mean"]),
        "library": made["library"].mean() - real["library"].mean(),
        "library SD": made["library"].std() / real["library"].std(),
    }


def mean_error(model: Any, adata: Any, names: list[str]) -> float:
    """Return the largest relative error in percent of a gene's mean at many predicted cells."""
    worst = 0.0
    cells = model._population(adata)
    for name in names:
        log, counts = (model.predict(name, n_cells=MANY, counts=c, rng=1) for c in (False, True))
        source = adata.obs_names.get_indexer(log.obs["source"])
        unique, back = np.unique(source, return_inverse=True)
        unit = Libraries.of(cells).measured(unique).unit[back]
        code = np.zeros(len(source), dtype=np.int64)
        unit *= np.exp(model._count_law.changes.of([name], code, np.full(len(source), np.nan)))
        rates = sparse.diags(unit) @ sparse.csr_matrix(normalised(log.X, cells))
        total, made = (np.asarray(m.sum(axis=0)).ravel() for m in (rates, counts.X))
        on = total >= 100
        worst = max(worst, float(np.abs(made[on] / total[on] - 1).max()) * 100)
    return worst


def picture(
    shown: dict[str, dict[str, Any]], real: dict[str, np.ndarray], title: str, path: Path
) -> None:
    """Draw zeros, variance and library sizes of one population, a row a model."""
    import matplotlib.pyplot as plt

    fig, axes = plt.subplots(len(shown), 3, figsize=(10, 3 * len(shown)), squeeze=False)
    for row, (name, made) in zip(axes, shown.items(), strict=True):
        row[0].plot([0, 1], [0, 1], color=".7", lw=1)
        row[0].plot(real["zeros"], made["zeros"], ".", ms=3)
        row[0].set(xlabel="share of zeros, real", ylabel=f"{name}\nshare of zeros, predicted")
        for label, values, colour in (("real", real, ".6"), ("predicted", made, "C0")):
            on = (values["mean"] > 0) & (values["variance"] > 0)
            row[1].loglog(
                values["mean"][on], values["variance"][on], ".", ms=3, color=colour, label=label
            )
        row[1].set(xlabel="mean count", ylabel="variance")
        row[1].legend(fontsize="x-small", frameon=False)
        both = np.concatenate([real["library"], made["library"]])
        bins = np.linspace(both.min(), both.max(), 30)
        row[2].hist(real["library"], bins, density=True, color=".7", label="real")
        row[2].hist(
            made["library"], bins, density=True, histtype="step", color="C0", label="predicted"
        )
        row[2].set(xlabel="log library size")
    fig.suptitle(title)
    fig.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    fig.savefig(path, dpi=110)
    plt.close(fig)


def run(data: str, given: argparse.Namespace) -> list[dict[str, Any]]:
    """Return one row of figures for each contender, and draw the largest population."""
    adata = prepare(Task(data, SPLITS[data], given.seed, (), None, given.folder))
    counts = sparse.csr_matrix(adata.layers["counts"])
    groups = population_rows(adata)
    rng = np.random.default_rng(given.seed)
    halves = {name: np.array_split(rng.permutation(rows), 2) for name, rows in groups.items()}
    table, shown = [], {}
    largest = max(groups, key=lambda name: len(groups[name]))
    real = {name: moments(counts[rows]) for name, rows in groups.items()}
    half = [compared(moments(counts[a]), moments(counts[b])) for a, b in halves.values()]
    table.append({"data": data, "model": HALF, **pd.DataFrame(half).mean().to_dict()})
    names = given.models or [*MODELS[data], *(["flow"] if given.flow else [])]
    for name in ("control", *names):
        model = fitted(
            adata,
            name,
            DATA[data].splits[SPLITS[data]].embedding,
            steps=given.steps,
            seed=given.seed,
        )
        sh.tl.predict(
            adata,
            model,
            key_added="made",
            subset="test",
            counts=True,
            rng=given.seed,
            overwrite=True,
        )
        done = adata.obs["made_predicted"].to_numpy(dtype=bool)
        made = {
            key: moments(adata.layers["made"][rows])
            for key, rows in groups.items()
            if done[rows].all()
        }
        figures = (
            pd.DataFrame([compared(own, real[key]) for key, own in made.items()]).mean().to_dict()
        )
        known = model.cannot_predict(
            asked := sorted({str(p) for p in adata.obs[DATA[data].key][done]})
        )
        figures["mean error %"] = mean_error(
            model, adata, [one for one in asked if one not in known][:2]
        )
        table.append({"data": data, "model": COPY if name == "control" else name, **figures})
        if largest in made:
            shown[COPY if name == "control" else name] = made[largest]
    if given.pictures is not None:
        picture(shown, real[largest], f"{data}: {largest}", given.pictures / f"counts_{data}.png")
    return table


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", nargs="+", default=list(SPLITS), choices=list(SPLITS))
    parser.add_argument("--models", nargs="+", help="instead of the baselines of each screen")
    parser.add_argument("--flow", action="store_true", help="a flow too")
    parser.add_argument("--steps", type=int, default=None, help="training steps of a network")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--pictures", type=Path, help="folder for a picture of each screen")
    parser.add_argument("--folder", type=Path, default=FOLDER)
    given = parser.parse_args()
    table = pd.DataFrame([row for data in given.data for row in run(data, given)])
    print(table.round(3).to_markdown(index=False))


if __name__ == "__main__":
    main()
