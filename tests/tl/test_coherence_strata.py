"""Strata and contexts: what is expected, and what is a cause, within the strata of the cells."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import shoal as sh

D = 12
SPREAD = np.array([0.5, 1.0, 2.0, 4.0])  # of four strata
TAILS = [4, 60, 8, 60]


def noise(stratum, rng):
    """Cells of very different strata: in spread, tails, main axis and centre."""
    cells = np.empty((len(stratum), D))
    for h, (spread, tails) in enumerate(zip(SPREAD, TAILS, strict=True)):
        inside = stratum == h
        scale = spread * np.roll(np.linspace(2, 0.5, D), 3 * h)
        own = rng.standard_t(tails, size=(int(inside.sum()), D)) * scale
        cells[inside] = own + 10 * h * np.eye(D)[h]
    return cells


def screen(
    kind,
    rng,
    *,
    size=2.0,
    n=80,
    n_groups=16,
    m=(60, 500, 150, 300),
    effect="shift",
):
    """Perturbations that move the cells of four strata by a known shift.

    `kind` says where the cells of each perturbation are: in "one" stratum, in all of them
    "evenly", or mostly in one ("uneven").
    """
    names, strata, steps = [], [], []
    for p in range(n_groups):
        share = {"one": np.eye(4)[p % 4], "even": np.full(4, 0.25)}.get(kind)
        if share is None:
            share = np.roll([0.7, 0.2, 0.07, 0.03], p)
        stratum = rng.choice(4, size=n, p=share)
        toward = rng.normal(size=(4, D))
        toward *= size / np.linalg.norm(toward, axis=1, keepdims=True)
        step = np.tile(toward[0], (n, 1))
        if effect == "penetrance":
            step *= 2 * (rng.random(n) < 0.5)[:, None]
        elif effect == "programmes":
            step += rng.choice([-1, 1], n)[:, None] * toward[1]
        elif effect == "by stratum":
            step = toward[stratum]
        names += [f"p{p:02d}"] * n
        strata.append(stratum)
        steps.append(step)
    strata.append(np.repeat(np.arange(4), m))
    names += ["control"] * sum(m)
    stratum = np.concatenate(strata)
    values = noise(stratum, rng)
    values[: len(stratum) - sum(m)] += np.vstack(steps)
    obs = pd.DataFrame(
        {"perturbation": names, "stratum": [f"s{h}" for h in stratum]},
        index=[f"c{i}" for i in range(len(names))],
    )
    return ad.AnnData(sparse.csr_matrix((len(names), 1)), obs=obs, obsm={"X_pca": values})


def measured(adata, **options):
    sh.tl.coherence(adata, "perturbation", control="control", **options)
    return adata.uns["coherence"]["table"]


@pytest.mark.parametrize("size", [0.0, 1.5, 6.0])
@pytest.mark.parametrize("kind", ["one", "even", "uneven"])
def test_exact_translations_leave_a_standard_normal_residual(kind, size):
    """Over very different strata, z has mean 0 and deviation 1, and no cause is called."""
    rng = np.random.default_rng(int(size) + 1)
    tables = [measured(screen(kind, rng, size=size), strata="stratum") for _ in range(4)]
    z = np.concatenate([t["residual_z"] for t in tables])
    assert abs(z.mean()) < 0.4
    assert 0.5 < z.std() < 1.25
    assert np.mean(np.abs(z) > 1.96) < 0.12
    assert sum((t["cause"] != "none").sum() for t in tables) <= 1


@pytest.mark.parametrize("kind", ["one", "uneven"])
def test_null_is_that_of_the_strata_of_the_cells(kind):
    """Strata of one and of many dimensions: p-values are uniform in each."""
    rng = np.random.default_rng(5)
    pvalue, where = [], []
    for _ in range(8):
        adata = screen(kind, rng, size=0.0, n_groups=40, n=40)
        narrow = (adata.obs["stratum"] == "s1").to_numpy()
        adata.obsm["X_pca"][narrow, 1:] *= 0.15
        pvalue.append(measured(adata, strata="stratum")["pvalue"].to_numpy())
        where.append(np.arange(40) % 4)
    pvalue, where = np.concatenate(pvalue), np.concatenate(where)
    for stratum in range(4):
        assert np.mean(pvalue[where == stratum] < 0.05) < 0.13
    assert 0.015 < np.mean(pvalue < 0.05) < 0.09


@pytest.mark.parametrize(
    ("effect", "cause"),
    [("penetrance", "partial penetrance"), ("programmes", "several programmes")],
)
def test_true_causes_are_found_over_strata(effect, cause, rng):
    adata = screen("even", rng, effect=effect, size=9.0, n=200)
    table = measured(adata, strata="stratum")
    assert (table["cause"] == cause).mean() > 0.7, table["cause"].value_counts()


def test_true_causes_are_found_within_contexts(rng):
    adata = screen("even", rng, effect="penetrance", size=9.0, n=200)
    sh.pp.annotate(adata, "perturbation", control="control", context_key="stratum")
    sh.tl.coherence(adata)
    entry = adata.uns["coherence"]
    assert (entry["table"]["cause"] == "partial penetrance").mean() > 0.7
    found = entry["by_context"]["cause"]
    assert (found == "partial penetrance").mean() > 0.4


@pytest.mark.parametrize("recorded", [True, False])
def test_a_response_that_differs_is_no_incoherence_of_cells(recorded, rng):
    """Exact translations by another shift in each context, or in each stratum of enough cells."""
    adata = screen("even", rng, effect="by stratum", size=8.0, n=240)
    if recorded:
        sh.pp.annotate(adata, "perturbation", control="control", context_key="stratum")
        sh.tl.coherence(adata)
        what = "contexts"
    else:
        measured(adata, strata="stratum")
        what = "strata"
    entry = adata.uns["coherence"]
    table = entry["table"]
    assert (table["residual_z"] < -4).mean() > 0.9
    assert set(table["cause"]) <= {f"differs between {what}", "none"}
    lost = table["residual_between_share"].dropna()
    assert lost.median() == pytest.approx(1, abs=0.1)
    assert np.abs(table["residual_within_z"]).mean() < 1.6
    assert ("by_context" in entry) == recorded
    if recorded:
        parts = entry["by_context"]
        assert len(parts) == 4 * 16
        assert np.mean(parts["residual_pvalue"] < 0.05) < 0.15
        assert (parts["cause"] != "none").mean() < 0.05


def test_context_rows_are_those_of_the_context_alone(rng):
    """Each row equals what the cells and controls of that context give without the others."""
    adata = screen("uneven", rng, n=120)
    adata.obs["batch"] = rng.choice(["a", "b"], adata.n_obs)
    keys = {"context_key": "stratum", "batch_key": "batch"}
    sh.pp.annotate(adata, "perturbation", control="control", **keys)
    sh.tl.coherence(adata)
    parts = adata.uns["coherence"]["by_context"]
    assert list(parts.index) == [str(i) for i in range(len(parts))]
    own = adata[(adata.obs["stratum"] == "s2").to_numpy()].copy()
    sh.tl.coherence(own)
    alone = own.uns["coherence"]["table"]
    here = parts[parts["context"] == "s2"].set_index("perturbation")
    assert list(here.index) == list(alone.index)
    for name in ("n_cells", "magnitude", "coherence"):
        np.testing.assert_allclose(here[name], alone[name], atol=1e-9)
    # the sample of controls is smaller where there are more strata
    np.testing.assert_allclose(here["residual"], alone["residual"], atol=0.01)


def test_results_with_contexts_do_not_depend_on_the_order_of_rows(rng, tmp_path):
    adata = screen("uneven", rng)
    sh.pp.annotate(adata, "perturbation", control="control", context_key="stratum")
    moved = adata[rng.permutation(adata.n_obs)].copy()
    for each in (adata, moved):
        sh.tl.coherence(each)
    for name in ("table", "by_context"):
        a, b = (each.uns["coherence"][name] for each in (adata, moved))
        pd.testing.assert_frame_equal(a, b, rtol=1e-4, atol=1e-7)
    adata.write_h5ad(tmp_path / "a.h5ad")
    again = ad.read_h5ad(tmp_path / "a.h5ad").uns["coherence"]["by_context"]
    pd.testing.assert_frame_equal(
        again.astype(object), adata.uns["coherence"]["by_context"].astype(object)
    )


@pytest.mark.parametrize("kind", ["csr", "dask", "float32"])
def test_storage_does_not_matter_for_contexts(rng, kind):
    adata = screen("uneven", rng)
    values = adata.obsm["X_pca"].astype(np.float32).astype(np.float64)
    made = {
        "csr": sparse.csr_matrix,
        "float32": lambda x: x.astype(np.float32),
        "dask": lambda x: pytest.importorskip("dask.array").from_array(x, chunks=(300, D)),
    }[kind](values)
    tables = []
    for storage in (values, made):
        adata.obsm["X_pca"] = storage
        sh.pp.annotate(adata, "perturbation", control="control", context_key="stratum")
        sh.tl.coherence(adata)
        tables.append({name: adata.uns["coherence"][name] for name in ("table", "by_context")})
    for name in tables[0]:
        pd.testing.assert_frame_equal(tables[0][name], tables[1][name], rtol=1e-4, atol=1e-7)


def test_strata_that_mix_contexts_give_no_table_of_contexts(rng):
    adata = screen("even", rng)
    adata.obs["context"] = rng.choice(["a", "b"], adata.n_obs)
    sh.pp.annotate(adata, "perturbation", control="control", context_key="context")
    sh.tl.coherence(adata, strata="stratum")
    assert "by_context" not in adata.uns["coherence"]


def test_many_strata_keep_few_cells_each(rng):
    """1,500 strata: 50 batches of 30 contexts, with a few cells of each perturbation."""
    n = 30_000
    obs = pd.DataFrame(
        {
            "perturbation": rng.choice(["control", "a", "b", "c"], n, p=[0.7, 0.1, 0.1, 0.1]),
            "batch": rng.integers(0, 50, n).astype(str),
            "context": rng.integers(0, 30, n).astype(str),
        },
        index=[f"c{i}" for i in range(n)],
    )
    values = rng.normal(size=(n, 8))
    values[(obs["perturbation"] == "a").to_numpy(), 0] += 1
    adata = ad.AnnData(sparse.csr_matrix((n, 1)), obs=obs, obsm={"X_pca": values})
    keys = {"context_key": "context", "batch_key": "batch"}
    sh.pp.annotate(adata, "perturbation", control="control", **keys)
    counts = adata.obs.query("perturbation == 'control'").groupby(["context", "batch"]).size()
    few = counts[counts < 6].index
    adata = adata[~pd.MultiIndex.from_frame(adata.obs[["context", "batch"]]).isin(few)].copy()
    sh.tl.coherence(adata)
    table = adata.uns["coherence"]["table"]
    assert table.loc["a", "qvalue"] < 1e-10
    assert (table["cause"] == "none").all()
    assert np.abs(table["residual_z"]).max() < 3.5


@pytest.mark.slow
def test_interferon_on_cell_types_differs_between_them(read_real):
    """Kang: seven types, of which none is incoherent as all of them together seem to be."""
    adata = read_real("kang18_scgen_valid.h5ad")
    sh.pp.annotate(adata, "condition", control="control", context_key="cell_type")
    sh.pp.prepare(adata, normalize="log1p", n_comps=30)
    sh.tl.coherence(adata)
    row = adata.uns["coherence"]["table"].iloc[0]
    assert row["cause"] == "differs between contexts"
    assert row["residual_between_share"] > 0.5
    parts = adata.uns["coherence"]["by_context"]
    assert len(parts) == 7
    assert (parts["residual_z"] > 0.4 * row["residual_z"]).all()


@pytest.mark.slow
@pytest.mark.parametrize("size", [0.0, 1.0, 3.0])
def test_translations_of_real_controls_are_translations(read_real, size):
    """Untreated cells of one donor and one type, moved: no cause, and z is standard normal."""
    adata = read_real("kang18_ctrl_8donors_null.h5ad")
    counts = adata.obs.groupby(["donor", "cell_type"], observed=True)["donor"].transform("size")
    adata = adata[(counts >= 100).to_numpy()].copy()
    adata.obs["perturbation"] = np.where(np.arange(adata.n_obs) == 0, "one cell", "control")
    sh.pp.prepare(adata, "perturbation", control="control", normalize="log1p", n_comps=20)
    labels = adata.obs[["donor", "cell_type"]].astype(str)
    stratum = (labels["donor"] + labels["cell_type"]).to_numpy()
    z, causes = [], []
    rng = np.random.default_rng(3)
    for _ in range(4):
        values, name = adata.obsm["X_pca"].astype(float), np.full(adata.n_obs, "control", object)
        for p, own in enumerate(rng.permutation(np.unique(stratum))[:20]):
            inside = np.flatnonzero(stratum == own)
            cells = rng.choice(inside, len(inside) // 3, replace=False)
            spread = np.sqrt(np.sum(np.var(values[inside], axis=0)))
            toward = rng.normal(size=20)
            values[cells] += size * spread * toward / np.linalg.norm(toward)
            name[cells] = f"p{p}"
        moved = ad.AnnData(
            sparse.csr_matrix((adata.n_obs, 1)),
            obs=labels.assign(perturbation=name),
            obsm={"X_pca": values},
        )
        table = measured(moved, strata=["donor", "cell_type"])
        z += list(table["residual_z"])
        causes += list(table["cause"])
    assert abs(np.mean(z)) < 0.35
    assert 0.5 < np.std(z) < 1.3
    assert np.mean(np.array(causes) != "none") < 0.05
