"""Stages of work on one AnnData, kept in a folder, so that interrupted work goes on."""

from __future__ import annotations

import json
import shutil
import time
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from . import _h5ad
from ._validate import some

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    import pandas as pd
    from anndata import AnnData

RECORD, SCRATCH = "journey.json", ".stages"
TABLES, ARRAYS = ("obs", "var"), ("obsm", "varm", "layers")


@dataclass
class Stages:
    """Stages of a piece of work, and what each of them wrote into the AnnData.

    Attributes
    ----------
    out
        Folder of the work. Its file `RECORD` says which stages are done, and its folder `SCRATCH`
        holds what they wrote, until the work is finished.
    arguments
        Name of every stage, in order, and what its result depends on beside the stages before it.
    record
        What is done: ``stages`` (name -> arguments and seconds) and, at the end, ``result``.
    say
        Takes one line about every stage.
    """

    out: Path
    arguments: Mapping[str, Mapping[str, Any]]
    record: dict[str, Any]
    say: Callable[[str], None]

    @classmethod
    def open(
        cls,
        out: Path,
        arguments: Mapping[str, Mapping[str, Any]],
        *,
        overwrite: bool,
        say: Callable[[str], None],
    ) -> Stages:
        """Begin in a folder, or go on with what an interrupted call left there.

        Arguments of stages that were not done may be others than before.

        Raises
        ------
        FileExistsError
            If a stage was done with other arguments, or the folder holds other files, and
            `overwrite` is not set.
        NotADirectoryError
            If it is a file.
        """
        arguments = json.loads(json.dumps(arguments, default=str))  # as they are read again
        if out.exists() and not out.is_dir():
            msg = f"{out} is a file; name a folder to write into"
            raise NotADirectoryError(msg)
        if overwrite:
            (out / RECORD).unlink(missing_ok=True)
            shutil.rmtree(out / SCRATCH, ignore_errors=True)
        before = _read(out / RECORD)
        if before is not None:
            _refuse_others(out, before["stages"], arguments)
            if "result" not in before:
                done = ", ".join(before["stages"]) or "nothing"
                say(f"going on in {out}, where an earlier call ended; done before: {done}")
        elif not overwrite and out.is_dir() and (there := _shown(out)):
            msg = (
                f"the folder {out} exists and holds {some(there, 3)}, which no call like this one "
                "wrote: name another folder, or say overwrite=True, which replaces files of the "
                "same names"
            )
            raise FileExistsError(msg)
        return cls(out, arguments, before or {"stages": {}}, say)

    @property
    def scratch(self) -> Path:
        """Folder for what a stage keeps while it works."""
        return self.out / SCRATCH

    @property
    def result(self) -> dict[str, Any] | None:
        """What was said at the end, if the work is finished."""
        return self.record.get("result")

    def do(self, name: str, doing: str, adata: AnnData, work: Callable[[], object]) -> None:
        """Do one stage, or put into `adata` what it wrote when it was done.

        Parameters
        ----------
        name
            Name of the stage.
        doing
            What it does, in a few words.
        adata
            What the stage writes into.
        work
            Does it.
        """
        if name in self.record["stages"]:
            self._tell(name, "done before")
            restore(adata, self.scratch / f"{name}.h5ad")
            return
        self._tell(name, doing)
        before, start = Snapshot.of(adata), time.monotonic()
        work()
        self.scratch.mkdir(parents=True, exist_ok=True)
        unfinished = self.scratch / f"{name}.part"
        _h5ad.write(before.written(adata), unfinished)
        unfinished.replace(self.scratch / f"{name}.h5ad")
        self._done(name, time.monotonic() - start)

    def end(self, name: str, doing: str, work: Callable[[], Mapping[str, Any]]) -> dict[str, Any]:
        """Do the last stage, record the result that it returns, and remove what was kept."""
        self._tell(name, doing)
        start = time.monotonic()
        self.record["result"] = dict(work())
        self._done(name, time.monotonic() - start)
        shutil.rmtree(self.scratch, ignore_errors=True)
        return dict(self.record["result"])

    def clear(self) -> None:
        """Remove the folder if nothing was done in it."""
        if not self.record["stages"]:
            shutil.rmtree(self.scratch, ignore_errors=True)
            with suppress(OSError):  # it is not empty, or not there
                self.out.rmdir()

    def _tell(self, name: str, doing: str) -> None:
        names = list(self.arguments)
        self.say(f"[{names.index(name) + 1}/{len(names)}] {name}: {doing}")

    def _done(self, name: str, seconds: float) -> None:
        entry = {"arguments": self.arguments[name], "seconds": round(seconds, 1)}
        self.record["stages"][name] = entry
        unfinished = self.out / f"{RECORD}.part"
        unfinished.write_text(json.dumps(self.record, indent=1, default=str), encoding="utf-8")
        unfinished.replace(self.out / RECORD)


