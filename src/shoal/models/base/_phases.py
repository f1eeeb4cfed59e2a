"""The one or two trainings behind a model: a trial without some conditions, and one with them.

- With conditions of ``"val"``: the first training stops where these are predicted best. The second
  one, the *refit*, begins anew and takes them in, for as many steps.
- Without: the first training, the *trial*, leaves out some training conditions. The second one has
  all.

In between, on the conditions that were left out, it is decided which share of the cells of a
population responds.
"""

from __future__ import annotations

from contextlib import nullcontext, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ..._logging import logger
from ..._random import RNGLike, as_generator
from ..._validate import between, flag, is_auto
from ...training import LAST, folder_for, goes_on
from ._inner import VAL, with_inner
from ._learning import NAMES_OF_TRAINING, names_of_training
from ._response_share import fitted_share
from ._sets import conditions_of, held_out
from ._summary import summary_of
from ._training import Phase, check_surroundings, resumed_from, train_from

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import Tensor

    from ..._typing import Bools
    from ...core._population import Population
    from ...training import Conditions, FitResult
    from ._vocabulary import Vocabulary

Share = float | Literal["auto"]
TRIAL, REFIT = "trial", "refit"  # folders of their checkpoints, and prefixes in the history
SHOWN = 8  # conditions in a message


def train_in_phases(
    model: Any,
    max_steps: int | None = None,
    *,
    refit: bool,
    response_share: Share,
    checkpoint_dir: str | Path | None = None,
    resume: str | Path | Literal[True] | None = None,
    rng: RNGLike = 0,
    **arguments: Any,
) -> None:
    """Train a `PerturbationModel`; the arguments are those of its ``train``.

    Parameters
    ----------
    model
        The model.
    max_steps
        Steps of the optimizer.
    refit
        Whether to train anew on the conditions of ``"val"`` too.
    response_share
        Share of the cells that respond, or ``"auto"``.
    checkpoint_dir, resume
        Folder of the checkpoints, and the checkpoint to go on from. A trial and a refit have
        folders of their own in it.
    rng
        Seed or generator.
    **arguments
        Passed to `train_from`.
    """
    flag(refit, name="refit")
    around = {name: arguments.get(name) for name in ("enable_progress_bar", "callbacks")}
    check_surroundings(checkpoint_dir, around["enable_progress_bar"], around["callbacks"] or ())
    auto = is_auto(response_share)
    if not auto:
        between(response_share, 0, 1, name="response_share", ends=True)
    resume = resumed_from(resume, checkpoint_dir)
    if resume is not None and resume.parent.name in (TRIAL, REFIT):
        resume = resume.parents[1] / LAST
    if resume is None or model.seed is None:
        model.seed = int(as_generator(rng).integers(2**31))
    given = model.cells
    was_refitted = model.refitted
    model.response_share, model.refitted = 1.0 if auto else float(response_share), False
    if was_refitted:
        model.start = model.make_start()
    validation = held_out(given, model.vocabulary)
    trial = None
    if validation is None and auto:
        trial = with_inner(given, model.vocabulary, _generator(model, 7))
    phases = _Phases(model, {"max_steps": max_steps, **arguments}, resumed=resume is not None)
    two = trial is not None or (validation is not None and refit)
    place = folder_for(checkpoint_dir, resume) if two else nullcontext(checkpoint_dir)
    try:
        with place as folder:
            if trial is not None:
                phases.trial(trial, given, folder)
            elif two:
                phases.refit(given, folder, fit_share=auto)
            else:
                phases.one(given, folder, resume, fit_share=auto and validation is not None)
    finally:
        model.cells = given
    if two and checkpoint_dir is None and resume is None:  # the folder was a temporary one
        model.fit_result = replace(model.fit_result, best=None, last=None)
    model._hold_back(auto=auto)
    model._model_summary_string = summary_of(model)


