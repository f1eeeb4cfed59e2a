"""Flow: flow matching from control to perturbed cells, on their principal components."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from ..base._map_diagnosis import diagnose, interpolate
from ..base._preset_model import PresetModel
from ._config import RECIPES
from ._counterfactual import counterfactual
from ._module import FlowModule
from ._reflow import reflow

if TYPE_CHECKING:
    from ...training import SetSampler, Store
    from ..base._config import Recipes
    from ._config import FlowConfig


class Flow(PresetModel):
    """A network that carries control cells to perturbed cells along learned paths.

    The network is a residual MLP on principal components. The set of perturbations, the dose, the
    context and the batch steer it (FiLM/adaLN). Path, source, coupling, loss and sampler are those
    of the preset. Couplings are computed within a condition and batch, never across.

    Parameters
    ----------
    adata
        Screen after ``Flow.setup_anndata(adata)``; :func:`shoal.tl.fit` does both.
    preset
        ``"flow"`` (default), ``"rectified"``, ``"otcfm"``, ``"stochastic"``, ``"sbcfm"``,
        ``"noise2data"`` or ``"cellflux"``. The user guide says what each is and where it comes
        from.
    embedding
        Vectors of the perturbations: a name that :func:`shoal.pp.embed` wrote, or a table. One-hot
        if ``None``.
    context_embedding
        Vectors of the contexts, which the network reads instead of their names: a name that
        :func:`shoal.pp.embed_contexts` wrote, or a table.
    n_latent
        Principal components of the training cells that the network works on; ``None`` for the
        features themselves. What they leave out of a control cell stays as it was measured.
    rng
        Seed or generator of the initial weights.
    **config
        Changes of the preset's settings, which shoal.models.FlowConfig lists: ``width``, ``depth``,
        ``coupling``, ``sampler``, say.

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

    recipes: ClassVar[Recipes[FlowConfig]] = RECIPES
    takes_context_vectors: ClassVar[bool] = True
    options: ClassVar[tuple[str, ...]] = ("n_steps", "sampler", "guidance", "eps0", "cross_context")

    # functions of a model, each in its own file
    interpolate = interpolate
    diagnose = diagnose
    counterfactual = counterfactual
    reflow = reflow

    @property
    def carries_cells(self) -> bool:  # type: ignore[override]
        """Whether paths begin at cells, and not at noise."""
        return self.module.config.interpolant.path_start != "noise"

    def make_network(
        self, n_dims: int, n_vector: int, n_contexts: int, n_batches: int
    ) -> FlowModule:
        """Return the network of the flow."""
        return FlowModule(
            n_dims,
            n_vector,
            n_contexts,
            n_batches,
            config=self.settings,
            n_context_vector=self.vocabulary.n_context_vector,
        )

    def _settled_config(self) -> dict[str, Any]:
        return self._with_n_visible()

    def _training_store(self, sampler: SetSampler, store: str) -> Store:
        if self.module.config.loss.coupling == "none":
            msg = (
                "coupling='none' trains on pairs made earlier, and there are none: reflow() makes "
                "them and trains on them; to learn from the cells themselves, choose another "
                "coupling in a new Flow"
            )
            raise ValueError(msg)
        return super()._training_store(sampler, store)

    def _sampler_options(self, options: dict[str, Any], *, perturbed: bool) -> dict[str, Any]:
        """Follow the context plainly for perturbed cells, which have nothing else to follow."""
        if not perturbed or options.get("guidance") not in (None, {}):
            return options
        guidance = self.module.guidance
        if isinstance(guidance, Mapping):
            guidance = {name: weight for name, weight in guidance.items() if name != "context"}
        return {**options, "guidance": guidance}

    def _check_options(self, options: dict[str, Any]) -> None:
        super()._check_options(options)
        if self.module.config.loss.coupling == "none" and options.get("guidance") not in (
            None,
            1,
            {},
        ):
            msg = (
                "guidance is built into the pairs of a reflowed flow; give it to the flow that "
                "makes them: config={'guidance': ...}"
            )
            raise ValueError(msg)
