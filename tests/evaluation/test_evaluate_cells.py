"""The error of single cells, where a simulated screen knows what became of each."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pytest

import shoal as sh

from ..helpers import dense

HOW = {"metrics": ["cell_error", "rmse"], "baselines": ["perturbed_mean"], "n_draws": 1}


@pytest.fixture(scope="module")
def simulated():
    adata = sh.ds.simulate(
        n_perturbations=6,
        n_cells=40,
        n_control=120,
        n_genes=60,
        effects="shift",
        counterfactual=True,
        rng=0,
    )
    depth = adata.obs["library_size"].to_numpy()[:, None] / 1e4
    adata.X, adata.layers["counterfactual"] = (
        x.multiply(1 / depth).tocsr().log1p() for x in (adata.X, adata.layers["counterfactual"])
    )
    sh.pp.split(adata, by="perturbation", test=0.5, rng=0)
    return adata


@pytest.fixture
def screen(simulated):
    return simulated.copy()


def carried(screen, values):
    """Return predictions of the held-out cells, each from its own counterfactual, as `model.transport` marks them."""
    test = screen.obs["split"] == "test"
    pred = ad.AnnData(
        values[test.to_numpy()],
        obs=screen.obs.loc[test, ["perturbation"]].copy(),
        var=screen.var[[]],
    )
    pred.obs["source"] = pred.obs_names.to_numpy()
    pred.obs_names = [f"made{i}" for i in range(pred.n_obs)][
        ::-1
    ]  # names of its own, in another order
    return pred


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_the_error_is_the_part_of_the_way_that_is_left(share, screen):
    before, became = dense(screen.layers["counterfactual"]), dense(screen.X)
    sh.tl.evaluate(screen, prediction=carried(screen, before + share * (became - before)), **HOW)
    found = screen.uns["evaluation"]
    np.testing.assert_allclose(found["table"]["cell_error"], 1 - share, atol=1e-6)
    assert not found["summary"].loc[
        "cell_error", "discriminates"
    ]  # no part of the score: nothing else has a value
    missing = found["missing"].query("metric == 'cell_error'")
    assert "prediction" not in set(missing["contender"])
    assert missing["reason"].str.contains("which cell each of these starts from").all()


def test_twins_in_a_layer_that_start_from_their_own_counterfactual(screen):
    screen.layers["twins"] = screen.layers["counterfactual"].copy()
    screen.obs["twins_source"] = screen.obs_names.to_numpy()
    sh.tl.evaluate(screen, prediction="twins", **HOW)
    np.testing.assert_allclose(screen.uns["evaluation"]["table"]["cell_error"], 1)


def test_of_a_model_that_carries_cells(screen):
    model = sh.tl.fit(screen, "mean_shift")
    before = screen[screen.obs["split"] == "test"].copy()
    before.X = before.layers["counterfactual"].copy()
    several = [
        model.transport(before[before.obs["perturbation"] == p].copy(), p)
        for p in before.obs["perturbation"].unique()
    ]
    pred = ad.concat(several, index_unique="-")
    sh.tl.evaluate(screen, prediction=pred, **HOW)
    assert screen.uns["evaluation"]["table"]["cell_error"].between(0.01, 2).all()


def unmarked(screen, pred):
    del pred.obs["source"]


def from_controls(screen, pred):
    pred.obs["source"] = screen.obs_names[: pred.n_obs]


def from_others(screen, pred):
    pred.obs["source"] = pred.obs["source"].to_numpy()[::-1]


def from_strangers(screen, pred):
    pred.obs["source"] = "nobody"


def unknown(screen, pred):
    del screen.layers["counterfactual"]


def counts(screen, pred):
    layer = screen.layers["counterfactual"]
    layer.data = np.ceil(np.expm1(layer.data)).astype(np.float32)


WHY = {
    unmarked: "does not say which cell",
    from_controls: "start from control cells",
    from_others: "start from control cells",
    from_strangers: "start from control cells",
    unknown: "only simulated screens have",
    counts: "not on the scale",
}


@pytest.mark.parametrize("change", WHY)
def test_elsewhere_it_is_missing_with_the_reason(change, screen):
    pred = carried(screen, dense(screen.X))
    change(screen, pred)
    sh.tl.evaluate(screen, prediction=pred, **HOW)
    found = screen.uns["evaluation"]
    assert found["table"]["cell_error"].isna().all()
    assert found["table"]["rmse"].notna().all()
    reasons = found["missing"].query("metric == 'cell_error' and contender == 'prediction'")[
        "reason"
    ]
    assert len(reasons) == len(found["table"])
    assert reasons.str.contains(WHY[change]).all()
