"""The logger, and how far long work is: a bar on a terminal, a line now and then elsewhere."""

import logging
import sys
from collections.abc import Iterable, Iterator, Mapping, Sized
from contextlib import contextmanager
from time import perf_counter
from typing import Any, TypeVar

from ._settings import settings

T = TypeVar("T")

logger = logging.getLogger("shoal")


class Lines:
    """How far long work has come, in a line every few seconds, for files and notebooks.

    Nothing is written about work that is done within `EVERY` seconds. Lines get rarer with the time
    that the work takes: about fifty at most. It is used as a bar of tqdm is.

    Parameters
    ----------
    total
        Number of steps; 0 if it is not known.
    desc
        What is done, the first words of a line.
    unit
        What a step is, in the plural, such as ``"steps"``.
    initial
        Steps that were done before.
    hint
        What makes the work shorter. It is said once, where `LONG` or more is left.
    """

    EVERY = 5.0
    SHARE = 0.02  # of the time that all takes, between two lines
    LONG = 120.0  # seconds

    def __init__(
        self, total: float, *, desc: str, unit: str = "", initial: float = 0, hint: str = ""
    ) -> None:
        self.total, self.desc, self.unit, self.hint = total, desc, unit, hint
        self.n = self._initial = initial
        self._beside: Mapping[str, str] = {}
        self._start = perf_counter()
        self._next = self._start + self.EVERY
        self._wrote = False

    def update(self, n: float = 1) -> None:
        """Count steps, and write a line if it is time."""
        self.n += n
        now = perf_counter()
        if now < self._next or self.n == self.total:
            return
        each = (now - self._start) / max(self.n - self._initial, 1e-9)
        of, left = "", ""
        if self.total:
            seconds = each * (self.total - self.n)
            of, left = f" of {self.total:,.0f}", f", about {duration(seconds)} left"
            if self.hint and seconds >= self.LONG:
                left, self.hint = f"{left} ({self.hint})", ""
        self._write(f"{self.n:,.0f}{of} {self.unit}".rstrip() + left)
        self._next = now + max(self.EVERY, self.SHARE * each * (self.total - self._initial))
        self._wrote = True

    def set_postfix(self, values: Mapping[str, str], *, refresh: bool = True) -> None:
        """Take numbers to show in the next line; `refresh` is for bars alone."""
        self._beside = dict(values)

    def close(self) -> None:
        """Write how much was done in which time, if a line was written before."""
        if self._wrote:
            took = duration(perf_counter() - self._start)
            of = f" of {self.total:,.0f}" if self.n < self.total else ""
            self._write(f"{self.n:,.0f}{of} {self.unit}".rstrip() + f" in {took}")
            self._wrote = False

    def _write(self, text: str) -> None:
        beside = "".join(f", {name} {value}" for name, value in self._beside.items())
        sys.stderr.write(f"{self.desc}: {text}{beside}\n")
        sys.stderr.flush()


def duration(seconds: float) -> str:
    """Return a time in words: ``"40 s"``, ``"2 min 5 s"``, ``"3 h 20 min"``."""
    if round(seconds) < 60:
        return f"{round(seconds)} s"
    small, large, whole = ("s", "min", round(seconds))
    if whole >= 3600:
        small, large, whole = ("min", "h", round(seconds / 60))
    many, rest = divmod(whole, 60)
    return f"{many} {large} {rest} {small}" if rest else f"{many} {large}"


def bar(
    total: float,
    *,
    desc: str,
    unit: str = "",
    initial: float = 0,
    hint: str = "",
    show: bool | None = None,
    **how: Any,
) -> Any:
    """Return a bar, lines, or ``None`` where nothing is to be shown.

    Parameters
    ----------
    total, desc, unit, initial, hint
        As of `Lines`; bars show no hint.
    show
        ``True`` for a bar, ``False`` for nothing. ``None`` is as `settings.progress` says, and if
        that is ``None``, a bar on a terminal and lines elsewhere.
    **how
        Forwarded to tqdm.
    """
    show = settings.progress if show is None else show
    if show is False:
        return None
    if show or sys.stderr.isatty():
        from tqdm.auto import tqdm

        named = {"unit": f" {unit}"} if unit else {}
        return tqdm(total=total, desc=desc, initial=initial, **named, **how)
    return Lines(total, desc=desc, unit=unit, initial=initial, hint=hint)


def progress(items: Iterable[T], *, total: int | None = None, desc: str = "") -> Iterable[T]:
    """Go through `items`, and show how far it is as `bar` does; `total` is their number."""
    if total is None:
        total = len(items) if isinstance(items, Sized) else 0
    shown = bar(total, desc=desc, delay=1.0, leave=False)
    return items if shown is None else _counted(items, shown)


def _counted(items: Iterable[T], shown: Any) -> Iterator[T]:
    try:
        for item in items:
            yield item
            shown.update()
    finally:
        shown.close()


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


@contextmanager
def once() -> Iterator[None]:
    """Let every message through once: for work whose parts have the same things to say."""
    said: set[str] = set()

    def is_new(record: logging.LogRecord) -> bool:
        text = record.getMessage()
        new = text not in said
        said.add(text)
        return new

    logger.addFilter(is_new)
    try:
        yield
    finally:
        logger.removeFilter(is_new)


def reason(err: BaseException) -> str:
    """Return an error in one line."""
    text = str(err.args[0]) if isinstance(err, KeyError) and err.args else str(err)
    return f"{type(err).__name__}: {' '.join(text.split())}"
