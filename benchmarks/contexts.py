"""Networks that are told vectors of contexts, beside the same networks told the names of contexts.

    python benchmarks/contexts.py real [--data renge kang] [--models flow ...] [--seeds 0 1 2] [--steps 300] [--trainings 1]
    python benchmarks/contexts.py simulated [--models flow ...] [--seeds 0 1 2] [--steps 300] [--null]
    python benchmarks/contexts.py support [--seeds 0 1 2]

The scores of each model are kept in the folder of rows (`--rows`), and a call goes on where the last one stopped: delete the folder
after a change of the models. Tables are those of the rows that the call asks for.

`real`: all perturbed cells of one context (a day of RENGE, a cell type of Kang) are held out, another one with each seed; its
controls stay. Vectors of contexts are those of their own control cells (`pp.embed_contexts`). `energy` is the unbiased energy
distance to held-out cells in a PCA of training cells, `delta` the correlation of the shift from the control mean (see
`_evaluate.py`). The second table has the differences to the same network told names, paired by seed (the held-out context), each a
mean over `--trainings`, with a 95 % interval of Student's t over held-out contexts.

`simulated`: twelve lines with vectors z of length 3, of which three are held out, and eight perturbations. The response of a
perturbation in a line is a + M z, with a and M of its own. The control cells of all lines are alike, so that nothing but z tells
the lines apart. `--null`: the response is a + M y, with y drawn apart from the z that the models are told. `error` is the squared
error of the predicted mean shift over the square of the true one, a mean over held-out conditions: 1 for a copy of the controls.
Networks are told names, z, and z dealt to other lines. The second table has the differences to names and to dealt z, with 95 %
intervals from lines drawn again.

`support`: how far training contexts, each left out in turn, respond as their vectors say: 1 all, 0 not at all. No network is trained.
Of the simulated and the real screens, and of profiles of twelve lines at five densities; each seed holds out others. `exchanged`: the
same with the vectors of other lines. p-values are of coordinates dealt anew.
"""

from __future__ import annotations

import argparse
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import _screens
import anndata as ad
import numpy as np
import pandas as pd
from _evaluate import Exam, exam
from _knowledge_screens import density
from scipy import stats
from threadpoolctl import threadpool_limits

import shoal as sh
from shoal.core._population import population
from shoal.core._screen import resolve
from shoal.models.base._context_support import support_of
from shoal.models.base._learning import learn_vocabulary
from shoal.models.base._registry import names

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

RIVALS = ("own_shift", "nearest_context", "context_weighted", "cell_knn_shift", "scaled_sources")
BY_VECTOR = ("nearest_context", "context_weighted")
NETWORKS = [name for name in names("network") if name != "cellflux"]  # which learns from images
LEAST = 100  # perturbed cells of a context that is held out


# -- real screens ----------------------------------------------------------------------------------


def real_screen(data: str, seed: int, folder: Path, comps: int | None) -> tuple[ad.AnnData, str]:
    """Return a screen with one context held out and vectors of all of them."""
    task = _screens.Task(data, "context", seed, (), None, folder)
    adata = _screens.raw(task)
    key = adata.uns["shoal"]["context_key"]
    perturbed = adata.obs[adata.obs[_screens.DATA[data].key] != "control"]
    size = perturbed[key].value_counts()
    able = sorted(map(str, size.index[size >= LEAST]))
    held = able[seed % len(able)]
    sh.pp.split(adata, by="context", test=[held], zero_shot=True, rng=seed)
    sh.pp.prepare(adata, overwrite=True, **_screens.preparation(task))
    sh.pp.embed_contexts(adata, **({} if comps is None else {"n_comps": comps}))
    return adata, held


