"""The logger, and a progress bar that is silent where nobody looks."""

import logging
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from ._settings import settings

T = TypeVar("T")

logger = logging.getLogger("shoal")


def progress(items: Iterable[T], *, total: int | None = None, desc: str = "") -> Iterable[T]:
    """Wrap `items` in a progress bar, if `settings.progress` says so or a terminal is watching."""
    show = sys.stderr.isatty() if settings.progress is None else settings.progress
    if not show:
        return items
    from tqdm.auto import tqdm

    return tqdm(items, total=total, desc=desc, delay=1.0, leave=False)


@contextmanager
def quiet() -> Iterator[None]:
    """Let nothing through but errors: for work that is repeated, whose result is told once."""

    def is_error(record: logging.LogRecord) -> bool:
        return record.levelno >= logging.ERROR

    logger.addFilter(is_error)
    try:
        yield
    finally:
        logger.removeFilter(is_error)


def reason(err: BaseException) -> str:
    """Return an error in one line."""
    text = str(err.args[0]) if isinstance(err, KeyError) and err.args else str(err)
    return f"{type(err).__name__}: {' '.join(text.split())}"
