"""Who predicts held-out responses best: every baseline, and the networks that are named, on every real screen and split.

    python benchmarks/judge.py [--data papalexi renge] [--split perturbation] [--models mean_shift flow] [--seeds 3 4 5]
                               [--steps 3000] [--rows DIR] [--folder DIR] [--results DIR] [--add]

Each result is a file in the folder of rows (`shoal.benchmark.run`), written as soon as it is there; a call goes on where the last
one stopped, and networks can be added later. `kernel_ridge:tuned` chooses its settings (`GRIDS`) on inner folds of
training. `unlasting:published:small` is a published recipe at the size of a processor (`SMALL`). `auto:networks` holds networks of full
length, and a call goes on in the middle of its inner folds too. The rows of version and seeds are
then made into `benchmarks/results/judge.csv` (a row for each screen, split and contender), `judge_metrics.csv` (for each metric,
whether it can tell there) and `judge.md`. `--models` without a name makes the tables alone. `--add` leaves what the tables say and
adds the contenders that they lack: rows of the others need not be there. The controls, and the baselines that are there, must come
out as they are in the tables. Seeds divide the screens, train the models and draw the halves of real cells.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from _judge_page import page
from _screens import (
    DATA,
    FOLDER,
    RESULTS,
    Task,
    contender,
    division,
    preparation,
    raw,
    settings,
)
from threadpoolctl import threadpool_limits

import shoal as sh
from shoal._contenders import COPY, POSITIVE
from shoal.benchmark._files import read_row
from shoal.models.base._registry import model_class, names

if TYPE_CHECKING:
    from collections.abc import Sequence

    import anndata as ad

    from shoal.evaluation._rows import Row

Tables = dict[tuple[str, str], pd.DataFrame]  # of data and split

ROWS = Path(__file__).parent / "rows"
SEEDS = [3, 4, 5]
TUNED = "tuned"  # as in kernel_ridge:tuned
GRIDS: dict[str, Any] = {  # settings that are chosen on inner folds of training
    "kernel_ridge": {"config": {"kernel": ["rbf", "linear"], "shrink": [True, False]}},
    "latent_linear": {"config": {"n_components": [5, 10, 20], "ridge": [0.01, 0.1, 1.0]}},
    "cell_knn_shift": {"config": {"n_neighbours": [10, 30, 100], "n_comps": [15, 30]}},
    "flow": {"config": {"width": [64, 128, 256]}},
}
SIZE = {"width": 256, "decoder": 256, "depth": 1}
SMALL: dict[str, Any] = {  # published recipes that train longer than a processor can, at its size
    "unlasting:published": {"config": SIZE, "lr": 1e-3, "max_steps": 1000, "response_share": 1.0},
    "unlasting:published_v2": {
        "config": SIZE,
        "lr": 1e-3,
        "max_steps": 1000,
        "response_share": 1.0,
    },
}
NETWORKS = "auto:networks"
SIZED = ":small"  # as in unlasting:published:small
WITHOUT = "bbbc021"  # its licence forbids publishing what is derived from it


def known(task: Task) -> ad.AnnData:
    """Return a screen without the genes that are off in every training cell, which no model can know."""
    adata = raw(task)
    sides = adata.copy()
    sh.pp.split(sides, **division(task))
    train = adata.X[(sides.obs["split"] == "train").to_numpy()]
    return adata[:, np.asarray((train != 0).sum(axis=0)).ravel() > 0].copy()


def spec(task: Task, folder: Path | None = None) -> dict[str, Any]:
    """Return the benchmark of one screen, split and seed, with the folder of its results.

    An ensemble with networks keeps there what its inner folds say, so that a call goes on in the middle of it.
    """
    data = DATA[task.data]
    embedding = data.splits[task.split].embedding

    def screen() -> ad.AnnData:
        return known(task)

    return {
        "data": {
            task.data: {
                "call": screen,
                "perturbation_key": data.key,
                "control": data.control,
                **data.columns,
                "prepare": preparation(task),
            }
        },
        "splits": {task.split: division(task)},
        "models": [
            {
                "name": contender(text)[0],
                "label": text.replace(":", " (", 1).replace(":", ", ") + ")" * (":" in text),
                **options_of(text, embedding, steps=task.steps, folder=folder),
            }
            for text in task.models
        ],
        "seeds": [task.seed],
        "evaluate": {"min_cells": max(4, data.least)},
    }


def options_of(
    text: str, embedding: str, *, steps: int | None, folder: Path | None = None
) -> dict[str, Any]:
    """Return ``options`` of a contender, and ``tune`` if its settings are chosen within training."""
    whole = text.removesuffix(SIZED)
    own = {} if whole == text else SMALL[whole]
    name, preset = contender(whole)
    if preset != TUNED:
        given = settings(whole, embedding, steps=steps)
        if text == NETWORKS and folder:
            own = {"checkpoint_dir": str(folder / "folds"), "resume": True}
        return {"options": own | {k: v for k, v in given.items() if v is not None or k not in own}}
    return {"options": settings(name, embedding, steps=steps), "tune": GRIDS[name]}


def read(folder: Path, seeds: Sequence[int]) -> list[Row]:
    """Return all results of these seeds and this version, also those of other calls."""
    paths = sorted(folder.glob("*/rows/*.json"))
    found = [read_row(path.parents[1], path.stem, tell=True) for path in paths]
    return [
        row
        for row in found
        if row and row.versions.get("shoal") == sh.__version__ and row.seed in seeds
    ]


def by_place(rows: Sequence[Row]) -> dict[tuple[str, str], list[Row]]:
    """Return (data, split) -> its rows, in the order of the screens; without places where all failed."""
    places = [(data, split) for data in DATA for split in DATA[data].splits]
    found = {place: [row for row in rows if (row.data, row.split) == place] for place in places}
    return {place: own for place, own in found.items() if any(not row.note for row in own)}


def board(rows: Sequence[Row]) -> pd.DataFrame:
    """Return the leaderboard of one screen and split, from the best to the worst.

    Columns are those of `shoal.benchmark.table` with the values of the metrics, and

    beside
        what a contender is beside the reference, beyond the interval: ``"better"``, ``"worse"``, ``"no different"``, or
        ``"reference"`` for the reference itself, trained once more; ``""`` without an interval, for a second
        experiment, and where nothing responds
    by_seed
        the score with each seed
    verdict
        why there is no score
    responds
        share of the seeds with which anything responds
    note
        why a contender predicts nothing
    """
    done = [row for row in rows if not row.note]
    (reference, *_) = dict.fromkeys(row.reference for row in done)
    known = {row.model for row in done} | {COPY}
    table = sh.benchmark.table(
        rows, against=reference if reference in known else None, show="value"
    )
    alone = {
        seed: _scores([row for row in rows if row.seed == seed])
        for seed in {row.seed for row in done}
    }
    scores = pd.DataFrame(alone).sort_index(axis=1).reindex(table.index)
    responds = {row.seed: row.responds for row in done}
    none = table["score"].isna() & table["achieved"].notna()
    return ranked(
        table.assign(
            beside=[
                _beside(row, name, reference) if any(responds.values()) else ""
                for name, row in table.iterrows()
            ],
            by_seed=[_by_seed(own) for _, own in scores.iterrows()],
            verdict=np.where(none, f"no score: beside {reference} too little is left to gain", ""),
            responds=float(np.mean(list(responds.values()))),
            note=pd.Series({row.model: row.note for row in rows if row.note})
            .reindex(table.index)
            .fillna(""),
            version=sh.__version__,
        )
    )


def _scores(rows: Sequence[Row]) -> pd.Series:
    """Return the scores of all contenders, those that are shown in the row of another too."""
    table = sh.benchmark.table(rows, n_boot=2)
    named = [[name, *filter(None, same.split(", "))] for name, same in table["same_as"].items()]
    pairs = zip(named, table["score"], strict=True)
    return pd.Series({name: score for several, score in pairs for name in several})


def _by_seed(scores: pd.Series) -> str:
    return ", ".join(f"{seed}: {'–' if np.isnan(x) else f'{x:.2f}'}" for seed, x in scores.items())


def _beside(row: pd.Series, name: str, reference: str) -> str:
    if name == POSITIVE:
        return ""
    if reference in (name, *row["same_as"].split(", ")):
        return "reference"
    scored = np.isfinite(row["score"])
    low, high = (row["score_low"], row["score_high"]) if scored else (row["low"], row["high"])
    if not np.isfinite([low, high]).all():
        return ""
    return "better" if low > 0 else "worse" if high < 0 else "no different"


def telling(rows: Sequence[Row]) -> pd.DataFrame:
    """Return for each metric its DRF and BDS, and the share of seeds with which it can tell, means over seeds."""
    first = {row.seed: row.metrics for row in rows if not row.note}
    lines = [
        {"metric": metric, **{name: record[name] for name in ("drf", "bds", "discriminates")}}
        for metrics in first.values()
        for metric, record in metrics.items()
    ]
    return (
        pd.DataFrame(lines)
        .astype({"drf": float, "bds": float, "discriminates": float})
        .groupby("metric", sort=False)
        .mean()
    )


def added(new: pd.DataFrame, old: pd.DataFrame) -> pd.DataFrame:
    """Return the table of a place with the contenders that it lacks.

    Where the baseline that is best there is not among the new results, they have no score against it.

    Raises
    ------
    ValueError
        If contenders in both do not have the same scores: then the new scores are no scores beside the others.
    """
    both = [name for name in new.index if name in old.index]

    def differ(column: str) -> list[str]:
        one, other = (table.loc[both, column].to_numpy(float) for table in (new, old))
        alike = np.isclose(one, other, rtol=1e-4, atol=1e-5, equal_nan=True)
        return [name for name, same in zip(both, alike, strict=True) if not same]

    for column in ("score", "achieved", "harm"):
        for name in differ(column):
            found, known = new.loc[name, column], old.loc[name, column]
            msg = (
                f"{column} of {name} is {found:.4g} and in the tables {known:.4g}: make all rows "
                "anew, and leave out --add"
            )
            raise ValueError(msg)
    shown = {name for first, row in old.iterrows() for name in named(first, row["same_as"])}
    several = [
        [one for one in named(name, row["same_as"]) if one not in shown]
        for name, row in new.iterrows()
    ]
    lacking = [bool(names) for names in several]
    more = new[lacking].assign(same_as=[", ".join(names[1:]) for names in several if names])
    more.index = pd.Index([names[0] for names in several if names], name=new.index.name)
    if differ("score_best"):
        more = more.assign(score_best=np.nan)
    return ranked(pd.concat([old, more]))


def named(first: str, same: object) -> list[str]:
    """Return all contenders that one row shows."""
    return [first, *filter(None, same.split(", "))] if isinstance(same, str) else [first]


def ranked(board: pd.DataFrame) -> pd.DataFrame:
    """Return a table from the best contender to the worst, and last those that failed."""
    net = board["achieved"] - board["harm"]
    order = board.assign(failed=net.isna(), by=board["score"].fillna(net))
    order = order.sort_values(["failed", "by"], ascending=[True, False], kind="stable")
    return board.loc[order.index]


def read_table(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, dtype={"version": str}, keep_default_na=False, na_values=[""])


def with_older(tables: Tables, path: Path) -> Tables:
    """Return the tables of places with the contenders that they lack and the file has."""
    old = read_table(path).set_index("contender")
    places = {
        place: old[(old["data"] == place[0]) & (old["split"] == place[1])] for place in tables
    }
    return {place: added(own, places[place]) for place, own in tables.items()}


def written(tables: Tables, path: Path) -> pd.DataFrame:
    """Write the tables of some places into a file, in place of what it says of these, and return all of it."""
    new = [own.reset_index().assign(data=d, split=s) for (d, s), own in tables.items()]
    if path.exists():
        old = read_table(path)
        kept = [(d, s) not in tables for d, s in zip(old["data"], old["split"], strict=True)]
        new.insert(0, old[kept])
    both = pd.concat([one for one in new if len(one)], ignore_index=True)
    first = [name for name in ("data", "split", "contender", "metric") if name in both]
    places = [(data, split) for data in DATA for split in DATA[data].splits]
    at = [places.index(place) for place in zip(both["data"], both["split"], strict=True)]
    both = both[first + [name for name in both if name not in first]]
    both = both.iloc[np.argsort(at, kind="stable")].reset_index(drop=True)
    both.to_csv(path, index=False, float_format="%.6g")
    return both


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    splits = sorted({s for d in DATA.values() for s in d.splits})
    simple = [name for name in names("baseline") if name != "control"]  # that is the control copy
    parser.add_argument(
        "--data", nargs="+", choices=list(DATA), default=[d for d in DATA if d != WITHOUT]
    )
    parser.add_argument("--split", nargs="+", choices=splits, default=splits)
    parser.add_argument(
        "--models", nargs="*", default=simple, help="a network's perhaps name:preset"
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=SEEDS)
    parser.add_argument(
        "--steps", type=int, help="training steps of networks; their own default if left out"
    )
    parser.add_argument("--rows", type=Path, default=ROWS)
    parser.add_argument("--folder", type=Path, default=FOLDER)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--add", action="store_true", help="keep what the tables say")
    given = parser.parse_args()
    for text in given.models:
        name, preset = contender(text)
        model_class(name)  # says which there are
        if text.endswith(SIZED) and text.removesuffix(SIZED) not in SMALL:
            parser.error(f"{text}: small are {', '.join(SMALL)}")
        if text == NETWORKS and given.steps is not None:
            parser.error(f"{text}: its networks are of full length, leave out --steps")
        if preset == TUNED and name not in GRIDS:
            parser.error(f"{text}: there are grids for {', '.join(GRIDS)}")
    places = [(d, s) for d in given.data for s in DATA[d].splits if s in given.split]
    for seed in given.seeds if given.models else ():
        for data, split in places:
            task = Task(data, split, seed, tuple(given.models), given.steps, given.folder)
            folder = given.rows / f"{data} {split} {seed}".replace(" ", "_")
            sh.benchmark.run(spec(task, folder), folder=folder)
            print(data, split, seed, flush=True)
    rows = by_place(read(given.rows, given.seeds))
    given.results.mkdir(exist_ok=True, parents=True)
    boards = {place: board(own) for place, own in rows.items()}
    if given.add:
        boards = with_older(boards, given.results / "judge.csv")
    boards = written(boards, given.results / "judge.csv")
    metrics = {place: telling(own) for place, own in rows.items()}
    metrics = written({} if given.add else metrics, given.results / "judge_metrics.csv")
    text = page(boards, metrics, seeds=given.seeds)
    (given.results / "judge.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    with threadpool_limits(1):
        main()
