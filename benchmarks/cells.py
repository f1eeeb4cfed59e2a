"""Are predicted cells of use as cells: every model on every real screen and split, and variants of its predictions.

    python benchmarks/cells.py run --csv FILE [--data renge kang] [--split context] [--models simple networks flow]
                                   [--variants default raw] [--seeds 0 1 2] [--steps 3000] [--jobs 2] [--folder DIR]
    python benchmarks/cells.py tables --csv FILE [--before FILE] [--brief]

`run` appends one row for every screen, split, seed, model and variant as it comes, and leaves out rows that the csv holds. A
model is fitted once for all variants that differ only in how cells are generated. `tables` prints markdown: genes called in
predicted cells over genes called in real ones, the scores beside those of an earlier csv, where networks are ahead of the simple
rows on splits with contexts, and what each variant changes. What the columns mean is told in `_evaluate.py` and `_as_cells.py`.
"""

from __future__ import annotations

import argparse
import json
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from _cells_tables import told
from _evaluate import SCORES, Exam, exam
from _screens import COPY, DATA, FLOOR, FOLDER, Task, contender, fitted, prepare
from threadpoolctl import threadpool_limits

import shoal as sh
from shoal.models.base._registry import names

if TYPE_CHECKING:
    from collections.abc import Iterator

    import anndata as ad

