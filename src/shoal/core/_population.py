"""A screen as models see it: the labels of its cells as codes, and their values by rows."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from .._keys import SPLIT
from .._validate import key_in, unique_genes
from ..metrics._cells import densify
from ._choose import choose
from ._codes import codes_of, members, recode
from ._condition_sums import ConditionSums, Reading, read
from ._controls import Controls
from ._doses import doses_of
from ._matrix import Rows, as_rows
from ._scale_check import ANY, EXPRESSION, require
from ._screen import Labels, Screen, labels
from ._training_values import TrainingValues, read_values

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

    from .._typing import Bools, Floats, Ints
    from ._scale import Kind, Scale

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Population:
    """The cells of an AnnData: their labels as codes, and their values by rows.

    What has to be read from the values (`scale`, `sums`, `control_means`, ...) is read once and
    kept.

    Attributes
    ----------
    adata
        The AnnData.
    screen
        Columns of the labels, and the control labels.
    rows
        (n_obs, n_features) values that a model reads, or (n_obs, C, H, W) images.
    features
        Names of the columns of `rows`; of images one text that says their slot and shape,
        ``"crops: 3 x 64 x 64"``.
    labels
        Perturbation of every cell.
    contexts, batches
        Names in this AnnData. A screen without such a column has one empty name.
    context, batch
        (n_obs,) positions in these names; -1 where missing.
    dose
        (n_obs,) dose; NaN where there is none.
    split
        (n_obs,) 0 train, 1 val, 2 test, -1 none. Without ``obs["split"]`` all cells are 0.
    layer, use_rep
        Key of ``layers`` or ``obsm`` that the values come from; both ``None`` for ``X``.
    reading
        What `read_once` found out about the values; ``None`` if they were not read yet.
    known_scale
        Scale of the values, where it is known from another population of the same file.
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
    layer: str | None = None
    use_rep: str | None = None
    reading: Reading | None = None
    known_scale: Scale | None = None

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Canonical names of the perturbations; ``labels.code`` is a position in them."""
        return tuple(self.labels.names)

    def with_split(self, split: Ints) -> Population:
        """Return the same cells on other sides; what was read and does not depend on them is kept.

        The sums of conditions and of training cells do, and are read again.

        Parameters
        ----------
        split
            (n_obs,) side of every cell, as in the attribute `split`.
        """
        other = replace(self, split=split, reading=None)
        kept = ("names", "scale", "control_means", "control_zeros", "controls")
        other.__dict__.update({k: self.__dict__[k] for k in kept if k in self.__dict__})
        if self.reading is not None:
            other.__dict__["scale"] = self.reading.scale
        return other

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
    def scale(self) -> Scale:
        """The scale of all values."""
        if self.reading is not None:
            return self.reading.scale
        return self._values[0] if self.known_scale is None else self.known_scale

    @property
    def training(self) -> TrainingValues:
        """Sums of the training cells."""
        return self._values[1] if self.reading is None else self.reading.training

    @cached_property
    def _values(self) -> tuple[Scale, TrainingValues]:
        return read_values(self.rows, self.train | self.train_control)

    @cached_property
    def sums(self) -> ConditionSums:
        """Sums of the cells of every condition, and of the controls of every context and batch."""
        return self.read().sums if self.reading is None else self.reading.sums

    def read(self, keep: Ints | None = None) -> Reading:
        """Read the matrix once; see `read_once`."""
        columns = {
            "perturbation": self.labels.code,
            "context": self.context,
            "batch": self.batch,
            "dose": self.dose,
            "split": self.split,
        }
        chosen = {
            ("perturbation", "context", "dose", "split"): np.flatnonzero(self.perturbed),
            ("context", "batch", "split"): np.flatnonzero(self.labels.is_control),
        }
        perturbed, control = (
            pd.DataFrame({name: columns[name][rows] for name in names}, index=rows)
            for names, rows in chosen.items()
        )
        train = self.train | self.train_control
        return read(self.rows, perturbed, control, train=train, keep=keep)

    @cached_property
    def control_means(self) -> NDArray[np.float32]:
        """(n_contexts + 1, n_features) mean control cell of each context, and last that of all.

        A context without controls has that of all.
        """
        at = np.flatnonzero(self.labels.is_control)
        table = np.stack([self._mean(at)] * (len(self.contexts) + 1))
        known = at[self.context[at] >= 0]
        for own in members(self.context[known]):
            table[self.context[known[own[0]]]] = self._mean(known[own])
        return table

    @cached_property
    def controls(self) -> Controls:
        """All control cells, which predictions start from.

        They are in the order of their names, so that results do not depend on the order of rows.

        Raises
        ------
        ValueError
            If there are none.
        """
        at = np.flatnonzero(self.labels.is_control)
        if not len(at):
            label = " or ".join(map(repr, self.screen.control))
            msg = (
                f"no cell of this AnnData is labelled {label} in "
                f"obs[{self.screen.perturbation_key!r}]: predictions "
                "start from control cells, so keep some of them in it"
            )
            raise ValueError(msg)
        at = at[np.argsort(self.adata.obs_names.to_numpy()[at].astype(str), kind="stable")]
        return Controls(cells=at, context=self.context[at], batch=self.batch[at])

    def _mean(self, cells: Ints) -> NDArray[np.float32]:
        """Return the mean of cells at sorted positions, of the shape of a cell."""
        mean = np.asarray(self.rows.take(cells).mean(axis=0, dtype=np.float64))
        return mean.reshape(self.rows.cell_shape).astype(np.float32)

    def values(self, cells: Ints) -> NDArray[np.float32]:
        """Return the dense float32 values of cells in any order, repeats allowed.

        The shape is (n, n_features), or (n, C, H, W) for images.
        """
        unique, back = np.unique(cells, return_inverse=True)
        return densify(self.rows.take(unique)).astype(np.float32)[back]


def population(
    adata: AnnData,
    screen: Screen,
    *,
    layer: str | None = None,
    use_rep: str | None = None,
    images: bool = False,
    partly: bool = False,
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
    partly
        Whether the caller takes a layer that is a prediction of some cells, and reads no others.

    Raises
    ------
    KeyError
        If a column or slot does not exist.
    ValueError
        If ``obs["split"]`` holds other values than train, val and test, if the dose of a perturbed
        cell is no number above 0 (missing is fine), if the slot holds images and the caller does
        not take them, or if names of genes are not unique.
    """
    key_in(screen.perturbation_key, adata.obs.columns, where="adata.obs")
    unique_genes(adata)
    matrix, slot = choose(adata, layer=layer, use_rep=use_rep, images=images, partly=partly)
    rows = as_rows(matrix, slot=slot)
    if use_rep in (None, "X"):
        features = tuple(map(str, adata.var_names))
    elif len(rows.cell_shape) > 1:
        features = (f"{use_rep}: {' x '.join(map(str, rows.cell_shape))}",)
    else:
        features = tuple(f"{use_rep}_{i}" for i in range(rows.shape[1]))
    labelled = labels(adata, screen)
    contexts, context = codes_of(adata, screen.context_key)
    batches, batch = codes_of(adata, screen.batch_key)
    return Population(
        adata=adata,
        screen=screen,
        rows=rows,
        features=features,
        labels=labelled,
        contexts=contexts,
        batches=batches,
        context=context,
        batch=batch,
        dose=doses_of(adata, screen, labelled),
        split=_split(adata),
        layer=layer,
        use_rep=use_rep,
    )


