"""Simulated images: what is drawn is what the parameters say, and so are counterfactuals."""

import anndata as ad
import numpy as np
import pytest

import shoal as sh
from shoal.ds._image_cells import (
    LEVEL,
    PARAMETERS,
    Camera,
    _accidents,
    draw_cells,
    to_effects,
    to_natural,
    untreated,
)


@pytest.fixture(scope="module")
def adata():
    return sh.ds.simulate_images(n_cells=60, n_control=120, counterfactual=True, rng=1)


def test_what_it_holds(adata):
    assert adata.shape == (480, 0)
    assert adata.obsm["crops"].shape == (480, 3, 32, 32)
    assert adata.obsm["crops"].dtype == np.uint8
    assert list(adata.uns["truth"]["table"]["kind"]) == [
        "size",
        "intensity",
        "texture",
        "translocation",
        "death",
        "null",
    ]
    assert list(adata.uns["images"]["crops"]["channels"]) == ["DNA", "actin", "protein"]
    assert adata.uns["shoal"]["batch_key"] == "batch"
    crosstab = adata.obs.groupby(["perturbation", "batch"], observed=False).size()
    assert (crosstab > 0).all()


def test_effects_are_translations_of_the_parameters(adata):
    """In log, or logit of the share: a cell that is alive differs from itself untreated by the shift."""
    truth = adata.uns["truth"]["table"]
    names = list(PARAMETERS)
    alive = ~adata.obs["dead"].to_numpy()
    after, before = adata.obs[names].to_numpy(), adata.obsm["untreated"][names].to_numpy()
    moved = to_effects(after) - to_effects(before)
    for name in truth.index:
        own = alive & (adata.obs["perturbation"] == name).to_numpy()
        expected = np.tile(truth.loc[name, names].to_numpy(dtype=float), (own.sum(), 1))
        np.testing.assert_allclose(moved[own], expected, atol=1e-9)
    control = alive & (adata.obs["perturbation"] == "control").to_numpy()
    np.testing.assert_allclose(moved[control], 0, atol=1e-9)


def test_scales_of_parameters_are_inverses():
    scale = untreated(50, np.random.default_rng(0))
    np.testing.assert_allclose(to_effects(to_natural(scale)), scale)


def draw(size=64, **changed):
    """Draw one round cell without plate."""
    values = {name: value for name, (value, _) in PARAMETERS.items()}
    natural = np.array([list({**values, "elongation": 1.0, "texture": 0.0, **changed}.values())])
    camera = Camera(size, "uint16", np.ones((1, 3)), np.zeros((1, 3)))
    return draw_cells(natural, np.array([5]), np.array([0]), camera)[0].astype(float)


def test_the_area_of_the_nucleus_is_that_of_its_radius():
    for radius in (0.1, 0.2):
        dna = draw(nucleus_radius=radius)[0]
        area = (dna > LEVEL * 256 / 2).sum()
        assert area == pytest.approx(np.pi * (radius * 64) ** 2, rel=0.1)


def test_a_protein_moves_into_the_nucleus_and_its_total_stays():
    before, after = draw(nuclear_share=0.15), draw(nuclear_share=0.6)
    nucleus = before[0] > LEVEL * 256 / 2
    share = [image[2][nucleus].sum() / image[2].sum() for image in (before, after)]
    assert share[0] == pytest.approx(0.15, abs=0.05)
    assert share[1] == pytest.approx(0.6, abs=0.08)  # the soft edge is outside
    assert after[2].sum() == pytest.approx(before[2].sum(), rel=0.05)


def test_smooth_fields_have_variance_one():
    for size in (16, 32, 64):
        fields = _accidents(np.arange(200), size)[1]
        assert fields.var(axis=(0, 2, 3)) == pytest.approx(1, abs=0.1)


def test_a_counterfactual_without_treatment_is_the_cell_itself(adata):
    control = (adata.obs["perturbation"] == "control").to_numpy()
    null = (adata.obs["perturbation"] == "P6").to_numpy()
    crops, without = adata.obsm["crops"], adata.obsm["counterfactual"]
    np.testing.assert_array_equal(crops[control | null], without[control | null])
    changed = (crops != without).any(axis=(1, 2, 3))
    assert changed[(adata.obs["perturbation"] == "P4").to_numpy()].all()


def test_any_counterfactual_can_be_drawn(adata):
    crops, without = adata.obsm["crops"], adata.obsm["counterfactual"]
    same = sh.ds.counterfactual_images(adata, list(adata.obs["perturbation"].astype(str)))
    np.testing.assert_array_equal(same, crops)
    np.testing.assert_array_equal(sh.ds.counterfactual_images(adata, "control"), without)
    cells = ["7", "3", "7"]
    made = sh.ds.counterfactual_images(adata, ["P1", "P4", "P1"], cells=cells)
    np.testing.assert_array_equal(made[0], made[2])
    assert np.abs(made[0].astype(int) - crops[7]).mean() > 1


