"""Measurements of images: shapes whose values are known, and those of scikit-image."""

import numpy as np
import pytest

from shoal.metrics._image_features import feature_names, image_features
from shoal.metrics._segmentation import eccentricity, nuclei, otsu

SIZE = 48
NAMES = feature_names(["DNA", "protein"], "DNA")


def disc(radius, *, y=0.0, x=0.0, stretch=1.0, size=SIZE):
    grid = np.arange(size) - (size - 1) / 2
    return (np.hypot((grid[:, None] - y) / stretch, (grid[None] - x) * stretch) < radius).astype(
        float
    )


def measured(dna, protein):
    values = image_features(np.stack([dna, protein])[None], nucleus=0)[0]
    return dict(zip(NAMES, values, strict=True))


def test_a_disc_in_a_disc():
    nucleus, cell = disc(8), disc(18)
    protein = 0.2 * cell + 0.6 * nucleus
    found = measured(nucleus, protein)
    assert found["nucleus area"] == pytest.approx(np.pi * 64, rel=0.05)
    assert found["DNA area"] == found["nucleus area"]
    assert found["nucleus eccentricity"] < 0.1
    assert found["DNA mean"] == pytest.approx(nucleus.mean())
    assert found["DNA bright"] == 1
    assert found["DNA foreground"] == 1
    assert found["protein nucleus to ring"] == pytest.approx(np.log2(0.82 / 0.22), abs=0.15)
    assert found["DNA with protein"] == pytest.approx(
        np.corrcoef(nucleus.ravel(), protein.ravel())[0, 1]
    )


def test_the_nucleus_at_the_centre_is_the_one_that_is_measured():
    middle, other = disc(6), disc(9, y=14, x=14)
    own, every = nuclei((middle + other)[None])
    np.testing.assert_array_equal(own[0], middle > 0)
    np.testing.assert_array_equal(every[0], (middle + other) > 0)


def test_nuclei_of_two_images_do_not_touch():
    pair = np.stack([disc(6), disc(9)])
    own, _ = nuclei(pair)
    np.testing.assert_array_equal(own, pair > 0)


def test_a_hole_belongs_to_the_nucleus():
    own, _ = nuclei((disc(9) - disc(3))[None])
    np.testing.assert_array_equal(own[0], disc(9) > 0)


def test_eccentricity_of_an_ellipse():
    mask = disc(10, stretch=1.4)[None] > 0
    assert eccentricity(mask)[0] == pytest.approx(np.sqrt(1 - 1 / 1.4**4), abs=0.02)


def test_texture_is_of_what_is_fine_and_does_not_depend_on_brightness():
    rng = np.random.default_rng(0)
    cell = disc(18)
    smooth, rough = (cell * (1 + sd * rng.normal(size=cell.shape)) for sd in (0.02, 0.2))
    values = [measured(disc(6), image)["protein texture"] for image in (smooth, rough, 3 * rough)]
    assert values[1] > 3 * values[0]
    assert values[2] == pytest.approx(values[1])


def test_otsu_lies_between_two_classes():
    inside = disc(9) > 0
    noise = 0.01 * np.random.default_rng(0).normal(size=(SIZE, SIZE))
    image = np.where(inside, 0.9, 0.2) + noise
    assert image[~inside].max() <= otsu(image[None])[0] < image[inside].min()


def test_an_empty_image_has_numbers():
    values = image_features(np.zeros((2, 2, 16, 16)), nucleus=0)
    assert np.isfinite(values).all()
    assert not values.any()


def test_names_and_columns_agree():
    images = np.random.default_rng(0).random((3, 3, 16, 16))
    for nucleus in (None, 1):
        names = feature_names(["a", "b", "c"], None if nucleus is None else "b")
        assert image_features(images, nucleus=nucleus).shape == (3, len(names))
        assert len(set(names)) == len(names)
        assert not any("/" in name for name in names)


def test_images_are_measured_alone():
    images = np.random.default_rng(0).random((5, 2, 16, 16))
    together = image_features(images, nucleus=0)
    np.testing.assert_allclose(together[3:4], image_features(images[3:4], nucleus=0))


def test_they_are_those_of_scikit_image():
    filters = pytest.importorskip("skimage.filters", reason="scikit-image is not installed")
    measure = pytest.importorskip("skimage.measure", reason="scikit-image is not installed")
    image = disc(9, stretch=1.2) + 0.1 * np.random.default_rng(0).random((SIZE, SIZE))
    assert otsu(image[None])[0] == pytest.approx(filters.threshold_otsu(image, nbins=64), abs=0.03)
    own, _ = nuclei(image[None])
    theirs = measure.regionprops(own[0].astype(int))[0]
    assert own.sum() == theirs.area
    assert eccentricity(own)[0] == pytest.approx(theirs.eccentricity, abs=1e-3)
