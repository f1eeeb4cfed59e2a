"""Flow: flow matching from control to perturbed cells, on the principal components of the training cells."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, ClassVar

from .._validate import one_of
from ._base import PerturbationModel
from ._flow_module import FlowModule
from ._flow_presets import PRESETS, FlowConfig, view_for
from ._sets import conditions_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd
    from anndata import AnnData

    from .._random import RNGLike


class Flow(PerturbationModel):
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

    defaults: ClassVar[dict[str, Any]] = {"max_steps": 800, "lr": 2e-3, "weight_decay": 0.1}
    options: ClassVar[tuple[str, ...]] = ("n_steps", "sampler", "guidance", "eps0")

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
        super().__init__(adata, embedding=embedding, n_latent=n_latent, rng=rng, preset=preset, **config)

    def make_network(self, n_dims: int, n_vector: int, n_contexts: int, n_batches: int) -> FlowModule:
        """Return the flow of the preset, with the changes that were asked for."""
        changes = {k: v for k, v in self.config.items() if k != "preset"}
        config = flow_config(self.config["preset"], changes)
        if config.view == "auto":  # decided once and kept: a loaded model must not count the cells of another screen
            self.config["view"] = self._view(n_dims)
            config = replace(config, view=self.config["view"])
        return FlowModule(n_dims, n_vector, n_contexts, n_batches, config=config)

    def _view(self, n_dims: int) -> int | None:
        """Return how many leading components the median condition has cells to learn the shape of."""
        if self.space.axes is None:  # features as they are: none comes first
            return None
        return min(n_dims, view_for(conditions_of(self.cells, self.cells.train, self.vocabulary).sizes))


def flow_config(preset: str, changes: Mapping[str, Any]) -> FlowConfig:
    """Return a preset with some changes.

    Raises
    ------
    ValueError
        If the preset or the value of a setting is not known.
    TypeError
        If there is no such setting.
    """
    one_of(preset, PRESETS, name="preset")
    known = [f.name for f in fields(FlowConfig)]
    odd = [name for name in changes if name not in known]
    if odd:
        msg = f"a flow has no setting {odd[0]!r}; beside preset, embedding and n_latent it takes {', '.join(known)}"
        raise TypeError(msg)
    return replace(PRESETS[preset], **changes)
