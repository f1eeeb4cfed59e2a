"""Images of control, predicted and real cells beside each other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.lines import Line2D

from .._random import RNGLike, as_generator
from .._validate import flag, get_adata, key_in, listed, text, whole
from ..core._image_colours import colours_of
from ..core._image_pictures import pictures, shown_cells
from ..core._image_reading import crops
from ..core._predicted_cells import inside_of
from ..core._screen import labels, resolve
from ._canvas import Canvas
from ._style import INK, plain, shorten
from ._texts import fill

if TYPE_CHECKING:
    from collections.abc import Sequence
    from os import PathLike

    from anndata import AnnData
    from mudata import MuData
    from numpy.typing import NDArray

INCH = 0.62  # of an image


@fill
def images(
    data: AnnData | MuData,
    perturbation: str | Sequence[str],
    *,
    use_rep: str,
    prediction: str | Sequence[str] | None = None,
    channels: Sequence[str] | None = None,
    separate: bool = True,
    context: str | None = None,
    n_cells: int = 4,
    rng: RNGLike = 0,
    figsize: tuple[float, float] | None = None,
    title: str | None = None,
    show: bool | None = None,
    save: str | PathLike[str] | None = None,
    mod: str | None = None,
) -> NDArray[Any]:
    """Draw crops of controls, of predicted and of real cells, in colours and channel by channel.

    Each line holds a control cell, what is predicted from it, and a real cell of the perturbation.
    The control is the one that the prediction starts from, where that is recorded. Predicted and
    real cells are two different cells: they are alike as populations, not one by one.

    The brightness of a channel is the same in all panels of a perturbation, in units of its plate
    (:func:`shoal.pp.prepare_images`). Channels whose name says that they show nuclei are blue. The
    bar under a channel is its colour in the composite.

    Parameters
    ----------
    data
        Screen with crops, after :func:`shoal.pp.prepare_images`.
    perturbation
        {perturbations}
    use_rep
        Key of ``obsm`` with the crops.
    prediction
        Name of a prediction, or of several, such as steps of a path. ``None`` shows controls and
        real cells.
    channels
        Channels to show; all of them if ``None``.
    separate
        Whether to show each channel in grey too, beside the composite.
    context
        {context}
    n_cells
        Lines of a panel.
    rng
        Seed or Generator that chooses the cells.
    figsize, title, show, save
        {figure}
    mod
        {mod}

    Returns
    -------
    (P, K) axes: a line a perturbation, a column for the controls, each prediction and the real
    cells.

    Raises
    ------
    KeyError
        If the perturbation, the crops, a prediction, a channel or the context does not exist.
    ValueError
        If the crops were not prepared, a pixel is NaN, or no cell was predicted.

    Examples
    --------
    >>> import shoal as sh
    >>> adata = sh.ds.simulate_images(n_perturbations=2, n_cells=20, n_control=40, rng=0)
    >>> sh.pp.prepare_images(adata, use_rep="crops")
    >>> axes = sh.pl.images(adata, ["P1", "P2"], use_rep="crops")
    """
    canvas = Canvas(None, figsize, title, show, save)
    adata = get_adata(data, mod)
    n_cells = whole(n_cells, name="n_cells")
    flag(separate, name="separate")
    rng = as_generator(rng)
    names = listed(perturbation, name="perturbation", empty=False)
    keys = listed(prediction, name="prediction", empty=False)
    real = crops(adata, use_rep)
    predicted = [crops(adata, use_rep, prediction=key) for key in keys]
    shown = listed(channels, name="channels", empty=False) or list(real.scale.channels)
    for channel in shown:
        key_in(channel, real.scale.channels, where="the channels")
    at = [real.scale.channels.index(channel) for channel in shown]
    screen = resolve(adata, tell=False)
    labelled, inside = labels(adata, screen), inside_of(adata, screen, context)
    control = np.flatnonzero(labelled.is_control & inside)
    columns = 1 + len(shown) if separate and len(shown) > 1 else 1
    axes = canvas.subplots(
        len(names),
        2 + len(keys),
        width=0.3 + INCH * columns * (2 + len(keys)),
        height=(0.4 + INCH * n_cells) * len(names),
    )
    for line, name in zip(axes, names, strict=True):
        text(name, name="perturbation")
        label = screen.canonical(name)
        key_in(label, labelled.names, where=f"adata.obs[{screen.perturbation_key!r}]")
        treated = np.flatnonzero((labelled.code == labelled.names.get_loc(label)) & inside)
        start, rows = shown_cells(
            adata,
            real,
            treated=treated,
            control=control,
            prediction=keys[0] if keys else None,
            n_cells=n_cells,
            rng=rng,
        )
        if not len(rows):
            msg = f"no cell of {name!r} (in the context shown) has a prediction in {keys[0]!r}"
            raise ValueError(msg)
        kinds = [real.intensities(start)[:, at]]
        kinds += [own.intensities(rows)[:, at] for own in predicted]
        kinds.append(real.intensities(rows)[:, at])
        alone = range(len(shown)) if columns > 1 else ()
        titles = ["control", *keys, f"{label}, real"]
        for ax, picture, title in zip(
            line, pictures(kinds, shown, separate=alone), titles, strict=True
        ):
            ax.imshow(picture, interpolation="nearest")
            ax.set_title(shorten(title), loc="left", fontsize="small", color=INK)
            _name_columns(ax, picture.shape[1], shown if columns > 1 else [])
    return canvas.done(axes)


def _name_columns(ax: Any, width: int, channels: Sequence[str]) -> None:
    """Take ticks and frame away, and name the channels below, with their colours."""
    ax.spines[:].set_visible(False)
    ax.set_yticks([])
    names = ["all", *channels] if channels else []
    part = width / max(len(names), 1)
    ticks = [part * (i + 0.5) for i in range(len(names))]
    ax.set_xticks(ticks, [plain(name) for name in names], fontsize="xx-small", color=INK)
    ax.tick_params(length=0)
    if channels:
        bar = {"transform": ax.get_xaxis_transform(), "linewidth": 2, "clip_on": False}
        for i, colour in enumerate(colours_of(channels), start=1):
            start, end = (part * (i + side) for side in (0.1, 0.9))
            ax.add_line(Line2D([start, end], [-0.012, -0.012], color=tuple(colour), **bar))
