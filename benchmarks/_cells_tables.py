"""The tables of `cells.py`: genes called, scores before and after, contexts, variants."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from _screens import COPY, FLOOR

from shoal.models.base._registry import names

if TYPE_CHECKING:
    from collections.abc import Iterator

WITHIN = 1.5  # genes called in predicted cells over genes called in real ones, at most
MORE_FALSE = 1.1  # false genes over those of a second half, at most
PLACE = ["data", "split"]
SHOWN = {
    "energy": "energy",
    "pearson_control": "Δ/ctrl.",
    "pearson_perturbed": "Δ/pert.",
    "w1": "W1",
    "variance_ratio": "variance ratio",
    "zero_error": "zero error",
    "library_sd": "library SD",
    "correlation": "mean abs. r",
    "correlation_alike": "r alike",
    "cycle_sd": "cycle SD",
}


def told(done: pd.DataFrame, before: pd.DataFrame | None, *, brief: bool = False) -> str:
    """Return all tables as markdown; `before` holds the rows of an earlier version.

    The table of variants is left out if `brief`.
    """
    default = done[done["variant"] == "default"]
    earlier = default.iloc[:0] if before is None else before[before["variant"] == "default"]
    shared = pd.MultiIndex.from_frame(default[[*PLACE, "seed"]])
    earlier = earlier[pd.MultiIndex.from_frame(earlier[[*PLACE, "seed"]]).isin(shared)]
    parts = [
        "## Genes called\n\nA rank-sum test, two-sided, false discovery rate below .05; means over conditions and seeds. `/ real`:"
        " over the genes that it calls in as many real cells (the second real half), of which some are false too. `kept`: at"
        f" most {WITHIN} times as many, and false ones at most {MORE_FALSE} times those of the second half.",
        *(called(place, now, then) for place, now, then in places(default, earlier)),
        misses(default),
        "## Scores\n\nMeans ± SD over seeds, `before → after` where there is a before."
        " `mean abs. r`, `cycle SD`: compare with the second real half, which has as many cells.",
        *(scores(place, now, then) for place, now, then in places(default, earlier)),
        worse(default, earlier),
        ahead(default),
        "" if brief else variants(done),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def places(
    now: pd.DataFrame, then: pd.DataFrame
) -> Iterator[tuple[str, pd.DataFrame, pd.DataFrame]]:
    """Yield the rows of every screen and split, with its name."""
    both = pd.concat([now[PLACE], then[PLACE]]).drop_duplicates()
    for data, split in both.itertuples(index=False):
        own = [
            t[(t["data"] == data) & (t["split"] == split)].dropna(subset="energy")
            for t in (now, then)
        ]
        yield f"{data}, {split}", own[0], own[1]


def ordered(now: pd.DataFrame, then: pd.DataFrame) -> list[str]:
    """Return the contenders, floor and copy first, then by energy."""
    energy = pd.concat([then, now]).groupby("model")["energy"].last()
    energy.update(now.groupby("model")["energy"].mean())
    first = [m for m in (FLOOR, COPY) if m in energy.index]
    return [*first, *energy.drop(first).sort_values().index]


def called(place: str, now: pd.DataFrame, then: pd.DataFrame) -> str:
    """Return the genes called in the cells of every contender."""
    tables = [t.groupby("model")[["called", "called_false"]].mean() for t in (then, now)]
    lines = []
    for model in ordered(now, then):
        row = [model]
        for table in tables:
            has = model in table.index and FLOOR in table.index
            several, false = table.loc[model] if has else (np.nan, np.nan)
            row += [_number(several), _number(several / table.loc[FLOOR, "called"]) if has else "–"]
            row += [_number(false)]
        row.append(_kept(model, tables[1]))
        lines.append(row)
    kinds = ["called", "/ real", "false"]
    head = ["contender", *(f"{k} before" for k in kinds), *(f"{k} after" for k in kinds), "kept"]
    return f"### {place}\n\n{markdown(head, lines)}"


def _kept(model: str, table: pd.DataFrame) -> str:
    """Say whether a contender keeps to both limits, or which one it breaks."""
    if model not in table.index or FLOOR not in table.index:
        return "–"
    limits = table.loc[FLOOR] * [WITHIN, MORE_FALSE]
    broken = [
        name
        for name, column in (("called", "called"), ("false", "called_false"))
        if table.loc[model, column] > limits[column]
    ]
    return "no: " + ", ".join(broken) if broken else "yes"


def misses(now: pd.DataFrame) -> str:
    """Say how many contenders keep to the limits, and list those that do not."""
    found, total = [], 0
    for place, own, _ in places(now, now.iloc[:0]):
        table = own.groupby("model")[["called", "called_false"]].mean()
        for model in table.index.drop([FLOOR, COPY], errors="ignore"):
            total, kept = total + 1, _kept(model, table)
            if kept != "yes":
                found.append(f"- {place}: {model} ({kept[4:]})")
    return "\n".join([f"Kept by {total - len(found)} of {total} contenders. Not by:\n", *found])


def scores(place: str, now: pd.DataFrame, then: pd.DataFrame) -> str:
    """Return the scores of every contender, before and after."""
    lines = []
    for model in ordered(now, then):
        own, old = now[now["model"] == model], then[then["model"] == model]
        row = [model]
        for score in SHOWN:
            text = _spread(own[score])
            if len(old):
                text = f"{_spread(old[score])} → {text}"
            row.append(text)
        row.append(_number(own[["fit_seconds", "seconds"]].sum(axis=1).mean()))
        lines.append(row)
    off = now["off"].mean() if len(now) else then["off"].mean()
    about = f"{_number(off)} genes are off in every training cell and count nowhere."
    return f"### {place}\n\n{about}\n\n{markdown(['contender', *SHOWN.values(), 's'], lines)}"


def worse(now: pd.DataFrame, then: pd.DataFrame) -> str:
    """List the contenders whose energy rose: by more than its SD over seeds before, or in every seed by a tenth."""
    if not len(then):
        return ""
    key = [*PLACE, "model"]
    by_seed = {
        name: table.dropna(subset="energy").set_index([*key, "seed"])["energy"]
        for name, table in (("before", then), ("after", now))
    }
    both = pd.DataFrame(by_seed).dropna()
    moved = both.xs(FLOOR, level="model")
    same = np.allclose(moved["before"], moved["after"], rtol=1e-3, atol=1e-5)
    rise = both["after"] - both["before"]
    both["seeds up by a tenth"] = rise > 0.1 * both["before"].abs()
    groups = both.drop([FLOOR, COPY], level="model", errors="ignore").groupby(level=key)
    table = groups.agg("mean").assign(sd=groups["before"].std(), seeds=groups.size())
    bad = table[
        (table["after"] - table["before"] > table["sd"]) | (table["seeds up by a tenth"] == 1)
    ]
    lines = [
        [*map(str, at), *map(_number, row)]
        for at, row in zip(bad.index, bad.to_numpy(), strict=True)
    ]
    head = [*key, "energy before", "after", "share of seeds up by a tenth", "SD before", "seeds"]
    about = (
        f"## Worse in energy: {len(bad)} of {len(table)}\n\nBy more than the SD over seeds before, or in every seed by a tenth."
        + (
            ""
            if same
            else "\n\n**The real halves differ between the two files: other cells were held out.**"
        )
    )
    return f"{about}\n\n{markdown(head, lines)}" if lines else about


def ahead(now: pd.DataFrame) -> str:
    """Say where each network is ahead of the simple row that is best on splits with contexts."""
    lines = []
    for place, own, _ in places(now[now["split"].str.contains("context")], now.iloc[:0]):
        by_seed = own.pivot_table(index="seed", columns="model", values="energy")
        simple = [m for m in by_seed if m not in (FLOOR, COPY) and not _network(m)]
        if not simple:
            continue
        best = by_seed[simple].mean().idxmin()
        for model in filter(_network, by_seed):
            lead = (by_seed[best] - by_seed[model]).dropna()
            lines.append(
                [
                    *(place, model, _spread(by_seed[model]), best, _spread(by_seed[best])),
                    f"{int((lead > 0).sum())} of {len(lead)}",
                    "yes" if lead.mean() > 0 else "no",
                ]
            )
    head = ["split", "network", "energy", "best simple row", "its energy", "seeds ahead", "ahead"]
    return (
        "## Networks beside the best simple row, splits with contexts\n\nThe row is chosen with hindsight, by its mean"
        f" energy.\n\n{markdown(head, lines)}"
        if lines
        else ""
    )


def variants(done: pd.DataFrame) -> str:
    """Return what each variant changes, against the default of the same seed."""
    if done["variant"].nunique() < 2:
        return ""
    lines, columns = [], ["called", "called_false", *SHOWN]
    several = done.dropna(subset="energy")
    for (data, split, model), own in several.groupby([*PLACE, "model"], sort=False):
        if own["variant"].nunique() < 2:
            continue
        for variant, rows in own.groupby("variant", sort=False):
            what = [f"{data}, {split}", model, variant]
            lines.append([*what, *(_spread(rows[c]) for c in columns)])
    head = ["split", "model", "variant", "called", "false", *SHOWN.values()]
    return f"## Variants\n\n{markdown(head, lines)}" if lines else ""


def markdown(head: list[str], lines: list[list[str]]) -> str:
    rule = "|" + "---|" * len(head)
    return "\n".join(
        [f"| {' | '.join(head)} |", rule, *(f"| {' | '.join(line)} |" for line in lines)]
    )


def _network(model: str) -> bool:
    return model.partition(":")[0] in names("network")


def _spread(values: pd.Series) -> str:
    mean, sd = values.mean(), values.std()
    return _number(mean) + ("" if np.isnan(sd) else f" ± {sd:.1g}")


def _number(value: float) -> str:
    return "–" if np.isnan(value) else f"{value:.3g}"
