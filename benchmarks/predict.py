"""Train every model on every real screen and split, and print how well it predicts the cells that it has not seen.

    python benchmarks/predict.py [--data papalexi renge] [--split perturbation] [--models flow mean_shift]
                                 [--seeds 0 1 2] [--steps 3000] [--jobs 1] [--folder DIR]

One markdown table per screen and split goes to `benchmarks/results/predict.md`, the figures behind it to `predict.csv` beside
it. Rows that the csv holds already, with the same settings, are not computed again: delete them to have them anew. What the
columns mean is told in `_evaluate.py`; the screens are subsets of genes, so figures of other papers are not comparable.
"""

from __future__ import annotations

import argparse
import os
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from inspect import signature
from multiprocessing import get_context
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING, Any

import anndata as ad
import numpy as np
import pandas as pd
from _as_cells import AS_CELLS
from _evaluate import LEAST, SCORES, exam
from threadpoolctl import threadpool_limits

import shoal as sh
from shoal.core._screen import labels, resolve
from shoal.models.base._registry import model_class, names

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FOLDER = Path(os.environ.get("SHOAL_DATA_DIR", Path(__file__).parents[2] / "shared" / "data"))
RESULTS = Path(__file__).parent / "results"
FLOOR, COPY = "second real half", "control copy"
KEY = ["data", "split", "seed", "model", "steps", "embedding", "version"]
COLUMNS = [*KEY, *SCORES, "off", "conditions", "skipped", "seconds", "note"]
GENES = 2000  # most genes in the PCA of the scores, the most variable ones among training cells; models see all
GO = "go_svd_gene_embedding_128.npz"


@dataclass(frozen=True)
class Split:
    """What is held out, how much of it, and what tells perturbations apart (one-hot, or vectors of genes)."""

    by: str
    test: float = 0.2
    embedding: str = "one-hot"
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Data:
    """A real screen: its file, what `pp.annotate` is told, and the splits that it supports."""

    file: str
    key: str
    control: str | list[str]
    splits: dict[str, Split]
    columns: dict[str, str] = field(default_factory=dict)
    keep: Callable[[ad.AnnData], ad.AnnData] = lambda adata: adata
    counts: bool = True
    least: int = LEAST
    by_dose: bool = True


def promoters(adata: ad.AnnData) -> ad.AnnData:
    """Keep the perturbed promoters, which have the vector of their gene, and the controls."""
    adata.var_names = adata.var["symbol"].astype(str)
    adata.var_names_make_unique()
    name = adata.obs["perturbation"].astype(str)
    adata.obs["perturbation"] = name.str.removesuffix("_TSS")
    return adata[name.str.endswith("_TSS") | (name == "non-targeting")]


UNSEEN = Split("perturbation", embedding="go")
DATA = {
    "papalexi": Data(
        "papalexi21_sceptre_lowmoi.h5ad",
        "perturbation",
        "non-targeting",
        {"perturbation": UNSEEN, "guide": Split("guide")},
        columns={"batch_key": "bio_rep", "guide_key": "grna"},
        keep=lambda adata: adata[adata.obs["guide_confident"]],
    ),
    "renge": Data(
        "renge23_hipsc_ko.h5ad",
        "perturbation",
        "control",
        {
            "perturbation_context": Split("perturbation_context"),
            "perturbation": UNSEEN,
            "context": Split("context", 0.3),
        },
        columns={"context_key": "day"},
    ),
    "norman": Data(
        "norman19_perturbench.h5ad",
        "perturbation",
        "control",
        {
            "combination": Split("combination", 0.6, options={"parts_seen": 2}),
            "combination, parts unseen": Split(
                "combination", embedding="go", options={"parts_seen": 0}
            ),
            "perturbation": UNSEEN,
        },
    ),
    "kang": Data(
        "kang18_scgen_valid.h5ad",
        "condition",
        "control",
        {"context": Split("context", 0.3)},
        columns={"context_key": "cell_type"},
    ),
    "gasperini": Data(
        "gasperini19_sceptre_highmoi.h5ad",
        "perturbation",
        "non-targeting",  # cells without a listed guide carry other guides: no controls
        {"perturbation": UNSEEN},
        columns={"batch_key": "batch"},
        keep=promoters,
    ),
    "bbbc021": Data(
        "bbbc021_profiles_dose.h5ad",
        "compound",
        "DMSO",
        {"dose": Split("dose", 0.4), "perturbation": Split("perturbation")},
        columns={"dose_key": "concentration_uM", "batch_key": "plate"},
        counts=False,
        least=6,  # wells, each the mean of many cells
        by_dose=False,
    ),
}


