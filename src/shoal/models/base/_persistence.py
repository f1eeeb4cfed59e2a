"""A network on disk: tensors, texts and numbers in one file that is read without unpickling any object."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pandas as pd
import torch

from ..._staging import staged

if TYPE_CHECKING:
    from anndata import AnnData

MODEL, ADATA = "model.pt", "adata.h5ad"
SCHEMA = "model/1"


class Stored:
    """Saving and loading; a model gives `_entry`, what there is to save, and `_restored`, how to make it again."""

    adata: AnnData

    def _entry(self) -> dict[str, Any]:
        raise NotImplementedError

    @classmethod
    def _restored(cls, entry: dict[str, Any], adata: AnnData) -> Self:
        raise NotImplementedError

    def save(
        self, dir_path: str | Path, *, overwrite: bool = False, save_anndata: bool = False
    ) -> None:
        """Write the model into a folder: tensors, texts and numbers only, no pickled objects.

        Parameters
        ----------
        dir_path
            Folder.
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
            If the model was given a setting that is neither number, text nor array.
        """
        write_model(
            Path(dir_path),
            self._entry(),
            adata=self.adata if save_anndata else None,
            overwrite=overwrite,
        )

    @classmethod
    def load(cls, dir_path: str | Path, adata: AnnData | None = None) -> Self:
        """Read a saved model.

        Parameters
        ----------
        dir_path
            Folder that `save` wrote.
        adata
            Screen whose control cells predictions start from: the same columns and genes as in training (genes may come
            in another order). May be left out if it was saved along.

        Returns
        -------
        The model, on the processor; ``model.to_device("cuda")`` moves it.

        Raises
        ------
        FileNotFoundError
            If there is no model, or no `adata` was given or saved.
        KeyError
            If genes or columns of training are missing in `adata`.
        ValueError
            If the model is of another class.
        """
        folder = Path(dir_path)
        entry = read_model(folder)
        if entry["class"] != cls.__name__:
            msg = (
                f"{folder} holds a {entry['class']}, not a {cls.__name__}: load it with that class"
            )
            raise ValueError(msg)
        return cls._restored(entry, _read_adata(folder) if adata is None else adata)


def write_model(
    folder: Path, entry: dict[str, Any], *, adata: AnnData | None, overwrite: bool
) -> None:
    """Write ``model.pt`` (and ``adata.h5ad`` where one is given) into a folder; an interruption leaves nothing half-done.

    Raises
    ------
    FileExistsError
        If the folder exists and `overwrite` is not set.
    OSError
        If it cannot be written to.
    """
    if folder.exists() and not overwrite:
        msg = f"{folder} exists; pass overwrite=True to replace the model in it, or another folder"
        raise FileExistsError(msg)
    with staged(folder) as stage:
        torch.save({"schema": SCHEMA, **_tensors(entry)}, stage / MODEL)
        if adata is not None:
            adata.write_h5ad(stage / ADATA)
        elif (folder / MODEL).exists():
            (folder / ADATA).unlink(missing_ok=True)  # that of the model which is replaced


def read_model(folder: Path) -> dict[str, Any]:
    """Read what `write_model` wrote; only tensors, texts and numbers are accepted, never code.

    Raises
    ------
    FileNotFoundError
        If there is no model in the folder.
    ValueError
        If the file is damaged, or something else.
    """
    path = folder / MODEL
    if not path.exists():
        msg = f"there is no {MODEL} in {folder}; model.save(folder) writes it"
        raise FileNotFoundError(msg)
    try:
        entry = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, LookupError, UnpicklingError) as err:
        msg = f"{path} is no model saved by shoal, or it is damaged: it cannot be read as tensors, texts and numbers"
        raise ValueError(msg) from err
    if not isinstance(entry, dict) or entry.get("schema") != SCHEMA:
        msg = f"{path} is not a model saved by shoal (schema {SCHEMA!r})"
        raise ValueError(msg)
    return entry


def _tensors(value: Any) -> Any:
    """Replace arrays by tensors, tuples by lists and numpy's numbers by Python's, at any depth."""
    if isinstance(value, Mapping):
        return {k: _tensors(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_tensors(v) for v in value]
    if isinstance(value, np.ndarray):
        return torch.from_numpy(value)
    if isinstance(value, np.generic):
        return value.item()
    if value is None or isinstance(value, (bool, int, float, str, torch.Tensor)):
        return value
    msg = f"a model file holds tensors, texts and numbers only, so {value!r} ({type(value).__name__}) cannot be saved"
    raise TypeError(msg)


def _read_adata(folder: Path) -> AnnData:
    import anndata

    if not (folder / ADATA).exists():
        msg = f"no adata was given, and none was saved in {folder} (save_anndata=True does): pass adata="
        raise FileNotFoundError(msg)
    return anndata.read_h5ad(folder / ADATA)


def plain_history(frame: pd.DataFrame) -> dict[str, list[Any]]:
    """Return a column of the history of a training as plain lists."""
    return {"step": [int(i) for i in frame.index], "value": [float(v) for v in frame.iloc[:, 0]]}


def history_table(name: str, step: list[int], value: list[float]) -> pd.DataFrame:
    """Read what `plain_history` returned."""
    return pd.DataFrame({name: value}, index=pd.Index(step, name="step"))
