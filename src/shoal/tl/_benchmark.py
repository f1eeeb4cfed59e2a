"""A leaderboard of models on one screen."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING, Any

from .._docs import shared
from .._keys import LEADERBOARD, SPLIT
from .._logging import once, progress
from .._validate import get_adata, key_in, whole
from ..core._claims import claim_result
from ..core._results import write_table
from ..core._screen import resolve
from ..evaluation._attempt import attempt, row_of
from ..evaluation._leaderboard import leaderboard
from ..evaluation._models import read_inner, read_models, read_seeds
from ..evaluation._prediction_file import refuse_files
from ..evaluation._rows import tidy
from ..evaluation._scorer import Scorer
from ..pp._split_use import check_split

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from anndata import AnnData
    from mudata import MuData

    from .._random import RNGLike

HERE = "screen"  # stands for the data set


@shared()
def benchmark(
    data: AnnData | MuData,
    models: Sequence[str | type | Mapping[str, Any]],
    *,
    seeds: int | Sequence[int] = (0,),
    metrics: Sequence[str] | None = None,
    n_comps: int = 50,
    min_cells: int = 20,
    n_draws: int = 5,
    reference: str = "auto",
    against: str | None = None,
    inner: int | None = None,
    layer: str | None = None,
    accept: str | Sequence[str] = (),
    n_boot: int = 2000,
    rng: RNGLike = 0,
    key_added: str | None = None,
    overwrite: bool = False,
    mod: str | None = None,
) -> None:
    """Train models on the training cells of a screen, score them on its test cells, rank them.

    It takes one prepared screen with a split, in memory. :func:`shoal.benchmark.run` does the same
    for several data sets and splits, keeps every result in a file and shares the work among
    processes.

    Parameters
    ----------
    data
        Screen with log-normalised values after :func:`shoal.pp.annotate` and
        :func:`shoal.pp.split`.
    models
        Names of `shoal.models.available`, classes, or mappings with ``name``, ``label``,
        ``options`` (arguments of :func:`shoal.tl.fit`), ``predict`` (those of the sampler) and
        ``tune`` (sets of options, one of which is chosen within training, see `inner`). A
        prediction of another program is a mapping with ``contender``: ``{"file": path}``, and
        ``label``, as for :class:`shoal.benchmark.Spec`. The reference that scores are measured from
        is fitted whether it is among them or not.
    seeds
        Seeds of training, prediction and of the halves into which real cells are divided.
    metrics, n_comps, min_cells, n_draws, reference
        As for :func:`shoal.tl.evaluate`, whose suite is ``"calibrated"`` here.
    against
        Contender that all others are compared with; the best if ``None``.
    inner
        Inner folds within the training cells, on which one set of options is chosen of each model
        with ``tune``, as :func:`shoal.tl.fit` does.
    layer
        Layer of the real values, to learn and to be judged by; ``X`` if ``None``.
    accept
        Names of leaks of ``obs["split"]`` to accept, such as ``"same_condition"``, see
        :doc:`/user_guide/splits`. Those that :func:`shoal.pp.split` accepted need not be named.
    n_boot
        Bootstrap draws of the intervals.
    rng
        Seed of the bootstrap.
    key_added
        Slot of ``uns``; ``"leaderboard"`` if ``None``.
    overwrite
        {overwrite}
    mod
        Modality to work on, if `data` is a MuData.

    Returns
    -------
    Nothing; writes ``uns[key_added]`` with

    ``table``
        The leaderboard as :func:`shoal.benchmark.table` returns it.
    ``rows``
        One line for each model, seed and metric, with the reason (``note``) where a model failed,
        and the set of options that was ``chosen`` within training.
    ``params``, ``schema``, ``version``
        How it was made. ``reference`` is the baseline that was taken, ``responds`` whether anything
        responds. ``caution`` names leaks of the split that were accepted.

    No layer is kept.

    Raises
    ------
    KeyError
        If there is no ``obs["split"]``, or `against` or a metric is not known.
    ValueError
        If a model, its label, a seed or `inner` is not valid, test conditions are trained on and
        that is not accepted, nothing can be scored, or all models failed.
    TypeError
        If `models` is no list, or a member neither name, class nor mapping.
    FileNotFoundError
        If the prediction of another program has no file.

    Examples
    --------
    >>> import shoal as sh
    >>> adata = sh.ds.simulate(n_perturbations=8, n_cells=60, n_genes=100, rng=0)
    >>> sh.pp.annotate(adata, "perturbation", control="control")
    >>> sh.pp.split(adata, by="perturbation", test=0.5, rng=0)
    >>> sh.pp.prepare(adata, normalize="log1p", fit_on="train", n_comps=10)
    >>> sh.tl.benchmark(adata, ["perturbed_mean", "mean_shift"], metrics=["energy", "rmse"])
    >>> adata.uns["leaderboard"]["table"]["kind"].tolist()
    ['baseline', 'baseline', 'control', 'control', 'control']
    """
    adata = get_adata(data, mod)
    key = claim_result(
        adata,
        LEADERBOARD if key_added is None else key_added,
        schema="leaderboard/1",
        overwrite=overwrite,
    )
    n_comps = whole(n_comps, name="n_comps")
    min_cells = whole(min_cells, name="min_cells")
    n_boot = whole(n_boot, name="n_boot")
    n_draws = whole(n_draws, name="n_draws")
    several, numbers = read_models(models), read_seeds(seeds)
    inner = read_inner(inner, several)
    key_in(
        SPLIT,
        adata.obs.columns,
        where="adata.obs",
        hint="A benchmark needs sh.pp.split(adata) first.",
    )
    caution = check_split(adata, resolve(adata, tell=False), accept=accept, call="sh.tl.benchmark")
    options = {"n_comps": n_comps, "min_cells": min_cells, "layer": layer}
    options |= {"n_draws": n_draws, "reference": reference}
    wanted = {
        seed: [(row_of(one, data=HERE, split=SPLIT, seed=seed), one) for one in several]
        for seed in numbers
    }
    refuse_files(chain.from_iterable(wanted.values()))
    rows = []
    with once():  # models have the same things to say of the screen
        for seed in progress(numbers, total=len(numbers), desc="seeds"):
            scorer = Scorer(adata, seed=seed, metrics=metrics, **options)
            rows += [attempt(adata, row, one, scorer, inner=inner) for row, one in wanted[seed]]
    board = leaderboard(rows, against=against, n_boot=n_boot, rng=rng)
    lines = tidy([replace(row, settings="-") for row in rows]).drop(
        columns=["data", "split", "settings"]
    )
    done = [row for row in rows if not row.note]
    params = {
        **options,
        "reference": done[0].reference,
        "responds": all(row.responds for row in done),
        "seeds": numbers,
        "models": [model.label for model in several],
        "against": board.index[board["verdict"] == "reference"][0],
        "n_boot": n_boot,
        "n_conditions": max(len(row.conditions) for row in rows),
        "n_failed": sum(bool(row.note) for row in rows),
        "caution": caution,
    }
    write_table(adata, key, board, schema="leaderboard/1", params=params, rows=lines)
