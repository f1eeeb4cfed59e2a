"""In how many cells a gene is off after a response: p ** r against what was measured, on every real screen.

    python benchmarks/zeros.py [--data papalexi renge] [--folder DIR]

p is the share of zeros among the control cells of a context, r the ratio of the mean log-normalised values, perturbed over control.
Mean absolute errors of the share of zeros, over genes that some but not all controls have and over perturbations with 60 cells in a
context with 60 controls: with p ** r, with r from linear values instead, and with p itself.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from predict import DATA, FOLDER, Task, prepare

from shoal.core._population import codes_of
from shoal.core._screen import labels, resolve

LEAST = 60


def errors(data: str, folder: Path) -> dict[str, float]:
    adata = prepare(Task(data, next(iter(DATA[data].splits)), 0, (), None, folder))
    screen = resolve(adata)
    names, context = labels(adata, screen), codes_of(adata, screen.context_key)[1]
    values = adata.X.toarray()
    found = []
    for place in np.unique(context):
        control = values[names.is_control & (context == place)]
        p, mean, linear = (control <= 0).mean(0), control.mean(0), np.expm1(control).mean(0)
        told = (p > 0) & (mean > 0)
        for code in np.unique(
            names.code[(names.code >= 0) & ~names.is_control & (context == place)]
        ):
            cells = values[(names.code == code) & (context == place)]
            if min(len(cells), len(control)) < LEAST:
                continue
            real = (cells <= 0).mean(0)[told]
            ratios = cells.mean(0)[told] / mean[told], np.expm1(cells).mean(0)[told] / linear[told]
            guesses = [p[told] ** r for r in ratios] + [p[told]]
            found.append([np.abs(guess - real).mean() for guess in guesses])
    mean_error = np.mean(found, axis=0)
    return {
        "populations": len(found),
        **dict(zip(["p ** r", "r of linear values", "p"], mean_error, strict=True)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    counts = [name for name, data in DATA.items() if data.counts]
    parser.add_argument("--data", nargs="+", default=counts, choices=counts)
    parser.add_argument("--folder", type=Path, default=FOLDER)
    given = parser.parse_args()
    print(
        pd.DataFrame({name: errors(name, given.folder) for name in given.data})
        .T.round(4)
        .to_markdown()
    )


if __name__ == "__main__":
    main()
