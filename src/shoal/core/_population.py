"""A screen as models see it: every cell's perturbation, context, batch, dose and split, and its values by rows."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import sparse

from .._keys import SPLIT
from .._validate import key_in
from ._controls import Controls
from ._matrix import Rows, as_rows, choose
from ._scale import look
from ._screen import Labels, Screen, labels

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import ArrayLike, NDArray

    from .._typing import Bools, Floats, Ints
    from ._scale import Scale

SPLITS = ("train", "val", "test")
MANY = 20_000  # control cells, enough for the share of zeros of a gene


@dataclass(frozen=True)
class Population:
    """The cells of an AnnData in codes.

    Attributes
    ----------
    adata
        The object itself.
    screen
        Columns and control labels.
    rows
        (n_obs, n_features) values that the model reads, or (n_obs, C, H, W) images.
    features
        Names of the columns; of images one text that says their slot and shape, ``"crops: 3 x 64 x
        64"``.
    labels
        Perturbation of every cell.
    contexts, batches
        Names in this object, one empty name where the screen has no such column.
    context, batch
        (n_obs,) codes into them, -1 where missing.
    dose
        (n_obs,) dose, NaN where there is none.
    split
        (n_obs,) 0 train, 1 val, 2 test, -1 none; all cells are 0 where ``obs["split"]`` does not exist.
    """

    adata: AnnData
    screen: Screen
    rows: Rows
    features: tuple[str, ...]
    labels: Labels
    contexts: tuple[str, ...]
    batches: tuple[str, ...]
    context: Ints
    batch: Ints
    dose: Floats
    split: Ints

    @property
    def names(self) -> list[str]:
        """Canonical names of the perturbations; ``labels.code`` points here."""
        return list(self.labels.names)

    @property
    def train(self) -> Bools:
        """(n_obs,) perturbed cells that a model may learn from."""
        return self.perturbed & (self.split == 0)

    @property
    def val(self) -> Bools:
        """(n_obs,) perturbed cells that decide when to stop."""
        return self.perturbed & (self.split == 1)

    @property
    def perturbed(self) -> Bools:
        """(n_obs,) cells with a perturbation."""
        return (self.labels.code >= 0) & ~self.labels.is_control

    @property
    def train_control(self) -> Bools:
        """(n_obs,) control cells that a model may learn from."""
        return self.labels.is_control & (self.split == 0)

    @cached_property
    def control_zeros(self) -> tuple[Floats, Floats]:
        """Mean of every feature over the control cells (d,), evenly spaced ones if there are many, and its share of zeros."""
        control = np.flatnonzero(self.labels.is_control)
        rows = self.rows.take(control[:: 1 + len(control) // MANY])
        mean, on = (
            np.asarray(part.mean(axis=0), dtype=np.float64).ravel() for part in (rows, rows > 0)
        )
        return mean, np.clip(1 - on, 0, 1)

    @cached_property
    def controls(self) -> Controls:
        """All control cells, to start predictions from; in the order of their names, so that rows may come in any.

        Raises
        ------
        ValueError
            If there are none.
        """
        at = np.flatnonzero(self.labels.is_control)
        if not len(at):
            label = " or ".join(map(repr, self.screen.control))
            msg = (
                f"no cell of this AnnData is labelled {label} in obs[{self.screen.perturbation_key!r}]: predictions "
                "start from control cells, so keep some of them in it"
            )
            raise ValueError(msg)
        at = at[np.argsort(self.adata.obs_names.to_numpy()[at].astype(str), kind="stable")]
        return Controls(cells=at, context=self.context[at], batch=self.batch[at])

    def values(self, cells: Ints) -> NDArray[np.float32]:
        """Return the dense float32 values of cells in any order, repeats allowed.

        The shape is (n, n_features), or (n, C, H, W) for images.
        """
        unique, back = np.unique(cells, return_inverse=True)
        block = self.rows.take(unique)
        dense = block.toarray() if sparse.issparse(block) else np.asarray(block)
        return dense.astype(np.float32)[back]


def population(
    adata: AnnData,
    screen: Screen,
    *,
    layer: str | None = None,
    use_rep: str | None = None,
    images: bool = False,
) -> Population:
    """Read a screen.

    Parameters
    ----------
    adata
        The screen.
    screen
        Columns and control labels.
    layer, use_rep
        Key of ``layers`` or of ``obsm`` to read; ``X`` if both are ``None``.
    images
        Whether the caller takes cells that are arrays, (n_obs, C, H, W), as well as rows of
        features.

    Raises
    ------
    KeyError
        If a column or slot does not exist.
    ValueError
        If ``obs["split"]`` holds other values than train, val and test, if the dose of a perturbed
        cell is no number above 0 (missing is fine), or if the slot holds images and the caller does
        not take them.
    """
    key_in(screen.perturbation_key, adata.obs.columns, where="adata.obs")
    source, slot = choose(adata, layer=layer, use_rep=use_rep, images=images)
    rows = as_rows(source, slot=slot)
    if use_rep in (None, "X"):
        features = tuple(map(str, adata.var_names))
    elif len(rows.cell_shape) > 1:
        features = (f"{use_rep}: {' x '.join(map(str, rows.cell_shape))}",)
    else:
        features = tuple(f"{use_rep}_{i}" for i in range(rows.shape[1]))
    found = labels(adata, screen)
    contexts, context = codes_of(adata, screen.context_key)
    batches, batch = codes_of(adata, screen.batch_key)
    return Population(
        adata=adata,
        screen=screen,
        rows=rows,
        features=features,
        labels=found,
        contexts=contexts,
        batches=batches,
        context=context,
        batch=batch,
        dose=_dose(adata, screen, found),
        split=_split(adata),
    )


def with_controls(cells: Population, other: Population) -> Population:
    """Return the population if it has control cells, else the other one."""
    return cells if cells.labels.is_control.any() else other


def control_means(context: Ints, cells: Population, other: Population) -> NDArray[np.float32]:
    """Return the mean of the control cells of some contexts of `cells`, each of a cell's shape.

    The controls are those of `cells`, or else of the `other` population; of all contexts where one has none.
    """
    known = with_controls(cells, other)
    control = known.labels.is_control
    here = recode(known.context, known.contexts, cells.contexts)
    codes, own = np.unique(context, return_inverse=True)
    means = []
    for code in codes:
        chosen = control & (known.context >= 0) & (here == code) & (code >= 0)
        rows = known.rows.take(np.flatnonzero(chosen if chosen.any() else control))
        mean = np.asarray(rows.mean(axis=0), dtype=np.float32)
        means.append(mean.reshape(known.rows.cell_shape))
    return np.stack(means)[own]


def recode(codes: Ints, names: tuple[str, ...], known: tuple[str, ...]) -> Ints:
    """Turn codes into `names` into codes into `known`, -1 where a name is not known."""
    position = {name: i for i, name in enumerate(known)}
    lookup = np.array([*(position.get(name, -1) for name in names), -1], dtype=np.int64)
    return lookup[codes]


def grouped(**columns: ArrayLike) -> tuple[Ints, pd.DataFrame]:
    """Number the distinct rows of some columns (NaN equals NaN): code of every row, and the distinct rows, sorted."""
    frame = pd.DataFrame(columns)
    code = (
        frame.groupby(list(columns), dropna=False, sort=True).ngroup().to_numpy().astype(np.int64)
    )
    return code, frame.iloc[np.unique(code, return_index=True)[1]].reset_index(drop=True)


def members(code: Ints) -> list[Ints]:
    """Return the positions of every code that occurs, in the order of the codes."""
    order = np.argsort(code, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(code[order])) + 1)


def codes_of(adata: AnnData, key: str | None) -> tuple[tuple[str, ...], Ints]:
    if key is None:
        return ("",), np.zeros(adata.n_obs, dtype=np.int64)
    key_in(key, adata.obs.columns, where="adata.obs")
    text = adata.obs[key].astype(object).map(str, na_action="ignore")
    code, names = pd.factorize(text, sort=True, use_na_sentinel=True)
    return tuple(map(str, names)), np.asarray(code, dtype=np.int64)


def _dose(adata: AnnData, screen: Screen, found: Labels) -> Floats:
    if screen.dose_key is None:
        return np.full(adata.n_obs, np.nan)
    column = adata.obs[screen.dose_key]
    values = pd.to_numeric(column.astype(object), errors="coerce").to_numpy(dtype=np.float64)
    bad = column[np.isnan(values) & column.notna().to_numpy()]
    if len(bad):
        msg = (
            f"adata.obs[{screen.dose_key!r}] holds {bad.iloc[0]!r}, which is no number; give doses as numbers (one unit "
            "for the whole column), or annotate the screen without dose_key"
        )
        raise ValueError(msg)
    wrong = (
        (found.code >= 0)
        & ~found.is_control
        & ~np.isnan(values)
        & ~((values > 0) & np.isfinite(values))
    )
    if wrong.any():
        msg = (
            f"{wrong.sum()} perturbed cells have dose {values[wrong][0]:g} in adata.obs[{screen.dose_key!r}], such as some of "
            f"{found.names[found.code[wrong][0]]!r}; doses are read on a logarithmic scale: label untreated cells as "
            "controls, or set a dose that is not known to NaN"
        )
        raise ValueError(msg)
    return values


def _split(adata: AnnData) -> Ints:
    if SPLIT not in adata.obs:
        return np.zeros(adata.n_obs, dtype=np.int64)
    column = adata.obs[SPLIT].astype(object)
    odd = sorted({str(v) for v in column.dropna().unique()} - set(SPLITS))
    if odd:
        msg = f"adata.obs['split'] holds {odd}; it may hold only {list(SPLITS)}, as sh.pp.split(adata) writes"
        raise ValueError(msg)
    return np.asarray(pd.Categorical(column, categories=list(SPLITS)).codes, dtype=np.int64)


def check_scale(rows: Rows, *, layer: str | None, use_rep: str | None) -> Scale:
    """Return the scale of all values; refuse a wrong one, and values that are missing."""
    slot = (
        f"layers[{layer!r}]"
        if layer
        else f"obsm[{use_rep!r}]"
        if use_rep not in (None, "X")
        else "X"
    )
    scale = look(rows)
    if scale.n_bad_cells:
        msg = f"{slot} holds NaN or infinite values in {scale.n_bad_cells} of {rows.shape[0]} cells; drop or fill them"
        raise ValueError(msg)
    if scale.kind in ("counts", "linear", "empty") and use_rep in (None, "X"):
        msg = (
            f"{slot} holds {scale.words}; models work on log-normalised values (or signed features): call "
            "sh.pp.prepare(adata, normalize='log1p'), or point layer= to such values"
        )
        raise ValueError(msg)
    return scale
