"""Train a model on a screen, by name."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from .._random import RNGLike, as_generator
from .._validate import get_adata
from ..core._view import own

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import pandas as pd
    from anndata import AnnData
    from mudata import MuData


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
    rng: RNGLike = 0,
    mod: str | None = None,
    **training: Any,
) -> Any:
    """Train a model, network or baseline, to generate the cells of a perturbation.

    Where ``obs["split"]`` exists (`shoal.pp.split` writes it), the model sees cells of ``"train"`` only, and a network is
    judged on the conditions of ``"val"`` while it trains; without such a column it sees every cell.

    Parameters
    ----------
    data
        Screen with log-normalised values (or signed features).
    model
        Name of a model or its class. `shoal.models.available` lists the names, and
        `shoal.models.register` adds the name of a class of your own: see the guide "Add your own
        model".
    perturbation_key
        Column of ``obs`` with the perturbations; by default as recorded by :func:`shoal.pp.annotate`.
    control
        Label(s) of the control cells; by default as recorded.
    layer
        Layer to learn instead of ``X``.
    use_rep
        Slot of ``obsm`` to learn instead. Predictions are then in that representation: there is no way back to genes.
    preset
        Named settings of the model, as `shoal.models.Flow` lists them; its default if ``None``.
    embedding
        Vectors of the perturbations: a name that :func:`shoal.pp.embed` wrote, or a table. One-hot if ``None``, which
        says nothing about perturbations that did not occur in training. Of a model whose vectors have seen held-out cells,
        ``model.vocabulary.transductive`` is true, and so are its lines in all tables of scores.
    config
        Further arguments of the model's constructor: the width of a network, say.
    max_steps
        Training steps; the model's default if ``None``. Baselines have none.
    rng
        Seed or generator of the initial weights, the batches and the noise.
    mod
        Modality to work on, if `data` is a MuData.
    **training
        Settings of training, passed to shoal.models.Flow.train (or that of another class): ``lr``, ``patience``, ``accelerator``, ``logger``.

    Returns
    -------
    The trained model, with ``predict``, ``save``, ``history`` and, for a network, ``module``.

    Raises
    ------
    ValueError
        If no model has that name, there is nothing to learn from, or the values are raw counts.
    KeyError
        If a column, slot or embedding does not exist, or a perturbation of training has no vector.
    TypeError
        If `model` is neither a name nor a class with ``setup_anndata`` and ``train``, or does not know an argument.

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
    from ..models.base._registry import model_class

    adata = get_adata(data, mod)
    cls = model_class(model)
    seeds = as_generator(rng).integers(2**31, size=2)
    named = {"preset": preset, "embedding": embedding}
    asked = {k: v for k, v in named.items() if v is not None} | dict(
        config or {}
    )  # a None of `config` is meant
    settings = ({} if max_steps is None else {"max_steps": max_steps}) | training
    make = _accepted(cls, cls, asked, rng=int(seeds[0]))
    steps = _accepted(cls, cls.train, settings, rng=int(seeds[1]))
    own(adata)
    before = set(adata.uns)
    try:
        cls.setup_anndata(adata, perturbation_key, control=control, layer=layer, use_rep=use_rep)
        trained = cls(adata, **make)
        trained.train(**steps)
    except BaseException:
        for key in set(adata.uns) - before:  # what a registry may have entered
            del adata.uns[key]
        raise
    return trained


def _accepted(
    cls: type, call: Callable[..., Any], asked: dict[str, Any], *, rng: int
) -> dict[str, Any]:
    """Return the arguments of a call, with `rng` where it takes one; refuse those that it does not know."""
    parameters = inspect.signature(call).parameters
    known = [name for name in parameters if name not in ("self", "adata")]
    odd = [name for name in asked if name not in parameters]
    if odd and not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        what = "training" if call is not cls else "the constructor"
        msg = f"{cls.__name__} has no {odd[0]!r}: {what} takes {', '.join(known) or 'no arguments'}"
        raise TypeError(msg)
    return {**({"rng": rng} if "rng" in parameters else {}), **asked}
