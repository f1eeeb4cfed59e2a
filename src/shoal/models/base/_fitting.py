"""Make and train a model by its name or class."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..._keys import SPLIT
from ..._logging import reason
from ..._random import RNGLike, as_generator
from ..._validate import shown
from ...core._population import SPLITS
from ...core._shallow import shallow
from ...core._view import materialize_view
from ._predictor import Predictor
from ._registry import model_class, registered

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from anndata import AnnData

    from ...core._population import Population

SETUP = ("perturbation_key", "control", "layer", "use_rep")  # arguments of setup_anndata


def fit_model(
    adata: AnnData,
    model: str | type,
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
    rng: RNGLike = 0,
    **training: Any,
) -> Any:
    """Train a model on an AnnData; the arguments are those of :func:`shoal.tl.fit`.

    Parameters
    ----------
    adata
        The screen.
    model
        Name or class.
    perturbation_key, control, layer, use_rep
        Passed to the ``setup_anndata`` of the class.
    preset, embedding, context_embedding, config
        Arguments of its constructor.
    max_steps
        Training steps.
    rng
        Seed or generator of constructor and training.
    **training
        Passed to the ``train`` of the class.
    """
    cls = model_class(model)
    make, steps = _arguments(
        cls,
        rng,
        preset=preset,
        embedding=embedding,
        context_embedding=context_embedding,
        config=config,
        max_steps=max_steps,
        **training,
    )
    materialize_view(adata)
    before = dict(adata.uns)
    try:
        cls.setup_anndata(adata, perturbation_key, control=control, layer=layer, use_rep=use_rep)
        trained = cls(adata, **make)
        trained.train(**steps)
    except BaseException:
        for key in set(adata.uns) - set(before):  # what a registry may have entered
            del adata.uns[key]
        adata.uns.update(before)  # and what it may have replaced
        raise
    if isinstance(trained, Predictor):
        trained.expression.tell()
    return trained


def fit_on(cells: Population, model: str | type, **options: Any) -> Any:
    """Train a model on an AnnData whose ``obs["split"]`` has the sides of a population.

    Parameters
    ----------
    cells
        The screen, with the cells to train on, which may be others than those of its AnnData.
    model
        Name or class.
    **options
        Further arguments of `fit_model`.
    """
    work, sides = shallow(cells.adata), np.array([*SPLITS, None], dtype=object)
    work.obs[SPLIT] = pd.Categorical(sides[cells.split], categories=list(SPLITS))
    return fit_model(
        work,
        model,
        perturbation_key=cells.screen.perturbation_key,
        control=list(cells.screen.control),
        layer=cells.layer,
        use_rep=cells.use_rep,
        **options,
    )


def check_tried(model: str | type, options: Mapping[str, Any]) -> None:
    """Raise unless a model knows some arguments of :func:`fit_model`, before any work is done.

    Parameters
    ----------
    model
        Name or class.
    options
        Arguments of `fit_model`.

    Raises
    ------
    TypeError
        If there is no such argument or setting; the message lists those that there are.
    ValueError
        If the preset is not known, or the value of a setting of the network or of its training
        makes no sense.
    """
    cls = model_class(model)
    options = {name: value for name, value in options.items() if name not in SETUP}
    _arguments(cls, 0, **options)
    recipes = getattr(cls, "recipes", None)
    if recipes is None:  # a class that takes whatever is said tells by itself
        return
    from ._training import SETTINGS, check_settings  # which loads torch

    preset = options.get("preset")
    made = {"n_latent", *inspect.signature(cls).parameters}
    changes = {k: v for k, v in (options.get("config") or {}).items() if k not in made}
    recipes.configured(recipes.default if preset is None else preset, changes)
    known = [*list(inspect.signature(cls.train).parameters)[1:-1], *SETTINGS]
    named = ("preset", "embedding", "context_embedding", "config")
    odd = [name for name in options if name not in (*known, *named)]
    if odd:
        msg = f"{cls.__name__} has no {odd[0]!r}: training takes {', '.join(known)}"
        raise TypeError(msg)
    check_settings(options)


def check_made(cells: Population, model: str | type, options: Mapping[str, Any]) -> None:
    """Raise if a baseline refuses some arguments of `fit_model`: it can be made without them.

    Parameters
    ----------
    cells
        The screen.
    model
        Name or class.
    options
        Arguments of `fit_model`.

    Raises
    ------
    ValueError
        If it refuses them. A baseline that refuses the screen is left to its training.
    """
    cls = model_class(model)
    make, _ = _arguments(cls, 0, **options)
    try:
        cls(cells, **make)
    except Exception as err:
        try:
            cls(cells)
        except Exception:  # noqa: BLE001 (the screen is refused, and training says why)
            return
        msg = f"{cls.__name__} refuses {dict(options)!r}: {reason(err)}"
        raise ValueError(msg) from err


def fit_baseline(
    cells: Population,
    name: str,
    *,
    embedding: str | pd.DataFrame | None,
    context_embedding: str | pd.DataFrame | None = None,
    rng: RNGLike,
) -> Any:
    """Train a baseline on cells that were read before.

    Parameters
    ----------
    cells
        The screen.
    name
        Name of the baseline.
    embedding, context_embedding
        Vectors of the perturbations and of the contexts, for a baseline that uses them.
    rng
        Seed or generator, for a baseline that draws.
    """
    cls = model_class(name)
    known = {"embedding": embedding, "context_embedding": context_embedding}
    takes = inspect.signature(cls).parameters
    given = {key: own for key, own in known.items() if own is not None and key in takes}
    if registered(name):  # a user's class may read more of an AnnData than its cells
        return fit_on(cells, cls, rng=rng, **given)
    make_seed, train_seed = _seeds(rng)
    trained = cls(cells, **_accepted(cls, cls, given, rng=make_seed))
    trained.train(**_accepted(cls, cls.train, {}, rng=train_seed))
    return trained


def _arguments(
    cls: Any,
    rng: RNGLike,
    *,
    preset: str | None = None,
    embedding: str | pd.DataFrame | None = None,
    context_embedding: str | pd.DataFrame | None = None,
    config: Mapping[str, Any] | None = None,
    max_steps: int | None = None,
    **training: Any,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the arguments of the constructor of a class, and those of its training."""
    if not (config is None or isinstance(config, Mapping)):
        msg = f"config must be a dict of options by name, not {shown(config)}"
        raise TypeError(msg)
    make_seed, train_seed = _seeds(rng)
    named = {"preset": preset, "embedding": embedding, "context_embedding": context_embedding}
    given = {name: value for name, value in named.items() if value is not None}
    given |= dict(config or {})  # a None of `config` is meant
    settings = ({} if max_steps is None else {"max_steps": max_steps}) | training
    make = _accepted(cls, cls, given, rng=make_seed)
    return make, _accepted(cls, cls.train, settings, rng=train_seed)


def _seeds(rng: RNGLike) -> tuple[int, int]:
    """Return the seeds of the constructor and of training."""
    make, train = as_generator(rng).integers(2**31, size=2)
    return int(make), int(train)


def _accepted(
    cls: type, call: Callable[..., Any], given: dict[str, Any], *, rng: int
) -> dict[str, Any]:
    """Return the arguments of a call, with `rng` where it takes one.

    Raises
    ------
    TypeError
        If the call does not know an argument.
    """
    parameters = inspect.signature(call).parameters
    known = [name for name in parameters if name not in ("self", "adata")]
    odd = [name for name in given if name not in parameters]
    if odd and not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        what = "training" if call is not cls else "the constructor"
        msg = f"{cls.__name__} has no {odd[0]!r}: {what} takes {', '.join(known) or 'no arguments'}"
        if call is not cls and odd[0] in inspect.signature(cls).parameters:
            msg += f"; {odd[0]!r} is of the constructor: pass config={{{odd[0]!r}: ...}}"
        raise TypeError(msg)
    return {**({"rng": rng} if "rng" in parameters else {}), **given}
