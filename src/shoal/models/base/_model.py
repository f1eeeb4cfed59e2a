"""The face of scvi-tools over our own engine; the only file that imports scvi.

scvi-tools gives what its users know: ``setup_anndata``, the registry, ``history``. The
network is a plain ``nn.Module`` with ``loss`` and ``sample``, trained by `shoal.training`.
"""

from __future__ import annotations

from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import torch
from scvi.data import AnnDataManager
from scvi.data.fields import LayerField, ObsmField
from scvi.model.base import BaseModelClass

from ..._random import RNGLike, as_generator
from ..._validate import one_of
from ...core._codes import recode
from ...core._population import control_means, population
from ...core._screen import as_labels, resolve
from ...core._view import own
from ...training import LAST, FitSettings, ResidentStore, SetSampler, StreamedStore
from ...training import fit as fit_module
from ..post._nonnegative import make_nonnegative
from ..post._zero_fraction import match_zero_fraction
from ..space._space import encoded, fit_space, space_from_dict
from ._learning import known_population, learn_vocabulary
from ._persistence import Stored
from ._predictor import Predictor, Wanted
from ._sets import asked, conditions_of, held_out, pack
from ._vocabulary import Vocabulary

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pandas as pd
    from anndata import AnnData
    from lightning.pytorch import Callback
    from lightning.pytorch.loggers import Logger
    from numpy.typing import NDArray
    from torch import Tensor, nn

    from ..._typing import Bools, Ints
    from ...core._population import Population
    from ...training import Conditions, Store
    from ..space._space import Space

RESIDENT_BYTES = 4 * 2**30  # a larger matrix is streamed unless store= says otherwise
SET_SIZE = 64  # cells of a generated set
SETS_AT_ONCE = 32  # sets that are sampled together
SETTINGS = tuple(f.name for f in fields(FitSettings) if f.name not in ("max_steps", "seed"))


