"""What can be wrong with a screen or a setting of Unlasting: it is said clearly, or it does no harm."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import shoal as sh

torch = pytest.importorskip("torch", reason="networks need the extra 'models'")
pytest.importorskip("scvi", reason="networks need the extra 'models'")

from shoal.models.base._config import changed  # noqa: E402
from shoal.models.unlasting._config import PRESETS, UnlastingConfig  # noqa: E402

from ...helpers import dense  # noqa: E402

SHORT = {"max_steps": 3}
each_preset = pytest.mark.parametrize("preset", PRESETS)


# -- the graph -------------------------------------------------------------------------------------


def test_a_graph_of_unknown_genes_is_refused(genes, fit_unlasting):
    table = pd.DataFrame({"source": ["TP53", "MYC"], "target": ["MYC", "P1"]})
    keys = set(genes.uns)
    with pytest.raises(
        ValueError, match=r"none of its 2 edges joins two features\. It names .*TP53"
    ):
        fit_unlasting(genes, config={"gene_graph": table})
    assert set(genes.uns) == keys


def test_a_graph_that_is_none(genes, fit_unlasting):
    with pytest.raises(ValueError, match="which columns of .* are the ends of an edge"):
        fit_unlasting(genes, config={"gene_graph": pd.DataFrame({"a": [1.0], "b": [2.0]})})
    with pytest.raises(
        FileNotFoundError, match="gene_graph='nothing.csv' is neither a file nor an embedding"
    ):
        fit_unlasting(genes, config={"gene_graph": "nothing.csv"})
    with pytest.raises(TypeError, match="source of a network must be an edge list"):
        fit_unlasting(genes, config={"gene_graph": 3})
    names = [f"z{i}" for i in range(4)]
    genes.uns["perturbation_embeddings"] = {"odd": pd.DataFrame(np.eye(4), index=names)}
    with pytest.raises(ValueError, match="0 of the 4 names of this embedding are features"):
        fit_unlasting(genes, config={"gene_graph": "odd"})


def test_a_graph_without_any_edge_is_told(genes, fit_unlasting, caplog):
    model = fit_unlasting(genes, config={"threshold": 1.0}, **SHORT)
    assert "no two genes have a correlation of 1 or more in control cells" in caplog.text
    assert np.isfinite(dense(model.predict("P1", n_cells=5).X)).all()


# -- perturbations ---------------------------------------------------------------------------------


@each_preset
def test_perturbations_that_are_no_genes(screen, fit_unlasting, caplog, preset):
    caplog.set_level("INFO")
    sh.pp.split(screen, by="perturbation", test=["P2"])
    model = fit_unlasting(screen, preset=preset, **SHORT)
    assert "no perturbation is named after a feature ('P1', 'P3', 'P4', 'P5')" in caplog.text
    for name in ("P2", "P1+P2"):
        with pytest.raises(
            KeyError, match="'P2',? (which )?did not occur in training, and one-hot"
        ):
            model.predict(["P1", name])


def test_a_combination_with_a_part_that_has_no_vector(screen, fit_unlasting):
    table = pd.DataFrame(np.eye(5, 3), index=["P1", "P2", "P3", "P4", "P5"])
    with pytest.raises(KeyError, match="perturbations of training have no vector in the embedding"):
        fit_unlasting(screen, embedding=table.drop(index="P5"))
    model = fit_unlasting(screen, embedding=table, **SHORT)
    with pytest.raises(KeyError, match="'P7', which did not occur in the screen"):
        model.predict("P1+P7")


def test_a_perturbed_gene_that_is_never_expressed(genes, fit_unlasting):
    x = dense(genes.X)
    x[:, 0] = 0  # P1, in all cells
    genes.X = x
    for preset in PRESETS:
        model = fit_unlasting(genes, preset=preset, **SHORT)
        assert not {0} & set(np.asarray(model.edges).ravel().tolist())
        made = dense(model.predict("P1", n_cells=30, cross_context=False).X)
        assert np.isfinite(made).all()


def test_doses_of_perturbations_without_vectors_of_molecules(screen, fit_unlasting):
    own = (screen.obs["perturbation"] != "control").to_numpy()
    screen.obs["dose"] = np.where(own, np.tile([0.1, 10.0], len(own))[: len(own)], np.nan)
    sh.pp.annotate(screen, "perturbation", control="control", dose_key="dose", overwrite=True)
    model = fit_unlasting(screen, preset="published", **SHORT)
    one, two = (dense(model.predict("P1", dose=d, n_cells=9).X) for d in (0.1, 10.0))
    assert np.isfinite(one).all()
    assert np.abs(one.mean(0) - two.mean(0)).max() > 5e-3
    with pytest.raises(ValueError, match="dose"):
        model.predict("P1")


# -- values ----------------------------------------------------------------------------------------


def test_genes_that_are_off_in_all_training_cells_stay_off(genes, fit_unlasting):
    x = dense(genes.X)
    x[:, 20:25] = 0
    genes.X = x
    for preset in PRESETS:
        model = fit_unlasting(genes, preset=preset, **SHORT)
        made = dense(model.predict("P1", n_cells=40, cross_context=False).X)
        assert np.isfinite(made).all()
        assert not made[:, 20:25].any()
        assert not model.mask("P1").to_numpy()[:, 20:25].any()


@each_preset
def test_values_without_zeros_take_no_mask(screen, fit_unlasting, preset):
    screen.X = dense(screen.X) + 0.1
    with pytest.raises(ValueError, match=r"training cells hold no value of 0\. Train without one"):
        fit_unlasting(screen, preset=preset)
    screen.X = dense(screen.X) - 1.0
    with pytest.raises(ValueError, match="values below 0, or features that are no genes"):
        fit_unlasting(screen, preset=preset)
    with pytest.raises(ValueError, match="values below 0, or features that are no genes"):
        fit_unlasting(screen, preset=preset, use_rep="X_pca")
    model = fit_unlasting(screen, preset=preset, config={"mask": None, "on_values": False}, **SHORT)
    assert (dense(model.predict("P1", n_cells=30).X) < 0).any()


def test_a_representation_without_a_mask(screen, fit_unlasting):
    off = {"mask": None, "on_values": False}
    made = fit_unlasting(screen, use_rep="X_pca", config=off, **SHORT).predict("P1", n_cells=9)
    assert made.shape == (9, 8)


@each_preset
@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda x: np.round(np.expm1(x) * 1e4), "raw counts"),
        (lambda x: x * 1e4, "normalised, but not logged"),
        (lambda x: np.where(np.arange(60) == 3, np.nan, x), "NaN or infinite values in 360 of 360"),
        (
            lambda x: 0 * x + 1.5 * (np.arange(60) > 2),
            "training cells do not vary in any of the 60",
        ),
    ],
    ids=["counts", "not logged", "missing", "constant"],
)
def test_values_that_cannot_be_learned_from(screen, fit_unlasting, preset, spoil, words):
    screen.X = spoil(dense(screen.X))
    keys = set(screen.uns)
    with pytest.raises(ValueError, match=words):
        fit_unlasting(screen, preset=preset)
    assert set(screen.uns) == keys


# -- settings --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"mask": "all"}, ValueError, "mask='all' is not known; choose one of 'bernoulli'"),
        ({"read_out": "edge"}, ValueError, "read_out='edge' is not known; choose one of 'node', "),
        ({"inversion": "euler"}, ValueError, "inversion='euler' is not known"),
        (
            {"norm": "group"},
            ValueError,
            "norm='group' is not known; choose one of 'batch', 'layer'",
        ),
        ({"mask": None}, ValueError, "mask=None draws no zeros, .*set on_values=False"),
        ({"mask": "counts", "on_values": False, "match_zeros": False}, ValueError, "match_zeros"),
        (
            {"control_input": None},
            ValueError,
            "need a control cell: control_input must not be None",
        ),
        ({"grid": 501}, ValueError, "grid=501 steps cannot be taken of a chain of 500"),
        ({"n_steps": 51}, ValueError, "n_steps=51 is more than the grid=50 steps"),
        ({"low": 0.9, "high": 0.5}, ValueError, "low=0.9 must not be above high=0.5"),
        ({"threshold": 2.0}, ValueError, "threshold must be a number from 0 to 1, not 2.0"),
        ({"gamma": 0.0}, ValueError, "gamma must be"),
        ({"width": 0}, ValueError, "width must be a whole number of at least 1, not 0"),
        ({"decoder": 1.5}, TypeError, "decoder is a whole number, not 1.5"),
        ({"guidance": "2"}, TypeError, "guidance is one number for all covariates"),
        ({"energy": -1.0}, ValueError, "energy must be a number from 0 to inf, not -1.0"),
        ({"sampler": "heun"}, TypeError, "has no setting 'sampler'"),
    ],
    ids=str,
)
def test_config_names_what_does_not_fit(changes, error, words):
    with pytest.raises(error, match=words):
        changed(UnlastingConfig(), changes)


@pytest.mark.parametrize(("name", "value"), [("gene_graph", None), ("mask", "bernoulli")])
def test_a_setting_of_the_model_is_none_of_training(genes, fit_unlasting, name, value):
    words = rf"no setting '{name}': it is one of the model, .* as config=\{{'{name}': \.\.\.\}}"
    with pytest.raises(TypeError, match=words):
        fit_unlasting(genes, **{name: value})


def test_options_of_a_prediction(genes, fit_unlasting):
    model = fit_unlasting(genes, **SHORT)
    with pytest.raises(ValueError, match="n_steps=51 is more than the grid=50 steps"):
        model.predict("P1", n_steps=51)
    with pytest.raises(ValueError, match="was trained without a network of control cells"):
        model.predict("P1", inversion="ddim")
    with pytest.raises(TypeError, match="Unlasting has no option 'sampler'"):
        model.predict("P1", sampler="heun")
