"""Curves of a training run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .._validate import key_in, listed
from ._canvas import Canvas
from ._style import ACCENT, INK, RIVAL, plain, tidy
from ._texts import fill

if TYPE_CHECKING:
    from collections.abc import Sequence
    from os import PathLike

    from numpy.typing import NDArray

TITLES = {"train_loss": "training loss", "val_energy": "energy distance,\nheld-out conditions"}
POINTS = 25  # points of a smoothed curve that share no record


@fill
def training(
    data: Any,
    *,
    curves: Sequence[str] | None = None,
    figsize: tuple[float, float] | None = None,
    title: str | None = None,
    show: bool | None = None,
    save: str | PathLike[str] | None = None,
) -> NDArray[Any]:
    """Show the losses and the validation of a trained network, over the steps.

    The loss of single steps is noisy, because every step draws other conditions and times. The
    faint line is the loss as recorded, the strong line its running median. The best validation is
    marked.

    Parameters
    ----------
    data
        Trained model, as :func:`shoal.tl.fit` returns it. Or its ``history``: a mapping of names to
        tables, indexed by step.
    curves
        Names in the history. ``None`` shows the training loss and every validation.
    figsize, title, show, save
        {figure}

    Returns
    -------
    1-D array of axes, one a curve. They share the axis of steps.

    Raises
    ------
    TypeError
        If `data` has no history.
    ValueError
        If the history is empty: the model is a baseline, or it is not trained.
    KeyError
        If a curve is not in it.

    Examples
    --------
    >>> import pandas as pd
    >>> import shoal as sh
    >>> loss = pd.DataFrame({"train_loss": [3.0, 2.0, 1.5]}, index=[10, 20, 30])
    >>> axes = sh.pl.training({"train_loss": loss})
    """
    canvas = Canvas(None, figsize, title, show, save)
    tables = _history(data)
    if curves is None:
        wanted = [name for name in tables if name == "train_loss" or name.startswith("val")]
        curves = wanted or list(tables)
    curves = listed(curves, name="curves", empty=False)
    for name in curves:
        key_in(name, tables, where="the history of the model")
    axes = canvas.subplots(len(curves), 1, width=5.6, height=0.7 + 1.75 * len(curves), sharex=True)
    for ax, name in zip(axes[:, 0], curves, strict=True):
        _curve(ax, tables[name], validation=name.startswith("val"))
        ax.set_ylabel(TITLES.get(name, plain(name.replace("_", " "))), fontsize="small")
        tidy(ax)
    axes[-1, 0].set_xlabel("step")
    return canvas.done(axes[:, 0])


def _history(data: Any) -> dict[str, pd.Series]:
    """Return the curves of a model or of a mapping of tables, without those that hold nothing."""
    history = data if isinstance(data, Mapping) else getattr(data, "history", data)
    if history is not None and not isinstance(history, Mapping):
        msg = (
            "expected a trained model or its history, a mapping of names to tables, "
            f"not {type(data).__name__}"
        )
        raise TypeError(msg)
    found = {
        str(name): pd.DataFrame(table).iloc[:, 0].dropna()
        for name, table in (history or {}).items()
    }
    found = {name: curve for name, curve in found.items() if len(curve)}
    if not found:
        msg = (
            "the history is empty: a baseline has no training curve, "
            "and a network has one after model.train()"
        )
        raise ValueError(msg)
    return found


def _curve(ax: Any, curve: pd.Series, *, validation: bool) -> None:
    """Draw one curve, on a logarithmic scale where it falls by more than a factor of 30."""
    step, value = curve.index.to_numpy(float), curve.to_numpy(float)
    if validation:
        ax.plot(step, value, color=ACCENT, lw=1.4, marker="o", ms=3.5)
        best = int(np.nanargmin(value))
        ax.plot(step[best], value[best], color=RIVAL, marker="D", ms=6, zorder=4)
        ax.set_title(
            f"best {value[best]:.4g} at step {step[best]:,.0f}",
            loc="right",
            fontsize="small",
            color=INK,
        )
    else:
        window = max(len(curve) // POINTS, 1)
        smooth = curve.rolling(window, center=True, min_periods=1).median()
        ax.plot(step, value, color=ACCENT, lw=0.7, alpha=0.3 if window > 1 else 0.0)
        ax.plot(step, smooth, color=ACCENT, lw=1.6, marker="o" if len(curve) == 1 else "", ms=4)
        ax.set_title(f"last {smooth.iloc[-1]:.4g}", loc="right", fontsize="small", color=INK)
    if (value > 0).all() and value.max() > 30 * value.min():
        ax.set_yscale("log")
