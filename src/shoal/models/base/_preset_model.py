"""A network that is made from a named recipe: presets, changes of their settings, and the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from ..post._postprocessing import Postprocessing
from ..start._other_contexts import OtherContexts
from ..start._start import Controls
from ._config import changed
from ._context_support import tell_support
from ._model import PerturbationModel
from ._sets import conditions_of
from ._visible import n_visible_for

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

    from ..._random import RNGLike
    from ..start._start import Start
    from ._config import Recipes


class PresetModel(PerturbationModel):
    """A network with presets.

    Its settings come in groups. ``start`` says where predictions start, ``post`` what is done to
    predicted values, and the other groups what the network is made of. A subclass gives its
    `recipes` and makes the network from `settings`.

    Attributes
    ----------
    recipes
        Presets of the model, and the settings of training that go with each.
    config
        ``preset``, and all settings by group, as plain values: what a saved model holds.
    """

    recipes: ClassVar[Recipes[Any]]

    def __init__(
        self,
        adata: AnnData,
        *,
        preset: str | None = None,
        embedding: str | pd.DataFrame | None = None,
        context_embedding: str | pd.DataFrame | None = None,
        n_latent: int | None = 50,
        rng: RNGLike = 0,
        **config: Any,
    ) -> None:
        preset = self.recipes.default if preset is None else preset
        plain = self.recipes.plain(self.recipes.configured(preset, config))
        super().__init__(
            adata,
            embedding=embedding,
            context_embedding=context_embedding,
            n_latent=n_latent,
            rng=rng,
            preset=preset,
            **plain,
        )
        tell_support(self.cells, self.vocabulary)

    @property
    def settings(self) -> Any:
        """All settings of the model, as its config class."""
        changes = {name: value for name, value in self.config.items() if name != "preset"}
        return self.recipes.configured(self.config["preset"], changes)

    @property
    def defaults(self) -> dict[str, Any]:  # type: ignore[override]
        """Settings of training, which are those of the preset."""
        return dict(self.recipes.training[self.config["preset"]])

    def make_start(self) -> Start:
        """Return where predictions start: at cells of other contexts, or at control cells."""
        share = self.settings.start.cross_context
        if not share or len(self.vocabulary.contexts) < 2:
            return Controls()
        where = (lambda: self.cells, lambda: self.trained_cells)
        return OtherContexts(*where, self.vocabulary, self.space, share)

    def make_post(self) -> Postprocessing:
        """Return what is done to predicted values."""
        settings = self.settings
        return Postprocessing(
            nonnegative=self.vocabulary.nonnegative,
            match_zeros=settings.post.match_zeros,
            renew_library=settings.post.renew_library,
            mean_shrinkage=settings.start.mean_shrinkage,
            expression=self.expression,
        )

    def _changed_config(self, **changes: Any) -> dict[str, Any]:
        """Return the config with some settings changed."""
        settings = changed(self.settings, changes)
        return {"preset": self.config["preset"], **self.recipes.plain(settings)}

    def _with_n_visible(self) -> dict[str, Any]:
        """Return the config with a number in place of ``n_visible="auto"``.

        It depends on the cells of training, so it is decided once: a loaded model may be given
        another screen.
        """
        if self.settings.network.n_visible != "auto":
            return self.config
        sizes = conditions_of(self.cells, self.cells.train, self.vocabulary).sizes
        return self._changed_config(n_visible=n_visible_for(self.space, sizes))
