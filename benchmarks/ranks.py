"""Mean ranks of the ensemble and of every other contender, from the table of judging.

    python benchmarks/ranks.py [--ensemble "auto (networks)"] [--beside auto flow] [--splits guide context] [--results DIR]

The first table has the score of the ensemble on every screen and split, with its interval, and those of some others with the same
seeds; in brackets what is achieved, less the harm, where there is no score (° of all its seeds). Then energies of those that have the same
seeds.

In the others, contenders are ranked on every screen and split of `judge.csv`, 1 for the best, among all that predict it: by score (by what is
achieved, less the harm, where there is no score), by *net* (what is achieved, less the harm) and by energy. Only contenders that have the
seeds of the ensemble take part, and scores are means over these seeds. The table has one net and one energy for all seeds of a contender,
so that by these only those with the same seeds are ranked. A score is the net beside that of the reference, over what this one leaves to gain
with the same seed. So a seed that leaves little counts more than others by score, and all count alike by net. A row says of one contender

places      on how many screens and splits it is ranked beside the ensemble
its rank    its mean rank there
ensemble    the mean rank of the ensemble there
ahead       on how many of them the ensemble is ahead of it
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
from _screens import RESULTS
from judge import named, read_table

from shoal._contenders import COPY, NEGATIVE, POSITIVE

if TYPE_CHECKING:
    from collections.abc import Sequence

BY = ["score", "net", "energy"]
OTHERS = ["auto", "flow", "perturbdiff", "conditional_monge", "unlasting"]


def contenders(path: Path) -> pd.DataFrame:
    """Return a row for each screen, split and contender that predicts it, also those that one row shows together."""
    table = read_table(path)
    table = table[~table["contender"].isin([COPY, NEGATIVE, POSITIVE]) & table["achieved"].notna()]
    several = zip(table["contender"], table["same_as"], strict=True)
    table = table.assign(contender=[named(*one) for one in several]).explode("contender")
    return table.drop_duplicates(["data", "split", "contender"])


def held(table: pd.DataFrame, ensemble: str) -> list[pd.DataFrame]:
    """Return the contenders of each screen and split that the ensemble predicts; index contender."""
    places = table.set_index("contender").groupby(["data", "split"], sort=False)
    return [own for _, own in places if ensemble in own.index]


def scores(text: str) -> dict[str, float]:
    """Return seed -> score, of the seeds that have one."""
    pairs = [own.split(": ") for own in text.split(", ")]
    return {seed: float(score) for seed, score in pairs if score != "–"}


def alike(own: pd.DataFrame, ensemble: str) -> pd.DataFrame:
    """Return what contenders of one screen and split have beside the ensemble.

    Columns: ``score`` with the seeds of the ensemble (what is achieved, less the harm, where there is no score); ``net`` (what is
    achieved, less the harm) and ``energy`` of those that have the same seeds. NaN where a contender lacks seeds of the ensemble, or
    has others.
    """
    each = {name: scores(text) for name, text in own["by_seed"].items()}
    seeds = each[ensemble].keys()
    same = own["results"] == own.loc[ensemble, "results"]
    net = score = (own["achieved"] - own["harm"]).where(same)
    if seeds:
        found = {
            name: sum(all_[seed] for seed in seeds) / len(seeds)
            for name, all_ in each.items()
            if seeds <= all_.keys()
        }
        score = pd.Series(found).reindex(own.index)
    return pd.DataFrame({"score": score, "net": net, "energy": own["energy"].where(same)})


def standing(own: pd.DataFrame, ensemble: str) -> pd.DataFrame:
    """Return the ranks on one screen and split: index contender, columns those of `BY`."""
    found = alike(own, ensemble)
    return pd.DataFrame({by: found[by].rank(ascending=by == "energy") for by in BY})


def told(own: pd.DataFrame, ensemble: str, others: Sequence[str]) -> dict[str, str]:
    """Return the scores on one screen and split, with the seeds of the ensemble, and the energies."""
    found, first = alike(own, ensemble), own.loc[ensemble]
    several = [name for name in others if name in own.index]
    seeds = scores(first["by_seed"])
    line = {
        "screen, held out": f"{first['data']}, {first['split']}",
        "seeds": ", ".join(seeds) or f"{first['results']:.0f} of them",
        ensemble: "",
    }
    for name in (ensemble, *several):
        value = found.loc[name, "score"]
        line[name] = "–" if pd.isna(value) else f"{value:.2f}" if seeds else f"({value:.2f})"
    if pd.notna(first["score_low"]):
        line[ensemble] += f" ({first['score_low']:.2f} to {first['score_high']:.2f})"
    energies = found["energy"].loc[[ensemble, *several]].dropna()
    line["energy"] = ", ".join(f"{name} {value:.3f}" for name, value in energies.items())
    return line


def beside(table: pd.DataFrame, ensemble: str, by: str) -> pd.DataFrame:
    """Return a row for each other contender, the best ranks first."""
    places = [standing(own, ensemble)[by] for own in held(table, ensemble)]
    lines = []
    for name in dict.fromkeys(table["contender"]):
        both = [one for one in places if {name, ensemble} <= set(one.dropna().index)]
        if both and name != ensemble:
            mean = pd.DataFrame(both)[[name, ensemble]].mean()
            ahead = sum(one[ensemble] < one[name] for one in both)
            lines.append((name, len(both), mean[name], mean[ensemble], ahead))
    found = pd.DataFrame(lines, columns=["contender", "places", "its rank", "ensemble", "ahead"])
    return found.sort_values(["places", "its rank"], ascending=[False, True])


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ensemble", default="auto (networks)")
    parser.add_argument("--beside", nargs="+", default=OTHERS)
    parser.add_argument("--splits", nargs="+", help="splits that count; all if left out")
    parser.add_argument("--results", type=Path, default=RESULTS)
    given = parser.parse_args()
    table = contenders(given.results / "judge.csv")
    odd = set(given.splits or ()) - set(table["split"])
    if odd:
        parser.error(f"there is no split {sorted(odd)}: there are {sorted(set(table['split']))}")
    if given.splits:
        table = table[table["split"].isin(given.splits)]
    if given.ensemble not in set(table["contender"]):
        parser.error(
            f"{given.ensemble!r} is not in the table: there are {sorted(set(table['contender']))}"
        )
    places = held(table, given.ensemble)
    order = ["screen, held out", "seeds", given.ensemble, *given.beside, "energy"]
    lines = [told(own, given.ensemble, given.beside) for own in places]
    found = pd.DataFrame(lines, columns=order).fillna("–")
    print(found.to_markdown(index=False, disable_numparse=True))
    for by in BY:
        print(f"\n{given.ensemble}, by {by}\n")
        print(beside(table, given.ensemble, by).to_markdown(index=False, floatfmt=".1f"))


if __name__ == "__main__":
    main()