def real(given: argparse.Namespace) -> None:
    parts = []
    for data in given.data:
        for seed in given.seeds:
            task = RealTask(data, seed, given)
            asked = [("floor", "", 0), ("control copy", "", 0)]
            for name, told in contenders(given.models):
                trainings = given.trainings if name in names("network") else 1
                asked += [(name, told, again) for again in range(trainings)]
            parts += [kept(given.rows, task.file(*who), partial(task.row, *who)) for who in asked]
    table = pd.concat(parts)
    table["told"] = table["told"].fillna("")
    shown = table.groupby(["data", "contender", "told"], sort=False)[["energy", "delta"]]
    print(shown.mean().round(4).to_string(), "\n")
    wide = table.pivot_table(
        index=["data", "contender", "seed", "held out"], columns="told", values=["energy", "delta"]
    )
    if "vectors" in set(table["told"]):
        change = pd.DataFrame(
            {score: wide[score]["vectors"] - wide[score]["names"] for score in ("energy", "delta")}
        ).dropna()
        print("vectors - names\n", change.round(4).to_string())
        print(over_contexts(change).round(4).to_string())
    if given.trainings > 1:
        own = table.groupby(["data", "contender", "told", "seed"])[["energy", "delta"]]
        print("SD over trainings\n", own.std().dropna().round(4).to_string())


def over_contexts(change: pd.DataFrame) -> pd.DataFrame:
    """Return the mean difference, its standard error and 95 % interval (Student's t) over held-out contexts."""
    groups = change.groupby(["data", "contender"])
    mean, error, n = groups.mean(), groups.sem(), groups.size().to_numpy()
    half = error.mul(stats.t.ppf(0.975, n - 1), axis=0)
    parts = {"mean": mean, "SE": error, "low": mean - half, "high": mean + half}
    return pd.concat(parts, axis=1)


class RealTask:
    """A screen with one context held out, made when it is first needed."""

    def __init__(self, data: str, seed: int, given: argparse.Namespace) -> None:
        self.data, self.seed, self.given = data, seed, given

    @cached_property
    def screen(self) -> tuple[ad.AnnData, str]:
        return real_screen(self.data, self.seed, self.given.folder, self.given.comps)

    @cached_property
    def exam(self) -> Exam:
        return exam(self.screen[0], seed=self.seed)

    def file(self, name: str, told: str, again: int) -> str:
        """Return the name of the file in which a row is kept."""
        parts = ["real", self.data, str(self.seed), name.replace(" ", "-")]
        if told:
            parts.append("vectors" if self.given.comps is None else f"vectors{self.given.comps}")
        if name in names("network"):
            parts.append(f"{self.given.steps}steps")
        return "_".join(parts + ([f"training{again + 1}"] if again else []))

    def row(self, name: str, told: str, again: int) -> pd.DataFrame:
        """Return the scores of one contender."""
        adata, held = self.screen
        if name == "floor":
            scores = self.exam.floor()
        elif name == "control copy":
            scores = self.exam.control_copy()
        else:
            options: dict[str, Any] = {"context_embedding": "controls"} if told else {}
            if name in names("network"):
                options["max_steps"] = self.given.steps
            model = sh.tl.fit(adata, name, rng=self.seed + 1000 * again, **options)
            how = {"key_added": "made", "subset": "test", "overwrite": True}
            sh.tl.predict(adata, model, rng=self.seed, **how)
            scores = self.exam.score(adata.layers["made"])
        place = {"data": self.data, "seed": self.seed, "held out": held, "training": again}
        return pd.DataFrame([place | row(name, told, scores)])


def kept(folder: Path, name: str, make: Callable[[], pd.DataFrame]) -> pd.DataFrame:
    """Return the rows of a file, which are made if it is not there."""
    file = folder / f"{name}.csv"
    if not file.exists():
        table = make()
        folder.mkdir(parents=True, exist_ok=True)
        table.to_csv(file, index=False)
        print(file.name, flush=True)
    return pd.read_csv(file)


def contenders(models: list[str]) -> Iterator[tuple[str, str]]:
    """Yield the models, and what each is told of contexts: names (``""``) or vectors."""
    for name in models:
        yield name, ""
        if name in names("network") or name in BY_VECTOR:
            yield name, "vectors"


