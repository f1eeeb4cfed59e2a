"""The tables of the leaderboard, from benchmarks/results/*.csv, as plain HTML that a script sorts and filters."""

from __future__ import annotations

import ast
import json
import re
from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np
import pandas as pd

from shoal._contenders import CONTROLS
from shoal.metrics._suite import SUITE
from shoal.models.base._registry import names

HERE = Path(__file__).parent
RESULTS = HERE.parent / "benchmarks" / "results"

PLACE = ["data", "split", "contender", "version"]  # a row of a table; seeds are averaged
SCORES = ("score", "score_low", "score_high", "achieved", "harm", "score_best")
WORDS = ("kind", "reference", "verdict", "note", "embedding", "settings", "file", "same_as")
OTHERS = ("seed", "steps", "metric", "value", "skill", "drf", "bds", "discriminates", "positive")
OTHERS += ("negative", "seconds", "seconds_fit", "seconds_predict", "seconds_evaluate", "peak_mb")
OTHERS += ("difference", "low", "high", "sets", "results", "failed")
OTHERS += ("conditions", "skipped", "off", "transductive", "n_draws", "responds", "versions")
REAL = (*CONTROLS, "second real half")  # contenders that are made of real cells
LEAST, MOST = -2.0, 1.5  # ends of the picture of a score
MANY = 12  # most metrics that a table shows side by side

OLD = (
    "These scores were made before the reference was fixed: 0 is the baseline that turned out best, "
    "and there are no intervals."
)
TITLES = {"judge": "Scores on real screens"}
HINTS = {
    "score": "0: as good as the reference; 1: as good as a second experiment",
    "interval": "95 % interval of the score: perturbations and random halves are drawn again",
    "harm": "loss by invented responses; 0: none",
    "achieved": "how far from knowing nothing (0) to a second experiment (1), without a reference",
    "score_best": "the same score with the baseline as 0 that turned out best, in hindsight",
    "reference": "the baseline that is 0 here, fixed beforehand by the kind of split",
    "seeds": "seeds that the row is a mean of",
    "seconds": "seconds of training, prediction and scoring, mean over seeds",
}


@dataclass(frozen=True)
class Board:
    """The results of one file.

    Attributes
    ----------
    name
        Name of the file, without its ending.
    title, command
        What the results are, and the command that makes them.
    rows
        One row for each data set, split, contender and version: means over seeds.
    metrics
        The same rows; one column a metric.
    beside
        Whether the metrics are shown one at a time, since they are many.
    """

    name: str
    title: str
    command: str
    rows: pd.DataFrame
    metrics: pd.DataFrame
    beside: bool


def boards(folder: Path = RESULTS) -> list[Board]:
    """Return the results of all files of a folder that name data sets, splits and contenders."""
    found = [_read(path) for path in sorted(folder.glob("*.csv"))]
    several = [board for board in found if board is not None]
    return sorted(several, key=lambda board: "score" not in board.rows)  # scores come first


def _read(path: Path) -> Board | None:
    table = pd.read_csv(path, dtype={"version": str}, low_memory=False)
    table = table.rename(columns={"model": "contender"})
    if not {"data", "split", "contender"} <= set(table):
        return None
    if "version" not in table:
        said = table.get("versions", pd.Series("", index=table.index)).astype(str)
        table["version"] = said.str.extract(r"\bshoal=(\S+)", expand=False)
    table = _newest(table.assign(version=table["version"].fillna("").astype(str)))
    if "seed" not in table:
        table["seed"] = 0
    long = {"metric", "value"} <= set(table)
    metrics = _one_column_a_metric(table) if long else _columns_of_metrics(table)
    if long and "score" in metrics:
        alone = metrics.pop("score")  # a metric of that name is the score itself
        if "score" not in table:
            keys = pd.MultiIndex.from_frame(table[[*PLACE, "seed"]])
            table["score"] = alone.reindex(keys).to_numpy()
    means = metrics.groupby(level=PLACE).mean()
    rows = _rows(table, means)
    beside = means.shape[1] > MANY
    return Board(path.stem, *_origin(path), rows, means.reindex(rows.index), beside)


def _newest(table: pd.DataFrame) -> pd.DataFrame:
    """Return the results of the newest version of each contender; other steps are another one."""
    if "steps" in table:
        steps = table["steps"].fillna(0).astype(int)
        named = table["contender"] + ", " + steps.astype(str) + " steps"
        table = table.assign(contender=named.where(steps > 0, table["contender"]))
    versions = table.groupby(PLACE[:3])["version"]
    return table[table["version"] == versions.transform(lambda own: max(own, key=_numbers))].copy()


