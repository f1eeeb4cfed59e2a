"""Errors of training with advice on how to go on, and fewer notices of Lightning."""

from __future__ import annotations

import logging
import signal
import threading
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from lightning.pytorch.utilities.exceptions import SIGTERMException

from .._logging import logger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TERMINATED = 128 + signal.SIGTERM  # the status that shells give a process which SIGTERM ended
CHATTY = ("lightning.pytorch", "lightning.fabric")
NO_WARNING = (  # of Lightning's and scvi-tools', true by design
    "The number of training batches",  # the last stretch may be shorter than the logging interval
    "GPU available but not used",
    "early_stopping was automatically disabled due to the use of DDP",
    ".*does not have many workers",
    "Total length of .* across ranks is zero",  # a finished run that is resumed
    ".*`isinstance\\(treespec, LeafSpec\\)` is deprecated",
)


@contextmanager
def quiet() -> Iterator[None]:
    """Hide Lightning's notices and some of its warnings while training lasts."""
    loggers = [logging.getLogger(name) for name in CHATTY]
    levels = [each.level for each in loggers]
    try:
        with warnings.catch_warnings():
            for text in NO_WARNING:
                warnings.filterwarnings("ignore", message=text)
            for each in loggers:
                each.setLevel(max(each.level, logging.WARNING))
            yield
    finally:
        for each, level in zip(loggers, levels, strict=True):
            each.setLevel(level)


@contextmanager
def explained(where: Callable[[], str]) -> Iterator[None]:
    """Give errors of training a message that says how to go on.

    Parameters
    ----------
    where
        Returns a sentence that names the last checkpoint and how to resume from it.

    Raises
    ------
    KeyboardInterrupt
        If the user interrupted training. Lightning alone would end the program.
    SystemExit
        If the process got the signal SIGTERM. The status is the one that shells give.
    FloatingPointError
        If a loss was not finite.
    MemoryError
        If memory ran out.
    """
    on_main = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SystemExit as err:
        if isinstance(err, SIGTERMException):  # a cluster takes its machine back
            logger.error("training was terminated. %s", where())
            raise SystemExit(TERMINATED) from err
        if not isinstance(err.__context__, KeyboardInterrupt):
            raise
        msg = f"training was interrupted; the model keeps its weights. {where()}"
        raise KeyboardInterrupt(msg) from None
    except FloatingPointError as err:
        msg = f"{err}. {where()}"
        raise FloatingPointError(msg) from err
    except (MemoryError, RuntimeError) as err:
        if not is_out_of_memory(err):
            raise
        msg = (
            "memory ran out in training. Stream the cells (store='streamed') instead of keeping "
            f"them on the device, or use a smaller set_size or batch_conditions. {where()}"
        )
        raise MemoryError(msg) from err
    finally:
        if on_main:  # Lightning ignores interruptions after the first
            signal.signal(signal.SIGINT, handler)


def is_out_of_memory(err: BaseException) -> bool:
    """Return whether an error means that memory ran out, on any device."""
    text = str(err).lower()
    known = isinstance(err, (MemoryError, torch.OutOfMemoryError))
    return (
        known
        or "not enough memory" in text
        or "out of memory" in text
        or "can't allocate memory" in text
    )
