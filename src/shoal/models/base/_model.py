"""The face of scvi-tools over our own engine; the only file that imports scvi.

scvi-tools gives what its users know: ``setup_anndata``, the registry, ``history``. The
network is a plain ``nn.Module`` with ``loss`` and ``sample``, trained by `shoal.training`.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import torch
from scvi.data import AnnDataManager
from scvi.data.fields import LayerField, ObsmField
from scvi.model.base import BaseModelClass

from ..._random import RNGLike, as_generator
from ...core._choose import choose
from ...core._population import control_means, population
from ...core._screen import as_labels, resolve
from ...core._view import materialize_view
from ..post._postprocessing import Moved, Postprocessing
from ..space._space import fit_space, space_from_dict
from ..start._start import Controls, starts_of
from ._context_embedding import add_contexts, check_takes
from ._expression import Expression
from ._face import narrowed
from ._given_cells import known_population
from ._graph_term import graph_term
from ._learning import learn_vocabulary
from ._persistence import Stored
from ._phases import train_in_phases, trained_on
from ._predictor import Predictor
from ._response_share import leave_still
from ._sets import run_in_sets, sets_of
from ._summary import summary_of
from ._training import cell_store
from ._vocabulary import Vocabulary

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import pandas as pd
    from anndata import AnnData
    from lightning.pytorch import Callback
    from lightning.pytorch.loggers import Logger
    from numpy.typing import NDArray
    from torch import Tensor, nn

    from ..._typing import Bools, Floats, Ints, Matrix
    from ...core._population import Population
    from ...training import SetSampler, Store
    from ..space._space import Space
    from ..start._start import Start, StartingCells
    from ._graph_term import Graph
    from ._phases import Share
    from ._requests import PredictionRequest
    from ._sets import RequestedSets


class PerturbationModel(Predictor, Stored, narrowed(BaseModelClass)):
    """A network that generates populations of cells; a subclass adds the network.

    A subclass defines ``make_network(n_dims, n_vector, n_contexts, n_batches)``, which returns an
    ``nn.Module`` with two methods: ``loss(batch, generator)``, and ``sample(source, condition,
    batch_index, *, generator, **options)``. It names the options of ``sample`` in ``options``, and
    gives the defaults of training in ``defaults``. It may define ``make_start`` and ``make_post``.

    A subclass of a network that takes arrays, such as images, sets ``takes_images = True``. It is
    trained with ``n_latent=None`` on a slot of ``obsm`` with the shape (n_obs, C, H, W). Its
    ``make_network`` finds the shape (C, H, W) in ``self.space.shape``.

    Attributes
    ----------
    module
        The network.
    vocabulary
        Perturbations, contexts, batches and features that the model knows.
    expression
        What training cells say about the zeros of genes, and about the total of a cell.
    space
        Map between the values of cells and the space of the network.
    start
        Where predictions start: at control cells, or elsewhere.
    post
        What is done to the values that the network predicts.
    takes_images
        Whether the network takes cells that are arrays, (n, C, H, W), as well as rows of features.
    takes_context_vectors
        Whether the network reads vectors of contexts, ``condition["context_vector"]``.
    carries_cells
        Whether the network carries each cell to a perturbed one, and does not begin at noise.
    seed
        Seed of the training that the model has behind it; ``None`` before.
    response_share
        Share of the cells of a predicted population that respond. The others are control cells as
        measured. It may be set by hand.
    refitted
        Whether the network was trained on the conditions of ``"val"`` too.
    """

    defaults: ClassVar[dict[str, Any]] = {}
    takes_images: ClassVar[bool] = False
    takes_context_vectors: ClassVar[bool] = False
    not_saved: ClassVar[tuple[str, ...]] = ("fit_result",)
    carries_cells: bool = True
    module: nn.Module
    space: Space
    start: Start
    post: Postprocessing
    seed: int | None
    response_share: float
    refitted: bool

    def __init__(
        self,
        adata: AnnData,
        *,
        embedding: str | pd.DataFrame | None = None,
        context_embedding: str | pd.DataFrame | None = None,
        n_latent: int | None = 50,
        rng: RNGLike = 0,
        **config: Any,
    ) -> None:
        check_takes(self, context_embedding)
        super().__init__(adata)
        setup = self.registry_["setup_args"]
        # setup_anndata has told
        screen = resolve(adata, setup["perturbation_key"], control=setup["control"], tell=False)
        slots = {"layer": setup["layer"], "use_rep": setup["use_rep"]}
        self.cells = population(adata, screen, **slots, images=self.takes_images)
        vectors = {"embedding": self._vectors(embedding), "context_embedding": context_embedding}
        self.vocabulary = learn_vocabulary(self.cells, **vectors, **slots)
        self.vocabulary.tell_unknown(self.cells.names)
        self.expression = Expression.of_training(self.cells)
        self.cells = self._as_seen(self.cells)
        generator = as_generator(rng)
        self.config, self.seed, self.response_share, self.refitted = dict(config), None, 1.0, False
        train = np.flatnonzero(self.cells.train | self.cells.train_control)
        self.space = self._fit_space(train, n_latent, generator)
        self.config = self._settled_config()
        self._build(int(generator.integers(2**31)))

    def _vectors(self, embedding: str | pd.DataFrame | None) -> str | pd.DataFrame | None:
        """Return the embedding that the vocabulary is learned with; `cells` are known."""
        return embedding

    def _fit_space(self, train: Ints, n_latent: int | None, rng: np.random.Generator) -> Space:
        """Fit the space of the network on the cells at the positions `train`; `config` is known."""
        return fit_space(self.cells.rows, train, n_latent=n_latent, rng=rng)

    def _build(self, seed: int) -> None:
        """Make the network; its initial weights depend on the seed alone."""
        n_vector = self.vocabulary.vectors.shape[1]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.module = self.make_network(
                self.space.n_dims, n_vector, *self.vocabulary.sizes_by_name
            )
        self.start, self.post = self.make_start(), self.make_post()
        self._model_summary_string = summary_of(self)

    def make_network(
        self, n_dims: int, n_vector: int, n_contexts: int, n_batches: int
    ) -> nn.Module:
        """Return the network, given the sizes of what it takes; 0 where the screen has none."""
        raise NotImplementedError

    def make_start(self) -> Start:
        """Return where predictions start: at control cells, unless a model says otherwise."""
        return Controls()

    def make_post(self) -> Postprocessing:
        """Return what is done to predicted values.

        None is below 0 if no training value was. Log-normalised genes have as many zeros as
        expected, and cells the total of training cells.
        """
        return Postprocessing.as_expected(self.expression, nonnegative=self.vocabulary.nonnegative)

    def _settled_config(self) -> dict[str, Any]:
        """Return the config with all settings decided that depend on the cells of training.

        It is called once, before the network is made. The result is what a saved model holds.
        """
        return self.config

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
        choose(adata, layer=layer, use_rep=use_rep, images=cls.takes_images)
        control = None if control is None else list(as_labels(control))
        slots = {"layer": layer, "use_rep": use_rep}
        cls._register(adata, {"perturbation_key": perturbation_key, "control": control, **slots})

    @classmethod
    def _register(cls, adata: AnnData, setup: dict[str, Any]) -> None:
        """Enter an AnnData into the registry of scvi-tools."""
        materialize_view(adata)
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

    # -- training ----------------------------------------------------------------------------------

    def train(
        self,
        max_steps: int | None = None,
        *,
        set_size: int | None = None,
        batch_conditions: int | None = None,
        weighting: Literal["uniform", "size"] = "size",
        store: Literal["auto", "resident", "streamed"] = "auto",
        refit: bool = True,
        response_share: Share = "auto",
        graph: Graph | None = None,
        graph_weight: float = 0.1,
        graph_loss: Literal["laplacian", "contrastive"] = "laplacian",
        checkpoint_dir: str | Path | None = None,
        resume: str | Path | Literal[True] | None = None,
        logger: Logger | Sequence[Logger] | None = None,
        callbacks: Sequence[Callback] = (),
        enable_progress_bar: bool | None = None,
        rng: RNGLike = 0,
        **settings: Any,
    ) -> None:
        """Train on the cells of ``obs["split"] == "train"``, or on all cells if there is no split.

        Where there are conditions of ``"val"``, they are generated every `val_every` steps and
        compared with their real cells by unbiased energy distance. The best weights are kept.
        Without them training runs for `max_steps`.

        Where some conditions can be left out for it, the network is trained twice; see `refit` and
        `response_share`.

        Parameters
        ----------
        max_steps
            Steps of the optimizer. The default of the model is taken where this, `set_size` or
            `batch_conditions` is ``None``.
        set_size
            Cells of a set.
        batch_conditions
            Sets of a step, each of another condition.
        weighting
            How often a condition is drawn: in proportion to its number of cells (``"size"``), or
            as often as any other (``"uniform"``), which repeats the cells of small conditions.
        store
            Where the matrix is while training: ``"resident"`` in the memory of the device, or
            ``"streamed"`` from disk. ``"auto"`` streams what would take more than 4 GB.
        refit
            Whether a new network is trained on the conditions of ``"train"`` and ``"val"``, for as
            many steps as were best on ``"val"``. It takes up to as long again. Its history has
            names that begin with ``refit_``. Without it the conditions of ``"val"`` are left out of
            training, and the log says so.
        response_share
            Share of the cells of a predicted population that respond; the others are control cells
            as measured. ``"auto"`` takes the share that fits conditions best that the network was
            not trained on. These are

            - the conditions of ``"val"`` where there are some;
            - else a fifth of what the screen's split holds out, taken from the training conditions
              for a trial. Training then takes twice as long, and ``trial_`` begins the names of
              the trial's history;
            - else none, and all cells respond. This is so without a split, and with one that holds
              out cells of trained conditions.

            A number sets the share. 1 turns the shrinkage off, and the trial.
        graph
            Graph of perturbations, which holds what is learned of linked ones together: a name that
            :func:`shoal.pp.link` wrote, names and their weights, or a table of edges.
        graph_weight, graph_loss
            Factor of its term in the loss, whatever the batch, and its kind: ``"laplacian"`` or
            ``"contrastive"``, see :doc:`/user_guide/contexts`.
        checkpoint_dir
            Folder of the checkpoints. ``None`` for a temporary one, kept if training breaks off.
        resume
            Checkpoint to go on from (``last.ckpt``), or ``True`` for the one in `checkpoint_dir`.
            With the same other arguments the result is the same as without the interruption. The
            seed is that of the broken training.
        logger, callbacks
            Of Lightning.
        enable_progress_bar
            ``True`` for a bar, ``False`` for nothing. ``None`` for a bar on a terminal, and
            elsewhere a line every few seconds.
        rng
            Seed or generator of batches and noise.
        **settings
            Passed to shoal.training.FitSettings: ``lr``, ``weight_decay``, ``warmup``, ``ema``,
            ``val_every``, ``patience``, ``accelerator``, ``devices``, ``strategy``, ``precision``
            and others.

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
        train_in_phases(
            self,
            max_steps,
            refit=refit,
            response_share=response_share,
            set_size=set_size,
            batch_conditions=batch_conditions,
            weighting=weighting,
            store=store,
            checkpoint_dir=checkpoint_dir,
            resume=resume,
            logger=logger,
            callbacks=callbacks,
            enable_progress_bar=enable_progress_bar,
            rng=rng,
            graph=graph_term(self, graph, graph_weight, graph_loss),
            **settings,
        )

    def _training_store(self, sampler: SetSampler, store: str) -> Store:
        """Return the store that `train` takes its sets from."""
        return self.start.training_store(cell_store(self.cells, self.space, sampler, store))

    def _hold_back(self, *, auto: bool) -> None:
        """Decide after training which conditions respond less than predicted: here none."""

    @property
    def trained_cells(self) -> Bools:
        """(n_obs,) perturbed cells of the screen that the network was, or is to be, trained on."""
        return trained_on(self.cells, self.vocabulary, refitted=self.refitted)

    # -- prediction --------------------------------------------------------------------------------

    add_contexts = add_contexts  # in a file of its own

    def _generate(
        self,
        request: PredictionRequest,
        cells: Population,
        rng: np.random.Generator,
        *,
        cross_context: bool = True,
        **options: Any,
    ) -> Moved:
        """Generate cells from where the start strategy lets them start."""
        self._check_trained()
        elsewhere = cross_context and not request.from_source
        parts = starts_of(self.start, request, cells, rng, elsewhere=elsewhere)
        carried = [self._carry(part, request, cells, rng, options) for part in parts]
        order = np.argsort(np.concatenate([part.rows for part in parts]))
        return Moved.joined(carried, order)

    def _finished(
        self,
        request: PredictionRequest,
        cells: Population,
        rng: np.random.Generator,
        options: dict[str, Any],
    ) -> Matrix:
        """Return finished cells, of which those that do not respond are control cells."""
        values = super()._finished(request, cells, rng, options)
        return leave_still(values, request, cells, self._share_of(request, cells), rng)

    def _share_of(self, request: PredictionRequest, cells: Population) -> float | Floats:
        """Return the share of cells that respond, or (n,) that of the population of each row."""
        return self.response_share

    def _carry(
        self,
        starting: StartingCells,
        request: PredictionRequest,
        cells: Population,
        rng: np.random.Generator,
        options: dict[str, Any],
    ) -> Moved:
        """Return what the network makes of starting cells."""
        part, perturbed = request.take(starting.rows), starting.perturbed
        options = self._sampler_options(options, perturbed=perturbed)
        generator = torch.Generator(device="cpu").manual_seed(int(rng.integers(2**62)))

        def network(x: Tensor, sets: RequestedSets) -> tuple[Tensor]:
            where = (sets.condition, sets.batch_index)
            return (self.module.sample(x, *where, generator=generator, **options),)

        encoded_start = self.space.encode(starting.values)
        (z,) = run_in_sets(network, encoded_start, self._sets(part, cells, perturbed=perturbed))
        return Moved(
            self.space.decode(z.numpy(), starting.values),
            start=starting.values,
            measured=starting.measured,
            perturbed=np.full(len(part), perturbed),
        )

    def _sampler_options(self, options: dict[str, Any], *, perturbed: bool) -> dict[str, Any]:
        """Return the options of the sampler, for cells that are perturbed at their start or not."""
        return options

    def _sets(
        self, request: PredictionRequest, cells: Population, *, perturbed: bool = False
    ) -> Iterator[RequestedSets]:
        """Yield the sets of a request, on the device of the network."""
        return sets_of(
            request,
            cells,
            self.vocabulary,
            centres=partial(self._centres, cells=cells),
            perturbed=perturbed,
            device=next(self.module.parameters()).device,
        )

    def _centres(self, context: Ints, cells: Population) -> NDArray[np.float32]:
        """Return (n, n_dims) the control means of contexts, in the space of the network."""
        return self.space.encode(control_means(context, cells, self._with_controls(cells)))

    def _with_controls(self, cells: Population) -> Population:
        return cells if cells.labels.is_control.any() else self.cells

    # -- files -------------------------------------------------------------------------------------

    def _entry(self) -> dict[str, Any]:
        own = ("seed", "response_share", "refitted", "config")
        return {
            "trained": bool(self.is_trained_),
            **{name: getattr(self, name) for name in own},
            "setup": dict(self.registry_["setup_args"]),
            "vocabulary": self.vocabulary.to_dict(),
            "expression": self.expression.to_dict(),
            "space": self.space.to_dict(),
            "weights": self.module.state_dict(),
            "history": self.history_,
        }

    def _restore(self, entry: dict[str, Any], adata: AnnData | None) -> None:
        self.vocabulary = Vocabulary.from_dict(entry["vocabulary"])
        self.expression = Expression.from_dict(entry["expression"])
        self.cells = None
        if adata is None:
            registry = {"setup_args": entry["setup"], "field_registries": {}}
            BaseModelClass.__init__(self, registry=registry)
        else:
            materialize_view(adata)
            self.cells = self._as_seen(known_population(adata, self.vocabulary))
            self._register(adata, entry["setup"])
            BaseModelClass.__init__(self, adata)
            self.vocabulary.tell_unknown(self.cells.names)
        self.space = space_from_dict(entry["space"])
        self.config, self.seed = entry["config"], entry["seed"]
        self.response_share, self.refitted = entry["response_share"], entry["refitted"]
        self._build(0)
        self.module.load_state_dict(entry["weights"])
        self.module.eval()
        self.is_trained_, self.history_ = entry["trained"], entry["history"]
