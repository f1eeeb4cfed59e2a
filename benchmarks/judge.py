"""What the metrics can tell on real screens, and who leads on them: every screen, split and seed of `predict.py`.

    python benchmarks/judge.py [--data papalexi renge] [--split perturbation] [--models mean_shift flow] [--seeds 0 1 2]
                               [--steps 3000] [--folder DIR] [--results DIR]

`benchmarks/results/judge.csv` has one row for each screen, split, seed, contender and metric; contenders are the positive, the
negative and the control copy, all baselines, and the networks that are named. Rows that it holds already are not computed
again, so networks can be added later. `judge.md` has two tables: DRF and BDS of every metric on every screen and split (whether
it can tell there at all), and the mean score of every contender: 0 as the reference of the kind of split, 1 as a second experiment.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from predict import DATA, FOLDER, RESULTS, Task, contender, fitted, prepare
from threadpoolctl import threadpool_limits

import shoal as sh
from shoal.metrics._suite import SUITE
from shoal.models.base._registry import model_class, names

if TYPE_CHECKING:
    from collections.abc import Iterator

    import anndata as ad

KEY = ["data", "split", "seed", "contender", "steps", "version"]
COLUMNS = [*KEY, "metric", "value", "drf", "bds", "discriminates", "skill", "seconds", "note"]
SCORE = "score"
FREE = "mean_shift"  # asked as the prediction where only baselines are; it predicts every split


def rows(task: Task, models: list[str], known: set[str]) -> Iterator[dict[str, Any]]:
    """Yield the rows of the controls and the baselines, and those of each network, as far as they are not known."""
    adata = prepare(task)
    if set(models) & set(names("baseline")) - known:
        start = time.perf_counter()
        entry, note = judged(adata, task, FREE, baselines="auto")
        each = entry["contenders"]["same_as"].drop("prediction") if entry else pd.Series(dtype=str)
        for (
            row,
            further,
        ) in each.items():  # of baselines that predict the same cells, each has a row
            for called in filter(None, [row, *further.split(", ")]):
                yield from lines(
                    entry, row, seconds=time.perf_counter() - start, note="", called=called
                )
        reasons = (
            entry["missing"].query("metric == '(all)' and condition == '(all)'")
            if entry
            else pd.DataFrame()
        )
        for row in reasons.itertuples():
            yield {"contender": row.contender, "metric": SCORE, "note": row.reason}
        if not entry:
            yield {"contender": FREE, "metric": SCORE, "note": note}
    for name in [
        one for one in models if contender(one)[0] in names("network") and one not in known
    ]:
        start = time.perf_counter()
        entry, note = judged(adata, task, name, baselines="auto")
        if not entry:
            yield {"contender": name, "metric": SCORE, "note": note}
            continue
        yield from lines(
            entry, "prediction", seconds=time.perf_counter() - start, note="", called=name
        )


def judged(
    adata: ad.AnnData, task: Task, name: str, *, baselines: str
) -> tuple[dict[str, Any], str]:
    """Return the evaluation of a model, or why there is none."""
    data = DATA[task.data]
    embedding = data.splits[task.split].embedding
    try:
        model = fitted(adata, name, embedding, steps=task.steps, seed=task.seed)
        sh.tl.predict(adata, model, key_added="prediction", subset="test", rng=task.seed)
        sh.tl.evaluate(
            adata,
            prediction="prediction",
            baselines=baselines,
            embedding=None if embedding == "one-hot" else embedding,
            min_cells=max(4, data.least),
            rng=task.seed,
            key_added="judge",
        )
    except (KeyError, ValueError) as err:  # the table says why
        return {}, str(err.args[0])
    return adata.uns["judge"], ""


def lines(
    entry: dict[str, Any], contender: str, *, seconds: float, note: str, called: str | None = None
) -> Iterator[dict[str, Any]]:
    """Yield a row for every metric, and one for the score."""
    summary, own = entry["summary"], entry["contenders"].loc[contender]
    about = {"contender": called or contender, "seconds": seconds, "note": note}
    for metric, record in summary.iterrows():
        skill = record["skill"] if contender == "prediction" else np.nan
        told = {name: record[name] for name in ("drf", "bds", "discriminates")}
        yield {**about, "metric": metric, "value": own[metric], **told, "skill": skill}
    yield {**about, "metric": SCORE, "value": own["score"]}


def read(path: Path) -> pd.DataFrame:
    return (
        pd.read_csv(path, dtype={"note": str, "version": str})
        if path.exists()
        else pd.DataFrame(columns=COLUMNS)
    )


def tables(done: pd.DataFrame) -> str:
    """Return both tables: means over seeds."""
    done = done[done["version"] == sh.__version__]
    where = done["data"] + ", " + done["split"]
    real = done[(done["contender"] == "positive control") & (done["metric"] != SCORE)].assign(
        where=where
    )
    share = (
        real.assign(tells=real["discriminates"].astype(float))
        .groupby(["metric", "where"])[["drf", "bds", "tells"]]
        .mean()
    )
    drf, bds, tells = (share[name] for name in ("drf", "bds", "tells"))
    text = drf.round(2).astype(str) + ", " + bds.round(2).astype(str)
    text = text.where(tells < 0.5, "**" + text + "**").where(drf.notna(), "–")
    order = list(where.unique())
    grid = text.unstack("where").reindex(
        index=[name for name in SUITE if name in set(text.index.get_level_values(0))], columns=order
    )
    score = done[done["metric"] == SCORE].assign(where=where)
    score["value"] = score["value"].astype(float)
    board = score.groupby(["contender", "where"])["value"].mean().unstack("where")[order]
    board.insert(0, "mean", board.mean(axis=1))
    board.insert(1, "sets", board[order].notna().sum(axis=1))
    board = board.sort_values(["sets", "mean"], ascending=False)
    cells = board.map(lambda v: "–" if pd.isna(v) else f"{v:.2f}").assign(
        sets=board["sets"].astype(str)
    )
    seeds = ", ".join(map(str, sorted(done["seed"].unique())))
    return (
        "# What metrics can tell on real screens\n\nDRF, BDS: means over seeds "
        f"{seeds}; bold where the metric discriminates in most of them. The screens are subsets of genes.\n\n"
        f"{markdown(grid)}\n\n# Scores\n\n0: the reference of that kind of split. 1: a second experiment. No number: the reference is nearly as good as that.\n\n"
        f"{markdown(cells)}\n"
    )


def markdown(frame: pd.DataFrame) -> str:
    head = [frame.index.name, *frame.columns]
    body = [f"| {' | '.join(map(str, row))} |" for row in frame.reset_index().to_numpy()]
    return "\n".join([f"| {' | '.join(map(str, head))} |", "|" + "---|" * len(head), *body])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", nargs="+", choices=list(DATA))
    parser.add_argument(
        "--split", nargs="+", choices=sorted({s for d in DATA.values() for s in d.splits})
    )
    parser.add_argument(
        "--models",
        nargs="+",
        default=names("baseline"),
        help="names, a network's perhaps name:preset",
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument(
        "--steps", type=int, help="training steps of networks; their own default if left out"
    )
    parser.add_argument("--folder", type=Path, default=FOLDER)
    parser.add_argument("--results", type=Path, default=RESULTS)
    given = parser.parse_args()
    for name in given.models:
        model_class(contender(name)[0])  # says which there are
    given.results.mkdir(exist_ok=True, parents=True)
    path = given.results / "judge.csv"
    whole = Task("", "", 0, (), given.steps, given.folder)
    for data in given.data or DATA:
        for split in [s for s in DATA[data].splits if not given.split or s in given.split]:
            for seed in given.seeds:
                known = names_in(read(path), data, split, seed, given.steps)
                task = replace(whole, data=data, split=split, seed=seed)
                if not set(given.models) - known - {"control"}:
                    continue
                found = pd.DataFrame(list(rows(task, given.models, known)), columns=COLUMNS)
                found[["data", "split", "seed", "version"]] = data, split, seed, sh.__version__
                found["steps"] = np.where(
                    found["contender"].isin(
                        [m for m in given.models if contender(m)[0] in names("network")]
                    ),
                    given.steps or -1,
                    0,
                )
                found.to_csv(path, mode="a", header=not path.exists(), index=False)
                score = found[found["metric"] == SCORE].set_index("contender")["value"]
                print(data, split, seed, score.dropna().round(3).to_dict(), flush=True)
    text = tables(read(path))
    (given.results / "judge.md").write_text(text, encoding="utf-8")
    print(text)


def names_in(done: pd.DataFrame, data: str, split: str, seed: int, steps: int | None) -> set[str]:
    """Return the contenders whose rows are there."""
    same = (
        (done["data"] == data)
        & (done["split"] == split)
        & (done["seed"] == seed)
        & (done["version"] == sh.__version__)
    )
    return set(done.loc[same & done["steps"].isin([0, steps or -1]), "contender"])


if __name__ == "__main__":
    with threadpool_limits(1):
        main()
