"""Messages of the command line: stages, warnings and errors, one line each, on stderr."""

from __future__ import annotations

import csv
import logging
import os
import re
import shlex
import signal
import warnings
from contextlib import contextmanager
from functools import wraps
from typing import TYPE_CHECKING, Any

import typer

from ._logging import logger
from ._staging import stoppable

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping
    from pathlib import Path

OURS = (ValueError, KeyError, TypeError, OSError, ImportError, MemoryError)  # they say it in full
VALUE = r"None|True|\.\.\.|'[^']*'|\"[^\"]*\"|[\[(][^\])]*[\])]|[\w.+-]*\w|"
ARGUMENT = re.compile(rf"(?<![\w.])([a-z]\w*)=({VALUE})")
CALL = re.compile(r"\b([Cc]all )?sh\.\w+\.\w+\(([^()]*)\)")
NONE = ["none"]  # what an option holds that may be None in Python; a list, as no column's name is
OTHER_NAMES = {"rng": "seed"}  # argument of Python -> option


def say(message: str) -> None:
    """Write one line on stderr."""
    typer.echo(" ".join(message.split()), err=True)


def friendly(command: Callable[..., None]) -> Callable[..., None]:
    """Have a command end in one line, whatever happens, and in its traceback with ``--debug``.

    - Warnings are one line each.
    - The exit code is 1 after an error, 130 after Ctrl-C and 143 after SIGTERM.
    - Advice for Python, such as ``strata=None``, is given as options: ``--strata none``.
    """

    @wraps(command)
    def run(**given: Any) -> None:
        with _reported(given, debug=given["debug"]):
            command(**given)

    return run


def number_or_none(text: str) -> int | list[str]:
    """Read a whole number, or ``none``."""
    return NONE if text in NONE else int(text)


def text_or_none(text: str) -> str | list[str]:
    """Read a text, or ``none``."""
    return NONE if text in NONE else text


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
def _reported(options: Collection[str], *, debug: bool) -> Iterator[None]:
    os.environ.setdefault("MPLBACKEND", "agg")
    try:
        with stoppable(), _logged(options), warnings.catch_warnings():
            warnings.simplefilter("always", UserWarning)
            warnings.showwarning = lambda message, *_, **__: say(
                f"warning: {in_options(str(message), options)}"
            )
            yield
    except KeyboardInterrupt as err:
        number = err.args[0] if err.args else signal.SIGINT
        what = "interrupted" if number == signal.SIGINT else "stopped"
        say(f"{what}; nothing half-written is left")
        raise typer.Exit(128 + number) from None
    except typer.Exit:
        raise
    except Exception as err:
        if debug:
            raise
        text = str(err.args[0]) if isinstance(err, KeyError) and err.args else str(err)
        if not isinstance(err, OURS) or not text:
            text = f"{type(err).__name__}: {text}; --debug shows where"
        say(f"error: {in_options(text, options)}")
        raise typer.Exit(1) from None


class _Notices(logging.Handler):
    """Writes notices of the level of a warning as warnings are written, each once."""

    def __init__(self, options: Collection[str]) -> None:
        super().__init__(logging.WARNING)
        self.options = options
        self.said: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        """Write one notice."""
        text = record.getMessage()
        if text not in self.said:
            self.said.add(text)
            say(f"warning: {in_options(text, self.options)}")


@contextmanager
def _logged(options: Collection[str]) -> Iterator[None]:
    """Have the notices of shoal written while the block runs."""
    handler = _Notices(options)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


def in_options(text: str, options: Collection[str]) -> str:
    """Return a message that names arguments of Python with options of the command in their place.

    Parameters
    ----------
    text
        The message.
    options
        Names of the options, as arguments of Python: ``"batch_key"`` for ``--batch-key``.
    """

    def option(name: str, value: str = "") -> str:
        flag = f"--{OTHER_NAMES.get(name, name).replace('_', '-')}"
        if value in ("", "True"):
            return flag
        if value[0] in "[(":
            several = filter(None, map(str.strip, value[1:-1].split(",")))
            return " ".join(option(name, one) for one in several)
        if value[0] in "'\"":
            value = shlex.quote(value[1:-1])
        return f"{flag} {'none' if value == 'None' else value}"

    def known(name: str) -> bool:
        return OTHER_NAMES.get(name, name) in options

    def argument(found: re.Match[str]) -> str:
        return option(*found.groups()) if known(found[1]) else found[0]

    def call(found: re.Match[str]) -> str:
        flags = [option(*pair) for pair in ARGUMENT.findall(found[2]) if known(pair[0])]
        return f"{'give ' if found[1] else ''}{' '.join(flags)}" if flags else found[0]

    text = ARGUMENT.sub(argument, CALL.sub(call, text))
    for name in options:
        if "_" in name:
            text = re.sub(rf"(?<![\w.'\"\[-]){name}(?![\w'\"=(])", option(name), text)
    return text