def test_doses_scale_the_response():
    adata = sh.ds.simulate_images(n_perturbations=1, n_cells=5, n_control=10, doses=[1.0, 100.0])
    response = adata.uns["truth"]["doses"]["response"]
    np.testing.assert_allclose(response, [1 / 11, 10 / 11])
    assert adata.uns["shoal"]["dose_key"] == "dose"
    own = [str(p) for p in adata.obs["perturbation"]]
    again = sh.ds.counterfactual_images(adata, own, dose=adata.obs["dose"].to_numpy())
    np.testing.assert_array_equal(again, adata.obsm["crops"])


def test_dead_cells_come_with_their_probability():
    adata = sh.ds.simulate_images(
        effects="death", n_perturbations=1, n_cells=400, n_control=400, size=12, dead=0.05
    )
    share = adata.obs.groupby("perturbation", observed=True)["dead"].mean()
    assert share["control"] == pytest.approx(0.05, abs=0.04)
    assert share["P1"] == pytest.approx(0.4, abs=0.08)
    dead = adata.obs["dead"].to_numpy()
    assert adata.obs["cell_radius"][dead].mean() < 0.7 * adata.obs["cell_radius"][~dead].mean()


def test_batches_shift_the_colours():
    adata = sh.ds.simulate_images(
        n_perturbations=1, n_cells=1, n_control=200, batch_effect=0.5, rng=3
    )
    gain = adata.uns["truth"]["plates"].pivot(index="batch", columns="channel", values="gain")
    mean = adata.obsm["crops"].mean(axis=(2, 3))
    batch = adata.obs["batch"].to_numpy()
    seen = np.log(mean[batch == "B1"].mean(axis=0) / mean[batch == "B2"].mean(axis=0))
    true = np.log(gain.loc["B1"] / gain.loc["B2"])[["DNA", "actin", "protein"]]
    assert np.corrcoef(seen, true)[0, 1] > 0.9


def test_signs_alternate_when_kinds_are_given_again():
    adata = sh.ds.simulate_images(
        n_perturbations=2, n_cells=1, n_control=2, effects="size", size=12
    )
    shift = adata.uns["truth"]["table"]["nucleus_radius"]
    assert shift.iloc[0] == -shift.iloc[1] == 0.25


def test_a_seed_gives_the_same_and_another_gives_others():
    few = {"n_perturbations": 1, "n_cells": 5, "n_control": 5, "size": 12}
    one, two, other = (sh.ds.simulate_images(**few, rng=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one.obsm["crops"], two.obsm["crops"])
    assert (one.obsm["crops"] != other.obsm["crops"]).any()


@pytest.mark.parametrize("form", ["h5ad", "zarr"])
def test_it_lasts_in_a_file(adata, form, tmp_path):
    getattr(adata, f"write_{form}")(tmp_path / "screen")
    again = getattr(ad, f"read_{form}")(tmp_path / "screen")
    made = sh.ds.counterfactual_images(again, "P2", cells=["0"])
    np.testing.assert_array_equal(made, sh.ds.counterfactual_images(adata, "P2", cells=["0"]))


def test_sixteen_bits_are_the_same_image():
    few = {"n_perturbations": 1, "n_cells": 5, "n_control": 5}
    eight, sixteen = (
        sh.ds.simulate_images(**few, dtype=dtype).obsm["crops"] for dtype in ("uint8", "uint16")
    )
    assert sixteen.dtype == np.uint16
    np.testing.assert_allclose(np.minimum(sixteen / 256, 255), eight, atol=0.51)


@pytest.mark.parametrize(
    ("how", "error", "message"),
    [
        ({"effects": "other"}, ValueError, "effects='other' is not known"),
        ({"dtype": "float32"}, ValueError, "dtype"),
        ({"size": 4}, ValueError, "size must be a whole number of at least 12"),
        ({"doses": [0.0]}, ValueError, "doses"),
        ({"doses": []}, ValueError, "doses"),
        ({"doses": "many"}, TypeError, "doses"),
        ({"dead": 0.9}, ValueError, "dead"),
    ],
)
def test_bad_arguments(how, error, message):
    with pytest.raises(error, match=message):
        sh.ds.simulate_images(**how)


def test_bad_counterfactuals(adata):
    with pytest.raises(KeyError, match="'P9' is not in the simulated treatments"):
        sh.ds.counterfactual_images(adata, "P9")
    with pytest.raises(KeyError, match="no cell is called 'x'"):
        sh.ds.counterfactual_images(adata, "P1", cells=["x"])
    with pytest.raises(ValueError, match="2 names for 480 cells"):
        sh.ds.counterfactual_images(adata, ["P1", "P2"])
    with pytest.raises(ValueError, match="simulated without doses"):
        sh.ds.counterfactual_images(adata, "P1", dose=1.0)
    with pytest.raises(KeyError, match="simulate_images"):
        sh.ds.counterfactual_images(ad.AnnData(np.ones((2, 1))), "P1")
