"""Choices that are made within training: settings of a model, and the baseline of reference."""

from __future__ import annotations

from dataclasses import dataclass, field
from inspect import signature
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .._keys import EMBEDDINGS_INFO, SPLIT
from .._logging import logger, progress, quiet
from .._random import RNGLike, as_generator
from .._validate import whole
from ..core._inner_folds import FOLDS, inner_folds
from ..core._population import SPLITS, population
from ..core._screen import resolve
from ..models.base._fitting import SETUP, check_tried, fit_baseline, fit_model
from ..models.base._registry import model_class
from ._grid import in_words, merged, read_grid
from ._inner_error import InnerError, relative
from ._shallow import reason, shallow

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from anndata import AnnData

    from .._typing import Ints
    from ..core._population import Population

OF_THE_LAST = ("checkpoint_dir", "resume", "logger", "callbacks")  # of the last training alone


@dataclass(frozen=True, eq=False)
class Choice:
    """What was chosen within training, and why.

    Attributes
    ----------
    name
        The candidate that was chosen.
    options
        Its arguments of ``fit_model``; empty for a baseline of reference.
    table
        Index candidate; columns ``error``, ``energy``, ``fold_1`` and so on, ``n_conditions``,
        ``chosen`` and ``note``, see :func:`shoal.tl.fit`.
    """

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    table: pd.DataFrame = field(default_factory=pd.DataFrame)

    @property
    def errors(self) -> dict[str, float | None]:
        """The error of each candidate, as JSON can hold it."""
        return {
            str(name): float(error) if np.isfinite(error) else None
            for name, error in self.table["error"].items()
        }


def tuned(
    adata: AnnData,
    model: str | type,
    tune: Any,
    *,
    options: Mapping[str, Any],
    inner: int | None = None,
    rng: RNGLike = 0,
) -> Choice:
    """Choose the options of a model on inner folds of the training cells.

    Every set of options is trained on each fold, and predicts the conditions that the fold leaves
    out. Test cells are on no side.

    Parameters
    ----------
    adata
        Screen with a split of :func:`shoal.pp.split`; it is not changed.
    model
        Name or class.
    tune
        What is tried, as `read_grid` takes it.
    options
        Arguments of ``fit_model`` that all sets share.
    inner
        Number of folds; 3 if ``None``.
    rng
        Seed or generator of folds, trainings and predictions; the same for every set.

    Raises
    ------
    TypeError, ValueError
        If the sets make no sense, a set has an option that the model does not know, there are too
        few conditions for the folds, or no set could be trained and predict.
    """
    inner = _checked(inner)
    sets = read_grid(tune)
    several = [merged(options, one) for one in sets]
    for one in several:
        check_tried(model, one)
    seed = int(as_generator(rng).integers(2**31))
    given = {name: options[name] for name in SETUP if options.get(name) is not None}
    screen = resolve(adata, given.get("perturbation_key"), control=given.get("control"), tell=False)
    cells = population(
        adata, screen, layer=given.get("layer"), use_rep=given.get("use_rep"), images=True
    )
    folds = inner_folds(cells, inner, seed=seed)
    named = [one.get("embedding") for one in several]
    for name in dict.fromkeys(name for name in named if isinstance(name, str)):
        _tell_of_embedding(adata, name)
    measure = InnerError(cells, folds, seed=seed)
    work, sides = shallow(adata), np.array([*SPLITS, None], dtype=object)
    takes_bar = "enable_progress_bar" in signature(model_class(model).train).parameters
    silent = {"enable_progress_bar": False} if takes_bar else {}

    def fit(number: int, fold: int) -> Any:
        work.obs[SPLIT] = pd.Categorical(sides[folds[fold]], categories=list(SPLITS))
        own = {k: v for k, v in several[number].items() if k not in OF_THE_LAST}
        return fit_model(work, model, rng=seed, **own | silent)

    called = model if isinstance(model, str) else model_class(model).__name__
    table = _measured(measure, in_words(sets), fit, desc=f"tuning {called}")
    number = _best(table, f"no set of options in tune= could be used with {called}")
    _tell(table, f"{called}: of {len(sets)} sets of options", inner)
    return Choice(str(table.index[number]), several[number], table)


