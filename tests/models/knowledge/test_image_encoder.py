"""The encoder of images: what it learns, what it does not see, and that turning a cell changes nothing."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")

from shoal.models.knowledge._image_encoder import encode, train_encoder


def striped(rng, n, label):
    """Return images with stripes, whose width is the label, at random phases and in both directions."""
    at = np.arange(16)
    phase = rng.uniform(0, 2 * np.pi, n)
    wave = np.sin(at[None, :] * (0.8 + label[:, None]) + phase[:, None])[:, None, None, :]
    images = np.broadcast_to(wave, (n, 1, 16, 16)).copy()
    turned = rng.random(n) < 0.5
    images[turned] = images[turned].transpose(0, 1, 3, 2)
    return (images + 0.3 * rng.normal(size=images.shape)).astype(np.float32)


def trained(images, label, cells, **options):
    given = {
        "method": "classify",
        "n_features": 8,
        "max_steps": 60,
        "rng": np.random.default_rng(0),
    }
    return train_encoder(lambda rows: images[rows], cells, label[cells], **given | options)


@pytest.fixture(scope="module")
def screen():
    rng = np.random.default_rng(0)
    label = np.arange(160) % 2
    return striped(rng, 160, label), label


@pytest.mark.parametrize("method", ["classify", "contrast"])
def test_labels_are_seen_in_cells_that_it_was_not_shown(screen, method):
    images, label = screen
    found = encode(trained(images, label, np.arange(80), method=method), images)
    centre = np.stack([found[:80][label[:80] == k].mean(axis=0) for k in (0, 1)])
    near = np.linalg.norm(found[80:, None] - centre, axis=-1).argmin(axis=1)
    assert (near == label[80:]).mean() > 0.9


def test_no_other_cell_is_read(screen):
    images, label = screen
    cells = np.arange(40)
    spoilt = images.copy()
    spoilt[40:] = np.nan
    one, other = (trained(own, label, cells, max_steps=3) for own in (images, spoilt))
    for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())


@pytest.mark.parametrize("width", [16, 12])
def test_a_turned_cell_has_the_same_features(screen, width):
    images, label = screen
    network = trained(images, label, np.arange(20), max_steps=2)
    given = images[:5, :, :, :width]
    forms = [given[..., ::-1], given[..., ::-1, :]]
    forms += [given.transpose(0, 1, 3, 2), np.rot90(given, axes=(2, 3))] if width == 16 else []
    for form in forms:
        np.testing.assert_allclose(encode(network, form), encode(network, given), atol=1e-5)