KEY = ["data", "split", "seed", "model", "variant"]
MORE = ["off", "conditions", "skipped", "fit_seconds", "seconds", "note"]
FAULTS = (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
COLUMNS = [*KEY, "steps", *SCORES, *MORE]


@dataclass(frozen=True)
class Variant:
    """Options of one way to train or to predict, beside the defaults.

    Attributes
    ----------
    predict
        Options of `sh.tl.predict`; variants with the same `fit` share one fit.
    state
        What the trained model is told for this prediction alone, by the name of its attribute.
    fit
        Options of `sh.tl.fit`.
    kind
        ``"network"`` or ``"baseline"`` for options that only these have.
    """

    predict: dict[str, Any] = field(default_factory=dict)
    state: dict[str, Any] = field(default_factory=dict)
    fit: dict[str, Any] = field(default_factory=dict)
    kind: str | None = None


VARIANTS = {
    "default": Variant(),
    "zeros as moved": Variant(predict={"match_zeros": False}),
    "libraries as moved": Variant(predict={"renew_library": False}),
    "cells as moved": Variant(predict={"match_zeros": False, "renew_library": False}),
    "every cell responds": Variant(state={"response_share": 1.0}, kind="network"),
    "trained once": Variant(fit={"refit": False}, kind="network"),
    "shifts as measured": Variant(fit={"config": {"shrink": False}}, kind="baseline"),
}


@dataclass(frozen=True)
class Job:
    """One model on one screen, split and seed, and the variants that are still to be scored."""

    data: str
    split: str
    seed: int
    model: str
    variants: tuple[str, ...]
    steps: int | None
    folder: Path

    @property
    def about(self) -> dict[str, Any]:
        """What identifies its rows."""
        return {"data": self.data, "split": self.split, "seed": self.seed, "model": self.model}

    @property
    def task(self) -> Task:
        return Task(self.data, self.split, self.seed, (self.model,), self.steps, self.folder)


@lru_cache(maxsize=1)
def prepared(data: str, split: str, seed: int, folder: Path) -> tuple[ad.AnnData, Exam]:
    """Return a screen and its exam; one is kept, for all models."""
    adata, about = prepare(Task(data, split, seed, (), None, folder)), DATA[data]
    return adata, exam(adata, least=about.least, by_dose=about.by_dose, seed=seed, folder=folder)


def rows(job: Job) -> Iterator[dict[str, Any]]:
    """Yield the rows of a job, one a variant."""
    start = time.perf_counter()
    adata, test = prepared(job.data, job.split, job.seed, job.folder)
    common = {**job.about, "steps": job.steps or 0}
    if job.model in (FLOOR, COPY):
        scores = test.floor() if job.model == FLOOR else test.control_copy()
        yield {**common, "variant": "default", **scores, "seconds": time.perf_counter() - start}
        return
    models: dict[str, tuple[Any, float]] = {}
    for name in job.variants:
        variant, row = VARIANTS[name], {**common, "variant": name}
        try:
            with threadpool_limits(1):
                model, row["fit_seconds"] = _fitted(models, adata, job, variant)
                start = time.perf_counter()
                with told_of(model, variant.state):
                    sh.tl.predict(
                        adata,
                        model,
                        key_added="prediction",
                        overwrite=True,
                        subset="test",
                        rng=job.seed,
                        **variant.predict,
                    )
                row["seconds"] = time.perf_counter() - start
                yield {**row, **test.score(adata.layers["prediction"])}
        except FAULTS as err:  # the table says why, and the other rows are still wanted
            kind = "" if isinstance(err, (KeyError, ValueError)) else f"{type(err).__name__}: "
            yield {**row, "note": f"{kind}{err.args[0] if err.args else err}"}


@contextmanager
def told_of(model: Any, state: dict[str, Any]) -> Iterator[None]:
    """Give attributes of a model other values for a while."""
    before = {name: getattr(model, name) for name in state}
    for name, value in state.items():
        setattr(model, name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(model, name, value)


def _fitted(
    models: dict[str, tuple[Any, float]], adata: ad.AnnData, job: Job, variant: Variant
) -> tuple[Any, float]:
    """Return a trained model and the seconds it took, from `models` where it is there."""
    key = json.dumps(variant.fit, sort_keys=True)
    if key not in models:
        start, embedding = time.perf_counter(), DATA[job.data].splits[job.split].embedding
        model = fitted(
            adata, job.model, embedding, steps=job.steps, seed=job.seed, options=variant.fit
        )
        models[key] = model, time.perf_counter() - start
    return models[key]


def pending(given: argparse.Namespace, done: pd.DataFrame) -> list[Job]:
    """Return what is asked for and not in the csv, seed by seed."""
    have = set(map(tuple, done[KEY].to_numpy()))
    jobs = []
    for seed in given.seeds:
        for data in given.data or DATA:
            for split in [s for s in DATA[data].splits if given.split is None or s in given.split]:
                for model in contenders(given.models):
                    left = tuple(
                        v
                        for v in wanted(model, given.variants)
                        if (data, split, seed, model, v) not in have
                    )
                    if left:
                        job = Job(data, split, seed, model, left, given.steps, given.folder)
                        jobs.append(job)
    return jobs


def contenders(asked: list[str]) -> list[str]:
    """Return names of models, with ``"simple"`` and ``"networks"`` spelled out."""
    groups = {
        "simple": [FLOOR, COPY, *(m for m in names("baseline") if m != "control")],
        "networks": list(names("network", images=False)),
    }
    return list(dict.fromkeys(m for name in asked for m in groups.get(name, [name])))


def wanted(model: str, variants: list[str]) -> list[str]:
    """Return the variants that a model has."""
    if model in (FLOOR, COPY):
        return ["default"]
    kind = "network" if contender(model)[0] in names("network") else "baseline"
    return [v for v in variants if VARIANTS[v].kind in (None, kind)]


def read(path: Path) -> pd.DataFrame:
    return (
        pd.read_csv(path, dtype={"note": str}) if path.exists() else pd.DataFrame(columns=COLUMNS)
    )


def computed(jobs: list[Job], processes: int) -> Iterator[dict[str, Any]]:
    """Yield rows as they come, from this process or from several."""
    if processes == 1:
        for job in jobs:
            yield from rows(job)
        return
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        for done in as_completed([pool.submit(all_rows, job) for job in jobs]):
            yield from done.result()


def all_rows(job: Job) -> list[dict[str, Any]]:
    with threadpool_limits(1):
        return list(rows(job))


def run(given: argparse.Namespace) -> None:
    given.csv.parent.mkdir(exist_ok=True, parents=True)
    for row in computed(pending(given, read(given.csv)), given.jobs):
        header = not given.csv.exists()
        pd.DataFrame([row], columns=COLUMNS).to_csv(given.csv, mode="a", header=header, index=False)
        what = row.get("note") or f"energy {row['energy']:.4f}, {row['called']:.1f} genes called"
        took = row.get("fit_seconds", 0) + row.get("seconds", 0)
        print(", ".join(str(row[k]) for k in KEY), "|", what, f"| {took:.1f} s", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    scored = commands.add_parser("run")
    scored.add_argument("--data", nargs="+", choices=list(DATA))
    splits = sorted({s for d in DATA.values() for s in d.splits})
    scored.add_argument("--split", nargs="+", choices=splits)
    scored.add_argument("--models", nargs="+", default=["simple", "networks"])
    scored.add_argument("--variants", nargs="+", default=["default"], choices=list(VARIANTS))
    scored.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    scored.add_argument("--steps", type=int, help="of networks; their own default if left out")
    scored.add_argument("--jobs", type=int, default=1)
    scored.add_argument("--folder", type=Path, default=FOLDER)
    shown = commands.add_parser("tables")
    shown.add_argument("--before", type=Path, help="csv of an earlier version")
    shown.add_argument("--brief", action="store_true", help="leave out the table of variants")
    for command in (scored, shown):
        command.add_argument("--csv", type=Path, required=True)
    given = parser.parse_args()
    if given.command == "run":
        with threadpool_limits(1):
            run(given)
    else:
        before = None if given.before is None else read(given.before)
        print(told(read(given.csv), before, brief=given.brief))


if __name__ == "__main__":
    main()
