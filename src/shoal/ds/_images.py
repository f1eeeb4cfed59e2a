"""Simulated images of cells, with known parameters and counterfactuals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anndata as ad
import numpy as np
import pandas as pd

from .._keys import IMAGES
from .._random import spawn
from .._validate import between, flag, listed, one_of, positive, whole
from ..core._image_entries import with_entry
from ..core._results import write_table
from ..pp._annotate import annotate
from ._effects import at_least_0, names_of
from ._image_cells import (
    CHANNELS,
    KINDS,
    Camera,
    draw_cells,
    to_natural,
    treated,
    untreated,
)
from ._image_truth import (
    dose_table,
    effects_of,
    in_pixels,
    plates_of,
    responses_of,
    shifts_of,
)
from ._texts import fill

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .._random import RNGLike

DEATH = "dead"
WRITTEN_BY = "sh.ds.simulate_images()"


@fill
def simulate_images(
    *,
    n_perturbations: int = 6,
    n_cells: int = 100,
    n_control: int = 300,
    size: int = 32,
    effects: str | Sequence[str] = tuple(KINDS),
    effect_size: float = 1.0,
    doses: Sequence[float] | None = None,
    n_batches: int = 2,
    batch_effect: float = 0.2,
    dead: float = 0.03,
    dtype: str = "uint8",
    counterfactual: bool = False,
    rng: RNGLike = 0,
) -> ad.AnnData:
    r"""Simulate images of cells with a nucleus and a cytoplasm, of which everything is known.

    - A cell has eight parameters: the radius of the nucleus and of the cell, the elongation, the
      intensities of three channels, the share of the protein that is in the nucleus, and the
      texture. Untreated cells vary in all of them.
    - A perturbation moves parameters of all its cells by the same amount: log values, and the
      logit of the share. It may also kill cells, which are small, round and bright in DNA.
    - Plates differ in brightness and background, by channel.
    - Where a cell lies, its outline, its texture and the noise of the camera come from a seed of
      its own. So an image of the same cell under any other treatment can be drawn
      (:func:`shoal.ds.counterfactual_images`).

    Parameters
    ----------
    n_perturbations
        Number of perturbations.
    n_cells
        Cells of each perturbation and dose.
    n_control
        Control cells.
    size
        Height and width of an image, in pixels.
    effects
        Kinds of effect, given to the perturbations in turn. When all have been given, the next
        perturbations of a kind have the opposite sign.

        - ``"size"``: larger nucleus and cell;
        - ``"intensity"``: less DNA, more protein;
        - ``"texture"``: rougher and brighter actin;
        - ``"translocation"``: the protein goes into the nucleus;
        - ``"death"``: more dead cells (never fewer);
        - ``"null"``: no effect.
    effect_size
        Factor on the effects.
    doses
        Doses above 0. Every perturbation is simulated at each, with the response
        ``dose / (dose + ec50)``, where ec50 is the geometric mean of the doses. Controls have dose
        0.
    n_batches
        Plates. All have cells of all treatments.
    batch_effect
        Standard deviation of the log brightness of a channel between plates.
    dead
        Share of dead cells among the controls.
    dtype
        ``"uint8"``, or ``"uint16"`` with intensities 256 times as large.
    counterfactual
        Whether to keep the image that each cell would have had without its treatment.
    rng
        {rng}

    Returns
    -------
    AnnData without ``X``, controls first, and

    ``obsm["crops"]``
        (n_obs, 3, size, size) images of the channels DNA, actin and protein.
    ``obsm["counterfactual"]``
        The images without treatment, if asked for. Those of controls are the same as in ``crops``.
    ``obsm["untreated"]``
        Table of the eight parameters that each cell has without its treatment, and alive.
    ``obs``
        - ``perturbation`` and ``batch`` (categories), ``dose`` (float) if asked for;
        - the eight parameters (float) as they are in the image: ``nucleus_radius`` and
          ``cell_radius`` (of a circle of that area, in pixels), ``elongation`` (long over short
          axis), ``dna``, ``actin``, ``protein`` (intensities), ``nuclear_share``, ``texture``;
        - ``dead`` (bool) and ``seed`` (int).
    ``uns["truth"]``
        ``table``, index perturbation, with ``kind``, the shift of every parameter at a response of
        1 (in log, or logit of the share) and ``dead``, the probability of death that is added;
        ``plates``, with ``gain`` and ``offset`` of every plate and channel; ``doses``, if asked
        for: response at each dose.
    ``uns["images"]``
        Names of the channels. :func:`shoal.pp.prepare_images` adds the scale.
    ``uns["shoal"]``
        {design}

    Raises
    ------
    TypeError
        If an argument is of the wrong type.
    ValueError
        If a number is out of range, or a kind of effect is not known.

    Examples
    --------
    >>> import shoal as sh
    >>> adata = sh.ds.simulate_images(n_perturbations=2, n_cells=20, n_control=40, rng=0)
    >>> adata.obsm["crops"].shape
    (80, 3, 32, 32)
    """
    n_perturbations = whole(n_perturbations, name="n_perturbations")
    n_cells, n_control = whole(n_cells, name="n_cells"), whole(n_control, name="n_control")
    n_batches = whole(n_batches, name="n_batches")
    size = whole(size, name="size", least=12)
    positive(effect_size, name="effect_size")
    at_least_0(batch_effect, name="batch_effect")
    between(dead, 0, 0.5, name="dead", ends=True)
    one_of(dtype, ("uint8", "uint16"), name="dtype")
    flag(counterfactual, name="counterfactual")
    kinds = listed(effects, name="effects")
    for kind in kinds or [""]:
        one_of(kind, tuple(KINDS), name="effects")
    response = responses_of(doses)

    cell_rng, plate_rng, seed_rng = spawn(rng, 3)
    names = names_of(n_perturbations)
    table = effects_of(names, kinds, effect_size)
    n_treated = len(names) * len(response) * n_cells
    code = np.repeat(np.arange(len(names)), len(response) * n_cells)
    dose = np.tile(np.repeat(list(response), n_cells), len(names))
    reached = np.tile(np.repeat(list(response.values()), n_cells), len(names))
    code = np.concatenate([np.full(n_control, -1), code])
    dose = np.concatenate([np.zeros(n_control), dose])
    reached = np.concatenate([np.zeros(n_control), reached])
    n = n_control + n_treated
    seed = seed_rng.integers(0, 2**31, n)
    plate = np.concatenate([np.arange(n_control), np.arange(n_treated)]) % n_batches
    scale = untreated(n, cell_rng)
    camera = Camera(
        size,
        dtype,
        np.exp(batch_effect * plate_rng.standard_normal((n_batches, len(CHANNELS)))),
        0.08 + 0.25 * batch_effect * plate_rng.random((n_batches, len(CHANNELS))),
    )
    shift = shifts_of(table, code, reached)
    natural, dies = treated(scale, shift[0], dead + shift[1], seed)
    batches = [f"B{i + 1}" for i in range(n_batches)]
    obs = pd.DataFrame(
        {
            "perturbation": pd.Categorical.from_codes(code + 1, ["control", *names]),
            "batch": pd.Categorical.from_codes(plate, batches),
            **({} if doses is None else {"dose": dose}),
            **in_pixels(natural, size),
            "dead": dies,
            "seed": seed,
        },
        index=pd.RangeIndex(n).astype(str),
    )
    before = pd.DataFrame(in_pixels(to_natural(scale), size), index=obs.index)
    obsm: dict[str, Any] = {"crops": draw_cells(natural, seed, plate, camera), "untreated": before}
    if counterfactual:
        alive, _ = treated(scale, np.zeros_like(scale), np.full(n, dead), seed)
        obsm["counterfactual"] = draw_cells(alive, seed, plate, camera)
    adata = ad.AnnData(obs=obs, obsm=obsm)
    params = {"size": size, "dtype": dtype, "dead": dead, "n_control": n_control}
    plates = plates_of(camera, batches)
    more = {} if doses is None else {"doses": dose_table(response)}
    write_table(adata, "truth", table, schema="image_truth/1", params=params, plates=plates, **more)
    adata.uns[IMAGES] = with_entry(adata, "crops", {"channels": CHANNELS})
    keys = {"batch_key": "batch", **({} if doses is None else {"dose_key": "dose"})}
    annotate(adata, "perturbation", control="control", **keys)
    return adata
