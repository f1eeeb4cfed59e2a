"""What a first network costs on a CPU: default settings on Papalexi (16,192 cells x 299 genes), seconds of one core.

    python benchmarks/first_model.py [--models flow perturbdiff] [--threads 1]

A fifth of the perturbations is held out and a tenth is validation; vectors are those that come with the package. CPU
seconds are those of all threads (time.process_time), so that other work on the machine does not count. With one thread
they are what the wall clock shows on a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import time

import pandas as pd
import torch
from _screens import DATA, FOLDER

import shoal as sh

NETWORKS = ("flow", "conditional_monge", "perturbdiff", "unlasting", "knowledge")
RENAMED = {"MARCH8": "MARCHF8"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--models", nargs="+", default=NETWORKS)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    data = DATA["papalexi"]
    adata = data.keep(
        sh.io.read(FOLDER / data.file, perturbation_key=data.key, control=data.control)
    ).copy()
    sh.pp.split(adata, by="perturbation", test=0.2, val=0.1, rng=0)
    sh.pp.prepare(adata, normalize="log1p", fit_on="train")
    sh.pp.embed(adata, method="annotations", targets=RENAMED)
    rows = {}
    for name in given.models:
        start = time.process_time()
        model = sh.tl.fit(adata, name, embedding="annotations")
        trained = time.process_time()
        sh.tl.predict(adata, model, key_added=name, subset="test")
        rows[name] = {"fit": trained - start, "predict": time.process_time() - trained}
        print(pd.DataFrame(rows).T.round(0).astype(int).to_string(), flush=True)


if __name__ == "__main__":
    main()
