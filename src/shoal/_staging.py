"""A set of files that is written as a whole: an interrupted run leaves nothing half-written."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import threading
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

STOPS = ("SIGTERM", "SIGHUP")  # as Windows does not have both


class IncompleteError(OSError):
    """Some files could not be written, and others were."""


def file_at(out: object, *, example: str, name: str = "out") -> Path:
    """Return the path of a file that is to be written.

    Parameters
    ----------
    out
        The path, as a user gave it.
    example, name
        Name of such a file, and of the argument, for messages.

    Raises
    ------
    TypeError
        If it is no path.
    FileNotFoundError
        If its folder does not exist.
    IsADirectoryError
        If it is a folder itself.
    """
    if not isinstance(out, (str, os.PathLike)) or not str(out):
        msg = f"{name} must be the path of a file, such as {example!r}, not {out!r}"
        raise TypeError(msg)
    path = Path(out)
    if not path.parent.is_dir():
        msg = f"no such folder: {path.parent}; make it first, or choose another {name}="
        raise FileNotFoundError(msg)
    if path.is_dir():
        msg = f"{str(path)!r} is a folder; name a file, such as {str(path / example)!r}"
        raise IsADirectoryError(msg)
    return path


def make_folder(out: Path) -> None:
    """Make a folder, and those that it is in, where they are not there yet.

    Raises
    ------
    NotADirectoryError
        If there is a file in its place.
    OSError
        If it cannot be made.
    """
    file = next((path for path in (out, *out.parents) if path.exists() and not path.is_dir()), None)
    if file is not None:
        msg = f"{str(file)!r} is a file, and results go into a folder: name another one"
        raise NotADirectoryError(msg)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as err:
        msg = f"the folder {str(out)!r} cannot be made ({err.strerror}): name another one"
        raise type(err)(msg) from err


@contextmanager
def staged(out: Path) -> Iterator[Path]:
    """Yield a temporary folder, whose files go to `out` when the block ends without an error.

    - After an error or Ctrl-C the temporary folder is gone. So is `out`, if this call made it.
    - Files of an earlier run are replaced one by one, each as a whole.

    Raises
    ------
    OSError
        If `out` cannot be made or written to. This is raised before the block starts.
    """
    made = [p for p in (out, *out.parents) if not p.exists()]
    try:
        make_folder(out)
        folder = Path(tempfile.mkdtemp(prefix=".shoal-", dir=out))
        try:
            yield folder
            for path in sorted(folder.iterdir()):
                path.replace(out / path.name)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    except BaseException:
        with suppress(OSError):  # a folder that is not empty is not ours to remove
            for path in made:
                path.rmdir()
        raise


@contextmanager
def stoppable() -> Iterator[None]:
    """Have a signal that ends the process raise ``KeyboardInterrupt``, so that files are removed.

    The number of the signal is the argument of the exception. Only the main thread of a process
    can do this; in another one, nothing is changed.
    """

    def stop(number: int, _: object) -> None:
        raise KeyboardInterrupt(number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    known = [getattr(signal, name) for name in STOPS if hasattr(signal, name)]
    before = {number: signal.getsignal(number) for number in known}
    for number in known:
        if before[number] is not signal.SIG_IGN:  # as under nohup
            signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
