"""Predictions that are bad on purpose: which metric of the default suite falls for which, and whether the score does.

    python benchmarks/attacks.py [--data simulated renge null kang_null] [--seeds 0 1 2] [--folder DIR]

On a screen with effects every attack starts from an honest baseline, `own_shift` (the shift that a perturbation has in other
contexts), and spoils it, or puts something cheaper in its place. On a null screen, control cells that were dealt to
perturbations which were never applied, the honest prediction is a copy of the controls. A metric *falls for* an attack if it
gives it a larger skill than the honest prediction, and is *blind* to it if it gives it the same. Two markdown tables per screen,
means over seeds, go to the terminal and to `benchmarks/results/attacks.md`.

An attack passes if what it achieves less its harm reaches that of the best honest prediction, and then the command fails. Honest are
`own_shift`, its counts, and `other_contexts`, real cells of the perturbation in other contexts. The attack `similar` copies
training cells of the perturbation that responds most alike elsewhere. That is a nearest neighbour, which knows something, so it
may be better than `own_shift`. It must stay below `other_contexts`, which copies real cells too and knows more.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import anndata as ad
import numpy as np
import pandas as pd
from _attacks import ATTACKS, HONEST, LAYER, Screen, dense
from _screens import FOLDER, RESULTS, Task
from _screens import prepare as read
from scipy import sparse
from threadpoolctl import threadpool_limits

import shoal as sh

if TYPE_CHECKING:
    from collections.abc import Callable

ALIKE = 1e-3  # difference of skill below which a metric is blind
COLUMNS = ("achieved", "harm")  # of `contenders`
NET = "net"  # the first less the second, which is there on all seeds; a score is not
REFUSED = "not on the scale of the real cells"  # in the message of an evaluation that refuses a prediction
LEFT = 0.2  # share of the molecules of a target that a simulated knock-down leaves
NULL_FILE = "kang18_ctrl_8donors_null.h5ad"
DONORS, TOP = 2, 300  # donors, and most expressed genes, of the null screen of measured cells
BASELINE = "own shift"  # on null screens: a baseline, for comparison
# where nothing responds, cells of whatever perturbation are right
RIGHT_ON_NULL = (
    "elsewhere",
    "perturbed mean",
    "train cells",
    "another",
    "similar",
    "wrong labels",
    "copy",
)


def simulated(seed: int, folder: Path) -> ad.AnnData:
    """Return a simulated screen whose perturbations bear the names of genes, and lower them."""
    adata = sh.ds.simulate(
        n_perturbations=25, n_cells=160, n_control=800, n_genes=150, contexts=2, rng=seed
    )
    rng, names = np.random.default_rng([seed, 1]), adata.obs["perturbation"].astype(str).to_numpy()
    genes = rng.choice(adata.n_vars, 25, replace=False)
    counts = dense(adata.X).astype(np.int64)
    for name, gene in zip(sorted(set(names) - {"control"}), genes, strict=True):
        rows = names == name
        counts[rows, gene] = rng.binomial(counts[rows, gene], LEFT)
        names = np.where(rows, adata.var_names[gene], names)
    adata = ad.AnnData(
        sparse.csr_matrix(counts.astype(np.float32)),
        obs=pd.DataFrame(
            {"perturbation": names, "context": adata.obs["context"].astype(str).to_numpy()},
            index=adata.obs_names,
        ),
        var=adata.var[[]],
    )
    return prepared(adata, "context", seed)


def renge(seed: int, folder: Path) -> ad.AnnData:
    return read(Task("renge", "perturbation_context", seed, (), None, folder))


def null(seed: int, folder: Path) -> ad.AnnData:
    """Return simulated control cells that were dealt to perturbations."""
    adata = sh.ds.simulate(
        n_perturbations=1, n_cells=2, n_control=4000, n_genes=150, contexts=2, rng=seed
    )
    return dealt(adata[adata.obs["perturbation"] == "control"].copy(), "context", 12, seed)


def kang_null(seed: int, folder: Path) -> ad.AnnData:
    """Return measured control cells of two donors that were dealt to perturbations."""
    adata = ad.read_h5ad(folder / NULL_FILE)
    donors = adata.obs["donor"].value_counts().index[:DONORS]
    genes = np.sort(np.argsort(-np.asarray(adata.X.sum(axis=0)).ravel(), kind="stable")[:TOP])
    return dealt(adata[adata.obs["donor"].isin(donors), genes].copy(), "donor", 8, seed)


def dealt(adata: ad.AnnData, context: str, n_perturbations: int, seed: int) -> ad.AnnData:
    """Return control cells, half of those of every context dealt to perturbations that were never applied."""
    rng, names = np.random.default_rng([seed, 2]), np.full(adata.n_obs, "control", dtype=object)
    where = adata.obs[context].astype(str).to_numpy()
    for here in sorted(set(where)):
        rows = rng.permutation(np.flatnonzero(where == here))
        rows = rows[: len(rows) // 2]
        names[rows] = [f"fake{i % n_perturbations + 1}" for i in range(len(rows))]
    adata = ad.AnnData(
        sparse.csr_matrix(adata.X, dtype=np.float32),
        obs=pd.DataFrame({"perturbation": names, context: where}, index=adata.obs_names),
        var=adata.var[[]],
    )
    return prepared(adata, context, seed)


def prepared(adata: ad.AnnData, context: str, seed: int) -> ad.AnnData:
    """Hold perturbations out in some contexts, so that they are trained on in others."""
    sh.pp.annotate(adata, "perturbation", control="control", context_key=context)
    sh.pp.split(adata, by="perturbation_context", test=0.3, rng=seed)
    sh.pp.prepare(adata, normalize="log1p", fit_on="train", cross_fit=0)
    return adata


# name -> how it is made, and the model that is honest there
SCREENS: dict[str, tuple[Callable[[int, Path], ad.AnnData], str]] = {
    "simulated": (simulated, "own_shift"),
    "renge": (renge, "own_shift"),
    "null": (null, "control"),
    "kang_null": (kang_null, "control"),
}


def judged(screen: Screen, given: np.ndarray | ad.AnnData) -> tuple[pd.Series, pd.Series] | None:
    """Return the scores of a prediction, and its skill on every metric that discriminates; None if it is refused."""
    adata, prediction = screen.adata, given
    if isinstance(given, np.ndarray):
        prediction = LAYER
        adata.layers[LAYER] = given.astype(np.float32)
    try:
        sh.tl.evaluate(
            adata, prediction=prediction, baselines=["own_shift"], rng=screen.seed, overwrite=True
        )
    except ValueError as err:
        if REFUSED not in str(err):
            raise
        return None
    entry = adata.uns["evaluation"]
    skill = entry["summary"]["skill"].where(entry["summary"]["discriminates"])
    row = entry["contenders"].loc["prediction"]
    achieved, harm = row[list(COLUMNS)].astype(float)
    return pd.Series({NET: achieved - harm, "achieved": achieved, "harm": harm}), skill


def edited_controls(screen: Screen) -> float:
    """Return the largest change of a value from predicted controls that were edited; none is allowed."""
    adata, tables = screen.adata, []
    pred = adata[screen.test | screen.control].copy()
    pred.X = screen.honest[screen.test | screen.control].astype(np.float32)
    own = np.isin(pred.obs_names, adata.obs_names[screen.control])
    for shift in (0.0, 2.0):
        pred.X[own] += np.float32(shift)
        sh.tl.evaluate(adata, prediction=pred, baselines=None, rng=screen.seed)
        tables.append(adata.uns["evaluation"]["table"].to_numpy())
    return float(np.nanmax(np.abs(tables[1] - tables[0])))


@dataclass(frozen=True)
class Found:
    """What became of the predictions of one kind of screen.

    Attributes
    ----------
    scores, skills
        Scores and skills on every metric x predictions, means over the seeds in which they were not refused.
    refused
        Prediction -> seeds in which it was refused.
    edited
        Largest change of a value after predicted controls were edited.
    """

    scores: pd.DataFrame
    skills: pd.DataFrame
    refused: dict[str, list[int]]
    edited: float


def found_on(name: str, seed: int, folder: Path) -> Found:
    """Judge the honest predictions and all attacks on a screen of one seed."""
    make, honest = SCREENS[name]
    screen = Screen(make(seed, folder), honest, seed)
    given = screen.predictions()
    if honest == "control":
        given = {who: made for who, made in given.items() if who not in RIGHT_ON_NULL}
        given[BASELINE] = screen.twins("own_shift")
    scored = {who: judged(screen, made) for who, made in given.items()}
    numbers = {who: one for who, one in scored.items() if one is not None}
    scores = pd.DataFrame({who: own for who, (own, _) in numbers.items()})
    print(name, seed, scores.loc[NET].round(3).to_dict(), flush=True)
    return Found(
        scores,
        pd.DataFrame({who: own for who, (_, own) in numbers.items()}),
        {who: [seed] for who, one in scored.items() if one is None},
        edited_controls(screen),
    )


def together(several: list[Found]) -> Found:
    """Return the means over seeds."""
    parts = ([one.scores for one in several], [one.skills for one in several])
    means = [pd.concat(runs).groupby(level=0, sort=False).mean() for runs in parts]
    refused: dict[str, list[int]] = {}
    for one in several:
        for who, seeds in one.refused.items():
            refused.setdefault(who, []).extend(seeds)
    return Found(*means, refused, max(one.edited for one in several))


def passed(scores: pd.DataFrame) -> list[str]:
    """Return the attacks whose `NET` reaches that of the best honest prediction."""
    own = scores.loc[NET]
    least = own[[name for name in HONEST if name in own]].max()
    return [who for who in own.index if who in ATTACKS and not own[who] < least]


def score_table(scores: pd.DataFrame, skills: pd.DataFrame) -> str:
    """Return a line for each prediction: its scores, and how many metrics fall for it."""
    known = skills.dropna()
    fell = known.sub(known["honest"], axis=0).gt(ALIKE).sum()
    lines = [f"| prediction | {' | '.join(scores.index)} | metrics that fall for it |"]
    lines.append("|" + "---|" * (len(scores.index) + 2))
    for who in scores:
        numbers = " | ".join(f"{value:.2f}" for value in scores[who])
        lines.append(
            f"| {who} | {numbers} | {f'{fell[who]} of {len(known)}' if who != 'honest' else ''} |"
        )
    return "\n".join(lines)


def skill_table(skills: pd.DataFrame) -> str:
    """Return the skills as markdown; metrics that fall for an attack are bold, those that are blind to it have an = sign."""
    lines = [f"| metric | {' | '.join(skills.columns)} |", "|" + "---|" * (skills.shape[1] + 1)]
    for metric, row in skills.dropna().iterrows():
        cells = " | ".join(_cell(row[who], row["honest"], who) for who in skills.columns)
        lines.append(f"| {metric} | {cells} |")
    return "\n".join(lines)


def _cell(skill: float, honest: float, who: str) -> str:
    if who == "honest":
        return f"{skill:.2f}"
    if abs(skill - honest) <= ALIKE:
        return "="
    return f"**{skill:.2f}**" if skill > honest else f"{skill:.2f}"


def page(found: dict[str, Found], seeds: dict[str, list[int]]) -> str:
    """Return the tables of all screens as markdown."""
    text = ["# Attacks\n", *(f"- `{name}`: {words}" for name, words in (HONEST | ATTACKS).items())]
    text.append(
        "\nNet: achieved less harm, from which the score is made; 0 knows nothing or changes nothing, 1 is a second experiment. "
        "Skill: 0 as `own_shift`, 1 as a second experiment. Bold: better than the honest prediction; =: the same."
    )
    for name, one in found.items():
        text.append(f"\n## {name}, seeds {' '.join(map(str, seeds[name]))}\n")
        text.append(score_table(one.scores, one.skills))
        if one.refused:
            who = "; ".join(f"{who} (seeds {own})" for who, own in one.refused.items())
            text.append(f"\nRefused, as on another scale than the real cells: {who}.")
        text.append(f"\n{skill_table(one.skills)}")
        text.append(
            f"\nLargest change of any value after the control cells of `pred` were edited: {one.edited:g}."
        )
    return "\n".join(text) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", nargs="+", choices=list(SCREENS), default=list(SCREENS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--folder", type=Path, default=FOLDER)
    given = parser.parse_args()
    found = {
        name: together([found_on(name, seed, given.folder) for seed in given.seeds])
        for name in given.data
    }
    text = page(found, dict.fromkeys(found, given.seeds))
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "attacks.md").write_text(text, encoding="utf-8")
    print(text)
    won = [f"{name}: {who}" for name, one in found.items() for who in passed(one.scores)]
    won += [f"{name}: edited controls" for name, one in found.items() if one.edited]
    if won:
        sys.exit(f"the score falls for {', '.join(won)}")


if __name__ == "__main__":
    with threadpool_limits(1):
        main()
