from __future__ import annotations

import numpy as np
import pytest
from matplotlib import pyplot as plt

import shoal as sh


@pytest.fixture(scope="module")
def screen():
    adata = sh.ds.simulate_gaussian(n_perturbations=20, n_dims=10, n_cells=40, rng=0)
    adata.obs["day"] = np.where(np.arange(adata.n_obs) % 2 == 0, "one", "two")
    sh.pp.annotate(adata, "perturbation", control="control", context_key="day")
    sh.pp.split(adata, by="perturbation", test=["P03", "P04"], val=0)
    model = sh.tl.fit(adata, "mean_shift", calibrate=True)
    sh.tl.predict(adata, model, subset="test", interval=0.9)
    sh.tl.evaluate_intervals(adata, prediction="predicted")
    return adata


def points(ax, label):
    (line,) = [own for own in ax.lines if own.get_label() == label]
    return line.get_xdata()


def test_it_shows_the_genes_with_the_largest_prediction(screen):
    ax = sh.pl.intervals(screen, "P03", context="one", n_genes=4)
    entry = screen.uns["predicted_intervals"]
    at = entry["table"].index.get_loc("P03 | one")
    chosen = np.argsort(-np.abs(entry["response"][at]))[:4]
    np.testing.assert_allclose(points(ax, "predicted"), entry["response"][at][chosen])
    names = [label.get_text() for label in ax.get_yticklabels()]
    assert names == list(screen.var_names[chosen])
    (lines,) = ax.collections
    ends = np.array([path.vertices[:, 0] for path in lines.get_paths()])
    np.testing.assert_allclose(ends[:, 0], entry["low"][at][chosen])
    np.testing.assert_allclose(ends[:, 1], entry["high"][at][chosen])
    assert "probability of a response" in ax.get_title(loc="left")
    plt.close("all")


def test_what_was_measured_is_within_or_outside(screen):
    adata = screen.copy()
    ax = sh.pl.intervals(adata, "P03", context="two", genes=["7", "1"])
    lines = [own for own in ax.lines if "measured" in str(own.get_label())]
    assert sum(len(own.get_xdata()) for own in lines) == 2
    entry = adata.uns["predicted_intervals"]
    entry["low"][:], entry["high"][:] = 50, 51
    ax = sh.pl.intervals(adata, "P03", context="two", n_genes=3)
    assert len(points(ax, "measured, outside")) == 3
    assert "0% of all 10 measured are within" in ax.get_title(loc="left")
    sh.tl.evaluate_intervals(adata, prediction="predicted", key_added="mine")
    ax = sh.pl.intervals(adata, "P03", context="two", n_genes=3, key="mine")
    assert len(points(ax, "measured, outside")) == 3
    del adata.uns["interval_evaluation"]
    ax = sh.pl.intervals(adata, "P03", context="two")
    assert not [own for own in ax.lines if "measured" in str(own.get_label())]
    plt.close("all")


def test_a_condition_without_intervals_is_said_to_have_none(screen):
    adata = screen.copy()
    for side in ("low", "high"):
        adata.uns["predicted_intervals"][side][:] = np.nan
    ax = sh.pl.intervals(adata, "P03", context="two", n_genes=3)
    said = ax.get_title(loc="left")
    assert "no intervals: no such question was left out of training" in said
    assert "within" not in said
    assert "90%" not in said
    assert len(points(ax, "measured")) == 3
    plt.close("all")


def test_what_it_cannot_show(screen):
    with pytest.raises(ValueError, match="which context. 'P03' was predicted in one, two"):
        sh.pl.intervals(screen, "P03")
    with pytest.raises(KeyError, match="'P01' is not in the perturbations with intervals"):
        sh.pl.intervals(screen, "P01", context="one")
    with pytest.raises(KeyError, match="'three' is not in the contexts"):
        sh.pl.intervals(screen, "P03", context="three")
    with pytest.raises(KeyError, match="'nothing'"):
        sh.pl.intervals(screen, "P03", context="one", genes=["nothing"])
    with pytest.raises(KeyError, match="other_intervals"):
        sh.pl.intervals(screen, "P03", prediction="other")
    with pytest.raises(KeyError, match=r"'nowhere' is not in adata.uns.*evaluate_intervals"):
        sh.pl.intervals(screen, "P03", context="one", key="nowhere")
    other = screen.copy()
    other.uns["interval_evaluation"]["params"]["prediction"] = "another"
    with pytest.raises(ValueError, match="judges the prediction 'another', not 'predicted'"):
        sh.pl.intervals(other, "P03", context="one", key="interval_evaluation")
    ax = sh.pl.intervals(other, "P03", context="one")
    assert not [own for own in ax.lines if "measured" in str(own.get_label())]
    plt.close("all")
