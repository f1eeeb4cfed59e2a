"""Which cells the pictures of a prediction compare: twins, the real cells beside them, and their controls."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .._validate import key_in
from ..core._matrix import as_rows, choose
from ..core._screen import labels, resolve

if TYPE_CHECKING:
    from anndata import AnnData

    from .._typing import Bools, Ints, Matrix
    from ..core._screen import Labels, Screen

PREDICTED = "_predicted"  # obs: with the name of a prediction before it, which rows are twins


@dataclass(frozen=True)
class Prediction:
    """A prediction in a screen.

    Attributes
    ----------
    adata
        Screen.
    screen, labels
        Its design, and the perturbation of every cell.
    layer
        Name of the prediction.
    real
        Layer with the real values on the same scale; None for ``X``.
    inside
        (n_obs,) cells of the context that is shown.
    """

    adata: AnnData
    screen: Screen
    labels: Labels
    layer: str
    real: str | None
    inside: Bools

    @property
    def in_genes(self) -> bool:
        """Whether the twins are a layer; else they are in ``obsm``."""
        return self.layer in self.adata.layers

    def twins(self, perturbation: str) -> tuple[str, Ints]:
        """Return the one name of a perturbation, and the rows that hold twins of it."""
        name = self.screen.canonical(perturbation)
        key_in(name, self.labels.names, where=f"adata.obs[{self.screen.perturbation_key!r}]")
        own = (self.labels.code == self.labels.names.get_loc(name)) & self.inside
        made = self.layer + PREDICTED
        rows = np.flatnonzero(
            own & self.adata.obs[made].to_numpy(dtype=bool) if made in self.adata.obs else own
        )
        if len(rows) < 2:
            msg = (
                f"{len(rows)} of {int(own.sum())} cells of {name!r} (in the context shown) have a twin in {self.layer!r}; "
                "it takes 2. Predict them with sh.tl.predict(adata, model, subset=...)"
            )
            raise ValueError(msg)
        return name, rows

    @property
    def controls(self) -> Ints:
        """Rows of the control cells."""
        return np.flatnonzero(self.labels.is_control & self.inside)

    def values(self, rows: Ints, *, predicted: bool = False) -> Matrix:
        """Return the real or predicted values of some rows in genes, dense or CSR."""
        source, _ = choose(self.adata, layer=self.layer if predicted else self.real)
        return as_rows(source).take(rows)


def prediction(
    adata: AnnData, layer: str, *, real_layer: str | None, context: str | None
) -> Prediction:
    """Return the prediction `layer`, in one context or in all.

    Raises
    ------
    KeyError
        If there is no such prediction, layer of real values or context.
    ValueError
        If the screen has no contexts, or no controls in this one.
    """
    if layer not in adata.layers and f"X_{layer}" not in adata.obsm:
        hint = f"sh.tl.predict(adata, model, key_added={layer!r}) writes it."
        key_in(
            layer,
            [name for name in adata.layers if name is not None],
            where="adata.layers",
            hint=hint,
        )
    screen = resolve(adata)
    inside = np.ones(adata.n_obs, dtype=bool)
    if context is not None:
        if screen.context_key is None:
            msg = f"context={context!r}, but this screen has no contexts; name their column in sh.pp.annotate(context_key=)"
            raise ValueError(msg)
        value = adata.obs[screen.context_key].astype(str).to_numpy()
        key_in(str(context), sorted(set(value)), where=f"adata.obs[{screen.context_key!r}]")
        inside = value == str(context)
    found = Prediction(adata, screen, labels(adata, screen), layer, real_layer, inside)
    if len(found.controls) < 2:
        msg = f"context {context!r} has {len(found.controls)} control cells; it takes 2"
        raise ValueError(msg)
    return found


def some(rows: Ints, most: int, rng: np.random.Generator) -> Ints:
    """Return at most `most` of the rows, in order."""
    return rows if len(rows) <= most else np.sort(rng.choice(rows, most, replace=False))
