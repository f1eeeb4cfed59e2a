"""CellFlux: flow matching from images of control cells to images of perturbed cells."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ..._logging import logger
from ...core._images import ImageScale
from ..base._response_share import known_shares
from ..base._sets import condition_names
from ..flow._flow_model import FlowModel
from ..post._postprocessing import Postprocessing
from ..start._start import Controls
from ._config import RECIPES
from ._module import CellFluxModule
from ._states import states
from ._unit_images import UnitImages, about, scale_like

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd
    from anndata import AnnData

    from ..._random import RNGLike
    from ..._typing import Floats, Ints, Matrix
    from ...core._population import Population
    from ..base._config import Recipes
    from ..base._requests import PredictionRequest
    from ..space._space import Space
    from ..start._start import Start
    from ._config import CellFluxConfig


class CellFlux(FlowModel):
    """A network that carries images of control cells to images of perturbed cells.

    It is a :class:`Flow` with another network, a U-Net, in another space, that of images. Paths,
    couplings, losses, guidance, samplers, counterfactuals and reflow are the same.

    The images are crops around single cells, (n_obs, C, H, W) in a slot of ``obsm``, which
    :func:`shoal.pp.prepare_images` has looked at. They are not changed. The network sees them on
    the scale on which the control cells of each plate lie between -1 and 1. Predicted images have
    the type and the range of those that were given.

    Parameters
    ----------
    adata
        Screen after ``CellFlux.setup_anndata(adata, use_rep="crops")``; :func:`shoal.tl.fit` does
        both.
    preset
        ``"shoal"`` (default) or ``"published"``. The user guide says what each is and where it
        comes from.
    embedding
        Vectors of the perturbations: a name that :func:`shoal.pp.embed` wrote, or a table. One-hot
        if ``None``.
    context_embedding
        Vectors of the contexts, which the network reads instead of their names: a name that
        :func:`shoal.pp.embed_contexts` wrote, or a table. Not with ``covariates="perturbation"``,
        as of the preset ``"published"``, which reads no contexts.
    rng
        Seed or generator of the initial weights.
    **config
        Changes of the preset's settings, which shoal.models.CellFluxConfig lists: ``width``,
        ``coupling``, ``path_start``, ``latent``, say.

    Attributes
    ----------
    condition_shares
        Share of the predicted cells that are moved, of conditions of training whose cells can
        hardly be told from controls: ``{"drug A | dose 1": 0.2}``. All others have 1. It is empty
        where ``response_share`` was a number, and ``None`` before training.

    Raises
    ------
    ValueError
        If the preset or the value of a setting is not known, there is nothing to learn from, the
        slot holds no images, or images cannot be halved as often as the network halves them.
    TypeError
        If there is no such setting.
    KeyError
        If the images were not prepared, the embedding does not exist, or a perturbation of training
        has no vector in it.

    References
    ----------
    zhang2025cellflux
    """

    recipes: ClassVar[Recipes[CellFluxConfig]] = RECIPES
    options: ClassVar[tuple[str, ...]] = ("n_steps", "sampler", "guidance", "eps0")
    takes_images: ClassVar[bool] = True
    takes_context_vectors: ClassVar[bool] = True
    state: ClassVar[tuple[str, ...]] = ("trained_images", "condition_shares")
    trained_images: dict[str, Any] | None = None
    condition_shares: Mapping[str, float] | None = None

    # a function of a model, in its own file
    states = states

    def __init__(
        self,
        adata: AnnData,
        *,
        preset: str | None = None,
        embedding: str | pd.DataFrame | None = None,
        context_embedding: str | pd.DataFrame | None = None,
        n_latent: None = None,
        rng: RNGLike = 0,
        **config: Any,
    ) -> None:
        if n_latent is not None:
            msg = (
                f"n_latent={n_latent!r} asks for principal components, which images do not have; "
                "latent='autoencoder' and latent_channels= give CellFlux a smaller space"
            )
            raise ValueError(msg)
        super().__init__(
            adata,
            preset=preset,
            embedding=embedding,
            context_embedding=context_embedding,
            n_latent=None,
            rng=rng,
            **config,
        )

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
        """Register an AnnData with this class; ``tl.fit`` does it for you.

        Parameters
        ----------
        adata
            Screen with images that :func:`shoal.pp.prepare_images` has looked at.
        perturbation_key, control
            Column and control label(s); by default as recorded by :func:`shoal.pp.annotate`.
        layer
            Not of images: ``None``.
        use_rep
            Slot of ``obsm`` with the images, (n_obs, C, H, W).

        Raises
        ------
        KeyError
            If a column or slot does not exist, or the images were not prepared.
        ValueError
            If no slot is named, or it holds no images, or no column or control is named.
        """
        if layer is not None or use_rep in (None, "X"):
            msg = (
                "CellFlux learns from images, (n_obs, channels, height, width), in a slot of obsm: "
                "name it, as in sh.tl.fit(adata, 'cellflux', use_rep='crops')"
            )
            raise ValueError(msg)
        ImageScale.read(adata, use_rep)
        super().setup_anndata(adata, perturbation_key, control=control, use_rep=use_rep)

    def make_network(
        self, n_dims: int, n_vector: int, n_contexts: int, n_batches: int
    ) -> CellFluxModule:
        """Return the network of the flow."""
        reads_contexts = self.settings.conditioning.covariates != "perturbation"
        if self.vocabulary.n_context_vector and not reads_contexts:
            msg = (
                "context_embedding= was given to a CellFlux that reads no contexts "
                "(covariates='perturbation', as of the preset 'published'): leave it out, or pass "
                "config={'covariates': 'all'} or the preset 'shoal'"
            )
            raise ValueError(msg)
        sizes, pixels = (n_vector, n_contexts, n_batches), self.settings.space.latent == "pixels"
        quantum = self.trained_images["quantum"] if pixels else None
        return CellFluxModule(
            self.space.shape,
            *sizes,
            config=self.settings,
            quantum=quantum,
            n_context_vector=self.vocabulary.n_context_vector,
        )

    def make_start(self) -> Start:
        """Return where predictions start: at control cells."""
        return Controls()

    def make_post(self) -> Postprocessing:
        """Return what is done to predicted images: nothing."""
        return Postprocessing()

    def _fit_space(self, train: Ints, n_latent: int | None, rng: np.random.Generator) -> Space:
        chosen = self.settings.space
        if chosen.latent == "pixels":
            return super()._fit_space(train, None, rng)
        from ..space._image_autoencoder import fit_image_autoencoder

        return fit_image_autoencoder(
            self.cells.rows,
            train,
            n_channels=chosen.latent_channels,
            n_steps=chosen.latent_steps,
            keeps_details=self.settings.interpolant.path_start == "control",
            rng=rng,
        )

    def _as_seen(self, cells: Population) -> Population:
        """Return cells whose images are on the scale of the controls of their plate."""
        scale = ImageScale.read(cells.adata, cells.use_rep)
        if self.trained_images is None:
            self.trained_images = about(scale)
        scale.require_like(scale_like(self.trained_images))
        images = UnitImages(cells.rows, scale, scale.plates_of(cells.adata))
        return replace(cells, rows=images, known_scale=cells.scale)

    def _hold_back(self, *, auto: bool) -> None:
        """Find the conditions of training that hardly respond, and how many of their cells do."""
        self.condition_shares = {}
        if not auto:
            return
        shares = known_shares(self, rng=np.random.default_rng((self.seed, 9)))
        self.condition_shares = shares
        if shares:
            logger.info(
                "training images of these conditions can hardly be told from controls, and only "
                "some of their predicted cells are moved: %s; response_share=1 turns it off",
                ", ".join(f"{name!r} {share:.0%}" for name, share in shares.items()),
            )

    def _share_of(self, request: PredictionRequest, cells: Population) -> float | Floats:
        """Return the share of cells that respond; of quiet conditions fewer do."""
        share = super()._share_of(request, cells)
        if not self.condition_shares:
            return share
        own = [self.condition_shares.get(name, 1.0) for name in condition_names(request, cells)]
        return share * np.array(own)

    def _as_given(self, values: Matrix, request: PredictionRequest, cells: Population) -> Matrix:
        """Return predicted images as intensities, in the type and range of the given ones."""
        return cells.rows.given(values, request.source)

    def _as_taken(self, cells: Population, rows: Ints) -> Matrix:
        return cells.rows.rows.take(rows)