@dataclass(frozen=True, eq=False)
class Snapshot:
    """What an AnnData held at a moment, to tell later what was written."""

    tables: Mapping[str, pd.DataFrame]
    slots: Mapping[tuple[str, str], Any]
    uns: Mapping[str, Any]
    matrix: Any

    @classmethod
    def of(cls, adata: AnnData) -> Snapshot:
        """Look at an AnnData. Columns are copied; arrays are not."""
        return cls(
            tables={name: getattr(adata, name).copy() for name in TABLES},
            slots={
                (where, key): value
                for where in ARRAYS
                for key, value in getattr(adata, where).items()
                if key is not None
            },
            uns={key: _shallow(value) for key, value in adata.uns.items()},
            matrix=adata.X,
        )

    def written(self, adata: AnnData) -> AnnData:
        """Return an AnnData with the slots that are new or others than they were."""
        import anndata as ad

        kept: dict[str, Any] = {}
        for name, before in self.tables.items():
            now = getattr(adata, name)
            kept[name] = now[
                [key for key in now if key not in before or not now[key].equals(before[key])]
            ].copy()
        for where in ARRAYS:
            kept[where] = {
                key: value
                for key, value in getattr(adata, where).items()
                if key is not None and value is not self.slots.get((where, key))
            }
        uns = {
            key: value
            for key, value in adata.uns.items()
            if not _same(self.uns.get(key), _shallow(value))
        }
        matrix = None if adata.X is self.matrix else adata.X
        return ad.AnnData(
            matrix, shape=None if matrix is not None else adata.shape, uns=uns, **kept
        )


def restore(adata: AnnData, path: Path) -> None:
    """Put into an AnnData what a stage wrote, from its file."""
    written = _h5ad.read(path, backed=False)
    if written.X is not None:
        adata.X = written.X
    for name in TABLES:
        table = getattr(adata, name)
        for key, column in getattr(written, name).items():
            table[key] = column
    for where in ARRAYS:
        for key, value in getattr(written, where).items():
            if key is not None:
                getattr(adata, where)[key] = value
    adata.uns.update(written.uns)


def content(adata: AnnData) -> str:
    """Return a digest of the cells, genes, columns and values of a screen."""
    found = sha256()
    for names in (adata.obs_names, adata.var_names):
        found.update("\n".join(names).encode())
    found.update(adata.obs.to_csv(index=False).encode())
    matrix = adata.X
    if sparse.issparse(matrix):
        found.update(np.ascontiguousarray(matrix.indices).data)
        found.update(np.ascontiguousarray(matrix.data).data)
    elif isinstance(matrix, np.ndarray):
        found.update(np.ascontiguousarray(matrix).data)
    return found.hexdigest()[:16]


def _shallow(value: Any) -> Any:
    return dict(value) if isinstance(value, dict) else value


def _same(before: Any, now: Any) -> bool:
    """Return whether an entry of uns holds the very objects that it held."""
    if isinstance(before, dict) and isinstance(now, dict):
        return before.keys() == now.keys() and all(before[key] is now[key] for key in now)
    return before is now


def _shown(folder: Path) -> list[str]:
    """Return the names in a folder, without those that begin with a dot."""
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


def _read(path: Path) -> dict[str, Any] | None:
    """Return the record of a folder; ``None`` if there is none."""
    if not path.is_file():
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if all(isinstance(one["arguments"], dict) for one in found["stages"].values()):
            return dict(found)
    except (ValueError, KeyError, TypeError, AttributeError):
        pass
    msg = f"{path} is damaged: name another folder, or say overwrite=True to begin anew"
    raise FileExistsError(msg)


def _refuse_others(
    out: Path, stages: Mapping[str, Any], arguments: Mapping[str, Mapping[str, Any]]
) -> None:
    """Raise ``FileExistsError`` if a stage that is done had other arguments."""
    other = [
        f"{key}={before.get(key)!r} before, {key}={now.get(key)!r} now"
        for stage, entry in stages.items()
        for before, now in [(entry["arguments"], arguments.get(stage, {}))]
        for key in {**before, **now}
        if before.get(key) != now.get(key)
    ]
    if other:
        msg = (
            f"the folder {out} holds the work of a call with other arguments: {'; '.join(other)}. "
            "Name another folder, call with the arguments of before, or say overwrite=True to "
            "begin anew"
        )
        raise FileExistsError(msg)
