"""Two plates of small images: two channels, a disc whose size or brightness a perturbation sets."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pytest

pytest.importorskip("torch", reason="networks need the extra 'models'")
pytest.importorskip("scvi", reason="networks need the extra 'models'")

import shoal as sh

LEVEL = {"control": (80, 60), "bright": (160, 60), "dark": (80, 25)}
# starts at the images themselves: without noise, what goes in and comes out can be compared
TINY = {
    "width": 8,
    "multipliers": (1, 2),
    "n_steps": 4,
    "sampler": "euler",
    "path_start": "control",
}
FAST = {"accelerator": "cpu", "enable_progress_bar": False}


def screen_of(n=40, size=8, seed=0, dtype="uint8"):
    """Return a screen of n images of each perturbation and plate."""
    rng = np.random.default_rng(seed)
    label = np.tile(np.repeat(list(LEVEL), n), 2)
    plate = np.repeat(["p1", "p2"], n * len(LEVEL))
    level = np.array([LEVEL[name] for name in label], dtype=float)
    level *= np.where(plate == "p2", 1.4, 1.0)[:, None]  # the second plate is stained more
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    disc = (x**2 + y**2) < (size / 3) ** 2
    crops = (
        5 + level[:, :, None, None] * disc + rng.normal(scale=3, size=(len(label), 2, size, size))
    )
    crops = crops.clip(0, 255)
    if dtype == "uint16":
        crops = crops * 200
    if np.dtype(dtype).kind == "f":
        crops = crops / 255
    adata = ad.AnnData(obs={"drug": label, "plate": plate}, obsm={"crops": crops.astype(dtype)})
    adata.obs_names = [f"cell{i}" for i in range(adata.n_obs)]
    sh.pp.annotate(adata, "drug", control="control", batch_key="plate")
    return adata


def prepared(channels=("DNA", "actin"), **options):
    """Return such a screen, with its intensities looked at."""
    adata = screen_of(**options)
    sh.pp.prepare_images(adata, use_rep="crops", channels=list(channels))
    return adata


def fitted(adata, max_steps=3, config=None, **options):
    """Return a small trained model."""
    return sh.tl.fit(
        adata,
        "cellflux",
        use_rep="crops",
        max_steps=max_steps,
        config=TINY | (config or {}),
        **FAST,
        **options,
    )


@pytest.fixture(scope="package")
def screen():
    return prepared()


@pytest.fixture(scope="package")
def model(screen):
    return fitted(screen)
