"""Simulated screens in a Euclidean space, with exactly known magnitude and coherence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import anndata as ad
import numpy as np
import pandas as pd

from .._random import spawn
from .._validate import between, one_of, positive, shown, whole
from ..core._results import write_table
from ..pp._annotate import annotate
from ._effects import (
    KINDS,
    Effect,
    draw_states,
    expected_direction,
    kinds_of,
    make_effect,
    names_of,
    per_perturbation,
)
from ._texts import fill

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, DTypeLike

    from .._random import RNGLike
    from .._typing import Floats


@fill
def simulate_gaussian(
    *,
    n_perturbations: int = 20,
    n_cells: int | Sequence[int] = 100,
    n_control: int = 500,
    n_dims: int | None = None,
    effects: str | Sequence[str] = KINDS,
    magnitude: float | ArrayLike = 0.5,
    spectrum: Literal["flat", "decay"] | ArrayLike = "flat",
    dispersion: float = 1.3,
    penetrance: float = 0.5,
    tails: Literal["normal", "t5"] = "normal",
    dtype: DTypeLike = np.float32,
    rng: RNGLike = 0,
) -> ad.AnnData:
    r"""Simulate a screen in a few dimensions, as after a PCA, with known magnitude and coherence.

    - Control cells are noise about zero, with independent coordinates. Their variances are the
      `spectrum`, and sum to T.
    - A cell that responds is shifted by ``magnitude * sqrt(T)``, in a random direction of its
      perturbation. If all cells respond, the coherence is near :math:`m / \sqrt{m^2 + 1}`.
    - Cells are drawn independently. So are whether a cell responds and which programme it follows.

    Parameters
    ----------
    n_perturbations
        Number of perturbations.
    n_cells
        Cells of each perturbation: one number, or one per perturbation.
    n_control
        Control cells.
    n_dims
        Number of dimensions. ``None`` is the length of `spectrum`, or 50.
    effects
        {effects}
    magnitude
        Length of the shift of a responding cell, in units of ``sqrt(T)``. One number, or one for
        each perturbation.
    spectrum
        Variances of the coordinates: ``"flat"`` (all 1), ``"decay"`` (proportional to 1, 1/2, 1/3,
        ..., with mean 1), or an array.
    dispersion
        Ratio of the noise variance to that of the controls, for the kind ``"dispersion"``.
    penetrance
        {penetrance}
    tails
        Noise: normal, or multivariate t with 5 degrees of freedom and the same variances.
    dtype
        Type of ``X``.
    rng
        {rng}

    Returns
    -------
    AnnData with dense ``X`` (n_control + cells, n_dims), controls first, and

    ``obs["perturbation"]``
        Category: ``"control"``, ``"P01"``, ...
    ``obs["programme"]``
        int: 0 for a cell that does not respond, 1 or 2 for the direction that it follows.
    ``obs["responds"]``
        bool: whether the mean of the cell differs from that of the controls.
    ``uns["truth"]``
        ``table``, index perturbation, with ``kind``, ``dispersion``, ``penetrance``, ``n_cells``,
        ``magnitude`` (length of E x_p - E x_c) and ``coherence`` (length of E u_p - E u_c, where u
        is the unit vector from the true mean of the controls).
        ``shift``: true mean shifts, (n_perturbations, n_dims).
    ``uns["shoal"]``
        {design}

    Raises
    ------
    ValueError
        If a number is out of range, or a kind, spectrum or tail is not known.

    Examples
    --------
    >>> import shoal as sh
    >>> adata = sh.ds.simulate_gaussian(n_perturbations=5, magnitude=1.0, rng=0)
    >>> truth = adata.uns["truth"]["table"]
    """
    n_perturbations = whole(n_perturbations, name="n_perturbations")
    n_control = whole(n_control, name="n_control", least=2)
    positive(dispersion, name="dispersion")
    between(penetrance, 0, 1, name="penetrance", ends=True)
    one_of(tails, ("normal", "t5"), name="tails")
    precision = _precision(dtype)
    kinds = kinds_of(effects, n_perturbations)
    cells = per_perturbation(
        n_cells, n_perturbations, name="n_cells", low=1, fraction=False
    ).astype(np.int64)
    variances = _variances(spectrum, n_dims)
    lengths = per_perturbation(magnitude, n_perturbations, name="magnitude") * np.sqrt(
        variances.sum()
    )

    direction_rng, state_rng, noise_rng = spawn(rng, 3)
    vectors = _directions(n_perturbations, len(variances), direction_rng) * lengths[:, None, None]
    made = [
        make_effect(k, v, penetrance=penetrance, dispersion=dispersion)
        for k, v in zip(kinds, vectors, strict=True)
    ]

    population = np.repeat(np.arange(n_perturbations), cells)
    state = draw_states(np.array([e.shares for e in made]), population, state_rng)
    moves = np.concatenate([e.states for e in made])  # three states each
    own = 3 * population + state
    x = _noise(n_control + len(population), variances, tails, noise_rng, precision)
    x[n_control:] *= np.sqrt([e.dispersion for e in made], dtype=x.dtype)[population, None]
    x[n_control:] += moves.astype(x.dtype)[own]

    names = names_of(n_perturbations)
    code = np.concatenate([np.zeros(n_control, dtype=np.int64), population + 1])
    responds = np.concatenate([e.responds for e in made])[own]
    obs = pd.DataFrame(
        {
            "perturbation": pd.Categorical.from_codes(code, ["control", *names]),
            "programme": np.concatenate([np.zeros(n_control, dtype=np.int64), state]),
            "responds": np.concatenate([np.zeros(n_control, dtype=bool), responds]),
        },
        index=pd.RangeIndex(len(x)).astype(str),
    )
    adata = ad.AnnData(x, obs=obs)
    mean = np.array([e.mean for e in made])
    table = pd.DataFrame(
        {
            "kind": kinds,
            "magnitude": np.linalg.norm(mean, axis=1),
            "coherence": _coherence(made, variances, tails),
            "dispersion": [e.dispersion for e in made],
            "penetrance": [e.penetrance for e in made],
            "n_cells": cells,
        },
        index=pd.Index(names, name="perturbation"),
    )
    params = {
        "n_control": n_control,
        "n_dims": len(variances),
        "trace": variances.sum(),
        "tails": tails,
    }
    shift = pd.DataFrame(mean, index=table.index, columns=adata.var_names.astype(str))
    write_table(adata, "truth", table, schema="truth/1", params=params, shift=shift)
    annotate(adata, "perturbation", control="control")
    return adata


def _variances(spectrum: object, n_dims: int | None) -> Floats:
    if isinstance(spectrum, str):
        one_of(spectrum, ("flat", "decay"), name="spectrum")
        d = 50 if n_dims is None else n_dims
        d = whole(d, name="n_dims", least=2)
        shape = np.ones(d) if spectrum == "flat" else 1 / np.arange(1.0, d + 1)
        return shape / shape.mean()
    found = np.asarray(spectrum)
    variances = np.asarray(found if found.dtype.kind in "iuf" else np.nan, dtype=np.float64)
    if (
        variances.ndim != 1
        or len(variances) < 2
        or not np.all(np.isfinite(variances) & (variances > 0))
    ):
        msg = "spectrum must be 'flat', 'decay' or a 1-D array of at least two variances above 0"
        raise ValueError(msg)
    if n_dims not in (None, len(variances)):
        msg = f"n_dims={n_dims} but spectrum has {len(variances)} variances; leave n_dims out"
        raise ValueError(msg)
    return variances


def _precision(dtype: DTypeLike) -> np.dtype[Any]:
    """Return a type of real numbers with a point, or raise ``ValueError`` if it is none."""
    try:
        found = np.dtype(dtype)
    except TypeError:
        found = np.dtype(object)
    if found.kind != "f":
        msg = f"dtype must be a type of floats, such as 'float32' or 'float64', not {shown(dtype)}"
        raise ValueError(msg)
    return found


def _directions(n: int, d: int, rng: np.random.Generator) -> Floats:
    """Return random pairs of orthogonal unit vectors, (n, 2, d)."""
    pairs = rng.standard_normal((n, 2, d))
    pairs[:, 0] /= np.linalg.norm(pairs[:, 0], axis=1, keepdims=True)
    pairs[:, 1] -= np.einsum("nd,nd->n", pairs[:, 0], pairs[:, 1])[:, None] * pairs[:, 0]
    pairs[:, 1] /= np.linalg.norm(pairs[:, 1], axis=1, keepdims=True)
    return pairs


def _noise(
    n: int, variances: Floats, tails: str, rng: np.random.Generator, dtype: np.dtype
) -> np.ndarray:
    x = rng.standard_normal((n, len(variances)), dtype=dtype if dtype == np.float32 else np.float64)
    x *= np.sqrt(variances, dtype=x.dtype)
    if tails == "t5":
        x *= np.sqrt(3 / rng.chisquare(5, n)).astype(x.dtype)[:, None]
    return x.astype(dtype, copy=False)


def _coherence(made: list[Effect], variances: Floats, tails: str) -> Floats:
    """Return |E u_p - E u_c| of every population; E u_c = 0, since controls are symmetric."""
    shares = np.array([e.shares for e in made])
    states = np.array([e.states / np.sqrt(e.dispersion) for e in made])
    used = (shares > 0) & np.any(states != 0, axis=2)
    direction = np.zeros_like(states)
    direction[used] = expected_direction(states[used], variances, tails=tails)
    return np.linalg.norm(np.einsum("ps,psd->pd", shares, direction), axis=1)
