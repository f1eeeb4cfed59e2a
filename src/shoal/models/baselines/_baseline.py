"""What all baselines share: set up, train, save and load, in numpy alone."""

from __future__ import annotations

import json
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from ..._staging import staged
from ...core._matrix import choose
from ...core._population import Population, population
from ...core._screen import resolve
from ..base._learning import known_population, learn_vocabulary
from ..base._predictor import Predictor
from ..base._vocabulary import Vocabulary

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from anndata import AnnData
    from numpy.typing import NDArray

    from ...core._screen import Screen

FORMAT = "baseline/1"
ENTRY, ARRAYS = "baseline.json", "baseline.npz"  # the two files of a saved baseline
VECTORS = "vocabulary_vectors"  # array of the vocabulary among those of the baseline
_SETUPS: dict[
    tuple[type, int], tuple[weakref.ref[AnnData], tuple[Screen, str | None, str | None]]
] = {}  # class, id


class Baseline(Predictor):
    """A model that is trained in one pass over the cells and has nothing to tune by gradient.

    It has the face of the other models: ``setup_anndata``, ``train``, ``predict``, ``twins``,
    ``save`` and ``load``. Only training cells and training controls are looked at (``obs["split"]
    == "train"``; all where there is no split).
    """

    name: ClassVar[str] = ""  # of the registry
    needs: ClassVar[str] = (
        ""  # why some perturbations cannot be predicted, and what can predict them
    )

    def __init__(self, adata: AnnData):
        self._start(adata)

    def _start(
        self, adata: AnnData, *, embedding: str | pd.DataFrame | None = None, **params: Any
    ) -> None:
        remembered = _SETUPS.get((type(self), id(adata)))
        is_it = remembered is not None and remembered[0]() is adata
        screen, layer, use_rep = remembered[1] if is_it else (resolve(adata), None, None)
        self._cells: Population | None = population(adata, screen, layer=layer, use_rep=use_rep)
        self.vocabulary = learn_vocabulary(
            self._cells, layer=layer, use_rep=use_rep, embedding=embedding
        )
        self.params = params
        self.arrays: dict[str, NDArray[Any]] = {}
        self.is_trained = False

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
        """Say which columns and values of an AnnData this class reads.

        Without this call it reads ``X``, and the columns that `shoal.pp.annotate` recorded.

        Parameters
        ----------
        adata
            Screen; it is not changed.
        perturbation_key, control
            Column of perturbations and label(s) of the controls; from `shoal.pp.annotate` where
            left out.
        layer, use_rep
            Slot of ``layers`` or of ``obsm`` to read; ``X`` if both are left out.

        Raises
        ------
        KeyError
            If a column or slot does not exist.
        ValueError
            If the column or the control labels are neither given nor recorded.
        """
        screen = resolve(adata, perturbation_key, control=control)
        choose(adata, layer=layer, use_rep=use_rep)
        own = (cls, id(adata))
        _SETUPS[own] = (
            weakref.ref(adata, lambda _: _SETUPS.pop(own, None)),
            (screen, layer, use_rep),
        )

    def train(self) -> None:
        """Learn from the training cells.

        Raises
        ------
        ValueError
            If there is too little to learn from.
        """
        self.arrays = self._fit(self.cells)
        self._ready()
        self.is_trained = True

    def _fit(self, cells: Population) -> dict[str, NDArray[Any]]:
        """Return what was learned: all that `save` has to store."""
        raise NotImplementedError

    def _ready(self) -> None:
        """Unpack `arrays`, after training and after loading."""

    @property
    def cells(self) -> Population:
        """The screen that the model was made or loaded with."""
        if self._cells is None:
            msg = (
                "the model was loaded without data: pass adata=, whose control cells predictions "
                "start from"
            )
            raise ValueError(msg)
        return self._cells

    @property
    def history(self) -> dict[str, pd.DataFrame]:
        """Empty: a baseline has no training curve."""
        return {}

    def __repr__(self) -> str:
        v, params = self.vocabulary, "".join(f", {k}={x!r}" for k, x in self.params.items())
        contexts = f"{len(v.contexts)} contexts, " if v.screen.context_key else ""
        state = "trained" if self.is_trained else "not trained"
        return (
            f"{type(self).__name__}({self.name!r}{params}): {contexts}{len(v.features)} features; "
            f"{state}"
        )

    # -- what can be predicted ---------------------------------------------------------------------

    def _refuse(self, names: Sequence[str]) -> None:
        if not self.is_trained:
            msg = f"this {type(self).__name__} is not trained yet; call .train() first"
            raise ValueError(msg)
        lost = self._unknown(names)
        if lost:
            some = ", ".join(map(repr, lost[:12])) + (
                f" and {len(lost) - 12} more" if len(lost) > 12 else ""
            )
            msg = f"{self.name} cannot predict {some}: {self.needs}"
            raise ValueError(msg)

    def _unknown(self, names: Sequence[str]) -> list[str]:
        """Return the perturbations that the baseline cannot predict."""
        return []

    # -- files -------------------------------------------------------------------------------------

    def save(self, dir_path: str | Path, *, overwrite: bool = False) -> None:
        """Write the trained model: ``baseline.json`` and ``baseline.npz``, without pickles.

        Parameters
        ----------
        dir_path
            Folder; it is made where it does not exist.
        overwrite
            Whether to replace a baseline that is there.

        Raises
        ------
        ValueError
            If the model is not trained.
        FileExistsError
            If the folder exists and `overwrite` is not set.
        """
        from ... import __version__

        folder = Path(dir_path)
        self._refuse([])
        if folder.exists() and not overwrite:
            msg = (
                f"{folder} exists; pass overwrite=True to replace the model in it, or another "
                "folder"
            )
            raise FileExistsError(msg)
        known = self.vocabulary.to_dict()
        vectors = known.pop("vectors")
        entry = {
            "format": FORMAT,
            "version": __version__,
            "model": self.name,
            "params": self.params,
        }
        with staged(folder) as stage:
            np.savez_compressed(stage / ARRAYS, **self.arrays, **{VECTORS: vectors})
            (stage / ENTRY).write_text(
                json.dumps({**entry, "vocabulary": known}, indent=1), encoding="utf-8"
            )

    @classmethod
    def load(cls, dir_path: str | Path, adata: AnnData | None = None) -> Self:
        """Read what `save` wrote.

        Parameters
        ----------
        dir_path
            Folder.
        adata
            Screen whose control cells predictions start from; without it, pass one to every
            prediction.

        Raises
        ------
        KeyError
            If `adata` lacks a column or a feature of training.
        FileNotFoundError
            If there is no baseline in the folder.
        ValueError
            If it is another one.
        """
        folder = Path(dir_path)
        if not (folder / ENTRY).exists():
            msg = f"there is no {ENTRY} in {folder}; .save(folder) of a baseline writes it"
            raise FileNotFoundError(msg)
        entry = json.loads((folder / ENTRY).read_text(encoding="utf-8"))
        if entry["format"] != FORMAT or entry["model"] != cls.name:
            msg = (
                f"{folder} holds a {entry['model']!r} of format {entry['format']!r}, not a "
                f"{cls.name!r} of {FORMAT!r}"
            )
            raise ValueError(msg)
        with np.load(folder / ARRAYS, allow_pickle=False) as stored:
            arrays = dict(stored)
        model = cls.__new__(cls)
        model.vocabulary = Vocabulary.from_dict(
            {**entry["vocabulary"], "vectors": arrays.pop(VECTORS)}
        )
        model.params, model.arrays = entry["params"], arrays
        model._cells = None if adata is None else known_population(adata, model.vocabulary)
        model._ready()
        model.is_trained = True
        return model
