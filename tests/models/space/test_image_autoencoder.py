from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch", reason="an autoencoder needs the extra 'models'")

from shoal.core._matrix import as_rows
from shoal.models.space._image_autoencoder import fit_image_autoencoder
from shoal.models.space._space import space_from_dict

EVERY = np.arange(64)


@pytest.fixture(scope="module")
def images():
    """Return discs of several sizes and brightnesses, which few numbers describe."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:8, :8] - 3.5
    size, level = rng.uniform(1.5, 4, 64), rng.uniform(0.5, 2, (64, 2))
    disc = 1 / (1 + np.exp(2 * (np.hypot(x, y) - size[:, None, None])))
    return (level[:, :, None, None] * disc[:, None] - 1).astype(np.float32)


def fitted(images, **options):
    return fit_image_autoencoder(
        as_rows(images), EVERY, n_channels=4, rng=np.random.default_rng(0), **options
    )


@pytest.fixture(scope="module")
def space(images):
    return fitted(images, n_steps=150)


def test_it_explains_images_that_it_has_not_seen(space, images):
    assert space.shape == (4, 2, 2)
    assert space.explained > 0.7
    z = space.encode(images)
    assert z.shape == (64, 4, 2, 2)
    np.testing.assert_allclose(z.mean(axis=(0, 2, 3)), 0, atol=0.1)
    assert (z**2).mean() == pytest.approx(1, abs=0.1)


def test_an_image_that_does_not_move_comes_back_unchanged(space, images):
    np.testing.assert_allclose(space.decode(space.encode(images), images), images, atol=1e-5)
    plain = fitted(images, n_steps=3, keeps_details=False)
    made = plain.decode(plain.encode(images), images)
    np.testing.assert_array_equal(made, plain.decode(plain.encode(images), 0 * images))


def test_it_is_the_same_from_a_file(space, images):
    again = space_from_dict(space.to_dict())
    z = space.encode(images)
    np.testing.assert_array_equal(again.encode(images), z)
    np.testing.assert_array_equal(again.decode(0 * z, images), space.decode(0 * z, images))


def test_what_it_cannot_learn_from(images):
    with pytest.raises(ValueError, match="cannot be halved twice"):
        fitted(images[:, :, :6], n_steps=3)
    with pytest.raises(ValueError, match="takes at least 20 training cells and there are 9"):
        fit_image_autoencoder(
            as_rows(images), EVERY[:9], n_channels=4, n_steps=3, rng=np.random.default_rng(0)
        )