class _Phases:
    """The ways to train a model once or twice.

    Parameters
    ----------
    model
        The model.
    arguments
        Arguments of `train_from`.
    resumed
        Whether to go on from checkpoints.
    """

    def __init__(self, model: Any, arguments: dict[str, Any], *, resumed: bool) -> None:
        self.model, self.resumed, self.arguments = model, resumed, arguments

    def one(self, given: Population, folder: Any, resume: Path | None, *, fit_share: bool) -> None:
        """Train once; conditions of ``"val"`` are left out."""
        _enter(self.model, given, self.model.vocabulary)
        self._train(folder, resume)
        if fit_share:
            self._fit_share("val")
        left = held_out(given, self.model.vocabulary)
        if left is not None:
            logger.info(
                "%d conditions of val were left out of training: %s; refit=True takes them in",
                len(left),
                _some(left),
            )

    def refit(self, given: Population, folder: Path, *, fit_share: bool) -> None:
        """Train with conditions of ``"val"`` left out, then anew with them for the best steps."""
        model, later = self.model, folder / REFIT
        _enter(model, given, model.vocabulary)
        first = self._train(folder, self._last(folder, later), keep_initial=True)
        best, history, names = _copied(model.module.state_dict()), model.history_, model.vocabulary
        if fit_share:
            self._fit_share("val")
        steps = first.best_step or first.steps
        usable = _usable(given, names)
        whole = given.with_split(np.where(usable, 0, given.split))
        try:
            _enter(model, whole, replace(names, **names_of_training(whole)), first.initial)
            fixed = replace(first.settings, stop_at=steps).fixed
            resume = goes_on(later / LAST, fixed) if self.resumed else None
            options = {"stop_at": steps, "prefix": f"{REFIT}_"}
            self._train(later, resume, validate=False, **options)
        except BaseException:  # the model keeps the weights of the first training
            _enter(model, given, names, best)
            model.module.eval()
            model.is_trained_, model.history_, model.fit_result = True, history, first
            raise
        model.history_ = {**history, **model.history_}
        model.fit_result, model.refitted = first, True
        logger.info(
            "trained anew on all conditions, also on %d of val, for the %d steps that were best "
            "without them: a score on val is no longer one of unseen conditions",
            len(conditions_of(given, usable, model.vocabulary)),
            steps,
        )

    def trial(self, trial: Population, given: Population, folder: Path) -> None:
        """Train with some conditions left out to fit the share on them, then anew with all."""
        model = self.model
        names, earlier, last = model.vocabulary, folder / TRIAL, folder / LAST
        resume = self._last(earlier, folder)
        if resume is not None and not resume.exists():
            resume = None if last.exists() else last  # which says that it is not there
        try:
            _enter(model, trial, replace(names, **names_of_training(trial)))
            options = {"prefix": f"{TRIAL}_", "keep_initial": True}
            first = self._train(earlier, resume, validate=False, **options)
            self._fit_share("training, left out in a trial")
        except BaseException:  # the model keeps the weights of the trial
            _enter(model, given, names, _copied(model.module.state_dict()))
            model.module.eval()
            raise
        history = model.history_
        _enter(model, given, names, first.initial)
        self._train(folder, last if self.resumed and last.exists() else None)
        model.history_ = {**history, **model.history_}

    def _train(
        self, folder: Any, resume: Path | None, *, validate: bool = True, **own: Any
    ) -> FitResult:
        """Train the network on the training cells that the model has now."""
        model = self.model

        def validation() -> Conditions | None:
            return held_out(model.cells, model.vocabulary) if validate else None

        return train_from(
            model,
            make_store=model._training_store,
            validation=validation,
            checkpoint_dir=folder,
            resume=resume,
            phase=Phase(seed=model.seed, **own),
            **self.arguments,
        )

    def _last(self, first: Path, second: Path) -> Path | None:
        """Return the checkpoint that the first training goes on from, in its folder `first`.

        Checkpoints of an earlier run, which would be taken for its own when it is resumed, are
        removed.
        """
        if self.resumed:
            return first / LAST
        for folder in (first, second):
            with suppress(OSError):
                (folder / LAST).unlink()
        return None

    def _fit_share(self, where: str) -> None:
        """Fit the share of responding cells on the conditions that were left out."""
        model = self.model
        conditions = held_out(model.cells, model.vocabulary)
        share = fitted_share(model, conditions, rng=_generator(model, 8))
        model.response_share = share
        if share < 1:
            logger.info(
                "predicted responses are shrunk: %.0f %% of the cells of a population respond, the "
                "others are control cells as measured. Fitted on %d conditions of %s; "
                "response_share=1 turns it off",
                100 * share,
                len(conditions),
                where,
            )


def trained_on(cells: Population, vocabulary: Vocabulary, *, refitted: bool) -> Bools:
    """Return (n_obs,) which perturbed cells a model has been trained on."""
    return cells.train | _usable(cells, vocabulary) if refitted else cells.train


def _usable(cells: Population, vocabulary: Vocabulary) -> Bools:
    """Return (n_obs,) which cells of ``"val"`` have perturbations with vectors."""
    able = np.array([not vocabulary.without_vector([n]) for n in cells.names] + [False])
    return (cells.split == VAL) & cells.perturbed & able[cells.labels.code]


def _enter(
    model: Any,
    cells: Population,
    vocabulary: Vocabulary,
    weights: dict[str, Tensor] | None = None,
) -> None:
    """Give a model its training cells, the names in them, and weights to begin with.

    Where the names of training are others than before, the network is made anew, as its size may
    depend on them. It begins with `weights` where these fit.
    """
    other, model.cells = cells is not model.cells, cells
    if not _same_names(vocabulary, model.vocabulary):
        weights = model.module.state_dict() if weights is None else weights
        model.vocabulary = vocabulary
        model._build(model.seed)
    elif other:
        model.start = model.make_start()
    if weights is not None:
        own = model.module.state_dict()
        fit = {k: w for k, w in weights.items() if k in own and own[k].shape == w.shape}
        model.module.load_state_dict({**own, **fit})


def _same_names(one: Vocabulary, other: Vocabulary) -> bool:
    """Return whether two vocabularies have the same names of training."""
    return all(getattr(one, name) == getattr(other, name) for name in NAMES_OF_TRAINING)


def _copied(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: w.detach().cpu().clone() for name, w in weights.items()}


def _generator(model: Any, purpose: int) -> np.random.Generator:
    return np.random.default_rng((model.seed, purpose))


def _some(conditions: Conditions) -> str:
    rest = len(conditions) - SHOWN
    more = f" and {rest} more" if rest > 0 else ""
    return ", ".join(map(repr, conditions.names[:SHOWN])) + more
