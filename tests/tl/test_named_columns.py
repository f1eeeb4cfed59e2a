"""Columns that only one call names, for strata, replicates or units: what is odd about their values is told."""

from __future__ import annotations

import numpy as np
import pytest

import shoal as sh


@pytest.fixture(scope="module")
def screen():
    adata = sh.ds.simulate(n_genes=30, n_perturbations=4, n_cells=60, n_control=120, rng=0)
    del adata.uns["truth"]
    sh.pp.annotate(adata, "perturbation", control="control", batch_key="batch", overwrite=True)
    sh.pp.prepare(adata, normalize="log1p", n_comps=5)
    which = np.arange(adata.n_obs) % 4
    adata.obs["lane"] = np.array(["l1", "l2", "nan", "L1"], dtype=object)[which]
    return adata


CALLS = {
    "tl.coherence(strata=)": ("strata", lambda a: sh.tl.coherence(a, strata="lane")),
    "tl.coherence(replicate_key=)": ("replicates", lambda a: sh.tl.coherence(a, replicate_key="lane")),
    "tl.coherence_null(strata=)": (
        "strata",
        lambda a: sh.tl.coherence_null(a, strata="lane", n_cells=[20], n_draws=5),
    ),
    "tl.coherence_null(by=)": (
        "replicates",
        lambda a: sh.tl.coherence_null(a, by="lane", n_cells=[20], n_draws=5),
    ),
    "tl.distance(strata=)": ("strata", lambda a: sh.tl.distance(a, strata="lane")),
    "tl.retrieve(strata=)": ("strata", lambda a: sh.tl.retrieve(a, strata="lane", n_perms=9)),
    "tl.retrieve(unit_key=)": ("units", lambda a: sh.tl.retrieve(a, unit_key="lane", n_perms=9)),
    "pp.embed(strata=)": ("strata", lambda a: sh.pp.embed(a, method="effects", strata="lane")),
}  # fmt: skip


@pytest.mark.parametrize("name", CALLS)
def test_missing_values_and_spellings_are_told_once(screen, name, caplog):
    what, call = CALLS[name]
    call(screen.copy())
    said = [text for text in caplog.messages if text.startswith("adata.obs['lane']")]
    assert len(said) == 2
    assert (
        f"'nan', {screen.n_obs // 4} cells, read like missing values, and are taken as {what}"
        in said[0]
    )
    assert f"1 {what} differ from another by case or blanks alone, such as 'L1' and 'l1'" in said[1]


def test_a_recorded_column_was_told_of_before(screen, caplog):
    adata = screen.copy()
    sh.pp.annotate(adata, "perturbation", control="control", batch_key="lane", overwrite=True)
    caplog.clear()
    sh.tl.coherence(adata)
    sh.tl.distance(adata, strata="lane")
    assert not [text for text in caplog.messages if text.startswith("adata.obs['lane']")]
