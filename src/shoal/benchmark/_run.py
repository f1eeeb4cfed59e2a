"""Run a benchmark: results are kept in files, failures say why, processes share the work."""

from __future__ import annotations

import os
import signal
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import product
from multiprocessing import get_context
from multiprocessing.connection import wait
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .._logging import logger, progress, reason
from .._settings import settings as session
from .._staging import make_folder, staged, stoppable
from .._validate import whole
from ..evaluation._attempt import attempt, failed, row_of
from ..evaluation._leaderboard import ABOUT
from ..evaluation._models import read_inner
from ..evaluation._prediction_file import refuse_files
from ..evaluation._rows import Row, tidy
from ..evaluation._scorer import Scorer
from ._files import (
    content_of,
    digest,
    read_row,
    read_rows,
    stem,
    write_manifest,
    write_row,
)
from ._prepare import prepare
from ._spec import read, refuse_imports
from ._table import by_split, markdown, table

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from multiprocessing.context import SpawnProcess

    import pandas as pd
    from anndata import AnnData

    from ..evaluation._models import Contender
    from ._spec import Data, Spec, Split

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")

IDENTITY = ("data", "split", "model", "seed", "kind", "settings")  # of a result


@dataclass(frozen=True)
class Task:
    """Attempts on one split of one data set, which is prepared once for them.

    Attributes
    ----------
    data, split
        The data set and its split.
    rows, models
        The results, without values, and the model of each.
    evaluate
        Arguments of the evaluation.
    inner
        Inner folds for models of which one set of options is chosen.
    """

    data: Data
    split: Split
    rows: tuple[Row, ...]
    models: tuple[Contender, ...]
    evaluate: Mapping[str, Any]
    inner: int | None


def run(
    spec: Spec | Mapping[str, Any] | str | Path,
    *,
    folder: str | Path,
    jobs: int = 1,
    inner: int | None = None,
    retry: bool = False,
    trust: bool = False,
) -> pd.DataFrame:
    """Train and evaluate every model on every split of every data set with every seed.

    Each result is a file in `folder`, written whole as soon as it is there. A run that was
    interrupted goes on where it stopped. A result is computed anew if one of these has changed: the
    content of its data file, the split, the model and its options or the content of the file with
    its prediction, the seed, the arguments of ``evaluate``, or the version of shoal.

    Parameters
    ----------
    spec
        Path of a YAML file, mapping with the same keys, or :class:`Spec`.
    folder
        Folder of the results; made if it is not there.
    jobs
        Processes at a time, of one thread each. With 1, all is done in this process, with the
        threads it has. More than one need a script that guards its entry by
        ``if __name__ == "__main__":``.
    inner
        Inner folds within the training cells, for models with sets of options (``tune``): the set
        is chosen there, so that the test has no part in it. See
        :func:`shoal.tl.fit`.
    retry
        Whether results that failed are tried again.
    trust
        Whether the spec may import code. A data set that is a *text* such as
        ``call: "package.module:function"`` imports that module and calls that function, with all
        the rights of this process. Read a spec of others before you trust it.

    Returns
    -------
    One line for each data set, split, model, seed and metric. Columns: ``data``, ``split``,
    ``model``, ``kind``, ``seed``, ``metric``, ``value``, ``positive`` and ``negative`` (means of
    the two controls), ``discriminates``, ``note`` (why it failed), ``seconds_fit``,
    ``seconds_predict``, ``seconds_evaluate``, ``peak_mb``, ``settings``, ``file`` (digest of the
    file of a prediction) and ``versions``; ``chosen``, the set of options that was chosen within
    training. Files:

    ``folder/rows``
        a JSON file for each result, with the values of every condition.
    ``folder/benchmark.json``
        which of them belong to this spec: what :func:`table` reads.
    ``folder/rows.csv``
        the table that is returned.
    ``folder/leaderboard.csv``, ``folder/leaderboard.md``
        what :func:`table` makes of it, if anything succeeded.
    ``folder/scores.csv``
        the leaderboard of every split of every data set, one below the other.

    Raises
    ------
    ValueError
        If the spec, `jobs` or `inner` makes no sense, two results would have the same file, one
        prediction would be judged on several splits, or the spec names code to import and `trust`
        is False. The error lists that code.
    TypeError
        If the spec, or a part of it, is of a wrong kind.
    FileNotFoundError
        If the spec, the file of a data set or that of a prediction does not exist.
    ImportError
        If the spec is a file and PyYAML is not installed.

    Examples
    --------
    >>> import shoal as sh
    >>> spec = {
    ...     "data": {
    ...         "simulated": {
    ...             "call": sh.ds.simulate,
    ...             "perturbation_key": "perturbation",
    ...             "control": "control",
    ...             "prepare": {"normalize": "log1p"},
    ...         }
    ...     },
    ...     "splits": {"unseen": {"by": "perturbation", "test": 0.3}},
    ...     "models": ["control", "mean_shift"],
    ...     "evaluate": {"metrics": ["pearson_delta", "energy"]},
    ... }
    >>> rows = sh.benchmark.run(spec, folder="simulated")
    >>> rows["model"].unique().tolist()
    ['control', 'mean_shift']
    """
    spec, folder = read(spec), Path(folder)
    jobs = whole(jobs, name="jobs")
    if not trust:
        refuse_imports(spec)
    inner = read_inner(inner, spec.models)
    wanted = list(_rows(spec, inner))
    _refuse_twins(wanted)
    refuse_files(wanted)
    make_folder(folder)
    pending = [pair for pair in wanted if not _is_done(folder, pair[0], retry=retry, tell=True)]
    write_manifest(folder, {stem(row): row.settings for row, _ in wanted})
    logger.info("%d of %d results are to be computed", len(pending), len(wanted))
    tasks = _tasks(spec, pending, inner=inner, alone=jobs > 1)
    work = _here(tasks, folder) if jobs == 1 else _elsewhere(tasks, folder, jobs)
    for _ in progress(work, total=len(tasks), desc="benchmark"):
        pass
    rows = read_rows(folder)
    n_failed = sum(bool(row.note) for row in rows)
    if n_failed:
        logger.warning("%d of %d results failed; retry=True tries them again", n_failed, len(rows))
    found = tidy(rows)
    with staged(folder) as stage:
        found.to_csv(stage / "rows.csv", index=False)
        if n_failed < len(rows):
            board = table(rows)
            board.to_csv(stage / "leaderboard.csv")
            by_split(rows).to_csv(stage / "scores.csv", index=False)
            (stage / "leaderboard.md").write_text(f"{markdown(board)}\n", encoding="utf-8")
    return found


