from __future__ import annotations

import os
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import shoal as sh
from shoal.ds._counts import draw_counts, draw_twin
from shoal.ds._effects import KINDS
from shoal.ds._genes import SCREENS, draw_genes

SHARED = Path(__file__).parents[3] / "shared" / "data"


def truth(adata: ad.AnnData) -> pd.DataFrame:
    return adata.uns["truth"]["table"]


def cells_of(adata: ad.AnnData, name: str) -> ad.AnnData:
    return adata[adata.obs["perturbation"] == name]


def fold(adata: ad.AnnData) -> np.ndarray:
    """Counts over the mean they would have without context, batch and perturbation."""
    base = (
        adata.obs["library_size"].to_numpy()[:, None] * adata.var["relative_expression"].to_numpy()
    )
    return adata.X.toarray() / base


def z_scores(adata: ad.AnnData, log_mean: np.ndarray, dispersion: float = 1.0) -> np.ndarray:
    """Counts standardised by the closed form: variance is mean + dispersion mean^2 / size."""
    mean = (
        adata.obs["library_size"].to_numpy()[:, None]
        * adata.var["relative_expression"].to_numpy()
        * np.exp(log_mean)
    )
    return (adata.X.toarray() - mean) / np.sqrt(
        mean + dispersion * mean**2 / adata.var["size"].to_numpy()
    )


def assert_standard(z: np.ndarray) -> None:
    n, d = z.shape
    assert np.mean((np.sqrt(n) * z.mean(axis=0)) ** 2) == pytest.approx(1, abs=5 * np.sqrt(2 / d))
    assert np.mean(z**2) == pytest.approx(1, abs=0.05)


@pytest.fixture(scope="module")
def big() -> ad.AnnData:
    return sh.ds.simulate(
        n_perturbations=5,
        n_cells=4_000,
        n_control=4_000,
        n_genes=60,
        effect_size=2.0,
        counterfactual=True,
        rng=1,
    )


def test_moments_follow_the_closed_form(big):
    lfc = big.uns["truth"]["lfc"]
    assert_standard(z_scores(cells_of(big, "control"), np.zeros(60)))
    assert_standard(z_scores(cells_of(big, "P1"), lfc.loc["P1"].to_numpy()))
    p2 = cells_of(big, "P2")
    assert_standard(z_scores(p2, lfc.loc["P2"].to_numpy(), dispersion=3.0))
    assert (
        np.mean(z_scores(p2, lfc.loc["P2"].to_numpy()) ** 2) > 1.5
    )  # more variable than a shift of the same mean


def test_mean_folds_of_every_kind_are_the_true_ones(big):
    assert list(truth(big)["kind"]) == list(KINDS)
    for name, lfc in big.uns["truth"]["lfc"].iterrows():
        values = fold(cells_of(big, name))
        z = (values.mean(axis=0) - np.exp(lfc)) / (values.std(axis=0) / np.sqrt(len(values)))
        assert np.abs(z).max() < 5
        assert np.mean(z**2) == pytest.approx(1, abs=1)


def test_truth_of_the_kinds(big):
    table, lfc = truth(big), big.uns["truth"]["lfc"]
    assert np.all(lfc.loc["P5"] == 0)
    np.testing.assert_allclose(np.linalg.norm(lfc.loc[["P1", "P2"]], axis=1), 2)
    np.testing.assert_allclose(table["effect_size"], [2, 2, 2, 2, 0])
    np.testing.assert_allclose(table["penetrance"], [1, 1, 0.5, 1, 0])
    np.testing.assert_allclose(table["dispersion"], [1, 3, 1, 1, 1])
    responding = big.obs.groupby("perturbation", observed=True)["responds"].mean()
    np.testing.assert_allclose(responding[["P1", "P2", "P4", "P5", "control"]], [1, 1, 1, 0, 0])
    assert responding["P3"] == pytest.approx(0.5, abs=0.04)
    programme = cells_of(big, "P4").obs["programme"]
    assert set(programme) == {1, 2}
    assert (programme == 1).mean() == pytest.approx(0.5, abs=0.04)


def test_programmes_are_orthogonal(big):
    p4 = cells_of(big, "P4")
    first, second = (fold(p4[p4.obs["programme"] == k]).mean(axis=0) for k in (1, 2))
    moved = np.abs(np.log(np.stack([first, second]))) > 0.15
    assert moved.any(axis=1).all()
    assert not moved.all(axis=0).any()  # no gene belongs to both


def test_counterfactual_is_a_control_cell_and_equals_x_where_nothing_changed(big):
    same = ~big.obs["responds"].to_numpy()
    x, twin = big.X.toarray(), big.layers["counterfactual"].toarray()
    np.testing.assert_array_equal(x[same], twin[same])
    assert np.all(np.any(x[~same] != twin[~same], axis=1))
    assert_standard(
        z_scores(ad.AnnData(big.layers["counterfactual"], big.obs, big.var), np.zeros(60))
    )
    for name in (
        "P1",
        "P2",
    ):  # the same random numbers: twins resemble their cells far more than strangers do
        a, b = (np.log1p(m[(big.obs["perturbation"] == name).to_numpy()]) for m in (x, twin))
        a, b = a - a.mean(axis=0), b - b.mean(axis=0)
        assert np.square(a - b).sum() < 0.5 * np.square(a - np.roll(b, 1, axis=0)).sum()