def read_once(cells: Population, keep: Ints | None = None) -> Population:
    """Read every row of a population once, and return the population with what was read.

    Its `scale`, `training` and `sums` are then known.

    Parameters
    ----------
    cells
        The population.
    keep
        Rows whose values will be needed, in any order. Those of a file or of a dask array are kept
        in memory, in the precision of the matrix, and ``rows.take`` does not read them again. A
        matrix that is in memory is not copied.
    """
    reading = cells.read(keep)
    return replace(cells, rows=replace(cells.rows, kept=reading.kept), reading=reading)


def with_controls(cells: Population, other: Population) -> Population:
    """Return the population if it has control cells, else the other one."""
    return cells if cells.labels.is_control.any() else other


def control_means(context: Ints, cells: Population, other: Population) -> NDArray[np.float32]:
    """Return the mean control cell of some contexts, (n, n_features) or (n, C, H, W).

    Parameters
    ----------
    context
        (n,) positions in ``cells.contexts``; -1 where the context is not known.
    cells
        Population whose controls are read.
    other
        Population whose controls are read if `cells` has none.

    Returns
    -------
    Means; of all controls where the context has none of its own.
    """
    known = with_controls(cells, other)
    return known.control_means[recode(context, cells.contexts, known.contexts)]


def sides_of(adata: AnnData, key: str = SPLIT) -> Ints:
    """Return the (n_obs,) position in `SPLITS` of every cell; -1 for a missing value.

    Raises
    ------
    ValueError
        If ``obs[key]`` holds anything but train, val, test and missing values.
    """
    column = adata.obs[key].astype(object)
    odd = {str(value): value for value in pd.unique(column.dropna()) if value not in SPLITS}
    if odd:
        meant = {odd[name]: _side_meant(name) for name in sorted(odd)[:3]}
        msg = (
            f"adata.obs[{key!r}] holds {', '.join(map(repr, sorted(odd)[:6]))}; a cell is in "
            f"{', '.join(map(repr, SPLITS))}, or in none of them if the value is missing. "
            "sh.pp.split(adata) writes such a column; or rename the values, as in "
            f"adata.obs[{key!r}] = adata.obs[{key!r}].astype(object).replace({meant!r})"
        )
        raise ValueError(msg)
    return np.asarray(pd.Categorical(column, categories=list(SPLITS)).codes, dtype=np.int64)


def _side_meant(name: str) -> str | None:
    """Return what a value of a split may have been meant as."""
    folded = name.strip().casefold()
    if folded in ("", "nan", "none", "<na>"):
        return None
    begins = {"tr": "train", "fa": "train", "0": "train", "0.": "train", "va": "val"}
    return begins.get(folded[:2] if folded != "true" else "", "test")


def _split(adata: AnnData) -> Ints:
    if SPLIT not in adata.obs:
        return np.zeros(adata.n_obs, dtype=np.int64)
    return sides_of(adata)


def check_scale(
    cells: Population,
    *,
    layer: str | None,
    use_rep: str | None,
    what: str = "a model",
    only_logged: bool = False,
) -> Scale:
    """Return the scale of all values.

    Parameters
    ----------
    cells
        The screen.
    layer, use_rep
        Slot that its values were read from; both ``None`` for ``X``.
    what
        What needs the values, for messages.
    only_logged
        Whether genes must hold log-normalised values, and none below 0.

    Raises
    ------
    ValueError
        If values are NaN or infinite, or genes hold raw counts or values that are not logged.
    """
    in_genes = use_rep in (None, "X")
    slot = f"layers[{layer!r}]" if layer else "X" if in_genes else f"obsm[{use_rep!r}]"
    accept: tuple[Kind, ...] = EXPRESSION if in_genes else ANY
    if in_genes and only_logged:
        accept, what = ("log",), f"{what} that was trained on values of 0 and above"
    return require(cells.scale, slot=slot, what=what, accept=accept, cells=cells.adata.obs_names)
