"""Judge predicted images beside a second experiment and simple baselines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._docs import shared
from .._keys import IMAGE_EVALUATION
from .._logging import logger
from .._threads import one_thread
from .._validate import get_adata, text
from ..core._claims import claim_result
from ..core._results import write_table
from ..core._screen import resolve
from ..evaluation._images import ImageSettings
from ..evaluation._images import evaluate_images as evaluated
from ..pp._split_use import check_split

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np
    from anndata import AnnData
    from mudata import MuData

    from .._random import RNGLike

SCHEMA = "image_evaluation/1"


@one_thread()
@shared()
def evaluate_images(
    data: AnnData | MuData,
    *,
    prediction: str,
    use_rep: str,
    nucleus: str | None = None,
    features: Callable[[np.ndarray], np.ndarray] | None = None,
    split: str | None = "test",
    accept: str | Sequence[str] = (),
    min_cells: int = 20,
    max_cells: int = 1000,
    n_draws: int = 3,
    key_added: str | None = None,
    overwrite: bool = False,
    rng: RNGLike = 0,
    mod: str | None = None,
) -> None:
    """Say how good predicted images are, beside a second experiment and simple baselines.

    A condition is a perturbation in a context at a dose. Its cells are cut into two halves at
    random. The second half is the truth. These are compared with it, with as many images each:

    ===================== =====================================================================
    contender             images
    ===================== =====================================================================
    the prediction        predicted for the cells of the first half
    second_experiment     the first half itself: the floor of every distance
    control_copy          controls of the same context and plate
    other_batch_control   controls of other plates, if there are several
    nearest_training      for each predicted image, the most similar perturbed image of training
    mean_intensity        controls, each channel as much brighter as the cells of the perturbation
                          are in training (as all perturbed cells, if it is not in training)
    ===================== =====================================================================

    The metrics are computed anew for every condition, and averaged over draws of the halves:

    ``frechet``, ``kernel``
        Fréchet and kernel distance of `features`: FID and KID, if these are of an Inception
        network. Both are corrected for few images (:func:`shoal.metrics.frechet_distance`).
    ``energy``
        Energy distance in the features that :func:`shoal.pp.measure_images` measures, in standard
        deviations of the controls.
    ``retrieval``
        Share of images that a classifier gives to their perturbation. It is trained on the real
        second halves, and on controls as a class of their own.

    Parameters
    ----------
    data
        Screen with crops and predicted crops, after :func:`shoal.pp.prepare_images`.
    prediction
        Name of the prediction: ``obsm["X_" + prediction]``, as :func:`shoal.tl.predict` writes it,
        on the scale of the crops.
    use_rep
        Key of ``obsm`` with the real crops.
    nucleus
        Channel that shows nuclei. Without it, nothing about nuclei is measured.
    features
        Turns images into features for the Fréchet and kernel distances: a function of (n, C, H, W)
        float32 arrays, in which the controls of a plate lie about between -1 and 1, that returns
        (n, d) numbers. A network of your own, say, or the encoder of an autoencoder. Nothing is
        downloaded. ``None`` takes the features that can be named.
    split
        Value of ``obs["split"]`` that is scored; ``None`` for all perturbed cells, without the
        baselines that need training cells.
    accept
        Names of leaks of ``obs["split"]`` to accept, see :func:`shoal.tl.evaluate`. A split that
        holds out perturbations on some plates has the leak ``"same_condition"``.
    min_cells
        Cells of a condition below which it is left out; at least 8.
    max_cells
        Most cells of a condition that are read.
    n_draws
        How often halves are drawn.
    key_added
        Slot of ``uns``; ``"image_evaluation"`` if ``None``.
    overwrite
        {overwrite}
    rng
        {rng}
    mod
        {mod}

    Returns
    -------
    Nothing; writes ``uns[key_added]`` with

    ``table``
        Index condition: the metrics of the prediction.
    ``contenders``
        Index contender, best first: ``score`` with ``score_low`` and ``score_high``, an interval
        of 95 % over conditions; the mean of each metric over conditions; ``frechet_pooled`` and
        ``kernel_pooled`` over all conditions together; and the score of each metric. A score is 0
        for a copy of the controls and 1 for a second experiment. It is NaN where a second
        experiment is no better than a copy.
    ``values``
        The metrics of every contender and condition.
    ``features``
        One row a condition and feature: medians of ``control``, ``real`` and ``predicted`` cells;
        ``response``, from controls to real cells in standard deviations; ``missed``,
        |predicted - real| over |control - real|.
    ``missing``
        Conditions that are not scored, and why.
    ``params``
        Among them ``score`` and ``verdict``, which is also logged.

    Raises
    ------
    KeyError
        If crops, prediction or channel do not exist, or the crops were not prepared.
    TypeError
        If `features` is no function.
    ValueError
        In any of these cases:

        - there is no ``obs["split"]``, and `split` is not ``None``;
        - held-out conditions are trained on, and that is not accepted;
        - no condition has enough cells, or only some cells of a condition were predicted;
        - predicted images are of another size, hold NaN, are on another scale than the crops, or
          are the real ones;
        - `features` returns something else than (n, d) finite numbers.

    Examples
    --------
    >>> import shoal as sh
    >>> adata = sh.ds.simulate_images(n_perturbations=2, n_cells=40, effects="translocation")
    >>> sh.pp.prepare_images(adata, use_rep="crops")
    >>> adata.obsm["X_mine"] = sh.ds.counterfactual_images(adata, "control")
    >>> sh.tl.evaluate_images(
    ...     adata, prediction="mine", use_rep="crops", nucleus="DNA", split=None, n_draws=1
    ... )
    >>> adata.uns["image_evaluation"]["contenders"].index[0]
    'second_experiment'
    """
    adata = get_adata(data, mod)
    if split is not None:
        text(split, name="split")
    key = claim_result(
        adata,
        IMAGE_EVALUATION if key_added is None else key_added,
        schema=SCHEMA,
        overwrite=overwrite,
    )
    settings = ImageSettings(use_rep, nucleus, features, split, min_cells, max_cells, n_draws)
    screen = resolve(adata)
    leaks = ""
    if split in ("val", "test"):
        leaks = check_split(
            adata, screen, accept=accept, held_out=split, call="sh.tl.evaluate_images"
        )
    params, tables = evaluated(adata, screen, prediction, settings, rng=rng)
    params["caution"] = "; ".join(filter(None, (params["caution"], leaks)))
    logger.info("%s", params["verdict"])
    table = tables.pop("table")
    write_table(adata, key, table, schema=SCHEMA, params=params, **tables)