def row(name: str, told: str, scores: dict[str, float]) -> dict[str, object]:
    return {
        "contender": name,
        "told": told or ("names" if name in names() else ""),
        "energy": scores["energy"],
        "delta": scores["pearson_control"],
    }


# -- a simulated screen ----------------------------------------------------------------------------

TOLD = ("names", "vectors", "dealt vectors")
N_LINES, N_HELD, N_PERTURBATIONS, N_CELLS, N_GENES, N_VECTOR = 12, 3, 8, 40, 20, 3


def simulated_screen(seed: int, *, null: bool) -> tuple[ad.AnnData, pd.DataFrame, dict]:
    """Return signed cells, the vectors of the lines, and the true response of every condition."""
    rng = np.random.default_rng([seed, 40])
    lines = [f"line{i:02d}" for i in range(N_LINES)]
    vectors = rng.normal(size=(N_LINES, N_VECTOR))
    acts = rng.normal(size=(N_LINES, N_VECTOR)) if null else vectors
    common = rng.normal(size=(N_PERTURBATIONS, N_GENES)) * 0.7
    slopes = rng.normal(size=(N_PERTURBATIONS, N_VECTOR, N_GENES)) * 0.7
    obs, cells, truth = [], [], {}
    for i, line in enumerate(lines):
        for p in range(-1, N_PERTURBATIONS):
            label = "control" if p < 0 else f"P{p + 1}"
            response = 0.0 if p < 0 else common[p] + acts[i] @ slopes[p]
            n = N_CELLS * (3 if p < 0 else 1)
            cells.append(rng.normal(size=(n, N_GENES)) + response)
            obs += [(label, line)] * n
            truth[label, line] = response
    frame = pd.DataFrame(obs, columns=["perturbation", "line"])
    frame.index = frame.index.astype(str)
    adata = ad.AnnData(np.concatenate(cells).astype(np.float32), obs=frame)
    sh.pp.annotate(adata, "perturbation", control="control", context_key="line")
    held = rng.choice(lines, N_HELD, replace=False).tolist()
    sh.pp.split(adata, by="context", test=held, zero_shot=True, rng=seed)
    return adata, pd.DataFrame(vectors, index=lines), truth


