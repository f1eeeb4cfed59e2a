"""Predicted cells beside real ones: in the PCA, and gene by gene."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib import pyplot as plt
from matplotlib.collections import PathCollection
from matplotlib.colors import to_rgb
from matplotlib.quiver import Quiver
from scipy import sparse

import shoal as sh
from shoal.pl._style import PREDICTED, REAL

from ..helpers import dense


@pytest.fixture(scope="module")
def _screen():
    adata = sh.ds.simulate(
        n_perturbations=4, n_cells=60, n_control=200, n_genes=80, effect_size=6.0, rng=0
    )
    sh.pp.annotate(adata, "perturbation", control="control", context_key="batch")
    sh.pp.prepare(adata, normalize="log1p", n_comps=8)
    perturbed = (adata.obs["perturbation"] != "control").to_numpy()
    twins = np.array(dense(adata.X))
    twins[perturbed] = twins[perturbed][::-1]  # some other perturbation's cells
    adata.layers["twins"] = twins
    adata.obs["twins_predicted"] = perturbed
    adata.layers["perfect"] = np.array(dense(adata.X))
    return adata


@pytest.fixture
def screen(_screen):
    return _screen.copy()


def clouds(ax):
    return [np.asarray(c.get_offsets()) for c in ax.collections]


def arrows(ax):
    return [np.array(t.xy) for t in ax.texts if t.arrow_patch is not None][1::2]


def test_perfect_twins_lie_on_the_real_cells(screen):
    ax = sh.pl.populations(screen, "P1", prediction="perfect")
    control, real, twins = clouds(ax)
    assert (len(control), len(real), len(twins)) == (200, 60, 60)
    np.testing.assert_allclose(twins, real, atol=1e-4)
    np.testing.assert_allclose(control.mean(axis=0), 0, atol=1e-5)
    assert ax.get_title(loc="left") == "P1\nmean shifts: cosine 1.00, length × 1.00"
    assert [t.get_text() for t in ax.get_legend().get_texts()] == [
        "control (200)",
        "real (60)",
        "perfect (60)",
    ]


def test_the_plane_holds_both_shifts_in_full(screen):
    ax = sh.pl.populations(screen, "P1", prediction="twins", max_cells=20)
    label = screen.obs["perturbation"].to_numpy()
    scores = screen.obsm["X_pca"].astype(float)
    shift = scores[label == "P1"].mean(axis=0) - scores[label == "control"].mean(axis=0)
    other = (screen.layers["twins"] - screen.X)[label == "P1"].mean(axis=0) @ screen.varm[
        "PCs"
    ] + shift
    other = np.asarray(other).ravel()
    real, predicted = arrows(ax)
    np.testing.assert_allclose(real, [np.linalg.norm(shift), 0], atol=1e-5)
    assert np.linalg.norm(predicted) == pytest.approx(np.linalg.norm(other), rel=1e-4)
    cosine = shift @ other / np.linalg.norm(shift) / np.linalg.norm(other)
    assert predicted[0] / np.linalg.norm(predicted) == pytest.approx(cosine, abs=1e-4)
    assert predicted[1] > 0
    assert f"{cosine:.2f}".replace("-", "−") in ax.get_title(loc="left")
    assert [len(c) for c in clouds(ax)] == [20, 20, 20]


def test_components_as_asked_and_a_panel_each(screen):
    ax = sh.pl.populations(screen, "P2", prediction="twins", components=(1, 3))
    scores = screen.obsm["X_pca"][:, [0, 2]].astype(float)
    label = screen.obs["perturbation"].to_numpy()
    expected = scores[label == "P2"] - scores[label == "control"].mean(axis=0)
    np.testing.assert_allclose(clouds(ax)[1], expected, atol=1e-5)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("PC1", "PC3")
    again = sh.pl.populations(screen, "P2", prediction="twins", components=(1.0, np.uint8(3)))
    np.testing.assert_array_equal(clouds(again)[1], clouds(ax)[1])
    assert (again.get_xlabel(), again.get_ylabel()) == ("PC1", "PC3")
    several = sh.pl.populations(screen, ["P1", "P2", "P3"], prediction="twins")
    assert [a.get_title(loc="left").splitlines()[0] for a in several] == ["P1", "P2", "P3"]
    assert len(several[0].figure.axes) == 3


def test_sparse_prediction_one_context_and_a_representation(screen):
    from_array = clouds(sh.pl.populations(screen, "P1", prediction="twins"))
    screen.layers["twins"] = sparse.csr_matrix(screen.layers["twins"])
    for a, b in zip(
        from_array, clouds(sh.pl.populations(screen, "P1", prediction="twins")), strict=True
    ):
        np.testing.assert_allclose(a, b, atol=1e-5)
    batch = screen.obs["batch"].astype(str)
    inside = clouds(sh.pl.populations(screen, "P1", prediction="twins", context=batch.iloc[0]))
    assert (
        len(inside[1])
        == ((screen.obs["perturbation"] == "P1") & (batch == batch.iloc[0])).sum()
        < 60
    )
    screen.obsm["X_latent"] = screen.obsm["X_pca"] + 1
    _, real, twins = clouds(sh.pl.populations(screen, "P1", prediction="latent", components=(1, 2)))
    np.testing.assert_allclose(twins, real + 1, atol=1e-5)


def test_only_predicted_cells_and_what_they_stand_beside(screen):
    screen.obs["twins_predicted"] = screen.obs["twins_predicted"] & (
        np.arange(screen.n_obs) % 2 == 0
    )
    n = int((screen.obs["twins_predicted"] & (screen.obs["perturbation"] == "P1")).sum())
    _, real, twins = clouds(sh.pl.populations(screen, "P1", prediction="twins"))
    assert len(real) == len(twins) == n < 60


def test_genes_are_distributions_of_the_most_changed(screen):
    axes = sh.pl.genes(screen, "P1", prediction="perfect", n_genes=4)
    label = screen.obs["perturbation"].to_numpy()
    x = screen.to_df()
    real, control = x[label == "P1"], x[label == "control"]
    t = (real.mean() - control.mean()).abs() / np.sqrt(
        real.var(ddof=0) / 59 + control.var(ddof=0) / 199
    )
    assert [ax.get_title(loc="left") for ax in axes] == t.nlargest(4).index.tolist()
    of_control, of_real, of_twins = axes[0].lines
    np.testing.assert_array_equal(of_real.get_xdata(), of_twins.get_xdata())
    zeros = (control.iloc[:, x.columns.get_loc(t.idxmax())] == 0).mean()
    at = of_control.get_xdata() <= 0
    assert of_control.get_ydata()[at].max(initial=0) == pytest.approx(zeros)
    screen.X = sparse.csr_matrix(screen.X)
    again = sh.pl.genes(screen, "P1", prediction="perfect", n_genes=4)
    assert [ax.get_title(loc="left") for ax in again] == [ax.get_title(loc="left") for ax in axes]
    (only,) = sh.pl.genes(screen, "P1", prediction="perfect", genes=["gene03"])
    assert only.get_title(loc="left") == "gene03"


def test_structure_of_perfect_twins_is_that_of_the_real_cells(screen):
    genes = screen.var_names[:5].tolist()
    axes = sh.pl.populations(
        screen, "P1", prediction="perfect", structure=True, gene_sets={"S": [*genes, "absent"]}
    )
    said = [ax.get_title(loc="left").splitlines() for ax in axes]
    assert [title for title, _ in said] == [
        *("P1", "library sizes", "zeros, gene by gene", "correlations of 80 genes", "S")
    ]
    assert said[2][1].startswith("mean error 0.000, of controls 0.")
    for ax in axes[3:]:
        real, predicted = (part.split()[-1] for part in ax.get_title(loc="left").split("predicted"))
        assert real.rstrip(",") == predicted
    scores = screen.to_df()[genes].mean(axis=1) - screen.to_df().mean(axis=1)
    spread = scores[screen.obs["perturbation"] == "P1"].std()
    assert said[4][1] == f"SD real {spread:.2f}, predicted {spread:.2f}"
    assert axes[4].get_xlabel() == "score by 5 genes"


def test_structure_shows_what_is_wrong(screen):
    """All cells of the prediction are moved along one direction, each by another amount."""
    label = (screen.obs["perturbation"] == "P1").to_numpy()
    amount = np.random.default_rng(0).uniform(0, 2, size=(int(label.sum()), 1))
    screen.layers["perfect"][label] += amount * (np.arange(80) < 40)
    _, library, zeros, correlations = sh.pl.populations(
        screen, "P1", prediction="perfect", structure=True
    )
    real, predicted = (
        sh.metrics.library_spread(cells[label])
        for cells in (dense(screen.X), screen.layers["perfect"])
    )
    expected = f"SD of the log real {real:.2f}, predicted {predicted:.2f}"
    assert library.get_title(loc="left").splitlines()[1] == expected
    assert predicted > real + 0.1
    control, twins = (np.asarray(c.get_offsets()) for c in zeros.collections)
    np.testing.assert_array_equal(control[:, 0], twins[:, 0])
    shares = (dense(screen.X)[label] == 0).mean(axis=0)
    np.testing.assert_allclose(np.sort(twins[:, 0]), np.sort(shares))
    assert (twins[:40, 1] == 0).all()
    mean_square = correlations.get_title(loc="left").splitlines()[1].split()
    assert float(mean_square[-1]) > float(mean_square[3].rstrip(",")) + 0.05


def test_structure_of_several_perturbations_and_of_sparse_cells(screen):
    screen.layers["twins"] = sparse.csr_matrix(screen.layers["twins"])
    axes = sh.pl.populations(screen, ["P1", "P2"], prediction="twins", structure=True)
    assert axes.shape == (2, 4)
    assert len({ax.figure for ax in axes.ravel()}) == 1
    assert len(axes[0, 3].collections[0].get_offsets()) == 2000  # of 80 * 79 / 2 pairs


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"gene_sets": ["gene01"]}, "pass structure=True too"),
        ({"structure": True, "gene_sets": {"S": ["X1", "X2"]}}, "none of the 2 genes of the set"),
        (
            {"structure": True, "gene_sets": {str(i): ["gene01"] for i in range(7)}},
            "7 gene sets do not fit",
        ),
    ],
)
def test_structure_that_cannot_be_drawn(screen, options, said):
    with pytest.raises(ValueError, match=said):
        sh.pl.populations(screen, "P1", prediction="twins", **options)


def test_structure_needs_log_normalised_genes_and_its_own_figure(screen):
    ax = plt.figure().subplots()
    with pytest.raises(ValueError, match="do not fit into one ax"):
        sh.pl.populations(screen, "P1", prediction="twins", structure=True, ax=ax)
    with pytest.raises(TypeError, match="structure must be True or False"):
        sh.pl.populations(screen, "P1", prediction="twins", structure=1)
    screen.obsm["X_latent"] = screen.obsm["X_pca"]
    with pytest.raises(ValueError, match="no library sizes and no zeros"):
        sh.pl.populations(screen, "P1", prediction="latent", structure=True)
    screen.X = dense(screen.X) - 1
    screen.layers["perfect"] = dense(screen.X)
    with pytest.raises(ValueError, match="hold values such as -1; leave structure out"):
        sh.pl.populations(screen, "P1", prediction="perfect", structure=True)


def test_errors(screen):
    for plot in (sh.pl.populations, sh.pl.genes):
        with pytest.raises(
            KeyError, match=r"sh\.tl\.predict\(adata, model, key_added='flow'\) writes it"
        ):
            plot(screen, "P1", prediction="flow")
        with pytest.raises(KeyError, match="'Z' is not in"):
            plot(screen, "Z", prediction="twins")
        with pytest.raises(KeyError, match="'day 9' is not in"):
            plot(screen, "P1", prediction="twins", context="day 9")
    with pytest.raises(ValueError, match="two numbers from 1 to 8"):
        sh.pl.populations(screen, "P1", prediction="twins", components=(0, 1))
    with pytest.raises(ValueError, match="do not fit into one ax"):
        sh.pl.populations(screen, ["P1", "P2"], prediction="twins", ax=plt.figure().subplots())
    with pytest.raises(ValueError, match="n_genes must be a whole number"):
        sh.pl.genes(screen, "P1", prediction="twins", n_genes=0)
    screen.obsm["X_latent"] = screen.obsm["X_pca"][:, :3]
    with pytest.raises(ValueError, match="has 3 dimensions and 'X_pca' 8"):
        sh.pl.populations(screen, "P1", prediction="latent")
    with pytest.raises(ValueError, match="has no genes"):
        sh.pl.genes(screen, "P1", prediction="latent")
    del screen.varm["PCs"]
    with pytest.raises(ValueError, match=r"adata\.varm\['PCs'\]"):
        sh.pl.populations(screen, "P1", prediction="twins")
    screen.obs["twins_predicted"] = False
    with pytest.raises(ValueError, match="0 of 60 cells of 'P1'"):
        sh.pl.genes(screen, "P1", prediction="twins")


def test_a_screen_without_contexts_and_nan_twins(screen):
    screen.layers["twins"][(screen.obs["perturbation"] == "P1").to_numpy(), 0] = np.nan
    with pytest.raises(ValueError, match="holds NaN for cells of 'P1'"):
        sh.pl.populations(screen, "P1", prediction="twins")
    sh.pp.annotate(screen, "perturbation", control="control")
    with pytest.raises(ValueError, match="this screen was annotated without a context"):
        sh.pl.genes(screen, "P2", prediction="twins", context="b0")
    assert not plt.get_fignums()


def test_the_target_is_not_among_its_own_genes(screen):
    def shown(**more):
        axes = sh.pl.genes(screen, "P1", prediction="perfect", **more)
        return [ax.get_title(loc="left") for ax in axes]

    first, *rest = shown(n_genes=4)
    screen.var_names = ["P1" if name == first else name for name in screen.var_names]
    assert shown(n_genes=3) == rest
    assert shown(genes=["P1"]) == ["P1"]


def test_real_and_predicted_cells_have_the_colours_of_all_pictures(screen):
    model = sh.tl.fit(screen, "mean_shift")
    sh.tl.predict(screen, model, key_added="own")
    pair = to_rgb(REAL), to_rgb(PREDICTED)

    _, real, predicted = sh.pl.populations(screen, "P1", prediction="own").collections
    assert (tuple(real.get_facecolor()[0, :3]), tuple(predicted.get_facecolor()[0, :3])) == pair

    cells = {type(c): c for c in sh.pl.transport(screen, "P1", prediction="own").collections[1:3]}
    assert tuple(cells[PathCollection].get_facecolor()[0, :3]) == pair[0]
    assert tuple(cells[Quiver].get_facecolor()[0, :3]) == pair[1]

    _, real, predicted = sh.pl.genes(screen, "P1", prediction="own")[0].lines
    assert (to_rgb(real.get_color()), to_rgb(predicted.get_color())) == pair

    predicted = sh.pl.bimodality(screen, "P1", prediction="own")[0].collections[1]
    assert tuple(predicted.get_facecolor()[0, :3]) == pair[1]


@pytest.fixture
def one_context_predicted(screen):
    """A screen whose second context lies far away, and a perfect prediction of the first alone."""
    batch = screen.obs["batch"].astype(str).to_numpy()
    first = batch == batch[0]
    values = np.array(dense(screen.X))
    values[~first] += 2 * np.abs(np.random.default_rng(0).normal(size=values.shape[1]))
    screen.X = values
    sh.pp.prepare(screen, n_comps=8, overwrite=True)
    mine = first & (screen.obs["perturbation"] == "P1").to_numpy()
    controls = first & (screen.obs["perturbation"] == "control").to_numpy()
    screen.layers["here"] = values.copy()
    screen.layers["here"][mine] = values[np.flatnonzero(controls)[: mine.sum()]]
    screen.obs["here_predicted"] = mine
    screen.obs["here_source"] = screen.obs_names[0]
    screen.obs.loc[mine, "here_source"] = screen.obs_names[controls][: mine.sum()]
    return screen, int(controls.sum()), int(mine.sum()), str(batch[0])


@pytest.mark.parametrize("plot", ["populations", "transport", "genes", "bimodality"])
def test_controls_are_of_the_contexts_that_were_predicted(one_context_predicted, plot):
    screen, n_control, n, context = one_context_predicted
    drawn = {
        c: getattr(sh.pl, plot)(screen, "P1", prediction="here", context=c) for c in (None, context)
    }

    def said(axes):
        first = axes if plot in ("populations", "transport") else axes[0]
        figure = first.figure
        texts = [t.get_text() for t in figure.legends[0].get_texts()] if figure.legends else []
        return texts, [first.get_title(loc="left"), *clouds(first)]

    for a, b in zip(said(drawn[None])[1], said(drawn[context])[1], strict=True):
        np.testing.assert_array_equal(a, b)
    if plot in ("populations", "transport"):
        legend = [t.get_text() for t in drawn[None].get_legend().get_texts()]
        assert legend[:2] == [f"control ({n_control})", f"real ({n})"]
    elif plot == "genes":
        assert said(drawn[None])[0][:2] == [f"control ({n_control})", f"real ({n})"]


def test_a_context_without_controls(one_context_predicted):
    screen, _, _, context = one_context_predicted
    mine = (screen.obs["perturbation"] == "P1").to_numpy()
    there = (screen.obs["batch"].astype(str) == context).to_numpy()
    kept = screen[~there | mine].copy()
    with pytest.raises(
        ValueError, match="contexts of the cells that 'here' predicts have 0 control"
    ):
        sh.pl.genes(kept, "P1", prediction="here")
