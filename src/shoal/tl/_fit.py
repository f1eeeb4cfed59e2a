"""Train a model on a screen, by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .._keys import SPLIT
from .._validate import flag, get_adata
from ..core._screen import resolve
from ..pp._split_use import check_split
from ._fit_several import fit_several

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd
    from anndata import AnnData
    from mudata import MuData

    from .._random import RNGLike
    from ..models.base._calibration import Calibration


def fit(
    data: AnnData | MuData,
    model: str | type | Sequence[str | type | Mapping[str, Any]] = "auto",
    *,
    perturbation_key: str | None = None,
    control: str | Sequence[str] | None = None,
    layer: str | None = None,
    use_rep: str | None = None,
    preset: str | None = None,
    embedding: str | pd.DataFrame | None = None,
    context_embedding: str | pd.DataFrame | None = None,
    config: Mapping[str, Any] | None = None,
    max_steps: int | None = None,
    tune: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None,
    inner: int | None = None,
    calibrate: bool = False,
    accept: str | Sequence[str] = (),
    rng: RNGLike = 0,
    mod: str | None = None,
    **training: Any,
) -> Any:
    """Train a model, network or baseline, to generate the cells of a perturbation.

    With ``obs["split"]`` (:func:`shoal.pp.split` writes it), the model sees only cells of
    ``"train"``, and a network is validated on the conditions of ``"val"`` while it trains. Without
    that column it sees every cell.

    A split is audited by its labels, whoever wrote it. It is an error if conditions of ``"test"``
    have training cells too, as in a random division of cells. A condition is a perturbation in a
    context at a dose, or what :func:`shoal.pp.split` has held out as a whole. Cells whose value is
    missing are neither trained on nor scored.

    Parameters
    ----------
    data
        Screen with log-normalised values (or signed features).
    model
        Name of a model or its class. The default is the ensemble without networks, which takes
        seconds and says by itself which simple models answer best, see :doc:`/user_guide/ensemble`;
        ``"flow"`` is a network. `shoal.models.available` lists the names, and
        `shoal.models.register` adds the name of a class of your own: see the guide "Add your own
        model". A list trains several: names, classes, or mappings with ``name``, ``label``,
        ``options`` and ``tune``, as :func:`shoal.tl.benchmark` takes them. Each gets those of the
        arguments that it takes, so that models which take no `embedding` may be among them.
    perturbation_key
        Column of ``obs`` with the perturbations; by default as recorded by
        :func:`shoal.pp.annotate`.
    control
        Label(s) of the control cells; by default as recorded.
    layer
        Layer to learn instead of ``X``.
    use_rep
        Slot of ``obsm`` to learn instead. Predictions are then in that representation, with no way
        back to genes.
    preset
        Named settings of the model, as `shoal.models.Flow` lists them; its default if ``None``.
    embedding
        Vectors of the perturbations: a name that :func:`shoal.pp.embed` wrote, or a table. ``None``
        for one-hot vectors, which say nothing about perturbations that did not occur in training.
        If the vectors have seen held-out cells, ``model.vocabulary.transductive`` is true, and
        tables of scores say so.
    context_embedding
        Vectors of the contexts: a name that :func:`shoal.pp.embed_contexts` wrote, or a table. The
        model is told these instead of the names of contexts, so that it knows something of a
        context without perturbed cells in training. Networks take it, the baselines
        ``nearest_context`` and ``context_weighted``, and ``"auto"`` for these. ``None`` for names.
    config
        Further arguments of the model's constructor: the width of a network, say.
    max_steps
        Training steps; the model's default if ``None``. Baselines have none.
    tune
        Options to choose among: arguments of this function such as ``lr``, ``preset`` and
        ``config``. A mapping from options to lists of values, ``{"lr": [1e-3, 3e-4], "config":
        {"width": [64, 128]}}``, of which all combinations are tried; or a list of sets of options.
        The settings of baselines are in ``config``. Each set is trained on inner folds of the
        training cells and predicts the conditions that they leave out; then the best is trained on
        all of training. The test has no part in the choice.
    inner
        Number of inner folds; 3 if ``None``, or as many as there are units. They hold out what
        :func:`shoal.pp.split` holds out, of the training cells: contexts for a split by context,
        and so on. With 1, a fifth is left out once.
    calibrate
        Whether to train the model once more for each of four inner folds, to learn how far off its
        answers are: intervals go by that (:func:`shoal.tl.predict` with ``interval=``). The folds
        leave out what :func:`shoal.pp.split` holds out, of the training cells. This takes about
        four times as long as the training itself. ``"auto"`` needs no `calibrate`: it knows its
        errors.
    accept
        Names of leaks of ``obs["split"]`` to accept, such as ``"same_condition"``, see
        :doc:`/user_guide/splits`. Those that :func:`shoal.pp.split` accepted need not be named.
    rng
        Seed or generator of the initial weights, the batches and the noise.
    mod
        Modality to work on, if `data` is a MuData.
    **training
        Settings of training, passed to shoal.models.Flow.train (or that of another class), such as
        ``lr``, ``patience``, ``accelerator`` and ``logger``.

    Returns
    -------
    The trained model; of a list, a dict from labels to trained models. A model has ``predict``,
    ``save``, ``history`` and, for a network, ``module``. With `tune` it also has ``tuning``, a
    table with a row for each set of options:

    ``error``
        Energy distance of the predicted to the real cells in the conditions that were left out,
        divided by that of the controls that predictions start from: 0 is as good as a second
        sample, 1 as good as a copy of the controls. NaN where nothing responds.
    ``energy``, ``fold_1``, ...
        Mean energy distance along 50 principal axes of the training cells, by which the set is
        chosen, and the error in each fold.
    ``n_conditions``, ``chosen``, ``note``
        Conditions that were left out in all folds, whether the set was chosen, and why it could not
        be used.

    Raises
    ------
    ValueError
        In any of these cases:

        - no model has that name;
        - ``obs["split"]`` holds other values than train, val, test and missing ones;
        - held-out conditions are trained on, and that is not accepted;
        - there is nothing to learn from, or the values are raw counts;
        - `calibrate` is set and no conditions can be left out of training, or the model can predict
          none of them;
        - `tune` is empty, no set of options in it could be used, or there are too few conditions
          for the folds.
    KeyError
        If a column, slot or embedding does not exist, or a perturbation or a context of
        training has no vector.
    TypeError
        If `model` is neither a name nor a class with ``setup_anndata`` and ``train``, or does not
        know an argument or an option in `tune`.

    Examples
    --------
    >>> import shoal as sh
    >>> adata = sh.ds.simulate(n_perturbations=4, rng=0)
    >>> sh.pp.annotate(adata, "perturbation", control="control")
    >>> sh.pp.prepare(adata, normalize="log1p", n_comps=10)
    >>> model = sh.tl.fit(adata, "mean_shift")
    >>> model.predict(["P1"], n_cells=50).shape
    (50, 500)

    Several models at once:

    >>> sorted(sh.tl.fit(adata, ["own_shift", "mean_shift"]))
    ['mean_shift', 'own_shift']

    Of the settings of a baseline, the one is taken that predicts left out conditions best:

    >>> sh.pp.split(adata, by="perturbation", test=0.25, rng=0)
    >>> model = sh.tl.fit(adata, "matching_mean", tune={"config": {"shrink": [True, False]}})
    """
    from ..models.base._fitting import fit_model

    adata = get_adata(data, mod)
    flag(calibrate, name="calibrate")
    if SPLIT in adata.obs:
        screen = resolve(adata, perturbation_key, control=control, tell=False)
        check_split(adata, screen, accept=accept, call="sh.tl.fit")
    screened = {
        "perturbation_key": perturbation_key,
        "control": control,
        "layer": layer,
        "use_rep": use_rep,
    }
    given = {
        "preset": preset,
        "embedding": embedding,
        "context_embedding": context_embedding,
        "max_steps": max_steps,
        **training,
    }

    def fit_one(model: Any, *, tune: Any = None, **own: Any) -> Any:
        options = {**screened, **own}
        table = None
        if tune is not None:
            from ..evaluation._tuning import tuned

            choice = tuned(adata, model, tune, options=options, inner=inner, rng=rng)
            options, table = dict(choice.options), choice.table
        errors = _errors(adata, model, options, rng) if calibrate else None
        trained = fit_model(adata, model, rng=rng, **options)
        if table is not None:
            trained.tuning = table
        if errors is not None:
            trained.calibration = errors
        return trained

    if isinstance(model, (list, tuple)):
        if config is not None or tune is not None:
            msg = (
                "config= and tune= are those of one model: of several, write them with the model, "
                "as in [{'name': 'flow', 'options': {'config': {'width': 64}}}, 'mean_shift']"
            )
            raise ValueError(msg)
        return fit_several(model, fit_one, given, inner=inner)
    if tune is None and inner is not None:
        msg = f"inner={inner} folds are for a choice, and there is none: pass tune= with them"
        raise ValueError(msg)
    return fit_one(model, tune=tune, **given, config=config)


def _errors(
    adata: AnnData, model: str | type, options: Mapping[str, Any], rng: RNGLike
) -> Calibration | None:
    """Return what a model is wrong by on conditions left out; ``None`` if it finds out itself."""
    from ..evaluation._choice_notices import tell_of_embedding
    from ..models.base._registry import kind_of, model_class
    from ..models.ensemble._calibrate import calibrated

    if kind_of(model_class(model)) == "ensemble":
        return None
    tell_of_embedding(adata, options.get("embedding"))
    return calibrated(adata, model, options=options, rng=rng)