def _numbers(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", version)]


def _one_column_a_metric(table: pd.DataFrame) -> pd.DataFrame:
    """Return the values of a table with a row a metric: one row a result."""
    table = table.assign(value=pd.to_numeric(table["value"], errors="coerce"))
    wide = table.pivot_table(
        index=[*PLACE, "seed"], columns="metric", values="value", dropna=False, observed=True
    )
    order = [name for name in SUITE if name in wide] + [n for n in wide if n not in SUITE]
    return wide[order].dropna(how="all")


def _columns_of_metrics(table: pd.DataFrame) -> pd.DataFrame:
    """Return the columns of a table that are no scores, words or costs: its metrics."""
    numbers = table.select_dtypes("number").columns
    own = [c for c in numbers if c not in (*PLACE, *SCORES, *WORDS, *OTHERS)]
    return table.set_index([*PLACE, "seed"])[own]


def _rows(table: pd.DataFrame, metrics: pd.DataFrame) -> pd.DataFrame:
    """Return means over seeds of what a table says of each contender.

    The best come first, by score or else by the first metric.
    """
    numbers = [c for c in (*SCORES, "seconds", "conditions") if c in table]
    if "seconds" not in table and "seconds_fit" in table:
        table = table.assign(seconds=table["seconds_fit"] + table["seconds_predict"].fillna(0))
        numbers.append("seconds")
    table[numbers] = table[numbers].apply(pd.to_numeric, errors="coerce")
    each = table.groupby([*PLACE, "seed"], sort=False)
    seeds = each[numbers].first()
    text = each[[c for c in WORDS if c in table]].first()
    seeds["failed"] = text["note"].fillna("") != "" if "note" in text else False
    rows = seeds.drop(columns="failed").groupby(level=PLACE, sort=False).mean()
    rows["seeds"] = seeds.groupby(level=PLACE, sort=False).size()
    rows["failed"] = seeds["failed"].groupby(level=PLACE, sort=False).sum()
    if "results" in table:  # a row is a mean over seeds already
        counts = table.set_index(PLACE)[["results", "failed"]].reindex(rows.index)
        rows["failed"], rows["seeds"] = counts["failed"], counts.sum(axis=1)
    for column in text:
        said = text[column].dropna().astype(str)
        rows[column] = (
            said[said != ""].groupby(level=PLACE).agg(lambda s: "; ".join(dict.fromkeys(s)))
        )
    rows["kind"] = [_kind(name, rows.get("kind"), at) for at, name in enumerate(_names(rows))]
    places = list(dict.fromkeys(row[:2] for row in rows.index))
    rows["_place"] = [places.index(row[:2]) for row in rows.index]
    rows["_last"] = rows["seeds"] == rows["failed"]
    first = "score" if "score" in rows else next(iter(metrics), "")
    loss = first in SUITE and SUITE[first].direction == "lower"
    rows["_by"] = rows["score"] if "score" in rows else metrics.reindex(rows.index).get(first, 0.0)
    order = ["_place", "_last", "_by"]
    return rows.sort_values(order, ascending=[True, True, loss], kind="stable").drop(columns=order)


def _names(rows: pd.DataFrame) -> list[str]:
    return rows.index.get_level_values("contender").astype(str).tolist()


def _kind(name: str, given: pd.Series | None, at: int) -> str:
    """Return what a contender is: real cells, a baseline, a model, or a file."""
    if name in REAL:
        return "control"
    if given is not None and isinstance(given.iloc[at], str):
        return str(given.iloc[at])
    return "baseline" if name.split(":")[0] in names("baseline") else "model"


def _origin(path: Path) -> tuple[str, str]:
    """Return what the results of a file are, and the command that makes them.

    Both stand in the first lines of the script of the same name, or follow from a spec beside it.
    """
    script = path.parents[1] / f"{path.stem}.py"
    if script.is_file():
        text = ast.get_docstring(ast.parse(script.read_text(encoding="utf-8"))) or path.stem
        title, _, rest = text.partition("\n")
        lines = re.search(r"^( +python .*(?:\n {8,}.*)*)", rest, flags=re.MULTILINE)
        command = " ".join(lines.group().split()) if lines else f"python benchmarks/{script.name}"
        return title, command
    spec = path.with_suffix(".yaml")
    where = spec.relative_to(path.parents[2]).as_posix()
    command = f"shoal benchmark {where} -o {path.stem}" if spec.is_file() else ""
    return f"{path.stem}: a benchmark from a spec", command


# -- Markdown and HTML ---------------------------------------------------------------------------


def page(several: list[Board]) -> str:
    """Return the tables of some results as Markdown: headings, and HTML for the tables."""
    return "\n".join(_section(board) for board in several)


def _section(board: Board) -> str:
    rows = board.rows
    versions = ", ".join(sorted(set(rows.index.get_level_values("version")) - {""})) or "unknown"
    about = [board.title, f"Made by version {versions}"]
    about[1] += f", with\n\n```bash\n{board.command}\n```" if board.command else "."
    if "score" in rows and "reference" not in rows:
        about.append(f":::{{warning}}\n{OLD}\n:::")
    glance = _glance(rows) if "score" in rows else ""
    text = "\n\n".join([f"## {TITLES.get(board.name, board.name)}", *about])
    return (
        f"{text}\n\n```{{raw}} html\n"
        f'<div class="lb" id="lb-{escape(board.name)}">\n{glance}{_table(board)}{_data(board)}</div>'
        "\n```\n"
    )


def _glance(rows: pd.DataFrame) -> str:
    """Return the table of mean scores: contenders by screens and splits.

    Scores are bold where their interval lies above 0, and pale where it lies below. Contenders that
    predict the same cells as another have a line of their own.
    """
    several = _with_same_cells(rows).reindex(columns=["score", "score_low", "score_high"])
    means = several.groupby(level=["contender", "data", "split"], sort=False).mean()
    grid = means["score"].unstack(["data", "split"])
    places = list(dict.fromkeys((row[0], row[1]) for row in rows.index))
    grid = grid[places].dropna(how="all")
    grid.insert(0, "mean", grid.mean(axis=1))
    grid.insert(1, "sets", grid[places].notna().sum(axis=1))
    grid = grid.sort_values(["sets", "mean"], ascending=False)
    head = [_th("contender"), _th("mean", number=True), _th("sets", number=True)]
    head += [_th(f"{data}, {split}", number=True) for data, split in places]
    lines = []
    for name, values in grid.iterrows():
        cells = [_td(str(name)), _number(values.iloc[0]), _number(values.iloc[1], "{:.0f}")]
        for place in places:
            at = (name, *place)
            _, low, high = means.loc[at] if at in means.index else (np.nan,) * 3
            side = " above" if low > 0 else " below" if high < 0 else ""
            cells.append(_number(values[place], side=side))
        lines.append(f"<tr>{''.join(cells)}</tr>")
    return _wrapped(head, lines, "Mean scores", "lb-glance")


def _with_same_cells(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows, and again those of contenders that are shown in the row of another."""
    further = rows.get("same_as", pd.Series("", index=rows.index)).fillna("").str.split(", ")
    names = [[own, *filter(None, more)] for own, more in zip(_names(rows), further, strict=True)]
    several = rows.reset_index(["contender"]).assign(contender=names).explode("contender")
    return several.set_index("contender", append=True).reorder_levels(PLACE)


def _table(board: Board) -> str:
    rows, scored = board.rows, "score" in board.rows
    numbers = [c for c in ("harm", "achieved", "score_best") if c in rows]
    metrics = [] if board.beside else list(board.metrics)
    head = [_th("contender"), _th("screen"), _th("split"), _th("kind")]
    if scored:
        head += [_th("score", number=True), _th("interval")]
    head += [_th(c, number=True) for c in numbers]
    head += [_th("reference")] if "reference" in rows else []
    head += [_th(c, number=True) for c in metrics]
    head += [_th("seeds", number=True), _th("seconds", number=True), _th("version"), _th("note")]
    lines = []
    for at, (place, row) in enumerate(rows.iterrows()):
        data, split, contender, version = map(str, place)
        cells = [_td(contender, full=row.get("same_as")), _td(data), _td(split), _td(row["kind"])]
        if scored:
            cells += [_number(row["score"]), _interval(row)]
        cells += [_number(row[c]) for c in numbers]
        cells += [_td(row.get("reference"))] if "reference" in rows else []
        cells += [_number(board.metrics[c].iloc[at], "{:.3g}") for c in metrics]
        cells += [_number(row["seeds"] - row["failed"], "{:.0f}")]
        cells += [_number(row.get("seconds"), "{:.3g}"), _td(version), _note(row)]
        lines.append(f'<tr data-at="{at}">{"".join(cells)}</tr>')
    return _wrapped(head, lines, "Every result", "lb-rows")


def _wrapped(head: list[str], lines: list[str], title: str, kind: str) -> str:
    body = "\n".join(lines)
    return (
        f'<p class="lb-title">{title}</p>\n<div class="lb-scroll"><table class="{kind}">\n'
        f"<thead><tr>{''.join(head)}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>\n"
    )


def _th(name: str, *, number: bool = False) -> str:
    record = SUITE.get(name)
    hint = HINTS.get(name, "" if record is None else f"{record.family}; {_best(record)}")
    title = f' title="{escape(hint)}"' if hint else ""
    shown = {"score_best": "against the best"}.get(name, name.replace("_", " "))
    lower = record is not None and record.direction == "lower"
    first = ' data-first="ascending"' if lower or name == "harm" else ""
    return f'<th scope="col"{" class=num" if number else ""}{first}{title}>{escape(shown)}</th>'


def _best(record: object) -> str:
    """Return which values of a metric are good."""
    direction = getattr(record, "direction", "")
    perfect = getattr(record, "perfect", float("nan"))
    return f"{perfect:g} is best" if direction == "target" else f"{direction} is better"


def _td(text: object, *, full: object = None) -> str:
    said = text if isinstance(text, str) else ""
    further = f" <small>= {escape(full)}</small>" if isinstance(full, str) and full else ""
    return f"<td>{escape(said)}{further}</td>"


def _number(value: object, form: str = "{:.2f}", *, side: str = "") -> str:
    number = float("nan") if value is None else float(value)
    if not np.isfinite(number):
        return '<td class="num">–</td>'
    text = form.format(number).replace("-", "−")
    text = text.removeprefix("−") if text.strip("−0.") == "" else text
    return f'<td class="num{side}" data-v="{number:.6g}">{text}</td>'


def _interval(row: pd.Series) -> str:
    """Return a cell with an interval, as text and as a small picture."""
    low, mid, high = (float(row.get(c, np.nan)) for c in ("score_low", "score", "score_high"))
    if not np.isfinite(mid):
        return _td(row.get("verdict"))
    whole = np.isfinite([low, high]).all()
    text = f"{low:.2f} to {high:.2f}".replace("-", "−") if whole else "no interval"
    at = [100 * (np.clip(x, LEAST, MOST) - LEAST) / (MOST - LEAST) for x in (0, 1, mid, low, high)]
    bar = f'<line class="i" x1="{at[3]:.1f}" x2="{at[4]:.1f}" y1="7" y2="7"/>' if whole else ""
    return (
        f'<td data-v="{low if whole else ""}"><svg class="lb-i" viewBox="0 0 100 14" '
        f'role="img" aria-label="{text}"><title>{text}</title>'
        f'<line x1="{at[0]:.1f}" x2="{at[0]:.1f}" y1="0" y2="14"/>'
        f'<line class="one" x1="{at[1]:.1f}" x2="{at[1]:.1f}" y1="0" y2="14"/>{bar}'
        f'<circle cx="{at[2]:.1f}" cy="7" r="2.6"/></svg> <small>{text}</small></td>'
    )


def _note(row: pd.Series) -> str:
    note = row.get("note")
    if not isinstance(note, str) or not note:
        return "<td></td>"
    n = (
        f"{int(row['failed'])} of {int(row['seeds'])} seeds: "
        if row["failed"] < row["seeds"]
        else ""
    )
    short = note if len(note) < 60 else f"{note[:57]}…"
    return f'<td title="{escape(note)}">{escape(n + short)}</td>'


def _data(board: Board) -> str:
    """Return the metrics of a table that shows them one at a time, for the script."""
    if not board.beside or board.metrics.empty:
        return ""
    values = {
        name: [None if not np.isfinite(v) else float(f"{v:.4g}") for v in column]
        for name, column in board.metrics.items()
    }
    hints = {n: f"{SUITE[n].family}; {_best(SUITE[n])}" for n in values if n in SUITE}
    lower = [n for n in values if n in SUITE and SUITE[n].direction == "lower"]
    entry = {"values": values, "hints": hints, "lower": lower}
    text = json.dumps(entry).replace("<", "\\u003c")
    return f'<script type="application/json" class="lb-data">{text}</script>\n'


def write() -> None:
    """Write the tables into ``docs/generated``, for the page that includes them."""
    (HERE / "generated").mkdir(exist_ok=True)
    (HERE / "generated" / "_leaderboard.md").write_text(page(boards()), encoding="utf-8")
