"""Simulated cells under another treatment than their own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anndata as ad
import numpy as np
import pandas as pd

from .._validate import key_in, listed, some, unique_cells
from ..core._codes import places
from ..core._results import read_result
from ._image_cells import CHANNELS, PARAMETERS, Camera, draw_cells, to_effects, treated
from ._image_truth import pixels_of, shifts_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike

    from .._typing import Floats

WRITTEN_BY = "sh.ds.simulate_images()"


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
        Simulated images, as :func:`shoal.ds.simulate_images` gives them.
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
        If `adata` is no AnnData, or a dose is no number.
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
    unique_cells(adata)
    chosen = list(adata.obs_names) if cells is None else listed(cells, name="cells")
    rows = places(adata.obs_names, chosen)
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
    natural = natural / pixels_of(camera.size)
    seed = adata.obs["seed"].to_numpy()[rows]
    plate = pd.Index(batches).get_indexer(adata.obs["batch"].astype(str).to_numpy()[rows])
    shift, dead = shifts_of(table, table.index.get_indexer(wanted), reached)
    after, _ = treated(to_effects(natural), shift, params["dead"] + dead, seed)
    return draw_cells(after, seed, plate, camera)


def _reached(truth: dict[str, Any], dose: float | ArrayLike | None, n: int) -> Floats:
    """Return the (n,) responses at some doses.

    Raises
    ------
    TypeError
        If a dose is no number.
    ValueError
        If the screen has no doses, or one is below 0.
    """
    if dose is None:
        return np.ones(n)
    if "doses" not in truth:
        msg = "dose= is given, and this screen was simulated without doses: leave it out"
        raise ValueError(msg)
    doses = np.asarray(dose)
    if doses.dtype.kind not in "iuf":
        msg = f"dose must be a number of at least 0, or one for each of {n} cells, not {dose!r}"
        raise TypeError(msg)
    if doses.shape not in ((), (n,)) or not (np.isfinite(doses).all() and (doses >= 0).all()):
        msg = f"dose must be a number of at least 0, or one for each of {n} cells, not {dose!r}"
        raise ValueError(msg)
    ec50 = float(np.exp(np.log(truth["doses"]["dose"].to_numpy(dtype=float)).mean()))
    return np.broadcast_to(doses / (doses + ec50), n)
