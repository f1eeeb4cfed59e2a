"""Train a model on a screen, by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .._keys import SPLIT
from .._validate import get_adata
from ..core._screen import resolve
from ..pp._split_use import check_split

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd
    from anndata import AnnData
    from mudata import MuData

    from .._random import RNGLike


def fit(
    data: AnnData | MuData,
    model: str | type = "flow",
    *,
    perturbation_key: str | None = None,
    control: str | Sequence[str] | None = None,
    layer: str | None = None,
    use_rep: str | None = None,
    preset: str | None = None,
    embedding: str | pd.DataFrame | None = None,
    config: Mapping[str, Any] | None = None,
    max_steps: int | None = None,
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
        Name of a model or its class. `shoal.models.available` lists the names, and
        `shoal.models.register` adds the name of a class of your own: see the guide "Add your own
        model".
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
    config
        Further arguments of the model's constructor: the width of a network, say.
    max_steps
        Training steps; the model's default if ``None``. Baselines have none.
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
    The trained model, with ``predict``, ``save``, ``history`` and, for a network, ``module``.

    Raises
    ------
    ValueError
        In any of these cases:

        - no model has that name;
        - ``obs["split"]`` holds other values than train, val, test and missing ones;
        - held-out conditions are trained on, and that is not accepted;
        - there is nothing to learn from, or the values are raw counts.
    KeyError
        If a column, slot or embedding does not exist, or a perturbation of training has no vector.
    TypeError
        If `model` is neither a name nor a class with ``setup_anndata`` and ``train``, or does not
        know an argument.

    Examples
    --------
    >>> import shoal as sh
    >>> adata = sh.ds.simulate(n_perturbations=4, rng=0)
    >>> sh.pp.annotate(adata, "perturbation", control="control")
    >>> sh.pp.prepare(adata, normalize="log1p", n_comps=10)
    >>> model = sh.tl.fit(adata, "mean_shift")
    >>> model.predict(["P1"], n_cells=50).shape
    (50, 500)
    """
    from ..models.base._fitting import fit_model

    adata = get_adata(data, mod)
    if SPLIT in adata.obs:
        screen = resolve(adata, perturbation_key, control=control, tell=False)
        check_split(adata, screen, accept=accept, call="sh.tl.fit")
    return fit_model(
        adata,
        model,
        perturbation_key=perturbation_key,
        control=control,
        layer=layer,
        use_rep=use_rep,
        preset=preset,
        embedding=embedding,
        config=config,
        max_steps=max_steps,
        rng=rng,
        **training,
    )
