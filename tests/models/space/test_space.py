"""Which space a model gets, what each space keeps, and how it comes back from a file."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from shoal.core._matrix import as_rows
from shoal.models.space._features import FeatureSpace, fit_features
from shoal.models.space._identity import IdentitySpace
from shoal.models.space._pca import PCASpace
from shoal.models.space._space import encoded, fit_space, space_from_dict


@pytest.fixture
def x(rng):
    """(90, 12) values of cells."""
    return rng.normal(size=(90, 12)) * np.arange(1, 13) + 3


@pytest.fixture
def images(rng):
    """(20, 2, 5, 4) images of bytes."""
    return rng.integers(0, 256, size=(20, 2, 5, 4), dtype=np.uint8)


def fitted(values, n_latent):
    rows = as_rows(values, slot="obsm/crops")
    fit = np.arange(0, len(values), 2)
    return fit_space(rows, fit, n_latent=n_latent, rng=np.random.default_rng(0))


def test_the_kind_of_cells_and_n_latent_choose_the_space(x, images):
    for values, n_latent, kind, shape, words in (
        (x, 3, PCASpace, (3,), "3 components"),
        (x, None, FeatureSpace, (12,), "12 features"),
        (images, None, IdentitySpace, (2, 5, 4), "cells of shape 2 x 5 x 4"),
    ):
        space = fitted(values, n_latent)
        assert isinstance(space, kind)
        assert space.shape == shape
        assert space.n_dims == np.prod(shape)
        assert space.description == words
        assert (space.axes is not None) == (kind is PCASpace)
        assert encoded(as_rows(values), space).shape == (len(values), *shape)


def test_images_have_no_principal_components(images):
    with pytest.raises(ValueError, match=r"obsm/crops holds an array of shape \(2, 5, 4\)"):
        fitted(images, 3)


def test_features_are_centred_and_in_one_unit(x):
    space = fit_features(as_rows(x), np.arange(90), rng=np.random.default_rng(0))
    z = space.encode(x)
    assert z.dtype == np.float32
    np.testing.assert_allclose(z.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose((z**2).mean(), 1, rtol=1e-5)
    np.testing.assert_allclose(z.std(0) * space.scale, x.std(0), rtol=1e-5)
    np.testing.assert_allclose(space.decode(z, x[::-1]), x, atol=1e-4)
    np.testing.assert_array_equal(space.encode(sparse.csr_matrix(x)), z)


@pytest.mark.parametrize(
    ("given", "kept"), [("uint8", "uint8"), ("uint16", "float32"), ("float64", "float32")]
)
def test_images_stay_as_they_are(images, given, kept):
    values = images.astype(given)
    space = fitted(values, None)
    z = encoded(as_rows(values), space)
    assert z.dtype == kept
    np.testing.assert_array_equal(z, images)
    np.testing.assert_array_equal(space.decode(z, z[::-1]), images)


@pytest.mark.parametrize("n_latent", [3, None])
def test_a_space_comes_back_from_its_entry(x, images, n_latent):
    for values in (x, images) if n_latent is None else (x,):
        space = fitted(values, n_latent)
        back = space_from_dict(space.to_dict())
        assert type(back) is type(space)
        np.testing.assert_array_equal(back.encode(values), space.encode(values))
        assert back.shape == space.shape
