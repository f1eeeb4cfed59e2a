"""Names are drawn letter by letter, whatever matplotlib could read into them."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.text import Text

import shoal as sh
from shoal.pl._style import LONGEST, plain, shorten

NASTY = [
    r"$\frac$",
    r"$\undefined{$",
    "a$b",
    "x_{1}$",
    r"\alpha",
    "two\nlines",
    "_hidden",
    "$$",
    r"\$5$",
    "{$}%#&~^",
    "L" * 80,
    "µ–ß†",
]


def shown(name: str) -> str:
    """Return what matplotlib draws for a label that is no formula."""
    return plain(name).replace(r"\$", "$").replace("\u200b", "")


@pytest.mark.parametrize("name", [*NASTY, "", " ", "$" * 7])
def test_every_name_is_drawn_as_it_is(name):
    fig, ax = plt.subplots(figsize=(2, 2))
    ax.plot([0, 1], [0, 1], label=shorten(name) or "empty")
    ax.set(title=shorten(name), xlabel=plain(name), ylabel=f"{shorten(name)}\n{shorten(name)}")
    ax.set_xticks([0], [shorten(name)])
    ax.annotate(f"$r$ of {plain(name)}", (0, 0))
    assert len(ax.legend().get_texts()) == 1
    fig.canvas.draw()
    assert shown(name) == " ".join(name.split())
    assert len(shorten(name).replace(r"\$", "$")) <= LONGEST + 1


def texts(figure) -> str:
    figure.canvas.draw()
    return "\n".join(t.get_text() for t in figure.findobj(Text))


@pytest.fixture(scope="module")
def screen():
    """A screen in which every name is a nasty one."""
    adata = sh.ds.simulate(
        n_perturbations=len(NASTY),
        n_cells=25,
        n_control=80,
        n_genes=40,
        contexts=["one", "two"],
        rng=0,
    )
    new = dict(zip([f"P{i + 1:02d}" for i in range(len(NASTY))], NASTY, strict=True))
    adata.obs["perturbation"] = adata.obs["perturbation"].astype(str).replace(new)
    contexts = sorted(adata.obs["context"].astype(str).unique())
    swap = dict(zip(contexts, [r"$\T$ cells", r"$\B$ cells"], strict=True))
    adata.obs["context"] = adata.obs["context"].astype(str).replace(swap)
    guides = np.where(adata.obs["perturbation"] == "control", np.arange(adata.n_obs) % 3, 0)
    adata.obs["guide"] = [rf"$\g{i}$" for i in guides]
    adata.var_names = [rf"$\gene{i}$" for i in range(adata.n_vars)]
    del adata.uns["shoal"], adata.uns["truth"]
    sh.pp.annotate(adata, "perturbation", control="control", context_key="context", sep="")
    sh.pp.split(adata, test=[NASTY[0], *NASTY[2:5]])
    sh.pp.prepare(adata, normalize="log1p", n_comps=5)
    sh.tl.coherence(adata, min_cells=5)
    adata.uns["coherence"]["table"]["$kind_1$"] = [rf"$\kind{i % 2}$" for i in range(len(NASTY))]
    adata.uns["coherence"]["table"][r"$\size_1$"] = np.arange(len(NASTY)) + 1.0
    sh.tl.coherence_null(adata, n_cells=[10], n_draws=5, by="guide", min_cells=5)
    adata.uns["coherence_null"]["rates"].loc[0, "held_out"] = r"$\left out$"
    model = sh.tl.fit(adata, "mean_shift", calibrate=True)
    sh.tl.predict(adata, model, key_added=r"$\flow$", subset="test", interval=0.5)
    sh.tl.evaluate(
        adata,
        prediction=r"$\flow$",
        metrics=["energy", "pearson_delta"],
        baselines=["perturbed_mean"],
        min_cells=5,
        n_comps=5,
    )
    rng = np.random.default_rng(0)
    for key in ("crops", rf"X_{MADE}"):
        adata.obsm[key] = rng.integers(0, 256, (adata.n_obs, 2, 8, 8)).astype(np.uint8)
    sh.pp.prepare_images(adata, use_rep="crops", channels=[r"$\DNA$", "_actin"])
    for prediction in (None, MADE):
        sh.pp.measure_images(adata, use_rep="crops", prediction=prediction)
    return adata


FLOW, MADE = r"$\flow$", r"$\made$"
PLOTS = {
    "bimodality": lambda a, **k: sh.pl.bimodality(a, NASTY[0], prediction=FLOW, **k)[0],
    "calibration": lambda a, **k: sh.pl.calibration(a, **k),
    "coherence": lambda a, **k: sh.pl.coherence(a, n_labels=20, **k),
    "contexts": lambda a, **k: sh.pl.contexts(a, **k),
    "evaluate": lambda a, **k: sh.pl.evaluate(a, **k),
    "ensemble": lambda a, **k: sh.pl.ensemble(
        pd.DataFrame(
            [
                (r"$\kind$", r"_$m$", 1.0, 0.5, 9, 9, ""),
                (r"$\kind$", "all members", 1, 0.5, 9, 9, ""),
            ],
            columns=["kind", "member", "weight", "error", "n_conditions", "n_units", "note"],
        ),
        **k,
    )[0],
    "genes": lambda a, **k: sh.pl.genes(a, NASTY[0], prediction=FLOW, **k)[0],
    "geometry": lambda a, **k: sh.pl.geometry(a, NASTY[0], **k),
    "image_features": lambda a, **k: sh.pl.image_features(
        a, NASTY[0], use_rep="crops", prediction=MADE, **k
    )[0],
    "images": lambda a, **k: sh.pl.images(a, NASTY[0], use_rep="crops", prediction=MADE, **k)[0, 0],
    "intervals": lambda a, **k: sh.pl.intervals(
        a, NASTY[0], prediction=FLOW, context=r"$\T$ cells", **k
    ),
    "leaderboard": lambda a, **k: sh.pl.leaderboard(a, **k),
    "coherence_null": lambda a, **k: sh.pl.coherence_null(a, **k)[0],
    "populations": lambda a, **k: sh.pl.populations(a, NASTY[0], prediction=FLOW, **k),
    "ranking": lambda a, **k: sh.pl.ranking(a, color="$kind_1$", by=r"$\size_1$", **k),
    "scatter_baseline": lambda a, **k: sh.pl.scatter_baseline(a, "energy", **k),
    "strata": lambda a, **k: sh.pl.strata(a, "energy", **k),
    "training": lambda a, **k: sh.pl.training(
        {r"$\loss$": pd.DataFrame({"x": [2.0, 1.0]}, index=[1, 2])}, **k
    )[0],
    "transport": lambda a, **k: sh.pl.transport(a, NASTY[0], prediction=FLOW, **k),
}


def test_all_plots_are_tried():
    assert sorted(PLOTS) == sorted(sh.pl.__all__)


@pytest.mark.parametrize("plot", list(PLOTS))
def test_every_plot_draws_them(screen, plot):
    drawn = texts(PLOTS[plot](screen).figure)
    if plot in ("genes", "geometry", "image_features", "populations", "transport", "ranking"):
        assert plain(NASTY[0]) in drawn
    if plot == "ranking":
        assert all(shorten(name) in drawn for name in NASTY)
        assert plain(r"$\kind0$") in drawn
    plt.close("all")


@pytest.mark.parametrize("plot", list(PLOTS))
def test_every_plot_has_a_size_a_heading_and_a_file(screen, plot, tmp_path, monkeypatch):
    shown = []
    monkeypatch.setattr(plt, "show", lambda: shown.append(plot))
    path = tmp_path / "plot.png"
    ax = PLOTS[plot](screen, figsize=(9, 5), title=r"$\mine$", show=False, save=path)
    assert isinstance(ax, Axes)
    assert ax.figure.get_size_inches().tolist() == [9, 5]
    assert plain(r"$\mine$") in texts(ax.figure)
    assert path.stat().st_size > 1000
    assert shown == []
    PLOTS[plot](screen, show=True)
    assert shown == [plot]
    plt.close("all")


def test_colours_and_labels_of_the_plane(screen):
    for color in ("$kind_1$", r"$\size_1$", "cause"):
        texts(sh.pl.coherence(screen, color=color, x=r"$\size_1$", label=NASTY[:3]).figure)
        plt.close("all")