def test_twins_are_exact_where_rates_fall_and_rise(rng):
    size = np.full(3, 2.0)
    mean, other = np.full((200_000, 3), [5.0, 5.0, 0.0]), np.full((200_000, 3), [1.0, 12.0, 3.0])
    counts, gamma, rate = draw_counts(mean, size, 2.5, rng)
    twin = draw_twin(counts, gamma, rate, other, size, 2.5, rng)
    for drawn, m, dispersion in ((counts, mean[0], 2.5), (twin, other[0], 1.0)):
        np.testing.assert_allclose(drawn.mean(axis=0), m, rtol=0.02)
        np.testing.assert_allclose(drawn.var(axis=0), m + dispersion * m**2 / 2, rtol=0.04)


def test_determined_by_rng_and_not_by_the_counterfactual():
    args = {
        "n_perturbations": 5,
        "n_cells": 20,
        "n_control": 30,
        "n_genes": 40,
        "n_combinations": 2,
    }
    a, b = sh.ds.simulate(**args, rng=3), sh.ds.simulate(**args, rng=3, counterfactual=True)
    np.testing.assert_array_equal(a.X.toarray(), b.X.toarray())
    pd.testing.assert_frame_equal(a.obs, b.obs)
    pd.testing.assert_frame_equal(truth(a), truth(b))
    assert np.any(a.X.toarray() != sh.ds.simulate(**args, rng=4).X.toarray())


def test_shape_names_and_design():
    adata = sh.ds.simulate(
        n_perturbations=12,
        n_cells=8,
        n_control=20,
        n_genes=30,
        n_combinations=3,
        doses=(1, 10),
        contexts=["T", "B"],
    )
    assert adata.shape == (20 + (12 + 3) * 8 * 2, 30)
    assert adata.X.format == "csr"
    assert adata.X.dtype == np.float32
    assert np.all(adata.X.data == np.round(adata.X.data))
    np.testing.assert_array_equal(adata.obs["total_counts"], adata.X.toarray().sum(axis=1))
    assert np.all(truth(adata)["n_cells"] == 16)
    assert list(truth(adata).index[:2]) == ["P01", "P02"]
    assert sum("+" in name for name in truth(adata).index) == 3
    assert set(adata.obs.loc[adata.obs["perturbation"] == "control", "dose"]) == {0}
    assert set(adata.obs.loc[adata.obs["perturbation"] != "control", "dose"]) == {1, 10}
    assert (
        adata.obs.groupby(["perturbation", "dose", "context"], observed=True)
        .size()
        .loc["P01"]
        .eq(4)
        .all()
    )
    screen = adata.uns["shoal"]
    assert {k: screen[f"{k}_key"] for k in ("batch", "guide", "dose", "context")} == {
        k: k for k in ("batch", "guide", "dose", "context")
    }
    plain = sh.ds.simulate(n_perturbations=2, n_cells=[3, 4], n_control=5, n_genes=10)
    assert list(truth(plain)["n_cells"]) == [3, 4]
    assert not {"dose", "context"} & set(plain.obs.columns)


def test_combinations_add_up():
    args = {"n_perturbations": 5, "n_cells": 4, "n_genes": 50, "n_combinations": 10}
    table = sh.ds.simulate(**args).uns["truth"]["lfc"]
    apart = sh.ds.simulate(**args, interaction=1.5).uns["truth"]["lfc"]
    for pair in table.index[5:]:
        a, b = pair.split("+")
        assert a < b
        np.testing.assert_allclose(table.loc[pair], table.loc[a] + table.loc[b], atol=1e-12)
        assert np.linalg.norm(apart.loc[pair] - apart.loc[a] - apart.loc[b]) == pytest.approx(1.5)


def test_dose_response_saturates():
    adata = sh.ds.simulate(
        n_perturbations=1,
        effects="shift",
        n_cells=4_000,
        n_genes=20,
        effect_size=2,
        doses=(100, 1, 10),
    )
    np.testing.assert_allclose(
        adata.uns["truth"]["doses"], [[1, 1 / 11], [10, 0.5], [100, 10 / 11]]
    )
    lfc = adata.uns["truth"]["lfc"].loc["P1"].to_numpy()
    for dose, response in adata.uns["truth"]["doses"].to_numpy():
        assert_standard(z_scores(adata[adata.obs["dose"] == dose], response * lfc))


