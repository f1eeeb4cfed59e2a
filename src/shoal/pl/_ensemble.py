"""Who contributes to an ensemble: weights of its members by kind of question."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .._validate import key_in, listed
from ._canvas import Canvas
from ._style import ACCENT, FAINT, INK, plain, tidy
from ._texts import fill

if TYPE_CHECKING:
    from collections.abc import Sequence
    from os import PathLike

    from numpy.typing import NDArray

WHOLE = "all members"
CONTROL = "control cells"


@fill
def ensemble(
    data: Any,
    *,
    kinds: Sequence[str] | None = None,
    figsize: tuple[float, float] | None = None,
    title: str | None = None,
    show: bool | None = None,
    save: str | PathLike[str] | None = None,
) -> NDArray[Any]:
    """Show how much every member of an ensemble counts, for each kind of question.

    A bar is the weight of a member. What the weights lack to 1 adds nothing to the control cells.
    The number beside a bar is the error of the member alone within training, the one above the bars
    that of all members: the squared distance of predicted to measured mean responses, over that of
    a copy of the controls. 1 is as good as a copy.

    Where the cells are not control cells that the mean response is added to, the title says whose
    they are, and how far they were from the measured ones within training (energy distance), beside
    control cells.

    Parameters
    ----------
    data
        Trained `shoal.models.Ensemble`, or its ``weights``.
    kinds
        Kinds of question, as ``model.weights`` names them. ``None`` shows those that were tried
        within training; all if there were none.
    figsize, title, show, save
        {figure}

    Returns
    -------
    1-D array of axes, one a kind of question.

    Raises
    ------
    TypeError
        If `data` is neither.
    ValueError
        If it is not trained, or the table holds something else.
    KeyError
        If there is no such kind of question.

    Examples
    --------
    >>> import shoal as sh
    >>> adata = sh.ds.simulate_gaussian(n_perturbations=12, n_dims=5, rng=0)
    >>> sh.pp.split(adata, by="perturbation", test=0.2, val=0, rng=0)
    >>> axes = sh.pl.ensemble(sh.tl.fit(adata, "auto"))
    """
    canvas = Canvas(None, figsize, title, show, save)
    table, carriers = getattr(data, "weights", data), getattr(data, "carriers", None)
    if not isinstance(table, pd.DataFrame):
        msg = (
            "pl.ensemble shows a model that sh.tl.fit(adata, 'auto') returned, or its weights, not "
            f"{type(data).__name__}"
        )
        raise TypeError(msg)
    if "n_units" not in table:
        msg = "there are no weights: the Ensemble is not trained yet, call .train() first"
        raise ValueError(msg)
    several = list(dict.fromkeys(table["kind"]))
    if kinds is None:
        tried = set(table["kind"][table["n_conditions"] > 0])
        kinds = [kind for kind in several if kind in tried] or several
    kinds = listed(kinds, name="kinds", empty=False)
    for kind in kinds:
        key_in(kind, several, where="the kinds of question of this model")
    rows = [table[table["kind"] == kind] for kind in kinds]
    heights = [len(own) for own in rows]
    axes = canvas.subplots(
        len(kinds),
        1,
        width=5.6,
        height=0.24 * sum(heights) + 0.7 * len(kinds) + 0.3,
        sharex=True,
        height_ratios=heights,
    )
    for ax, kind, own in zip(axes[:, 0], kinds, rows, strict=True):
        _bars(ax, kind, own, "" if carriers is None else _cells(carriers, kind))
    axes[-1, 0].set_xlabel("weight")
    return canvas.done(axes[:, 0])


def _cells(carriers: pd.DataFrame, kind: str) -> str:
    """Return whose cells carry the mean response; nothing for control cells."""
    rows = carriers[carriers["kind"] == kind]
    own, control = rows[rows["chosen"]].iloc[0], rows[rows["carrier"] == CONTROL].iloc[0]
    if own["carrier"] == CONTROL:
        return ""
    whose = f"{own['way']} cells of {own['carrier']}"
    return f"{whose}: energy {own['energy']:.3f}, of control cells {control['energy']:.3f}"


def _bars(ax: Any, kind: str, rows: pd.DataFrame, cells: str) -> None:
    """Draw the members of one kind of question, the heaviest on top."""
    members = rows[rows["member"] != WHOLE]
    members = members.sort_values(["weight", "error"], ascending=[True, False])
    whole = rows[rows["member"] == WHOLE].iloc[0]
    at, weight = np.arange(len(members)), members["weight"].to_numpy()
    ax.barh(at, np.ones(len(at)), color=FAINT, height=0.7)
    ax.barh(at, weight, color=ACCENT, height=0.7)
    ax.set_yticks(at, [plain(name) for name in members["member"]], fontsize="small")
    ax.set_xlim(0, 1)
    place = {"transform": ax.get_yaxis_transform(), "va": "center", "fontsize": "x-small"}
    for y, error in zip(at, members["error"], strict=True):
        if np.isfinite(error):
            ax.text(1.01, y, f"{error:.2f}", color=INK, **place)
    if np.isfinite(members["error"]).any():
        ax.text(1.01, len(at) - 0.3, "error", color=INK, **place)
    error = f", error {whole['error']:.2f}" if np.isfinite(whole["error"]) else ""
    note = str(whole["note"]).partition(":")[0]
    first = f"{kind}: {whole['n_conditions']} conditions{error}{f' ({note})' if note else ''}"
    said = "\n".join(plain(line) for line in (first, cells) if line)
    ax.set_title(said, loc="left", fontsize="small", color=INK)
    tidy(ax)
