"""Single steps of the command line, from one file to the next."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from . import _h5ad, _report
from ._command import Outcome
from ._console import say
from ._evaluation_text import in_words, tables
from ._held_out import in_words as held_out
from ._held_out import kind_of
from ._journey import numbers
from ._staging import staged
from ._verdict import verdict

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from anndata import AnnData

VECTORS = "vectors"  # name of the embedding
ANNOTATIONS = "annotations"


def normalised(adata: AnnData, normalize: str | None) -> AnnData:
    """Return a screen whose counts are normalised, if that is asked."""
    from . import pp

    if normalize is not None:
        pp.prepare(adata, normalize=normalize, overwrite=True)
    return adata


def embedded(adata: AnnData, vectors: str | None) -> str | None:
    """Put vectors into a screen, and return their name; ``None`` where none are asked for.

    Parameters
    ----------
    adata
        The screen.
    vectors
        A file, or ``"annotations"`` for those that come with the package.
    """
    from . import pp

    if vectors is None:
        return None
    how: dict[str, Any] = {"method": ANNOTATIONS}
    if vectors != ANNOTATIONS:
        how = {"method": "table", "source": vectors}
    pp.embed(adata, key_added=VECTORS, overwrite=True, **how)
    return VECTORS


@contextmanager
def new_file(to: Path, *sources: Path, overwrite: bool) -> Iterator[Path]:
    """Yield a temporary path, whose file goes to `to` when the block ends without an error.

    Raises
    ------
    FileExistsError
        If `to` exists and is not to be replaced.
    ValueError
        If it is a file that is read.
    IsADirectoryError
        If it is a folder.
    """
    if to.is_dir():
        msg = f"{to} is a folder; name a file to write, such as {to / 'next.h5ad'}"
        raise IsADirectoryError(msg)
    if to.exists() and any(one.exists() and to.samefile(one) for one in sources):
        msg = f"{to} is the file that is read; name another one"
        raise ValueError(msg)
    if to.exists() and not overwrite:
        msg = f"{to} exists; overwrite=True replaces it"
        raise FileExistsError(msg)
    with staged(to.parent) as folder:
        yield folder / to.name


def divide(adata: AnnData, path: Path, to: Path, *, by: str | None, **options: Any) -> Outcome:
    """Hold out conditions and write the screen."""
    from . import pp

    if by is None:
        by, why = kind_of(adata)
        say(f"by={by!r}: {why}")
    pp.split(adata, by=by, **options)
    _h5ad.write(adata, path)
    params, units = adata.uns["split"]["params"], adata.uns["split"]["units"]
    found = {"by": by} | {side: params[f"n_{side}"] for side in ("train", "val", "test")}
    tested = units[units["split"] == "test"].drop(columns="split")
    text = f"{held_out(adata)}\nwritten: {to}"
    return Outcome(text, found | {"held_out": tested.to_dict("records"), "file": str(to)})


def learn(
    adata: AnnData,
    model: str,
    to: Path,
    *,
    vectors: str | None,
    overwrite: bool,
    **options: Any,
) -> Outcome:
    """Train a model and save it."""
    from . import tl

    if to.exists() and not overwrite:
        msg = f"{to} exists; overwrite=True replaces it"
        raise FileExistsError(msg)
    say(f"training {model}")
    trained = tl.fit(adata, model, embedding=embedded(adata, vectors), **options)
    trained.save(to, overwrite=overwrite)
    found = {"model": type(trained).__name__, "folder": str(to)}
    return Outcome(f"{trained!r}\nwritten: {to}", found)


def foresee(adata: AnnData, model: Path, path: Path, to: Path, **options: Any) -> Outcome:
    """Write predicted cells into a screen."""
    from . import models, tl

    tl.predict(adata, models.load(model, adata), **options)
    _h5ad.write(adata, path)
    name = options.get("key_added", "predicted")
    n = int(adata.obs[f"{name}_predicted"].sum())
    skipped = str(adata.uns["perturbation_predictions"]["params"]["skipped"])
    text = f"{n:,} cells are predicted, as {name!r}\nwritten: {to}"
    return Outcome(text, {"prediction": name, "cells": n, "skipped": skipped, "file": str(to)})


def judge(
    adata: AnnData,
    prediction: str | Path | None,
    out: Path | None,
    *,
    h5ad: bool,
    **options: Any,
) -> Outcome:
    """Judge a prediction; write the tables, and the screen with them."""
    from . import tl

    chosen = _the_prediction(adata) if prediction is None else prediction
    tl.evaluate(adata, prediction=chosen, overwrite=True, **options)
    files = {f"evaluation_{name}.csv": table.to_csv for name, table in tables(adata).items()}
    if out is not None:
        files |= {_report.SCREEN: lambda path: _h5ad.write(adata, path)} if h5ad else {}
        with staged(out) as folder:
            for name, write in files.items():
                write(folder / name)
    params, text = adata.uns["evaluation"]["params"], in_words(adata)
    found: dict[str, Any] = {"suite": params["suite"], "verdict": str(params.get("verdict", ""))}
    if params["suite"] == "calibrated":
        said = verdict(adata)
        found |= {"verdict": said.headline, "lines": said.lines}
        text = f"{text}\n{said.headline}"
    found |= numbers(adata)
    found["files"] = [] if out is None else [str(out / name) for name in files]
    return Outcome(text, found)


def _the_prediction(adata: AnnData) -> str:
    """Return the name of the only prediction that a screen holds.

    Raises
    ------
    ValueError
        If there is none, or there are several.
    """
    from ._keys import PREDICTIONS
    from ._validate import some

    table = adata.uns.get(PREDICTIONS, {}).get("table")
    names = [] if table is None else list(map(str, table.index))
    if len(names) != 1:
        there = f"several: {some(names)}" if names else "none"
        msg = (
            f"the file holds predictions of shoal: {there}. Say which one, prediction='name', or "
            "name a file with predicted cells after it"
        )
        raise ValueError(msg)
    return names[0]