class PerturbationModel(Predictor, Stored, BaseModelClass):
    """A network that generates populations of cells; one file a model adds the network.

    A subclass defines ``make_network(n_dims, n_vector, n_contexts, n_batches)``, which returns an ``nn.Module`` with
    ``loss(batch, generator)`` and ``sample(source, condition, batch_index, *, generator, **options)``, names the options of
    ``sample`` in ``options``, and gives the defaults of training in ``defaults``.

    A subclass of a network that takes arrays, such as images, sets ``takes_images = True``. It is
    trained with ``n_latent=None`` on a slot of ``obsm`` with the shape (n_obs, C, H, W). Its
    ``make_network`` finds the shape (C, H, W) in ``self.space.shape``.

    Attributes
    ----------
    module
        The network.
    vocabulary
        Perturbations, contexts, batches and features that the model knows.
    space
        Map between the values of cells and the space of the network.
    takes_images
        Whether the network takes cells that are arrays, (n, C, H, W), as well as rows of features.
    seed
        Of the training that the model has behind it; ``None`` before.
    """

    defaults: ClassVar[dict[str, Any]] = {}
    takes_images: ClassVar[bool] = False
    not_saved: ClassVar[tuple[str, ...]] = ("fit_result",)
    module: nn.Module
    space: Space
    seed: int | None

    def __init__(
        self,
        adata: AnnData,
        *,
        embedding: str | pd.DataFrame | None = None,
        n_latent: int | None = 50,
        rng: RNGLike = 0,
        **config: Any,
    ) -> None:
        super().__init__(adata)
        setup = self.registry_["setup_args"]
        screen = resolve(adata, setup["perturbation_key"], control=setup["control"])
        slots = {"layer": setup["layer"], "use_rep": setup["use_rep"]}
        self.cells = population(adata, screen, **slots, images=self.takes_images)
        self.vocabulary: Vocabulary = learn_vocabulary(self.cells, embedding=embedding, **slots)
        self.vocabulary.tell_unknown(self.cells.names)
        generator = as_generator(rng)
        self.config, self.seed = dict(config), None
        train = np.flatnonzero(self.cells.train | self.cells.train_control)
        self.space = self._fit_space(train, n_latent, generator)
        self._build(int(generator.integers(2**31)))

    def _fit_space(self, train: Ints, n_latent: int | None, rng: np.random.Generator) -> Space:
        """Fit the space of the network on the cells at the positions `train`; `config` is known."""
        return fit_space(self.cells.rows, train, n_latent=n_latent, rng=rng)

    def _build(self, seed: int) -> None:
        """Make the network; its initial weights depend on the seed alone."""
        v = self.vocabulary
        n_contexts = len(v.contexts) if v.screen.context_key is not None else 0
        n_batches = len(v.batches) if v.screen.batch_key is not None else 0
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.module = self.make_network(
                self.space.n_dims, v.vectors.shape[1], n_contexts, n_batches
            )
        self._model_summary_string = self._summary()

    def make_network(
        self, n_dims: int, n_vector: int, n_contexts: int, n_batches: int
    ) -> nn.Module:
        raise NotImplementedError

    @classmethod
    def setup_anndata(
        cls,
        adata: AnnData,
        perturbation_key: str | None = None,
        *,
        control: str | Sequence[str] | None = None,
        layer: str | None = None,
        use_rep: str | None = None,
    ) -> None:
        """Register an AnnData with this class, as in scvi-tools; ``tl.fit`` does it for you.

        Parameters
        ----------
        adata
            Screen with log-normalised values (or signed features).
        perturbation_key, control
            Column and control label(s); by default as recorded by :func:`shoal.pp.annotate`.
        layer, use_rep
            Layer or slot of ``obsm`` to learn instead of ``X``.

        Raises
        ------
        KeyError
            If a column or slot does not exist.
        ValueError
            If no column or control is named.
        """
        resolve(adata, perturbation_key, control=control)
        control = None if control is None else list(as_labels(control))
        setup = {
            "perturbation_key": perturbation_key,
            "control": control,
            "layer": layer,
            "use_rep": use_rep,
        }
        cls._register(adata, setup)

    @classmethod
    def _register(cls, adata: AnnData, setup: dict[str, Any]) -> None:
        """Enter an AnnData into the registry of scvi-tools."""
        own(adata)
        layer, use_rep = setup["layer"], setup["use_rep"]
        slots = [LayerField("X", layer, is_count_data=False, correct_data_format=False)]
        if use_rep not in (None, "X"):
            slots = [ObsmField("X", use_rep)]
        method = {
            "model_name": cls.__name__,
            "setup_method_name": "setup_anndata",
            "setup_args": setup,
        }
        manager = AnnDataManager(fields=slots, setup_method_args=method)
        manager.register_fields(adata)
        cls.register_manager(manager)

    # -- training ----------------------------------------------------------------------------------------------------

    def train(
        self,
        max_steps: int | None = None,
        *,
        set_size: int | None = None,
        batch_conditions: int | None = None,
        weighting: Literal["uniform", "size"] = "size",
        store: Literal["auto", "resident", "streamed"] = "auto",
        checkpoint_dir: str | Path | None = None,
        resume: str | Path | Literal[True] | None = None,
        logger: Logger | Sequence[Logger] | None = None,
        callbacks: Sequence[Callback] = (),
        enable_progress_bar: bool | None = None,
        rng: RNGLike = 0,
        **settings: Any,
    ) -> None:
        """Train on the cells of ``obs["split"] == "train"`` (all cells where there is no split).

        Conditions of ``"val"``, where there are some, are generated every `val_every` steps and compared with their real
        cells by unbiased energy distance; the best weights are kept. Without them training runs for `max_steps`.

        Parameters
        ----------
        max_steps
            Steps of the optimizer; this and the two sizes have the defaults of the model where they are ``None``.
        set_size
            Cells of a set.
        batch_conditions
            Sets of a step, each of another condition.
        weighting
            How often a condition is drawn: by its number of cells, or as often as any other, which shows the network the
            few cells of small conditions again and again.
        store
            Where the matrix is while training: ``"resident"`` in the memory of the device, or ``"streamed"`` from disk.
            ``"auto"`` streams what would take more than 4 GB.
        checkpoint_dir
            Folder of the checkpoints; a temporary one if ``None``, which is kept only if training breaks off.
        resume
            Checkpoint to go on from (``last.ckpt``), or ``True`` for the one in `checkpoint_dir`. With the same other
            arguments the result is the same as without the interruption; the seed is that of the broken training.
        logger, callbacks
            Of Lightning's.
        enable_progress_bar
            Whether to show progress; where a terminal is watching if ``None``.
        rng
            Seed or generator of batches and noise.
        **settings
            Passed to shoal.training.FitSettings: ``lr``, ``weight_decay``, ``warmup``, ``ema``, ``val_every``,
            ``patience``, ``accelerator``, ``devices``, ``strategy``, ``precision`` and others.

        Raises
        ------
        FloatingPointError
            If the loss is not finite: names the step, the conditions and the last good checkpoint.
        MemoryError
            If the device has too little memory for the store or for a step.
        KeyboardInterrupt
            If it was interrupted: names the checkpoint to resume from.
        KeyError
            If no perturbation of ``"val"`` has a vector.
        TypeError
            If a setting is not known.
        ValueError
            If a setting is out of range, or `resume` does not fit.
        """
        one_of(store, ("auto", "resident", "streamed"), name="store")
        odd = [name for name in settings if name not in SETTINGS]
        if odd:
            msg = f"training has no setting {odd[0]!r}; beside its own arguments it takes {', '.join(SETTINGS)}"
            raise TypeError(msg)
        if resume is True:
            if checkpoint_dir is None:
                msg = "resume=True goes on from the last checkpoint of checkpoint_dir=, which was not given"
                raise ValueError(msg)
            resume = Path(checkpoint_dir) / LAST
        given = {"max_steps": max_steps, "set_size": set_size, "batch_conditions": batch_conditions}
        chosen = {**self.defaults, **{k: v for k, v in given.items() if v is not None}}
        sizes = {k: chosen.pop(k) for k in ("set_size", "batch_conditions") if k in chosen}
        if resume is None or self.seed is None:
            self.seed = int(as_generator(rng).integers(2**31))
        conditions = conditions_of(self.cells, self.cells.train, self.vocabulary)
        sampler = SetSampler(conditions, seed=self.seed, weighting=weighting, **sizes)
        try:
            result = fit_module(
                self.module,
                self._store(store, sampler),
                validation=self._validation(),
                settings=FitSettings(**{**chosen, **settings}, seed=self.seed),
                checkpoint_dir=checkpoint_dir,
                resume=resume,
                logger=logger,
                callbacks=callbacks,
                enable_progress_bar=enable_progress_bar,
            )
        except KeyboardInterrupt:
            self.is_trained_ = True  # whoever stops it may go on with the weights there are
            raise
        self.is_trained_ = True
        self.history_ = {name: result.history[[name]].dropna() for name in result.history}
        self.fit_result = result

    def _validation(self) -> Conditions | None:
        """Return the held-out conditions that training is judged on."""
        return held_out(self.cells, self.vocabulary)

    def _store(self, store: str, sampler: SetSampler, cells: Population | None = None) -> Store:
        """Return where training finds its cells: those of the screen, or others."""
        rows = (self.cells if cells is None else cells).rows
        n_bytes = 4 * rows.shape[0] * self.space.n_dims
        if store == "streamed" or (store == "auto" and n_bytes > RESIDENT_BYTES):
            return StreamedStore(partial(self._read, cells=cells), sampler)
        return ResidentStore(encoded(rows, self.space), sampler)

    def _read(self, at: Ints, cells: Population | None = None) -> NDArray[np.float32]:
        """Return (n, n_dims) cells at sorted positions, in the space of the network."""
        return self.space.encode((self.cells if cells is None else cells).rows.take(at))

    # -- prediction --------------------------------------------------------------------------------------------------

    def _generate(
        self, wanted: Wanted, cells: Population, rng: np.random.Generator, **options: Any
    ) -> NDArray[np.float32]:
        self._check_trained()
        return self._from(cells.values(wanted.source), wanted, cells, rng, **options)

    def _from(
        self,
        start: NDArray[np.float32],
        wanted: Wanted,
        cells: Population,
        rng: np.random.Generator,
        *,
        like: NDArray[np.float32] | None = None,
        **options: Any,
    ) -> NDArray[np.float32]:
        """Generate the wanted cells from (n, n_features) starting ones: controls or, moved, perturbed cells `like` these."""
        source = torch.from_numpy(self.space.encode(start))
        generator = torch.Generator(device="cpu").manual_seed(int(rng.integers(2**62)))
        z = torch.empty_like(source)
        for rows, real, condition, batch_index in self._in_sets(
            wanted, cells, perturbed=like is not None
        ):
            with torch.no_grad():
                made = self.module.sample(
                    source[rows].to(batch_index.device),
                    condition,
                    batch_index,
                    generator=generator,
                    **options,
                )
            z[rows[real]] = made.float().cpu()[real]
        values = self.space.decode(z.numpy(), start)
        if self.vocabulary.nonnegative:
            make_nonnegative(values, wanted.populations())
            if getattr(getattr(self.module, "config", None), "match_zero_fraction", False):
                usual = self._with_controls(cells).control_zeros
                match_zero_fraction(
                    values, start if like is None else like, wanted.populations(), usual
                )
        return values

    def _in_sets(
        self, wanted: Wanted, cells: Population, *, perturbed: bool = False
    ) -> Iterator[tuple[Ints, Bools, dict[str, Tensor], Tensor]]:
        """Yield rows (K, S), which of them are no repeats, their conditions with both, and their batches.

        The conditions of cells that are `perturbed` already hold no perturbation.
        """
        packed = pack(wanted, SET_SIZE)
        device = next(self.module.parameters()).device
        batch = torch.from_numpy(recode(wanted.batch, cells.batches, self.vocabulary.batches))
        centres = torch.from_numpy(self._centres(wanted.context[packed.rows[:, 0]], cells))
        for first in range(0, len(packed.rows), SETS_AT_ONCE):
            sets = slice(first, first + SETS_AT_ONCE)
            rows = packed.rows[sets]
            condition = asked(wanted, rows[:, 0], cells, self.vocabulary, device=device)
            condition |= {
                "centre": centres[sets].to(device),
                "real": torch.from_numpy(packed.real[sets]).to(device),
            }
            if perturbed:
                condition["present"] = torch.zeros_like(condition["present"])
            yield rows, packed.real[sets], condition, batch[rows].to(device)

    def _check_trained(self) -> None:
        if not self.is_trained:
            msg = f"this {type(self).__name__} is not trained; call model.train() first"
            raise ValueError(msg)

    def _centres(self, context: Ints, cells: Population) -> NDArray[np.float32]:
        """Return the means of the control cells of some contexts in the space of the network, (n, n_dims)."""
        return self.space.encode(control_means(context, cells, self._with_controls(cells)))

    def _with_controls(self, cells: Population) -> Population:
        """Return the population if it has control cells, else the one of the model."""
        return cells if cells.labels.is_control.any() else self.cells

    # -- files -------------------------------------------------------------------------------------------------------

    def _entry(self) -> dict[str, Any]:
        return {
            "trained": bool(self.is_trained_),
            "seed": self.seed,
            "setup": dict(self.registry_["setup_args"]),
            "config": self.config,
            "vocabulary": self.vocabulary.to_dict(),
            "space": self.space.to_dict(),
            "weights": self.module.state_dict(),
            "history": self.history_,
        }

    def _restore(self, entry: dict[str, Any], adata: AnnData | None) -> None:
        self.vocabulary = Vocabulary.from_dict(entry["vocabulary"])
        self.cells = None
        if adata is None:
            registry = {"setup_args": entry["setup"], "field_registries": {}}
            BaseModelClass.__init__(self, registry=registry)
        else:
            own(adata)
            self.cells = known_population(adata, self.vocabulary)
            self._register(adata, entry["setup"])
            BaseModelClass.__init__(self, adata)
            self.vocabulary.tell_unknown(self.cells.names)
        self.space = space_from_dict(entry["space"])
        self.config, self.seed = entry["config"], entry["seed"]
        self._build(0)
        self.module.load_state_dict(entry["weights"])
        self.module.eval()
        self.is_trained_, self.history_ = entry["trained"], entry["history"]

    # -- words -------------------------------------------------------------------------------------------------------

    def _summary(self) -> str:
        n = sum(p.numel() for p in self.module.parameters())
        v = self.vocabulary
        known = f"{len(v.perturbations)} perturbations ({v.embedding})"
        return f"{type(self).__name__} of {known}, {self.space.description}, {n:,} parameters"
