"""Messages of the command line: stages, warnings and errors, one line each, on stderr."""

from __future__ import annotations

import csv
import json
import logging
import os
import signal
import warnings
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import numpy as np
import typer

from ._advice import in_options
from ._logging import logger
from ._staging import IncompleteError, stoppable

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping
    from pathlib import Path

OURS = (ValueError, KeyError, TypeError, OSError, ImportError, MemoryError)  # they say it in full
FAILED, REFUSED = 1, 2  # exit codes: something went wrong; what was given cannot be used
PATHS = (FileNotFoundError, FileExistsError, IsADirectoryError, NotADirectoryError, PermissionError)
OPTIONS: ContextVar[Collection[str]] = ContextVar("options", default=())  # of the command
NONE = ["none"]  # what an option holds that may be None in Python; a list, as no column's name is


def say(message: str) -> None:
    """Write one line on stderr, with options of the command for arguments of Python."""
    typer.echo(_line(message), err=True)


def _line(message: str) -> str:
    return " ".join(in_options(message, OPTIONS.get()).split())


def number_or_none(text: str) -> int | list[str]:
    """Read a whole number, or ``none``."""
    return NONE if text in NONE else int(text)


def text_or_none(text: str) -> str | list[str]:
    """Read a text, or ``none``."""
    return NONE if text in NONE else text


def share_or_names(texts: list[str] | None) -> float | list[str] | None:
    """Read a share, or names, of which a number outside 0 to 1 is one; ``None`` for nothing."""
    if texts is None or len(texts) != 1:
        return texts
    try:
        number = float(texts[0])
    except ValueError:
        return texts
    return number if 0 <= number <= 1 else texts


def given(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that were given; for the others, the defaults of Python count."""
    return {
        name: None if value == NONE else value
        for name, value in options.items()
        if value is not None
    }


def lines(path: Path | None) -> list[str] | None:
    """Read names from a text file, one a line; of a csv or tsv, those of the first column.

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        If it is no text, or holds no name.
    """
    if path is None:
        return None
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        msg = f"{path} is no text file; give one with a name on every line"
        raise ValueError(msg) from None
    sep = {".csv": ",", ".tsv": "\t"}.get(path.suffix.lower())
    rows = csv.reader(text.splitlines(), delimiter=sep) if sep else zip(text.splitlines())
    found = [name for row in rows if row and (name := row[0].strip())]
    if not found:
        msg = f"{path} holds no name; give a text file with a name on every line"
        raise ValueError(msg)
    return found


@contextmanager
def reported(
    options: Collection[str], *, debug: bool, as_json: bool = False, goes_on: bool = False
) -> Iterator[None]:
    """Have the block end in one line, whatever happens, and in its traceback with `debug`.

    - Notices and warnings are one line each.
    - The exit code is 2 if what was given cannot be used, 1 after any other error, 130 after Ctrl-C
      and 143 after SIGTERM.
    - Advice for Python, such as ``strata=None``, is given as options: ``--strata none``.

    Parameters
    ----------
    options
        Names of the options of the command.
    debug
        Whether errors are raised as they are.
    as_json
        Whether an error is printed on stdout too, as JSON.
    goes_on
        Whether the same command goes on where it was interrupted.
    """
    os.environ.setdefault("MPLBACKEND", "agg")
    before = OPTIONS.set(options)
    try:
        with stoppable(), _logged(), warnings.catch_warnings():
            warnings.simplefilter("always", UserWarning)
            warnings.showwarning = lambda message, *_, **__: say(f"warning: {message}")
            yield
    except KeyboardInterrupt as err:
        number = err.args[0] if err.args else signal.SIGINT
        what = "interrupted" if number == signal.SIGINT else "stopped"
        end = "the same command goes on from here" if goes_on else "nothing half-written is left"
        say(f"{what}; {end}")
        raise typer.Exit(128 + number) from None
    except typer.Exit:
        raise
    except Exception as err:
        if debug:
            raise
        text = str(err.args[0]) if isinstance(err, KeyError) and err.args else str(err)
        if not isinstance(err, OURS) or not text:
            text = f"{type(err).__name__}: {text}; --debug shows where"
        say(f"error: {text}")
        code = exit_code(err)
        if as_json:
            typer.echo(json.dumps({"error": _line(text), "exit_code": code}, ensure_ascii=False))
        raise typer.Exit(code) from None
    finally:
        OPTIONS.reset(before)


def exit_code(err: Exception) -> int:
    """Return 2 for an error of what the user gave, and 1 for any other, such as a full disk."""
    if isinstance(err, (np.linalg.LinAlgError, IncompleteError)):
        return FAILED
    refused = isinstance(err, (ValueError, KeyError, TypeError, *PATHS))
    no_file = isinstance(err, OSError) and err.errno is None  # it is not what it is taken for
    return REFUSED if refused or no_file else FAILED


class _Notices(logging.Handler):
    """Writes notices, each once; those of the level of a warning as warnings are written."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.said: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        """Write one notice."""
        text = record.getMessage()
        if text not in self.said:
            self.said.add(text)
            kind = "warning: " if record.levelno >= logging.WARNING else ""
            say(f"{kind}{text}")


@contextmanager
def _logged() -> Iterator[None]:
    """Have the notices of shoal written while the block runs.

    They are not passed on: other libraries, such as mudata, give the root logger a handler, which
    would write each a second time.
    """
    handler, level, passed_on = _Notices(), logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(min(logger.getEffectiveLevel(), logging.INFO))
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        logger.propagate = passed_on
