"""What can be wrong with a screen or a setting of ConditionalMonge: it is said clearly, or it does no harm."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import shoal as sh

torch = pytest.importorskip("torch", reason="networks need the extra 'models'")
pytest.importorskip("scvi", reason="networks need the extra 'models'")

from shoal.models.base._sets import conditions_of  # noqa: E402
from shoal.models.monge._config import PRESETS  # noqa: E402
from shoal.training import SetSampler  # noqa: E402

from ...helpers import dense  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_thread")
TINY = {"n_latent": 8, "width": 16, "depth": 1, "latent": "pca", "warm_steps": 0}
FAST = {
    "max_steps": 3,
    "val_every": 10,
    "batch_conditions": 4,
    "set_size": 16,
    "accelerator": "cpu",
}
each_preset = pytest.mark.parametrize("preset", PRESETS)


def fit(adata, *, config=None, **arguments):
    """Train a small map by transport from the first step; arguments are those of ``tl.fit``."""
    return sh.tl.fit(adata, "conditional_monge", config=TINY | (config or {}), **FAST | arguments)


def without(adata, **names):
    """Return a copy that has left so many cells of each of these perturbations in each context."""
    gone = [
        np.flatnonzero((adata.obs["perturbation"] == name) & (adata.obs["context"] == context))[
            left:
        ]
        for name, left in names.items()
        for context in ("context1", "context2")
    ]
    return adata[np.setdiff1d(np.arange(adata.n_obs), np.concatenate(gone))].copy()


@pytest.fixture
def dosed():
    """Return two drugs at three doses, and controls whose dose is written as 0."""
    adata = sh.ds.simulate(
        n_perturbations=2, n_cells=20, n_control=40, n_genes=40, doses=[0.1, 1.0, 10.0], rng=0
    )
    sh.pp.prepare(adata, normalize="log1p", n_comps=8)
    return adata


# -- the solver ------------------------------------------------------------------------------------------------------


@each_preset
def test_an_epsilon_too_small_to_converge_is_told_once_with_the_error(screen, caplog, preset):
    small = {"epsilon": 1e-5, "epsilon_relative": False, "gap_epsilon": 1e-5}
    model = fit(screen, preset=preset, config=small, max_steps=4)
    told = [
        record.getMessage()
        for record in caplog.records
        if "epsilon is too small" in record.getMessage()
    ]
    assert len(told) == 1
    assert "miss their marginals by up to" in told[0]
    assert 0.01 < float(told[0].split("up to ")[1].split(" ")[0]) <= 1
    assert all(np.isfinite(table).all(axis=None) for table in model.history.values())
    assert np.isfinite(dense(model.predict("P1", n_cells=20).X)).all()
    caplog.clear()
    fit(screen, preset=preset, config=small | {"epsilon": 1.0, "gap": 0.0})
    assert "epsilon" not in caplog.text


# -- cells and conditions --------------------------------------------------------------------------------------------


@each_preset
def test_conditions_smaller_than_a_set_are_filled_with_repeats_of_weight_0(screen, caplog, preset):
    model = fit(without(screen, P1=3), preset=preset)
    assert (
        "conditions have fewer than set_size=16 cells, which are repeated with weight 0: 'P1 | context"
        in caplog.text
    )
    assert np.isfinite(dense(model.predict("P1", n_cells=100).X)).all()
    conditions = conditions_of(model.cells, model.cells.train, model.vocabulary)
    sampler = SetSampler(conditions, set_size=16, batch_conditions=14, weighting="uniform")
    batch = model._training_store(sampler, "resident").batch(0)
    names = [conditions.names[i] for i in batch.index]
    counted = {name: int(weight.sum()) for name, weight in zip(names, batch.weight, strict=True)}
    assert {counted[name] for name in names if name.startswith("P1 |")} == {3}
    assert {counted[name] for name in names if name.startswith("P2 |")} == {16}


@each_preset
def test_conditions_of_one_cell(screen, preset):
    model = fit(without(screen, P1=1, P2=1), preset=preset, max_steps=8, weighting="uniform")
    assert all(np.isfinite(table).all(axis=None) for table in model.history.values())
    assert np.isfinite(dense(model.predict("P1", n_cells=20).X)).all()
    table = model.diagnose(max_cells=10)
    assert table.loc["P1", "n"].tolist() == [1, 1]
    assert table.loc["P1", "energy"].isna().all()
    alone = screen[np.r_[np.flatnonzero(screen.obs["perturbation"] == "control"), [-1]]].copy()
    assert np.isfinite(dense(fit(alone, preset=preset).predict(n_cells=5).X)).all()


@each_preset
def test_a_context_without_controls(screen, caplog, preset):
    gone = (screen.obs["perturbation"] == "control") & (screen.obs["context"] == "context2")
    screen = screen[~gone].copy()
    model = fit(screen, preset=preset)
    assert (
        "conditions have cells with fewer than 10 controls of their own context and batch"
        in caplog.text
    )
    with pytest.raises(
        ValueError, match="'context2' has no control cell to start from; these have some: context1"
    ):
        model.predict("P1", context="context2")
    sh.tl.predict(screen, model)
    assert (
        "context 'context2' has too few control cells; twins start from same batch" in caplog.text
    )
    twins = screen.obs["predicted_predicted"].to_numpy()
    assert set(screen.obs["context"][screen.obs["predicted_source"][twins]]) == {"context1"}
    assert np.isfinite(dense(screen.layers["predicted"])[twins]).all()


def test_a_screen_without_a_split_is_learned_from_as_a_whole(screen):
    model = fit(screen)
    assert "split" not in screen.obs
    assert "val_energy" not in model.history
    assert int((model.cells.train | model.cells.train_control).sum()) == screen.n_obs
    with pytest.raises(
        KeyError, match=r"'split' is not in adata\.obs.*sh\.pp\.split\(adata\) first"
    ):
        sh.tl.predict(screen, model, subset="test")
    assert "predicted" not in screen.layers


@each_preset
def test_too_few_cells_for_an_autoencoder(screen, preset):
    chosen = [np.flatnonzero(screen.obs["perturbation"] == name)[:9] for name in ("P1", "control")]
    few = screen[np.concatenate(chosen)].copy()
    with pytest.raises(
        ValueError, match="at least 20 training cells and there are 18; use principal components"
    ):
        fit(few, preset=preset, config={"latent": "autoencoder"})
    assert np.isfinite(dense(fit(few, preset=preset).predict("P1", n_cells=5).X)).all()


# -- doses -----------------------------------------------------------------------------------------------------------


def test_the_dose_of_a_request_is_a_number_above_0(dosed):
    model = fit(dosed)
    with pytest.raises(ValueError, match=r"which dose\? Pass dose=...; measured are 0.1, 1, 10"):
        model.predict("P1")
    for dose in (0, -1.0, float("nan")):
        with pytest.raises(ValueError, match=f"dose must be .*above 0,.* not {dose}"):
            model.predict("P1", dose=dose)
        with pytest.raises(ValueError, match=f"dose must be .*above 0,.* not {dose}"):
            model.transport(dosed[dosed.obs["perturbation"] == "control"], "P1", dose=dose)


def test_the_dose_of_controls_is_never_looked_at(dosed):
    control = dosed.obs["perturbation"] == "control"
    models = []
    for dose in (0.0, np.nan, 1e6):
        dosed.obs.loc[control, "dose"] = dose
        models.append(fit(dosed))
    for other in models[1:]:
        assert other.vocabulary.dose_centre == models[0].vocabulary.dose_centre == pytest.approx(0)
        for a, b in zip(*(m.module.state_dict().values() for m in (models[0], other)), strict=True):
            assert torch.equal(a, b)


@each_preset
def test_perturbed_cells_of_a_missing_dose_are_told_none(dosed, preset):
    """Cells of an unknown dose teach what their perturbation does, and count for no dose."""
    unknown = ((dosed.obs["perturbation"] == "P1") & (dosed.obs["dose"] == 0.1)).to_numpy()
    dosed.obs.loc[unknown, "dose"] = np.nan
    model = fit(dosed, preset=preset)
    log = np.log10(dosed.obs["dose"][(dosed.obs["perturbation"] != "control") & ~unknown])
    v = model.vocabulary
    assert (v.dose_centre, v.dose_scale) == pytest.approx((log.mean(), log.std(ddof=0)))
    conditions = conditions_of(model.cells, model.cells.train, v)
    named = dict(
        zip(
            conditions.names,
            conditions.tensors(np.arange(len(conditions.names)))["dose"].tolist(),
            strict=True,
        )
    )
    assert named["P1"] == [0, 0]
    assert {there for _, there in named.values()} == {0, 1}
    sh.tl.predict(dosed, model)
    assert np.isfinite(dense(dosed.layers["predicted"])).all()
    with pytest.raises(
        ValueError, match=r"20 perturbed cells have no label in adata.obs\['dose'\]"
    ):
        sh.pp.split(dosed, by="dose", test=[10.0])


@pytest.mark.parametrize("dose", [0.0, -1.0, np.inf])
def test_a_dose_without_a_logarithm_is_refused(dosed, dose):
    dosed.obs.loc[(dosed.obs["perturbation"] == "P1") & (dosed.obs["dose"] == 0.1), "dose"] = dose
    words = rf"20 perturbed cells have dose {dose:g} in adata.obs\['dose'\], such as some of 'P1'; .* controls, or .* NaN"
    with pytest.raises(ValueError, match=words):
        fit(dosed)
    with pytest.raises(ValueError, match=r"dose must be a finite number above 0, .* not inf"):
        fit(dosed[dosed.obs["perturbation"] != "P1"].copy()).predict("P2", dose=float("inf"))


def test_a_screen_of_one_dose_is_asked_for_another(dosed):
    """The standard deviation of equal numbers is not quite 0."""
    dosed.obs.loc[dosed.obs["perturbation"] != "control", "dose"] = 0.3
    model = fit(dosed, max_steps=10, lr=1e-2)
    assert model.vocabulary.dose_scale == 1
    assert dense(model.predict("P1", dose=1.0, n_cells=40).X).max() < 2 * dense(dosed.X).max()


def test_a_dose_that_is_no_number(dosed):
    dosed.obs["dose"] = dosed.obs["dose"].astype(str) + " uM"
    with pytest.raises(
        ValueError,
        match=r"adata\.obs\['dose'\] holds '.* uM', which is no number; give doses as numbers",
    ):
        fit(dosed)


# -- values ----------------------------------------------------------------------------------------------------------


@each_preset
@pytest.mark.parametrize("size", [1e-3, 1e4])
def test_signed_features_of_any_size(screen, preset, size):
    """A map in units of its space makes of larger values the same cells, as much larger."""
    screen.X = dense(screen.X) - dense(screen.X).mean(0)
    large = screen.copy()
    large.X = screen.X * size
    one, two = (fit(each, preset=preset, lr=1e-2) for each in (screen, large))
    assert not two.vocabulary.nonnegative
    made, expected = (dense(m.predict("P1", n_cells=60).X) for m in (two, one))
    assert (made < -0.01 * size).mean() > 0.2
    np.testing.assert_allclose(made / size, expected, atol=2e-3)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (
            lambda a: a.__setattr__("X", a.layers["counts"]),
            r"raw counts.*sh\.pp\.prepare\(adata, normalize='log1p'\)",
        ),
        (
            lambda a: a.__setattr__("X", np.where(np.arange(a.n_vars) == 3, np.nan, dense(a.X))),
            "NaN or infinite values",
        ),
        (
            lambda a: a.__setattr__("X", np.full(a.shape, 1.5)),
            "training cells do not vary in any of the 60 features",
        ),
    ],
    ids=["counts", "missing", "constant"],
)
def test_values_that_cannot_be_learned_from(screen, spoil, words):
    spoil(screen)
    keys = set(screen.uns)
    with pytest.raises(ValueError, match=words):
        fit(screen)
    assert set(screen.uns) == keys


def test_cells_to_carry_that_are_no_cells(screen):
    model = fit(screen)
    x = dense(screen.X)[:5].copy()
    with pytest.raises(ValueError, match=r"cells have shape \(5, 59\); they must be \(n, 60\)"):
        model.transport(x[:, 1:], "P1")
    x[0, 0] = np.nan
    with pytest.raises(
        ValueError, match="no cells for this model: X holds NaN or infinite values in 1 of 5 cells"
    ):
        model.transport(x, "P1")


# -- embeddings ------------------------------------------------------------------------------------------------------


@each_preset
def test_one_hot_vectors_say_nothing_about_an_unseen_perturbation(screen, caplog, preset):
    sh.pp.split(screen, by="perturbation", test=["P2"])
    model = fit(screen, preset=preset)
    assert "1 perturbations have no vector (one-hot) and cannot be predicted: 'P2'" in caplog.text
    cells = screen[screen.obs["perturbation"] == "control"]
    calls = (
        lambda: model.predict(["P1", "P2"]),
        lambda: model.transport(cells, "P1+P2"),
        lambda: sh.tl.predict(screen, model, subset="test"),
    )
    for call in calls:
        with pytest.raises(
            KeyError,
            match=r"'P2',? (which )?did not occur in training, .*sh\.pp\.embed\(adata, .*embedding=",
        ):
            call()
    assert "predicted" not in screen.layers
    assert set(model.diagnose(max_cells=5).index) == {"P1", "P3", "P4", "P5", "P1+P4", "P4+P5"}


def test_an_embedding_that_lacks_some_or_is_not_finite(screen):
    table = pd.DataFrame(np.eye(5, 3), index=["P1", "P2", "P3", "P4", "P5"])
    with pytest.raises(
        KeyError, match="perturbations of training have no vector in the embedding 'table': P5"
    ):
        fit(screen, embedding=table.drop(index="P5"))
    model = fit(screen, embedding=table)
    with pytest.raises(KeyError, match="'P7' did not occur in the screen"):
        model.predict("P7")
    table.iloc[2, 1] = np.nan
    with pytest.raises(
        ValueError,
        match="the embedding 'table' holds values that are not finite.*1 of 5 rows: 'P3'",
    ):
        fit(screen, embedding=table)


def test_an_embedding_of_all_cells_is_refused_or_marked_in_every_table():
    adata = sh.ds.simulate(
        n_perturbations=6, n_cells=30, n_control=60, n_genes=50, effect_size=6.0, rng=0
    )
    sh.pp.prepare(adata, normalize="log1p", n_comps=6)
    sh.pp.embed(adata, method="mds", n_comps=3)
    with pytest.raises(
        ValueError, match=r"embedding 'mds': fitted on all cells, .* accept=\['embedding_fit'\]"
    ):
        sh.pp.split(adata, test=["P1", "P2"])
    assert "split" not in adata.obs
    sh.pp.split(adata, test=["P1", "P2"], accept="embedding_fit")
    for key, embedding in (
        ("seen", "mds"),
        ("own", pd.DataFrame(np.eye(6), index=[f"P{i + 1}" for i in range(6)])),
    ):
        model = fit(adata, embedding=embedding)
        assert model.vocabulary.transductive is (key == "seen")
        sh.tl.predict(adata, model, key_added=key, subset="test")
        made = model.predict("P1", n_cells=5).uns["perturbation_predictions"]["table"]
        assert made["transductive"].tolist() == [key == "seen"]
        few = {
            "metrics": ["pearson_delta", "energy"],
            "baselines": ["mean_shift"],
            "n_comps": 5,
            "n_draws": 1,
        }
        sh.tl.evaluate(adata, prediction=key, **few)
        entry = adata.uns["evaluation"]
        assert entry["params"]["transductive"] is (key == "seen")
        marked = entry["contenders"]["transductive"]
        assert marked.index[marked].tolist() == (["prediction"] if key == "seen" else [])
    recorded = adata.uns["perturbation_predictions"]["table"]
    assert recorded[["model", "embedding", "transductive"]].to_dict("index") == {
        "seen": {"model": "ConditionalMonge", "embedding": "mds", "transductive": True},
        "own": {"model": "ConditionalMonge", "embedding": "table", "transductive": False},
    }


# -- settings --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        (
            {"preset": "paper"},
            ValueError,
            "preset='paper' is not known; choose one of 'shoal', 'published'",
        ),
        (
            {"config": {"widht": 8}},
            TypeError,
            "ConditionalMonge has no setting 'widht'; beside preset, embedding and n_latent it takes loss: cost, .* space: latent",
        ),
        (
            {"config": {"cost": "manhattan"}},
            ValueError,
            "cost='manhattan' is not known; choose one of 'euclidean'",
        ),
        (
            {"config": {"latent": "umap"}},
            ValueError,
            "latent='umap' is not known; choose one of 'pca', 'autoencoder'",
        ),
        (
            {"config": {"pooling": "max"}},
            ValueError,
            "pooling='max' is not known; choose one of 'mean', 'sum'",
        ),
        (
            {"config": {"architecture": "icnn"}},
            ValueError,
            "architecture='icnn' is not known; choose one of 'film'",
        ),
        ({"config": {"epsilon": 0}}, ValueError, "epsilon must be above 0, not 0"),
        (
            {"config": {"gap_epsilon": float("nan")}},
            ValueError,
            "gap_epsilon must be above 0, not nan",
        ),
        ({"config": {"gap": -1}}, ValueError, "gap is at least 0, not -1"),
        (
            {"config": {"unseen_weight": 2}},
            ValueError,
            "unseen_weight is a share, from 0 to 1, not 2",
        ),
        ({"config": {"n_noise": 1.5}}, TypeError, "n_noise is a whole number, not 1.5"),
        ({"config": {"warm_steps": -1}}, ValueError, "warm_steps is at least 0, not -1"),
        (
            {"config": {"n_visible": 0}},
            ValueError,
            "n_visible must be 'auto', None or a whole number above 0, not 0",
        ),
        ({"config": {"n_latent": 0}}, ValueError, "n_latent must be a whole number"),
        (
            {"config": {"n_latent": 0, "latent": "autoencoder"}},
            ValueError,
            "n_latent must be above 0, not 0",
        ),
        (
            {"embedding": "mds"},
            KeyError,
            r"'mds' is not in adata.uns\['perturbation_embeddings'\].*sh\.pp\.embed",
        ),
        ({"learning_rate": 1}, TypeError, "no setting 'learning_rate'; .* takes lr, weight_decay"),
        ({"set_size": 0}, ValueError, "set_size must be a whole number"),
    ],
)
def test_what_is_not_known_is_named_with_what_is(screen, arguments, error, words):
    keys = set(screen.uns)
    with pytest.raises(error, match=words):
        fit(screen, **arguments)
    assert set(screen.uns) == keys


@pytest.mark.parametrize("options", [{"n_steps": 3}, {"guidance": 0.0}])
def test_a_map_takes_no_steps_and_no_guidance(screen, options):
    model = fit(screen)
    with pytest.raises(
        TypeError,
        match=f"ConditionalMonge has no option '{next(iter(options))}' .*it takes: cross_context",
    ):
        model.predict("P1", n_cells=3, **options)
