"""Make src/shoal/ds/data/renge_small.h5ad, the real screen that is shipped with the package.

It is a part of RENGE (Ishikawa et al. 2023), chosen by numbers of cells alone and by nothing that was measured: all
103 genes, all control cells, and of each day at most 100 cells of the knock-outs that have at least 40 on every day.
Cells are drawn with a fixed seed from the sorted names of the cells, and keep the order of the source.

    python benchmarks/make_renge_small.py            # writes the file
    python benchmarks/make_renge_small.py --check    # compares the file with what would be written

Reads renge23_hipsc_ko.h5ad in $SHOAL_DATA_DIR or ../shared/data.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
from scipy import sparse

FOLDER = Path(os.environ.get("SHOAL_DATA_DIR", Path(__file__).parents[2] / "shared" / "data"))
SOURCE = "renge23_hipsc_ko.h5ad"
TARGET = Path(__file__).parents[1] / "src" / "shoal" / "ds" / "data" / "renge_small.h5ad"
CONTROL = "control"
FEWEST, MOST, SEED = 40, 100, 0
INFO = {
    "perturbation_key": "perturbation",
    "control_label": CONTROL,
    "context_key": "day",
    "source": "PyPI renge 0.0.5, examples/data; GEO GSE213069",
    "citation": "Ishikawa et al. 2023, Communications Biology 6, 1290, doi 10.1038/s42003-023-05594-4",
    "license": "MIT, see renge_small.txt beside this file",
    "note": f"A part: all controls, and at most {MOST} cells a day of the knock-outs with {FEWEST} or more on every day.",
}


def part(source: ad.AnnData) -> ad.AnnData:
    """Return the cells that are shipped, with counts in X and the columns `perturbation` and `day`."""
    obs = source.obs[["perturbation", "day"]].astype({"perturbation": str, "day": str})
    cells = obs.groupby(["perturbation", "day"]).size().unstack(fill_value=0)
    names = cells.index[(cells >= FEWEST).all(axis=1)]
    rng, keep = np.random.default_rng(SEED), []
    for (perturbation, _), group in obs.sort_index().groupby(["perturbation", "day"]):
        if perturbation == CONTROL:
            keep.extend(group.index)
        elif perturbation in names:
            keep.extend(rng.permutation(group.index.to_numpy())[:MOST])
    kept = source[source.obs_names.isin(keep)]
    counts = sparse.csr_matrix(kept.X, dtype=np.float32)
    counts.sort_indices()
    if (counts.data != np.round(counts.data)).any():
        raise ValueError("the source does not hold counts")
    day = pd.Categorical("day" + obs.loc[kept.obs_names, "day"])
    label = pd.Categorical(obs.loc[kept.obs_names, "perturbation"])
    return ad.AnnData(
        counts,
        obs=pd.DataFrame({"perturbation": label, "day": day}, index=kept.obs_names),
        var=pd.DataFrame(index=source.var_names),
        uns={"dataset_info": INFO},
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--check", action="store_true", help="compare, write nothing")
    made = part(ad.read_h5ad(FOLDER / SOURCE))
    if parser.parse_args().check:
        old = ad.read_h5ad(TARGET)
        pd.testing.assert_frame_equal(old.obs, made.obs)
        pd.testing.assert_frame_equal(old.var, made.var)
        assert (old.X != made.X).nnz == 0
        assert dict(old.uns["dataset_info"]) == INFO
        print(f"{TARGET.name} is what {SOURCE} gives")
        return
    made.write_h5ad(TARGET, compression="gzip", compression_opts=9)
    sizes = made.obs.groupby(["perturbation", "day"], observed=True).size().unstack()
    print(sizes)
    print(
        f"{made.n_obs:,} cells x {made.n_vars} genes, {TARGET.stat().st_size / 1e6:.2f} MB: {TARGET}"
    )


if __name__ == "__main__":
    main()
