"""A config file for a screen, with what was recognised in it, and why."""

from __future__ import annotations

import logging
import textwrap
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ._advice import in_options
from ._command import Outcome
from ._console import OPTIONS
from ._held_out import KINDS, kind_of, units_of
from ._logging import logger
from ._steps import new_file
from ._validate import some
from .core._choose import choose
from .core._matrix import as_rows
from .core._scale import look
from .core._screen import labels, resolve

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from anndata import AnnData

    from ._options import Reading
    from .core._screen import Screen

ROLES = {
    "context_key": "cells are compared within it, and it may be held out",
    "batch_key": "cells are compared within it",
    "dose_key": "numbers of at least 0",
    "guide_key": "guides count as replicates",
}
MOST_VALUES = 200  # of a column that may be a context, a batch or a guide
WIDTH = 96


def propose(files: list[Path], reading: Reading, to: Path, *, overwrite: bool) -> Outcome:
    """Read a screen, and write a config file with what was recognised.

    Parameters
    ----------
    files, reading
        The screen, one file or one for each sample, and what the user says of it.
    to
        The config file.
    overwrite
        Whether to replace it.
    """
    with new_file(to, *files, overwrite=overwrite) as path:
        with _heard() as notices:
            adata = reading.read(files)
        values = _values(adata, files, to)
        text = _as_yaml(adata, values, notices, f"{' '.join(map(str, files))} -o {to}")
        path.write_text(text, encoding="utf-8")
    found = {name: value for name, (value, _) in values.items()}
    text = f"written: {to}\nLook at it, and then: shoal run --config {to}"
    return Outcome(text, found | {"notices": notices, "written": str(to)})


@contextmanager
def _heard() -> Iterator[list[str]]:
    """Yield a list that gets all notices of the block, with options of the command line."""
    heard: list[str] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            kind = "warning: " if record.levelno >= logging.WARNING else ""
            heard.append(kind + in_options(record.getMessage(), OPTIONS.get()))

    listener = Listener(logging.INFO)
    logger.addHandler(listener)
    try:
        yield heard
    finally:
        logger.removeHandler(listener)


def _values(adata: AnnData, files: list[Path], to: Path) -> dict[str, tuple[Any, str]]:
    """Return option -> its value and what to say of it."""
    screen = resolve(adata, tell=False)
    labelled = labels(adata, screen)
    shown = [_beside(file.resolve(), to.resolve().parent) for file in files]
    scale = look(as_rows(choose(adata)[0])).words
    n_control, n_none = int(labelled.is_control.sum()), int((labelled.code < 0).sum())
    found: dict[str, tuple[Any, str]] = {
        "file": (
            shown[0] if len(shown) == 1 else shown,
            f"{adata.n_obs} cells x {adata.n_vars} genes; X holds {scale}",
        ),
        "out": ("results", "folder for the report, the tables and the pictures"),
        "perturbation_key": (
            screen.perturbation_key,
            f"{len(labelled.names)} perturbations, such as {some(list(labelled.names), 4)}",
        ),
        "control": (list(screen.control), f"{n_control} cells"),
    }
    for role, what in ROLES.items():
        key = getattr(screen, role)
        found[role] = (
            "none" if key is None else key,
            what if key is None else f"{adata.obs[key].nunique()} values; {what}",
        )
    found["gene_key"] = (screen.gene_key, "column of var with symbols, if genes have other names")
    found["sep"] = (screen.sep, _said_of_combinations(screen))
    found["missing"] = (
        screen.missing,
        f"cells without a label ({n_none} here): ignore leaves them out, raise refuses them",
    )
    found |= _held_out(adata)
    found["preset"] = ("fast", "or networks, which trains networks too and takes longer")
    found["seed"] = (0, "of all randomness")
    return found


def _beside(path: Path, folder: Path) -> str:
    """Return a path relative to a folder, if it is inside."""
    return str(path.relative_to(folder) if path.is_relative_to(folder) else path)


def _said_of_combinations(screen: Screen) -> str:
    several = [name for name in screen.singles if len(screen.parts(name)) > 1]
    what = "text between the parts of a combination; '' if no label is one"
    return f"{what}, such as {some(several, 2)}" if several else what


def _held_out(adata: AnnData) -> dict[str, tuple[Any, str]]:
    able = units_of(adata)
    try:
        by, why = kind_of(adata)
    except ValueError as err:
        return {"by": (None, str(err))}
    others = [f"{name} ({n})" for name, n in able.items() if name != by]
    also = f"; also possible: {', '.join(others)}" if others else ""
    return {
        "by": (by, f"{KINDS[by]}: {why}{also}"),
        "test": (0.2, "share of these that is held out, or a list of names"),
    }


def _as_yaml(
    adata: AnnData,
    values: dict[str, tuple[Any, str]],
    notices: list[str],
    call: str,
) -> str:
    import yaml

    text = [f"# Written by: shoal init {call}", "# To go on: shoal run --config THIS-FILE", "#"]
    for notice in notices:
        text += _comment(notice)
    used = {str(value) for value, _ in values.values()}
    other = [
        f"{key} ({n} values)"
        for key in map(str, adata.obs.columns)
        if key not in used and adata.obs[key].dtype.kind != "f"
        for n in [adata.obs[key].nunique()]
        if 1 < n <= MOST_VALUES
    ]
    if other:
        text += _comment(f"Columns of obs that may be one of the keys below: {', '.join(other)}")
    text.append("# A line that is empty after its colon counts as left out.")
    for name, (value, why) in values.items():
        shown = yaml.safe_dump(
            [value], allow_unicode=True, default_flow_style=True, width=10_000
        ).strip()
        text += ["", *_comment(why), f"{name}: {'' if value is None else shown[1:-1]}".rstrip()]
    return "\n".join(text) + "\n"


def _comment(sentence: str) -> list[str]:
    return textwrap.wrap(
        sentence, WIDTH, initial_indent="# ", subsequent_indent="#   ", break_on_hyphens=False
    )
