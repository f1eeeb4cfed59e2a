"""A prediction in a screen: its predicted cells, the real cells beside them, and their controls."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .._keys import PCA
from .._validate import key_in, text
from ..metrics._scale_match import mismatch
from ..metrics._scale_profiles import profiles_of
from ._choose import choose
from ._codes import codes_of
from ._matrix import as_rows
from ._named_context import named_context
from ._predictions import PREDICTED, prediction_slot, refuse_counts
from ._scale import look
from ._scale_check import WITH_EMPTY, require
from ._screen import labels, resolve

if TYPE_CHECKING:
    from anndata import AnnData

    from .._typing import Bools, Floats, Ints, Matrix
    from ._screen import Labels, Screen


@dataclass(frozen=True)
class Prediction:
    """A prediction in a screen.

    Attributes
    ----------
    adata
        The screen.
    screen
        Its design.
    labels
        The perturbation of every cell.
    name
        Name of the prediction.
    in_genes
        Whether the prediction is a layer. If not, it is ``obsm["X_" + name]``.
    layer
        Layer of the real values, on the scale of the prediction. None for ``X``.
    inside
        (n_obs,) which cells are of the context that is shown.
    """

    adata: AnnData
    screen: Screen
    labels: Labels
    name: str
    in_genes: bool
    layer: str | None
    inside: Bools

    def cells_of(self, perturbation: str) -> tuple[str, Ints]:
        """Return the canonical name of a perturbation, and the rows of its predicted cells."""
        text(perturbation, name="perturbation")
        name = self.screen.canonical(perturbation)
        key_in(name, self.labels.names, where=f"adata.obs[{self.screen.perturbation_key!r}]")
        all_cells = (self.labels.code == self.labels.names.get_loc(name)) & self.inside
        flag = self.name + PREDICTED
        predicted = all_cells
        if flag in self.adata.obs:
            predicted = all_cells & self.adata.obs[flag].to_numpy(dtype=bool)
        rows = np.flatnonzero(predicted)
        if len(rows) < 2:
            msg = (
                f"{len(rows)} of {int(all_cells.sum())} cells of {name!r} (in the context shown) "
                f"have a prediction in {self.name!r}; it takes 2. "
                "Predict them with sh.tl.predict(adata, model, subset=...)"
            )
            raise ValueError(msg)
        return name, rows

    def controls_of(self, rows: Ints) -> Ints:
        """Return the rows of the control cells in the contexts of some cells.

        Raises
        ------
        ValueError
            If there are fewer than two.
        """
        inside = self.inside & contexts_of(self.adata, self.screen, rows)
        control = np.flatnonzero(self.labels.is_control & inside)
        if len(control) < 2:
            msg = (
                f"the contexts of the cells that {self.name!r} predicts have {len(control)} "
                "control cells; it takes 2"
            )
            raise ValueError(msg)
        return control

    def real(self, rows: Ints) -> Matrix:
        """Return the measured values of cells in genes, dense or CSR."""
        matrix, slot = choose(self.adata, layer=self.layer)
        values = as_rows(matrix).take(rows)
        names = self.adata.obs_names[rows]
        require(look(as_rows(values)), slot=slot, what="a plot", accept=WITH_EMPTY, cells=names)
        return values

    def predicted(self, rows: Ints) -> Matrix:
        """Return the predicted values of cells: genes or dimensions, dense or CSR."""
        where, key = prediction_slot(self.adata, self.name)
        layer, use_rep = (key, None) if where == "layers" else (None, key)
        values = choose(self.adata, layer=layer, use_rep=use_rep, partly=True)[0]
        return as_rows(values).take(rows)


def read_prediction(
    adata: AnnData, name: str, *, layer: str | None, context: str | None
) -> Prediction:
    """Return the prediction of this name, in one context or in all.

    Raises
    ------
    KeyError
        If there is no such prediction or context.
    ValueError
        If the screen has no contexts, or fewer than two controls in this one.
    """
    in_genes = is_in_genes(adata, name)
    screen = resolve(adata)
    inside = inside_of(adata, screen, context)
    found = Prediction(adata, screen, labels(adata, screen), name, in_genes, layer, inside)
    n = int((found.labels.is_control & inside).sum())
    if n < 2:
        msg = f"context {context!r} has {n} control cells; it takes 2"
        raise ValueError(msg)
    return found


def is_in_genes(adata: AnnData, name: str) -> bool:
    """Return whether a prediction is a layer; if not, it must be in ``obsm``.

    Raises
    ------
    ValueError
        If it holds counts, which are not compared with log-normalised cells.
    """
    where, _ = prediction_slot(adata, name)
    refuse_counts(adata, name, what="a plot")
    return where == "layers"


def inside_of(adata: AnnData, screen: Screen, context: str | None) -> Bools:
    """Return (n_obs,) which cells are of a context; all if it is None."""
    if context is None:
        return np.ones(adata.n_obs, dtype=bool)
    contexts, code = codes_of(adata, screen.context_key)
    known: Bools = code == contexts.index(named_context(context, contexts, screen))
    return known


def contexts_of(adata: AnnData, screen: Screen, rows: Ints) -> Bools:
    """Return (n_obs,) which cells are of the contexts of some cells; all where there are none."""
    if screen.context_key is None:
        return np.ones(adata.n_obs, dtype=bool)
    code = codes_of(adata, screen.context_key)[1]
    return np.isin(code, code[rows])


def axes_of(adata: AnnData, basis: str, *, in_genes: bool) -> Floats | None:
    """Return the (n_vars, k) axes that project genes on the basis; None for cells that are in it.

    Raises
    ------
    KeyError
        If there is no such basis.
    ValueError
        If the basis has one dimension, or if genes cannot be projected on it.
    """
    hint = "sh.pp.prepare(adata) writes 'X_pca'."
    key_in(basis, adata.obsm.keys(), where="adata.obsm", hint=hint)
    k = adata.obsm[basis].shape[1]
    if k < 2:
        msg = f"adata.obsm[{basis!r}] has {k} dimension; a picture takes 2"
        raise ValueError(msg)
    if not in_genes:
        return None
    if basis != PCA or "PCs" not in adata.varm:
        msg = (
            f"cells in genes are projected on {PCA!r} by its axes in adata.varm['PCs'], which "
            f"sh.pp.prepare(adata) writes; they cannot be on {basis!r}"
            + ("" if basis != PCA else " without them")
        )
        raise ValueError(msg)
    return np.asarray(adata.varm["PCs"], dtype=np.float64)


def on_one_scale(predicted: Matrix, real: Matrix, control: Matrix, prediction: str) -> None:
    """Raise ``ValueError`` unless predicted genes are on the scale of the real ones."""
    whole = look(as_rows(predicted)).kind == "counts" and look(as_rows(real)).kind == "log"
    found = "predicted values are whole numbers, and real ones are not: counts?" if whole else ""
    found = found or mismatch(profiles_of(predicted, real, control))
    if found:
        end = "" if found.endswith("?") else "."
        msg = (
            f"{prediction!r} is not on the scale of the real cells: {found}{end} Normalise both "
            "in one way, or name other real values with layer="
        )
        raise ValueError(msg)


def finite(values: Floats, slot: str) -> Floats:
    """Return values to draw; raise ``ValueError`` if some are NaN or infinite."""
    bad = int((~np.isfinite(values)).any(axis=1).sum())
    if bad:
        msg = (
            f"{slot} holds NaN or infinite values in {bad} of the {len(values)} cells to draw; "
            "drop or fill them"
        )
        raise ValueError(msg)
    return values


def some(rows: Ints, most: int, rng: np.random.Generator) -> Ints:
    """Return at most `most` of the rows, in order."""
    return rows if len(rows) <= most else np.sort(rng.choice(rows, most, replace=False))
