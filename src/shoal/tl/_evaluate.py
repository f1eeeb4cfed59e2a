"""Score a prediction of held-out cells beside controls and baselines, on calibrated metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._contenders import COPY, NEGATIVE, POSITIVE, PREDICTION
from .._keys import EVALUATION, SPLIT
from .._logging import logger
from .._random import RNGLike, as_generator
from .._validate import get_adata, key_in, one_of, positive
from ..core._matrix import choose
from ..core._predictions import is_transductive
from ..core._results import write_table
from ..core._screen import resolve
from ..core._view import own
from ..evaluation._external_suites import MEAN, score_of, with_controls
from ..evaluation._predictions import of_baselines, of_cells, of_layer
from ..evaluation._scores import Marks
from ..evaluation._task import Exam, set_exam
from ..metrics._presets import PRESETS
from ..metrics._suite import SUITE
from ..models.base._registry import names as model_names
from ..models.base._registry import registered

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import pandas as pd
    from anndata import AnnData
    from mudata import MuData

    from ..metrics._comparison import Populations
    from ..metrics._presets import Preset
    from ..metrics._registry import Metric


def evaluate(
    data: AnnData | MuData,
    *,
    layer: str | None = None,
    pred: AnnData | None = None,
    real_layer: str | None = None,
    metrics: Sequence[str] | None = None,
    preset: str = "calibrated",
    baselines: str | Sequence[str] | None = "auto",
    embedding: str | pd.DataFrame | None = None,
    split: str | None = "test",
    n_comps: int = 50,
    min_cells: int = 20,
    key_added: str | None = None,
    rng: RNGLike = 0,
    mod: str | None = None,
) -> None:
    """Say how good a prediction is, beside a second experiment, a mean over other perturbations, and simple baselines.

    Every held-out condition (perturbation x context x dose) is cut into two halves. The twins of the first half are
    scored against the second half; so are the first half itself (the *positive control*: what a second experiment scores),
    cells of other perturbations (the *negative control*), a copy of the controls, and the twins of all baselines. All of
    them have as many cells, and are measured against the same truth and the *real* controls. Components are those of the
    training cells.

    Parameters
    ----------
    data
        Screen with log-normalised values, after :func:`shoal.pp.annotate` and, where a model was trained,
        :func:`shoal.pp.split`.
    layer
        Layer of twins, as :func:`shoal.tl.predict` writes it.
    pred
        Predicted cells in another AnnData, instead of `layer`: with the perturbation (context, dose) columns of the screen and
        its genes, in any order. Control cells in it are looked at
        only by presets that measure predicted effects from them (``"cell_eval"``, ``"vcc"``, ``"perturbench"``).
    real_layer
        Layer of the real values; ``X`` if ``None``.
    metrics
        Names of the metrics to compute; all of the preset if ``None``.
    preset
        ``"calibrated"``, or another package's evaluation, number for number: ``"cell_eval"``, ``"vcc"``, ``"systema"``,
        ``"perturbench"``, ``"unlasting"``, ``"cmonge"``. These compare all real with all predicted cells, so that there are no
        controls, and no skill; see the user guide. None of their metrics works in components, and the size and coherence of
        the real effects are measured in those of 500 training cells.
    baselines
        Names of baselines to fit on the training cells and score as well; ``"auto"`` for all that can predict what is held
        out, ``None`` for none. Without ``obs["split"]`` there are none.
    embedding
        Vectors of the perturbations for the baselines that can use them, as in :func:`shoal.tl.fit`; without, these cannot
        predict a perturbation that was not in training. Give the one that the model was trained with.
    split
        Value of ``obs["split"]`` that is scored; ``None`` for all perturbed cells. Without that column all are.
    n_comps
        Principal components for the metrics that work in them.
    min_cells
        Cells of a condition below which it is left out, and listed in ``missing``.
    key_added
        Slot of ``uns``; ``"evaluation"`` if ``None``.
    rng
        Seed or generator of the halves, the controls, the baselines and the intervals.
    mod
        Modality to work on, if `data` is a MuData.

    Returns
    -------
    Nothing; writes ``uns[key_added]`` with

    ``table``
        Index condition, a column for each metric: values of the prediction, NaN where missing.
    ``summary``
        Index metric: ``family``, ``direction``, ``perfect``, mean ``value``, that of the ``positive`` and
        ``negative`` control (and ``negative_control``, which it was), ``ceiling`` (of a
        correlation: what a second experiment with all cells would reach), ``drf``
        and ``bds`` (can this metric tell these conditions at all), ``discriminates`` (bool), ``best_baseline`` and its
        ``best_value``, ``skill`` with its interval ``skill_low`` to ``skill_high`` (0: as good as the best baseline, 1: as a second
        experiment), ``n`` and ``n_missing`` conditions.
    ``contenders``
        Index contender: ``score``, ``transductive`` (bool: whether its embedding has seen held-out cells, so that it had
        an easier task than the others) and mean values of all metrics.
    ``scores``, ``strata``, ``missing``, ``conditions``
        Value of every contender, condition and metric; means by size and coherence of the real effect; what is missing
        and why; size, coherence and stratum of every condition.
    ``params``
        Among them ``score``, over all metrics that discriminate on these data: 1 for a second experiment, 0 for the
        best baseline (``best_baseline``), down to −1; larger is better. Of other presets the score that the package
        defines (``"vcc"``), else NaN. And ``transductive``, of the prediction, as :func:`shoal.tl.predict` recorded it.

    Notes
    -----
    ``cell_error`` needs what no experiment has: what became of each cell. It is computed where the screen has
    ``layers["counterfactual"]`` (:func:`shoal.ds.simulate`), on the scale of the real values, and predicted cells say that they
    start from it: ``pred.obs["source"]``, or ``obs[layer + "_source"]``, names cells of the same condition, as
    ``model.transport`` writes it. Elsewhere it is listed in ``missing``.

    Raises
    ------
    KeyError
        If a layer, column, gene or metric does not exist.
    ValueError
        If both or neither of `layer` and `pred` are given, twins are missing or hold NaN, the prediction is not on the
        scale of the real cells, there are no controls, or nothing can be scored.

    References
    ----------
    Miller et al. (2025); Mejia et al. (2025); Viñas Torné et al. (2025); Ahlmann-Eltze et al. (2025).

    Examples
    --------
    >>> import shoal as sh
    >>> adata = sh.ds.simulate(n_perturbations=8, n_cells=60, n_genes=100, rng=0)
    >>> sh.pp.annotate(adata, "perturbation", control="control")
    >>> sh.pp.split(adata, by="perturbation", test=0.5, rng=0)
    >>> sh.pp.prepare(adata, normalize="log1p", fit_on="train", n_comps=10)
    >>> sh.tl.predict(adata, sh.tl.fit(adata, "mean_shift"), key_added="mean_shift", subset="test")
    >>> sh.tl.evaluate(
    ...     adata, layer="mean_shift", metrics=["energy", "pds_l2"], baselines=["perturbed_mean"]
    ... )
    >>> sorted(adata.uns["evaluation"]["summary"].index)
    ['energy', 'pds_l2']
    """
    adata = get_adata(data, mod)
    if (layer is None) == (pred is None):
        msg = "give the prediction either as layer= (twins beside the real cells) or as pred= (another AnnData)"
        raise ValueError(msg)
    one_of(preset, ("calibrated", *PRESETS), name="preset")
    peer = PRESETS.get(preset)
    suite = chosen_metrics(metrics, SUITE if peer is None else peer.metrics)
    positive(n_comps, name="n_comps")
    least = 4 if peer is None else 2
    if min_cells < least:
        msg = f"min_cells={min_cells}: populations have at least 2 cells, and are halved if calibrated, so {least} is the least"
        raise ValueError(msg)
    if layer is not None:
        choose(adata, layer=layer)
    screen = resolve(adata)
    seed = seed_of(rng)
    exam = set_exam(
        adata,
        screen,
        layer=real_layer,
        split=split,
        halves=peer is None,
        n_comps=n_comps,
        min_cells=min_cells,
        seed=seed,
    )
    prediction = of_layer(exam, adata, layer) if layer is not None else of_cells(exam, pred)
    if peer is not None and peer.uses_predicted_control:
        prediction = with_controls(exam, prediction, adata, layer, pred)
    names = _baselines(adata, baselines)
    marks = Marks(exam, suite, seed=seed)
    transductive = is_transductive(adata, layer) if pred is None else is_transductive(pred, "X")
    marks.add(PREDICTION, prediction, transductive=transductive)
    for name, make in controls_of(exam, peer, copy=baselines is not None).items():
        marks.add(name, make())
    for name, made, known in of_baselines(
        exam, adata, names, layer=real_layer, embedding=embedding, seed=seed
    ):
        if isinstance(made, str):
            marks.refuse(name, made)
        else:
            marks.add(name, made, transductive=known)
    params = {
        "score": marks.mean_skill(PREDICTION) if peer is None else score_of(peer, marks),
        "layer": layer or "pred",
        "transductive": transductive,
        "real_layer": real_layer,
        "preset": preset,
        "split": split,
        "n_conditions": len(exam.conditions),
        "n_comps": exam.truth.axes.shape[1],
        "min_cells": min_cells,
        "best_baseline": marks.best(),
        "baselines": [name for name in names if name in marks.scored],
        "seed": seed,
    }
    tables = marks.tables()
    own(adata)
    write_table(
        adata,
        key_added or EVALUATION,
        tables.pop("table"),
        schema="evaluation/1",
        params=params,
        **tables,
    )


def controls_of(
    exam: Exam, peer: Preset | None, *, copy: bool
) -> dict[str, Callable[[], Populations]]:
    """Return what makes the contenders that need no model; those of a peer calibrate nothing."""
    if peer is None:
        return {POSITIVE: exam.positive, NEGATIVE: exam.negative, COPY: exam.control_copy}
    return ({COPY: exam.control_copy} if copy else {}) | (
        {MEAN: exam.average} if peer.score else {}
    )


def chosen_metrics(names: Sequence[str] | None, suite: Mapping[str, Metric]) -> dict[str, Metric]:
    """Return the metrics of a suite by name, all if `names` is None; raise ``KeyError`` where there is none of a name."""
    if names is None:
        return dict(suite)
    several = [names] if isinstance(names, str) else list(names)
    if not several:
        msg = f"metrics is empty; name some of {', '.join(suite)}"
        raise ValueError(msg)
    for name in several:
        key_in(name, suite, where="the metrics of this preset of sh.tl.evaluate")
    return {name: suite[name] for name in dict.fromkeys(several)}


def seed_of(rng: RNGLike) -> int:
    """Return the number from which everything that an evaluation draws is seeded."""
    return int(as_generator(rng).integers(2**31))


def _baselines(adata: AnnData, asked: str | Sequence[str] | None) -> list[str]:
    """Return the baselines to fit."""
    if asked is None:
        return []
    if SPLIT not in adata.obs:
        logger.info(
            "no baselines: they are fitted on training cells, and there is no obs['split'] (sh.pp.split)"
        )
        return []
    baselines = model_names("baseline")
    if asked == "auto":  # not "control", which is the control copy
        return [name for name in baselines if name != "control" and not registered(name)]
    several = [asked] if isinstance(asked, str) else list(asked)
    for name in several:
        one_of(name, baselines, name="baselines")
    return [name for name in several if name != "control"]
