"""Whether a strategy would have chosen better than chance, on a screen measured in full."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from .._random import as_generator
from .._threads import one_thread
from .._validate import between, get_adata, listed, one_of, whole
from ..evaluation._candidates import BY
from ..evaluation._strategies import STRATEGIES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd
    from anndata import AnnData
    from mudata import MuData

    from .._random import RNGLike


@dataclass(frozen=True, eq=False)
class Replay:
    """What came out of a replay.

    Attributes
    ----------
    table
        A row for each strategy and round, see :func:`replay`.
    rows
        A row for each start, strategy, draw and round.
    """

    table: pd.DataFrame
    rows: pd.DataFrame


@one_thread()
def replay(
    data: AnnData | MuData,
    embedding: str | pd.DataFrame | None = None,
    *,
    strategies: Sequence[str] = ("disagreement", "coverage"),
    by: Literal["perturbation", "perturbation_context"] = "perturbation",
    model: str = "kernel_ridge",
    options: Mapping[str, Any] | None = None,
    n: int = 2,
    n_rounds: int = 3,
    n_starts: int = 20,
    n_random: int = 5,
    start: float = 0.25,
    judged: float = 0.33,
    rng: RNGLike = 0,
    mod: str | None = None,
) -> Replay:
    """Try strategies of :func:`shoal.tl.propose` in retrospect, on a screen measured in full.

    Conditions are divided at random: some are measured from the start, some are judged by and can
    never be chosen, and from the rest a strategy chooses `n` in each round. What it chose is
    revealed, and the model is fitted again. All strategies are judged on the same conditions, which
    the choice has no part in. Random choices start from the same division.

    Parameters
    ----------
    data
        Screen with log-normalised values, or signed features. Its split is not looked at.
    embedding
        Vectors of perturbations: a name that :func:`shoal.pp.embed` wrote, or a table.
        Perturbations without one are left out.
    strategies
        Names of strategies. ``"hit"`` needs ``uns["coherence"]``.
    by
        What is measured at once: a perturbation in all contexts, or in one context.
    model
        Name of the model whose error is looked at. Where it cannot predict a condition,
        ``mean_shift`` does. A network is trained after every round of every start, so give it few
        steps and take few starts.
    options
        Arguments of :func:`shoal.tl.fit` for it, such as ``{"max_steps": 300}``.
    n, n_rounds
        Conditions that are chosen in a round, and rounds.
    n_starts, n_random
        Divisions, and random choices for each of them.
    start, judged
        Shares of the conditions that are measured from the start, and that are judged by.
    rng
        Seed or generator.
    mod
        Modality to work on, if `data` is a MuData.

    Returns
    -------
    Two tables. ``rows`` has the errors of every start, and what was chosen. ``table`` has a row for
    each strategy and round:

    - ``error``: squared error of the predicted mean responses, over that of a copy of the
      controls; ``error_random``: that of random choices; ``error_difference``, with
      ``error_low`` and ``error_high``: their difference within a start, below 0 where the strategy
      is better, and its 95 % interval over starts;
    - ``error_start`` and ``error_all``: with what is measured from the start, and with all that
      can be chosen. Where these are alike, there is nothing to win by choosing;
    - ``hits`` and so on: how many of the chosen perturbations respond, as ``uns["coherence"]``
      says, NaN without it;
    - ``verdict`` and ``verdict_hits``: ``"better than random"``, ``"no better than random"`` or
      ``"worse than random"``, by the interval.

    Starts share perturbations. So the interval is that of this screen, and says nothing of others.

    Raises
    ------
    KeyError
        If a column, embedding or result does not exist.
    ValueError
        If an argument makes no sense, there are too few conditions, or a strategy cannot choose.
    TypeError
        If the model knows no such option.

    Examples
    --------
    >>> import numpy as np, pandas as pd, shoal as sh
    >>> adata = sh.ds.simulate_gaussian(n_perturbations=16, n_dims=5, rng=0)
    >>> names = sorted(set(adata.obs["perturbation"]) - {"control"})
    >>> draws = np.random.default_rng(0)
    >>> vectors = pd.DataFrame(draws.normal(size=(16, 3)), index=names)
    >>> found = sh.benchmark.replay(adata, vectors, strategies=["coverage"], n_starts=3)
    >>> found.table["verdict"].tolist()[-1]
    'no better than random'
    """
    from ..evaluation._replay import RANDOM, Plan, Screen, replayed, summary

    adata = get_adata(data, mod)
    names = [name for name in listed(strategies, name="strategies") if name != RANDOM]
    for name in names:
        one_of(name, tuple(STRATEGIES), name="strategies")
    if not names:
        msg = f"strategies={strategies!r} names none; choose some of {', '.join(STRATEGIES)}"
        raise ValueError(msg)
    one_of(by, BY, name="by")
    numbers = {"n": n, "n_rounds": n_rounds, "n_random": n_random}
    for name, value in numbers.items():
        whole(value, name=name)
    n_starts = whole(n_starts, name="n_starts", least=2)
    between(start, 0, 1, name="start")
    between(judged, 0, 1, name="judged")
    plan = Plan(
        strategies=tuple(dict.fromkeys(names)),
        by=by,
        n=int(n),
        n_rounds=int(n_rounds),
        n_starts=n_starts,
        n_random=int(n_random),
        start=float(start),
        judged=float(judged),
        model=model,
        options=dict(options or {}),
    )
    rows = replayed(Screen(adata, embedding, by=by), plan, as_generator(rng))
    return Replay(table=summary(rows, plan.strategies), rows=rows)
