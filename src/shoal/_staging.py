"""A set of files that is written as a whole: an interrupted run leaves nothing half-written."""

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