def test_depth_batch_and_guide_artefacts_change_what_they_should():
    args = {
        "n_perturbations": 6,
        "effects": "null",
        "n_cells": 1_500,
        "n_control": 1_500,
        "n_genes": 40,
    }
    depth = sh.ds.simulate(**args, depth_effect=0.7)
    ratio = (
        np.log(depth.obs["library_size"]).groupby(depth.obs["perturbation"], observed=True).mean()
    )
    np.testing.assert_allclose(
        ratio[1:] - ratio["control"], np.log(truth(depth)["depth_ratio"]), atol=0.08
    )
    assert np.log(truth(depth)["depth_ratio"]).std() > 0.3

    batch = sh.ds.simulate(**args, batch_effect=0.5)
    share = pd.crosstab(batch.obs["perturbation"], batch.obs["batch"], normalize="index")
    assert share.loc["control", "batch1"] == 0.5
    assert share["batch1"].iloc[1:].std() > 0.05
    shift = [
        np.log(fold(batch[batch.obs["batch"] == b]).mean(axis=0)) for b in ("batch1", "batch2")
    ]
    assert np.std(shift[0] - shift[1]) == pytest.approx(0.5 * np.sqrt(2), rel=0.35)
    assert not batch.obs["responds"].any()

    stray = sh.ds.simulate(**args, off_target=2.0, n_guides=3, counterfactual=True)
    last = stray.obs["guide"].str.endswith("_g3") & (stray.obs["perturbation"] != "control")
    np.testing.assert_array_equal(stray.obs["responds"], last)
    assert np.all(stray.uns["truth"]["lfc"] == 0)
    changed = (stray.layers["counterfactual"] != stray.X).sum(axis=1)
    np.testing.assert_array_equal(np.asarray(changed).ravel() > 0, last)


def test_contexts_differ_in_expression():
    adata = sh.ds.simulate(
        n_perturbations=1, n_control=4_000, n_genes=100, contexts=2, context_effect=0.4
    )
    control = cells_of(adata, "control")
    means = [
        np.log(fold(control[control.obs["context"] == c]).mean(axis=0))
        for c in ("context1", "context2")
    ]
    assert np.std(means[0] - means[1]) == pytest.approx(0.4 * np.sqrt(2), rel=0.25)


def test_round_trip(tmp_path):
    adata = sh.ds.simulate(
        n_perturbations=3,
        n_cells=5,
        n_control=6,
        n_genes=12,
        n_combinations=2,
        doses=(1, 2),
        counterfactual=True,
    )
    adata.write_h5ad(tmp_path / "x.h5ad")
    back = ad.read_h5ad(tmp_path / "x.h5ad")
    np.testing.assert_array_equal(back.X.toarray(), adata.X.toarray())
    for key in ("table", "lfc", "doses"):
        pd.testing.assert_frame_equal(
            back.uns["truth"][key], adata.uns["truth"][key], check_names=False
        )
    assert back.uns["truth"]["schema"] == "truth/1"


@pytest.mark.parametrize("like", SCREENS)
def test_genes_follow_the_real_screen(like):
    path = Path(os.environ.get("SHOAL_DATA_DIR", SHARED)) / "nb_parameters" / f"{like}.csv.gz"
    if not path.exists():
        pytest.skip(
            f"real data absent: {path} (set SHOAL_DATA_DIR to the folder that holds nb_parameters)"
        )
    real = pd.read_csv(path).sort_values("relative_expression", ascending=False)
    n = min(500, len(real))
    expression, size = draw_genes(like, n, np.random.default_rng(0))
    pool = real[: min(4 * n, len(real))]
    drawn, kept = np.sort(np.log(expression)), np.log(pool["relative_expression"])
    quantiles = np.linspace(0.05, 0.95, 19)
    np.testing.assert_allclose(
        np.quantile(drawn, quantiles), np.quantile(kept, quantiles), atol=0.35
    )
    for q, tolerance in ((0.25, 0.4), (0.5, 0.3), (0.75, 0.4)):
        assert np.quantile(np.log(size), q) == pytest.approx(
            np.quantile(np.log(pool["expression_size"]), q), abs=tolerance
        )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"n_perturbations": 0}, "n_perturbations must be a whole number of at least 1"),
        ({"n_cells": -1}, "n_cells must be a whole number, at least 1"),
        ({"n_cells": [1, 2]}, "n_cells must be one number or 20"),
        ({"n_genes": 1}, "n_genes must be a whole number of at least 2"),
        ({"n_genes": 400, "like": "K562_Ray"}, "more than the 303 genes"),
        ({"effects": "explosion"}, "effects='explosion' is not known"),
        ({"effects": ()}, "effects is empty"),
        ({"effect_size": -1}, "effect_size"),
        ({"effect_size": np.nan}, "effect_size"),
        ({"penetrance": 1.5}, "penetrance must be a number from 0 to 1"),
        ({"dispersion": 0.5}, "dispersion must be at least 1"),
        ({"batch_effect": -0.1}, "batch_effect"),
        ({"doses": [0, 1]}, "doses must be numbers above 0"),
        ({"contexts": ["a", "a"]}, "contexts"),
        ({"n_combinations": 500}, "n_combinations must be a number from 0 to 190"),
        ({"library_size": 0}, "library_size"),
        ({"like": "HeLa"}, "like='HeLa' is not known"),
    ],
)
def test_errors_name_the_bad_value(arguments, words):
    with pytest.raises(ValueError, match=words):
        sh.ds.simulate(**arguments)
