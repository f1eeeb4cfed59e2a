"""Baselines that add measured responses to control cells: exact on data where the answer is known."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import shoal as sh
from shoal.metrics._kernel_ridge import fit_ridge
from shoal.models.base._registry import name_of
from shoal.models.baselines._kernel import KernelRidge
from shoal.models.baselines._linear import LatentLinear
from shoal.models.baselines._mean_shift import MeanShift
from shoal.models.baselines._neighbours import Nearest
from shoal.models.baselines._own_shift import OwnShift
from shoal.models.baselines._parts import Additive, MatchingMean

D = 8


def world(responses, rng, *, offset=(0.0,), noise=1e-3, dose=None):
    """Cells = centred noise + an offset of their context + a response; 30 cells of each condition, test ones marked.

    Cells vary so little that responses are not shrunk: `test_shrinkage.py` is about that.

    `responses` maps (name, context) to (response, split); every context has 30 controls.
    """
    blocks, obs = [], []
    entries = {("control", c): (np.zeros(D), "train") for c in range(len(offset))} | responses
    for (name, context), (response, split) in entries.items():
        x = rng.normal(size=(30, D)) * noise
        blocks.append(x - x.mean(axis=0) + offset[context] + response)
        obs += [
            (name.partition("@")[0], f"c{context}", split, float(name.partition("@")[2] or "nan"))
        ] * 30
    adata = ad.AnnData(np.vstack(blocks))
    adata.obs[["perturbation", "context", "split", "dose"]] = pd.DataFrame(
        obs, index=adata.obs_names
    )
    adata.var_names = [f"g{i}" for i in range(D)]
    sh.pp.annotate(
        adata,
        "perturbation",
        control="control",
        context_key="context",
        dose_key="dose" if dose else None,
    )
    return adata


def shift(cls, adata, name, *, context="c0", dose=None, **options):
    """Return the one shift that all predicted cells got."""
    model = cls(adata, **options)
    model.train()
    made = model.predict(name, context=context, n_cells=30, dose=dose)
    shifts = made.X - adata[made.obs["source"].to_numpy()].X
    assert np.abs(shifts - shifts.mean(axis=0)).max() < 1e-5, "every control cell is moved alike"
    return shifts.mean(axis=0)


@pytest.fixture
def parts(rng):
    """Responses of A, B, C, and of the pair A+B, which is not additive."""
    return {name: rng.normal(size=D) for name in ("A", "B", "C", "A+B")}


@pytest.fixture
def adata(parts, rng):
    """Training cells of all, and held-out ones of a perturbation of which no model knows more."""
    known = {(name, 0): (delta, "train") for name, delta in parts.items()}
    return world({**known, ("new", 0): (np.zeros(D), "test")}, rng)


def test_rules_for_singles_and_combinations(adata, parts):
    mean = np.mean(list(parts.values()), axis=0)
    expected = {
        (MeanShift, "A"): mean,
        (MeanShift, "A+B"): mean,
        (OwnShift, "A"): parts["A"],
        (OwnShift, "A+B"): parts["A+B"],
        (OwnShift, "A+C"): mean,
        (OwnShift, "new"): mean,
        (MatchingMean, "A"): parts["A"],
        (MatchingMean, "A+B"): (parts["A"] + parts["B"]) / 2,
        (MatchingMean, "C+A"): (parts["A"] + parts["C"]) / 2,
        (MatchingMean, "A+new"): (parts["A"] + mean) / 2,
        (Additive, "A"): parts["A"],
        (Additive, "A+B"): parts["A"] + parts["B"],
        (Additive, "C+B+A"): parts["A"] + parts["B"] + parts["C"],
    }
    for (cls, name), delta in expected.items():
        np.testing.assert_allclose(
            shift(cls, adata, name), delta, atol=1e-5, err_msg=f"{name_of(cls)} {name}"
        )
    with pytest.raises(ValueError, match=r"'A\+new'.*'own_shift'"):
        shift(Additive, adata, ["A+new", "A+B"])


def test_the_composition_of_contexts_does_not_leak_into_the_response(parts, rng):
    offset = (0.0, 5.0)
    adata = world(
        {
            ("A", 0): (parts["A"], "train"),
            ("A", 1): (parts["A"], "train"),
            ("B", 1): (parts["B"], "train"),
        },
        rng,
        offset=offset,
    )
    lopsided = adata[np.r_[0:60, 60:65, 90:150]].copy()  # 5 cells of A in c0, 30 in c1
    for context in ("c0", "c1"):
        np.testing.assert_allclose(
            shift(OwnShift, lopsided, "B", context=context), parts["B"], atol=1e-5
        )
    found = shift(OwnShift, lopsided, "A", context="c1")
    np.testing.assert_allclose(found, parts["A"], atol=1e-5)


def test_the_wanted_context_comes_first_then_all_others(parts, rng):
    a = parts["A"]
    adata = world(
        {("A", 0): (a, "train"), ("A", 1): (2 * a, "train"), ("A", 2): (9 * a, "test")},
        rng,
        offset=(0, 1, 2),
    )
    for context, factor in (("c0", 1), ("c1", 2), ("c2", 1.5)):
        np.testing.assert_allclose(
            shift(OwnShift, adata, "A", context=context), factor * a, atol=1e-5
        )


def test_responses_are_interpolated_between_doses(parts, rng):
    a, b = parts["A"], parts["B"]
    conditions = {
        ("A@1", 0): (a, "train"),
        ("A@100", 0): (3 * a, "train"),
        ("B@10", 0): (b, "train"),
        ("new@10", 0): (b, "test"),
    }
    adata = world(conditions, rng, dose=True)
    for dose, factor in ((1, 1), (10, 2), (100, 3), (1000, 3), (0.1, 1)):
        np.testing.assert_allclose(
            shift(OwnShift, adata, "A", dose=dose), factor * a, atol=1e-5, err_msg=str(dose)
        )
    np.testing.assert_allclose(shift(MeanShift, adata, "new", dose=10), (2 * a + b) / 2, atol=1e-5)


def test_values_without_negatives_stay_so(rng):
    adata = ad.AnnData(rng.gamma(1.0, 1.0, size=(80, 3)))
    adata.obs["perturbation"] = np.repeat(["control", "A"], 40)
    adata.X[40:] *= 0.1
    sh.pp.annotate(adata, "perturbation", control="control")
    model = OwnShift(adata)
    model.train()
    made = model.predict("A", n_cells=40)
    moved = (
        adata[made.obs["source"].to_numpy()].X
        + adata.X[40:].mean(axis=0)
        - adata.X[:40].mean(axis=0)
    )
    assert (moved < 0).any()
    np.testing.assert_allclose(made.to_df().to_numpy(), np.maximum(moved, 0), atol=1e-5)


# -- responses from vectors ------------------------------------------------------------------------------------------


@pytest.fixture
def linear(rng):
    """Responses exactly linear in vectors of mean zero; one perturbation is never measured."""
    vectors = rng.normal(size=(7, 3))
    vectors[:6] -= vectors[:6].mean(axis=0)
    responses = vectors @ rng.normal(size=(3, D))
    responses -= responses.mean(
        axis=1, keepdims=True
    )  # a PCA over genes sees no shift common to all genes
    names = [*"ABCDEF", "new"]
    adata = world(
        {(name, 0): (delta, "train") for name, delta in zip(names[:6], responses, strict=False)},
        rng,
    )
    return adata, pd.DataFrame(vectors, index=names), dict(zip(names, responses, strict=True))


def test_linear_models_recover_a_linear_world(linear):
    adata, vectors, responses = linear
    tiny = {"embedding": vectors, "ridge": 1e-9}
    for name in ("A", "new", "B+new"):
        delta = sum(responses[part] for part in name.split("+"))
        np.testing.assert_allclose(shift(LatentLinear, adata, name, **tiny), delta, atol=1e-4)
        np.testing.assert_allclose(
            shift(KernelRidge, adata, name, kernel="linear", **tiny), delta, atol=1e-4
        )


def test_latent_linear_is_the_published_formula(linear, rng):
    adata, vectors, _ = linear
    found = shift(LatentLinear, adata, "new", embedding=vectors, n_components=2, ridge=0.5)
    means = np.array(
        [adata.X[adata.obs["perturbation"] == name].mean(axis=0) for name in ["control", *"ABCDEF"]]
    )
    x = means.T - means.mean(axis=1)
    gene, value, _ = np.linalg.svd(x, full_matrices=False)
    g, y = (gene * value)[:, :2], (means - means[0]).T
    p = np.vstack([np.zeros(3), vectors.to_numpy()[:6]])
    b = y.mean(axis=1, keepdims=True)
    w = (
        np.linalg.inv(g.T @ g + 0.5 * np.eye(2))
        @ g.T
        @ (y - b)
        @ p
        @ np.linalg.inv(p.T @ p + 0.5 * np.eye(3))
    )
    np.testing.assert_allclose(found, g @ w @ vectors.loc["new"].to_numpy() + b[:, 0], atol=1e-5)


def test_latent_linear_knows_a_perturbation_by_its_gene(rng):
    deltas = {f"g{i}": rng.normal(size=D) for i in range(5)}
    adata = world(
        {(name, 0): (delta, "train") for name, delta in {**deltas, "XYZ": deltas["g0"]}.items()},
        rng,
    )
    seen, unseen = shift(LatentLinear, adata, "g0"), shift(LatentLinear, adata, "g7")
    assert np.abs(seen - unseen).max() > 0.01, "genes differ"
    with pytest.raises(
        ValueError, match=r"'XYZ', 'g0\+XYZ' cannot be predicted by latent_linear.*embedding="
    ):
        shift(LatentLinear, adata, ["XYZ", "g1", "g0+XYZ"])
    adata.obsm["X_pca"] = adata.X[:, :3]
    LatentLinear.setup_anndata(adata, use_rep="X_pca")
    with pytest.raises(ValueError, match="has no genes"):
        LatentLinear(adata)
    only = adata[adata.obs["perturbation"].isin(["control", "XYZ", "g1"])].copy()
    with pytest.raises(ValueError, match="only 1 of 2 training perturbations"):
        LatentLinear(only).train()


def test_kernel_ridge_is_scikit_learns(linear):
    from sklearn.gaussian_process.kernels import RBF
    from sklearn.kernel_ridge import KernelRidge as Reference
    from sklearn.preprocessing import KernelCenterer

    adata, vectors, responses = linear
    seen, new = (
        vectors.to_numpy()[:6].astype(np.float32).astype(float),
        vectors.loc[["new"]].to_numpy(),
    )
    apart = np.linalg.norm(seen[:, None] - seen[None], axis=2)
    kernel = RBF(np.median(apart[np.triu_indices(6, 1)]))
    centre = KernelCenterer().fit(kernel(seen))
    y = np.array([responses[name] for name in "ABCDEF"])
    k, ask = centre.transform(kernel(seen)), centre.transform(kernel(new, seen))
    unit = np.trace(k) / 6
    reference = Reference(alpha=0.3 * unit, kernel="precomputed").fit(k, y - y.mean(axis=0))
    expected = reference.predict(ask)[0] + y.mean(axis=0)
    np.testing.assert_allclose(
        shift(KernelRidge, adata, "new", embedding=vectors, ridge=0.3), expected, atol=1e-4
    )


def test_the_ridge_is_that_of_the_smallest_leave_one_out_error(rng):
    x, ridges = rng.normal(size=(12, 4)), np.array([1e-3, 1e-1, 1.0, 10.0])
    y = x @ rng.normal(size=(4, 3)) + rng.normal(size=(12, 3))
    kernel, centring = x @ x.T, np.eye(12) - 1 / 12
    unit = np.linalg.eigvalsh(centring @ kernel @ centring).mean()
    errors = []
    for ridge in ridges:
        error = 0.0
        for i in range(12):
            rest = np.delete(np.arange(12), i)
            centred = x[rest] - x[rest].mean(axis=0)
            beta = np.linalg.solve(
                centred.T @ centred + ridge * unit * np.eye(4), centred.T @ y[rest]
            )
            error += (
                (y[i] - y[rest].mean(axis=0) - (x[i] - x[rest].mean(axis=0)) @ beta) ** 2
            ).sum()
        errors.append(error)
    best = ridges[int(np.argmin(errors))]
    assert 0 < int(np.argmin(errors)) < 3, "the best is inside the grid"
    np.testing.assert_allclose(
        fit_ridge(kernel, y @ y.T, ridges), fit_ridge(kernel, y @ y.T, np.array([best]))
    )


def test_one_training_perturbation_is_enough(parts, rng):
    adata = world({("A", 0): (parts["A"], "train"), ("new", 0): (parts["B"], "test")}, rng)
    vectors = pd.DataFrame([[1.0, 0.0], [0.0, 1.0]], index=["A", "new"])
    for cls in (MeanShift, OwnShift, KernelRidge, Nearest):
        options = {"embedding": vectors} if cls in (KernelRidge, Nearest) else {}
        np.testing.assert_allclose(shift(cls, adata, "new", **options), parts["A"], atol=1e-5)


def test_nearest_weighs_by_distance(adata, parts):
    vectors = pd.DataFrame([[0.0], [3.0], [50.0], [1.0]], index=["A", "B", "C", "new"])
    options = {"embedding": vectors, "k": 2, "metric": "euclidean"}
    only = adata[adata.obs["perturbation"] != "A+B"].copy()
    expected = (2 * parts["A"] + parts["B"]) / 3  # distances 1 and 2
    np.testing.assert_allclose(shift(Nearest, only, "new", **options), expected, atol=1e-5)
    np.testing.assert_allclose(shift(Nearest, only, "B", **options), parts["B"], atol=1e-5)
    mean = (
        parts["A"] + parts["C"]
    ) / 2  # one-hot: a new pair is as near to the one part as to the other
    np.testing.assert_allclose(shift(Nearest, only, "A+C", k=2), mean, atol=1e-5)


@pytest.mark.parametrize("cls", [KernelRidge, Nearest])
def test_what_has_no_vector_is_refused(cls, adata):
    with pytest.raises(KeyError, match=r"'A\+new' holds 'new', which did not occur in training"):
        shift(cls, adata, "A+new")
    with pytest.raises(KeyError, match="nothing"):
        cls(adata, embedding="nothing")


def test_bad_settings_are_refused(adata):
    for cls, options in (
        (KernelRidge, {"kernel": "cubic"}),
        (KernelRidge, {"ridge": 0}),
        (Nearest, {"k": 0}),
        (Nearest, {"metric": "manhattan"}),
        (LatentLinear, {"ridge": -1}),
        (LatentLinear, {"n_components": 0}),
    ):
        with pytest.raises(ValueError, match=next(iter(options))):
            cls(adata, **options)
