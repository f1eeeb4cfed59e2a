"""Knowledge in a new line: better than the mean shift, found again, transferred, and what it refuses."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

import shoal as sh
from shoal.metrics import top_k_accuracy

from ...helpers import dense

pytest.importorskip("torch", reason="networks need the extra 'models'")
pytest.importorskip("scvi", reason="networks need the extra 'models'")

FEW = {"accelerator": "cpu", "enable_progress_bar": False, "response_share": 1.0}
SMALL = {"n_latent": 20}


def lines(n_lines=4, n=12, wells=4, d=30, noise=0.6, seed=0):
    """Return wells of n perturbations in lines whose baselines differ; the last line is the test.

    Responses are the same in all lines but for a gain of 0.6 to 1.4.
    """
    rng = np.random.default_rng(seed)
    response = rng.normal(size=(n, d))
    obs, values = [], []
    for c in range(n_lines):
        base, gain = 3 * rng.normal(size=d), rng.uniform(0.6, 1.4)
        for p in range(-4, n):  # four times as many controls
            label = "control" if p < 0 else f"P{p}"
            shift = 0 if p < 0 else gain * response[p]
            values.append(base + shift + noise * rng.normal(size=(wells, d)))
            obs += [(label, f"line{c}", f"line{c}-{label}-{p}-{w}") for w in range(wells)]
    table = pd.DataFrame(obs, columns=["perturbation", "line", "well"])
    adata = AnnData(np.concatenate(values), obs=table.set_index("well", drop=False))
    sh.pp.annotate(adata, "perturbation", control="control", context_key="line")
    if n_lines > 1:
        sh.pp.split(adata, by="context", test=[f"line{n_lines - 1}"])
    return adata


@pytest.fixture(scope="module")
def screen():
    return lines()


@pytest.fixture(scope="module")
def model(screen):
    return sh.tl.fit(screen, "knowledge", config=SMALL, max_steps=200, rng=0, **FEW)


def error(adata, key):
    """Return the mean squared error of the mean responses in the test line."""
    test = (adata.obs["split"] == "test") & (adata.obs["perturbation"] != "control")
    real = pd.DataFrame(adata.X[test]).groupby(adata.obs["perturbation"][test].to_numpy(str)).mean()
    made = dense(adata.layers[key])[test.to_numpy()]
    made = pd.DataFrame(made).groupby(adata.obs["perturbation"][test].to_numpy(str)).mean()
    return float(((real - made) ** 2).to_numpy().mean())


@pytest.mark.slow
def test_it_is_better_than_the_mean_shift_in_a_new_line(screen, model):
    adata = screen.copy()
    sh.tl.predict(adata, model, key_added="knowledge", subset="test")
    sh.tl.predict(adata, sh.tl.fit(adata, "mean_shift"), key_added="mean", subset="test")
    assert error(adata, "knowledge") < 0.5 * error(adata, "mean")


@pytest.mark.slow
def test_perturbations_are_found_in_a_new_line(screen, model):
    adata = screen.copy()
    model.represent(adata)
    found = adata.obsm["X_knowledge"]
    assert found.shape == (adata.n_obs, 64)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, rtol=1e-4)
    label = adata.obs["perturbation"].to_numpy(str)
    train = ((adata.obs["split"] == "train") & (label != "control")).to_numpy()
    test = ((adata.obs["split"] == "test") & (label != "control")).to_numpy()

    def top(x):
        labels = {"query_label": label[test], "reference_label": label[train]}
        return top_k_accuracy(x[test], x[train], **labels).mean()

    assert top(found) > 0.8
    assert top(found) > top(np.asarray(adata.X)) + 0.3
    chances = model.probabilities(adata)
    np.testing.assert_allclose(chances.sum(axis=1), 1, rtol=1e-5)
    assert (chances[test[label != "control"]].idxmax(axis=1) == label[test]).mean() > 0.8
    few = model.probabilities(adata, perturbations=["P1", "P2"])
    assert list(few) == ["P1", "P2"]


@pytest.mark.slow
def test_the_order_of_rows_does_not_matter(screen, model):
    order = np.random.default_rng(0).permutation(screen.n_obs)
    one, other = screen.copy(), screen[order].copy()
    model.represent(one)
    model.represent(other)
    np.testing.assert_allclose(other.obsm["X_knowledge"], one.obsm["X_knowledge"][order], atol=1e-5)


@pytest.mark.slow
def test_transfer_learns_a_line_that_responds_otherwise(screen, model):
    """In the new line every response is turned around: a few labelled wells tell."""
    new = lines(n_lines=1, seed=5)
    known = lines()  # the responses of training
    rng = np.random.default_rng(1)
    label = new.obs["perturbation"].to_numpy(str)
    for name in np.unique(label[label != "control"]):
        mean = np.zeros(known.n_vars)
        for c in range(3):
            at = (known.obs["line"] == f"line{c}").to_numpy()
            ours = (known.obs["perturbation"] == name).to_numpy()
            control = (known.obs["perturbation"] == "control").to_numpy()
            mean += (known.X[at & ours].mean(0) - known.X[at & control].mean(0)) / 3
        wells = label == name
        centre = new.X[label == "control"].mean(0)
        new.X[wells] = centre - mean + 0.6 * rng.normal(size=(wells.sum(), known.n_vars))
    first = np.array([well.endswith("-0") for well in new.obs["well"]]) | (label == "control")
    again = sh.tl.fit(screen, "knowledge", config=SMALL, max_steps=200, rng=0, **FEW)

    def right(model):
        found = model.probabilities(new[~first | (label == "control")].copy())
        return (found.idxmax(axis=1) == label[~first]).mean()

    assert right(again) < 0.2
    before = list(again.history)
    again.transfer(new[first].copy(), max_steps=200, lr=2e-3, enable_progress_bar=False)
    assert right(again) > 0.6
    assert set(before) < set(again.history)
    assert "transfer_train_loss" in again.history


def test_transfer_says_what_it_lacks(screen, model):
    adata = screen.copy()
    with pytest.raises(ValueError, match="several lines.*context="):
        model.transfer(adata)
    with pytest.raises(ValueError, match="context='moon' is not in adata"):
        model.transfer(adata, context="moon")
    with pytest.raises(ValueError, match="no perturbed profile to train on"):
        model.transfer(adata, context="line3")
    del adata.obs["split"]
    bare = adata[(adata.obs["line"] == "line3") & (adata.obs["perturbation"] != "control")].copy()
    with pytest.raises(ValueError, match="control"):
        model.transfer(bare)


def test_representing_needs_a_trained_model_and_a_free_slot(screen, model):
    adata = screen.copy()
    adata.obsm["X_knowledge"] = np.zeros((adata.n_obs, 2))
    with pytest.raises(ValueError, match="overwrite=True"):
        model.represent(adata)
    model.represent(adata, key_added="other")
    assert not adata.obsm["X_knowledge"].any()
    with pytest.raises(ValueError, match="perturbations is empty"):
        model.probabilities(adata, perturbations=[])
    with pytest.raises(KeyError, match="did not occur in training"):
        model.probabilities(adata, perturbations=["P99"])


def test_one_line_teaches_nothing_about_lines(screen, caplog):
    adata = screen[screen.obs["line"].isin(["line0", "line3"])].copy()
    sh.tl.fit(adata, "knowledge", config=SMALL, max_steps=1, **FEW)
    said = [r.message for r in caplog.records if "nothing can be learned of how lines" in r.message]
    assert len(said) == 1
    assert "line0" in said[0]


@pytest.mark.slow
@pytest.mark.parametrize("config", [{"contrast": 1.0}, {"classify": 0.0, "contrast": 1.0}])
def test_the_published_recipe_runs_with_either_pretraining(screen, config):
    config = SMALL | {"depth": 1} | config
    model = sh.tl.fit(screen, "knowledge", preset="published", config=config, max_steps=40, **FEW)
    loss = model.history["train_contrast"].iloc[:, 0]
    assert loss.iloc[-1] < loss.iloc[0]


def test_a_line_known_by_no_vector_is_told(screen, caplog):
    vectors = pd.DataFrame(np.eye(4)[:, :3], index=[f"line{c}" for c in range(4)])
    for told, times in ((None, 1), (vectors, 0)):
        caplog.clear()
        options = {"context_embedding": told, "config": SMALL, "max_steps": 1, **FEW}
        sh.tl.fit(screen.copy(), "knowledge", **options)
        said = [r.message for r in caplog.records if "respond as the mean" in r.message]
        assert len(said) == times
        assert all("line3" in text and "embed_contexts" in text for text in said)


def test_a_line_without_a_vector_is_named(screen, caplog):
    adata = screen.copy()
    table = pd.DataFrame(np.eye(4)[:, :3], index=[f"line{c}" for c in range(4)])
    with pytest.raises(KeyError, match=r"line0.*source='controls'"):
        sh.tl.fit(adata, "knowledge", context_embedding=table.drop("line0"), max_steps=1, **FEW)
    told = {"context_embedding": table.drop("line3"), "config": SMALL, "max_steps": 1, **FEW}
    model = sh.tl.fit(adata, "knowledge", **told)
    assert any("line3" in r.message and "without a vector" in r.message for r in caplog.records)
    with pytest.raises(KeyError, match="line3.*no vector.*add_contexts"):
        model.represent(adata)
    assert "X_knowledge" not in adata.obsm
    one = adata[adata.obs["line"].isin(["line0", "line3"])].copy()
    with pytest.raises(ValueError, match="only 'line0' has perturbed cells"):
        sh.tl.fit(one, "knowledge", context_embedding=table, max_steps=1, **FEW)
