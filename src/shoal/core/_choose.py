"""Which values a call means: ``X``, a layer or a representation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ._predictions import refuse_partly_predicted
from ._storage import check_numbers, numbers_of

if TYPE_CHECKING:
    from anndata import AnnData


def choose(
    adata: AnnData,
    *,
    layer: str | None = None,
    use_rep: str | None = None,
    images: bool = False,
    partly: bool = False,
) -> tuple[Any, str]:
    """Return the values a call means and the name of their slot.

    Parameters
    ----------
    adata
        Screen.
    layer, use_rep
        Key of ``layers`` or of ``obsm``; ``X`` if both are ``None``.
    images
        Whether the caller takes cells that are arrays, (n, C, H, W), as well as rows of features.
    partly
        Whether the caller takes a prediction of some cells, and reads no others.

    Returns
    -------
    The values, and ``"X"``, ``"layers/..."`` or ``"obsm/..."``.

    Raises
    ------
    ValueError
        If both `layer` and `use_rep` are given, ``adata.X`` is empty, the slot does not hold real
        numbers or some are masked, or it holds images, or a prediction of some cells only, and the
        caller does not take them.
    TypeError
        If the slot is no matrix.
    KeyError
        If the slot does not exist.
    """
    from .._validate import key_in, text

    for name, value in (("layer", layer), ("use_rep", use_rep)):
        if value is not None:
            text(value, name=name)
    if layer is not None and use_rep is not None:
        msg = f"layer={layer!r} and use_rep={use_rep!r} exclude each other; give one"
        raise ValueError(msg)
    if use_rep is not None and use_rep != "X":
        key_in(
            use_rep,
            adata.obsm.keys(),
            where="adata.obsm",
            hint="sh.pp.prepare(adata) writes 'X_pca'.",
        )
        values, slot = adata.obsm[use_rep], f"obsm/{use_rep}"
        if hasattr(values, "columns"):
            values = numbers_of(values, slot)
    elif layer is not None:
        key_in(layer, [name for name in adata.layers if name is not None], where="adata.layers")
        values, slot = adata.layers[layer], f"layers/{layer}"
        if not partly:
            refuse_partly_predicted(adata, layer)
    elif adata.X is None:
        msg = "adata.X is empty; pass layer= or use_rep="
        raise ValueError(msg)
    else:
        values, slot = adata.X, "X"
    check_numbers(values, slot)
    if slot.startswith("obsm/") and not images:
        refuse_images(values.shape, slot)
    return values, slot


def refuse_images(shape: tuple[int, ...], slot: str) -> None:
    """Raise ``ValueError`` if cells are arrays, such as images, where rows of features are needed.

    Parameters
    ----------
    shape
        Shape of the values, cells first.
    slot
        Name of the slot that holds them.
    """
    if len(shape) > 2:
        msg = (
            f"{slot} holds an array of shape {tuple(shape[1:])} for each cell, and one row of "
            "features a cell is needed here. Arrays such as images are taken by sh.tl.fit, for a "
            "network with takes_images = True and n_latent=None, by sh.tl.predict and by "
            "sh.tl.evaluate_images. For anything else store features of them, (n_obs, n_features), "
            "in obsm, as sh.pp.measure_images does, and pass that as use_rep="
        )
        raise ValueError(msg)
