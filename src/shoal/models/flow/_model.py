"""Flow: flow matching from control to perturbed cells, on the principal components of the training cells."""

from __future__ import annotations

from copy import copy
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import torch
from scipy import sparse

from ..._random import RNGLike, spawn
from ..._validate import positive
from ...metrics._cells import densify
from ..base._map_diagnosis import MapMixin
from ..start._transferring import TransferModel
from ._config import flow_config
from ._counterfactual import Goal, add_origin, measured, under
from ._module import REFLOWED, FlowModule
from ._reflow import Pairs, PairStore, repeated, starts

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd
    from anndata import AnnData
    from numpy.typing import NDArray
    from torch import Tensor

    from ..._typing import Matrix
    from ...core._population import Population
    from ...training import SetSampler, Store
    from ..base._predictor import Wanted


class Flow(MapMixin, TransferModel):
    """A network that carries control cells to perturbed cells along learned paths.

    Network: FiLM/adaLN residual MLP on principal components, steered by the set of perturbations, dose, context and
    batch. Path, source, coupling, loss and sampler are those of the preset; couplings are computed within a condition
    and batch, never across.

    Parameters
    ----------
    adata
        Screen after ``Flow.setup_anndata(adata)``; :func:`shoal.tl.fit` does both.
    preset
        ``"flow"`` (default), ``"rectified"``, ``"otcfm"``, ``"stochastic"``, ``"sbcfm"``, ``"noise2data"`` or
        ``"cellflux"``; the user guide says what each is and where it comes from.
    embedding
        Vectors of the perturbations: a name that :func:`shoal.pp.embed` wrote, or a table; one-hot if ``None``.
    n_latent
        Principal components of the training cells that the network works on; ``None`` for the features themselves. What
        they leave out of a control cell stays as it was measured.
    rng
        Seed or generator of the initial weights.
    **config
        Passed to shoal.models.FlowConfig, over the preset: ``width``, ``depth``, ``coupling``, ``sampler``, say.

    Raises
    ------
    ValueError
        If the preset or the value of a setting is not known, or there is nothing to learn from.
    TypeError
        If there is no such setting.
    KeyError
        If the embedding does not exist, or a perturbation of training has no vector in it.

    Examples
    --------
    >>> import shoal as sh
    >>> adata = sh.ds.simulate(n_perturbations=4, contexts=2, rng=0)
    >>> sh.pp.annotate(adata, "perturbation", control="control", context_key="context")
    >>> sh.pp.prepare(adata, normalize="log1p", n_comps=10)
    >>> model = sh.tl.fit(adata, "flow", max_steps=20, config={"n_latent": 10, "width": 32})
    >>> model.predict(["P1"], n_cells=50).shape
    (50, 500)
    """

    _pairs: Pairs | None = None  # while a reflow trains on them
    defaults: ClassVar[dict[str, Any]] = {"max_steps": 800, "lr": 2e-3, "weight_decay": 0.1}
    options: ClassVar[tuple[str, ...]] = ("n_steps", "sampler", "guidance", "eps0", "cross_context")

    def __init__(
        self,
        adata: AnnData,
        *,
        preset: str | None = None,
        embedding: str | pd.DataFrame | None = None,
        n_latent: int | None = 50,
        rng: RNGLike = 0,
        **config: Any,
    ) -> None:
        preset = "flow" if preset is None else preset
        flow_config(preset, config)
        super().__init__(
            adata, embedding=embedding, n_latent=n_latent, rng=rng, preset=preset, **config
        )

    def make_network(
        self, n_dims: int, n_vector: int, n_contexts: int, n_batches: int
    ) -> FlowModule:
        """Return the flow of the preset, with the changes that were asked for."""
        changes = {k: v for k, v in self.config.items() if k != "preset"}
        config = self._with_view(flow_config(self.config["preset"], changes), n_dims)
        return FlowModule(n_dims, n_vector, n_contexts, n_batches, config=config)

    # -- reflow ------------------------------------------------------------------------------------------------------

    def reflow(
        self,
        max_steps: int | None = None,
        *,
        n_pairs: int = 256,
        n_steps: int = 100,
        rng: RNGLike = 0,
        **settings: Any,
    ) -> Self:
        """Train a copy on the pairs that this flow makes: straighter paths, followed in few steps (rectified flow).

        Controls of the contexts and batches of each training condition, and what else the flow begins at, are carried to
        where this flow takes them, and the copy, which starts from the trained weights, learns to go there straight. It
        predicts, is saved and is loaded as any
        flow, in 4 steps unless told otherwise, and may be reflowed again. This flow stays as it is.

        Parameters
        ----------
        max_steps
            Steps of the optimizer; half of those of a flow if ``None``.
        n_pairs
            Pairs of each condition.
        n_steps
            Steps in which the pairs are made, with Heun's method; they should be accurate.
        rng
            Seed or generator of the pairs, the batches and the noise.
        **settings
            Passed to shoal.models.Flow.train; ``lr`` is half of a flow's unless given. With `checkpoint_dir`, the same call
            with ``resume=True`` goes on after an interruption.

        Returns
        -------
        The new model. Guidance is built into its pairs: it takes no ``guidance`` of its own.

        Raises
        ------
        ValueError
            If the model is not trained, or is a flow with noise on the way (``gamma``), whose pairs are not those of
            straight paths.
        TypeError
            If a setting is not known.

        References
        ----------
        liu2023flow
        """
        self._check_trained()
        positive(n_pairs, name="n_pairs")
        of_pairs, of_training = spawn(rng, 2)
        flow = copy(self)
        flow.module, flow.config = self.module.reflowed(), {**self.config, **REFLOWED}
        flow.is_trained_, flow.seed, flow.history_ = False, None, None
        flow._pairs = self._make_pairs(int(n_pairs), n_steps, of_pairs)
        half = {"max_steps": self.defaults["max_steps"] // 2 if max_steps is None else max_steps}
        try:
            flow.train(**half, rng=of_training, **{"lr": self.defaults["lr"] / 2, **settings})
        finally:
            del flow._pairs
        return flow

    def _make_pairs(self, n_pairs: int, n_steps: int, rng: np.random.Generator) -> Pairs:
        conditions, wanted = starts(self.cells, self.vocabulary, n_pairs, rng)
        unique, back = np.unique(wanted.source, return_inverse=True)
        generator = torch.Generator(device="cpu").manual_seed(int(rng.integers(2**62)))
        ends = partial(self._ends, n_steps=n_steps, generator=generator)
        pairs = [ends(self._read(unique)[back], wanted)]
        if self.module.config.cross_context:
            begin = self._relatives.starts(wanted, self.cells, self.vocabulary, rng)
            again = np.flatnonzero(begin[::n_pairs] >= 0)
            if len(again):
                begin, moved = begin[begin >= 0], wanted.take(begin >= 0)
                start = self._moved(self.cells.values(begin), begin, moved, self.cells)
                pairs.append(ends(self.space.encode(start), moved, perturbed=True))
                conditions = repeated(conditions, again)
        start, end, centre = (torch.cat(parts) for parts in zip(*pairs, strict=True))
        return Pairs(conditions, start, end, centre[::n_pairs])

    def _ends(
        self,
        source: NDArray[np.float32],
        wanted: Wanted,
        *,
        perturbed: bool = False,
        n_steps: int,
        generator: torch.Generator,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return where the flow begins, where it ends, and the centre that it is told, each (n, n_dims)."""
        begun = torch.from_numpy(source)
        start, end = torch.empty_like(begun), torch.empty_like(begun)
        for rows, real, condition, batch_index in self._in_sets(
            wanted, self.cells, perturbed=perturbed
        ):
            here = begun[rows].to(batch_index.device)
            made = self.module.pairs(
                here, condition, batch_index, generator=generator, n_steps=n_steps
            )
            for values, found in zip((start, end), made, strict=True):
                values[rows[real]] = found.float().cpu()[real]
        return start, end, torch.from_numpy(self._centres(wanted.context, self.cells))

    def _store(self, store: str, sampler: SetSampler) -> Store:
        cells = super()._store(store, sampler)
        if self.module.config.coupling != "none":
            return cells
        if self._pairs is None:
            msg = (
                "coupling='none' trains on pairs made earlier, and there are none: reflow() makes them and trains on them; "
                "to learn from the cells themselves, choose another coupling in a new Flow"
            )
            raise ValueError(msg)
        return PairStore(self._pairs, cells, sampler)

    def _options_perturbed(self, options: dict[str, Any]) -> dict[str, Any]:
        """Follow the context all the way, unless told otherwise: told no perturbation, a flow has nothing else to follow."""
        fully = {name: w for name, w in self.module.guidance.items() if name != "context"}
        return {**options, "guidance": options.get("guidance") or fully}

    # -- counterfactuals ---------------------------------------------------------------------------------------------

    def counterfactual(
        self,
        adata: AnnData,
        perturbations: str | Sequence[str],
        *,
        context: str | None = None,
        dose: float | None = None,
        n_steps: int = 50,
        sampler: str = "heun",
        guidance: Mapping[str, float] | None = None,
    ) -> AnnData:
        """Carry measured perturbed cells back to where they began, and forth again under another perturbation.

        What the components leave out of a cell stays as it was measured. That the way of the flow is the way of the cell is
        an assumption, which no unpaired data can test.

        Parameters
        ----------
        adata
            Screen with perturbed cells; its control cells, if there are some, say where the controls of a context lie, and
            are not carried (`transport` does that).
        perturbations
            Names to put each cell under; a combination joins single ones. The name of the control means the way back
            alone: the cell without its perturbation.
        context
            Context in which the other perturbations act; that of each cell if ``None``. Only the response is that of the
            context: the way between the controls of two contexts is not known.
        dose
            Dose of the other perturbations; that of each cell if ``None``.
        n_steps, sampler
            How the flow is followed, each way.
        guidance
            As in `predict`, on both ways.

        Returns
        -------
        AnnData
            One row per perturbed cell of `adata` and name, in the order of the names and within them of `adata`. ``obs`` has
            the columns of the screen with the new condition, ``source``, the name of the measured cell, and its condition
            in the same columns with ``source_`` before them.

        Raises
        ------
        KeyError
            If a perturbation, of the cells or asked for, has no vector, there is no such context, or features of
            training are missing.
        ValueError
            If the model is not trained, no cell is perturbed, the flow has no way back (``sampler="sde"``, or a network
            that is told the mean of the controls), or it begins at noise and the way back alone is asked for.
        """
        self._check_trained()
        self._check_options({} if guidance is None else {"guidance": guidance})
        cells = self._population(adata)
        own = measured(cells)
        self._refuse([own.names[code] for code in np.unique(own.perturbation)])
        goals = self._goals(perturbations, context, dose)
        options = {"n_steps": n_steps, "sampler": sampler, "guidance": guidance}
        nothing = np.random.default_rng(0)  # is drawn
        parts = [self._in_blocks(own, cells, nothing, {**options, "goal": goal}) for goal in goals]
        back = np.argsort(own.source)
        own, control = own.take(back), cells.screen.control[0]
        values = [part[back] for part in parts]
        stacked = (
            sparse.vstack(values, format="csr")
            if all(map(sparse.issparse, values))
            else np.concatenate([densify(part) for part in values])
        )
        made = self._as_adata(stacked, under(own, [goal.name or control for goal in goals]), cells)
        add_origin(made, own, cells, goals)
        return made

    def _goals(
        self, perturbations: str | Sequence[str], context: str | None, dose: float | None
    ) -> list[Goal]:
        """Check what cells are to be put under, as `predict` does."""
        screen, config = self.vocabulary.screen, self.module.config
        several = [perturbations] if isinstance(perturbations, str) else list(perturbations)
        names = list(dict.fromkeys(screen.canonical(str(name)) for name in several))
        others = [name for name in names if name != screen.control[0]]
        if others or not names:
            self._refuse(self._names(others, self.cells))
        noisy = config.source == "noise" or (
            config.source == "control+noise" and config.noise_at_sampling
        )
        if len(others) < len(names) and noisy:
            msg = (
                f"this flow begins at source={config.source!r}, so its way back does not end at a control cell; ask for a "
                "perturbation, or train a flow with source='control'"
            )
            raise ValueError(msg)
        if context is not None:
            self._context_code(context, self.cells)
        if dose is not None:
            dose = self._dose(dose, self.cells)
        return [Goal(None if name == screen.control[0] else name, context, dose) for name in names]

    def _generate(
        self,
        wanted: Wanted,
        cells: Population,
        rng: np.random.Generator,
        *,
        goal: Goal | None = None,
        **options: Any,
    ) -> Matrix:
        """Generate cells or, with a goal, carry measured ones to it."""
        if goal is None:
            return super()._generate(wanted, cells, rng, **options)
        start = cells.values(wanted.source)
        source = torch.from_numpy(self.space.encode(start))
        z = torch.empty_like(source)
        for rows, real, condition, batch_index in self._in_sets(wanted, cells):
            here = source[rows].to(batch_index.device)
            if goal.name is None:
                made = self.module.invert(here, condition, batch_index, **options)
            else:
                other = goal.told(wanted, rows[:, 0], cells, self.vocabulary, condition)
                made = self.module.counterfactual(here, condition, other, batch_index, **options)
            z[rows[real]] = made.float().cpu()[real]
        values = self.space.decode(z.numpy(), start)
        return values.clip(min=0) if self.vocabulary.nonnegative else values

    def _check_options(self, options: dict[str, Any]) -> None:
        super()._check_options(options)
        if self.module.config.coupling == "none" and options.get("guidance"):
            msg = "guidance is built into the pairs of a reflowed flow; give it to the flow that makes them: config={'guidance': ...}"
            raise ValueError(msg)