def reference_on_validation(
    cells: Population,
    baselines: Sequence[str],
    *,
    embedding: str | pd.DataFrame | None = None,
    inner: int | None = None,
    seed: int = 0,
) -> Choice:
    """Choose the baseline of reference on conditions that are no test conditions.

    These are the conditions of ``"val"``, which the baselines are not trained on. Without any, or
    with a number in `inner`, they are those of inner folds within training.

    Parameters
    ----------
    cells
        The screen.
    baselines
        Names of baselines.
    embedding
        Vectors of the perturbations, for the baselines that use them.
    inner
        Number of folds.
    seed
        Seed of folds and predictions.

    Returns
    -------
    The choice, whose ``name`` is the baseline. One that cannot predict a condition is not chosen.

    Raises
    ------
    ValueError
        If there are too few conditions for the folds, or no baseline predicts them.
    """
    if inner is None and cells.val.any():
        folds: tuple[Ints, ...] = (_validation(cells),)
    else:
        folds = inner_folds(cells, _checked(inner), seed=seed)
    _tell_of_embedding(cells.adata, embedding)
    measure = InnerError(cells, folds, seed=seed)

    def fit(number: int, fold: int) -> Any:
        on = measure.folds[fold].cells
        return fit_baseline(on, baselines[number], embedding=embedding, rng=seed)

    table = _measured(measure, list(baselines), fit, desc="reference")
    number = _best(table, "no baseline can be the reference")
    _tell(table, f"reference: of {len(baselines)} baselines", len(folds))
    return Choice(str(table.index[number]), table=table)


def _checked(inner: int | None) -> int:
    """Return the number of folds."""
    inner = FOLDS if inner is None else inner
    whole(inner, name="inner")
    return int(inner)


def _validation(cells: Population) -> Ints:
    """Return the (n_obs,) sides that hold out the conditions of ``"val"``."""
    return np.select([cells.split == 2, cells.val], [-1, 2], cells.split)


def _measured(
    measure: InnerError, names: Sequence[str], fit: Callable[[int, int], Any], *, desc: str
) -> pd.DataFrame:
    """Train and measure all candidates on all folds.

    Parameters
    ----------
    measure
        What is left out, and the measure of error.
    names
        Names of the candidates.
    fit
        Trains a candidate on a fold, both by number.
    desc
        What the progress bar says.
    """
    n = len(measure.folds)
    found: list[list[pd.DataFrame]] = [[] for _ in names]
    notes = [""] * len(names)
    tasks = [(number, fold) for number in range(len(names)) for fold in range(n)]
    for number, fold in progress(tasks, total=len(tasks), desc=desc):
        if notes[number]:
            continue
        try:
            with quiet():
                found[number].append(measure.of(fit(number, fold), fold))
        except Exception as err:  # noqa: BLE001 (others go on, and the table says what it was)
            notes[number] = reason(err)
            logger.info("%s: %r cannot be chosen: %s", desc, names[number], reason(err))
    rows = []
    for parts, note in zip(found, notes, strict=True):
        whole_ = pd.DataFrame() if note else pd.concat(parts)
        folds = {f"fold_{i + 1}": np.nan if note else relative(parts[i]) for i in range(n)}
        rows.append(
            {
                "error": np.nan if note else relative(whole_),
                "energy": np.nan if note else float(whole_["energy"].mean()),
                **folds,
                "n_conditions": len(whole_),
                "note": note,
            }
        )
    table = pd.DataFrame(rows, index=pd.Index(list(names), name="candidate"))
    first = np.flatnonzero(table["energy"].to_numpy() == table["energy"].min())[:1]
    table.insert(table.shape[1] - 1, "chosen", np.isin(np.arange(len(table)), first))
    return table


def _best(table: pd.DataFrame, message: str) -> int:
    """Return the number of the chosen candidate; the first one of equals."""
    if not table["chosen"].any():
        name, note = table.index[0], table["note"].iloc[0]
        msg = f"{message} within training; {name!r}: {note}"
        raise ValueError(msg)
    return int(np.flatnonzero(table["chosen"])[0])


def _tell(table: pd.DataFrame, of: str, n_folds: int) -> None:
    """Say what was chosen."""
    own = table[table["chosen"]].iloc[0]
    logger.info(
        "%s, %r was chosen on %d conditions left out of training in %d folds: its energy distance "
        "to the real cells is %.2f of that of the controls",
        of,
        table.index[table["chosen"]][0],
        own["n_conditions"],
        n_folds,
        own["error"],
    )
    if not own["error"] < 1 and own.name != "control":
        logger.warning(
            "%s, none predicts the conditions left out of training better than unchanged controls",
            of,
        )


def _tell_of_embedding(adata: AnnData, embedding: Any) -> None:
    """Warn of vectors that know the conditions which inner folds leave out."""
    record = adata.uns.get(EMBEDDINGS_INFO, {}).get("table", pd.DataFrame())
    if not isinstance(embedding, str) or "fitted_on" not in record:
        return
    on = str(record["fitted_on"].get(embedding, "none"))
    if on in ("train", "all"):
        logger.warning(
            "the embedding %r was fitted on cells of %r, those that inner folds leave out among "
            "them: models that use it look better there than they are. Vectors from outside the "
            "screen have no such trouble",
            embedding,
            on,
        )
