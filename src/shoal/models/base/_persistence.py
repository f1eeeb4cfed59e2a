"""Saving and loading, of baselines and networks alike, with or without cells."""

from __future__ import annotations

from functools import cached_property
from inspect import getattr_static
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from ..._validate import check_adata
from ._calibration import Calibration
from ._files import as_read, entry_of, read_model, saved_adata, write_model
from ._plain import HOLDS
from ._registry import class_of_saved, name_of

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

    from ...core._population import Population


class Stored:
    """Saving and loading of a model.

    A model gives `_entry`, what is saved of it, and `_restore`, which fills an empty model with
    that. ``__init__`` is not called when a model is loaded. What a subclass keeps in attributes
    of its own, it declares.

    Attributes
    ----------
    state
        Names of further attributes that are saved: numbers, text, arrays, tensors, scipy sparse
        matrices, DataFrames, and lists, tuples and dicts of these. They are there again before
        anything else of a loaded model is made. Names of base classes need not be repeated.
    not_saved
        Names of further attributes that a loaded model can do without, or makes again when it
        needs them.
    tuning
        Options that were tried before training, and their errors, as :func:`shoal.tl.fit` returns
        them; ``None`` if nothing was chosen.
    calibration
        Errors on conditions left out of training, which intervals go by; ``None`` if none were.
    """

    state: ClassVar[tuple[str, ...]] = ("tuning",)
    tuning: pd.DataFrame | None = None
    calibration: Calibration | None = None
    not_saved: ClassVar[tuple[str, ...]] = ("calibration",)  # it has a place of its own in the file
    options: ClassVar[tuple[str, ...]]
    _cells: Population | None

    @property
    def cells(self) -> Population:
        """The screen that the model was made or loaded with."""
        if self._cells is None:
            begin = (
                ", and pass cross_context=False to begin at its control cells"
                if "cross_context" in self.options
                else ""
            )
            msg = (
                f"this {type(self).__name__} was loaded without cells, and this call needs some: "
                f"load it with load(folder, adata), or pass adata= where predictions are asked "
                f"for{begin}"
            )
            raise ValueError(msg)
        return self._cells

    @cells.setter
    def cells(self, cells: Population | None) -> None:
        self._cells = cells

    def _entry(self) -> dict[str, Any]:
        """Return what is saved of the model: values that `state` may have."""
        raise NotImplementedError

    def _restore(self, entry: dict[str, Any], adata: AnnData | None) -> None:
        """Fill an empty model, which has its `state` already, with what `_entry` returned."""
        raise NotImplementedError

    def save(
        self, dir_path: str | Path, *, overwrite: bool = False, save_anndata: bool = False
    ) -> None:
        """Write the model into a folder: arrays, text and numbers only, no pickled objects.

        Parameters
        ----------
        dir_path
            Folder; it is made where it does not exist.
        overwrite
            Whether a model that is there may be replaced.
        save_anndata
            Whether to write the AnnData beside it; `load` then needs no other.

        Raises
        ------
        FileExistsError
            If the folder exists and `overwrite` is not set.
        OSError
            If the disk is full, say. A model that was there is still there.
        TypeError
            If a setting, or a value of `state`, is of a kind that a model file cannot hold.
        ValueError
            If the model is a baseline and not trained, was loaded without the cells that are to
            be saved, or could not be loaded again as it is: it has attributes that are neither in
            `state` nor in `not_saved`.
        """
        from ... import __version__

        entry = {"version": __version__, **as_entry(self)}
        self._check_complete(as_read(entry))
        adata = self.cells.adata if save_anndata else None
        write_model(Path(dir_path), entry, adata=adata, overwrite=overwrite)

    @classmethod
    def load(cls, dir_path: str | Path, adata: AnnData | None = None) -> Self:
        """Read a saved model of this class; `shoal.models.load` reads one of any class.

        Parameters
        ----------
        dir_path
            Folder that `save` wrote.
        adata
            Screen whose control cells predictions start from: the same columns and genes as in
            training; genes may come in another order. If ``None``, the one that was saved along,
            and no cells where there is none.

        Returns
        -------
        The model, on the processor; ``model.to_device("cuda")`` moves a network. Without cells,
        pass `adata` to every prediction.

        Raises
        ------
        FileNotFoundError
            If there is no model in the folder.
        KeyError
            If genes or columns of training are missing in `adata`.
        TypeError
            If `adata` is no AnnData.
        ValueError
            If the file is damaged, or the model is of another class.
        """
        entry = read_model(dir_path)
        if entry["class"] != cls.__name__:
            msg = (
                f"{dir_path} holds a {entry['class']}, not a {cls.__name__}: load it with that "
                "class, or with sh.models.load(folder)"
            )
            raise ValueError(msg)
        return cls._made_of(entry, saved_adata(Path(dir_path)) if adata is None else adata)

    @classmethod
    def _made_of(cls, entry: dict[str, Any], adata: AnnData | None) -> Self:
        """Return the model of an entry that `save` wrote."""
        if adata is not None:
            check_adata(adata)
        model = cls.__new__(cls)
        for name, value in entry["state"].items():
            setattr(model, name, value)
        if "calibration" in entry:
            model.calibration = Calibration.from_dict(entry["calibration"])
        model._restore(entry, adata)
        return model

    def _state(self) -> dict[str, Any]:
        names = _declared(type(self), "state")
        missing = [name for name in names if not hasattr(self, name)]
        if missing:
            msg = (
                f"{type(self).__name__}.state declares {', '.join(missing)}, which this model does "
                "not have: set it in __init__, or take it out of state"
            )
            raise ValueError(msg)
        values = {name: getattr(self, name) for name in names}
        own = vars(self)  # what a class has as None is not of this model
        return {n: value for n, value in values.items() if value is not None or n in own}

    def _check_complete(self, entry: dict[str, Any]) -> None:
        """Raise ``ValueError`` unless a model made of the entry has all attributes of this one."""
        cls = type(self)
        fix = (
            "name what a loaded model needs in the class attribute state, as in "
            "state = ('graph',), and what it can do without in not_saved"
        )
        try:
            again = self._made_of(entry, None)
        except (AttributeError, LookupError, NameError, TypeError, ValueError) as err:
            msg = f"a saved {cls.__name__} could not be loaded: {err}; {fix}"
            raise ValueError(msg) from err
        lost = set(vars(self)) - set(vars(again)) - set(_declared(cls, "not_saved"))
        lost -= {n for n in lost if isinstance(getattr_static(cls, n, None), cached_property)}
        if lost:
            msg = (
                f"save would lose attributes of this {cls.__name__}: {', '.join(sorted(lost))}; "
                f"{fix}. state may hold {HOLDS}"
            )
            raise ValueError(msg)