def leaderboard(
    spec: Path, *, folder: Path, jobs: int, inner: int | None, retry: bool, trust: bool
) -> str:
    """Run a benchmark, and return the first columns of its leaderboard as Markdown."""
    run(spec, folder=folder, jobs=jobs, inner=inner, retry=retry, trust=trust)
    return markdown(table(folder)[list(ABOUT)])


def _rows(spec: Spec, inner: int | None) -> Iterator[tuple[Row, Contender]]:
    """Yield all results that a spec asks for, without values, and the contender of each."""
    content = {data.name: content_of(data) for data in spec.data}
    for data, split, seed, model in product(spec.data, spec.splits, spec.seeds, spec.models):
        if data.name in split.data:
            row = row_of(model, data=data.name, split=split.name, seed=seed)
            settings = digest(
                spec, data, split, model, row, content=content[data.name], inner=inner
            )
            yield replace(row, settings=settings), model


def _refuse_twins(wanted: Sequence[tuple[Row, Contender]]) -> None:
    """Raise ``ValueError`` if two results would be written to the same file."""
    seen: dict[str, Row] = {}
    for row, _ in wanted:
        other = seen.setdefault(stem(row).lower(), row)  # some disks do not tell A from a
        if other is not row:
            msg = (
                f"the results of {other.data!r}, {other.split!r}, {other.model!r} and {row.data!r},"
                f" {row.split!r}, {row.model!r} have the same file, {stem(row)}.json; rename one "
                "of them by more than blanks, underscores and capital letters"
            )
            raise ValueError(msg)


def _is_done(folder: Path, row: Row, *, retry: bool, tell: bool = False) -> bool:
    found = read_row(folder, stem(row), tell=tell)
    if found is None or (retry and found.note):
        return False
    return all(getattr(found, name) == getattr(row, name) for name in IDENTITY)


