"""Labels that hold what joins names, ``" | "``: nothing is merged, and one name never means two things."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import shoal as sh


@pytest.fixture(scope="module")
def screen():
    adata = sh.ds.simulate(
        n_genes=30, n_perturbations=4, n_cells=60, n_control=120, contexts=["x", "y"], rng=0
    )
    del adata.uns["truth"]
    sh.pp.prepare(adata, "perturbation", control="control", normalize="log1p", n_comps=5)
    return adata


def annotated(adata, perturbation, context):
    adata = adata.copy()
    for key, names in (("perturbation", perturbation), ("context", context)):
        adata.obs[key] = adata.obs[key].astype(str).replace(names)
    sh.pp.annotate(adata, "perturbation", control="control", context_key="context", overwrite=True)
    return adata


@pytest.mark.parametrize("measure", ["coherence", "distance", "retrieve"])
def test_strata_of_several_columns_are_not_merged(screen, measure):
    adata = screen.copy()
    in_x = (adata.obs["context"] == "x").to_numpy()
    adata.obs["one"] = np.where(in_x, "a | b", "a")
    adata.obs["two"] = np.where(in_x, "c", "b | c")
    tables = []
    for strata in (["context"], ["one", "two"]):
        getattr(sh.tl, measure)(
            adata, "perturbation", control="control", strata=strata, key_added="m", overwrite=True
        )
        tables.append(adata.uns["m"]["table"])
    if measure == "retrieve":  # a row a perturbation and stratum
        tables = [table.select_dtypes("number") for table in tables]
        assert len(tables[0]) == len(tables[1])
    else:
        pd.testing.assert_frame_equal(*tables)


def test_labels_that_hold_the_joint_are_usual_names(screen):
    adata = annotated(screen, {"P1": "P1 | high"}, {"x": "K562 | day 1", "y": "K562 | day 2"})
    sh.pp.split(adata, by="perturbation_context", test=[("P1 | high", "K562 | day 2")])
    test = adata.obs[adata.obs["split"] == "test"]
    assert set(test["perturbation"]) == {"P1 | high"}
    assert set(test["context"]) == {"K562 | day 2"}


def test_a_name_of_two_conditions_is_refused(screen):
    adata = annotated(screen, {"P1": "A", "P2": "A | x"}, {"x": "y", "y": "x | y"})
    said = r"'A \| x \| y' would be the name of both 'A', 'x \| y' and 'A \| x', 'y'"
    with pytest.raises(ValueError, match=said):
        sh.pp.split(adata, by="perturbation_context", test=[("A", "x | y")])
    assert "split" not in adata.obs
    adata.obs["split"] = np.where(adata.obs["perturbation"].isin(["A", "A | x"]), "test", "train")
    sh.tl.predict(adata, sh.tl.fit(adata, "mean_shift"), key_added="made", subset="test")
    with pytest.raises(ValueError, match=said):
        sh.tl.evaluate(adata, prediction="made", min_cells=5, n_comps=5)
