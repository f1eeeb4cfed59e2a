"""Retrieval on AnnData: equal to the statistics on arrays, blind to position, and clear about what it lacks."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

import shoal as sh
from shoal.metrics import mean_average_precision, top_k_accuracy


def plates(n=12, n_plates=4, strength=1.0, position=0.0, seed=0):
    """Return profiles of n perturbations and 12 controls on each plate of two lines; a plate shifts all."""
    rng = np.random.default_rng(seed)
    response, places = rng.normal(size=(n, 25)), rng.normal(size=(n + 12, 25))
    rows, values = [], []
    for line in ("a", "b"):
        for plate in range(n_plates):
            shift = 5 * rng.normal(size=25)
            for i in range(n + 12):
                name = f"p{i}" if i < n else "control"
                effect = strength * response[i] if i < n else 0
                values.append(shift + effect + position * places[i] + rng.normal(size=25))
                rows.append((name, line, f"{line}{plate}", f"well{i}", f"guide{i}"))
    columns = ["perturbation", "line", "plate", "well", "guide"]
    names = [f"w{i:03d}" for i in range(len(rows))]
    adata = AnnData(np.array(values), obs=pd.DataFrame(rows, columns=columns, index=names))
    keys = {"context_key": "line", "batch_key": "plate"}
    sh.pp.annotate(adata, "perturbation", control="control", **keys)
    return adata


def table(adata, **options):
    sh.tl.retrieve(adata, **{"n_perms": 199} | options)
    return adata.uns["retrieval"]["table"]


def test_it_is_the_statistic_on_relative_profiles_of_each_context():
    adata = plates()
    found = table(adata, unit_key="plate", against="controls", metric="l2", n_perms=999)
    assert len(found) == 24
    x = adata.X.copy()
    obs = adata.obs
    for plate in obs["plate"].unique():
        rows = (obs["plate"] == plate).to_numpy()
        x[rows] -= x[rows & (obs["perturbation"] == "control").to_numpy()].mean(axis=0)
    for line, own in found.groupby("context", observed=True):
        rows = (obs["line"] == line).to_numpy()
        label = obs["perturbation"].to_numpy(str)[rows]
        plate = obs["plate"].to_numpy(str)[rows]
        wanted = mean_average_precision(
            x[rows], label, apart=plate, negative=label == "control", metric="l2"
        )
        names = np.unique(label)
        kept = names != "control"
        own = own.set_index(own["perturbation"].astype(str)).loc[names[kept]]
        np.testing.assert_allclose(own["map"], wanted.value[kept], rtol=1e-9)
        np.testing.assert_allclose(own["pvalue"], wanted.pvalue[kept], atol=0.05)
        there = label != "control"
        units = {"query_unit": plate[there], "reference_unit": plate[there]}
        units |= {"query_label": label[there], "reference_label": label[there]}
        hit = top_k_accuracy(x[rows][there], x[rows][there], metric="l2", **units)
        top = pd.Series(hit).groupby(label[there]).mean()
        np.testing.assert_allclose(own["top1"], top[names[kept]], rtol=1e-9)


def test_a_shift_of_the_plate_is_taken_out_with_its_controls():
    found = table(plates(), unit_key="plate")
    assert found["map_normalised"].mean() > 0.5
    assert (found["qvalue"] < 0.05).mean() > 0.8
    absolute = table(plates(), unit_key="plate", relative=False)
    assert absolute["map_normalised"].mean() < 0.2


def test_where_nothing_responds_nothing_is_found():
    found = table(plates(strength=0.0, n=30))
    assert abs(found["map_normalised"].mean()) < 0.05
    assert (found["pvalue"] < 0.05).mean() < 0.12


def test_control_wells_show_what_position_alone_does():
    """Nothing responds, but every well keeps its place: wells "find" their replicates, and so do control guides."""
    adata = plates(strength=0.0, position=1.0)
    assert table(adata)["map_normalised"].mean() > 0.3
    guides = adata[adata.obs["perturbation"] == "control"].copy()
    guides.obs["as_if"] = guides.obs["guide"].where(guides.obs["guide"] > "guide17", "control")
    sh.pp.annotate(guides, "as_if", control="control", context_key="line", batch_key="plate")
    assert table(guides, overwrite=True)["map_normalised"].mean() > 0.3
    with pytest.warns(UserWarning, match="no replicate in another unit"):
        honest = table(adata, unit_key="well", overwrite=True)
    assert honest["map"].isna().all()


@pytest.mark.parametrize("strata", ["auto", "plate", None])
def test_profiles_without_a_context_are_refused_and_not_left_out(strata):
    adata = plates(n_plates=2)
    adata.obs.loc[adata.obs_names[::9], "line"] = None
    n = int(adata.obs["line"].isna().sum())
    with pytest.raises(ValueError, match=rf"{n} cells have no value in adata.obs\['line'\]"):
        table(adata, strata=strata)
    assert "retrieval" not in adata.uns


def test_what_is_refused():
    adata = plates()
    with pytest.raises(KeyError, match="nowhere"):
        sh.tl.retrieve(adata, unit_key="nowhere")
    with pytest.raises(ValueError, match="against"):
        sh.tl.retrieve(adata, against="all")
    bare = adata[(adata.obs["perturbation"] != "control") | (adata.obs["line"] == "a")].copy()
    with pytest.raises(ValueError, match="no control in their strata"):
        sh.tl.retrieve(bare)
    assert "retrieval" not in bare.uns
    sh.tl.retrieve(bare, relative=False, n_perms=9)
