"""Score a prediction of held-out cells beside controls and baselines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._docs import shared
from .._keys import EVALUATION, SPLIT
from .._logging import once
from .._threads import one_thread
from .._validate import get_adata, text
from ..core._claims import claim_result
from ..core._results import write_table
from ..core._screen import resolve
from ..evaluation._evaluate import evaluate as evaluated
from ..evaluation._predictions import refuse_images
from ..evaluation._settings import Settings
from ..metrics._external_vcc2026 import SUITE as VCC2026
from ..pp._split_use import check_split

if TYPE_CHECKING:
    from collections.abc import Sequence
    from os import PathLike

    import pandas as pd
    from anndata import AnnData
    from mudata import MuData

    from .._random import RNGLike


@one_thread()
@shared()
def evaluate(
    data: AnnData | MuData,
    *,
    prediction: str | PathLike[str] | AnnData,
    layer: str | None = None,
    metrics: Sequence[str] | None = None,
    suite: str = "calibrated",
    baselines: str | Sequence[str] | None = "auto",
    embedding: str | pd.DataFrame | None = None,
    context_embedding: str | pd.DataFrame | None = None,
    split: str | None = "test",
    n_comps: int = 50,
    min_cells: int = 20,
    n_draws: int = 5,
    reference: str = "auto",
    accept: str | Sequence[str] = (),
    key_added: str | None = None,
    overwrite: bool = False,
    rng: RNGLike = 0,
    mod: str | None = None,
) -> None:
    """Say how good a prediction is, beside a second experiment and simple baselines.

    A condition is a perturbation in a context at a dose. The cells of every held-out condition are
    cut into two halves at random. The second half is the truth. These are scored against it, with
    as many cells each:

    - the prediction of the first half;
    - the *positive control*: the first half itself, which is what a second experiment scores;
    - the *negative control*: cells of other perturbations;
    - the *control copy*: control cells;
    - the predictions of all baselines, which are fitted on the training cells.

    Halves and controls are drawn several times (`n_draws`), and all values are means over draws.
    What came out is said in one sentence (``params["verdict"]``), which is also logged.

    Responses are measured from the *real* control cells. Principal components are those of the
    training cells.

    Parameters
    ----------
    data
        Screen with log-normalised or signed values, after :func:`shoal.pp.annotate` and, where a
        model was trained, :func:`shoal.pp.split`. The matrix is read once, also where it is in a
        file.
    prediction
        What is evaluated. One of these:

        - The name of a prediction in `data`, as the ``key_added`` of :func:`shoal.tl.predict`: a
          layer, or a slot of ``obsm`` with the predicted values of all genes. A name that is both
          is refused.
        - Predicted cells in another AnnData. It has the perturbation column of the screen, those
          of context and dose where the screen has them, and its genes in any order. As many cells
          are scored as of the other contenders. Of fewer, each is taken several times.
        - The path of an h5ad file with such an AnnData: a ``pathlib.Path``, or a text that ends in
          ``.h5ad`` and is no name in `data`. Only the cells and genes that are scored are read
          from the file.

        Control cells of another AnnData count only in suites that measure predicted effects from
        them (``"cell_eval"``, ``"vcc"``, ``"perturbench"``).
    layer
        Layer of the real values; ``X`` if ``None``.
    metrics
        Names of the metrics to compute; all of the suite if ``None``, but for those that are
        computed on request alone: ``"retrieval_top1"``, ``"retrieval_top5"`` and
        ``"retrieval_map"`` (:doc:`/user_guide/metrics_discrimination`).
    suite
        Suite of metrics. ``"calibrated"``, or the evaluation of another package, number for
        number: ``"cell_eval"``, ``"vcc"``, ``"systema"``, ``"perturbench"``, ``"unlasting"``,
        ``"cmonge"``. The others compare all real with all predicted cells. They have no positive
        and negative control and therefore no skill. The size and coherence of real effects are
        then measured in the components of 500 training cells. ``"vcc2026"`` takes whole counts and
        scores panels of targets as the Virtual Cell Challenge 2026 does, see
        :doc:`/user_guide/metrics_external`: `baselines`, `n_comps`, `min_cells` and `rng` play no
        part in it, and without ``obs["split"]`` all targets are scored.
    baselines
        Names of baselines to fit and score; ``"auto"`` for all that can predict what is held out,
        ``None`` for none. ``"control"`` is the row ``"control copy"``, which is always there.
        Without ``obs["split"]`` there are none, and naming some is an error.
    embedding
        Vectors of the perturbations for the baselines that use them, as in :func:`shoal.tl.fit`.
        Give the one that the model was trained with. Without it, these baselines cannot predict a
        perturbation that was not in training.
    context_embedding
        Vectors of the contexts for the baselines that use them, ``nearest_context`` and
        ``context_weighted``, as in :func:`shoal.tl.fit`: a name that
        :func:`shoal.pp.embed_contexts` wrote, or a table. Give the one that the model was trained
        with, so that a model and its rivals are told the same.
    split
        Value of ``obs["split"]`` that is scored.

        - The split is audited by its labels, whoever wrote it: held-out conditions that are trained
          on are an error.
        - ``None`` for all perturbed cells, those of training among them. It has to be passed
          where there is no ``obs["split"]``, and ``params["caution"]`` repeats it.
    n_comps
        Principal components for the metrics that work in them.
    min_cells
        Cells of a condition below which it is left out, and listed in ``missing``.
    n_draws
        How often halves and controls are drawn. Each baseline is fitted once for all draws. Other
        suites than ``"calibrated"`` have one draw.
    reference
        Baseline that skill and score are measured from. ``"auto"`` takes it from the kind of split:
        ``additive`` for combinations, ``mean_shift`` for whole perturbations and ``own_shift`` for
        all others. It is fitted also if `baselines` does not name it. With ``baselines=None`` or
        without ``obs["split"]`` it is the control copy. ``"validation"`` takes the baseline that
        predicts the conditions of ``"val"`` best; where there are none, or these are scored, those
        left out of training in three inner folds (:doc:`/user_guide/benchmark`).
    accept
        Names of leaks of ``obs["split"]`` to accept, such as ``"same_condition"``, see
        :doc:`/user_guide/splits`. Those that :func:`shoal.pp.split` accepted need not be named.
    key_added
        Slot of ``uns``; ``"evaluation"`` if ``None``.
    overwrite
        {overwrite}
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
        Index metric. Columns:

        - ``family``, ``direction`` and ``perfect``;
        - means ``value`` of the prediction, ``positive`` and ``negative`` of the controls, and
          ``negative_control``, which of the two it was;
        - ``ceiling``, of a correlation: what a second experiment with all cells would reach;
        - ``drf``, ``bds`` and ``discriminates`` (bool): whether this metric can tell these
          conditions apart at all;
        - ``reference`` and its mean ``reference_value``;
        - ``best_baseline`` and its mean ``best_value``: the best one on these conditions, which is
          known with hindsight only;
        - ``skill`` and its interval ``skill_low`` to ``skill_high``: 0 is as good as the reference,
          1 as good as a second experiment;
        - ``n`` and ``n_missing`` conditions.
    ``contenders``
        Index contender: the prediction, controls and baselines. Baselines that predict the same
        cells, up to rounding, are one row, scored once. Columns:

        - ``score``, 0 for the reference and 1 for a second experiment, and its interval
          ``score_low`` to ``score_high`` over perturbations and draws; NaN for a single
          perturbation;
        - ``achieved``, the part of the range between the negative and the positive control, over
          all metrics that can tell, before the reference is taken off;
        - ``harm``, what is taken off for being worse than the control copy, at least 0;
        - ``score_best``, the score against the best baseline with hindsight;
        - ``transductive`` (bool): whether its embedding has seen held-out cells, which makes its
          task easier;
        - ``same_as``: the further baselines that predict the cells of this row, with a comma and a
          blank between them; empty if there are none;
        - the mean values of all metrics.
    ``scores``
        Value of every contender, condition and metric, a mean over draws.
    ``strata``
        Means by size and by coherence of the real effect.
    ``missing``
        What is missing, and why.
    ``conditions``
        Stratum of every condition, by ``real_energy``, the unbiased energy distance of its real
        cells from the controls, and by ``real_coherence``, both in principal components;
        ``split``, the sides of ``obs["split"]`` that its cells are on; and ``silent`` (bool),
        whether nothing is seen to respond in it, so that an invention there is harm by itself.
    ``contexts``
        Of the suite ``"vcc2026"`` alone: every metric in each context, as ``value``,
        ``mean_response``, ``replicate`` (and its SD over cuts) and ``scaled``.
    ``params``
        Among them ``score`` with ``score_low`` and ``score_high``, ``reference`` and ``verdict``.
        The score is NaN where the reference leaves no room, and the verdict says why.
        ``reference_note`` says why the reference is another than the fixed one. ``responds`` (bool)
        says whether anything responds; if not, the score is minus the harm, and 0 for unchanged
        controls. Of other suites, ``score`` is the one that the package defines (``"vcc"``,
        ``"vcc2026"``), else NaN, and there are no verdict and reference. ``transductive`` is that
        of the prediction, as :func:`shoal.tl.predict` recorded it. ``embedding`` and
        ``context_embedding`` are the names of the vectors that baselines were told, ``"table"`` for
        a table, empty for none. ``caution`` says why conditions may be known to the model, or that
        it was trained on some, and is empty where they are held out. ``skipped`` lists the
        conditions that have no prediction, and why: no contender is scored on these.

    Raises
    ------
    KeyError
        If the prediction, a layer, column, gene, embedding or metric does not exist.
    ValueError
        In any of these cases:

        - there is no ``obs["split"]``, and `split` is not ``None``;
        - held-out conditions are trained on, and that is not accepted;
        - the name of the prediction could mean several slots, or means the real values;
        - only some cells of a condition were predicted, or a prediction holds NaN;
        - the real values are raw counts or not logged (the suites ``"cell_eval"`` and ``"vcc"``
          normalise counts as cell-eval does, and ``"vcc2026"`` takes counts alone);
        - the prediction is on another scale than the real cells; the message says on which;
        - there are no controls, or nothing can be scored.
    FileNotFoundError
        If there is no file at the path of the prediction.
    TypeError
        If `prediction` is none of the kinds above, or `embedding` or
        `context_embedding` neither a name nor a table.

    Notes
    -----
    A matrix in a file or a dask array is read once, block by block. These rows of it are kept in
    memory while the evaluation lasts:

    - held-out cells and control cells;
    - training cells for the principal components, 50,000 at most;
    - with baselines that keep training cells, 1,000 of each condition at most.

    ``cell_error`` needs what no experiment has: what became of each cell. It is computed where both
    hold:

    - the screen has ``layers["counterfactual"]`` (:func:`shoal.ds.simulate`), on the scale of the
      real values;
    - ``obs["source"]`` of the predicted AnnData, or ``obs[prediction + "_source"]``, names cells of
      the same condition, as ``model.transport`` writes it.

    Elsewhere it is listed in ``missing``.

    References
    ----------
    Miller et al. (2025); Mejia et al. (2025); Viñas Torné et al. (2025); Ahlmann-Eltze et al.
    (2025).

    Examples
    --------
    >>> import shoal as sh
    >>> adata = sh.ds.simulate(n_perturbations=8, n_cells=60, n_genes=100, rng=0)
    >>> sh.pp.annotate(adata, "perturbation", control="control")
    >>> sh.pp.split(adata, by="perturbation", test=0.5, rng=0)
    >>> sh.pp.prepare(adata, normalize="log1p", fit_on="train", n_comps=10)
    >>> sh.tl.predict(adata, sh.tl.fit(adata, "mean_shift"), key_added="mean_shift", subset="test")
    >>> sh.tl.evaluate(
    ...     adata,
    ...     prediction="mean_shift",
    ...     metrics=["energy", "pds_l2"],
    ...     baselines=["perturbed_mean"],
    ... )
    >>> sorted(adata.uns["evaluation"]["summary"].index)
    ['energy', 'pds_l2']
    """
    adata = get_adata(data, mod)
    text(suite, name="suite")
    if split is not None:
        text(split, name="split")
    refuse_images(adata, prediction)
    key = claim_result(
        adata,
        EVALUATION if key_added is None else key_added,
        schema="evaluation/1",
        overwrite=overwrite,
    )
    if suite == VCC2026 and SPLIT not in adata.obs:
        split = None  # all targets of the panel are scored
    settings = Settings(
        layer=layer,
        metrics=metrics,
        suite=suite,
        baselines=baselines,
        embedding=embedding,
        context_embedding=context_embedding,
        split=split,
        n_comps=n_comps,
        min_cells=min_cells,
        n_draws=n_draws,
        reference=reference,
    )
    leaks = ""
    if settings.split in ("val", "test"):
        leaks = check_split(
            adata, resolve(adata, tell=False), accept=accept, held_out=split, call="sh.tl.evaluate"
        )
    with once():  # baselines have the same things to say of the screen
        params, tables = evaluated(adata, prediction, settings, rng=rng)
    params["caution"] = "; ".join(filter(None, (params["caution"], leaks)))
    table = tables.pop("table")
    write_table(adata, key, table, schema="evaluation/1", params=params, **tables)
