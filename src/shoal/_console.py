"""Messages of the command line: stages, warnings and errors, one line each, on stderr."""

from __future__ import annotations

import os
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from collections.abc import Iterator


def say(message: str) -> None:
    """Write one line on stderr."""
    typer.echo(" ".join(message.split()), err=True)


@contextmanager
def friendly(*, debug: bool) -> Iterator[None]:
    """Turn errors and warnings into one line each.

    The exit code is 1 after an error, and 130 after an interruption. With `debug`, an error shows
    its traceback.
    """
    os.environ.setdefault("MPLBACKEND", "agg")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("always", UserWarning)
            warnings.showwarning = lambda message, *_, **__: say(f"warning: {message}")
            yield
    except KeyboardInterrupt:
        say("interrupted; nothing half-written is left")
        raise typer.Exit(130) from None
    except (ValueError, KeyError, TypeError, OSError, ImportError, MemoryError) as err:
        if debug:
            raise
        text = str(err.args[0]) if isinstance(err, KeyError) and err.args else str(err)
        say(f"error: {text or type(err).__name__}")
        raise typer.Exit(1) from None
