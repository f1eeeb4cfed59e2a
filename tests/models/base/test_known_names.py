"""Names that a model was never told of are refused by all models, with names that are near."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import shoal as sh
from shoal.models.base._registry import model_class
from shoal.models.base._registry import names as registered_names
from shoal.models.base._requests import in_words

from ...helpers import dense

BASELINES = registered_names("baseline")
UNMEASURED = (
    "control",
    "perturbed_mean",
    "context_mean",
    "mean_shift",
    "own_shift",
    "nearest_context",
    "context_weighted",
    "cell_knn_shift",
    "scaled_sources",
)


@pytest.fixture
def adata():
    """Named after genes; GENE2 is held out, and GENE1+GENE3 is a combination of training."""
    names = [*(f"GENE{i}" for i in range(1, 6)), "GENE1+GENE3"]
    rng = np.random.default_rng(0)
    label = np.repeat(["control", *names], [60, *[20] * len(names)])
    found = ad.AnnData(rng.normal(size=(len(label), 12)).astype(np.float32))
    found.var_names = [f"GENE{i}" for i in range(1, 13)]
    found.obs["perturbation"] = label
    found.obs["split"] = np.where(label == "GENE2", "test", "train")
    found.obs["line"] = np.where(np.arange(len(label)) % 2, "one", "two")
    sh.pp.annotate(found, "perturbation", control="control", context_key="line")
    return found


def vectors(*names):
    return pd.DataFrame(
        np.random.default_rng(1).normal(size=(len(names), 4)), index=list(names), dtype=np.float64
    )


def fitted(adata, name):
    table = vectors(*(f"GENE{i}" for i in range(1, 6)))
    takes = name in ("latent_linear", "kernel_ridge", "nearest")
    return sh.tl.fit(adata, name, **({"embedding": table} if takes else {}))


@pytest.mark.parametrize("name", BASELINES)
@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (
            "TYPO",
            "'TYPO' did not occur in the screen .* which name 5 perturbations; some are 'GENE1'",
        ),
        ("GENE33", "near are 'GENE3'"),
        ("gene3", "near are 'GENE3'"),
        ("", "'' did not occur in the screen"),
        ("GENE1+TYPO", r"'GENE1\+TYPO' holds 'TYPO', which did not occur in the screen"),
        (["GENE1", "TYPO", "TYPE"], "'TYPO', 'TYPE' did not occur in the screen"),
        (5, "'5' did not occur in the screen"),
    ],
)
def test_a_name_that_is_known_nowhere_is_refused(adata, name, asked, said):
    model = fitted(adata, name)
    with pytest.raises(KeyError, match=said):
        model.predict(asked, n_cells=3)


def test_blanks_around_a_name_do_not_count(adata):
    model = sh.tl.fit(adata, "own_shift")
    given, plain = (model.predict(name, n_cells=5) for name in (" GENE3 ", "GENE3"))
    np.testing.assert_array_equal(given.X, plain.X)
    assert set(given.obs["perturbation"]) == {"GENE3"}


@pytest.mark.parametrize("name", [name for name in BASELINES if not model_class(name).draws])
def test_transport_refuses_it_too(adata, name):
    model = fitted(adata, name)
    with pytest.raises(KeyError, match="'TYPO' did not occur in the screen"):
        model.transport(adata[:4].copy(), "TYPO")


@pytest.mark.parametrize("name", UNMEASURED)
def test_what_was_held_out_is_known_also_after_a_file(adata, name, tmp_path):
    model = sh.tl.fit(adata, name)
    for asked in ("GENE2", "GENE2+GENE5"):
        assert model.predict(asked, n_cells=3).n_obs == 3
    model.save(tmp_path / "m")
    back = sh.models.load(tmp_path / "m", adata[adata.obs["perturbation"] != "GENE2"].copy())
    assert back.predict("GENE2", n_cells=3).n_obs == 3
    with pytest.raises(KeyError, match="which name 5 perturbations"):
        back.predict("GENE22")


def test_an_embedding_and_a_screen_that_is_predicted_tell_of_names_too(adata):
    both = vectors(*(f"GENE{i}" for i in range(1, 6)), "NEW")
    assert sh.tl.fit(adata, "nearest", embedding=both).predict("NEW", n_cells=3).n_obs == 3
    alone = sh.tl.fit(adata, "mean_shift")
    with pytest.raises(KeyError, match="'NEW' did not occur in the screen"):
        alone.predict("NEW")
    other = adata.copy()
    other.obs["perturbation"] = other.obs["perturbation"].astype(str).replace("GENE4", "NEW")
    assert alone.predict("NEW", adata=other, n_cells=3).n_obs == 3
    sh.tl.predict(other, alone)
    assert other.obs["predicted_predicted"][other.obs["perturbation"] == "NEW"].all()


def test_genes_of_the_data_are_known_where_genes_are_the_vectors(adata):
    model = sh.tl.fit(adata, "latent_linear")
    assert model.predict("GENE9", n_cells=3).n_obs == 3
    with pytest.raises(KeyError, match="near are 'GENE12'"):
        model.predict("GENE123")


def test_all_perturbations_are_those_that_can_be_predicted(adata, caplog):
    model = sh.tl.fit(adata, "nearest")
    made = model.predict(n_cells=2)
    assert "GENE2" not in set(made.obs["perturbation"])
    assert made.obs["perturbation"].nunique() == 5
    assert "left out, and not predicted: 'GENE2' did not occur in training" in caplog.text
    assert "'GENE2'" in made.uns["perturbation_predictions"]["params"]["skipped"]
    assert list(model.cannot_predict(["GENE1", "GENE2", "TYPO"])) == ["TYPO", "GENE2"]


def test_a_context_that_cannot_be_predicted_is_left_out(adata, caplog):
    adata.obs["day"] = np.where(np.arange(adata.n_obs) % 2, "day 1", "day 2")
    late = (adata.obs["day"] == "day 2") & (adata.obs["perturbation"] != "control")
    adata.obs["split"] = np.where(late, "test", "train")
    sh.pp.annotate(adata, "perturbation", control="control", context_key="day")
    model = sh.tl.fit(adata, "context_mean")
    sh.tl.predict(adata, model)
    assert (
        adata.obs["predicted_predicted"] == (~late & (adata.obs["perturbation"] != "control"))
    ).all()
    said = (
        "context 'day 2' cannot be predicted by context_mean: it has no perturbed cell in training"
    )
    assert said in caplog.text
    assert said in adata.uns["perturbation_predictions"]["params"]["skipped"]
    layers = {name: dense(values).copy() for name, values in adata.layers.items()}
    with pytest.raises(ValueError, match=said):
        sh.tl.predict(adata, model, subset="test")
    np.testing.assert_array_equal(dense(adata.layers["predicted"]), layers["predicted"])
    with pytest.raises(ValueError, match="context 'day 2' cannot be predicted"):
        model.predict("GENE1", context="day 2")


@pytest.mark.parametrize("dose", [np.inf, -1.0, 0, "much", np.nan, True, None])
def test_a_dose_that_is_none_is_refused(adata, dose):
    adata.obs["dose"] = np.where(adata.obs["perturbation"] == "control", 0.0, 2.0)
    sh.pp.annotate(adata, "perturbation", control="control", dose_key="dose")
    with pytest.raises(ValueError, match="dose"):
        sh.tl.fit(adata, "mean_shift").predict("GENE1", dose=dose)


def test_a_dose_beyond_those_of_training_is_told_of_once(adata, caplog):
    adata.obs["dose"] = np.where(np.arange(adata.n_obs) % 2, 1.0, 10.0)
    sh.pp.annotate(adata, "perturbation", control="control", dose_key="dose")
    model = sh.tl.fit(adata, "mean_shift")
    model.predict("GENE1", dose=3.0, n_cells=3)
    assert not caplog.records
    model.predict("GENE1", dose=300.0, n_cells=3)
    assert [r.getMessage()[:54] for r in caplog.records] == [
        "dose 300 lies outside those of training, 1 to 10: base"
    ]


def test_a_message_shows_some_names_and_a_record_all():
    reasons = {f"P{i:02d}": "is lost" for i in range(15)} | {"context 'a'": "is too"}
    assert in_words(reasons).endswith("'P11' and 3 more is lost; context 'a' is too")
    assert "'P14' is lost" in in_words(reasons, most=None)