def load(folder: str | Path, adata: AnnData | None = None) -> Any:
    """Read a saved model of any registered class.

    A model of your own is found if its class was registered with `shoal.models.register` in this
    Python process. No code is run from the file.

    Parameters
    ----------
    folder
        Folder that ``model.save`` wrote.
    adata
        Screen whose control cells predictions start from: the same columns and genes as in
        training; genes may come in another order. If ``None``, the one that was saved along, and
        no cells where there is none.

    Returns
    -------
    The model, on the processor. Without cells it does these things:

    - ``predict`` and ``twins`` with their argument `adata`, and ``tl.predict``. A network that
      begins at the perturbation's cells of other contexts needs ``cross_context=False`` too.
    - ``save`` without ``save_anndata=True``.

    All else (``train``, ``transport``, ``counterfactual``) needs cells, and its error says so.

    Raises
    ------
    FileNotFoundError
        If there is no model in the folder.
    KeyError
        If genes or columns of training are missing in `adata`.
    ValueError
        If the file is damaged, or its class is not registered.
    ImportError
        If it is a network and the libraries of the extra ``models`` are not installed.

    Examples
    --------
    >>> import shoal as sh
    >>> from tempfile import mkdtemp
    >>> adata = sh.ds.simulate_gaussian(n_perturbations=4, n_dims=5, rng=0)
    >>> folder = mkdtemp()
    >>> sh.tl.fit(adata, "mean_shift").save(folder, overwrite=True)
    >>> sh.models.load(folder).predict("P1", adata=adata, n_cells=20).shape
    (20, 5)
    """
    entry = read_model(folder)
    return of_entry(entry, saved_adata(Path(folder)) if adata is None else adata)


def as_entry(model: Stored) -> dict[str, Any]:
    """Return what is saved of a model, also of one that is part of another."""
    errors = model.calibration
    return {
        "name": name_of(type(model)),
        "class": type(model).__name__,
        **model._entry(),
        **({} if errors is None else {"calibration": errors.to_dict()}),
        "state": model._state(),
    }


def of_entry(entry: dict[str, Any], adata: AnnData | None) -> Any:
    """Return the model that `as_entry` was given, with its class from the registry."""
    entry = entry_of(entry)
    return class_of_saved(entry["name"], entry["class"])._made_of(entry, adata)


def _declared(cls: type, name: str) -> tuple[str, ...]:
    """Return the names in a class attribute of a class and of its bases, each once."""
    several = [vars(base).get(name, ()) for base in reversed(cls.__mro__)]
    return tuple(dict.fromkeys(one for names in several for one in names))