def _tasks(
    spec: Spec, pending: Sequence[tuple[Row, Contender]], *, inner: int | None, alone: bool
) -> list[Task]:
    """Return the work in portions.

    A portion is a split of a data set and a seed. If `alone`, each network is a portion of its own.
    """
    data, splits = ({one.name: one for one in several} for several in (spec.data, spec.splits))
    portions: dict[tuple[str, str, int, str], list[tuple[Row, Contender]]] = {}
    for row, model in pending:
        own = row.model if alone and row.kind == "model" else ""
        portions.setdefault((row.data, row.split, row.seed, own), []).append((row, model))
    return [
        Task(
            data[name],
            splits[split],
            *(tuple(several) for several in zip(*portion, strict=True)),
            evaluate=spec.evaluate,
            inner=inner,
        )
        for (name, split, _, _), portion in portions.items()
    ]


def work(task: Task, folder: Path, adata: AnnData | Exception) -> None:
    """Do a task, and write each result as soon as it is there."""
    scorer: Scorer | Exception = adata if isinstance(adata, Exception) else _scorer(adata, task)
    if isinstance(scorer, Exception):
        logger.warning(
            "%s, %s: nothing can be attempted: %s", task.data.name, task.split.name, reason(scorer)
        )
    for row, model in zip(task.rows, task.models, strict=True):
        if isinstance(adata, Exception) or isinstance(scorer, Exception):
            done = failed(row, f"not attempted: {reason(scorer)}")
        else:
            done = attempt(adata, row, model, scorer, inner=task.inner)
        write_row(done, folder)


def _prepared(task: Task) -> AnnData | Exception:
    try:
        return prepare(task.data, task.split)
    except Exception as err:  # noqa: BLE001 (others go on, and the rows say what it was)
        return err


def _scorer(adata: AnnData, task: Task) -> Scorer | Exception:
    try:
        return Scorer(adata, seed=task.rows[0].seed, **task.evaluate)
    except Exception as err:  # noqa: BLE001 (others go on, and the rows say what it was)
        return err


def _here(tasks: Iterable[Task], folder: Path) -> Iterator[Task]:
    """Do all tasks in this process, preparing a data set again only when another was between."""
    last: tuple[tuple[str, str], AnnData | Exception] | None = None
    for task in tasks:
        key = (task.data.name, task.split.name)
        if last is None or last[0] != key:
            last = (key, _prepared(task))
        work(task, folder, last[1])
        yield task


def _elsewhere(tasks: Iterable[Task], folder: Path, jobs: int) -> Iterator[Task]:
    """Do each task in a process of its own, `jobs` at a time; if one dies, its rows say so."""
    waiting, context = list(tasks), get_context("spawn")
    running: dict[int, tuple[SpawnProcess, Task]] = {}
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                task = waiting.pop(0)
                process = context.Process(target=_child, args=(task, folder), daemon=False)
                with _one_thread():
                    process.start()
                running[process.sentinel] = (process, task)
            for sentinel in wait(list(running)):
                process, task = running.pop(sentinel)
                process.join()
                _account(task, process.exitcode, folder)
                yield task
    finally:
        for process, _ in running.values():
            process.terminate()
            process.join()


def _child(task: Task, folder: Path) -> None:
    session.progress = False  # the first process says how far all are
    try:
        with stoppable():
            work(task, folder, _prepared(task))
    except KeyboardInterrupt as err:  # without a traceback: the first process says what happened
        raise SystemExit(128 + (err.args or (signal.SIGINT,))[0]) from None


def _account(task: Task, exitcode: int | None, folder: Path) -> None:
    """Write a failed row for every attempt of a process that ended before it wrote one."""
    for row in task.rows:
        if not _is_done(folder, row, retry=False):
            why = "; killed, perhaps for lack of memory" if exitcode == -9 else ""
            note = f"its process ended with exit code {exitcode}{why}"
            logger.warning(
                "%s on %s, %s, seed %d: %s", row.model, row.data, row.split, row.seed, note
            )
            write_row(failed(row, note), folder)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Have processes that start in here use one thread each."""
    before = {name: os.environ.get(name) for name in THREADS}
    os.environ.update(dict.fromkeys(THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
