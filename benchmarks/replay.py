"""Would a strategy of `sh.tl.propose` have chosen better than chance? Replays of real screens that were measured in full.

    python benchmarks/replay.py [--only papalexi renge] [--starts 30] [--strategies disagreement coverage hit] [--rounds 3] [--random 5]
                                [--model kernel_ridge] [--steps 200]

A row for each screen and strategy, after the last round. Vectors are those of GO, on nelisa
of shared targets. Errors are squared errors of the
predicted mean responses of conditions that could not be chosen, over those of a copy of the controls.

start, all   with what is measured from the start, and with everything that could be chosen
random       with as many conditions chosen at random
strategy     with those that the strategy chose; then the difference within a start, with its 95 % interval over starts
hits         responders among those chosen (q < 0.05 of `sh.tl.coherence`) beside random, with the interval of the difference
"""

from __future__ import annotations

import argparse
import logging
import time

import pandas as pd
from _ensemble_screens import drugs
from _screens import FOLDER, Task, raw

import shoal as sh

REPLAYS = {
    "papalexi": ("papalexi", "perturbation", 2),
    "renge": ("renge", "perturbation", 2),
    "norman": ("norman", "perturbation", 2),
    "renge, perturbation x day": ("renge", "perturbation_context", 6),
    "nelisa": ("nelisa", "perturbation", 15),
}
STRATEGIES = ("disagreement", "coverage", "hit")


def interval(line: pd.Series, what: str) -> str:
    """Return a difference with its interval as text."""
    low, mean, high = (line[f"{what}_{end}"] for end in ("low", "difference", "high"))
    return "-" if mean != mean else f"{mean:+.3f} ({low:+.3f} to {high:+.3f})"


def lines(name: str, strategies: list[str], **how) -> list[dict[str, object]]:
    """Return the rows of a screen."""
    data, by, n = REPLAYS[name]
    if data == "nelisa":
        adata, vectors = drugs(), "targets"
    else:
        adata, vectors = raw(Task(data, "perturbation", 0, (), None, FOLDER)), "go"
        sh.pp.prepare(adata, overwrite=True, normalize="log1p", n_comps=20, cross_fit=0)
        sh.tl.coherence(adata)
    no_hits = by == "perturbation_context" or data == "nelisa"
    tried = [one for one in strategies if not (one == "hit" and no_hits)]
    before = time.process_time()
    options = {"strategies": tried, "by": by, "n": n, "rng": 3, **how}
    found = sh.benchmark.replay(adata, vectors, **options)
    seconds = time.process_time() - before
    table = found.table[found.table["round"] == found.table["round"].max()]
    return [
        {
            "screen": name,
            "start": f"{line['error_start']:.3f}",
            "all": f"{line['error_all']:.3f}",
            "strategy": line["strategy"],
            "error": f"{line['error']:.3f}",
            "random": f"{line['error_random']:.3f}",
            "difference": interval(line, "error"),
            "verdict": line["verdict"],
            "hits": "-" if no_hits else f"{line['hits']:.2f}",
            "random hits": "-" if no_hits else f"{line['hits_random']:.2f}",
            "difference of hits": interval(line, "hits"),
            "CPU s": f"{seconds:.0f}",
        }
        for _, line in table.iterrows()
    ]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", default=list(REPLAYS), choices=list(REPLAYS))
    parser.add_argument("--starts", type=int, default=30)
    parser.add_argument("--strategies", nargs="+", default=list(STRATEGIES))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--random", type=int, default=5)
    parser.add_argument("--model", default="kernel_ridge")
    parser.add_argument("--steps", type=int, help="of a network")
    given = parser.parse_args()
    logging.getLogger("shoal").setLevel(logging.ERROR)
    how = {"n_starts": given.starts, "n_rounds": given.rounds, "n_random": given.random}
    how |= {"model": given.model}
    if given.steps is not None:
        how["options"] = {"max_steps": given.steps, "accelerator": "cpu"}
    rows = [line for name in given.only for line in lines(name, given.strategies, **how)]
    print(pd.DataFrame(rows).to_markdown(index=False, disable_numparse=True))


if __name__ == "__main__":
    main()
