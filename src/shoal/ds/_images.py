"""Simulated images of cells, with known parameters and counterfactuals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anndata as ad
import numpy as np
import pandas as pd

from .._keys import IMAGES
from .._random import spawn
from .._validate import between, flag, key_in, listed, one_of, positive, some, whole
from ..core._images import with_entry
from ..core._results import read_result, write_table
from ..pp._annotate import annotate
from ._effects import at_least_0, names_of
from ._image_cells import (
    CHANNELS,
    KINDS,
    PARAMETERS,
    Camera,
    draw_cells,
    to_effects,
    to_natural,
    treated,
    untreated,
    vector_of,
)
from ._texts import fill

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike

    from .._random import RNGLike
    from .._typing import Floats, Ints

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
      (:func:`counterfactual_images`).

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
    counts = {"n_perturbations": n_perturbations, "n_cells": n_cells, "n_control": n_control}
    for name, value in {**counts, "n_batches": n_batches}.items():
        whole(value, name=name)
    whole(size, name="size", least=12)
    positive(effect_size, name="effect_size")
    at_least_0(batch_effect, name="batch_effect")
    between(dead, 0, 0.5, name="dead", ends=True)
    one_of(dtype, ("uint8", "uint16"), name="dtype")
    flag(counterfactual, name="counterfactual")
    kinds = listed(effects, name="effects")
    for kind in kinds or [""]:
        one_of(kind, tuple(KINDS), name="effects")
    response = _responses(doses)

    cell_rng, plate_rng, seed_rng = spawn(rng, 3)
    names = names_of(n_perturbations)
    table = _effects(names, kinds, effect_size)
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
        int(size),
        dtype,
        np.exp(batch_effect * plate_rng.standard_normal((n_batches, len(CHANNELS)))),
        0.08 + 0.25 * batch_effect * plate_rng.random((n_batches, len(CHANNELS))),
    )
    shift = _shift(table, code, reached)
    natural, dies = treated(scale, shift[0], dead + shift[1], seed)
    batches = [f"B{i + 1}" for i in range(n_batches)]
    obs = pd.DataFrame(
        {
            "perturbation": pd.Categorical.from_codes(code + 1, ["control", *names]),
            "batch": pd.Categorical.from_codes(plate, batches),
            **({} if doses is None else {"dose": dose}),
            **_in_pixels(natural, size),
            "dead": dies,
            "seed": seed,
        },
        index=pd.RangeIndex(n).astype(str),
    )
    before = pd.DataFrame(_in_pixels(to_natural(scale), size), index=obs.index)
    obsm: dict[str, Any] = {"crops": draw_cells(natural, seed, plate, camera), "untreated": before}
    if counterfactual:
        alive, _ = treated(scale, np.zeros_like(scale), np.full(n, dead), seed)
        obsm["counterfactual"] = draw_cells(alive, seed, plate, camera)
    adata = ad.AnnData(obs=obs, obsm=obsm)
    params = {"size": size, "dtype": dtype, "dead": dead, "n_control": n_control}
    plates = _plates(camera, batches)
    more = {} if doses is None else {"doses": _dose_table(response)}
    write_table(adata, "truth", table, schema="image_truth/1", params=params, plates=plates, **more)
    adata.uns[IMAGES] = with_entry(adata, "crops", {"channels": CHANNELS})
    keys = {"batch_key": "batch", **({} if doses is None else {"dose_key": "dose"})}
    annotate(adata, "perturbation", control="control", **keys)
    return adata


def counterfactual_images(
    adata: ad.AnnData,
    perturbation: str | Sequence[str],
    *,
    cells: Sequence[str] | None = None,
    dose: float | ArrayLike | None = None,
) -> np.ndarray:
    """Draw the images that simulated cells would have had under another treatment.

    Position, outline, texture, noise and plate of a cell stay as they are. A cell that is dead
    among the controls is dead under every treatment.

    Parameters
    ----------
    adata
        Simulated images, as :func:`simulate_images` gives them.
    perturbation
        Name of the treatment, or one for each cell; ``"control"`` for none.
    cells
        Names of the cells, repeats allowed; all of them if ``None``.
    dose
        Dose of the treatment, or one for each cell. ``None`` for the response of 1.

    Returns
    -------
    (n, 3, H, W) images.

    Raises
    ------
    KeyError
        If a cell or a perturbation does not exist.
    TypeError
        If `adata` is no AnnData.
    ValueError
        If the names are not as many as the cells, or a dose is below 0, or the screen has none.

    Examples
    --------
    >>> import shoal as sh
    >>> adata = sh.ds.simulate_images(n_perturbations=2, n_cells=20, n_control=40, rng=0)
    >>> sh.ds.counterfactual_images(adata, "P1", cells=["0", "1"]).shape
    (2, 3, 32, 32)
    """
    if not isinstance(adata, ad.AnnData):
        msg = f"expected an AnnData, not {type(adata).__name__}"
        raise TypeError(msg)
    truth = read_result(adata, "truth", kind="image_truth", written_by=WRITTEN_BY)
    chosen = list(adata.obs_names) if cells is None else listed(cells, name="cells")
    rows = adata.obs_names.get_indexer(chosen)
    if (rows < 0).any():
        msg = (
            f"no cell is called {some([c for c, r in zip(chosen, rows, strict=True) if r < 0], 4)}"
        )
        raise KeyError(msg)
    table = truth["table"]
    wanted = listed(perturbation, name="perturbation")
    wanted = wanted * len(rows) if len(wanted) == 1 else wanted
    for name in dict.fromkeys(wanted):
        key_in(name, ["control", *table.index], where="the simulated treatments")
    reached = _reached(truth, dose, len(rows))
    if len(wanted) != len(rows):
        msg = f"perturbation has {len(wanted)} names for {len(rows)} cells: give one for each"
        raise ValueError(msg)
    params, plates = truth["params"], truth["plates"]
    batches = pd.unique(plates["batch"].astype(str))
    shape = (len(batches), len(CHANNELS))
    gain, offset = (plates[name].to_numpy().reshape(shape) for name in ("gain", "offset"))
    camera = Camera(int(params["size"]), str(params["dtype"]), gain, offset)
    natural = adata.obsm["untreated"].iloc[rows][list(PARAMETERS)].to_numpy(dtype=np.float64)
    natural = natural / _pixels(camera.size)
    seed = adata.obs["seed"].to_numpy()[rows]
    plate = pd.Index(batches).get_indexer(adata.obs["batch"].astype(str).to_numpy()[rows])
    shift, dead = _shift(table, table.index.get_indexer(wanted), reached)
    after, _ = treated(to_effects(natural), shift, params["dead"] + dead, seed)
    return draw_cells(after, seed, plate, camera)


def _responses(doses: Sequence[float] | None) -> dict[float, float]:
    """Return the response at each dose, 1 without doses.

    Raises
    ------
    TypeError
        If doses are no numbers.
    ValueError
        If there are none, or one is not above 0.
    """
    if doses is None:
        return {1.0: 1.0}
    if isinstance(doses, str) or not hasattr(doses, "__len__") or len(doses) == 0:
        msg = f"doses must be numbers above 0, not {doses!r}"
        raise (ValueError if hasattr(doses, "__len__") and len(doses) == 0 else TypeError)(msg)
    for dose in doses:
        positive(dose, name="doses")
    ec50 = float(np.exp(np.log(list(doses)).mean()))
    return {float(dose): float(dose / (dose + ec50)) for dose in doses}


def _dose_table(response: dict[float, float]) -> pd.DataFrame:
    return pd.DataFrame(
        {"dose": list(response), "response": list(response.values())},
        index=[str(dose) for dose in response],
    )


def _reached(truth: dict[str, Any], dose: float | ArrayLike | None, n: int) -> Floats:
    """Return the (n,) responses at some doses.

    Raises
    ------
    ValueError
        If the screen has no doses, or one is below 0 or no number.
    """
    if dose is None:
        return np.ones(n)
    if "doses" not in truth:
        msg = "dose= is given, and this screen was simulated without doses: leave it out"
        raise ValueError(msg)
    doses = np.asarray(dose, dtype=np.float64)
    if doses.shape not in ((), (n,)) or not (np.isfinite(doses).all() and (doses >= 0).all()):
        msg = f"dose must be a number of at least 0, or one for each of {n} cells, not {dose!r}"
        raise ValueError(msg)
    ec50 = float(np.exp(np.log(truth["doses"]["dose"].to_numpy(dtype=float)).mean()))
    return np.broadcast_to(doses / (doses + ec50), n)


def _effects(names: Sequence[str], kinds: Sequence[str], effect_size: float) -> pd.DataFrame:
    """Return the shift of every parameter by every perturbation."""
    own = [kinds[i % len(kinds)] for i in range(len(names))]
    sign = [1.0 if i // len(kinds) % 2 == 0 else -1.0 for i in range(len(names))]
    shifts = np.array(
        [s * effect_size * vector_of(KINDS[k]) for k, s in zip(own, sign, strict=True)]
    )
    killed = [min(0.9, effect_size * KINDS[kind].get(DEATH, 0.0)) for kind in own]
    table = pd.DataFrame(
        shifts.reshape(len(names), len(PARAMETERS)),
        index=pd.Index(names, name="perturbation"),
        columns=list(PARAMETERS),
    )
    table.insert(0, "kind", own)
    return table.assign(dead=killed)


def _shift(table: pd.DataFrame, code: Ints, reached: Floats) -> tuple[Floats, Floats]:
    """Return the shifts of parameters and of the probability of death; code -1 has none."""
    shifts = np.vstack([table[list(PARAMETERS)].to_numpy(), np.zeros(len(PARAMETERS))])
    killed = np.append(table["dead"].to_numpy(), 0.0)
    return shifts[code] * reached[:, None], killed[code] * reached


def _pixels(size: int) -> Floats:
    """Return the factors that turn parts of a crop into pixels; 1 for what is no length."""
    return np.array([size if name.endswith("radius") else 1.0 for name in PARAMETERS])


def _in_pixels(natural: Floats, size: int) -> dict[str, Floats]:
    return dict(zip(PARAMETERS, (natural * _pixels(size)).T, strict=True))


def _plates(camera: Camera, batches: Sequence[str]) -> pd.DataFrame:
    n = len(CHANNELS)
    return pd.DataFrame(
        {
            "batch": np.repeat(batches, n),
            "channel": np.tile(CHANNELS, len(batches)),
            "gain": camera.gain.ravel(),
            "offset": camera.offset.ravel(),
        },
        index=[str(i) for i in range(n * len(batches))],
    )
