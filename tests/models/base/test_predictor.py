"""Requests and twins, shown on the simplest model there is: the control cell itself."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import shoal as sh
from shoal.core._population import population
from shoal.core._screen import resolve
from shoal.models.base._learning import learn_vocabulary
from shoal.models.base._plain import from_plain, to_plain
from shoal.models.base._predictor import Predictor


class Copy(Predictor):
    """Every predicted cell is the control cell that it starts from, plus 100 times the code of its perturbation."""

    options = ("gain",)

    def __init__(self, adata, *, use_rep=None):
        self.cells = population(adata, resolve(adata), use_rep=use_rep)
        self.vocabulary = learn_vocabulary(self.cells, layer=None, use_rep=use_rep, embedding=None)

    def _generate(self, wanted, cells, rng, gain=0.0):
        return cells.values(wanted.source) + np.float32(gain) * wanted.perturbation[:, None]


@pytest.fixture
def adata(rng):
    """Two contexts (integers), two batches, controls everywhere; A in both contexts, A+B and C/D in the first only."""
    sizes = {
        ("control", 1): 40,
        ("control", 2): 30,
        ("A", 1): 12,
        ("A", 2): 8,
        ("B+A", 1): 10,
        ("C/D", 1): 6,
    }
    label = [(p, c) for (p, c), n in sizes.items() for _ in range(n)]
    found = ad.AnnData(rng.random((len(label), 5)).astype(np.float32) * 3)
    found.obs_names = [f"cell{i}" for i in range(len(label))]
    found.obs["perturbation"] = [p for p, _ in label]
    found.obs["day"] = [c for _, c in label]
    found.obs["plate"] = np.where(np.arange(len(label)) % 2 == 0, "x", "y")
    sh.pp.annotate(found, "perturbation", control="control", context_key="day", batch_key="plate")
    return found


def test_predict_returns_cells_of_what_was_asked(adata):
    made = Copy(adata).predict(["A", "A+B"], context="2", n_cells=15)
    assert made.shape == (30, 5)
    assert list(made.obs["perturbation"].cat.categories) == ["A", "B+A"], "as the screen writes it"
    assert (made.obs["perturbation"].value_counts() == 15).all()
    assert set(made.obs["day"]) == {"2"}
    assert made.obs_names.is_unique
    source = adata[made.obs["source"].to_numpy()]
    assert set(source.obs["perturbation"]) == {"control"}
    assert set(source.obs["day"]) == {2}
    np.testing.assert_array_equal(source.obs["plate"].to_numpy(), made.obs["plate"].astype(str))
    np.testing.assert_allclose(made.X, source.X)


def test_predict_without_a_context_starts_from_all_controls(adata):
    made = Copy(adata).predict("A", n_cells=60)
    assert set(made.obs["day"]) == {"1", "2"}
    assert made.obs["source"].is_unique
    assert Copy(adata).predict().obs["perturbation"].value_counts().to_dict() == {
        "A": 10,
        "B+A": 10,
        "C/D": 10,
    }


def test_predictions_survive_a_file(adata, tmp_path):
    made = Copy(adata).predict(["C/D"], n_cells=4)
    made.write_h5ad(tmp_path / "made.h5ad")
    back = ad.read_h5ad(tmp_path / "made.h5ad")
    np.testing.assert_array_equal(back.X, made.X)
    assert list(back.obs["perturbation"]) == ["C/D"] * 4


def test_twins_start_from_controls_of_their_context_and_batch(adata):
    rows, values, source = Copy(adata).twins()
    np.testing.assert_array_equal(rows, np.flatnonzero(adata.obs["perturbation"] != "control"))
    assert values.shape == (len(rows), 5)
    for key in ("day", "plate"):
        np.testing.assert_array_equal(adata.obs[key].iloc[source], adata.obs[key].iloc[rows])
    np.testing.assert_allclose(values, adata.X[source])


def test_twins_do_not_depend_on_the_order_of_the_rows(adata, rng):
    order = rng.permutation(adata.n_obs)
    rows, _, source = Copy(adata).twins(rng=3)
    shuffled = adata[order].copy()
    rows2, _, source2 = Copy(shuffled).twins(rng=3)
    one = dict(zip(adata.obs_names[rows], adata.obs_names[source], strict=True))
    two = dict(zip(shuffled.obs_names[rows2], shuffled.obs_names[source2], strict=True))
    assert one == two


def test_a_seed_decides(adata):
    first, same, other = (
        Copy(adata).predict("A", n_cells=20, rng=seed).obs["source"].to_list() for seed in (0, 0, 1)
    )
    assert first == same != other


def test_options_reach_the_model_and_unknown_ones_are_refused(adata):
    model = Copy(adata)
    plain, gained = (
        model.predict(["A", "A+B"], n_cells=3),
        model.predict(["A", "A+B"], n_cells=3, gain=7.0),
    )
    np.testing.assert_allclose(
        gained.X - plain.X, np.repeat([[0.0], [7.0]], 3, axis=0) * np.ones(5), rtol=1e-5
    )
    with pytest.raises(
        TypeError, match=r"Copy has no option 'n_steps' for predictions; it takes: gain"
    ):
        model.predict("A", n_steps=3)


def test_sparse_values_come_back_as_csr(adata):
    adata.X = sparse.csr_matrix(np.where(adata.X > 2.5, adata.X, 0))
    made = Copy(adata).predict("A", n_cells=20)
    assert sparse.issparse(made.X)
    np.testing.assert_allclose(made.X.toarray(), adata[made.obs["source"].to_numpy()].X.toarray())


def test_transport_takes_each_cell_in_its_place(adata):
    cells = adata[[70, 3, 71]].copy()
    made = Copy(adata).transport(cells, "A")
    assert list(made.obs["source"]) == list(cells.obs_names)
    np.testing.assert_array_equal(made.X, cells.X)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (
            {"perturbations": ["XX", "A+YY"]},
            KeyError,
            r"'XX' did not occur in the screen.*sh\.pp\.embed.*'A\+YY' holds 'YY', which did not",
        ),
        ({"perturbations": []}, ValueError, "no perturbation was asked for"),
        ({"perturbations": "control"}, ValueError, "the control, 'control', was asked for"),
        ({"perturbations": "A", "context": "9"}, KeyError, r"'9' is not in the contexts.*'1', '2'"),
        ({"perturbations": "A", "dose": 1.0}, ValueError, "annotated without a dose column"),
        ({"perturbations": "A", "n_cells": 0}, ValueError, "n_cells must be a whole number"),
    ],
)
def test_requests_that_mean_nothing(adata, call, error, words):
    with pytest.raises(error, match=words):
        Copy(adata).predict(call.pop("perturbations"), **call)


def test_a_context_of_a_screen_without_contexts(adata):
    sh.pp.annotate(adata, "perturbation", control="control", overwrite=True)
    with pytest.raises(ValueError, match=r"means nothing.*without a context column"):
        Copy(adata).predict("A", context="1")


def test_a_context_without_controls_is_refused_and_twins_there_fall_back(adata, caplog):
    adata = adata[~((adata.obs["perturbation"] == "control") & (adata.obs["day"] == 2))].copy()
    model = Copy(adata)
    with pytest.raises(
        ValueError, match=r"context '2' has no control cell to start from; these have some: 1"
    ):
        model.predict("A", context="2")
    rows, _, source = model.twins()
    assert len(rows) == 36
    np.testing.assert_array_equal(adata.obs["plate"].iloc[source], adata.obs["plate"].iloc[rows])
    assert "context '2' has too few control cells; twins start from same batch" in caplog.text


def test_a_screen_with_doses_needs_one(adata):
    adata.obs["dose"] = np.where(adata.obs["perturbation"] == "control", 0.0, 0.5)
    sh.pp.annotate(adata, "perturbation", control="control", dose_key="dose")
    with pytest.raises(ValueError, match=r"which dose\? Pass dose=...; measured are 0.5"):
        Copy(adata).predict("A")
    assert set(Copy(adata).predict("A", dose=0.1, n_cells=5).obs["dose"]) == {0.1}
    adata.obs["dose"] = (
        adata.obs["dose"].astype(object).where(adata.obs["perturbation"] != "C/D", "1+1")
    )
    with pytest.raises(ValueError, match=r"adata.obs\['dose'\] holds '1\+1', which is no number"):
        Copy(adata)


def test_another_anndata_may_have_its_genes_in_another_order(adata):
    model = Copy(adata)
    other = adata[:, ::-1].copy()
    made = model.predict("A", adata=other, n_cells=5)
    np.testing.assert_allclose(made.X, adata[made.obs["source"].to_numpy()].X)
    assert list(made.var_names) == list(adata.var_names)
    with pytest.raises(
        KeyError,
        match=r"2 of the 5 features that the model was trained on are not in this AnnData: 0, 4",
    ):
        model.predict("A", adata=adata[:, 1:4].copy())


def test_a_representation_is_predicted_as_one(adata, rng):
    adata.obsm["X_pca"] = rng.normal(size=(adata.n_obs, 3))
    made = Copy(adata, use_rep="X_pca").predict("A", n_cells=5)
    assert list(made.var_names) == ["X_pca_0", "X_pca_1", "X_pca_2"]


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda a: a.__setattr__("X", np.rint(a.X * 10)), "raw counts.*sh.pp.prepare"),
        (lambda a: a.__setattr__("X", a.X * 100), "not logged"),
        (lambda a: a.__setattr__("X", a.X * 0), "nothing but zeros"),
        (lambda a: a.X.__setitem__((3, 2), np.nan), "NaN or infinite values in 1 of 106 cells"),
        (lambda a: a.obs.insert(0, "split", "test"), "no perturbed cell with obs.*'train'"),
        (lambda a: a.obs.insert(0, "split", ["train", "trian"] * 53), "trian"),
    ],
)
def test_what_cannot_be_learned_from(adata, spoil, words):
    spoil(adata)
    with pytest.raises(ValueError, match=words):
        Copy(adata)


def test_only_the_training_split_teaches_names(adata):
    adata.obs["split"] = np.where(adata.obs["perturbation"] == "C/D", "test", "train")
    vocabulary = Copy(adata).vocabulary
    assert vocabulary.perturbations == ("A", "B")
    assert vocabulary.contexts == ("1", "2")
    assert type(vocabulary).from_dict(vocabulary.to_dict()).screen == vocabulary.screen


def test_one_hot_vectors_are_sparse_and_saved_without_a_table(adata):
    known = Copy(adata).vocabulary
    n = len(known.perturbations)
    assert sparse.issparse(known.vectors)
    assert known.scaled_vectors is known.vectors
    np.testing.assert_array_equal(known.vectors.toarray(), np.eye(n))
    np.testing.assert_array_equal(known.incidence(["A+B", "B"]).toarray()[:, :2], [[1, 1], [0, 1]])
    arrays = {}
    back = type(known).from_dict(from_plain(to_plain(known.to_dict(), arrays), arrays))
    assert sparse.issparse(back.vectors)
    np.testing.assert_array_equal(back.vectors.toarray(), np.eye(n))
    assert max(array.size for name, array in arrays.items() if "vectors" in name) == n + 1


def test_vectors_come_from_a_table(adata):
    table = pd.DataFrame([[1.0, 0], [0, 2], [3, 3], [4, 4]], index=["A", "B", "C/D", "E"])
    adata.uns["perturbation_embeddings"] = {"mine": table}
    cells = population(adata, resolve(adata))
    known = learn_vocabulary(cells, layer=None, use_rep=None, embedding="mine")
    np.testing.assert_array_equal(known.vectors, table)
    np.testing.assert_array_equal(known.parts(["E", "A+B"]), [[3, -1], [0, 1]])
    with pytest.raises(KeyError, match=r"'Q' got no vector in the embedding 'mine'"):
        known.parts(["A+Q"])
    with pytest.raises(KeyError, match=r"no vector in the embedding 'table': A, B"):
        learn_vocabulary(cells, layer=None, use_rep=None, embedding=table.iloc[2:])
    with pytest.raises(KeyError, match="'other' is not in"):
        learn_vocabulary(cells, layer=None, use_rep=None, embedding="other")
    with pytest.raises(ValueError, match="values that are not finite"):
        learn_vocabulary(cells, layer=None, use_rep=None, embedding=table.replace(4.0, np.nan))
