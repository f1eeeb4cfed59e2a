"""Whether control cells differ by context, or only by the plates that contexts are on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.special import fdtrc

from ..core._codes import members
from ..metrics._cells import densify

if TYPE_CHECKING:
    from .._typing import Floats, Ints
    from ..core._population import Population

LEVEL = 0.05


def plates_not_lines(cells: Population) -> str:
    """Say whether the vectors of contexts may be those of their plates; ``""`` if they are not.

    Units are the mean control cells of every context and batch.

    - Where every batch holds one context, the contexts are compared with the batches within them.
    - Else the contexts are compared within batches.
    """
    if cells.screen.batch_key is None or cells.screen.batch_key == cells.screen.context_key:
        return ""
    means, context, batch = _unit_means(cells)
    if len(np.unique(context)) < 2 or len(np.unique(batch)) < 2:
        return ""
    if all(len(np.unique(context[own])) == 1 for own in members(batch)):
        if len(context) == len(np.unique(context)):
            return (
                f"every context is on one batch (obs[{cells.screen.batch_key!r}]) of its own, so "
                "that nothing tells whether their vectors are those of contexts or of batches"
            )
        f, between, within = nested_f(means, context)
    else:
        f, between, within = crossed_f(means, context, batch)
    if within < 1 or fdtrc(between, within, f) < LEVEL:
        return ""
    return (
        f"the control cells of contexts differ no more than those of batches "
        f"(obs[{cells.screen.batch_key!r}]) do: F = {f:.2g} with {between} and {within} degrees of "
        "freedom. The vectors may be those of plates, not of contexts"
    )


def nested_f(means: Floats, context: Ints) -> tuple[float, int, int]:
    """Return F of contexts against the batches within them, and its degrees of freedom.

    Sums of squares are over all features. F is about 1 where contexts do not differ.
    """
    fit = _indicators(context)
    return _f(means, np.ones((len(means), 1)), fit)


def crossed_f(means: Floats, context: Ints, batch: Ints) -> tuple[float, int, int]:
    """Return F of contexts within batches, and its degrees of freedom, as `nested_f`."""
    plates = _indicators(batch)
    return _f(means, plates, np.hstack([plates, _indicators(context)]))


def _f(means: Floats, less: Floats, more: Floats) -> tuple[float, int, int]:
    """Return F of the columns that `more` has beyond `less`."""
    left = []
    for design in (less, more):
        base, sizes, _ = np.linalg.svd(design, full_matrices=False)
        base = base[:, sizes > 1e-9 * sizes[0]]
        rest = means - base @ (base.T @ means)
        left.append((float((rest**2).sum()), base.shape[1]))
    between, within = left[1][1] - left[0][1], len(means) - left[1][1]
    if between < 1 or within < 1:
        return np.inf, between, 0
    noise = left[1][0] / within
    gain = (left[0][0] - left[1][0]) / between
    return gain / noise if noise > 0 else np.inf, between, within


def _indicators(codes: Ints) -> Floats:
    return (codes[:, None] == np.unique(codes)).astype(np.float64)


def _unit_means(cells: Population) -> tuple[Floats, Ints, Ints]:
    """Return the (n, d) mean control cells of every context and batch, and their codes."""
    at = np.flatnonzero(cells.labels.is_control & (cells.context >= 0) & (cells.batch >= 0))
    groups = members(cells.batch[at] * len(cells.contexts) + cells.context[at])
    means = [densify(cells.rows.take(at[own])).mean(axis=0, dtype=np.float64) for own in groups]
    first = at[[own[0] for own in groups]] if groups else at
    return np.array(means), cells.context[first], cells.batch[first]
