"""Mean ranks of the ensemble and of every other contender, from the table of judging.

    python benchmarks/ranks.py [--ensemble "auto (networks)"] [--results DIR]

Contenders are ranked on every screen and split of `judge.csv`, 1 for the best, among all that predict it: by score (by what is
achieved, less the harm, where there is no score) and by energy. Only contenders that have the seeds of the ensemble take part, and
scores are means over these seeds. The table has one energy for all seeds of a contender, so that by energy only those with the same
seeds are ranked. Each row says of one contender

places      on how many screens and splits it is ranked beside the ensemble
its rank    its mean rank there
ensemble    the mean rank of the ensemble there
ahead       on how many of them the ensemble is ahead of it
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd
from _screens import RESULTS
from judge import named, read_table

from shoal._contenders import COPY, NEGATIVE, POSITIVE


def contenders(path: Path) -> pd.DataFrame:
    """Return a row for each screen, split and contender that predicts it, also those that one row shows together."""
    table = read_table(path)
    table = table[~table["contender"].isin([COPY, NEGATIVE, POSITIVE]) & table["achieved"].notna()]
    several = zip(table["contender"], table["same_as"], strict=True)
    table = table.assign(contender=[named(*one) for one in several]).explode("contender")
    return table.drop_duplicates(["data", "split", "contender"])


def scores(text: str) -> dict[str, float]:
    """Return seed -> score; NaN where there is none."""
    pairs = [own.split(": ") for own in text.split(", ")]
    return {seed: float("nan") if score == "–" else float(score) for seed, score in pairs}


def standing(place: pd.DataFrame, ensemble: str) -> pd.DataFrame:
    """Return the ranks on one screen and split: index contender, columns ``score`` and ``energy``."""
    own = place.set_index("contender")
    each = {name: scores(text) for name, text in own["by_seed"].items()}
    seeds = each.get(ensemble, {}).keys()
    own = own.loc[[name for name, found in each.items() if seeds and seeds <= found.keys()]]
    same = [each[name].keys() == seeds for name in own.index]
    found = {name: sum(each[name][seed] for seed in seeds) / len(seeds) for name in own.index}
    score = pd.Series(found, dtype=float)
    if score.isna().all():
        score = (own["achieved"] - own["harm"]).where(same)
    ranks = {"score": score.rank(ascending=False), "energy": own["energy"].where(same).rank()}
    return pd.DataFrame(ranks)


def beside(table: pd.DataFrame, ensemble: str, by: str) -> pd.DataFrame:
    """Return a row for each other contender, the best ranks first."""
    places = [standing(own, ensemble)[by] for _, own in table.groupby(["data", "split"])]
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
    parser.add_argument("--results", type=Path, default=RESULTS)
    given = parser.parse_args()
    table = contenders(given.results / "judge.csv")
    if given.ensemble not in set(table["contender"]):
        parser.error(
            f"{given.ensemble!r} is not in the table: there are {sorted(set(table['contender']))}"
        )
    for by in ("score", "energy"):
        print(f"\n{given.ensemble}, by {by}\n")
        print(beside(table, given.ensemble, by).to_markdown(index=False, floatfmt=".1f"))


if __name__ == "__main__":
    main()