def dealt(vectors: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """Return the vectors dealt to the lines anew, none to its own line."""
    n = len(vectors)
    while True:
        order = rng.permutation(n)
        if (order != np.arange(n)).all():
            return vectors.iloc[order].set_axis(vectors.index, axis=0)


def errors(model: Any, adata: ad.AnnData, truth: dict, seed: int) -> Iterator[tuple[str, float]]:
    """Yield the held-out lines and the relative squared errors of their mean shifts."""
    rows, made, _ = model.twins(adata, subset=(adata.obs["split"] == "test").to_numpy(), rng=seed)
    own = adata.obs.iloc[rows]
    for (name, line), at in own.groupby(["perturbation", "line"], observed=True).indices.items():
        control = (
            (adata.obs["perturbation"] == "control") & (adata.obs["line"] == line)
        ).to_numpy()
        shift = np.asarray(made[at]).mean(axis=0) - adata.X[control].mean(axis=0)
        real = truth[name, line]
        yield line, float(((shift - real) ** 2).sum() / (real**2).sum())


def simulated_rows(seed: int, name: str, what: str, given: argparse.Namespace) -> pd.DataFrame:
    """Return the errors of one contender on the held-out lines."""
    adata, vectors, truth = simulated_screen(seed, null=given.null)
    options: dict[str, Any] = {}
    if what != "names":
        permuted = dealt(vectors, np.random.default_rng([seed, 41]))
        options["context_embedding"] = vectors if what == "vectors" else permuted
    if name in names("network"):
        options["max_steps"] = given.steps
    model = sh.tl.fit(adata, name, rng=seed, **options)
    table = pd.DataFrame(errors(model, adata, truth, seed), columns=["line", "error"])
    return table.assign(contender=name, told=what, seed=seed)


def simulated(given: argparse.Namespace) -> None:
    parts = []
    case = "null" if given.null else "simulated"
    for seed in given.seeds:
        for name in given.models:
            network = name in names("network")
            for what in TOLD if network or name in BY_VECTOR else TOLD[:1]:
                file = [case, str(seed), name, what.replace(" ", "-")]
                file += [f"{given.steps}steps"] if network else []
                make = partial(simulated_rows, seed, name, what, given)
                parts.append(kept(given.rows, "_".join(file), make))
    by_line = (
        pd.concat(parts).groupby(["contender", "told", "seed", "line"], sort=False)["error"].mean()
    )
    print(
        by_line.groupby(level=["contender", "told"], sort=False).mean().round(3).to_string(), "\n"
    )
    rng = np.random.default_rng(0)
    for name in given.models:
        own = by_line.loc[name].unstack("told")
        for other in ("names", "dealt vectors"):
            if "vectors" not in own or other not in own:
                continue
            change = (own["vectors"] - own[other]).to_numpy()
            again = rng.choice(change, size=(4000, len(change))).mean(axis=1)
            low, high = np.quantile(again, [0.025, 0.975])
            print(
                f"{name}: vectors - {other}: {change.mean():.3f} [{low:.3f}, {high:.3f}], {len(change)} lines"
            )


# -- what vectors say ------------------------------------------------------------------------------


def supports(given: argparse.Namespace) -> None:
    rows = []
    for seed in given.seeds:
        for case in ("simulated", "simulated, null"):
            adata, vectors, _ = simulated_screen(seed, null=case != "simulated")
            rows.append((case, seed, "", adata, vectors))
        for data in given.data:
            adata, held = real_screen(data, seed, given.folder, given.comps)
            rows.append((data, seed, held, adata, adata.uns["context_embeddings"]["controls"]))
        for coating in ("standard", "synthemax"):
            adata = density(coating)
            lines = sorted(adata.obs["cell_line"].astype(str).unique())
            held = lines[seed % len(lines)]
            sh.pp.split(adata, by="context", test=[held])
            sh.pp.embed_contexts(adata)
            vectors = adata.uns["context_embeddings"]["controls"]
            rows.append((f"lines, {coating}", seed, held, adata, vectors))
    found = []
    for case, seed, held, adata, vectors in rows:
        other = dealt(vectors, np.random.default_rng([seed, 41]))
        said = [supported(adata, table) for table in (vectors, other)]
        found.append((case, seed, held, *(number for own in said for number in own)))
    columns = ["screen", "seed", "held out", "share", "p", "exchanged", "p of exchanged"]
    print(
        pd.DataFrame(found, columns=columns).round(3).sort_values("screen").to_string(index=False)
    )


def supported(adata: ad.AnnData, vectors: pd.DataFrame) -> tuple[float, float]:
    """Return how far training contexts respond as some vectors say, and the p-value."""
    cells = population(adata, resolve(adata, tell=False))
    slots = {"layer": None, "use_rep": None, "embedding": None}
    found = support_of(cells, learn_vocabulary(cells, **slots, context_embedding=vectors))
    return (np.nan, np.nan) if found is None else (found.share, found.pvalue)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("part", choices=["real", "simulated", "support"])
    parser.add_argument("--data", nargs="+", choices=["renge", "kang"], default=["renge", "kang"])
    parser.add_argument("--models", nargs="+", default=[*RIVALS, *NETWORKS])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--trainings", type=int, default=1, help="of each network, on real screens")
    parser.add_argument("--comps", type=int, help="most components of vectors of real contexts")
    parser.add_argument("--null", action="store_true")
    parser.add_argument("--rows", type=Path, default=Path(__file__).parent / "rows" / "contexts")
    parser.add_argument("--folder", type=Path, default=_screens.FOLDER)
    given = parser.parse_args()
    {"real": real, "simulated": simulated, "support": supports}[given.part](given)


if __name__ == "__main__":
    with threadpool_limits(1):
        main()