@dataclass(frozen=True)
class Task:
    """One screen, split and seed, and the models that are still to be run on it."""

    data: str
    split: str
    seed: int
    models: tuple[str, ...]
    steps: int | None
    folder: Path

    def row(self, model: str) -> dict[str, Any]:
        """Return what identifies a row of the csv."""
        network = contender(model)[0] in names("network")
        values = (self.data, self.split, self.seed, model, (self.steps or -1) if network else 0)
        return dict(
            zip(
                KEY,
                (*values, DATA[self.data].splits[self.split].embedding, sh.__version__),
                strict=True,
            )
        )


def prepare(task: Task) -> ad.AnnData:
    """Read a screen, split it, and normalise and embed it from training cells only."""
    data, split = DATA[task.data], DATA[task.data].splits[task.split]
    adata = data.keep(ad.read_h5ad(task.folder / data.file)).copy()
    sh.pp.annotate(adata, data.key, control=data.control, **data.columns)
    if split.embedding == "go":
        adata = embedded(adata, task.folder / GO)
    sh.pp.split(adata, by=split.by, test=split.test, rng=task.seed, **split.options)
    normalize = "log1p" if data.counts else None
    sh.pp.prepare(
        adata,
        normalize=normalize,
        fit_on="train",
        n_top_genes=GENES if data.counts else None,
        cross_fit=0,
        overwrite=True,
    )
    return adata


def embedded(adata: ad.AnnData, table: Path) -> ad.AnnData:
    """Embed perturbations by the vectors of their genes; those of a gene without one are left out, for all models."""
    sh.pp.embed(adata, method="table", source=table, key_added="go", missing="drop")
    known = set(adata.uns["perturbation_embeddings"]["go"].index)
    screen = resolve(adata)
    names = labels(adata, screen)
    lacking = np.array([not set(screen.parts(name)) <= known for name in names.names] + [False])
    return adata[~lacking[names.code]].copy()


def rows(task: Task) -> Iterator[dict[str, Any]]:
    """Yield the row of every model of a task."""
    data, adata = DATA[task.data], prepare(task)
    test = exam(adata, least=data.least, by_dose=data.by_dose, seed=task.seed, folder=task.folder)
    for name in task.models:
        start, note = time.perf_counter(), ""
        if name == FLOOR:
            scores = test.floor()
        elif name == COPY:
            scores = test.control_copy()
        else:
            scores, note = run(adata, name, task, test.score)
        yield {**task.row(name), **scores, "seconds": time.perf_counter() - start, "note": note}


def run(
    adata: ad.AnnData, name: str, task: Task, score: Callable[[Any], dict[str, float]]
) -> tuple[dict[str, float], str]:
    """Return the scores of a model, or why it cannot predict what is held out."""
    embedding = task.row(name)["embedding"]
    try:
        model = fitted(adata, name, embedding, steps=task.steps, seed=task.seed)
        sh.tl.predict(adata, model, key_added="prediction", subset="test", rng=task.seed)
    except (KeyError, ValueError) as err:  # the table says why
        return {}, f"{name}: {err.args[0]}"
    return score(adata.layers["prediction"]), ""


def contender(text: str) -> tuple[str, str | None]:
    """Return the name and the preset of ``"perturbdiff:published"``."""
    name, _, preset = text.partition(":")
    return name, preset or None


def fitted(
    adata: ad.AnnData,
    text: str,
    embedding: str,
    *,
    steps: int | None,
    seed: int,
    options: dict[str, Any] | None = None,
) -> Any:
    """Return a trained model, with vectors of the perturbations if they are not one-hot and the model can use them."""
    name, preset = contender(text)
    options = {} if options is None else dict(options)
    if preset is not None:
        options["preset"] = preset
    if embedding != "one-hot" and "embedding" in signature(model_class(name).__init__).parameters:
        options["embedding"] = embedding
    if name in names("network"):
        options["max_steps"] = steps
    return sh.tl.fit(adata, name, rng=seed, **options)


def pending(given: argparse.Namespace, done: pd.DataFrame) -> list[Task]:
    """Return what is asked for and not yet in the csv."""
    have = set(map(tuple, done[KEY].to_numpy()))
    models = (
        FLOOR,
        COPY,
        *(given.models or [m for m in names() if m != "control"]),
    )  # that is the copy
    tasks = []
    for name in given.data or DATA:
        for split in given.split or DATA[name].splits:
            if split not in DATA[name].splits:
                continue
            for seed in given.seeds:
                whole = Task(name, split, seed, models, given.steps, given.folder)
                left = tuple(m for m in models if tuple(whole.row(m).values()) not in have)
                if left:
                    tasks.append(Task(name, split, seed, left, given.steps, given.folder))
    return tasks


def read(path: Path) -> pd.DataFrame:
    return (
        pd.read_csv(path, dtype={"note": str, "version": str})
        if path.exists()
        else pd.DataFrame(columns=COLUMNS)
    )


