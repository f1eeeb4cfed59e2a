"""Features of crops that an encoder has learned from the labels of training cells."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from .._docs import shared
from .._keys import SPLIT
from .._logging import logger
from .._random import as_generator
from .._threads import one_thread
from .._validate import file_key, get_adata, key_in, one_of, whole
from ..core._claims import claim
from ..core._image_entries import SLOT, entry_of, with_entry
from ..core._image_reading import crops
from ..core._screen import resolve
from ..core._slots import write_slots
from ..pp._image_encoders import encoders_of, training_labels, with_encoder
from ..pp._split_use import check_split

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from mudata import MuData

    from .._random import RNGLike


@one_thread()
@shared()
def encode_images(
    data: AnnData | MuData,
    perturbation_key: str | None = None,
    *,
    control: str | Sequence[str] | None = None,
    use_rep: str,
    method: Literal["classify", "contrast"] = "classify",
    n_features: int = 64,
    max_steps: int = 400,
    accept: str | Sequence[str] = (),
    key_added: str | None = None,
    overwrite: bool = False,
    rng: RNGLike = 0,
    mod: str | None = None,
) -> None:
    """Learn to see what perturbations do in crops, and write features of every cell.

    A small convolutional network is trained on the cells of ``obs["split"] == "train"``, to tell
    their perturbations and the controls apart. All labels are drawn equally often. What it sees of
    a cell before that decision is written for all cells, also of perturbations and of cell lines
    that it was never shown. The features are rows of numbers, and every function that takes
    ``use_rep=`` takes them: :class:`shoal.models.Knowledge` is trained on them as on any profiles.

    Features with names, such as areas and intensities, come from :func:`shoal.pp.measure_images`.
    They need no training and are often as good. Compare the two.

    Parameters
    ----------
    data
        Screen with crops, after :func:`shoal.pp.prepare_images` and :func:`shoal.pp.split`.
    perturbation_key, control
        {design}
    use_rep
        Key of ``obsm`` with the crops, (n_obs, C, H, W).
    method
        What the network is trained on. ``"classify"``: the perturbation of a cell (weakly
        supervised learning). ``"contrast"``: cells of one perturbation are nearer to each other
        than to others (SimCLR, whose pairs are replicates).
    n_features
        Number of features.
    max_steps
        Steps of training, of up to 64 cells each.
    accept
        Names of leaks of ``obs["split"]`` to accept, as for :func:`shoal.tl.fit`.
    key_added
        Slot of ``obsm`` for the features; by default the name of the crops and ``"_encoded"``.
    overwrite
        {overwrite}
    rng
        Seed or generator of the weights, the batches, and the flips and turns of the crops.
    mod
        {mod}

    Returns
    -------
    Nothing. Writes ``obsm[key_added]``, (n_obs, n_features) float32. Over training cells, features
    have the mean 0 and, together, the mean square 1. They do not depend on how a cell is turned.

    Raises
    ------
    KeyError
        If there are no such crops, they were not prepared, or there is no ``obs["split"]``.
    ValueError
        If training cells have fewer than two labels, held-out conditions are trained on, a crop
        holds NaN, or an option is not known.

    References
    ----------
    chen2025biological

    Examples
    --------
    >>> import shoal as sh
    >>> adata = sh.ds.simulate_images(n_perturbations=4, n_cells=20, n_control=40, rng=0)
    >>> sh.pp.prepare_images(adata, use_rep="crops")
    >>> sh.pp.split(adata, by="perturbation", test=0.25, rng=0)
    >>> sh.tl.encode_images(adata, use_rep="crops", n_features=16, max_steps=10)
    >>> adata.obsm["crops_encoded"].shape
    (120, 16)
    """
    from ..models.knowledge._image_encoder import METHODS, encode, train_encoder

    adata = get_adata(data, mod)
    one_of(method, METHODS, name="method")
    n_features = whole(n_features, name="n_features")
    max_steps = whole(max_steps, name="max_steps")
    read = crops(adata, use_rep)
    screen = resolve(adata, perturbation_key, control=control)
    hint = (
        "The encoder learns from labels, and not from those of held-out cells: sh.pp.split(adata)"
    )
    key_in(SPLIT, list(adata.obs), where="adata.obs", hint=hint)
    check_split(adata, screen, accept=accept, call="sh.tl.encode_images")
    slot = f"{use_rep}_encoded" if key_added is None else key_added
    file_key(slot, name="key_added")
    entry = dict(entry_of(adata, use_rep) or {})
    owned = {f"obsm/{name}" for name in encoders_of(entry).index}
    claim(adata, [f"obsm/{slot}"], owned=owned, overwrite=overwrite)
    cells, label = training_labels(adata, screen, use_rep)
    network = train_encoder(
        read.intensities,
        cells,
        label,
        method=method,
        n_features=n_features,
        max_steps=max_steps,
        rng=as_generator(rng),
    )
    values = read.each(np.arange(adata.n_obs), lambda images: encode(network, images))
    values -= values[cells].mean(axis=0)
    values /= max(float(np.sqrt((values[cells] ** 2).mean())), 1e-12)
    said = "obsm[%r]: %d features of obsm[%r], learned from %d training cells with %d labels"
    logger.info(said, slot, n_features, use_rep, len(cells), label.max() + 1)
    entry = with_encoder(entry, slot, method, adata)
    made = {f"obsm/{slot}": values.astype(np.float32), SLOT: with_entry(adata, use_rep, entry)}
    write_slots(adata, made)
