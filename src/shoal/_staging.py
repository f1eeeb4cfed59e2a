"""Write a set of files so that an interrupted run leaves nothing half-written under the final names."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def staged(out: Path) -> Iterator[Path]:
    """Give a temporary folder inside `out`; its files get their final names in `out` when the block ends well.

    After an exception (also Ctrl-C) the temporary folder is gone, and so is `out` if this call made it. Files of an
    earlier run are replaced one by one, each as a whole.

    Raises
    ------
    OSError
        If `out` cannot be made or written to; before the block starts, so that no work is lost.
    """
    made = [p for p in (out, *out.parents) if not p.exists()]
    try:
        out.mkdir(parents=True, exist_ok=True)
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
