"""Advice for Python in a message, as options and commands of the command line."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

VALUE = r"None|True|\.\.\.|'[^']*'|\"[^\"]*\"|[\[(][^\])]*[\])]|[\w.+-]*\w|"
ARGUMENT = re.compile(rf"(?<![\w.])([a-z]\w*)=({VALUE})")
CALL = re.compile(r"\b([Cc]all )?((?:sh\.\w+|model)\.\w+)\(([^()]*)\)")
COLUMN = re.compile(r"^[^,=]+, ('[^']*'|\"[^\"]*\")(?:,|$)")  # the second argument, without a name
OTHER_NAMES = {"rng": "seed", "embedding": "vectors"}  # argument of Python -> option
COMMANDS = {
    "sh.tl.coherence": "measure",
    "sh.pp.split": "split",
    "sh.tl.fit": "fit",
    "model.save": "fit",
    "sh.tl.predict": "predict",
    "sh.tl.evaluate": "evaluate",
    "sh.tl.report": "report",
    "sh.io.write_predictions": "export",
}


def in_options(text: str, options: Collection[str]) -> str:
    """Return a message that names arguments of Python with options of the command in their place.

    A call that says nothing of the options becomes the command that makes it.

    Parameters
    ----------
    text
        The message.
    options
        Names of the options, as arguments of Python: ``"batch_key"`` for ``--batch-key``. Nothing
        is changed where there are none.
    """

    def known(name: str) -> bool:
        return OTHER_NAMES.get(name, name) in options

    def argument(found: re.Match[str]) -> str:
        return _option(*found.groups()) if known(found[1]) else found[0]

    def call(found: re.Match[str]) -> str:
        pairs = ARGUMENT.findall(found[3])
        if (column := COLUMN.search(found[3])) is not None:
            pairs.insert(0, ("perturbation_key", column[1]))
        flags = [_option(*pair) for pair in pairs if known(pair[0])]
        if flags:
            return f"{'give ' if found[1] else ''}{' '.join(flags)}"
        if found[2] not in COMMANDS:
            return found[0]
        words = [f"shoal {COMMANDS[found[2]]}", *(_option(*pair) for pair in pairs)]
        return {"call ": "run ", "Call ": "Run "}.get(found[1], "") + " ".join(words)

    if not options:
        return text
    text = ARGUMENT.sub(argument, CALL.sub(call, text))
    bare = [name for name in options if "_" in name]  # others may be words of the sentence
    for name in [*bare, "rng"] if known("rng") else bare:
        text = re.sub(rf"(?<![\w.'\"\[-]){name}(?![\w'\"=(])", _option(name), text)
    return text


def _option(name: str, value: str = "") -> str:
    """Return an argument of Python as an option."""
    flag = f"--{OTHER_NAMES.get(name, name).replace('_', '-')}"
    if value in ("", "True"):
        return flag
    if value[0] in "[(":
        several = filter(None, map(str.strip, value[1:-1].split(",")))
        return " ".join(_option(name, one) for one in several)
    if value[0] in "'\"":
        value = shlex.quote(value[1:-1])
    return f"{flag} {'none' if value == 'None' else value}"