def tables(done: pd.DataFrame) -> str:
    """Return a markdown table for every screen and split: means over seeds, and their standard deviation."""
    text, done = [], done[done["version"] == sh.__version__]
    own = done["model"] + " (" + done["steps"].astype(str) + " steps)"
    done = done.assign(model=done["model"].where(done["steps"] <= 0, own))
    for (data, split), part in done.groupby(["data", "split"], sort=False):
        text.append(f"## {data}, {split}\n\n{table(part)}")
    legend = "\n".join(f"- `{name}`: {what}" for name, what in SCORES.items())
    legend += (
        f"\n- `gap closed`: share of the energy distance from `{COPY}` to `{FLOOR}` that a model closes; noise where these two"
        " are close\n- `s`: seconds of training, prediction and scoring"
    )
    return f"# Predictions of cells that were not seen\n\n{legend}\n\n" + "\n\n".join(text) + "\n"


def table(part: pd.DataFrame) -> str:
    """Return one table, the floor and the control copy on top, then by energy distance; and who predicted nothing, why."""
    scored = part.dropna(subset="energy").groupby("model", sort=False)
    mean, spread = (
        getattr(scored[[*SCORES, "seconds", "conditions", "skipped"]], what)()
        for what in ("mean", "std")
    )
    gap = (mean.loc[COPY, "energy"] - mean["energy"]) / (
        mean.loc[COPY, "energy"] - mean.loc[FLOOR, "energy"]
    )
    order = [FLOOR, COPY, *mean["energy"].drop([FLOOR, COPY]).sort_values().index]
    of_scores = [s for s in SCORES if s not in AS_CELLS]
    heads = ["model", "energy", "gap closed", *of_scores[1:], "s"], ["model", *AS_CELLS]
    lines, more = ([f"| {' | '.join(head)} |", "|" + "---|" * len(head)] for head in heads)
    for model in order:
        cells = {s: _cell(mean.loc[model, s], spread.loc[model, s]) for s in SCORES}
        first, *rest = (cells[s] for s in of_scores)
        row = [model, first, _cell(gap[model]), *rest, _cell(mean.loc[model, "seconds"])]
        lines.append(f"| {' | '.join(row)} |")
        more.append(f"| {' | '.join([model, *(cells[s] for s in AS_CELLS)])} |")
    size = f"{mean.loc[FLOOR, 'conditions']:.3g} conditions scored, {mean.loc[FLOOR, 'skipped']:.3g} too small"
    about = f"Means ± SD over {part['seed'].nunique()} seeds; {size} (mean). Vectors: {part['embedding'].iloc[0]}."
    silent = part.dropna(subset="note").groupby("model", sort=False)
    said = [
        f"- no prediction in {len(rows)} seeds: {_brief(rows['note'].iloc[0])}"
        for _, rows in silent
    ]
    return "\n".join([about, "", *lines, "", *more, *([""] if said else []), *said])


def _brief(note: str) -> str:
    return shorten(note, 240, placeholder=" ...")


def _cell(mean: float, spread: float = float("nan")) -> str:
    if np.isnan(mean):
        return "–"
    return f"{mean:.3g}" + ("" if np.isnan(spread) else f" ± {spread:.1g}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", nargs="+", choices=list(DATA))
    parser.add_argument(
        "--split", nargs="+", choices=sorted({s for d in DATA.values() for s in d.splits})
    )
    parser.add_argument(
        "--models", nargs="+", help="names for sh.tl.fit, perhaps name:preset; by default all"
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument(
        "--steps",
        type=int,
        help="training steps of networks; each network's own default if left out",
    )
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=FOLDER)
    parser.add_argument("--results", type=Path, default=RESULTS)
    given = parser.parse_args()
    given.results.mkdir(exist_ok=True, parents=True)
    path = given.results / "predict.csv"
    for row in computed(pending(given, read(path)), given.jobs):
        pd.DataFrame([row], columns=COLUMNS).to_csv(
            path, mode="a", header=not path.exists(), index=False
        )
        print(
            ", ".join(f"{row[k]}" for k in KEY[:4]),
            f"energy {row.get('energy', row['note'])}",
            flush=True,
        )
    text = tables(read(path))
    (given.results / "predict.md").write_text(text, encoding="utf-8")
    print(text)


def computed(tasks: list[Task], jobs: int) -> Iterator[dict[str, Any]]:
    """Yield rows as they come, from this process or from several."""
    if jobs == 1:
        for task in tasks:
            yield from rows(task)
        return
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        for several in pool.map(all_rows, tasks):
            yield from several


def all_rows(task: Task) -> list[dict[str, Any]]:
    with threadpool_limits(1):
        return list(rows(task))


if __name__ == "__main__":
    with threadpool_limits(1):
        main()
