"""Interpolations and diagnostics of a flow as a map, and of maps whose answers are known."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pytest
from scipy import sparse

import shoal as sh
from shoal.core._population import population
from shoal.core._screen import resolve
from shoal.models.base._learning import learn_vocabulary
from shoal.models.base._map_diagnosis import diagnose, interpolate
from shoal.models.base._predictor import Predictor
from shoal.models.space._space import fit_space

TIMES = (0.0, 0.5, 1.0)
COLUMNS = ["n", "cost", "cost_sd", "excess", "swaps", "energy", "energy_control"]


def dense(values):
    return values.toarray() if sparse.issparse(values) else np.asarray(values)


def controls(adata):
    return adata[adata.obs["perturbation"] == "control"].copy()


class Known(Predictor):
    """Carries cells as it is told: by a shift, a shift and a random permutation, or not at all."""

    options = ("how",)
    carries_cells = True
    diagnose = diagnose
    interpolate = interpolate

    def __init__(self, adata):
        self.cells = population(adata, resolve(adata))
        self.vocabulary = learn_vocabulary(self.cells, layer=None, use_rep=None, embedding=None)
        self.space = fit_space(
            self.cells.rows, np.arange(adata.n_obs), n_latent=None, rng=np.random.default_rng(0)
        )

    def _generate(self, request, cells, rng, how="shift"):
        x = cells.values(request.source)
        y = x + (0 if how == "stay" else np.float32(3) * (np.arange(x.shape[1]) == 0))
        y = y[rng.permutation(len(y))] if how == "mix" else y
        return self.space.decode(self.space.encode(y), x)


@pytest.fixture
def shifted(rng):
    """Return two contexts of signed values, where A shifts the first feature by 3 and B does nothing."""
    sizes = {
        ("control", "x"): 120,
        ("control", "y"): 100,
        ("A", "x"): 60,
        ("A", "y"): 50,
        ("B", "x"): 40,
    }
    label = [key for key, n in sizes.items() for _ in range(n)]
    values = rng.normal(size=(len(label), 4)).astype(np.float32)
    values[:, 0] += 3 * np.array([p == "A" for p, _ in label])
    values[:, 1] += 5 * np.array([c == "y" for _, c in label])
    adata = ad.AnnData(values)
    adata.obs["perturbation"], adata.obs["context"] = [p for p, _ in label], [c for _, c in label]
    adata.obs_names = [f"cell{i}" for i in rng.permutation(len(label))]
    sh.pp.annotate(adata, "perturbation", control="control", context_key="context")
    return adata


def test_a_shift_costs_its_length_and_is_optimal(shifted):
    model = Known(shifted)
    table = model.diagnose()
    assert table.index.name == "perturbation"
    assert list(table.columns) == ["context", "split", *COLUMNS]
    assert list(zip(table.index, table["context"], strict=True)) == [
        ("A", "x"),
        ("A", "y"),
        ("B", "x"),
    ]
    assert table["n"].tolist() == [60, 50, 40]
    np.testing.assert_allclose(table["cost"], 3 / model.space.scale, rtol=1e-5)
    np.testing.assert_allclose(table["cost_sd"], 0, atol=1e-5)
    assert (table[["excess", "swaps"]] == 0).all(axis=None)
    a, b = table.loc["A"], table.loc["B"]
    assert (a["energy"].abs() < 0.1).all()
    assert (a["energy_control"] > 0.5).all()
    assert abs(b["energy_control"]) < 0.1 < 0.5 < b["energy"]


def test_a_map_that_mixes_cells_up_is_found_out_by_its_cycles_alone(shifted):
    model = Known(shifted)
    mixed, plain = model.diagnose(how="mix"), model.diagnose()
    np.testing.assert_allclose(mixed["swaps"], 0.5, atol=0.1)
    assert (mixed["excess"] > 0.3).all()
    np.testing.assert_allclose(
        mixed["energy"], plain["energy"], atol=1e-5
    )  # the populations are the same


def test_staying_is_free_and_gains_nothing(shifted):
    table = Known(shifted).diagnose(how="stay")
    np.testing.assert_allclose(table["cost"], 0, atol=1e-5)
    np.testing.assert_allclose(table["energy"], table["energy_control"], atol=1e-5)


def test_diagnoses_do_not_depend_on_the_order_of_the_rows(shifted, rng):
    model = Known(shifted)
    other = shifted[rng.permutation(shifted.n_obs)].copy()
    one, two = (model.diagnose(each, max_cells=30, how="mix", rng=1) for each in (shifted, other))
    np.testing.assert_allclose(one[COLUMNS], two[COLUMNS], rtol=1e-6)
    assert (one["n"] == 30).all()
    assert not one[COLUMNS].equals(model.diagnose(max_cells=30, how="mix", rng=2)[COLUMNS])


def test_splits_and_single_cells_have_rows_of_their_own(shifted):
    name = shifted.obs_names[
        np.flatnonzero((shifted.obs["perturbation"] == "A") & (shifted.obs["context"] == "y"))[0]
    ]
    shifted.obs["split"] = "train"
    shifted.obs.loc[name, "split"] = "test"
    table = Known(shifted).diagnose()
    single = table[table["split"] == "test"]
    assert single[["context", "n"]].to_numpy().tolist() == [["y", 1]]
    assert single[["cost_sd", "swaps", "energy", "energy_control"]].isna().all(axis=None)
    assert single["excess"].item() == 0
    assert table.loc[table["split"] == "train", "n"].tolist() == [60, 49, 40]


def test_what_cannot_be_diagnosed(shifted, caplog):
    model = Known(shifted)
    with pytest.raises(ValueError, match="max_cells must be a whole number"):
        model.diagnose(max_cells=0)
    with pytest.raises(ValueError, match="power=3 is not known"):
        model.diagnose(power=3)
    with pytest.raises(TypeError, match="Known has no option 'n_steps'"):
        model.diagnose(n_steps=3)
    other = shifted.copy()
    other.obs["perturbation"] = other.obs["perturbation"].replace({"B": "C"})
    assert list(model.diagnose(other).index) == ["A", "A"]
    assert "1 perturbations have no vector and are left out: 'C'" in caplog.text
    with pytest.raises(ValueError, match="there is nothing to map to"):
        model.diagnose(other[other.obs["perturbation"] != "A"].copy())
    with pytest.raises(ValueError, match="no cell of this AnnData is labelled 'control'"):
        model.diagnose(shifted[shifted.obs["perturbation"] != "control"].copy())


# -- a flow ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def flow(screen, fit_flow):
    return fit_flow(screen, max_steps=5)


def test_a_flow_interpolates_from_the_cells_to_where_it_takes_them(screen, flow, tmp_path):
    cells = controls(screen)
    plain = {"n_steps": 4, "match_zeros": False, "renew_library": False}  # which bend the way
    made = flow.interpolate(cells, "P1", times=TIMES, **plain)
    assert made.shape == (3 * cells.n_obs, cells.n_vars)
    assert made.obs["source"].tolist() == 3 * cells.obs_names.tolist()
    np.testing.assert_array_equal(made.obs["time"], np.repeat(TIMES, cells.n_obs))
    assert made.obs_names.is_unique
    first, middle, last = (dense(made[made.obs["time"] == t].X) for t in TIMES)
    np.testing.assert_array_equal(first, dense(cells.X))
    np.testing.assert_array_equal(last, dense(flow.transport(cells, "P1", **plain).X))
    z = (flow.space.encode(first) + flow.space.encode(last)) / 2
    np.testing.assert_allclose(
        flow.space.encode(middle), z, atol=0.05
    )  # values below 0 are brought back
    np.testing.assert_allclose(middle.mean(axis=0), (first + last).mean(axis=0) / 2, atol=0.02)
    assert flow.space.encode(first).shape == z.shape  # the model itself is as before
    made.write_h5ad(tmp_path / "made.h5ad")
    np.testing.assert_array_equal(dense(ad.read_h5ad(tmp_path / "made.h5ad").X), dense(made.X))


def test_a_population_on_its_way_comes_nearer(shifted):
    model, cells = Known(shifted), controls(shifted)
    made = model.interpolate(cells, "A", times=(0, 0.3, 0.6, 1))
    end = dense(made[made.obs["time"] == 1].X)
    left = [
        sh.metrics.energy_distance(dense(made[made.obs["time"] == t].X), end)
        for t in (0, 0.3, 0.6, 1)
    ]
    assert left[0] > left[1] > left[2] > left[3]
    np.testing.assert_allclose(
        dense(made[made.obs["time"] == 0.3].X) - cells.X, [[0.9, 0, 0, 0]] * cells.n_obs, atol=1e-5
    )


def test_the_noise_of_a_flow_is_the_same_at_every_time(screen, fit_flow):
    cells = controls(screen)[:20].copy()
    noisy = fit_flow(
        screen, config={"path_start": "control+noise", "cross_context": 0.0}, max_steps=5
    )
    made = noisy.interpolate(cells, "P1", times=TIMES, rng=3)
    np.testing.assert_array_equal(
        dense(made[made.obs["time"] == 1].X), dense(noisy.transport(cells, "P1", rng=3).X)
    )
    np.testing.assert_array_equal(dense(made[made.obs["time"] == 0].X), dense(cells.X))
    generator = np.random.default_rng(3)
    noisy.interpolate(cells, "P1", times=TIMES, rng=generator)
    other = np.random.default_rng(3)
    noisy.transport(cells, "P1", rng=other)
    assert generator.random() == other.random(), "as far on as after a transport"


def test_a_flow_is_diagnosed_from_controls(screen, flow):
    table = flow.diagnose(max_cells=20, n_steps=4)
    assert set(table.index) == set(screen.obs["perturbation"]) - {"control"}
    perturbed = screen.obs[screen.obs["perturbation"] != "control"]
    assert len(table) == len(perturbed[["perturbation", "context"]].drop_duplicates())
    assert np.isfinite(table[COLUMNS]).all(axis=None)
    assert (table["cost"] > 0).all()
    assert table["n"].max() <= 20


def test_flows_from_noise_are_no_maps_and_times_have_limits(screen, flow, fit_flow):
    noise = fit_flow(screen, config={"preset": "noise2data"}, max_steps=3)
    with pytest.raises(ValueError, match="begins at noise and carries no cell"):
        noise.diagnose()
    with pytest.raises(ValueError, match="begins at noise and carries no cell"):
        noise.interpolate(controls(screen), "P1")
    with pytest.raises(ValueError, match="times must be different numbers within 0"):
        flow.interpolate(controls(screen), "P1", times=(0, 2))
    with pytest.raises(TypeError, match="expected an AnnData"):
        flow.interpolate(dense(controls(screen).X), "P1")
